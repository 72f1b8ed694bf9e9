/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stop.c - ending boxes, and waiting for their end
 *
 * A stop asks first: the shim has the guest end its workload, sync and power off, and kills it when the grace period is over. When
 * the shim itself does not go, it gets SIGTERM, then SIGKILL; its emulator dies with it. Nothing is ever signalled by a bare pid:
 * the pidfd is opened first, then what it stands for is verified, and only then is it used.
 *
 * Whoever stops a box returns as soon as its process is gone and its disk is free, not when a period ends.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/crash.h"
#include "base/log.h"
#include "base/os.h"
#include "core/change.h"
#include "core/control.h"
#include "core/lock.h"
#include "core/report.h"
#include "proto/launch.h"

#define SHIM_MARGIN_MS 2000  /* how long the shim may take beyond the grace period, which it keeps itself */
#define TERM_WAIT_MS   1000  /* from SIGTERM to SIGKILL */
#define KILL_WAIT_MS   30000 /* how long the kernel may take to end a killed process */
#define DISK_WAIT_MS   10000 /* how long an emulator may outlive its shim */

/* wait_readable() - Until @fd is readable. Return: 1; 0: the deadline; -1: cancelled */
static int wait_readable(int fd, int64_t deadline, int cancel_fd)
{
    struct pollfd polled[] = {{.fd = fd, .events = POLLIN}, {.fd = cancel_fd, .events = POLLIN}};

    for (;;) {
        int n = bl_os.poll(polled, 2, bl_deadline_left(deadline));

        if (n < 0)
            continue; /* EINTR; with two valid entries there is nothing else */
        if (polled[0].revents)
            return 1;
        return n == 0 ? 0 : -1;
    }
}

/* wait_hangup() - Until the shim closes a connection; what it says before is not for us. Return: as wait_readable() */
static int wait_hangup(int fd, int64_t deadline, int cancel_fd)
{
    for (;;) {
        char bytes[256];
        int ready = wait_readable(fd, deadline, cancel_fd);

        if (ready <= 0)
            return ready;

        ssize_t n = bl_os.recv(fd, bytes, sizeof bytes, MSG_DONTWAIT);

        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
            return 1;
    }
}

/*
 * open_shim() - The pidfd of the shim that runs a box, verified
 * Return: descriptor; -1: it is gone, or can't be seen
 */
static int open_shim(struct bl_runtime *runtime, const struct bl_record *record, const struct bl_verdict *verdict)
{
    pid_t holder = 0;

    if (verdict->pid <= 0)
        return -1;

    cleanup_close int fd = bl_os.pidfd_open(verdict->pid, 0);

    if (fd < 0)
        return -1;
    /* Now that the pidfd stands for one process, is it the one that holds the lock? Else, is it ours by its looks? */
    if (bl_shim_lock_probe(runtime->boxes_fd, record->id, &holder) == BL_LOCK_HELD && holder == verdict->pid)
        return bl_steal_fd(&fd);
    if (verdict->lock_lost && bl_process_check(&record->state.shim, record->id) == BL_IDENTITY_SAME)
        return bl_steal_fd(&fd);
    return -1;
}

/* send_signal() - Return: 0, also when it is gone; -1 with errno */
static int send_signal(int pidfd, int number)
{
    return bl_os.pidfd_send_signal(pidfd, number, NULL, 0) < 0 && errno != ESRCH ? -1 : 0;
}

