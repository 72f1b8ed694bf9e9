/* SPDX-License-Identifier: Apache-2.0 */
/* report.c - what goes wrong, said in one line on standard error, and the exit code for it */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "cli/cli.h"
#include "cli/terminal.h"

static void __attribute__((format(printf, 2, 0))) say(const char *kind, const char *fmt, va_list args)
{
    struct bl_error printable;

    /* An error's message is one line without control characters, whatever names went into it. */
    bl_fail_v(&printable, BL_OK, 0, fmt, args);
    fflush(stdout);
    fprintf(stderr, "%s: %s\n", kind, printable.message);
}

void bl_cli_complain(const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    say("Error", fmt, args);
    va_end(args);
}

void bl_cli_warn(const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    say("Warning", fmt, args);
    va_end(args);
}

int bl_cli_usage(const struct bl_cli *cli, const char *fmt, ...)
{
    va_list args;
    const char *name = cli->command ? cli->command->name : "";

    va_start(args, fmt);
    say("Error", fmt, args);
    va_end(args);
    if (cli->command && cli->command->hint)
        fprintf(stderr, "%s\n", cli->command->hint);
    fprintf(stderr, "See 'boxlite %s%s--help'.\n", name, *name ? " " : "");
    return BL_EXIT_USAGE;
}

int bl_cli_fail(const struct bl_cli *cli, const struct bl_error *err)
{
    int cancelled = err->code == BL_STOPPED ? bl_signals_take(cli->signal_fd) : 0;

    if (cancelled)
        return 128 + cancelled;
    bl_cli_complain("%s", err->message);
    return cli->command && cli->command->failure ? cli->command->failure : BL_EXIT_FAILURE;
}

int bl_cli_fail_memory(const struct bl_cli *cli)
{
    struct bl_error err = BL_ERROR_INIT;

    bl_fail_memory(&err);
    return bl_cli_fail(cli, &err);
}

int bl_cli_configure(struct bl_cli *cli)
{
    struct bl_error err = BL_ERROR_INIT;

    if (!cli->config_loaded && bl_user_config_load(cli->config_path, &cli->config, &err)) {
        bl_cli_fail(cli, &err);
        return -1;
    }
    cli->config_loaded = true;
    return 0;
}

const char *bl_cli_home(const struct bl_cli *cli)
{
    const char *variable = getenv("BOXLITE_HOME");

    return cli->home || (variable && *variable) ? cli->home : cli->config.home_dir;
}

/* open_with() - As bl_runtime_open(), or bl_runtime_begin(). */
static struct bl_runtime *open_with(struct bl_cli *cli, int (*open)(const char *, struct bl_runtime **, struct bl_error *))
{
    struct bl_error err = BL_ERROR_INIT;

    if (bl_cli_configure(cli))
        return NULL;
    if (!cli->runtime && open(bl_cli_home(cli), &cli->runtime, &err) < 0) {
        cli->runtime = NULL;
        bl_cli_fail(cli, &err);
    }
    return cli->runtime;
}

struct bl_runtime *bl_cli_open(struct bl_cli *cli)
{
    return open_with(cli, bl_runtime_open);
}

struct bl_runtime *bl_cli_begin(struct bl_cli *cli)
{
    return open_with(cli, bl_runtime_begin);
}

int bl_cli_for_each(struct bl_cli *cli, int (*act)(struct bl_cli *cli, const char *name, void *values, struct bl_error *err),
                    void *values)
{
    int code = 0;

    if (!bl_cli_open(cli))
        return BL_EXIT_FAILURE;
    for (int i = 0; i < cli->operands.count; i++) {
        struct bl_error err = BL_ERROR_INIT;
        const char *name = cli->operands.list[i];

        if (act(cli, name, values, &err) == 0) {
            puts(name);
            fflush(stdout);
            continue;
        }
        code = bl_cli_fail(cli, &err);
        if (code > 128)
            break;
    }
    return code;
}
