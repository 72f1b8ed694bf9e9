/* SPDX-License-Identifier: Apache-2.0 */
/* shim_peers.c - see shim_peers.h */
#include "shim_peers.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/io.h"
#include "base/strings.h"

#define PATIENCE_MS 60000

static void on_ready(void *data)
{
    ((struct bench *)data)->ready++;
}

static void on_opened(void *data)
{
    ((struct bench *)data)->opened++;
}

static void on_exited(const struct bl_exit *exit, void *data)
{
    ((struct bench *)data)->exits++;
    ((struct bench *)data)->exit = *exit;
}

static void on_down(void *data)
{
    ((struct bench *)data)->downs++;
}

static void on_broken(const char *why, void *data)
{
    struct bench *bench = data;

    assert_string_equal(bench->broken, ""); /* told once */
    snprintf(bench->broken, sizeof bench->broken, "%s", why);
}

static void on_stop(int64_t grace_ms, void *data)
{
    ((struct bench *)data)->stops++;
    ((struct bench *)data)->stop_grace_ms = grace_ms;
}

static void on_settled(void *data)
{
    ((struct bench *)data)->settled++;
}

static void on_busy(bool busy, void *data)
{
    struct bench *bench = data;

    assert_int_equal(bench->busy, !busy); /* told when it changes */
    bench->busy = busy;
}

static const struct bl_hub_events events = {
    .ready = on_ready,
    .workload_opened = on_opened,
    .workload_exited = on_exited,
    .down = on_down,
    .broken = on_broken,
    .stop = on_stop,
    .settled = on_settled,
    .busy = on_busy,
};

static void peer_init(struct bench *bench, struct peer *peer, int fd)
{
    *peer = (struct peer){.bench = bench, .fd = fd, .in = BL_BUFFER_INIT(1u << 20)};
    assert_int_equal(bl_set_nonblocking(fd), 0);
}

