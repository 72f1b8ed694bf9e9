/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli.h - the command line: one file per command over core.h and image.h
 *
 * Exit codes: 0 success; 1 a failure ("Error: ..." on standard error); 2 usage. `run` and `exec` exit with the code of the command
 * they ran, 128 + N when signal N ended it, 126 and 127 when it could not be executed. When boxlite itself failed before that,
 * `run` exits with 125, which no command in the box is likely to use. A command that was interrupted exits with 128 + the signal.
 *
 * One process is one command, in one thread; what is static here is so for that reason.
 */
#ifndef BL_CLI_CLI_H
#define BL_CLI_CLI_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/user_config.h"
#include "cli/options.h"
#include "core/core.h"

#define BL_EXIT_FAILURE 1
#define BL_EXIT_USAGE   2
#define BL_EXIT_BOXLITE 125 /* of run: boxlite failed before the user's command started */

/* What belongs to one run of the program. */
struct bl_cli {
    const struct bl_command *command;
    struct bl_operands operands;
    const char *home;        /* --home; NULL: the configuration's, or the default */
    const char *config_path; /* --config; NULL: the usual file */
    struct bl_user_config config;
    bool config_loaded;
    bool debug;
    int signal_fd; /* a signalfd of those in terminal.h for commands that catch signals; else -1 */
    struct bl_runtime *runtime;
};

/* Values of the options that every command has. */
struct bl_globals {
    const char *home, *config;
    bool debug;
    bool version; /* only in front of a command */
};

extern const struct bl_option bl_cli_globals[];

/* The commands, in the order of the help. */
extern const struct bl_command bl_command_run, bl_command_create, bl_command_exec, bl_command_start, bl_command_stop,
    bl_command_restart, bl_command_rm, bl_command_wait, bl_command_list, bl_command_inspect, bl_command_logs, bl_command_cp,
    bl_command_load, bl_command_pull, bl_command_login, bl_command_logout, bl_command_images, bl_command_rmi, bl_command_tag,
    bl_command_save, bl_command_image_inspect, bl_command_image_history, bl_command_image_prune, bl_command_gc, bl_command_doctor,
    bl_command_info, bl_command_version, bl_command_completion;
/* All of them, ends with NULL. */
extern const struct bl_command *const bl_commands[];
/*
 * bl_command_find() - By name or alias
 * @words: 1 or 2, how many of argv the name took
 */
const struct bl_command *bl_command_find(char **argv, int *words);

/* bl_commands_help() - What `boxlite --help` prints: all commands, a line each. */
void bl_commands_help(FILE *out);

/* bl_cli_configure() - Read the user's configuration, once. Return: 0; -1 after saying what is wrong */
int bl_cli_configure(struct bl_cli *cli);
/* bl_cli_home() - The home that is meant, once configured; NULL: BOXLITE_HOME, or the default. */
const char *bl_cli_home(const struct bl_cli *cli);
/* bl_cli_open() - Open the runtime of this command, once. Return: it; NULL after saying why not */
struct bl_runtime *bl_cli_open(struct bl_cli *cli);
/* bl_cli_begin() - As bl_cli_open(), but its database is opened when it is needed (bl_runtime_begin()) */
struct bl_runtime *bl_cli_begin(struct bl_cli *cli);
/* bl_cli_usage() - Say what is wrong with the arguments. Return: always BL_EXIT_USAGE */
int bl_cli_usage(const struct bl_cli *cli, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* bl_cli_fail_memory() - Say that memory ran out. Return: as bl_cli_fail() */
int bl_cli_fail_memory(const struct bl_cli *cli);
/* bl_cli_fail() - Say what failed. Return: the command's exit code for it; 128 + N when signal N cancelled it */
int bl_cli_fail(const struct bl_cli *cli, const struct bl_error *err);
/* bl_cli_complain() - "Error: ..." on standard error, safe for a terminal. */
void bl_cli_complain(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* bl_cli_warn() - "Warning: ..." likewise. */
void bl_cli_warn(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/*
 * bl_cli_for_each() - Do something to each of the boxes that were named, print the name of each that went well, go on after
 * failures Return: exit code
 */
int bl_cli_for_each(struct bl_cli *cli, int (*act)(struct bl_cli *cli, const char *name, void *values, struct bl_error *err),
                    void *values);

/* bl_cli_revive() - Start boxes that died and whose restart policy wants them back; says what failed, on standard error. */
void bl_cli_revive(struct bl_cli *cli);

/* bl_cli_environment() - Turn -e and --env-file into KEY=value. Return: 0 and *@out (allocated); -1 */
int bl_cli_environment(char *const *pairs, char *const *files, char ***out, struct bl_error *err);

#endif
