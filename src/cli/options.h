/* SPDX-License-Identifier: Apache-2.0 */
/*
 * options.h - what a command understands, as tables
 *
 * One table per command says which options there are, what they take and where their value goes; parsing and `--help` are both
 * made from it, so they can't disagree. getopt_long() does the scanning. What is stricter than getopt: long names are written
 * in full, an option that is given twice takes the last value (lists collect), and values are checked where they are read.
 *
 * Usage errors are one line on standard error and "See 'boxlite X --help'."; the command then exits with 2.
 */
#ifndef BL_CLI_OPTIONS_H
#define BL_CLI_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum bl_option_kind {
    BL_OPTION_FLAG,     /* bool */
    BL_OPTION_TEXT,     /* const char *; points into argv */
    BL_OPTION_CHOICE,   /* const char *; one of the words in `choices` */
    BL_OPTION_NUMBER,   /* long long within least..most */
    BL_OPTION_MEMORY,   /* long long, in MiB: a plain number, or with m or g behind it */
    BL_OPTION_DURATION, /* int64_t, in milliseconds: plain seconds, or "1m30s", "500ms" */
    BL_OPTION_LIST,     /* char **, allocated, ends with NULL; each use appends */
};

struct bl_option {
    const char *name; /* long form without dashes; NULL ends a table */
    char letter;      /* short form; 0: none */
    enum bl_option_kind kind;
    const char *value; /* what --help calls the value */
    const char *help;  /* one line; "\n" for a second; NULL: works, but is not shown */
    size_t offset;     /* of the member in the command's values */
    const char *choices;
    long long least, most;
    bool may_be_empty; /* TEXT: "" is a value */
};

struct bl_cli;

struct bl_command {
    const char *name; /* "run"; two words for what belongs to a group: "images rm" */
    const char *aliases[4];
    const char *summary; /* one line, in the list of commands and on top of its help */
    const char *usage;   /* behind the name; a "\n" begins another form */
    const char *about;   /* a paragraph or more; may be NULL */
    const char *example; /* lines */
    const char *hint;    /* a line behind each usage error; may be NULL */
    const struct bl_option *options;
    size_t values_bytes;         /* size of the struct that `offset` points into */
    int least_operands;          /* fewer: "required: <operands>" */
    int most_operands;           /* -1: no limit */
    const char *operands;        /* what is required, in words of the usage line */
    int failure;                 /* exit code when boxlite itself fails; 0 means 1 */
    bool options_end_at_operand; /* what comes behind the first operand belongs to the user's command */
    bool catches_signals;        /* gets signals through bl_cli.signal_fd instead of dying of them */
    bool hidden;
    bool changes; /* changes boxes: once done, it also starts those that died and that a restart policy wants back */
    void (*defaults)(void *values); /* may be NULL */
    int (*run)(struct bl_cli *cli, void *values);
};

/* Operands of one invocation. Pointers go into argv; the list itself is allocated and ends with NULL. */
struct bl_operands {
    char **list;
    int count;
    int before_dashes; /* how many came before "--"; -1: there was none */
};

enum bl_parse_result { BL_PARSE_OK, BL_PARSE_HELP, BL_PARSE_USAGE, BL_PARSE_NO_MEMORY };

/*
 * bl_options_parse() - Read the arguments behind a command's name
 * @globals: options that every command has, over @global_values
 * @argv: argv[0] is skipped; ends with NULL
 * @complaint: on BL_PARSE_USAGE, what is wrong in one line (at least 256 bytes)
 *
 * Lists in @values are to be freed with bl_options_free() whatever the result.
 */
enum bl_parse_result bl_options_parse(const struct bl_command *command, const struct bl_option *globals, int argc, char **argv,
                                      void *values, void *global_values, struct bl_operands *operands, char *complaint,
                                      size_t size);
void bl_options_free(const struct bl_command *command, void *values);

/* bl_options_help() - Print the help of one command. */
void bl_options_help(FILE *out, const struct bl_command *command, const struct bl_option *globals);

/* bl_parse_duration() - "90", "1m30s", "500ms", "1.5h" to milliseconds. Return: 0; -1 when it is none, or beyond 10 years */
int bl_parse_duration(const char *text, int64_t *out_ms);
/* bl_parse_memory() - "512", "512m", "2g", "2GiB" to MiB. Return: 0; -1 */
int bl_parse_memory(const char *text, long long *out_mib);

#endif
