/* SPDX-License-Identifier: Apache-2.0 */
/*
 * streaming.c - output as it comes, both streams apart, from one thread
 *
 *     cc streaming.c $(pkg-config --cflags --libs boxlite) -o streaming && ./streaming
 */
#include <boxlite.h>
#include <stdio.h>
#include <stdlib.h>

struct program {
    CBoxHandle *box;
    CExecutionHandle *execution;
    int exit_code;
    int done;
};

static void die_on(CBoxliteError *error, const char *what)
{
    if (!error)
        return;
    fprintf(stderr, "streaming: %s: %s\n", what, error->message);
    exit(1);
}

static void on_stdout(const uint8_t *data, size_t length, void *user_data)
{
    (void)user_data;
    printf("out: %.*s", (int)length, (const char *)data);
}

static void on_stderr(const uint8_t *data, size_t length, void *user_data)
{
    (void)user_data;
    printf("err: %.*s", (int)length, (const char *)data);
}

static void on_exit_code(int exit_code, void *user_data)
{
    struct program *program = user_data;

    program->exit_code = exit_code;
    program->done = 1;
}

static void on_box(CBoxHandle *box, CBoxliteError *error, void *user_data)
{
    struct program *program = user_data;
    const char *const args[] = {"-c", "for i in 1 2 3; do echo line $i; done; echo oops >&2; exit 7"};
    BoxliteCommand command = {.command = "sh", .args = args, .argc = 2};
    CBoxliteError failure = {BOXLITE_OK, NULL};

    die_on(error, "create");
    program->box = box;
    if (boxlite_box_exec(box, &command, &program->execution, &failure) != BOXLITE_OK)
        die_on(&failure, "exec");
    boxlite_execution_on_stdout(program->execution, on_stdout, program, NULL);
    boxlite_execution_on_stderr(program->execution, on_stderr, program, NULL);
    boxlite_execution_on_exit(program->execution, on_exit_code, program, NULL);
}

int main(void)
{
    struct program program = {0};
    CBoxliteRuntime *runtime = NULL;
    CBoxliteOptions *options = NULL;
    CBoxliteError error = {BOXLITE_OK, NULL};

    if (boxlite_runtime_new(NULL, NULL, 0, &runtime, &error) != BOXLITE_OK)
        die_on(&error, "open");
    if (boxlite_options_new("busybox", &options, &error) != BOXLITE_OK)
        die_on(&error, "options");
    if (boxlite_create_box(runtime, options, on_box, &program, &error) != BOXLITE_OK)
        die_on(&error, "create");
    while (!program.done)
        if (boxlite_runtime_drain(runtime, -1, &error) < 0)
            die_on(&error, "drain");
    printf("exit code %d\n", program.exit_code);
    boxlite_execution_free(program.execution);
    boxlite_box_free(program.box);
    boxlite_runtime_free(runtime); /* stops the box, which then removes itself */
    return 0;
}
