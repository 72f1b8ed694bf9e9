/* SPDX-License-Identifier: Apache-2.0 */
/*
 * link.h - the agent's end of the byte stream to the host
 *
 * Frames that go out are collected and written when the current round of events is done (bl_link_end_round()), so that a few small
 * ones leave as one write. Some may wait a little longer for one that nearly always follows (bl_link_send_patiently()): each write
 * is an exit of the virtual machine, and wakes the host's process. bl_link_full() is where senders of DATA stop; frames that answer
 * something always find room, since the link stops reading long before its buffer is full.
 */
#ifndef BL_GUEST_LINK_H
#define BL_GUEST_LINK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/loop.h"
#include "proto/frame.h"

#define BL_LINK_DATA_MAX   262144     /* bytes waiting to go out at which DATA waits */
#define BL_LINK_ANSWER_MAX (1u << 20) /* ... at which nothing more is read that could be answered */
#define BL_LINK_OUT_MAX    (8u << 20) /* never more; passing it ends the conversation */

struct bl_link {
    struct bl_source source; /* the port; owned */
    struct bl_buffer in, out;
    size_t patient;         /* bytes at the end of out that may wait for company */
    struct bl_timer waited; /* ... which then has not come */
    int64_t heard_us;       /* when the loop woke for the bytes that are being taken; monotonic clock */
    bool hunting;           /* looking for a HELLO: everything else is thrown away */
    bool paused;            /* a sender of DATA found the link full and waits for drained() */
    void (*frame)(struct bl_link *link, const struct bl_frame *frame);
    void (*drained)(struct bl_link *link); /* there is room for DATA again */
    void *data;
};

/* bl_link_open() - Take over an open, not blocking descriptor. Return: 0; -1 with errno */
int bl_link_open(struct bl_link *link, struct bl_loop *loop, int fd);
/* bl_link_flush() - Write what waits, as far as the port takes it. */
void bl_link_flush(struct bl_link *link);
/* bl_link_end_round() - Write what waits, unless all of it is patient. */
void bl_link_end_round(struct bl_link *link);
/* bl_link_forget() - Drop what waits. */
void bl_link_forget(struct bl_link *link);
/* bl_link_full() - Whether DATA has to wait; drained() will be called then. */
bool bl_link_full(struct bl_link *link);
/* bl_link_send() - Queue a frame; on an overflow the conversation ends (the link hunts for a new HELLO). */
void bl_link_send(struct bl_link *link, enum bl_frame_type type, uint16_t channel, uint32_t stream, const void *payload,
                  size_t length);
/* bl_link_send_patiently() - Queue a frame that leaves with the next one, or alone after some milliseconds. */
void bl_link_send_patiently(struct bl_link *link, enum bl_frame_type type, uint16_t channel, uint32_t stream, const void *payload,
                            size_t length);
void bl_link_send_u32(struct bl_link *link, enum bl_frame_type type, uint16_t channel, uint32_t stream, uint32_t value);
/* bl_link_drain() - Write until nothing waits or the deadline passes; for the last words. */
void bl_link_drain(struct bl_link *link, int64_t deadline_ms);

#endif
