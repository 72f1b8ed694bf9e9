/* SPDX-License-Identifier: Apache-2.0 */
/* image_inspect.c - boxlite image inspect and image history: what an image says of itself */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "cli/cli.h"
#include "cli/format.h"
#include "image/image.h"

#define HISTORY_COLUMNS 3
#define STEP_MAX        60 /* characters of a step that a table shows */

struct inspect_values {
    const char *format;
};

struct history_values {
    const char *format;
    bool whole;
};

/* names_of() - All names of an image, as RepoTags. */
static json_t *names_of(struct bl_images *images, const struct bl_image *image, bool digests)
{
    json_t *names = json_array();
    struct bl_image **list = NULL;
    size_t count = 0;

    if (bl_images_list(images, &list, &count, NULL))
        return names;
    for (size_t i = 0; i < count; i++) {
        char text[1024];

        if (strcmp(list[i]->config_digest, image->config_digest) != 0)
            continue;
        if (digests)
            snprintf(text, sizeof text, "%s@%s", list[i]->repository, list[i]->manifest_digest);
        else
            snprintf(text, sizeof text, "%s:%s", list[i]->repository, list[i]->tag);
        json_array_append_new(names, bl_json_text(text));
    }
    bl_image_free_list(list, count);
    return names;
}

/* part_of() - A member of the image's configuration, as it came; null when it is not there. */
static json_t *part_of(const json_t *config, const char *name)
{
    json_t *part = json_object_get(config, name);

    return part ? json_incref(part) : json_null();
}

static json_t *make_json(struct bl_images *images, const struct bl_image_documents *documents)
{
    const struct bl_image *image = documents->image;
    json_t *config = json_loads(documents->config, 0, NULL);
    json_t *manifest = documents->manifest ? json_loads(documents->manifest, 0, NULL) : NULL;
    json_t *object = json_object();

    json_object_set_new(object, "Id", bl_json_text(image->config_digest));
    json_object_set_new(object, "Digest", bl_json_text(image->manifest_digest));
    json_object_set_new(object, "RepoTags", names_of(images, image, false));
    json_object_set_new(object, "RepoDigests", names_of(images, image, true));
    json_object_set_new(object, "Created", bl_json_time(image->created_at * 1000));
    json_object_set_new(object, "Loaded", bl_json_time(image->loaded_at * 1000));
    json_object_set_new(object, "Architecture", part_of(config, "architecture"));
    json_object_set_new(object, "Os", part_of(config, "os"));
    json_object_set_new(object, "Author", part_of(config, "author"));
    json_object_set_new(object, "Size", json_integer((json_int_t)image->content_bytes));
    json_object_set_new(object, "Disk", bl_json_text(image->disk_path));
    json_object_set_new(object, "Config", part_of(config, "config"));
    json_object_set_new(object, "RootFS", part_of(config, "rootfs"));
    json_object_set_new(object, "Layers", part_of(manifest, "layers"));
    json_decref(config);
    json_decref(manifest);
    return object;
}

/* print_formatted() - As JSON, or by a template, one line each. Return: exit code */
static int print_formatted(const struct bl_cli *cli, const char *format, const json_t *list)
{
    struct bl_error err = BL_ERROR_INIT;
    size_t i;
    json_t *value;

    if (!format || !strcmp(format, "json")) {
        bl_json_print(stdout, list);
        return 0;
    }
    if (!strcmp(format, "yaml")) {
        bl_yaml_print(stdout, list);
        return 0;
    }
    json_array_foreach(list, i, value)
    {
        cleanup_buffer struct bl_buffer text = BL_BUFFER_INIT(BL_FORMAT_BYTES_MAX);

        if (bl_template_append(&text, format, value, &err))
            return bl_cli_fail(cli, &err);
        printf("%.*s\n", (int)text.length, (const char *)bl_buffer_data(&text));
    }
    return 0;
}

static int run_inspect(struct bl_cli *cli, void *data)
{
    const struct inspect_values *values = data;
    json_t *list = json_array();
    int code = 0, printed;

    if (!bl_cli_open(cli))
        return BL_EXIT_FAILURE;
    for (int i = 0; i < cli->operands.count; i++) {
        struct bl_images *images = bl_runtime_images(cli->runtime);
        struct bl_image_documents documents;
        struct bl_error err = BL_ERROR_INIT;

        if (bl_images_documents(images, cli->operands.list[i], &documents, &err)) {
            code = bl_cli_fail(cli, &err);
            continue;
        }
        json_array_append_new(list, make_json(images, &documents));
        bl_image_documents_free(&documents);
    }
    printed = print_formatted(cli, values->format, list);
    json_decref(list);
    return code ? code : printed;
}

