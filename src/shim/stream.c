/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stream.c - what a stream owes to whom
 *
 * Output passes from the guest to the stream's client under the client's own credits: they are handed on to the guest. Without a
 * client (a workload that nobody is attached to, an exec that runs on detached) the hub takes the bytes itself and gives the
 * credit, gathered into few frames, so that a guest that writes single bytes does not get a frame for each.
 *
 * Attaching replays what was kept, for which the guest had its credit. Client and guest each count a window of their own, so for a
 * while more could be under way than the client's window bears: that much is held back here, at most a window a channel.
 *
 * Everything that a guest sends is counted against its window and against the order of frames; whatever does not fit breaks the
 * guest, since an agent of ours does not do it.
 */
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/crash.h"
#include "base/log.h"
#include "shim/hub_parts.h"

#define CREDIT_BATCH     (BL_WINDOW_BYTES / 4)
#define SLOT_BITS        10
#define OPENED_BYTES_MAX 256

_Static_assert(1u << SLOT_BITS == BL_STREAMS_MAX, "a stream's id holds its slot");

static void send_client(const struct hub_stream *stream, enum bl_frame_type type, uint16_t channel, const void *payload,
                        size_t length)
{
    bl_wire_send(&stream->client->wire, type, channel, stream->client_id, payload, length);
    if (stream->client->wire.overflowed)
        bl_client_hang_up(stream->client, "it does not read what it asked for");
}

static void credit_guest(struct hub_stream *stream, enum bl_channel channel, uint32_t bytes)
{
    stream->output[channel].unacked -= bytes;
    if (bytes && !stream->exited)
        bl_wire_send_u32(&stream->hub->guest, BL_FRAME_CREDIT, (uint16_t)channel, stream->id, bytes);
}

/* settle() - Give the guest the credit that it is owed. */
static void settle(struct hub_stream *stream, enum bl_channel channel)
{
    uint32_t owed = stream->output[channel].owed;

    stream->output[channel].owed = 0;
    credit_guest(stream, channel, owed);
}

struct hub_stream *bl_stream_new(struct bl_hub *hub, struct hub_client *client, uint32_t client_id)
{
    unsigned int slot = 0;

    while (slot < hub->streams_made && hub->streams[slot]->id)
        slot++;
    if (slot == BL_STREAMS_MAX)
        return NULL;
    if (slot == hub->streams_made) {
        hub->streams[slot] = calloc(1, sizeof *hub->streams[slot]);
        if (!hub->streams[slot])
            return NULL;
        hub->streams_made++;
    }

    struct hub_stream *stream = hub->streams[slot];
    uint32_t generation = stream->generation + 1;

    if (generation > UINT32_MAX >> SLOT_BITS)
        generation = 1;
    *stream = (struct hub_stream){
        .hub = hub,
        .id = generation << SLOT_BITS | slot,
        .generation = generation,
        .client = client,
        .client_id = client_id,
        .exit = BL_BUFFER_INIT(BL_FRAME_PAYLOAD_MAX),
    };
    for (int i = 0; i < BL_CHANNEL_COUNT; i++)
        stream->output[i].held = (struct bl_buffer)BL_BUFFER_INIT(BL_WINDOW_BYTES);
    hub->stream_count++;
    return stream;
}

void bl_stream_free(struct hub_stream *stream)
{
    for (int i = 0; i < BL_CHANNEL_COUNT; i++)
        bl_buffer_free(&stream->output[i].held);
    bl_buffer_free(&stream->exit);
    if (stream->hub->workload != stream)
        stream->hub->stream_count--;
    stream->client = NULL;
    stream->id = 0;
}

struct hub_stream *bl_stream_of_guest(struct bl_hub *hub, uint32_t id)
{
    unsigned int slot = id & (BL_STREAMS_MAX - 1);

    return id && slot < hub->streams_made && hub->streams[slot]->id == id ? hub->streams[slot] : NULL;
}

struct hub_stream *bl_stream_of_client(struct bl_hub *hub, const struct hub_client *client, uint32_t client_id)
{
    for (unsigned int i = 0; i < hub->streams_made; i++)
        if (hub->streams[i]->id && hub->streams[i]->client == client && hub->streams[i]->client_id == client_id)
            return hub->streams[i];
    return NULL;
}

bool bl_stream_waits(const struct hub_stream *stream)
{
    return stream->client && !stream->client->gone &&
           (stream->output[BL_CHANNEL_STDOUT].held.length || stream->output[BL_CHANNEL_STDERR].held.length ||
            (stream->exited && !stream->exit_told));
}

