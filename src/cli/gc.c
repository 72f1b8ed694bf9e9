/* SPDX-License-Identifier: Apache-2.0 */
/* gc.c - boxlite gc: remove what nothing owns, and say what that was */
#include <stdio.h>

#include "cli/cli.h"
#include "cli/format.h"

struct gc_values {
    bool dry_run;
};

struct sum {
    bool dry_run;
    uint64_t bytes;
};

static void print_leftover(const struct bl_leftover *leftover, void *data)
{
    struct sum *sum = data;

    sum->bytes += leftover->bytes;
    printf("%s %s (%s)\n", sum->dry_run ? "Would remove" : "Removed", leftover->path, leftover->why);
}

static int run_gc(struct bl_cli *cli, void *data)
{
    const struct gc_values *values = data;
    struct sum sum = {.dry_run = values->dry_run};
    struct bl_error err = BL_ERROR_INIT;
    char bytes[32];

    if (!bl_cli_open(cli))
        return BL_EXIT_FAILURE;
    if (bl_runtime_gc(cli->runtime, values->dry_run, print_leftover, &sum, &err) < 0)
        return bl_cli_fail(cli, &err);
    printf("%s space: %s\n", values->dry_run ? "Reclaimable" : "Total reclaimed", bl_format_bytes(bytes, sum.bytes));
    return 0;
}

static const struct bl_option options[] = {
    {"dry-run", 'n', BL_OPTION_FLAG, NULL, "Only say what would be removed", offsetof(struct gc_values, dry_run)},
    {NULL},
};

const struct bl_command bl_command_gc = {
    .name = "gc",
    .summary = "Remove what nothing uses any more",
    .usage = "[OPTIONS]",
    .about = "Leavings of boxes whose host process was killed, half-made boxes and images, disks of images that are gone,\n"
             "ended boxes of 'run -d --rm' and those whose time of '--auto-delete' has come. What lives is never harmed.",
    .example = "boxlite gc --dry-run\nboxlite gc",
    .options = options,
    .values_bytes = sizeof(struct gc_values),
    .run = run_gc,
};
