/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_cli_pump.c - bytes, signals and ends between this command's streams and a session
 *
 * The session is a stand-in that lives in the test: it answers with what it is given (or with a stream of its own), keeps books
 * about credit, and fails the child when the pump breaks the rules. Each case runs the pump in a child process whose standard
 * streams are pipes or sockets of the test.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "cli/pump.h"
#include "cli/terminal.h"

#define BROKEN      99 /* exit code of a child whose pump broke a rule */
#define DEADLINE_MS 60000

enum behaviour { ECHO_INPUT, FLOOD, TELL_SIGNALS, FILL_STDERR };

struct bl_session {
    enum behaviour behaviour;
    struct bl_pump *pump;
    int wake; /* eventfd, readable while there is something to do */
    uint8_t queue[BL_WINDOW_BYTES];
    size_t queued;
    size_t under_way; /* handed out and not credited */
    uint64_t flooded, flood_bytes;
    bool opened, input_closed, was_blocked;
    int signals[8], signal_count, told, signals_until_exit;
};

static void wake(struct bl_session *session)
{
    const uint64_t one = 1;

    if (write(session->wake, &one, sizeof one) != (ssize_t)sizeof one)
        _exit(BROKEN);
}

int bl_session_fd(const struct bl_session *session)
{
    return session->wake;
}

short bl_session_poll_events(const struct bl_session *session)
{
    (void)session;
    return POLLIN;
}

ssize_t bl_session_write(struct bl_session *session, const void *bytes, size_t length)
{
    size_t room = sizeof session->queue - session->queued;
    size_t taken = length < room ? length : room;

    if (session->input_closed)
        _exit(BROKEN);
    memcpy(session->queue + session->queued, bytes, taken);
    session->queued += taken;
    session->was_blocked |= taken < length;
    wake(session);
    return (ssize_t)taken;
}

void bl_session_close_input(struct bl_session *session)
{
    if (session->input_closed)
        _exit(BROKEN);
    session->input_closed = true;
    wake(session);
}

void bl_session_consumed(struct bl_session *session, enum bl_channel channel, size_t length)
{
    if (length > session->under_way || (channel != BL_CHANNEL_STDOUT && channel != BL_CHANNEL_STDERR))
        _exit(BROKEN);
    session->under_way -= length;
    wake(session);
}

void bl_session_signal(struct bl_session *session, int signal_number)
{
    if (session->signal_count < 8)
        session->signals[session->signal_count++] = signal_number;
    wake(session);
}

void bl_session_resize(struct bl_session *session, uint16_t rows, uint16_t columns)
{
    (void)session;
    (void)rows;
    (void)columns;
}

void bl_session_free(struct bl_session *session)
{
    (void)session;
}

/* The pump's complaints come from a file that can also open a runtime. */
int bl_runtime_open(const char *home, struct bl_runtime **out, struct bl_error *err)
{
    (void)home;
    (void)out;
    (void)err;
    return -1;
}

int bl_runtime_begin(const char *home, struct bl_runtime **out, struct bl_error *err)
{
    return bl_runtime_open(home, out, err);
}

/* give() - Hand out bytes within the window */
static size_t give(struct bl_session *session, enum bl_channel channel, const uint8_t *bytes, size_t length)
{
    size_t room = BL_WINDOW_BYTES - session->under_way;
    size_t now = length < room ? length : room;

    if (now > BL_FRAME_PAYLOAD_MAX)
        now = BL_FRAME_PAYLOAD_MAX;
    if (now == 0)
        return 0;
    session->under_way += now;
    bl_pump_events.output(session, channel, bytes, now, session->pump);
    return now;
}

static int leave(struct bl_session *session, int code)
{
    struct bl_exit exit = {.code = code};

    bl_pump_events.exited(session, &exit, session->pump);
    return 0;
}

static int step_echo(struct bl_session *session)
{
    size_t given = give(session, BL_CHANNEL_STDOUT, session->queue, session->queued);

    memmove(session->queue, session->queue + given, session->queued - given);
    session->queued -= given;
    if (given && session->was_blocked) {
        session->was_blocked = false;
        bl_pump_events.writable(session, session->pump);
    }
    return session->queued == 0 && session->input_closed ? leave(session, 7) : 1;
}

static int step_flood(struct bl_session *session, enum bl_channel channel)
{
    static uint8_t bytes[BL_FRAME_PAYLOAD_MAX];
    uint64_t left = session->flood_bytes - session->flooded;

    if (session->signal_count)
        return leave(session, 128 + session->signals[0]);
    session->flooded += give(session, channel, bytes, left < sizeof bytes ? (size_t)left : sizeof bytes);
    if (session->flooded < session->flood_bytes && session->under_way < BL_WINDOW_BYTES)
        wake(session);
    return session->flooded == session->flood_bytes ? leave(session, 0) : 1;
}

