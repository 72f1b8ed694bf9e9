/* SPDX-License-Identifier: Apache-2.0 */
/*
 * box.c - the life of one box
 *
 *     engine started ──READY──▶ workload opened ──▶ running ──EXIT, stop──▶ shutting down ──DOWN──▶ engine ended ──▶ report
 *
 * All causes of an end meet in on_engine_ended(): whatever happens, the VM is made to end, and what is known by then decides the
 * report. The order at the end is a contract: report written, connections closed, then (by main) the lock dropped.
 *
 * A graceful end asks the guest, and waits for DOWN until a deadline; then, or for a box whose disk nobody needs, the VM is killed.
 * After DOWN the disk is synced, so QEMU is told to quit instead of waiting for the guest's power-off.
 *
 * A workload that ends by itself is started again in the same VM when the box's restart policy says so, after a delay that grows
 * (proto/restart.h); what dies with its VM is for others (docs/restart.md). A box that no client has used for the time of auto_stop
 * ends as if somebody had stopped it.
 */
#include "shim/box.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/crash.h"
#include "base/io.h"
#include "base/log.h"
#include "shim/checks.h"
#include "shim/console.h"
#include "shim/files.h"
#include "shim/hub.h"
#include "shim/report.h"
#include "shim/template.h"
#include "vmm/engine.h"

/* After the workload's grace the guest may take that long to kill what is left, sync and say DOWN. */
#define SYNC_GRACE_MS 5000
/* A machine that goes on from a template answers within 0.1 s; after that long, or half of what a start may take, one is booted.
 * Clearly less than half of what a start may take by itself: only after the whole of it the template is to blame. */
#define TEMPLATE_GRACE_MS 20000
/* How long the engine may take to flush and close its disks after DOWN. */
#define QUIT_GRACE_MS 10000

struct box {
    const struct bl_launch *launch;
    int dir_fd, logs_fd;
    struct bl_answer *answer;
    int64_t started_us;
    struct bl_loop loop;
    struct bl_engine_choice choice;
    struct bl_engine *engine;
    struct bl_hub *hub;
    struct bl_console console;
    struct bl_template template;
    struct bl_timer template_deadline;
    uint32_t template_grace_ms;
    bool given_up; /* the machine from the template: what it says from now on is not heard */
    bool spoilt;   /* nobody's machine goes on from the template */
    struct bl_output_log log;
    struct bl_source signals, creator;
    struct bl_timer deadline;
    struct bl_timer again; /* set while the workload has ended and waits to be started again */
    struct bl_timer idle;  /* set while no client uses the box, when it has an auto_stop */
    uint32_t restarts, restart_delay_ms;
    int64_t life_began_ms; /* of the workload */
    struct bl_report report;
    struct bl_moments moments; /* of this start */
    bool opened;               /* the workload runs, or ran */
    bool lives;                /* it was opened since it was last started */
    bool exited;               /* it ended: report holds how */
    bool stopping;             /* somebody wants the box to end */
    bool down;                 /* the guest's disk is synced */
    bool failed;               /* report holds why */
    bool ended;                /* the VM is no more */
    bool hurry;                /* no client is waited for */
};

static int start_vm(struct box *box, struct bl_error *err);
static void close_vm(struct box *box);

static void kill_engine(struct box *box)
{
    if (box->engine && !box->ended)
        bl_engine_stop(box->engine, BL_ENGINE_KILL);
}

/* fail() - The box can't go on: remember why, tell the starter if it still waits, and end the VM. */
__attribute__((format(printf, 4, 5))) static void fail(struct box *box, enum bl_code code, int exit_code, const char *fmt, ...)
{
    va_list args;

    if (box->failed || box->ended)
        return;
    box->failed = true;
    box->report.type = BL_REPORT_ERROR;
    box->report.exit_code = exit_code;
    va_start(args, fmt);
    vsnprintf(box->report.message, sizeof box->report.message, fmt, args);
    va_end(args);
    bl_log(BL_LOG_ERROR, "%s", box->report.message);
    bl_answer_failed(box->answer, code, exit_code, box->report.message);
    kill_engine(box);
}