/* end_visible() - Ask, then kill a shim whose process can be seen. */
static int end_visible(struct bl_runtime *runtime, const char *id, int pidfd, int64_t grace_ms, int cancel_fd, struct bl_error *err)
{
    int gone = 0;

    if (grace_ms > 0) {
        int64_t deadline = bl_deadline_in(grace_ms + SHIM_MARGIN_MS);
        cleanup_close int asked = bl_control_stop(runtime->boxes_fd, id, (uint32_t)grace_ms);

        if (asked < 0) {
            bl_log(BL_LOG_WARN, "box %s: its control socket does not answer (%s), its shim gets SIGTERM", id, strerror(errno));
            send_signal(pidfd, SIGTERM);
            BL_CRASH_POINT("stop:terminated");
        }
        BL_CRASH_POINT("stop:asked");
        gone = wait_readable(pidfd, deadline, cancel_fd);
        if (gone == 0 && asked >= 0) {
            send_signal(pidfd, SIGTERM);
            gone = wait_readable(pidfd, bl_deadline_in(TERM_WAIT_MS), cancel_fd);
        }
    }
    if (gone == 0) {
        if (send_signal(pidfd, SIGKILL) < 0)
            return bl_fail(err, BL_ENGINE, errno, "kill the host process of box %s", id);
        BL_CRASH_POINT("stop:killed");
        gone = wait_readable(pidfd, bl_deadline_in(KILL_WAIT_MS), cancel_fd);
    }
    if (gone < 0)
        return bl_fail(err, BL_STOPPED, 0, "given up while box %s is stopping", id);
    return gone ? 0
                : bl_fail(err, BL_ENGINE, 0, "the host process of box %s does not end, though it was killed: is its disk hanging?",
                          id);
}

/* end_invisible() - Ask a shim that lives in another pid namespace; its connection ends with it. */
static int end_invisible(struct bl_runtime *runtime, const char *id, int64_t grace_ms, int cancel_fd, struct bl_error *err)
{
    cleanup_close int asked = bl_control_stop(runtime->boxes_fd, id, (uint32_t)grace_ms);

    if (asked < 0)
        return bl_fail(err, BL_INVALID_STATE, errno,
                       "box %s runs in another process namespace, and its control socket does not answer", id);
    switch (wait_hangup(asked, bl_deadline_in(grace_ms + SHIM_MARGIN_MS + KILL_WAIT_MS), cancel_fd)) {
    case 1:
        return 0;
    case 0:
        return bl_fail(err, BL_INVALID_STATE, 0, "box %s runs in another process namespace, and does not stop: stop it from there",
                       id);
    default:
        return bl_fail(err, BL_STOPPED, 0, "given up while box %s is stopping", id);
    }
}

/* record_end() - The shim is gone: write down how the box ended. */
static int record_end(struct bl_runtime *runtime, struct bl_record *record, struct bl_error *err)
{
    struct bl_report report = {0};

    if (bl_report_read(runtime->boxes_fd, record->id, &report) > 0) {
        bl_report_apply(&report, &record->state);
        bl_report_free(&report);
    } else {
        record->state.has_exit_code = true;
        record->state.exit_code = BL_EXIT_KILLED;
        record->state.ended_at_ms = bl_epoch_ms();
        bl_change_reason(record, NULL);
    }
    /* It was stopped because somebody wanted it, however much the shim had to complain. */
    record->state.status = BL_BOX_STOPPED;
    record->state.wanted = false;
    bl_state_no_shim(&record->state);
    bl_clean_up_box(runtime, record->id);
    BL_CRASH_POINT("stop:swept");
    bl_runtime_detach(runtime, record->id);
    bl_log(BL_LOG_INFO, "box %s: stopped, exit code %d", record->id, record->state.exit_code);
    return bl_change_state(runtime, record, err);
}

int bl_stop_running(struct bl_runtime *runtime, struct bl_record *record, const struct bl_verdict *verdict, int64_t grace_ms,
                    int cancel_fd, struct bl_error *err)
{
    pid_t holder = 0;
    cleanup_close int shim = open_shim(runtime, record, verdict);

    /* A full disk keeps nobody from stopping the box that fills it: the lock tells that it is being stopped. */
    struct bl_error recorded = BL_ERROR_INIT;

    record->state.status = BL_BOX_STOPPING;
    if (bl_change_state(runtime, record, &recorded) < 0 && recorded.code != BL_RESOURCE_EXHAUSTED) {
        if (err)
            *err = recorded;
        return -1;
    }
    BL_CRASH_POINT("stop:recorded-stopping");
    if (shim >= 0) {
        if (end_visible(runtime, record->id, shim, grace_ms, cancel_fd, err) < 0)
            return -1;
    } else if (bl_shim_lock_probe(runtime->boxes_fd, record->id, &holder) != BL_LOCK_FREE) {
        if (end_invisible(runtime, record->id, grace_ms, cancel_fd, err) < 0)
            return -1;
    }
    BL_CRASH_POINT("stop:shim-gone");
    bl_reaper_await(runtime->reaper, verdict->pid, bl_deadline_in(0));
    if (bl_disk_lock_wait(runtime->boxes_fd, record->id, bl_deadline_in(DISK_WAIT_MS), cancel_fd, err) < 0)
        return -1;
    BL_CRASH_POINT("stop:disk-free");
    return record_end(runtime, record, err);
}

