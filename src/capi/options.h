/* SPDX-License-Identifier: Apache-2.0 */
/*
 * options.h - options of a new box, as the setters of the public header collect them
 *
 * Setters can't fail, so a lack of memory and a value that makes no sense are remembered and told when a box is made of it.
 * What is not built is remembered too: nothing is silently ignored.
 */
#ifndef BL_CAPI_OPTIONS_H
#define BL_CAPI_OPTIONS_H

#include "capi/capi.h"

struct OptionsHandle {
    char *image, *rootfs, *name, *workdir, *user;
    char **entrypoint, **cmd, **env;
    char **cap_add, **cap_drop;
    bool has_entrypoint, has_cmd;
    int cpus, memory_mib, disk_gb;
    bool detach, auto_remove, unconfined, no_auto_resume;
    uint32_t auto_stop_s, auto_delete_s; /* 0: never */
    bool out_of_memory;
    const char *unsupported; /* what of this build is missing; static text */
};

struct AdvancedBoxOptionsHandle {
    bool security_enabled;
    char **cap_add, **cap_drop;
};

/* bl_capi_options_fill() - As core wants them; the strings stay the handle's. Return: 0; -1 with *@err: a value or a missing part
 */
int bl_capi_options_fill(const CBoxliteOptions *options, struct bl_box_options *out, struct bl_error *err);

#endif
