/* SPDX-License-Identifier: Apache-2.0 */
/*
 * session.c - one stream to a command in a box, as a non-blocking client of its control.sock; see core.h
 *
 * HELLO and OPEN go out together, so an exec costs one round trip. What comes back is checked as if a stranger sent it: frames out
 * of turn, of another stream or past the window end the session.
 *
 * Credit: output is the caller's until it says bl_session_consumed(); only then the box may send more. It is given back in larger
 * pieces, since a frame for every few bytes would cost more than the bytes. Input is taken as far as the box gave credit.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/crash.h"
#include "base/os.h"
#include "core/change.h"
#include "core/control.h"
#include "core/links.h"
#include "core/lock.h"
#include "core/report.h"
#include "proto/launch.h"
#include "proto/messages.h"

#define STREAM           1
#define READ_BYTES       131072
#define READS_A_STEP     4 /* so that a fast sender can't keep a caller from its other descriptors */
#define IN_MAX           (READ_BYTES + BL_FRAME_HEADER_BYTES + BL_FRAME_PAYLOAD_MAX)
#define OUT_MAX          (1u << 20)
#define OUT_INPUT_MAX    (OUT_MAX / 2) /* input stops here, so that credit and signals always find room */
#define CREDIT_PIECE     (BL_WINDOW_BYTES / 8)
#define CONNECT_ATTEMPTS 5
#define DEATH_WAIT_MS    2000

struct bl_session {
    struct bl_runtime *runtime;
    char id[BL_BOX_ID_LENGTH + 1];
    int fd;
    struct bl_session_events events;
    void *data;
    struct bl_buffer in, out;
    bool greeted, opened, ended;
    bool takes_input, input_closed, input_wanted; /* input_wanted: a write found no room, writable() is owed */
    uint32_t input_credit;
    uint32_t unread[BL_CHANNEL_COUNT];      /* bytes the caller has not consumed */
    uint32_t owed_credit[BL_CHANNEL_COUNT]; /* bytes consumed that the box was not told of */
    bool output_ended[BL_CHANNEL_COUNT];
    bool held;      /* the caller had no room for output: frames wait in `in`, and nothing more is read */
    bool broken;    /* memory ran out for something that must be sent */
    int send_error; /* errno of a failed send: what the box said before is still to be read, and nothing more is sent */
};

/* wait_for_shim_end() - Give a shim that closed its connections the moment it takes to die, so that the cause can be told. */
static void wait_for_shim_end(const struct bl_verdict *verdict)
{
    cleanup_close int fd = verdict->pid > 0 ? bl_os.pidfd_open(verdict->pid, 0) : -1;
    struct pollfd polled = {.fd = fd, .events = POLLIN};
    int64_t deadline = bl_deadline_in(DEATH_WAIT_MS);

    while (fd >= 0 && bl_os.poll(&polled, 1, bl_deadline_left(deadline)) < 0 && errno == EINTR)
        ;
}

/*
 * explain_end() - The connection ended before the command did: how did the box?
 * @error: errno of what failed on the connection, 0 for its plain end
 *
 * Return: always -1
 */
static int explain_end(struct bl_session *session, int error, struct bl_error *err)
{
    cleanup_record struct bl_record record = {0};
    struct bl_verdict verdict;

    session->ended = true;
    if (bl_runtime_check(session->runtime, err) < 0)
        return -1;
    if (bl_store_get(session->runtime->store, session->id, &record, NULL) < 0)
        return bl_fail(err, BL_SESSION_REAPED, 0, "box %s was removed, and with it how the command ended", session->id);
    if (bl_judge(session->runtime, &record, BL_JUDGE_LOOK, &verdict, err) < 0)
        return -1;
    if (verdict.runs) {
        wait_for_shim_end(&verdict);
        if (bl_judge(session->runtime, &record, BL_JUDGE_LOOK, &verdict, err) < 0)
            return -1;
    }
    if (verdict.runs && !verdict.busy)
        return error ? bl_fail(err, BL_RPC_TRANSPORT, error, "talk to the host process of box %s", session->id)
                     : bl_fail(err, BL_RPC_TRANSPORT, 0, "the host process of box %s closed the connection", session->id);

    /* While another program stops the box, its record waits for that program; the report is there already. */
    struct bl_report report = {0};

    if (verdict.busy && bl_report_read(session->runtime->boxes_fd, session->id, &report) > 0) {
        bl_report_apply(&report, &record.state);
        bl_report_free(&report);
    }
    return bl_fail(err, record.state.status == BL_BOX_FAILED ? BL_ENGINE : BL_STOPPED, 0, "box %s ended%s%s", session->id,
                   record.state.reason ? ": " : "", record.state.reason ? record.state.reason : "");
}

