/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_disk_crash.c - the host is killed or loses power at any point, and the image is whole
 *
 * Operations at random are recorded: what reached the file, and what the disk should hold. Then each cut of the record is looked
 * at: as a killed process leaves it, with all that was written, and as a power failure does, with parts of what was not flushed.
 * Each sector must hold what it held at the last flush that ended before the cut, or something that was written to it since. A
 * sample goes through qemu-img check, and is written again by the driver.
 */
#include "disk_record.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/cleanup.h"

#define SECTOR         512u
#define MIB            (1ull << 20)
#define BASE_TAG       0xba5e000000000000ull
#define LOSSES_PER_CUT 8
#define LOSSES_NEAR    24 /* where the header changes */
#define NEAR           6  /* events before and after that */
#define QEMU_SAMPLES   4
#define OPERATIONS_MAX 2000

/* The address sanitizer makes this seven times slower, and the order of writes is the same. */
#ifdef __has_feature
#if __has_feature(address_sanitizer)
#define FEWER_CUTS 9u
#endif
#endif
#ifndef FEWER_CUTS
#define FEWER_CUTS 1u
#endif

/* What one operation does: the sectors from first on become this tag plus their number, or zeros (tag 0); or a flush. */
struct operation {
    uint64_t first, end;
    uint64_t tag;
    size_t started; /* length of the record then */
    size_t flushed; /* of a flush: the length of the record when it returned; else 0 */
    uint64_t bytes; /* size of the disk after it */
};

static struct operation operations[OPERATIONS_MAX];
static size_t operation_count;
static uint64_t first_bytes; /* size of the disk before all of them */

static struct operation *begin_operation(uint64_t first, uint64_t end, uint64_t tag, uint64_t bytes)
{
    assert_true(operation_count < OPERATIONS_MAX);
    operations[operation_count] = (struct operation){first, end, tag, record_length, 0, bytes};
    return &operations[operation_count++];
}

static void write_sectors(struct bl_disk *disk, uint64_t first, uint64_t count)
{
    uint64_t tag = (uint64_t)(operation_count + 1) << 32;
    cleanup_free uint8_t *bytes = malloc(count * SECTOR);
    struct iovec all = {bytes, count * SECTOR};

    assert_non_null(bytes);
    for (uint64_t i = 0; i < count * SECTOR; i += 8)
        bl_put_be64(bytes + i, tag + first + i / SECTOR);
    begin_operation(first, first + count, tag, bl_disk_bytes(disk));
    assert_int_equal(bl_disk_write(disk, &all, 1, first * SECTOR), 0);
}

static void flush(struct bl_disk *disk)
{
    struct operation *operation = begin_operation(0, 0, 0, bl_disk_bytes(disk));

    assert_int_equal(bl_disk_flush(disk), 0);
    operation->flushed = record_length;
}

static void resize(struct bl_disk *disk, uint64_t bytes)
{
    uint64_t old = bl_disk_bytes(disk);
    uint64_t first = (bytes < old ? bytes : old) / SECTOR, end = (bytes < old ? old : bytes) / SECTOR;
    struct operation *operation = begin_operation(first, end, 0, bytes);
    struct bl_error err = BL_ERROR_INIT;

    if (bl_disk_resize(disk, bytes, &err) < 0)
        fail_msg("%s", err.message);
    operation->flushed = record_length;
}

static void any_operation(struct bl_disk *disk, struct random *random)
{
    uint64_t sectors = bl_disk_bytes(disk) / SECTOR;
    uint64_t unit = bl_disk_granularity(disk) / SECTOR;
    uint64_t first = random_below(random, sectors);
    uint64_t most = unit < 16 ? 16 : unit;
    uint64_t count = 1 + random_below(random, random_below(random, 4) ? 2 * most : 12 * most);
    uint64_t kind = random_below(random, 20);

    if (count > sectors - first)
        count = sectors - first;
    if (kind < 13) {
        write_sectors(disk, first, count);
    } else if (kind < 15) {
        begin_operation(first, first + count, 0, bl_disk_bytes(disk));
        assert_int_equal(bl_disk_write_zeroes(disk, first * SECTOR, count * SECTOR, random_below(random, 2)), 0);
    } else if (kind < 18) {
        uint64_t end = first + count == sectors ? (sectors + unit - 1) / unit * unit : (first + count) / unit * unit;

        first = (first + unit - 1) / unit * unit;
        if (first < end) {
            begin_operation(first, end < sectors ? end : sectors, 0, bl_disk_bytes(disk));
            assert_int_equal(bl_disk_discard(disk, first * SECTOR, (end < sectors ? end : sectors) * SECTOR - first * SECTOR), 0);
        }
    } else {
        flush(disk);
    }
}

