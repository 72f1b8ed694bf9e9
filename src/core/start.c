/* SPDX-License-Identifier: Apache-2.0 */
/*
 * start.c - starting a box
 *
 * Under the box's lifecycle lock: see that nothing of a former life is left (its disk may still be held by an emulator), record
 * "starting", launch the shim, and wait for its answer, its death, the deadline and the caller's cancellation all at once. The shim
 * gets the locked descriptor and unlocks it once it is ready, so that the box is guarded even when the starter dies meanwhile. The
 * starter keeps its own until then, so that a shim that dies leaves the box guarded until its failure is recorded.
 *
 * A start that fails or is given up has killed and reaped its shim before it returns. One whose shim says that no machine goes on
 * from the template that it found, or that KVM does not do what was asked of it, goes on with another shim, without that.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/crash.h"
#include "base/log.h"
#include "base/os.h"
#include "base/strings.h"
#include "core/capabilities.h"
#include "core/change.h"
#include "core/home.h"
#include "core/kvm_note.h"
#include "core/links.h"
#include "core/lock.h"
#include "core/policy.h"
#include "core/spawn.h"
#include "proto/launch.h"
#include "vmm/probe.h"

#define ANSWER_MAX        2048
#define ANSWER_MARGIN_MS  5000 /* the shim keeps the deadline itself and says more about it: it gets the time to do so */
#define DISK_WAIT_MS      10000
#define DEATH_WAIT_MS     30000
#define SHIM_LOG_MAX      (1 << 20) /* bytes after which a shim's log is begun anew */
#define CONSOLE_TAIL      4096
#define LOG_TAIL          512
#define EXIT_START_FAILED 125
#define MOST_TIMEOUT_S    86400

/* What a shim said. */
enum answer { ANSWER_READY, ANSWER_FAILED, ANSWER_AGAIN };

/* One start under way. */
struct start {
    struct bl_runtime *runtime;
    struct bl_record *record;
    const struct bl_start_options *options;
    bool detached;
    uint32_t restarts;                        /* how often its policy has started it again, this time included */
    int64_t timeout_ms;                       /* -1: none */
    int64_t deadline;                         /* of all of it */
    bool templates;                           /* may go on from a saved machine, or keep one */
    char spoilt[BL_LAUNCH_TEMPLATE_NAME_MAX]; /* the template that no machine went on from; empty: none */
    struct bl_kvm_known kvm;
    int64_t log_offset; /* where this start's lines begin in shim.log */
    struct bl_spawned shim;
    struct bl_child *child;
    int exit_code; /* what a command should exit with when this fails */
};

static int start_timeout(const struct bl_start_options *options, int64_t *out, struct bl_error *err)
{
    const char *text = getenv("BOXLITE_START_TIMEOUT");
    long long seconds = 0;

    *out = options->timeout_ms < 0 ? -1 : options->timeout_ms;
    if (*out)
        return 0;
    *out = BL_DEFAULT_START_TIMEOUT_MS;
    if (!text || !*text)
        return 0;
    if (bl_parse_number(text, 1, MOST_TIMEOUT_S, &seconds) < 0)
        return bl_fail(err, BL_CONFIG, 0, "BOXLITE_START_TIMEOUT is '%s': a number of seconds from 1 to %d is expected", text,
                       MOST_TIMEOUT_S);
    *out = seconds * 1000;
    return 0;
}

/* open_log() - The shim's log, to append to. Return: descriptor; -1 with errno */
static int open_log(struct start *start)
{
    char path[BL_BOX_ID_LENGTH + 64];
    struct stat log;

    snprintf(path, sizeof path, "%s/logs", start->record->id);
    bl_os.mkdirat(start->runtime->boxes_fd, path, 0700);
    snprintf(path, sizeof path, "%s/%s", start->record->id, BL_FILE_SHIM_LOG);

    cleanup_close int fd =
        bl_os.openat(start->runtime->boxes_fd, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);

    if (fd < 0 || bl_os.fstat(fd, &log) < 0)
        return -1;
    if (log.st_size > SHIM_LOG_MAX && bl_os.ftruncate(fd, 0) == 0)
        log.st_size = 0;
    start->log_offset = log.st_size;
    return bl_steal_fd(&fd);
}

