/* SPDX-License-Identifier: Apache-2.0 */
/* create.c - boxlite create: record a box; it boots with the first `start`, `exec` or `cp` */
#include <stdio.h>

#include "cli/box_options.h"

static int run(struct bl_cli *cli, void *data)
{
    const struct box_values *values = data;
    struct box_request cleanup_request request = {0};
    struct bl_error err = BL_ERROR_INIT;
    char id[BL_BOX_ID_LENGTH + 1];
    int code = bl_box_request_make(cli, values, true, &request);

    if (code)
        return code;
    /* The command that boots it later is over in a moment, the box is not. */
    request.options.detach = true;
    if (!bl_cli_open(cli))
        return BL_EXIT_FAILURE;
    code = bl_box_request_bring(cli, values, &request);
    if (code)
        return code;
    if (bl_box_create(cli->runtime, &request.options, cli->signal_fd, id, &err) < 0)
        return bl_cli_fail(cli, &err);
    puts(id);
    return 0;
}

static const struct bl_option options[] = {BOX_OPTIONS, {NULL}};

const struct bl_command bl_command_create = {
    .name = "create",
    .summary = "Make a box without starting it",
    .usage = "[OPTIONS] IMAGE [COMMAND [ARG...]]\n[OPTIONS] --rootfs DIR [-- COMMAND [ARG...]]",
    .about = "Prints the id of the new box. Without COMMAND the box idles, and the first 'boxlite exec' starts it.\n"
             "With COMMAND it is a job: 'boxlite start' runs the command, and nothing else does.",
    .example = "boxlite create --name work busybox\n"
               "boxlite exec work -- uname -a",
    .options = options,
    .values_bytes = sizeof(struct box_values),
    .most_operands = -1,
    .operands = "IMAGE",
    .options_end_at_operand = true,
    .catches_signals = true,
    .changes = true,
    .run = run,
};
