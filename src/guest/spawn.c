/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spawn.c - the process of a stream
 *
 * One clone3() puts the child into its cgroup at once, so nothing it does escapes the limits, and into the right pid namespace:
 * a new one for the workload; for an exec the workload's, which the agent makes that of its next children (setns of a pid
 * namespace changes nothing else) and takes back after the fork. So every command is a direct child of the agent: no helper
 * process stays in between, and the exit status comes first hand.
 *
 * A copy joins the box's file systems only (copy.c): it is no process of the box, nobody in it can see or signal it.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/strings.h"
#include "guest/copy.h"
#include "guest/stream.h"
#include "guest/syscalls.h"
#include "guest/system.h"

#define COPY_PIPE_BYTES 262144

/* The ends of a stream's pipes: [0] is the agent's, [1] the child's. */
struct ends {
    int stdio[3][2];
    int report[2];
};

static void close_ends(struct ends *ends, int side)
{
    for (size_t i = 0; i < 3; i++)
        bl_close_fd(&ends->stdio[i][side]);
    bl_close_fd(&ends->report[side]);
}

/* make_pipe() - @agent_reads: the direction. Return: 0; -1 with errno */
static int make_pipe(int ends[2], bool agent_reads, bool is_copy)
{
    int fds[2];

    if (pipe2(fds, O_CLOEXEC) < 0)
        return -1;
    ends[0] = fds[agent_reads ? 0 : 1];
    ends[1] = fds[agent_reads ? 1 : 0];
    if (is_copy)
        fcntl(fds[0], F_SETPIPE_SZ, COPY_PIPE_BYTES);
    return bl_set_nonblocking(ends[0]);
}

static int make_ends(const struct bl_open *open, struct ends *ends)
{
    bool copies_in = open->kind == BL_OPEN_COPY_IN, copies_out = open->kind == BL_OPEN_COPY_OUT;
    bool commands = !copies_in && !copies_out && !open->tty;

    /* Only a terminal needs a socket, which can carry its descriptor. */
    if (open->tty ? socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends->report) < 0
                  : make_pipe(ends->report, true, false) < 0)
        return -1;
    if ((copies_in || (commands && open->use_stdin)) && make_pipe(ends->stdio[0], false, copies_in) < 0)
        return -1;
    if ((copies_out || commands) && make_pipe(ends->stdio[1], true, copies_out) < 0)
        return -1;
    return commands ? make_pipe(ends->stdio[2], true, false) : 0;
}

/* fork_into() - The clone3() of the header comment. Return: pid, 0 in the child; -1 with errno */
static pid_t fork_into(struct bl_stream *stream, int cgroup_fd, int *pidfd)
{
    struct bl_agent *agent = stream->agent;
    struct bl_clone_args args = {
        .flags = CLONE_INTO_CGROUP | CLONE_PIDFD,
        .pidfd = (uint64_t)(uintptr_t)pidfd,
        .exit_signal = SIGCHLD,
        .cgroup = (uint64_t)cgroup_fd,
    };
    bool joins = stream->open.kind == BL_OPEN_EXEC;

    if (stream->open.kind == BL_OPEN_WORKLOAD)
        args.flags |= CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC;
    if (joins && setns(agent->workload_fd, CLONE_NEWPID) < 0)
        return -1;

    pid_t pid = bl_clone3(&args);
    int failed = errno;

    if (joins && pid != 0 && setns(agent->own_pid_ns_fd, CLONE_NEWPID) < 0)
        bl_say("the agent can't return to its own pid namespace");
    errno = failed;
    return pid;
}

/* run_child() - In the child, whose copy of the agent's memory is its own. */
static _Noreturn void run_child(struct bl_stream *stream, struct ends *ends)
{
    struct bl_agent *agent = stream->agent;
    bool is_workload = stream->open.kind == BL_OPEN_WORKLOAD;
    struct bl_child child = {
        .open = &stream->open,
        .workload = is_workload ? NULL : &agent->workload,
        .hostname = agent->hostname,
        .workload_fd = is_workload ? -1 : agent->workload_fd,
        .stdio = {ends->stdio[0][1], ends->stdio[1][1], ends->stdio[2][1]},
        .report_fd = ends->report[1],
    };

    if (stream->open.kind == BL_OPEN_COPY_IN || stream->open.kind == BL_OPEN_COPY_OUT)
        bl_copy_run(&child);
    bl_child_run(&child);
}

