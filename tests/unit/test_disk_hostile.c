/* SPDX-License-Identifier: Apache-2.0 */
/* test_disk_hostile.c - images that are refused, corrupt ones, failing calls, locks, and chains of files */
#include "disk_record.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/cleanup.h"

#define MIB (1ull << 20)

static void put(const char *name, uint64_t offset, int width, uint64_t value)
{
    cleanup_close int fd = open_file(name, O_RDWR);
    uint8_t bytes[8];

    bl_put_be64(bytes, value);
    assert_int_equal(pwrite(fd, bytes + 8 - width, (size_t)width, (off_t)offset), width);
}

static uint64_t get(const char *name, uint64_t offset)
{
    cleanup_close int fd = open_file(name, O_RDONLY);
    uint8_t bytes[8] = {0};

    assert_int_equal(pread(fd, bytes, sizeof bytes, (off_t)offset), sizeof bytes);
    return bl_get_be64(bytes);
}

static enum bl_code try_open(const char *name, bool qcow2, unsigned int flags, const char *says)
{
    cleanup_close int fd = open_file(name, flags & BL_DISK_READ_ONLY ? O_RDONLY : O_RDWR);
    struct bl_error err = BL_ERROR_INIT;
    struct bl_disk *disk = NULL;

    if (!bl_disk_open(&disk, &(struct bl_disk_layer){fd, qcow2}, 1, flags, &err)) {
        bl_disk_close(disk);
        return BL_OK;
    }
    if (says && !strstr(err.message, says))
        fail_msg("\"%s\" does not say \"%s\"", err.message, says);
    return err.code;
}

static void make_image(void)
{
    shell("qemu-img create -q -f qcow2 disk.qcow2 64M && qemu-io -c 'write -P 7 0 200k' disk.qcow2 >/dev/null");
}

static void test_refusals(void **state)
{
    static const struct {
        uint64_t offset;
        int width;
        uint64_t value;
        enum bl_code code;
        const char *says;
    } cases[] = {
        {0, 4, 0, BL_STORAGE, "it is none"},
        {4, 4, 2, BL_UNSUPPORTED, "version is 2"},
        {20, 4, 8, BL_STORAGE, "clusters"},
        {20, 4, 22, BL_STORAGE, "clusters"},
        {24, 8, 1000, BL_STORAGE, "size"},
        {24, 8, UINT64_MAX - 511, BL_STORAGE, "size"},
        {24, 8, 1ull << 60, BL_STORAGE, "L1 table is too short"},
        {32, 4, 1, BL_UNSUPPORTED, "encryption"},
        {36, 4, 0, BL_STORAGE, "L1 table is too short"},
        {36, 4, UINT32_MAX, BL_UNSUPPORTED, "larger tables"},
        {40, 8, 512, BL_STORAGE, "L1 table is not within"},
        {40, 8, 0, BL_STORAGE, "L1 table is not within"},
        {40, 8, 1ull << 40, BL_STORAGE, "L1 table is not within"},
        {48, 8, 1ull << 62, BL_STORAGE, "refcount table is not within"},
        {48, 8, 0x30000, BL_STORAGE, "corrupt"}, /* where the L1 table is */
        {56, 4, 0, BL_STORAGE, "no reference counts"},
        {56, 4, UINT32_MAX, BL_UNSUPPORTED, "larger tables"},
        {60, 4, 1, BL_UNSUPPORTED, "snapshots"},
        {72, 8, 1, BL_STORAGE, "qemu-img check -r all"},
        {72, 8, 2, BL_STORAGE, "marked as corrupt"},
        {72, 8, 4, BL_UNSUPPORTED, "another file"},
        {72, 8, 8, BL_UNSUPPORTED, "compressed"},
        {72, 8, 16, BL_UNSUPPORTED, "subclusters"},
        {72, 8, 1ull << 40, BL_UNSUPPORTED, "not known"},
        {96, 4, 7, BL_STORAGE, "reference counts"},
        {100, 4, 72, BL_STORAGE, "length of its header"},
        {100, 4, 70000, BL_STORAGE, "length of its header"},
        {0x10000, 8, 0x20001, BL_STORAGE, "refcount table"},        /* reserved bits */
        {0x10000, 8, 0, BL_STORAGE, "no reference counts"},         /* no first block */
        {0x10008, 8, 0x20000, BL_STORAGE, "same cluster"},          /* two blocks in one place */
        {0x30000, 8, 1ull << 63 | 0x30000, BL_STORAGE, "same"},     /* an L2 table on the L1 table */
        {0x30000, 8, 0x40000, BL_UNSUPPORTED, "shared"},            /* not marked as its own */
        {0x30000, 8, 1ull << 63 | 1ull << 50, BL_STORAGE, "L1"},    /* past the end */
        {0x30000, 8, 1ull << 63 | 0x40200, BL_STORAGE, "L1 table"}, /* not on a boundary */
    };

    (void)state;
    make_image();
    assert_int_equal(try_open("disk.qcow2", true, 0, NULL), BL_OK);
    shell("cp disk.qcow2 good.qcow2");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        enum bl_code code;

        shell("cp good.qcow2 disk.qcow2");
        put("disk.qcow2", cases[i].offset, cases[i].width, cases[i].value);
        code = try_open("disk.qcow2", true, 0, cases[i].says);
        if (code != cases[i].code)
            fail_msg("%llx at %llx: %s", (unsigned long long)cases[i].value, (unsigned long long)cases[i].offset,
                     bl_code_name(code));
    }
    put("good.qcow2", 72, 8, 3);
    assert_int_equal(try_open("good.qcow2", true, BL_DISK_READ_ONLY, NULL), BL_OK);
    assert_int_equal(try_open("/dev/null", false, 0, "no regular"), BL_INVALID_ARGUMENT);
}