static void on_start_deadline(struct bl_timer *timer)
{
    struct box *box = timer->data;
    char line[256];

    bl_console_drain(&box->console);
    bl_console_last_line(&box->console, line, sizeof line);
    fail(box, BL_ENGINE, 125, "the guest did not answer within %u s; its console says last: %s",
         (box->launch->start_timeout_ms + 999) / 1000, line[0] ? line : "nothing");
}

static void on_end_deadline(struct bl_timer *timer)
{
    struct box *box = timer->data;

    bl_log(BL_LOG_WARN, "the guest did not power off in time: killing it");
    if (!box->report.message[0])
        snprintf(box->report.message, sizeof box->report.message, "killed: it did not power off in time");
    kill_engine(box);
}

static void set_deadline(struct box *box, int64_t ms, void (*expired)(struct bl_timer *))
{
    box->deadline.expired = expired;
    box->deadline.data = box;
    bl_timer_set(&box->loop, &box->deadline, bl_deadline_in(ms));
}

/* shut_down() - Begin the graceful end of the VM. */
static void shut_down(struct box *box, uint32_t grace_ms)
{
    bl_hub_shutdown(box->hub, grace_ms);
    BL_CRASH_POINT("shim:shutdown-sent");
    set_deadline(box, (int64_t)grace_ms + SYNC_GRACE_MS, on_end_deadline);
}

/* stop() - End the box because somebody wants that. @grace_ms: -1: the default; @asked: as in the report */
static void stop(struct box *box, int64_t grace_ms, bool asked, const char *who)
{
    if (box->ended) {
        box->hurry = true;
        bl_loop_stop(&box->loop);
        return;
    }
    if (box->stopping || box->exited || box->failed)
        return;
    bl_log(BL_LOG_INFO, "stopping: %s", who);
    BL_CRASH_POINT("shim:stop-asked");
    if (!box->answer->given) {
        fail(box, BL_STOPPED, 125, "stopped while it was starting: %s", who);
        box->report.type = BL_REPORT_STOPPED;
        return;
    }
    box->stopping = true;
    box->report.asked = asked;
    if (box->again.loop) {
        /* Between two lives of the workload: how the last one ended is told. */
        bl_timer_cancel(&box->again);
        box->exited = true;
        box->report.type = BL_REPORT_STOPPED;
    }
    shut_down(box, grace_ms < 0 ? box->launch->stop_grace_ms : (uint32_t)grace_ms);
}

static void on_idle(struct bl_timer *timer)
{
    struct box *box = timer->data;

    if (!box->stopping && !box->exited && !box->failed)
        snprintf(box->report.message, sizeof box->report.message, "stopped: nobody used it for %.10g s",
                 (double)box->launch->auto_stop_ms / 1000);
    stop(box, -1, true, "nobody used it for the time of auto-stop");
}

/* on_busy() - A client begins to use the box, or the last one is done with it. */
static void on_busy(bool busy, void *data)
{
    struct box *box = data;

    if (busy)
        bl_timer_cancel(&box->idle);
    else if (box->launch->auto_stop_ms && box->answer->given && !box->ended)
        bl_timer_set(&box->loop, &box->idle, bl_deadline_in((int64_t)box->launch->auto_stop_ms));
}

/* say_ready() - The start has succeeded. */
static void say_ready(struct box *box)
{
    bl_timer_cancel(&box->deadline);
    box->report.ready = true;
    bl_answer_ready(box->answer, &box->moments);
    on_busy(bl_hub_busy(box->hub), box);
}

static void on_hub_ready(void *data)
{
    struct box *box = data;

    if (box->launch->start_on_attach && !box->failed)
        say_ready(box);
}

static void on_workload_opened(void *data)
{
    struct box *box = data;

    BL_CRASH_POINT("shim:workload-opened");
    box->opened = box->lives = true;
    box->life_began_ms = bl_now_ms();
    if (!box->answer->given)
        say_ready(box);
}

