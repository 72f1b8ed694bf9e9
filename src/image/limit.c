/* SPDX-License-Identifier: Apache-2.0 */
/*
 * limit.c - bounds on hostile images; see limit.h
 *
 * A limit comes from the caller, else from the user's configuration, else it is the default. All are far beyond what images of this
 * world have, and exist so that one that was made to hurt ends with a line that names the limit instead of a full disk.
 */
#include "image/limit.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/user_config.h"

static uint64_t first_of(uint64_t asked, uint64_t configured, uint64_t usual)
{
    return asked ? asked : configured ? configured : usual;
}

void bl_limits_fill(struct bl_load_limits *limits, const struct bl_user_config *config)
{
    const struct bl_image_limit_settings none = {0};
    const struct bl_image_limit_settings *set = config ? &config->image_limits : &none;
    uint64_t layer_bytes = set->layer_bytes ? set->layer_bytes : (uint64_t)set->layer_mib << 20;

    limits->total_bytes = first_of(limits->total_bytes, (uint64_t)set->unpacked_mib << 20, UINT64_C(20) << 30);
    limits->layer_bytes = first_of(limits->layer_bytes, layer_bytes, UINT64_C(20) << 30);
    limits->entries = first_of(limits->entries, set->files, 2000000);
    limits->path_depth = (unsigned int)first_of(limits->path_depth, set->path_depth, 512);
    limits->manifest_bytes = first_of(limits->manifest_bytes, (uint64_t)set->manifest_kib << 10, 4 << 20);
    limits->config_bytes = first_of(limits->config_bytes, (uint64_t)set->config_kib << 10, 4 << 20);
    limits->zstd_window_bytes = first_of(limits->zstd_window_bytes, (uint64_t)set->zstd_window_mib << 20, 128 << 20);
    limits->layers = (unsigned int)first_of(limits->layers, set->layers, 256);
    limits->time_s = (unsigned int)first_of(limits->time_s, set->time_s, 6 * 3600);
}

void bl_limit_hint(struct bl_error *err, const char *member)
{
    if (err && err->code == BL_RESOURCE_EXHAUSTED && !err->sys_errno && !strstr(err->message, "'image_limits.")) {
        size_t used = strlen(err->message);

        snprintf(err->message + used, sizeof err->message - used, "; 'image_limits.%s' in the configuration raises this limit",
                 member);
    }
}

#undef bl_fail_limit
int bl_fail_limit(struct bl_error *err, const char *member, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    bl_fail_v(err, BL_RESOURCE_EXHAUSTED, 0, fmt, args);
    va_end(args);
    bl_limit_hint(err, member);
    return -1;
}
