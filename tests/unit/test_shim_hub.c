/* SPDX-License-Identifier: Apache-2.0 */
/* test_shim_hub.c - the hub between a guest and clients: what passes, what is counted, and who is given up for what */
#include "shim_peers.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "proto/fields.h"
#include "shim/hub_parts.h"

#define WINDOW BL_WINDOW_BYTES
#define PIECE  BL_FRAME_PAYLOAD_MAX

static uint8_t zeros[PIECE];

static int set_up(void **state)
{
    struct bench *bench = malloc(sizeof *bench);

    *state = bench;
    return bench ? 0 : -1;
}

static int tear_down(void **state)
{
    bench_end(*state);
    free(*state);
    return 0;
}

/* send_window() - A whole window of output from the guest. */
static void send_window(struct bench *bench, uint16_t channel, uint32_t stream)
{
    for (size_t sent = 0; sent < WINDOW; sent += PIECE)
        peer_send(&bench->guest, BL_FRAME_DATA, channel, stream, zeros, PIECE);
}

/* open_exec() - A client's exec, as far as OPENED. Return: the guest's number of it */
static uint32_t open_exec(struct bench *bench, struct peer *client, uint32_t stream)
{
    peer_open(client, stream, false);

    uint32_t id = peer_receive(&bench->guest, BL_FRAME_OPEN);

    peer_send(&bench->guest, BL_FRAME_OPENED, 0, id, NULL, 0);
    assert_int_equal(peer_receive(client, BL_FRAME_OPENED), stream);
    return id;
}

/* next_is_data() - Take the guest's next frame. Return: whether it is DATA */
static bool next_is_data(struct peer *guest)
{
    peer_receive_any(guest);
    return guest->frame.type == BL_FRAME_DATA;
}

static void test_conversation_begins(void **state)
{
    struct bench *bench = *state;
    uint8_t hello[BL_HELLO_BYTES];
    bool hostname = false, entropy = false;
    struct bl_field field;
    struct bl_open open;

    bench_start(bench, false);
    peer_receive(&bench->guest, BL_FRAME_HELLO);
    memcpy(hello, bench->guest.frame.payload, sizeof hello);

    /* What belongs to an epoch before is nobody's, a HELLO too. */
    peer_send(&bench->guest, BL_FRAME_DATA, 1, 99, "old", 3);
    hello[BL_HELLO_BYTES - 1] ^= 1;
    peer_send(&bench->guest, BL_FRAME_HELLO, 0, 0, hello, sizeof hello);
    assert_true(peer_silent(&bench->guest));
    hello[BL_HELLO_BYTES - 1] ^= 1;
    peer_send(&bench->guest, BL_FRAME_HELLO, 0, 0, hello, sizeof hello);
    peer_receive(&bench->guest, BL_FRAME_CONFIG);

    struct bl_field_reader reader = BL_FIELD_READER(bench->guest.frame.payload, bench->guest.frame.length);

    while (bl_field_next(&reader, &field) > 0) {
        hostname = hostname || (field.tag == BL_CONFIG_HOSTNAME && field.length == 7 && memcmp(field.bytes, "boxlite", 7) == 0);
        entropy = entropy || (field.tag == BL_CONFIG_ENTROPY && field.length >= 32);
    }
    assert_true(hostname && entropy);
    peer_send(&bench->guest, BL_FRAME_READY, 0, 0, NULL, 0);

    uint32_t id = peer_receive(&bench->guest, BL_FRAME_OPEN);

    assert_int_equal(bl_open_decode(bench->guest.frame.payload, bench->guest.frame.length, &open), 0);
    assert_int_equal(open.kind, BL_OPEN_WORKLOAD);
    assert_string_equal(open.args[0], "main");
    bl_open_free(&open);
    assert_int_equal(bench->ready, 1);
    assert_int_equal(bench->opened, 0);
    peer_send(&bench->guest, BL_FRAME_OPENED, 0, id, NULL, 0);
    bench_settle(bench);
    assert_int_equal(bench->opened, 1);
    peer_exit(&bench->guest, id, 3);
    bench_settle(bench);
    assert_int_equal(bench->exits, 1);
    assert_int_equal(bench->exit.code, 3);
    assert_string_equal(bench->broken, "");
}

