/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_layer.c - the bytes of layers become a disk in memory, or an error; a disk reads back as what it should be
 *
 * The input is one archive, applied twice as two layers, so that whiteouts meet something. Checksums of headers are put right
 * first: a fuzzer does not guess them. The disk is small, so its end is met as well.
 */
#include "fuzz.h"

#include <ext2fs/ext2fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "image/loader/ext4.h"
#include "image/loader/layer.h"
#include "image/loader/tree.h"

#define DISK_BYTES (UINT64_C(24) << 20)
#define INPUT_MAX  (64u << 10)

/* A stream of bytes in memory. */
struct memory {
    struct bl_stream stream;
    const uint8_t *bytes;
    size_t left;
};

static ssize_t next(struct bl_stream *stream, const void **data, struct bl_error *err)
{
    struct memory *memory = (struct memory *)stream;
    size_t part = memory->left < 1000 ? memory->left : 1000;

    (void)err;
    *data = memory->bytes;
    memory->bytes += part;
    memory->left -= part;
    return (ssize_t)part;
}

static void mend_checksums(uint8_t *tar, size_t size)
{
    for (size_t at = 0; at + 512 <= size; at += 512) {
        unsigned int sum = 0;

        if (memcmp(tar + at + 257, "ustar", 5) != 0)
            continue;
        memset(tar + at + 148, ' ', 8);
        for (size_t i = 0; i < 512; i++)
            sum += tar[at + i];
        snprintf((char *)tar + at + 148, 7, "%06o", sum);
    }
}

static int visit(ext2_ino_t directory, int kind, struct ext2_dir_entry *entry, int offset, int block_size, char *buffer, void *data)
{
    ext2_filsys fs = data;
    struct ext2_inode inode;

    (void)directory, (void)offset, (void)block_size, (void)buffer;
    must(ext2fs_test_inode_bitmap2(fs->inode_map, entry->inode));
    must(!ext2fs_read_inode(fs, entry->inode, &inode) && inode.i_links_count);
    if (kind == DIRENT_OTHER_FILE && ext2fs_dirent_file_type(entry) == EXT2_FT_DIR)
        must(!ext2fs_dir_iterate2(fs, entry->inode, 0, NULL, visit, fs));
    return 0;
}

static void check_disk(int fd)
{
    char path[64];
    ext2_filsys fs;

    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    must(!ext2fs_open(path, EXT2_FLAG_64BITS, 0, 0, unix_io_manager, &fs));
    must(!ext2fs_read_bitmaps(fs));
    must(!ext2fs_dir_iterate2(fs, EXT2_ROOT_INO, 0, NULL, visit, fs));
    ext2fs_close_free(&fs);
}

static int apply(struct bl_load *load, struct bl_tree *tree, struct bl_ext4 *ext4, const uint8_t *tar, size_t size,
                 struct bl_error *err)
{
    struct memory memory = {{next, NULL}, tar, size};

    return bl_layer_apply(load, &memory.stream, tree, ext4, "it", err);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t uuid[16] = {1};
    struct bl_load_request request = {.cancel_fd = -1};
    struct bl_load load = {.images_fd = -1, .request = &request, .limits = {.entries = 2000, .path_depth = 64}};
    struct bl_error err = BL_ERROR_INIT;
    struct bl_ext4 *ext4;
    struct bl_tree *tree;

    if (size > INPUT_MAX)
        return 0;

    uint8_t *tar = malloc(size + 1);
    int fd = memfd_create("disk", MFD_CLOEXEC);

    memcpy(tar, data, size);
    mend_checksums(tar, size);
    must(fd >= 0 && !bl_ext4_create(fd, DISK_BYTES, uuid, &ext4, &err));
    must(!bl_tree_create(ext4, 64, &tree, &err));

    int result = apply(&load, tree, ext4, tar, size, &err);

    if (!result)
        result = apply(&load, tree, ext4, tar, size, &err);
    if (!result)
        result = bl_tree_write(tree, &err);
    if (!result)
        result = bl_ext4_finish(ext4, NULL, &err);
    must(!result || (err.code != BL_OK && err.code != BL_INTERNAL && err.message[0]));
    bl_tree_free(tree);
    bl_ext4_free(ext4);
    if (!result)
        check_disk(fd);
    close(fd);
    free(tar);
    return 0;
}
