/* SPDX-License-Identifier: Apache-2.0 */
/* ext4_private.h - shared by the files that make up the ext4 writer */
#ifndef BL_IMAGE_LOADER_EXT4_PRIVATE_H
#define BL_IMAGE_LOADER_EXT4_PRIVATE_H

#include <ext2fs/ext2fs.h>
#include <stdbool.h>

#include "image/loader/ext4.h"

#define PENDING_BYTES (1u << 20)

/* Bytes on their way to the disk, neighbours joined: thousands of small files become few writes. */
struct pending {
    uint64_t offset; /* on the disk, of the first byte */
    size_t length;
    uint8_t *bytes; /* PENDING_BYTES */
};

struct bl_ext4 {
    int fd; /* the caller's */
    ext2_filsys fs;
    bool full;
    uint64_t cursor; /* block from which the next free one is looked for */
    struct pending pending;
    uint64_t position; /* in the current file; a block is open when it is not at a block's start */
};

/* The io manager through which libext2fs reaches the file: no second open, no cache. @name is the descriptor's number. */
extern const struct struct_io_manager bl_ext4_io_manager;

/* bl_ext4_io_failure() - Why this thread's last write through it failed, once. Return: errno, 0 when none did */
int bl_ext4_io_failure(void);

/* bl_ext4_fail() - Say why libext2fs failed. */
int bl_ext4_fail(struct bl_ext4 *ext4, errcode_t code, const char *what, struct bl_error *err);

/* bl_ext4_allocate() - Take up to @wanted free blocks in a row. Return: how many (first at *@first), 0 with @err */
uint32_t bl_ext4_allocate(struct bl_ext4 *ext4, uint32_t wanted, uint32_t *first, struct bl_error *err);

/* bl_ext4_put() - Write bytes at a place of the disk, joined with their neighbours. */
int bl_ext4_put(struct bl_ext4 *ext4, uint64_t offset, const void *data, size_t length, struct bl_error *err);
/* bl_ext4_flush() - Write what is pending. */
int bl_ext4_flush(struct bl_ext4 *ext4, struct bl_error *err);

/* bl_extents_list() - The runs, in order. */
static inline const struct bl_extent *bl_extents_list(const struct bl_extents *extents)
{
    return extents->capacity ? extents->many : &extents->one;
}

/* bl_extents_add() - Add a run, joined with the last one where they meet. Return: 0; -1 with @err */
int bl_extents_add(struct bl_extents *extents, struct bl_extent run, struct bl_error *err);

#endif
