/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_core_session.c - sessions against a peer that this program plays itself: honest, hostile, dying
 *
 * The box's lock is held by a child, so the box counts as running; control.sock is ours.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/io.h"
#include "core/lock.h"
#include "core_fixture.h"
#include "proto/launch.h"

/* What the callbacks were told. */
struct told {
    struct bl_buffer output[BL_CHANNEL_COUNT];
    bool opened, ended[BL_CHANNEL_COUNT], keep; /* keep: give no credit back */
    int writable, exits;
    struct bl_exit exit;
};

static struct bl_runtime *runtime;
static char id[BL_BOX_ID_LENGTH + 1];
static struct holder holder;
static int listener = -1, peer = -1;
static struct bl_buffer peer_in = BL_BUFFER_INIT(1 << 20);
static struct told told;
static struct bl_session *session;

static void on_opened(struct bl_session *from, void *data)
{
    (void)from;
    ((struct told *)data)->opened = true;
}

static void on_output(struct bl_session *from, enum bl_channel channel, const void *bytes, size_t length, void *data)
{
    struct told *to = data;

    assert_int_equal(bl_buffer_append(&to->output[channel], bytes, length), 0);
    if (!to->keep)
        bl_session_consumed(from, channel, length);
}

static void on_output_end(struct bl_session *from, enum bl_channel channel, void *data)
{
    (void)from;
    ((struct told *)data)->ended[channel] = true;
}

static void on_writable(struct bl_session *from, void *data)
{
    (void)from;
    ((struct told *)data)->writable++;
}

static void on_exited(struct bl_session *from, const struct bl_exit *exit, void *data)
{
    struct told *to = data;

    (void)from;
    to->exits++;
    to->exit = *exit;
}

static size_t room_for = SIZE_MAX; /* pieces of output that are taken until there is no room */

static bool has_room(struct bl_session *from, void *data)
{
    (void)from;
    (void)data;
    if (!room_for)
        return false;
    room_for -= room_for != SIZE_MAX;
    return true;
}

static const struct bl_session_events events = {on_opened, on_output, on_output_end, on_writable, on_exited, has_room};

static int setup(void **state)
{
    (void)state;
    runtime = fixture_open();
    fixture_box(runtime, NULL, true, id);
    holder = hold_posix(id);
    return 0;
}

/* hang_up() - The shim's process ends, and its socket with it. */
static void hang_up(void)
{
    if (holder.pid)
        let_go(&holder);
    holder.pid = 0;
    bl_close_fd(&peer);
    bl_close_fd(&listener);
}

static int teardown(void **state)
{
    (void)state;
    bl_session_free(session);
    session = NULL;
    hang_up();
    for (int i = 0; i < BL_CHANNEL_COUNT; i++)
        bl_buffer_free(&told.output[i]);
    bl_buffer_free(&peer_in);

    int failed = bl_box_remove(runtime, id, true, NULL);

    bl_runtime_close(runtime);
    return failed;
}

