/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pump.c - bytes between a stream's channels and its pipes or terminal
 *
 * Towards the host: a pipe is watched while there is credit and the link has room; what is read goes straight into the link's
 * buffer. Each readiness moves one frame at most, so that many streams take turns.
 *
 * From the host: bytes are written at once; what the pipe does not take waits, at most a window, and credit goes back for what
 * it took. A pipe whose reader has gone takes everything.
 */
#include <errno.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "guest/stream.h"

#define END_OF_FILE_KEY   4 /* what a terminal takes for the end of its input (VEOF's default) */
#define TERMINAL_LEFT_MAX 131072

static void close_source(struct bl_source *source)
{
    bl_source_remove(source);
    bl_close_fd(&source->fd);
}

/* finish_output() - Nothing more will be sent on this channel. A process closes its files as it ends, so EXIT is most often near.
 */
static void finish_output(struct bl_output *output)
{
    struct bl_stream *stream = output->stream;

    if (output->finished)
        return;
    output->finished = true;
    if (!stream->unheard)
        bl_link_send_patiently(&stream->agent->link, BL_FRAME_EOF, output->channel, stream->id, NULL, 0);
}

/* throw_away() - Read what nobody wants. */
static void throw_away(struct bl_output *output)
{
    char bytes[65536];
    ssize_t n = read(output->source.fd, bytes, sizeof bytes);

    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
        close_source(&output->source);
        bl_stream_check(output->stream);
    }
}

/* send_some() - Move one frame of DATA. Return: bytes; 0 at the end; -1 with errno (EAGAIN: nothing there now) */
static ssize_t send_some(struct bl_output *output, size_t most)
{
    struct bl_buffer *out = &output->stream->agent->link.out;
    uint8_t *frame = bl_buffer_reserve(out, BL_FRAME_HEADER_BYTES + most);

    if (!frame) {
        /* No memory now: as if the link were full. */
        output->stream->agent->link.paused = true;
        errno = ENOBUFS;
        return -1;
    }

    ssize_t n = read(output->source.fd, frame + BL_FRAME_HEADER_BYTES, most);

    if (n <= 0)
        return n;
    bl_put_le32(frame, (uint32_t)n);
    bl_put_le16(frame + 4, BL_FRAME_DATA);
    bl_put_le16(frame + 6, output->channel);
    bl_put_le32(frame + 8, output->stream->id);
    bl_buffer_commit(out, BL_FRAME_HEADER_BYTES + (size_t)n);
    output->credit -= (uint32_t)n;
    return n;
}

/* hold() - Stop watching without losing the source; the hangup of a pipe can't be masked, so it leaves the loop. */
static void hold(struct bl_output *output)
{
    bl_source_remove(&output->source);
}

void bl_pump_output(struct bl_source *source, uint32_t events)
{
    struct bl_output *output = source->data;
    struct bl_stream *stream = output->stream;
    struct bl_agent *agent = stream->agent;

    (void)events;
    if (output->finished || stream->unheard) {
        throw_away(output);
        return;
    }

    size_t most = output->credit < BL_FRAME_PAYLOAD_MAX ? output->credit : BL_FRAME_PAYLOAD_MAX;

    if (stream->reaped && most > output->left)
        most = output->left;
    if (!output->credit || bl_link_full(&agent->link)) {
        hold(output);
        return;
    }

    ssize_t n = most ? send_some(output, most) : 0;

    if (n > 0) {
        output->left -= stream->reaped ? (size_t)n : 0;
        if (stream->reaped && !output->left)
            finish_output(output);
    } else if (n < 0 && errno == ENOBUFS) {
        hold(output);
    } else if (n < 0 && (errno == EINTR || (errno == EAGAIN && !stream->reaped))) {
        return;
    } else {
        /* The end, or a process that has ended left less than it seemed; only a stray can write more. */
        finish_output(output);
        if (n == 0 && most)
            close_source(source);
        else if (errno != EAGAIN && n < 0)
            close_source(source);
    }
    if (output->finished)
        bl_stream_check(stream);
}

