/* SPDX-License-Identifier: Apache-2.0 */
/* tag.c - boxlite tag: another name for an image */
#include "cli/cli.h"
#include "image/image.h"

static int run(struct bl_cli *cli, void *data)
{
    struct bl_error err = BL_ERROR_INIT;

    (void)data;
    if (!bl_cli_open(cli))
        return BL_EXIT_FAILURE;
    if (bl_images_tag(bl_runtime_images(cli->runtime), cli->operands.list[0], cli->operands.list[1], &err))
        return bl_cli_fail(cli, &err);
    return 0;
}

const struct bl_command bl_command_tag = {
    .name = "tag",
    .aliases = {"image tag", "images tag"},
    .summary = "Give an image another name",
    .usage = "IMAGE NAME",
    .about = "IMAGE is a name or the start of an id. What had NAME before loses it.",
    .example = "boxlite tag busybox tools:1",
    .least_operands = 2,
    .most_operands = 2,
    .operands = "IMAGE and NAME",
    .run = run,
};
