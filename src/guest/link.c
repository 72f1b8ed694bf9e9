/* SPDX-License-Identifier: Apache-2.0 */
/*
 * link.c - the agent's end of the byte stream to the host; see link.h
 *
 * The port is watched edge-triggered: while no host is connected it is "hung up" without end, which a level-triggered loop
 * would spin on. So reading goes on until there is nothing more, and a write that was refused waits for the next edge.
 *
 * A conversation that makes no sense (bytes that are no frame, or an answer that finds no room) is over: everything is thrown
 * away until the bytes of a HELLO come by. The same happens when the host goes away in the middle of a frame.
 */
#include "guest/link.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/clock.h"
#include "guest/system.h"

#define READ_BYTES  65536
#define PATIENCE_MS 5

/* How a HELLO begins after its length, which later versions may raise: type, channel, stream, magic. */
#define LENGTH_BYTES 4
static const uint8_t hello_start[] = {BL_FRAME_HELLO, 0, 0, 0, 0, 0, 0, 0, 'B', 'O', 'X', 'L', 'I', 'T', 'E', 1};

/* hunt() - Drop received bytes before the next HELLO; what could be its first part stays. */
static void hunt(struct bl_link *link)
{
    const uint8_t *data = bl_buffer_data(&link->in);
    size_t length = link->in.length;

    for (size_t i = 0; i < length; i++) {
        size_t left = length - i > LENGTH_BYTES ? length - i - LENGTH_BYTES : 0;

        if (left > sizeof hello_start)
            left = sizeof hello_start;
        if (left && memcmp(data + i + LENGTH_BYTES, hello_start, left) != 0)
            continue;
        bl_buffer_consume(&link->in, i);
        link->hunting = left < sizeof hello_start;
        return;
    }
    bl_buffer_clear(&link->in);
}

static void lose(struct bl_link *link, const char *why)
{
    bl_say("the conversation with the host is broken (%s); waiting for a new one", why);
    bl_buffer_clear(&link->in);
    bl_link_forget(link);
    link->hunting = true;
}

static void take_frames(struct bl_link *link)
{
    for (;;) {
        struct bl_frame frame;
        size_t used;

        if (link->hunting)
            hunt(link);
        if (link->hunting || link->out.length > BL_LINK_ANSWER_MAX)
            return;

        int got = bl_frame_next(&link->in, &frame, &used);

        if (got == 0)
            return;
        if (got < 0) {
            lose(link, "bytes that are no frame");
            continue;
        }
        link->frame(link, &frame);
        /* The handler can have given the conversation up, and the bytes with it. */
        if (link->in.length >= used)
            bl_buffer_consume(&link->in, used);
    }
}

static void read_port(struct bl_link *link)
{
    while (link->out.length <= BL_LINK_ANSWER_MAX) {
        uint8_t *at = bl_buffer_reserve(&link->in, READ_BYTES);
        ssize_t n = at ? read(link->source.fd, at, READ_BYTES) : -1;

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return;
        bl_buffer_commit(&link->in, (size_t)n);
        take_frames(link);
    }
}

static void port_ready(struct bl_source *source, uint32_t events)
{
    struct bl_link *link = source->data;

    link->heard_us = bl_now_us();
    if (events & EPOLLIN)
        read_port(link);
    if ((events & EPOLLHUP) && link->in.length) {
        bl_buffer_clear(&link->in);
        link->hunting = true;
    }
    if (events & EPOLLOUT)
        bl_link_flush(link);
}

static void waited_enough(struct bl_timer *timer)
{
    bl_link_flush(timer->data);
}

int bl_link_open(struct bl_link *link, struct bl_loop *loop, int fd)
{
    link->source = (struct bl_source){.fd = fd, .events = EPOLLIN | EPOLLOUT | EPOLLET, .ready = port_ready, .data = link};
    link->in = (struct bl_buffer)BL_BUFFER_INIT(BL_FRAME_HEADER_BYTES + BL_FRAME_PAYLOAD_MAX + 2 * READ_BYTES);
    link->out = (struct bl_buffer)BL_BUFFER_INIT(BL_LINK_OUT_MAX);
    link->waited = (struct bl_timer){.expired = waited_enough, .data = link};
    link->hunting = true;
    return bl_source_add(loop, &link->source);
}

void bl_link_flush(struct bl_link *link)
{
    bool was_too_full = link->out.length > BL_LINK_ANSWER_MAX;

    link->patient = 0;
    bl_timer_cancel(&link->waited);
    while (link->out.length) {
        ssize_t n = write(link->source.fd, bl_buffer_data(&link->out), link->out.length);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        bl_buffer_consume(&link->out, (size_t)n);
    }
    if (was_too_full && link->out.length <= BL_LINK_ANSWER_MAX) {
        take_frames(link);
        read_port(link);
    }
    if (link->paused && link->out.length < BL_LINK_DATA_MAX / 2) {
        link->paused = false;
        link->drained(link);
    }
}

void bl_link_end_round(struct bl_link *link)
{
    if (!link->patient || link->out.length > link->patient)
        bl_link_flush(link);
    else if (!link->waited.loop)
        bl_timer_set(link->source.loop, &link->waited, bl_deadline_in(PATIENCE_MS));
}

void bl_link_forget(struct bl_link *link)
{
    bl_buffer_clear(&link->out);
    link->patient = 0;
    bl_timer_cancel(&link->waited);
}

bool bl_link_full(struct bl_link *link)
{
    bool full = link->out.length >= BL_LINK_DATA_MAX;

    link->paused |= full;
    return full;
}

void bl_link_send(struct bl_link *link, enum bl_frame_type type, uint16_t channel, uint32_t stream, const void *payload,
                  size_t length)
{
    if (link->hunting)
        return;
    if (bl_frame_append(&link->out, type, channel, stream, payload, length) < 0)
        lose(link, "more answers than the host takes");
}

void bl_link_send_patiently(struct bl_link *link, enum bl_frame_type type, uint16_t channel, uint32_t stream, const void *payload,
                            size_t length)
{
    size_t before = link->out.length;

    bl_link_send(link, type, channel, stream, payload, length);
    /* It waits only behind what waits as well. */
    if (before == link->patient)
        link->patient = link->out.length;
}

void bl_link_send_u32(struct bl_link *link, enum bl_frame_type type, uint16_t channel, uint32_t stream, uint32_t value)
{
    if (link->hunting)
        return;
    if (bl_frame_append_u32(&link->out, type, channel, stream, value) < 0)
        lose(link, "more answers than the host takes");
}

void bl_link_drain(struct bl_link *link, int64_t deadline_ms)
{
    for (;;) {
        struct pollfd port = {.fd = link->source.fd, .events = POLLOUT};

        bl_link_flush(link);
        if (!link->out.length || poll(&port, 1, bl_deadline_left(deadline_ms)) <= 0 || (port.revents & POLLHUP))
            return;
    }
}
