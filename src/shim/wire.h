/* SPDX-License-Identifier: Apache-2.0 */
/* wire.h - one non-blocking connection that carries frames: the guest's port, or a client */
#ifndef BL_SHIM_WIRE_H
#define BL_SHIM_WIRE_H

#include <stdbool.h>

#include "base/loop.h"
#include "proto/frame.h"

/*
 * Bytes come into @in and leave from @out. Frames are appended to @out by bl_wire_send() and leave with bl_wire_flush(), which
 * the owner calls once at the end of an event, so that many frames share a write.
 */
struct bl_wire {
    struct bl_source source; /* the descriptor is owned */
    struct bl_buffer in;
    struct bl_buffer out;
    bool overflowed; /* something did not fit into @out: the peer does not read; the connection is of no use any more */
};

/* bl_wire_init() - Take a descriptor and watch it. Return: 0; -1 with errno, the descriptor is closed */
int bl_wire_init(struct bl_wire *wire, struct bl_loop *loop, int fd, size_t out_max, void (*ready)(struct bl_source *, uint32_t),
                 void *data);
/* bl_wire_fill() - Read what is there, at most one chunk. Return: bytes (> 0); 0: nothing now; -1: the end, or an error */
int bl_wire_fill(struct bl_wire *wire);
/* bl_wire_flush() - Write what the peer takes. Return: 0; -1: the peer is gone */
int bl_wire_flush(struct bl_wire *wire);
/* bl_wire_watch() - Whether input is wanted; output is watched by itself. */
void bl_wire_watch(struct bl_wire *wire, bool input);
void bl_wire_send(struct bl_wire *wire, enum bl_frame_type type, uint16_t channel, uint32_t stream, const void *payload,
                  size_t length);
void bl_wire_send_u32(struct bl_wire *wire, enum bl_frame_type type, uint16_t channel, uint32_t stream, uint32_t value);
void bl_wire_finish(struct bl_wire *wire);

#endif