/* The steps of an image, the newest first, with what each layer took in the registry. */
static json_t *make_history(const struct bl_image_documents *documents)
{
    json_t *config = json_loads(documents->config, 0, NULL);
    json_t *manifest = documents->manifest ? json_loads(documents->manifest, 0, NULL) : NULL;
    const json_t *layers = json_object_get(manifest, "layers");
    json_t *list = json_array(), *step;
    size_t i, layer = 0;

    json_array_foreach(json_object_get(config, "history"), i, step)
    {
        bool empty = json_is_true(json_object_get(step, "empty_layer"));
        const json_t *size = json_object_get(json_array_get(layers, layer), "size");
        const char *by = json_string_value(json_object_get(step, "created_by"));
        const char *created = json_string_value(json_object_get(step, "created"));
        const char *comment = json_string_value(json_object_get(step, "comment"));
        json_t *object = json_object();

        json_object_set_new(object, "CreatedAt", bl_json_text(created ? created : ""));
        json_object_set_new(object, "CreatedBy", bl_json_text(by ? by : ""));
        json_object_set_new(object, "Size", json_integer(empty ? 0 : json_integer_value(size)));
        json_object_set_new(object, "EmptyLayer", json_boolean(empty));
        json_object_set_new(object, "Comment", bl_json_text(comment ? comment : ""));
        json_array_insert_new(list, 0, object);
        layer += !empty;
    }
    json_decref(config);
    json_decref(manifest);
    return list;
}

/* shorten() - A step as a table shows it: one line, without control characters. @text: STEP_MAX + 4 bytes */
static const char *shorten(char *text, const char *from, bool whole, char **kept)
{
    size_t length = strlen(from);

    if (whole || length <= STEP_MAX) {
        *kept = strdup(from);
    } else {
        snprintf(text, STEP_MAX + 4, "%.*s...", STEP_MAX, from);
        *kept = strdup(text);
    }
    for (char *c = *kept; c && *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            *c = ' ';
    return *kept ? *kept : "";
}

static int print_history(const json_t *list, bool whole)
{
    static const char *const header[HISTORY_COLUMNS] = {"CREATED", "CREATED BY", "SIZE"};
    size_t count = json_array_size(list), i;
    cleanup_free const char **cells = calloc(count * HISTORY_COLUMNS + 1, sizeof *cells);
    cleanup_free char **kept = calloc(count * 2 + 1, sizeof *kept);
    json_t *step;

    int failed;

    if (!cells || !kept)
        return -1;
    json_array_foreach(list, i, step)
    {
        char text[STEP_MAX + 4], bytes[32];
        json_int_t size = json_integer_value(json_object_get(step, "Size"));

        cells[i * HISTORY_COLUMNS] = json_string_value(json_object_get(step, "CreatedAt"));
        cells[i * HISTORY_COLUMNS + 1] = shorten(text, json_string_value(json_object_get(step, "CreatedBy")), whole, &kept[2 * i]);
        kept[2 * i + 1] = strdup(bl_format_bytes(bytes, size > 0 ? (uint64_t)size : 0));
        cells[i * HISTORY_COLUMNS + 2] = kept[2 * i + 1] ? kept[2 * i + 1] : "";
    }
    failed = bl_table_print(stdout, header, HISTORY_COLUMNS, cells, count);
    for (i = 0; i < count * 2; i++)
        free(kept[i]);
    return failed;
}

static int run_history(struct bl_cli *cli, void *data)
{
    const struct history_values *values = data;
    struct bl_image_documents documents;
    struct bl_error err = BL_ERROR_INIT;
    json_t *list;
    int code;

    if (!bl_cli_open(cli))
        return BL_EXIT_FAILURE;
    if (bl_images_documents(bl_runtime_images(cli->runtime), cli->operands.list[0], &documents, &err))
        return bl_cli_fail(cli, &err);
    list = make_history(&documents);
    bl_image_documents_free(&documents);
    code = !values->format || !strcmp(values->format, "table") ? print_history(list, values->whole)
                                                               : print_formatted(cli, values->format, list);
    json_decref(list);
    return code < 0 ? bl_cli_fail_memory(cli) : code;
}

static const struct bl_option inspect_options[] = {
    {"format", 'f', BL_OPTION_TEXT, "FORMAT", "json (default), yaml, or a template as in '{{.Id}}'",
     offsetof(struct inspect_values, format)},
    {NULL},
};

static const struct bl_option history_options[] = {
    {"format", 0, BL_OPTION_CHOICE, "table|json|yaml", "How to print it (default table)", offsetof(struct history_values, format),
     .choices = "table|json|yaml"},
    {"no-trunc", 0, BL_OPTION_FLAG, NULL, "Do not shorten what a step did", offsetof(struct history_values, whole)},
    {NULL},
};

const struct bl_command bl_command_image_inspect = {
    .name = "image inspect",
    .aliases = {"images inspect"},
    .summary = "Show all that is known of images",
    .usage = "[OPTIONS] IMAGE...",
    .example = "boxlite image inspect -f '{{.Config.Env}}' busybox",
    .options = inspect_options,
    .values_bytes = sizeof(struct inspect_values),
    .least_operands = 1,
    .most_operands = -1,
    .operands = "IMAGE",
    .run = run_inspect,
};

const struct bl_command bl_command_image_history = {
    .name = "image history",
    .aliases = {"images history", "history"},
    .summary = "Show how an image was made",
    .usage = "[OPTIONS] IMAGE",
    .about = "Sizes are those of the layers in the registry; 0 when the image came out of an archive.",
    .example = "boxlite image history alpine",
    .options = history_options,
    .values_bytes = sizeof(struct history_values),
    .least_operands = 1,
    .most_operands = 1,
    .operands = "IMAGE",
    .run = run_history,
};