/* tell_end() - Pass on EOFs, and then the EXIT, once nothing is held before them. */
static void tell_end(struct hub_stream *stream)
{
    bool held = false;

    for (int i = BL_CHANNEL_STDOUT; i < BL_CHANNEL_COUNT && stream->client; i++) {
        struct hub_output *output = &stream->output[i];

        held = held || output->held.length;
        if (output->ended && !output->end_told && !output->held.length) {
            output->end_told = true;
            send_client(stream, BL_FRAME_EOF, (uint16_t)i, NULL, 0);
        }
    }
    if (!stream->exited || held)
        return;
    if (stream->client && !stream->exit_told)
        send_client(stream, BL_FRAME_EXIT, 0, bl_buffer_data(&stream->exit), stream->exit.length);
    stream->exit_told = true;
    /* The workload's stream stays, for who attaches to a box that is ending. */
    if (!stream->workload)
        bl_stream_free(stream);
}

/* to_client() - Send output to the client, as far as its window goes. Return: bytes sent */
static size_t to_client(struct hub_stream *stream, enum bl_channel channel, const void *bytes, size_t length)
{
    struct hub_output *output = &stream->output[channel];
    size_t room = BL_WINDOW_BYTES - output->in_flight;
    size_t part = length < room ? length : room;

    for (size_t sent = 0; sent < part;) {
        size_t piece = part - sent < BL_FRAME_PAYLOAD_MAX ? part - sent : BL_FRAME_PAYLOAD_MAX;

        send_client(stream, BL_FRAME_DATA, (uint16_t)channel, (const uint8_t *)bytes + sent, piece);
        sent += piece;
    }
    output->in_flight += (uint32_t)part;
    return part;
}

/* release_held() - Send what was held back, as far as the window goes now. */
static void release_held(struct hub_stream *stream, enum bl_channel channel)
{
    struct bl_buffer *held = &stream->output[channel].held;

    if (held->length)
        bl_buffer_consume(held, to_client(stream, channel, bl_buffer_data(held), held->length));
    if (!held->length)
        bl_buffer_free(held);
}

int bl_stream_credit(struct hub_stream *stream, enum bl_channel channel, uint32_t bytes)
{
    struct hub_output *output = &stream->output[channel];

    if (!bytes || bytes > output->in_flight)
        return -1;

    uint32_t replayed = bytes < output->replayed ? bytes : output->replayed;

    output->in_flight -= bytes;
    output->replayed -= replayed;
    credit_guest(stream, channel, bytes - replayed);
    release_held(stream, channel);
    tell_end(stream);
    return 0;
}

/* take_itself() - Output that no client gets: keep the workload's, drop the rest, and owe the credit. */
static void take_itself(struct hub_stream *stream, enum bl_channel channel, const void *bytes, uint32_t length)
{
    struct hub_output *output = &stream->output[channel];

    if (stream->workload)
        bl_kept_add(&stream->hub->kept, channel, bytes, length);
    output->owed += length;
    if (output->owed >= CREDIT_BATCH)
        settle(stream, channel);
}

static void take_data(struct hub_stream *stream, const struct bl_frame *frame)
{
    enum bl_channel channel = (enum bl_channel)frame->channel;
    struct hub_output *output = &stream->output[channel];

    if (channel == BL_CHANNEL_STDIN || !frame->length || output->ended || frame->length > BL_WINDOW_BYTES - output->unacked) {
        bl_hub_guest_broken(stream->hub, "it sent %u bytes of output past what it was allowed to", frame->length);
        return;
    }
    output->unacked += frame->length;
    if (stream->workload && stream->hub->config.log)
        bl_output_log_add(stream->hub->config.log, channel, frame->payload, frame->length);
    if (!stream->client || stream->client->gone) {
        take_itself(stream, channel, frame->payload, frame->length);
        return;
    }

    size_t sent = output->held.length ? 0 : to_client(stream, channel, frame->payload, frame->length);

    if (sent < frame->length && bl_buffer_append(&output->held, frame->payload + sent, frame->length - sent) < 0)
        bl_client_hang_up(stream->client, "memory ran out");
}

static void take_input_credit(struct hub_stream *stream, const struct bl_frame *frame)
{
    uint32_t bytes = 0;

    if (frame->channel != BL_CHANNEL_STDIN || bl_frame_u32(frame, &bytes) < 0 || !bytes || bytes > stream->input_in_flight) {
        bl_hub_guest_broken(stream->hub, "it gave credit for input that it did not get");
        return;
    }

    uint32_t foreign = bytes < stream->input_foreign ? bytes : stream->input_foreign;
    uint8_t payload[4] = {0};

    stream->input_in_flight -= bytes;
    stream->input_foreign -= foreign;
    if (bytes == foreign || !stream->client)
        return;
    bl_put_le32(payload, bytes - foreign);
    send_client(stream, BL_FRAME_CREDIT, BL_CHANNEL_STDIN, payload, sizeof payload);
}

