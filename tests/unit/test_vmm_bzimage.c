/* SPDX-License-Identifier: Apache-2.0 */
/* test_vmm_bzimage.c - kernels in a bzImage: every way to pack them, and files that are damaged or lie */
#include <archive.h>
#include <archive_entry.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "vmm/bzimage.h"

#define KERNEL_BYTES 200000 /* of what is packed, longer than what is read at a time */
#define PAYLOAD_AT   0x1234 /* from the end of the setup sectors */
#define SECTORS      7
#define START        ((SECTORS + 1) * 512 + PAYLOAD_AT)
#define IMAGE_MAX    (START + 2 * KERNEL_BYTES)

/* A file that is being made, and where its payload ends. */
struct image {
    uint8_t bytes[IMAGE_MAX];
    size_t length, payload;
};

static uint8_t kernel[KERNEL_BYTES];

static void make_kernel(void)
{
    uint32_t number = 1;

    for (size_t i = 0; i < sizeof kernel; i++) {
        number = number * 1103515245 + 12345;
        kernel[i] = (uint8_t)(number >> 20 & 0x33); /* packs to less, but not to nothing */
    }
}

static void finish(struct image *image, size_t payload, bool add_size)
{
    if (add_size) {
        bl_put_le32(image->bytes + START + payload, KERNEL_BYTES);
        payload += 4;
    }
    memset(image->bytes, 0, 0x250);
    image->bytes[0x1f1] = SECTORS;
    bl_put_le16(image->bytes + 0x1fe, 0xaa55);
    memcpy(image->bytes + 0x202, "HdrS", 4);
    bl_put_le16(image->bytes + 0x206, 0x020f);
    bl_put_le32(image->bytes + 0x248, PAYLOAD_AT);
    bl_put_le32(image->bytes + 0x24c, (uint32_t)payload);
    image->payload = payload;
    image->length = START + payload;
}

static void pack(struct image *image, int (*filter)(struct archive *), bool add_size)
{
    struct archive *archive = archive_write_new();
    struct archive_entry *entry = archive_entry_new();
    size_t used = 0;

    assert_int_equal(filter(archive), ARCHIVE_OK);
    assert_int_equal(archive_write_set_format_raw(archive), ARCHIVE_OK);
    assert_int_equal(archive_write_set_bytes_per_block(archive, 0), ARCHIVE_OK);
    assert_int_equal(archive_write_open_memory(archive, image->bytes + START, IMAGE_MAX - START - 4, &used), ARCHIVE_OK);
    archive_entry_set_filetype(entry, AE_IFREG);
    assert_int_equal(archive_write_header(archive, entry), ARCHIVE_OK);
    assert_int_equal(archive_write_data(archive, kernel, sizeof kernel), sizeof kernel);
    assert_int_equal(archive_write_close(archive), ARCHIVE_OK);
    archive_entry_free(entry);
    archive_write_free(archive);
    finish(image, used, add_size);
}

/* pack_lz4() - As `lz4 -l` makes it, which kernels use: a magic, then blocks; of literals only, which is allowed. */
static void pack_lz4(struct image *image)
{
    uint8_t *at = image->bytes + START;

    memcpy(at, "\x02\x21\x4c\x18", 4);
    size_t rest = KERNEL_BYTES - 15, length = 8 + 1;

    at[8] = 0xf0;
    for (; rest >= 255; rest -= 255)
        at[length++] = 255;
    at[length++] = (uint8_t)rest;
    memcpy(at + length, kernel, sizeof kernel);
    length += sizeof kernel;
    bl_put_le32(at + 4, (uint32_t)length - 8);
    finish(image, length, true);
}

static int unpack(const struct image *image, struct bl_error *err)
{
    cleanup_close int file = memfd_create("vmlinuz", MFD_CLOEXEC), out = -1;
    static uint8_t got[KERNEL_BYTES + 1];
    int result;

    *err = (struct bl_error)BL_ERROR_INIT;
    assert_int_equal(pwrite(file, image->bytes, image->length, 0), image->length);
    result = bl_bzimage_unpack(file, "vmlinuz", &out, err);
    assert_int_equal(out >= 0, result == 1);
    if (result == 1) {
        assert_int_equal(pread(out, got, sizeof got, 0), sizeof kernel);
        assert_memory_equal(got, kernel, sizeof kernel);
    }
    if (result < 0)
        assert_true(err->code == BL_ENGINE && strstr(err->message, "vmlinuz"));
    return result;
}

