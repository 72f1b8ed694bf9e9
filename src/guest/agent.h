/* SPDX-License-Identifier: Apache-2.0 */
/* agent.h - the agent as a whole: one thread, one loop, one conversation */
#ifndef BL_GUEST_AGENT_H
#define BL_GUEST_AGENT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/loop.h"
#include "guest/cgroup.h"
#include "guest/link.h"
#include "proto/messages.h"

struct bl_stream;

enum bl_agent_state {
    BL_AGENT_WAITS_FOR_HELLO,
    BL_AGENT_WAITS_FOR_CONFIG,
    BL_AGENT_SERVES,
    BL_AGENT_SHUTS_DOWN,
};

struct bl_agent {
    struct bl_loop loop;
    struct bl_link link;
    enum bl_agent_state state;
    int64_t init_us, configured_us, mounted_us; /* for READY, on the monotonic clock */

    /* Of this box; set by CONFIG. */
    bool configured;
    char hostname[BL_NAME_BYTES_MAX + 1];
    struct bl_cgroups cgroups;

    /* The workload: one at a time. */
    struct bl_open workload; /* what execs inherit; kind 0: none was started */
    int workload_fd;         /* its pidfd, -1 when there is none */
    int mounts_fd;           /* its mount namespace, held so that its end does not have to take all mounts apart; -1: none */
    int own_pid_ns_fd;

    struct bl_stream *streams; /* list; the first is the first to use the link */
    struct bl_stream **streams_end;
    uint32_t stream_count;     /* those whose EXIT is still to come */
    bool untidy;               /* a stream is (stream.h) */
    struct bl_source children; /* signalfd of SIGCHLD */
    struct bl_timer shutdown_timer;
};

/* settings.c: bl_settings_apply() - Make this machine the box that a CONFIG describes. Return: 0; -1 */
int bl_settings_apply(struct bl_agent *agent, const struct bl_frame *config, struct bl_error *err);

/* shutdown.c: */
/* bl_shutdown_begin() - End the workload within that time, then everything, then the machine. */
void bl_shutdown_begin(struct bl_agent *agent, uint32_t grace_ms);
/* bl_shutdown_check() - Go on with it when the workload has ended; called after children were reaped. */
void bl_shutdown_check(struct bl_agent *agent);

#endif
