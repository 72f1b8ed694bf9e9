/* SPDX-License-Identifier: Apache-2.0 */
/*
 * template.c - the part of Go's templates that people use with --format
 *
 * An action is a pipeline of at most a value and `json`: {{.State.Pid}}, {{json .State}}, {{.State | json}}, {{"\n"}}. Field names
 * are the keys of the JSON output; as in Go, a name that is not there is an error and not an empty text, so a misspelled one is
 * noticed.
 */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/strings.h"
#include "cli/format.h"

#define NAME_BYTES_MAX 128

/* One expansion. `at` walks over the template. */
struct expansion {
    struct bl_buffer *out;
    const char *template;
    const char *at;
    const json_t *root;
    struct bl_error *err;
};

static int fail_at(const struct expansion *expansion, const char *what)
{
    return bl_fail(expansion->err, BL_INVALID_ARGUMENT, 0, "template: %s at character %zu of '%.200s'", what,
                   (size_t)(expansion->at - expansion->template) + 1, expansion->template);
}

static int append(struct expansion *expansion, const char *text, size_t length)
{
    return bl_buffer_append(expansion->out, text, length) < 0 ? bl_fail_memory(expansion->err) : 0;
}

static int append_json(struct expansion *expansion, const json_t *value)
{
    cleanup_free char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);

    return text ? append(expansion, text, strlen(text)) : bl_fail_memory(expansion->err);
}

/* append_value() - As Go prints it: {k:v k:v}, [a b], <nil> */
static int append_value(struct expansion *expansion, const json_t *value)
{
    if (json_is_string(value))
        return append(expansion, json_string_value(value), json_string_length(value));
    if (json_is_null(value))
        return append(expansion, "<nil>", 5);
    if (json_is_array(value)) {
        if (append(expansion, "[", 1) < 0)
            return -1;
        for (size_t i = 0; i < json_array_size(value); i++)
            if ((i && append(expansion, " ", 1) < 0) || append_value(expansion, json_array_get(value, i)) < 0)
                return -1;
        return append(expansion, "]", 1);
    }
    if (json_is_object(value)) {
        const char *key, *gap = "";
        json_t *member;

        if (append(expansion, "{", 1) < 0)
            return -1;
        json_object_foreach((json_t *)(uintptr_t)value, key, member)
        {
            if (append(expansion, gap, strlen(gap)) < 0 || append(expansion, key, strlen(key)) < 0 ||
                append(expansion, ":", 1) < 0 || append_value(expansion, member) < 0)
                return -1;
            gap = " ";
        }
        return append(expansion, "}", 1);
    }
    return append_json(expansion, value);
}

static void skip_space(struct expansion *expansion)
{
    expansion->at += strspn(expansion->at, " \t\r\n");
}

/* find_member() - A field by name; at the top, .ID is .Id and .ImageID is .Image */
static const json_t *find_member(const json_t *object, const char *name, bool top)
{
    const json_t *found = json_object_get(object, name);
    const char *key;
    json_t *member;

    if (found || !top)
        return found;
    json_object_foreach((json_t *)(uintptr_t)object, key, member) if (!strcasecmp(key, name)) return member;
    return !strcmp(name, "ImageID") ? json_object_get(object, "Image") : NULL;
}

/* parse_path() - ".", ".Name", ".State.Pid". Return: the value; NULL with the error set */
static const json_t *parse_path(struct expansion *expansion)
{
    const json_t *value = expansion->root;
    bool top = true;

    for (;;) {
        char name[NAME_BYTES_MAX];
        size_t length = 0;

        expansion->at++; /* the dot */
        while (isalnum((unsigned char)expansion->at[length]) || expansion->at[length] == '_')
            length++;
        if (length == 0 && top && expansion->at[0] != '.')
            return value;
        if (length == 0 || length >= sizeof name) {
            fail_at(expansion, "a field name is expected");
            return NULL;
        }
        memcpy(name, expansion->at, length);
        name[length] = '\0';
        value = find_member(value, name, top);
        if (!value) {
            bl_fail(expansion->err, BL_INVALID_ARGUMENT, 0, "template: there is no field '%s' in '%.200s'", name,
                    expansion->template);
            return NULL;
        }
        expansion->at += length;
        if (*expansion->at != '.')
            return value;
        top = false;
    }
}

