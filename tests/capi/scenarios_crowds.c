/* SPDX-License-Identifier: Apache-2.0 */
/* scenarios_crowds.c - many things at once, and everything in flight when something ends */
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

/* ---- Crowds ---- */

void scenario_three_boxes(void)
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

/* rounds() - How often crowds come: once in a test, CROWD_ROUNDS times in a soak. */
static int rounds(void)
{
    const char *text = getenv("CROWD_ROUNDS");

    return text ? atoi(text) : 1;
}

/* sixty_four() - 64 commands at once: no byte and no exit code is lost. */
static void sixty_four(CBoxHandle *box)
{
    enum { CROWD = 64 };
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
}

void scenario_sixty_four_execs(void)
{
    CBoxHandle *box = make_box("crowd");

    for (int round = 0; round < rounds(); round++)
        sixty_four(box);
    remove_box(box);
}

/* wait_on() - Drain a runtime of one's own until something has come. */
static void wait_on(CBoxliteRuntime *own, const int *counter)
{
    CBoxliteError failure = {BOXLITE_OK, NULL};

    while (!*counter)
        CHECK(boxlite_runtime_drain(own, -1, &failure) >= 0);
}

/* whole_life() - A box from its making to its removal, in a thread and a runtime of its own. */
static void *whole_life(void *data)
{
    int number = (int)(intptr_t)data;
    char text[96];
    const char *const args[] = {"-c", text};
    BoxliteCommand command = {.command = "sh", .args = args, .argc = 2};
    CBoxliteRuntime *own = NULL;
    CBoxliteOptions *options = NULL;
    CExecutionHandle *execution = NULL;
    CBoxliteError failure = {BOXLITE_OK, NULL};
    struct result made = {0}, ended = {0}, removed = {0};

    snprintf(text, sizeof text, "head -c %d /dev/zero | tr '\\0' x; exit %d", 100000 + number, number);
    CHECK(boxlite_runtime_new(NULL, NULL, 0, &own, &failure) == BOXLITE_OK);
    CHECK(boxlite_options_new("busybox", &options, &failure) == BOXLITE_OK);
    boxlite_options_set_memory(options, 192);
    boxlite_options_set_auto_remove(options, 0);
    CHECK(boxlite_create_box(own, options, on_box, &made, &failure) == BOXLITE_OK);
    wait_on(own, &made.done);
    if (!made.box)
        fprintf(stderr, "create: %s\n", made.message);
    CHECK(made.box && boxlite_box_exec(made.box, &command, &execution, &failure) == BOXLITE_OK);
    boxlite_execution_on_stdout(execution, on_out, &ended, NULL);
    boxlite_execution_on_exit(execution, on_exit_code, &ended, NULL);
    wait_on(own, &ended.done);
    CHECK(ended.exit_code == number && ended.out_length == (size_t)(100000 + number));
    CHECK(strspn(ended.out, "x") == ended.out_length);

    char *id = boxlite_box_id(made.box);

    CHECK(boxlite_remove(own, id, 1, on_done, &removed, &failure) == BOXLITE_OK);
    wait_on(own, &removed.done);
    CHECK(removed.code == BOXLITE_OK);
    boxlite_free_string(id);
    boxlite_execution_free(execution);
    clear(&made);
    clear(&ended);
    boxlite_runtime_free(own);
    return NULL;
}

void scenario_eight_boxes_from_eight_threads(void)
{
    for (int round = 0; round < rounds(); round++) {
        pthread_t threads[8];

        for (intptr_t i = 0; i < 8; i++)
            CHECK(pthread_create(&threads[i], NULL, whole_life, (void *)i) == 0);
        for (int i = 0; i < 8; i++)
            pthread_join(threads[i], NULL);
    }
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

/* write_line() - Give a command that waits something to read; if it does not wait any more, say how it ended. */
static void write_line(CExecutionHandle *execution)
{
    struct result end = {0};

    if (boxlite_execution_stdin_write(execution, (const uint8_t *)"x", 1, &error) == BOXLITE_OK)
        return;
    OK(boxlite_execution_wait(execution, on_wait, &end, &error));
    drain_until(&end.done, 1);
    fprintf(stderr, "a command that was to wait has ended: exit code %d, %s\n", end.exit_code, end.message);
    CHECK(!"it waits");
}

void scenario_waiting_costs_no_thread(void)
{
    enum { CROWD = 200 };
    CBoxHandle *box = make_box("waiting");
    struct result results[CROWD] = {0};
    CExecutionHandle *executions[CROWD];

    for (int i = 0; i < CROWD; i++)
        executions[i] = begin(box, &(BoxliteCommand){.command = "cat"}, &results[i]);
    /* Each has answered a line, so each runs and waits. */
    for (int i = 0; i < CROWD; i++) {
        write_line(executions[i]);
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

atomic_int races_won;

/* race_once() - Get or create in a runtime of one's own. */
void race_once(void)
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

void scenario_raced_creation(void)
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

void scenario_shutdown_stops_attached_boxes(void)
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

void scenario_free_with_everything_under_way(void)
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

void scenario_freed_in_a_callback(void)
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

void scenario_freed_from_another_thread(void)
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

void scenario_shim_dies(void)
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

void scenario_removed_by_another(void)
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

void scenario_simple(void)
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
