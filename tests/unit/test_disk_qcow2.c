/* SPDX-License-Identifier: Apache-2.0 */
/* test_disk_qcow2.c - overlays of ours as qemu-img sees them */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "disk/qcow2.h"

#define GIB (1ull << 30)

static char directory[] = "/tmp/bl-qcow2-XXXXXX";

static int make_directory(void **state)
{
    (void)state;
    return mkdtemp(directory) && chdir(directory) == 0 ? 0 : -1;
}

static int remove_directory(void **state)
{
    (void)state;
    unlink("base.ext4");
    unlink("disk.qcow2");
    unlink("raw");
    return chdir("/") == 0 ? rmdir(directory) : -1;
}

static void make_base(uint64_t bytes)
{
    cleanup_close int fd = open("base.ext4", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, (off_t)bytes), 0);
    assert_int_equal(pwrite(fd, "base", 4, 0), 4);
}

static void make_overlay(uint64_t bytes, uint64_t base)
{
    struct bl_error err = BL_ERROR_INIT;
    cleanup_close int fd = open("disk.qcow2", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(bl_qcow2_create(fd, bytes, base, "base.ext4", &err), 0);
}

static void run(const char *command)
{
    int status = system(command);

    if (status != 0)
        fail_msg("%s: status %d", command, status);
}

static void qemu_img_finds_it_clean(void **state)
{
    (void)state;
    static const uint64_t sizes[] = {512, 1 << 20, 512u << 20, (512u << 20) + 512, 10 * GIB, 1024 * GIB, 4096 * GIB};

    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        char command[256];

        make_base(512);
        make_overlay(sizes[i], 512);
        run("qemu-img check -q disk.qcow2");
        snprintf(command, sizeof command, "qemu-img info --output=json disk.qcow2 | grep -q '\"virtual-size\": %llu,'",
                 (unsigned long long)sizes[i]);
        run(command);
        run("qemu-img info disk.qcow2 | grep -q '^backing file: base.ext4'");
        run("qemu-img info disk.qcow2 | grep -q '^backing file format: raw'");
    }
}

static void it_reads_as_its_base_and_takes_writes(void **state)
{
    (void)state;
    make_base(1 << 20);
    make_overlay(GIB, 1 << 20);
    run("qemu-img convert -O raw disk.qcow2 raw && cmp -n 1048576 raw base.ext4 && cmp -n 1048576 -i 1048576:0 raw /dev/zero");
    /* Across the border between the base's end and the rest, and far away: new L2 tables and a second refcount block. */
    run("qemu-io -c 'write -P 7 1040384 65536' -c 'write -P 9 900M 1M' -c 'read -P 7 1040384 65536' -c 'read -P 9 900M 1M' "
        "disk.qcow2"
        " | grep -c '^wrote\\|^read' | grep -qx 4");
    run("qemu-img check -q disk.qcow2");
    run("cmp -n 4 base.ext4 /dev/stdin <<END\nbase\nEND");
}

static void it_takes_little_of_the_host(void **state)
{
    (void)state;
    struct stat made;

    make_base(512);
    make_overlay(10 * GIB, 512);
    assert_int_equal(stat("disk.qcow2", &made), 0);
    assert_true(made.st_blocks * 512 <= 65536);
}

static void nonsense_is_refused(void **state)
{
    (void)state;
    char name[2000];
    struct bl_error err = BL_ERROR_INIT;
    cleanup_close int fd = open("disk.qcow2", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    memset(name, 'x', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    assert_int_equal(bl_qcow2_create(fd, 0, 0, "base.ext4", &err), -1);
    assert_int_equal(err.code, BL_INVALID_ARGUMENT);
    assert_int_equal(bl_qcow2_create(fd, 1000, 0, "base.ext4", &err), -1);
    assert_int_equal(bl_qcow2_create(fd, 4096 * GIB + 512, 0, "base.ext4", &err), -1);
    assert_int_equal(bl_qcow2_create(fd, 512, 1024, "base.ext4", &err), -1);
    assert_int_equal(bl_qcow2_create(fd, 512, 512, "", &err), -1);
    assert_int_equal(bl_qcow2_create(fd, 512, 512, name, &err), -1);
    assert_int_equal(err.code, BL_INVALID_ARGUMENT);
    assert_int_equal(bl_qcow2_create(-1, 512, 512, "base.ext4", &err), -1);
    assert_int_equal(err.code, BL_STORAGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(qemu_img_finds_it_clean),
        cmocka_unit_test(it_reads_as_its_base_and_takes_writes),
        cmocka_unit_test(it_takes_little_of_the_host),
        cmocka_unit_test(nonsense_is_refused),
    };

    return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
