/* SPDX-License-Identifier: Apache-2.0 */
/*
 * commit.c - what is in memory goes to the file, in the order that keeps it whole
 *
 * Data is in the file when its request ends. Counts, L2 entries and L1 entries are changed in memory; a commit, at a flush of the
 * guest or when the cache is full of changes, takes all that was changed by then and writes it in steps, with a flush of the file
 * between them, since only that keeps the host from reordering them:
 *
 *     1. refcount blocks                     flush: data, new tables and counts are on the disk
 *     2. entries of the refcount table       flush, if there are any: their blocks are complete
 *     3. L2 entries, L1 entries              flush: all that they name is complete and counted
 *     4. host clusters that nothing in the file names any more are punched out of it, and counted down in memory
 *
 * So a power failure at any point, with any part of what was not flushed lost, leaves a file in which each entry names a complete
 * cluster that is counted. At worst clusters are counted that nothing names: space, until somebody runs qemu-img check -r leaks.
 * Usually steps 1 and 3 are all there is: two flushes when something was allocated, one when not.
 *
 * The lock is held to take the changes and to end, not while writing: a slice that somebody changes meanwhile is copied first.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "disk/image.h"

#define SETTLE_ROUNDS 4 /* each gives back what the one before released */

/* What one commit took. */
struct batch {
    struct bl_table l1, reftable; /* copies of their changed parts */
    struct bl_runs dropped;
    bool counts, entries; /* slices of the caches are being written */
};

int bl_qcow2_sync(struct bl_qcow2 *image)
{
    if (image->unsafe || !image->file.calls->fdatasync(image->file.fd))
        return 0;

    int reason = errno;

    /* The kernel says it once, and may have thrown the data away: a second flush that succeeds would be a lie. */
    atomic_store(&image->failed, true);
    bl_log(BL_LOG_ERROR, "flush a disk: error %d; it is not written any more", reason);
    errno = reason;
    return -1;
}

void bl_table_set(struct bl_table *table, uint64_t index, uint64_t entry)
{
    table->entries[index] = entry;
    if (table->dirty_first == table->dirty_end) {
        table->dirty_first = index;
        table->dirty_end = index + 1;
    }
    if (index < table->dirty_first)
        table->dirty_first = index;
    if (index >= table->dirty_end)
        table->dirty_end = index + 1;
}

int bl_table_write(struct bl_qcow2 *image, const struct bl_table *table, uint64_t first, uint64_t end)
{
    cleanup_free uint64_t *stored = malloc((end - first) * 8 + !(end - first));

    if (!stored) {
        errno = ENOMEM;
        return -1;
    }
    for (uint64_t i = first; i < end; i++)
        bl_put_be64(&stored[i - first], table->entries[i]);
    return bl_disk_file_write(&image->file, stored, (end - first) * 8, table->offset + first * 8);
}

/* take_table() - Take the changed part of a table; its entries begin at that of dirty_first. Return: 0; -1 with ENOMEM */
static int take_table(struct bl_table *table, struct bl_table *taken)
{
    uint64_t count = table->dirty_end - table->dirty_first;

    if (!count)
        return 0;
    taken->entries = malloc(count * 8);
    if (!taken->entries) {
        errno = ENOMEM;
        return -1;
    }
    memcpy(taken->entries, table->entries + table->dirty_first, count * 8);
    taken->count = count;
    taken->offset = table->offset + table->dirty_first * 8;
    taken->dirty_first = table->dirty_first;
    table->dirty_first = table->dirty_end = 0;
    return 0;
}

/* untake_table() - The changes were not written: they are to be, with those that came since. */
static void untake_table(struct bl_table *table, const struct bl_table *taken)
{
    for (uint64_t i = taken->dirty_first; i < taken->dirty_first + taken->count && i < table->count; i++)
        bl_table_set(table, i, table->entries[i]);
}

static bool take_slices(struct bl_cache *cache)
{
    bool any = false;

    for (uint32_t i = 0; i < cache->most; i++) {
        struct bl_slice *slice = &cache->slots[i];

        if (!slice->dirty)
            continue;
        slice->dirty = false;
        slice->writing = slice->bytes;
        any = true;
    }
    return any;
}

static void end_slices(struct bl_cache *cache, bool written)
{
    for (uint32_t i = 0; i < cache->most; i++) {
        struct bl_slice *slice = &cache->slots[i];

        if (!slice->writing)
            continue;
        if (slice->writing != slice->bytes)
            free(slice->writing);
        slice->writing = NULL;
        slice->dirty |= !written;
    }
}

/* write_slices() - Without the lock: only a commit sets or clears `writing`, and a slice that is written keeps its place. */
static int write_slices(struct bl_qcow2 *image, const struct bl_cache *cache)
{
    for (uint32_t i = 0; i < cache->most; i++) {
        const struct bl_slice *slice = &cache->slots[i];

        if (slice->writing && bl_disk_file_write(&image->file, slice->writing, image->slice_bytes, slice->offset) < 0)
            return -1;
    }
    return 0;
}

