/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pump.c - carry bytes between this command's streams and a session
 *
 * One poll() over the session, the signals, and those of standard input, output and error for which there is something to do:
 * input is read only while the session takes it, output is credited only once it was written. So a slow reader stops the command
 * in the box (and nothing else), and both directions run at once.
 *
 * Signals that a person sends are passed on. Who asks three times (INT, TERM) means it: the command is then killed. When whoever
 * read standard output has gone, the command is killed too, and the exit code is that of SIGPIPE, as for any program in a pipe.
 */
#include "cli/pump.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/strings.h"
#include "cli/terminal.h"

#define INPUT_BYTES 65536 /* read at a time */
#define INSISTENCE  3     /* this many INT or TERM kill */

static void send_output(struct bl_pump *pump, int index, const void *bytes, size_t length, bool ready);

static void on_opened(struct bl_session *session, void *data)
{
    struct bl_pump *pump = data;

    pump->opened = true;
    pump->opened_us = bl_now_us();
    if (pump->early_signal)
        bl_session_signal(session, pump->early_signal);
    pump->early_signal = 0;
}

static void on_output(struct bl_session *session, enum bl_channel channel, const void *bytes, size_t length, void *data)
{
    struct bl_pump *pump = data;

    if (channel != BL_CHANNEL_STDOUT && channel != BL_CHANNEL_STDERR) {
        bl_session_consumed(session, channel, length);
        return;
    }
    send_output(pump, channel == BL_CHANNEL_STDERR, bytes, length, false);
}

static void on_writable(struct bl_session *session, void *data)
{
    struct bl_pump *pump = data;

    (void)session;
    pump->input_blocked = false;
}

static void on_exited(struct bl_session *session, const struct bl_exit *exit, void *data)
{
    struct bl_pump *pump = data;

    (void)session;
    pump->exit = *exit;
    pump->exited = true;
}

const struct bl_session_events bl_pump_events = {
    .opened = on_opened, .output = on_output, .writable = on_writable, .exited = on_exited};

/*
 * reader_gone() - An output can't be written any more: what the command still says there is thrown away
 *
 * Without standard output the command is killed, but its end is waited for: a box then ends in order, its disk synced.
 */
static void reader_gone(struct bl_pump *pump, int index)
{
    int error = errno;

    bl_endpoint_close(&pump->outputs[index]);
    if (pump->out[index].length && !pump->exited)
        bl_session_consumed(pump->session, index ? BL_CHANNEL_STDERR : BL_CHANNEL_STDOUT, pump->out[index].length);
    bl_buffer_clear(&pump->out[index]);
    if (index)
        return;
    if (error != EPIPE)
        bl_cli_complain("write to standard output: %s", strerror(error));
    pump->lost = error == EPIPE ? 128 + SIGPIPE : BL_EXIT_FAILURE;
    if (pump->opened && !pump->exited)
        bl_session_signal(pump->session, SIGKILL);
}

/* send_output() - Write what can be written now, keep the rest; credit follows what was really written */
static void send_output(struct bl_pump *pump, int index, const void *bytes, size_t length, bool ready)
{
    struct bl_buffer *kept = &pump->out[index];
    enum bl_channel channel = index ? BL_CHANNEL_STDERR : BL_CHANNEL_STDOUT;
    size_t written = 0;

    if (pump->outputs[index].fd < 0) {
        bl_session_consumed(pump->session, channel, length);
        return;
    }
    while (kept->length == 0 && written < length) {
        ssize_t n = bl_endpoint_write(&pump->outputs[index], (const char *)bytes + written, length - written, ready);

        if (n < 0) {
            /* The rest counts as taken: nobody will ever read it. */
            bl_session_consumed(pump->session, channel, length);
            reader_gone(pump, index);
            return;
        }
        if (n == 0)
            break;
        ready = false;
        written += (size_t)n;
    }
    if (written)
        bl_session_consumed(pump->session, channel, written);
    if (written < length && bl_buffer_append(kept, (const char *)bytes + written, length - written) < 0) {
        bl_cli_complain("more output came than was asked for");
        pump->quit = BL_EXIT_FAILURE;
    }
}