static int break_off(struct bl_session *session, struct bl_error *err, const char *what)
{
    session->ended = true;
    return bl_fail(err, BL_RPC, 0, "the host process of box %s broke the protocol: %s", session->id, what);
}

/* queue() - A frame of the stream to send. After one that found no memory there is none any more: the box would take what follows
 * for the whole, and say that something else is wrong. */
static void queue(struct bl_session *session, enum bl_frame_type type, uint16_t channel, const void *payload, size_t length)
{
    if (!session->ended && !session->broken && bl_frame_append(&session->out, type, channel, STREAM, payload, length) < 0)
        session->broken = true;
}

/* flush() - Send what the socket takes; nothing any more after a failure. */
static void flush(struct bl_session *session)
{
    if (session->send_error)
        bl_buffer_clear(&session->out);
    while (session->out.length) {
        ssize_t n = bl_os.send(session->fd, bl_buffer_data(&session->out), session->out.length, MSG_NOSIGNAL | MSG_DONTWAIT);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return;
        if (n < 0) {
            session->send_error = errno;
            bl_buffer_clear(&session->out);
            return;
        }
        bl_buffer_consume(&session->out, (size_t)n);
    }
}

static bool takes_more(const struct bl_session *session)
{
    return session->takes_input && !session->input_closed && session->input_credit && session->out.length < OUT_INPUT_MAX;
}

static void offer_writable(struct bl_session *session)
{
    if (!session->input_wanted || session->ended || !takes_more(session))
        return;
    session->input_wanted = false;
    if (session->events.writable)
        session->events.writable(session, session->data);
}

static int take_data(struct bl_session *session, const struct bl_frame *frame, struct bl_error *err)
{
    if ((frame->channel != BL_CHANNEL_STDOUT && frame->channel != BL_CHANNEL_STDERR) || session->output_ended[frame->channel])
        return break_off(session, err, "output on a channel that has none");
    if (frame->length > BL_WINDOW_BYTES - session->unread[frame->channel])
        return break_off(session, err, "more output than there was credit for");
    session->unread[frame->channel] += frame->length;
    BL_CRASH_POINT("exec:output");
    if (!frame->length)
        return 0;
    if (session->events.output)
        session->events.output(session, (enum bl_channel)frame->channel, frame->payload, frame->length, session->data);
    else
        bl_session_consumed(session, (enum bl_channel)frame->channel, frame->length);
    return 0;
}

static int take_end_of_output(struct bl_session *session, const struct bl_frame *frame, struct bl_error *err)
{
    if (frame->channel != BL_CHANNEL_STDOUT && frame->channel != BL_CHANNEL_STDERR)
        return break_off(session, err, "the end of a channel that has none");
    if (session->output_ended[frame->channel])
        return 0;
    session->output_ended[frame->channel] = true;
    if (session->events.output_end)
        session->events.output_end(session, (enum bl_channel)frame->channel, session->data);
    return 0;
}

static int take_credit(struct bl_session *session, const struct bl_frame *frame, struct bl_error *err)
{
    uint32_t bytes = 0;

    if (frame->channel != BL_CHANNEL_STDIN || bl_frame_u32(frame, &bytes) < 0 || bytes > BL_WINDOW_BYTES - session->input_credit)
        return break_off(session, err, "credit for what was not sent");
    session->input_credit += bytes;
    return 0;
}

static int take_exit(struct bl_session *session, const struct bl_frame *frame, struct bl_error *err)
{
    struct bl_exit exit;

    if (bl_exit_decode(frame->payload, frame->length, &exit) < 0)
        return break_off(session, err, "an exit that can't be understood");
    BL_CRASH_POINT("exec:exited");
    session->ended = true;
    if (session->events.exited)
        session->events.exited(session, &exit, session->data);
    return 0;
}

/* take_frame() - Return: 0; -1 with *@err */
static int take_frame(struct bl_session *session, const struct bl_frame *frame, struct bl_error *err)
{
    struct bl_hello hello;

    if (!session->greeted) {
        if (frame->type != BL_FRAME_HELLO || bl_hello_parse(frame, &hello) < 0)
            return break_off(session, err, "it speaks another version");
        session->greeted = true;
        return 0;
    }
    if (frame->stream != STREAM)
        return frame->stream == 0 ? 0 : break_off(session, err, "a frame of a stream that was never opened");
    switch ((int)frame->type) {
    case BL_FRAME_OPENED:
        BL_CRASH_POINT("exec:opened");
        if (!session->opened && session->events.opened)
            session->events.opened(session, session->data);
        session->opened = true;
        return 0;
    case BL_FRAME_DATA:
        return take_data(session, frame, err);
    case BL_FRAME_EOF:
        return take_end_of_output(session, frame, err);
    case BL_FRAME_CREDIT:
        return take_credit(session, frame, err);
    case BL_FRAME_EXIT:
        return take_exit(session, frame, err);
    default:
        return break_off(session, err, bl_frame_type_name(frame->type));
    }
}

