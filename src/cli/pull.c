/* SPDX-License-Identifier: Apache-2.0 */
/* pull.c - boxlite pull: bring an image in from a registry */
#include <stdio.h>
#include <unistd.h>

#include "base/strings.h"
#include "cli/cli.h"
#include "cli/pull_display.h"
#include "cli/registry_options.h"
#include "cli/terminal.h"
#include "image/platform.h"

struct pull_values {
    struct registry_values registry;
    bool quiet;
};

int bl_cli_bring_image(struct bl_cli *cli, const char *name, enum bl_pull_policy policy, const struct registry_values *values,
                       bool quiet, struct bl_image **out)
{
    struct bl_pull_display display = {.out = stderr, .terminal = isatty(STDERR_FILENO)};
    struct bl_pull_request request = {
        .reference = name, .policy = policy, .cancel_fd = cli->signal_fd, .platform = values->platform};
    struct bl_platform platform;
    struct bl_error err = BL_ERROR_INIT;
    uint16_t rows = 0, columns = 0;
    int failure = cli->command->failure ? cli->command->failure : BL_EXIT_FAILURE, result;

    if (bl_platform_parse(values->platform, &platform, &err))
        return bl_cli_usage(cli, "--platform: %s", err.message);
    if (bl_cli_configure(cli))
        return failure;
    /* The first that was named is to be the first that is asked. */
    for (size_t i = 0, count = bl_strings_count((const char *const *)values->registries); i < count; i++)
        if (bl_user_config_prefer(&cli->config, values->registries[count - 1 - i], &err))
            return bl_cli_usage(cli, "--registry: %s", err.message);
    if (!bl_cli_open(cli))
        return failure;
    if (display.terminal)
        bl_terminal_size(STDERR_FILENO, &rows, &columns);
    /* A terminal that does not know its size is taken for the usual one. */
    display.rows = rows ? rows : 24;
    display.columns = columns ? columns : 80;
    request.config = &cli->config;
    if (!quiet) {
        request.progress = bl_pull_display_show;
        request.progress_data = &display;
    }
    result = bl_images_pull(bl_runtime_images(cli->runtime), &request, out, &err);
    bl_pull_display_end(&display);
    return result ? bl_cli_fail(cli, &err) : 0;
}

static int run(struct bl_cli *cli, void *data)
{
    const struct pull_values *values = data;
    struct bl_image *image = NULL;
    int code = bl_cli_bring_image(cli, cli->operands.list[0], BL_PULL_ALWAYS, &values->registry, values->quiet, &image);

    if (code || !image)
        return code;
    if (values->quiet)
        puts(image->config_digest);
    else
        printf("Pulled: %s\nDigest: %s\n", image->reference, image->manifest_digest);
    bl_image_free(image);
    return 0;
}

static const struct bl_option options[] = {
    {"quiet", 'q', BL_OPTION_FLAG, NULL, "Print only the image's id", offsetof(struct pull_values, quiet)},
    REGISTRY_OPTION(struct pull_values, registry),
    IMAGE_PLATFORM_OPTION(struct pull_values, registry.platform),
    {NULL},
};

const struct bl_command bl_command_pull = {
    .name = "pull",
    .aliases = {"images pull", "image pull"},
    .summary = "Bring an image in from a registry",
    .usage = "[OPTIONS] IMAGE",
    .about = "A name without a registry means the Docker Hub, or the registries that --registry and the configuration\n"
             "name. What was interrupted is continued by the next pull. Logins are those of 'boxlite login' and of Docker.\n"
             "An image of another platform can be looked at and saved; boxes are linux/amd64.",
    .example = "boxlite pull alpine\n"
               "boxlite pull localhost:5000/app@sha256:...\n"
               "boxlite pull --platform linux/arm64 alpine && boxlite save -o alpine-arm64.tar alpine",
    .options = options,
    .values_bytes = sizeof(struct pull_values),
    .least_operands = 1,
    .most_operands = 1,
    .operands = "IMAGE",
    .catches_signals = true,
    .run = run,
};
