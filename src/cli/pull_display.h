/* SPDX-License-Identifier: Apache-2.0 */
/* pull_display.h - how a pull looks: lines with bars on a terminal, plain lines elsewhere */
#ifndef BL_CLI_PULL_DISPLAY_H
#define BL_CLI_PULL_DISPLAY_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "image/image.h"

/* When a layer's first byte of this pull came, and what was here before it. */
struct bl_pull_mark {
    int64_t begun_us; /* 0: not yet */
    uint64_t begun_bytes;
};

struct bl_pull_display {
    FILE *out;
    bool terminal;
    unsigned int rows, columns; /* of the terminal */
    unsigned int drawn;         /* lines that stand there and are drawn over */
    size_t announced;           /* layers whose plain line was printed */
    struct bl_pull_mark *marks; /* of the terminal's layers; freed by bl_pull_display_end() */
    size_t mark_count;
    bool headed;
};

/* bl_pull_display_show() - Show a state; the progress function of a pull. @data: a struct bl_pull_display */
void bl_pull_display_show(const struct bl_pull_progress *progress, void *data);
/* bl_pull_display_end() - Leave the screen as if nothing had been drawn. */
void bl_pull_display_end(struct bl_pull_display *display);

/* bl_pull_line() - One layer as a line without its end, at most @columns wide. Return: @line */
const char *bl_pull_line(char *line, size_t size, const struct bl_pull_layer *layer, unsigned int columns, uint64_t bytes_per_s);

#endif
