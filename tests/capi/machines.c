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
#include <sys/wait.h>
#include <unistd.h>

CBoxliteRuntime *runtime;
CBoxliteError error;

/* ok() - A call was queued; else say what it said. */
void ok(enum BoxliteErrorCode code, const char *what)
{
    if (code == BOXLITE_OK)
        return;
    fprintf(stderr, "%s: %s\n", what, error.message ? error.message : "?");
    exit(1);
}

void finish(struct result *result, const CBoxliteError *failure)
{
    result->code = failure ? failure->code : BOXLITE_OK;
    snprintf(result->message, sizeof result->message, "%s", failure && failure->message ? failure->message : "");
    result->done++;
}

void on_box(CBoxHandle *box, CBoxliteError *failure, void *data)
{
    ((struct result *)data)->box = box;
    finish(data, failure);
}

void on_made(CBoxHandle *box, bool created, CBoxliteError *failure, void *data)
{
    ((struct result *)data)->created = created;
    on_box(box, failure, data);
}

void on_done(CBoxliteError *failure, void *data)
{
    finish(data, failure);
}

void on_info(CBoxInfo *info, CBoxliteError *failure, void *data)
{
    ((struct result *)data)->info = info;
    finish(data, failure);
}

void on_list(CBoxInfoList *list, CBoxliteError *failure, void *data)
{
    ((struct result *)data)->list = list;
    finish(data, failure);
}

void on_metrics(CBoxMetrics *metrics, CBoxliteError *failure, void *data)
{
    if (metrics)
        ((struct result *)data)->metrics = *metrics;
    finish(data, failure);
}

void on_runtime_metrics(CRuntimeMetrics *metrics, CBoxliteError *failure, void *data)
{
    if (metrics)
        ((struct result *)data)->runtime_metrics = *metrics;
    finish(data, failure);
}

void on_images(CImageInfoList *list, CBoxliteError *failure, void *data)
{
    ((struct result *)data)->images = list;
    finish(data, failure);
}

void on_detail(CImageDetail *detail, CBoxliteError *failure, void *data)
{
    ((struct result *)data)->detail = detail;
    finish(data, failure);
}

void append(char **text, size_t *length, const uint8_t *data, size_t more)
{
    *text = realloc(*text, *length + more + 1);
    CHECK(*text);
    memcpy(*text + *length, data, more);
    *length += more;
    (*text)[*length] = '\0';
}

void on_out(const uint8_t *data, size_t length, void *user)
{
    struct result *result = user;

    append(&result->out, &result->out_length, data, length);
}

void on_err(const uint8_t *data, size_t length, void *user)
{
    struct result *result = user;

    append(&result->err, &result->err_length, data, length);
}

void on_exit_code(int code, void *user)
{
    struct result *result = user;

    result->exit_code = code;
    result->done++;
}

void on_wait(int code, CBoxliteError *failure, void *user)
{
    ((struct result *)user)->exit_code = code;
    finish(user, failure);
}

void drain_until(const int *counter, int wanted)
{
    while (*counter < wanted)
        CHECK(boxlite_runtime_drain(runtime, -1, &error) >= 0);
}

void clear(struct result *result)
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

CBoxliteOptions *options_for(const char *name)
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
CBoxHandle *make_box(const char *name)
{
    struct result result = {0};

    OK(boxlite_create_box(runtime, options_for(name), on_box, &result, &error));
    drain_until(&result.done, 1);
    if (result.code != BOXLITE_OK)
        fprintf(stderr, "create: %s\n", result.message);
    CHECK(result.box);
    return result.box;
}

void remove_box(CBoxHandle *box)
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
CExecutionHandle *begin(CBoxHandle *box, const BoxliteCommand *command, struct result *result)
{
    CExecutionHandle *execution = NULL;

    OK(boxlite_box_exec(box, command, &execution, &error));
    OK(boxlite_execution_on_stdout(execution, on_out, result, &error));
    OK(boxlite_execution_on_stderr(execution, on_err, result, &error));
    OK(boxlite_execution_on_exit(execution, on_exit_code, result, &error));
    return execution;
}

/* run() - A command to its end. */
void run(CBoxHandle *box, BoxliteCommand command, struct result *result)
{
    *result = (struct result){0};

    CExecutionHandle *execution = begin(box, &command, result);

    drain_until(&result->done, 1);
    boxlite_execution_free(execution);
}

BoxliteCommand shell(const char *const *args)
{
    return (BoxliteCommand){.command = "sh", .args = args, .argc = 2};
}

/* info_of() - The caller frees it. */
CBoxInfo *info_of(const char *name)
{
    struct result result = {0};

    OK(boxlite_get_info(runtime, name, on_info, &result, &error));
    drain_until(&result.done, 1);
    CHECK(result.info);
    return result.info;
}

static const struct {
    const char *name;
    void (*run)(void);
} scenarios[] = {
    {"lifecycle", scenario_lifecycle},
    {"lookups", scenario_lookups},
    {"streams", scenario_streams},
    {"hundred_megabytes", scenario_hundred_megabytes},
    {"input", scenario_input},
    {"terminal", scenario_terminal},
    {"how_commands_run", scenario_how_commands_run},
    {"signals", scenario_signals},
    {"copies", scenario_copies},
    {"copy_streams", scenario_copy_streams},
    {"numbers", scenario_numbers},
    {"images", scenario_images},
    {"capabilities", scenario_capabilities},
    {"deadlines", scenario_deadlines},
    {"three_boxes", scenario_three_boxes},
    {"sixty_four_execs", scenario_sixty_four_execs},
    {"eight_boxes_from_eight_threads", scenario_eight_boxes_from_eight_threads},
    {"waiting_costs_no_thread", scenario_waiting_costs_no_thread},
    {"raced_creation", scenario_raced_creation},
    {"shutdown_stops_attached_boxes", scenario_shutdown_stops_attached_boxes},
    {"free_with_everything_under_way", scenario_free_with_everything_under_way},
    {"freed_in_a_callback", scenario_freed_in_a_callback},
    {"freed_from_another_thread", scenario_freed_from_another_thread},
    {"shim_dies", scenario_shim_dies},
    {"removed_by_another", scenario_removed_by_another},
    {"simple", scenario_simple},
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