/* refuses_old_agent() - An agent of the first version, which knows no capabilities, answers. */
static void refuses_old_agent(struct bench *bench, bool workload_asks)
{
    struct bl_hello old = {.version = 1, .oldest = 1};
    cleanup_buffer struct bl_buffer out = BL_BUFFER_INIT(256);

    bench_start(bench, false);
    bench->workload.has_capabilities = workload_asks;
    peer_receive(&bench->guest, BL_FRAME_HELLO);
    memcpy(old.epoch, bench->guest.frame.payload + BL_HELLO_BYTES - BL_EPOCH_BYTES, sizeof old.epoch);
    assert_int_equal(bl_hello_append(&out, &old), 0);
    assert_int_equal(bl_write_all(bench->guest.fd, bl_buffer_data(&out), out.length), 0);
    bench_settle(bench);
    assert_int_equal(strstr(bench->broken, "too old") != NULL, workload_asks);
}

static void test_capabilities_need_an_agent_that_knows_them(void **state)
{
    struct bench *bench = *state;
    struct bl_open open = {.kind = BL_OPEN_EXEC, .args = (char *[]){(char[]){"true"}, NULL}, .has_capabilities = true};
    cleanup_buffer struct bl_buffer payload = BL_BUFFER_INIT(1024);
    struct peer client;
    struct bl_exit exit;

    refuses_old_agent(bench, true);
    bench_end(bench);

    /* What asks for none runs there as before, but an exec that asks for some does not. */
    refuses_old_agent(bench, false);
    peer_receive(&bench->guest, BL_FRAME_CONFIG);
    peer_send(&bench->guest, BL_FRAME_READY, 0, 0, NULL, 0);
    peer_receive(&bench->guest, BL_FRAME_OPEN);
    peer_connect(bench, &client);
    assert_int_equal(bl_open_encode(&payload, &open), 0);
    peer_send(&client, BL_FRAME_OPEN, 0, 5, bl_buffer_data(&payload), payload.length);
    assert_int_equal(peer_receive(&client, BL_FRAME_EXIT), 5);
    assert_int_equal(bl_exit_decode(client.frame.payload, client.frame.length, &exit), 0);
    assert_non_null(strstr(exit.error, "too old"));
    assert_true(peer_silent(&bench->guest));
    peer_close(&client);
}

static void test_frames_pass_both_ways(void **state)
{
    struct bench *bench = *state;
    struct peer client;
    uint32_t id, credit = 0;

    bench_ready(bench, true);
    peer_connect(bench, &client);
    id = open_exec(bench, &client, 77);
    peer_send(&client, BL_FRAME_DATA, BL_CHANNEL_STDIN, 77, "input", 5);
    peer_send(&client, BL_FRAME_EOF, BL_CHANNEL_STDIN, 77, NULL, 0);
    peer_send_u32(&client, BL_FRAME_SIGNAL, 0, 77, 15);
    assert_int_equal(peer_receive(&bench->guest, BL_FRAME_DATA), id);
    assert_memory_equal(bench->guest.frame.payload, "input", 5);
    assert_int_equal(peer_receive(&bench->guest, BL_FRAME_EOF), id);
    assert_int_equal(peer_receive(&bench->guest, BL_FRAME_SIGNAL), id);
    peer_send_u32(&bench->guest, BL_FRAME_CREDIT, BL_CHANNEL_STDIN, id, 5);
    assert_int_equal(peer_receive(&client, BL_FRAME_CREDIT), 77);
    peer_send(&bench->guest, BL_FRAME_DATA, BL_CHANNEL_STDERR, id, "output", 6);
    assert_int_equal(peer_receive(&client, BL_FRAME_DATA), 77);
    assert_int_equal(client.frame.channel, BL_CHANNEL_STDERR);
    assert_memory_equal(client.frame.payload, "output", 6);
    peer_send_u32(&client, BL_FRAME_CREDIT, BL_CHANNEL_STDERR, 77, 6);
    assert_int_equal(peer_receive(&bench->guest, BL_FRAME_CREDIT), id);
    assert_int_equal(bl_frame_u32(&bench->guest.frame, &credit), 0);
    assert_int_equal(credit, 6);
    peer_send(&bench->guest, BL_FRAME_EOF, BL_CHANNEL_STDERR, id, NULL, 0);
    peer_exit(&bench->guest, id, 1);
    peer_receive(&client, BL_FRAME_EOF);
    assert_int_equal(peer_receive(&client, BL_FRAME_EXIT), 77);
    /* Sent before the EXIT arrived: no offence. */
    peer_send(&client, BL_FRAME_DATA, BL_CHANNEL_STDIN, 77, "late", 4);
    peer_send_u32(&client, BL_FRAME_CREDIT, BL_CHANNEL_STDERR, 77, 1);
    assert_true(peer_silent(&client));
    assert_true(peer_silent(&bench->guest));
    peer_close(&client);
}

