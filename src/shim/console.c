/* SPDX-License-Identifier: Apache-2.0 */
/* console.c - reading the guest's console; see console.h */
#include "shim/console.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"

static void keep_tail(struct bl_console *console, const char *bytes, size_t length)
{
    if (length > BL_CONSOLE_TAIL_BYTES) {
        bytes += length - BL_CONSOLE_TAIL_BYTES;
        length = BL_CONSOLE_TAIL_BYTES;
    }
    if (console->tail_length + length > BL_CONSOLE_TAIL_BYTES) {
        size_t excess = console->tail_length + length - BL_CONSOLE_TAIL_BYTES;

        memmove(console->tail, console->tail + excess, console->tail_length - excess);
        console->tail_length -= excess;
    }
    for (size_t i = 0; i < length; i++)
        console->tail[console->tail_length++] = bytes[i] ? bytes[i] : '?';
    console->tail[console->tail_length] = '\0';
}

static void write_log(struct bl_console *console, const char *bytes, size_t length)
{
    static const char again[] = "(earlier lines were dropped)\n";

    if (console->log_fd < 0)
        return;
    if (console->logged + length > BL_CONSOLE_LOG_MAX) {
        if (ftruncate(console->log_fd, 0) < 0 || lseek(console->log_fd, 0, SEEK_SET) < 0 ||
            bl_write_all(console->log_fd, again, sizeof again - 1) < 0)
            bl_close_fd(&console->log_fd);
        console->logged = sizeof again - 1;
    }
    if (console->log_fd >= 0 && bl_write_all(console->log_fd, bytes, length) < 0)
        bl_close_fd(&console->log_fd);
    console->logged += length;
}

void bl_console_add(struct bl_console *console, const char *bytes, size_t length)
{
    keep_tail(console, bytes, length);
    write_log(console, bytes, length);
}

/* read_some() - Return: whether there may be more */
static bool read_some(struct bl_console *console)
{
    char bytes[8192];
    ssize_t n = console->source.fd < 0 ? 0 : read(console->source.fd, bytes, sizeof bytes);

    if (n < 0 && errno == EINTR)
        return true;
    if (n < 0 && errno == EAGAIN)
        return false;
    if (n <= 0) {
        bl_source_remove(&console->source);
        bl_close_fd(&console->source.fd);
        return false;
    }
    bl_console_add(console, bytes, (size_t)n);
    return true;
}

static void on_console(struct bl_source *source, uint32_t events)
{
    (void)events;
    read_some(source->data); /* once: a guest that floods its console does not keep others waiting */
}

int bl_console_init(struct bl_console *console, struct bl_loop *loop, int fd, int log_fd)
{
    *console = (struct bl_console){
        .source = {.fd = fd, .events = EPOLLIN, .ready = on_console, .data = console},
        .log_fd = log_fd,
    };
    if (bl_set_nonblocking(fd) == 0 && bl_source_add(loop, &console->source) == 0)
        return 0;

    int saved = errno;

    bl_console_finish(console);
    errno = saved;
    return -1;
}

void bl_console_drain(struct bl_console *console)
{
    while (read_some(console))
        ;
}

const char *bl_console_tail(const struct bl_console *console)
{
    return console->tail;
}

void bl_console_last_line(const struct bl_console *console, char *out, size_t size)
{
    size_t end = console->tail_length, start, length = 0;

    while (end && (unsigned char)console->tail[end - 1] <= ' ')
        end--;
    for (start = end; start && console->tail[start - 1] != '\n';)
        start--;
    for (; start < end && length + 1 < size; start++)
        out[length++] = console->tail[start] >= ' ' && console->tail[start] < 0x7f ? console->tail[start] : '?';
    out[length] = '\0';
}

void bl_console_finish(struct bl_console *console)
{
    bl_source_remove(&console->source);
    bl_close_fd(&console->source.fd);
    bl_close_fd(&console->log_fd);
}