/* time_left() - For the shim's own deadline, milliseconds; never none. */
static uint32_t time_left(const struct start *start)
{
    int64_t left = start->deadline - bl_now_ms() - ANSWER_MARGIN_MS;

    return left > 1 ? (uint32_t)left : 1;
}

/* make_document() - What the shim is told. Return: 0; -1 */
static int make_document(struct start *start, const struct bl_guest_files *guest, struct bl_buffer *out, struct bl_error *err)
{
    const struct bl_record *record = start->record;
    const struct bl_start_options *options = start->options;
    cleanup_free char *box_dir = bl_format("%s/boxes/%s", start->runtime->home, record->id);
    uint64_t capabilities;
    bool has_capabilities = bl_capabilities_resolve(record->cap_add, record->cap_drop, &capabilities);
    cleanup_free char *templates = bl_format("%s/" BL_DIR_TEMPLATES, start->runtime->home);
    char id[sizeof record->id];

    if (!box_dir || !templates)
        return bl_fail_memory(err);
    memcpy(id, record->id, sizeof id);

    /* Nothing here is freed: the strings are those of the record. */
    const struct bl_launch launch = {
        .box_id = id,
        .box_dir = box_dir,
        .engine = record->engine,
        .kernel = record->kernel ? record->kernel : guest->kernel,
        .initramfs = guest->initramfs,
        .templates = start->templates ? templates : NULL,
        .kvm_usable = start->kvm.verdict == BL_KVM_USABLE,
        .kvm_refused = start->kvm.verdict == BL_KVM_REFUSED ? start->kvm.why : NULL,
        .memory_bytes = (uint64_t)record->memory_mib << 20,
        .disk_bytes = record->disk_bytes,
        .cpus = record->cpus,
        .start_timeout_ms = start->timeout_ms < 0 ? 0 : time_left(start),
        .stop_grace_ms = BL_DEFAULT_STOP_GRACE_MS,
        .restart = record->restart,
        .restarts = start->restarts,
        .auto_stop_ms = (uint64_t)record->auto_stop_ms,
        .ready_fd = BL_SHIM_READY_FD,
        .lifecycle_fd = BL_SHIM_LIFECYCLE_FD,
        .creator_fd = start->detached ? -1 : BL_SHIM_CREATOR_FD,
        .start_on_attach = options->attach,
        .discard = record->auto_remove,
        .unconfined = record->unconfined,
        .workload =
            {
                .kind = BL_OPEN_WORKLOAD,
                .args = record->command,
                .env = record->env,
                .cwd = record->workdir,
                .user = record->user,
                .tty = record->tty,
                .rows = options->rows,
                .columns = options->columns,
                .use_stdin = record->open_stdin,
                .stop_signal = record->stop_signal,
                .has_capabilities = has_capabilities,
                .capabilities = capabilities,
            },
    };

    errno = 0;
    if (bl_launch_encode(out, &launch) < 0)
        return errno == ENOMEM
                   ? bl_fail_memory(err)
                   : bl_fail(err, BL_INVALID_ARGUMENT, 0,
                             "the configuration of box %s is too large for its host process: shorten its environment", record->id);
    return 0;
}

/* launch_shim() - Spawn it and have it reaped. Return: 0; -1 (no process is left) */
static int launch_shim(struct start *start, int lifecycle_fd, struct bl_error *err)
{
    struct bl_runtime *runtime = start->runtime;
    cleanup_buffer struct bl_buffer document = BL_BUFFER_INIT(BL_LAUNCH_MAX);
    cleanup_free char *shim = bl_format("%s/%s", runtime->runtime_dir, BL_SHIM_NAME);
    struct bl_guest_files guest;

    if (!shim)
        return bl_fail_memory(err);
    if (bl_os.access(shim, X_OK) < 0)
        return bl_fail(err, BL_ENGINE, errno, "find %s (set BOXLITE_RUNTIME_DIR, or install boxlite again)", shim);
    if (bl_guest_files_find(runtime->runtime_dir, &guest, err) < 0)
        return -1;

    int failed = make_document(start, &guest, &document, err);

    bl_guest_files_free(&guest);
    if (failed)
        return -1;

    cleanup_close int log = open_log(start);
    cleanup_close int creator = start->detached ? -1 : bl_os.pidfd_open(getpid(), 0);

    if (log < 0)
        return bl_fail(err, BL_STORAGE, errno, "open the log of box %s", start->record->id);
    if (!start->detached && creator < 0)
        return bl_fail(err, BL_RESOURCE_EXHAUSTED, errno, "open a pidfd of this process");
    BL_CRASH_POINT("start:log-opened");

    const struct bl_spawn_request request = {.shim = shim,
                                             .id = start->record->id,
                                             .document = &document,
                                             .log_fd = log,
                                             .lifecycle_fd = lifecycle_fd,
                                             .creator_fd = creator};

    if (bl_spawn(&request, &start->shim, err) < 0)
        return -1;
    BL_CRASH_POINT("start:spawned");
    start->child = bl_reaper_register(runtime->reaper, start->shim.pid, start->shim.pidfd, err);
    BL_CRASH_POINT("start:registered");
    if (start->child)
        return 0;
    bl_os.pidfd_send_signal(start->shim.pidfd, SIGKILL, NULL, 0);
    while (bl_os.waitpid(start->shim.pid, NULL, 0) < 0 && errno == EINTR)
        ;
    bl_close_fd(&start->shim.pidfd);
    bl_close_fd(&start->shim.ready_fd);
    return -1;
}

