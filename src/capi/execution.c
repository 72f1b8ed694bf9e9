/* SPDX-License-Identifier: Apache-2.0 */
/* execution.c - a command's life, its output and its end; see execution.h */
#include "capi/execution.h"

#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/strings.h"

/* What on_exit and wait report when there is no exit code: the box died, or the execution was given up. */
#define NO_EXIT_CODE (-1)

/* Output on its way to a callback. */
struct output_event {
    struct bl_capi_event event;
    CExecutionHandle *execution;
    enum bl_channel channel;
    size_t length;
    uint8_t bytes[];
};

struct exit_event {
    struct bl_capi_event event;
    CExecutionHandle *execution;
};

struct wait_op {
    struct bl_capi_op op;
    struct wait_op *next_waiter;
    CExecutionWaitCb cb;
    int exit_code;
};

void bl_capi_execution_hold(CExecutionHandle *execution)
{
    atomic_fetch_add(&execution->references, 1);
}

void bl_capi_execution_release(CExecutionHandle *execution)
{
    if (atomic_fetch_sub(&execution->references, 1) != 1)
        return;
    if (execution->session)
        bl_session_free(execution->session);
    bl_buffer_free(&execution->input);
    pthread_mutex_destroy(&execution->lock);
    bl_capi_runtime_release(execution->runtime);
    free(execution);
}

/* ---- Events ---- */

static void drop_output(struct bl_capi_event *base)
{
    struct output_event *event = (struct output_event *)base;

    bl_capi_execution_release(event->execution);
    free(event);
}

/* give_credit() - The bytes are gone: let the box send more. */
static void give_credit(CExecutionHandle *execution, enum bl_channel channel, size_t length)
{
    bool wake = false;

    pthread_mutex_lock(&execution->lock);
    if (execution->session) {
        bl_session_consumed(execution->session, channel, length);
        wake = (bl_session_poll_events(execution->session) & POLLOUT) != 0;
    }
    pthread_mutex_unlock(&execution->lock);
    if (wake)
        bl_capi_hub_wake(&execution->runtime->hub);
}

static void deliver_output(struct bl_capi_event *base)
{
    struct output_event *event = (struct output_event *)base;
    CExecutionHandle *execution = event->execution;

    pthread_mutex_lock(&execution->lock);

    bool wanted = !execution->freed;
    CBoxStdoutCb to_stdout = execution->on_stdout;
    CBoxStderrCb to_stderr = execution->on_stderr;
    void *data = event->channel == BL_CHANNEL_STDERR ? execution->stderr_data : execution->stdout_data;

    pthread_mutex_unlock(&execution->lock);
    if (wanted && event->channel == BL_CHANNEL_STDOUT && to_stdout)
        to_stdout(event->bytes, event->length, data);
    else if (wanted && event->channel == BL_CHANNEL_STDERR && to_stderr)
        to_stderr(event->bytes, event->length, data);
    give_credit(execution, event->channel, event->length);
    drop_output(base);
}

static void drop_exit(struct bl_capi_event *base)
{
    struct exit_event *event = (struct exit_event *)base;

    bl_capi_execution_release(event->execution);
    free(event);
}

static void deliver_exit(struct bl_capi_event *base)
{
    CExecutionHandle *execution = ((struct exit_event *)base)->execution;

    pthread_mutex_lock(&execution->lock);

    CBoxExitCb cb = execution->freed || execution->exit_told ? NULL : execution->on_exit;
    void *data = execution->exit_data;
    int code = execution->failed ? NO_EXIT_CODE : execution->exit.code;

    if (cb)
        execution->exit_told = true;
    pthread_mutex_unlock(&execution->lock);
    if (cb)
        cb(code, data);
    drop_exit(base);
}

/* tell_exit() - Post the exit event. Without memory for it waiters still learn of the end. */
static void tell_exit(CExecutionHandle *execution)
{
    struct exit_event *event = calloc(1, sizeof *event);

    if (!event)
        return;
    *event = (struct exit_event){.event = {.deliver = deliver_exit, .drop = drop_exit}, .execution = execution};
    bl_capi_execution_hold(execution);
    bl_capi_queue_push(&execution->runtime->queue, &event->event);
}

