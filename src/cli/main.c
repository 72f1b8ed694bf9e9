/* SPDX-License-Identifier: Apache-2.0 */
/*
 * main.c - boxlite: find the command, read its options, run it
 *
 * The global options may stand before the command or anywhere among its own options. A command that catches signals has them
 * blocked and gets them through a signalfd, which also cancels whatever waits in the library, so Ctrl-C leaves nothing behind.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/strings.h"
#include "cli/cli.h"
#include "cli/terminal.h"

struct globals {
    const char *home;
    bool debug;
    bool version;
};

const struct bl_option bl_cli_globals[] = {
    {"home", 0, BL_OPTION_TEXT, "PATH", "Where boxes and images are kept (BOXLITE_HOME; default ~/.boxlite)",
     offsetof(struct globals, home)},
    {"debug", 0, BL_OPTION_FLAG, NULL, "Say what happens, on standard error", offsetof(struct globals, debug)},
    {NULL},
};

/* What may stand in front of the command. */
static const struct bl_option top_options[] = {
    {"version", 'V', BL_OPTION_FLAG, NULL, "Print the version", offsetof(struct globals, version)},
    {NULL},
};

static const struct bl_command top = {
    .name = "",
    .options = top_options,
    .most_operands = -1,
    .options_end_at_operand = true,
};

const struct bl_command *const bl_commands[] = {
    &bl_command_run,  &bl_command_create,  &bl_command_exec,    &bl_command_list,       &bl_command_start,
    &bl_command_stop, &bl_command_restart, &bl_command_rm,      &bl_command_wait,       &bl_command_inspect,
    &bl_command_logs, &bl_command_cp,      &bl_command_load,    &bl_command_images,     &bl_command_rmi,
    &bl_command_gc,   &bl_command_info,    &bl_command_version, &bl_command_completion, NULL,
};

const struct bl_command *bl_command_find(char **argv, int *words)
{
    cleanup_free char *two = argv[1] ? bl_format("%s %s", argv[0], argv[1]) : NULL;

    for (int count = two ? 2 : 1; count > 0; count--) {
        const char *wanted = count == 2 ? two : argv[0];

        *words = count;
        for (const struct bl_command *const *at = bl_commands; *at; at++) {
            if (!strcmp((*at)->name, wanted))
                return *at;
            for (size_t i = 0; i < sizeof(*at)->aliases / sizeof *(*at)->aliases && (*at)->aliases[i]; i++)
                if (!strcmp((*at)->aliases[i], wanted))
                    return *at;
        }
    }
    return NULL;
}

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
    return cli->command->failure ? cli->command->failure : BL_EXIT_FAILURE;
}

struct bl_runtime *bl_cli_open(struct bl_cli *cli)
{
    struct bl_error err = BL_ERROR_INIT;

