/* SPDX-License-Identifier: Apache-2.0 */
/*
 * machines.c - scenarios of the public API on real virtual machines
 *
 *     machines --list        names, one a line
 *     machines NAME          run one, in the home that BOXLITE_HOME names; 0: it held, 1: the line says what did not
 *
 * Only <boxlite.h> is used, as any program would. Nothing here depends on how long something takes: waits are drains without an
 * end, and whoever runs this sets a limit.
 */
#include <boxlite.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHECK(condition)                                                                                                           \
    do {                                                                                                                           \
        if (!(condition)) {                                                                                                        \
            fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition);                                         \
            exit(1);                                                                                                               \
        }                                                                                                                          \
    } while (0)

static CBoxliteRuntime *runtime;
static CBoxliteError error;

/* ok() - A call was queued; else say what it said. */
static void ok(enum BoxliteErrorCode code, const char *what)
{
    if (code == BOXLITE_OK)
        return;
    fprintf(stderr, "%s: %s\n", what, error.message ? error.message : "?");
    exit(1);
}

#define OK(call) ok(call, #call)

/* What one operation or execution brought; the callbacks below fill it. */
struct result {
    int done;
    enum BoxliteErrorCode code;
    char message[512];
    CBoxHandle *box;
    bool created;
    CBoxInfo *info;
    CBoxInfoList *list;
    CBoxMetrics metrics;
    CRuntimeMetrics runtime_metrics;
    CImageInfoList *images;
    CImageDetail *detail;
    char *out, *err;
    size_t out_length, err_length, out_seen, out_stop;
    int exit_code;
};

static void finish(struct result *result, const CBoxliteError *failure)
{
    result->code = failure ? failure->code : BOXLITE_OK;
    snprintf(result->message, sizeof result->message, "%s", failure && failure->message ? failure->message : "");
    result->done++;
}

static void on_box(CBoxHandle *box, CBoxliteError *failure, void *data)
{
    ((struct result *)data)->box = box;
    finish(data, failure);
}

static void on_made(CBoxHandle *box, bool created, CBoxliteError *failure, void *data)
{
    ((struct result *)data)->created = created;
    on_box(box, failure, data);
}

static void on_done(CBoxliteError *failure, void *data)
{
    finish(data, failure);
}

static void on_info(CBoxInfo *info, CBoxliteError *failure, void *data)
{
    ((struct result *)data)->info = info;
    finish(data, failure);
}

static void on_list(CBoxInfoList *list, CBoxliteError *failure, void *data)
{
    ((struct result *)data)->list = list;
    finish(data, failure);
}

static void on_metrics(CBoxMetrics *metrics, CBoxliteError *failure, void *data)
{
    if (metrics)
        ((struct result *)data)->metrics = *metrics;
    finish(data, failure);
}

static void on_runtime_metrics(CRuntimeMetrics *metrics, CBoxliteError *failure, void *data)
{
    if (metrics)
        ((struct result *)data)->runtime_metrics = *metrics;
    finish(data, failure);
}

static void on_images(CImageInfoList *list, CBoxliteError *failure, void *data)
{
    ((struct result *)data)->images = list;
    finish(data, failure);
}

static void on_detail(CImageDetail *detail, CBoxliteError *failure, void *data)
{
    ((struct result *)data)->detail = detail;
    finish(data, failure);
}

static void append(char **text, size_t *length, const uint8_t *data, size_t more)
{
    *text = realloc(*text, *length + more + 1);
    CHECK(*text);
    memcpy(*text + *length, data, more);
    *length += more;
    (*text)[*length] = '\0';
}

static void on_out(const uint8_t *data, size_t length, void *user)
{
    struct result *result = user;

    append(&result->out, &result->out_length, data, length);
}

static void on_err(const uint8_t *data, size_t length, void *user)
{
    struct result *result = user;

    append(&result->err, &result->err_length, data, length);
}

static void on_exit_code(int code, void *user)
{
    struct result *result = user;

    result->exit_code = code;
    result->done++;
}

static void on_wait(int code, CBoxliteError *failure, void *user)
{
    ((struct result *)user)->exit_code = code;
    finish(user, failure);
}

static void drain_until(const int *counter, int wanted)
{
    while (*counter < wanted)
        CHECK(boxlite_runtime_drain(runtime, -1, &error) >= 0);
}

static void clear(struct result *result)
{
    boxlite_box_free(result->box);
    boxlite_free_box_info(result->info);
    boxlite_free_box_info_list(result->list);
    boxlite_free_image_info_list(result->images);
    boxlite_free_image_detail(result->detail);
    free(result->out);
    free(result->err);
    *result = (struct result){0};
}

static CBoxliteOptions *options_for(const char *name)
{
    CBoxliteOptions *options = NULL;

    OK(boxlite_options_new("busybox", &options, &error));
    boxlite_options_set_memory(options, 192);
    boxlite_options_set_auto_remove(options, 0);
    if (name)
        boxlite_options_set_name(options, name);
    return options;
}

