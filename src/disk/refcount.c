/* SPDX-License-Identifier: Apache-2.0 */
/*
 * refcount.c - which host clusters are in use
 *
 * Each host cluster has a count in a refcount block; the refcount table names the blocks, and where one is missing all counts are
 * zero. Clusters are taken by the first fit, so what is written in a row lies in a row, and the file stays short.
 *
 * A new block lies on the first of the clusters that it counts, which is free since no block counted it before. It goes to the file
 * at once, with the count of itself; its entry in the table is written by a commit, after a flush.
 *
 * A count in memory may be ahead of the file by what was taken since the last commit: after a crash those clusters are free again
 * and nothing names them. It is never ahead by what was given back: that comes here only when no entry in the file names it.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/bytes.h"
#include "disk/image.h"

#define EXTEND_BYTES (1u << 20) /* the file grows by so much at once */

/* A count's place in its slice: order 0 to 2 are parts of a byte, the least significant first. */
static uint64_t get_count(const struct bl_qcow2 *image, const struct bl_slice *slice, uint64_t index)
{
    const uint8_t *bytes = slice->bytes;
    unsigned int bits = 1u << image->refcount_order;

    switch (image->refcount_order) {
    case 4:
        return bl_get_be16(bytes + index * 2);
    case 3:
        return bytes[index];
    case 5:
        return bl_get_be32(bytes + index * 4);
    case 6:
        return bl_get_be64(bytes + index * 8);
    default:
        return bytes[index * bits / 8] >> index * bits % 8 & ((1u << bits) - 1);
    }
}

static void put_count(const struct bl_qcow2 *image, uint8_t *bytes, uint64_t index, uint64_t count)
{
    unsigned int bits = 1u << image->refcount_order;
    unsigned int shift = (unsigned int)(index * bits % 8);
    uint8_t *at = bytes + index * bits / 8;

    switch (image->refcount_order) {
    case 4:
        bl_put_be16(at, (uint16_t)count);
        break;
    case 3:
        *at = (uint8_t)count;
        break;
    case 5:
        bl_put_be32(at, (uint32_t)count);
        break;
    case 6:
        bl_put_be64(at, count);
        break;
    default:
        *at = (uint8_t)((*at & ~(((1u << bits) - 1) << shift)) | (unsigned int)count << shift);
    }
}

void bl_qcow2_fill_counts(const struct bl_qcow2 *image, uint8_t *block, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++)
        put_count(image, block, i, 1);
}

static uint64_t counts_of_slice(const struct bl_qcow2 *image)
{
    return ((uint64_t)image->slice_bytes * 8) >> image->refcount_order;
}

/* get_slice() - The slice with the count of a cluster, whose block exists; @index: of the count in it */
static int get_slice(struct bl_qcow2 *image, uint64_t cluster, struct bl_slice **slice, uint64_t *index)
{
    uint64_t block = image->reftable.entries[cluster >> image->block_bits];
    uint64_t in_block = cluster & ((1ull << image->block_bits) - 1);

    *index = in_block & (counts_of_slice(image) - 1);
    return bl_cache_get(image, &image->refcounts, block + (((in_block - *index) << image->refcount_order) >> 3), false, slice);
}

int bl_qcow2_extend(struct bl_qcow2 *image, uint64_t end)
{
    uint64_t bytes = end << image->cluster_bits;
    uint64_t more = (bytes + EXTEND_BYTES - 1) & ~(uint64_t)(EXTEND_BYTES - 1);

    if (bytes <= image->file_bytes)
        return 0;
    if (bytes > QCOW2_FILE_MOST) {
        errno = EFBIG;
        return -1;
    }
    /* A limit of the file's size may lie in between. */
    if (image->file.calls->ftruncate(image->file.fd, (off_t)more) < 0) {
        more = bytes;
        if (image->file.calls->ftruncate(image->file.fd, (off_t)more) < 0)
            return -1;
    }
    image->file_bytes = more;
    return 0;
}

