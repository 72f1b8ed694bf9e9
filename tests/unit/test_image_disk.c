/* SPDX-License-Identifier: Apache-2.0 */
/* test_image_disk.c - the file system of a disk: holes, large directories, trees of extents, sizes; each passes e2fsck */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/strings.h"
#include "image/loader/disk.h"
#include "image/loader/load.h"
#include "image_fixture.h"

static struct home home;

static int set_up(void **state)
{
    (void)state;
    home_make(&home);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    home_remove(&home);
    return 0;
}

/* Holes that tar tells of, and blocks of zeros that it does not, take no room; contents stay right around them. */
static void keeps_holes(void **state)
{
    size_t length = 5 * 4096 + 100;
    cleanup_free char *zeros = calloc(1, length), *sparse = calloc(1, 1 << 20), *sizes = NULL;
    struct bl_buffer layer = TAR_INIT;
    char map[1024] = "4\n0\n10\n8191\n5000\n20480\n4096\n1048576\n0\n", stored[1024 + 10 + 5000 + 4096 + 512];
    struct bl_image *image;

    (void)state;
    strcpy(zeros + 4096 * 2 + 7, "in the middle");
    zeros[length - 1] = 'e';
    tar_add(&layer, &(struct entry){.path = "zeros", .data = zeros, .length = length});
    /* GNU sparse format 1.0: the map stands before the data. */
    memset(sparse, 'a', 10);
    memset(sparse + 8191, 'b', 5000);
    memset(sparse + 20480, 'c', 4096);
    memset(stored, 0, sizeof stored);
    memcpy(stored, map, strlen(map));
    memcpy(stored + 512, sparse, 10);
    memcpy(stored + 512 + 10, sparse + 8191, 5000);
    memcpy(stored + 512 + 10 + 5000, sparse + 20480, 4096);
    tar_add(&layer, &(struct entry){.path = "GNUSparseFile.1/sparse",
                                    .data = stored,
                                    .length = 512 + 10 + 5000 + 4096,
                                    .pax = "GNU.sparse.major=1\nGNU.sparse.minor=0\nGNU.sparse.name=sparse\n"
                                           "GNU.sparse.realsize=1048576\n"});
    for (size_t i = 0; i < 40; i++) { /* all lengths around a block's end */
        char name[32];

        sizes = realloc(sizes, 8200);
        memset(sizes, (int)('A' + i % 26), 8200);
        snprintf(name, sizeof name, "size%zu", 4096 - 20 + i);
        tar_add(&layer, &(struct entry){.path = name, .data = sizes, .length = 4096 - 20 + i});
    }
    tar_end(&layer);
    must(load_layers(&home, &layer, 1, &image, err));

    struct disk disk = disk_open(image);

    assert_true(disk_is(&disk, "/zeros", zeros, length));
    assert_int_equal(disk_stat(&disk, "/zeros").i_blocks, 2 * 8);
    assert_true(disk_is(&disk, "/sparse", sparse, 1 << 20));
    /* blocks 0; 1, 2, 3 (a byte of 1, to 13190); 5 */
    assert_int_equal(disk_stat(&disk, "/sparse").i_blocks, 5 * 8);
    for (size_t i = 0; i < 40; i++) {
        char name[32];

        memset(sizes, (int)('A' + i % 26), 8200);
        snprintf(name, sizeof name, "/size%zu", 4096 - 20 + i);
        assert_true(disk_is(&disk, name, sizes, 4096 - 20 + i));
    }
    disk_close(&disk);
    bl_image_free(image);
}

