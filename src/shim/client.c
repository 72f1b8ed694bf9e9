/* SPDX-License-Identifier: Apache-2.0 */
/*
 * client.c - programs that connect to control.sock
 *
 * A connection is accepted when its peer runs as our user or as root. It begins with the client's HELLO; then come frames in any
 * order. What a well-made client can't send ends the connection: closing it is the only answer that needs no room and can't be
 * misunderstood. Frames for streams that ended meanwhile were sent in good faith and are ignored.
 *
 * Frames towards the guest wait, in the client's own input buffer, while the queue to the guest is long; each client waits for
 * itself, and STATUS and STOP of others are still heard while the guest does not read.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/crash.h"
#include "base/log.h"
#include "proto/fields.h"
#include "shim/hub_parts.h"

#define SIGNAL_MAX      64
#define LISTEN_AGAIN_MS 1000

/* What becomes of a frame. */
enum verdict { TAKEN, WAITS, REFUSED };

void bl_client_hang_up(struct hub_client *client, const char *fmt, ...)
{
    char why[256];
    va_list args;

    if (client->gone)
        return;
    client->gone = true;
    va_start(args, fmt);
    vsnprintf(why, sizeof why, fmt, args);
    va_end(args);
    bl_log(BL_LOG_DEBUG, "connection of a client closed: %s", why);
}

void bl_client_free(struct hub_client *client)
{
    struct bl_hub *hub = client->hub;

    for (unsigned int i = 0; i < hub->streams_made; i++)
        if (hub->streams[i]->id && hub->streams[i]->client == client)
            bl_stream_leave(hub->streams[i]);
    bl_wire_finish(&client->wire);
    hub->client_count--;
    free(client);
}

static void on_client(struct bl_source *source, uint32_t events)
{
    struct hub_client *client = source->data;
    struct bl_hub *hub = client->hub;

    if (events & EPOLLIN) {
        if (bl_wire_fill(&client->wire) < 0)
            bl_client_hang_up(client, "it left");
        else
            bl_client_run(client);
    } else if (events & (EPOLLHUP | EPOLLERR)) {
        /* Its input is not being read, so this would come again and again. */
        bl_client_hang_up(client, "it left");
    }
    bl_hub_tidy(hub);
}

void bl_client_accept(struct bl_hub *hub)
{
    cleanup_close int fd = accept4(hub->listener.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    struct ucred peer = {.uid = (uid_t)-1};
    socklen_t length = sizeof peer;

    if (fd < 0) {
        if (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED)
            return;
        bl_log(BL_LOG_WARN, "a client could not be accepted: %s", strerror(errno));
        /* Descriptors or memory are short, and the client waits: the loop would come here again at once, and for ever. */
        bl_source_watch(&hub->listener, 0);
        bl_timer_set(hub->loop, &hub->listen_again, bl_deadline_in(LISTEN_AGAIN_MS));
        return;
    }
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) < 0 || (peer.uid != geteuid() && peer.uid != 0)) {
        bl_log(BL_LOG_WARN, "a client of user %u was refused", peer.uid);
        return;
    }
    if (hub->client_count >= BL_CLIENTS_MAX) {
        bl_log(BL_LOG_WARN, "a client was refused: %d are connected", BL_CLIENTS_MAX);
        return;
    }

    struct hub_client *client = calloc(1, sizeof *client);

    if (!client)
        return;
    client->hub = hub;
    if (bl_wire_init(&client->wire, hub->loop, bl_steal_fd(&fd), CLIENT_QUEUE_MAX, on_client, client) < 0) {
        free(client);
        return;
    }
    client->next = hub->clients;
    hub->clients = client;
    hub->client_count++;
    BL_CRASH_POINT("shim:client-accepted");
}

/* refuse_stream() - Answer an OPEN or ATTACH that can't be had. */
static void refuse_stream(struct hub_client *client, uint32_t stream, const char *why)
{
    cleanup_buffer struct bl_buffer payload = BL_BUFFER_INIT(BL_FRAME_PAYLOAD_MAX);
    struct bl_exit exit = {.code = 125};

    snprintf(exit.error, sizeof exit.error, "%s", why);
    if (bl_exit_encode(&payload, &exit) == 0)
        bl_wire_send(&client->wire, BL_FRAME_EXIT, 0, stream, bl_buffer_data(&payload), payload.length);
}

static enum verdict take_hello(struct hub_client *client, const struct bl_frame *frame)
{
    struct bl_hello hello;

    if (client->greeted || bl_hello_parse(frame, &hello) < 0)
        return REFUSED;
    client->greeted = true;
    hello.version = BL_PROTO_VERSION;
    hello.oldest = BL_PROTO_OLDEST_VERSION;
    return bl_hello_append(&client->wire.out, &hello) < 0 ? REFUSED : TAKEN;
}