/* last_line() - Of a text that ends without a newline. */
static const char *last_line(const char *text)
{
    const char *newline = strrchr(text, '\n');

    return newline ? newline + 1 : text;
}

/* explain_death() - The shim died without a word: say how, and what it logged last. */
static int explain_death(struct start *start, struct bl_error *err)
{
    char tail[LOG_TAIL], how[64] = "ended unexpectedly";
    int status = 0;

    if (bl_child_status(start->runtime->reaper, start->child, &status) == BL_CHILD_ENDED) {
        if (WIFSIGNALED(status))
            snprintf(how, sizeof how, "was killed by signal %d", WTERMSIG(status));
        else
            snprintf(how, sizeof how, "exited with code %d", WEXITSTATUS(status));
    }
    bl_log_tail(start->runtime, start->record->id, BL_FILE_SHIM_LOG, start->log_offset, tail, sizeof tail);
    return bl_fail(err, BL_ENGINE, 0, "start box %s: its host process %s%s%s", start->record->id, how,
                   *tail ? ": " : " and logged nothing", last_line(tail));
}

/* tell_engine() - Pass on what should be known of the engine, while the shim is at work. */
static void tell_engine(const struct start *start)
{
    struct bl_engine_choice choice;

    if (start->options->notice && bl_engine_choose(start->record->engine, &start->kvm, &choice, NULL) == 0 && *choice.notice)
        start->options->notice(choice.notice, start->options->notice_data);
}

/* take_again() - What another shim has to do without. Neither a template nor KVM is tried twice. Return: whether that was said */
static bool take_again(struct start *start, const char *answer)
{
    if (bl_starts_with(answer, BL_AGAIN_TEMPLATE) && start->templates) {
        snprintf(start->spoilt, sizeof start->spoilt, "%.*s", BL_LAUNCH_TEMPLATE_NAME_MAX - 1, answer + strlen(BL_AGAIN_TEMPLATE));
        start->templates = false;
        return true;
    }
    if (!bl_starts_with(answer, BL_AGAIN_ENGINE) || start->kvm.verdict == BL_KVM_REFUSED)
        return false;
    bl_kvm_note_drop(start->runtime);
    start->spoilt[0] = '\0'; /* it was a machine of an engine that does not work */
    start->kvm.verdict = BL_KVM_REFUSED;
    snprintf(start->kvm.why, sizeof start->kvm.why, "%.255s", answer + strlen(BL_AGAIN_ENGINE));
    tell_engine(start);
    return true;
}

/* take_answer() - Understand the shim's line. */
static enum answer take_answer(struct start *start, const char *answer, struct bl_error *err)
{
    int code = 0, exit_code = 0, length = 0;

