/* SPDX-License-Identifier: Apache-2.0 */
/* flatten.h - a base disk as one layer, for images whose own layers are not kept */
#ifndef BL_IMAGE_LOADER_FLATTEN_H
#define BL_IMAGE_LOADER_FLATTEN_H

#include "image/loader/pack.h"

/* bl_flatten() - Write all that is on a disk as a gzip layer. @out: its descriptor is the caller's. Return: 0; -1 with @err */
int bl_flatten(struct bl_load *load, const char *disk_path, struct bl_packed *out, struct bl_error *err);

#endif
