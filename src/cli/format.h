/* SPDX-License-Identifier: Apache-2.0 */
/*
 * format.h - how results are shown: tables, JSON, YAML, templates
 *
 * Commands build one JSON value of what they know; the same value becomes JSON, YAML or the text of a template. Tables are for
 * people. Strings in it are printable UTF-8 (bl_json_text() makes them so), since names can come from hostile images.
 */
#ifndef BL_CLI_FORMAT_H
#define BL_CLI_FORMAT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/buffer.h"
#include "base/error.h"

#define BL_FORMAT_BYTES_MAX (64u << 20) /* of one formatted result */

/*
 * bl_table_print() - A table with lines around it; without rows the header alone in a closed box
 * @cells: @rows times @columns strings, row by row
 *
 * Return: 0; -1 when memory ran out, nothing printed
 */
int bl_table_print(FILE *out, const char *const *header, size_t columns, const char *const *cells, size_t rows);

/* How the rows of one kind of list are shown. */
struct bl_listing {
    const char *const *header;
    size_t columns;
    size_t row_bytes;                                   /* of the caller's struct of one row */
    const char *(*id)(const void *row);                 /* all that --quiet prints of it */
    void (*cells)(const void *row, const char **cells); /* its texts, one a column; they belong to the row */
    json_t *(*json)(const void *row);                   /* a new object */
};
/*
 * bl_listing_print() - Print rows as --quiet and --format ask
 * @format: table, json or yaml; NULL: table
 *
 * Return: 0; -1 when memory ran out
 */
int bl_listing_print(const struct bl_listing *listing, const void *rows, size_t count, const char *format, bool quiet);

/* bl_json_text() - A JSON string of any bytes: what is not UTF-8 becomes '?'; null for NULL. */
json_t *bl_json_text(const char *text);
/* bl_json_print() - Indented, with a newline. */
void bl_json_print(FILE *out, const json_t *value);
/* bl_yaml_append() - As YAML, strings quoted where YAML would read something else. Return: 0; -1 when memory ran out */
int bl_yaml_append(struct bl_buffer *out, const json_t *value);
void bl_yaml_print(FILE *out, const json_t *value);

/*
 * bl_template_append() - Expand a template over one value, a subset of Go's: text, {{.Path.To.Field}}, {{json .Path}},
 * {{.Path | json}}, string literals in double or back quotes, and {{- -}} trimming
 *
 * Names of the top level may be written in any case. A path that ends on an object prints {k:v k:v}.
 *
 * Return: 0; -1: BL_INVALID_ARGUMENT with the place that is wrong
 */
int bl_template_append(struct bl_buffer *out, const char *template, const json_t *value, struct bl_error *err);

/* bl_format_time() - "2026-01-31 09:30:00 UTC"; "" for 0. @text: at least 32 bytes. Return: @text */
const char *bl_format_time(char *text, int64_t seconds);
/* bl_json_time() - RFC 3339 with milliseconds; null for 0. */
json_t *bl_json_time(int64_t ms);
/* bl_format_bytes() - "190.2 MB". @text: at least 32 bytes. Return: @text */
const char *bl_format_bytes(char *text, uint64_t bytes);

#endif