/* answer() - Finish a wait of an execution that has ended. Under the execution's lock. */
static void answer(CExecutionHandle *execution, struct wait_op *op)
{
    op->op.failed = execution->failed;
    op->exit_code = execution->failed ? NO_EXIT_CODE : execution->exit.code;
    if (execution->failed) {
        op->op.error = execution->error;
    } else if (execution->exit.error[0]) {
        op->op.failed = true;
        bl_fail(&op->op.error, BL_EXECUTION, 0, "%s", execution->exit.error);
    }
    bl_capi_finish(&op->op);
}

/* end() - The outcome is known: tell on_exit and those who wait. Under the execution's lock; ends once. */
static void end(CExecutionHandle *execution)
{
    if (execution->ended)
        return;
    execution->ended = true;
    if (execution->failed || execution->exit.error[0])
        atomic_fetch_add(&execution->runtime->command_errors, 1);
    tell_exit(execution);
    while (execution->waiters) {
        struct wait_op *op = execution->waiters;

        execution->waiters = op->next_waiter;
        answer(execution, op);
    }
}

void bl_capi_execution_fail(CExecutionHandle *execution, const struct bl_error *err)
{
    pthread_mutex_lock(&execution->lock);
    if (!execution->ended) {
        execution->failed = true;
        execution->error = *err;
        end(execution);
    }
    pthread_mutex_unlock(&execution->lock);
}

/* ---- The session's callbacks; they run in the hub, under the execution's lock ---- */

static void on_output(struct bl_session *session, enum bl_channel channel, const void *bytes, size_t length, void *data)
{
    CExecutionHandle *execution = data;
    struct output_event *event = malloc(sizeof *event + length);

    if (!event || execution->freed) {
        if (!event && !execution->freed)
            bl_log(BL_LOG_ERROR, "no memory for %zu bytes of a command's output: they are lost", length);
        free(event);
        bl_session_consumed(session, channel, length);
        return;
    }
    *event = (struct output_event){
        .event = {.deliver = deliver_output, .drop = drop_output}, .execution = execution, .channel = channel, .length = length};
    memcpy(event->bytes, bytes, length);
    bl_capi_execution_hold(execution);
    bl_capi_queue_push(&execution->runtime->queue, &event->event);
}

/* has_room() - Whether one more event of output may be kept; the hub steps this again once there is room. */
static bool has_room(struct bl_session *session, void *data)
{
    CExecutionHandle *execution = data;

    (void)session;
    return execution->freed || !bl_capi_queue_full(&execution->runtime->queue);
}

static void on_exited(struct bl_session *session, const struct bl_exit *exit, void *data)
{
    CExecutionHandle *execution = data;

    (void)session;
    execution->exit = *exit;
    end(execution);
}

static const struct bl_session_events session_events = {.output = on_output, .room = has_room, .exited = on_exited};

/* feed() - Give the session what input it takes. Under the lock. */
static void feed(CExecutionHandle *execution)
{
    while (execution->input.length) {
        ssize_t taken = bl_session_write(execution->session, bl_buffer_data(&execution->input), execution->input.length);

        if (taken < 0)
            bl_buffer_clear(&execution->input); /* nobody reads it any more */
        if (taken <= 0)
            break;
        bl_buffer_consume(&execution->input, (size_t)taken);
    }
    if (execution->input_closed && !execution->input_ended && !execution->input.length) {
        execution->input_ended = true;
        bl_session_close_input(execution->session);
    }
}

bool bl_capi_execution_step(CExecutionHandle *execution)
{
    struct bl_error err = BL_ERROR_INIT;

    pthread_mutex_lock(&execution->lock);

    int more = execution->freed ? -1 : 1;

    if (more > 0) {
        feed(execution);
        more = bl_session_step(execution->session, &err);
    }
    if (more > 0)
        feed(execution);
    if (more <= 0) {
        bl_session_free(execution->session);
        execution->session = NULL;
    }
    if (more < 0 && !execution->ended) {
        if (err.code == BL_OK)
            bl_fail(&err, BL_STOPPED, 0, "the execution was let go");
        execution->failed = true;
        execution->error = err;
        end(execution);
    }
    pthread_mutex_unlock(&execution->lock);
    return more > 0;
}

/* ---- Beginning one ---- */

struct exec_op {
    struct bl_capi_op op;
    CExecutionHandle *execution;
    char id[BL_BOX_ID_LENGTH + 1];
    struct bl_open open;
};

