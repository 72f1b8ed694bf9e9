/* SPDX-License-Identifier: Apache-2.0 */
/*
 * map.c - where a guest cluster lies
 *
 * The L1 table is in memory, its entries name L2 tables, of which the cache has slices; an entry of those says what a guest cluster
 * is. Each entry is checked whenever it is used, since the cache can let a slice go and read it again, and the file belongs to
 * someone who may have made it up.
 *
 * A new L2 table is filled with zeros in the file at once. Its entry in the L1 table is written by a commit, after a flush, so no
 * L1 entry in the file ever names a cluster with other content.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/bytes.h"
#include "disk/image.h"

static uint64_t slice_entries(const struct bl_qcow2 *image)
{
    return image->slice_bytes / 8;
}

uint64_t bl_qcow2_slice_left(const struct bl_qcow2 *image, uint64_t cluster)
{
    return slice_entries(image) - (cluster & (slice_entries(image) - 1));
}

/* get_slice() - The slice with the entry of a cluster, whose L2 table exists; @index: of the entry in it */
static int get_slice(struct bl_qcow2 *image, uint64_t cluster, bool nowait, struct bl_slice **slice, uint64_t *index)
{
    uint64_t table = image->l1.entries[cluster >> image->entry_bits] & QCOW2_OFFSET;
    uint64_t in_table = cluster & ((1ull << image->entry_bits) - 1);

    *index = cluster & (slice_entries(image) - 1);
    return bl_cache_get(image, &image->l2, table + (in_table - *index) * 8, nowait, slice);
}

/* classify() - Check one entry and say what it is. Return: 0; -1 with errno */
static int classify(struct bl_qcow2 *image, uint64_t entry, enum bl_kind *kind, uint64_t *host)
{
    uint64_t offset = entry & QCOW2_OFFSET;

    *host = 0;
    if (!entry) {
        *kind = BL_KIND_UNALLOCATED;
        return 0;
    }
    if (entry & QCOW2_COMPRESSED) {
        errno = EOPNOTSUPP;
        return -1;
    }
    if (entry & QCOW2_L2_RESERVED || offset & (image->cluster_bytes - 1) || offset >= image->file_bytes)
        return bl_qcow2_corrupt(image, "an entry of an L2 table names", offset);
    if (!offset) {
        if (entry & QCOW2_COPIED)
            return bl_qcow2_corrupt(image, "an entry of an L2 table names", offset);
        *kind = entry & QCOW2_ZERO ? BL_KIND_ZERO : BL_KIND_UNALLOCATED;
        return 0;
    }
    *host = offset >> image->cluster_bits;
    if (image->writable && bl_owned_has(&image->owned, *host))
        return bl_qcow2_corrupt(image, "data lies on a table", offset);
    if (entry & QCOW2_ZERO)
        *kind = entry & QCOW2_COPIED ? BL_KIND_ZERO_OWN : BL_KIND_ZERO;
    else
        *kind = entry & QCOW2_COPIED ? BL_KIND_DATA : BL_KIND_SHARED;
    return 0;
}

int bl_qcow2_map(struct bl_qcow2 *image, uint64_t cluster, uint64_t most, bool nowait, struct bl_extent *extent)
{
    uint64_t left = bl_qcow2_slice_left(image, cluster);
    struct bl_slice *slice;
    uint64_t index;

    if (most > left)
        most = left;
    if (!image->l1.entries[cluster >> image->entry_bits]) {
        *extent = (struct bl_extent){BL_KIND_UNALLOCATED, 0, most};
        return 0;
    }
    if (get_slice(image, cluster, nowait, &slice, &index) < 0 ||
        classify(image, bl_get_be64(slice->bytes + index * 8), &extent->kind, &extent->host) < 0)
        return -1;

    bool in_row = extent->kind == BL_KIND_ZERO_OWN || extent->kind == BL_KIND_DATA || extent->kind == BL_KIND_SHARED;

    for (extent->clusters = 1; extent->clusters < most; extent->clusters++) {
        enum bl_kind kind = BL_KIND_UNALLOCATED;
        uint64_t host = 0;
        uint64_t entry = bl_get_be64(slice->bytes + (index + extent->clusters) * 8);

        /* What is wrong with a later one is told when it is its turn. */
        if (entry & QCOW2_COMPRESSED || classify(image, entry, &kind, &host) < 0 || kind != extent->kind)
            break;
        if (in_row && host != extent->host + extent->clusters)
            break;
    }
    return 0;
}

/* make_table() - A new L2 table, all unallocated. Return: 0; -1 with errno */
static int make_table(struct bl_qcow2 *image, uint64_t l1_index)
{
    struct bl_run run;
    bool fresh;
    void *zeros;
    int failed;

    if (bl_qcow2_take(image, 1, &run, &fresh) < 0)
        return -1;
    zeros = calloc(1, image->cluster_bytes);
    if (!zeros)
        errno = ENOMEM;
    failed = !zeros || bl_disk_file_write(&image->file, zeros, image->cluster_bytes, run.first << image->cluster_bits) < 0 ||
             bl_owned_add(&image->owned, run.first, 1) < 0;
    free(zeros);
    if (failed) {
        int reason = errno;

        (void)bl_qcow2_give(image, &run);
        errno = reason == EAGAIN || reason == EEXIST ? EIO : reason;
        return -1;
    }
    bl_table_set(&image->l1, l1_index, run.first << image->cluster_bits | QCOW2_COPIED);
    return 0;
}

int bl_qcow2_remap(struct bl_qcow2 *image, uint64_t cluster, uint64_t count, uint64_t entry)
{
    uint64_t step = entry & QCOW2_OFFSET ? image->cluster_bytes : 0;
    uint64_t l1_index = cluster >> image->entry_bits;
    struct bl_slice *slice;
    uint64_t index;

    if (!image->l1.entries[l1_index] && (!entry || make_table(image, l1_index) < 0))
        return entry ? -1 : 0;
    if (get_slice(image, cluster, false, &slice, &index) < 0 || bl_cache_change(image, slice) < 0)
        return -1;
    for (uint64_t i = 0; i < count; i++, entry += step) {
        uint8_t *at = slice->bytes + (index + i) * 8;
        uint64_t old = bl_get_be64(at);

        bl_put_be64(at, entry);
        /* Without memory for the list the cluster stays counted: lost space, which qemu-img check finds, but no harm. */
        if (old & QCOW2_OFFSET && (old & QCOW2_OFFSET) != (entry & QCOW2_OFFSET))
            (void)bl_runs_add(&image->dropped, (old & QCOW2_OFFSET) >> image->cluster_bits, 1, !(old & QCOW2_COPIED));
    }
    return 0;
}
