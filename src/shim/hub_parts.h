/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hub_parts.h - what the files of the hub share
 *
 * hub.c holds the guest's side, client.c the clients', stream.c what a stream owes to whom. Nothing here is used outside of them.
 *
 * Freeing: a client that hangs up or breaks the rules is only marked (gone), for the code further up the stack may still look at
 * it; bl_hub_tidy(), at the end of every event, frees the marked ones and sends what was queued.
 */
#ifndef BL_SHIM_HUB_PARTS_H
#define BL_SHIM_HUB_PARTS_H

#include "shim/hub.h"
#include "shim/kept.h"
#include "shim/wire.h"

/* Bytes queued towards the guest above which frames of clients wait; one more frame may come on top. */
#define GUEST_QUEUE_HIGH (1u << 20)
/* Past this the guest does not read at all, and its own credits alone have filled the queue: it is broken. */
#define GUEST_QUEUE_MAX  (16u << 20)
#define CLIENT_QUEUE_MAX (32u << 20)

/* One direction of output, from guest to client. */
struct hub_output {
    uint32_t unacked;      /* bytes that the guest sent and has no credit back for; never above the window */
    uint32_t owed;         /* part of unacked that is done with: credit for it is gathered to be sent in one frame */
    uint32_t in_flight;    /* bytes at the client without its credit; never above the window */
    uint32_t replayed;     /* first part of in_flight, for which the guest has got its credit long ago */
    bool ended;            /* the guest said EOF */
    bool end_told;         /* the client knows */
    struct bl_buffer held; /* bytes that the client's window has no room for, because of what was replayed */
};

struct hub_client;

struct hub_stream {
    struct bl_hub *hub;
    uint32_t id;               /* towards the guest; 0: the slot is free */
    uint32_t generation;       /* makes ids of one slot differ */
    uint32_t client_id;        /* towards the client */
    struct hub_client *client; /* NULL: nobody listens */
    bool workload, opened, detach, closed /* CLOSE was sent */;
    bool exited; /* the guest is done with it; exit waits behind held output */
    bool exit_told;
    bool input_ended;
    uint32_t input_in_flight; /* bytes of STDIN at the guest without its credit */
    uint32_t input_foreign;   /* first part of them, which a client before this one sent */
    struct hub_output output[BL_CHANNEL_COUNT];
    struct bl_buffer exit; /* EXIT's payload */
};

struct hub_client {
    struct bl_hub *hub;
    struct bl_wire wire;
    struct hub_client *next;
    bool greeted, gone;
    bool blocked; /* its next frame waits for room at the guest */
};

enum hub_phase { HUB_GREETING, HUB_GREETED, HUB_CONFIGURED, HUB_RUNNING, HUB_ENDING, HUB_NO_GUEST };

struct bl_hub {
    struct bl_loop *loop;
    struct bl_hub_config config;
    struct bl_hub_events events;
    void *data;
    enum hub_phase phase;
    struct bl_wire guest;
    bool guest_broken;
    uint8_t epoch[BL_EPOCH_BYTES];
    uint32_t version; /* spoken with the guest */
    struct bl_source listener;
    struct bl_timer listen_again; /* when no client could be accepted */
    struct hub_client *clients;
    unsigned int client_count;
    struct hub_stream *streams[BL_STREAMS_MAX]; /* allocated at a slot's first use */
    unsigned int stream_count;
    unsigned int streams_made;
    struct hub_stream *workload; /* NULL: not opened yet */
    struct bl_kept kept;
    bool was_busy; /* as the owner knows it */
    uint64_t execs, exec_errors;
    uint64_t bytes_in, bytes_out; /* DATA of all streams */
    int64_t ready_us;
};

/* hub.c */
void bl_hub_tidy(struct bl_hub *hub);
__attribute__((format(printf, 2, 3))) void bl_hub_guest_broken(struct bl_hub *hub, const char *fmt, ...);
/* bl_hub_open_workload() - Ask the guest to start the workload. */
void bl_hub_open_workload(struct bl_hub *hub);
/* bl_hub_guest_room() - Whether a client's frame may be queued towards the guest now. */
bool bl_hub_guest_room(const struct bl_hub *hub);

/* client.c */
void bl_client_accept(struct bl_hub *hub);
/* bl_client_run() - Carry out frames that have come, as far as that goes. */
void bl_client_run(struct hub_client *client);
__attribute__((format(printf, 2, 3))) void bl_client_hang_up(struct hub_client *client, const char *fmt, ...);
void bl_client_free(struct hub_client *client);

/* stream.c */
struct hub_stream *bl_stream_new(struct bl_hub *hub, struct hub_client *client, uint32_t client_id);
struct hub_stream *bl_stream_of_client(struct bl_hub *hub, const struct hub_client *client, uint32_t client_id);
struct hub_stream *bl_stream_of_guest(struct bl_hub *hub, uint32_t id);
void bl_stream_free(struct hub_stream *stream);
/* bl_stream_from_guest() - Take a frame that the guest sent on a stream. */
void bl_stream_from_guest(struct hub_stream *stream, const struct bl_frame *frame);
/* bl_stream_attach() - Make a client the reader of the workload: what was kept comes first. */
void bl_stream_attach(struct hub_stream *stream, struct hub_client *client, uint32_t client_id);
/* bl_stream_leave() - Its client is no longer there. */
void bl_stream_leave(struct hub_stream *stream);
/* bl_stream_credit() - The client got rid of bytes. Return: 0; -1: of more than it had */
int bl_stream_credit(struct hub_stream *stream, enum bl_channel channel, uint32_t bytes);
/* bl_stream_waits() - Whether output or EXIT still waits to be queued for its client. */
bool bl_stream_waits(const struct hub_stream *stream);

#endif