    if (strcmp(answer, "ready") == 0 || bl_starts_with(answer, "ready ")) {
        if (start->options->moments)
            bl_moments_parse(answer + strlen("ready"), start->options->moments);
        return ANSWER_READY;
    }
    if (take_again(start, answer))
        return ANSWER_AGAIN;
    if (bl_starts_with(answer, BL_SPAWN_NO_EXEC)) {
        long long number = 0;

        bl_parse_number(answer + strlen(BL_SPAWN_NO_EXEC), 1, 4096, &number);
        bl_fail(err, BL_ENGINE, (int)number, "execute %s/%s", start->runtime->runtime_dir, BL_SHIM_NAME);
        return ANSWER_FAILED;
    }
    if (sscanf(answer, "failed %9d %9d %n", &code, &exit_code, &length) != 2 || length == 0 || code <= BL_OK ||
        code > BL_SESSION_REAPED) {
        bl_fail(err, BL_ENGINE, 0, "start box %s: its host process gave an answer that can't be understood", start->record->id);
        return ANSWER_FAILED;
    }
    if (exit_code >= 0 && exit_code <= 255)
        start->exit_code = exit_code;
    bl_fail(err, (enum bl_code)code, 0, "%s", answer + length);
    return ANSWER_FAILED;
}

/* read_answer() - What stands in the pipe. Return: 1 a whole line; 0 not yet; -1 the end without a line; -2 with errno */
static int read_answer(int fd, char *answer, size_t *length)
{
    ssize_t n = bl_os.read(fd, answer + *length, ANSWER_MAX - 1 - *length);

    if (n < 0)
        return errno == EINTR || errno == EAGAIN ? 0 : -2;
    *length += (size_t)n;
    answer[*length] = '\0';

    char *newline = strchr(answer, '\n');

    if (newline)
        *newline = '\0';
    return newline ? 1 : n == 0 || *length == ANSWER_MAX - 1 ? -1 : 0;
}

static int too_late(const struct start *start, struct bl_error *err)
{
    return bl_fail(err, BL_ENGINE, 0, "start box %s: no answer within %lld seconds (BOXLITE_START_TIMEOUT changes it)",
                   start->record->id, (long long)(start->timeout_ms + ANSWER_MARGIN_MS) / 1000);
}

/* wait_for_line() - For the answer, the shim's death, the deadline and the cancellation. Return: 0: there is a line; -1 */
static int wait_for_line(struct start *start, char answer[ANSWER_MAX], struct bl_error *err)
{
    size_t length = 0;
    struct pollfd polled[] = {{.fd = start->shim.ready_fd, .events = POLLIN},
                              {.fd = start->shim.pidfd, .events = POLLIN},
                              {.fd = start->options->cancel_fd, .events = POLLIN}};

    for (;;) {
        int n = bl_os.poll(polled, 3, bl_deadline_left(start->deadline));

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return bl_fail(err, BL_INTERNAL, errno, "wait for box %s", start->record->id);
        if (n == 0)
            return too_late(start, err);
        if (polled[0].revents) {
            int got = read_answer(start->shim.ready_fd, answer, &length);

            if (got > 0)
                return 0;
            if (got == -2)
                return bl_fail(err, BL_INTERNAL, errno, "read the answer of the host process of box %s", start->record->id);
            if (got < 0)
                polled[0].fd = -1; /* it closed the pipe: its death is what comes next */
            continue;
        }
        if (polled[1].revents)
            return explain_death(start, err);
        if (polled[2].revents)
            return bl_fail(err, BL_STOPPED, 0, "start box %s: cancelled", start->record->id);
    }
}

static enum answer wait_for_answer(struct start *start, struct bl_error *err)
{
    char answer[ANSWER_MAX];

    return wait_for_line(start, answer, err) < 0 ? ANSWER_FAILED : take_answer(start, answer, err);
}

/* end_shim() - Kill what is left of a failed start, and wait until it and its emulator are gone. */
static void end_shim(struct start *start)
{
    struct pollfd dead = {.fd = start->shim.pidfd, .events = POLLIN};
    int64_t deadline = bl_deadline_in(DEATH_WAIT_MS);

    bl_os.pidfd_send_signal(start->shim.pidfd, SIGKILL, NULL, 0);
    while (bl_os.poll(&dead, 1, bl_deadline_left(deadline)) < 0 && errno == EINTR)
        ;
    bl_child_status(start->runtime->reaper, start->child, NULL); /* reaps it, if the reaper has not yet */
    bl_disk_lock_wait(start->runtime->boxes_fd, start->record->id, bl_deadline_in(DISK_WAIT_MS), -1, NULL);
    /* It may have been confined, and could not remove the template that it began. */
    bl_templates_leftovers(start->runtime->home_fd, true, NULL, NULL);
}

/* forget_shim() - It runs and is attended to elsewhere, or is gone. */
static void forget_shim(struct start *start)
{
    bl_child_release(start->runtime->reaper, start->child);
    bl_close_fd(&start->shim.pidfd);
    bl_close_fd(&start->shim.ready_fd);
}

