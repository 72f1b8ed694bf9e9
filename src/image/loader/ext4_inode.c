/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ext4_inode.c - inodes, their extents, and extended attributes
 *
 * Inodes are written in the order of their numbers, so they fill the inode tables from the front and join into large writes.
 * Numbers on the disk are little-endian, as are those of the machines this runs on.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "image/loader/ext4_private.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "structures go to the disk as they are in memory");

#define INODE_BYTES       256u
#define EXTENTS_IN_INODE  4u
#define EXTENTS_IN_BLOCK  ((BL_EXT4_BLOCK - sizeof(struct ext3_extent_header)) / sizeof(struct ext3_extent))
#define TARGET_IN_INODE   59u /* ext4: shorter than 60 bytes */
#define SECTORS_PER_BLOCK (BL_EXT4_BLOCK / 512)
#define TIME_MIN          (-(INT64_C(1) << 31))
#define TIME_MAX          ((INT64_C(1) << 34) - (INT64_C(1) << 31) - 1)

static void put_time(int64_t seconds, uint32_t nanoseconds, uint32_t *low, uint32_t *extra)
{
    seconds = seconds < TIME_MIN ? TIME_MIN : seconds > TIME_MAX ? TIME_MAX : seconds;
    *low = (uint32_t)seconds;
    *extra = nanoseconds << 2 | (uint32_t)(((seconds - (int32_t)seconds) >> 32) & 3);
}

static void put_device(uint32_t major, uint32_t minor, uint32_t *block)
{
    if (major < 256 && minor < 256)
        block[0] = major << 8 | minor;
    else
        block[1] = (minor & 0xff) | major << 8 | (minor & ~0xffu) << 12;
}

static void put_header(struct ext3_extent_header *header, size_t entries, size_t most, unsigned int depth)
{
    *header = (struct ext3_extent_header){EXT3_EXT_MAGIC, (uint16_t)entries, (uint16_t)most, (uint16_t)depth, 0};
}

static void put_leaf(struct ext3_extent *leaf, const struct bl_extent *list, size_t count)
{
    for (size_t i = 0; i < count; i++)
        leaf[i] = (struct ext3_extent){list[i].logical, (uint16_t)list[i].blocks, 0, list[i].physical};
}

/* A node of the extent tree that was written: its first logical block and where it is. */
struct node {
    uint32_t logical, physical;
};

/* write_node() - Write one block of the tree. Return: 0; -1 with @err */
static int write_node(struct bl_ext4 *ext4, const void *block, struct node *node, struct bl_error *err)
{
    if (!bl_ext4_allocate(ext4, 1, &node->physical, err))
        return -1;
    return bl_ext4_put(ext4, (uint64_t)node->physical * BL_EXT4_BLOCK, block, BL_EXT4_BLOCK, err);
}

/* write_leaves() - The lowest level of a tree. Return: allocated nodes, *@count of them; NULL with @err */
static struct node *write_leaves(struct bl_ext4 *ext4, const struct bl_extents *extents, size_t *count, struct bl_error *err)
{
    const struct bl_extent *list = bl_extents_list(extents);
    cleanup_free struct node *nodes = calloc(extents->count / EXTENTS_IN_BLOCK + 1, sizeof *nodes);

    *count = 0;
    if (!nodes) {
        bl_fail_memory(err);
        return NULL;
    }
    for (size_t at = 0; at < extents->count; at += EXTENTS_IN_BLOCK) {
        uint32_t block[BL_EXT4_BLOCK / 4] = {0};
        size_t n = extents->count - at < EXTENTS_IN_BLOCK ? extents->count - at : EXTENTS_IN_BLOCK;

        put_header((struct ext3_extent_header *)block, n, EXTENTS_IN_BLOCK, 0);
        put_leaf((struct ext3_extent *)((struct ext3_extent_header *)block + 1), list + at, n);
        nodes[*count].logical = list[at].logical;
        if (write_node(ext4, block, &nodes[(*count)++], err))
            return NULL;
    }
    return bl_steal_ptr(&nodes);
}