static enum verdict send_status(struct hub_client *client)
{
    static const char *const states[] = {
        [HUB_GREETING] = "starting", [HUB_CONFIGURED] = "starting", [HUB_RUNNING] = "running",
        [HUB_ENDING] = "stopping",   [HUB_NO_GUEST] = "stopping",
    };
    const struct bl_hub *hub = client->hub;
    cleanup_buffer struct bl_buffer fields = BL_BUFFER_INIT(BL_FRAME_PAYLOAD_MAX);
    int failed = bl_field_put_string(&fields, BL_STATUS_STATE, states[hub->phase]);

    failed |= bl_field_put_u32(&fields, BL_STATUS_STREAMS, hub->stream_count);
    failed |= bl_field_put_u64(&fields, BL_STATUS_EXECS, hub->execs);
    failed |= bl_field_put_u64(&fields, BL_STATUS_EXEC_ERRORS, hub->exec_errors);
    failed |= bl_field_put_u64(&fields, BL_STATUS_BYTES_IN, hub->bytes_in);
    failed |= bl_field_put_u64(&fields, BL_STATUS_BYTES_OUT, hub->bytes_out);
    failed |= bl_field_put_string(&fields, BL_STATUS_ENGINE, hub->config.engine);
    failed |= bl_field_put_string(&fields, BL_STATUS_KERNEL, hub->config.kernel);
    if (hub->ready_us)
        failed |= bl_field_put_u64(&fields, BL_STATUS_BOOT_US, (uint64_t)(hub->ready_us - hub->config.started_us));
    if (failed)
        return REFUSED;
    bl_wire_send(&client->wire, BL_FRAME_STATUS, 0, 0, bl_buffer_data(&fields), fields.length);
    return TAKEN;
}

static enum verdict take_stop(struct hub_client *client, const struct bl_frame *frame)
{
    struct bl_field_reader reader = BL_FIELD_READER(frame->payload, frame->length);
    struct bl_field field;
    int64_t grace_ms = -1;
    uint64_t number = 0;
    int more;

    while ((more = bl_field_next(&reader, &field)) > 0) {
        if (field.tag != BL_STOP_GRACE_MS)
            continue;
        if (bl_field_number(&field, &number) < 0 || number > UINT32_MAX)
            return REFUSED;
        grace_ms = (int64_t)number;
    }
    if (more < 0)
        return REFUSED;
    client->hub->events.stop(grace_ms, client->hub->data);
    return TAKEN;
}

/* not_now() - Why no stream can be opened in this phase, or NULL. */
static const char *not_now(const struct bl_hub *hub)
{
    switch (hub->phase) {
    case HUB_GREETING:
    case HUB_GREETED:
    case HUB_CONFIGURED:
        return "the box is still starting";
    case HUB_ENDING:
    case HUB_NO_GUEST:
        return "the box is stopping";
    case HUB_RUNNING:
        break;
    }
    return hub->workload && hub->workload->exited ? "the box's command has ended; its restart policy may start it again" : NULL;
}

static enum verdict open_stream(struct hub_client *client, const struct bl_frame *frame)
{
    struct bl_hub *hub = client->hub;
    struct bl_open open;

    if (!frame->stream || bl_stream_of_client(hub, client, frame->stream) ||
        bl_open_decode(frame->payload, frame->length, &open) < 0)
        return REFUSED;

    enum bl_open_kind kind = open.kind;
    bool detach = open.detach, has_capabilities = open.has_capabilities;

    bl_open_free(&open);
    if (kind == BL_OPEN_WORKLOAD)
        return REFUSED;

    const char *why = not_now(hub);

    if (!why && has_capabilities && hub->version < 2)
        why = "the box's agent is too old to give a command capabilities of its own";

    struct hub_stream *stream = why ? NULL : bl_stream_new(hub, client, frame->stream);

    if (!stream) {
        hub->exec_errors += kind == BL_OPEN_EXEC;
        refuse_stream(client, frame->stream, why ? why : "too many commands and copies at once");
        return TAKEN;
    }
    stream->detach = detach;
    hub->execs += kind == BL_OPEN_EXEC;
    bl_wire_send(&hub->guest, BL_FRAME_OPEN, 0, stream->id, frame->payload, frame->length);
    BL_CRASH_POINT("shim:exec-sent");
    return TAKEN;
}

static enum verdict attach(struct hub_client *client, const struct bl_frame *frame)
{
    struct bl_hub *hub = client->hub;

    if (!frame->stream || bl_stream_of_client(hub, client, frame->stream))
        return REFUSED;

    const char *why = hub->workload && hub->workload->exited ? NULL : not_now(hub);

    if (why || (hub->workload && hub->workload->client && !hub->workload->client->gone)) {
        refuse_stream(client, frame->stream, why ? why : "another program is attached already");
        return TAKEN;
    }
    if (!hub->workload)
        bl_hub_open_workload(hub);
    if (!hub->workload) {
        refuse_stream(client, frame->stream, "the workload could not be opened");
        return TAKEN;
    }
    if (hub->workload->client)
        bl_stream_leave(hub->workload);
    bl_stream_attach(hub->workload, client, frame->stream);
    return TAKEN;
}

