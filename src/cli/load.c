/* SPDX-License-Identifier: Apache-2.0 */
/*
 * load.c - boxlite load: bring an image into the store
 *
 * On a terminal one line says how far it is and is overwritten; elsewhere each layer that was taken is a line on standard error,
 * so that a failure still ends in one line. What was loaded goes to standard output.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/format.h"
#include "cli/registry_options.h"
#include "image/platform.h"

struct load_values {
    const char *input, *tag, *platform;
    bool quiet;
};

/* How much of the progress was shown. */
struct display {
    bool terminal;
    bool shown;                 /* a line stands there that is to be overwritten */
    unsigned int layer, layers; /* the one under way, of how many */
    uint64_t bytes;             /* of it */
};

static void show_on_terminal(struct display *display, const struct bl_load_progress *progress)
{
    char done[32], total[32];

    fprintf(stderr, "\r\033[K%s", progress->what);
    if (progress->layer && progress->layers)
        fprintf(stderr, " layer %u of %u", progress->layer, progress->layers);
    else if (progress->layer)
        fprintf(stderr, " layer %u", progress->layer);
    if (progress->done_bytes)
        fprintf(stderr, ": %s%s%s", bl_format_bytes(done, progress->done_bytes), progress->total_bytes ? " of " : "",
                progress->total_bytes ? bl_format_bytes(total, progress->total_bytes) : "");
    fflush(stderr);
    display->shown = true;
}

/* show_layer() - The layer under way is done */
static void show_layer(const struct display *display)
{
    char bytes[32];

    if (display->layer && display->layers)
        fprintf(stderr, "layer %u of %u: %s\n", display->layer, display->layers, bl_format_bytes(bytes, display->bytes));
}

static void show(const struct bl_load_progress *progress, void *data)
{
    struct display *display = data;

    if (display->terminal) {
        show_on_terminal(display, progress);
        return;
    }
    if (progress->layer != display->layer)
        show_layer(display);
    display->layer = progress->layer;
    display->layers = progress->layers;
    display->bytes = progress->done_bytes;
}

static void print_loaded(const struct load_values *values, const struct bl_image *image)
{
    const char *digest = image->config_digest ? image->config_digest : "";

    if (values->quiet)
        puts(digest);
    else if (image->repository)
        printf("Loaded image: %s%s%s\nDigest: %s\n", image->repository, image->tag ? ":" : "", image->tag ? image->tag : "",
               digest);
    else
        printf("Loaded image: %s\n", digest);
}

static int run(struct bl_cli *cli, void *data)
{
    const struct load_values *values = data;
    struct display display = {.terminal = isatty(STDERR_FILENO)};
    struct bl_load_request request = {.fd = STDIN_FILENO,
                                      .reference = values->tag,
                                      .cancel_fd = cli->signal_fd,
                                      .platform = values->platform,
                                      .config = &cli->config};
    struct bl_platform platform;
    struct bl_error err = BL_ERROR_INIT;
    struct bl_image **list = NULL;
    const char *path = cli->operands.count ? cli->operands.list[0] : values->input;
    size_t count = 0;
    int result;

    if (values->input && cli->operands.count)
        return bl_cli_usage(cli, "--input cannot be used with a FILE");
    if (bl_platform_parse(values->platform, &platform, &err))
        return bl_cli_usage(cli, "--platform: %s", err.message);
    if (!path && isatty(STDIN_FILENO))
        return bl_cli_usage(cli, "required: FILE, DIR, or - with an archive on standard input");
    if (path && strcmp(path, "-"))
        request.path = path;
    if (!values->quiet) {
        request.progress = show;
        request.progress_data = &display;
    }
    if (!bl_cli_open(cli))
        return BL_EXIT_FAILURE;
    result = bl_images_load(bl_runtime_images(cli->runtime), &request, &list, &count, &err);
    if (display.shown)
        fputs("\r\033[K", stderr);
    if (result < 0)
        return bl_cli_fail(cli, &err);
    show_layer(&display);
    for (size_t i = 0; i < count; i++)
        print_loaded(values, list[i]);
    bl_image_free_list(list, count);
    return 0;
}

static const struct bl_option options[] = {
    {"input", 'i', BL_OPTION_TEXT, "FILE", "The same as FILE", offsetof(struct load_values, input)},
    {"tag", 't', BL_OPTION_TEXT, "NAME", "Name to give it, instead of those in the archive", offsetof(struct load_values, tag)},
    IMAGE_PLATFORM_OPTION(struct load_values, platform),
    {"quiet", 'q', BL_OPTION_FLAG, NULL, "Print only the image's id", offsetof(struct load_values, quiet)},
    {NULL},
};

const struct bl_command bl_command_load = {
    .name = "load",
    .aliases = {"images load"},
    .summary = "Bring an image from a file, a directory or a pipe",
    .usage = "[OPTIONS] FILE|DIR|-",
    .about = "Takes OCI layout directories, oci-archive files and what 'docker save' writes, plain or compressed with\n"
             "gzip or zstd; which it is shows from the content. '-' is standard input.",
    .example = "docker save python:3.12-slim | boxlite load -\n"
               "skopeo copy docker://docker.io/library/debian:12 oci-archive:debian.tar:debian:12\n"
               "boxlite load debian.tar",
    .options = options,
    .values_bytes = sizeof(struct load_values),
    .most_operands = 1,
    .catches_signals = true,
    .run = run,
};
