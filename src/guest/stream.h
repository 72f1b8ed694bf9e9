/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stream.h - one OPEN, from its arrival to its EXIT
 *
 * A stream is a process, its cgroup, and up to three channels. It ends when its main process has ended and what that left in its
 * pipes was sent; EXIT is its last frame. If other processes still hold a pipe then, it is read and thrown away until they are
 * gone, so that they can't block; the stream is only a reader from there on.
 */
#ifndef BL_GUEST_STREAM_H
#define BL_GUEST_STREAM_H

#include <sys/types.h>

#include "guest/agent.h"
#include "guest/child.h"

enum bl_stream_phase {
    BL_STREAM_WAITS,    /* for the workload to run: until then its namespaces are not those of the box; no process yet */
    BL_STREAM_STARTING, /* forked; the child has not said yet that it runs */
    BL_STREAM_RUNS,
    BL_STREAM_ENDED, /* its EXIT was sent */
};

/* A channel towards the host. */
struct bl_output {
    struct bl_source source; /* end of a pipe, or a terminal; -1: closed */
    struct bl_stream *stream;
    uint16_t channel;
    bool finished;   /* EOF was sent */
    uint32_t credit; /* bytes that may be sent */
    size_t left;     /* once the process has ended: bytes that it had written and that are still to be sent */
};

struct bl_stream {
    struct bl_stream *next;
    struct bl_agent *agent;
    uint32_t id; /* 0: of a conversation that is over, nobody hears of it */
    enum bl_stream_phase phase;
    struct bl_open open;
    int64_t opened_us; /* when the agent heard of it, monotonic clock */

    pid_t pid; /* 0 once it was reaped */
    char cgroup[BL_CGROUP_NAME_MAX];
    bool unheard; /* CLOSE came, or another conversation: nothing is sent but EXIT */
    bool reaped;
    int wait_status;
    bool untidy;           /* EXIT is on its way; what the stream holds is given back once that has left */
    struct bl_exit result; /* error, code of a failed start, timed_out */
    struct bl_timer timeout;

    struct bl_source report; /* the child's socket; -1: it has said all */
    struct bl_source input;  /* write end of stdin, or the terminal; -1: none or closed */
    struct bl_buffer input_queue;
    bool input_ends; /* EOF came; close when the queue is empty */
    struct bl_output outputs[2];
};

/* bl_stream_open() - An OPEN came; whatever is wrong with it is answered with EXIT. */
void bl_stream_open(struct bl_agent *agent, const struct bl_frame *frame);
/* bl_stream_frame() - Any other frame of a stream; those of streams that have ended are late, not wrong. */
void bl_stream_frame(struct bl_agent *agent, const struct bl_frame *frame);
/* bl_stream_reaped() - A child of the agent has ended. */
void bl_stream_reaped(struct bl_agent *agent, pid_t pid, int wait_status);
/* bl_streams_resume() - The link has room again. */
void bl_streams_resume(struct bl_agent *agent);
/* bl_streams_orphan() - The conversation is over: nobody hears of any stream again. */
void bl_streams_orphan(struct bl_agent *agent);
/* bl_streams_tidy() - Give back what ended streams hold; called once their EXIT has left, which somebody waits for. */
void bl_streams_tidy(struct bl_agent *agent);
/* bl_stream_workload() - The workload's stream while its process lives, else NULL. */
struct bl_stream *bl_stream_workload(struct bl_agent *agent);

/* spawn.c: bl_spawn() - Fork the stream's process, with its pipes. Return: 0; -1 and nothing left */
int bl_spawn(struct bl_stream *stream, struct bl_error *err);
/* spawn.c: bl_spawn_terminal() - Take a terminal as input and output. Return: 0; -1 with errno */
int bl_spawn_terminal(struct bl_stream *stream, int master);

/* pump.c: bytes between channels and pipes. */
void bl_pump_output(struct bl_source *source, uint32_t events);
void bl_pump_input(struct bl_source *source, uint32_t events);
/* bl_pump_take() - DATA came for the input. Return: 0; -1: more than the window */
int bl_pump_take(struct bl_stream *stream, const uint8_t *bytes, size_t length);
void bl_pump_input_ends(struct bl_stream *stream);
/* bl_pump_start() - Begin to read the outputs. */
void bl_pump_start(struct bl_stream *stream);
/* bl_pump_wind_up() - The process has ended: send what it left, and no more. */
void bl_pump_wind_up(struct bl_stream *stream);
/* bl_pump_discard() - Nobody listens any more. */
void bl_pump_discard(struct bl_stream *stream);

/* bl_stream_check() - Send EXIT when everything was sent; free the stream when nothing holds it any more. May free it. */
void bl_stream_check(struct bl_stream *stream);

#endif
