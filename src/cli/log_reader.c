/* SPDX-License-Identifier: Apache-2.0 */
/*
 * log_reader.c - from log lines to what was said
 *
 * The output log has the Kubernetes form, "<time> stdout|stderr F|P <text>": F ends a line, P goes on. A line that is not of that
 * form (a log that was cut by a crash) is printed as it is.
 */
#include <string.h>

#include "cli/logs.h"

/* print_text() - Some bytes of the log's text; @ends: a newline belongs behind them */
static void print_text(struct bl_log_reader *reader, FILE *out, const char *text, size_t length, bool ends)
{
    if (!reader->counting && reader->lines >= reader->skip) {
        fwrite(text, 1, length, out);
        if (ends)
            fputc('\n', out);
    }
    reader->lines += ends;
}

/* take_line() - One line of the file, without its newline */
static void take_line(struct bl_log_reader *reader, const char *line, size_t length)
{
    const char *time_end = reader->raw ? NULL : memchr(line, ' ', length);
    size_t left = time_end ? length - (size_t)(time_end + 1 - line) : 0;
    bool is_out, is_err;

    if (reader->raw || left < strlen("stdout F ")) {
        print_text(reader, reader->out, line, length, true);
        return;
    }
    is_out = !memcmp(time_end + 1, "stdout ", 7);
    is_err = !memcmp(time_end + 1, "stderr ", 7);
    if ((!is_out && !is_err) || (time_end[8] != 'F' && time_end[8] != 'P') || time_end[9] != ' ') {
        print_text(reader, reader->out, line, length, true);
        return;
    }
    print_text(reader, is_out ? reader->out : reader->err, time_end + 10, left - 9, time_end[8] == 'F');
}

int bl_log_reader_feed(struct bl_log_reader *reader, const void *bytes, size_t length)
{
    const char *at = bytes, *end = at + length;

    while (at < end) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        size_t piece = (size_t)((newline ? newline : end) - at);

        if (newline && reader->rest.length == 0) {
            take_line(reader, at, piece);
        } else {
            if (bl_buffer_append(&reader->rest, at, piece) < 0)
                return -1;
            if (newline || reader->rest.length >= BL_LOG_LINE_MAX) {
                take_line(reader, (const char *)bl_buffer_data(&reader->rest), reader->rest.length);
                bl_buffer_clear(&reader->rest);
            }
        }
        at += piece + (newline != NULL);
    }
    return 0;
}

void bl_log_reader_end(struct bl_log_reader *reader)
{
    if (reader->rest.length && reader->raw)
        print_text(reader, reader->out, (const char *)bl_buffer_data(&reader->rest), reader->rest.length, false);
    else if (reader->rest.length)
        take_line(reader, (const char *)bl_buffer_data(&reader->rest), reader->rest.length);
    bl_buffer_free(&reader->rest);
}