/* launch_another() - In the place of one that can't go on, as its answer said. Return: 0; -1 (no process is left) */
static int launch_another(struct start *start, int lock_fd, struct bl_error *err)
{
    end_shim(start);
    forget_shim(start);
    bl_clean_up_box(start->runtime, start->record->id);
    BL_CRASH_POINT("start:another");
    if (start->timeout_ms >= 0 && start->deadline - bl_now_ms() <= ANSWER_MARGIN_MS)
        return too_late(start, err);
    return launch_shim(start, lock_fd, err);
}

/* record_failure() - Write down why a start failed; one that was cancelled leaves the box as it was. */
static void record_failure(struct start *start, const struct bl_state *before, const struct bl_error *err)
{
    struct bl_record *record = start->record;
    char console[CONSOLE_TAIL];

    bl_clean_up_box(start->runtime, record->id);
    bl_state_no_shim(&record->state);
    record->state.wanted = before->wanted && start->options->by_policy;
    if (err->code == BL_STOPPED) {
        record->state.wanted = before->wanted;
        record->state.status = before->status;
        record->state.started_at_ms = before->started_at_ms;
        record->state.ended_at_ms = before->ended_at_ms;
        record->state.has_exit_code = before->has_exit_code;
        record->state.exit_code = before->exit_code;
    } else {
        record->state.status = BL_BOX_FAILED;
        record->state.ended_at_ms = bl_epoch_ms();
        record->state.has_exit_code = start->exit_code != EXIT_START_FAILED;
        record->state.exit_code = record->state.has_exit_code ? start->exit_code : 0;
        bl_change_reason(record, err->message);
        bl_log_tail(start->runtime, record->id, BL_FILE_CONSOLE_LOG, 0, console, sizeof console);
        free(record->state.console);
        record->state.console = *console ? strdup(console) : NULL;
    }
    bl_change_state(start->runtime, record, NULL);
}

/*
 * record_running() - It runs; the lock is the shim's no more, so somebody else may know better already
 *
 * When it can't be written, the box runs all the same, and the next look at it writes it.
 */
static void record_running(struct start *start)
{
    struct bl_record *record = start->record;
    struct bl_process *shim = &record->state.shim;
    struct bl_error err = BL_ERROR_INIT;

    *shim = (struct bl_process){.pid = start->shim.pid};
    bl_process_start_ticks(shim->pid, &shim->start_ticks, NULL);
    snprintf(shim->boot_id, sizeof shim->boot_id, "%s", bl_boot_id());
    record->state.status = BL_BOX_RUNNING;
    record->state.started_at_ms = bl_epoch_ms();
    if (!start->detached && bl_runtime_attach(start->runtime, record->id, shim) < 0)
        bl_log(BL_LOG_WARN, "box %s: memory ran out, so it will not end with its runtime, but with the process", record->id);
    bl_log(BL_LOG_INFO, "box %s: starting -> running (process %d)", record->id, (int)shim->pid);
    if (bl_store_update(start->runtime->store, record->id, &record->state, &err) < 0)
        bl_log(BL_LOG_WARN, "box %s: it runs, but that can't be recorded: %s", record->id, err.message);
}

/* begin_life() - Make the box's directory ready for a new life, and record that it begins. */
static int begin_life(struct start *start, struct bl_error *err)
{
    struct bl_record *record = start->record;
    char report[BL_BOX_ID_LENGTH + 64];

    if (bl_disk_lock_wait(start->runtime->boxes_fd, record->id, bl_deadline_in(DISK_WAIT_MS), start->options->cancel_fd, err) < 0)
        return -1;
    bl_clean_up_box(start->runtime, record->id);
    BL_CRASH_POINT("start:swept");
    snprintf(report, sizeof report, "%s/%s", record->id, BL_FILE_EXIT_REPORT);
    if (bl_os.unlinkat(start->runtime->boxes_fd, report, 0) < 0 && errno != ENOENT)
        return bl_fail(err, BL_STORAGE, errno, "remove the former exit report of box %s", record->id);
    BL_CRASH_POINT("start:report-removed");
    start->restarts = start->options->by_policy ? bl_restarts_read(start->runtime, record) + 1 : 0;
    if (bl_restarts_write(start->runtime, record, start->restarts) < 0)
        return bl_fail(err, BL_STORAGE, errno, "count the restart of box %s", record->id);
    BL_CRASH_POINT("start:counted");
    if (record->name && bl_link_make(start->runtime->home_fd, record->name, record->id) < 0)
        bl_log(BL_LOG_DEBUG, "box %s: its name is found in the database only: %s", record->id, strerror(errno));
    BL_CRASH_POINT("start:linked");
    record->state.status = BL_BOX_STARTING;
    record->state.wanted = true;
    record->state.shim = (struct bl_process){0};
    snprintf(record->state.shim.boot_id, sizeof record->state.shim.boot_id, "%s", bl_boot_id());
    record->state.has_exit_code = record->state.out_of_memory = false;
    record->state.exit_code = 0;
    record->state.started_at_ms = record->state.ended_at_ms = 0;
    bl_change_reason(record, NULL);
    free(bl_steal_ptr(&record->state.console));
    return bl_change_state(start->runtime, record, err);
}