/* What a guest must not do with a stream that it has opened and that has sent "data" already. */
enum offence {
    PAST_WINDOW,
    ON_STDIN,
    EMPTY_DATA,
    AFTER_EOF,
    EOF_TWICE,
    OPENED_TWICE,
    OPENED_LONG,
    CREDIT_FOR_NOTHING,
    UNKNOWN_STREAM,
    AFTER_EXIT,
    EXIT_GARBAGE,
    READY_TWICE,
    DOWN_UNASKED,
    HOST_FRAME,
    PING_LONG,
    NO_FRAME,
    OFFENCES
};

static void commit(struct peer *guest, uint32_t id, enum offence offence)
{
    uint8_t rubbish[BL_FRAME_HEADER_BYTES];

    memset(rubbish, 0xff, sizeof rubbish);
    switch (offence) {
    case PAST_WINDOW:
        send_window(guest->bench, BL_CHANNEL_STDOUT, id);
        break;
    case ON_STDIN:
        peer_send(guest, BL_FRAME_DATA, BL_CHANNEL_STDIN, id, "x", 1);
        break;
    case EMPTY_DATA:
        peer_send(guest, BL_FRAME_DATA, BL_CHANNEL_STDOUT, id, NULL, 0);
        break;
    case AFTER_EOF:
        peer_send(guest, BL_FRAME_EOF, BL_CHANNEL_STDOUT, id, NULL, 0);
        peer_send(guest, BL_FRAME_DATA, BL_CHANNEL_STDOUT, id, "x", 1);
        break;
    case EOF_TWICE:
        peer_send(guest, BL_FRAME_EOF, BL_CHANNEL_STDOUT, id, NULL, 0);
        peer_send(guest, BL_FRAME_EOF, BL_CHANNEL_STDOUT, id, NULL, 0);
        break;
    case OPENED_TWICE:
        peer_send(guest, BL_FRAME_OPENED, 0, id, NULL, 0);
        break;
    case OPENED_LONG:
        peer_send(guest, BL_FRAME_OPENED, 0, id, zeros, sizeof zeros);
        break;
    case CREDIT_FOR_NOTHING:
        peer_send_u32(guest, BL_FRAME_CREDIT, BL_CHANNEL_STDIN, id, 1);
        break;
    case UNKNOWN_STREAM:
        peer_send(guest, BL_FRAME_DATA, BL_CHANNEL_STDOUT, id + BL_STREAMS_MAX, "x", 1);
        break;
    case AFTER_EXIT:
        peer_exit(guest, id, 0);
        peer_exit(guest, id, 0);
        break;
    case EXIT_GARBAGE:
        peer_send(guest, BL_FRAME_EXIT, 0, id, "garbage", 7);
        break;
    case READY_TWICE:
        peer_send(guest, BL_FRAME_READY, 0, 0, NULL, 0);
        break;
    case DOWN_UNASKED:
        peer_send(guest, BL_FRAME_DOWN, 0, 0, NULL, 0);
        break;
    case HOST_FRAME:
        peer_send(guest, BL_FRAME_OPEN, 0, id, NULL, 0);
        break;
    case PING_LONG:
        peer_send(guest, BL_FRAME_PING, 0, 0, zeros, 9);
        break;
    case NO_FRAME:
        assert_int_equal(send(guest->fd, rubbish, sizeof rubbish, MSG_NOSIGNAL), sizeof rubbish);
        break;
    case OFFENCES:
        break;
    }
}

static void test_guest_that_breaks_the_rules_is_given_up(void **state)
{
    struct bench *bench = *state;

    for (int offence = 0; offence < OFFENCES; offence++) {
        struct peer client;
        uint32_t id;

        bench_ready(bench, true);
        peer_connect(bench, &client);
        id = open_exec(bench, &client, 1);
        peer_send(&bench->guest, BL_FRAME_DATA, BL_CHANNEL_STDOUT, id, "data", 4);
        peer_receive_data(&client, BL_CHANNEL_STDOUT, 4, NULL);
        assert_string_equal(bench->broken, "");
        commit(&bench->guest, id, (enum offence)offence);
        bench_settle(bench);
        if (!bench->broken[0])
            fail_msg("offence %d was not noticed", offence);
        /* Nothing of it reaches the client but what came before. */
        bl_hub_guest_gone(bench->hub);
        assert_true(offence == AFTER_EXIT || peer_hung_up(&client));
        peer_close(&client);
        if (offence + 1 < OFFENCES)
            bench_end(bench);
    }
}

