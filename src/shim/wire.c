/* SPDX-License-Identifier: Apache-2.0 */
/* wire.c - frames over a non-blocking connection; see wire.h */
#include "shim/wire.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"

#define CHUNK_BYTES   65536
#define IN_BYTES_MAX  (BL_FRAME_HEADER_BYTES + BL_FRAME_PAYLOAD_MAX + CHUNK_BYTES)
#define IDLE_CAPACITY 262144 /* an empty buffer that grew past this gives its memory back */

int bl_wire_init(struct bl_wire *wire, struct bl_loop *loop, int fd, size_t out_max, void (*ready)(struct bl_source *, uint32_t),
                 void *data)
{
    *wire = (struct bl_wire){
        .source = {.fd = fd, .events = EPOLLIN, .ready = ready, .data = data},
        .in = BL_BUFFER_INIT(IN_BYTES_MAX),
        .out = BL_BUFFER_INIT(out_max),
    };
    if (bl_set_nonblocking(fd) == 0 && bl_source_add(loop, &wire->source) == 0)
        return 0;

    int saved = errno;

    bl_wire_finish(wire);
    errno = saved;
    return -1;
}

int bl_wire_fill(struct bl_wire *wire)
{
    size_t room = bl_buffer_room(&wire->in);
    size_t want = room < CHUNK_BYTES ? room : CHUNK_BYTES;
    uint8_t *at = bl_buffer_reserve(&wire->in, want);

    if (!want)
        return 0;
    if (!at)
        return -1;

    ssize_t n = read(wire->source.fd, at, want);

    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -1;
    if (n == 0)
        return -1;
    bl_buffer_commit(&wire->in, (size_t)n);
    return (int)n;
}

int bl_wire_flush(struct bl_wire *wire)
{
    while (wire->out.length) {
        ssize_t n = send(wire->source.fd, bl_buffer_data(&wire->out), wire->out.length, MSG_NOSIGNAL | MSG_DONTWAIT);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            break;
        if (n < 0)
            return -1;
        bl_buffer_consume(&wire->out, (size_t)n);
    }
    if (!wire->out.length && wire->out.capacity > IDLE_CAPACITY)
        bl_buffer_free(&wire->out);
    bl_wire_watch(wire, wire->source.events & EPOLLIN);
    return 0;
}

void bl_wire_watch(struct bl_wire *wire, bool input)
{
    bl_source_watch(&wire->source, (input ? (uint32_t)EPOLLIN : 0) | (wire->out.length ? (uint32_t)EPOLLOUT : 0));
}

void bl_wire_send(struct bl_wire *wire, enum bl_frame_type type, uint16_t channel, uint32_t stream, const void *payload,
                  size_t length)
{
    if (bl_frame_append(&wire->out, type, channel, stream, payload, length) < 0)
        wire->overflowed = true;
}

void bl_wire_send_u32(struct bl_wire *wire, enum bl_frame_type type, uint16_t channel, uint32_t stream, uint32_t value)
{
    if (bl_frame_append_u32(&wire->out, type, channel, stream, value) < 0)
        wire->overflowed = true;
}

void bl_wire_finish(struct bl_wire *wire)
{
    bl_source_remove(&wire->source);
    bl_close_fd(&wire->source.fd);
    bl_buffer_free(&wire->in);
    bl_buffer_free(&wire->out);
}
