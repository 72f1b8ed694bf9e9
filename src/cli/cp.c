/* SPDX-License-Identifier: Apache-2.0 */
/* cp.c - boxlite cp: files into a box and out of it */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"

struct cp_values {
    bool follow_links, no_overwrite;
};

/* One side of a copy; `box` is allocated, `path` points into the operand. */
struct side {
    char *box; /* NULL: the host */
    const char *path;
};

static void free_side(struct side *side)
{
    free(side->box);
}

#define cleanup_side __attribute__((cleanup(free_side)))

/* parse_side() - "BOX:PATH" is in a box unless a "/" stands before the colon. Return: 0; -1 when memory ran out */
static int parse_side(const char *text, struct side *side)
{
    const char *colon = strchr(text, ':');
    const char *slash = strchr(text, '/');

    *side = (struct side){NULL, text};
    if (!colon || colon == text || (slash && slash < colon))
        return 0;
    side->box = strndup(text, (size_t)(colon - text));
    side->path = colon + 1;
    return side->box ? 0 : -1;
}

static int copy(struct bl_cli *cli, const struct side *from, const struct side *to, const struct bl_copy_options *options,
                struct bl_error *err)
{
    if (to->box)
        return !strcmp(from->path, "-") ? bl_copy_tar_into(cli->runtime, to->box, STDIN_FILENO, to->path, options, err)
                                        : bl_copy_into(cli->runtime, to->box, from->path, to->path, options, err);
    return !strcmp(to->path, "-") ? bl_copy_tar_out(cli->runtime, from->box, from->path, STDOUT_FILENO, options, err)
                                  : bl_copy_out(cli->runtime, from->box, from->path, to->path, options, err);
}

static int run(struct bl_cli *cli, void *data)
{
    const struct cp_values *values = data;
    struct bl_copy_options options = {values->follow_links, values->no_overwrite, cli->signal_fd};
    struct bl_error err = BL_ERROR_INIT;
    struct side cleanup_side from = {0};
    struct side cleanup_side to = {0};

    if (parse_side(cli->operands.list[0], &from) < 0 || parse_side(cli->operands.list[1], &to) < 0)
        return bl_cli_fail_memory(cli);
    if (!from.box == !to.box)
        return bl_cli_usage(cli, from.box ? "only one side may be in a box; between two: boxlite cp A:PATH - | boxlite cp - B:PATH"
                                          : "one side must be in a box, written BOX:PATH");

    const char *box_path = from.box ? from.path : to.path;
    const char *host_path = from.box ? to.path : from.path;

    if (!*box_path)
        return bl_cli_usage(cli, "the path in the box is empty");
    if (!*host_path)
        return bl_cli_usage(cli, "the path on the host is empty");
    if (*box_path != '/')
        return bl_cli_usage(cli, "the path in the box must be absolute, got: %s", box_path);
    if (to.box && !strcmp(host_path, "-") && isatty(STDIN_FILENO))
        return bl_cli_usage(cli, "'-' reads a tar archive from standard input, which is a terminal");
    if (from.box && !strcmp(host_path, "-") && isatty(STDOUT_FILENO))
        return bl_cli_usage(cli, "'-' writes a tar archive to standard output, which is a terminal");
    if (!bl_cli_open(cli))
        return BL_EXIT_FAILURE;
    return copy(cli, &from, &to, &options, &err) < 0 ? bl_cli_fail(cli, &err) : 0;
}

static const struct bl_option options[] = {
    {"follow-symlinks", 'L', BL_OPTION_FLAG, NULL, "Copy what links point to, instead of links",
     offsetof(struct cp_values, follow_links)},
    {"no-overwrite", 'n', BL_OPTION_FLAG, NULL, "Refuse when a file would be replaced", offsetof(struct cp_values, no_overwrite)},
    {NULL},
};

const struct bl_command bl_command_cp = {
    .name = "cp",
    .aliases = {"copy"},
    .summary = "Copy files into a box or out of it",
    .usage = "[OPTIONS] PATH BOX:PATH\n[OPTIONS] BOX:PATH PATH\n[OPTIONS] - BOX:DIR\n[OPTIONS] BOX:PATH -",
    .about = "Directories are copied with all that is in them. Into an existing directory a file or directory goes under\n"
             "its own name; DIR/. means what is in DIR. '-' reads or writes a tar archive. Files copied into a box belong\n"
             "to the user that 'boxlite exec' would use.",
    .example = "boxlite cp notes.txt work:/root/\n"
               "boxlite cp work:/etc/os-release .\n"
               "tar c src | boxlite cp - work:/root",
    .options = options,
    .values_bytes = sizeof(struct cp_values),
    .least_operands = 2,
    .most_operands = 2,
    .operands = "SOURCE and DESTINATION",
    .catches_signals = true,
    .run = run,
};
