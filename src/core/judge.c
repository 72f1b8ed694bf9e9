/* SPDX-License-Identifier: Apache-2.0 */
/* judge.c - see judge.h for the table */
#include "core/judge.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/crash.h"
#include "base/io.h"
#include "base/log.h"
#include "base/os.h"
#include "core/lock.h"
#include "core/report.h"
#include "proto/launch.h"

/* How often a record may change under a judge before it says so; each time somebody else made progress. */
#define ATTEMPTS      100
#define SHIM_PID_MAX  256
#define BOX_PATH_SIZE (BL_BOX_ID_LENGTH + 64)

int64_t bl_epoch_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

const char *bl_box_status_name(enum bl_box_status status)
{
    static const char *const names[] = {
        [BL_BOX_UNKNOWN] = "unknown", [BL_BOX_CONFIGURED] = "configured", [BL_BOX_STARTING] = "starting",
        [BL_BOX_RUNNING] = "running", [BL_BOX_STOPPING] = "stopping",     [BL_BOX_STOPPED] = "stopped",
        [BL_BOX_PAUSED] = "paused",   [BL_BOX_FAILED] = "failed",
    };

    return (unsigned int)status < sizeof names / sizeof *names ? names[status] : "unknown";
}

bool bl_state_claims_to_run(enum bl_box_status status)
{
    return status == BL_BOX_STARTING || status == BL_BOX_RUNNING || status == BL_BOX_STOPPING || status == BL_BOX_PAUSED;
}

/* cannot_tell() - Leave everything as it is, and say why. */
static void cannot_tell(struct bl_verdict *verdict, const char *what)
{
    snprintf(verdict->trouble, sizeof verdict->trouble, "%s: %s", what, strerror(errno));
}

/* read_hint() - What shim.pid says. Return: 0; -1 when it is missing or garbage */
static int read_hint(struct bl_runtime *runtime, const char *id, struct bl_process *out)
{
    cleanup_buffer struct bl_buffer text = BL_BUFFER_INIT(SHIM_PID_MAX);
    char path[BOX_PATH_SIZE];

    snprintf(path, sizeof path, "%s/%s", id, BL_FILE_SHIM_PID);
    if (bl_read_file(runtime->boxes_fd, path, &text) < 0 || bl_buffer_append(&text, "", 1) < 0)
        return -1;
    return bl_process_parse((const char *)bl_buffer_data(&text), out);
}

