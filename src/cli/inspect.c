/* SPDX-License-Identifier: Apache-2.0 */
/* inspect.c - boxlite inspect: everything that is known of boxes */
#include <stdio.h>
#include <string.h>

#include "base/strings.h"
#include "cli/cli.h"
#include "cli/format.h"

struct inspect_values {
    const char *format;
    bool latest;
};

static json_t *make_list(char *const *texts)
{
    json_t *array = json_array();

    for (; texts && *texts; texts++)
        json_array_append_new(array, bl_json_text(*texts));
    return array;
}

static json_t *make_confinement(const struct bl_box_info *info)
{
    struct bl_error err = BL_ERROR_INIT;
    cleanup_strings char **layers = NULL;

    return bl_box_confinement(info, &layers, &err) < 0 ? json_array() : make_list(layers);
}

static json_t *make_state(const struct bl_box_info *info)
{
    json_t *state = json_object();
    char restart[BL_RESTART_TEXT_MAX];
    bool running = info->status == BL_BOX_RUNNING || info->status == BL_BOX_PAUSED;

    json_object_set_new(state, "Status", json_string(bl_box_status_name(info->status)));
    json_object_set_new(state, "Running", json_boolean(running));
    json_object_set_new(state, "Pid", json_integer(info->pid));
    json_object_set_new(state, "ExitCode", json_integer(info->has_exit_code ? info->exit_code : 0));
    json_object_set_new(state, "StartedAt", bl_json_time(info->started_at_ms));
    json_object_set_new(state, "FinishedAt", bl_json_time(running ? 0 : info->ended_at_ms));
    json_object_set_new(state, "LastActivityAt",
                        bl_json_time(info->ended_at_ms > info->started_at_ms ? info->ended_at_ms : info->started_at_ms));
    json_object_set_new(state, "OutOfMemory", json_boolean(info->out_of_memory));
    json_object_set_new(state, "RestartCount", json_integer(info->restarts));
    json_object_set_new(state, "RestartPolicy", json_string(bl_restart_format(&info->restart, restart)));
    json_object_set_new(state, "Reason", bl_json_text(info->reason ? info->reason : ""));
    json_object_set_new(state, "Trouble", bl_json_text(info->trouble ? info->trouble : ""));
    json_object_set_new(state, "Console", bl_json_text(info->console ? info->console : ""));
    json_object_set_new(state, "Confinement", make_confinement(info));
    return state;
}

/* make_seconds() - A time as a number of seconds; 0: never */
static json_t *make_seconds(int64_t ms)
{
    return ms % 1000 ? json_real((double)ms / 1000) : json_integer(ms / 1000);
}

static json_t *make_config(const struct bl_box_info *info)
{
    json_t *config = json_object();

    json_object_set_new(config, "Cmd", make_list(info->command));
    json_object_set_new(config, "Env", make_list(info->env));
    json_object_set_new(config, "WorkingDir", bl_json_text(info->workdir ? info->workdir : ""));
    json_object_set_new(config, "User", bl_json_text(info->user ? info->user : ""));
    json_object_set_new(config, "Tty", json_boolean(info->tty));
    json_object_set_new(config, "CapAdd", make_list(info->cap_add));
    json_object_set_new(config, "CapDrop", make_list(info->cap_drop));
    json_object_set_new(config, "Capabilities", make_list(info->capabilities));
    json_object_set_new(config, "Security", json_boolean(!info->unconfined));
    json_object_set_new(config, "AutoResume", json_boolean(!info->no_auto_resume));
    json_object_set_new(config, "AutoRemove", json_boolean(info->auto_remove));
    json_object_set_new(config, "Detached", json_boolean(info->detached));
    json_object_set_new(config, "AutoStop", make_seconds(info->auto_stop_ms));
    json_object_set_new(config, "AutoDelete", make_seconds(info->auto_delete_ms));
    return config;
}

static json_t *make_json(const struct bl_box_info *info)
{
    json_t *box = json_object();

    json_object_set_new(box, "Id", json_string(info->id));
    json_object_set_new(box, "Name", bl_json_text(info->name ? info->name : ""));
    json_object_set_new(box, "Image", bl_json_text(info->image ? info->image : ""));
    json_object_set_new(box, "ImageDigest", bl_json_text(info->image_digest ? info->image_digest : ""));
    json_object_set_new(box, "Created", bl_json_time(info->created_at_ms));
    json_object_set_new(box, "Status", json_string(bl_box_status_name(info->status)));
    json_object_set_new(box, "State", make_state(info));
    json_object_set_new(box, "Cpus", json_integer(info->cpus));
    json_object_set_new(box, "Memory", json_integer((json_int_t)info->memory_mib << 20));
    json_object_set_new(box, "DiskSize", json_integer((json_int_t)info->disk_bytes));
    json_object_set_new(box, "Engine", bl_json_text(info->engine ? info->engine : ""));
    json_object_set_new(box, "Config", make_config(info));
    return box;
}

