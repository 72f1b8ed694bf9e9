/* SPDX-License-Identifier: Apache-2.0 */
/*
 * plugin.h - what libboxlite-image.so gives to libboxlite
 *
 * The loader is an object of its own because the libraries that it needs cost several milliseconds at the start of every
 * process, and most commands need none of them. Both come from one build and are installed together; the version only guards
 * against a mixed installation. The object is opened once and never closed.
 */
#ifndef BL_IMAGE_PLUGIN_H
#define BL_IMAGE_PLUGIN_H

#include "image/image.h"

#define BL_IMAGE_PLUGIN_VERSION 1
#define BL_IMAGE_PLUGIN_FILE    "libboxlite-image.so"
#define BL_IMAGE_PLUGIN_SYMBOL  "boxlite_image_plugin"

struct bl_image_plugin {
    unsigned int version; /* BL_IMAGE_PLUGIN_VERSION */
    /* bl_images_load() for the store at @images_path, which exists. */
    int (*load)(const char *images_path, const struct bl_load_request *request, struct bl_image ***out, size_t *count,
                struct bl_error *err);
};

#endif
