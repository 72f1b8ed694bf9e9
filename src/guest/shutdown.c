/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shutdown.c - the end of the machine, in order
 *
 * The workload gets its stop signal and some time, then everything in the box is killed; the disk is unmounted (or at least
 * synced), the host is told, and the machine ends. The EXITs of what was running go out before the last word.
 */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "guest/rootfs.h"
#include "guest/stream.h"
#include "guest/system.h"

#define LAST_WORDS_MS 2000
#define REAP_MS       2000

/* reap_all() - Everything was killed: wait until the agent has no child left. */
static void reap_all(struct bl_agent *agent)
{
    int64_t deadline = bl_deadline_in(REAP_MS);
    struct timespec wait = {0};
    sigset_t children;
    int status;

    sigemptyset(&children);
    sigaddset(&children, SIGCHLD);
    for (;;) {
        pid_t pid = waitpid(-1, &status, WNOHANG);

        if (pid > 0) {
            bl_stream_reaped(agent, pid, status);
            continue;
        }
        if (pid < 0 && errno != EINTR)
            return;

        int left = bl_deadline_left(deadline);

        if (!left)
            return;
        wait.tv_sec = left / 1000;
        wait.tv_nsec = left % 1000 * 1000000L;
        sigtimedwait(&children, NULL, &wait);
    }
}

/* finish() - Nothing of the box shall run any more. */
static _Noreturn void finish(struct bl_agent *agent)
{
    if (agent->configured) {
        bl_cgroup_kill(&agent->cgroups, "");
        reap_all(agent);
        bl_close_fd(&agent->mounts_fd);
        if (umount2(BL_BOX_ROOT, 0) < 0) {
            bl_say("the disk is busy (%s); it is synced and made read-only", strerror(errno));
            sync();
            mount(NULL, BL_BOX_ROOT, NULL, MS_REMOUNT | MS_RDONLY, NULL);
        } else {
            /* The box's own mount of it can still be on its way out. */
            sync();
        }
    }
    bl_link_send(&agent->link, BL_FRAME_DOWN, 0, 0, NULL, 0);
    bl_link_drain(&agent->link, bl_deadline_in(LAST_WORDS_MS));
    bl_system_power_off();
}

static void grace_is_over(struct bl_timer *timer)
{
    finish(timer->data);
}

void bl_shutdown_begin(struct bl_agent *agent, uint32_t grace_ms)
{
    struct bl_stream *workload = bl_stream_workload(agent);
    bool again = agent->state == BL_AGENT_SHUTS_DOWN;

    agent->state = BL_AGENT_SHUTS_DOWN;
    agent->shutdown_timer.expired = grace_is_over;
    agent->shutdown_timer.data = agent;
    if (!workload || !grace_ms)
        finish(agent);
    if (!again)
        kill(workload->pid, agent->workload.stop_signal ? (int)agent->workload.stop_signal : SIGTERM);
    bl_timer_set(&agent->loop, &agent->shutdown_timer, bl_deadline_in(grace_ms));
}

void bl_shutdown_check(struct bl_agent *agent)
{
    if (agent->state == BL_AGENT_SHUTS_DOWN && !bl_stream_workload(agent))
        finish(agent);
}
