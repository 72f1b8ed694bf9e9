/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stream.c - one OPEN, from its arrival to its EXIT; see stream.h
 *
 * The moments of a stream: opened - forked (at once, or when the workload runs) - started (the child's socket has closed: it runs;
 * or it said why not) - reaped (its main process has ended) - ended (all it left was sent, EXIT too) - freed (no stray holds a
 * pipe). Each may come late, none early: bl_stream_check() looks at what is still missing.
 */
#include "guest/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "guest/command.h"
#include "guest/system.h"

#define SIGNAL_MAX 64

static void add_to_list(struct bl_agent *agent, struct bl_stream *stream)
{
    stream->next = NULL;
    *agent->streams_end = stream;
    agent->streams_end = &stream->next;
}

static void take_from_list(struct bl_agent *agent, struct bl_stream *stream)
{
    struct bl_stream **at = &agent->streams;

    while (*at != stream)
        at = &(*at)->next;
    *at = stream->next;
    if (agent->streams_end == &stream->next)
        agent->streams_end = at;
}

static struct bl_stream *find(struct bl_agent *agent, uint32_t id)
{
    for (struct bl_stream *stream = agent->streams; stream; stream = stream->next)
        if (stream->id == id && stream->phase != BL_STREAM_ENDED)
            return stream;
    return NULL;
}

static void send_exit(struct bl_agent *agent, uint32_t id, const struct bl_exit *result)
{
    cleanup_buffer struct bl_buffer payload = BL_BUFFER_INIT(BL_FRAME_PAYLOAD_MAX);

    if (bl_exit_encode(&payload, result) == 0)
        bl_link_send(&agent->link, BL_FRAME_EXIT, 0, id, bl_buffer_data(&payload), payload.length);
}

/* refuse() - Answer an OPEN that became no process. */
static void refuse(struct bl_agent *agent, uint32_t id, const struct bl_error *err)
{
    struct bl_exit result = {.code = BL_EXIT_CANNOT_START, .error_number = err->sys_errno};

    snprintf(result.error, sizeof result.error, "%s", err->message);
    send_exit(agent, id, &result);
}

static void free_stream(struct bl_stream *stream)
{
    take_from_list(stream->agent, stream);
    bl_timer_cancel(&stream->timeout);
    bl_source_remove(&stream->report);
    bl_close_fd(&stream->report.fd);
    bl_source_remove(&stream->input);
    bl_close_fd(&stream->input.fd);
    for (size_t i = 0; i < 2; i++) {
        bl_source_remove(&stream->outputs[i].source);
        bl_close_fd(&stream->outputs[i].source.fd);
    }
    bl_buffer_free(&stream->input_queue);
    bl_open_free(&stream->open);
    free(stream);
}

/* complete_result() - How the process ended, as EXIT will say it. */
static void complete_result(struct bl_stream *stream)
{
    struct bl_exit *result = &stream->result;

    result->duration_us = (uint64_t)(bl_now_us() - stream->opened_us);
    if (result->error[0])
        return;
    if (WIFSIGNALED(stream->wait_status)) {
        result->signal = WTERMSIG(stream->wait_status);
        result->oom = result->signal == SIGKILL && !result->timed_out && bl_cgroup_ran_out(&stream->agent->cgroups, stream->cgroup);
    } else {
        result->code = WEXITSTATUS(stream->wait_status);
    }
}

void bl_stream_check(struct bl_stream *stream)
{
    struct bl_agent *agent = stream->agent;
    struct bl_output *outputs = stream->outputs;

    if (stream->phase != BL_STREAM_ENDED) {
        bool sent = stream->unheard || stream->result.error[0] || (outputs[0].finished && outputs[1].finished);

        if (!stream->reaped || stream->report.fd >= 0 || !sent)
            return;
        if (stream->id)
            send_exit(agent, stream->id, &stream->result);
        stream->phase = BL_STREAM_ENDED;
        stream->untidy = agent->untidy = true;
        agent->stream_count--;
    }
    if (!stream->untidy && outputs[0].source.fd < 0 && outputs[1].source.fd < 0)
        free_stream(stream);
}