/* may_hold() - Whether a sector may hold this after a crash at a cut */
static bool may_hold(uint64_t sector, uint64_t value, size_t cut, size_t durable, uint64_t base_sectors)
{
    for (size_t i = operation_count; i-- > 0;) {
        const struct operation *operation = &operations[i];

        if (operation->started > cut || sector < operation->first || sector >= operation->end)
            continue;
        if (operation->tag ? value == operation->tag + sector : !value)
            return true;
        if (i < durable)
            return false;
    }
    return value == (sector < base_sectors ? BASE_TAG + sector : 0);
}

/* durable_operations() - How many are on the disk for certain: up to the last flush, or the change of size that shows. */
static size_t durable_operations(size_t cut, uint64_t bytes)
{
    size_t durable = 0;

    for (size_t i = 0; i < operation_count && operations[i].started <= cut; i++) {
        uint64_t before = i ? operations[i - 1].bytes : first_bytes;

        if ((operations[i].flushed && operations[i].flushed <= cut) ||
            (operations[i].bytes != before && operations[i].bytes == bytes))
            durable = i + 1;
    }
    return durable;
}

static void check_state(const struct content *state, size_t cut, uint64_t base_sectors, const char *how)
{
    const char *wrong = image_wrong(state);
    uint64_t sectors = image_bytes(state) / SECTOR;
    size_t durable = durable_operations(cut, sectors * SECTOR);

    if (wrong)
        fail_msg("cut at %zu of %zu, %s: wrong: %s", cut, record_length, how, wrong);
    if (sectors * SECTOR != (durable ? operations[durable - 1].bytes : first_bytes))
        fail_msg("cut at %zu of %zu, %s: a size of %llu sectors", cut, record_length, how, (unsigned long long)sectors);
    for (uint64_t sector = 0; sector < sectors; sector++) {
        bool torn;
        uint64_t value = image_sector(state, sector, &torn);

        if (value == UINT64_MAX)
            value = sector < base_sectors ? BASE_TAG + sector : 0;
        if (torn || !may_hold(sector, value, cut, durable, base_sectors))
            fail_msg("cut at %zu of %zu, %s: sector %llu holds %#llx%s", cut, record_length, how, (unsigned long long)sector,
                     (unsigned long long)value, torn ? ", torn" : "");
    }
}

/* ask_qemu() - The same from QEMU; and the image that is left can be written on. Leaked clusters (3) are no corruption. */
static void ask_qemu(const struct content *state, struct random *random)
{
    struct bl_disk *disk;
    struct model model = {0};
    int status;

    content_save(state, "state.qcow2");
    status = shell_status("qemu-img check -q state.qcow2 >/dev/null 2>&1");
    assert_true(status == 0 || status == 3);
    disk = disk_open(0, quick_calls(), "raw:base.raw", "qcow2:state.qcow2", NULL);
    model.bytes = bl_disk_bytes(disk);
    model.granularity = bl_disk_granularity(disk);
    model.content = malloc(model.bytes);
    assert_non_null(model.content);
    assert_int_equal(bl_disk_read(disk, &(struct iovec){model.content, model.bytes}, 1, 0), 0);
    for (int i = 0; i < 40; i++)
        random_operation(disk, &model, random);
    disk_close(disk);
    status = shell_status("qemu-img check -q state.qcow2 >/dev/null 2>&1");
    assert_true(status == 0 || status == 3);
    model_free(&model);
}

/* near_header() - Whether the header changes shortly before or after a cut. */
static bool near_header(size_t cut)
{
    for (size_t i = cut > NEAR ? cut - NEAR : 0; i < cut + NEAR && i < record_length; i++)
        if (record[i].kind == EVENT_WRITE && record[i].offset < SECTOR)
            return true;
    return false;
}

/* look_at_cuts() - All of them, or every @step-th and those where the header changes */
static void look_at_cuts(const struct content *initial, uint64_t base_sectors, size_t step, struct random *random)
{
    struct content durable = {0}, written = {0}, state = {0};
    size_t flushed = 0;

    step *= FEWER_CUTS;
    content_copy(&durable, initial);
    content_copy(&written, initial);
    for (size_t cut = 0; cut <= record_length; cut++) {
        if (cut % step == 0 || cut == record_length || (FEWER_CUTS == 1 && near_header(cut))) {
            check_state(&written, cut, base_sectors, "killed");
            for (int loss = 0; loss < (near_header(cut) ? LOSSES_NEAR : LOSSES_PER_CUT); loss++) {
                content_copy(&state, &durable);
                for (size_t i = flushed; i < cut; i++)
                    if (random_below(random, 4) > (uint64_t)loss % 3)
                        content_apply(&state, &record[i], loss % 2 ? random : NULL);
                check_state(&state, cut, base_sectors, "power lost");
            }
            if (random_below(random, record_length / step + 1) < QEMU_SAMPLES)
                ask_qemu(&state, random);
        }
        if (cut == record_length)
            break;
        content_apply(&written, &record[cut], NULL);
        if (record[cut].kind == EVENT_FLUSH) {
            content_copy(&durable, &written);
            flushed = cut + 1;
        }
    }
    content_free(&durable);
    content_free(&written);
    content_free(&state);
}

