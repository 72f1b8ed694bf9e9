/* SPDX-License-Identifier: Apache-2.0 */
/* options.c - the setters; see options.h */
#include "capi/options.h"

#include <stdlib.h>
#include <string.h>

#include "base/strings.h"
#include "core/capabilities.h"

static const char needs_network[] = "network policies, tunnels and published ports: a box has no network in this build";
static const char needs_volumes[] = "volumes: this build shares no directories with a box; use copies";
static const char needs_secrets[] = "secrets: they are put into network traffic, and a box has no network in this build";

enum BoxliteErrorCode boxlite_options_new(const char *image, CBoxliteOptions **out_opts, CBoxliteError *out_error)
{
    if (out_opts)
        *out_opts = NULL;
    if (!image || !out_opts)
        return bl_capi_reject(out_error, BL_INVALID_ARGUMENT, "%s is NULL", image ? "out_opts" : "image");

    CBoxliteOptions *options = calloc(1, sizeof *options);

    if (options)
        options->image = strdup(image);
    if (!options || !options->image) {
        free(options);
        return bl_capi_no_memory(out_error);
    }
    options->auto_remove = true;
    *out_opts = options;
    return bl_capi_ok(out_error);
}

void boxlite_options_free(CBoxliteOptions *opts)
{
    if (!opts)
        return;
    free(opts->image);
    free(opts->rootfs);
    free(opts->name);
    free(opts->workdir);
    free(opts->user);
    bl_strings_free(opts->entrypoint);
    bl_strings_free(opts->cmd);
    bl_strings_free(opts->env);
    bl_strings_free(opts->cap_add);
    bl_strings_free(opts->cap_drop);
    free(opts);
}

/* set_text() - Replace a string. */
static void set_text(CBoxliteOptions *opts, char **field, const char *text)
{
    if (!text)
        return;

    char *copy = strdup(text);

    if (!copy) {
        opts->out_of_memory = true;
        return;
    }
    free(*field);
    *field = copy;
}

/* copy_list() - Return: an allocated list, which holds "" for a NULL; NULL when memory ran out */
static char **copy_list(const char *const *args, int argc)
{
    char **copy = calloc((size_t)argc + 1, sizeof *copy);

    for (int i = 0; copy && i < argc; i++) {
        copy[i] = strdup(args[i] ? args[i] : "");
        if (!copy[i]) {
            bl_strings_free(copy);
            return NULL;
        }
    }
    return copy;
}

/* set_list() - Replace a list. */
static void set_list(CBoxliteOptions *opts, char ***field, bool *has, const char *const *args, int argc)
{
    if (argc < 0 || (argc > 0 && !args))
        return;

    char **copy = copy_list(args, argc);

    if (!copy) {
        opts->out_of_memory = true;
        return;
    }
    bl_strings_free(*field);
    *field = copy;
    *has = true;
}

void boxlite_options_set_rootfs_path(CBoxliteOptions *opts, const char *path)
{
    if (opts)
        set_text(opts, &opts->rootfs, path);
}

void boxlite_options_set_name(CBoxliteOptions *opts, const char *name)
{
    if (opts)
        set_text(opts, &opts->name, name);
}

void boxlite_options_set_cpus(CBoxliteOptions *opts, int cpus)
{
    if (opts)
        opts->cpus = cpus;
}

void boxlite_options_set_memory(CBoxliteOptions *opts, int memory_mib)
{
    if (opts)
        opts->memory_mib = memory_mib;
}

void boxlite_options_set_disk_size_gb(CBoxliteOptions *opts, int disk_size_gb)
{
    if (opts)
        opts->disk_gb = disk_size_gb;
}

void boxlite_options_set_workdir(CBoxliteOptions *opts, const char *workdir)
{
    if (opts)
        set_text(opts, &opts->workdir, workdir);
}

void boxlite_options_set_user(CBoxliteOptions *opts, const char *user)
{
    if (opts)
        set_text(opts, &opts->user, user);
}

void boxlite_options_set_entrypoint(CBoxliteOptions *opts, const char *const *args, int argc)
{
    if (opts)
        set_list(opts, &opts->entrypoint, &opts->has_entrypoint, args, argc);
}

void boxlite_options_set_cmd(CBoxliteOptions *opts, const char *const *args, int argc)
{
    if (opts)
        set_list(opts, &opts->cmd, &opts->has_cmd, args, argc);
}

void boxlite_options_add_env(CBoxliteOptions *opts, const char *key, const char *val)
{
    if (!opts || !key || !val)
        return;

    char *entry = bl_format("%s=%s", key, val);

    if (!entry || bl_strings_set_env(&opts->env, entry) < 0)
        opts->out_of_memory = true;
    free(entry);
}

void boxlite_options_add_bind_mount(CBoxliteOptions *opts, const char *host_path, const char *guest_path, int read_only)
{
    (void)read_only;
    if (opts && host_path && guest_path)
        opts->unsupported = needs_volumes;
}

