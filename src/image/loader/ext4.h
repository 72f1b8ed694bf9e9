/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ext4.h - writing one ext4 file system into a file, front to back
 *
 * The order of calls: create; any number of file contents (write, end_file), which go to disk as they come; then, when the
 * tree is known, directories and inodes, in ascending order of their numbers; then attributes; finish. Content comes before
 * its inode, so a file is known only by its extents until the end.
 *
 * libext2fs makes what is delicate (superblock, groups, bitmaps, journal, resize inode, attributes); blocks of content,
 * directories and inodes are laid out here, since going through its file interface costs several times as much.
 *
 * The same calls give the same bytes: no clock and no random number goes into a disk.
 *
 * One thread uses a file system.
 */
#ifndef BL_IMAGE_LOADER_EXT4_H
#define BL_IMAGE_LOADER_EXT4_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

#define BL_EXT4_BLOCK     4096u
#define BL_EXT4_ROOT      2u
#define BL_EXT4_FIRST     11u /* number of the first ordinary inode */
#define BL_EXT4_NAME_MAX  255u
#define BL_EXT4_LINKS_MAX 65000u
#define BL_EXT4_SIZE_MAX  ((UINT64_C(1) << 44) - BL_EXT4_BLOCK) /* 32-bit block numbers within a file */

struct bl_ext4;

/* A run of blocks. */
struct bl_extent {
    uint32_t logical;  /* first block within the file */
    uint32_t physical; /* first block on the disk */
    uint32_t blocks;
};

/* Where a file's content is; most files have one run, which needs no memory of its own. */
struct bl_extents {
    uint32_t count, capacity; /* capacity 0: at most one, in @one */
    union {
        struct bl_extent one;
        struct bl_extent *many;
    };
};

/* What an inode says. */
struct bl_ext4_inode {
    uint16_t mode; /* with the type */
    uint32_t uid, gid;
    uint32_t links; /* for directories: 2 + subdirectories */
    uint32_t major, minor;
    uint64_t size_bytes;
    int64_t mtime;
    uint32_t mtime_ns;
    const struct bl_extents *extents; /* files and directories */
    const char *target;               /* symbolic links; size_bytes is its length */
    uint32_t flags;                   /* EXT2_INDEX_FL or 0 */
};

/* One name of a directory. */
struct bl_ext4_entry {
    const char *name;
    uint32_t inode;
    uint16_t mode; /* of the inode, for its type */
};

/*
 * bl_ext4_create() - Format a file
 * @fd: open for reading and writing, empty; stays the caller's
 * @bytes: size of the disk
 * @uuid: 16 bytes
 */
int bl_ext4_create(int fd, uint64_t bytes, const uint8_t *uuid, struct bl_ext4 **out, struct bl_error *err);

/* bl_ext4_free() - Let go of it, finished or not; the file stays the caller's. */
void bl_ext4_free(struct bl_ext4 *ext4);

/* bl_ext4_is_full() - Whether the last failure was that the disk has too few blocks or inodes: a bigger one would do. */
bool bl_ext4_is_full(const struct bl_ext4 *ext4);

/*
 * bl_ext4_write() - Add content to the current file
 * @offset: not before the end of what was written; what is between becomes a hole, and so do blocks of zeros
 */
int bl_ext4_write(struct bl_ext4 *ext4, struct bl_extents *extents, uint64_t offset, const void *data, size_t length,
                  struct bl_error *err);
/* bl_ext4_end_file() - End the current file; the next write begins another. */
int bl_ext4_end_file(struct bl_ext4 *ext4, struct bl_error *err);
/* bl_ext4_release() - Give a file's blocks back, on the disk and on the host, and forget them. */
void bl_ext4_release(struct bl_ext4 *ext4, struct bl_extents *extents);
/* bl_extents_free() - Free the memory only. */
void bl_extents_free(struct bl_extents *extents);

/*
 * bl_ext4_write_directory() - Lay out a directory
 * @entries: without "." and ".."; sorted by the call when the directory becomes an indexed one
 * @parent: inode number
 * @size_bytes, @flags: what its inode must say
 */
int bl_ext4_write_directory(struct bl_ext4 *ext4, uint32_t inode, uint32_t parent, struct bl_ext4_entry *entries, size_t count,
                            struct bl_extents *extents, uint64_t *size_bytes, uint32_t *flags, struct bl_error *err);

/* bl_ext4_write_inode() - Write one inode. @number: BL_EXT4_ROOT, or BL_EXT4_FIRST and up */
int bl_ext4_write_inode(struct bl_ext4 *ext4, uint32_t number, const struct bl_ext4_inode *inode, struct bl_error *err);

/* An extended attribute, as the system calls know it. */
struct bl_ext4_attribute {
    const char *name; /* "security.capability" */
    const void *value;
    size_t length;
};

/* bl_ext4_write_attributes() - Give attributes to an inode that was written; after all inodes. */
int bl_ext4_write_attributes(struct bl_ext4 *ext4, uint32_t number, const struct bl_ext4_attribute *attributes, size_t count,
                             struct bl_error *err);

/* bl_ext4_finish() - Complete the file system and bring it to the host's disk. @used_bytes: blocks in use, may be NULL */
int bl_ext4_finish(struct bl_ext4 *ext4, uint64_t *used_bytes, struct bl_error *err);

#endif
