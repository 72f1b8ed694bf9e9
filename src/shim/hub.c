/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hub.c - the guest's side of the hub, and what holds its parts together
 *
 * The conversation with the guest: HELLO with a random epoch goes out at once (it waits in the socket until the agent opens its
 * port); whatever comes before the answer with that epoch belongs to nobody and is dropped; then CONFIG, READY, and streams. The
 * guest is always read, whatever clients do: the windows of its streams bound what it can make the hub keep. A guest that breaks a
 * rule is not spoken to any more, and its owner ends the VM.
 */
#include "shim/hub.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/crash.h"
#include "base/io.h"
#include "base/log.h"
#include "proto/fields.h"
#include "shim/hub_parts.h"

#define ENTROPY_BYTES 64

void bl_hub_guest_broken(struct bl_hub *hub, const char *fmt, ...)
{
    char why[BL_ERROR_MESSAGE_MAX];
    va_list args;

    if (hub->guest_broken)
        return;
    hub->guest_broken = true;
    bl_source_remove(&hub->guest.source);
    bl_buffer_clear(&hub->guest.out);
    va_start(args, fmt);
    vsnprintf(why, sizeof why, fmt, args);
    va_end(args);
    hub->events.broken(why, hub->data);
}

bool bl_hub_guest_room(const struct bl_hub *hub)
{
    return hub->guest_broken || hub->guest.out.length < GUEST_QUEUE_HIGH;
}

/* let_clients_go_on() - Carry out frames that waited, if there is room for them now. */
static void let_clients_go_on(struct bl_hub *hub)
{
    for (struct hub_client *client = hub->clients; client; client = client->next)
        if (client->blocked && !client->gone)
            bl_client_run(client);
}

/* free_gone() - Free clients that were marked, which may queue frames for the guest. */
static void free_gone(struct bl_hub *hub)
{
    for (struct hub_client **at = &hub->clients; *at;) {
        struct hub_client *client = *at;

        if (!client->gone) {
            at = &client->next;
            continue;
        }
        *at = client->next;
        bl_client_free(client);
    }
}

void bl_hub_tidy(struct bl_hub *hub)
{
    free_gone(hub);
    if (hub->phase != HUB_NO_GUEST && !hub->guest_broken) {
        bool was_full = !bl_hub_guest_room(hub);

        if (hub->guest.overflowed)
            bl_hub_guest_broken(hub, "it does not read what is sent to it");
        else if (bl_wire_flush(&hub->guest) < 0)
            bl_source_remove(&hub->guest.source); /* the VM ended; its engine says how */
        if (was_full && bl_hub_guest_room(hub))
            let_clients_go_on(hub);
    }
    for (struct hub_client *client = hub->clients; client; client = client->next)
        if (!client->gone && client->wire.out.length && bl_wire_flush(&client->wire) < 0)
            bl_client_hang_up(client, "it left");
    free_gone(hub);
    if (hub->events.busy && bl_hub_busy(hub) != hub->was_busy) {
        hub->was_busy = !hub->was_busy;
        hub->events.busy(hub->was_busy, hub->data);
    }
    if (hub->phase == HUB_NO_GUEST && bl_hub_settled(hub))
        hub->events.settled(hub->data);
}

static void reach(struct bl_hub *hub, enum bl_moment moment)
{
    if (hub->config.moments)
        hub->config.moments->at_us[moment] = bl_now_us();
}

/* queue_config() - Leaves with the next flush. */
static void queue_config(struct bl_hub *hub)
{
    cleanup_buffer struct bl_buffer fields = BL_BUFFER_INIT(BL_FRAME_PAYLOAD_MAX);
    uint8_t entropy[ENTROPY_BYTES];
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);

    int failed = bl_random_bytes(entropy, sizeof entropy);

    failed |= bl_field_put_string(&fields, BL_CONFIG_HOSTNAME, hub->config.hostname);
    failed |= bl_field_put_u64(&fields, BL_CONFIG_CLOCK_NS, (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec);
    failed |= bl_field_put_bytes(&fields, BL_CONFIG_ENTROPY, entropy, sizeof entropy);
    failed |= bl_field_put_u64(&fields, BL_CONFIG_DISK_BYTES, hub->config.disk_bytes);
    if (failed) {
        bl_hub_guest_broken(hub, "its configuration could not be made");
        return;
    }
    bl_wire_send(&hub->guest, BL_FRAME_CONFIG, 0, 0, bl_buffer_data(&fields), fields.length);
    hub->phase = HUB_CONFIGURED;
    reach(hub, BL_MOMENT_CONFIGURED);
    BL_CRASH_POINT("shim:guest-greeted");
}

