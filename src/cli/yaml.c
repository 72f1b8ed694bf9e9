/* SPDX-License-Identifier: Apache-2.0 */
/*
 * yaml.c - JSON values as YAML, and as JSON text
 *
 * Block style: two spaces a level, list items at their parent's indentation. A string stands plain only when every reader takes
 * it for that very string: it begins with a letter, "/", "_" or "." and has none of YAML's marks, and it is no word or number of
 * YAML 1.1 or 1.2. All others are double-quoted with JSON's escapes, which YAML shares.
 */
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/strings.h"
#include "cli/format.h"

static int append_text(struct bl_buffer *out, const char *text)
{
    return bl_buffer_append(out, text, strlen(text));
}

static int append_spaces(struct bl_buffer *out, int count)
{
    for (int i = 0; i < count; i++)
        if (append_text(out, " ") < 0)
            return -1;
    return 0;
}

/* is_plain() - Whether a string means itself without quotes */
static bool is_plain(const char *text, size_t length)
{
    static const char *const words[] = {"true", "false", "yes", "no", "on", "off", "y", "n", "null", ".nan", ".inf"};

    if (length == 0 || strlen(text) != length)
        return false;
    if (!((*text >= 'a' && *text <= 'z') || (*text >= 'A' && *text <= 'Z') || *text == '/' || *text == '_' || *text == '.'))
        return false;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (!strcasecmp(words[i], text))
            return false;
    /* ".5" is a number. */
    if (*text == '.' && strspn(text, ".0123456789eE+-_") == length)
        return false;
    for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
        bool ok = *p > 0x20 && *p < 0x7f && !strchr("\"'`\\#,[]{}&*!|>%@?", *p);

        if (*p == ' ')
            ok = p[1] != '\0' && p[1] != ' ';
        if (*p == ':')
            ok = p[1] != '\0' && p[1] != ' ';
        if (!ok)
            return false;
    }
    return true;
}

static int append_scalar(struct bl_buffer *out, const json_t *value)
{
    if (json_is_string(value) && is_plain(json_string_value(value), json_string_length(value)))
        return append_text(out, json_string_value(value));

    cleanup_free char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(15));

    return text ? append_text(out, text) : -1;
}

static bool is_block(const json_t *value)
{
    return (json_is_object(value) && json_object_size(value) > 0) || (json_is_array(value) && json_array_size(value) > 0);
}

static int append_block(struct bl_buffer *out, const json_t *value, int indent, bool at_line_start);

/* append_member() - What stands behind "key:" */
static int append_member(struct bl_buffer *out, const json_t *value, int indent)
{
    if (is_block(value))
        return append_text(out, "\n") < 0 ? -1 : append_block(out, value, json_is_array(value) ? indent : indent + 2, true);
    return append_text(out, " ") < 0 || append_scalar(out, value) < 0 || append_text(out, "\n") < 0 ? -1 : 0;
}

static int append_object(struct bl_buffer *out, const json_t *value, int indent, bool at_line_start)
{
    const char *key;
    json_t *member;

    json_object_foreach((json_t *)(uintptr_t)value, key, member)
    {
        json_t *name = json_string(key);
        int failed = name == NULL || (at_line_start && append_spaces(out, indent) < 0) || append_scalar(out, name) < 0 ||
                     append_text(out, ":") < 0 || append_member(out, member, indent) < 0;

        json_decref(name);
        if (failed)
            return -1;
        at_line_start = true;
    }
    return 0;
}

static int append_array(struct bl_buffer *out, const json_t *value, int indent, bool at_line_start)
{
    for (size_t i = 0; i < json_array_size(value); i++) {
        const json_t *item = json_array_get(value, i);

        if ((at_line_start && append_spaces(out, indent) < 0) || append_text(out, "- ") < 0)
            return -1;
        if (is_block(item) ? append_block(out, item, indent + 2, false) < 0
                           : append_scalar(out, item) < 0 || append_text(out, "\n") < 0)
            return -1;
        at_line_start = true;
    }
    return 0;
}

static int append_block(struct bl_buffer *out, const json_t *value, int indent, bool at_line_start)
{
    return json_is_object(value) ? append_object(out, value, indent, at_line_start)
                                 : append_array(out, value, indent, at_line_start);
}

int bl_yaml_append(struct bl_buffer *out, const json_t *value)
{
    if (is_block(value))
        return append_block(out, value, 0, true);
    return append_scalar(out, value) < 0 || append_text(out, "\n") < 0 ? -1 : 0;
}

void bl_yaml_print(FILE *out, const json_t *value)
{
    cleanup_buffer struct bl_buffer text = BL_BUFFER_INIT(BL_FORMAT_BYTES_MAX);

    if (bl_yaml_append(&text, value) == 0)
        fwrite(bl_buffer_data(&text), 1, text.length, out);
}

void bl_json_print(FILE *out, const json_t *value)
{
    json_dumpf(value, out, JSON_INDENT(2) | JSON_ENCODE_ANY);
    fputc('\n', out);
}

json_t *bl_json_text(const char *text)
{
    if (!text)
        return json_null();

    json_t *value = json_string(text);

    if (value || !text)
        return value;

    cleanup_free char *copy = strdup(text);

    for (char *p = copy; p && *p; p++)
        if ((unsigned char)*p >= 0x80)
            *p = '?';
    return copy ? json_string(copy) : NULL;
}