    if (!cli->runtime && bl_runtime_open(cli->home, &cli->runtime, &err) < 0) {
        cli->runtime = NULL;
        bl_cli_fail(cli, &err);
    }
    return cli->runtime;
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

static void print_log(enum bl_log_level level, const char *line, void *data)
{
    (void)data;
    fprintf(stderr, "%s: %s\n", bl_log_level_name(level), line);
}

static void print_overview(FILE *out)
{
    fputs("Run commands and images in virtual machines of their own\n\n"
          "Usage: boxlite [--home PATH] [--debug] COMMAND [ARGUMENTS]\n\n"
          "Commands:\n",
          out);
    for (const struct bl_command *const *at = bl_commands; *at; at++)
        if (!(*at)->hidden)
            fprintf(out, "  %-10s %s\n", (*at)->name, (*at)->summary);
    fputs("  help       Print help, of a command when one is named\n\nOptions:\n"
          "      --home PATH  Where boxes and images are kept (BOXLITE_HOME; default ~/.boxlite)\n"
          "      --debug      Say what happens, on standard error\n"
          "  -V, --version    Print the version\n"
          "  -h, --help       Print this help; behind a command: the help of that command\n\n"
          "Start here:\n"
          "  boxlite run busybox echo hello\n"
          "  boxlite run -it --rm busybox sh\n",
          out);
}

/* help() - `boxlite help [COMMAND]` */
static int help(struct bl_cli *cli, char **argv)
{
    int words;

    if (!argv[0]) {
        print_overview(stdout);
        return 0;
    }
    const struct bl_command *command = bl_command_find(argv, &words);

    if (!command)
        return bl_cli_usage(cli, "unknown command '%s'", argv[0]);
    bl_options_help(stdout, command, bl_cli_globals);
    return 0;
}

/* use_globals() - Act on the options that every command has. Return: 0; else an exit code */
static int use_globals(struct bl_cli *cli, const struct globals *globals)
{
    cli->home = globals->home;
    cli->debug = globals->debug;
    if (cli->home && cli->home[0] != '/')
        return bl_cli_usage(cli, "BoxLite home must be an absolute path, got: %s", cli->home);
    bl_log_set(print_log, NULL, cli->debug ? BL_LOG_DEBUG : BL_LOG_WARN);
    return 0;
}

/* run_command() - Everything from the command's name on. @argv[0] is the last word of the name */
static int run_command(struct bl_cli *cli, int argc, char **argv, struct globals *globals)
{
    const struct bl_command *command = cli->command;
    cleanup_free void *values = calloc(1, command->values_bytes + 1);
    cleanup_free char **operands = NULL;
    char complaint[512];
    int code;

    if (!values)
        return BL_EXIT_FAILURE;
    switch (bl_options_parse(command, bl_cli_globals, argc, argv, values, globals, &cli->operands, complaint, sizeof complaint)) {
    case BL_PARSE_HELP:
        bl_options_help(stdout, command, bl_cli_globals);
        code = 0;
        break;
    case BL_PARSE_USAGE:
        code = bl_cli_usage(cli, "%s", complaint);
        break;
    case BL_PARSE_OK:
    default:
        code = use_globals(cli, globals);
        if (code == 0 && command->catches_signals)
            cli->signal_fd = bl_signals_catch();
        if (code == 0)
            code = command->run(cli, values);
        break;
    }
    operands = cli->operands.list;
    bl_options_free(command, values);
    if (cli->runtime)
        bl_runtime_close(cli->runtime);
    return code;
}

/* dispatch() - From the program's arguments to an exit code */
static int dispatch(struct bl_cli *cli, int argc, char **argv)
{
    struct globals globals = {0};
    struct bl_operands operands;
    char complaint[512];
    enum bl_parse_result result =
        bl_options_parse(&top, bl_cli_globals, argc, argv, &globals, &globals, &operands, complaint, sizeof complaint);
    cleanup_free char **words_given = operands.list;
    int words;

    if (result == BL_PARSE_USAGE)
        return bl_cli_usage(cli, "%s", complaint);
    if (result == BL_PARSE_HELP || (operands.count == 0 && !globals.version)) {
        print_overview(result == BL_PARSE_HELP ? stdout : stderr);
        return result == BL_PARSE_HELP ? 0 : BL_EXIT_USAGE;
    }
    if (globals.version) {
        puts("boxlite " BL_VERSION);
        return 0;
    }
    if (!strcmp(words_given[0], "help"))
        return help(cli, words_given + 1);
    cli->command = bl_command_find(words_given, &words);
    if (!cli->command)
        return bl_cli_usage(cli, "unknown command '%s'", words_given[0]);
    return run_command(cli, operands.count - words + 1, words_given + words - 1, &globals);
}

int main(int argc, char **argv)
{
    struct bl_cli cli = {.signal_fd = -1};
    int code;

    /* A descriptor of ours must never become 0, 1 or 2 because the caller had closed one of them. */
    for (int fd = open("/dev/null", O_RDWR | O_CLOEXEC); fd >= 0; fd = dup(fd))
        if (fd > 2) {
            close(fd);
            break;
        }
    signal(SIGPIPE, SIG_IGN);
    code = dispatch(&cli, argc, argv);
    if (fflush(stdout) != 0 || ferror(stdout)) {
        /* A reader that went away has seen what it wanted. */
        if (errno == EPIPE)
            return code ? code : 128 + SIGPIPE;
        bl_cli_complain("write to standard output: %s", strerror(errno));
        return code ? code : BL_EXIT_FAILURE;
    }
    return code;
}