void bl_hub_open_workload(struct bl_hub *hub)
{
    cleanup_buffer struct bl_buffer payload = BL_BUFFER_INIT(BL_FRAME_PAYLOAD_MAX);

    if (bl_open_encode(&payload, hub->config.workload) < 0) {
        bl_hub_guest_broken(hub, "the workload's arguments and environment are too long");
        return;
    }
    hub->workload = bl_stream_new(hub, NULL, 0);
    if (!hub->workload)
        return;
    hub->workload->workload = true;
    bl_wire_send(&hub->guest, BL_FRAME_OPEN, 0, hub->workload->id, bl_buffer_data(&payload), payload.length);
}

int bl_hub_open_again(struct bl_hub *hub)
{
    struct hub_stream *former = hub->workload;

    if (former && bl_stream_waits(former)) {
        /* Its client has not read all of it: it goes on as an ordinary stream, and is freed when its EXIT is told. */
        former->workload = false;
        hub->stream_count++;
    } else if (former) {
        bl_stream_free(former);
    }
    hub->workload = NULL;
    bl_hub_open_workload(hub);
    bl_hub_tidy(hub);
    return hub->workload ? 0 : -1;
}

bool bl_hub_busy(const struct bl_hub *hub)
{
    const struct hub_stream *workload = hub->workload;
    unsigned int own = workload && !workload->exited;

    return hub->stream_count > own || (own && workload->client);
}

static void log_boot(const struct bl_hub *hub, const struct bl_frame *frame)
{
    struct bl_field_reader reader = BL_FIELD_READER(frame->payload, frame->length);
    struct bl_field field;
    uint64_t times[BL_READY_AGENT] = {0};

    while (bl_field_next(&reader, &field) > 0)
        if (field.tag < BL_READY_AGENT && bl_field_number(&field, &times[field.tag]) < 0)
            times[field.tag] = 0;
    bl_log(BL_LOG_INFO, "guest ready after %lld ms; by its clock (us): agent %llu, configured %llu, disk mounted %llu",
           (long long)(hub->ready_us - hub->config.started_us) / 1000, (unsigned long long)times[BL_READY_INIT_US],
           (unsigned long long)times[BL_READY_CONFIGURED_US], (unsigned long long)times[BL_READY_MOUNTED_US]);
}

static void take_ready(struct bl_hub *hub, const struct bl_frame *frame)
{
    hub->phase = HUB_RUNNING;
    BL_CRASH_POINT("shim:guest-ready");
    hub->ready_us = bl_now_us();
    log_boot(hub, frame);
    if (hub->config.moments)
        bl_moments_ready(hub->config.moments, frame, hub->ready_us);
    if (!hub->config.start_on_attach)
        bl_hub_open_workload(hub);
    hub->events.ready(hub->data);
}

static void take_fault(struct bl_hub *hub, const struct bl_frame *frame)
{
    struct bl_field_reader reader = BL_FIELD_READER(frame->payload, frame->length);
    struct bl_field field;
    cleanup_free char *text = NULL;

    while (!text && bl_field_next(&reader, &field) > 0)
        if (field.tag == BL_FAULT_MESSAGE)
            text = bl_field_string(&field, BL_MESSAGE_BYTES_MAX);
    bl_hub_guest_broken(hub, "%s", text && text[0] ? text : "it gave no reason");
}

