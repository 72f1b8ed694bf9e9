/* SPDX-License-Identifier: Apache-2.0 */
/*
 * header.c - the header of an image and the tables that are in memory as a whole
 *
 * An image may come from anywhere, and its guest may have had the file in its hands in another monitor. So nothing in it is
 * believed: numbers are bounded before they are used, tables lie within the file, and each host cluster that holds metadata is
 * entered into a set, so that two tables on one cluster are noticed here, and data on a table whenever an entry is used.
 *
 * What is not understood is refused by name. Features that a writer may ignore when it clears their bit (autoclear: bitmaps) have
 * their bit cleared.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "base/os.h"
#include "disk/image.h"

#define SLICE_BYTES_MOST     4096u
#define L2_SLICES_MOST       512u /* 2 MiB, which map 16 GiB of disk */
#define L2_SLICES_LEAST      8u
#define REFCOUNT_SLICES_MOST 64u /* 256 KiB, which count 8 GiB of file */

int bl_qcow2_put_header(struct bl_qcow2 *image, size_t at, const void *bytes, size_t length)
{
    return bl_disk_file_write(&image->file, bytes, length, at);
}

int bl_qcow2_corrupt(struct bl_qcow2 *image, const char *what, uint64_t offset)
{
    uint8_t field[8];

    if (!image->corrupt) {
        bl_log(BL_LOG_ERROR, "a disk is corrupt: %s at %#llx%s", what, (unsigned long long)offset,
               image->writable ? "; it is not written any more" : "");
        image->corrupt = true;
        if (image->writable) {
            image->incompatible |= QCOW2_INCOMPATIBLE_CORRUPT;
            bl_put_be64(field, image->incompatible);
            if (bl_qcow2_put_header(image, QCOW2_AT_INCOMPATIBLE, field, sizeof field) == 0)
                (void)bl_qcow2_sync(image);
        }
    }
    errno = EIO;
    return -1;
}

int bl_qcow2_usable(const struct bl_qcow2 *image)
{
    if (image->writable && !image->corrupt && !image->failed)
        return 0;
    errno = image->writable ? EIO : EROFS;
    return -1;
}

static int corrupt(struct bl_error *err, const char *what)
{
    return bl_fail(err, BL_STORAGE, 0, "open a qcow2 file: it is corrupt: %s; qemu-img check tells more", what);
}

static int refuse(struct bl_error *err, const char *what)
{
    return bl_fail(err, BL_UNSUPPORTED, 0, "open a qcow2 file: it has %s, which is not supported", what);
}

/* check_features() - The incompatible bits. Return: 0; -1 with @err */
static int check_features(const struct bl_qcow2 *image, struct bl_error *err)
{
    uint64_t bits = image->incompatible;

    if (bits & QCOW2_INCOMPATIBLE_EXTERNAL)
        return refuse(err, "its data in another file");
    if (bits & QCOW2_INCOMPATIBLE_ZSTD)
        return refuse(err, "compressed clusters");
    if (bits & QCOW2_INCOMPATIBLE_EXTENDED)
        return refuse(err, "extended L2 entries (subclusters)");
    if (bits & ~(uint64_t)(QCOW2_INCOMPATIBLE_DIRTY | QCOW2_INCOMPATIBLE_CORRUPT))
        return bl_fail(err, BL_UNSUPPORTED, 0, "open a qcow2 file: it has features that are not known here (bits %#llx)",
                       (unsigned long long)bits);
    if (image->writable && bits & QCOW2_INCOMPATIBLE_CORRUPT)
        return bl_fail(err, BL_STORAGE, 0, "open a qcow2 file: it is marked as corrupt; repair it with qemu-img check -r all");
    if (image->writable && bits & QCOW2_INCOMPATIBLE_DIRTY)
        return bl_fail(err, BL_STORAGE, 0,
                       "open a qcow2 file: its reference counts were not written when it was last closed; "
                       "mend it with qemu-img check -r all");
    return 0;
}