/* take_frames() - All whole frames that came, up to output that the caller has no room for. Return: 0; -1 with *@err */
static int take_frames(struct bl_session *session, struct bl_error *err)
{
    session->held = false;
    while (!session->ended) {
        struct bl_frame frame;
        size_t used = 0;
        int found = bl_frame_next(&session->in, &frame, &used);

        if (found < 0)
            return break_off(session, err, "bytes that are no frame");
        if (!found)
            return 0;
        session->held = frame.type == BL_FRAME_DATA && session->events.room && !session->events.room(session, session->data);
        if (session->held)
            return 0;
        if (take_frame(session, &frame, err) < 0)
            return -1;
        bl_buffer_consume(&session->in, used);
    }
    return 0;
}

int bl_session_fd(const struct bl_session *session)
{
    return session->fd;
}

short bl_session_poll_events(const struct bl_session *session)
{
    /* After a failed send the next step is due at once, and it is the last, unless frames are held: then it would be in vain. */
    return (short)(POLLIN | (session->out.length || (session->send_error && !session->held) ? POLLOUT : 0));
}

int bl_session_step(struct bl_session *session, struct bl_error *err)
{
    if (session->ended)
        return 0;
    if (session->broken)
        return bl_fail_memory(err);
    /* A failure to send is not the last word: what the box said before it went is still to be read. */
    flush(session);
    if (take_frames(session, err) < 0)
        return -1;
    for (int i = 0; i < READS_A_STEP && !session->ended && !session->held; i++) {
        uint8_t *room = bl_buffer_reserve(&session->in, READ_BYTES);

        if (!room)
            return bl_fail_memory(err);

        ssize_t n = bl_os.recv(session->fd, room, READ_BYTES, MSG_DONTWAIT);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN && !session->send_error)
            break;
        if (n <= 0)
            return explain_end(session, n == 0 ? 0 : errno == EAGAIN ? session->send_error : errno, err);
        bl_buffer_commit(&session->in, (size_t)n);
        if (take_frames(session, err) < 0)
            return -1;
        if (n < READ_BYTES)
            break;
    }
    if (session->ended)
        return 0;
    offer_writable(session);
    if (session->broken)
        return bl_fail_memory(err);
    flush(session);
    offer_writable(session);
    return 1;
}

ssize_t bl_session_write(struct bl_session *session, const void *bytes, size_t length)
{
    const uint8_t *at = bytes;
    size_t taken = 0;

    if (!session->takes_input || session->input_closed || session->ended)
        return -1;
    while (taken < length && takes_more(session)) {
        size_t piece = length - taken;

        piece = piece > BL_FRAME_PAYLOAD_MAX ? BL_FRAME_PAYLOAD_MAX : piece;
        piece = piece > session->input_credit ? session->input_credit : piece;
        queue(session, BL_FRAME_DATA, BL_CHANNEL_STDIN, at + taken, piece);
        session->input_credit -= (uint32_t)piece;
        taken += piece;
    }
    session->input_wanted = taken < length;
    flush(session);
    return (ssize_t)taken;
}

void bl_session_close_input(struct bl_session *session)
{
    if (!session->takes_input || session->input_closed)
        return;
    session->input_closed = true;
    queue(session, BL_FRAME_EOF, BL_CHANNEL_STDIN, NULL, 0);
    flush(session);
}

void bl_session_consumed(struct bl_session *session, enum bl_channel channel, size_t length)
{
    if (channel != BL_CHANNEL_STDOUT && channel != BL_CHANNEL_STDERR)
        return;
    if (length > session->unread[channel])
        length = session->unread[channel];
    session->unread[channel] -= (uint32_t)length;
    session->owed_credit[channel] += (uint32_t)length;
    if (session->owed_credit[channel] < CREDIT_PIECE || session->output_ended[channel])
        return;

    uint8_t payload[4];

    bl_put_le32(payload, session->owed_credit[channel]);
    queue(session, BL_FRAME_CREDIT, (uint16_t)channel, payload, sizeof payload);
    session->owed_credit[channel] = 0;
    flush(session);
}