static int read_one(struct bl_disk *disk, uint64_t offset)
{
    uint8_t byte;

    return bl_disk_read(disk, &(struct iovec){&byte, 1}, 1, offset);
}

static int write_one(struct bl_disk *disk, uint64_t offset)
{
    uint8_t byte = 9;

    return bl_disk_write(disk, &(struct iovec){&byte, 1}, 1, offset);
}

/* Entries that name what they must not: the request fails, the image is marked, and nothing else is touched. */
static void test_corrupt_entries(void **state)
{
    const uint64_t copied = 1ull << 63;
    const uint64_t entries[] = {copied | 0x30000, copied | 0x10000, copied | 0x20000,
                                copied,           copied | 0x40000, copied | 1ull << 40,
                                copied | 0x50200, copied | 0x50002, 1ull << 56 | 0x50000};

    (void)state;
    make_image();
    shell("cp disk.qcow2 good.qcow2");
    for (size_t i = 0; i < sizeof entries / sizeof entries[0]; i++) {
        struct bl_disk *disk;

        shell("cp good.qcow2 disk.qcow2");
        put("disk.qcow2", 0x40000, 8, entries[i]);
        disk = disk_open(0, NULL, "qcow2:disk.qcow2", NULL);
        assert_int_equal(read_one(disk, 70000), 0);
        assert_int_equal(write_one(disk, 5), -1);
        assert_int_equal(errno, EIO);
        assert_int_equal(write_one(disk, 70000), -1);
        assert_int_equal(bl_disk_flush(disk), -1);
        assert_int_equal(read_one(disk, 70000), 0);
        assert_int_equal(read_one(disk, 5), -1);
        disk_abandon(disk);
        assert_int_equal(get("disk.qcow2", 72), 2);
        put("disk.qcow2", 72, 8, 0);
        put("disk.qcow2", 0x40000, 8, get("good.qcow2", 0x40000));
        shell("cmp disk.qcow2 good.qcow2 -n 458752");
        put("disk.qcow2", 72, 8, 2);
        assert_int_equal(try_open("disk.qcow2", true, 0, "marked"), BL_STORAGE);
    }
}