static int take_changes(struct bl_qcow2 *image, struct batch *batch)
{
    if (take_table(&image->l1, &batch->l1) < 0 || take_table(&image->reftable, &batch->reftable) < 0)
        return -1;
    batch->counts = take_slices(&image->refcounts);
    batch->entries = take_slices(&image->l2);
    batch->dropped = image->dropped;
    image->dropped = (struct bl_runs){0};
    return 0;
}

static int write_changes(struct bl_qcow2 *image, const struct batch *batch)
{
    if (batch->counts && write_slices(image, &image->refcounts) < 0)
        return -1;
    if (bl_qcow2_sync(image) < 0)
        return -1;
    if (batch->reftable.count &&
        (bl_table_write(image, &batch->reftable, 0, batch->reftable.count) < 0 || bl_qcow2_sync(image) < 0))
        return -1;
    if (batch->entries && write_slices(image, &image->l2) < 0)
        return -1;
    if (batch->l1.count && bl_table_write(image, &batch->l1, 0, batch->l1.count) < 0)
        return -1;
    return batch->entries || batch->l1.count ? bl_qcow2_sync(image) : 0;
}

/* punch_dropped() - Their space goes back to the host. A file system that can't do that keeps it, which is no error. */
static void punch_dropped(const struct bl_qcow2 *image, const struct bl_runs *dropped)
{
    for (size_t i = 0; i < dropped->count; i++)
        if (!dropped->runs[i].shared)
            (void)image->file.calls->punch(image->file.fd, (off_t)(dropped->runs[i].first << image->cluster_bits),
                                           (off_t)(dropped->runs[i].count << image->cluster_bits));
}

static void append_runs(struct bl_runs *to, const struct bl_runs *from)
{
    for (size_t i = 0; i < from->count; i++)
        (void)bl_runs_add(to, from->runs[i].first, from->runs[i].count, from->runs[i].shared);
}

/* give_released() - Count down what nothing names. What finds no room in the cache stays for the next commit. */
static void give_released(struct bl_qcow2 *image)
{
    struct bl_runs runs = image->released;

    image->released = (struct bl_runs){0};
    for (size_t i = 0; i < runs.count; i++)
        if (bl_qcow2_give(image, &runs.runs[i]) < 0 && errno == EAGAIN)
            (void)bl_runs_add(&image->released, runs.runs[i].first, runs.runs[i].count, runs.runs[i].shared);
    free(runs.runs);
}

static void end_batch(struct bl_qcow2 *image, struct batch *batch, bool written)
{
    end_slices(&image->refcounts, written);
    end_slices(&image->l2, written);
    if (!written) {
        untake_table(&image->l1, &batch->l1);
        untake_table(&image->reftable, &batch->reftable);
    }
    append_runs(written ? &image->released : &image->dropped, &batch->dropped);
    if (written)
        give_released(image);
    free(batch->l1.entries);
    free(batch->reftable.entries);
    free(batch->dropped.runs);
}

int bl_qcow2_commit(struct bl_qcow2 *image)
{
    struct batch batch = {0};
    int result;
    int reason;

    pthread_mutex_lock(&image->commit_lock);
    pthread_mutex_lock(&image->lock);
    result = bl_qcow2_usable(image);
    if (!result) {
        result = take_changes(image, &batch);
        pthread_mutex_unlock(&image->lock);
        if (!result)
            result = write_changes(image, &batch);
        reason = errno;
        if (!result)
            punch_dropped(image, &batch.dropped);
        pthread_mutex_lock(&image->lock);
        end_batch(image, &batch, !result);
        errno = reason == EAGAIN ? EIO : reason;
    }
    pthread_mutex_unlock(&image->lock);
    pthread_mutex_unlock(&image->commit_lock);
    return result;
}

/* settled() - Whether nothing is left that a commit would write. */
static bool settled(struct bl_qcow2 *image)
{
    bool left;

    pthread_mutex_lock(&image->lock);
    left = image->dropped.count || image->released.count || image->l1.dirty_end || image->reftable.dirty_end;
    for (uint32_t i = 0; i < image->l2.most && !left; i++)
        left = image->l2.slots[i].dirty;
    for (uint32_t i = 0; i < image->refcounts.most && !left; i++)
        left = image->refcounts.slots[i].dirty;
    pthread_mutex_unlock(&image->lock);
    return !left;
}

int bl_qcow2_settle(struct bl_qcow2 *image)
{
    for (int round = 0; round < SETTLE_ROUNDS; round++) {
        if (bl_qcow2_commit(image) < 0)
            return -1;
        if (settled(image))
            break;
    }
    return 0;
}

int bl_qcow2_make_room(struct bl_qcow2 *image)
{
    int result;

    if (errno != EAGAIN)
        return -1;
    pthread_mutex_unlock(&image->lock);
    result = bl_qcow2_commit(image);
    pthread_mutex_lock(&image->lock);
    return result;
}
