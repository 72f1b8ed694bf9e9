/* SPDX-License-Identifier: Apache-2.0 */
/*
 * record.h - one known reference: a file of <home>/images/index
 *
 * A JSON object: version (1), reference, manifest_digest, config_digest, disk_key (strings), disk_bytes, content_bytes,
 * loaded_at, layer_count (integers) and config, the image's configuration as it came, as a string: its digest stays true.
 * The file is named after the full reference with '+' for '/', a character that no reference has, and ends in ".json".
 */
#ifndef BL_IMAGE_RECORD_H
#define BL_IMAGE_RECORD_H

#include "image/image.h"

#define BL_DISK_KEY_LENGTH 64

/* bl_record_file() - Name of a reference's file. Return: allocated, NULL when memory ran out */
char *bl_record_file(const char *reference);

/* bl_record_names() - Fill in repository and tag as people write them from image->reference. Return: 0; -1 with @err */
int bl_record_names(struct bl_image *image, struct bl_error *err);

/*
 * bl_record_read() - Read one record
 * @index_fd: <home>/images/index
 * @images_path: what the disk's path begins with
 *
 * Return: 0, free with bl_image_free(); -1: BL_NOT_FOUND (no such file), BL_STORAGE (unreadable or no record)
 */
int bl_record_read(int index_fd, const char *file, const char *images_path, struct bl_image **out, struct bl_error *err);

/* bl_record_config() - The configuration of one record, as it came. Return: 0, allocated; -1 as bl_record_read() */
int bl_record_config(int index_fd, const char *file, char **config, struct bl_error *err);

/* bl_record_write() - Make an image known under its reference, replacing what was; complete or absent. Return: 0; -1, BL_STORAGE */
int bl_record_write(int images_fd, const struct bl_image *image, const void *config, size_t config_length, struct bl_error *err);

/* bl_partial_create() - A new, empty, locked file in partial/; @name: its name, at least 64 bytes. Return: descriptor; -1,
 * BL_STORAGE */
int bl_partial_create(int images_fd, char *name, size_t name_size, struct bl_error *err);
/* bl_partial_list() - Those files: @found gets each path below images/ and its size. */
void bl_partial_list(int images_fd, void (*found)(const char *path, uint64_t bytes, void *data), void *data);
/* bl_partial_sweep() - Remove the files of partial/ whose writers are dead. */
void bl_partial_sweep(int images_fd);

#endif
