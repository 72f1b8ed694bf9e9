/* SPDX-License-Identifier: Apache-2.0 */
/*
 * image-load.c - the image part on its own, for tests: image-load HOME RUNTIME_DIR PATH|- [NAME]
 *
 * Loads what PATH holds and prints a line for each image: reference, id, disk. An error is one line, and exit code 1.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "image/image.h"

int main(int argc, char **argv)
{
    struct bl_error err = BL_ERROR_INIT;
    struct bl_images *images;
    struct bl_image **loaded;
    size_t count;

    if (argc < 4 || argc > 5) {
        fprintf(stderr, "usage: image-load HOME RUNTIME_DIR PATH|- [NAME]\n");
        return 2;
    }

    struct bl_load_request request = {
        .path = strcmp(argv[3], "-") ? argv[3] : NULL, .fd = STDIN_FILENO, .reference = argv[4], .cancel_fd = -1};

    if (bl_images_open(argv[1], argv[2], &images, &err) || bl_images_load(images, &request, &loaded, &count, &err)) {
        fprintf(stderr, "%s: %s\n", bl_code_name(err.code), err.message);
        return 1;
    }
    for (size_t i = 0; i < count; i++)
        printf("%s %s %s\n", loaded[i]->reference, loaded[i]->config_digest, loaded[i]->disk_path);
    bl_image_free_list(loaded, count);
    bl_images_close(images);
    return 0;
}