/* read_header() - Everything of the header but the tables' content. Return: 0; -1 with @err */
static int read_header(struct bl_qcow2 *image, uint64_t *reftable_clusters, struct bl_error *err)
{
    uint8_t header[QCOW2_HEADER_BYTES_LEAST];
    uint64_t mapped;
    uint32_t header_bytes;

    if (bl_disk_file_read(&image->file, header, sizeof header, 0) < 0)
        return bl_fail(err, BL_STORAGE, errno, "read the header of a qcow2 file");
    if (image->file_bytes < sizeof header || bl_get_be32(header) != QCOW2_MAGIC)
        return bl_fail(err, BL_STORAGE, 0, "open a qcow2 file: it is none");
    if (bl_get_be32(header + QCOW2_AT_VERSION) != QCOW2_VERSION)
        return bl_fail(err, BL_UNSUPPORTED, 0,
                       "open a qcow2 file: its version is %u, not 3; qemu-img amend -o compat=v3 changes that",
                       bl_get_be32(header + QCOW2_AT_VERSION));
    image->incompatible = bl_get_be64(header + QCOW2_AT_INCOMPATIBLE);
    if (check_features(image, err) < 0)
        return -1;
    if (bl_get_be32(header + QCOW2_AT_CRYPT))
        return refuse(err, "encryption");
    if (bl_get_be32(header + QCOW2_AT_SNAPSHOTS))
        return refuse(err, "internal snapshots");

    image->cluster_bits = bl_get_be32(header + QCOW2_AT_CLUSTER_BITS);
    image->refcount_order = bl_get_be32(header + QCOW2_AT_REFCOUNT_ORDER);
    header_bytes = bl_get_be32(header + QCOW2_AT_HEADER_BYTES);
    if (image->cluster_bits < QCOW2_CLUSTER_BITS_LEAST || image->cluster_bits > QCOW2_CLUSTER_BITS_MOST)
        return corrupt(err, "the size of its clusters");
    if (image->refcount_order > QCOW2_REFCOUNT_ORDER_MOST)
        return corrupt(err, "the width of its reference counts");
    image->cluster_bytes = 1u << image->cluster_bits;
    image->entry_bits = image->cluster_bits - 3;
    image->block_bits = image->cluster_bits + 3 - image->refcount_order;
    image->slice_bytes = image->cluster_bytes < SLICE_BYTES_MOST ? image->cluster_bytes : SLICE_BYTES_MOST;
    if (header_bytes < QCOW2_HEADER_BYTES_LEAST || header_bytes > image->cluster_bytes || header_bytes % 8)
        return corrupt(err, "the length of its header");

    image->bytes = bl_get_be64(header + QCOW2_AT_SIZE);
    image->l1.count = bl_get_be32(header + QCOW2_AT_L1_ENTRIES);
    image->l1.offset = bl_get_be64(header + QCOW2_AT_L1_OFFSET);
    image->reftable.offset = bl_get_be64(header + QCOW2_AT_REFTABLE_OFFSET);
    *reftable_clusters = bl_get_be32(header + QCOW2_AT_REFTABLE_CLUSTERS);
    mapped = 1ull << (image->cluster_bits + image->entry_bits);
    if (image->bytes % 512 || image->bytes > INT64_MAX - mapped)
        return corrupt(err, "its size");
    if (image->l1.count < (image->bytes + mapped - 1) / mapped)
        return corrupt(err, "its L1 table is too short for its size");
    if (image->l1.count * 8 > QCOW2_TABLE_BYTES_MOST || *reftable_clusters > QCOW2_TABLE_BYTES_MOST >> image->cluster_bits)
        return refuse(err, "larger tables than a disk needs");
    image->reftable.count = *reftable_clusters << image->entry_bits;
    return 0;
}

/* inside() - Whether a table of so many bytes, on a cluster's boundary, lies within the file. */
static bool inside(const struct bl_qcow2 *image, uint64_t offset, uint64_t bytes)
{
    return !(offset & (image->cluster_bytes - 1)) && offset && offset < image->file_bytes && bytes <= image->file_bytes - offset;
}

static int load_table(struct bl_qcow2 *image, struct bl_table *table, const char *name, struct bl_error *err)
{
    if (!table->count)
        return 0;
    if (!inside(image, table->offset, table->count * 8))
        return bl_fail(err, BL_STORAGE, 0, "open a qcow2 file: it is corrupt: its %s is not within the file", name);
    table->entries = malloc(table->count * 8);
    if (!table->entries)
        return bl_fail_memory(err);
    if (bl_disk_file_read(&image->file, table->entries, table->count * 8, table->offset) < 0)
        return bl_fail(err, BL_STORAGE, errno, "read the %s of a qcow2 file", name);
    for (uint64_t i = 0; i < table->count; i++)
        table->entries[i] = bl_get_be64(&table->entries[i]);
    return 0;
}

/* own() - Enter clusters of metadata into the set. Return: 0; -1 with @err */
static int own(struct bl_qcow2 *image, uint64_t offset, uint64_t clusters, struct bl_error *err)
{
    if (!bl_owned_add(&image->owned, offset >> image->cluster_bits, clusters))
        return 0;
    return errno == EEXIST ? corrupt(err, "two of its tables lie on the same cluster") : bl_fail_memory(err);
}