static void every_packing_is_unpacked(void **state)
{
    static const struct {
        int (*filter)(struct archive *);
        bool add_size;
    } ways[] = {
        {archive_write_add_filter_gzip, false}, {archive_write_add_filter_xz, true},   {archive_write_add_filter_zstd, true},
        {archive_write_add_filter_bzip2, true}, {archive_write_add_filter_lzma, true},
    };
    struct image *image = calloc(1, sizeof *image);
    struct bl_error err;

    (void)state;
    assert_non_null(image);
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        pack(image, ways[i].filter, ways[i].add_size);
        assert_int_equal(unpack(image, &err), 1);
    }
    pack_lz4(image);
    assert_int_equal(unpack(image, &err), 1);
    free(image);
}

static void what_is_none_is_left_alone(void **state)
{
    struct image *image = calloc(1, sizeof *image);
    struct bl_error err;

    (void)state;
    assert_non_null(image);
    pack_lz4(image);
    image->bytes[0x202] = 'h';
    assert_int_equal(unpack(image, &err), 0);
    pack_lz4(image);
    image->bytes[0x1ff] = 0;
    assert_int_equal(unpack(image, &err), 0);
    pack_lz4(image);
    image->length = 0x24f;
    assert_int_equal(unpack(image, &err), 0);
    image->length = 0;
    assert_int_equal(unpack(image, &err), 0);
    free(image);
}

/* Each way to be wrong, and a word of what is said about it. */
static void hostile_images_are_refused(void **state)
{
    struct image *image = calloc(1, sizeof *image);
    struct bl_error err;

    (void)state;
    assert_non_null(image);
#define REFUSED(change, says)                                                                                                      \
    do {                                                                                                                           \
        pack(image, archive_write_add_filter_gzip, false);                                                                         \
        change;                                                                                                                    \
        assert_int_equal(unpack(image, &err), -1);                                                                                 \
        if (!strstr(err.message, says))                                                                                            \
            fail_msg("%s: %s", #change, err.message);                                                                              \
    } while (0)
    REFUSED(bl_put_le16(image->bytes + 0x206, 0x0207), "before 2.08");
    REFUSED(image->length--, "cut short");
    REFUSED(image->length = 0x250, "cut short");
    REFUSED(bl_put_le32(image->bytes + 0x248, PAYLOAD_AT + 1), "cut short");
    REFUSED(bl_put_le32(image->bytes + 0x248, UINT32_MAX), "cut short");
    REFUSED(bl_put_le32(image->bytes + 0x24c, UINT32_MAX), "cut short");
    REFUSED(bl_put_le32(image->bytes + 0x24c, 4), "cut short");
    REFUSED(bl_put_le32(image->bytes + 0x24c, 0), "cut short");
    REFUSED(image->bytes[0x1f1] = 255, "cut short");
    REFUSED(bl_put_le32(image->bytes + image->length - 4, 0), "the most");
    REFUSED(bl_put_le32(image->bytes + image->length - 4, (256u << 20) + 1), "the most");
    REFUSED(bl_put_le32(image->bytes + image->length - 4, KERNEL_BYTES - 1), "unpack");
    REFUSED(bl_put_le32(image->bytes + image->length - 4, KERNEL_BYTES + 1), "unpack");
    REFUSED(memset(image->bytes + START, 0, 6), "is not known (it begins with 00 00 00 00)");
    REFUSED(memcpy(image->bytes + START, "\x89LZO\0\r", 6), "packed with lzo");
    REFUSED(memcpy(image->bytes + START,
                   "\xfd"
                   "7zXZ",
                   6),
            "unpack");
    REFUSED(memset(image->bytes + START + 400, 0xff, image->payload - 404), "unpack");
    /* Half of it, behind an honest header. */
    REFUSED(finish(image, image->payload / 2, true), "unpack");
#undef REFUSED
    free(image);
}

/* Sectors 0 mean 4. */
static void old_default_of_sectors(void **state)
{
    struct image *image = calloc(1, sizeof *image);
    struct bl_error err;

    (void)state;
    assert_non_null(image);
    pack_lz4(image);
    image->bytes[0x1f1] = 0;
    bl_put_le32(image->bytes + 0x248, START - 5 * 512);
    assert_int_equal(unpack(image, &err), 1);
    free(image);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_packing_is_unpacked),
        cmocka_unit_test(what_is_none_is_left_alone),
        cmocka_unit_test(hostile_images_are_refused),
        cmocka_unit_test(old_default_of_sectors),
    };

    make_kernel();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
