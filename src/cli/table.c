/* SPDX-License-Identifier: Apache-2.0 */
/* table.c - tables, times and sizes for people; see format.h */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "cli/format.h"

/* width_of() - Columns that a cell takes: code points, which is right for all but wide and combining characters */
static size_t width_of(const char *text)
{
    size_t width = 0;

    for (; *text; text++)
        width += ((unsigned char)*text & 0xc0) != 0x80;
    return width;
}

static void print_line(FILE *out, const size_t *widths, size_t columns, const char *left, const char *between, const char *right)
{
    fputs(left, out);
    for (size_t column = 0; column < columns; column++) {
        for (size_t i = 0; i < widths[column] + 2; i++)
            fputs("─", out);
        fputs(column + 1 < columns ? between : right, out);
    }
    fputc('\n', out);
}

static void print_row(FILE *out, const size_t *widths, size_t columns, const char *const *cells)
{
    for (size_t column = 0; column < columns; column++) {
        fputs("│ ", out);
        /* A cell must not move the cursor, whoever made its text. */
        for (const unsigned char *p = (const unsigned char *)cells[column]; *p; p++)
            fputc(*p < 0x20 || *p == 0x7f ? '?' : *p, out);
        fprintf(out, "%*s ", (int)(widths[column] - width_of(cells[column])), "");
    }
    fputs("│\n", out);
}

int bl_table_print(FILE *out, const char *const *header, size_t columns, const char *const *cells, size_t rows)
{
    cleanup_free size_t *widths = calloc(columns, sizeof *widths);

    if (!widths)
        return -1;
    for (size_t column = 0; column < columns; column++) {
        widths[column] = width_of(header[column]);
        for (size_t row = 0; row < rows; row++) {
            size_t width = width_of(cells[row * columns + column]);

            if (width > widths[column])
                widths[column] = width;
        }
    }
    print_line(out, widths, columns, "┌", "┬", "┐");
    print_row(out, widths, columns, header);
    if (rows)
        print_line(out, widths, columns, "├", "┼", "┤");
    for (size_t row = 0; row < rows; row++)
        print_row(out, widths, columns, cells + row * columns);
    print_line(out, widths, columns, "└", "┴", "┘");
    return 0;
}

const char *bl_format_time(char *text, int64_t seconds)
{
    struct tm parts;
    time_t moment = (time_t)seconds;

    text[0] = '\0';
    if (seconds != 0 && gmtime_r(&moment, &parts))
        strftime(text, 32, "%Y-%m-%d %H:%M:%S UTC", &parts);
    return text;
}

json_t *bl_json_time(int64_t ms)
{
    char date[40], text[64];
    struct tm parts;
    time_t moment = (time_t)(ms / 1000);

    if (ms <= 0 || !gmtime_r(&moment, &parts))
        return json_null();
    strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%S", &parts);
    snprintf(text, sizeof text, "%s.%03dZ", date, (int)(ms % 1000));
    return json_string(text);
}

const char *bl_format_bytes(char *text, uint64_t bytes)
{
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB", "PB", "EB"};
    double value = (double)bytes;
    size_t unit = 0;

    while (value >= 999.95 && unit + 1 < sizeof units / sizeof *units) {
        value /= 1000;
        unit++;
    }
    snprintf(text, 32, unit ? "%.1f %s" : "%.0f %s", value, units[unit]);
    return text;
}
