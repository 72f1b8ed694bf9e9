/* SPDX-License-Identifier: Apache-2.0 */
/*
 * simple.c - a box of one's own, one command after the other
 *
 * No events, no drain: the calling thread steps the session itself. The box is made with the first command and removed with the
 * handle.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/strings.h"
#include "capi/capi.h"

#define SIMPLE_CPUS       2
#define SIMPLE_MEMORY_MIB 512
#define OUTPUT_MAX        (256u << 20) /* bytes of each stream that one command may print */

struct BoxRunner {
    struct bl_runtime *core;
    char id[BL_BOX_ID_LENGTH + 1]; /* empty: not made yet */
    char *image;
    unsigned int cpus, memory_mib;
    pid_t owner; /* a forked child is another */
};

/* What one command printed. */
struct capture {
    struct bl_buffer out, err;
    struct bl_exit exit;
    bool overflow;
};

static void take_output(struct bl_session *session, enum bl_channel channel, const void *bytes, size_t length, void *data)
{
    struct capture *capture = data;

    if (bl_buffer_append(channel == BL_CHANNEL_STDERR ? &capture->err : &capture->out, bytes, length) < 0)
        capture->overflow = true;
    bl_session_consumed(session, channel, length);
}

static void take_exit(struct bl_session *session, const struct bl_exit *exit, void *data)
{
    (void)session;
    ((struct capture *)data)->exit = *exit;
}

static const struct bl_session_events capture_events = {.output = take_output, .exited = take_exit};

/* pump() - Step a session until it ends. Return: 0; -1 with *@err */
static int pump(struct bl_session *session, struct bl_error *err)
{
    for (;;) {
        int more = bl_session_step(session, err);

        if (more <= 0)
            return more;

        struct pollfd wait = {.fd = bl_session_fd(session), .events = bl_session_poll_events(session)};

        if (poll(&wait, 1, -1) < 0 && errno != EINTR)
            return bl_fail(err, BL_PORTAL, errno, "wait for a command");
    }
}

enum BoxliteErrorCode boxlite_simple_new(const char *image, int cpus, int memory_mib, CBoxliteSimple **out_box,
                                         CBoxliteError *out_error)
{
    struct bl_error err = BL_ERROR_INIT;

    if (out_box)
        *out_box = NULL;
    if (!image || !out_box)
        return bl_capi_reject(out_error, BL_INVALID_ARGUMENT, "%s is NULL", image ? "out_box" : "image");
    if (cpus < 0 || cpus > BL_MOST_CPUS || memory_mib < 0 || memory_mib > BL_MOST_MEMORY_MIB ||
        (memory_mib && memory_mib < BL_LEAST_MEMORY_MIB))
        return bl_capi_reject(out_error, BL_INVALID_ARGUMENT, "%d processors, %d MiB: 1 to %d and %d to %d are possible", cpus,
                              memory_mib, BL_MOST_CPUS, BL_LEAST_MEMORY_MIB, BL_MOST_MEMORY_MIB);

    CBoxliteSimple *box = calloc(1, sizeof *box);

    if (!box || !(box->image = strdup(image))) {
        free(box);
        return bl_capi_no_memory(out_error);
    }
    box->owner = getpid();
    box->cpus = cpus ? (unsigned int)cpus : SIMPLE_CPUS;
    box->memory_mib = memory_mib ? (unsigned int)memory_mib : SIMPLE_MEMORY_MIB;
    if (bl_capi_open_core(NULL, &box->core, &err) < 0) {
        free(box->image);
        free(box);
        return bl_capi_report(out_error, &err);
    }
    *out_box = box;
    return bl_capi_ok(out_error);
}