/* make_box() - An idle box; its handle is the caller's. */
static CBoxHandle *make_box(const char *name)
{
    struct result result = {0};

    OK(boxlite_create_box(runtime, options_for(name), on_box, &result, &error));
    drain_until(&result.done, 1);
    if (result.code != BOXLITE_OK)
        fprintf(stderr, "create: %s\n", result.message);
    CHECK(result.box);
    return result.box;
}

static void remove_box(CBoxHandle *box)
{
    struct result result = {0};
    char *id = boxlite_box_id(box);

    OK(boxlite_remove(runtime, id, 1, on_done, &result, &error));
    drain_until(&result.done, 1);
    if (result.code != BOXLITE_OK)
        fprintf(stderr, "remove: %s\n", result.message);
    CHECK(result.code == BOXLITE_OK);
    boxlite_free_string(id);
    boxlite_box_free(box);
}

/* begin() - Run a command with all callbacks set. */
static CExecutionHandle *begin(CBoxHandle *box, const BoxliteCommand *command, struct result *result)
{
    CExecutionHandle *execution = NULL;

    OK(boxlite_box_exec(box, command, &execution, &error));
    OK(boxlite_execution_on_stdout(execution, on_out, result, &error));
    OK(boxlite_execution_on_stderr(execution, on_err, result, &error));
    OK(boxlite_execution_on_exit(execution, on_exit_code, result, &error));
    return execution;
}

/* run() - A command to its end. */
static void run(CBoxHandle *box, BoxliteCommand command, struct result *result)
{
    *result = (struct result){0};

    CExecutionHandle *execution = begin(box, &command, result);

    drain_until(&result->done, 1);
    boxlite_execution_free(execution);
}

static BoxliteCommand shell(const char *const *args)
{
    return (BoxliteCommand){.command = "sh", .args = args, .argc = 2};
}

#define SHELL(text) shell((const char *const[]){"-c", text})

/* info_of() - The caller frees it. */
static CBoxInfo *info_of(const char *name)
{
    struct result result = {0};

    OK(boxlite_get_info(runtime, name, on_info, &result, &error));
    drain_until(&result.done, 1);
    CHECK(result.info);
    return result.info;
}

/* ---- Scenarios ---- */

static void lifecycle(void)
{
    struct result result = {0};
    CBoxHandle *box = make_box("life");
    CBoxInfo *info = info_of("life");

    CHECK(strlen(info->id) == 12 && strcmp(info->status, "configured") == 0 && !info->running && !info->pid && !info->exit_code);
    CHECK(strcmp(info->image, "busybox:latest") == 0 && info->memory_mib == 192 && info->cpus == 1 && info->created_at > 0);
    boxlite_free_box_info(info);
    OK(boxlite_start_box(box, on_done, &result, &error));
    drain_until(&result.done, 1);
    if (result.code != BOXLITE_OK)
        fprintf(stderr, "start: %s\n", result.message);
    CHECK(result.code == BOXLITE_OK);
    info = info_of("life");
    CHECK(info->running && info->pid > 0 && kill(info->pid, 0) == 0 && info->started_at > 0);
    boxlite_free_box_info(info);
    clear(&result);
    run(box, SHELL("echo kept > /root/kept"), &result);
    CHECK(result.exit_code == 0);
    clear(&result);
    for (int i = 0; i < 2; i++) { /* idempotent */
        OK(boxlite_stop_box(box, on_done, &result, &error));
        drain_until(&result.done, 1);
        CHECK(result.code == BOXLITE_OK);
        clear(&result);
    }
    info = info_of("life");
    CHECK(strcmp(info->status, "stopped") == 0 && !info->running && !info->pid);
    boxlite_free_box_info(info);
    run(box, SHELL("cat /root/kept"), &result); /* starts it again */
    CHECK(result.exit_code == 0 && strcmp(result.out, "kept\n") == 0);
    clear(&result);

    /* A running box is only removed by force. */
    char *id = boxlite_box_id(box);

    OK(boxlite_remove(runtime, id, 0, on_done, &result, &error));
    drain_until(&result.done, 1);
    CHECK(result.code == BOXLITE_INVALID_STATE);
    clear(&result);
    remove_box(box);
    OK(boxlite_get(runtime, id, on_box, &result, &error));
    drain_until(&result.done, 1);
    CHECK(result.code == BOXLITE_NOT_FOUND && !result.box);
    boxlite_free_string(id);
}

static void lookups(void)
{
    struct result result = {0};
    CBoxHandle *one = make_box("one"), *two = make_box(NULL);
    char *id = boxlite_box_id(two), prefix[9] = "";

    memcpy(prefix, id, 8);
    const char *const names[] = {"one", id, prefix};

    for (size_t i = 0; i < 3; i++) {
        OK(boxlite_get(runtime, names[i], on_box, &result, &error));
        drain_until(&result.done, 1);
        CHECK(result.code == BOXLITE_OK);

        char *found = boxlite_box_id(result.box);

        CHECK((strcmp(found, id) == 0) == (i > 0));
        boxlite_free_string(found);
        clear(&result);
    }
    OK(boxlite_list_info(runtime, on_list, &result, &error));
    drain_until(&result.done, 1);
    CHECK(result.list && result.list->count == 2);
    CHECK(strcmp(result.list->items[0].id, id) == 0 && strcmp(result.list->items[1].name, "one") == 0); /* newest first */
    clear(&result);

    CBoxliteOptions *again = options_for("one");

    OK(boxlite_create_box(runtime, again, on_box, &result, &error));
    drain_until(&result.done, 1);
    CHECK(result.code == BOXLITE_ALREADY_EXISTS);
    clear(&result);
    OK(boxlite_get_or_create_box(runtime, options_for("one"), on_made, &result, &error));
    drain_until(&result.done, 1);
    CHECK(result.code == BOXLITE_OK && !result.created);
    clear(&result);
    boxlite_free_string(id);
    remove_box(one);
    remove_box(two);
}

