/* SPDX-License-Identifier: Apache-2.0 */
/*
 * frame.h - the byte stream between host and guest, cut into frames
 *
 * The same frames run over the virtio-serial port `boxlite.agent` (shim <-> guest) and over `control.sock` (client <-> shim).
 * A frame is a header of 12 bytes, all little-endian, and a payload:
 *
 *     0  u32  length of the payload, at most BL_FRAME_PAYLOAD_MAX
 *     4  u16  type, see enum bl_frame_type
 *     6  u16  channel for DATA, EOF and CREDIT; 0 otherwise
 *     8  u32  stream; 0 is the conversation itself
 *
 * A stream is opened by the side nearer to the user, which also picks its number: a client numbers its own streams on its own
 * connection, the shim maps them to numbers of its own towards the guest.
 *
 * Flow control: on every channel of a stream the sender may have BL_WINDOW_BYTES of DATA under way. The receiver gives
 * credit back (CREDIT) as it really gets rid of the bytes. So one stalled reader never blocks another stream, and nobody
 * ever has to keep more than a window a channel. Sending past the window breaks the contract and ends the stream.
 *
 * The decoder trusts nothing: a length or type that is out of bounds makes it fail for good.
 */
#ifndef BL_PROTO_FRAME_H
#define BL_PROTO_FRAME_H

#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"

#define BL_FRAME_HEADER_BYTES 12
#define BL_FRAME_PAYLOAD_MAX  65536
#define BL_WINDOW_BYTES       262144

/*
 * Versions.
 *  1: the first.
 *  2: OPEN can say capabilities.
 */
#define BL_PROTO_VERSION        2
#define BL_PROTO_OLDEST_VERSION 1

enum bl_frame_type {
    /* Of the conversation; stream 0. */
    BL_FRAME_HELLO = 1, /* both ways, first: struct bl_hello. The opener picks the epoch, the answer repeats it. */
    BL_FRAME_CONFIG,    /* to the guest: fields, enum bl_config_tag */
    BL_FRAME_READY,     /* from the guest: fields, enum bl_ready_tag: the disk is mounted, streams may be opened */
    BL_FRAME_FAULT,     /* from the guest: fields, enum bl_fault_tag: it can't go on */
    BL_FRAME_PING,      /* both ways: 8 bytes of the sender's choice */
    BL_FRAME_PONG,      /* the answer: the same bytes */
    BL_FRAME_SHUTDOWN,  /* to the guest: u32 milliseconds: end the workload (its stop signal, then kill), sync, power off */
    BL_FRAME_DOWN,      /* from the guest: synced, about to power off */

    /* Of a stream. */
    BL_FRAME_OPEN = 16, /* towards the guest: fields, enum bl_open_tag */
    BL_FRAME_OPENED,    /* from the guest: fields, enum bl_opened_tag: it runs */
    BL_FRAME_DATA,      /* both ways: bytes of a channel */
    BL_FRAME_EOF,       /* both ways: no more bytes will come on this channel; empty */
    BL_FRAME_CREDIT,    /* both ways: u32 bytes of this channel that were taken */
    BL_FRAME_SIGNAL,    /* towards the guest: u32 signal number (Linux, x86-64) */
    BL_FRAME_RESIZE,    /* towards the guest: u16 rows, u16 columns */
    BL_FRAME_EXIT,      /* from the guest, the last frame of a stream: fields, enum bl_exit_tag */
    BL_FRAME_CLOSE,     /* towards the guest: nobody listens any more: kill what runs; the guest answers with EXIT; empty */

    /* Only between client and shim. */
    BL_FRAME_STATUS = 32, /* to the shim, stream 0: empty. The answer: STATUS with fields, enum bl_status_tag */
    BL_FRAME_ATTACH,      /* to the shim: use this stream as the workload's; OPENED follows, then its kept output */
    BL_FRAME_STOP,        /* to the shim, stream 0: fields, enum bl_stop_tag: end the box. The answer is the shim's death. */
    BL_FRAME_TYPE_END
};

/* Channels of a stream. */
enum bl_channel { BL_CHANNEL_STDIN = 0, BL_CHANNEL_STDOUT = 1, BL_CHANNEL_STDERR = 2, BL_CHANNEL_COUNT };

struct bl_frame {
    enum bl_frame_type type;
    uint16_t channel;
    uint32_t stream;
    const uint8_t *payload; /* valid until the decoder is used again */
    uint32_t length;        /* bytes of payload */
};

/* HELLO's payload: 8 bytes magic, u32 version, u32 oldest version spoken, 16 bytes epoch. */
#define BL_HELLO_MAGIC "BOXLITE\x01"
#define BL_HELLO_BYTES 32
#define BL_EPOCH_BYTES 16

struct bl_hello {
    uint32_t version;
    uint32_t oldest;
    uint8_t epoch[BL_EPOCH_BYTES];
};

/*
 * bl_frame_append() - Encode a frame at the end of a buffer
 * @channel: see enum bl_channel; 0 where there is none
 * Return: 0; -1 when the payload is too long or the buffer's maximum or memory doesn't allow it (nothing changed)
 */
int bl_frame_append(struct bl_buffer *out, enum bl_frame_type type, uint16_t channel, uint32_t stream, const void *payload,
                    size_t length);
/* bl_frame_append_u32() - The same with a number as payload (SIGNAL, CREDIT, SHUTDOWN). */
int bl_frame_append_u32(struct bl_buffer *out, enum bl_frame_type type, uint16_t channel, uint32_t stream, uint32_t value);
/* bl_frame_u32() - The number in such a payload. Return: 0; -1 when it is not 4 bytes */
int bl_frame_u32(const struct bl_frame *frame, uint32_t *out);

int bl_hello_append(struct bl_buffer *out, const struct bl_hello *hello);
/* bl_hello_parse() - Return: 0; -1 when it is not a HELLO that this version understands */
int bl_hello_parse(const struct bl_frame *frame, struct bl_hello *out);

/*
 * bl_frame_next() - Take the next whole frame from received bytes
 * @in: bytes as they came; the frame's payload points into it. Consume with bl_buffer_consume(in, @used) when done with it.
 * @used: bytes that the frame takes, header included
 * Return: 1 and *@frame; 0 when more bytes are needed; -1 when the bytes are no frame (the conversation can't go on)
 */
int bl_frame_next(const struct bl_buffer *in, struct bl_frame *frame, size_t *used);

/* bl_frame_type_name() - For logs and messages; "unknown" for what is none. */
const char *bl_frame_type_name(unsigned int type);

#endif