/* open_session() - An exec, up to the point where the peer has its OPEN. */
static void open_session(bool with_input)
{
    char *args[] = {(char[]){"true"}, NULL};
    const struct bl_open open = {.kind = BL_OPEN_EXEC, .args = args, .use_stdin = with_input};
    struct bl_error err = BL_ERROR_INIT;
    cleanup_close int box_fd = openat(runtime->boxes_fd, id, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    told = (struct told){0};
    for (int i = 0; i < BL_CHANNEL_COUNT; i++)
        told.output[i] = (struct bl_buffer)BL_BUFFER_INIT(4 << 20);
    listener = bl_unix_listen(box_fd, BL_FILE_CONTROL_SOCKET);
    assert_true(listener >= 0);
    if (bl_session_exec(runtime, id, &open, &events, &told, &session, &err) < 0)
        fail_msg("%s", err.message);
    peer = accept(listener, NULL, NULL);
    assert_true(peer >= 0);
}

/* receive() - The next frame that the session sent; consume it with @used. */
static struct bl_frame receive(size_t *used)
{
    struct bl_frame frame;

    for (;;) {
        struct pollfd polled = {.fd = peer, .events = POLLIN};

        if (bl_frame_next(&peer_in, &frame, used) > 0)
            return frame;
        assert_int_equal(poll(&polled, 1, WAIT_MS), 1);

        uint8_t *room = bl_buffer_reserve(&peer_in, 65536);
        ssize_t n = read(peer, room, 65536);

        assert_true(n > 0);
        bl_buffer_commit(&peer_in, (size_t)n);
    }
}

static void expect_frame(enum bl_frame_type type)
{
    size_t used;
    struct bl_frame frame = receive(&used);

    assert_string_equal(bl_frame_type_name(frame.type), bl_frame_type_name(type));
    bl_buffer_consume(&peer_in, used);
}

static void reply(enum bl_frame_type type, uint16_t channel, uint32_t stream, const void *payload, size_t length)
{
    struct bl_buffer out = BL_BUFFER_INIT(1 << 20);

    assert_int_equal(bl_frame_append(&out, type, channel, stream, payload, length), 0);
    assert_int_equal(bl_write_all(peer, bl_buffer_data(&out), out.length), 0);
    bl_buffer_free(&out);
}

static void greet(void)
{
    struct bl_buffer out = BL_BUFFER_INIT(256);
    size_t used;
    struct bl_frame frame = receive(&used);
    struct bl_hello hello;

    assert_int_equal(frame.type, BL_FRAME_HELLO);
    assert_int_equal(bl_hello_parse(&frame, &hello), 0);
    bl_buffer_consume(&peer_in, used);
    assert_int_equal(bl_hello_append(&out, &hello), 0);
    assert_int_equal(bl_write_all(peer, bl_buffer_data(&out), out.length), 0);
    bl_buffer_free(&out);
    expect_frame(BL_FRAME_OPEN);
}

/* step() - One step once the socket is readable. */
static int step(struct bl_error *err)
{
    struct pollfd polled = {.fd = bl_session_fd(session), .events = POLLIN};

    assert_int_equal(poll(&polled, 1, WAIT_MS), 1);
    return bl_session_step(session, err);
}

/* steps() - Until it is over. */
static int steps(struct bl_error *err)
{
    int went_on = 1;

    while (went_on == 1)
        went_on = step(err);
    return went_on;
}

static void send_exit(int code)
{
    struct bl_buffer payload = BL_BUFFER_INIT(4096);
    const struct bl_exit exit = {.code = code};

    assert_int_equal(bl_exit_encode(&payload, &exit), 0);
    reply(BL_FRAME_EXIT, 0, 1, bl_buffer_data(&payload), payload.length);
    bl_buffer_free(&payload);
}

static void a_command_from_open_to_exit(void **state)
{
    struct bl_error err = BL_ERROR_INIT;

    (void)state;
    open_session(false);
    greet();
    assert_int_equal(bl_session_write(session, "x", 1), -1); /* it was opened without input */
    reply(BL_FRAME_OPENED, 0, 1, NULL, 0);
    reply(BL_FRAME_DATA, BL_CHANNEL_STDOUT, 1, "out", 3);
    reply(BL_FRAME_DATA, BL_CHANNEL_STDERR, 1, "err", 3);
    reply(BL_FRAME_EOF, BL_CHANNEL_STDOUT, 1, NULL, 0);
    reply(BL_FRAME_EOF, BL_CHANNEL_STDERR, 1, NULL, 0);
    send_exit(3);
    assert_int_equal(steps(&err), 0);
    assert_true(told.opened && told.ended[BL_CHANNEL_STDOUT] && told.ended[BL_CHANNEL_STDERR]);
    assert_memory_equal(bl_buffer_data(&told.output[BL_CHANNEL_STDOUT]), "out", 3);
    assert_memory_equal(bl_buffer_data(&told.output[BL_CHANNEL_STDERR]), "err", 3);
    assert_int_equal(told.exits, 1);
    assert_int_equal(told.exit.code, 3);
    assert_int_equal(bl_session_step(session, &err), 0); /* and again */
    assert_int_equal(told.exits, 1);
}

/* What the caller has no room for waits, whatever else the session is stepped for, and comes in order with what follows. */
static void output_waits_for_room(void **state)
{
    struct bl_error err = BL_ERROR_INIT;

    (void)state;
    open_session(false);
    greet();
    reply(BL_FRAME_OPENED, 0, 1, NULL, 0);
    for (const char *letter = "abcd"; *letter; letter++)
        reply(BL_FRAME_DATA, BL_CHANNEL_STDOUT, 1, letter, 1);
    reply(BL_FRAME_EOF, BL_CHANNEL_STDOUT, 1, NULL, 0);
    send_exit(4);
    for (size_t taken = 0; taken < 4; taken++) {
        room_for = 0;
        assert_int_equal(bl_session_step(session, &err), 1);
        assert_int_equal(told.output[BL_CHANNEL_STDOUT].length, taken);
        bl_session_signal(session, 10); /* the way there is open all the while */
        assert_int_equal(bl_session_step(session, &err), 1);
        expect_frame(BL_FRAME_SIGNAL);
        room_for = 1;
        if (taken < 3)
            assert_int_equal(bl_session_step(session, &err), 1);
    }
    assert_false(told.ended[BL_CHANNEL_STDOUT] || told.exits);
    room_for = SIZE_MAX;
    hang_up(); /* what came before the end still counts */
    assert_int_equal(bl_session_step(session, &err), 0);
    assert_memory_equal(bl_buffer_data(&told.output[BL_CHANNEL_STDOUT]), "abcd", 4);
    assert_true(told.ended[BL_CHANNEL_STDOUT] && told.exits == 1 && told.exit.code == 4);
}

/* A connection that is gone leaves nothing to send, or whoever watches it would be told for ever that it takes bytes. */
static void nothing_is_to_be_sent_to_who_is_gone(void **state)
{
    struct bl_error err = BL_ERROR_INIT;

    (void)state;
    open_session(false);
    greet();
    reply(BL_FRAME_OPENED, 0, 1, NULL, 0);
    reply(BL_FRAME_DATA, BL_CHANNEL_STDOUT, 1, "x", 1);
    room_for = 0;
    hang_up();
    bl_session_signal(session, 10);
    assert_int_equal(bl_session_step(session, &err), 1);
    assert_int_equal(bl_session_poll_events(session), POLLIN);
    room_for = SIZE_MAX;
    assert_int_equal(bl_session_step(session, &err), -1);
    assert_int_equal(told.output[BL_CHANNEL_STDOUT].length, 1);
}

/* What could not be sent will never be answered: the session ends at its next step, which is due at once, and says what failed. */
static void what_can_not_be_sent_ends_it(void **state)
{
    struct bl_error err = BL_ERROR_INIT;

    (void)state;
    open_session(false);
    greet();
    reply(BL_FRAME_OPENED, 0, 1, NULL, 0);
    assert_int_equal(bl_session_step(session, &err), 1);
    assert_int_equal(bl_session_poll_events(session), POLLIN);
    assert_int_equal(shutdown(peer, SHUT_RD), 0);
    reply(BL_FRAME_DATA, BL_CHANNEL_STDOUT, 1, "x", 1);
    bl_session_signal(session, 10);
    assert_int_equal(bl_session_poll_events(session), POLLIN | POLLOUT);
    while (bl_session_step(session, &err) > 0)
        assert_int_equal(bl_session_poll_events(session), POLLIN | POLLOUT);
    assert_int_equal(err.code, BL_RPC_TRANSPORT);
    assert_int_equal(err.sys_errno, EPIPE);
    assert_int_equal(told.output[BL_CHANNEL_STDOUT].length, 1); /* what it said before was heard */
}

static void input_stops_at_the_window_and_goes_on_with_credit(void **state)
{
    static uint8_t bytes[BL_WINDOW_BYTES + 100];
    uint8_t credit[4];
    size_t got = 0, used;
    struct bl_error err = BL_ERROR_INIT;

    (void)state;
    open_session(true);
    greet();
    assert_int_equal(bl_session_write(session, bytes, sizeof bytes), BL_WINDOW_BYTES);
    assert_int_equal(bl_session_write(session, bytes, 100), 0);
    while (got < BL_WINDOW_BYTES) {
        struct pollfd writable = {.fd = bl_session_fd(session), .events = bl_session_poll_events(session)};
        struct bl_frame frame;

        /* What the socket did not take goes out with the next steps. */
        if (poll(&writable, 1, 0) > 0)
            assert_int_equal(bl_session_step(session, &err), 1);
        frame = receive(&used);
        assert_int_equal(frame.type, BL_FRAME_DATA);
        assert_int_equal(frame.channel, BL_CHANNEL_STDIN);
        got += frame.length;
        bl_buffer_consume(&peer_in, used);
    }
    bl_put_le32(credit, 60);
    reply(BL_FRAME_CREDIT, BL_CHANNEL_STDIN, 1, credit, sizeof credit);
    assert_int_equal(step(&err), 1);
    assert_int_equal(told.writable, 1);
    assert_int_equal(bl_session_write(session, bytes, 100), 60);
    bl_session_close_input(session);
    assert_int_equal(bl_session_write(session, bytes, 1), -1);
    expect_frame(BL_FRAME_DATA);
    expect_frame(BL_FRAME_EOF);
}

static void credit_comes_only_for_what_was_consumed(void **state)
{
    static uint8_t bytes[BL_FRAME_PAYLOAD_MAX];
    struct bl_error err = BL_ERROR_INIT;
    uint32_t credit = 0;
    size_t used;

    (void)state;
    open_session(false);
    greet();
    told.keep = true;
    for (int i = 0; i < 4; i++) {
        reply(BL_FRAME_DATA, BL_CHANNEL_STDOUT, 1, bytes, sizeof bytes);
        while (told.output[BL_CHANNEL_STDOUT].length < (size_t)(i + 1) * sizeof bytes)
            assert_int_equal(step(&err), 1);
    }

    struct pollfd silent = {.fd = peer, .events = POLLIN};

    assert_int_equal(poll(&silent, 1, 0), 0);
    bl_session_consumed(session, BL_CHANNEL_STDOUT, BL_WINDOW_BYTES);

    struct bl_frame frame = receive(&used);

    assert_int_equal(frame.type, BL_FRAME_CREDIT);
    assert_int_equal(bl_frame_u32(&frame, &credit), 0);
    assert_int_equal(credit, BL_WINDOW_BYTES);
    bl_buffer_consume(&peer_in, used);

    /* More than there was credit for breaks the contract. */
    int went_on = 1;

    for (int i = 0; i < 5 && went_on == 1; i++) {
        reply(BL_FRAME_DATA, BL_CHANNEL_STDOUT, 1, bytes, sizeof bytes);
        went_on = step(&err);
    }
    while (went_on == 1)
        went_on = step(&err);
    assert_int_equal(went_on, -1);
    assert_int_equal(err.code, BL_RPC);
    assert_non_null(strstr(err.message, "credit"));
}

/* breaks() - A frame that ends the session with an error. */
static void breaks(bool greeted, enum bl_frame_type type, uint16_t channel, uint32_t stream, const void *payload, size_t length)
{
    struct bl_error err = BL_ERROR_INIT;

    open_session(true);
    if (greeted)
        greet();
    reply(type, channel, stream, payload, length);
    assert_int_equal(steps(&err), -1);
    assert_int_equal(err.code, BL_RPC);
    assert_int_equal(told.exits, 0);
    assert_int_equal(bl_session_step(session, &err), 0);
    bl_session_free(session);
    session = NULL;
    bl_buffer_clear(&peer_in);
    bl_close_fd(&peer);
    bl_close_fd(&listener);
    for (int i = 0; i < BL_CHANNEL_COUNT; i++)
        bl_buffer_free(&told.output[i]);
}

static void frames_out_of_turn_end_it(void **state)
{
    static const uint8_t one[4] = {1, 0, 0, 0};
    static const uint8_t garbage[64] = {0xff};

    (void)state;
    breaks(false, BL_FRAME_OPENED, 0, 1, NULL, 0);                /* before the HELLO */
    breaks(false, BL_FRAME_HELLO, 0, 0, garbage, BL_HELLO_BYTES); /* a HELLO of something else */
    breaks(true, BL_FRAME_DATA, BL_CHANNEL_STDOUT, 2, "x", 1);    /* another stream */
    breaks(true, BL_FRAME_DATA, BL_CHANNEL_STDIN, 1, "x", 1);     /* output on the input */
    breaks(true, BL_FRAME_DATA, 7, 1, "x", 1);                    /* a channel that is none */
    breaks(true, BL_FRAME_EOF, BL_CHANNEL_STDIN, 1, NULL, 0);
    breaks(true, BL_FRAME_CREDIT, BL_CHANNEL_STDIN, 1, one, 4); /* credit for what was never sent */
    breaks(true, BL_FRAME_CREDIT, BL_CHANNEL_STDOUT, 1, one, 4);
    breaks(true, BL_FRAME_CREDIT, BL_CHANNEL_STDIN, 1, one, 3);
    breaks(true, BL_FRAME_EXIT, 0, 1, garbage, sizeof garbage); /* an exit that is none */
    breaks(true, BL_FRAME_OPEN, 0, 1, NULL, 0);                 /* what only clients say */
}

static void output_after_its_end_breaks_it(void **state)
{
    struct bl_error err = BL_ERROR_INIT;

    (void)state;
    open_session(false);
    greet();
    reply(BL_FRAME_EOF, BL_CHANNEL_STDOUT, 1, NULL, 0);
    reply(BL_FRAME_EOF, BL_CHANNEL_STDOUT, 1, NULL, 0); /* twice is no harm */
    reply(BL_FRAME_DATA, BL_CHANNEL_STDOUT, 1, "x", 1);

    assert_int_equal(steps(&err), -1);
    assert_int_equal(err.code, BL_RPC);
}

static void bytes_that_are_no_frame_end_it(void **state)
{
    uint8_t garbage[64];
    struct bl_error err = BL_ERROR_INIT;

    (void)state;
    memset(garbage, 0xa5, sizeof garbage);
    open_session(false);
    greet();
    assert_int_equal(bl_write_all(peer, garbage, sizeof garbage), 0);

    assert_int_equal(steps(&err), -1);
    assert_int_equal(err.code, BL_RPC);
}

static void the_death_of_the_box_is_told_with_its_cause(void **state)
{
    struct bl_error err = BL_ERROR_INIT;

    (void)state;
    /* With a report, which the shim writes before it hangs up. */
    open_session(false);
    greet();
    fixture_write(id, BL_FILE_EXIT_REPORT, "{\"version\":1,\"type\":\"error\",\"message\":\"the emulator died\"}");
    hang_up();
    assert_int_equal(steps(&err), -1);
    assert_int_equal(err.code, BL_ENGINE);
    assert_non_null(strstr(err.message, "the emulator died"));
    assert_int_equal(told.exits, 0);
    bl_session_free(session);
    session = NULL;

    /* Without one it was killed. */
    assert_int_equal(unlink(fixture_path(id, BL_FILE_EXIT_REPORT)), 0);
    for (int i = 0; i < BL_CHANNEL_COUNT; i++)
        bl_buffer_free(&told.output[i]);
    bl_buffer_clear(&peer_in);
    holder = hold_posix(id);
    open_session(false);
    greet();
    hang_up();
    assert_int_equal(steps(&err), -1);
    assert_int_equal(err.code, BL_STOPPED);
    assert_non_null(strstr(err.message, "killed"));
}

/* exec_at_once() - Return: what the call returned; the session is the global one */
static int exec_at_once(struct bl_error *err)
{
    char *args[] = {(char[]){"true"}, NULL};
    const struct bl_open open = {.kind = BL_OPEN_EXEC, .args = args};

    bl_session_free(session);
    session = NULL;
    return bl_session_exec_at_once(runtime, id, &open, &events, &told, &session, err);
}

static void at_once_only_what_nobody_changes_and_what_answers(void **state)
{
    struct bl_error err = BL_ERROR_INIT;
    cleanup_close int box_fd = openat(runtime->boxes_fd, id, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    char *args[] = {calloc(1, BL_FRAME_PAYLOAD_MAX + 1), NULL};
    const struct bl_open too_long = {.kind = BL_OPEN_EXEC, .args = args};

    (void)state;
    /* Nobody listens: that has to be looked into, which is no failure yet. */
    assert_int_equal(exec_at_once(&err), 0);
    assert_null(session);

    /* Somebody listens, but somebody else is about to stop, start or remove the box. */
    listener = bl_unix_listen(box_fd, BL_FILE_CONTROL_SOCKET);
    assert_true(listener >= 0);

    int lock = bl_lifecycle_lock(runtime->boxes_fd, id, BL_NEVER, -1, &err);

    assert_true(lock >= 0);
    assert_int_equal(exec_at_once(&err), 0);
    assert_null(session);
    bl_lifecycle_unlock(lock);
    /* It was connected to before the lock was looked at: the other way round a box that starts in between would be taken for one
     * that runs. */
    peer = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
    assert_true(peer >= 0);
    assert_int_equal(read(peer, &lock, sizeof lock), 0);
    close(peer);

    /* Whoever answers then has the command, before anything was asked of the database. */
    assert_int_equal(exec_at_once(&err), 0);
    assert_non_null(session);
    peer = accept(listener, NULL, NULL);
    assert_true(peer >= 0);
    expect_frame(BL_FRAME_HELLO);
    expect_frame(BL_FRAME_OPEN);

    /* What can't be sent to anybody is refused here, too. */
    assert_non_null(args[0]);
    memset(args[0], 'x', BL_FRAME_PAYLOAD_MAX);

    struct bl_session *none;

    assert_int_equal(bl_session_exec_at_once(runtime, id, &too_long, &events, &told, &none, &err), -1);
    assert_null(none);
    assert_int_equal(err.code, BL_INVALID_ARGUMENT);
    free(args[0]);
}

static void a_home_that_was_only_begun_is_opened_when_it_is_needed(void **state)
{
    struct bl_error err = BL_ERROR_INIT;
    struct bl_runtime *own, *other = runtime;
    struct bl_box_info *boxes;
    char database[128], away[128];
    size_t count;

    (void)state;
    snprintf(database, sizeof database, "%s/db/boxlite.db", fixture_home);
    snprintf(away, sizeof away, "%s/db/away", fixture_home);
    assert_int_equal(bl_runtime_begin(fixture_home, &own, &err), 0);
    runtime = own;
    assert_int_equal(exec_at_once(&err), 0);
    assert_null(session);
    assert_null(own->store);

    /* What can't be opened is said each time, and nothing stays of the attempt. */
    assert_int_equal(rename(database, away), 0);
    assert_int_equal(mkdir(database, 0700), 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(bl_box_list(own, &boxes, &count, &err), -1);
        assert_int_equal(err.code, BL_DATABASE);
        assert_null(own->store);
        bl_error_clear(&err);
    }
    assert_int_equal(rmdir(database), 0);
    assert_int_equal(rename(away, database), 0);
    assert_int_equal(bl_box_list(own, &boxes, &count, &err), 0);
    assert_int_equal(count, 1);
    bl_box_list_free(boxes, count);
    assert_non_null(own->store);
    bl_runtime_close(own);
    runtime = other;
}

static void signals_and_sizes_are_sent(void **state)
{
    uint32_t number = 0;
    size_t used;

    (void)state;
    open_session(false);
    greet();
    bl_session_signal(session, 15);
    bl_session_resize(session, 24, 80);

    struct bl_frame frame = receive(&used);

    assert_int_equal(frame.type, BL_FRAME_SIGNAL);
    assert_int_equal(bl_frame_u32(&frame, &number), 0);
    assert_int_equal(number, 15);
    bl_buffer_consume(&peer_in, used);
    frame = receive(&used);
    assert_int_equal(frame.type, BL_FRAME_RESIZE);
    assert_int_equal(frame.length, 4);
    assert_int_equal(bl_get_le16(frame.payload), 24);
    assert_int_equal(bl_get_le16(frame.payload + 2), 80);
    bl_buffer_consume(&peer_in, used);
}

int main(void)
{
#define WITH_A_BOX(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        WITH_A_BOX(a_command_from_open_to_exit),
        WITH_A_BOX(output_waits_for_room),
        WITH_A_BOX(nothing_is_to_be_sent_to_who_is_gone),
        WITH_A_BOX(what_can_not_be_sent_ends_it),
        WITH_A_BOX(input_stops_at_the_window_and_goes_on_with_credit),
        WITH_A_BOX(credit_comes_only_for_what_was_consumed),
        WITH_A_BOX(frames_out_of_turn_end_it),
        WITH_A_BOX(output_after_its_end_breaks_it),
        WITH_A_BOX(bytes_that_are_no_frame_end_it),
        WITH_A_BOX(the_death_of_the_box_is_told_with_its_cause),
        WITH_A_BOX(at_once_only_what_nobody_changes_and_what_answers),
        WITH_A_BOX(a_home_that_was_only_begun_is_opened_when_it_is_needed),
        WITH_A_BOX(signals_and_sizes_are_sent),
    };

    return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