/* take_conversation() - Frames of stream 0. Return: whether it was one that fits */
static bool take_conversation(struct bl_hub *hub, const struct bl_frame *frame)
{
    switch ((unsigned int)frame->type) {
    case BL_FRAME_READY:
        if (hub->phase != HUB_CONFIGURED)
            return false;
        take_ready(hub, frame);
        return true;
    case BL_FRAME_FAULT:
        take_fault(hub, frame);
        return true;
    case BL_FRAME_PING:
        if (frame->length > 8)
            return false;
        bl_wire_send(&hub->guest, BL_FRAME_PONG, 0, 0, frame->payload, frame->length);
        return true;
    case BL_FRAME_PONG:
        return true;
    case BL_FRAME_DOWN:
        if (hub->phase != HUB_ENDING)
            return false;
        hub->events.down(hub->data);
        return true;
    default:
        return false;
    }
}

static void take_frame(struct bl_hub *hub, const struct bl_frame *frame)
{
    if (hub->phase == HUB_GREETING) {
        struct bl_hello hello;

        if (frame->type != BL_FRAME_HELLO || frame->length < BL_HELLO_BYTES ||
            memcmp(frame->payload + BL_HELLO_BYTES - BL_EPOCH_BYTES, hub->epoch, BL_EPOCH_BYTES) != 0)
            return;
        if (bl_hello_parse(frame, &hello) < 0) {
            bl_hub_guest_broken(hub, "it speaks another version of the protocol");
            return;
        }
        hub->version = hello.version < BL_PROTO_VERSION ? hello.version : BL_PROTO_VERSION;
        if (hub->config.workload->has_capabilities && hub->version < 2) {
            bl_hub_guest_broken(hub, "it is too old to give a command other capabilities than the default ones");
            return;
        }
        hub->phase = HUB_GREETED;
        reach(hub, BL_MOMENT_GREETED);
        if (hub->events.greeted)
            hub->events.greeted(hub->data);
        else
            queue_config(hub);
        return;
    }
    if (frame->type >= BL_FRAME_OPENED && frame->type <= BL_FRAME_EXIT && frame->stream) {
        struct hub_stream *stream = bl_stream_of_guest(hub, frame->stream);

        if (stream)
            bl_stream_from_guest(stream, frame);
        else
            bl_hub_guest_broken(hub, "it sent %s on a stream that does not exist", bl_frame_type_name(frame->type));
        return;
    }
    if (!take_conversation(hub, frame))
        bl_hub_guest_broken(hub, "it sent %s out of order", bl_frame_type_name(frame->type));
}

/* take_frames() - Carry out all frames that are whole. */
static void take_frames(struct bl_hub *hub)
{
    struct bl_frame frame;
    size_t used = 0;
    int more = 0;

    while (!hub->guest_broken && hub->phase != HUB_NO_GUEST && (more = bl_frame_next(&hub->guest.in, &frame, &used)) > 0) {
        take_frame(hub, &frame);
        if (hub->phase != HUB_NO_GUEST)
            bl_buffer_consume(&hub->guest.in, used);
    }
    if (more < 0)
        bl_hub_guest_broken(hub, "it sent bytes that are no frame");
}

static void on_guest(struct bl_source *source, uint32_t events)
{
    struct bl_hub *hub = source->data;

    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR) && bl_wire_fill(&hub->guest) < 0)
        bl_source_remove(&hub->guest.source); /* the VM ended; its engine says how */
    take_frames(hub);
    let_clients_go_on(hub);
    bl_hub_tidy(hub);
}

void bl_hub_drain(struct bl_hub *hub)
{
    while (!hub->guest_broken && hub->phase != HUB_NO_GUEST && bl_wire_fill(&hub->guest) > 0)
        take_frames(hub);
}

static void on_listener(struct bl_source *source, uint32_t events)
{
    (void)events;
    bl_client_accept(source->data);
}

static void on_listen_again(struct bl_timer *timer)
{
    struct bl_hub *hub = timer->data;

    bl_source_watch(&hub->listener, EPOLLIN);
}

/* greet() - Begin the conversation with the guest. Return: 0; -1 with errno */
static int greet(struct bl_hub *hub)
{
    struct bl_hello hello = {.version = BL_PROTO_VERSION, .oldest = BL_PROTO_OLDEST_VERSION};

    if (bl_random_bytes(hub->epoch, sizeof hub->epoch) < 0)
        return -1;
    memcpy(hello.epoch, hub->epoch, sizeof hello.epoch);
    if (bl_hello_append(&hub->guest.out, &hello) < 0)
        return -1;
    bl_wire_flush(&hub->guest);
    return 0;
}