void bl_streams_tidy(struct bl_agent *agent)
{
    if (!agent->untidy)
        return;
    agent->untidy = false;
    for (struct bl_stream *stream = agent->streams, *next; stream; stream = next) {
        next = stream->next;
        if (!stream->untidy)
            continue;
        stream->untidy = false;
        bl_pump_discard(stream);
        bl_stream_check(stream);
    }
}

/* wind_up() - The main process has ended, and its socket has said all. */
static void wind_up(struct bl_stream *stream)
{
    complete_result(stream);
    if (stream->open.kind != BL_OPEN_WORKLOAD)
        bl_cgroup_leave(&stream->agent->cgroups, stream->cgroup);
    bl_pump_wind_up(stream);
}

/* give_up() - End a stream that has no process. */
static void give_up(struct bl_stream *stream, const struct bl_error *err)
{
    if (stream->id)
        refuse(stream->agent, stream->id, err);
    stream->agent->stream_count--;
    free_stream(stream);
}

/* launch() - Fork its process. May free the stream. */
static void launch(struct bl_stream *stream)
{
    struct bl_error err = BL_ERROR_INIT;

    if (bl_spawn(stream, &err) < 0) {
        give_up(stream, &err);
        return;
    }
    stream->phase = BL_STREAM_STARTING;
    if (stream->open.timeout_ms)
        bl_timer_set(&stream->agent->loop, &stream->timeout, bl_deadline_in((int64_t)stream->open.timeout_ms));
}

/* end_waiting() - The workload runs, or will not: so do those that waited for it. */
static void end_waiting(struct bl_agent *agent)
{
    struct bl_error err = BL_ERROR_INIT;

    bl_fail(&err, BL_INVALID_STATE, 0, "the box's workload has ended");
    for (struct bl_stream *stream = agent->streams, *next; stream; stream = next) {
        next = stream->next;
        if (stream->phase != BL_STREAM_WAITS)
            continue;
        if (agent->workload_fd >= 0)
            launch(stream);
        else
            give_up(stream, &err);
    }
}

/* hold_mounts() - Keep the workload's mount namespace until the shutdown; without it only its end takes longer. */
static void hold_mounts(struct bl_stream *workload)
{
    char path[64];

    snprintf(path, sizeof path, "/proc/%d/ns/mnt", workload->pid);
    bl_close_fd(&workload->agent->mounts_fd); /* of a workload before this one */
    workload->agent->mounts_fd = open(path, O_RDONLY | O_CLOEXEC);
}

/* started() - The command runs. Many an exec ends in the next moment, and says all at once then; others are waited for to begin. */
static void started(struct bl_stream *stream)
{
    cleanup_buffer struct bl_buffer payload = BL_BUFFER_INIT(64);
    bool hurry = stream->open.kind != BL_OPEN_EXEC || stream->open.detach;

    stream->phase = BL_STREAM_RUNS;
    if (!stream->unheard && bl_field_put_u32(&payload, BL_OPENED_PID, (uint32_t)stream->pid) == 0)
        (hurry ? bl_link_send : bl_link_send_patiently)(&stream->agent->link, BL_FRAME_OPENED, 0, stream->id,
                                                        bl_buffer_data(&payload), payload.length);
    bl_pump_start(stream);
    if (stream->open.kind == BL_OPEN_WORKLOAD) {
        hold_mounts(stream);
        end_waiting(stream->agent);
    }
}