void bench_start(struct bench *bench, bool start_on_attach)
{
    int fds[2];

    *bench = (struct bench){.directory = "/tmp/boxlite-hub-XXXXXX", .workload = {.kind = BL_OPEN_WORKLOAD}};
    assert_non_null(mkdtemp(bench->directory));
    bench->directory_fd = open(bench->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(bench->directory_fd >= 0);
    assert_int_equal(bl_strings_append(&bench->workload.args, "main"), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    peer_init(bench, &bench->guest, fds[0]);
    assert_int_equal(bl_loop_init(&bench->loop), 0);

    struct bl_hub_config config = {
        .guest_fd = fds[1],
        .listen_fd = bl_unix_listen(bench->directory_fd, "control.sock"),
        .hostname = "boxlite",
        .disk_bytes = 123456789,
        .workload = &bench->workload,
        .start_on_attach = start_on_attach,
        .engine = "stand-in",
        .kernel = "/kernel",
        .started_us = bl_now_us(),
    };

    assert_true(config.listen_fd >= 0);
    assert_int_equal(bl_hub_new(&bench->loop, &config, &events, bench, &bench->hub, NULL), 0);
}

void bench_ready(struct bench *bench, bool start_on_attach)
{
    struct bl_hello hello;

    bench_start(bench, start_on_attach);
    peer_receive(&bench->guest, BL_FRAME_HELLO);
    assert_int_equal(bl_hello_parse(&bench->guest.frame, &hello), 0);
    peer_send(&bench->guest, BL_FRAME_HELLO, 0, 0, bench->guest.frame.payload, BL_HELLO_BYTES);
    peer_receive(&bench->guest, BL_FRAME_CONFIG);
    peer_send(&bench->guest, BL_FRAME_READY, 0, 0, NULL, 0);
    bench_settle(bench);
    assert_int_equal(bench->ready, 1);
}

void bench_end(struct bench *bench)
{
    peer_close(&bench->guest);
    bl_hub_free(bench->hub);
    bl_loop_finish(&bench->loop);
    bl_open_free(&bench->workload);
    close(bench->directory_fd);
    assert_int_equal(bl_remove_tree(AT_FDCWD, bench->directory), 0);
}

void bench_settle(struct bench *bench)
{
    /* Every event that follows from another one needs a round of its own; a handful of rounds carries the longest chain. */
    for (int i = 0; i < 64; i++)
        assert_int_equal(bl_loop_step(&bench->loop, 0), 0);
}

void peer_connect(struct bench *bench, struct peer *peer)
{
    int fd = bl_unix_connect(bench->directory_fd, "control.sock");

    assert_true(fd >= 0);
    peer_adopt(bench, peer, fd);
}

void peer_adopt(struct bench *bench, struct peer *peer, int fd)
{
    struct bl_hello hello = {.version = BL_PROTO_VERSION, .oldest = BL_PROTO_OLDEST_VERSION, .epoch = "epoch of client"};
    struct bl_hello answer;
    cleanup_buffer struct bl_buffer out = BL_BUFFER_INIT(256);

    peer_init(bench, peer, fd);
    assert_int_equal(bl_hello_append(&out, &hello), 0);
    assert_int_equal(bl_write_all(fd, bl_buffer_data(&out), out.length), 0);
    peer_receive(peer, BL_FRAME_HELLO);
    assert_int_equal(bl_hello_parse(&peer->frame, &answer), 0);
    assert_memory_equal(answer.epoch, hello.epoch, sizeof hello.epoch);
}

void peer_close(struct peer *peer)
{
    bl_close_fd(&peer->fd);
    bl_buffer_free(&peer->in);
    bench_settle(peer->bench);
}

static void send_bytes(struct peer *peer, const uint8_t *bytes, size_t length)
{
    int64_t deadline = bl_deadline_in(PATIENCE_MS);

    while (length) {
        ssize_t n = send(peer->fd, bytes, length, MSG_NOSIGNAL);

        if (n < 0 && errno == EPIPE)
            return; /* hung up meanwhile: what follows from that is the test's to check */
        if (n < 0) {
            assert_int_equal(errno, EAGAIN);
            assert_true(bl_now_ms() < deadline);
            bl_loop_step(&peer->bench->loop, 100);
            continue;
        }
        bytes += n;
        length -= (size_t)n;
    }
}

void peer_send(struct peer *peer, enum bl_frame_type type, uint16_t channel, uint32_t stream, const void *payload, size_t length)
{
    cleanup_buffer struct bl_buffer out = BL_BUFFER_INIT(BL_FRAME_HEADER_BYTES + BL_FRAME_PAYLOAD_MAX);

    assert_int_equal(bl_frame_append(&out, type, channel, stream, payload, length), 0);
    send_bytes(peer, bl_buffer_data(&out), out.length);
}

void peer_send_u32(struct peer *peer, enum bl_frame_type type, uint16_t channel, uint32_t stream, uint32_t value)
{
    cleanup_buffer struct bl_buffer out = BL_BUFFER_INIT(64);

    assert_int_equal(bl_frame_append_u32(&out, type, channel, stream, value), 0);
    send_bytes(peer, bl_buffer_data(&out), out.length);
}

void peer_open(struct peer *peer, uint32_t stream, bool detach)
{
    cleanup_buffer struct bl_buffer payload = BL_BUFFER_INIT(4096);
    struct bl_open open = {.kind = BL_OPEN_EXEC, .detach = detach, .use_stdin = true};

    assert_int_equal(bl_strings_append(&open.args, "true"), 0);
    assert_int_equal(bl_open_encode(&payload, &open), 0);
    bl_open_free(&open);
    peer_send(peer, BL_FRAME_OPEN, 0, stream, bl_buffer_data(&payload), payload.length);
}

void peer_exit(struct peer *peer, uint32_t stream, int code)
{
    cleanup_buffer struct bl_buffer payload = BL_BUFFER_INIT(4096);
    struct bl_exit exit = {.code = code};

    assert_int_equal(bl_exit_encode(&payload, &exit), 0);
    peer_send(peer, BL_FRAME_EXIT, 0, stream, bl_buffer_data(&payload), payload.length);
}

/* next_frame() - Return: 1: peer->frame; 0: nothing came before the deadline; -1: hung up */
static int next_frame(struct peer *peer, int64_t deadline)
{
    bl_buffer_consume(&peer->in, peer->used);
    peer->used = 0;
    for (;;) {
        int found = bl_frame_next(&peer->in, &peer->frame, &peer->used);
        uint8_t *room;
        ssize_t n;

        assert_true(found >= 0);
        if (found)
            return 1;
        room = bl_buffer_reserve(&peer->in, BL_FRAME_PAYLOAD_MAX);
        assert_non_null(room);
        n = read(peer->fd, room, BL_FRAME_PAYLOAD_MAX);
        if (n > 0) {
            bl_buffer_commit(&peer->in, (size_t)n);
            continue;
        }
        if (n == 0 || errno == ECONNRESET)
            return -1;
        assert_int_equal(errno, EAGAIN);
        if (bl_now_ms() >= deadline)
            return 0;
        bl_loop_step(&peer->bench->loop, bl_deadline_left(deadline) < 100 ? bl_deadline_left(deadline) : 100);
    }
}

void peer_receive_any(struct peer *peer)
{
    assert_int_equal(next_frame(peer, bl_deadline_in(PATIENCE_MS)), 1);
}

uint32_t peer_receive(struct peer *peer, enum bl_frame_type type)
{
    peer_receive_any(peer);
    assert_string_equal(bl_frame_type_name(peer->frame.type), bl_frame_type_name(type));
    return peer->frame.stream;
}

void peer_receive_data(struct peer *peer, uint16_t channel, size_t length, uint8_t *out)
{
    while (length) {
        peer_receive(peer, BL_FRAME_DATA);
        assert_int_equal(peer->frame.channel, channel);
        assert_true(peer->frame.length <= length);
        if (out) {
            memcpy(out, peer->frame.payload, peer->frame.length);
            out += peer->frame.length;
        }
        length -= peer->frame.length;
    }
}

bool peer_silent(struct peer *peer)
{
    bench_settle(peer->bench);
    return next_frame(peer, 0) == 0;
}

bool peer_hung_up(struct peer *peer)
{
    int more;

    do
        more = next_frame(peer, bl_deadline_in(PATIENCE_MS));
    while (more > 0);
    return more < 0;
}