/* on_again() - Start the workload again. */
static void on_again(struct bl_timer *timer)
{
    struct box *box = timer->data;
    struct bl_report fresh = {.ready = box->report.ready};
    char text[16];

    /* The guest broke the rules meanwhile: the VM is ending, and the report says why. */
    if (box->failed || box->ended)
        return;
    box->restarts++;
    /* A count that can't be written is wrong after the shim's death, which harms less than a box that does not run. */
    if (bl_replace_file(box->dir_fd, BL_FILE_RESTARTS, text, (size_t)snprintf(text, sizeof text, "%u\n", box->restarts)) < 0)
        bl_log(BL_LOG_WARN, "write %s: %s", BL_FILE_RESTARTS, strerror(errno));
    BL_CRASH_POINT("shim:counted");
    box->report = fresh;
    box->lives = false;
    if (bl_hub_open_again(box->hub) < 0)
        fail(box, BL_RESOURCE_EXHAUSTED, 137, "the workload could not be started again: too many commands run in the box");
    BL_CRASH_POINT("shim:opened-again");
}

/* start_again() - Whether the restart policy wants a workload that has ended back; then it comes. */
static bool start_again(struct box *box)
{
    int64_t life_ms = box->lives ? bl_now_ms() - box->life_began_ms : 0;

    if (box->stopping || box->failed || !box->answer->given ||
        !bl_restart_wanted(&box->launch->restart, box->report.exit_code != 0, box->restarts))
        return false;
    box->restart_delay_ms = bl_restart_delay(box->restart_delay_ms, life_ms);
    bl_log(BL_LOG_INFO, "it is started again in %u ms; restarts so far: %u", box->restart_delay_ms, box->restarts);
    bl_timer_set(&box->loop, &box->again, bl_deadline_in(box->restart_delay_ms));
    return true;
}

static void on_workload_exited(const struct bl_exit *exit, void *data)
{
    struct box *box = data;
    bool ran = box->lives || !exit->error[0];

    if (!ran && !box->answer->given) {
        fail(box, BL_EXECUTION, exit->code, "%s", exit->error);
        return;
    }
    bl_log(BL_LOG_INFO, "the workload ended with code %d%s", exit->code, exit->oom ? ", out of memory" : "");
    BL_CRASH_POINT("shim:workload-exited");
    box->report.type = !ran            ? BL_REPORT_ERROR
                       : box->stopping ? BL_REPORT_STOPPED
                       : exit->signal  ? BL_REPORT_SIGNAL
                                       : BL_REPORT_WORKLOAD;
    box->report.exit_code = exit->code;
    box->report.signal = exit->signal;
    box->report.oom = exit->oom;
    box->report.timed_out = exit->timed_out;
    if (exit->error[0])
        snprintf(box->report.message, sizeof box->report.message, "%s", exit->error);
    if (!box->answer->given)
        on_workload_opened(box);
    if (start_again(box))
        return;
    box->exited = true;
    if (box->launch->discard)
        kill_engine(box);
    else if (!box->stopping)
        shut_down(box, 0);
}

static void on_down(void *data)
{
    struct box *box = data;

    BL_CRASH_POINT("shim:guest-down");
    box->down = true;
    if (box->ended)
        return;
    bl_engine_stop(box->engine, BL_ENGINE_QUIT);
    set_deadline(box, QUIT_GRACE_MS, on_end_deadline);
}

static void on_broken(const char *why, void *data)
{
    struct box *box = data;

    if (box->template.loads && !bl_hub_greeted(box->hub)) {
        bl_log(BL_LOG_WARN, "the machine from the template makes no sense: %s", why);
        box->given_up = box->spoilt = true;
        kill_engine(box);
        return;
    }
    fail(box, BL_ENGINE, box->answer->given ? 137 : 125, "the guest can't go on: %s", why);
}

static void on_client_stop(int64_t grace_ms, void *data)
{
    stop(data, grace_ms, true, "a client asked for it");
}