/* take_report() - One packet of the child. Return: 1; 0: it has said all; -1: nothing there now */
static int take_report(struct bl_stream *stream)
{
    struct bl_report report = {0};
    struct iovec part = {.iov_base = &report, .iov_len = sizeof report};
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = control.space, .msg_controllen = sizeof control.space};
    ssize_t n =
        stream->open.tty ? recvmsg(stream->report.fd, &message, MSG_CMSG_CLOEXEC) : read(stream->report.fd, &report, sizeof report);

    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? -1 : 0;
    if (n == 0)
        return 0;

    struct cmsghdr *header = stream->open.tty ? CMSG_FIRSTHDR(&message) : NULL;

    if (report.kind == BL_REPORT_TERMINAL && header && header->cmsg_type == SCM_RIGHTS) {
        int master;

        memcpy(&master, CMSG_DATA(header), sizeof master);
        if (bl_spawn_terminal(stream, master) < 0)
            bl_say("a terminal could not be used: %s", strerror(errno));
    } else if (report.kind == BL_REPORT_STARTED && stream->phase == BL_STREAM_STARTING) {
        started(stream);
    } else if (report.kind == BL_REPORT_FAILURE) {
        stream->result.code = report.exit_code;
        stream->result.error_number = report.error_number;
        report.message[sizeof report.message - 1] = '\0';
        snprintf(stream->result.error, sizeof stream->result.error, "%s", *report.message ? report.message : "it failed");
    }
    return 1;
}

static void report_ready(struct bl_source *source, uint32_t events)
{
    struct bl_stream *stream = source->data;
    int got;

    (void)events;
    while ((got = take_report(stream)) > 0)
        ;
    if (got < 0)
        return;
    bl_source_remove(source);
    bl_close_fd(&source->fd);
    if (!stream->result.error[0] && stream->phase == BL_STREAM_STARTING)
        started(stream);
    if (stream->reaped)
        wind_up(stream);
    bl_stream_check(stream);
}

static void timed_out(struct bl_timer *timer)
{
    struct bl_stream *stream = timer->data;

    stream->result.timed_out = true;
    bl_cgroup_kill(&stream->agent->cgroups, stream->cgroup);
}

/* check_open() - What an OPEN must obey before anything is made for it. Return: 0; -1 */
static int check_open(struct bl_agent *agent, const struct bl_frame *frame, const struct bl_open *open, struct bl_error *err)
{
    if (agent->state != BL_AGENT_SERVES)
        return bl_fail(err, BL_INVALID_STATE, 0, "the box does not take commands %s",
                       agent->state == BL_AGENT_SHUTS_DOWN ? "any more: it is shutting down" : "before it was configured");
    if (agent->stream_count >= BL_STREAMS_MAX)
        return bl_fail(err, BL_RESOURCE_EXHAUSTED, 0, "more than %d commands and copies at once", BL_STREAMS_MAX);
    if (frame->stream == 0 || find(agent, frame->stream))
        return bl_fail(err, BL_INVALID_ARGUMENT, 0, "the number of the stream is in use");
    /* One that has ended may be followed by another. */
    if (open->kind == BL_OPEN_WORKLOAD && agent->workload_fd >= 0)
        return bl_fail(err, BL_INVALID_STATE, 0, "the workload was started already");
    if (open->kind != BL_OPEN_WORKLOAD && agent->workload_fd < 0)
        return bl_fail(err, BL_INVALID_STATE, 0, "the box's workload %s",
                       agent->workload.kind ? "has ended" : "was not started yet");
    return 0;
}

/* make_stream() - A stream for an OPEN, whose strings it takes. Return: NULL: no memory */
static struct bl_stream *make_stream(struct bl_agent *agent, uint32_t id, struct bl_open *open)
{
    struct bl_stream *stream = malloc(sizeof *stream);