static void put_index(struct ext3_extent_idx *index, const struct node *nodes, size_t count)
{
    for (size_t i = 0; i < count; i++)
        index[i] = (struct ext3_extent_idx){nodes[i].logical, nodes[i].physical, 0, 0};
}

/* write_level() - A level above others, which @nodes name; they are replaced by the new ones. Return: 0; -1 with @err */
static int write_level(struct bl_ext4 *ext4, struct node *nodes, size_t *count, unsigned int depth, struct bl_error *err)
{
    size_t made = 0;

    for (size_t at = 0; at < *count; at += EXTENTS_IN_BLOCK) {
        uint32_t block[BL_EXT4_BLOCK / 4] = {0};
        size_t n = *count - at < EXTENTS_IN_BLOCK ? *count - at : EXTENTS_IN_BLOCK;
        struct node node = {.logical = nodes[at].logical};

        put_header((struct ext3_extent_header *)block, n, EXTENTS_IN_BLOCK, depth);
        put_index((struct ext3_extent_idx *)((struct ext3_extent_header *)block + 1), nodes + at, n);
        if (write_node(ext4, block, &node, err))
            return -1;
        nodes[made++] = node;
    }
    *count = made;
    return 0;
}

/* put_extents() - Fill i_block, with a tree when the runs do not fit. @blocks: grows by the tree's. Return: 0; -1 with @err */
static int put_extents(struct bl_ext4 *ext4, const struct bl_extents *extents, uint32_t *i_block, uint64_t *blocks,
                       struct bl_error *err)
{
    struct ext3_extent_header *header = (struct ext3_extent_header *)i_block;
    unsigned int depth = 1;
    size_t count;

    if (extents->count <= EXTENTS_IN_INODE) {
        put_header(header, extents->count, EXTENTS_IN_INODE, 0);
        put_leaf((struct ext3_extent *)(header + 1), bl_extents_list(extents), extents->count);
        return 0;
    }

    cleanup_free struct node *nodes = write_leaves(ext4, extents, &count, err);

    if (!nodes)
        return -1;
    *blocks += count;
    for (; count > EXTENTS_IN_INODE; depth++) {
        if (write_level(ext4, nodes, &count, depth, err))
            return -1;
        *blocks += count;
    }
    put_header(header, count, EXTENTS_IN_INODE, depth);
    put_index((struct ext3_extent_idx *)(header + 1), nodes, count);
    return 0;
}

/* put_target() - A symbolic link's target, in the inode or in a block. Return: 0; -1 with @err */
static int put_target(struct bl_ext4 *ext4, const struct bl_ext4_inode *inode, struct ext2_inode_large *out, uint64_t *blocks,
                      struct bl_error *err)
{
    struct bl_extents extents = {0};

    if (inode->size_bytes <= TARGET_IN_INODE) {
        memcpy(out->i_block, inode->target, (size_t)inode->size_bytes);
        return 0;
    }
    if (bl_ext4_write(ext4, &extents, 0, inode->target, (size_t)inode->size_bytes, err) || bl_ext4_end_file(ext4, err) ||
        put_extents(ext4, &extents, out->i_block, blocks, err))
        return -1;
    *blocks += 1;
    out->i_flags |= EXT4_EXTENTS_FL;
    return 0;
}

static int put_content(struct bl_ext4 *ext4, const struct bl_ext4_inode *inode, struct ext2_inode_large *out, struct bl_error *err)
{
    uint64_t blocks = 0;

    if (S_ISLNK(inode->mode)) {
        if (put_target(ext4, inode, out, &blocks, err))
            return -1;
    } else if (S_ISREG(inode->mode) || S_ISDIR(inode->mode)) {
        const struct bl_extent *list = bl_extents_list(inode->extents);

        out->i_flags |= EXT4_EXTENTS_FL;
        for (uint32_t i = 0; i < inode->extents->count; i++)
            blocks += list[i].blocks;
        if (put_extents(ext4, inode->extents, out->i_block, &blocks, err))
            return -1;
    } else {
        put_device(inode->major, inode->minor, out->i_block);
    }
    blocks *= SECTORS_PER_BLOCK;
    out->i_blocks = (uint32_t)blocks;
    out->osd2.linux2.l_i_blocks_hi = (uint16_t)(blocks >> 32);
    return 0;
}

