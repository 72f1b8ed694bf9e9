/* SPDX-License-Identifier: Apache-2.0 */
/* images.c - boxlite images and rmi: what the store has, and less of it */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/strings.h"
#include "cli/cli.h"
#include "cli/format.h"

#define COLUMNS         5
#define SHORT_ID_DIGITS 12

struct images_values {
    const char *format;
    bool quiet;
};

static const char *const header[COLUMNS] = {"REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"};

struct row {
    const char *repository, *tag, *digest;
    uint64_t size;
    char id[SHORT_ID_DIGITS + 1];
    char created[32];
    char readable_size[32];
};

static void fill_row(struct row *row, const struct bl_image *image)
{
    const char *digest = image->config_digest ? image->config_digest : "";
    const char *hex = strchr(digest, ':');

    row->repository = image->repository ? image->repository : "<none>";
    row->tag = image->tag ? image->tag : "<none>";
    row->digest = digest;
    row->size = image->content_bytes;
    snprintf(row->id, sizeof row->id, "%.*s", SHORT_ID_DIGITS, hex ? hex + 1 : digest);
    bl_format_time(row->created, image->created_at);
    bl_format_bytes(row->readable_size, image->content_bytes);
}

static const char *id_of(const void *row)
{
    return ((const struct row *)row)->digest;
}

static void cells_of(const void *data, const char **cells)
{
    const struct row *row = data;
    const char *const texts[COLUMNS] = {row->repository, row->tag, row->id, row->created, row->readable_size};

    memcpy(cells, texts, sizeof texts);
}

static json_t *json_of(const void *data)
{
    const struct row *row = data;
    json_t *object = json_object();

    json_object_set_new(object, "Repository", bl_json_text(row->repository));
    json_object_set_new(object, "Tag", bl_json_text(row->tag));
    json_object_set_new(object, "ID", bl_json_text(row->id));
    json_object_set_new(object, "Digest", bl_json_text(row->digest));
    json_object_set_new(object, "CreatedAt", bl_json_text(row->created));
    json_object_set_new(object, "Size", json_integer((json_int_t)row->size));
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

static int run_images(struct bl_cli *cli, void *data)
{
    const struct images_values *values = data;
    struct bl_error err = BL_ERROR_INIT;
    struct bl_image **list = NULL;
    size_t count = 0;
    int code;

    if (values->quiet && values->format)
        return bl_cli_usage(cli, "--quiet cannot be used with --format");
    if (!bl_cli_open(cli))
        return BL_EXIT_FAILURE;
    if (bl_images_list(bl_runtime_images(cli->runtime), &list, &count, &err) < 0)
        return bl_cli_fail(cli, &err);

    cleanup_free struct row *rows = calloc(count + 1, sizeof *rows);

    for (size_t i = 0; rows && i < count; i++)
        fill_row(&rows[i], list[i]);
    code = rows ? bl_listing_print(&listing, rows, count, values->format, values->quiet) : -1;
    bl_image_free_list(list, count);
    return code < 0 ? bl_cli_fail_memory(cli) : code;
}

static void print_removed(const char *line, void *data)
{
    (void)data;
    puts(line);
}

static int run_rmi(struct bl_cli *cli, void *data)
{
    int code = 0;

    (void)data;
    if (!bl_cli_open(cli))
        return BL_EXIT_FAILURE;
    for (int i = 0; i < cli->operands.count; i++) {
        struct bl_error err = BL_ERROR_INIT;

        if (bl_images_remove(bl_runtime_images(cli->runtime), cli->operands.list[i], print_removed, NULL, &err) < 0)
            code = bl_cli_fail(cli, &err);
    }
    return code;
}

static const struct bl_option options[] = {
    {"quiet", 'q', BL_OPTION_FLAG, NULL, "Only ids, in full", offsetof(struct images_values, quiet)},
    {"format", 0, BL_OPTION_CHOICE, "table|json|yaml", "How to print it (default table)", offsetof(struct images_values, format),
     .choices = "table|json|yaml"},
    {NULL},
};

const struct bl_command bl_command_images = {
    .name = "images",
    .aliases = {"images ls", "images list"},
    .summary = "List images ('images load' and 'images rm' work too)",
    .usage = "[OPTIONS]",
    .example = "boxlite images",
    .options = options,
    .values_bytes = sizeof(struct images_values),
    .run = run_images,
};

const struct bl_command bl_command_rmi = {
    .name = "rmi",
    .aliases = {"images rm", "images remove"},
    .summary = "Remove images; boxes made from them stay whole",
    .usage = "IMAGE...",
    .about = "IMAGE is a name, or the start of an id (at least 6 digits), which means all names of that image.",
    .example = "boxlite rmi debian:12",
    .least_operands = 1,
    .most_operands = -1,
    .operands = "IMAGE",
    .run = run_rmi,
};