    if (!stream)
        return NULL;
    *stream = (struct bl_stream){
        .agent = agent,
        .id = id,
        .open = *open,
        .opened_us = agent->link.heard_us,
        .timeout = {.expired = timed_out, .data = stream},
        .report = {.fd = -1, .events = EPOLLIN, .ready = report_ready, .data = stream},
        .input = {.fd = -1, .events = EPOLLOUT, .ready = bl_pump_input, .data = stream},
        .input_queue = BL_BUFFER_INIT(BL_WINDOW_BYTES),
    };
    *open = (struct bl_open){0};
    for (size_t i = 0; i < 2; i++)
        stream->outputs[i] = (struct bl_output){
            .source = {.fd = -1, .events = EPOLLIN, .ready = bl_pump_output, .data = &stream->outputs[i]},
            .stream = stream,
            .channel = (uint16_t)(BL_CHANNEL_STDOUT + i),
            .credit = BL_WINDOW_BYTES,
        };
    add_to_list(agent, stream);
    return stream;
}

void bl_stream_open(struct bl_agent *agent, const struct bl_frame *frame)
{
    struct bl_error err = BL_ERROR_INIT;
    struct bl_open open;

    if (bl_open_decode(frame->payload, frame->length, &open) < 0) {
        bl_fail(&err, BL_INVALID_ARGUMENT, 0, "the request to open a stream breaks the rules of the protocol");
        refuse(agent, frame->stream, &err);
        return;
    }
    if (check_open(agent, frame, &open, &err) < 0) {
        bl_open_free(&open);
        refuse(agent, frame->stream, &err);
        return;
    }

    struct bl_stream *stream = make_stream(agent, frame->stream, &open);

    if (!stream) {
        bl_open_free(&open);
        bl_fail_memory(&err);
        refuse(agent, frame->stream, &err);
        return;
    }
    agent->stream_count++;

    const struct bl_stream *workload = bl_stream_workload(agent);

    if (!workload || workload->phase != BL_STREAM_STARTING)
        launch(stream);
}

/* send_signal() - To the workload's PID 1 alone, as Docker does; to all of an exec's own process group. */
static void send_signal(struct bl_stream *stream, uint32_t number)
{
    if (stream->phase == BL_STREAM_WAITS || stream->reaped || number > SIGNAL_MAX)
        return;
    if (stream->open.kind == BL_OPEN_WORKLOAD || kill(-stream->pid, (int)number) < 0)
        kill(stream->pid, (int)number);
}

/* close_stream() - Nobody listens any more. */
static void close_stream(struct bl_stream *stream)
{
    if (stream->phase == BL_STREAM_WAITS) {
        struct bl_error err = BL_ERROR_INIT;

        bl_fail(&err, BL_INVALID_STATE, 0, "the stream was closed before its command ran");
        give_up(stream, &err);
        return;
    }
    bl_pump_discard(stream);
    if (!stream->open.detach && !stream->reaped)
        bl_cgroup_kill(&stream->agent->cgroups, stream->cgroup);
    bl_stream_check(stream);
}

/* break_off() - The peer broke the rules of this stream: it ends. */
static void break_off(struct bl_stream *stream, const char *what)
{
    if (!stream->result.error[0])
        snprintf(stream->result.error, sizeof stream->result.error, "the stream was ended: %s", what);
    stream->result.code = BL_EXIT_CANNOT_START;
    stream->open.detach = false;
    close_stream(stream);
}

static void take_credit(struct bl_stream *stream, const struct bl_frame *frame)
{
    struct bl_output *output = &stream->outputs[frame->channel - BL_CHANNEL_STDOUT];
    uint32_t bytes;

    if (bl_frame_u32(frame, &bytes) < 0 || bytes > BL_WINDOW_BYTES - output->credit) {
        break_off(stream, "more credit than a window");
        return;
    }
    output->credit += bytes;
    if (!stream->unheard && stream->phase == BL_STREAM_RUNS)
        bl_pump_start(stream);
}

static void resize(struct bl_stream *stream, const struct bl_frame *frame)
{
    if (frame->length != 4 || !stream->open.tty)
        return;
    stream->open.rows = bl_get_le16(frame->payload);
    stream->open.columns = bl_get_le16(frame->payload + 2);

    struct winsize size = {.ws_row = stream->open.rows, .ws_col = stream->open.columns};

    if (stream->outputs[0].source.fd >= 0)
        ioctl(stream->outputs[0].source.fd, TIOCSWINSZ, &size);
}