static void streams(void)
{
    struct result result;
    CBoxHandle *box = make_box("streams");

    run(box, SHELL("echo out; echo err >&2; exit 3"), &result);
    CHECK(result.exit_code == 3 && strcmp(result.out, "out\n") == 0 && strcmp(result.err, "err\n") == 0);
    clear(&result);
    run(box, SHELL("i=0; while [ $i -lt 100 ]; do echo line $i; i=$((i+1)); done"), &result);

    char expected[100 * 9] = "";
    size_t length = 0;

    for (int i = 0; i < 100; i++)
        length += (size_t)snprintf(expected + length, sizeof expected - length, "line %d\n", i);
    CHECK(result.exit_code == 0 && strcmp(result.out, expected) == 0 && !result.err);
    clear(&result);
    /* No callback at all: the output is thrown away and the end is still told. */
    CExecutionHandle *execution = NULL;
    BoxliteCommand quiet = SHELL("head -c 1000000 /dev/zero; exit 9");

    OK(boxlite_box_exec(box, &quiet, &execution, &error));
    OK(boxlite_execution_wait(execution, on_wait, &result, &error));
    drain_until(&result.done, 1);
    CHECK(result.code == BOXLITE_OK && result.exit_code == 9);
    /* The end is told to who asks late, too. */
    OK(boxlite_execution_on_exit(execution, on_exit_code, &result, &error));
    OK(boxlite_execution_wait(execution, on_wait, &result, &error));
    drain_until(&result.done, 3);
    CHECK(result.exit_code == 9);
    boxlite_execution_free(execution);
    remove_box(box);
}

static void on_count(const uint8_t *data, size_t length, void *user)
{
    struct result *result = user;

    for (size_t i = 0; i < length; i++)
        CHECK(data[i] == 'y' || data[i] == '\n');
    result->out_seen += length;
    /* A slow consumer: now and then a pause in which nothing is drained. */
    if (result->out_seen > result->out_stop) {
        result->out_stop += 10u << 20;
        poll(NULL, 0, 20);
    }
}

static void hundred_megabytes(void)
{
    struct result result = {0};
    CBoxHandle *box = make_box("large");
    CExecutionHandle *execution = NULL;
    BoxliteCommand command = SHELL("yes | head -c 104857600");

    OK(boxlite_box_exec(box, &command, &execution, &error));
    OK(boxlite_execution_on_stdout(execution, on_count, &result, &error));
    OK(boxlite_execution_on_exit(execution, on_exit_code, &result, &error));
    drain_until(&result.done, 1);
    CHECK(result.exit_code == 0 && result.out_seen == 104857600);
    boxlite_execution_free(execution);
    remove_box(box);
}

static void input(void)
{
    struct result result = {0};
    CBoxHandle *box = make_box("input");
    CExecutionHandle *execution = begin(box, &(BoxliteCommand){.command = "cat"}, &result);
    enum { LENGTH = 3 << 20 };
    uint8_t *bytes = malloc(LENGTH);

    for (size_t i = 0; i < LENGTH; i++)
        bytes[i] = (uint8_t)(i * 2654435761u >> 13);
    for (size_t at = 0; at < LENGTH; at += 1 << 20)
        OK(boxlite_execution_stdin_write(execution, bytes + at, 1 << 20, &error));
    OK(boxlite_execution_stdin_close(execution, &error));
    OK(boxlite_execution_stdin_close(execution, &error));
    CHECK(boxlite_execution_stdin_write(execution, bytes, 1, &error) == BOXLITE_INVALID_STATE);
    boxlite_error_free(&error);
    drain_until(&result.done, 1);
    CHECK(result.exit_code == 0 && result.out_length == LENGTH && memcmp(result.out, bytes, LENGTH) == 0);
    CHECK(boxlite_execution_stdin_pending(execution) == 0);
    free(bytes);
    boxlite_execution_free(execution);
    clear(&result);
    remove_box(box);
}

static void terminal(void)
{
    struct result result = {0}, resized = {0};
    CBoxHandle *box = make_box("terminal");
    BoxliteCommand command = SHELL("read go; tty; stty size");

    command.tty = 1;

    CExecutionHandle *execution = begin(box, &command, &result);

    OK(boxlite_execution_tty_resize(execution, 33, 77, on_done, &resized, &error));
    drain_until(&resized.done, 1);
    CHECK(resized.code == BOXLITE_OK);
    OK(boxlite_execution_stdin_write(execution, (const uint8_t *)"go\n", 3, &error));
    drain_until(&result.done, 1);
    CHECK(result.exit_code == 0 && strstr(result.out, "/dev/pts/") && strstr(result.out, "33 77") && !result.err);
    boxlite_execution_free(execution);
    clear(&result);
    remove_box(box);
}

