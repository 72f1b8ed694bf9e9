/* SPDX-License-Identifier: Apache-2.0 */
/*
 * agent.c - an agent's tool: run code that nobody has read, copy the result out, keep the box for the next turn
 *
 * The box has a name, so that the next run of this program finds it again with all its files.
 *
 *     cc agent.c $(pkg-config --cflags --libs boxlite) -o agent && ./agent && ./agent
 */
#include <boxlite.h>
#include <stdio.h>
#include <stdlib.h>

struct turn {
    CBoxliteRuntime *runtime;
    CBoxHandle *box;
    int made, exit_code, exited, copied;
};

static void die_on(CBoxliteError *error, const char *what)
{
    if (!error)
        return;
    fprintf(stderr, "agent: %s: %s\n", what, error->message);
    exit(1);
}

static void on_box(CBoxHandle *box, bool created, CBoxliteError *error, void *user_data)
{
    struct turn *turn = user_data;

    die_on(error, "get or create");
    printf("%s\n", created ? "a new box" : "the box of last time");
    turn->box = box;
    turn->made = 1;
}

static void on_output(const uint8_t *data, size_t length, void *user_data)
{
    (void)user_data;
    fwrite(data, 1, length, stdout);
}

static void on_exit_code(int exit_code, void *user_data)
{
    struct turn *turn = user_data;

    turn->exit_code = exit_code;
    turn->exited = 1;
}

static void on_copied(CBoxliteError *error, void *user_data)
{
    die_on(error, "copy out");
    ((struct turn *)user_data)->copied = 1;
}

static void drain_until(struct turn *turn, const int *done)
{
    CBoxliteError error = {BOXLITE_OK, NULL};

    while (!*done)
        if (boxlite_runtime_drain(turn->runtime, -1, &error) < 0)
            die_on(&error, "drain");
}

/* run_code() - What a model wrote, with a time limit: everything that it started is killed when the time is over. */
static int run_code(struct turn *turn, const char *code)
{
    const char *const args[] = {"-c", code};
    BoxliteCommand command = {.command = "sh", .args = args, .argc = 2, .workdir = "/tmp", .timeout_secs = 30};
    CExecutionHandle *execution = NULL;
    CBoxliteError error = {BOXLITE_OK, NULL};

    turn->exited = 0;
    if (boxlite_box_exec(turn->box, &command, &execution, &error) != BOXLITE_OK)
        die_on(&error, "exec");
    boxlite_execution_on_stdout(execution, on_output, turn, NULL);
    boxlite_execution_on_stderr(execution, on_output, turn, NULL);
    boxlite_execution_on_exit(execution, on_exit_code, turn, NULL);
    drain_until(turn, &turn->exited);
    boxlite_execution_free(execution);
    return turn->exit_code;
}

int main(void)
{
    struct turn turn = {0};
    CBoxliteOptions *options = NULL;
    CBoxliteError error = {BOXLITE_OK, NULL};
    char line[64] = "";
    FILE *result;

    if (boxlite_runtime_new(NULL, NULL, 0, &turn.runtime, &error) != BOXLITE_OK ||
        boxlite_options_new("busybox", &options, &error) != BOXLITE_OK)
        die_on(&error, "open");
    boxlite_options_set_name(options, "agent-tool");
    boxlite_options_set_auto_remove(options, 0);
    if (boxlite_get_or_create_box(turn.runtime, options, on_box, &turn, &error) != BOXLITE_OK)
        die_on(&error, "get or create");
    drain_until(&turn, &turn.made);

    printf("exit code %d\n", run_code(&turn, "echo $((6 * 7)) >> /root/results; cp /root/results /tmp/out"));
    if (boxlite_copy_out(turn.box, "/tmp/out", "agent-result.txt", on_copied, &turn, &error) != BOXLITE_OK)
        die_on(&error, "copy out");
    drain_until(&turn, &turn.copied);
    result = fopen("agent-result.txt", "r");
    while (result && fgets(line, sizeof line, result))
        printf("result: %s", line);
    if (result)
        fclose(result);
    boxlite_box_free(turn.box);
    boxlite_runtime_free(turn.runtime); /* stops the box; its disk stays */
    return 0;
}
