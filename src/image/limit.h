/* SPDX-License-Identifier: Apache-2.0 */
/* limit.h - what an image may cost, and how it is told that it costs more */
#ifndef BL_IMAGE_LIMIT_H
#define BL_IMAGE_LIMIT_H

#include "image/image.h"

struct bl_user_config;

/* bl_limits_fill() - Fill in what was not asked for: from the user's configuration (may be NULL), else the defaults. */
void bl_limits_fill(struct bl_load_limits *limits, const struct bl_user_config *config);

/*
 * bl_fail_limit() - Say that an image went over a limit, and which setting raises it
 * @member: of "image_limits" in the configuration
 *
 * Return: always -1
 */
int bl_fail_limit(struct bl_error *err, const char *member, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/*
 * bl_limit_hint() - Add to BL_RESOURCE_EXHAUSTED which setting raises the limit
 *
 * Not to a full disk, which has an errno, and not to what names a setting already.
 */
void bl_limit_hint(struct bl_error *err, const char *member);

#ifdef __clang_analyzer__
#define bl_fail_limit(...) (bl_fail_limit(__VA_ARGS__), -1) /* as in error.h */
#endif

#endif