/* adopt() - The session is open: do what the user wanted meanwhile, and have the hub step it. Return: 0; -1 */
static int adopt(CExecutionHandle *execution, struct bl_session *session, struct bl_error *err)
{
    pthread_mutex_lock(&execution->lock);
    execution->session = session;
    if (execution->rows_wanted)
        bl_session_resize(session, execution->rows_wanted, execution->columns_wanted);
    if (execution->signal_wanted)
        bl_session_signal(session, execution->signal_wanted);
    if (execution->kill_wanted)
        bl_session_signal(session, SIGKILL);
    feed(execution);
    pthread_mutex_unlock(&execution->lock);
    return bl_capi_hub_add(execution->runtime, execution, err);
}

static int exec_work(struct bl_capi_op *base, struct bl_error *err)
{
    struct exec_op *op = (struct exec_op *)base;
    CExecutionHandle *execution = op->execution;
    struct bl_runtime *core = bl_capi_enter(base->runtime, err);
    struct bl_session *session = NULL;

    if (!core)
        return -1;

    int failed = bl_session_exec(core, op->id, &op->open, &session_events, execution, &session, err);

    bl_capi_leave(base->runtime);
    return failed ? -1 : adopt(execution, session, err);
}

static void exec_dispose(struct bl_capi_op *base)
{
    struct exec_op *op = (struct exec_op *)base;

    if (op->execution)
        bl_capi_execution_release(op->execution);
    bl_open_free(&op->open);
    free(op);
}

/* run_exec() - exec_work(), whose failure is the execution's. */
static int run_exec(struct bl_capi_op *base, struct bl_error *err)
{
    if (exec_work(base, err) < 0)
        bl_capi_execution_fail(((struct exec_op *)base)->execution, err);
    return 0;
}

/* begin_at_once() - On this thread, if nothing has to be found out or waited for. Return: whether the worker has nothing to do */
static bool begin_at_once(const CBoxHandle *handle, CExecutionHandle *execution, const struct bl_open *open)
{
    struct bl_error err = BL_ERROR_INIT;
    struct bl_runtime *core = bl_capi_enter(handle->runtime, &err);
    struct bl_session *session = NULL;

    if (!core)
        return false;
    /* What fails here fails there as well, and is told from there. */
    (void)bl_session_exec_at_once(core, handle->id, open, &session_events, execution, &session, &err);
    bl_capi_leave(handle->runtime);
    if (!session)
        return false;
    if (adopt(execution, session, &err) < 0)
        bl_capi_execution_fail(execution, &err);
    return true;
}

/* take_env() - KEY=value from pairs; an odd last one is ignored. Return: 0; -1 */
static int take_env(const BoxliteCommand *cmd, char ***out)
{
    for (int i = 0; cmd->env_pairs && i + 1 < cmd->env_count; i += 2) {
        if (!cmd->env_pairs[i] || !cmd->env_pairs[i + 1])
            continue;

        char *entry = bl_format("%s=%s", cmd->env_pairs[i], cmd->env_pairs[i + 1]);
        int failed = entry ? bl_strings_set_env(out, entry) : -1;

        free(entry);
        if (failed)
            return -1;
    }
    return 0;
}

/* take_command() - A user's command as an OPEN. Return: 0; -1 when memory ran out (what was taken is freed with it) */
static int take_command(const BoxliteCommand *cmd, struct bl_open *open)
{
    *open = (struct bl_open){.kind = BL_OPEN_EXEC, .tty = cmd->tty != 0, .use_stdin = true};
    /* Anything above 0 is a limit: a tiny one must not round to none. */
    if (cmd->timeout_secs > 0)
        open->timeout_ms = cmd->timeout_secs > 1e12 ? (uint64_t)1e15 : (uint64_t)ceil(cmd->timeout_secs * 1000);
    if (bl_strings_append(&open->args, cmd->command) < 0)
        return -1;
    for (int i = 0; i < cmd->argc; i++)
        if (bl_strings_append(&open->args, cmd->args[i]) < 0)
            return -1;
    if (cmd->workdir && !(open->cwd = strdup(cmd->workdir)))
        return -1;
    if (cmd->user && !(open->user = strdup(cmd->user)))
        return -1;
    return take_env(cmd, &open->env);
}

