/* SPDX-License-Identifier: Apache-2.0 */
/* exec.c - boxlite exec: a command beside what a box runs already */
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/strings.h"
#include "cli/cli.h"
#include "cli/notice.h"
#include "cli/pump.h"
#include "cli/terminal.h"

struct exec_values {
    char **env, **env_files;
    const char *workdir, *user;
    int64_t timeout_ms;
    bool detach, interactive, tty, timing;
};

/* carry() - Open the session and be its terminal. Return: exit code */
static int carry(struct bl_cli *cli, const struct bl_open *open, struct bl_pump *pump)
{
    struct bl_error err = BL_ERROR_INIT;
    struct bl_session *session = NULL;
    struct bl_start_options start = {.detach = true, .cancel_fd = cli->signal_fd};
    const char *box = cli->operands.list[0];
    int code;

    bl_notice_ask(cli, &start);
    bl_runtime_start_as(cli->runtime, &start);
    if (bl_session_exec_at_once(cli->runtime, box, open, &bl_pump_events, pump, &session, &err) < 0 ||
        (!session && bl_session_exec(cli->runtime, box, open, &bl_pump_events, pump, &session, &err) < 0))
        return bl_cli_fail(cli, &err);
    /* From here on signals are for the command; before, they cancelled a start. */
    bl_pump_begin(pump);
    if (bl_pump_run(pump, session, &err) < 0)
        code = (bl_cli_complain("%s", err.message), 128 + SIGKILL);
    else
        code = bl_pump_report(pump, open->args[0]);
    bl_pump_end(pump);
    return code;
}

/* print_timing() - How long it took, and how much of that was the box's own time. */
static void print_timing(int64_t begun, const struct bl_pump *pump)
{
    fprintf(stderr, "timing: %-8s %9.1f ms\n", "total", (double)(bl_now_us() - begun) / 1000);
    if (pump->exited)
        fprintf(stderr, "timing: %-8s %9.1f ms (of it, inside the box)\n", "", (double)pump->exit.duration_us / 1000);
}

static int run(struct bl_cli *cli, void *data)
{
    struct exec_values *values = data;
    int64_t begun = bl_now_us();
    cleanup_strings char **env = NULL;
    struct bl_pump pump = {.tty = values->tty && !values->detach,
                           .interactive = values->interactive,
                           .detach = values->detach,
                           .signal_fd = cli->signal_fd};
    struct bl_error err = BL_ERROR_INIT;

    if (values->detach && values->interactive)
        return bl_cli_usage(cli, "--interactive cannot be used with --detach");
    if (cli->operands.before_dashes != 1 || cli->operands.count < 2)
        return bl_cli_usage(cli, cli->operands.before_dashes == 1 ? "required: a COMMAND behind '--'" : "required: BOX -- COMMAND");
    if (bl_cli_environment(values->env, values->env_files, &env, &err) < 0 || bl_pump_check_tty(pump.tty, &err) < 0)
        return bl_cli_fail(cli, &err);
    if (!bl_cli_begin(cli))
        return BL_EXIT_FAILURE;

    struct bl_open open = {
        .kind = BL_OPEN_EXEC,
        .args = cli->operands.list + 1,
        .env = env,
        .cwd = (char *)(uintptr_t)values->workdir,
        .user = (char *)(uintptr_t)values->user,
        .timeout_ms = (uint64_t)values->timeout_ms,
        .tty = values->tty,
        .use_stdin = values->interactive,
        .detach = values->detach,
    };

    if (pump.tty)
        bl_terminal_size(STDIN_FILENO, &open.rows, &open.columns);

    int code = carry(cli, &open, &pump);

    if (values->timing)
        print_timing(begun, &pump);
    return code;
}

static const struct bl_option options[] = {
    {"detach", 'd', BL_OPTION_FLAG, NULL, "Leave it running and return at once", offsetof(struct exec_values, detach)},
    {"interactive", 'i', BL_OPTION_FLAG, NULL, "Pass standard input on", offsetof(struct exec_values, interactive)},
    {"tty", 't', BL_OPTION_FLAG, NULL, "Give the command a terminal", offsetof(struct exec_values, tty)},
    {"env", 'e', BL_OPTION_LIST, "KEY[=VALUE]", "Set a variable; without a value: as it is here",
     offsetof(struct exec_values, env)},
    {"env-file", 0, BL_OPTION_LIST, "FILE", "Set the variables that a file names, KEY=VALUE a line",
     offsetof(struct exec_values, env_files)},
    {"workdir", 'w', BL_OPTION_TEXT, "DIR", "Directory in the box to start in", offsetof(struct exec_values, workdir)},
    {"user", 'u', BL_OPTION_TEXT, "USER[:GROUP]", "Who runs the command, by name or number", offsetof(struct exec_values, user)},
    {"timeout", 0, BL_OPTION_DURATION, "TIME", "Kill it after so long: seconds, or as in 1m30s or 500ms",
     offsetof(struct exec_values, timeout_ms)},
    {"timing", 0, BL_OPTION_FLAG, NULL, "Say on standard error where the time went", offsetof(struct exec_values, timing)},
    {NULL},
};

const struct bl_command bl_command_exec = {
    .name = "exec",
    .summary = "Run another command in a box",
    .usage = "[OPTIONS] BOX -- COMMAND [ARG...]",
    .about = "A box without a command of its own is started when it does not run. The command gets the environment,\n"
             "directory and user of the box unless told otherwise. Exits with the command's exit code.",
    .example = "boxlite exec work -- ls -l /\n"
               "boxlite exec -it work -- sh\n"
               "tar c . | boxlite exec -i work -- tar x -C /root",
    .hint = "The command follows '--', as in: boxlite exec BOX -- ls -l",
    .options = options,
    .values_bytes = sizeof(struct exec_values),
    .least_operands = 1,
    .most_operands = -1,
    .operands = "BOX -- COMMAND",
    .catches_signals = true,
    .run = run,
};
