/* SPDX-License-Identifier: Apache-2.0 */
/*
 * capi.c - what the library itself costs: numbers for bench/run
 *
 *     capi EXECS BOXES       in the home that BOXLITE_HOME names
 *     capi hold
 *
 * Prints three lines: "exec_us" of each execution of `true`, from the call to its exit event; "guest_us", the part of it by the
 * clock inside the box; "create_us", for making that many boxes (records and overlays), all at once.
 *
 * With `hold`: starts a box that ends with this program, prints its id, and waits to be killed.
 */
#include <boxlite.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static CBoxliteRuntime *runtime;
static CBoxHandle *box;
static int done;

static int64_t now_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static void die(const CBoxliteError *error)
{
    fprintf(stderr, "capi: %s\n", error && error->message ? error->message : "?");
    exit(1);
}

static void on_box(CBoxHandle *made, CBoxliteError *error, void *data)
{
    (void)data;
    if (error)
        die(error);
    boxlite_box_free(box);
    box = made;
    done++;
}

static void on_exit_code(int code, void *data)
{
    (void)data;
    if (code)
        exit(1);
    done++;
}

static void drain_until(int count)
{
    CBoxliteError error = {BOXLITE_OK, NULL};

    while (done < count)
        if (boxlite_runtime_drain(runtime, -1, &error) < 0)
            die(&error);
}

static void create(int count)
{
    CBoxliteError error = {BOXLITE_OK, NULL};

    done = 0;
    for (int i = 0; i < count; i++) {
        CBoxliteOptions *options = NULL;

        if (boxlite_options_new("busybox", &options, &error) != BOXLITE_OK ||
            boxlite_create_box(runtime, options, on_box, NULL, &error) != BOXLITE_OK)
            die(&error);
    }
    drain_until(count);
}

static int64_t execute(uint64_t *guest_us)
{
    const BoxliteCommand command = {.command = "true"};
    CExecutionHandle *execution = NULL;
    CBoxliteError error = {BOXLITE_OK, NULL};
    int64_t begun = now_us();

    done = 0;
    if (boxlite_box_exec(box, &command, &execution, &error) != BOXLITE_OK)
        die(&error);
    boxlite_execution_on_exit(execution, on_exit_code, NULL, NULL);
    drain_until(1);

    int64_t took = now_us() - begun;

    *guest_us = boxlite_execution_duration_us(execution);
    boxlite_execution_free(execution);
    return took;
}

static _Noreturn void hold(void)
{
    uint64_t guest_us;
    char *id;

    create(1);
    execute(&guest_us);
    id = boxlite_box_id(box);
    printf("%s\n", id);
    fflush(stdout);
    boxlite_free_string(id);
    for (;;)
        pause();
}

int main(int argc, char **argv)
{
    int execs = argc > 1 ? atoi(argv[1]) : 50, boxes = argc > 2 ? atoi(argv[2]) : 100;
    int64_t *took = calloc((size_t)execs + 1, sizeof *took), begun;
    uint64_t *guest = calloc((size_t)execs + 1, sizeof *guest);
    CBoxliteError error = {BOXLITE_OK, NULL};

    if (!took || !guest || boxlite_runtime_new(NULL, NULL, 0, &runtime, &error) != BOXLITE_OK)
        die(&error);
    if (argc > 1 && strcmp(argv[1], "hold") == 0)
        hold();
    create(1);
    for (int i = 0; i <= execs; i++) /* the first one boots the box */
        took[i] = execute(&guest[i]);
    printf("exec_us");
    for (int i = 1; i <= execs; i++)
        printf(" %" PRId64, took[i]);
    printf("\nguest_us");
    for (int i = 1; i <= execs; i++)
        printf(" %" PRIu64, guest[i]);
    begun = now_us();
    create(boxes);
    printf("\ncreate_us %" PRId64 "\n", now_us() - begun);
    boxlite_box_free(box);
    boxlite_runtime_free(runtime);
    free(took);
    free(guest);
    return 0;
}