/* flush_output() - The descriptor has room: write what was kept */
static void flush_output(struct bl_pump *pump, int index)
{
    struct bl_buffer *kept = &pump->out[index];
    bool ready = true;

    while (kept->length) {
        ssize_t n = bl_endpoint_write(&pump->outputs[index], bl_buffer_data(kept), kept->length, ready);

        if (n < 0) {
            reader_gone(pump, index);
            return;
        }
        if (n == 0)
            return;
        ready = false;
        bl_buffer_consume(kept, (size_t)n);
        if (!pump->exited)
            bl_session_consumed(pump->session, index ? BL_CHANNEL_STDERR : BL_CHANNEL_STDOUT, (size_t)n);
    }
}

static void read_input(struct bl_pump *pump)
{
    uint8_t *room = bl_buffer_reserve(&pump->in, INPUT_BYTES);
    ssize_t n = room ? bl_endpoint_read(&pump->input, room, INPUT_BYTES) : 0;

    if (n > 0)
        bl_buffer_commit(&pump->in, (size_t)n);
    else if (n == 0 || (errno != EAGAIN && errno != EINTR))
        pump->input_ended = true; /* EIO: the terminal is gone */
}

/* send_input() - Hand over what was read, and then the end of it */
static void send_input(struct bl_pump *pump)
{
    while (!pump->input_blocked && pump->in.length) {
        ssize_t n = bl_session_write(pump->session, bl_buffer_data(&pump->in), pump->in.length);

        if (n < 0) {
            /* Nobody in the box reads it any more. */
            bl_buffer_clear(&pump->in);
            pump->input_ended = pump->input_closed = true;
            return;
        }
        if (n == 0)
            pump->input_blocked = true;
        bl_buffer_consume(&pump->in, (size_t)n);
    }
    if (pump->input_ended && !pump->in.length && !pump->input_closed) {
        bl_session_close_input(pump->session);
        pump->input_closed = true;
    }
}

static void send_size(struct bl_pump *pump)
{
    uint16_t rows, columns;

    if (pump->tty && (bl_terminal_size(STDIN_FILENO, &rows, &columns) || bl_terminal_size(STDOUT_FILENO, &rows, &columns)))
        bl_session_resize(pump->session, rows, columns);
}

/* suspend() - Stop as the sender of SIGTSTP wants, with the terminal as it was; come back raw */
static void suspend(struct bl_pump *pump)
{
    bl_terminal_restore();
    raise(SIGSTOP);
    if (pump->tty && pump->interactive)
        bl_terminal_raw();
    send_size(pump);
}

/* pass_on() - A signal that is meant for the command */
static void pass_on(struct bl_pump *pump, int number)
{
    bool insists = false;

    if (number == SIGINT || number == SIGTERM)
        insists = ++pump->interrupts >= INSISTENCE;
    if (pump->exited) {
        /* Only a reader of the output is waited for. */
        pump->quit = 128 + number;
    } else if (!pump->opened) {
        /* The person who asks again before the command even runs won't wait for it. */
        if (pump->early_signal)
            pump->quit = 128 + number;
        pump->early_signal = number;
    } else {
        /* A first process without a handler never sees the signal; who sits there shall know what will help. */
        if (pump->interrupts == INSISTENCE - 1 && number == SIGINT && !pump->tty && isatty(STDERR_FILENO))
            fprintf(stderr, "once more kills the command\n");
        bl_session_signal(pump->session, insists ? SIGKILL : number);
    }
}

/* take_signals() - Act on what came */
static void take_signals(struct bl_pump *pump)
{
    int number;

    while ((number = bl_signals_take(pump->signal_fd)) > 0) {
        if (number == SIGTSTP)
            suspend(pump);
        else if (number == SIGWINCH || number == SIGCONT)
            send_size(pump);
        else
            pass_on(pump, number);
    }
}

