/* SPDX-License-Identifier: Apache-2.0 */
/* disk.h - the layers of one image as a base disk of the store */
#ifndef BL_IMAGE_LOADER_DISK_H
#define BL_IMAGE_LOADER_DISK_H

#include "image/loader/source.h"

/* One layer, as an image names it. */
struct bl_layer_source {
    const char *name;    /* in the source */
    const char *digest;  /* of what is stored; NULL: not known */
    uint64_t size_bytes; /* of what is stored; UINT64_MAX: not known */
    const char *diff_id; /* digest of the decompressed layer */
};

/* bl_disk_key() - Name of the disk that these layers make. Return: 0; -1 with @err */
int bl_disk_key(const struct bl_layer_source *layers, size_t count, char key[65], struct bl_error *err);

/*
 * bl_disk_ensure() - Make disks/<key>.ext4 unless it is there; the caller holds the key's lock
 * @disk_bytes: virtual size
 * @content_bytes: what it takes on the host
 */
int bl_disk_ensure(struct bl_load *load, struct bl_source *source, const struct bl_layer_source *layers, size_t count,
                   const char *key, uint64_t *disk_bytes, uint64_t *content_bytes, struct bl_error *err);

/* bl_disk_forget() - After a failure, when there is no disk: take away its lock's file, whose lock the caller holds. */
void bl_disk_forget(struct bl_load *load, const char *key);

#endif