/* make_block() - A refcount block where there is none. Return: 0; -1 with errno */
static int make_block(struct bl_qcow2 *image, uint64_t table_index)
{
    uint64_t cluster = table_index << image->block_bits;
    uint8_t *block;
    int result;

    if (bl_owned_has(&image->owned, cluster))
        return bl_qcow2_corrupt(image, "a table lies where nothing is in use", cluster << image->cluster_bits);
    if (bl_qcow2_extend(image, cluster + 1) < 0)
        return -1;
    block = calloc(1, image->cluster_bytes);
    if (!block) {
        errno = ENOMEM;
        return -1;
    }
    bl_qcow2_fill_counts(image, block, 1);
    result = bl_disk_file_write(&image->file, block, image->cluster_bytes, cluster << image->cluster_bits);
    free(block);
    if (result < 0 || bl_owned_add(&image->owned, cluster, 1) < 0)
        return -1;
    bl_table_set(&image->reftable, table_index, cluster << image->cluster_bits);
    if (image->fresh_from <= cluster)
        image->fresh_from = cluster + 1;
    return 0;
}

/* take_from() - Take from a slice, from @index on. Return: how many, @run: which; 0: none is free; -1 with errno */
static int64_t take_from(struct bl_qcow2 *image, struct bl_slice *slice, uint64_t index, uint64_t cluster, uint64_t most,
                         struct bl_run *run)
{
    uint64_t counts = counts_of_slice(image);
    uint64_t count;

    while (index < counts && get_count(image, slice, index)) {
        index++;
        cluster++;
    }
    for (count = 0; count < most && index + count < counts && !get_count(image, slice, index + count); count++)
        if (bl_owned_has(&image->owned, cluster + count))
            return bl_qcow2_corrupt(image, "a table lies where nothing is in use", (cluster + count) << image->cluster_bits);
    *run = (struct bl_run){cluster, count, false};
    if (!count)
        return 0;
    if (bl_qcow2_extend(image, cluster + count) < 0 || bl_cache_change(image, slice) < 0)
        return -1;
    for (uint64_t i = 0; i < count; i++)
        put_count(image, slice->bytes, index + i, 1);
    return (int64_t)count;
}

int bl_qcow2_take(struct bl_qcow2 *image, uint64_t most, struct bl_run *run, bool *fresh)
{
    uint64_t counts = counts_of_slice(image);

    for (uint64_t cluster = image->search_from;; cluster = (cluster & ~(counts - 1)) + counts) {
        struct bl_slice *slice;
        uint64_t index;
        int64_t taken;

        if (cluster >> image->block_bits >= image->reftable.count && bl_qcow2_grow_reftable(image) < 0)
            return -1;
        if (!image->reftable.entries[cluster >> image->block_bits] && make_block(image, cluster >> image->block_bits) < 0)
            return -1;
        if (get_slice(image, cluster, &slice, &index) < 0)
            return -1;
        taken = take_from(image, slice, index, cluster, most, run);
        if (taken < 0)
            return -1;
        if (taken)
            break;
        image->search_from = (cluster & ~(counts - 1)) + counts;
    }
    image->search_from = run->first + run->count;
    *fresh = run->first >= image->fresh_from;
    if (*fresh)
        image->fresh_from = run->first + run->count;
    return 0;
}

int bl_qcow2_give(struct bl_qcow2 *image, struct bl_run *run)
{
    for (; run->count; run->first++, run->count--) {
        struct bl_slice *slice;
        uint64_t index, count;

        if (run->first >> image->block_bits >= image->reftable.count || !image->reftable.entries[run->first >> image->block_bits])
            return bl_qcow2_corrupt(image, "a cluster in use is not counted", run->first << image->cluster_bits);
        if (get_slice(image, run->first, &slice, &index) < 0)
            return -1;
        count = get_count(image, slice, index);
        if (!count)
            return bl_qcow2_corrupt(image, "a cluster in use is not counted", run->first << image->cluster_bits);
        if (bl_cache_change(image, slice) < 0)
            return -1;
        put_count(image, slice->bytes, index, count - 1);
        if (count == 1 && run->first < image->search_from)
            image->search_from = run->first;
    }
    return 0;
}
