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

/* What may stand in front of the command. */
static const struct bl_option top_options[] = {
    {"version", 'V', BL_OPTION_FLAG, NULL, "Print the version", offsetof(struct bl_globals, version)},
    {NULL},
};

static const struct bl_command top = {
    .name = "",
    .options = top_options,
    .most_operands = -1,
    .options_end_at_operand = true,
};

static void print_log(enum bl_log_level level, const char *line, void *data)
{
    (void)data;
    fprintf(stderr, "%s: %s\n", bl_log_level_name(level), line);
}

/* help() - `boxlite help [COMMAND]` */
static int help(struct bl_cli *cli, char **argv)
{
    int words;

    if (!argv[0]) {
        bl_commands_help(stdout);
        return 0;
    }
    const struct bl_command *command = bl_command_find(argv, &words);

    if (!command)
        return bl_cli_usage(cli, "unknown command '%s'", argv[0]);
    bl_options_help(stdout, command, bl_cli_globals);
    return 0;
}

/* use_globals() - Act on the options that every command has. Return: 0; else an exit code */
static int use_globals(struct bl_cli *cli, const struct bl_globals *globals)
{
    cli->home = globals->home;
    cli->config_path = globals->config;
    cli->debug = globals->debug;
    if (cli->home && cli->home[0] != '/')
        return bl_cli_usage(cli, "BoxLite home must be an absolute path, got: %s", cli->home);
    bl_log_set(print_log, NULL, cli->debug ? BL_LOG_DEBUG : BL_LOG_WARN);
    return 0;
}

/* run_command() - Everything from the command's name on. @argv[0] is the last word of the name */
static int run_command(struct bl_cli *cli, int argc, char **argv, struct bl_globals *globals)
{
    const struct bl_command *command = cli->command;
    cleanup_free void *values = calloc(1, command->values_bytes + 1);
    char complaint[512];
    int code;

    if (!values)
        return bl_cli_fail_memory(cli);
    switch (bl_options_parse(command, bl_cli_globals, argc, argv, values, globals, &cli->operands, complaint, sizeof complaint)) {
    case BL_PARSE_HELP:
        bl_options_help(stdout, command, bl_cli_globals);
        code = 0;
        break;
    case BL_PARSE_USAGE:
        code = bl_cli_usage(cli, "%s", complaint);
        break;
    case BL_PARSE_NO_MEMORY:
        code = bl_cli_fail_memory(cli);
        break;
    case BL_PARSE_OK:
    default:
        code = use_globals(cli, globals);
        if (code == 0 && command->catches_signals)
            cli->signal_fd = bl_signals_catch();
        if (code == 0)
            code = command->run(cli, values);
        /* Not when it was interrupted. */
        if (command->changes && cli->runtime && code <= 128)
            bl_cli_revive(cli);
        break;
    }
    free(cli->operands.list);
    cli->operands = (struct bl_operands){0};
    bl_options_free(command, values);
    if (cli->runtime)
        bl_runtime_close(cli->runtime);
    bl_user_config_free(&cli->config);
    return code;
}

/* dispatch() - From the program's arguments to an exit code */
static int dispatch(struct bl_cli *cli, int argc, char **argv)
{
    struct bl_globals globals = {0};
    struct bl_operands operands;
    char complaint[512];
    enum bl_parse_result result =
        bl_options_parse(&top, bl_cli_globals, argc, argv, &globals, &globals, &operands, complaint, sizeof complaint);
    cleanup_free char **words_given = operands.list;
    int words;

    if (result == BL_PARSE_NO_MEMORY)
        return bl_cli_fail_memory(cli);
    if (result == BL_PARSE_USAGE)
        return bl_cli_usage(cli, "%s", complaint);
    if (result == BL_PARSE_HELP || (operands.count == 0 && !globals.version)) {
        bl_commands_help(result == BL_PARSE_HELP ? stdout : stderr);
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
