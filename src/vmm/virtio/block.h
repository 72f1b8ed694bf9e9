/* SPDX-License-Identifier: Apache-2.0 */
/*
 * block.h - a virtio block device (virtio 1.2, 5.2), and what it wants from a disk
 *
 * Requests are carried out by a few threads of the device's own: one waits for a kick, takes a request, wakes the next to wait, and
 * does the work, so a kick reaches a disk without a detour over the event loop.
 */
#ifndef BL_VMM_VIRTIO_BLOCK_H
#define BL_VMM_VIRTIO_BLOCK_H

#include "disk/qcow2.h"
#include "vmm/virtio/device.h"

#define BL_BLOCK_SECTOR_BYTES 512
#define BL_BLOCK_SERIAL_BYTES 20

struct bl_block_disk;

/*
 * What a disk does. Several threads call at the same time; the device has checked that a range lies within the disk and begins
 * and ends at a sector. Return: 0; negative errno, and what happened to the range is then unknown
 */
struct bl_block_ops {
    int (*read)(struct bl_block_disk *disk, const struct iovec *iov, int count, uint64_t offset, uint64_t bytes);
    /* The same without waiting for anything; -EAGAIN: it would have to, and a part was read. May be NULL */
    int (*try_read)(struct bl_block_disk *disk, const struct iovec *iov, int count, uint64_t offset, uint64_t bytes);
    int (*write)(struct bl_block_disk *disk, const struct iovec *iov, int count, uint64_t offset, uint64_t bytes);
    /* All writes that ended before this was called survive a crash of the host. */
    int (*flush)(struct bl_block_disk *disk);
    /* The range may read as anything that it ever held, or zeros. */
    int (*discard)(struct bl_block_disk *disk, uint64_t offset, uint64_t bytes);
    /* The range reads as zeros. @unmap: its space may be given back */
    int (*write_zeroes)(struct bl_block_disk *disk, uint64_t offset, uint64_t bytes, bool unmap);
    /* No request is in flight, and none comes. */
    void (*close)(struct bl_block_disk *disk);
};

/* First member of a disk's own struct. */
struct bl_block_disk {
    const struct bl_block_ops *ops;
    uint64_t bytes;       /* a multiple of the sector */
    uint32_t granularity; /* what a discard should be a multiple of, in bytes; 0: a sector */
    bool read_only;
};

struct bl_block_config {
    struct bl_block_disk *disk; /* NULL: a device with no sectors */
    const char *serial;         /* at most BL_BLOCK_SERIAL_BYTES; longer is cut */
    unsigned int threads;       /* 0: the default */
    /* Called first on each thread, such as to confine it; may be NULL. Return: 0; -1: the device can't be made */
    int (*on_thread)(void *data);
    void *data;
};

/* bl_block_new() - Make a block device; the threads start here. @config: the disk is taken in every case. Return: 0; -1 */
int bl_block_new(const struct bl_block_config *config, struct bl_device **out, struct bl_error *err);

/*
 * bl_block_open() - A chain of files as a disk
 * @layers, @count, @flags: as for bl_disk_open(), but the descriptors are taken in every case
 *
 * Return: 0; -1: as bl_disk_open()
 */
int bl_block_open(const struct bl_disk_layer *layers, size_t count, unsigned int flags, struct bl_block_disk **out,
                  struct bl_error *err);

#endif