static void test_fault_is_told(void **state)
{
    struct bench *bench = *state;
    cleanup_buffer struct bl_buffer fields = BL_BUFFER_INIT(256);

    bench_ready(bench, true);
    assert_int_equal(bl_field_put_string(&fields, BL_FAULT_MESSAGE, "mount /dev/vda: no such device"), 0);
    peer_send(&bench->guest, BL_FRAME_FAULT, 0, 0, bl_buffer_data(&fields), fields.length);
    bench_settle(bench);
    assert_non_null(strstr(bench->broken, "mount /dev/vda"));
}

static void test_client_that_does_not_read_blocks_nobody(void **state)
{
    struct bench *bench = *state;
    struct peer lazy, other;
    uint32_t id, other_id;

    bench_ready(bench, true);
    peer_connect(bench, &lazy);
    peer_connect(bench, &other);
    id = open_exec(bench, &lazy, 1);
    other_id = open_exec(bench, &other, 1);
    send_window(bench, BL_CHANNEL_STDOUT, id);
    send_window(bench, BL_CHANNEL_STDERR, id);
    assert_true(peer_silent(&bench->guest)); /* no credit that the client did not give */
    peer_send(&bench->guest, BL_FRAME_DATA, BL_CHANNEL_STDOUT, other_id, "quick", 5);
    peer_exit(&bench->guest, other_id, 0);
    peer_receive_data(&other, BL_CHANNEL_STDOUT, 5, NULL);
    peer_receive(&other, BL_FRAME_EXIT);
    peer_receive_data(&lazy, BL_CHANNEL_STDOUT, WINDOW, NULL);
    peer_receive_data(&lazy, BL_CHANNEL_STDERR, WINDOW, NULL);
    assert_string_equal(bench->broken, "");
    peer_close(&lazy);
    peer_close(&other);
}

static void test_client_that_breaks_the_rules_is_hung_up(void **state)
{
    struct bench *bench = *state;
    struct peer client, good;

    bench_ready(bench, true);
    peer_connect(bench, &good);
    for (int offence = 0; offence < 8; offence++) {
        uint32_t id;

        peer_connect(bench, &client);
        id = open_exec(bench, &client, 5);
        if (offence == 0)
            peer_send_u32(&client, BL_FRAME_CREDIT, BL_CHANNEL_STDOUT, 5, 1);
        if (offence == 1)
            for (size_t sent = 0; sent <= WINDOW; sent += PIECE)
                peer_send(&client, BL_FRAME_DATA, BL_CHANNEL_STDIN, 5, zeros, PIECE);
        if (offence == 2)
            peer_send(&client, BL_FRAME_DATA, BL_CHANNEL_STDOUT, 5, "x", 1);
        if (offence == 3)
            peer_open(&client, 5, false);
        if (offence == 4)
            peer_send(&client, BL_FRAME_RESIZE, 0, 5, "123", 3);
        if (offence == 5)
            peer_send_u32(&client, BL_FRAME_SIGNAL, 0, 5, 65);
        if (offence == 6)
            peer_exit(&client, 5, 0);
        if (offence == 7)
            peer_send(&client, BL_FRAME_SHUTDOWN, 0, 0, zeros, 4);
        assert_true(peer_hung_up(&client));
        peer_close(&client);
        /* Its command is killed. */
        while (next_is_data(&bench->guest))
            ;
        assert_string_equal(bl_frame_type_name(bench->guest.frame.type), "CLOSE");
        assert_int_equal(bench->guest.frame.stream, id);
    }
    assert_int_equal(open_exec(bench, &good, 1) != 0, 1);
    peer_close(&good);
}

static void test_client_that_leaves(void **state)
{
    struct bench *bench = *state;
    struct peer client;
    uint32_t id, detached, credit = 0;

    bench_ready(bench, true);
    peer_connect(bench, &client);
    id = open_exec(bench, &client, 1);
    peer_open(&client, 2, true);
    detached = peer_receive(&bench->guest, BL_FRAME_OPEN);
    peer_close(&client);
    assert_int_equal(peer_receive(&bench->guest, BL_FRAME_CLOSE), id);
    assert_true(peer_silent(&bench->guest)); /* the detached one runs on */

    /* What was under way when it left is no offence, and what the detached command still says is taken from it. */
    peer_send(&bench->guest, BL_FRAME_DATA, BL_CHANNEL_STDOUT, id, "late", 4);
    peer_exit(&bench->guest, id, 137);
    send_window(bench, BL_CHANNEL_STDOUT, detached);
    assert_int_equal(peer_receive(&bench->guest, BL_FRAME_CREDIT), detached);
    assert_int_equal(bl_frame_u32(&bench->guest.frame, &credit), 0);
    assert_true(credit >= WINDOW / 4);
    peer_exit(&bench->guest, detached, 0);
    bench_settle(bench);
    assert_string_equal(bench->broken, "");
}

