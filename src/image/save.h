/* SPDX-License-Identifier: Apache-2.0 */
/* save.h - images as an oci-archive; the loader's half of bl_images_save() */
#ifndef BL_IMAGE_SAVE_H
#define BL_IMAGE_SAVE_H

#include "image/image.h"

int bl_loader_save(const char *images_path, const struct bl_image *const *images, size_t count, int fd, int cancel_fd,
                   struct bl_error *err);

#endif
