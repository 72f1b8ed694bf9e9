/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control.c - see control.h
 *
 * The socket is reached through a descriptor of its directory, so the length of the home's path does not matter. Nothing here
 * blocks: a shim that is frozen, or has too many callers, must not freeze who asks it to stop.
 */
#include "core/control.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/os.h"
#include "proto/launch.h"
#include "proto/messages.h"

#define STOP_MAX 256 /* bytes of HELLO and STOP */

int bl_control_connect(int boxes_fd, const char *id)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    cleanup_close int dir = bl_os.openat(boxes_fd, id, O_PATH | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    cleanup_close int fd = bl_os.socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (dir < 0 || fd < 0)
        return -1;
    snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/%s", dir, BL_FILE_CONTROL_SOCKET);
    while (bl_os.connect(fd, (struct sockaddr *)&address, sizeof address) < 0)
        if (errno != EINTR)
            return -1;
    return bl_steal_fd(&fd);
}

int bl_control_hello(struct bl_buffer *out)
{
    struct bl_hello hello = {.version = BL_PROTO_VERSION, .oldest = BL_PROTO_OLDEST_VERSION};

    if (bl_random_bytes(hello.epoch, sizeof hello.epoch) < 0)
        return -1;
    if (bl_hello_append(out, &hello) < 0) {
        errno = ENOMEM;
        return -1;
    }
    return 0;
}

int bl_control_stop(int boxes_fd, const char *id, uint32_t grace_ms)
{
    cleanup_buffer struct bl_buffer fields = BL_BUFFER_INIT(STOP_MAX);
    cleanup_buffer struct bl_buffer out = BL_BUFFER_INIT(STOP_MAX);
    cleanup_close int fd = bl_control_connect(boxes_fd, id);

    if (fd < 0 || bl_control_hello(&out) < 0)
        return -1;
    if (bl_field_put_u32(&fields, BL_STOP_GRACE_MS, grace_ms) < 0 ||
        bl_frame_append(&out, BL_FRAME_STOP, 0, 0, bl_buffer_data(&fields), fields.length) < 0) {
        errno = ENOMEM;
        return -1;
    }
    /* So few bytes always fit an empty socket. */
    if (bl_os.send(fd, bl_buffer_data(&out), out.length, MSG_NOSIGNAL) != (ssize_t)out.length)
        return -1;
    return bl_steal_fd(&fd);
}