static void test_kept_output_is_replayed(void **state)
{
    struct bench *bench = *state;
    cleanup_free uint8_t *sent = malloc(3 * WINDOW), *received = malloc(3 * WINDOW);
    struct peer client;
    uint32_t id, credit = 0, credited = 0;

    assert_true(sent && received);
    for (uint32_t i = 0; i < 3 * WINDOW / 4; i++)
        bl_put_le32(sent + 4 * (size_t)i, i);
    bench_ready(bench, false);
    id = peer_receive(&bench->guest, BL_FRAME_OPEN);
    peer_send(&bench->guest, BL_FRAME_OPENED, 0, id, NULL, 0);

    /* Two windows while nobody is there: credit is given for all but what is being gathered. */
    for (size_t at = 0; at < 2 * WINDOW; at += 1024)
        peer_send(&bench->guest, BL_FRAME_DATA, BL_CHANNEL_STDOUT, id, sent + at, 1024);
    while (credited < 2 * WINDOW) {
        assert_int_equal(peer_receive(&bench->guest, BL_FRAME_CREDIT), id);
        assert_int_equal(bl_frame_u32(&bench->guest.frame, &credit), 0);
        credited += credit;
    }

    /* The last window is replayed. The guest may send another at once, which the client's window has no room for. */
    peer_connect(bench, &client);
    peer_send(&client, BL_FRAME_ATTACH, 0, 9, NULL, 0);
    assert_int_equal(peer_receive(&client, BL_FRAME_OPENED), 9);
    peer_receive_data(&client, BL_CHANNEL_STDOUT, WINDOW, received);
    assert_memory_equal(received, sent + WINDOW, WINDOW);
    for (size_t at = 2 * WINDOW; at < 3 * WINDOW; at += PIECE)
        peer_send(&bench->guest, BL_FRAME_DATA, BL_CHANNEL_STDOUT, id, sent + at, PIECE);
    peer_send(&bench->guest, BL_FRAME_EOF, BL_CHANNEL_STDOUT, id, NULL, 0);
    peer_exit(&bench->guest, id, 4);
    assert_true(peer_silent(&client));
    assert_int_equal(bench->exits, 1);
    assert_false(bl_hub_settled(bench->hub));

    /* Credit for the replay lets the rest out; it is none of the guest's. EOF and EXIT come behind it. */
    peer_send_u32(&client, BL_FRAME_CREDIT, BL_CHANNEL_STDOUT, 9, WINDOW / 2);
    peer_receive_data(&client, BL_CHANNEL_STDOUT, WINDOW / 2, received);
    peer_send_u32(&client, BL_FRAME_CREDIT, BL_CHANNEL_STDOUT, 9, WINDOW / 2);
    peer_receive_data(&client, BL_CHANNEL_STDOUT, WINDOW / 2, received + WINDOW / 2);
    assert_memory_equal(received, sent + 2 * WINDOW, WINDOW);
    peer_receive(&client, BL_FRAME_EOF);
    assert_int_equal(peer_receive(&client, BL_FRAME_EXIT), 9);
    assert_true(peer_silent(&bench->guest));
    bench_settle(bench);
    assert_true(bl_hub_settled(bench->hub));
    assert_string_equal(bench->broken, "");
    peer_close(&client);
}