void boxlite_options_add_volume(CBoxliteOptions *opts, const char *host_path, const char *guest_path, int read_only)
{
    boxlite_options_add_bind_mount(opts, host_path, guest_path, read_only);
}

void boxlite_options_add_managed_volume(CBoxliteOptions *opts, const char *managed_volume, const char *guest_path, int read_only)
{
    boxlite_options_add_bind_mount(opts, managed_volume, guest_path, read_only);
}

/* is_utf8() - Well-formed, by the table of Unicode 15, 3.9 (no surrogates, nothing overlong, nothing past U+10FFFF). */
static bool is_utf8(const char *text)
{
    const unsigned char *at = (const unsigned char *)text;

    while (*at) {
        unsigned int more = *at < 0x80                   ? 0
                            : *at >= 0xc2 && *at <= 0xdf ? 1
                            : (*at & 0xf0) == 0xe0       ? 2
                            : *at >= 0xf0 && *at <= 0xf4 ? 3
                                                         : 9;

        if (more == 9 || (at[0] == 0xe0 && at[1] < 0xa0) || (at[0] == 0xed && at[1] > 0x9f) || (at[0] == 0xf0 && at[1] < 0x90) ||
            (at[0] == 0xf4 && at[1] > 0x8f))
            return false;
        for (unsigned int i = 1; i <= more; i++)
            if ((at[i] & 0xc0) != 0x80)
                return false;
        at += more + 1;
    }
    return true;
}

enum BoxliteErrorCode boxlite_options_add_port(CBoxliteOptions *opts, uint16_t host_port, uint16_t guest_port,
                                               enum BoxlitePortProtocol protocol, const char *host_ip)
{
    (void)host_port;
    if (!opts || !guest_port || (host_ip && !is_utf8(host_ip)) ||
        (protocol != BoxlitePortProtocolTcp && protocol != BoxlitePortProtocolUdp))
        return BOXLITE_INVALID_ARGUMENT;
    opts->unsupported = needs_network;
    return BOXLITE_OK;
}

void boxlite_options_set_network_enabled(CBoxliteOptions *opts)
{
    (void)opts; /* the default; what it reaches is a matter of the build */
}

void boxlite_options_set_network_disabled(CBoxliteOptions *opts)
{
    (void)opts; /* it is: a box has no network in this build */
}

void boxlite_options_add_network_allow(CBoxliteOptions *opts, const char *host)
{
    if (opts && host)
        opts->unsupported = needs_network;
}

void boxlite_options_set_network_inbound_enabled(CBoxliteOptions *opts)
{
    if (opts)
        opts->unsupported = needs_network;
}

void boxlite_options_set_network_inbound_disabled(CBoxliteOptions *opts)
{
    (void)opts; /* it is */
}

void boxlite_options_add_secret(CBoxliteOptions *opts, const char *name, const char *value, const char *placeholder,
                                const char *const *hosts, int hosts_count)
{
    (void)value;
    (void)placeholder;
    (void)hosts;
    (void)hosts_count;
    if (opts && name)
        opts->unsupported = needs_secrets;
}

void boxlite_options_set_auto_remove(CBoxliteOptions *opts, int val)
{
    if (opts)
        opts->auto_remove = val != 0;
}

void boxlite_options_set_auto_stop_interval(CBoxliteOptions *opts, uint32_t seconds)
{
    if (opts)
        opts->auto_stop_s = seconds;
}

void boxlite_options_set_auto_delete_interval(CBoxliteOptions *opts, uint32_t seconds)
{
    if (opts)
        opts->auto_delete_s = seconds;
}

void boxlite_options_set_auto_resume_enabled(CBoxliteOptions *opts, int val)
{
    if (opts)
        opts->no_auto_resume = !val;
}

void boxlite_options_set_detach(CBoxliteOptions *opts, int val)
{
    if (opts)
        opts->detach = val != 0;
}

/* copy_capabilities() - Replace a list by a copy of another; NULL: none. */
static void copy_capabilities(CBoxliteOptions *opts, char ***field, char **from)
{
    char **copy = bl_strings_copy((const char *const *)from);

    if (!copy) {
        opts->out_of_memory = true;
        return;
    }
    bl_strings_free(*field);
    *field = copy;
}

void boxlite_options_set_advanced(CBoxliteOptions *opts, const CAdvancedBoxOptions *advanced)
{
    if (!opts || !advanced)
        return;
    opts->unconfined = !advanced->security_enabled;
    copy_capabilities(opts, &opts->cap_add, advanced->cap_add);
    copy_capabilities(opts, &opts->cap_drop, advanced->cap_drop);
}