static enum verdict forward_input(struct hub_stream *stream, const struct bl_frame *frame)
{
    uint32_t own = stream->input_in_flight - stream->input_foreign;

    if (frame->channel != BL_CHANNEL_STDIN || !frame->length || frame->length > BL_WINDOW_BYTES - own)
        return REFUSED;
    if (stream->input_ended)
        return stream->workload ? TAKEN : REFUSED;
    /* Bytes of the program that was attached before may still fill the guest's window. */
    if (frame->length > BL_WINDOW_BYTES - stream->input_in_flight)
        return WAITS;
    stream->input_in_flight += frame->length;
    stream->hub->bytes_in += frame->length;
    bl_wire_send(&stream->hub->guest, BL_FRAME_DATA, BL_CHANNEL_STDIN, stream->id, frame->payload, frame->length);
    return TAKEN;
}

static enum verdict forward(struct hub_stream *stream, const struct bl_frame *frame)
{
    struct bl_wire *guest = &stream->hub->guest;
    uint32_t number = 0;

    switch ((unsigned int)frame->type) {
    case BL_FRAME_DATA:
        return forward_input(stream, frame);
    case BL_FRAME_EOF:
        if (frame->channel != BL_CHANNEL_STDIN || frame->length)
            return REFUSED;
        if (!stream->input_ended)
            bl_wire_send(guest, BL_FRAME_EOF, BL_CHANNEL_STDIN, stream->id, NULL, 0);
        stream->input_ended = true;
        return TAKEN;
    case BL_FRAME_CREDIT:
        if (frame->channel == BL_CHANNEL_STDIN || bl_frame_u32(frame, &number) < 0)
            return REFUSED;
        return bl_stream_credit(stream, (enum bl_channel)frame->channel, number) < 0 ? REFUSED : TAKEN;
    case BL_FRAME_SIGNAL:
        if (bl_frame_u32(frame, &number) < 0 || !number || number > SIGNAL_MAX)
            return REFUSED;
        bl_wire_send(guest, BL_FRAME_SIGNAL, 0, stream->id, frame->payload, frame->length);
        return TAKEN;
    case BL_FRAME_RESIZE:
        if (frame->length != 4)
            return REFUSED;
        bl_wire_send(guest, BL_FRAME_RESIZE, 0, stream->id, frame->payload, frame->length);
        return TAKEN;
    case BL_FRAME_CLOSE:
        if (stream->workload) {
            bl_stream_leave(stream);
            return TAKEN;
        }
        if (!stream->closed)
            bl_wire_send(guest, BL_FRAME_CLOSE, 0, stream->id, NULL, 0);
        stream->closed = true;
        return TAKEN;
    default:
        return REFUSED;
    }
}

static enum verdict take_frame(struct hub_client *client, const struct bl_frame *frame)
{
    struct bl_hub *hub = client->hub;

    if (frame->type == BL_FRAME_HELLO)
        return take_hello(client, frame);
    if (!client->greeted)
        return REFUSED;
    switch ((unsigned int)frame->type) {
    case BL_FRAME_PING:
        if (frame->length > 8)
            return REFUSED;
        bl_wire_send(&client->wire, BL_FRAME_PONG, 0, 0, frame->payload, frame->length);
        return TAKEN;
    case BL_FRAME_STATUS:
        return send_status(client);
    case BL_FRAME_STOP:
        return take_stop(client, frame);
    default:
        break;
    }
    if (!bl_hub_guest_room(hub))
        return WAITS;
    if (frame->type == BL_FRAME_OPEN)
        return open_stream(client, frame);
    if (frame->type == BL_FRAME_ATTACH)
        return attach(client, frame);
    if (frame->type < BL_FRAME_OPEN)
        return REFUSED;

    struct hub_stream *stream = bl_stream_of_client(hub, client, frame->stream);

    if (!stream)
        return TAKEN;
    /* Its EXIT is on the way to the client: only credit, which lets out what is held back before it, still means something. */
    return stream->exited && frame->type != BL_FRAME_CREDIT && frame->type != BL_FRAME_CLOSE ? TAKEN : forward(stream, frame);
}

void bl_client_run(struct hub_client *client)
{
    struct bl_frame frame;
    size_t used = 0;
    int more = 0;

    client->blocked = false;
    while (!client->gone && (more = bl_frame_next(&client->wire.in, &frame, &used)) > 0) {
        enum verdict verdict = take_frame(client, &frame);

        if (verdict == WAITS) {
            client->blocked = true;
            break;
        }
        if (verdict == REFUSED)
            bl_client_hang_up(client, "it sent %s that breaks the rules", bl_frame_type_name(frame.type));
        bl_buffer_consume(&client->wire.in, used);
    }
    if (more < 0)
        bl_client_hang_up(client, "it sent bytes that are no frame");
    if (client->wire.overflowed)
        bl_client_hang_up(client, "it does not read what it asked for");
    if (!client->gone)
        bl_wire_watch(&client->wire, !client->blocked);
}