/* check_format() - json, yaml, or something with an action in it */
static int check_format(struct bl_cli *cli, const char *format)
{
    if (!format || !strcmp(format, "json") || !strcmp(format, "yaml") || strstr(format, "{{"))
        return 0;
    if (!strcmp(format, "table"))
        return bl_cli_usage(cli, "inspect does not support table format; Valid formats: json, yaml, or a template as '{{.Name}}'");
    return bl_cli_usage(cli, "Unknown format '%s'. Valid formats: json, yaml, or a template as '{{.Name}}'", format);
}

static int print_templates(struct bl_cli *cli, const char *template, const json_t *boxes)
{
    struct bl_error err = BL_ERROR_INIT;

    for (size_t i = 0; i < json_array_size(boxes); i++) {
        cleanup_buffer struct bl_buffer text = BL_BUFFER_INIT(BL_FORMAT_BYTES_MAX);

        if (bl_template_append(&text, template, json_array_get(boxes, i), &err) < 0)
            return bl_cli_fail(cli, &err);
        fwrite(bl_buffer_data(&text), 1, text.length, stdout);
        fputc('\n', stdout);
    }
    return 0;
}

static int print_boxes(struct bl_cli *cli, const char *format, const json_t *boxes)
{
    if (!format || !strcmp(format, "json"))
        bl_json_print(stdout, boxes);
    else if (!strcmp(format, "yaml"))
        bl_yaml_print(stdout, boxes);
    else
        return print_templates(cli, format, boxes);
    return 0;
}

/* add_latest() - The newest box of all. Return: exit code */
static int add_latest(struct bl_cli *cli, json_t *boxes)
{
    struct bl_error err = BL_ERROR_INIT;
    struct bl_box_info *list = NULL;
    size_t count = 0;

    if (bl_box_list(cli->runtime, &list, &count, &err) < 0)
        return bl_cli_fail(cli, &err);
    if (count)
        json_array_append_new(boxes, make_json(&list[0]));
    else
        bl_cli_complain("no boxes to inspect");
    bl_box_list_free(list, count);
    return count ? 0 : BL_EXIT_FAILURE;
}

static int add_named(struct bl_cli *cli, json_t *boxes)
{
    int code = 0;

    for (int i = 0; i < cli->operands.count; i++) {
        struct bl_error err = BL_ERROR_INIT;
        struct bl_box_info info = {0};

        if (bl_box_inspect(cli->runtime, cli->operands.list[i], &info, &err) < 0) {
            if (err.code == BL_NOT_FOUND)
                bl_cli_complain("no such box: %s", cli->operands.list[i]);
            else
                bl_cli_fail(cli, &err);
            code = BL_EXIT_FAILURE;
            continue;
        }
        json_array_append_new(boxes, make_json(&info));
        bl_box_info_free(&info);
    }
    return code;
}

static int run(struct bl_cli *cli, void *data)
{
    const struct inspect_values *values = data;
    int code, printed;

    if (values->latest && cli->operands.count)
        return bl_cli_usage(cli, "--latest and names cannot be used together");
    if (!values->latest && !cli->operands.count)
        return bl_cli_usage(cli, "no names or ids specified");
    code = check_format(cli, values->format);
    if (code)
        return code;
    if (!bl_cli_open(cli))
        return BL_EXIT_FAILURE;

    json_t *boxes = json_array();

    code = values->latest ? add_latest(cli, boxes) : add_named(cli, boxes);
    printed = values->latest && code ? code : print_boxes(cli, values->format, boxes);
    json_decref(boxes);
    return code ? code : printed;
}

static const struct bl_option options[] = {
    {"latest", 'l', BL_OPTION_FLAG, NULL, "The newest box", offsetof(struct inspect_values, latest)},
    {"format", 'f', BL_OPTION_TEXT, "json|yaml|TEMPLATE", "How to print it; a template as '{{.State.Status}}' (default json)",
     offsetof(struct inspect_values, format)},
    {NULL},
};

const struct bl_command bl_command_inspect = {
    .name = "inspect",
    .summary = "Show all that is known of boxes",
    .usage = "[OPTIONS] BOX...\n[OPTIONS] --latest",
    .about = "Templates are a part of Go's: fields, quoted texts and 'json'. Only looks: it changes nothing.",
    .example = "boxlite inspect work\nboxlite inspect -f '{{.State.Status}} {{.State.ExitCode}}' work",
    .options = options,
    .values_bytes = sizeof(struct inspect_values),
    .most_operands = -1,
    .run = run,
};