static void how_commands_run(void)
{
    struct result result;
    CBoxHandle *box = make_box("how");
    const char *const pairs[] = {"FOO", "bar baz", "EMPTY", "", "odd"};
    BoxliteCommand command = SHELL("echo $PWD:$FOO:${EMPTY-unset}:$(id -un)");

    command.workdir = "/tmp";
    command.user = "nobody";
    command.env_pairs = pairs;
    command.env_count = 5;
    run(box, command, &result);
    CHECK(result.exit_code == 0 && strcmp(result.out, "/tmp:bar baz::nobody\n") == 0);
    clear(&result);
    /* A limit in time kills the whole group, and does not wait for who holds the pipes. */
    command = SHELL("sleep 1000 & sleep 1000");
    command.timeout_secs = 0.5;
    run(box, command, &result);
    CHECK(result.exit_code == 137);
    clear(&result);
    run(box, SHELL("pgrep sleep || echo none"), &result);
    CHECK(strcmp(result.out, "none\n") == 0);
    clear(&result);
    run(box, (BoxliteCommand){.command = "no-such-program"}, &result);
    CHECK(result.exit_code == 127);
    clear(&result);
    run(box, (BoxliteCommand){.command = "/etc/passwd"}, &result);
    CHECK(result.exit_code == 126);
    clear(&result);
    remove_box(box);
}

static void signals(void)
{
    struct result result = {0}, told = {0};
    CBoxHandle *box = make_box("signals");
    BoxliteCommand command = SHELL("trap 'echo caught; exit 5' TERM; echo ready; while :; do sleep 0.1; done");
    CExecutionHandle *execution = begin(box, &command, &result);

    while (!result.out || !strstr(result.out, "ready"))
        CHECK(boxlite_runtime_drain(runtime, -1, &error) >= 0);
    OK(boxlite_execution_signal(execution, SIGTERM, on_done, &told, &error));
    drain_until(&result.done, 1);
    CHECK(result.exit_code == 5 && strstr(result.out, "caught"));
    boxlite_execution_free(execution);
    clear(&result);
    execution = begin(box, &(BoxliteCommand){.command = "cat"}, &result);
    OK(boxlite_execution_kill(execution, on_done, &told, &error));
    drain_until(&result.done, 1);
    CHECK(result.exit_code == 137);
    /* Too late is told. */
    drain_until(&told.done, 2);
    OK(boxlite_execution_signal(execution, SIGTERM, on_done, &told, &error));
    drain_until(&told.done, 3);
    CHECK(told.code == BOXLITE_INVALID_STATE);
    boxlite_execution_free(execution);
    clear(&result);
    remove_box(box);
}

static void write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");

    CHECK(file && fputs(text, file) >= 0 && fclose(file) == 0);
}

static void copies(void)
{
    struct result result = {0};
    CBoxHandle *box = make_box("copies");
    char place[] = "/tmp/bl-capi-copy-XXXXXX", from[64], to[64], text[32] = "";

    CHECK(mkdtemp(place));
    snprintf(from, sizeof from, "%s/from", place);
    snprintf(to, sizeof to, "%s/to", place);
    write_file(from, "copied\n");
    OK(boxlite_copy_into(box, from, "/root/there", on_done, &result, &error));
    drain_until(&result.done, 1);
    if (result.code != BOXLITE_OK)
        fprintf(stderr, "copy in: %s\n", result.message);
    CHECK(result.code == BOXLITE_OK);
    clear(&result);
    OK(boxlite_copy_out(box, "/root/there", to, on_done, &result, &error));
    drain_until(&result.done, 1);
    CHECK(result.code == BOXLITE_OK);

    FILE *file = fopen(to, "r");

    CHECK(file && fgets(text, sizeof text, file) && strcmp(text, "copied\n") == 0);
    fclose(file);
    clear(&result);
    OK(boxlite_copy_out(box, "/root/missing", to, on_done, &result, &error));
    drain_until(&result.done, 1);
    CHECK(result.code != BOXLITE_OK && result.message[0]);
    clear(&result);
    unlink(from);
    unlink(to);
    rmdir(place);
    remove_box(box);
}

