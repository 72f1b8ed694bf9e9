/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sink.h - writing to and reading from descriptors that are shared with others, without ever blocking
 *
 * Standard input and output belong to the caller too: O_NONBLOCK on them would also change the shell's and every other
 * program's view of that terminal or pipe, even after our end. So each is opened once more through /proc/self/fd (a
 * description of our own, which may be non-blocking) where the kernel allows it. What can't be opened again: sockets are
 * written with MSG_DONTWAIT; regular files never block; the rest is written in pieces of PIPE_BUF after poll() has said that
 * there is room, which pipes promise to take at once.
 */
#ifndef BL_CLI_SINK_H
#define BL_CLI_SINK_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/buffer.h"

enum bl_endpoint_kind { BL_ENDPOINT_OWN, BL_ENDPOINT_FILE, BL_ENDPOINT_SOCKET, BL_ENDPOINT_SHARED };

struct bl_endpoint {
    int fd; /* to poll, read and write; -1: closed */
    enum bl_endpoint_kind kind;
    bool owned; /* fd is ours to close */
};

/* bl_endpoint_open() - Prepare standard input, output or error. @writing: for output */
void bl_endpoint_open(struct bl_endpoint *endpoint, int fd, bool writing);
void bl_endpoint_close(struct bl_endpoint *endpoint);
/* bl_endpoint_write() - Write some. @ready: poll() has just said POLLOUT. Return: bytes; 0: not now; -1 with errno */
ssize_t bl_endpoint_write(const struct bl_endpoint *endpoint, const void *bytes, size_t length, bool ready);
/* bl_endpoint_read() - Read some after POLLIN. Return: bytes; 0: the end; -1 with errno (EAGAIN: not now) */
ssize_t bl_endpoint_read(const struct bl_endpoint *endpoint, void *bytes, size_t length);

#endif
