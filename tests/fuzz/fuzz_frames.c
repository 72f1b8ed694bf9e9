/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_frames.c - the byte stream between host and guest, as a hostile peer on either side would send it
 *
 * The first byte says in what pieces the rest arrives. Frames must come out the same however the bytes were cut, and a message that
 * was understood must be understood again, with the same bytes, once it was encoded.
 */
#include <string.h>

#include "fuzz.h"
#include "proto/frame.h"
#include "proto/messages.h"

/* open_survives() - decode(encode(decode(x))) is decode(x), told by its encoding */
static void open_survives(const struct bl_frame *frame)
{
    cleanup_buffer struct bl_buffer once = BL_BUFFER_INIT(1u << 20);
    cleanup_buffer struct bl_buffer twice = BL_BUFFER_INIT(1u << 20);
    struct bl_open open;
    struct bl_open again;

    if (bl_open_decode(frame->payload, frame->length, &open) < 0)
        return;
    must(bl_open_encode(&once, &open) == 0);
    must(bl_open_decode(bl_buffer_data(&once), once.length, &again) == 0);
    must(bl_open_encode(&twice, &again) == 0);
    must(once.length == twice.length && memcmp(bl_buffer_data(&once), bl_buffer_data(&twice), once.length) == 0);
    bl_open_free(&open);
    bl_open_free(&again);
}

static void exit_survives(const struct bl_frame *frame)
{
    cleanup_buffer struct bl_buffer bytes = BL_BUFFER_INIT(1u << 16);
    struct bl_exit exit;
    struct bl_exit again;

    if (bl_exit_decode(frame->payload, frame->length, &exit) < 0)
        return;
    must(exit.code >= 0 && exit.code <= 255 && memchr(exit.error, '\0', sizeof exit.error));
    must(bl_exit_encode(&bytes, &exit) == 0 && bl_exit_decode(bl_buffer_data(&bytes), bytes.length, &again) == 0);
    must(exit.code == again.code && exit.signal == again.signal && exit.timed_out == again.timed_out && exit.oom == again.oom);
    must(exit.duration_us == again.duration_us && exit.error_number == again.error_number && !strcmp(exit.error, again.error));
}

/* look() - What either side does with a frame. Return: a digest of it, to compare the ways of cutting */
static uint64_t look(const struct bl_frame *frame)
{
    struct bl_field_reader reader = BL_FIELD_READER(frame->payload, frame->length);
    uint64_t digest = (uint64_t)frame->type * 31 + frame->channel * 131 + frame->stream;
    struct bl_field field;
    struct bl_hello hello;
    uint32_t number;

    must(frame->length <= BL_FRAME_PAYLOAD_MAX && frame->channel < BL_CHANNEL_COUNT);
    for (uint32_t i = 0; i < frame->length; i++)
        digest = digest * 1099511628211u + frame->payload[i];
    (void)bl_hello_parse(frame, &hello);
    (void)bl_frame_u32(frame, &number);
    while (bl_field_next(&reader, &field) > 0)
        must(field.bytes >= frame->payload && field.bytes + field.length <= frame->payload + frame->length);
    if (frame->type == BL_FRAME_OPEN)
        open_survives(frame);
    if (frame->type == BL_FRAME_EXIT)
        exit_survives(frame);
    return digest;
}

/* read_frames() - All frames of a stream that comes in pieces of @piece bytes. Return: a digest; *@broken: it ended in no frame */
static uint64_t read_frames(const uint8_t *data, size_t size, size_t piece, int *broken)
{
    cleanup_buffer struct bl_buffer in = BL_BUFFER_INIT(BL_FRAME_HEADER_BYTES + BL_FRAME_PAYLOAD_MAX + 256);
    uint64_t digest = 0;
    size_t at = 0;

    *broken = 0;
    while (at < size) {
        size_t length = size - at < piece ? size - at : piece;
        struct bl_frame frame;
        size_t used = 0;
        int more;

        must(bl_buffer_append(&in, data + at, length) == 0);
        at += length;
        while ((more = bl_frame_next(&in, &frame, &used)) > 0) {
            must(used == BL_FRAME_HEADER_BYTES + (size_t)frame.length && used <= in.length);
            digest = digest * 1099511628211u ^ look(&frame);
            bl_buffer_consume(&in, used);
        }
        if (more < 0) {
            *broken = 1;
            return digest;
        }
    }
    return digest;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;

    int broken_whole;
    int broken_cut;
    uint64_t whole = read_frames(data + 1, size - 1, 256, &broken_whole);
    uint64_t cut = read_frames(data + 1, size - 1, 1 + data[0] % 37u, &broken_cut);

    must(whole == cut && broken_whole == broken_cut);
    return 0;
}
