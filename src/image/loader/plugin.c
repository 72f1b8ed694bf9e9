/* SPDX-License-Identifier: Apache-2.0 */
/* plugin.c - the one symbol that libboxlite-image.so shows; see image/plugin.h */
#include "image/plugin.h"

#include "image/credentials.h"
#include "image/loader/load.h"
#include "image/loader/tar.h"
#include "image/pull.h"
#include "image/save.h"

extern const struct bl_image_plugin boxlite_image_plugin;

__attribute__((visibility("default"))) const struct bl_image_plugin boxlite_image_plugin = {
    .version = BL_IMAGE_PLUGIN_VERSION,
    .load = bl_loader_load,
    .tar_input_open = bl_tar_input_open,
    .tar_input_next = bl_tar_input_next,
    .tar_input_data = bl_tar_input_data,
    .tar_input_close = bl_tar_input_close,
    .tar_output_open = bl_tar_output_open,
    .tar_output_entry = bl_tar_output_entry,
    .tar_output_data = bl_tar_output_data,
    .tar_output_finish = bl_tar_output_finish,
    .tar_output_close = bl_tar_output_close,
    .pull = bl_loader_pull,
    .login = bl_loader_login,
    .logout = bl_credential_erase,
    .save = bl_loader_save,
};