static void copy_streams(void)
{
    struct result result = {0};
    CBoxHandle *box = make_box("tars");
    uint8_t *tar = NULL;
    size_t length = 0, got = 0;
    int32_t kind = -1;

    run(box, SHELL("mkdir -p /root/d/sub && echo deep > /root/d/sub/file"), &result);
    CHECK(result.exit_code == 0);
    clear(&result);

    CBoxCopyOutStream *out = boxlite_copy_out_start(box, "/root/d", &kind, &error);

    if (!out)
        fprintf(stderr, "copy out: %s\n", error.message);
    CHECK(out && kind == BoxliteCopySourceKindDir);
    do {
        tar = realloc(tar, length + 65536);
        OK(boxlite_copy_out_read(out, tar + length, 65536, &got, &error));
        length += got;
    } while (got);
    OK(boxlite_copy_out_read(out, tar, 1, &got, &error));
    CHECK(got == 0 && length > 0);
    boxlite_copy_out_free(out);

    CBoxCopyInStream *in = boxlite_copy_in_start(box, "/tmp", BoxliteCopySourceKindDir, on_done, &result, &error);

    CHECK(in);
    OK(boxlite_copy_in_write(in, tar, length, &error));
    OK(boxlite_copy_in_close(in, &error));
    OK(boxlite_copy_in_close(in, &error));
    CHECK(boxlite_copy_in_abort(in, &error) == BOXLITE_INVALID_STATE);
    boxlite_error_free(&error);
    drain_until(&result.done, 1);
    if (result.code != BOXLITE_OK)
        fprintf(stderr, "copy in: %s\n", result.message);
    CHECK(result.code == BOXLITE_OK);
    boxlite_copy_in_free(in);
    free(tar);
    clear(&result);
    run(box, SHELL("cat /tmp/d/sub/file"), &result);
    CHECK(result.exit_code == 0 && strcmp(result.out, "deep\n") == 0);
    clear(&result);
    remove_box(box);
}

static void numbers(void)
{
    struct result result = {0};
    CBoxHandle *box = make_box("numbers");

    run(box, SHELL("head -c 100000 /dev/zero"), &result);
    CHECK(result.exit_code == 0 && result.out_length == 100000);
    clear(&result);
    OK(boxlite_box_metrics(box, on_metrics, &result, &error));
    drain_until(&result.done, 1);
    if (result.code != BOXLITE_OK)
        fprintf(stderr, "metrics: %s\n", result.message);
    CHECK(result.code == BOXLITE_OK);
    CHECK(result.metrics.commands_executed == 1 && result.metrics.exec_errors == 0);
    CHECK(result.metrics.bytes_received >= 100000 && result.metrics.boot_duration_ms > 0);
    CHECK(result.metrics.memory_bytes > (1 << 20) && result.metrics.cpu_percent > 0);
    clear(&result);
    OK(boxlite_runtime_metrics(runtime, on_runtime_metrics, &result, &error));
    drain_until(&result.done, 1);
    CHECK(result.runtime_metrics.boxes_created_total == 1 && result.runtime_metrics.num_running_boxes == 1);
    CHECK(result.runtime_metrics.total_commands_executed == 1 && result.runtime_metrics.total_exec_errors == 0);
    clear(&result);
    remove_box(box);
}

static void images(void)
{
    struct result result = {0};
    CBoxliteImageHandle *handle = NULL;

    OK(boxlite_runtime_images(runtime, &handle, &error));
    OK(boxlite_image_get(handle, "busybox", on_detail, &result, &error));
    drain_until(&result.done, 1);
    bool had = result.code == BOXLITE_OK;
    clear(&result);
    remove_box(make_box("image")); /* loads the image that is built in */
    OK(boxlite_image_list(handle, on_images, &result, &error));
    drain_until(&result.done, 1);
    CHECK(result.images && result.images->count == 1 && strcmp(result.images->items[0].repository, "busybox") == 0);
    CHECK(strncmp(result.images->items[0].id, "sha256:", 7) == 0 && result.images->items[0].size > 0);
    clear(&result);
    OK(boxlite_image_get(handle, "busybox", on_detail, &result, &error));
    drain_until(&result.done, 1);
    CHECK(result.detail && result.detail->tags_count == 1 && strcmp(result.detail->tags[0], "latest") == 0);
    clear(&result);
    if (!had) {
        OK(boxlite_image_remove(handle, "busybox", on_done, &result, &error));
        drain_until(&result.done, 1);
        CHECK(result.code == BOXLITE_OK);
        clear(&result);
        OK(boxlite_image_remove(handle, "busybox", on_done, &result, &error));
        drain_until(&result.done, 1);
        CHECK(result.code == BOXLITE_NOT_FOUND && strstr(result.message, "busybox"));
        clear(&result);
    }
    boxlite_image_free(handle);
}

/* ---- Crowds ---- */

static void three_boxes(void)
{
    CBoxHandle *boxes[3];
    struct result results[3] = {0};
    CExecutionHandle *executions[3];

    for (int i = 0; i < 3; i++)
        boxes[i] = make_box(NULL);
    for (int i = 0; i < 3; i++)
        executions[i] = begin(boxes[i], &(BoxliteCommand){.command = "hostname"}, &results[i]);
    for (int i = 0; i < 3; i++) {
        drain_until(&results[i].done, 1);
        CHECK(results[i].exit_code == 0 && strcmp(results[i].out, "boxlite\n") == 0);
        boxlite_execution_free(executions[i]);
        clear(&results[i]);
        remove_box(boxes[i]);
    }
}

