/* SPDX-License-Identifier: Apache-2.0 */
/* image_prune.c - boxlite image prune: a store that stays small */
#include <stdio.h>

#include "cli/cli.h"
#include "cli/format.h"
#include "image/image.h"

struct prune_values {
    bool all, layers;
    long long max_mib;
};

static void print_removed(const char *line, void *data)
{
    (void)data;
    puts(line);
}

static int run(struct bl_cli *cli, void *data)
{
    const struct prune_values *values = data;
    const struct bl_prune_request request = {
        .all = values->all, .layers = values->layers, .max_bytes = (uint64_t)values->max_mib << 20, .removed = print_removed};
    struct bl_error err = BL_ERROR_INIT;
    uint64_t freed = 0;
    char bytes[32];

    if (!bl_cli_open(cli))
        return BL_EXIT_FAILURE;
    if (bl_images_prune(bl_runtime_images(cli->runtime), &request, &freed, &err))
        return bl_cli_fail(cli, &err);
    printf("Total reclaimed space: %s\n", bl_format_bytes(bytes, freed));
    return 0;
}

static const struct bl_option options[] = {
    {"all", 'a', BL_OPTION_FLAG, NULL, "Remove all images that no box uses", offsetof(struct prune_values, all)},
    {"layers", 0, BL_OPTION_FLAG, NULL, "Remove what was pulled and is only kept for 'save' and for images that share it",
     offsetof(struct prune_values, layers)},
    {"max-size", 0, BL_OPTION_MEMORY, "SIZE",
     "Remove unused images, longest unused first, until all take no more than SIZE:\n"
     "MiB, or as in 20g",
     offsetof(struct prune_values, max_mib), .least = 1, .most = UINT32_MAX},
    {NULL},
};

const struct bl_command bl_command_image_prune = {
    .name = "image prune",
    .aliases = {"images prune"},
    .summary = "Remove images and layers that nothing uses",
    .usage = "[OPTIONS]",
    .about = "Without options: layers of images that are gone, and what interrupted pulls left. An image is in use when\n"
             "a box was made from it.",
    .example = "boxlite image prune -a\n"
               "boxlite image prune --max-size 20g",
    .options = options,
    .values_bytes = sizeof(struct prune_values),
    .run = run,
};
