/* SPDX-License-Identifier: Apache-2.0 */
/* info.c - boxlite info and version */
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>

#include "cli/cli.h"
#include "cli/format.h"

struct info_values {
    const char *format;
};

static int run_info(struct bl_cli *cli, void *data)
{
    const struct info_values *values = data;
    struct bl_error err = BL_ERROR_INIT;
    struct bl_runtime_info info = {0};
    struct utsname host;

    if (!bl_cli_open(cli))
        return BL_EXIT_FAILURE;
    if (bl_runtime_describe(cli->runtime, &info, &err) < 0)
        return bl_cli_fail(cli, &err);
    if (uname(&host) < 0)
        memset(&host, 0, sizeof host);

    json_t *object = json_object();

    json_object_set_new(object, "version", json_string(BL_VERSION));
    json_object_set_new(object, "homeDir", bl_json_text(bl_runtime_home(cli->runtime)));
    json_object_set_new(object, "virtualization", bl_json_text(info.virtualization));
    json_object_set_new(object, "engine", bl_json_text(info.engine ? info.engine : "none"));
    json_object_set_new(object, "engineReason", bl_json_text(info.engine_reason ? info.engine_reason : ""));
    json_object_set_new(object, "kernel", bl_json_text(info.kernel ? info.kernel : "none"));
    json_object_set_new(object, "kernelKind", bl_json_text(info.kernel_kind ? info.kernel_kind : ""));
    json_object_set_new(object, "runtimeDir", bl_json_text(info.runtime_dir ? info.runtime_dir : ""));
    json_object_set_new(object, "os", json_string("linux"));
    json_object_set_new(object, "arch", bl_json_text(host.machine));
    json_object_set_new(object, "boxesTotal", json_integer(info.boxes));
    json_object_set_new(object, "boxesRunning", json_integer(info.running));
    json_object_set_new(object, "boxesStopped", json_integer(info.stopped));
    json_object_set_new(object, "boxesConfigured", json_integer(info.configured));
    json_object_set_new(object, "imagesCount", json_integer(info.images));
    json_object_set_new(object, "imagesBytes", json_integer((json_int_t)bl_images_usage(bl_runtime_images(cli->runtime))));
    json_object_set_new(object, "templates", json_string(info.templates_wanted ? "on" : "off"));
    json_object_set_new(object, "templatesCount", json_integer(info.templates));
    json_object_set_new(object, "templatesBytes", json_integer((json_int_t)info.templates_bytes));
    if (values->format && !strcmp(values->format, "json"))
        bl_json_print(stdout, object);
    else
        bl_yaml_print(stdout, object);
    json_decref(object);
    bl_runtime_info_free(&info);
    return 0;
}

static int run_version(struct bl_cli *cli, void *data)
{
    (void)cli;
    (void)data;
    puts("boxlite " BL_VERSION);
    return 0;
}

static const struct bl_option options[] = {
    {"format", 0, BL_OPTION_CHOICE, "yaml|json", "How to print it (default yaml)", offsetof(struct info_values, format),
     .choices = "yaml|json"},
    {NULL},
};

const struct bl_command bl_command_info = {
    .name = "info",
    .summary = "Show what this machine and this home have",
    .usage = "[OPTIONS]",
    .about = "Which engine runs the boxes and why, which guest kernel is used, and what this home holds.",
    .example = "boxlite info",
    .options = options,
    .values_bytes = sizeof(struct info_values),
    .run = run_info,
};

const struct bl_command bl_command_version = {
    .name = "version",
    .summary = "Print the version",
    .usage = "",
    .example = "boxlite version",
    .run = run_version,
};
