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
#include "image/tar.h"

#define BL_IMAGE_PLUGIN_VERSION 4
#define BL_IMAGE_PLUGIN_FILE    "libboxlite-image.so"
#define BL_IMAGE_PLUGIN_SYMBOL  "boxlite_image_plugin"

struct bl_tar_input;
struct bl_tar_output;

struct bl_image_plugin {
    unsigned int version; /* BL_IMAGE_PLUGIN_VERSION */
    /* bl_images_load() for the store at @images_path, which exists. */
    int (*load)(const char *images_path, const struct bl_load_request *request, struct bl_image ***out, size_t *count,
                struct bl_error *err);
    /* The functions of tar.h. */
    int (*tar_input_open)(int fd, int cancel_fd, struct bl_tar_input **out, struct bl_error *err);
    int (*tar_input_next)(struct bl_tar_input *input, struct bl_tar_entry *entry, struct bl_error *err);
    ssize_t (*tar_input_data)(struct bl_tar_input *input, const void **bytes, struct bl_error *err);
    void (*tar_input_close)(struct bl_tar_input *input);
    int (*tar_output_open)(int fd, int cancel_fd, struct bl_tar_output **out, struct bl_error *err);
    int (*tar_output_entry)(struct bl_tar_output *output, const struct bl_tar_entry *entry, struct bl_error *err);
    int (*tar_output_data)(struct bl_tar_output *output, const void *bytes, size_t length, struct bl_error *err);
    int (*tar_output_finish)(struct bl_tar_output *output, struct bl_error *err);
    void (*tar_output_close)(struct bl_tar_output *output);
    /*
     * A pull of one reference for the store at @images_path, which exists. @reference: full form
     * @more: when it fails, there are others to try: give up early on a server that can't be reached
     */
    int (*pull)(const char *images_path, const struct bl_pull_request *request, const char *reference, bool more,
                struct bl_image **out, struct bl_error *err);
    /* bl_images_login() and bl_images_logout() */
    int (*login)(const struct bl_user_config *config, const char *host, const char *user, const char *secret, int cancel_fd,
                 struct bl_error *err);
    int (*logout)(const char *host, struct bl_error *err);
    /* bl_images_save() */
    int (*save)(const char *images_path, const struct bl_image *const *images, size_t count, int fd, int cancel_fd,
                struct bl_error *err);
};

#endif