/* remember_workload() - Keep what execs will inherit. Return: 0; -1 no memory */
static int remember_workload(struct bl_agent *agent, const struct bl_open *open)
{
    struct bl_open copy = {
        .kind = BL_OPEN_WORKLOAD,
        .env = bl_strings_copy((const char *const *)open->env),
        .cwd = open->cwd ? strdup(open->cwd) : NULL,
        .user = open->user ? strdup(open->user) : NULL,
        .stop_signal = open->stop_signal,
        .has_capabilities = open->has_capabilities,
        .capabilities = open->capabilities,
    };

    if (!copy.env || (open->cwd && !copy.cwd) || (open->user && !copy.user)) {
        bl_open_free(&copy);
        return -1;
    }
    bl_open_free(&agent->workload);
    agent->workload = copy;
    return 0;
}

/* fork_child() - Fork with everything made. Return: 0; -1 */
static int fork_child(struct bl_stream *stream, struct ends *ends, struct bl_error *err)
{
    struct bl_agent *agent = stream->agent;
    bool is_workload = stream->open.kind == BL_OPEN_WORKLOAD;

    /* Of a workload before this one; all that was in it ended with its PID 1. */
    if (is_workload)
        bl_cgroup_remove(&agent->cgroups, "workload");

    cleanup_close int cgroup_fd = bl_cgroup_make(&agent->cgroups, is_workload ? "workload" : NULL, stream->cgroup, err);
    int pidfd = -1;

    if (cgroup_fd < 0)
        return -1;

    pid_t pid = fork_into(stream, cgroup_fd, &pidfd);

    if (pid == 0)
        run_child(stream, ends);
    if (pid < 0) {
        bl_fail(err, BL_EXECUTION, errno, "start a process in the box");
        bl_cgroup_remove(&agent->cgroups, stream->cgroup);
        return -1;
    }
    stream->pid = pid;
    if (is_workload)
        agent->workload_fd = pidfd;
    else
        close(pidfd);
    return 0;
}

int bl_spawn(struct bl_stream *stream, struct bl_error *err)
{
    struct ends ends = {.stdio = {{-1, -1}, {-1, -1}, {-1, -1}}, .report = {-1, -1}};
    struct bl_agent *agent = stream->agent;
    int failed = make_ends(&stream->open, &ends);

    if (failed)
        bl_fail(err, BL_EXECUTION, errno, "make the pipes of a command");
    if (!failed && stream->open.kind == BL_OPEN_WORKLOAD && (failed = remember_workload(agent, &stream->open)))
        bl_fail_memory(err);
    if (!failed)
        failed = fork_child(stream, &ends, err);
    close_ends(&ends, 1);
    if (failed) {
        close_ends(&ends, 0);
        return -1;
    }
    stream->report.fd = ends.report[0];
    stream->input.fd = ends.stdio[0][0];
    stream->outputs[0].source.fd = ends.stdio[1][0];
    stream->outputs[1].source.fd = ends.stdio[2][0];
    if (bl_source_add(&agent->loop, &stream->report) < 0)
        bl_say("a child can't be watched");
    return 0;
}

int bl_spawn_terminal(struct bl_stream *stream, int master)
{
    struct winsize size = {.ws_row = stream->open.rows, .ws_col = stream->open.columns};
    int input = stream->open.use_stdin ? fcntl(master, F_DUPFD_CLOEXEC, 3) : -1;

    stream->outputs[0].source.fd = master;
    stream->input.fd = input;
    /* The size can have changed since the fork. */
    if (size.ws_row && size.ws_col)
        ioctl(master, TIOCSWINSZ, &size);
    if ((stream->open.use_stdin && input < 0) || bl_set_nonblocking(master) < 0)
        return -1;
    return 0;
}