static void on_settled(void *data)
{
    struct box *box = data;

    if (box->ended)
        bl_loop_stop(&box->loop);
}

/* configure() - The machine that has answered becomes this box; no template is needed any more. */
static void configure(struct box *box)
{
    bl_timer_cancel(&box->template_deadline);
    bl_template_close(&box->template);
    bl_hub_configure(box->hub);
}

/* go_on() - The machine stood still to be saved. @error: NULL: it was */
static void go_on(struct box *box, const char *error)
{
    struct bl_error err = BL_ERROR_INIT;

    if (error)
        bl_log(BL_LOG_WARN, "no template was made: %s", error);
    if (bl_engine_resume(box->engine, &err) < 0)
        fail(box, err.code, 125, "%s", err.message);
    configure(box);
}

/* on_memory_saved() - The copy of the memory is complete. */
static void on_memory_saved(const char *error, void *data)
{
    struct box *box = data;

    if (!error && bl_template_publish(&box->template, bl_console_tail(&box->console)) == 0)
        bl_log(BL_LOG_INFO, "kept as a template, %lld ms after the start", (long long)(bl_now_us() - box->started_us) / 1000);
    else if (!error)
        error = strerror(errno);
    go_on(box, error);
}

/* on_engine_saved() - All but the memory is written; the machine stands still. */
static void on_engine_saved(const char *error, void *data)
{
    struct box *box = data;

    bl_console_drain(&box->console);
    if (error || bl_template_move(&box->template, on_memory_saved, box) < 0)
        go_on(box, error ? error : strerror(errno));
}

static void on_hub_greeted(void *data)
{
    struct box *box = data;
    const struct bl_engine_moments *engine = &box->engine->moments;
    struct bl_error err = BL_ERROR_INIT;

    if (box->given_up)
        return;
    box->moments.at_us[BL_MOMENT_MADE] = engine->made_us;
    box->moments.at_us[BL_MOMENT_LOADED] = engine->loaded_us;
    box->moments.at_us[BL_MOMENT_RUNNING] = atomic_load(&engine->running_us);
    box->moments.origin = box->template.loads ? BL_ORIGIN_TEMPLATE : box->template.saves ? BL_ORIGIN_BOOT_KEPT : BL_ORIGIN_BOOT;
    if (box->template.loads)
        bl_log(BL_LOG_INFO, "went on from the template %s, %lld ms after the start", box->template.name,
               (long long)(bl_now_us() - box->started_us) / 1000);
    if (box->template.saves && bl_engine_save(box->engine, box->template.file.fd, &err) == 0)
        return;
    configure(box);
}

/* on_memory_loaded() - The memory is in place: the rest of the state may follow. */
static void on_memory_loaded(const char *error, void *data)
{
    struct box *box = data;
    struct bl_error err = BL_ERROR_INIT;

    if (!error && bl_engine_load(box->engine, box->template.file.fd, &err) == 0)
        return;
    box->spoilt = !error;
    bl_log(BL_LOG_WARN, "the template can't be loaded: %s", error ? error : err.message);
    kill_engine(box);
}

static void on_template_deadline(struct bl_timer *timer)
{
    struct box *box = timer->data;

    bl_log(BL_LOG_WARN, "the machine from the template does not answer");
    box->given_up = true;
    box->spoilt = box->template_grace_ms == TEMPLATE_GRACE_MS; /* who is in a hurry judges for itself only */
    kill_engine(box);
}

/* load_template() - Begin to copy it, while the engine starts. */
static void load_template(struct box *box)
{
    const struct bl_buffer *console = &box->template.file.console;
    uint32_t half = box->launch->start_timeout_ms / 2;

    box->template_grace_ms = half && half < TEMPLATE_GRACE_MS ? half : TEMPLATE_GRACE_MS;
    bl_console_add(&box->console, (const char *)bl_buffer_data(console), console->length);
    box->template_deadline = (struct bl_timer){.expired = on_template_deadline, .data = box};
    bl_timer_set(&box->loop, &box->template_deadline, bl_deadline_in(box->template_grace_ms));
    if (bl_template_move(&box->template, on_memory_loaded, box) < 0)
        on_memory_loaded(strerror(errno), box);
}

