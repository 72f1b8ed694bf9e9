/* SPDX-License-Identifier: Apache-2.0 */
/* sink.c - see sink.h */
#include "cli/sink.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

void bl_endpoint_open(struct bl_endpoint *endpoint, int fd, bool writing)
{
    struct stat status;
    char path[32];

    *endpoint = (struct bl_endpoint){fd, BL_ENDPOINT_SHARED, false};
    if (fstat(fd, &status) < 0)
        return;
    if (S_ISREG(status.st_mode) || S_ISBLK(status.st_mode)) {
        /* A second description would have a position of its own and overwrite what others wrote. */
        endpoint->kind = BL_ENDPOINT_FILE;
        return;
    }
    if (S_ISSOCK(status.st_mode)) {
        endpoint->kind = BL_ENDPOINT_SOCKET;
        return;
    }
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);

    int own = open(path, (writing ? O_WRONLY : O_RDONLY) | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);

    if (own >= 0)
        *endpoint = (struct bl_endpoint){own, BL_ENDPOINT_OWN, true};
}

void bl_endpoint_close(struct bl_endpoint *endpoint)
{
    if (endpoint->owned && endpoint->fd >= 0)
        close(endpoint->fd);
    *endpoint = (struct bl_endpoint){-1, BL_ENDPOINT_SHARED, false};
}

ssize_t bl_endpoint_write(const struct bl_endpoint *endpoint, const void *bytes, size_t length, bool ready)
{
    ssize_t written;

    if (endpoint->kind == BL_ENDPOINT_SOCKET) {
        written = send(endpoint->fd, bytes, length, MSG_DONTWAIT | MSG_NOSIGNAL);
    } else if (endpoint->kind == BL_ENDPOINT_SHARED) {
        if (!ready)
            return 0;
        written = write(endpoint->fd, bytes, length < PIPE_BUF ? length : PIPE_BUF);
    } else {
        written = write(endpoint->fd, bytes, length);
    }
    return written < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : written;
}

ssize_t bl_endpoint_read(const struct bl_endpoint *endpoint, void *bytes, size_t length)
{
    if (endpoint->kind == BL_ENDPOINT_SOCKET)
        return recv(endpoint->fd, bytes, length, MSG_DONTWAIT);
    return read(endpoint->fd, bytes, length);
}
