/* SPDX-License-Identifier: Apache-2.0 */
/*
 * disk.c - the chain of files that is a disk; see qcow2.h
 *
 * The last layer does the work: it asks the one below for what it does not hold itself. Layers below are only read, so they need no
 * more than their tables.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/os.h"
#include "disk/layer.h"

/* check_file() - Whether a descriptor is what is asked of one. Return: 0; -1 with @err */
static int check_file(int fd, bool writable, struct bl_error *err)
{
    struct stat status;
    int flags = bl_os.fcntl(fd, F_GETFL);

    if (flags < 0 || bl_os.fstat(fd, &status) < 0)
        return bl_fail(err, BL_STORAGE, errno, "open a disk: look at a file of it");
    if (!S_ISREG(status.st_mode))
        return bl_fail(err, BL_INVALID_ARGUMENT, 0, "open a disk: a file of it is no regular one");
    if ((flags & O_ACCMODE) == O_WRONLY || (writable && (flags & O_ACCMODE) != O_RDWR) || flags & (O_APPEND | O_DIRECT))
        return bl_fail(err, BL_INVALID_ARGUMENT, 0, "open a disk: a file of it was opened in another way than it is used");
    return 0;
}

static int open_raw(struct bl_layer *layer, struct bl_error *err)
{
    struct stat status;

    if (bl_os.fstat(layer->file.fd, &status) < 0)
        return bl_fail(err, BL_STORAGE, errno, "look at a raw disk file");
    layer->bytes = ((uint64_t)status.st_size + BL_DISK_SECTOR_BYTES - 1) & ~(uint64_t)(BL_DISK_SECTOR_BYTES - 1);
    return 0;
}

static int open_layer(struct bl_layer *layer, struct bl_layer *below, struct bl_error *err)
{
    if (check_file(layer->file.fd, layer->writable, err) < 0 || bl_disk_file_lock(layer->file.fd, layer->writable, err) < 0)
        return -1;
    layer->locked = true;
    if (!layer->qcow2)
        return open_raw(layer, err);
    layer->image.file = layer->file;
    layer->image.writable = layer->writable;
    layer->image.unsafe = layer->unsafe;
    layer->image.below = below;
    return bl_qcow2_open(&layer->image, err);
}

static void free_disk(struct bl_disk *disk)
{
    for (size_t i = 0; i < disk->count; i++) {
        bl_qcow2_free(&disk->layers[i].image);
        if (disk->layers[i].locked)
            bl_disk_file_unlock(disk->layers[i].file.fd);
    }
    free(disk);
}

int bl_disk_open_with(struct bl_disk **disk, const struct bl_disk_layer *layers, size_t count, unsigned int flags,
                      const struct bl_disk_calls *calls, struct bl_error *err)
{
    struct bl_disk *made;

    if (!count || count > BL_DISK_LAYERS_MAX)
        return bl_fail(err, BL_INVALID_ARGUMENT, 0, "open a disk of %zu files: not 1 to %d", count, BL_DISK_LAYERS_MAX);
    made = calloc(1, sizeof *made + count * sizeof made->layers[0]);
    if (!made)
        return bl_fail_memory(err);
    made->count = count;
    made->top = &made->layers[count - 1];
    for (size_t i = 0; i < count; i++) {
        struct bl_layer *layer = &made->layers[i];

        layer->qcow2 = layers[i].qcow2;
        layer->file = (struct bl_disk_file){layers[i].fd, calls};
        layer->writable = layer == made->top && !(flags & BL_DISK_READ_ONLY);
        layer->unsafe = flags & BL_DISK_VOLATILE;
        if (open_layer(layer, i ? layer - 1 : NULL, err) < 0) {
            free_disk(made);
            return -1;
        }
    }
    *disk = made;
    return 0;
}

int bl_disk_open(struct bl_disk **disk, const struct bl_disk_layer *layers, size_t count, unsigned int flags, struct bl_error *err)
{
    return bl_disk_open_with(disk, layers, count, flags, &bl_disk_system_calls, err);
}