static const struct bl_hub_events hub_events = {
    .greeted = on_hub_greeted,
    .ready = on_hub_ready,
    .workload_opened = on_workload_opened,
    .workload_exited = on_workload_exited,
    .down = on_down,
    .broken = on_broken,
    .stop = on_client_stop,
    .settled = on_settled,
    .busy = on_busy,
};

/* unexpected_end() - The VM is gone and nobody wanted that: find out what to call it. */
static void unexpected_end(struct box *box, enum bl_engine_end how, const char *message)
{
    const char *panic = strstr(bl_console_tail(&box->console), "Kernel panic");
    char line[256];

    bl_console_last_line(&box->console, line, sizeof line);
    if (how == BL_ENGINE_END_FAILED)
        fail(box, BL_ENGINE, box->answer->given ? 137 : 125, "%s", message);
    else if (panic)
        fail(box, BL_ENGINE, box->answer->given ? 137 : 125, "the guest's kernel gave up: %.*s", (int)strcspn(panic, "\r\n"),
             panic);
    else
        fail(box, BL_ENGINE, box->answer->given ? 137 : 125, "the guest powered off unasked; its console says last: %s",
             line[0] ? line : "nothing");
    if (panic)
        box->report.type = BL_REPORT_PANIC;
}

/*
 * leave_to_another() - A machine ended before it answered: have another process start the box in another way, if that may help
 * @refused: KVM did not do what our own monitor asked
 * @spoilt: what became of the machine is the template's fault: nobody shall try it again
 *
 * This process may be confined to what that machine needed, and can't make another one. No report is written: the start goes on.
 *
 * Return: whether that is so
 */
static bool leave_to_another(struct box *box, bool refused, bool spoilt, const char *message)
{
    const char *registers = strstr(message, "; rip ");
    char why[BL_ENGINE_MESSAGE_MAX + 64]; /* without them */
    bool emulate = refused && box->choice.own && box->choice.falls_back;

    if (box->stopping || box->answer->given || (box->hub && bl_hub_greeted(box->hub) && !box->given_up))
        return false;
    /* Where there is no engine, the template is not to blame. */
    if (box->template.loads && (box->engine || !emulate)) {
        bl_log(BL_LOG_WARN, "the template %s can't be restored%s%s: booting", box->template.name, *message ? ": " : "", message);
        BL_CRASH_POINT("shim:template-refused");
        bl_answer_again(box->answer, BL_AGAIN_TEMPLATE, spoilt ? box->template.name : "");
        return true;
    }
    if (!emulate)
        return false;
    bl_log(BL_LOG_WARN, "%s; trying without hardware virtualization", message);
    snprintf(why, sizeof why, "our own monitor can't run here: %.*s",
             (int)(registers ? registers - message : (ptrdiff_t)strlen(message)), message);
    bl_answer_again(box->answer, BL_AGAIN_ENGINE, why);
    return true;
}

/*
 * fall_back() - Start the emulator again without hardware virtualization, if that may help
 *
 * The trial of /dev/kvm can't foresee everything; a machine that ended before the guest said anything has touched nothing.
 *
 * Return: whether another VM is on its way
 */
static bool fall_back(struct box *box, enum bl_engine_end how, const char *message)
{
    struct bl_error err = BL_ERROR_INIT;

    if (box->failed || bl_hub_greeted(box->hub) || how != BL_ENGINE_END_FAILED || box->choice.own || !box->choice.falls_back)
        return false;
    bl_log(BL_LOG_WARN, "%s; trying without hardware virtualization", message);
    bl_engine_fall_back(&box->choice, message);
    close_vm(box);
    if (start_vm(box, &err) == 0)
        return true;
    fail(box, err.code, 125, "%s", err.message);
    return false;
}