static void make_base(uint64_t sectors)
{
    FILE *file = fopen("base.raw", "w");

    assert_non_null(file);
    for (uint64_t i = 0; i < sectors * SECTOR; i += 8) {
        uint8_t word[8];

        bl_put_be64(word, BASE_TAG + i / SECTOR);
        assert_int_equal(fwrite(word, 1, sizeof word, file), sizeof word);
    }
    fclose(file);
}

/* crash() - A disk of some size, a base for half of it, so many operations; or now and then another size, and a base for all */
static void crash(unsigned int cluster_bytes, uint64_t bytes, int count, bool resizes, size_t step, uint64_t seed)
{
    uint64_t base_sectors = (resizes ? bytes * 2 : bytes / 2) / SECTOR;
    struct random random = {seed};
    struct content initial = {0};
    struct bl_disk *disk;

    make_base(base_sectors);
    shell("qemu-img create -q -f qcow2 -o cluster_size=%u -F raw -b base.raw disk.qcow2 %llu", cluster_bytes,
          (unsigned long long)bytes);
    operation_count = 0;
    disk = disk_open(0, record_calls(), "raw:base.raw", "qcow2:disk.qcow2", NULL);
    first_bytes = bl_disk_bytes(disk);
    record_clear();
    content_load(&initial, "disk.qcow2");
    for (int i = 0; i < count; i++) {
        any_operation(disk, &random);
        if (resizes && i % 16 == 9)
            flush(disk);
        if (resizes && i % 16 == 15)
            resize(disk, (bytes / 2 + random_below(&random, bytes)) / SECTOR * SECTOR);
    }
    disk_close(disk);
    look_at_cuts(&initial, base_sectors, step, &random);
    content_free(&initial);
    record_clear();
}

static void test_small_clusters(void **state)
{
    (void)state;
    crash(512, MIB / 2, 60, false, 1, 1);
    crash(512, MIB / 2, 60, false, 1, 2);
}

static void test_page_clusters(void **state)
{
    (void)state;
    crash(4096, 6 * MIB, 90, false, 1, 3);
    crash(4096, 6 * MIB, 90, false, 1, 4);
}

static void test_usual_clusters(void **state)
{
    (void)state;
    crash(65536, 8 * MIB, 60, false, 1, 5);
}

static void test_resizes(void **state)
{
    (void)state;
    crash(512, 8 * MIB / 5, 120, true, 3, 6);
    crash(4096, 4 * MIB, 80, true, 3, 7);
}

/* The first refcount table counts 8 MiB of file: here it must grow. */
static void test_longer_refcount_table(void **state)
{
    struct content initial = {0};
    struct random random = {8};
    struct bl_disk *disk;

    (void)state;
    make_base(64);
    shell("qemu-img create -q -f qcow2 -o cluster_size=512 -F raw -b base.raw disk.qcow2 10M");
    operation_count = 0;
    disk = disk_open(0, record_calls(), "raw:base.raw", "qcow2:disk.qcow2", NULL);
    first_bytes = bl_disk_bytes(disk);
    record_clear();
    content_load(&initial, "disk.qcow2");
    for (uint64_t at = 0; at < 10 * MIB / SECTOR; at += 1024)
        write_sectors(disk, at, 1024);
    flush(disk);
    disk_close(disk);
    assert_true(shell_status("test $(stat -c %%s disk.qcow2) -gt 8388608") == 0);
    shell("qemu-img check -q disk.qcow2");
    look_at_cuts(&initial, 64, record_length / 40, &random);
    content_free(&initial);
    record_clear();
}

static int remove_files(void **state)
{
    (void)state;
    return shell_status("rm -f *");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_small_clusters, remove_files),
        cmocka_unit_test_teardown(test_page_clusters, remove_files),
        cmocka_unit_test_teardown(test_usual_clusters, remove_files),
        cmocka_unit_test_teardown(test_resizes, remove_files),
        cmocka_unit_test_teardown(test_longer_refcount_table, remove_files),
    };

    return cmocka_run_group_tests(tests, disk_enter, disk_leave);
}
