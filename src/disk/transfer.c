/* SPDX-License-Identifier: Apache-2.0 */
/*
 * transfer.c - reads and writes of an image
 *
 * A request is done in runs of guest clusters that are alike. Under the lock a run is looked up and entered as being worked on;
 * then the data goes between the caller's memory and the file, without the lock.
 *
 * A write to what has a cluster of its own goes into that. Else host clusters are taken, and what the write does not cover of them
 * is filled from what was there: the layer below, zeros, a shared cluster. Only when that is in the file the L2 entries are
 * changed, in memory; see commit.c for when they go to the file. New clusters at the end of the file are zeros already, so zeros
 * are not written to them: a small write to an empty place costs just that.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "disk/image.h"

static uint64_t cluster_at(const struct bl_qcow2 *image, uint64_t offset)
{
    return offset >> image->cluster_bits;
}

/* clusters_of() - How many clusters a range touches. */
static uint64_t clusters_of(const struct bl_qcow2 *image, uint64_t length, uint64_t offset)
{
    return cluster_at(image, offset + length - 1) - cluster_at(image, offset) + 1;
}

/* in_extent() - Bytes of a range, which begins in an extent's first cluster, that lie within the extent. */
static uint64_t in_extent(const struct bl_qcow2 *image, const struct bl_extent *extent, uint64_t length, uint64_t offset)
{
    uint64_t left = (extent->clusters << image->cluster_bits) - (offset & (image->cluster_bytes - 1));

    return length < left ? length : left;
}

static uint64_t host_offset(const struct bl_qcow2 *image, const struct bl_extent *extent, uint64_t offset)
{
    return (extent->host << image->cluster_bits) + (offset & (image->cluster_bytes - 1));
}

/* look_up() - Map, and enter the range if the file is to be read. With the lock. Return: 0; -1 with errno */
static int look_up(struct bl_qcow2 *image, uint64_t length, uint64_t offset, bool nowait, struct bl_extent *extent,
                   struct bl_range *range)
{
    uint64_t first = cluster_at(image, offset);

    for (;;) {
        if (bl_qcow2_map(image, first, clusters_of(image, length, offset), nowait, extent) < 0) {
            if (nowait || bl_qcow2_make_room(image) < 0)
                return -1;
            continue;
        }
        *range = (struct bl_range){first, first + extent->clusters, false, NULL};
        if ((extent->kind != BL_KIND_DATA && extent->kind != BL_KIND_SHARED) || !image->writable || !bl_range_try(image, range))
            return 0;
        if (nowait) {
            errno = EAGAIN;
            return -1;
        }
        bl_range_wait(image);
    }
}

static int read_extent(struct bl_qcow2 *image, const struct bl_extent *extent, struct bl_disk_cursor *cursor, uint64_t length,
                       uint64_t offset, bool nowait)
{
    switch (extent->kind) {
    case BL_KIND_UNALLOCATED:
        return bl_layer_read(image->below, cursor, length, offset, nowait);
    case BL_KIND_ZERO:
    case BL_KIND_ZERO_OWN:
        bl_disk_cursor_zero(cursor, length);
        return 0;
    case BL_KIND_DATA:
    case BL_KIND_SHARED:
        break;
    }
    return bl_disk_file_read_at(&image->file, cursor, length, host_offset(image, extent, offset), nowait);
}

int bl_qcow2_read(struct bl_qcow2 *image, struct bl_disk_cursor *cursor, uint64_t length, uint64_t offset, bool nowait)
{
    while (length) {
        struct bl_extent extent;
        struct bl_range range;
        uint64_t here;
        int result;

        if (!nowait) {
            pthread_mutex_lock(&image->lock);
        } else if (pthread_mutex_trylock(&image->lock)) {
            errno = EAGAIN;
            return -1;
        }
        result = look_up(image, length, offset, nowait, &extent, &range);
        pthread_mutex_unlock(&image->lock);
        if (result < 0)
            return -1;
        here = in_extent(image, &extent, length, offset);
        result = read_extent(image, &extent, cursor, here, offset, nowait);
        if (image->writable && (extent.kind == BL_KIND_DATA || extent.kind == BL_KIND_SHARED)) {
            pthread_mutex_lock(&image->lock);
            bl_range_end(image, &range);
            pthread_mutex_unlock(&image->lock);
        }
        if (result < 0)
            return -1;
        offset += here;
        length -= here;
    }
    return 0;
}

