/* SPDX-License-Identifier: Apache-2.0 */
/*
 * discard.c - clusters that are given up, and ranges that read as zeros
 *
 * Only L2 entries change. A cluster that an entry named is dropped: the next commit makes the change last, punches the cluster out
 * of the file and counts it down, in this order. Until then it can't be taken for something else.
 *
 * Where the layer below has something, an entry that says "zeros" hides it; elsewhere the entry just becomes empty.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "disk/image.h"

/* entry_for() - The entry that makes a run read as zeros. Return: false when it does so already */
static bool entry_for(const struct bl_qcow2 *image, const struct bl_extent *extent, uint64_t cluster, bool unmap, uint64_t *entry)
{
    bool hides = cluster << image->cluster_bits < bl_layer_bytes(image->below);

    *entry = hides ? QCOW2_ZERO : 0;
    switch (extent->kind) {
    case BL_KIND_UNALLOCATED:
        return hides;
    case BL_KIND_ZERO:
        return false;
    case BL_KIND_ZERO_OWN:
        return unmap;
    case BL_KIND_DATA:
        if (!unmap)
            *entry = extent->host << image->cluster_bits | QCOW2_COPIED | QCOW2_ZERO;
        return true;
    case BL_KIND_SHARED:
        break;
    }
    return true;
}

/* zero_run() - Have the first of some clusters read as zeros. With the lock. Return: how many; -1 with errno */
static int64_t zero_run(struct bl_qcow2 *image, uint64_t cluster, uint64_t most, bool unmap)
{
    for (;;) {
        struct bl_extent extent;
        struct bl_range range;
        uint64_t entry;
        int result;

        if (bl_qcow2_usable(image) < 0)
            return -1;
        result = bl_qcow2_map(image, cluster, most, false, &extent);
        if (!result) {
            range = (struct bl_range){cluster, cluster + extent.clusters, true, NULL};
            if (bl_range_try(image, &range) < 0) {
                bl_range_wait(image);
                continue;
            }
            /* All that follows is done with the lock: nobody needs to see the range. */
            bl_range_end(image, &range);
            if (!entry_for(image, &extent, cluster, unmap, &entry))
                return (int64_t)extent.clusters;
            result = bl_qcow2_remap(image, cluster, extent.clusters, entry);
        }
        if (!result)
            return (int64_t)extent.clusters;
        if (bl_qcow2_make_room(image) < 0)
            return -1;
    }
}

static int zero_clusters(struct bl_qcow2 *image, uint64_t first, uint64_t end, bool unmap)
{
    while (first < end) {
        int64_t done;
        bool due;

        pthread_mutex_lock(&image->lock);
        done = zero_run(image, first, end - first, unmap);
        due = image->dropped.count > BL_DROPPED_MOST;
        pthread_mutex_unlock(&image->lock);
        if (done < 0 || (due && bl_qcow2_commit(image) < 0))
            return -1;
        first += (uint64_t)done;
    }
    return 0;
}

/* whole_clusters() - Those that lie in a range; the last one of the disk may be a part. */
static void whole_clusters(const struct bl_qcow2 *image, uint64_t offset, uint64_t length, uint64_t *first, uint64_t *end)
{
    bool to_the_end = offset + length >= __atomic_load_n(&image->bytes, __ATOMIC_RELAXED);

    *first = bl_clusters_up(image, offset);
    *end = to_the_end ? bl_clusters_up(image, offset + length) : (offset + length) >> image->cluster_bits;
}

int bl_qcow2_discard(struct bl_qcow2 *image, uint64_t offset, uint64_t length)
{
    uint64_t first, end;

    whole_clusters(image, offset, length, &first, &end);
    return zero_clusters(image, first, end, true);
}

/* write_zeros() - A part of a cluster */
static int write_zeros(struct bl_qcow2 *image, uint64_t offset, uint64_t length)
{
    cleanup_free void *zeros = NULL;
    struct iovec all;
    struct bl_disk_cursor cursor = {&all, 1, 0};

    if (!length || bl_qcow2_hole(image, offset, length))
        return 0;
    zeros = calloc(1, (size_t)length);
    if (!zeros) {
        errno = ENOMEM;
        return -1;
    }
    all.iov_base = zeros;
    all.iov_len = (size_t)length;
    return bl_qcow2_write(image, &cursor, length, offset, true);
}

int bl_qcow2_write_zeroes(struct bl_qcow2 *image, uint64_t offset, uint64_t length, bool unmap)
{
    uint64_t first, end, begin_whole, end_whole;

    whole_clusters(image, offset, length, &first, &end);
    if (first >= end) {
        /* No whole one: parts of one cluster, or of two that meet. */
        begin_whole = first << image->cluster_bits;
        if (begin_whole <= offset || begin_whole >= offset + length)
            return write_zeros(image, offset, length);
        return write_zeros(image, offset, begin_whole - offset) < 0
                   ? -1
                   : write_zeros(image, begin_whole, offset + length - begin_whole);
    }
    begin_whole = first << image->cluster_bits;
    end_whole = end << image->cluster_bits;
    if (write_zeros(image, offset, begin_whole - offset) < 0 || zero_clusters(image, first, end, unmap) < 0)
        return -1;
    return end_whole < offset + length ? write_zeros(image, end_whole, offset + length - end_whole) : 0;
}