int bl_box_stop(struct bl_runtime *runtime, const char *name, int64_t grace_ms, int cancel_fd, struct bl_error *err)
{
    cleanup_record struct bl_record record = {0};
    struct bl_verdict verdict;
    int lock_fd;

    if (grace_ms < 0)
        grace_ms = BL_DEFAULT_STOP_GRACE_MS;
    if (grace_ms > UINT32_MAX / 2)
        grace_ms = UINT32_MAX / 2;
    if (bl_change_begin(runtime, name, BL_NEVER, cancel_fd, &lock_fd, &record, &verdict, err) < 0)
        return -1;

    BL_CRASH_POINT("stop:locked");

    cleanup_lifecycle int lock = lock_fd;
    int failed = verdict.runs ? bl_stop_running(runtime, &record, &verdict, grace_ms, cancel_fd, err) : 0;

    BL_CRASH_POINT("stop:recorded");
    if (failed)
        return -1;
    if (!verdict.runs) {
        /* Its end may have been nobody's doing: what it left is for us to clear. */
        bl_clean_up_box(runtime, record.id);
        bl_runtime_detach(runtime, record.id);
    }
    if (record.auto_remove && bl_has_ended(&record, &(struct bl_verdict){0}) && bl_remove_dead(runtime, &record, err) < 0)
        return -1;
    bl_sweep_doomed(runtime);
    return 0;
}

/* wait_for_change() - Until whoever changes the box is done. */
static int wait_for_change(struct bl_runtime *runtime, const char *id, int cancel_fd, struct bl_error *err)
{
    int lock = bl_lifecycle_lock(runtime->boxes_fd, id, BL_NEVER, cancel_fd, err);

    bl_lifecycle_unlock(lock);
    return lock < 0 ? -1 : 0;
}

/* wait_for_shim() - Until the shim of a running box is gone. */
static int wait_for_shim(struct bl_runtime *runtime, const struct bl_record *record, const struct bl_verdict *verdict,
                         int cancel_fd, struct bl_error *err)
{
    cleanup_close int shim = open_shim(runtime, record, verdict);
    cleanup_close int connection = shim < 0 && !verdict->pid ? bl_control_connect(runtime->boxes_fd, record->id) : -1;
    int ended = 1;

    if (shim >= 0)
        ended = wait_readable(shim, BL_NEVER, cancel_fd);
    else if (connection >= 0)
        ended = wait_hangup(connection, BL_NEVER, cancel_fd);
    else if (!verdict->pid && verdict->busy)
        return wait_for_change(runtime, record->id, cancel_fd, err); /* it does not listen yet, or not any more */
    else if (!verdict->pid)
        return bl_fail(err, BL_INVALID_STATE, errno, "connect to box %s, whose host process can't be seen from here", record->id);
    return ended < 0 ? bl_fail(err, BL_STOPPED, 0, "given up while waiting for box %s", record->id) : 0;
}

int bl_box_wait(struct bl_runtime *runtime, const char *name, int cancel_fd, struct bl_box_info *out, struct bl_error *err)
{
    cleanup_record struct bl_record record = {0};

    if (bl_runtime_check(runtime, err) < 0 || bl_store_find(runtime->store, name, &record, err) < 0)
        return -1;
    for (;;) {
        struct bl_verdict verdict;

        if (bl_judge(runtime, &record, BL_JUDGE_LOOK, &verdict, err) < 0)
            return -1;
        if (*verdict.trouble)
            return bl_fail(err, BL_INVALID_STATE, 0, "the state of box %s can't be told: %s", name, verdict.trouble);
        if (!verdict.busy && !verdict.runs)
            return bl_box_inspect(runtime, record.id, out, err);
        if (verdict.runs ? wait_for_shim(runtime, &record, &verdict, cancel_fd, err) < 0
                         : wait_for_change(runtime, record.id, cancel_fd, err) < 0)
            return -1;
    }
}