bool bl_qcow2_hole(struct bl_qcow2 *image, uint64_t offset, uint64_t length)
{
    while (length) {
        struct bl_extent extent;
        uint64_t here;
        int result;

        pthread_mutex_lock(&image->lock);
        result = bl_qcow2_map(image, cluster_at(image, offset), clusters_of(image, length, offset), false, &extent);
        pthread_mutex_unlock(&image->lock);
        if (result < 0 || extent.kind == BL_KIND_DATA || extent.kind == BL_KIND_SHARED)
            return false;
        here = in_extent(image, &extent, length, offset);
        if (extent.kind == BL_KIND_UNALLOCATED && !bl_layer_hole(image->below, offset, here))
            return false;
        offset += here;
        length -= here;
    }
    return true;
}

/* One run of a write. */
struct step {
    struct bl_extent extent; /* what is there */
    struct bl_run run;       /* where it goes, when it does not go where it is */
    bool fresh;              /* the run is zeros */
    struct bl_range range;
};

/* begin_step() - Look up, and take clusters if need be. With the lock. Return: 0; -1 with errno */
static int begin_step(struct bl_qcow2 *image, uint64_t length, uint64_t offset, bool anywhere, struct step *step)
{
    struct bl_extent *extent = &step->extent;
    uint64_t first = cluster_at(image, offset);

    for (;;) {
        if (bl_qcow2_usable(image) < 0)
            return -1;
        if (!anywhere && offset + length > image->bytes) { /* it shrank meanwhile */
            errno = EINVAL;
            return -1;
        }
        if (bl_qcow2_map(image, first, clusters_of(image, length, offset), false, extent) < 0) {
            if (bl_qcow2_make_room(image) < 0)
                return -1;
            continue;
        }
        step->range = (struct bl_range){first, first + extent->clusters, extent->kind != BL_KIND_DATA, NULL};
        if (bl_range_try(image, &step->range) < 0) {
            bl_range_wait(image);
            continue;
        }
        step->fresh = false;
        step->run = (struct bl_run){extent->host, extent->clusters, false};
        if (extent->kind == BL_KIND_DATA || extent->kind == BL_KIND_ZERO_OWN)
            return 0;
        if (!bl_qcow2_take(image, extent->clusters, &step->run, &step->fresh)) {
            extent->clusters = step->run.count;
            step->range.end = first + extent->clusters;
            return 0;
        }

        int reason = errno;

        bl_range_end(image, &step->range);
        errno = reason;
        if (bl_qcow2_make_room(image) < 0)
            return -1;
    }
}

/* end_step() - The data is in the file, or failed to get there. With the lock. Return: 0; -1 with errno */
static int end_step(struct bl_qcow2 *image, struct step *step, int result)
{
    int reason = errno;

    if (step->extent.kind != BL_KIND_DATA) {
        uint64_t entry = step->run.first << image->cluster_bits | QCOW2_COPIED;

        while (!result && bl_qcow2_remap(image, step->range.first, step->run.count, entry) < 0) {
            result = bl_qcow2_make_room(image);
            reason = errno;
        }
        /* What was taken for nothing is given back, unless counting it down is no longer possible: then it is lost space. */
        if (result < 0 && step->extent.kind != BL_KIND_ZERO_OWN)
            (void)bl_qcow2_give(image, &step->run);
    }
    bl_range_end(image, &step->range);
    errno = reason;
    return result;
}

/*
 * old_content() - What is in a part of a run's clusters that the write does not cover
 * @begin: offset on the disk where the run begins
 * @zeros: it is all zeros, and @bytes is not filled
 */
static int old_content(struct bl_qcow2 *image, const struct step *step, uint64_t begin, uint64_t offset, uint8_t *bytes,
                       size_t length, bool *zeros)
{
    uint64_t end = __atomic_load_n(&image->bytes, __ATOMIC_RELAXED);
    struct iovec all = {bytes, length};

    *zeros = true;
    if (step->extent.kind == BL_KIND_SHARED) {
        *zeros = false;
        return bl_disk_file_read(&image->file, bytes, length, (step->extent.host << image->cluster_bits) + offset - begin);
    }
    if (step->extent.kind != BL_KIND_UNALLOCATED || offset >= end)
        return 0;

    uint64_t inside = length < end - offset ? length : end - offset;

    if (bl_layer_hole(image->below, offset, inside))
        return 0;
    memset(bytes + inside, 0, length - inside);
    if (bl_layer_read(image->below, &(struct bl_disk_cursor){&all, 1, 0}, inside, offset, false) < 0)
        return -1;
    *zeros = !bytes[0] && !memcmp(bytes, bytes + 1, length - 1);
    return 0;
}