/* parse_quoted() - "text" with Go's usual escapes, or `text`. Return: allocated; NULL with the error set */
static char *parse_quoted(struct expansion *expansion)
{
    static const char escapes[] = "n\nt\tr\r\"\"\\\\";
    char quote = *expansion->at++;
    char *text = malloc(strlen(expansion->at) + 1);
    size_t length = 0;

    if (!text) {
        bl_fail_memory(expansion->err);
        return NULL;
    }
    while (*expansion->at && *expansion->at != quote) {
        char c = *expansion->at++;

        if (c == '\\' && quote == '"') {
            const char *escape = *expansion->at ? strchr(escapes, *expansion->at) : NULL;

            if (!escape || (escape - escapes) % 2) {
                fail_at(expansion, "an unknown escape");
                free(text);
                return NULL;
            }
            c = escape[1];
            expansion->at++;
        }
        text[length++] = c;
    }
    text[length] = '\0';
    if (*expansion->at != quote) {
        fail_at(expansion, "a quote is not closed");
        free(text);
        return NULL;
    }
    expansion->at++;
    return text;
}

static bool take_word(struct expansion *expansion, const char *word)
{
    size_t length = strlen(word);

    if (strncmp(expansion->at, word, length) || isalnum((unsigned char)expansion->at[length]))
        return false;
    expansion->at += length;
    skip_space(expansion);
    return true;
}

/* expand_action() - What stands between {{ and }}; leaves `at` behind it */
static int expand_action(struct expansion *expansion)
{
    bool as_json = false;
    cleanup_free char *literal = NULL;
    const json_t *value = NULL;

    skip_space(expansion);
    if (take_word(expansion, "json"))
        as_json = true;
    if (*expansion->at == '"' || *expansion->at == '`') {
        literal = parse_quoted(expansion);
        if (!literal)
            return -1;
    } else if (*expansion->at == '.') {
        value = parse_path(expansion);
        if (!value)
            return -1;
    } else {
        return fail_at(expansion, *expansion->at ? "only fields, texts and 'json' are understood" : "'}}' is missing");
    }
    skip_space(expansion);
    if (!as_json && *expansion->at == '|') {
        expansion->at++;
        skip_space(expansion);
        if (!take_word(expansion, "json"))
            return fail_at(expansion, "only 'json' may follow '|'");
        as_json = true;
    }
    if (literal) {
        json_t *text = as_json ? bl_json_text(literal) : NULL;
        int result = as_json ? append_json(expansion, text) : append(expansion, literal, strlen(literal));

        json_decref(text);
        return result;
    }
    return as_json ? append_json(expansion, value) : append_value(expansion, value);
}

int bl_template_append(struct bl_buffer *out, const char *template, const json_t *value, struct bl_error *err)
{
    struct expansion expansion = {out, template, template, value, err};

    while (*expansion.at) {
        const char *open = strstr(expansion.at, "{{");
        size_t text = open ? (size_t)(open - expansion.at) : strlen(expansion.at);
        bool trims = open && open[2] == '-' && isspace((unsigned char)open[3]);

        while (trims && text > 0 && isspace((unsigned char)expansion.at[text - 1]))
            text--;
        if (append(&expansion, expansion.at, text) < 0)
            return -1;
        if (!open)
            break;
        expansion.at = open + (trims ? 3 : 2);
        if (expand_action(&expansion) < 0)
            return -1;
        skip_space(&expansion);
        trims = !strncmp(expansion.at, "-}}", 3);
        if (!trims && strncmp(expansion.at, "}}", 2) != 0)
            return fail_at(&expansion, "'}}' is expected");
        expansion.at += trims ? 3 : 2;
        if (trims)
            skip_space(&expansion);
    }
    return 0;
}