/* check_command() - Return: what is wrong with it, or NULL */
static const char *check_command(const BoxliteCommand *cmd)
{
    if (!cmd)
        return "cmd is NULL";
    if (!cmd->command || !*cmd->command)
        return "cmd->command is NULL or empty";
    if (cmd->argc < 0 || (cmd->argc > 0 && !cmd->args))
        return "cmd->args is NULL, or argc negative";
    for (int i = 0; i < cmd->argc; i++)
        if (!cmd->args[i])
            return "cmd->args has a NULL in it";
    if (cmd->env_count < 0 || (cmd->env_count > 0 && !cmd->env_pairs))
        return "cmd->env_pairs is NULL, or env_count negative";
    if (isnan(cmd->timeout_secs) || cmd->timeout_secs < 0)
        return "cmd->timeout_secs is negative or no number";
    return NULL;
}

enum BoxliteErrorCode boxlite_box_exec(CBoxHandle *handle, const BoxliteCommand *cmd, CExecutionHandle **out_execution,
                                       CBoxliteError *out_error)
{
    if (out_execution)
        *out_execution = NULL;
    if (!handle || !out_execution)
        return bl_capi_reject(out_error, BL_INVALID_ARGUMENT, "%s is NULL", handle ? "out_execution" : "handle");

    const char *wrong = check_command(cmd);

    if (wrong)
        return bl_capi_reject(out_error, BL_INVALID_ARGUMENT, "%s", wrong);

    enum BoxliteErrorCode code = bl_capi_check_runtime(handle->runtime, out_error);

    if (code != BOXLITE_OK)
        return code;
    if (atomic_load(&handle->runtime->shut_down))
        return bl_capi_reject(out_error, BL_STOPPED, "run a command: the runtime was shut down");

    CExecutionHandle *execution = calloc(1, sizeof *execution);
    struct exec_op *op = execution ? bl_capi_new_op(sizeof *op, handle->runtime, NULL, run_exec, NULL, exec_dispose) : NULL;

    if (!op) {
        free(execution);
        return bl_capi_no_memory(out_error);
    }
    atomic_init(&execution->references, 2); /* the user's and the operation's */
    pthread_mutex_init(&execution->lock, NULL);
    execution->runtime = handle->runtime;
    bl_capi_runtime_hold(handle->runtime);
    execution->input = (struct bl_buffer)BL_BUFFER_INIT(EXECUTION_INPUT_MAX);
    op->execution = execution;
    memcpy(op->id, handle->id, sizeof op->id);
    if (take_command(cmd, &op->open) < 0) {
        exec_dispose(&op->op);
        bl_capi_runtime_release(handle->runtime);
        bl_capi_execution_release(execution);
        return bl_capi_no_memory(out_error);
    }
    atomic_fetch_add(&handle->runtime->commands, 1);
    *out_execution = execution;
    if (begin_at_once(handle, execution, &op->open)) {
        exec_dispose(&op->op);
        bl_capi_runtime_release(handle->runtime);
        return bl_capi_ok(out_error);
    }
    code = bl_capi_post(handle->runtime, CAPI_LANE_OPEN, &op->op, out_error);
    if (code != BOXLITE_OK) {
        *out_execution = NULL;
        bl_capi_execution_release(execution);
    }
    return code;
}

/* ---- Callbacks ---- */

/* check_execution() - What every call on one checks first. */
static enum BoxliteErrorCode check_execution(CExecutionHandle *execution, bool has_cb, CBoxliteError *out_error)
{
    if (!execution || !has_cb)
        return bl_capi_reject(out_error, BL_INVALID_ARGUMENT, "%s is NULL", execution ? "cb" : "execution");
    return bl_capi_check_runtime(execution->runtime, out_error);
}

enum BoxliteErrorCode boxlite_execution_on_stdout(CExecutionHandle *execution, CBoxStdoutCb cb, void *user_data,
                                                  CBoxliteError *out_error)
{
    enum BoxliteErrorCode code = check_execution(execution, cb != NULL, out_error);

    if (code != BOXLITE_OK)
        return code;
    pthread_mutex_lock(&execution->lock);
    execution->on_stdout = cb;
    execution->stdout_data = user_data;
    pthread_mutex_unlock(&execution->lock);
    return bl_capi_ok(out_error);
}

enum BoxliteErrorCode boxlite_execution_on_stderr(CExecutionHandle *execution, CBoxStderrCb cb, void *user_data,
                                                  CBoxliteError *out_error)
{
    enum BoxliteErrorCode code = check_execution(execution, cb != NULL, out_error);

    if (code != BOXLITE_OK)
        return code;
    pthread_mutex_lock(&execution->lock);
    execution->on_stderr = cb;
    execution->stderr_data = user_data;
    pthread_mutex_unlock(&execution->lock);
    return bl_capi_ok(out_error);
}

