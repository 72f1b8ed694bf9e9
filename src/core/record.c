/* SPDX-License-Identifier: Apache-2.0 */
/* record.c - a box's record as JSON; see record.h. What is not UTF-8 is kept too, as hexadecimal digits. */
#include "core/record.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/strings.h"

void bl_state_free(struct bl_state *state)
{
    free(state->reason);
    free(state->console);
    *state = (struct bl_state){0};
}

void bl_state_no_shim(struct bl_state *state)
{
    state->shim.pid = 0;
    state->shim.start_ticks = 0;
}

void bl_record_free(struct bl_record *record)
{
    free(record->name);
    free(record->image);
    free(record->image_digest);
    free(record->engine);
    free(record->kernel);
    bl_strings_free(record->command);
    bl_strings_free(record->env);
    bl_strings_free(record->cap_add);
    bl_strings_free(record->cap_drop);
    free(record->workdir);
    free(record->user);
    bl_state_free(&record->state);
    *record = (struct bl_record){0};
}

/* text_to_json() - A text as a string or, when it is not UTF-8, as {"hex": "..."}; NULL as null. */
static json_t *text_to_json(const char *text)
{
    static const char digits[] = "0123456789abcdef";
    json_t *string = text ? json_string(text) : json_null();

    if (string || !text)
        return string;

    size_t length = strlen(text);
    cleanup_free char *hex = malloc(2 * length + 1);

    if (!hex)
        return NULL;
    for (size_t i = 0; i < length; i++) {
        hex[2 * i] = digits[(unsigned char)text[i] >> 4];
        hex[2 * i + 1] = digits[text[i] & 15];
    }
    hex[2 * length] = '\0';
    return json_pack("{s:s}", "hex", hex);
}

static int hex_digit(char digit)
{
    return digit >= '0' && digit <= '9' ? digit - '0' : digit >= 'a' && digit <= 'f' ? digit - 'a' + 10 : -1;
}

/* json_to_text() - The way back. Return: 0, *@out allocated or NULL for null; -1 when it is no text, or memory ran out */
static int json_to_text(const json_t *json, char **out)
{
    const char *hex = json_string_value(json_object_get(json, "hex"));
    size_t length = hex ? strlen(hex) : 0;

    *out = NULL;
    if (!json || json_is_null(json))
        return 0;
    if (!hex) {
        *out = json_is_string(json) ? strdup(json_string_value(json)) : NULL;
        return *out ? 0 : -1;
    }
    if (length % 2 || !(*out = calloc(1, length / 2 + 1)))
        return -1;
    for (size_t i = 0; i < length; i += 2) {
        int high = hex_digit(hex[i]), low = hex_digit(hex[i + 1]);

        if (high < 0 || low < 0)
            return -1;
        (*out)[i / 2] = (char)(high << 4 | low);
    }
    return 0;
}

static json_t *list_to_json(char **list)
{
    json_t *array = json_array();

    for (char **item = list; array && item && *item; item++) {
        if (json_array_append_new(array, text_to_json(*item)) < 0) {
            json_decref(array);
            return NULL;
        }
    }
    return array;
}

/* json_to_list() - The way back of list_to_json(). Return: 0; -1 when it is no list of texts, or memory ran out */
static int json_to_list(const json_t *array, char ***out)
{
    size_t index;
    json_t *item;

    *out = bl_strings_copy(NULL);
    if (!*out || !json_is_array(array))
        return -1;
    json_array_foreach(array, index, item)
    {
        cleanup_free char *text = NULL;

        if (json_to_text(item, &text) < 0 || !text || bl_strings_append(out, text) < 0)
            return -1;
    }
    return 0;
}

