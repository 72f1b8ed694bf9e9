/* SPDX-License-Identifier: Apache-2.0 */
/* layer.h - one file of a chain, whatever its format, and the chain; see qcow2.h */
#ifndef BL_DISK_LAYER_H
#define BL_DISK_LAYER_H

#include "disk/image.h"
#include "disk/qcow2.h"

struct bl_layer {
    bool qcow2;
    bool writable;
    bool unsafe;
    bool locked;
    struct bl_disk_file file;
    uint64_t bytes;        /* of a raw file; changed by a resize, so read by atomics */
    struct bl_qcow2 image; /* of a qcow2 file */
};

struct bl_disk {
    size_t count;
    struct bl_layer *top; /* the last one */
    struct bl_layer layers[];
};

/* bl_disk_open_with() - bl_disk_open() with other system calls, for tests. */
int bl_disk_open_with(struct bl_disk **disk, const struct bl_disk_layer *layers, size_t count, unsigned int flags,
                      const struct bl_disk_calls *calls, struct bl_error *err);

/* raw.c: as their namesakes of an image */
int bl_raw_write(struct bl_layer *layer, struct bl_disk_cursor *cursor, uint64_t length, uint64_t offset);
int bl_raw_flush(struct bl_layer *layer);
int bl_raw_write_zeroes(struct bl_layer *layer, uint64_t offset, uint64_t length, bool unmap);
int bl_raw_resize(struct bl_layer *layer, uint64_t bytes, struct bl_error *err);

#endif
