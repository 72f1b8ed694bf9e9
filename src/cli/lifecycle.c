/* SPDX-License-Identifier: Apache-2.0 */
/* lifecycle.c - boxlite start, stop, restart, wait: one thing done to each of the boxes named */
#include <stdio.h>

#include "cli/cli.h"
#include "cli/notice.h"

struct start_values {
    bool by_policy;
};

struct stop_values {
    int64_t grace_ms; /* -1: the default */
};

static void set_defaults(void *data)
{
    ((struct stop_values *)data)->grace_ms = -1;
}

static int start_one(struct bl_cli *cli, const char *name, void *values, struct bl_error *err)
{
    struct bl_start_options start = {.detach = true, .cancel_fd = cli->signal_fd};

    (void)values;
    bl_notice_ask(cli, &start);
    return bl_box_start(cli->runtime, name, &start, err);
}

static int stop_one(struct bl_cli *cli, const char *name, void *data, struct bl_error *err)
{
    const struct stop_values *values = data;

    return bl_box_stop(cli->runtime, name, values->grace_ms, cli->signal_fd, err);
}

static int restart_one(struct bl_cli *cli, const char *name, void *values, struct bl_error *err)
{
    return stop_one(cli, name, values, err) < 0 ? -1 : start_one(cli, name, NULL, err);
}

/* How a start of all that have died went. */
struct revival {
    bool prints; /* the names of those that run */
    int failures;
};

static void tell_revival(const char *id, const char *name, const struct bl_error *err, void *data)
{
    struct revival *revival = data;

    if (err) {
        revival->failures++;
        bl_cli_warn("box %s, which its restart policy wants to run, can't be started: %s", name ? name : id, err->message);
    } else if (revival->prints) {
        puts(name ? name : id);
    }
}

void bl_cli_revive(struct bl_cli *cli)
{
    struct bl_start_options start = {.detach = true, .cancel_fd = cli->signal_fd};
    struct revival revival = {0};
    struct bl_error err = BL_ERROR_INIT;

    bl_notice_ask(cli, &start);
    if (bl_runtime_start_by_policy(cli->runtime, &start, false, tell_revival, &revival, &err) < 0 && err.code != BL_STOPPED)
        bl_cli_warn("boxes with a restart policy were not looked at: %s", err.message);
}

/* start_by_policy() - What `boxlite start --by-policy` does after the machine was started. */
static int start_by_policy(struct bl_cli *cli)
{
    struct bl_start_options start = {.detach = true, .cancel_fd = cli->signal_fd};
    struct revival revival = {.prints = true};
    struct bl_error err = BL_ERROR_INIT;

    if (!bl_cli_open(cli))
        return BL_EXIT_FAILURE;
    bl_notice_ask(cli, &start);
    if (bl_runtime_start_by_policy(cli->runtime, &start, true, tell_revival, &revival, &err) < 0)
        return bl_cli_fail(cli, &err);
    return revival.failures ? BL_EXIT_FAILURE : 0;
}

static int run_start(struct bl_cli *cli, void *data)
{
    const struct start_values *values = data;

    if (values->by_policy && cli->operands.count)
        return bl_cli_usage(cli, "--by-policy cannot be used with the name of a box");
    if (values->by_policy)
        return start_by_policy(cli);
    if (!cli->operands.count)
        return bl_cli_usage(cli, "required: BOX");
    return bl_cli_for_each(cli, start_one, NULL);
}

static int run_stop(struct bl_cli *cli, void *values)
{
    return bl_cli_for_each(cli, stop_one, values);
}

static int run_restart(struct bl_cli *cli, void *values)
{
    return bl_cli_for_each(cli, restart_one, values);
}

static int run_wait(struct bl_cli *cli, void *values)
{
    int code = 0;

    (void)values;
    if (!bl_cli_open(cli))
        return BL_EXIT_FAILURE;
    for (int i = 0; i < cli->operands.count; i++) {
        struct bl_error err = BL_ERROR_INIT;
        struct bl_box_info info = {0};

        if (bl_box_wait(cli->runtime, cli->operands.list[i], cli->signal_fd, &info, &err) < 0) {
            code = bl_cli_fail(cli, &err);
            if (code > 128)
                break;
            continue;
        }
        printf("%d\n", info.has_exit_code ? info.exit_code : 0);
        fflush(stdout);
        bl_box_info_free(&info);
    }
    return code;
}

static const struct bl_option start_options[] = {
    {"by-policy", 0, BL_OPTION_FLAG, NULL, "Start all boxes that are down and whose restart policy wants them to run",
     offsetof(struct start_values, by_policy)},
    {NULL},
};

static const struct bl_option stop_options[] = {
    {"time", 't', BL_OPTION_DURATION, "TIME", "How long it may take before it is killed (default 10s)",
     offsetof(struct stop_values, grace_ms)},
    {NULL},
};

const struct bl_command bl_command_start = {
    .name = "start",
    .summary = "Start boxes",
    .usage = "BOX...\n--by-policy",
    .about = "Boots each box and leaves it running; one that was made with a command runs it again. Its output goes to\n"
             "'boxlite logs'. Prints the name of each box that runs; exits with 1 if one of them does not. With\n"
             "--by-policy it does what is to be done after the machine was started.",
    .example = "boxlite start work",
    .options = start_options,
    .values_bytes = sizeof(struct start_values),
    .most_operands = -1,
    .operands = "BOX",
    .catches_signals = true,
    .changes = true,
    .run = run_start,
};

const struct bl_command bl_command_stop = {
    .name = "stop",
    .summary = "Stop boxes; their files stay",
    .usage = "[OPTIONS] BOX...",
    .about = "Asks what runs to end, and kills it when it takes too long. Stopping a stopped box is no error.",
    .example = "boxlite stop work\nboxlite stop -t 30 work",
    .options = stop_options,
    .values_bytes = sizeof(struct stop_values),
    .least_operands = 1,
    .most_operands = -1,
    .operands = "BOX",
    .catches_signals = true,
    .changes = true,
    .defaults = set_defaults,
    .run = run_stop,
};

const struct bl_command bl_command_restart = {
    .name = "restart",
    .summary = "Stop boxes and start them again",
    .usage = "[OPTIONS] BOX...",
    .about = "A box whose stop fails is not started.",
    .example = "boxlite restart work",
    .options = stop_options,
    .values_bytes = sizeof(struct stop_values),
    .least_operands = 1,
    .most_operands = -1,
    .operands = "BOX",
    .catches_signals = true,
    .changes = true,
    .defaults = set_defaults,
    .run = run_restart,
};

const struct bl_command bl_command_wait = {
    .name = "wait",
    .summary = "Wait until boxes have ended, and print their exit codes",
    .usage = "BOX...",
    .example = "boxlite wait work",
    .least_operands = 1,
    .most_operands = -1,
    .operands = "BOX",
    .catches_signals = true,
    .run = run_wait,
};