static void test_compressed(void **state)
{
    struct bl_disk *disk;

    (void)state;
    make_raw("plain.raw", MIB, 5);
    shell("qemu-img convert -c -O qcow2 plain.raw disk.qcow2");
    disk = disk_open(0, NULL, "qcow2:disk.qcow2", NULL);
    for (uint64_t at = 0; at < MIB; at += 65536) {
        assert_int_equal(read_one(disk, at), -1);
        assert_int_equal(errno, EOPNOTSUPP);
        assert_int_equal(write_one(disk, at), -1);
        assert_int_equal(errno, EOPNOTSUPP);
    }
    disk_close(disk);
    shell("qemu-img compare -q disk.qcow2 plain.raw");
}

static void test_bounds(void **state)
{
    struct bl_disk *disk;

    (void)state;
    make_image();
    disk = disk_open(0, NULL, "qcow2:disk.qcow2", NULL);
    assert_int_equal(read_one(disk, 64 * MIB - 1), 0);
    assert_int_equal(read_one(disk, 64 * MIB), -1);
    assert_int_equal(errno, EINVAL);
    assert_int_equal(write_one(disk, UINT64_MAX), -1);
    assert_int_equal(errno, EINVAL);
    assert_int_equal(bl_disk_discard(disk, 512, 64 * MIB), -1);
    assert_int_equal(bl_disk_write_zeroes(disk, 64 * MIB, UINT64_MAX, true), -1);
    disk_close(disk);
    disk = disk_open(BL_DISK_READ_ONLY, NULL, "qcow2:disk.qcow2", NULL);
    assert_int_equal(write_one(disk, 0), -1);
    assert_int_equal(errno, EROFS);
    assert_int_equal(bl_disk_discard(disk, 0, 65536), -1);
    assert_int_equal(bl_disk_flush(disk), 0);
    disk_close(disk);
}

static void test_locks(void **state)
{
    struct bl_disk *disk, *other;

    (void)state;
    make_raw("base.raw", MIB, 6);
    shell("qemu-img create -q -f qcow2 -F raw -b base.raw disk.qcow2");
    shell("qemu-img create -q -f qcow2 -F raw -b base.raw other.qcow2");
    disk = disk_open(0, NULL, "raw:base.raw", "qcow2:disk.qcow2", NULL);
    assert_int_equal(try_open("disk.qcow2", true, 0, "another process uses"), BL_INVALID_STATE);
    assert_int_equal(try_open("disk.qcow2", true, BL_DISK_READ_ONLY, "another process writes"), BL_INVALID_STATE);
    assert_int_equal(try_open("base.raw", false, 0, "another process uses"), BL_INVALID_STATE);
    assert_true(shell_status("qemu-io -c 'write 0 512' disk.qcow2 >/dev/null 2>&1") != 0);
    assert_true(shell_status("qemu-io -c 'write 0 512' base.raw -f raw >/dev/null 2>&1") != 0);
    other = disk_open(0, NULL, "raw:base.raw", "qcow2:other.qcow2", NULL); /* a base is shared */
    shell("qemu-io -r -U -c 'read 0 512' disk.qcow2 >/dev/null");
    disk_close(other);
    disk_close(disk);
    shell("qemu-io -c 'write 0 512' disk.qcow2 >/dev/null");
}