/* start_locked() - The start itself. @lock_fd stays the caller's. */
static int start_locked(struct start *start, int lock_fd, struct bl_error *err)
{
    const struct bl_state before = start->record->state;

    if (begin_life(start, err) < 0)
        return -1;
    start->deadline = start->timeout_ms < 0 ? BL_NEVER : bl_deadline_in(start->timeout_ms + ANSWER_MARGIN_MS);
    BL_CRASH_POINT("start:recorded-starting");
    bl_kvm_note_look(start->runtime, &start->kvm);
    if (launch_shim(start, lock_fd, err) < 0) {
        record_failure(start, &before, err);
        return -1;
    }
    tell_engine(start);

    enum answer answer = wait_for_answer(start, err);

    BL_CRASH_POINT("start:answered");
    while (answer == ANSWER_AGAIN) {
        if (launch_another(start, lock_fd, err) < 0) {
            record_failure(start, &before, err);
            return -1;
        }
        answer = wait_for_answer(start, err);
    }
    if (answer != ANSWER_READY) {
        bl_kvm_note_drop(start->runtime);
        end_shim(start);
        BL_CRASH_POINT("start:failed-ended");
        record_failure(start, &before, err);
        BL_CRASH_POINT("start:failed-recorded");
    } else {
        record_running(start);
        BL_CRASH_POINT("start:recorded-running");
        /* That the box boots without it shows that it was the template's fault. */
        bl_template_give_up(start->runtime->home_fd, start->spoilt);
    }
    forget_shim(start);
    return answer == ANSWER_READY ? 0 : -1;
}

int bl_box_start(struct bl_runtime *runtime, const char *name, const struct bl_start_options *options, struct bl_error *err)
{
    static const struct bl_start_options defaults = {.cancel_fd = -1};
    struct bl_error local = BL_ERROR_INIT;
    cleanup_record struct bl_record record = {0};
    struct bl_verdict verdict;
    int lock_fd, failed;

    if (!options)
        options = &defaults;
    if (!err)
        err = &local;
    if (options->exit_code)
        *options->exit_code = EXIT_START_FAILED;

    struct start start = {.runtime = runtime, .record = &record, .options = options, .exit_code = EXIT_START_FAILED};

    if (start_timeout(options, &start.timeout_ms, err) < 0 || bl_templates_wanted(&start.templates, err) < 0 ||
        bl_change_begin(runtime, name, BL_NEVER, options->cancel_fd, &lock_fd, &record, &verdict, err) < 0)
        return -1;
    BL_CRASH_POINT("start:locked");
    start.detached = record.detach || options->detach;
    if (verdict.runs || (options->by_policy && !bl_policy_wants(runtime, &record, &verdict, options->after_boot))) {
        bl_lifecycle_unlock(lock_fd);
        return 0;
    }
    if (record.auto_remove && bl_has_ended(&record, &verdict)) {
        bl_lifecycle_unlock(lock_fd);
        return bl_fail(err, BL_INVALID_STATE, 0, "box %s has ended, and was made to be removed then: its files are gone", name);
    }
    failed = start_locked(&start, lock_fd, err);
    /* Both hold the same lock, and both unlock it when the start has gone well: whoever comes second changes nothing. */
    bl_lifecycle_unlock(lock_fd);
    BL_CRASH_POINT("start:unlocked");
    if (failed && options->exit_code)
        *options->exit_code = start.exit_code;
    return failed;
}