/* One edge of a run: what lies before or behind the written bytes. */
struct edge {
    uint8_t *bytes;
    size_t length; /* 0: nothing to write */
};

static int make_edge(struct bl_qcow2 *image, const struct step *step, uint64_t begin, uint64_t offset, uint64_t length,
                     struct edge *edge)
{
    bool zeros;

    edge->bytes = NULL;
    edge->length = (size_t)length;
    if (!length)
        return 0;
    edge->bytes = malloc(edge->length);
    if (!edge->bytes) {
        errno = ENOMEM;
        return -1;
    }
    if (old_content(image, step, begin, offset, edge->bytes, edge->length, &zeros) < 0)
        return -1;
    if (zeros && step->fresh)
        edge->length = 0;
    else if (zeros)
        memset(edge->bytes, 0, edge->length);
    return 0;
}

/* write_whole() - Edges and data, in one call if the vector is short enough */
static int write_whole(struct bl_qcow2 *image, const struct edge *head, struct bl_disk_cursor *cursor, uint64_t length,
                       const struct edge *tail, uint64_t host)
{
    struct iovec parts[BL_DISK_PARTS];
    uint64_t bytes;
    int count = bl_disk_cursor_part(cursor, length, parts + 1, BL_DISK_PARTS - 2, &bytes);

    if (bytes < length)
        return (head->length && bl_disk_file_write(&image->file, head->bytes, head->length, host - head->length) < 0) ||
                       (tail->length && bl_disk_file_write(&image->file, tail->bytes, tail->length, host + length) < 0)
                   ? -1
                   : bl_disk_file_write_at(&image->file, cursor, length, host);
    parts[0] = (struct iovec){head->bytes, head->length};
    parts[count + 1] = (struct iovec){tail->bytes, tail->length};
    bl_disk_cursor_skip(cursor, length);
    return bl_disk_file_write_at(&image->file, &(struct bl_disk_cursor){parts, (size_t)count + 2, 0},
                                 head->length + length + tail->length, host - head->length);
}

/* write_new() - Fill new clusters: the written bytes, and around them what was there */
static int write_new(struct bl_qcow2 *image, const struct step *step, struct bl_disk_cursor *cursor, uint64_t length,
                     uint64_t offset)
{
    uint64_t begin = step->range.first << image->cluster_bits;
    uint64_t end = begin + (step->run.count << image->cluster_bits);
    uint64_t host = (step->run.first << image->cluster_bits) + offset - begin;
    struct edge head, tail = {0};
    int result;
    int reason;

    if (make_edge(image, step, begin, begin, offset - begin, &head) < 0 ||
        make_edge(image, step, begin, offset + length, end - offset - length, &tail) < 0)
        result = -1;
    else if (!head.length && !tail.length)
        result = bl_disk_file_write_at(&image->file, cursor, length, host);
    else
        result = write_whole(image, &head, cursor, length, &tail, host);
    reason = errno;
    free(head.bytes);
    free(tail.bytes);
    errno = reason;
    return result;
}

int bl_qcow2_write(struct bl_qcow2 *image, struct bl_disk_cursor *cursor, uint64_t length, uint64_t offset, bool anywhere)
{
    while (length) {
        struct step step;
        uint64_t here;
        bool due;
        int result;

        pthread_mutex_lock(&image->lock);
        result = begin_step(image, length, offset, anywhere, &step);
        due = image->dropped.count > BL_DROPPED_MOST;
        pthread_mutex_unlock(&image->lock);
        if (result < 0)
            return -1;
        here = in_extent(image, &step.extent, length, offset);
        if (step.extent.kind == BL_KIND_DATA)
            result = bl_disk_file_write_at(&image->file, cursor, here, host_offset(image, &step.extent, offset));
        else
            result = write_new(image, &step, cursor, here, offset);
        pthread_mutex_lock(&image->lock);
        result = end_step(image, &step, result);
        pthread_mutex_unlock(&image->lock);
        if (result < 0 || (due && bl_qcow2_commit(image) < 0))
            return -1;
        offset += here;
        length -= here;
    }
    return 0;
}