/* ensure_box() - Make the box if there is none yet. Return: 0; -1 with *@err */
static int ensure_box(CBoxliteSimple *box, struct bl_error *err)
{
    struct bl_box_options options = {.image = box->image, .cpus = box->cpus, .memory_mib = box->memory_mib};

    if (box->id[0])
        return 0;
    if (bl_box_create(box->core, &options, -1, box->id, err) == 0)
        return 0;
    box->id[0] = '\0';
    return -1;
}

/* make_result() - Return: NULL when memory ran out */
static CBoxliteExecResult *make_result(struct capture *capture)
{
    CBoxliteExecResult *result = calloc(1, sizeof *result);

    if (!result)
        return NULL;
    result->exit_code = capture->exit.code;
    result->stdout_text =
        bl_format("%.*s", (int)capture->out.length, capture->out.length ? (char *)bl_buffer_data(&capture->out) : "");
    result->stderr_text =
        bl_format("%.*s", (int)capture->err.length, capture->err.length ? (char *)bl_buffer_data(&capture->err) : "");
    if (result->stdout_text && result->stderr_text)
        return result;
    boxlite_result_free(result);
    return NULL;
}

/* run() - One command, its output captured. Return: 0; -1 with *@err */
static int run(CBoxliteSimple *box, const struct bl_open *open, struct capture *capture, struct bl_error *err)
{
    struct bl_session *session = NULL;

    if (ensure_box(box, err) < 0 || bl_session_exec(box->core, box->id, open, &capture_events, capture, &session, err) < 0)
        return -1;

    int failed = pump(session, err);

    bl_session_free(session);
    if (failed)
        return -1;
    if (capture->exit.error[0])
        return bl_fail(err, BL_EXECUTION, 0, "%s", capture->exit.error);
    if (capture->overflow)
        return bl_fail(err, BL_RESOURCE_EXHAUSTED, 0, "the command printed more than %u MiB: use executions for that",
                       OUTPUT_MAX >> 20);
    return 0;
}

enum BoxliteErrorCode boxlite_simple_run(CBoxliteSimple *box_runner, const char *command, const char *const *args, int argc,
                                         CBoxliteExecResult **out_result, CBoxliteError *out_error)
{
    struct capture capture = {.out = BL_BUFFER_INIT(OUTPUT_MAX), .err = BL_BUFFER_INIT(OUTPUT_MAX)};
    struct bl_open open = {.kind = BL_OPEN_EXEC};
    struct bl_error err = BL_ERROR_INIT;

    if (out_result)
        *out_result = NULL;
    if (!box_runner || !command || !*command || !out_result || argc < 0 || (argc > 0 && !args))
        return bl_capi_reject(out_error, BL_INVALID_ARGUMENT, "box, command, args or out_result is NULL, or argc negative");

    if (box_runner->owner != getpid())
        return bl_capi_reject(out_error, BL_INVALID_STATE, "the box belongs to process %d", (int)box_runner->owner);

    int failed = bl_strings_append(&open.args, command);

    for (int i = 0; !failed && i < argc; i++)
        failed = bl_strings_append(&open.args, args[i] ? args[i] : "");
    if (failed)
        bl_fail_memory(&err);
    else
        failed = run(box_runner, &open, &capture, &err);
    if (!failed && !(*out_result = make_result(&capture)))
        failed = bl_fail_memory(&err);
    bl_open_free(&open);
    bl_buffer_free(&capture.out);
    bl_buffer_free(&capture.err);
    return failed ? bl_capi_report(out_error, &err) : bl_capi_ok(out_error);
}

void boxlite_simple_free(CBoxliteSimple *box_runner)
{
    if (!box_runner || box_runner->owner != getpid())
        return;
    if (box_runner->id[0])
        bl_box_remove(box_runner->core, box_runner->id, true, NULL);
    bl_capi_close_core(box_runner->core);
    free(box_runner->image);
    free(box_runner);
}

void boxlite_result_free(CBoxliteExecResult *result)
{
    if (!result)
        return;
    free(result->stdout_text);
    free(result->stderr_text);
    free(result);
}
