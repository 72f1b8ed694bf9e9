/* SPDX-License-Identifier: Apache-2.0 */
/* output_log.c - writing the CRI format; see output_log.h */
#include "shim/output_log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"

/* Lines of one call gather up to here before they are written: a little more than a window of output takes. */
#define LINES_MAX (1u << 20)

static int open_file(struct bl_output_log *log)
{
    struct stat now;

    log->fd = openat(log->dir_fd, log->name, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (log->fd < 0)
        return -1;
    log->written = fstat(log->fd, &now) == 0 && now.st_size > 0 ? (size_t)now.st_size : 0;
    return 0;
}

int bl_output_log_open(struct bl_output_log *log, int dir_fd, const char *name, size_t max)
{
    *log = (struct bl_output_log){.dir_fd = dir_fd, .fd = -1, .max = max, .lines = BL_BUFFER_INIT(LINES_MAX)};
    for (int i = 0; i < BL_CHANNEL_COUNT; i++)
        log->parts[i] = (struct bl_buffer)BL_BUFFER_INIT(BL_OUTPUT_LINE_MAX);
    snprintf(log->name, sizeof log->name, "%s", name);
    return open_file(log);
}

static void give_up(struct bl_output_log *log, const char *what)
{
    bl_log(BL_LOG_ERROR, "%s %s: %s; the workload's output is not logged any more", what, log->name, strerror(errno));
    bl_close_fd(&log->fd);
}

static void rotate(struct bl_output_log *log)
{
    char older[sizeof log->name + 2];

    snprintf(older, sizeof older, "%s.1", log->name);
    bl_close_fd(&log->fd);
    if (renameat(log->dir_fd, log->name, log->dir_fd, older) < 0 || open_file(log) < 0)
        give_up(log, "rotate");
}

static void write_lines(struct bl_output_log *log)
{
    if (log->fd >= 0 && log->lines.length && log->written + log->lines.length > log->max && log->written)
        rotate(log);
    if (log->fd >= 0 && bl_write_all(log->fd, bl_buffer_data(&log->lines), log->lines.length) < 0)
        give_up(log, "write");
    log->written += log->lines.length;
    bl_buffer_clear(&log->lines);
}

/* add_line() - Format one entry: what was kept of the line, and @bytes. */
static void add_line(struct bl_output_log *log, enum bl_channel channel, bool whole, const void *bytes, size_t length)
{
    struct bl_buffer *part = &log->parts[channel];
    char head[64];
    struct timespec now;
    struct tm utc;
    size_t at;

    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    at = strftime(head, sizeof head, "%Y-%m-%dT%H:%M:%S", &utc);
    at += (size_t)snprintf(head + at, sizeof head - at, ".%09ldZ %s %c ", now.tv_nsec,
                           channel == BL_CHANNEL_STDERR ? "stderr" : "stdout", whole ? 'F' : 'P');
    if (at + part->length + length + 1 > bl_buffer_room(&log->lines))
        write_lines(log);
    if (bl_buffer_append(&log->lines, head, at) < 0 || bl_buffer_append(&log->lines, bl_buffer_data(part), part->length) < 0 ||
        bl_buffer_append(&log->lines, bytes, length) < 0 || bl_buffer_append(&log->lines, "\n", 1) < 0) {
        errno = ENOMEM;
        give_up(log, "write");
    }
    bl_buffer_clear(part);
}

void bl_output_log_add(struct bl_output_log *log, enum bl_channel channel, const void *bytes, size_t length)
{
    const uint8_t *at = bytes;

    while (length && log->fd >= 0) {
        struct bl_buffer *part = &log->parts[channel];
        size_t room = bl_buffer_room(part);
        const uint8_t *end = memchr(at, '\n', length < room + 1 ? length : room + 1);
        size_t take = end ? (size_t)(end - at) : length < room ? length : room;

        if (end || take == room)
            add_line(log, channel, end != NULL, at, take);
        else if (bl_buffer_append(part, at, take) < 0)
            return;
        at += take + (end != NULL);
        length -= take + (end != NULL);
    }
    if (log->lines.length)
        write_lines(log);
}

void bl_output_log_end(struct bl_output_log *log)
{
    for (int i = BL_CHANNEL_STDOUT; i < BL_CHANNEL_COUNT && log->fd >= 0; i++)
        if (log->parts[i].length)
            add_line(log, (enum bl_channel)i, false, NULL, 0);
    write_lines(log);
}

void bl_output_log_close(struct bl_output_log *log)
{
    bl_output_log_end(log);
    bl_close_fd(&log->fd);
    bl_buffer_free(&log->lines);
    for (int i = 0; i < BL_CHANNEL_COUNT; i++)
        bl_buffer_free(&log->parts[i]);
}