/* step_signals() - Say one byte when it runs, and the number of each signal that comes */
static int step_signals(struct bl_session *session)
{
    uint8_t number = 0;

    for (; session->told <= session->signal_count; session->told++) {
        number = session->told ? (uint8_t)session->signals[session->told - 1] : 0;
        give(session, BL_CHANNEL_STDOUT, &number, 1);
    }
    return session->signal_count >= session->signals_until_exit ? leave(session, 128 + number) : 1;
}

int bl_session_step(struct bl_session *session, struct bl_error *err)
{
    uint64_t drained;

    (void)err;
    if (read(session->wake, &drained, sizeof drained) < 0)
        _exit(BROKEN);
    if (!session->opened) {
        session->opened = true;
        bl_pump_events.opened(session, session->pump);
    }
    switch (session->behaviour) {
    case ECHO_INPUT:
        return step_echo(session);
    case FLOOD:
        return step_flood(session, BL_CHANNEL_STDOUT);
    case FILL_STDERR:
        return step_flood(session, BL_CHANNEL_STDERR);
    case TELL_SIGNALS:
    default:
        return step_signals(session);
    }
}

struct child {
    pid_t pid;
    int in, out, err; /* the test's ends */
};

/* Standard output: OUT_OF_OTHERS is a pipe that another user made, so that it can't be opened once more. */
enum out_kind { OUT_PIPE, OUT_SOCKET, OUT_OF_OTHERS };

/* start() - A child with a pump. @amount: bytes of a flood, or signals until its command ends */
static struct child start(enum behaviour behaviour, uint64_t amount, bool interactive, enum out_kind out_kind)
{
    int in[2], out[2], err[2];
    struct child child;

    assert_int_equal(pipe2(in, O_CLOEXEC), 0);
    assert_int_equal(out_kind == OUT_SOCKET ? socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, out) : pipe2(out, O_CLOEXEC), 0);
    assert_int_equal(pipe2(err, O_CLOEXEC), 0);
    child = (struct child){fork(), in[1], out[0], err[0]};
    assert_true(child.pid >= 0);
    if (child.pid == 0) {
        struct bl_pump pump = {.interactive = interactive, .signal_fd = bl_signals_catch()};
        static struct bl_session session;
        struct bl_error error = BL_ERROR_INIT;

        dup2(in[0], 0);
        dup2(out[1], 1);
        dup2(err[1], 2);
        close(in[1]);
        close(out[0]);
        close(err[0]);
        signal(SIGPIPE, SIG_IGN);
        session.behaviour = behaviour;
        session.pump = &pump;
        session.wake = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);
        session.flood_bytes = amount;
        session.signals_until_exit = (int)amount;
        bl_pump_begin(&pump);
        if (out_kind == OUT_OF_OTHERS) {
            bl_endpoint_close(&pump.outputs[0]);
            pump.outputs[0] = (struct bl_endpoint){1, BL_ENDPOINT_SHARED, false};
        }
        if (bl_pump_run(&pump, &session, &error) < 0)
            _exit(BROKEN);
        /* Whoever shares these streams must not find them non-blocking. */
        if ((fcntl(0, F_GETFL) | fcntl(1, F_GETFL) | fcntl(2, F_GETFL)) & O_NONBLOCK)
            _exit(BROKEN);
        bl_pump_end(&pump);
        _exit(bl_pump_report(&pump, "it"));
    }
    close(in[0]);
    close(out[1]);
    close(err[1]);
    return child;
}