enum BoxliteErrorCode boxlite_execution_on_exit(CExecutionHandle *execution, CBoxExitCb cb, void *user_data,
                                                CBoxliteError *out_error)
{
    enum BoxliteErrorCode code = check_execution(execution, cb != NULL, out_error);

    if (code != BOXLITE_OK)
        return code;
    pthread_mutex_lock(&execution->lock);
    execution->on_exit = cb;
    execution->exit_data = user_data;
    /* An end whose event came before there was a callback is told by one more event. */
    if (execution->ended && !execution->exit_told)
        tell_exit(execution);
    pthread_mutex_unlock(&execution->lock);
    return bl_capi_ok(out_error);
}

static int no_work(struct bl_capi_op *op, struct bl_error *err)
{
    (void)op;
    (void)err;
    return 0;
}

static void wait_complete(struct bl_capi_op *base, CBoxliteError *error)
{
    struct wait_op *op = (struct wait_op *)base;

    op->cb(op->exit_code, error, base->user_data);
}

static void plain_dispose(struct bl_capi_op *base)
{
    free(base);
}

enum BoxliteErrorCode boxlite_execution_wait(CExecutionHandle *execution, CExecutionWaitCb cb, void *user_data,
                                             CBoxliteError *out_error)
{
    enum BoxliteErrorCode code = check_execution(execution, cb != NULL, out_error);

    if (code != BOXLITE_OK)
        return code;

    struct wait_op *op = bl_capi_new_op(sizeof *op, execution->runtime, user_data, no_work, wait_complete, plain_dispose);

    if (!op)
        return bl_capi_no_memory(out_error);
    op->cb = cb;
    pthread_mutex_lock(&execution->lock);
    if (execution->ended) {
        answer(execution, op);
    } else {
        op->next_waiter = execution->waiters;
        execution->waiters = op;
    }
    pthread_mutex_unlock(&execution->lock);
    return bl_capi_ok(out_error);
}

/* ---- Input ---- */

enum BoxliteErrorCode boxlite_execution_stdin_write(CExecutionHandle *execution, const uint8_t *data, size_t len,
                                                    CBoxliteError *out_error)
{
    enum BoxliteErrorCode code = check_execution(execution, true, out_error);

    if (code != BOXLITE_OK)
        return code;
    if (!data && len)
        return bl_capi_reject(out_error, BL_INVALID_ARGUMENT, "data is NULL");
    pthread_mutex_lock(&execution->lock);
    if (execution->input_closed)
        code = bl_capi_reject(out_error, BL_INVALID_STATE, "write input: it was closed");
    else if (execution->ended)
        code = bl_capi_reject(out_error, BL_INVALID_STATE, "write input: the command has ended");
    else if (bl_buffer_append(&execution->input, data, len) < 0)
        code = bl_capi_reject(out_error, BL_RESOURCE_EXHAUSTED,
                              "write input: %zu bytes wait already; let the command take them first", execution->input.length);
    else if (execution->session)
        feed(execution);
    pthread_mutex_unlock(&execution->lock);
    if (code != BOXLITE_OK)
        return code;
    bl_capi_hub_wake(&execution->runtime->hub);
    return bl_capi_ok(out_error);
}

size_t boxlite_execution_stdin_pending(CExecutionHandle *execution)
{
    if (!execution || execution->runtime->owner != getpid())
        return 0;
    pthread_mutex_lock(&execution->lock);

    size_t pending = execution->input.length;

    pthread_mutex_unlock(&execution->lock);
    return pending;
}

enum BoxliteErrorCode boxlite_execution_stdin_close(CExecutionHandle *execution, CBoxliteError *out_error)
{
    enum BoxliteErrorCode code = check_execution(execution, true, out_error);

    if (code != BOXLITE_OK)
        return code;
    pthread_mutex_lock(&execution->lock);
    execution->input_closed = true;
    if (execution->session)
        feed(execution);
    pthread_mutex_unlock(&execution->lock);
    bl_capi_hub_wake(&execution->runtime->hub);
    return bl_capi_ok(out_error);
}

/* ---- Signals, size ---- */

