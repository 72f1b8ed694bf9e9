/* SPDX-License-Identifier: Apache-2.0 */
/* strings.c - lists of strings; see strings.h */
#include "base/strings.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

size_t bl_strings_count(const char *const *list)
{
    size_t count = 0;

    while (list && list[count])
        count++;
    return count;
}

int bl_strings_append(char ***list, const char *text)
{
    size_t count = bl_strings_count((const char *const *)*list);
    char *copy = strdup(text);

    if (!copy)
        return -1;

    char **grown = realloc(*list, (count + 2) * sizeof *grown);

    if (!grown) {
        free(copy);
        return -1;
    }
    grown[count] = copy;
    grown[count + 1] = NULL;
    *list = grown;
    return 0;
}

char **bl_strings_copy(const char *const *list)
{
    size_t count = bl_strings_count(list);
    char **copy = calloc(count + 1, sizeof *copy);

    for (size_t i = 0; copy && i < count; i++) {
        copy[i] = strdup(list[i]);
        if (!copy[i]) {
            bl_strings_free(copy);
            return NULL;
        }
    }
    return copy;
}

/* key_length() - Length of the key in KEY=value, or of all when there is no '='. */
static size_t key_length(const char *entry)
{
    return strcspn(entry, "=");
}

int bl_strings_set_env(char ***list, const char *key_and_value)
{
    size_t length = key_length(key_and_value);

    for (char **entry = *list; entry && *entry; entry++) {
        if (key_length(*entry) != length || strncmp(*entry, key_and_value, length) != 0)
            continue;

        char *copy = strdup(key_and_value);

        if (!copy)
            return -1;
        free(*entry);
        *entry = copy;
        return 0;
    }
    return bl_strings_append(list, key_and_value);
}

const char *bl_strings_get_env(const char *const *list, const char *key)
{
    size_t length = strlen(key);

    for (; list && *list; list++)
        if (key_length(*list) == length && strncmp(*list, key, length) == 0 && (*list)[length] == '=')
            return *list + length + 1;
    return NULL;
}

void bl_strings_free(char **list)
{
    for (char **entry = list; entry && *entry; entry++)
        free(*entry);
    free(list);
}

char *bl_format(const char *fmt, ...)
{
    char *text = NULL;
    va_list args;

    va_start(args, fmt);
    if (vasprintf(&text, fmt, args) < 0)
        text = NULL;
    va_end(args);
    return text;
}

bool bl_starts_with(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

int bl_parse_number(const char *text, long long least, long long most, long long *out)
{
    if (!text || (*text != '-' && (*text < '0' || *text > '9')))
        return -1;

    char *end = NULL;
    int saved = errno;

    errno = 0;

    long long value = strtoll(text, &end, 10);
    int failed = errno;

    errno = saved;
    if (failed || end == text || *end || value < least || value > most)
        return -1;
    *out = value;
    return 0;
}