char *bl_record_encode(const struct bl_record *record)
{
    json_t *json =
        json_pack("{s:o, s:s?, s:s, s:o, s:o, s:o, s:o, s:o, s:I, s:I, s:I, s:I, s:b, s:b, s:b, s:b, s:I, s:o, s:o, s:b}", "image",
                  text_to_json(record->image), "image_digest", record->image_digest, "engine", record->engine, "kernel",
                  text_to_json(record->kernel), "command", list_to_json(record->command), "env", list_to_json(record->env),
                  "workdir", text_to_json(record->workdir), "user", text_to_json(record->user), "stop_signal",
                  (json_int_t)record->stop_signal, "cpus", (json_int_t)record->cpus, "memory_mib", (json_int_t)record->memory_mib,
                  "disk_bytes", (json_int_t)record->disk_bytes, "tty", record->tty, "open_stdin", record->open_stdin, "detach",
                  record->detach, "auto_remove", record->auto_remove, "create_ms", (json_int_t)record->create_ms, "cap_add",
                  list_to_json(record->cap_add), "cap_drop", list_to_json(record->cap_drop), "security", !record->unconfined);
    char restart[BL_RESTART_TEXT_MAX];
    int failed = json ? json_object_set_new(json, "restart", json_string(bl_restart_format(&record->restart, restart))) : -1;

    failed |= json_object_set_new(json, "auto_resume", json_boolean(!record->no_auto_resume));
    failed |= json_object_set_new(json, "auto_stop_ms", json_integer(record->auto_stop_ms));
    failed |= json_object_set_new(json, "auto_delete_ms", json_integer(record->auto_delete_ms));

    char *text = failed ? NULL : json_dumps(json, JSON_COMPACT);

    json_decref(json);
    return text;
}

/* damaged() - A record that can't be read. Return: -1 */
static int damaged(const struct bl_record *record, const char *detail, struct bl_error *err)
{
    if (errno == ENOMEM)
        return bl_fail_memory(err);
    return bl_fail(err, BL_METADATA, 0, "the record of box %s is damaged%s%s", record->id, *detail ? ": " : "", detail);
}

int bl_record_decode(const char *text, struct bl_record *record, struct bl_error *err)
{
    json_error_t problem;
    json_t *json = (errno = 0, json_loads(text, 0, &problem));
    json_int_t stop_signal, cpus, memory, disk;
    int tty, open_stdin, detach, auto_remove;

    if (!json || json_unpack_ex(json, &problem, 0, "{s:I, s:I, s:I, s:I, s:b, s:b, s:b, s:b}", "stop_signal", &stop_signal, "cpus",
                                &cpus, "memory_mib", &memory, "disk_bytes", &disk, "tty", &tty, "open_stdin", &open_stdin, "detach",
                                &detach, "auto_remove", &auto_remove) < 0) {
        json_decref(json);
        return damaged(record, problem.text, err);
    }
    record->stop_signal = (unsigned int)stop_signal;
    record->cpus = (unsigned int)cpus;
    record->memory_mib = (unsigned int)memory;
    record->disk_bytes = (uint64_t)disk;
    record->tty = tty;
    record->open_stdin = open_stdin;
    record->detach = detach;
    record->auto_remove = auto_remove;
    record->create_ms = json_integer_value(json_object_get(json, "create_ms"));
    record->auto_stop_ms = json_integer_value(json_object_get(json, "auto_stop_ms"));
    record->auto_delete_ms = json_integer_value(json_object_get(json, "auto_delete_ms"));

    /* A record of a version without restart policies has none. */
    const char *restart = json_string_value(json_object_get(json, "restart"));
    bool strange = restart && bl_restart_parse(restart, &record->restart) < 0;

    const struct {
        const char *key;
        char **text;
    } texts[] = {{"image", &record->image},   {"image_digest", &record->image_digest}, {"engine", &record->engine},
                 {"kernel", &record->kernel}, {"workdir", &record->workdir},           {"user", &record->user}};
    int failed = strange || json_to_list(json_object_get(json, "command"), &record->command) < 0 ||
                 json_to_list(json_object_get(json, "env"), &record->env) < 0;

    /* What records of the first schema do not have. */
    const struct {
        const json_t *json;
        char ***list;
    } newer[] = {{json_object_get(json, "cap_add"), &record->cap_add}, {json_object_get(json, "cap_drop"), &record->cap_drop}};

    for (size_t i = 0; i < sizeof newer / sizeof *newer && !failed; i++)
        failed = newer[i].json ? json_to_list(newer[i].json, newer[i].list) : !(*newer[i].list = bl_strings_copy(NULL));
    record->unconfined = json_is_false(json_object_get(json, "security"));
    record->no_auto_resume = json_is_false(json_object_get(json, "auto_resume"));
    for (size_t i = 0; i < sizeof texts / sizeof *texts && !failed; i++)
        failed = json_to_text(json_object_get(json, texts[i].key), texts[i].text) < 0;
    json_decref(json);
    if (failed || !record->image || !record->engine)
        return damaged(record, "", err);
    return 0;
}
