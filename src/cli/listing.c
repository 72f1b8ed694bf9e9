/* SPDX-License-Identifier: Apache-2.0 */
/* listing.c - lists of boxes, of images: the same rows as ids, a table, JSON or YAML; see format.h */
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "cli/cli.h"
#include "cli/format.h"

static const void *row_at(const struct bl_listing *listing, const void *rows, size_t index)
{
    return (const char *)rows + index * listing->row_bytes;
}

static int print_table(const struct bl_listing *listing, const void *rows, size_t count)
{
    cleanup_free const char **cells = calloc(count * listing->columns + 1, sizeof *cells);

    if (!cells)
        return -1;
    for (size_t i = 0; i < count; i++)
        listing->cells(row_at(listing, rows, i), cells + i * listing->columns);
    return bl_table_print(stdout, listing->header, listing->columns, cells, count);
}

int bl_listing_print(const struct bl_listing *listing, const void *rows, size_t count, const char *format, bool quiet)
{
    if (quiet) {
        for (size_t i = 0; i < count; i++)
            puts(listing->id(row_at(listing, rows, i)));
        return 0;
    }
    if (!format || !strcmp(format, "table"))
        return print_table(listing, rows, count);

    json_t *array = json_array();

    for (size_t i = 0; i < count; i++)
        json_array_append_new(array, listing->json(row_at(listing, rows, i)));
    if (!strcmp(format, "json"))
        bl_json_print(stdout, array);
    else
        bl_yaml_print(stdout, array);
    json_decref(array);
    return 0;
}