struct tell_op {
    struct bl_capi_op op;
    CExecutionKillCb cb;
};

static void tell_complete(struct bl_capi_op *base, CBoxliteError *error)
{
    ((struct tell_op *)base)->cb(error, base->user_data);
}

/* tell() - Answer a call that was carried out at once, or that came too late, through the queue. */
static enum BoxliteErrorCode tell(CExecutionHandle *execution, CExecutionKillCb cb, void *user_data, bool too_late,
                                  const char *what, CBoxliteError *out_error)
{
    struct tell_op *op = bl_capi_new_op(sizeof *op, execution->runtime, user_data, no_work, tell_complete, plain_dispose);

    if (!op)
        return bl_capi_no_memory(out_error);
    op->cb = cb;
    if (too_late) {
        op->op.failed = true;
        bl_fail(&op->op.error, BL_INVALID_STATE, 0, "%s: the command has ended", what);
    }
    bl_capi_finish(&op->op);
    return bl_capi_ok(out_error);
}

enum BoxliteErrorCode boxlite_execution_kill(CExecutionHandle *execution, CExecutionKillCb cb, void *user_data,
                                             CBoxliteError *out_error)
{
    return boxlite_execution_signal(execution, SIGKILL, cb, user_data, out_error);
}

enum BoxliteErrorCode boxlite_execution_signal(CExecutionHandle *execution, int sig, CExecutionSignalCb cb, void *user_data,
                                               CBoxliteError *out_error)
{
    enum BoxliteErrorCode code = check_execution(execution, cb != NULL, out_error);

    if (code != BOXLITE_OK)
        return code;
    if (sig < 1 || sig > 64)
        return bl_capi_reject(out_error, BL_INVALID_ARGUMENT, "signal %d: 1 to 64 are signals", sig);
    pthread_mutex_lock(&execution->lock);

    bool ended = execution->ended;

    if (execution->session)
        bl_session_signal(execution->session, sig);
    else if (sig == SIGKILL)
        execution->kill_wanted = true;
    else
        execution->signal_wanted = sig;
    pthread_mutex_unlock(&execution->lock);
    bl_capi_hub_wake(&execution->runtime->hub);
    return tell(execution, cb, user_data, ended, "signal", out_error);
}

enum BoxliteErrorCode boxlite_execution_tty_resize(CExecutionHandle *execution, int rows, int cols, CExecutionResizeCb cb,
                                                   void *user_data, CBoxliteError *out_error)
{
    enum BoxliteErrorCode code = check_execution(execution, cb != NULL, out_error);

    if (code != BOXLITE_OK)
        return code;
    if (rows < 1 || rows > UINT16_MAX || cols < 1 || cols > UINT16_MAX)
        return bl_capi_reject(out_error, BL_INVALID_ARGUMENT, "size %d x %d: rows and columns are 1 to 65535", rows, cols);
    pthread_mutex_lock(&execution->lock);

    bool ended = execution->ended;

    if (execution->session)
        bl_session_resize(execution->session, (uint16_t)rows, (uint16_t)cols);
    execution->rows_wanted = (uint16_t)rows;
    execution->columns_wanted = (uint16_t)cols;
    pthread_mutex_unlock(&execution->lock);
    bl_capi_hub_wake(&execution->runtime->hub);
    return tell(execution, cb, user_data, ended, "resize", out_error);
}

uint64_t boxlite_execution_duration_us(CExecutionHandle *execution)
{
    if (!execution || execution->runtime->owner != getpid())
        return 0;
    pthread_mutex_lock(&execution->lock);

    uint64_t duration_us = execution->ended && !execution->failed ? execution->exit.duration_us : 0;

    pthread_mutex_unlock(&execution->lock);
    return duration_us;
}

void boxlite_execution_free(CExecutionHandle *execution)
{
    if (!execution || execution->runtime->owner != getpid())
        return; /* NULL, or a forked child's copy, whose locks threads may hold that the child does not have */
    pthread_mutex_lock(&execution->lock);
    execution->freed = true;
    /* Those who wait are told: exactly one completion an operation. */
    if (!execution->ended) {
        execution->failed = true;
        bl_fail(&execution->error, BL_STOPPED, 0, "the execution was let go");
        end(execution);
    }
    pthread_mutex_unlock(&execution->lock);
    bl_capi_hub_wake(&execution->runtime->hub);
    bl_capi_execution_release(execution);
}