static int finish(struct child *child)
{
    int status;

    if (child->in >= 0)
        close(child->in);
    if (child->out >= 0)
        close(child->out);
    close(child->err);
    assert_int_equal(waitpid(child->pid, &status, 0), child->pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static uint8_t pattern(uint64_t at)
{
    return (uint8_t)(at * 31 + (at >> 8) * 7 + (at >> 16));
}

/* exchange() - Write @total bytes and read them back at the same time, reading at most @gulp at once */
static void exchange(struct child *child, uint64_t total, size_t gulp)
{
    static uint8_t bytes[65536];
    uint64_t written = 0, got = 0;

    assert_int_equal(fcntl(child->in, F_SETFL, O_NONBLOCK), 0);
    for (;;) {
        struct pollfd watched[2] = {{written < total ? child->in : -1, POLLOUT, 0}, {child->out, POLLIN, 0}};
        ssize_t n;

        assert_true(poll(watched, 2, DEADLINE_MS) > 0);
        if (watched[0].revents) {
            size_t now = total - written < sizeof bytes ? (size_t)(total - written) : sizeof bytes;

            for (size_t i = 0; i < now; i++)
                bytes[i] = pattern(written + i);
            n = write(child->in, bytes, now);
            assert_true(n > 0 || errno == EAGAIN);
            written += n > 0 ? (uint64_t)n : 0;
            if (written == total) {
                close(child->in);
                child->in = -1;
            }
        }
        if (watched[1].revents) {
            n = read(child->out, bytes, gulp);
            assert_true(n >= 0);
            if (n == 0)
                break;
            for (ssize_t i = 0; i < n; i++)
                if (bytes[i] != pattern(got + (uint64_t)i))
                    fail_msg("byte %llu is wrong", (unsigned long long)got + (unsigned long long)i);
            got += (uint64_t)n;
        }
    }
    assert_int_equal(got, total);
}

static void bytes_run_both_ways_through_pipes(void **state)
{
    struct child child = start(ECHO_INPUT, 0, true, OUT_PIPE);

    (void)state;
    exchange(&child, 32 << 20, 65536);
    assert_int_equal(finish(&child), 7);
}

static void bytes_run_both_ways_with_a_slow_reader(void **state)
{
    struct child child = start(ECHO_INPUT, 0, true, OUT_PIPE);

    (void)state;
    exchange(&child, 2 << 20, 333);
    assert_int_equal(finish(&child), 7);
}

static void bytes_run_both_ways_with_a_socket(void **state)
{
    struct child child = start(ECHO_INPUT, 0, true, OUT_SOCKET);

    (void)state;
    exchange(&child, 8 << 20, 65536);
    assert_int_equal(finish(&child), 7);
}

static void bytes_run_both_ways_through_a_pipe_of_others(void **state)
{
    struct child child = start(ECHO_INPUT, 0, true, OUT_OF_OTHERS);

    (void)state;
    exchange(&child, 8 << 20, 65536);
    assert_int_equal(finish(&child), 7);
}

static void end_of_input_alone_is_passed_on(void **state)
{
    struct child child = start(ECHO_INPUT, 0, true, OUT_PIPE);

    (void)state;
    close(child.in);
    child.in = -1;
    assert_int_equal(finish(&child), 7);
}

/* A flood ends by a signal only; that it was told one shows in its end. */
static void a_reader_that_leaves_ends_it(void **state)
{
    struct child child = start(FLOOD, UINT64_MAX / 2, false, OUT_PIPE);
    char byte;

    (void)state;
    assert_int_equal(read(child.out, &byte, 1), 1);
    close(child.out);
    child.out = -1;
    assert_int_equal(finish(&child), 128 + SIGPIPE);
}

/* The end of the command comes while most of its output is still to be read: all of it arrives. */
static void output_outlives_the_command(void **state)
{
    struct child child = start(FLOOD, 300000, false, OUT_PIPE);
    uint64_t got = 0;
    static char bytes[1000];
    ssize_t n;

    (void)state;
    while ((n = read(child.out, bytes, sizeof bytes)) > 0)
        got += (uint64_t)n;
    assert_int_equal(got, 300000);
    assert_int_equal(finish(&child), 0);
}

static void a_lost_error_stream_is_no_end(void **state)
{
    struct child child = start(FILL_STDERR, 4 << 20, false, OUT_PIPE);

    (void)state;
    close(child.err);
    child.err = open("/dev/null", O_RDONLY | O_CLOEXEC);
    assert_int_equal(finish(&child), 0);
}

static void signals_are_passed_on_and_the_third_kills(void **state)
{
    static const int sent[] = {SIGUSR1, SIGHUP, SIGTERM, SIGINT, SIGTERM};
    static const int passed[] = {SIGUSR1, SIGHUP, SIGTERM, SIGINT, SIGKILL};
    struct child child = start(TELL_SIGNALS, 5, false, OUT_PIPE);
    uint8_t told;

    (void)state;
    /* The first byte says that it runs; then each signal is told before the next is sent. */
    assert_int_equal(read(child.out, &told, 1), 1);
    for (size_t i = 0; i < sizeof sent / sizeof *sent; i++) {
        assert_int_equal(kill(child.pid, sent[i]), 0);
        assert_int_equal(read(child.out, &told, 1), 1);
        assert_int_equal(told, passed[i]);
    }
    assert_int_equal(finish(&child), 128 + SIGKILL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_run_both_ways_through_pipes),
        cmocka_unit_test(bytes_run_both_ways_with_a_slow_reader),
        cmocka_unit_test(bytes_run_both_ways_with_a_socket),
        cmocka_unit_test(bytes_run_both_ways_through_a_pipe_of_others),
        cmocka_unit_test(end_of_input_alone_is_passed_on),
        cmocka_unit_test(a_reader_that_leaves_ends_it),
        cmocka_unit_test(output_outlives_the_command),
        cmocka_unit_test(a_lost_error_stream_is_no_end),
        cmocka_unit_test(signals_are_passed_on_and_the_third_kills),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