void bl_pump_begin(struct bl_pump *pump)
{
    pump->in = (struct bl_buffer)BL_BUFFER_INIT(INPUT_BYTES);
    for (int i = 0; i < 2; i++) {
        pump->out[i] = (struct bl_buffer)BL_BUFFER_INIT(2 * BL_WINDOW_BYTES);
        bl_endpoint_open(&pump->outputs[i], i ? STDERR_FILENO : STDOUT_FILENO, true);
    }
    pump->input = (struct bl_endpoint){-1, BL_ENDPOINT_SHARED, false};
    if (pump->interactive)
        bl_endpoint_open(&pump->input, STDIN_FILENO, false);
    else
        pump->input_ended = pump->input_closed = true;
    bl_signals_catch_all(pump->signal_fd, true);
}

/* is_finished() - Whether there is nothing left to carry */
static bool is_finished(const struct bl_pump *pump)
{
    return pump->quit || (pump->detach && pump->opened) || (pump->exited && !pump->out[0].length && !pump->out[1].length);
}

int bl_pump_run(struct bl_pump *pump, struct bl_session *session, struct bl_error *err)
{
    pump->session = session;
    /* Without -i nobody would read the Ctrl-C that a raw terminal delivers as a byte. */
    if (pump->tty && pump->interactive && bl_terminal_raw() < 0)
        return bl_fail(err, BL_INTERNAL, errno, "switch the terminal to raw mode");
    send_size(pump);
    while (!is_finished(pump)) {
        bool wants_input = !pump->input_ended && !pump->in.length && !pump->exited;
        struct pollfd watched[5] = {
            {pump->exited ? -1 : bl_session_fd(session), pump->exited ? 0 : bl_session_poll_events(session), 0},
            {pump->signal_fd, POLLIN, 0},
            {wants_input ? pump->input.fd : -1, POLLIN, 0},
            {pump->out[0].length ? pump->outputs[0].fd : -1, POLLOUT, 0},
            {pump->out[1].length ? pump->outputs[1].fd : -1, POLLOUT, 0},
        };

        if (poll(watched, 5, -1) < 0 && errno != EINTR)
            return bl_fail(err, BL_INTERNAL, errno, "wait for the command");
        if (watched[1].revents)
            take_signals(pump);
        for (int i = 0; i < 2; i++)
            if (watched[3 + i].revents)
                flush_output(pump, i);
        if (watched[2].revents)
            read_input(pump);
        if (watched[0].revents && !pump->quit && bl_session_step(session, err) < 0 && !pump->exited)
            return -1;
        if (!pump->exited)
            send_input(pump);
    }
    return 0;
}

void bl_pump_end(struct bl_pump *pump)
{
    bl_terminal_restore();
    bl_signals_catch_all(pump->signal_fd, false);
    if (pump->session)
        bl_session_free(pump->session);
    pump->session = NULL;
    bl_endpoint_close(&pump->input);
    bl_buffer_free(&pump->in);
    for (int i = 0; i < 2; i++) {
        bl_endpoint_close(&pump->outputs[i]);
        bl_buffer_free(&pump->out[i]);
    }
}

int bl_pump_report(const struct bl_pump *pump, const char *command)
{
    if (pump->quit || pump->lost)
        return pump->quit ? pump->quit : pump->lost;
    if (pump->exit.error[0])
        bl_cli_complain("Execution error: %s", pump->exit.error);
    else if (pump->exit.timed_out)
        bl_cli_complain("%s was killed: its time was up", command);
    else if (pump->exit.oom && pump->exit.signal)
        bl_cli_complain("%s was killed: memory ran out in the box (more: --memory)", command);
    return pump->exit.code;
}

int bl_pump_check_tty(bool tty, struct bl_error *err)
{
    return tty && !isatty(STDIN_FILENO) ? bl_fail(err, BL_INVALID_ARGUMENT, 0, "the input device is not a TTY.") : 0;
}
