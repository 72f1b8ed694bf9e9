/* SPDX-License-Identifier: Apache-2.0 */
/*
 * resize.c - a new size of an image
 *
 * The size is one field of the header, written when all that it needs is on the disk: so after a crash the image has the old size
 * or the new one.
 *
 * What lies past the end is never believed to be zeros: an image that was made shorter, by us and then a crash or by another
 * program, or the layer below, may have something there. Growing makes zeros of all that is gained; what is cut off is given up
 * only after the size was written.
 *
 * A longer L1 table goes to the end of what its clusters have room for, or to new clusters; its place and length are one write.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "disk/image.h"

#define ROW_ATTEMPTS 4u

static uint64_t l1_entries(const struct bl_qcow2 *image, uint64_t bytes)
{
    uint64_t mapped = 1ull << (image->cluster_bits + image->entry_bits);

    return bytes / mapped + !!(bytes % mapped);
}

/* take_row() - Host clusters in a row. Return: 0; -1 with errno */
static int take_row(struct bl_qcow2 *image, uint64_t count, struct bl_run *run)
{
    uint64_t search_from = image->search_from;
    struct bl_run wasted[ROW_ATTEMPTS];
    unsigned int attempts = 0;
    bool fresh;
    int result;

    /* Behind all that was used is the most room, though a refcount block may stand in the way. */
    if (image->search_from < image->fresh_from)
        image->search_from = image->fresh_from;
    while (!(result = bl_qcow2_take(image, count, run, &fresh)) && run->count < count && attempts < ROW_ATTEMPTS)
        wasted[attempts++] = *run;
    if (!result && run->count < count) {
        (void)bl_qcow2_give(image, run);
        errno = EFBIG;
        result = -1;
    }

    int reason = errno;

    while (attempts)
        (void)bl_qcow2_give(image, &wasted[--attempts]);
    image->search_from = search_from;
    errno = reason;
    return result;
}

/* name_l1() - Have the header name a table that is in the file. Return: 0; -1 with errno */
static int name_l1(struct bl_qcow2 *image, const struct bl_table *table)
{
    uint8_t fields[12];

    bl_put_be32(fields, (uint32_t)table->count);
    bl_put_be64(fields + 4, table->offset);
    if (bl_qcow2_sync(image) < 0)
        return -1;
    if (bl_qcow2_put_header(image, QCOW2_AT_L1_ENTRIES, fields, sizeof fields) < 0 || bl_qcow2_sync(image) < 0) {
        atomic_store(&image->failed, true);
        return -1;
    }
    return 0;
}

/* grow_l1() - With the lock, and nothing in flight; @run: the new clusters, if it needs some, counted in the file. Return: 0; -1 */
static int grow_l1(struct bl_qcow2 *image, uint64_t count, const struct bl_run *run)
{
    struct bl_table *old = &image->l1;
    struct bl_table table = {.count = count, .offset = run->count ? run->first << image->cluster_bits : old->offset};
    uint64_t old_clusters = bl_clusters_up(image, old->count * 8);
    uint64_t room = bl_clusters_up(image, count * 8) << image->cluster_bits;

    table.entries = calloc(room, 1);
    if (!table.entries || (run->count && bl_owned_add(&image->owned, run->first, run->count) < 0)) {
        free(table.entries);
        errno = ENOMEM;
        return -1;
    }
    if (old->count)
        memcpy(table.entries, old->entries, old->count * 8);
    if (bl_table_write(image, &table, 0, room / 8) < 0 || name_l1(image, &table) < 0) {
        bl_owned_remove(&image->owned, run->first, run->count);
        free(table.entries);
        return -1;
    }
    if (run->count && old_clusters) {
        bl_owned_remove(&image->owned, old->offset >> image->cluster_bits, old_clusters);
        (void)bl_runs_add(&image->dropped, old->offset >> image->cluster_bits, old_clusters, false);
    }
    free(old->entries);
    *old = table;
    return 0;
}

/* grow_l1_alone() - Grow the L1 table while nobody else works on the image. Return: 0; -1 with errno */
static int grow_l1_alone(struct bl_qcow2 *image, uint64_t count)
{
    struct bl_range all = {0, UINT64_MAX, true, NULL};
    uint64_t clusters = bl_clusters_up(image, count * 8);
    struct bl_run run = {0};
    int result = 0;
    int reason;

    pthread_mutex_lock(&image->lock);
    while (bl_range_try(image, &all) < 0)
        bl_range_wait(image);
    if (clusters > bl_clusters_up(image, image->l1.count * 8))
        while ((result = take_row(image, clusters, &run)) < 0 && !bl_qcow2_make_room(image))
            ;
    reason = errno;
    pthread_mutex_unlock(&image->lock);
    if (!result) { /* all entries of the old table and the counts of the new one */
        result = bl_qcow2_settle(image);
        reason = errno;
    }
    pthread_mutex_lock(&image->commit_lock);
    pthread_mutex_lock(&image->lock);
    if (!result) {
        result = grow_l1(image, count, &run);
        reason = errno;
        if (result < 0 && !image->failed)
            (void)bl_qcow2_give(image, &run);
    }
    bl_range_end(image, &all);
    pthread_mutex_unlock(&image->lock);
    pthread_mutex_unlock(&image->commit_lock);
    errno = reason;
    return result;
}

/* write_size() - The header's field; from here on the disk has this size */
static int write_size(struct bl_qcow2 *image, uint64_t bytes)
{
    uint8_t field[8];
    int result;

    bl_put_be64(field, bytes);
    pthread_mutex_lock(&image->lock);
    result = bl_qcow2_usable(image);
    if (!result)
        result = bl_qcow2_put_header(image, QCOW2_AT_SIZE, field, sizeof field);
    if (!result)
        result = bl_qcow2_sync(image);
    if (!result)
        __atomic_store_n(&image->bytes, bytes, __ATOMIC_RELAXED);
    pthread_mutex_unlock(&image->lock);
    return result;
}

int bl_qcow2_resize(struct bl_qcow2 *image, uint64_t bytes, struct bl_error *err)
{
    uint64_t old = __atomic_load_n(&image->bytes, __ATOMIC_RELAXED);
    uint64_t needed = l1_entries(image, bytes);
    int result = 0;

    if (bytes % 512 || needed * 8 > QCOW2_TABLE_BYTES_MOST)
        return bl_fail(err, BL_INVALID_ARGUMENT, 0, "give a disk %llu bytes: not a multiple of 512, or too much for its format",
                       (unsigned long long)bytes);
    if (needed > image->l1.count)
        result = grow_l1_alone(image, needed);
    if (!result && bytes > old)
        result = bl_qcow2_write_zeroes(image, old, bytes - old, true);
    if (!result)
        result = bl_qcow2_commit(image);
    if (!result)
        result = write_size(image, bytes);
    if (!result && bytes < old)
        result = bl_qcow2_discard(image, bytes, old - bytes);
    if (!result)
        result = bl_qcow2_commit(image);
    if (result < 0)
        return bl_fail(err, BL_STORAGE, errno, "give a disk another size");
    return 0;
}
