/* SPDX-License-Identifier: Apache-2.0 */
/* store.h - the store's own; see image.h for what others use */
#ifndef BL_IMAGE_STORE_H
#define BL_IMAGE_STORE_H

#include "image/image.h"

/* A handle; immutable after bl_images_open(). */
struct bl_images {
    char *path;        /* <home>/images */
    char *runtime_dir; /* where the loader and the embedded image are */
};

/* bl_images_make_store() - Make the directories of a store. Return: 0; -1 with @err */
int bl_images_make_store(const struct bl_images *images, struct bl_error *err);

struct bl_image_plugin;

/* bl_images_plugin() - The loader, opened at the first call of the process. Return: NULL with @err */
const struct bl_image_plugin *bl_images_plugin(const struct bl_images *images, struct bl_error *err);

#endif
