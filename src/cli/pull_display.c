/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pull_display.c - drawing a pull; see pull_display.h
 *
 * On a terminal the lines are drawn over each time, from the first; when there are more layers than rows, the finished and
 * the waiting ones give way to those that move. The lines go away at the end: what a command prints is its result.
 */
#include "cli/pull_display.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "cli/format.h"

#define ID_DIGITS 12
#define BAR_WIDTH 24

static const char *const state_names[] = {"waiting", "downloading", "verifying", "downloaded", "writing", "done"};

static const char *short_id(const char *digest)
{
    const char *colon = strchr(digest, ':');

    return colon ? colon + 1 : digest;
}

/* draw_bar() - "[=====>    ]" for a part of a whole. @bar: BAR_WIDTH + 3 bytes */
static void draw_bar(char *bar, uint64_t part, uint64_t whole)
{
    size_t filled = whole ? (size_t)((double)part / (double)whole * BAR_WIDTH) : BAR_WIDTH;

    if (filled > BAR_WIDTH)
        filled = BAR_WIDTH;
    memset(bar, ' ', BAR_WIDTH + 2);
    bar[0] = '[';
    memset(bar + 1, '=', filled);
    if (filled && filled < BAR_WIDTH)
        bar[filled] = '>';
    bar[BAR_WIDTH + 1] = ']';
    bar[BAR_WIDTH + 2] = '\0';
}

const char *bl_pull_line(char *line, size_t size, const struct bl_pull_layer *layer, unsigned int columns, uint64_t bytes_per_s)
{
    /* What is written while it comes is shown as coming: that is what it waits for. */
    bool coming = layer->state == BL_PULL_WRITING && layer->done_bytes < layer->total_bytes;
    enum bl_pull_state state = coming ? BL_PULL_DOWNLOADING : layer->state;
    uint64_t part = state == BL_PULL_WRITING ? layer->written_bytes : layer->done_bytes;
    char bar[BAR_WIDTH + 3], done[32], total[32], rate[32] = "";
    int length;

    draw_bar(bar, part, layer->total_bytes);
    if (state == BL_PULL_DOWNLOADING && bytes_per_s)
        snprintf(rate, sizeof rate, "  %s/s", bl_format_bytes(done, bytes_per_s));
    if (state == BL_PULL_WAITING || state == BL_PULL_DONE)
        length = snprintf(line, size, "%.*s  %-11s  %s", ID_DIGITS, short_id(layer->digest), state_names[state],
                          bl_format_bytes(total, layer->total_bytes));
    else
        length = snprintf(line, size, "%.*s  %-11s  %s  %s of %s%s", ID_DIGITS, short_id(layer->digest), state_names[state], bar,
                          bl_format_bytes(done, part), bl_format_bytes(total, layer->total_bytes), rate);
    /* A line that wraps would count as two when it is drawn over. */
    if (columns && length >= (int)columns && columns <= size)
        line[columns - 1] = '\0';
    return line;
}

static void erase(struct bl_pull_display *display)
{
    if (display->drawn)
        fprintf(display->out, "\033[%uA\r\033[J", display->drawn);
    display->drawn = 0;
}

/* rate_of() - Bytes a second since a layer's first byte came, what was here before left out. Return: 0: not known yet */
static uint64_t rate_of(struct bl_pull_display *display, size_t number, const struct bl_pull_layer *layer)
{
    struct bl_pull_mark *mark = number < display->mark_count ? &display->marks[number] : NULL;
    bool begun = layer->state != BL_PULL_WAITING && layer->done_bytes < layer->total_bytes;
    int64_t now = bl_now_us();

    if (mark && begun && !mark->begun_us)
        *mark = (struct bl_pull_mark){now, layer->done_bytes};
    if (!mark || !begun || now - mark->begun_us < 500000 || layer->done_bytes < mark->begun_bytes)
        return 0;
    return (uint64_t)((double)(layer->done_bytes - mark->begun_bytes) / ((double)(now - mark->begun_us) / 1e6));
}

static void draw(struct bl_pull_display *display, const struct bl_pull_progress *progress)
{
    unsigned int most = display->rows > 4 ? display->rows - 3 : 1, moving = 0, left;

    erase(display);
    if (!display->marks && progress->count) {
        display->marks = calloc(progress->count, sizeof *display->marks);
        display->mark_count = display->marks ? progress->count : 0;
    }
    for (size_t i = 0; i < progress->count; i++)
        moving += progress->layers[i].state != BL_PULL_WAITING && progress->layers[i].state != BL_PULL_DONE;
    left = most > moving ? most - moving : 0;
    for (size_t i = 0; i < progress->count && display->drawn < most; i++) {
        const struct bl_pull_layer *layer = &progress->layers[i];
        uint64_t rate = rate_of(display, i, layer);
        bool still = layer->state == BL_PULL_WAITING || layer->state == BL_PULL_DONE;
        char line[256];

        if (still && progress->count > most && !left)
            continue;
        left -= still && left;
        fprintf(display->out, "%s\n", bl_pull_line(line, sizeof line, layer, display->columns, rate));
        display->drawn++;
    }
    fflush(display->out);
}

/* print_plain() - A line for each layer that became complete, in order. */
static void print_plain(struct bl_pull_display *display, const struct bl_pull_progress *progress)
{
    char bytes[32];

    while (display->announced < progress->count && progress->layers[display->announced].state == BL_PULL_DONE) {
        const struct bl_pull_layer *layer = &progress->layers[display->announced++];

        fprintf(display->out, "layer %zu of %zu: %.*s, %s\n", display->announced, progress->count, ID_DIGITS,
                short_id(layer->digest), bl_format_bytes(bytes, layer->total_bytes));
    }
}

void bl_pull_display_show(const struct bl_pull_progress *progress, void *data)
{
    struct bl_pull_display *display = data;

    if (!display->headed) {
        fprintf(display->out, "Pulling %s\n", progress->reference);
        display->headed = true;
    }
    if (display->terminal)
        draw(display, progress);
    else
        print_plain(display, progress);
}

void bl_pull_display_end(struct bl_pull_display *display)
{
    if (display->terminal)
        erase(display);
    fflush(display->out);
    free(display->marks);
    display->marks = NULL;
    display->mark_count = 0;
}