int bl_hub_new(struct bl_loop *loop, const struct bl_hub_config *config, const struct bl_hub_events *events, void *data,
               struct bl_hub **out, struct bl_error *err)
{
    cleanup_close int guest_fd = config->guest_fd, listen_fd = config->listen_fd;
    struct bl_hub *hub = calloc(1, sizeof *hub);

    if (!hub)
        return bl_fail_memory(err);
    hub->loop = loop;
    hub->config = *config;
    hub->events = *events;
    hub->data = data;
    hub->guest.source.fd = -1;
    hub->listener = (struct bl_source){.fd = bl_steal_fd(&listen_fd), .events = EPOLLIN, .ready = on_listener, .data = hub};
    hub->listen_again = (struct bl_timer){.expired = on_listen_again, .data = hub};
    bl_kept_init(&hub->kept);
    if (bl_wire_init(&hub->guest, loop, bl_steal_fd(&guest_fd), GUEST_QUEUE_MAX, on_guest, hub) < 0 || greet(hub) < 0 ||
        (hub->listener.fd >= 0 && bl_source_add(loop, &hub->listener) < 0)) {
        bl_fail(err, BL_INTERNAL, errno, "set up the connections of the box");
        bl_hub_free(hub);
        return -1;
    }
    *out = hub;
    return 0;
}

void bl_hub_configure(struct bl_hub *hub)
{
    if (hub->phase != HUB_GREETED || hub->guest_broken)
        return;
    queue_config(hub);
    bl_wire_flush(&hub->guest);
}

bool bl_hub_greeted(const struct bl_hub *hub)
{
    return hub->phase != HUB_GREETING;
}

void bl_hub_shutdown(struct bl_hub *hub, uint32_t grace_ms)
{
    if (hub->phase == HUB_NO_GUEST || hub->guest_broken)
        return;
    hub->phase = HUB_ENDING;
    bl_wire_send_u32(&hub->guest, BL_FRAME_SHUTDOWN, 0, 0, grace_ms);
    bl_wire_flush(&hub->guest);
}

/* outlives_guest() - Whether a client still gets something that does not come from the guest any more. */
static bool outlives_guest(const struct bl_hub *hub, const struct hub_client *client)
{
    for (unsigned int i = 0; i < hub->streams_made; i++)
        if (hub->streams[i]->id && hub->streams[i]->client == client && !hub->streams[i]->exited)
            return false;
    return client->greeted;
}

void bl_hub_guest_gone(struct bl_hub *hub)
{
    if (hub->phase == HUB_NO_GUEST)
        return;
    hub->phase = HUB_NO_GUEST;
    bl_source_remove(&hub->guest.source);
    bl_buffer_clear(&hub->guest.out);
    for (struct hub_client *client = hub->clients; client; client = client->next)
        if (!outlives_guest(hub, client))
            bl_client_hang_up(client, "the VM has ended");
    bl_hub_tidy(hub);
}

bool bl_hub_settled(const struct bl_hub *hub)
{
    for (const struct hub_client *client = hub->clients; client; client = client->next)
        if (!client->gone && client->wire.out.length)
            return false;
    return !hub->workload || !bl_stream_waits(hub->workload);
}

void bl_hub_free(struct bl_hub *hub)
{
    if (!hub)
        return;
    hub->guest_broken = true;
    for (struct hub_client *client = hub->clients; client; client = client->next)
        client->gone = true;
    free_gone(hub);
    for (unsigned int i = 0; i < hub->streams_made; i++) {
        if (hub->streams[i]->id)
            bl_stream_free(hub->streams[i]);
        free(hub->streams[i]);
    }
    bl_timer_cancel(&hub->listen_again);
    bl_source_remove(&hub->listener);
    bl_close_fd(&hub->listener.fd);
    bl_wire_finish(&hub->guest);
    bl_kept_free(&hub->kept);
    free(hub);
}
