/* SPDX-License-Identifier: Apache-2.0 */
/* raw.c - a raw file on top of a chain, and what the layers of a chain have in common */
#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "disk/layer.h"

#define ZEROS_AT_ONCE (256u << 10)

int bl_raw_write(struct bl_layer *layer, struct bl_disk_cursor *cursor, uint64_t length, uint64_t offset)
{
    return bl_disk_file_write_at(&layer->file, cursor, length, offset);
}

int bl_raw_flush(struct bl_layer *layer)
{
    return layer->unsafe || !layer->writable ? 0 : layer->file.calls->fdatasync(layer->file.fd);
}

/* write_zeros() - Where the file system has no call for it */
static int write_zeros(struct bl_layer *layer, uint64_t offset, uint64_t length)
{
    cleanup_free void *zeros = calloc(1, ZEROS_AT_ONCE);

    if (!zeros) {
        errno = ENOMEM;
        return -1;
    }
    while (length) {
        size_t here = length < ZEROS_AT_ONCE ? (size_t)length : ZEROS_AT_ONCE;

        if (bl_disk_file_write(&layer->file, zeros, here, offset) < 0)
            return -1;
        offset += here;
        length -= here;
    }
    return 0;
}

int bl_raw_write_zeroes(struct bl_layer *layer, uint64_t offset, uint64_t length, bool unmap)
{
    if (!layer->file.calls->zero(layer->file.fd, (off_t)offset, (off_t)length, unmap))
        return 0;
    return errno == EOPNOTSUPP || errno == ENOSYS ? write_zeros(layer, offset, length) : -1;
}

int bl_raw_resize(struct bl_layer *layer, uint64_t bytes, struct bl_error *err)
{
    if (bytes % BL_DISK_SECTOR_BYTES || bytes > INT64_MAX)
        return bl_fail(err, BL_INVALID_ARGUMENT, 0, "give a disk %llu bytes: not a multiple of 512", (unsigned long long)bytes);
    if (layer->file.calls->ftruncate(layer->file.fd, (off_t)bytes) < 0 || bl_raw_flush(layer) < 0)
        return bl_fail(err, BL_STORAGE, errno, "give a disk another size");
    __atomic_store_n(&layer->bytes, bytes, __ATOMIC_RELAXED);
    return 0;
}

uint64_t bl_layer_bytes(struct bl_layer *layer)
{
    if (!layer)
        return 0;
    return __atomic_load_n(layer->qcow2 ? &layer->image.bytes : &layer->bytes, __ATOMIC_RELAXED);
}

int bl_layer_read(struct bl_layer *layer, struct bl_disk_cursor *cursor, uint64_t length, uint64_t offset, bool nowait)
{
    uint64_t bytes = bl_layer_bytes(layer);
    uint64_t inside = offset >= bytes ? 0 : length < bytes - offset ? length : bytes - offset;

    if (inside && layer->qcow2 && bl_qcow2_read(&layer->image, cursor, inside, offset, nowait) < 0)
        return -1;
    if (inside && !layer->qcow2 && bl_disk_file_read_at(&layer->file, cursor, inside, offset, nowait) < 0)
        return -1;
    bl_disk_cursor_zero(cursor, length - inside);
    return 0;
}

bool bl_layer_hole(struct bl_layer *layer, uint64_t offset, uint64_t length)
{
    uint64_t bytes = bl_layer_bytes(layer);

    if (offset >= bytes)
        return true;
    if (length > bytes - offset)
        length = bytes - offset;
    return layer->qcow2 ? bl_qcow2_hole(&layer->image, offset, length) : bl_disk_file_hole(&layer->file, offset, length);
}
