/* SPDX-License-Identifier: Apache-2.0 */
/* list.c - boxlite list: what boxes there are */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "cli/cli.h"
#include "cli/format.h"

#define COLUMNS 6

struct list_values {
    const char *format;
    bool all, quiet;
};

static const char *const header[COLUMNS] = {"ID", "IMAGE", "STATUS", "CREATED", "PORTS", "NAMES"};

/* What is shown of one box; the pointers belong to the struct bl_box_info or to the row itself. */
struct row {
    const char *id, *image, *name;
    char status[16];
    char created[32];
};

static void fill_row(struct row *row, const struct bl_box_info *info)
{
    row->id = info->id;
    row->image = info->image ? info->image : "";
    row->name = info->name ? info->name : "";
    snprintf(row->status, sizeof row->status, "%s", bl_box_status_name(info->status));
    row->status[0] = (char)toupper((unsigned char)row->status[0]);
    bl_format_time(row->created, info->created_at_ms / 1000);
}

static bool is_active(enum bl_box_status status)
{
    return status == BL_BOX_RUNNING || status == BL_BOX_PAUSED || status == BL_BOX_STARTING || status == BL_BOX_STOPPING;
}

static const char *id_of(const void *row)
{
    return ((const struct row *)row)->id;
}

static void cells_of(const void *data, const char **cells)
{
    const struct row *row = data;
    const char *const texts[COLUMNS] = {row->id, row->image, row->status, row->created, "", row->name};

    memcpy(cells, texts, sizeof texts);
}

static json_t *json_of(const void *data)
{
    const struct row *row = data;
    json_t *object = json_object();

    json_object_set_new(object, "ID", bl_json_text(row->id));
    json_object_set_new(object, "Image", bl_json_text(row->image));
    json_object_set_new(object, "Status", bl_json_text(row->status));
    json_object_set_new(object, "CreatedAt", bl_json_text(row->created));
    json_object_set_new(object, "Ports", json_string(""));
    json_object_set_new(object, "Names", bl_json_text(row->name));
    return object;
}

static const struct bl_listing listing = {
    .header = header,
    .columns = COLUMNS,
    .row_bytes = sizeof(struct row),
    .id = id_of,
    .cells = cells_of,
    .json = json_of,
};

static int run(struct bl_cli *cli, void *data)
{
    const struct list_values *values = data;
    struct bl_error err = BL_ERROR_INIT;
    struct bl_box_info *list = NULL;
    size_t count = 0, shown = 0;
    int code;

    if (values->quiet && values->format)
        return bl_cli_usage(cli, "--quiet cannot be used with --format");
    if (!bl_cli_open(cli))
        return BL_EXIT_FAILURE;
    if (bl_box_list(cli->runtime, &list, &count, &err) < 0)
        return bl_cli_fail(cli, &err);

    cleanup_free struct row *rows = calloc(count + 1, sizeof *rows);

    for (size_t i = 0; rows && i < count; i++)
        if (values->all || is_active(list[i].status))
            fill_row(&rows[shown++], &list[i]);
    code = rows ? bl_listing_print(&listing, rows, shown, values->format, values->quiet) : -1;
    bl_box_list_free(list, count);
    return code < 0 ? bl_cli_fail_memory(cli) : code;
}

static const struct bl_option options[] = {
    {"all", 'a', BL_OPTION_FLAG, NULL, "Also those that don't run", offsetof(struct list_values, all)},
    {"quiet", 'q', BL_OPTION_FLAG, NULL, "Only ids", offsetof(struct list_values, quiet)},
    {"format", 0, BL_OPTION_CHOICE, "table|json|yaml", "How to print it (default table)", offsetof(struct list_values, format),
     .choices = "table|json|yaml"},
    {NULL},
};

const struct bl_command bl_command_list = {
    .name = "list",
    .aliases = {"ls", "ps"},
    .summary = "List boxes",
    .usage = "[OPTIONS]",
    .about = "Shows the boxes that run, newest first. Only looks: it changes and removes nothing.",
    .example = "boxlite list -a\nboxlite ls -a --format json",
    .options = options,
    .values_bytes = sizeof(struct list_values),
    .run = run,
};