static void test_credit_after_a_replay_is_the_guests(void **state)
{
    struct bench *bench = *state;
    struct peer client;
    uint32_t id, credit = 0;

    bench_ready(bench, false);
    id = peer_receive(&bench->guest, BL_FRAME_OPEN);
    peer_send(&bench->guest, BL_FRAME_OPENED, 0, id, NULL, 0);
    peer_send(&bench->guest, BL_FRAME_DATA, BL_CHANNEL_STDERR, id, "kept", 4);
    bench_settle(bench);
    peer_connect(bench, &client);
    peer_send(&client, BL_FRAME_ATTACH, 0, 1, NULL, 0);
    peer_receive(&client, BL_FRAME_OPENED);
    peer_receive_data(&client, BL_CHANNEL_STDERR, 4, NULL);
    assert_int_equal(peer_receive(&bench->guest, BL_FRAME_CREDIT), id); /* gathered until then */
    peer_send(&bench->guest, BL_FRAME_DATA, BL_CHANNEL_STDERR, id, "live", 4);
    peer_receive_data(&client, BL_CHANNEL_STDERR, 4, NULL);
    peer_send_u32(&client, BL_FRAME_CREDIT, BL_CHANNEL_STDERR, 1, 3);
    assert_true(peer_silent(&bench->guest));
    peer_send_u32(&client, BL_FRAME_CREDIT, BL_CHANNEL_STDERR, 1, 5);
    assert_int_equal(peer_receive(&bench->guest, BL_FRAME_CREDIT), id);
    assert_int_equal(bl_frame_u32(&bench->guest.frame, &credit), 0);
    assert_int_equal(credit, 4);

    /* The workload's stream outlives its EXIT, but not for the guest. */
    peer_exit(&bench->guest, id, 0);
    peer_receive(&client, BL_FRAME_EXIT);
    assert_string_equal(bench->broken, "");
    peer_exit(&bench->guest, id, 0);
    bench_settle(bench);
    assert_string_not_equal(bench->broken, "");
    assert_int_equal(bench->exits, 1);
    peer_close(&client);
}

static void test_one_attachment_at_a_time(void **state)
{
    struct bench *bench = *state;
    struct peer first, second;
    uint32_t id, credit = 0;

    bench_ready(bench, true);
    peer_connect(bench, &first);
    peer_connect(bench, &second);
    assert_true(peer_silent(&bench->guest)); /* the workload waits */
    peer_send(&first, BL_FRAME_ATTACH, 0, 1, NULL, 0);
    id = peer_receive(&bench->guest, BL_FRAME_OPEN);
    peer_send(&second, BL_FRAME_ATTACH, 0, 1, NULL, 0);
    assert_int_equal(peer_receive(&second, BL_FRAME_EXIT), 1);

    /* The first leaves with output that it gave no credit for and input that the guest has not taken. */
    send_window(bench, BL_CHANNEL_STDOUT, id);
    for (size_t sent = 0; sent < WINDOW; sent += PIECE)
        peer_send(&first, BL_FRAME_DATA, BL_CHANNEL_STDIN, 1, zeros, PIECE);
    peer_receive_data(&bench->guest, BL_CHANNEL_STDIN, WINDOW, NULL);
    peer_close(&first);
    assert_int_equal(peer_receive(&bench->guest, BL_FRAME_CREDIT), id);
    assert_int_equal(bl_frame_u32(&bench->guest.frame, &credit), 0);
    assert_int_equal(credit, WINDOW);
    assert_true(peer_silent(&bench->guest)); /* no CLOSE, and its input stays open */

    /* The next one's input waits until the guest has taken that of the first; that credit is not the second's. */
    peer_send(&second, BL_FRAME_ATTACH, 0, 2, NULL, 0);
    peer_send(&second, BL_FRAME_DATA, BL_CHANNEL_STDIN, 2, "mine", 4);
    assert_true(peer_silent(&bench->guest));
    peer_send_u32(&bench->guest, BL_FRAME_CREDIT, BL_CHANNEL_STDIN, id, WINDOW);
    peer_receive_data(&bench->guest, BL_CHANNEL_STDIN, 4, NULL);
    assert_true(peer_silent(&second));
    peer_send_u32(&bench->guest, BL_FRAME_CREDIT, BL_CHANNEL_STDIN, id, 4);
    assert_int_equal(peer_receive(&second, BL_FRAME_CREDIT), 2);
    assert_string_equal(bench->broken, "");
    peer_close(&second);
}