static void on_engine_ended(enum bl_engine_end how, const char *message, void *data)
{
    struct box *box = data;
    struct bl_error err = BL_ERROR_INIT;

    bl_timer_cancel(&box->deadline);
    bl_timer_cancel(&box->template_deadline);
    bl_timer_cancel(&box->again);
    bl_timer_cancel(&box->idle);
    if (leave_to_another(box, how == BL_ENGINE_END_FAILED, box->spoilt || how != BL_ENGINE_END_KILLED, message)) {
        box->ended = true;
        bl_loop_stop(&box->loop);
        return;
    }
    if (fall_back(box, how, message))
        return;
    BL_CRASH_POINT("shim:engine-ended");
    bl_template_close(&box->template);
    bl_console_drain(&box->console);
    /* What the guest said before the end still counts, its EXIT above all. */
    if (box->hub)
        bl_hub_drain(box->hub);
    if (!box->failed && !box->exited && box->stopping) {
        box->report.type = BL_REPORT_STOPPED;
        box->report.exit_code = box->opened ? 137 : 0;
    } else if (!box->failed && !box->exited) {
        unexpected_end(box, how, message);
    } else if (!box->failed && !box->down && !box->launch->discard && !box->report.message[0]) {
        snprintf(box->report.message, sizeof box->report.message, "the VM ended before its disk was synced");
    }
    box->ended = true;
    box->report.console = bl_console_tail(&box->console);
    if (bl_report_write(box->dir_fd, &box->report, &err) < 0)
        bl_log(BL_LOG_ERROR, "%s", err.message);
    BL_CRASH_POINT("shim:report-written");
    if (box->hub)
        bl_hub_guest_gone(box->hub);
    if (box->hurry || !box->hub || bl_hub_settled(box->hub))
        bl_loop_stop(&box->loop);
}

static void on_signal(struct bl_source *source, uint32_t events)
{
    struct box *box = source->data;
    struct signalfd_siginfo info;

    (void)events;
    while (read(source->fd, &info, sizeof info) == sizeof info) {
        char who[64];

        if (info.ssi_signo == SIGHUP)
            continue;
        if (box->stopping || box->exited) {
            box->hurry = true;
            bl_log(BL_LOG_INFO, "another signal %u: killing the VM", info.ssi_signo);
            kill_engine(box);
        }
        snprintf(who, sizeof who, "signal %u from process %u", info.ssi_signo, info.ssi_pid);
        stop(box, -1, false, who);
    }
}

static void on_creator(struct bl_source *source, uint32_t events)
{
    struct box *box = source->data;

    (void)events;
    bl_source_remove(source);
    box->hurry = true;
    stop(box, -1, false, "the program that started it has ended");
}

static int watch(struct box *box, struct bl_source *source, int fd, void (*ready)(struct bl_source *, uint32_t))
{
    *source = (struct bl_source){.fd = fd, .events = EPOLLIN, .ready = ready, .data = box};
    return bl_source_add(&box->loop, source);
}

