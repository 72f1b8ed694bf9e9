/* SPDX-License-Identifier: Apache-2.0 */
/*
 * main.c - boxlite-guest, PID 1 of a box's machine
 *
 * One thread, one event loop, no helper programs. The agent finds its port, waits for the host's HELLO, and for the CONFIG that
 * says which box this machine is; until then it touches nothing that belongs to one box, so that a machine saved before that can
 * become any. Then it serves: streams are opened and end, children are reaped, until SHUTDOWN.
 *
 * A HELLO begins a new conversation at any time (the machine was saved and restored): what the old one had open is closed, the
 * workload alone goes on.
 *
 * If the agent can't go on it says so to the host (FAULT) and on the console, and ends the machine; a PID 1 that ended by
 * itself would be a kernel panic.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/io.h"
#include "guest/stream.h"
#include "guest/system.h"

#define PORT_NAME      "boxlite.agent"
#define PORT_WAIT_MS   60000
#define FAULT_WAIT_MS  2000
#define AGENT_PRIORITY (-15)
#define AGENT_FILES    65536

/* fault() - Tell the host and the console why the agent can't go on, and end the machine. */
static _Noreturn void fault(struct bl_agent *agent, const struct bl_error *err)
{
    cleanup_buffer struct bl_buffer payload = BL_BUFFER_INIT(BL_FRAME_PAYLOAD_MAX);

    bl_say("%s", err->message);
    if (agent->link.source.loop && bl_field_put_string(&payload, BL_FAULT_MESSAGE, err->message) == 0) {
        bl_link_send(&agent->link, BL_FRAME_FAULT, 0, 0, bl_buffer_data(&payload), payload.length);
        bl_link_drain(&agent->link, bl_deadline_in(FAULT_WAIT_MS));
    }
    bl_system_power_off();
}

static void take_hello(struct bl_agent *agent, const struct bl_frame *frame)
{
    struct bl_hello hello;

    if (bl_hello_parse(frame, &hello) < 0) {
        bl_say("the host speaks no version of the protocol that this agent does");
        return;
    }
    bl_streams_orphan(agent);
    bl_link_forget(&agent->link);
    hello.version = BL_PROTO_VERSION;
    hello.oldest = BL_PROTO_OLDEST_VERSION;
    if (bl_hello_append(&agent->link.out, &hello) == 0 && agent->state != BL_AGENT_SHUTS_DOWN)
        agent->state = BL_AGENT_WAITS_FOR_CONFIG;
}

static void take_config(struct bl_agent *agent, const struct bl_frame *frame)
{
    cleanup_buffer struct bl_buffer payload = BL_BUFFER_INIT(BL_FRAME_PAYLOAD_MAX);
    struct bl_error err = BL_ERROR_INIT;

    agent->configured_us = bl_now_us();
    if (bl_settings_apply(agent, frame, &err) < 0)
        fault(agent, &err);
    agent->state = BL_AGENT_SERVES;
    if (bl_field_put_u64(&payload, BL_READY_INIT_US, (uint64_t)agent->init_us) < 0 ||
        bl_field_put_u64(&payload, BL_READY_CONFIGURED_US, (uint64_t)agent->configured_us) < 0 ||
        bl_field_put_u64(&payload, BL_READY_MOUNTED_US, (uint64_t)agent->mounted_us) < 0 ||
        bl_field_put_string(&payload, BL_READY_AGENT, BL_VERSION) < 0 ||
        bl_field_put_u64(&payload, BL_READY_SENT_US, (uint64_t)bl_now_us()) < 0)
        return;
    bl_link_send(&agent->link, BL_FRAME_READY, 0, 0, bl_buffer_data(&payload), payload.length);
}

static void take_frame(struct bl_link *link, const struct bl_frame *frame)
{
    struct bl_agent *agent = link->data;
    uint32_t grace_ms;

    if (frame->type == BL_FRAME_HELLO)
        take_hello(agent, frame);
    else if (agent->state == BL_AGENT_WAITS_FOR_HELLO)
        return;
    else if (frame->type == BL_FRAME_CONFIG && agent->state == BL_AGENT_WAITS_FOR_CONFIG)
        take_config(agent, frame);
    else if (frame->type == BL_FRAME_PING)
        bl_link_send(link, BL_FRAME_PONG, 0, 0, frame->payload, frame->length);
    else if (frame->type == BL_FRAME_SHUTDOWN && bl_frame_u32(frame, &grace_ms) == 0)
        bl_shutdown_begin(agent, grace_ms);
    else if (frame->type == BL_FRAME_OPEN)
        bl_stream_open(agent, frame);
    else if (frame->stream != 0)
        bl_stream_frame(agent, frame);
}