static void test_stop_is_heard_while_the_guest_does_not_read(void **state)
{
    struct bench *bench = *state;
    struct peer busy, other;
    cleanup_buffer struct bl_buffer fields = BL_BUFFER_INIT(64);
    bool full = false;

    bench_ready(bench, true);
    peer_connect(bench, &busy);
    peer_connect(bench, &other);
    for (uint32_t stream = 1; stream <= 8; stream++)
        open_exec(bench, &busy, stream);
    /* More input than the queue to the guest holds; the guest reads none of it. Sending stops once the hub stops reading. */
    for (int round = 0; round < 32 && !full; round++) {
        uint8_t frame[BL_FRAME_HEADER_BYTES + PIECE] = {0};

        bl_put_le32(frame, PIECE);
        bl_put_le16(frame + 4, BL_FRAME_DATA);
        bl_put_le32(frame + 8, 1 + (uint32_t)round / 4);
        for (size_t at = 0; at < sizeof frame && !full;) {
            ssize_t n = send(busy.fd, frame + at, sizeof frame - at, MSG_NOSIGNAL | MSG_DONTWAIT);

            bench_settle(bench);
            full = n < 0;
            at += n > 0 ? (size_t)n : 0;
        }
    }
    assert_true(full); /* what the hub keeps for the guest is bounded */
    assert_int_equal(bl_field_put_u32(&fields, BL_STOP_GRACE_MS, 1234), 0);
    peer_send(&other, BL_FRAME_STATUS, 0, 0, NULL, 0);
    peer_receive(&other, BL_FRAME_STATUS);
    peer_send(&other, BL_FRAME_STOP, 0, 0, bl_buffer_data(&fields), fields.length);
    bench_settle(bench);
    assert_int_equal(bench->stops, 1);
    assert_int_equal(bench->stop_grace_ms, 1234);
    /* What was taken arrives once the guest reads again, and then the rest is taken too. */
    for (size_t got = 0; got < (1u << 20) + PIECE; got += bench->guest.frame.length)
        peer_receive(&bench->guest, BL_FRAME_DATA);
    assert_string_equal(bench->broken, "");
    peer_close(&busy);
    peer_close(&other);
}

static void test_no_streams_past_the_limit(void **state)
{
    struct bench *bench = *state;
    struct peer client;
    struct bl_exit exit;

    bench_ready(bench, true);
    peer_connect(bench, &client);
    for (uint32_t stream = 1; stream <= BL_STREAMS_MAX; stream++) {
        peer_open(&client, stream, false);
        peer_receive(&bench->guest, BL_FRAME_OPEN);
    }
    peer_open(&client, BL_STREAMS_MAX + 1, false);
    assert_int_equal(peer_receive(&client, BL_FRAME_EXIT), BL_STREAMS_MAX + 1);
    assert_int_equal(bl_exit_decode(client.frame.payload, client.frame.length, &exit), 0);
    assert_int_equal(exit.code, 125);
    assert_non_null(strstr(exit.error, "too many"));
    peer_close(&client);
}

static void test_no_descriptors_left(void **state)
{
    struct bench *bench = *state;
    struct rlimit before, low;
    struct peer client;
    int fd;

    bench_ready(bench, true);
    fd = bl_unix_connect(bench->directory_fd, "control.sock");
    assert_true(fd >= 0);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    low = before;
    low.rlim_cur = (rlim_t)fd; /* the next descriptor would have a higher number */
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    bench_settle(bench);
    /* The loop does not go round and round meanwhile. */
    assert_int_equal(bench->hub->listener.events, 0);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    peer_adopt(bench, &client, fd);
    peer_close(&client);
}

static void test_end(void **state)
{
    struct bench *bench = *state;
    struct peer attached, waiting;
    uint32_t id;

    bench_ready(bench, true);
    peer_connect(bench, &attached);
    peer_connect(bench, &waiting);
    peer_send(&attached, BL_FRAME_ATTACH, 0, 1, NULL, 0);
    id = peer_receive(&bench->guest, BL_FRAME_OPEN);
    open_exec(bench, &waiting, 1);
    bl_hub_shutdown(bench->hub, 250);
    peer_receive(&bench->guest, BL_FRAME_SHUTDOWN);
    assert_int_equal(bl_get_le32(bench->guest.frame.payload), 250);
    peer_open(&waiting, 2, false);
    assert_int_equal(peer_receive(&waiting, BL_FRAME_EXIT), 2);
    peer_exit(&bench->guest, id, 143);
    peer_send(&bench->guest, BL_FRAME_DOWN, 0, 0, NULL, 0);
    /* The VM is gone before the loop came to read that. */
    bl_hub_drain(bench->hub);
    assert_int_equal(bench->exits, 1);
    assert_int_equal(bench->downs, 1);
    bl_hub_guest_gone(bench->hub);
    assert_int_equal(peer_receive(&attached, BL_FRAME_EXIT), 1);
    assert_true(peer_hung_up(&waiting));
    assert_true(bl_hub_settled(bench->hub));
    peer_close(&attached);
    peer_close(&waiting);
}