static void sixty_four_execs(void)
{
    enum { CROWD = 64 };
    CBoxHandle *box = make_box("crowd");
    struct result results[CROWD] = {0};
    CExecutionHandle *executions[CROWD];
    char commands[CROWD][96];

    for (int i = 0; i < CROWD; i++) {
        snprintf(commands[i], sizeof commands[i], "head -c %d /dev/zero | tr '\\0' x; echo %d >&2; exit %d", 1000 + i * 313, i, i);
        executions[i] = begin(box, &(BoxliteCommand){.command = "sh", .args = (const char *const[]){"-c", commands[i]}, .argc = 2},
                              &results[i]);
    }
    for (int i = 0; i < CROWD; i++) {
        char number[16];

        drain_until(&results[i].done, 1);
        snprintf(number, sizeof number, "%d\n", i);
        CHECK(results[i].exit_code == i && results[i].out_length == (size_t)(1000 + i * 313));
        CHECK(strspn(results[i].out, "x") == results[i].out_length && strcmp(results[i].err, number) == 0);
        boxlite_execution_free(executions[i]);
        clear(&results[i]);
    }
    remove_box(box);
}

/* threads_now() - How many this process has. */
static int threads_now(void)
{
    char line[128];
    int threads = 0;
    FILE *status = fopen("/proc/self/status", "r");

    while (status && fgets(line, sizeof line, status))
        sscanf(line, "Threads: %d", &threads);
    if (status)
        fclose(status);
    return threads;
}

static void waiting_costs_no_thread(void)
{
    enum { CROWD = 100 };
    CBoxHandle *box = make_box("waiting");
    struct result results[CROWD] = {0};
    CExecutionHandle *executions[CROWD];

    for (int i = 0; i < CROWD; i++)
        executions[i] = begin(box, &(BoxliteCommand){.command = "cat"}, &results[i]);
    /* Each has answered a line, so each runs and waits. */
    for (int i = 0; i < CROWD; i++) {
        OK(boxlite_execution_stdin_write(executions[i], (const uint8_t *)"x", 1, &error));
        while (!results[i].out_length)
            CHECK(boxlite_runtime_drain(runtime, -1, &error) >= 0);
    }
    CHECK(threads_now() < 20);
    for (int i = 0; i < CROWD; i++)
        OK(boxlite_execution_stdin_close(executions[i], &error));
    for (int i = 0; i < CROWD; i++) {
        drain_until(&results[i].done, 1);
        CHECK(results[i].exit_code == 0);
        boxlite_execution_free(executions[i]);
        clear(&results[i]);
    }
    remove_box(box);
}

static atomic_int races_won;

/* race_once() - Get or create in a runtime of one's own. */
static void race_once(void)
{
    CBoxliteRuntime *own = NULL;
    CBoxliteError failure = {BOXLITE_OK, NULL};
    struct result result = {0};
    CBoxliteOptions *options = NULL;

    CHECK(boxlite_runtime_new(NULL, NULL, 0, &own, &failure) == BOXLITE_OK);
    CHECK(boxlite_options_new("busybox", &options, &failure) == BOXLITE_OK);
    boxlite_options_set_name(options, "raced");
    boxlite_options_set_auto_remove(options, 0);
    CHECK(boxlite_get_or_create_box(own, options, on_made, &result, &failure) == BOXLITE_OK);
    while (!result.done)
        CHECK(boxlite_runtime_drain(own, -1, &failure) >= 0);
    if (result.code != BOXLITE_OK)
        fprintf(stderr, "race: %s\n", result.message);
    CHECK(result.code == BOXLITE_OK && result.box);
    if (result.created)
        atomic_fetch_add(&races_won, 1);
    clear(&result);
    boxlite_runtime_free(own);
}

static void *race_thread(void *data)
{
    (void)data;
    race_once();
    return NULL;
}

static void raced_creation(void)
{
    pid_t children[4];
    pthread_t threads[8];
    int created = 0;

    /* The children come first: a process that has used the library must not be forked to use it again. */
    boxlite_runtime_free(runtime);
    runtime = NULL;
    for (int i = 0; i < 4; i++) {
        children[i] = fork();
        if (children[i] == 0) {
            execl("/proc/self/exe", "machines", "--race", NULL);
            _exit(99);
        }
    }
    for (int i = 0; i < 8; i++)
        CHECK(pthread_create(&threads[i], NULL, race_thread, NULL) == 0);
    for (int i = 0; i < 8; i++)
        pthread_join(threads[i], NULL);
    created = atomic_load(&races_won);
    for (int i = 0; i < 4; i++) {
        int status = 0;

        CHECK(waitpid(children[i], &status, 0) == children[i] && WIFEXITED(status) && WEXITSTATUS(status) < 2);
        created += WEXITSTATUS(status);
    }
    CHECK(created == 1);
    OK(boxlite_runtime_new(NULL, NULL, 0, &runtime, &error));

    struct result result = {0};

    OK(boxlite_list_info(runtime, on_list, &result, &error));
    drain_until(&result.done, 1);
    CHECK(result.list->count == 1);
    clear(&result);
    OK(boxlite_remove(runtime, "raced", 1, on_done, &result, &error));
    drain_until(&result.done, 1);
    CHECK(result.code == BOXLITE_OK);
}

/* ---- Ends ---- */

/* gone() - No process of that pid is left (ours would be a zombie until the library has reaped it, which it has). */
static bool gone(int pid)
{
    return kill(pid, 0) < 0 && errno == ESRCH;
}

