/* SPDX-License-Identifier: Apache-2.0 */
/*
 * platform.h - which of the images under one name: "linux/amd64", "linux/arm/v7"
 *
 * Boxes are linux/amd64. An image of another platform can be pulled, looked at and saved, but no box is made from it.
 */
#ifndef BL_IMAGE_PLATFORM_H
#define BL_IMAGE_PLATFORM_H

#include "image/document.h"

struct bl_platform {
    char os[32], architecture[32];
    char variant[32]; /* "": not said */
};

/* bl_platform_parse() - @text: NULL for that of boxes. Return: 0; -1 with BL_INVALID_ARGUMENT */
int bl_platform_parse(const char *text, struct bl_platform *out, struct bl_error *err);

/* bl_platform_rank() - How well a descriptor suits: 0 not at all, more is better. */
int bl_platform_rank(const struct bl_platform *wanted, const struct bl_descriptor *descriptor);

/* bl_platform_check() - Whether an image's configuration is of a platform; what it does not say suits. Return: 0; -1: BL_IMAGE */
int bl_platform_check(const struct bl_platform *wanted, const struct bl_image_config *config, struct bl_error *err);

#endif