enum BoxliteErrorCode boxlite_advanced_options_new(CAdvancedBoxOptions **out_opts, CBoxliteError *out_error)
{
    if (!out_opts)
        return bl_capi_reject(out_error, BL_INVALID_ARGUMENT, "out_opts is NULL");
    *out_opts = calloc(1, sizeof **out_opts);
    if (!*out_opts)
        return bl_capi_no_memory(out_error);
    (*out_opts)->security_enabled = true;
    return bl_capi_ok(out_error);
}

void boxlite_advanced_options_free(CAdvancedBoxOptions *opts)
{
    if (!opts)
        return;
    bl_strings_free(opts->cap_add);
    bl_strings_free(opts->cap_drop);
    free(opts);
}

void boxlite_advanced_options_set_security_enabled(CAdvancedBoxOptions *opts, int enabled)
{
    if (opts)
        opts->security_enabled = enabled != 0;
}

/* set_capabilities() - Replace a list; names that are none are told when a box is made. @field: of @opts, which may be NULL */
static enum BoxliteErrorCode set_capabilities(char ***field, const char *const *capabilities, int count)
{
    if (!field || count < 0 || (count > 0 && !capabilities))
        return BOXLITE_INVALID_ARGUMENT;
    for (int i = 0; i < count; i++)
        if (!capabilities[i] || !is_utf8(capabilities[i]))
            return BOXLITE_INVALID_ARGUMENT;

    char **copy = copy_list(capabilities, count);

    if (!copy)
        return BOXLITE_RESOURCE_EXHAUSTED;
    bl_strings_free(*field);
    *field = copy;
    return BOXLITE_OK;
}

enum BoxliteErrorCode boxlite_advanced_options_set_capabilities_add(CAdvancedBoxOptions *opts, const char *const *capabilities,
                                                                    int count)
{
    return set_capabilities(opts ? &opts->cap_add : NULL, capabilities, count);
}

enum BoxliteErrorCode boxlite_advanced_options_set_capabilities_drop(CAdvancedBoxOptions *opts, const char *const *capabilities,
                                                                     int count)
{
    return set_capabilities(opts ? &opts->cap_drop : NULL, capabilities, count);
}

/* in_range() - Return: 0; -1 with *@err */
static int in_range(const char *what, int value, int least, int most, struct bl_error *err)
{
    if (value == 0 || (value >= least && value <= most))
        return 0;
    return bl_fail(err, BL_INVALID_ARGUMENT, 0, "%s: %d is not within %d to %d", what, value, least, most);
}

int bl_capi_options_fill(const CBoxliteOptions *options, struct bl_box_options *out, struct bl_error *err)
{
    if (options->out_of_memory)
        return bl_fail_memory(err);
    if (options->unsupported)
        return bl_fail(err, BL_UNSUPPORTED, 0, "%s", options->unsupported);
    if (in_range("processors", options->cpus, 1, BL_MOST_CPUS, err) < 0 ||
        in_range("memory in MiB", options->memory_mib, BL_LEAST_MEMORY_MIB, BL_MOST_MEMORY_MIB, err) < 0 ||
        in_range("disk size in GB", options->disk_gb, 1, BL_MOST_DISK_GB, err) < 0 ||
        bl_capabilities_check((const char *const *)options->cap_add, err) < 0 ||
        bl_capabilities_check((const char *const *)options->cap_drop, err) < 0)
        return -1;
    if (options->auto_stop_s > BL_AUTO_MOST_MS / 1000 || options->auto_delete_s > BL_AUTO_MOST_MS / 1000)
        return bl_fail(err, BL_INVALID_ARGUMENT, 0, "auto-stop or auto-delete: %u s are more than ten years",
                       options->auto_stop_s > options->auto_delete_s ? options->auto_stop_s : options->auto_delete_s);
    *out = (struct bl_box_options){
        .image = options->rootfs ? NULL : options->image,
        .rootfs = options->rootfs,
        .name = options->name,
        .entrypoint = options->has_entrypoint ? (const char *const *)options->entrypoint : NULL,
        .command = options->has_cmd ? (const char *const *)options->cmd : NULL,
        .env = (const char *const *)options->env,
        .workdir = options->workdir,
        .user = options->user,
        .cpus = (unsigned int)options->cpus,
        .memory_mib = (unsigned int)options->memory_mib,
        .disk_gb = (unsigned int)options->disk_gb,
        .detach = options->detach,
        /* Who says how long a stopped box stays does not want it gone at once, which is the default. */
        .auto_remove = options->auto_remove && !options->auto_delete_s,
        .auto_stop_ms = (int64_t)options->auto_stop_s * 1000,
        .auto_delete_ms = (int64_t)options->auto_delete_s * 1000,
        .cap_add = (const char *const *)options->cap_add,
        .cap_drop = (const char *const *)options->cap_drop,
        .unconfined = options->unconfined,
        .no_auto_resume = options->no_auto_resume,
    };
    return 0;
}
