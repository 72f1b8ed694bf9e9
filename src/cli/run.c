/* SPDX-License-Identifier: Apache-2.0 */
/*
 * run.c - boxlite run: create a box, start it, be its terminal
 *
 * The order is create, start with the workload held back, attach: so no output is missed. When the workload has ended, the box
 * ends by itself; this command waits for that (its disk is synced then) or, with --rm, removes it.
 *
 * A start that was interrupted leaves no box: nobody has seen its id.
 */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "cli/box_options.h"
#include "cli/notice.h"
#include "cli/pump.h"
#include "cli/terminal.h"
#include "cli/timing.h"

struct run_values {
    struct box_values box;
    bool detach, remove, interactive, tty, timing;
};

/* run_detached() - Start and leave it running. Return: exit code */
static int run_detached(struct bl_cli *cli, const char *id, struct bl_timing *timing)
{
    struct bl_error err = BL_ERROR_INIT;
    int failure = BL_EXIT_BOXLITE;
    struct bl_start_options start = {.detach = true, .cancel_fd = cli->signal_fd, .exit_code = &failure, .moments = &timing->start};

    bl_notice_ask(cli, &start);
    if (bl_box_start(cli->runtime, id, &start, &err) < 0) {
        if (err.code == BL_STOPPED)
            bl_box_remove(cli->runtime, id, true, NULL);
        int code = bl_cli_fail(cli, &err);

        return code > 128 ? code : failure;
    }
    timing->started = bl_now_us();
    puts(id);
    return 0;
}

/* finish() - The workload has ended, or is given up: wait until its box is gone, or remove it. Return: exit code */
static int finish(struct bl_cli *cli, const struct run_values *values, const char *id, int code)
{
    struct bl_error err = BL_ERROR_INIT;
    struct bl_box_info info = {0};

    if (values->remove) {
        if (bl_box_remove(cli->runtime, id, true, &err) < 0 && err.code != BL_NOT_FOUND)
            bl_cli_complain("%s", err.message);
    } else if (bl_box_wait(cli->runtime, id, cli->signal_fd, &info, &err) == 0) {
        bl_box_info_free(&info);
    }
    return code;
}

/* how_it_died() - Exit code of a box whose host process went away under the session */
static int how_it_died(struct bl_cli *cli, const char *id, const struct bl_error *err)
{
    struct bl_box_info info = {0};
    int code = 128 + 9;

    if (bl_box_inspect(cli->runtime, id, &info, NULL) == 0) {
        if (info.has_exit_code)
            code = info.exit_code;
        bl_box_info_free(&info);
    }
    bl_cli_complain("%s", err->message);
    return code;
}

/* run_attached() - Start, carry bytes and signals, end. Return: exit code */
static int run_attached(struct bl_cli *cli, const struct run_values *values, const char *id, struct bl_timing *timing,
                        struct bl_pump *pump)
{
    struct bl_error err = BL_ERROR_INIT;
    int failure = BL_EXIT_BOXLITE;
    struct bl_start_options start = {.attach = true, .cancel_fd = cli->signal_fd, .exit_code = &failure, .moments = &timing->start};
    struct bl_session *session = NULL;
    int code;

    bl_notice_ask(cli, &start);
    if (values->tty)
        bl_terminal_size(0, &start.rows, &start.columns);
    if (bl_box_start(cli->runtime, id, &start, &err) < 0) {
        if (values->remove || err.code == BL_STOPPED)
            bl_box_remove(cli->runtime, id, true, NULL);
        code = bl_cli_fail(cli, &err);
        return code > 128 ? code : failure;
    }
    timing->started = bl_now_us();
    bl_pump_begin(pump);
    if (bl_session_attach(cli->runtime, id, &bl_pump_events, pump, &session, &err) < 0)
        code = bl_cli_fail(cli, &err);
    else if (bl_pump_run(pump, session, &err) < 0)
        code = how_it_died(cli, id, &err);
    else
        code = bl_pump_report(pump, "the command");
    timing->running = pump->opened_us;
    timing->ended = bl_now_us();
    if (pump->quit || !pump->exited) {
        /* Nobody listens any more; without this the box would live as long as its command. */
        bl_pump_end(pump);
        bl_box_stop(cli->runtime, id, -1, -1, NULL);
    }
    bl_pump_end(pump);
    code = finish(cli, values, id, code);
    timing->gone = bl_now_us();
    return code;
}

