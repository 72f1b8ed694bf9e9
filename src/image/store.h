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

/*
 * bl_image_pin() - Keep an image's disk from being evicted while the image is held
 *
 * The disk is open and locked (flock, shared) until bl_image_free(): a base that somebody is about to link into a box is not
 * unused, and a holder that dies holds nothing.
 */
void bl_image_pin(struct bl_image *image);

/* bl_images_evict() - Remove unused images until the store is within the configuration's limit; what fails is logged. */
void bl_images_evict(struct bl_images *images, const struct bl_user_config *config);

struct bl_image_plugin;

/* bl_images_plugin() - The loader, opened at the first call of the process. Return: NULL with @err */
const struct bl_image_plugin *bl_images_plugin(const struct bl_images *images, struct bl_error *err);

#endif
