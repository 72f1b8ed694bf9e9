/* SPDX-License-Identifier: Apache-2.0 */
/* registry_options.h - what run, create and pull have in common: where images come from, and showing how they come */
#ifndef BL_CLI_REGISTRY_OPTIONS_H
#define BL_CLI_REGISTRY_OPTIONS_H

#include "cli/cli.h"
#include "image/image.h"

struct registry_values {
    char **registries;
    const char *platform;
};

#define REGISTRY_OPTION(type, member)                                                                                              \
    {                                                                                                                              \
        "registry", 0, BL_OPTION_LIST, "HOST", "Look for images without a registry in their name here first",                      \
            offsetof(type, member.registries)                                                                                      \
    }

/* What can be made into a box, and what can be kept. */
#define BOX_PLATFORM_OPTION(type, member)                                                                                          \
    {                                                                                                                              \
        "platform", 0, BL_OPTION_CHOICE, "linux/amd64", "The platform that boxes have", offsetof(type, member.platform),           \
            .choices = "linux/amd64"                                                                                               \
    }
#define IMAGE_PLATFORM_OPTION(type, member)                                                                                        \
    {                                                                                                                              \
        "platform", 0, BL_OPTION_TEXT, "OS/ARCH[/VARIANT]", "Which of several platforms (default linux/amd64, which boxes have)",  \
            offsetof(type, member)                                                                                                 \
    }

/*
 * bl_cli_bring_image() - Have an image in the store, showing how it comes
 * @name: as typed
 * @quiet: show nothing
 *
 * On a terminal each layer has a line with a bar; elsewhere a layer that is complete is a line on standard error.
 *
 * Return: 0 and *@out; else an exit code, after saying what is wrong
 */
int bl_cli_bring_image(struct bl_cli *cli, const char *name, enum bl_pull_policy policy, const struct registry_values *values,
                       bool quiet, struct bl_image **out);

#endif
