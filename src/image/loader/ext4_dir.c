/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ext4_dir.c - directories
 *
 * A directory that fits a block is a list of names. A larger one is indexed by hash (Linux, Documentation/filesystems/ext4,
 * "Hash Tree Directories"): a root block, one level of index nodes when there are many leaves, and leaves in the order of the
 * hashes. Without the index the guest would look through all blocks for each name, and would never make one later.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "image/loader/ext4_private.h"

#define ENTRY_HEADER     8u
#define DOTS_BYTES       24u /* "." and ".." */
#define INDEX_ENTRY      8u
#define ROOT_INDEX_START 32u
#define ROOT_INDEX_MAX   ((BL_EXT4_BLOCK - ROOT_INDEX_START) / INDEX_ENTRY)
#define NODE_INDEX_START 8u
#define NODE_INDEX_MAX   ((BL_EXT4_BLOCK - NODE_INDEX_START) / INDEX_ENTRY)

static size_t entry_bytes(const char *name)
{
    return ENTRY_HEADER + ((strlen(name) + 3) & ~(size_t)3);
}

static uint8_t type_of(uint16_t mode)
{
    switch (mode & S_IFMT) {
    case S_IFREG:
        return EXT2_FT_REG_FILE;
    case S_IFDIR:
        return EXT2_FT_DIR;
    case S_IFCHR:
        return EXT2_FT_CHRDEV;
    case S_IFBLK:
        return EXT2_FT_BLKDEV;
    case S_IFIFO:
        return EXT2_FT_FIFO;
    case S_IFLNK:
        return EXT2_FT_SYMLINK;
    default:
        return EXT2_FT_UNKNOWN;
    }
}

/* put_entry() - One name at @at; its record takes @record bytes. */
static void put_entry(uint8_t *at, uint32_t inode, const char *name, uint8_t type, size_t record)
{
    uint16_t record_bytes = (uint16_t)record;

    memcpy(at, &inode, 4);
    memcpy(at + 4, &record_bytes, 2);
    at[6] = (uint8_t)strlen(name);
    at[7] = type;
    memcpy(at + ENTRY_HEADER, name, strlen(name));
}

/* put_names() - Fill a block from @start on with names; the last record reaches its end. */
static void put_names(uint8_t *block, size_t start, const struct bl_ext4_entry *entries, size_t count)
{
    size_t at = start;

    for (size_t i = 0; i < count; i++) {
        size_t record = i + 1 < count ? entry_bytes(entries[i].name) : BL_EXT4_BLOCK - at;

        put_entry(block + at, entries[i].inode, entries[i].name, type_of(entries[i].mode), record);
        at += record;
    }
}

static void put_dots(uint8_t *block, uint32_t inode, uint32_t parent, size_t second_record)
{
    put_entry(block, inode, ".", EXT2_FT_DIR, 12);
    put_entry(block + 12, parent, "..", EXT2_FT_DIR, second_record);
}

/* A name with its hash, while a directory is sorted. */
struct hashed {
    uint32_t hash, minor;
    struct bl_ext4_entry entry;
};

static int by_hash(const void *left, const void *right)
{
    const struct hashed *a = left, *b = right;

    if (a->hash != b->hash)
        return a->hash < b->hash ? -1 : 1;
    if (a->minor != b->minor)
        return a->minor < b->minor ? -1 : 1;
    return strcmp(a->entry.name, b->entry.name);
}

/* One leaf block: names @first and up, and what the index says of it. */
struct leaf {
    size_t first;
    uint32_t hash;
};

/* An index under construction. */
struct index {
    struct bl_ext4 *ext4;
    struct bl_extents *extents;
    uint64_t offset; /* where the next block goes */
    struct leaf *leaves;
    size_t leaf_count;
};

static int write_block(struct index *index, const uint8_t *block, struct bl_error *err)
{
    uint64_t offset = index->offset;

    index->offset += BL_EXT4_BLOCK;
    return bl_ext4_write(index->ext4, index->extents, offset, block, BL_EXT4_BLOCK, err);
}

/* sort_entries() - Order names by hash. Return: 0; -1 with @err */
static int sort_entries(struct bl_ext4 *ext4, struct bl_ext4_entry *entries, size_t count, uint32_t **hashes, struct bl_error *err)
{
    cleanup_free struct hashed *sorted = calloc(count, sizeof *sorted);
    uint32_t *out = calloc(count, sizeof *out);

    *hashes = out;
    if (!sorted || !out)
        return bl_fail_memory(err);
    for (size_t i = 0; i < count; i++) {
        ext2_dirhash_t hash = 0, minor = 0;
        errcode_t code = ext2fs_dirhash2(EXT2_HASH_HALF_MD4, entries[i].name, (int)strlen(entries[i].name), NULL, 0,
                                         ext4->fs->super->s_hash_seed, &hash, &minor);

        if (code)
            return bl_ext4_fail(ext4, code, "index a directory", err);
        sorted[i] = (struct hashed){hash, minor, entries[i]};
    }
    qsort(sorted, count, sizeof *sorted, by_hash);
    for (size_t i = 0; i < count; i++) {
        entries[i] = sorted[i].entry;
        out[i] = sorted[i].hash;
    }
    return 0;
}

/* cut_leaves() - Part the sorted names into blocks. Return: 0; -1 with @err */
static int cut_leaves(struct index *index, const struct bl_ext4_entry *entries, const uint32_t *hashes, size_t count,
                      struct bl_error *err)
{
    size_t used = BL_EXT4_BLOCK, capacity = 0;