static void test_chain(void **state)
{
    struct random random = {17};
    struct model model = {0};
    struct bl_disk *disk;

    (void)state;
    make_raw("base.raw", 3 * MIB, 7);
    shell("qemu-img create -q -f qcow2 -F raw -b base.raw middle.qcow2 5M");
    shell("qemu-io -c 'write -P 3 1M 100k' -c 'write -z 2M 300k' -c 'write -P 4 4M 64k' middle.qcow2 >/dev/null");
    shell("qemu-img create -q -f qcow2 -o cluster_size=8192 -F qcow2 -b middle.qcow2 top.qcow2 6M");
    model_load(&model, "qcow2", "top.qcow2");
    shell("sha256sum base.raw middle.qcow2 >sums");
    disk = disk_open(0, quick_calls(), "raw:base.raw", "qcow2:middle.qcow2", "qcow2:top.qcow2", NULL);
    model.granularity = bl_disk_granularity(disk);
    compare_with_model(disk, &model);
    for (int i = 0; i < 400; i++)
        random_operation(disk, &model, &random);
    compare_with_model(disk, &model);
    disk_close(disk);
    shell("sha256sum --quiet -c sums && qemu-img check -q top.qcow2");
    disk = disk_open(BL_DISK_READ_ONLY, NULL, "raw:base.raw", "qcow2:middle.qcow2", "qcow2:top.qcow2", NULL);
    compare_with_model(disk, &model);
    disk_close(disk);
    model_free(&model);
}

static void test_raw_on_top(void **state)
{
    struct random random = {18};
    struct model model = {0};
    struct bl_error err = BL_ERROR_INIT;
    struct bl_disk *disk;

    (void)state;
    make_raw("disk.raw", 2 * MIB, 8);
    model_load(&model, "raw", "disk.raw");
    disk = disk_open(0, NULL, "raw:disk.raw", NULL);
    model.granularity = 1; /* a file system zeroes parts of its blocks */
    for (int i = 0; i < 300; i++)
        random_operation(disk, &model, &random);
    compare_with_model(disk, &model);
    assert_int_equal(bl_disk_resize(disk, 3 * MIB, &err), 0);
    assert_int_equal(bl_disk_bytes(disk), 3 * MIB);
    disk_close(disk);
    model_free(&model);
}

/* More changed slices than the caches hold, without a flush of the guest. */
static void test_full_caches(void **state)
{
    uint8_t bytes[512];
    struct bl_disk *disk;

    (void)state;
    shell("qemu-img create -q -f qcow2 -o cluster_size=512 disk.qcow2 60M");
    disk = disk_open(0, quick_calls(), "qcow2:disk.qcow2", NULL);
    for (int turn = 0; turn < 2; turn++)
        for (uint64_t at = 0; at < 60 * MIB; at += 32768) {
            memset(bytes, (int)(at >> 15) + turn, sizeof bytes);
            assert_int_equal(bl_disk_write(disk, &(struct iovec){bytes, 512}, 1, at), 0);
        }
    for (uint64_t at = 0; at < 60 * MIB; at += 32768) {
        assert_int_equal(bl_disk_read(disk, &(struct iovec){bytes, 512}, 1, at), 0);
        assert_int_equal(bytes[77], (uint8_t)((at >> 15) + 1));
    }
    assert_int_equal(bl_disk_discard(disk, 0, 60 * MIB), 0);
    assert_int_equal(read_one(disk, 30 * MIB), 0);
    disk_close(disk);
    shell("qemu-img check -q disk.qcow2");
}

/* The Nth call of a kind fails. */
#define PIECE   150000u
#define SPACING 200000u
static int calls_left;
static int failing_errno;

static bool fails(void)
{
    if (calls_left < 0 || calls_left-- > 0)
        return false;
    errno = failing_errno;
    return true;
}

static ssize_t failing_pwritev(int fd, const struct iovec *iov, int count, off_t offset)
{
    return fails() ? -1 : pwritev(fd, iov, count, offset);
}

/* A file that can't become so much longer is asked to become a little longer: that fails too. */
static int failing_ftruncate(int fd, off_t length)
{
    static bool again;

    if (!again && !fails())
        return ftruncate(fd, length);
    again = !again;
    errno = failing_errno;
    return -1;
}

static int failing_fdatasync(int fd)
{
    (void)fd;
    return fails() ? -1 : 0;
}

static int write_range(struct bl_disk *disk, uint64_t at, uint8_t value)
{
    uint8_t bytes[PIECE];

    memset(bytes, value, sizeof bytes);
    return bl_disk_write(disk, &(struct iovec){bytes, sizeof bytes}, 1, at);
}

