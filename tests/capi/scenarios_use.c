/* SPDX-License-Identifier: Apache-2.0 */
/* scenarios_use.c - boxes, executions, copies and images as a program uses them */
#include "machines.h"

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
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

void scenario_lifecycle(void)
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

void scenario_lookups(void)
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

void scenario_streams(void)
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
    CHECK(boxlite_execution_duration_us(execution) > 0);
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

void scenario_hundred_megabytes(void)
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

void scenario_input(void)
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

void scenario_terminal(void)
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

void scenario_how_commands_run(void)
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
    /* All were killed; the kernel in the box ends them in its own time. */
    run(box, SHELL("while pgrep sleep >/dev/null; do :; done; echo none"), &result);
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

void scenario_signals(void)
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

void scenario_copies(void)
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

void scenario_copy_streams(void)
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

void scenario_numbers(void)
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

void scenario_images(void)
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

/* make_with() - An idle box with advanced options, which are freed before it is made: they are copied. */
static CBoxHandle *make_with(const char *const *add, int adds, const char *const *drop, int drops, int security)
{
    struct result result = {0};
    CBoxliteOptions *options = options_for(NULL);
    CAdvancedBoxOptions *advanced = NULL;
    const char *const other[] = {"BPF", "KILL"};

    OK(boxlite_advanced_options_new(&advanced, &error));
    OK(boxlite_advanced_options_set_capabilities_add(advanced, other, 2)); /* replaced by the next */
    OK(boxlite_advanced_options_set_capabilities_add(advanced, add, adds));
    OK(boxlite_advanced_options_set_capabilities_drop(advanced, drop, drops));
    boxlite_advanced_options_set_security_enabled(advanced, security);
    boxlite_options_set_advanced(options, advanced);
    boxlite_advanced_options_free(advanced);
    OK(boxlite_create_box(runtime, options, on_box, &result, &error));
    drain_until(&result.done, 1);
    CHECK(result.box);
    return result.box;
}

void scenario_capabilities(void)
{
    static const char script[] =
        "while read key value; do [ $key = CapEff: ] && echo $value; done </proc/self/status; "
        ": >/tmp/f; chown 1 /tmp/f && echo owner; date -s 2030-01-01 >/dev/null 2>&1; [ $(date +%Y) = 2030 ] && echo clock";
    static const struct {
        const char *add[2], *drop[2];
        int adds, drops;
        const char *out;
    } rows[] = {
        {.out = "00000000a80425fb\nowner\n"},
        {.add = {"SYS_TIME"}, .adds = 1, .drop = {"cap_chown"}, .drops = 1, .out = "00000000aa0425fa\nclock\n"},
        {.drop = {"ALL"}, .drops = 1, .out = "0000000000000000\n"},
        {.add = {"ALL"}, .adds = 1, .drop = {"CHOWN", "KILL"}, .drops = 2, .out = "000001ffffffffde\nclock\n"},
    };
    struct result result = {0};

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        CBoxHandle *box = make_with(rows[i].add, rows[i].adds, rows[i].drop, rows[i].drops, i % 2 == 0);

        run(box, SHELL(script), &result);
        if (strcmp(result.out, rows[i].out) != 0)
            fprintf(stderr, "row %zu: %s%s\n", i, result.out, result.err ? result.err : "");
        CHECK(strcmp(result.out, rows[i].out) == 0);
        clear(&result);
        remove_box(box);
    }
}

/* A box that nobody uses stops by itself; how long it stays then takes the place of being removed at once. */
void scenario_deadlines(void)
{
    struct result result = {0};
    CBoxliteOptions *options = options_for("idle");
    CBoxInfo *info;

    boxlite_options_set_auto_remove(options, 1);
    boxlite_options_set_auto_stop_interval(options, 1);
    boxlite_options_set_auto_delete_interval(options, 3600);
    OK(boxlite_create_box(runtime, options, on_box, &result, &error));
    drain_until(&result.done, 1);
    CHECK(result.box);

    CBoxHandle *box = result.box;

    OK(boxlite_start_box(box, on_done, &result, &error));
    drain_until(&result.done, 2);
    CHECK(result.code == BOXLITE_OK);
    for (info = info_of("idle"); info->running; info = info_of("idle")) {
        struct pollfd ended = {.fd = (int)syscall(SYS_pidfd_open, info->pid, 0), .events = POLLIN};

        CHECK(ended.fd < 0 || poll(&ended, 1, 120000) == 1);
        close(ended.fd);
        boxlite_free_box_info(info);
    }
    CHECK(strcmp(info->status, "stopped") == 0 && info->auto_stop == 1 && info->auto_delete == 3600);
    boxlite_free_box_info(info);
    remove_box(box);
}