/* Large directories are indexed, of one and of two levels, and e2fsck finds every name where its hash says. */
static void indexes_large_directories(void **state)
{
    struct bl_buffer layer = TAR_INIT;
    char name[300];
    struct bl_image *image;

    (void)state;
    for (int i = 0; i < 1200; i++) {
        snprintf(name, sizeof name, "one/file-%d", i);
        tar_add(&layer, &(struct entry){.path = name});
    }
    for (int i = 0; i < 8500; i++) { /* 15 names a block: more blocks than a root holds */
        snprintf(name, sizeof name, "two/%d-%0230d", i, 0);
        tar_add(&layer, &(struct entry){.path = name, .type = '2', .link = "x"});
    }
    tar_end(&layer);
    must(load_layers(&home, &layer, 1, &image, err));

    struct disk disk = disk_open(image);

    assert_true(disk_stat(&disk, "/one").i_flags & EXT2_INDEX_FL);
    assert_true(disk_stat(&disk, "/two").i_flags & EXT2_INDEX_FL);
    assert_true(disk_stat(&disk, "/two").i_size > 509 * 4096);
    assert_int_not_equal(disk_find(&disk, "/one/file-777"), 0);
    snprintf(name, sizeof name, "/two/%d-%0230d", 8499, 0);
    assert_int_not_equal(disk_find(&disk, name), 0);
    disk_close(&disk);
    bl_image_free(image);
}

/* A file of many pieces needs a tree of extents, of one level and of two. */
static void writes_fragmented_files(void **state)
{
    static const size_t pieces[] = {5, 340 * 4 + 3, 340 * 6};
    struct bl_buffer layer = TAR_INIT;
    size_t most = pieces[2] * 2 * 4096;
    cleanup_free char *content = calloc(1, most);
    struct bl_image *image;
    char name[32];

    (void)state;
    for (size_t i = 0; i < pieces[2]; i++)
        content[i * 2 * 4096] = 'x';
    for (size_t i = 0; i < 3; i++) {
        snprintf(name, sizeof name, "pieces%zu", i);
        tar_add(&layer, &(struct entry){.path = name, .data = content, .length = pieces[i] * 2 * 4096});
    }
    tar_end(&layer);
    must(load_layers(&home, &layer, 1, &image, err));

    struct disk disk = disk_open(image);

    for (size_t i = 0; i < 3; i++) {
        snprintf(name, sizeof name, "/pieces%zu", i);
        assert_true(disk_is(&disk, name, content, pieces[i] * 2 * 4096));
    }
    disk_close(&disk);
    bl_image_free(image);
}

/* What was replaced is gone from the disk, also its blocks on the host. */
static void gives_blocks_back(void **state)
{
    size_t length = (8 << 20) + 700000; /* the last of it still waits to be written when it goes */
    cleanup_free char *content = malloc(length);
    struct bl_image *image;
    struct stat status;

    (void)state;
    memset(content, 'r', length);

    struct bl_buffer layers[] = {
        tar_of((struct entry[]){{.path = "big", .data = content, .length = length}, {.path = "other", .data = "o"}, {0}}),
        tar_of((struct entry[]){{.path = ".wh.big"}, {0}}),
    };

    must(load_layers(&home, layers, 2, &image, err));

    struct disk disk = disk_open(image);

    assert_int_equal(disk_find(&disk, "/big"), 0);
    disk_close(&disk);
    assert_int_equal(stat(image->disk_path, &status), 0);
    assert_true(status.st_blocks * 512 < 1200000);
    assert_int_equal(status.st_mode & 07777, 0400);
    bl_image_free(image);
}

/* The same layers give the same bytes, whoever builds them and when. */
static void builds_the_same_bytes(void **state)
{
    struct bl_buffer layer = small_layer();
    char digests[2][65];

    (void)state;
    for (int i = 0; i < 2; i++) {
        struct bl_buffer copy = pack(&layer, PLAIN);
        struct bl_image *image;

        must(load_layers(&home, &copy, 1, &image, err));

        /* The start holds all that is written of so small an image. */
        cleanup_close int fd = open(image->disk_path, O_RDONLY | O_CLOEXEC);
        cleanup_free char *bytes = malloc(64 << 20);

        assert_int_equal(bl_read_all(fd, bytes, 64 << 20), 64 << 20);
        sha256_hex(bytes, 64 << 20, digests[i]);
        assert_int_equal(unlink(image->disk_path), 0);
        bl_image_free(image);
    }
    assert_string_equal(digests[0], digests[1]);
    bl_buffer_free(&layer);
}