int bl_disk_close(struct bl_disk *disk)
{
    int result = 0;
    int reason;

    if (!disk)
        return 0;
    if (disk->top->writable)
        result = disk->top->qcow2 ? bl_qcow2_settle(&disk->top->image) : bl_raw_flush(disk->top);
    reason = errno;
    free_disk(disk);
    errno = reason;
    return result;
}

uint64_t bl_disk_bytes(struct bl_disk *disk)
{
    return bl_layer_bytes(disk->top);
}

uint32_t bl_disk_granularity(const struct bl_disk *disk)
{
    return disk->top->qcow2 ? disk->top->image.cluster_bytes : 4096;
}

/* check_range() - Whether a request lies on the disk. Return: 0; -1 with errno */
static int check_range(struct bl_disk *disk, uint64_t offset, uint64_t length, bool writes)
{
    uint64_t bytes = bl_disk_bytes(disk);

    if (writes && !disk->top->writable) {
        errno = EROFS;
        return -1;
    }
    if (offset <= bytes && length <= bytes - offset)
        return 0;
    errno = EINVAL;
    return -1;
}

static int read_disk(struct bl_disk *disk, const struct iovec *iov, size_t count, uint64_t offset, bool nowait)
{
    uint64_t length = bl_disk_vector_bytes(iov, count);

    if (check_range(disk, offset, length, false) < 0)
        return -1;
    return bl_layer_read(disk->top, &(struct bl_disk_cursor){iov, count, 0}, length, offset, nowait);
}

int bl_disk_read(struct bl_disk *disk, const struct iovec *iov, size_t count, uint64_t offset)
{
    return read_disk(disk, iov, count, offset, false);
}

int bl_disk_try_read(struct bl_disk *disk, const struct iovec *iov, size_t count, uint64_t offset)
{
    return read_disk(disk, iov, count, offset, true);
}

int bl_disk_write(struct bl_disk *disk, const struct iovec *iov, size_t count, uint64_t offset)
{
    uint64_t length = bl_disk_vector_bytes(iov, count);
    struct bl_disk_cursor cursor = {iov, count, 0};

    if (check_range(disk, offset, length, true) < 0)
        return -1;
    return disk->top->qcow2 ? bl_qcow2_write(&disk->top->image, &cursor, length, offset, false)
                            : bl_raw_write(disk->top, &cursor, length, offset);
}

int bl_disk_flush(struct bl_disk *disk)
{
    if (!disk->top->writable)
        return 0;
    return disk->top->qcow2 ? bl_qcow2_commit(&disk->top->image) : bl_raw_flush(disk->top);
}

int bl_disk_discard(struct bl_disk *disk, uint64_t offset, uint64_t bytes)
{
    if (check_range(disk, offset, bytes, true) < 0)
        return -1;
    if (!bytes)
        return 0;
    return disk->top->qcow2 ? bl_qcow2_discard(&disk->top->image, offset, bytes)
                            : bl_raw_write_zeroes(disk->top, offset, bytes, true);
}

int bl_disk_write_zeroes(struct bl_disk *disk, uint64_t offset, uint64_t bytes, bool unmap)
{
    if (check_range(disk, offset, bytes, true) < 0)
        return -1;
    if (!bytes)
        return 0;
    return disk->top->qcow2 ? bl_qcow2_write_zeroes(&disk->top->image, offset, bytes, unmap)
                            : bl_raw_write_zeroes(disk->top, offset, bytes, unmap);
}

int bl_disk_resize(struct bl_disk *disk, uint64_t bytes, struct bl_error *err)
{
    if (!disk->top->writable)
        return bl_fail(err, BL_INVALID_ARGUMENT, EROFS, "give a disk another size");
    return disk->top->qcow2 ? bl_qcow2_resize(&disk->top->image, bytes, err) : bl_raw_resize(disk->top, bytes, err);
}
