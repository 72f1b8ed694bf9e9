/* SPDX-License-Identifier: Apache-2.0 */
/*
 * save.c - boxlite save: images as an archive
 *
 * A file is written beside its place and renamed, so it is complete or what it was before.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/strings.h"
#include "cli/cli.h"
#include "image/image.h"

struct save_values {
    const char *output;
};

static int save(struct bl_cli *cli, int fd)
{
    struct bl_error err = BL_ERROR_INIT;

    if (bl_images_save(bl_runtime_images(cli->runtime), (const char *const *)cli->operands.list, fd, cli->signal_fd, &err))
        return bl_cli_fail(cli, &err);
    return 0;
}

static int save_to_file(struct bl_cli *cli, const char *path)
{
    cleanup_free char *partial = bl_format("%s.%ld.partial", path, (long)getpid());
    cleanup_close int fd = partial ? open(partial, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666) : -1;
    int code;

    if (fd < 0) {
        bl_cli_complain("make %s: %s", path, strerror(errno));
        return BL_EXIT_FAILURE;
    }
    code = save(cli, fd);
    if (!code && rename(partial, path)) {
        bl_cli_complain("put the archive at %s: %s", path, strerror(errno));
        code = BL_EXIT_FAILURE;
    }
    if (code)
        unlink(partial);
    return code;
}

static int run(struct bl_cli *cli, void *data)
{
    const struct save_values *values = data;

    if (!values->output && isatty(STDOUT_FILENO))
        return bl_cli_usage(cli, "standard output is a terminal: use --output FILE, or a pipe");
    if (!bl_cli_open(cli))
        return BL_EXIT_FAILURE;
    return values->output ? save_to_file(cli, values->output) : save(cli, STDOUT_FILENO);
}

static const struct bl_option options[] = {
    {"output", 'o', BL_OPTION_TEXT, "FILE", "Write to a file instead of standard output", offsetof(struct save_values, output)},
    {NULL},
};

const struct bl_command bl_command_save = {
    .name = "save",
    .aliases = {"image save", "images save"},
    .summary = "Write images to an archive",
    .usage = "[-o FILE] IMAGE...",
    .about = "The archive is an oci-archive, which skopeo, podman and 'boxlite load' read. It holds the layers byte for\n"
             "byte as they were pulled. An image that came out of an archive is saved as one layer of all its files.",
    .example = "boxlite save -o alpine.tar alpine",
    .options = options,
    .values_bytes = sizeof(struct save_values),
    .least_operands = 1,
    .most_operands = -1,
    .operands = "IMAGE",
    .catches_signals = true,
    .run = run,
};