static void take_exit(struct hub_stream *stream, const struct bl_frame *frame)
{
    struct bl_hub *hub = stream->hub;
    struct bl_exit exit;

    if (bl_exit_decode(frame->payload, frame->length, &exit) < 0 || bl_exit_encode(&stream->exit, &exit) < 0) {
        bl_hub_guest_broken(hub, "it sent an EXIT that can't be understood");
        return;
    }
    stream->exited = true;
    if (!stream->workload && !stream->opened && exit.error[0])
        hub->exec_errors++;

    bool workload = stream->workload;

    tell_end(stream);
    BL_CRASH_POINT("shim:stream-exited");
    if (!workload)
        return;
    hub->stream_count--;
    if (hub->config.log)
        bl_output_log_end(hub->config.log);
    hub->events.workload_exited(&exit, hub->data);
}

void bl_stream_from_guest(struct hub_stream *stream, const struct bl_frame *frame)
{
    if (stream->exited) {
        bl_hub_guest_broken(stream->hub, "it sent %s on a stream that it had ended", bl_frame_type_name(frame->type));
        return;
    }
    switch ((unsigned int)frame->type) {
    case BL_FRAME_OPENED:
        if (stream->opened || frame->length > OPENED_BYTES_MAX)
            break;
        stream->opened = true;
        if (stream->client)
            send_client(stream, BL_FRAME_OPENED, 0, frame->payload, frame->length);
        BL_CRASH_POINT("shim:stream-opened");
        if (stream->workload)
            stream->hub->events.workload_opened(stream->hub->data);
        return;
    case BL_FRAME_DATA:
        stream->hub->bytes_out += frame->length;
        take_data(stream, frame);
        return;
    case BL_FRAME_EOF:
        if (frame->channel == BL_CHANNEL_STDIN || stream->output[frame->channel].ended)
            break;
        stream->output[frame->channel].ended = true;
        tell_end(stream);
        return;
    case BL_FRAME_CREDIT:
        take_input_credit(stream, frame);
        return;
    case BL_FRAME_EXIT:
        take_exit(stream, frame);
        return;
    default:
        break;
    }
    bl_hub_guest_broken(stream->hub, "it sent %s out of order", bl_frame_type_name(frame->type));
}

static void replay(void *data, enum bl_channel channel, const void *bytes, size_t length)
{
    struct hub_stream *stream = data;

    stream->output[channel].replayed += (uint32_t)to_client(stream, channel, bytes, length);
}

void bl_stream_attach(struct hub_stream *stream, struct hub_client *client, uint32_t client_id)
{
    stream->client = client;
    stream->client_id = client_id;
    stream->exit_told = false;
    stream->input_foreign = stream->input_in_flight;
    for (int i = BL_CHANNEL_STDOUT; i < BL_CHANNEL_COUNT; i++) {
        struct hub_output *output = &stream->output[i];

        settle(stream, (enum bl_channel)i);
        output->in_flight = output->replayed = 0;
        output->end_told = false;
    }
    if (stream->opened)
        send_client(stream, BL_FRAME_OPENED, 0, NULL, 0);
    bl_kept_take(&stream->hub->kept, replay, stream);
    tell_end(stream);
}

void bl_stream_leave(struct hub_stream *stream)
{
    struct bl_hub *hub = stream->hub;

    stream->client = NULL;
    for (int i = BL_CHANNEL_STDOUT; i < BL_CHANNEL_COUNT; i++) {
        struct hub_output *output = &stream->output[i];

        if (stream->workload && output->held.length)
            bl_kept_add(&hub->kept, (enum bl_channel)i, bl_buffer_data(&output->held), output->held.length);
        bl_buffer_free(&output->held);
        output->in_flight = output->replayed = 0;
        /* What the client had is done with: the guest gets its credit, or it would stand still for ever. */
        output->owed = output->unacked;
        settle(stream, (enum bl_channel)i);
    }
    if (stream->workload)
        return;
    if (stream->exited) {
        bl_stream_free(stream);
        return;
    }
    if (!stream->detach && !stream->closed)
        bl_wire_send(&hub->guest, BL_FRAME_CLOSE, 0, stream->id, NULL, 0);
    stream->closed = true;
}
