/* SPDX-License-Identifier: Apache-2.0 */
/* test_disk_random.c - operations at random, on images of every shape, with QEMU's tools as the judge, in both directions */
#include "disk_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"

#define MIB (1ull << 20)

/* qemu_writes() - Operations at random by qemu-io, in one process */
static void qemu_writes(const char *name, uint64_t bytes, uint64_t unit, struct random *random)
{
    FILE *script = fopen("script", "w");

    assert_non_null(script);
    for (int i = 0; i < 60; i++) {
        uint64_t offset = random_below(random, bytes / 512) * 512;
        uint64_t length = (1 + random_below(random, 6 * unit / 512)) * 512;

        if (length > bytes - offset)
            length = bytes - offset;
        switch (random_below(random, 6)) {
        case 0:
            fprintf(script, "discard %llu %llu\n", (unsigned long long)offset, (unsigned long long)length);
            break;
        case 1:
            fprintf(script, "write -z %s %llu %llu\n", random_below(random, 2) ? "-u" : "", (unsigned long long)offset,
                    (unsigned long long)length);
            break;
        default:
            fprintf(script, "write -P %llu %llu %llu\n", (unsigned long long)(1 + random_below(random, 254)),
                    (unsigned long long)offset, (unsigned long long)length);
        }
    }
    fclose(script);
    shell("qemu-io -f qcow2 -t unsafe --discard unmap %s <script >qemu-io.log 2>&1", name);
}

/* One shape of image: made by qemu-img, written in turn by us and by qemu-io, read by both. */
static void exercise(const char *options, uint64_t bytes, const char *base, uint64_t seed)
{
    struct random random = {seed};
    struct model model = {0};
    char layer[32] = "";

    shell("qemu-img create -q -f qcow2 -o %s %s%s disk.qcow2 %llu", options, base ? "-F raw -b " : "", base ? base : "",
          (unsigned long long)bytes);
    model_load(&model, "qcow2", "disk.qcow2");
    if (base)
        snprintf(layer, sizeof layer, "raw:%s", base);
    for (int turn = 0; turn < 3; turn++) {
        struct bl_disk *disk = base ? disk_open(0, quick_calls(), layer, "qcow2:disk.qcow2", NULL)
                                    : disk_open(0, quick_calls(), "qcow2:disk.qcow2", NULL);

        model.granularity = bl_disk_granularity(disk);
        compare_with_model(disk, &model);
        for (int i = 0; i < 250; i++)
            random_operation(disk, &model, &random);
        compare_with_model(disk, &model);
        disk_close(disk);
        shell("qemu-img check -q disk.qcow2");

        struct model theirs = {0};

        model_load(&theirs, "qcow2", "disk.qcow2");
        assert_int_equal(theirs.bytes, model.bytes);
        assert_memory_equal(theirs.content, model.content, model.bytes);
        model_free(&theirs);
        qemu_writes("disk.qcow2", bytes, model.granularity, &random);
        shell("qemu-img check -q disk.qcow2");
        model_load(&model, "qcow2", "disk.qcow2");
    }
    model_free(&model);
}

static void test_usual_clusters(void **state)
{
    (void)state;
    make_raw("base.raw", 12 * MIB, 1);
    exercise("cluster_size=65536", 16 * MIB, "base.raw", 11);
    exercise("cluster_size=65536", 16 * MIB - 512, NULL, 12);
}

static void test_small_clusters(void **state)
{
    (void)state;
    make_raw("base.raw", 3 * MIB + 4096, 2);
    exercise("cluster_size=512", 4 * MIB, "base.raw", 21);
    exercise("cluster_size=4096", 6 * MIB + 512, "base.raw", 22);
}

static void test_large_clusters(void **state)
{
    (void)state;
    make_raw("base.raw", 9 * MIB, 3);
    exercise("cluster_size=2M", 24 * MIB, "base.raw", 31);
}

static void test_widths_of_counts(void **state)
{
    (void)state;
    make_raw("base.raw", 3 * MIB, 4);
    exercise("cluster_size=4096,refcount_bits=1", 4 * MIB, "base.raw", 41);
    exercise("cluster_size=1024,refcount_bits=2", 4 * MIB, NULL, 42);
    exercise("cluster_size=4096,refcount_bits=8", 4 * MIB, "base.raw", 43);
    exercise("cluster_size=512,refcount_bits=64", 4 * MIB, "base.raw", 44);
}

static void test_preallocated(void **state)
{
    (void)state;
    exercise("cluster_size=65536,preallocation=metadata", 8 * MIB, NULL, 51);
    exercise("cluster_size=16384,preallocation=full", 4 * MIB, NULL, 52);
}

static int remove_files(void **state)
{
    (void)state;
    return shell_status("rm -f *");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_usual_clusters, remove_files),
        cmocka_unit_test_teardown(test_small_clusters, remove_files),
        cmocka_unit_test_teardown(test_large_clusters, remove_files),
        cmocka_unit_test_teardown(test_widths_of_counts, remove_files),
        cmocka_unit_test_teardown(test_preallocated, remove_files),
    };

    return cmocka_run_group_tests(tests, disk_enter, disk_leave);
}