static int run(struct bl_cli *cli, void *data)
{
    const struct run_values *values = data;
    struct bl_timing timing = {.begun = bl_now_us()};
    struct bl_pump pump = {.tty = values->tty, .interactive = values->interactive, .signal_fd = cli->signal_fd};
    struct box_request cleanup_request request = {0};
    struct bl_error err = BL_ERROR_INIT;
    char id[BL_BOX_ID_LENGTH + 1];
    int code;

    if (values->detach && values->interactive)
        return bl_cli_usage(cli, "--interactive cannot be used with --detach");
    code = bl_box_request_make(cli, &values->box, false, &request);
    if (code)
        return code;
    if (request.options.restart.kind && !values->detach)
        return bl_cli_usage(cli, "--restart needs --detach: in the foreground a command runs once");
    if (values->remove && (request.options.restart.kind || values->box.auto_stop_ms || values->box.auto_delete_ms))
        return bl_cli_usage(cli, "--rm cannot be used with --restart, --auto-stop or --auto-delete");
    if (bl_pump_check_tty(values->tty && !values->detach, &err) < 0)
        return bl_cli_fail(cli, &err);
    request.options.use_image_command = true;
    request.options.tty = values->tty;
    request.options.open_stdin = values->interactive;
    request.options.detach = values->detach;
    request.options.auto_remove = values->remove;
    if (!bl_cli_open(cli))
        return BL_EXIT_BOXLITE;
    timing.opened = bl_now_us();
    code = bl_box_request_bring(cli, &values->box, &request);
    if (code)
        return code;
    if (bl_box_create(cli->runtime, &request.options, cli->signal_fd, id, &err) < 0)
        return bl_cli_fail(cli, &err);
    timing.created = bl_now_us();
    code = values->detach ? run_detached(cli, id, &timing) : run_attached(cli, values, id, &timing, &pump);
    if (values->timing)
        bl_timing_print(&timing, pump.exited ? &pump.exit : NULL);
    return code;
}

static const struct bl_option options[] = {
    {"detach", 'd', BL_OPTION_FLAG, NULL, "Leave it running, and print its id", offsetof(struct run_values, detach)},
    {"rm", 0, BL_OPTION_FLAG, NULL, "Remove the box when its command has ended", offsetof(struct run_values, remove)},
    {"interactive", 'i', BL_OPTION_FLAG, NULL, "Pass standard input on", offsetof(struct run_values, interactive)},
    {"tty", 't', BL_OPTION_FLAG, NULL, "Give the command a terminal", offsetof(struct run_values, tty)},
    BOX_OPTIONS,
    {"timing", 0, BL_OPTION_FLAG, NULL, "Say on standard error where the time went", offsetof(struct run_values, timing)},
    {NULL},
};

const struct bl_command bl_command_run = {
    .name = "run",
    .summary = "Run a command in a new box",
    .usage = "[OPTIONS] IMAGE [COMMAND [ARG...]]\n[OPTIONS] --rootfs DIR [COMMAND [ARG...]]",
    .about = "Makes a box (a virtual machine of its own) from an image and runs COMMAND in it, or what the image\n"
             "says. Exits with the command's exit code. The box and its files stay afterwards ('boxlite start',\n"
             "'boxlite rm') unless --rm is given. Options stand before IMAGE; what comes behind it is the command.",
    .example = "boxlite run busybox echo hello\n"
               "boxlite run -it --rm busybox sh\n"
               "tar c src | boxlite run -i --rm busybox sh -c 'tar t | wc -l'",
    .options = options,
    .values_bytes = sizeof(struct run_values),
    .most_operands = -1,
    .operands = "IMAGE",
    .failure = BL_EXIT_BOXLITE,
    .options_end_at_operand = true,
    .catches_signals = true,
    .changes = true,
    .run = run,
};