/* set_up() - Loop, signals, creator, logs. Return: 0; -1 with *@err */
static int set_up(struct box *box, struct bl_error *err)
{
    sigset_t wanted;

    sigemptyset(&wanted);
    sigaddset(&wanted, SIGTERM);
    sigaddset(&wanted, SIGINT);
    sigaddset(&wanted, SIGHUP);
    if (bl_loop_init(&box->loop) < 0)
        return bl_fail(err, BL_INTERNAL, errno, "make an event loop");
    box->signals.fd = signalfd(-1, &wanted, SFD_CLOEXEC | SFD_NONBLOCK);
    if (box->signals.fd < 0 || watch(box, &box->signals, box->signals.fd, on_signal) < 0)
        return bl_fail(err, BL_INTERNAL, errno, "watch signals");
    if (box->launch->creator_fd >= 0 && watch(box, &box->creator, box->launch->creator_fd, on_creator) < 0)
        return bl_fail(err, BL_INTERNAL, errno, "watch the creator");
    if (mkdirat(box->dir_fd, "logs", 0700) < 0 && errno != EEXIST)
        return bl_fail(err, BL_STORAGE, errno, "make the directory logs of the box");
    box->logs_fd = openat(box->dir_fd, "logs", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (box->logs_fd < 0 || bl_output_log_open(&box->log, box->logs_fd, "output.log", BL_OUTPUT_LOG_MAX) < 0)
        return bl_fail(err, BL_STORAGE, errno, "open the logs of the box");
    BL_CRASH_POINT("shim:logs-opened");
    return 0;
}

/* connect_guest() - Make the sockets of agent and console, and the hub and console behind them. Return: 0; -1 with *@err */
static int connect_guest(struct box *box, struct bl_engine_config *config, struct bl_error *err)
{
    int agent[2], console[2];
    int log_fd = openat(box->logs_fd, "console.log", O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);

    if (log_fd < 0)
        return bl_fail(err, BL_STORAGE, errno, "open the console's log");
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, console) < 0) {
        close(log_fd);
        return bl_fail(err, BL_INTERNAL, errno, "make a socket for the console");
    }
    config->console_fd = console[1];
    if (bl_console_init(&box->console, &box->loop, console[0], log_fd) < 0)
        return bl_fail(err, BL_INTERNAL, errno, "watch the console");
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, agent) < 0)
        return bl_fail(err, BL_INTERNAL, errno, "make a socket for the agent");
    config->agent_fd = agent[1];

    struct bl_hub_config hub = {
        .guest_fd = agent[0],
        .listen_fd = bl_unix_listen(box->dir_fd, BL_FILE_CONTROL_SOCKET),
        .hostname = box->launch->hostname ? box->launch->hostname : "boxlite",
        .disk_bytes = box->launch->disk_bytes,
        .workload = &box->launch->workload,
        .start_on_attach = box->launch->start_on_attach,
        .log = &box->log,
        .engine = box->choice.name,
        .kernel = box->launch->kernel,
        .started_us = box->started_us,
        .moments = &box->moments,
    };

    if (hub.listen_fd < 0) {
        close(agent[0]);
        return bl_fail(err, BL_STORAGE, errno, "listen on %s of the box", BL_FILE_CONTROL_SOCKET);
    }
    BL_CRASH_POINT("shim:listening");
    return bl_hub_new(&box->loop, &hub, &hub_events, box, &box->hub, err);
}

/* choose_engine() - With what the starter knows of KVM. Return: 0; -1 with *@err */
static int choose_engine(const struct bl_launch *launch, struct bl_engine_choice *out, struct bl_error *err)
{
    struct bl_kvm_known kvm = {launch->kvm_usable ? BL_KVM_USABLE : launch->kvm_refused ? BL_KVM_REFUSED : BL_KVM_UNKNOWN, ""};

    snprintf(kvm.why, sizeof kvm.why, "%s", launch->kvm_refused ? launch->kvm_refused : "");
    return bl_engine_choose(launch->engine, &kvm, out, err);
}