void bl_session_signal(struct bl_session *session, int signal_number)
{
    uint8_t payload[4];

    bl_put_le32(payload, (uint32_t)signal_number);
    queue(session, BL_FRAME_SIGNAL, 0, payload, sizeof payload);
    flush(session);
}

void bl_session_resize(struct bl_session *session, uint16_t rows, uint16_t columns)
{
    uint8_t payload[4];

    bl_put_le16(payload, rows);
    bl_put_le16(payload + 2, columns);
    queue(session, BL_FRAME_RESIZE, 0, payload, sizeof payload);
    flush(session);
}

void bl_session_free(struct bl_session *session)
{
    if (!session)
        return;
    bl_buffer_free(&session->in);
    bl_buffer_free(&session->out);
    bl_close_fd(&session->fd);
    free(session);
}

/* connect_running() - A connection to a box that runs. Return: descriptor; -1 with *@err, errno EAGAIN: judge once more */
static int connect_running(struct bl_runtime *runtime, const struct bl_record *record, const struct bl_verdict *verdict,
                           int attempt, struct bl_error *err)
{
    int fd = bl_control_connect(runtime->boxes_fd, record->id);
    int saved = errno;

    if (fd >= 0)
        return fd;
    bl_fail(err, BL_INVALID_STATE, saved, "connect to box %s: its host process (%d) does not answer", record->id,
            (int)verdict->pid);
    /* It may be dying, and the next look says how; but it has only so many chances. */
    if ((saved == ENOENT || saved == ECONNREFUSED) && attempt < CONNECT_ATTEMPTS)
        wait_for_shim_end(verdict);
    errno = saved == ENOENT || saved == ECONNREFUSED ? EAGAIN : saved;
    return -1;
}

/*
 * connect_at_once() - A connection to a box that runs, and that nobody starts, stops or removes
 *
 * The lock is looked at after connecting: who answers holds it, or somebody for him, until the guest does, so if it is free then,
 * he is ready. The other way round he could have begun in between.
 *
 * Return: descriptor; -1: look closer
 */
static int connect_at_once(struct bl_runtime *runtime, const char *id)
{
    cleanup_close int fd = bl_control_connect(runtime->boxes_fd, id);

    return fd >= 0 && bl_lifecycle_probe(runtime->boxes_fd, id) == BL_LOCK_FREE ? bl_steal_fd(&fd) : -1;
}

/*
 * connect_box() - A connection to a box, which is started when it does not run, has no command of its own, and may resume
 * @may_start: false: never start it
 */
static int connect_box(struct bl_runtime *runtime, const char *name, bool may_start, char *id, struct bl_error *err)
{
    for (int attempt = 1;; attempt++) {
        cleanup_record struct bl_record record = {0};
        struct bl_verdict verdict;
        int fd = -1;

        if (bl_store_find(runtime->store, name, &record, err) < 0)
            return -1;
        memcpy(id, record.id, sizeof record.id);
        if (attempt == 1 && record.state.status == BL_BOX_RUNNING)
            fd = connect_at_once(runtime, record.id);
        if (fd >= 0)
            return fd;
        if (bl_judge(runtime, &record, BL_JUDGE_LOOK, &verdict, err) < 0)
            return -1;
        if (*verdict.trouble)
            return bl_fail(err, BL_INVALID_STATE, 0, "the state of box %s can't be told: %s", name, verdict.trouble);
        if (verdict.runs && (!verdict.busy || record.state.status == BL_BOX_RUNNING)) {
            fd = connect_running(runtime, &record, &verdict, attempt, err);
            if (fd >= 0 || errno != EAGAIN || attempt >= CONNECT_ATTEMPTS)
                return fd;
            continue;
        }
        if (verdict.busy) {
            /* It is starting or stopping: what comes of it decides. */
            int lock = bl_lifecycle_lock(runtime->boxes_fd, record.id, BL_NEVER, runtime->implicit_start.cancel_fd, err);

            bl_lifecycle_unlock(lock);
            if (lock < 0)
                return -1;
            continue;
        }
        if (!may_start || bl_record_is_job(&record))
            return bl_fail(err, BL_INVALID_STATE, 0, "box %s is not running%s", name,
                           bl_record_is_job(&record) ? ": start it first (it has a command of its own, which would run again)"
                                                     : "");
        if (record.no_auto_resume && record.state.started_at_ms)
            return bl_fail(err, BL_INVALID_STATE, 0, "box %s is not running: start it first (it does not resume by itself)", name);
        if (attempt >= CONNECT_ATTEMPTS)
            return bl_fail(err, BL_INVALID_STATE, 0, "box %s ends as soon as it is started", name);
        if (bl_box_start(runtime, record.id, &runtime->implicit_start, err) < 0)
            return -1;
        BL_CRASH_POINT("exec:started");
    }
}