/* The workload's second life: what its first one printed is kept, and who still reads the first one's end gets all of it. */
static void test_workload_lives_again(void **state)
{
    struct bench *bench = *state;
    struct peer client;
    uint32_t first, second;

    bench_ready(bench, false);
    first = peer_receive(&bench->guest, BL_FRAME_OPEN);
    peer_send(&bench->guest, BL_FRAME_OPENED, 0, first, NULL, 0);
    peer_send(&bench->guest, BL_FRAME_DATA, BL_CHANNEL_STDOUT, first, "one", 3);
    peer_exit(&bench->guest, first, 1);
    bench_settle(bench);
    assert_int_equal(bench->exits, 1);
    assert_false(bench->busy);

    /* Until then nothing runs in it. */
    peer_connect(bench, &client);
    peer_open(&client, 9, false);
    assert_int_equal(peer_receive(&client, BL_FRAME_EXIT), 9);

    assert_int_equal(bl_hub_open_again(bench->hub), 0);
    second = peer_receive(&bench->guest, BL_FRAME_OPEN);
    assert_int_not_equal(first, second);
    peer_send(&bench->guest, BL_FRAME_OPENED, 0, second, NULL, 0);
    peer_send(&bench->guest, BL_FRAME_DATA, BL_CHANNEL_STDOUT, second, "two", 3);
    bench_settle(bench);
    assert_int_equal(bench->opened, 2);
    peer_send(&client, BL_FRAME_ATTACH, 0, 1, NULL, 0);
    peer_receive(&client, BL_FRAME_OPENED);

    uint8_t both[6];

    peer_receive_data(&client, BL_CHANNEL_STDOUT, sizeof both, both);
    assert_memory_equal(both, "onetwo", sizeof both);
    assert_true(bench->busy);

    /* Output that the client has no room for is held back, with the EXIT behind it; the next life does not take it away. */
    for (size_t sent = 3; sent < WINDOW; sent += PIECE)
        peer_send(&bench->guest, BL_FRAME_DATA, BL_CHANNEL_STDOUT, second, zeros, WINDOW - sent < PIECE ? WINDOW - sent : PIECE);
    peer_exit(&bench->guest, second, 2);
    peer_receive_data(&client, BL_CHANNEL_STDOUT, WINDOW - 6, NULL);
    assert_int_equal(bench->exits, 2);
    assert_int_equal(bl_hub_open_again(bench->hub), 0);
    /* The credit for what was replayed first, the rest is the former life's. */
    while (bench->guest.frame.type != BL_FRAME_OPEN)
        peer_receive_any(&bench->guest);
    assert_true(bench->busy);
    peer_send_u32(&client, BL_FRAME_CREDIT, BL_CHANNEL_STDOUT, 1, WINDOW);
    peer_receive_data(&client, BL_CHANNEL_STDOUT, 3, NULL);
    assert_int_equal(peer_receive(&client, BL_FRAME_EXIT), 1);
    bench_settle(bench);
    assert_false(bench->busy);
    assert_string_equal(bench->broken, "");
    peer_close(&client);
}

/* A command that nobody listens to any more uses the box until it ends, unless its client took it along. */
static void test_busy_is_told(void **state)
{
    struct bench *bench = *state;
    struct peer client;
    uint32_t id;

    bench_ready(bench, false);
    id = peer_receive(&bench->guest, BL_FRAME_OPEN);
    peer_send(&bench->guest, BL_FRAME_OPENED, 0, id, NULL, 0);
    peer_connect(bench, &client);
    assert_false(bench->busy);
    id = open_exec(bench, &client, 1);
    assert_true(bench->busy);
    peer_exit(&bench->guest, id, 0);
    peer_receive(&client, BL_FRAME_EXIT);
    assert_false(bench->busy);
    peer_open(&client, 2, true);
    id = peer_receive(&bench->guest, BL_FRAME_OPEN);
    peer_close(&client);
    bench_settle(bench);
    assert_true(bench->busy);
    peer_exit(&bench->guest, id, 0);
    bench_settle(bench);
    assert_false(bench->busy);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_conversation_begins, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_capabilities_need_an_agent_that_knows_them, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_frames_pass_both_ways, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_guest_that_breaks_the_rules_is_given_up, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_fault_is_told, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_client_that_does_not_read_blocks_nobody, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_client_that_breaks_the_rules_is_hung_up, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_client_that_leaves, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_kept_output_is_replayed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_credit_after_a_replay_is_the_guests, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_one_attachment_at_a_time, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_stop_is_heard_while_the_guest_does_not_read, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_no_streams_past_the_limit, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_no_descriptors_left, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_end, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_workload_lives_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_busy_is_told, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
