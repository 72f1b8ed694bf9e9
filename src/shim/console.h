/* SPDX-License-Identifier: Apache-2.0 */
/* console.h - the guest's console: a bounded log, and its end in memory for reports */
#ifndef BL_SHIM_CONSOLE_H
#define BL_SHIM_CONSOLE_H

#include <stddef.h>

#include "base/loop.h"

#define BL_CONSOLE_TAIL_BYTES 8192
#define BL_CONSOLE_LOG_MAX    (4u << 20) /* bytes; when they are reached the log begins anew */

struct bl_console {
    struct bl_source source; /* the socket is owned */
    int log_fd;              /* -1: none */
    size_t logged;
    char tail[BL_CONSOLE_TAIL_BYTES + 1]; /* the last bytes, without NULs */
    size_t tail_length;
};

/* bl_console_init() - Watch a socket. @log_fd: taken; -1: none. Return: 0; -1 with errno, the descriptors are closed */
int bl_console_init(struct bl_console *console, struct bl_loop *loop, int fd, int log_fd);
/* bl_console_drain() - Read what is there. */
void bl_console_drain(struct bl_console *console);
/* bl_console_add() - Take bytes as if the guest had written them. */
void bl_console_add(struct bl_console *console, const char *bytes, size_t length);
/* bl_console_tail() - The console's end, NUL-terminated; valid until the next read. */
const char *bl_console_tail(const struct bl_console *console);
/* bl_console_last_line() - The last line that says something, printable. */
void bl_console_last_line(const struct bl_console *console, char *out, size_t size);
void bl_console_finish(struct bl_console *console);

#endif