    for (size_t i = 0; i < count; i++) {
        size_t bytes = entry_bytes(entries[i].name);

        if (used + bytes > BL_EXT4_BLOCK) {
            if (index->leaf_count == capacity) {
                struct leaf *grown = reallocarray(index->leaves, capacity = capacity ? capacity * 2 : 64, sizeof *grown);

                if (!grown)
                    return bl_fail_memory(err);
                index->leaves = grown;
            }
            /* The low bit says that names of this hash are in the block before, too. */
            index->leaves[index->leaf_count++] = (struct leaf){i, hashes[i] | (i && hashes[i - 1] == hashes[i])};
            used = 0;
        }
        used += bytes;
    }
    return 0;
}

/* put_index() - An index's entries: count and limit stand in the place of the first hash. @blocks: of the first, then ascending */
static void put_index(uint8_t *at, size_t limit, const struct leaf *leaves, size_t step, size_t count, uint32_t block)
{
    uint16_t limits[2] = {(uint16_t)limit, (uint16_t)count};

    for (size_t i = 0; i < count; i++, block++) {
        memcpy(at + i * INDEX_ENTRY, &leaves[i * step].hash, 4);
        memcpy(at + i * INDEX_ENTRY + 4, &block, 4);
    }
    memcpy(at, limits, sizeof limits);
}

static int write_root(struct index *index, uint32_t inode, uint32_t parent, size_t nodes, struct bl_error *err)
{
    uint8_t block[BL_EXT4_BLOCK] = {0};

    put_dots(block, inode, parent, BL_EXT4_BLOCK - 12);
    block[DOTS_BYTES + 4] = EXT2_HASH_HALF_MD4;
    block[DOTS_BYTES + 5] = 8; /* length of this information */
    block[DOTS_BYTES + 6] = nodes ? 1 : 0;
    if (nodes)
        put_index(block + ROOT_INDEX_START, ROOT_INDEX_MAX, index->leaves, NODE_INDEX_MAX, nodes, 1);
    else
        put_index(block + ROOT_INDEX_START, ROOT_INDEX_MAX, index->leaves, 1, index->leaf_count, 1);
    return write_block(index, block, err);
}

static int write_node(struct index *index, size_t node, size_t nodes, struct bl_error *err)
{
    uint8_t block[BL_EXT4_BLOCK] = {0};
    uint16_t record = BL_EXT4_BLOCK;
    size_t first = node * NODE_INDEX_MAX, count = index->leaf_count - first;

    memcpy(block + 4, &record, 2); /* an entry without a name, over the whole block */
    count = count < NODE_INDEX_MAX ? count : NODE_INDEX_MAX;
    put_index(block + NODE_INDEX_START, NODE_INDEX_MAX, index->leaves + first, 1, count, (uint32_t)(1 + nodes + first));
    return write_block(index, block, err);
}

static int write_leaves(struct index *index, const struct bl_ext4_entry *entries, size_t count, struct bl_error *err)
{
    for (size_t i = 0; i < index->leaf_count; i++) {
        uint8_t block[BL_EXT4_BLOCK] = {0};
        size_t first = index->leaves[i].first, end = i + 1 < index->leaf_count ? index->leaves[i + 1].first : count;

        put_names(block, 0, entries + first, end - first);
        if (write_block(index, block, err))
            return -1;
    }
    return 0;
}

static int write_indexed(struct index *index, uint32_t inode, uint32_t parent, struct bl_ext4_entry *entries, size_t count,
                         struct bl_error *err)
{
    uint32_t *all_hashes = NULL;
    int result = sort_entries(index->ext4, entries, count, &all_hashes, err);
    cleanup_free uint32_t *hashes = all_hashes;

    if (result || cut_leaves(index, entries, hashes, count, err))
        return -1;

    size_t nodes = index->leaf_count > ROOT_INDEX_MAX ? (index->leaf_count + NODE_INDEX_MAX - 1) / NODE_INDEX_MAX : 0;

    if (nodes > ROOT_INDEX_MAX)
        return bl_fail(err, BL_RESOURCE_EXHAUSTED, 0, "a directory of the image holds too many names (%zu)", count);
    if (write_root(index, inode, parent, nodes, err))
        return -1;
    for (size_t i = 0; i < nodes; i++)
        if (write_node(index, i, nodes, err))
            return -1;
    return write_leaves(index, entries, count, err);
}

int bl_ext4_write_directory(struct bl_ext4 *ext4, uint32_t inode, uint32_t parent, struct bl_ext4_entry *entries, size_t count,
                            struct bl_extents *extents, uint64_t *size_bytes, uint32_t *flags, struct bl_error *err)
{
    struct index index = {.ext4 = ext4, .extents = extents};
    size_t bytes = DOTS_BYTES;
    int result;

    for (size_t i = 0; i < count && bytes <= BL_EXT4_BLOCK; i++)
        bytes += entry_bytes(entries[i].name);
    if (bytes <= BL_EXT4_BLOCK) {
        uint8_t block[BL_EXT4_BLOCK] = {0};

        put_dots(block, inode, parent, count ? 12 : BL_EXT4_BLOCK - 12);
        put_names(block, DOTS_BYTES, entries, count);
        *flags = 0;
        result = write_block(&index, block, err);
    } else {
        *flags = EXT2_INDEX_FL;
        result = write_indexed(&index, inode, parent, entries, count, err);
    }
    free(index.leaves);
    *size_bytes = index.offset;
    return result || bl_ext4_end_file(ext4, err) ? -1 : 0;
}