/* fail_nth() - Writes, discards and flushes with one failure. Return: whether the call came that fails */
static bool fail_nth(const struct bl_disk_calls *calls, int nth, bool for_good)
{
    struct bl_disk *disk;
    struct content image = {0};
    int failures = 0;

    shell("cp good.qcow2 disk.qcow2");
    calls_left = -1;
    disk = disk_open(0, calls, "raw:base.raw", "qcow2:disk.qcow2", NULL);
    calls_left = nth;
    for (int i = 0; i < 12; i++) {
        failures += write_range(disk, (uint64_t)i * SPACING, (uint8_t)(i + 1)) < 0;
        failures += i % 3 == 1 && bl_disk_discard(disk, (uint64_t)(i - 1) * SPACING, PIECE / 2) < 0;
        failures += i % 4 == 3 && bl_disk_flush(disk) < 0;
    }

    bool came = calls_left < 0;

    calls_left = -1;
    assert_true(failures || !came);
    if (for_good && came) {
        assert_int_equal(write_one(disk, 0), -1);
        assert_int_equal(errno, EIO);
        assert_int_equal(bl_disk_flush(disk), -1);
        disk_abandon(disk);
    } else {
        uint8_t bytes[PIECE];

        for (int i = 0; i < 12; i++)
            assert_int_equal(write_range(disk, (uint64_t)i * SPACING, (uint8_t)(i + 100)), 0);
        disk_close(disk);
        disk = disk_open(0, NULL, "raw:base.raw", "qcow2:disk.qcow2", NULL);
        for (int i = 0; i < 12; i++) {
            assert_int_equal(bl_disk_read(disk, &(struct iovec){bytes, sizeof bytes}, 1, (uint64_t)i * SPACING), 0);
            assert_true(bytes[0] == i + 100 && !memcmp(bytes, bytes + 1, sizeof bytes - 1));
        }
        disk_close(disk);
    }
    content_load(&image, "disk.qcow2");
    if (image_wrong(&image))
        fail_msg("after failure %d: %s", nth, image_wrong(&image));
    content_free(&image);
    return came;
}

static void test_failing_calls(void **state)
{
    struct bl_disk_calls calls = bl_disk_system_calls;
    int nth;

    (void)state;
    make_raw("base.raw", MIB, 9);
    shell("qemu-img create -q -f qcow2 -o cluster_size=4096 -F raw -b base.raw good.qcow2 8M");
    calls.fdatasync = quick_calls()->fdatasync;
    calls.pwritev = failing_pwritev;
    failing_errno = ENOSPC;
    for (nth = 0; fail_nth(&calls, nth, false); nth++)
        ;
    assert_true(nth > 20);
    calls.pwritev = pwritev;
    calls.ftruncate = failing_ftruncate;
    for (nth = 0; fail_nth(&calls, nth, false); nth++)
        ;
    assert_true(nth > 0);
    calls.ftruncate = ftruncate;
    calls.fdatasync = failing_fdatasync;
    failing_errno = EIO;
    for (nth = 0; fail_nth(&calls, nth, true); nth++)
        ;
    assert_true(nth > 3);
}

static int remove_files(void **state)
{
    (void)state;
    return shell_status("rm -f *");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_refusals, remove_files),      cmocka_unit_test_teardown(test_corrupt_entries, remove_files),
        cmocka_unit_test_teardown(test_compressed, remove_files),    cmocka_unit_test_teardown(test_bounds, remove_files),
        cmocka_unit_test_teardown(test_locks, remove_files),         cmocka_unit_test_teardown(test_chain, remove_files),
        cmocka_unit_test_teardown(test_raw_on_top, remove_files),    cmocka_unit_test_teardown(test_full_caches, remove_files),
        cmocka_unit_test_teardown(test_failing_calls, remove_files),
    };

    return cmocka_run_group_tests(tests, disk_enter, disk_leave);
}