/* heal_hint() - Make shim.pid say what the lock says. It is a hint: when it can't be written, nothing is lost. */
static void heal_hint(struct bl_runtime *runtime, const char *id, const struct bl_process *shim)
{
    struct bl_process hint;
    char text[SHIM_PID_MAX];
    pid_t holder = 0;

    if (read_hint(runtime, id, &hint) == 0 && hint.pid == shim->pid && hint.start_ticks == shim->start_ticks &&
        strcmp(hint.boot_id, shim->boot_id) == 0)
        return;

    cleanup_close int box_fd = bl_os.openat(runtime->boxes_fd, id, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    int length =
        snprintf(text, sizeof text, "%d\n%llu\n%s\n", (int)shim->pid, (unsigned long long)shim->start_ticks, shim->boot_id);

    if (box_fd < 0 || bl_write_file(box_fd, BL_FILE_SHIM_PID, text, (size_t)length, 0600) < 0)
        return;
    /* Whoever ends the shim removes the file afterwards; had that happened already, it is ours to remove. */
    if (bl_shim_lock_probe(runtime->boxes_fd, id, &holder) != BL_LOCK_HELD || holder != shim->pid)
        bl_os.unlinkat(box_fd, BL_FILE_SHIM_PID, 0);
    else
        bl_log(BL_LOG_INFO, "box %s: shim.pid repaired, its shim is process %d", id, (int)shim->pid);
}

/* judge_running() - The lock is held: the box runs, whatever was recorded. */
static void judge_running(struct bl_runtime *runtime, const char *id, struct bl_state *state, pid_t holder,
                          struct bl_verdict *verdict)
{
    struct bl_process shim = {.pid = holder};

    verdict->runs = true;
    verdict->pid = holder;
    state->status = BL_BOX_RUNNING;
    if (holder && bl_process_start_ticks(holder, &shim.start_ticks, NULL) == 0) {
        snprintf(shim.boot_id, sizeof shim.boot_id, "%s", bl_boot_id());
        if (state->shim.pid != shim.pid || state->shim.start_ticks != shim.start_ticks)
            state->started_at_ms = state->started_at_ms ? state->started_at_ms : bl_epoch_ms();
        state->shim = shim;
        heal_hint(runtime, id, &shim);
    }
    state->has_exit_code = false;
    state->exit_code = 0;
    state->out_of_memory = false;
    free(bl_steal_ptr(&state->reason));
    free(bl_steal_ptr(&state->console));
}

/* judge_dead() - It claims to run, and does not: how did it end? */
static void judge_dead(struct bl_runtime *runtime, const char *id, struct bl_state *state, struct bl_verdict *verdict)
{
    struct bl_report report = {0};
    int found = bl_report_read(runtime->boxes_fd, id, &report);

    if (found < 0) {
        cannot_tell(verdict, "read its exit report");
        return;
    }
    if (found) {
        bl_report_apply(&report, state);
        bl_report_free(&report);
        return;
    }

    bool rebooted = *state->shim.boot_id && *bl_boot_id() && strcmp(state->shim.boot_id, bl_boot_id()) != 0;
    bool starting = state->status == BL_BOX_STARTING;

    state->status = starting ? BL_BOX_FAILED : BL_BOX_STOPPED;
    state->has_exit_code = !starting;
    state->exit_code = starting ? 0 : BL_EXIT_KILLED;
    state->ended_at_ms = bl_epoch_ms();
    bl_state_no_shim(state);
    free(state->reason);
    state->reason = strdup(rebooted ? BL_REASON_REBOOT : starting ? BL_REASON_INTERRUPTED : BL_REASON_KILLED);
}

/* judge_free() - The lock is free: the box is dead, unless its process lives without it. */
static void judge_free(struct bl_runtime *runtime, const char *id, struct bl_state *state, struct bl_verdict *verdict)
{
    struct bl_process shim = state->shim;

    if (!bl_state_claims_to_run(state->status))
        return;
    if (!shim.pid && read_hint(runtime, id, &shim) < 0)
        shim.pid = 0;
    switch (bl_process_check(&shim, id)) {
    case BL_IDENTITY_SAME:
        verdict->runs = verdict->lock_lost = true;
        verdict->pid = shim.pid;
        state->status = BL_BOX_RUNNING;
        state->shim = shim;
        return;
    case BL_IDENTITY_UNKNOWN:
        cannot_tell(verdict, "look at its process in /proc");
        return;
    case BL_IDENTITY_OTHER:
        judge_dead(runtime, id, state, verdict);
        return;
    }
}

/*
 * glance() - Whether one look at the shim's lock says all: it is free, and the box does not claim to run; or held, and it runs
 *
 * Then who changes it right now has not recorded that yet. Anything else wants both locks, the lifecycle lock first.
 */
static bool glance(struct bl_runtime *runtime, const char *id, struct bl_state *state, struct bl_verdict *verdict)
{
    pid_t holder = 0;
    enum bl_lock_state shim = bl_shim_lock_probe(runtime->boxes_fd, id, &holder);

    if (shim == BL_LOCK_FREE)
        return !bl_state_claims_to_run(state->status);
    if (shim == BL_LOCK_UNKNOWN || state->status != BL_BOX_RUNNING)
        return false;
    judge_running(runtime, id, state, holder, verdict);
    return true;
}

/* judge_once() - Judge a state as it was read; changes it to what is true. */
static void judge_once(struct bl_runtime *runtime, const char *id, struct bl_state *state, enum bl_judge_how how,
                       struct bl_verdict *verdict)
{
    if (how == BL_JUDGE_GLANCE && glance(runtime, id, state, verdict))
        return;

    pid_t holder = 0;
    enum bl_lock_state lifecycle = how != BL_JUDGE_HOLDER ? bl_lifecycle_probe(runtime->boxes_fd, id) : BL_LOCK_FREE;

    if (lifecycle == BL_LOCK_UNKNOWN) {
        cannot_tell(verdict, "look at its lifecycle lock");
        return;
    }

    enum bl_lock_state shim = bl_shim_lock_probe(runtime->boxes_fd, id, &holder);

    if (lifecycle == BL_LOCK_HELD) {
        verdict->busy = true;
        verdict->runs = shim == BL_LOCK_HELD;
        verdict->pid = holder;
        return;
    }
    switch (shim) {
    case BL_LOCK_UNKNOWN:
        cannot_tell(verdict, "look at its shim's lock");
        return;
    case BL_LOCK_HELD:
        judge_running(runtime, id, state, holder, verdict);
        return;
    case BL_LOCK_FREE:
        judge_free(runtime, id, state, verdict);
        return;
    }
}

static bool same_text(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

static bool same_state(const struct bl_state *a, const struct bl_state *b)
{
    return a->status == b->status && a->shim.pid == b->shim.pid && a->shim.start_ticks == b->shim.start_ticks &&
           a->has_exit_code == b->has_exit_code && a->exit_code == b->exit_code && same_text(a->reason, b->reason);
}

/* copy_state() - Return: 0; -1 when memory ran out */
static int copy_state(const struct bl_state *from, struct bl_state *to)
{
    *to = *from;
    to->reason = from->reason ? strdup(from->reason) : NULL;
    to->console = from->console ? strdup(from->console) : NULL;
    if ((from->reason && !to->reason) || (from->console && !to->console)) {
        bl_state_free(to);
        return -1;
    }
    return 0;
}

int bl_judge(struct bl_runtime *runtime, struct bl_record *record, enum bl_judge_how how, struct bl_verdict *verdict,
             struct bl_error *err)
{
    for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
        struct bl_state judged;

        *verdict = (struct bl_verdict){0};
        if (copy_state(&record->state, &judged) < 0)
            return bl_fail_memory(err);
        judge_once(runtime, record->id, &judged, how, verdict);
        if (*verdict->trouble || same_state(&judged, &record->state)) {
            bl_state_free(&judged);
            verdict->status = record->state.status;
            return 0;
        }

        int changed = bl_store_update(runtime->store, record->id, &judged, err);

        if (changed > 0) {
            BL_CRASH_POINT("judge:recorded");
            bl_log(BL_LOG_INFO, "box %s: %s -> %s (lock %s, process %d%s%s)", record->id, bl_box_status_name(record->state.status),
                   bl_box_status_name(judged.status), verdict->runs && !verdict->lock_lost ? "held" : "free", (int)verdict->pid,
                   judged.reason ? ", " : "", judged.reason ? judged.reason : "");
            bl_state_free(&record->state);
            record->state = judged;
            verdict->status = judged.status;
            return 0;
        }
        bl_state_free(&judged);
        if (changed < 0)
            return -1;

        /* Somebody else wrote a newer state: judge that one. */
        struct bl_record newer;

        if (bl_store_get(runtime->store, record->id, &newer, err) < 0)
            return -1;
        bl_record_free(record);
        *record = newer;
    }
    return bl_fail(err, BL_DATABASE, 0, "box %s changes faster than it can be looked at", record->id);
}