static void shutdown_stops_attached_boxes(void)
{
    struct result result = {0};
    CBoxHandle *box = make_box("attached");
    CBoxliteOptions *options = options_for("detached");

    boxlite_options_set_detach(options, 1);
    OK(boxlite_create_box(runtime, options, on_box, &result, &error));
    drain_until(&result.done, 1);

    CBoxHandle *detached = result.box;

    result = (struct result){0};
    OK(boxlite_start_box(box, on_done, &result, &error));
    OK(boxlite_start_box(detached, on_done, &result, &error));
    drain_until(&result.done, 2);

    CBoxInfo *ends = info_of("attached"), *stays = info_of("detached");

    CHECK(ends->running && stays->running);
    clear(&result);
    OK(boxlite_runtime_shutdown(runtime, 0, on_done, &result, &error));
    drain_until(&result.done, 1);
    CHECK(result.code == BOXLITE_OK);
    CHECK(gone(ends->pid) && !gone(stays->pid));
    boxlite_free_box_info(ends);
    boxlite_box_free(box);
    boxlite_box_free(detached);
    boxlite_runtime_free(runtime);
    /* The detached one is found again, with the same process. */
    OK(boxlite_runtime_new(NULL, NULL, 0, &runtime, &error));

    CBoxInfo *found = info_of("detached");

    CHECK(found->running && found->pid == stays->pid);
    boxlite_free_box_info(found);
    boxlite_free_box_info(stays);
    clear(&result);
    OK(boxlite_remove(runtime, "detached", 1, on_done, &result, &error));
    OK(boxlite_remove(runtime, "attached", 1, on_done, &result, &error));
    drain_until(&result.done, 2);
    CHECK(result.code == BOXLITE_OK);
}

static void free_with_everything_under_way(void)
{
    struct result result = {0}, waiting = {0};
    CBoxHandle *box = make_box("busy");
    CExecutionHandle *execution = begin(box, &(BoxliteCommand){.command = "cat"}, &waiting);
    CBoxInfo *info;

    OK(boxlite_execution_stdin_write(execution, (const uint8_t *)"x", 1, &error));
    while (!waiting.out_length)
        CHECK(boxlite_runtime_drain(runtime, -1, &error) >= 0);
    info = info_of("busy");
    OK(boxlite_execution_wait(execution, on_wait, &result, &error));
    OK(boxlite_copy_out(box, "/bin", "/tmp/bl-capi-never-here", on_done, &result, &error));
    OK(boxlite_create_box(runtime, options_for(NULL), on_box, &result, &error));
    boxlite_runtime_free(runtime);
    CHECK(gone(info->pid)); /* free without shutdown stops what is attached */
    /* Handles outlive it, answer plainly, and can be freed. */
    CHECK(boxlite_execution_stdin_write(execution, (const uint8_t *)"x", 1, &error) != BOXLITE_OK);
    boxlite_error_free(&error);
    boxlite_execution_free(execution);
    boxlite_box_free(box);
    boxlite_free_box_info(info);
    clear(&waiting);
    OK(boxlite_runtime_new(NULL, NULL, 0, &runtime, &error));
}

static void free_in_a_callback(CBoxliteError *failure, void *data)
{
    finish(data, failure);
    boxlite_runtime_free(runtime);
    runtime = NULL;
}

static void freed_in_a_callback(void)
{
    struct result result = {0};
    CBoxHandle *box = make_box("callback");

    OK(boxlite_start_box(box, free_in_a_callback, &result, &error));
    while (!result.done)
        CHECK(boxlite_runtime_drain(runtime, -1, &error) >= 0);
    CHECK(result.code == BOXLITE_OK);
    boxlite_box_free(box);
    OK(boxlite_runtime_new(NULL, NULL, 0, &runtime, &error));
}

static sem_t draining, freed;

/* on_listed() - Still inside drain() while another thread frees the runtime. */
static void on_listed(CBoxInfoList *list, CBoxliteError *failure, void *data)
{
    on_list(list, failure, data);
    sem_post(&draining);
    while (sem_wait(&freed) < 0)
        CHECK(errno == EINTR);
}

static void *drain_once(void *data)
{
    CBoxliteError failure = {BOXLITE_OK, NULL};

    CHECK(boxlite_runtime_drain(data, -1, &failure) == 1);
    return NULL;
}

static void freed_from_another_thread(void)
{
    pthread_t drainer;
    CBoxliteRuntime *own = NULL;
    struct result result = {0};

    OK(boxlite_runtime_new(NULL, NULL, 0, &own, &error));
    CHECK(sem_init(&draining, 0, 0) == 0 && sem_init(&freed, 0, 0) == 0);
    CHECK(pthread_create(&drainer, NULL, drain_once, own) == 0);
    OK(boxlite_list_info(own, on_listed, &result, &error));
    while (sem_wait(&draining) < 0)
        CHECK(errno == EINTR);
    boxlite_runtime_free(own);
    sem_post(&freed);
    pthread_join(drainer, NULL);
    clear(&result);
}

