/* SPDX-License-Identifier: Apache-2.0 */
/*
 * box_options.h - what run and create have in common: how the new box shall be
 *
 * The values come first in the values of both commands, so one table serves both.
 */
#ifndef BL_CLI_BOX_OPTIONS_H
#define BL_CLI_BOX_OPTIONS_H

#include "cli/cli.h"
#include "cli/registry_options.h"

struct box_values {
    char **env, **env_files;
    const char *workdir, *user, *name, *entrypoint, *rootfs, *engine, *kernel, *security;
    char **cap_add, **cap_drop;
    bool no_auto_resume;
    long long cpus, memory_mib, disk_gb;
    const char *restart;
    int64_t auto_stop_ms, auto_delete_ms;
    const char *pull;
    struct registry_values registry;
};

#define SECURITY_CHOICES "enable|enabled|on|disable|disabled|off"

#define BOX_OPTIONS                                                                                                                  \
    {"name", 0, BL_OPTION_TEXT, "NAME", "A name, to be used instead of the id", offsetof(struct box_values, name)},                  \
        {"env",                                                                                                                      \
         'e',                                                                                                                        \
         BL_OPTION_LIST,                                                                                                             \
         "KEY[=VALUE]",                                                                                                              \
         "Set a variable; without a value: as it is here",                                                                           \
         offsetof(struct box_values, env)},                                                                                          \
        {"env-file",                                                                                                                 \
         0,                                                                                                                          \
         BL_OPTION_LIST,                                                                                                             \
         "FILE",                                                                                                                     \
         "Set the variables that a file names, KEY=VALUE a line",                                                                    \
         offsetof(struct box_values, env_files)},                                                                                    \
        {"workdir", 'w', BL_OPTION_TEXT, "DIR", "Directory in the box to start in", offsetof(struct box_values, workdir)},           \
        {"user", 'u', BL_OPTION_TEXT, "USER[:GROUP]", "Who runs the command, by name or number", offsetof(struct box_values, user)}, \
        {"entrypoint",                                                                                                               \
         0,                                                                                                                          \
         BL_OPTION_TEXT,                                                                                                             \
         "PROGRAM",                                                                                                                  \
         "Instead of the image's entrypoint; \"\" for none",                                                                         \
         offsetof(struct box_values, entrypoint),                                                                                    \
         .may_be_empty = true},                                                                                                      \
        {"cpus",                                                                                                                     \
         0,                                                                                                                          \
         BL_OPTION_NUMBER,                                                                                                           \
         "N",                                                                                                                        \
         "Virtual processors (default 1)",                                                                                           \
         offsetof(struct box_values, cpus),                                                                                          \
         .least = 1,                                                                                                                 \
         .most = UINT32_MAX},                                                                                                        \
        {"memory",                                                                                                                   \
         'm',                                                                                                                        \
         BL_OPTION_MEMORY,                                                                                                           \
         "MIB",                                                                                                                      \
         "Memory in MiB, or as in 2g (default 512)",                                                                                 \
         offsetof(struct box_values, memory_mib),                                                                                    \
         .least = 1,                                                                                                                 \
         .most = UINT32_MAX},                                                                                                        \
        {"disk-size",                                                                                                                \
         0,                                                                                                                          \
         BL_OPTION_NUMBER,                                                                                                           \
         "GB",                                                                                                                       \
         "Size of the disk; takes only what is written (default 10)",                                                                \
         offsetof(struct box_values, disk_gb),                                                                                       \
         .least = 1,                                                                                                                 \
         .most = UINT32_MAX},                                                                                                        \
        {"rootfs",                                                                                                                   \
         0,                                                                                                                          \
         BL_OPTION_TEXT,                                                                                                             \
         "DIR",                                                                                                                      \
         "Use an OCI layout directory instead of an image",                                                                          \
         offsetof(struct box_values, rootfs)},                                                                                       \
        {"engine",                                                                                                                   \
         0,                                                                                                                          \
         BL_OPTION_TEXT,                                                                                                             \
         "auto|kvm|qemu",                                                                                                            \
         "What runs the virtual machine (BOXLITE_ENGINE; default auto)",                                                             \
         offsetof(struct box_values, engine)},                                                                                       \
        {"restart",                                                                                                                  \
         0,                                                                                                                          \
         BL_OPTION_TEXT,                                                                                                             \
         "POLICY",                                                                                                                   \
         "Start it again when it ends: no, on-failure[:N], always, unless-stopped\n"                                                 \
         "(default no)",                                                                                                             \
         offsetof(struct box_values, restart)},                                                                                      \
        {"auto-stop",                                                                                                                \
         0,                                                                                                                          \
         BL_OPTION_DURATION,                                                                                                         \
         "TIME",                                                                                                                     \
         "Stop it when no command, copy or terminal has used it for so long",                                                        \
         offsetof(struct box_values, auto_stop_ms)},                                                                                 \
        {"auto-delete",                                                                                                              \
         0,                                                                                                                          \
         BL_OPTION_DURATION,                                                                                                         \
         "TIME",                                                                                                                     \
         "Remove it so long after it ended",                                                                                         \
         offsetof(struct box_values, auto_delete_ms)},                                                                               \
        {"pull",                                                                                                                     \
         0,                                                                                                                          \
         BL_OPTION_CHOICE,                                                                                                           \
         "always|missing|never",                                                                                                     \
         "When to ask the registry for the image (default missing)",                                                                 \
         offsetof(struct box_values, pull),                                                                                          \
         .choices = "always|missing|never"},                                                                                         \
        {"cap-add",                                                                                                                  \
         0,                                                                                                                          \
         BL_OPTION_LIST,                                                                                                             \
         "CAPABILITY",                                                                                                               \
         "Give the commands a Linux capability, as NET_ADMIN; ALL: every one",                                                       \
         offsetof(struct box_values, cap_add)},                                                                                      \
        {"cap-drop",                                                                                                                 \
         0,                                                                                                                          \
         BL_OPTION_LIST,                                                                                                             \
         "CAPABILITY",                                                                                                               \
         "Deny them one of the default ones; ALL: every one",                                                                        \
         offsetof(struct box_values, cap_drop)},                                                                                     \
        {"no-auto-resume",                                                                                                           \
         0,                                                                                                                          \
         BL_OPTION_FLAG,                                                                                                             \
         NULL,                                                                                                                       \
         "Once it has stopped, only 'start' runs it again: no exec, no cp",                                                          \
         offsetof(struct box_values, no_auto_resume)},                                                                               \
        {"security",                                                                                                                 \
         0,                                                                                                                          \
         BL_OPTION_CHOICE,                                                                                                           \
         "enable|disable",                                                                                                           \
         "The sandbox around the emulator (BOXLITE_SECURITY; default enable)",                                                       \
         offsetof(struct box_values, security),                                                                                      \
         .choices = SECURITY_CHOICES},                                                                                               \
        REGISTRY_OPTION(struct box_values, registry), BOX_PLATFORM_OPTION(struct box_values, registry),                              \
    {                                                                                                                                \
        "kernel", 0, BL_OPTION_TEXT, "PATH", NULL, offsetof(struct box_values, kernel)                                               \
    }

/* What bl_box_request_make() made. Points into the values and operands. */
struct box_request {
    struct bl_box_options options;
    char **env;
    const char *entrypoint[2];
    struct bl_image *image; /* once it was brought in */
};

/*
 * bl_box_request_make() - From values and operands (IMAGE [COMMAND...], or only COMMAND with --rootfs) to options of a box
 * @image_means_image: with --rootfs, take an operand that does not stand behind "--" for a mistaken IMAGE
 *
 * Return: 0; an exit code after saying what is wrong. Free the request in any case.
 */
int bl_box_request_make(struct bl_cli *cli, const struct box_values *values, bool image_means_image, struct box_request *out);
/* bl_box_request_bring() - Have the image in the store, as --pull says. Return: 0; an exit code after saying what is wrong */
int bl_box_request_bring(struct bl_cli *cli, const struct box_values *values, struct box_request *request);
void bl_box_request_free(struct box_request *request);
#define cleanup_request __attribute__((cleanup(bl_box_request_free)))

#endif
