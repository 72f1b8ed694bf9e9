/* SPDX-License-Identifier: Apache-2.0 */
/* frame.c - encoding and decoding frames; the format is described in frame.h */
#include "proto/frame.h"

#include <string.h>

#include "base/bytes.h"

/* known_type() - Whether a type is one of enum bl_frame_type, which has gaps. */
static int known_type(unsigned int type)
{
    return (type >= BL_FRAME_HELLO && type <= BL_FRAME_DOWN) || (type >= BL_FRAME_OPEN && type <= BL_FRAME_CLOSE) ||
           (type >= BL_FRAME_STATUS && type < BL_FRAME_TYPE_END);
}

int bl_frame_append(struct bl_buffer *out, enum bl_frame_type type, uint16_t channel, uint32_t stream, const void *payload,
                    size_t length)
{
    if (length > BL_FRAME_PAYLOAD_MAX)
        return -1;

    uint8_t *at = bl_buffer_reserve(out, BL_FRAME_HEADER_BYTES + length);

    if (!at)
        return -1;
    bl_put_le32(at, (uint32_t)length);
    bl_put_le16(at + 4, (uint16_t)type);
    bl_put_le16(at + 6, channel);
    bl_put_le32(at + 8, stream);
    if (length)
        memcpy(at + BL_FRAME_HEADER_BYTES, payload, length);
    bl_buffer_commit(out, BL_FRAME_HEADER_BYTES + length);
    return 0;
}

int bl_frame_append_u32(struct bl_buffer *out, enum bl_frame_type type, uint16_t channel, uint32_t stream, uint32_t value)
{
    uint8_t payload[4];

    bl_put_le32(payload, value);
    return bl_frame_append(out, type, channel, stream, payload, sizeof payload);
}

int bl_frame_u32(const struct bl_frame *frame, uint32_t *out)
{
    if (frame->length != 4)
        return -1;
    *out = bl_get_le32(frame->payload);
    return 0;
}

int bl_hello_append(struct bl_buffer *out, const struct bl_hello *hello)
{
    uint8_t payload[BL_HELLO_BYTES];

    memcpy(payload, BL_HELLO_MAGIC, 8);
    bl_put_le32(payload + 8, hello->version);
    bl_put_le32(payload + 12, hello->oldest);
    memcpy(payload + 16, hello->epoch, BL_EPOCH_BYTES);
    return bl_frame_append(out, BL_FRAME_HELLO, 0, 0, payload, sizeof payload);
}

int bl_hello_parse(const struct bl_frame *frame, struct bl_hello *out)
{
    /* A later version may add to the end, never change what is here. */
    if (frame->type != BL_FRAME_HELLO || frame->length < BL_HELLO_BYTES || memcmp(frame->payload, BL_HELLO_MAGIC, 8) != 0)
        return -1;
    out->version = bl_get_le32(frame->payload + 8);
    out->oldest = bl_get_le32(frame->payload + 12);
    memcpy(out->epoch, frame->payload + 16, BL_EPOCH_BYTES);
    return out->version < BL_PROTO_OLDEST_VERSION || out->oldest > BL_PROTO_VERSION || out->oldest > out->version ? -1 : 0;
}

int bl_frame_next(const struct bl_buffer *in, struct bl_frame *frame, size_t *used)
{
    if (in->length < BL_FRAME_HEADER_BYTES)
        return 0;

    const uint8_t *at = bl_buffer_data(in);
    uint32_t length = bl_get_le32(at);
    unsigned int type = bl_get_le16(at + 4);
    uint16_t channel = bl_get_le16(at + 6);

    if (length > BL_FRAME_PAYLOAD_MAX || !known_type(type) || channel >= BL_CHANNEL_COUNT)
        return -1;
    if (in->length - BL_FRAME_HEADER_BYTES < length)
        return 0;
    *frame = (struct bl_frame){
        .type = (enum bl_frame_type)type,
        .channel = channel,
        .stream = bl_get_le32(at + 8),
        .payload = at + BL_FRAME_HEADER_BYTES,
        .length = length,
    };
    *used = BL_FRAME_HEADER_BYTES + (size_t)length;
    return 1;
}

const char *bl_frame_type_name(unsigned int type)
{
    static const char *const names[BL_FRAME_TYPE_END] = {
        [BL_FRAME_HELLO] = "HELLO",   [BL_FRAME_CONFIG] = "CONFIG", [BL_FRAME_READY] = "READY",       [BL_FRAME_FAULT] = "FAULT",
        [BL_FRAME_PING] = "PING",     [BL_FRAME_PONG] = "PONG",     [BL_FRAME_SHUTDOWN] = "SHUTDOWN", [BL_FRAME_DOWN] = "DOWN",
        [BL_FRAME_OPEN] = "OPEN",     [BL_FRAME_OPENED] = "OPENED", [BL_FRAME_DATA] = "DATA",         [BL_FRAME_EOF] = "EOF",
        [BL_FRAME_CREDIT] = "CREDIT", [BL_FRAME_SIGNAL] = "SIGNAL", [BL_FRAME_RESIZE] = "RESIZE",     [BL_FRAME_EXIT] = "EXIT",
        [BL_FRAME_CLOSE] = "CLOSE",   [BL_FRAME_STATUS] = "STATUS", [BL_FRAME_ATTACH] = "ATTACH",     [BL_FRAME_STOP] = "STOP",
    };

    return type < BL_FRAME_TYPE_END && names[type] ? names[type] : "unknown";
}
