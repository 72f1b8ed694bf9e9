/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reftable.c - a longer refcount table
 *
 * The first table of an image counts 16 TiB of file with the usual clusters, 8 MiB with the smallest. A longer one lies behind
 * all that the old one could count, where everything is free, together with the blocks that count it: both are complete in the
 * file, and flushed, before the header names the table, in one write within one sector. The old table is free after the next
 * commit.
 *
 * This is rare, so it is done at once, with the lock held.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "disk/image.h"

/* What is made: `blocks` refcount blocks from cluster `first` on, the table behind them. */
struct growth {
    uint64_t first;
    uint64_t blocks;
    uint64_t entries;
    uint64_t clusters; /* of the table */
};

static int plan(const struct bl_qcow2 *image, struct growth *growth)
{
    uint64_t entries_of_cluster = image->cluster_bytes / 8;

    growth->first = image->reftable.count << image->block_bits;
    for (growth->blocks = 1;; growth->blocks++) {
        uint64_t entries = image->reftable.count + growth->blocks + image->reftable.count / 2;

        growth->clusters = (entries + entries_of_cluster - 1) / entries_of_cluster;
        growth->entries = growth->clusters * entries_of_cluster;
        if (growth->entries * 8 > QCOW2_TABLE_BYTES_MOST || growth->first >= QCOW2_FILE_MOST >> image->cluster_bits) {
            errno = EFBIG;
            return -1;
        }
        if (growth->blocks + growth->clusters <= growth->blocks << image->block_bits)
            return 0;
    }
}

static int write_blocks(struct bl_qcow2 *image, const struct growth *growth)
{
    uint64_t left = growth->blocks + growth->clusters;
    cleanup_free uint8_t *block = malloc(image->cluster_bytes);

    if (!block) {
        errno = ENOMEM;
        return -1;
    }
    for (uint64_t i = 0; i < growth->blocks; i++) {
        uint64_t here = left < 1ull << image->block_bits ? left : 1ull << image->block_bits;

        memset(block, 0, image->cluster_bytes);
        bl_qcow2_fill_counts(image, block, here);
        if (bl_disk_file_write(&image->file, block, image->cluster_bytes, (growth->first + i) << image->cluster_bits) < 0)
            return -1;
        left -= here;
    }
    return 0;
}

/* name_in_header() - Make a table that is in the file the image's. Return: 0; -1 with errno */
static int name_in_header(struct bl_qcow2 *image, const struct bl_table *table, uint64_t clusters)
{
    uint8_t fields[12];

    bl_put_be64(fields, table->offset);
    bl_put_be32(fields + 8, (uint32_t)clusters);
    if (bl_qcow2_sync(image) < 0)
        return -1;
    if (bl_qcow2_put_header(image, QCOW2_AT_REFTABLE_OFFSET, fields, sizeof fields) < 0 || bl_qcow2_sync(image) < 0) {
        image->failed = true; /* which one it names can't be told */
        return -1;
    }
    return 0;
}

int bl_qcow2_grow_reftable(struct bl_qcow2 *image)
{
    struct bl_table *old = &image->reftable;
    struct growth growth;
    struct bl_table table = {0};
    uint64_t old_clusters = bl_clusters_up(image, old->count * 8);

    if (plan(image, &growth) < 0)
        return -1;
    for (uint64_t i = 0; i < growth.blocks + growth.clusters; i++)
        if (bl_owned_has(&image->owned, growth.first + i))
            return bl_qcow2_corrupt(image, "a table lies where nothing is in use", (growth.first + i) << image->cluster_bits);
    if (bl_qcow2_extend(image, growth.first + growth.blocks + growth.clusters) < 0 || write_blocks(image, &growth) < 0)
        return -1;
    table.count = growth.entries;
    table.offset = (growth.first + growth.blocks) << image->cluster_bits;
    table.entries = calloc(table.count, 8);
    if (!table.entries) {
        errno = ENOMEM;
        return -1;
    }
    memcpy(table.entries, old->entries, old->count * 8);
    for (uint64_t i = 0; i < growth.blocks; i++)
        table.entries[old->count + i] = (growth.first + i) << image->cluster_bits;
    if (bl_table_write(image, &table, 0, table.count) < 0 ||
        bl_owned_add(&image->owned, growth.first, growth.blocks + growth.clusters) < 0 ||
        name_in_header(image, &table, growth.clusters) < 0) {
        bl_owned_remove(&image->owned, growth.first, growth.blocks + growth.clusters);
        free(table.entries);
        return -1;
    }
    if (image->fresh_from < growth.first + growth.blocks + growth.clusters)
        image->fresh_from = growth.first + growth.blocks + growth.clusters;
    bl_owned_remove(&image->owned, old->offset >> image->cluster_bits, old_clusters);
    (void)bl_runs_add(&image->dropped, old->offset >> image->cluster_bits, old_clusters, false);
    free(old->entries);
    *old = table;
    return 0;
}