/* watch() - Look at an output now if it may send, else leave it out of the loop. */
static void watch(struct bl_output *output)
{
    struct bl_stream *stream = output->stream;
    bool wanted = output->finished || stream->unheard || (output->credit && !bl_link_full(&stream->agent->link));

    if (output->source.fd < 0 || stream->phase == BL_STREAM_WAITS || stream->phase == BL_STREAM_STARTING)
        return;
    if (wanted && !output->source.loop)
        bl_source_add(&stream->agent->loop, &output->source);
    else if (!wanted)
        hold(output);
}

void bl_pump_wind_up(struct bl_stream *stream)
{
    for (size_t i = 0; i < 2; i++) {
        struct bl_output *output = &stream->outputs[i];
        int waiting = 0;

        if (output->source.fd < 0 || output->finished) {
            finish_output(output);
            continue;
        }
        /* A terminal does not know what is still on its way through the line discipline. */
        if (stream->open.tty)
            waiting = TERMINAL_LEFT_MAX;
        else if (ioctl(output->source.fd, FIONREAD, &waiting) < 0)
            waiting = 0;
        output->left = (size_t)waiting;
        if (!waiting)
            finish_output(output);
        watch(output);
    }
    close_source(&stream->input);
    bl_buffer_free(&stream->input_queue);
}

void bl_pump_discard(struct bl_stream *stream)
{
    stream->unheard = true;
    close_source(&stream->input);
    bl_buffer_free(&stream->input_queue);
    for (size_t i = 0; i < 2; i++)
        watch(&stream->outputs[i]);
}

static void give_credit(struct bl_stream *stream, size_t bytes)
{
    if (bytes && !stream->unheard)
        bl_link_send_u32(&stream->agent->link, BL_FRAME_CREDIT, BL_CHANNEL_STDIN, stream->id, (uint32_t)bytes);
}

/* write_input() - Write as much as it takes. Return: bytes that are done with, which is all when the reader has gone */
static size_t write_input(struct bl_stream *stream, const uint8_t *bytes, size_t length)
{
    size_t done = 0;

    while (done < length && stream->input.fd >= 0) {
        ssize_t n = write(stream->input.fd, bytes + done, length - done);

        if (n > 0) {
            done += (size_t)n;
        } else if (errno == EAGAIN) {
            return done;
        } else if (errno != EINTR) {
            close_source(&stream->input);
        }
    }
    return length;
}

/* end_input() - The end of the input has come to the pipe. */
static void end_input(struct bl_stream *stream)
{
    static const uint8_t key = END_OF_FILE_KEY;

    if (stream->open.tty)
        write_input(stream, &key, 1);
    close_source(&stream->input);
}

static void watch_input(struct bl_stream *stream)
{
    if (stream->input.fd < 0)
        return;
    if (stream->input_queue.length && !stream->input.loop)
        bl_source_add(&stream->agent->loop, &stream->input);
    else if (!stream->input_queue.length)
        bl_source_remove(&stream->input);
    if (!stream->input_queue.length && stream->input_ends)
        end_input(stream);
}

void bl_pump_input(struct bl_source *source, uint32_t events)
{
    struct bl_stream *stream = source->data;
    struct bl_buffer *queue = &stream->input_queue;
    size_t done = write_input(stream, bl_buffer_data(queue), queue->length);

    (void)events;
    bl_buffer_consume(queue, done);
    give_credit(stream, done);
    watch_input(stream);
}

int bl_pump_take(struct bl_stream *stream, const uint8_t *bytes, size_t length)
{
    size_t done = 0;

    if (stream->input_ends || length > BL_WINDOW_BYTES - stream->input_queue.length)
        return -1;
    /* Before the child has said that it runs, a terminal is still to come. */
    if (!stream->input_queue.length && stream->phase == BL_STREAM_RUNS)
        done = write_input(stream, bytes, length);
    if (bl_buffer_append(&stream->input_queue, bytes + done, length - done) < 0)
        return -1;
    give_credit(stream, done);
    if (stream->phase == BL_STREAM_RUNS)
        watch_input(stream);
    return 0;
}

void bl_pump_input_ends(struct bl_stream *stream)
{
    stream->input_ends = true;
    if (stream->phase == BL_STREAM_RUNS)
        watch_input(stream);
}

void bl_pump_start(struct bl_stream *stream)
{
    for (size_t i = 0; i < 2; i++)
        watch(&stream->outputs[i]);
    watch_input(stream);
}
