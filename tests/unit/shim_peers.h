/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shim_peers.h - a hub with a stand-in for its guest and with clients, all in one thread
 *
 * Peers are plain sockets. While a peer waits for a frame, or for room to send, the hub's loop is stepped; so everything happens in
 * the order in which a test says it, and nothing depends on time but the deadline after which a missing frame fails the test.
 */
#ifndef TESTS_SHIM_PEERS_H
#define TESTS_SHIM_PEERS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "shim/hub.h"

struct bench;

/* One end of a conversation with the hub. */
struct peer {
    struct bench *bench;
    int fd;
    struct bl_buffer in;
    struct bl_frame frame; /* the last that receive() took; its payload is valid until the next */
    size_t used;
};

/* A hub, and what it told its owner. */
struct bench {
    struct bl_loop loop;
    struct bl_hub *hub;
    struct bl_open workload;
    struct peer guest;
    char directory[64];
    int directory_fd;
    int ready, opened, exits, downs, stops, settled;
    bool busy;
    int64_t stop_grace_ms;
    struct bl_exit exit;
    char broken[1024]; /* why the guest was given up; empty: it was not */
};

/* bench_start() - A hub whose guest has not said anything yet. */
void bench_start(struct bench *bench, bool start_on_attach);
/* bench_ready() - The same, after HELLO, CONFIG and READY. */
void bench_ready(struct bench *bench, bool start_on_attach);
void bench_end(struct bench *bench);
/* bench_settle() - Step the loop until nothing is left to do. */
void bench_settle(struct bench *bench);

/* peer_connect() - A client that has said HELLO and got the answer. */
void peer_connect(struct bench *bench, struct peer *peer);
/* peer_adopt() - The same for a socket that is connected already. */
void peer_adopt(struct bench *bench, struct peer *peer, int fd);
void peer_close(struct peer *peer);
void peer_send(struct peer *peer, enum bl_frame_type type, uint16_t channel, uint32_t stream, const void *payload, size_t length);
void peer_send_u32(struct peer *peer, enum bl_frame_type type, uint16_t channel, uint32_t stream, uint32_t value);
/* peer_open() - OPEN of an exec of `true`. */
void peer_open(struct peer *peer, uint32_t stream, bool detach);
/* peer_exit() - EXIT with a code. */
void peer_exit(struct peer *peer, uint32_t stream, int code);
/* peer_receive_any() - The next frame, whatever it is. */
void peer_receive_any(struct peer *peer);
/* peer_receive() - The next frame, which must be of this type. Return: its stream */
uint32_t peer_receive(struct peer *peer, enum bl_frame_type type);
/* peer_receive_data() - DATA until @length bytes of a channel came, with no other frame between; copied to @out when that is not
 * NULL. */
void peer_receive_data(struct peer *peer, uint16_t channel, size_t length, uint8_t *out);
/* peer_silent() - Whether nothing more comes. */
bool peer_silent(struct peer *peer);
/* peer_hung_up() - Whether the hub closed the connection. */
bool peer_hung_up(struct peer *peer);

#endif
