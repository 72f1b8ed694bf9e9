/* SPDX-License-Identifier: Apache-2.0 */
/*
 * create.c - writing an empty overlay
 *
 * Four clusters are all that an empty image needs, and since nearly all of their bytes are zero the file is left sparse:
 *
 *     cluster 0   header, extension "backing format", backing name
 *     cluster 1   refcount table: one entry, cluster 2
 *     cluster 2   refcount block: the four clusters are used once
 *     cluster 3   L1 table: all unallocated
 *
 * The file's size includes the holes, or a reader would take the L1 table for one that lies past the end.
 */
#include "disk/qcow2.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/os.h"

#define QCOW2_MAGIC          0x514649fbu /* "QFI\xfb" */
#define QCOW2_VERSION        3
#define QCOW2_HEADER_BYTES   112 /* with the compression type and its padding */
#define QCOW2_CLUSTER_BITS   16
#define QCOW2_REFCOUNT_ORDER 4 /* 16 bits a cluster */
#define EXTENSION_BACKING    0xe2792acau
#define EXTENSION_HEADER     8
#define BACKING_FORMAT       "raw"
#define BACKING_NAME_MAX     1023
#define SECTOR_BYTES         512

enum layout { HEADER_CLUSTER, REFCOUNT_TABLE_CLUSTER, REFCOUNT_BLOCK_CLUSTER, L1_CLUSTER, USED_CLUSTERS };

static uint64_t offset_of(enum layout cluster)
{
    return (uint64_t)cluster * BL_QCOW2_CLUSTER_BYTES;
}

/* write_at() - Write all bytes at an offset. Return: 0; -1 with errno */
static int write_at(int fd, const void *bytes, size_t length, uint64_t offset)
{
    const uint8_t *at = bytes;

    while (length) {
        ssize_t n = bl_os.pwrite(fd, at, length, (off_t)offset);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        at += n;
        offset += (uint64_t)n;
        length -= (size_t)n;
    }
    return 0;
}

/* write_header() - Cluster 0, as far as it is not zero. Return: 0; -1 with errno */
static int write_header(int fd, uint64_t virtual_bytes, const char *backing_name)
{
    uint8_t header[QCOW2_HEADER_BYTES + 3 * EXTENSION_HEADER + BACKING_NAME_MAX] = {0};
    uint64_t mapped_by_l2 = (uint64_t)BL_QCOW2_CLUSTER_BYTES / 8 * BL_QCOW2_CLUSTER_BYTES;
    uint64_t l1_entries = (virtual_bytes + mapped_by_l2 - 1) / mapped_by_l2;
    size_t name_length = strlen(backing_name);
    size_t at = QCOW2_HEADER_BYTES;

    bl_put_be32(header + at, EXTENSION_BACKING);
    bl_put_be32(header + at + 4, (uint32_t)strlen(BACKING_FORMAT));
    memcpy(header + at + EXTENSION_HEADER, BACKING_FORMAT, strlen(BACKING_FORMAT));
    at += 2 * EXTENSION_HEADER; /* the data is padded to 8 bytes */
    at += EXTENSION_HEADER;     /* the end of the extensions is type 0, length 0 */
    memcpy(header + at, backing_name, name_length);

    bl_put_be32(header, QCOW2_MAGIC);
    bl_put_be32(header + 4, QCOW2_VERSION);
    bl_put_be64(header + 8, at);
    bl_put_be32(header + 16, (uint32_t)name_length);
    bl_put_be32(header + 20, QCOW2_CLUSTER_BITS);
    bl_put_be64(header + 24, virtual_bytes);
    bl_put_be32(header + 36, (uint32_t)l1_entries);
    bl_put_be64(header + 40, offset_of(L1_CLUSTER));
    bl_put_be64(header + 48, offset_of(REFCOUNT_TABLE_CLUSTER));
    bl_put_be32(header + 56, 1); /* clusters of the refcount table */
    bl_put_be32(header + 96, QCOW2_REFCOUNT_ORDER);
    bl_put_be32(header + 100, QCOW2_HEADER_BYTES);
    return write_at(fd, header, at + name_length, 0);
}

static int write_refcounts(int fd)
{
    uint8_t entry[8];
    uint8_t counts[USED_CLUSTERS * 2];

    bl_put_be64(entry, offset_of(REFCOUNT_BLOCK_CLUSTER));
    for (int i = 0; i < USED_CLUSTERS; i++)
        bl_put_be16(counts + i * 2, 1);
    if (write_at(fd, entry, sizeof entry, offset_of(REFCOUNT_TABLE_CLUSTER)) < 0)
        return -1;
    return write_at(fd, counts, sizeof counts, offset_of(REFCOUNT_BLOCK_CLUSTER));
}

int bl_qcow2_create(int fd, uint64_t virtual_bytes, uint64_t backing_bytes, const char *backing_name, struct bl_error *err)
{
    if (!virtual_bytes || virtual_bytes > BL_QCOW2_MOST_BYTES || virtual_bytes % SECTOR_BYTES)
        return bl_fail(err, BL_INVALID_ARGUMENT, 0, "make a disk of %llu bytes: not a multiple of 512 up to 4 TiB",
                       (unsigned long long)virtual_bytes);
    if (backing_bytes > virtual_bytes)
        return bl_fail(err, BL_INVALID_ARGUMENT, 0, "make a disk of %llu bytes: its base alone has %llu",
                       (unsigned long long)virtual_bytes, (unsigned long long)backing_bytes);
    if (!*backing_name || strlen(backing_name) > BACKING_NAME_MAX)
        return bl_fail(err, BL_INVALID_ARGUMENT, 0, "make a disk: the name of its base is empty or too long");
    if (bl_os.ftruncate(fd, (off_t)offset_of(USED_CLUSTERS)) < 0 || write_header(fd, virtual_bytes, backing_name) < 0 ||
        write_refcounts(fd) < 0)
        return bl_fail(err, errno == ENOSPC || errno == EDQUOT ? BL_RESOURCE_EXHAUSTED : BL_STORAGE, errno, "write the box's disk");
    return 0;
}