static void an_empty_image_is_small(void **state)
{
    struct bl_buffer layer = TAR_INIT;
    struct bl_image *image;

    (void)state;
    must(load_layers(&home, &layer, 1, &image, err)); /* a layer of no bytes */

    struct disk disk = disk_open(image);

    assert_int_equal(image->disk_bytes, UINT64_C(10) << 30);
    assert_true(image->content_bytes < 4 << 20);
    /* Room to grow online to more than 1 TiB, and nothing for the guest to initialise. */
    assert_true(disk.fs->super->s_reserved_gdt_blocks >= 64);
    for (dgrp_t i = 0; i < disk.fs->group_desc_count; i++)
        assert_true(ext2fs_bg_flags_test(disk.fs, i, EXT2_BG_INODE_ZEROED));
    disk_close(&disk);
    bl_image_free(image);
}

/* An image that does not fit is built again on a larger disk: too many bytes, and too many files. */
static void takes_a_larger_disk(void **state)
{
    size_t length = 40 << 20;
    cleanup_free char *content = malloc(length);
    struct bl_buffer layer = TAR_INIT;
    char name[32];

    (void)state;
    memset(content, 'x', length);
    for (int kind = 0; kind < 2; kind++) {
        if (kind == 0)
            tar_add(&layer, &(struct entry){.path = "large", .data = content, .length = length});
        for (int i = 0; kind == 1 && i < 5000; i++) { /* 32 MiB have 2048 inodes */
            snprintf(name, sizeof name, "file%d", i);
            tar_add(&layer, &(struct entry){.path = name});
        }
        tar_end(&layer);

        struct layout layout = oci_layout(&(struct recipe){.layers = &layer, .layer_count = 1});
        cleanup_free char *path = bl_format("%s/source", home.path);
        cleanup_close int images_fd = -1;
        char diff_id[80] = "sha256:", key[65];
        struct bl_image image = {.disk_path = NULL};
        uint64_t disk_bytes, content_bytes;
        struct bl_source *source;

        layout_write(&layout, path);
        images_fd = open(home.images, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        sha256_hex(bl_buffer_data(&layer), layer.length, diff_id + 7);
        cleanup_free char *blob = bl_format("blobs/sha256/%s", diff_id + 7);

        struct bl_load_request request = {.path = path, .fd = -1, .cancel_fd = -1};
        struct bl_load load = {
            .images_fd = images_fd,
            .images_path = home.images,
            .request = &request,
            .disk_bytes = 32 << 20,
            .limits = {
                .total_bytes = 1 << 30, .layer_bytes = 1 << 30, .entries = 10000, .path_depth = 9, .zstd_window_bytes = 1 << 20}};
        struct bl_layer_source from = {.name = blob, .digest = diff_id, .size_bytes = UINT64_MAX, .diff_id = diff_id};

        must(bl_source_open(&load, &source, err));
        must(bl_disk_key(&from, 1, key, err));
        must(bl_disk_ensure(&load, source, &from, 1, key, &disk_bytes, &content_bytes, err));
        bl_source_close(source);
        assert_int_equal(disk_bytes, (kind ? 128 : 64) << 20);
        home_is_clean(&home, 0, (size_t)kind + 1);
        image.disk_path = bl_format("%s/disks/%s.ext4", home.images, key);

        struct disk disk = disk_open(&image);

        assert_true(kind ? disk_find(&disk, "/file4999") : disk_is(&disk, "/large", content, length));
        disk_close(&disk);
        free(image.disk_path);
        assert_int_equal(bl_remove_tree(AT_FDCWD, path), 0);
        layout_free(&layout);
        bl_buffer_clear(&layer);
    }
    bl_buffer_free(&layer);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(keeps_holes),           T(indexes_large_directories), T(writes_fragmented_files), T(gives_blocks_back),
        T(builds_the_same_bytes), T(an_empty_image_is_small),   T(takes_a_larger_disk),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
