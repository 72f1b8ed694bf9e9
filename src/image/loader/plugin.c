/* SPDX-License-Identifier: Apache-2.0 */
/* plugin.c - the one symbol that libboxlite-image.so shows; see image/plugin.h */
#include "image/plugin.h"

#include "image/loader/load.h"

extern const struct bl_image_plugin boxlite_image_plugin;

__attribute__((visibility("default"))) const struct bl_image_plugin boxlite_image_plugin = {
    .version = BL_IMAGE_PLUGIN_VERSION,
    .load = bl_loader_load,
};