static void shim_dies(void)
{
    struct result result = {0}, waited = {0};
    CBoxHandle *box = make_box("dies");
    CExecutionHandle *execution = begin(box, &(BoxliteCommand){.command = "cat"}, &result);

    OK(boxlite_execution_stdin_write(execution, (const uint8_t *)"x", 1, &error));
    while (!result.out_length)
        CHECK(boxlite_runtime_drain(runtime, -1, &error) >= 0);

    CBoxInfo *info = info_of("dies");

    OK(boxlite_execution_wait(execution, on_wait, &waited, &error));
    CHECK(kill(info->pid, SIGKILL) == 0);
    drain_until(&result.done, 1);
    drain_until(&waited.done, 1);
    CHECK(result.exit_code == -1 && waited.exit_code == -1 && waited.code != BOXLITE_OK && waited.message[0]);
    boxlite_execution_free(execution);
    boxlite_free_box_info(info);
    info = info_of("dies");
    CHECK(!info->running && strcmp(info->status, "stopped") == 0 && info->exit_code && *info->exit_code == 137);
    boxlite_free_box_info(info);
    clear(&result);
    run(box, SHELL("echo alive again"), &result);
    CHECK(result.exit_code == 0);
    clear(&result);
    remove_box(box);
}

static void removed_by_another(void)
{
    struct result result = {0};
    CBoxHandle *box = make_box("taken");
    CExecutionHandle *execution = begin(box, &(BoxliteCommand){.command = "cat"}, &result);

    OK(boxlite_execution_stdin_write(execution, (const uint8_t *)"x", 1, &error));
    while (!result.out_length)
        CHECK(boxlite_runtime_drain(runtime, -1, &error) >= 0);

    pid_t child = fork();

    if (child == 0) {
        execl("/proc/self/exe", "machines", "--remove", "taken", NULL);
        _exit(99);
    }

    int status = 0;

    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    drain_until(&result.done, 1);
    boxlite_execution_free(execution);
    clear(&result);
    run(box, (BoxliteCommand){.command = "true"}, &result);
    CHECK(result.exit_code == -1);
    clear(&result);
    boxlite_box_free(box);
}

static void simple(void)
{
    CBoxliteSimple *box = NULL;
    CBoxliteExecResult *result = NULL;
    const char *const args[] = {"one", "two"};

    OK(boxlite_simple_new("busybox", 1, 192, &box, &error));
    OK(boxlite_simple_run(box, "echo", args, 2, &result, &error));
    CHECK(result->exit_code == 0 && strcmp(result->stdout_text, "one two\n") == 0 && !*result->stderr_text);
    boxlite_result_free(result);
    OK(boxlite_simple_run(box, "ls", (const char *const[]){"/nonexistent"}, 1, &result, &error));
    CHECK(result->exit_code != 0 && *result->stderr_text);
    boxlite_result_free(result);
    OK(boxlite_simple_run(box, "pwd", NULL, 0, &result, &error));
    CHECK(result->exit_code == 0 && strcmp(result->stdout_text, "/\n") == 0);
    boxlite_result_free(result);
    boxlite_simple_free(box);
}

static const struct {
    const char *name;
    void (*run)(void);
} scenarios[] = {
    {"lifecycle", lifecycle},
    {"lookups", lookups},
    {"streams", streams},
    {"hundred_megabytes", hundred_megabytes},
    {"input", input},
    {"terminal", terminal},
    {"how_commands_run", how_commands_run},
    {"signals", signals},
    {"copies", copies},
    {"copy_streams", copy_streams},
    {"numbers", numbers},
    {"images", images},
    {"three_boxes", three_boxes},
    {"sixty_four_execs", sixty_four_execs},
    {"waiting_costs_no_thread", waiting_costs_no_thread},
    {"raced_creation", raced_creation},
    {"shutdown_stops_attached_boxes", shutdown_stops_attached_boxes},
    {"free_with_everything_under_way", free_with_everything_under_way},
    {"freed_in_a_callback", freed_in_a_callback},
    {"freed_from_another_thread", freed_from_another_thread},
    {"shim_dies", shim_dies},
    {"removed_by_another", removed_by_another},
    {"simple", simple},
};

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--list") == 0) {
        for (size_t i = 0; i < sizeof scenarios / sizeof *scenarios; i++)
            puts(scenarios[i].name);
        return 0;
    }
    if (argc == 2 && strcmp(argv[1], "--race") == 0) {
        race_once();
        return atomic_load(&races_won);
    }
    if (argc < 2 || !getenv("BOXLITE_HOME")) {
        fprintf(stderr, "usage: BOXLITE_HOME=DIR machines NAME | --list\n");
        return 2;
    }
    OK(boxlite_runtime_new(NULL, NULL, 0, &runtime, &error));
    if (argc == 3 && strcmp(argv[1], "--remove") == 0) {
        struct result result = {0};

        OK(boxlite_remove(runtime, argv[2], 1, on_done, &result, &error));
        drain_until(&result.done, 1);
        boxlite_runtime_free(runtime);
        return result.code != BOXLITE_OK;
    }
    for (size_t i = 0; i < sizeof scenarios / sizeof *scenarios; i++) {
        if (strcmp(scenarios[i].name, argv[1]) != 0)
            continue;
        scenarios[i].run();
        boxlite_runtime_free(runtime);
        return 0;
    }
    fprintf(stderr, "there is no scenario '%s'\n", argv[1]);
    return 2;
}
