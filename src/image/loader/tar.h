/* SPDX-License-Identifier: Apache-2.0 */
/* tar.h - the loader's side of image/tar.h, function by function */
#ifndef BL_IMAGE_LOADER_TAR_H
#define BL_IMAGE_LOADER_TAR_H

#include "image/tar.h"

struct bl_tar_input;
struct bl_tar_output;

int bl_tar_input_open(int fd, int cancel_fd, struct bl_tar_input **out, struct bl_error *err);
int bl_tar_input_next(struct bl_tar_input *input, struct bl_tar_entry *entry, struct bl_error *err);
ssize_t bl_tar_input_data(struct bl_tar_input *input, const void **bytes, struct bl_error *err);
void bl_tar_input_close(struct bl_tar_input *input);

int bl_tar_output_open(int fd, int cancel_fd, struct bl_tar_output **out, struct bl_error *err);
int bl_tar_output_entry(struct bl_tar_output *output, const struct bl_tar_entry *entry, struct bl_error *err);
int bl_tar_output_data(struct bl_tar_output *output, const void *bytes, size_t length, struct bl_error *err);
int bl_tar_output_finish(struct bl_tar_output *output, struct bl_error *err);
void bl_tar_output_close(struct bl_tar_output *output);

#endif