void bl_stream_frame(struct bl_agent *agent, const struct bl_frame *frame)
{
    struct bl_stream *stream = find(agent, frame->stream);
    uint32_t number;

    if (!stream)
        return;
    switch (frame->type) {
    case BL_FRAME_DATA:
        if (!stream->unheard && !stream->reaped &&
            (frame->channel != BL_CHANNEL_STDIN || bl_pump_take(stream, frame->payload, frame->length) < 0))
            break_off(stream, "more input than a window");
        return;
    case BL_FRAME_EOF:
        if (frame->channel == BL_CHANNEL_STDIN && !stream->unheard)
            bl_pump_input_ends(stream);
        return;
    case BL_FRAME_CREDIT:
        if (frame->channel != BL_CHANNEL_STDIN)
            take_credit(stream, frame);
        return;
    case BL_FRAME_SIGNAL:
        if (bl_frame_u32(frame, &number) == 0)
            send_signal(stream, number);
        return;
    case BL_FRAME_RESIZE:
        resize(stream, frame);
        return;
    case BL_FRAME_CLOSE:
        close_stream(stream);
        return;
    case BL_FRAME_HELLO:
    case BL_FRAME_CONFIG:
    case BL_FRAME_READY:
    case BL_FRAME_FAULT:
    case BL_FRAME_PING:
    case BL_FRAME_PONG:
    case BL_FRAME_SHUTDOWN:
    case BL_FRAME_DOWN:
    case BL_FRAME_OPEN:
    case BL_FRAME_OPENED:
    case BL_FRAME_EXIT:
    case BL_FRAME_STATUS:
    case BL_FRAME_ATTACH:
    case BL_FRAME_STOP:
    case BL_FRAME_TYPE_END:
        return;
    }
}

void bl_stream_reaped(struct bl_agent *agent, pid_t pid, int wait_status)
{
    struct bl_stream *stream = agent->streams;

    while (stream && (stream->pid != pid || stream->reaped))
        stream = stream->next;
    if (!stream)
        return;
    stream->reaped = true;
    stream->wait_status = wait_status;
    bl_timer_cancel(&stream->timeout);
    if (stream->open.kind == BL_OPEN_WORKLOAD) {
        bl_close_fd(&agent->workload_fd);
        end_waiting(agent);
    }
    /* Its socket is closed now: hear what it said last before anything is made of the end. */
    if (stream->report.fd >= 0) {
        report_ready(&stream->report, EPOLLIN);
    } else {
        wind_up(stream);
        bl_stream_check(stream);
    }
}

void bl_streams_resume(struct bl_agent *agent)
{
    for (struct bl_stream *stream = agent->streams; stream; stream = stream->next)
        bl_pump_start(stream);

    /* Another one is the first next time, so that a few can't fill the link for ever. */
    struct bl_stream *first = agent->streams;

    if (first && first->next) {
        take_from_list(agent, first);
        add_to_list(agent, first);
    }
}

void bl_streams_orphan(struct bl_agent *agent)
{
    for (struct bl_stream *stream = agent->streams, *next; stream; stream = next) {
        next = stream->next;
        if (stream->phase == BL_STREAM_ENDED)
            continue;
        if (stream->open.kind == BL_OPEN_WORKLOAD)
            stream->open.detach = true;
        stream->id = 0;
        close_stream(stream);
    }
}

struct bl_stream *bl_stream_workload(struct bl_agent *agent)
{
    for (struct bl_stream *stream = agent->streams; stream; stream = stream->next)
        if (stream->open.kind == BL_OPEN_WORKLOAD && stream->pid && !stream->reaped)
            return stream;
    return NULL;
}