/* start_vm() - Start the VM that was chosen, or choose one. Return: 0; -1 with *@err */
static int start_vm(struct box *box, struct bl_error *err)
{
    static const struct bl_engine_events events = {.ended = on_engine_ended, .saved = on_engine_saved};
    const struct bl_launch *launch = box->launch;
    __attribute__((cleanup(bl_engine_close_config))) struct bl_engine_config config = {
        .name = launch->box_id,
        .cpus = launch->cpus,
        .memory_bytes = launch->memory_bytes,
        .kernel = launch->kernel,
        .initramfs = launch->initramfs,
        .volatile_disk = launch->discard,
        .unconfined = launch->unconfined,
        .directory_fd = box->dir_fd,
        .agent_fd = -1,
        .console_fd = -1,
        .memory_fd = -1,
        .saved_fd = -1,
    };
    char command_line[2048];
    int length = snprintf(command_line, sizeof command_line, "%s%s%s", launch->debug ? "" : "quiet", launch->kernel_args ? " " : "",
                          launch->kernel_args ? launch->kernel_args : "");

    if (length >= (int)sizeof command_line)
        return bl_fail(err, BL_CONFIG, 0, "the kernel's arguments are too long: %d bytes", length);
    config.command_line = command_line;
    if ((!box->choice.name[0] && choose_engine(launch, &box->choice, err) < 0) || bl_check_workload(&launch->workload, err) < 0 ||
        bl_check_readable("guest kernel", launch->kernel, err) < 0 || bl_check_readable("initramfs", launch->initramfs, err) < 0 ||
        bl_open_disks(box->dir_fd, launch, &config, err) < 0 || connect_guest(box, &config, err) < 0)
        return -1;
    bl_log(BL_LOG_INFO, "engine: %s: %s%s", box->choice.name, box->choice.reason, launch->unconfined ? "; security is off" : "");
    bl_template_prepare(&box->template, &box->loop, launch->templates, &box->choice, &config);
    box->moments.at_us[BL_MOMENT_ENGINE] = bl_now_us();
    if (bl_engine_start(&box->loop, &box->choice, &config, &events, box, &box->engine, err) < 0)
        return -1;
    BL_CRASH_POINT("shim:engine-started");
    if (box->template.loads)
        load_template(box);
    if (launch->start_timeout_ms)
        set_deadline(box, launch->start_timeout_ms, on_start_deadline);
    return 0;
}

static void close_vm(struct box *box)
{
    bl_timer_cancel(&box->template_deadline);
    bl_template_close(&box->template);
    bl_engine_free(box->engine);
    bl_hub_free(box->hub);
    bl_console_finish(&box->console);
    box->engine = NULL;
    box->hub = NULL;
}

static void tear_down(struct box *box)
{
    close_vm(box);
    bl_output_log_close(&box->log);
    bl_source_remove(&box->signals);
    bl_source_remove(&box->creator);
    bl_close_fd(&box->signals.fd);
    bl_close_fd(&box->logs_fd);
    bl_loop_finish(&box->loop);
}

/*
 * free_disk() - Nobody needs the disk of a box that goes with its end (--rm)
 *
 * What is left is a record and a few small files, which listings hide and whoever changes something next removes.
 */
static void free_disk(int dir_fd)
{
    unlinkat(dir_fd, BL_FILE_OVERLAY, 0);
    unlinkat(dir_fd, BL_FILE_BASE, 0);
    BL_CRASH_POINT("shim:disk-freed");
}

/* live() - From the first VM to the end of the last. */
static void live(struct box *box)
{
    struct bl_error err = BL_ERROR_INIT;
    bool begun = set_up(box, &err) == 0 && start_vm(box, &err) == 0;

    if (begun && bl_loop_run(&box->loop) == 0)
        return;
    if (begun)
        bl_fail(&err, BL_INTERNAL, errno, "wait for events");
    else if (leave_to_another(box, err.code == BL_UNSUPPORTED_ENGINE, false, err.message))
        return;
    fail(box, err.code, 125, "%s", err.message);
    if (bl_report_write(box->dir_fd, &box->report, &err) < 0)
        bl_log(BL_LOG_ERROR, "%s", err.message);
}

int bl_box_live(const struct bl_launch *launch, int dir_fd, struct bl_answer *answer, int64_t started_us)
{
    struct box *box = calloc(1, sizeof *box);

    if (!box)
        return -1;
    *box = (struct box){
        .launch = launch,
        .dir_fd = dir_fd,
        .logs_fd = -1,
        .answer = answer,
        .started_us = started_us,
        .moments.at_us[BL_MOMENT_SHIM] = started_us,
        .again = {.expired = on_again, .data = box},
        .idle = {.expired = on_idle, .data = box},
        .restarts = launch->restarts,
        .loop.epoll_fd = -1,
        .console = {.source.fd = -1, .log_fd = -1},
        .log.fd = -1,
        .signals.fd = -1,
    };
    bl_template_init(&box->template);
    live(box);

    bool ready = box->report.ready;

    tear_down(box);
    BL_CRASH_POINT("shim:torn-down");
    if (launch->discard && ready)
        free_disk(dir_fd);
    free(box);
    return ready ? 0 : -1;
}