static int check_l1(struct bl_qcow2 *image, struct bl_error *err)
{
    for (uint64_t i = 0; i < image->l1.count; i++) {
        uint64_t entry = image->l1.entries[i];

        if (!entry)
            continue;
        if (entry & QCOW2_L1_RESERVED || !inside(image, entry & QCOW2_OFFSET, 1))
            return corrupt(err, "an entry of its L1 table");
        if (!image->writable)
            continue;
        if (!(entry & QCOW2_COPIED))
            return bl_fail(
                err, BL_UNSUPPORTED, 0,
                "open a qcow2 file: a table of it is marked as shared with a snapshot; mend it with qemu-img check -r all");
        if (own(image, entry & QCOW2_OFFSET, 1, err) < 0)
            return -1;
    }
    return 0;
}

static int check_reftable(struct bl_qcow2 *image, struct bl_error *err)
{
    /* The first block counts the header. Where a block is missing all is free, so cluster 0 would be handed out. */
    if (!image->reftable.count || !image->reftable.entries[0])
        return corrupt(err, "it has no reference counts");
    for (uint64_t i = 0; i < image->reftable.count; i++) {
        uint64_t entry = image->reftable.entries[i];

        if (!entry)
            continue;
        if (entry & QCOW2_REFTABLE_RESERVED || !inside(image, entry, 1))
            return corrupt(err, "an entry of its refcount table");
        if (own(image, entry, 1, err) < 0)
            return -1;
    }
    return 0;
}

/* load_for_writing() - What only a writer needs: the counts, and the set of what must not be written over. */
static int load_for_writing(struct bl_qcow2 *image, uint64_t reftable_clusters, struct bl_error *err)
{
    uint8_t none[8] = {0};

    if (load_table(image, &image->reftable, "refcount table", err) < 0 || own(image, 0, 1, err) < 0 ||
        own(image, image->l1.offset, bl_clusters_up(image, image->l1.count * 8), err) < 0 ||
        own(image, image->reftable.offset, reftable_clusters, err) < 0 || check_reftable(image, err) < 0)
        return -1;
    if (bl_cache_make(&image->refcounts, REFCOUNT_SLICES_MOST) < 0)
        return bl_fail_memory(err);
    /* The last cluster may be there in part; then a write to its end would make the file longer behind our back. */
    if (bl_qcow2_extend(image, image->fresh_from) < 0)
        return bl_fail(err, BL_STORAGE, errno, "make a qcow2 file longer");
    if (bl_qcow2_put_header(image, QCOW2_AT_AUTOCLEAR, none, sizeof none) < 0)
        return bl_fail(err, BL_STORAGE, errno, "write the header of a qcow2 file");
    return 0;
}

int bl_qcow2_open(struct bl_qcow2 *image, struct bl_error *err)
{
    struct stat status;
    uint64_t reftable_clusters = 0, slices;

    if (bl_os.fstat(image->file.fd, &status) < 0)
        return bl_fail(err, BL_STORAGE, errno, "look at a qcow2 file");
    image->file_bytes = (uint64_t)status.st_size;
    if (read_header(image, &reftable_clusters, err) < 0 || load_table(image, &image->l1, "L1 table", err) < 0)
        return -1;
    if (image->file_bytes > QCOW2_FILE_MOST)
        return corrupt(err, "the length of its file");
    image->fresh_from = bl_clusters_up(image, image->file_bytes);
    image->search_from = 1;
    if (image->writable && load_for_writing(image, reftable_clusters, err) < 0)
        return -1;
    if (check_l1(image, err) < 0)
        return -1;
    slices = image->bytes / ((uint64_t)image->slice_bytes / 8 * image->cluster_bytes) + L2_SLICES_LEAST;
    if (bl_cache_make(&image->l2, slices < L2_SLICES_MOST ? slices : L2_SLICES_MOST) < 0)
        return bl_fail_memory(err);
    pthread_mutex_init(&image->lock, NULL);
    pthread_mutex_init(&image->commit_lock, NULL);
    pthread_cond_init(&image->range_ended, NULL);
    return 0;
}

void bl_qcow2_free(struct bl_qcow2 *image)
{
    bl_cache_free(&image->l2);
    bl_cache_free(&image->refcounts);
    free(image->owned.slots);
    free(image->l1.entries);
    free(image->reftable.entries);
    free(image->dropped.runs);
    free(image->released.runs);
}