static void link_drained(struct bl_link *link)
{
    bl_streams_resume(link->data);
}

/* reap() - Wait for all children that have ended; PID 1 has no others than its own and orphans. */
static void reap(struct bl_source *source, uint32_t events)
{
    struct bl_agent *agent = source->data;
    struct signalfd_siginfo signals[8];
    pid_t pid;
    int status;

    (void)events;
    /* One signal at most is pending, however many children have ended; another brings the loop here again. */
    (void)!read(source->fd, signals, sizeof signals);
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
        bl_stream_reaped(agent, pid, status);
    bl_shutdown_check(agent);
}

static int protect_from_oom(void)
{
    cleanup_close int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

    return fd < 0 ? -1 : bl_write_all(fd, "-1000", 5);
}

/* start() - Everything up to the first byte of the host. Return: 0; -1 */
static int start(struct bl_agent *agent, struct bl_error *err)
{
    struct rlimit files = {AGENT_FILES, AGENT_FILES};
    sigset_t children;

    if (bl_system_mount(err) < 0)
        return -1;
    /* Nobody in the box may look into the agent or a fork of it, and no lack of memory ends it. */
    prctl(PR_SET_DUMPABLE, 0);
    setpriority(PRIO_PROCESS, 0, AGENT_PRIORITY);
    setrlimit(RLIMIT_NOFILE, &files);
    if (protect_from_oom() < 0)
        bl_say("the agent is not protected from a lack of memory");
    if (bl_system_load_modules(err) < 0)
        return -1;

    signal(SIGPIPE, SIG_IGN);
    sigemptyset(&children);
    sigaddset(&children, SIGCHLD);
    sigprocmask(SIG_BLOCK, &children, NULL);
    agent->own_pid_ns_fd = open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC);
    agent->children = (struct bl_source){
        .fd = signalfd(-1, &children, SFD_NONBLOCK | SFD_CLOEXEC), .events = EPOLLIN, .ready = reap, .data = agent};
    if (agent->own_pid_ns_fd < 0 || agent->children.fd < 0 || bl_loop_init(&agent->loop) < 0 ||
        bl_source_add(&agent->loop, &agent->children) < 0)
        return bl_fail(err, BL_INTERNAL, errno, "set the event loop up");
    /* Both take the kernel many milliseconds, and know nothing of a box: machines from a template have them behind them. */
    bl_system_loopback();
    if (bl_cgroups_init(&agent->cgroups, &agent->loop, err) < 0)
        return -1;

    int port = bl_system_open_port(PORT_NAME, bl_deadline_in(PORT_WAIT_MS), err);

    if (port < 0)
        return -1;
    bl_say("version %s", BL_VERSION);
    agent->link.frame = take_frame;
    agent->link.drained = link_drained;
    agent->link.data = agent;
    return bl_link_open(&agent->link, &agent->loop, port) < 0 ? bl_fail(err, BL_INTERNAL, errno, "watch the port %s", PORT_NAME)
                                                              : 0;
}

int main(void)
{
    static struct bl_agent agent = {.init_us = 0, .workload_fd = -1, .mounts_fd = -1, .own_pid_ns_fd = -1};
    struct bl_error err = BL_ERROR_INIT;

    agent.init_us = bl_now_us();
    agent.streams_end = &agent.streams;
    if (start(&agent, &err) < 0)
        fault(&agent, &err);
    for (;;) {
        if (bl_loop_step(&agent.loop, -1) < 0) {
            bl_fail(&err, BL_INTERNAL, errno, "wait for events");
            fault(&agent, &err);
        }
        bl_link_end_round(&agent.link);
        bl_streams_tidy(&agent);
        bl_cgroups_tidy(&agent.cgroups);
    }
}