int bl_ext4_write_inode(struct bl_ext4 *ext4, uint32_t number, const struct bl_ext4_inode *inode, struct bl_error *err)
{
    ext2_filsys fs = ext4->fs;
    union {
        struct ext2_inode_large inode;
        uint8_t bytes[INODE_BYTES];
    } out = {.bytes = {0}};

    if (number > fs->super->s_inodes_count)
        return bl_ext4_fail(ext4, EXT2_ET_INODE_ALLOC_FAIL, "", err);
    out.inode.i_mode = inode->mode;
    out.inode.i_uid = (uint16_t)inode->uid;
    out.inode.osd2.linux2.l_i_uid_high = (uint16_t)(inode->uid >> 16);
    out.inode.i_gid = (uint16_t)inode->gid;
    out.inode.osd2.linux2.l_i_gid_high = (uint16_t)(inode->gid >> 16);
    out.inode.i_size = (uint32_t)inode->size_bytes;
    out.inode.i_size_high = (uint32_t)(inode->size_bytes >> 32);
    /* dir_nlink: a directory with too many subdirectories counts 1, "not known" */
    out.inode.i_links_count = inode->links > BL_EXT4_LINKS_MAX ? 1 : (uint16_t)inode->links;
    out.inode.i_extra_isize = sizeof(struct ext2_inode_large) - EXT2_GOOD_OLD_INODE_SIZE;
    out.inode.i_flags = inode->flags;
    put_time(inode->mtime, inode->mtime_ns, &out.inode.i_mtime, &out.inode.i_mtime_extra);
    put_time(inode->mtime, inode->mtime_ns, &out.inode.i_atime, &out.inode.i_atime_extra);
    put_time(inode->mtime, inode->mtime_ns, &out.inode.i_ctime, &out.inode.i_ctime_extra);
    put_time(inode->mtime, inode->mtime_ns, &out.inode.i_crtime, &out.inode.i_crtime_extra);
    if (put_content(ext4, inode, &out.inode, err))
        return -1;
    if (number >= BL_EXT4_FIRST)
        ext2fs_inode_alloc_stats2(fs, number, +1, S_ISDIR(inode->mode));

    dgrp_t group = (number - 1) / EXT2_INODES_PER_GROUP(fs->super);
    uint64_t offset = ext2fs_inode_table_loc(fs, group) * BL_EXT4_BLOCK +
                      (uint64_t)((number - 1) % EXT2_INODES_PER_GROUP(fs->super)) * INODE_BYTES;

    return bl_ext4_put(ext4, offset, out.bytes, sizeof out.bytes, err);
}

int bl_ext4_write_attributes(struct bl_ext4 *ext4, uint32_t number, const struct bl_ext4_attribute *attributes, size_t count,
                             struct bl_error *err)
{
    struct ext2_xattr_handle *handle = NULL;

    if (bl_ext4_flush(ext4, err))
        return -1;
    /* Inodes went to the disk behind the back of libext2fs, which keeps a block of them. */
    ext2fs_flush_icache(ext4->fs);

    errcode_t code = ext2fs_xattrs_open(ext4->fs, number, &handle);

    for (size_t i = 0; !code && i < count; i++)
        code = ext2fs_xattr_set(handle, attributes[i].name, attributes[i].value, attributes[i].length);
    if (!code && count)
        code = ext2fs_xattrs_write(handle);
    if (handle)
        ext2fs_xattrs_close(&handle);
    if (code == EXT2_ET_EA_NO_SPACE)
        return bl_fail(err, BL_IMAGE, 0, "a file's extended attributes take more than the %u bytes that ext4 has for them",
                       BL_EXT4_BLOCK);
    return code ? bl_ext4_fail(ext4, code, "write extended attributes", err) : 0;
}
