/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stdin_tty.c - input for a command, and a command on a terminal
 *
 *     cc stdin_tty.c $(pkg-config --cflags --libs boxlite) -o stdin_tty && ./stdin_tty
 */
#include <boxlite.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static CBoxliteRuntime *runtime;
static CBoxHandle *box;
static int box_made;

static void die_on(CBoxliteError *error, const char *what)
{
    if (!error)
        return;
    fprintf(stderr, "stdin_tty: %s: %s\n", what, error->message);
    exit(1);
}

static void on_box(CBoxHandle *made, CBoxliteError *error, void *user_data)
{
    (void)user_data;
    die_on(error, "create");
    box = made;
    box_made = 1;
}

static void on_output(const uint8_t *data, size_t length, void *user_data)
{
    (void)user_data;
    fwrite(data, 1, length, stdout);
}

static void on_exit_code(int exit_code, void *user_data)
{
    printf("exit code %d\n", exit_code);
    *(int *)user_data = 1;
}

static void on_resized(CBoxliteError *error, void *user_data)
{
    (void)user_data;
    die_on(error, "resize");
}

/* begin() - Run a command whose output is printed; *done becomes 1 with its end. */
static CExecutionHandle *begin(const BoxliteCommand *command, int *done)
{
    CExecutionHandle *execution = NULL;
    CBoxliteError error = {BOXLITE_OK, NULL};

    *done = 0;
    if (boxlite_box_exec(box, command, &execution, &error) != BOXLITE_OK)
        die_on(&error, "exec");
    boxlite_execution_on_stdout(execution, on_output, NULL, NULL);
    boxlite_execution_on_exit(execution, on_exit_code, done, NULL);
    return execution;
}

/* drain_until() - Deliver events until a flag is set. */
static void drain_until(const int *done)
{
    CBoxliteError error = {BOXLITE_OK, NULL};

    while (!*done)
        if (boxlite_runtime_drain(runtime, -1, &error) < 0)
            die_on(&error, "drain");
}

int main(void)
{
    static const char words[] = "pear\napple\nfig\n";
    const char *const size_args[] = {"-c", "read line; stty size; echo got $line"};
    CBoxliteOptions *options = NULL;
    CBoxliteError error = {BOXLITE_OK, NULL};
    CExecutionHandle *execution;
    int done;

    if (boxlite_runtime_new(NULL, NULL, 0, &runtime, &error) != BOXLITE_OK ||
        boxlite_options_new("busybox", &options, &error) != BOXLITE_OK ||
        boxlite_create_box(runtime, options, on_box, NULL, &error) != BOXLITE_OK)
        die_on(&error, "create");
    drain_until(&box_made);

    execution = begin(&(BoxliteCommand){.command = "sort"}, &done);
    boxlite_execution_stdin_write(execution, (const uint8_t *)words, strlen(words), NULL);
    boxlite_execution_stdin_close(execution, NULL); /* sort prints at the end of its input */
    drain_until(&done);
    boxlite_execution_free(execution);

    execution = begin(&(BoxliteCommand){.command = "sh", .args = size_args, .argc = 2, .tty = 1}, &done);
    boxlite_execution_tty_resize(execution, 40, 120, on_resized, NULL, NULL);
    boxlite_execution_stdin_write(execution, (const uint8_t *)"a line\n", 7, NULL);
    drain_until(&done);
    boxlite_execution_free(execution);

    boxlite_box_free(box);
    boxlite_runtime_free(runtime);
    return 0;
}