/* make_session() - @id, @fd: of a box and a connection to it; the latter is taken. Return: 0; -1 */
static int make_session(struct bl_runtime *runtime, const char *id, int fd, const struct bl_session_events *events, void *data,
                        struct bl_session **out, struct bl_error *err)
{
    struct bl_session *session = calloc(1, sizeof *session);

    if (!session) {
        close(fd);
        return bl_fail_memory(err);
    }
    session->runtime = runtime;
    session->events = *events;
    session->data = data;
    session->in = (struct bl_buffer)BL_BUFFER_INIT(IN_MAX);
    session->out = (struct bl_buffer)BL_BUFFER_INIT(OUT_MAX);
    session->input_credit = BL_WINDOW_BYTES;
    session->fd = fd;
    memcpy(session->id, id, sizeof session->id);
    BL_CRASH_POINT("exec:connected");
    if (bl_control_hello(&session->out) < 0) {
        bl_fail(err, BL_INTERNAL, errno, "make a random epoch");
        bl_session_free(session);
        return -1;
    }
    *out = session;
    return 0;
}

/* encode_open() - Return: 0 and a frame's payload; -1 */
static int encode_open(const struct bl_open *open, struct bl_buffer *payload, struct bl_error *err)
{
    errno = 0;
    if (open->kind != BL_OPEN_WORKLOAD && bl_open_encode(payload, open) == 0)
        return 0;
    return errno == ENOMEM ? bl_fail_memory(err)
                           : bl_fail(err, BL_INVALID_ARGUMENT, 0,
                                     "the command, its environment and its paths are too long: at most %d bytes are possible",
                                     BL_FRAME_PAYLOAD_MAX);
}

/* send_open() - The first thing that is said. */
static void send_open(struct bl_session *session, const struct bl_open *open, const struct bl_buffer *payload)
{
    session->takes_input = open->kind == BL_OPEN_COPY_IN || (open->kind == BL_OPEN_EXEC && open->use_stdin);
    queue(session, BL_FRAME_OPEN, 0, bl_buffer_data(payload), payload->length);
    flush(session);
    BL_CRASH_POINT("exec:sent");
}

int bl_session_exec(struct bl_runtime *runtime, const char *name, const struct bl_open *open,
                    const struct bl_session_events *events, void *data, struct bl_session **out, struct bl_error *err)
{
    cleanup_buffer struct bl_buffer payload = BL_BUFFER_INIT(BL_FRAME_PAYLOAD_MAX);
    char id[BL_BOX_ID_LENGTH + 1];

    *out = NULL;
    if (bl_runtime_check(runtime, err) < 0 || encode_open(open, &payload, err) < 0)
        return -1;

    int fd = connect_box(runtime, name, true, id, err);

    if (fd < 0 || make_session(runtime, id, fd, events, data, out, err) < 0)
        return -1;
    send_open(*out, open, &payload);
    return 0;
}

int bl_session_exec_at_once(struct bl_runtime *runtime, const char *name, const struct bl_open *open,
                            const struct bl_session_events *events, void *data, struct bl_session **out, struct bl_error *err)
{
    cleanup_buffer struct bl_buffer payload = BL_BUFFER_INIT(BL_FRAME_PAYLOAD_MAX);
    char id[BL_BOX_ID_LENGTH + 1];

    *out = NULL;
    if (bl_runtime_owned(runtime, err) < 0 || encode_open(open, &payload, err) < 0)
        return -1;

    int fd = bl_link_find(runtime, name, id) ? connect_at_once(runtime, id) : -1;

    if (fd < 0)
        return 0;
    if (make_session(runtime, id, fd, events, data, out, err) < 0)
        return -1;
    send_open(*out, open, &payload);
    return 0;
}

int bl_session_attach(struct bl_runtime *runtime, const char *name, const struct bl_session_events *events, void *data,
                      struct bl_session **out, struct bl_error *err)
{
    cleanup_record struct bl_record record = {0};
    char id[BL_BOX_ID_LENGTH + 1];

    *out = NULL;
    if (bl_runtime_check(runtime, err) < 0 || bl_store_find(runtime->store, name, &record, err) < 0)
        return -1;

    int fd = connect_box(runtime, record.id, false, id, err);

    if (fd < 0 || make_session(runtime, id, fd, events, data, out, err) < 0)
        return -1;
    (*out)->takes_input = record.open_stdin;
    queue(*out, BL_FRAME_ATTACH, 0, NULL, 0);
    flush(*out);
    return 0;
}
