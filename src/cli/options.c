/* SPDX-License-Identifier: Apache-2.0 */
/*
 * options.c - from a table to values, and to a help text
 *
 * The scanner runs in getopt's "return in order" mode, so that operands and options may be mixed, the position of "--" is known
 * (exec needs it), and a command that carries the user's own command stops at its first operand.
 */
#include "cli/options.h"

#include <getopt.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/strings.h"

#define OPTIONS_MAX 48 /* of one command, globals included */
#define HELP_CODE   1000

/* The tables of one parse, in getopt's form. */
struct scanner {
    char letters[2 * OPTIONS_MAX + 4];
    struct option longs[OPTIONS_MAX + 1];
    const struct bl_option *options[OPTIONS_MAX]; /* by the code that getopt_long() returns, minus 256 */
    bool global[OPTIONS_MAX];
    int count;
};

static enum bl_parse_result __attribute__((format(printf, 3, 4))) complain(char *complaint, size_t size, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    vsnprintf(complaint, size, fmt, args);
    va_end(args);
    return BL_PARSE_USAGE;
}

static void add_options(struct scanner *scanner, const struct bl_option *options, bool global)
{
    char *letters = scanner->letters + strlen(scanner->letters);

    for (const struct bl_option *option = options; option && option->name && scanner->count < OPTIONS_MAX; option++) {
        int argument = option->kind == BL_OPTION_FLAG ? no_argument : required_argument;

        scanner->options[scanner->count] = option;
        scanner->global[scanner->count] = global;
        scanner->longs[scanner->count] = (struct option){option->name, argument, NULL, 256 + scanner->count};
        scanner->count++;
        if (option->letter) {
            *letters++ = option->letter;
            if (argument == required_argument)
                *letters++ = ':';
        }
    }
    *letters = '\0';
}

static int find_letter(const struct scanner *scanner, int letter)
{
    for (int i = 0; i < scanner->count; i++)
        if (scanner->options[i]->letter == letter)
            return i;
    return -1;
}

int bl_parse_duration(const char *text, int64_t *out_ms)
{
    static const struct {
        const char *name;
        double ms;
    } units[] = {{"ms", 1}, {"s", 1000}, {"m", 60e3}, {"h", 3600e3}, {"d", 86400e3}};
    const double most = 10 * 366 * 86400e3;
    double sum = 0;
    const char *at = text;

    if (!*at)
        return -1;
    while (*at) {
        /* strtod() would take signs, "inf" and hexadecimal numbers too. */
        size_t digits = strspn(at, "0123456789.");
        char *end = NULL;
        char number[32];

        if (digits == 0 || digits >= sizeof number || at[0] == '.')
            return -1;
        memcpy(number, at, digits);
        number[digits] = '\0';
        double value = strtod(number, &end);

        if (*end)
            return -1;
        at += digits;
        if (!*at) {
            /* Plain seconds stand alone: "1m30" is a mistake. */
            if (at != text + digits)
                return -1;
            sum = value * 1000;
            break;
        }
        size_t letters = strspn(at, "abcdefghijklmnopqrstuvwxyz");
        double unit = 0;

        for (size_t i = 0; i < sizeof units / sizeof *units; i++)
            if (strlen(units[i].name) == letters && !strncmp(units[i].name, at, letters))
                unit = units[i].ms;
        if (unit == 0)
            return -1;
        sum += value * unit;
        at += letters;
    }
    if (sum > most)
        return -1;
    *out_ms = (int64_t)(sum + 0.5);
    return 0;
}

int bl_parse_memory(const char *text, long long *out_mib)
{
    static const struct {
        const char *suffix;
        long long mib;
    } units[] = {{"", 1}, {"m", 1}, {"mb", 1}, {"mib", 1}, {"g", 1024}, {"gb", 1024}, {"gib", 1024}};
    size_t digits = strspn(text, "0123456789");
    char number[16];

    if (digits == 0 || digits >= sizeof number)
        return -1;
    memcpy(number, text, digits);
    number[digits] = '\0';
    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        if (!strcasecmp(units[i].suffix, text + digits)) {
            long long value;

            if (bl_parse_number(number, 0, 1LL << 32, &value) < 0)
                return -1;
            *out_mib = value * units[i].mib;
            return 0;
        }
    return -1;
}

static bool is_choice(const char *choices, const char *text)
{
    size_t length = strlen(text);

    for (const char *at = choices; *at;) {
        size_t word = strcspn(at, "|");

        if (word == length && !strncmp(at, text, word))
            return true;
        at += word + (at[word] == '|');
    }
    return false;
}

/* store() - Put one option's value where its table says */
static enum bl_parse_result store(const struct bl_option *option, const char *text, void *values, char *complaint, size_t size)
{
    void *at = (char *)values + option->offset; /* NOLINT(clang-analyzer-core.NullDereference): getopt knows only ours */

    switch (option->kind) {
    case BL_OPTION_FLAG:
        *(bool *)at = true;
        return BL_PARSE_OK;
    case BL_OPTION_TEXT:
        if (!*text && !option->may_be_empty)
            return complain(complaint, size, "--%s cannot be empty", option->name);
        *(const char **)at = text;
        return BL_PARSE_OK;
    case BL_OPTION_CHOICE:
        if (!is_choice(option->choices, text))
            return complain(complaint, size, "invalid value '%.64s' for '--%s': expected one of %s", text, option->name,
                            option->choices);
        *(const char **)at = text;
        return BL_PARSE_OK;
    case BL_OPTION_NUMBER:
        if (bl_parse_number(text, option->least, option->most, at) < 0)
            return complain(complaint, size, "invalid value '%.64s' for '--%s': expected a whole number from %lld to %lld", text,
                            option->name, option->least, option->most);
        return BL_PARSE_OK;
    case BL_OPTION_MEMORY: {
        long long mib;

        if (bl_parse_memory(text, &mib) < 0 || mib < option->least || mib > option->most)
            return complain(complaint, size, "invalid value '%.64s' for '--%s': expected MiB, or as in 2g", text, option->name);
        *(long long *)at = mib;
        return BL_PARSE_OK;
    }
    case BL_OPTION_DURATION:
        if (bl_parse_duration(text, at) < 0)
            return complain(complaint, size, "invalid value '%.64s' for '--%s': expected seconds, or as in 1m30s or 500ms", text,
                            option->name);
        return BL_PARSE_OK;
    case BL_OPTION_LIST:
        if (!*text)
            return complain(complaint, size, "--%s cannot be empty", option->name);
        if (bl_strings_append(at, text) < 0)
            return BL_PARSE_NO_MEMORY;
        return BL_PARSE_OK;
    }
    return BL_PARSE_OK;
}

/* bad_option() - Say what getopt could not digest; @word is the argument it stood at */
static enum bl_parse_result bad_option(int code, const char *word, char *complaint, size_t size)
{
    bool is_long = bl_starts_with(word, "--");
    char letter[3] = {'-', (char)optopt, '\0'};
    const char *what = is_long ? word : letter;
    int length = is_long ? (int)strcspn(word, "=") : 2;

    if (code == ':')
        return complain(complaint, size, "a value is required for '%.*s'", length, what);
    if (is_long && optopt)
        return complain(complaint, size, "'%.*s' takes no value", length, what);
    return complain(complaint, size, "unexpected argument '%.*s'", length > 128 ? 128 : length, what);
}

static enum bl_parse_result check_operands(const struct bl_command *command, const struct bl_operands *operands, char *complaint,
                                           size_t size)
{
    if (operands->count < command->least_operands)
        return complain(complaint, size, "required: %s", command->operands ? command->operands : "an argument");
    if (command->most_operands >= 0 && operands->count > command->most_operands)
        return complain(complaint, size, "unexpected argument '%.128s'", operands->list[command->most_operands]);
    return BL_PARSE_OK;
}

/* scan() - Walk over the arguments; operands are collected, options stored */
static enum bl_parse_result scan(const struct bl_command *command, const struct scanner *scanner, int argc, char **argv,
                                 void *values, void *global_values, struct bl_operands *operands, char *complaint, size_t size)
{
    optind = 0; /* glibc: start over, and read the mode in front of the letters */
    opterr = 0;
    for (;;) {
        int at = optind ? optind : 1;
        int code = getopt_long(argc, argv, scanner->letters, scanner->longs, NULL);
        int index;

        if (code == -1)
            break;
        if (code == 1) {
            operands->list[operands->count++] = optarg;
            if (command->options_end_at_operand)
                break;
            continue;
        }
        if (code == 'h' || code == HELP_CODE)
            return BL_PARSE_HELP;
        if (code == '?' || code == ':')
            return bad_option(code, argv[at], complaint, size);
        index = code >= 256 ? code - 256 : find_letter(scanner, code);
        if (index < 0)
            return bad_option('?', argv[at], complaint, size);
        /* getopt takes any unambiguous start of a name; scripts that use one would break when an option is added. */
        if (code >= 256 && strcspn(argv[at] + 2, "=") != strlen(scanner->options[index]->name))
            return complain(complaint, size, "unexpected argument '%.*s'", (int)strcspn(argv[at], "="), argv[at]);

        enum bl_parse_result result =
            store(scanner->options[index], optarg, scanner->global[index] ? global_values : values, complaint, size);

        if (result != BL_PARSE_OK)
            return result;
    }
    if (optind > 1 && optind <= argc && !strcmp(argv[optind - 1], "--") &&
        !(operands->count && operands->list[operands->count - 1] == argv[optind - 1]))
        operands->before_dashes = operands->count;
    /* "run IMAGE -- COMMAND" is forgiven: no command is called "--". */
    if (command->options_end_at_operand && operands->before_dashes < 0 && optind < argc && !strcmp(argv[optind], "--"))
        optind++;
    while (optind < argc)
        operands->list[operands->count++] = argv[optind++];
    return BL_PARSE_OK;
}

enum bl_parse_result bl_options_parse(const struct bl_command *command, const struct bl_option *globals, int argc, char **argv,
                                      void *values, void *global_values, struct bl_operands *operands, char *complaint,
                                      size_t complaint_bytes)
{
    struct scanner scanner = {.letters = "-:h", .count = 0};
    enum bl_parse_result result;

    if (command->defaults)
        command->defaults(values);
    add_options(&scanner, command->options, false);
    add_options(&scanner, globals, true);
    scanner.longs[scanner.count] = (struct option){"help", no_argument, NULL, HELP_CODE};
    *operands = (struct bl_operands){calloc((size_t)argc + 1, sizeof(char *)), 0, -1};
    if (!operands->list)
        return BL_PARSE_NO_MEMORY;
    result = scan(command, &scanner, argc, argv, values, global_values, operands, complaint, complaint_bytes);
    return result == BL_PARSE_OK ? check_operands(command, operands, complaint, complaint_bytes) : result;
}

void bl_options_free(const struct bl_command *command, void *values)
{
    for (const struct bl_option *option = command->options; option && option->name; option++)
        if (option->kind == BL_OPTION_LIST) {
            char ***list = (void *)((char *)values + option->offset);

            bl_strings_free(*list);
            *list = NULL;
        }
}

/* print_indented() - Print lines, each indented; no newline at the end of @text is needed */
static void print_indented(FILE *out, const char *text, int indent)
{
    while (*text) {
        size_t line = strcspn(text, "\n");

        fprintf(out, "%*s%.*s\n", line ? indent : 0, "", (int)line, text);
        text += line + (text[line] == '\n');
    }
}

static int left_width(const struct bl_option *option)
{
    return 4 + 2 + (int)strlen(option->name) + (option->value ? 1 + (int)strlen(option->value) : 0);
}

static void print_options(FILE *out, const struct bl_option *options, int width)
{
    for (const struct bl_option *option = options; option && option->name; option++) {
        if (!option->help)
            continue;
        if (option->letter)
            fprintf(out, "  -%c, ", option->letter);
        else
            fputs("      ", out);
        int used = fprintf(out, "--%s%s%s", option->name, option->value ? " " : "", option->value ? option->value : "");
        size_t line = strcspn(option->help, "\n");

        fprintf(out, "%*s%.*s\n", width - used - 2, "", (int)line, option->help);
        if (option->help[line])
            print_indented(out, option->help + line + 1, width + 4);
    }
}

void bl_options_help(FILE *out, const struct bl_command *command, const struct bl_option *globals)
{
    const struct bl_option *tables[] = {command->options, globals};
    const char *usage = command->usage ? command->usage : "";
    int width = 0;
    bool has_options = false;

    for (size_t i = 0; i < 2; i++)
        for (const struct bl_option *option = tables[i]; option && option->name; option++)
            if (option->help && left_width(option) > width)
                width = left_width(option);
    for (const struct bl_option *option = command->options; option && option->name; option++)
        has_options |= option->help != NULL;
    width += 2;

    fprintf(out, "%s\n\n", command->summary);
    for (const char *lead = "Usage:"; *usage || *lead == 'U'; lead = "      ") {
        size_t line = strcspn(usage, "\n");

        fprintf(out, "%s boxlite %s%s%.*s\n", lead, command->name, line ? " " : "", (int)line, usage);
        usage += line + (usage[line] == '\n');
    }
    if (command->about) {
        fputc('\n', out);
        print_indented(out, command->about, 0);
    }
    if (command->aliases[0]) {
        fputs("\nAlso: ", out);
        for (size_t i = 0; i < sizeof command->aliases / sizeof *command->aliases && command->aliases[i]; i++)
            fprintf(out, "%sboxlite %s", i ? ", " : "", command->aliases[i]);
        fputc('\n', out);
    }
    if (has_options) {
        fputs("\nOptions:\n", out);
        print_options(out, command->options, width);
    }
    fputs("\nFor every command:\n", out);
    print_options(out, globals, width);
    fprintf(out, "  -h, --help%*sPrint this help\n", width - 8, "");
    if (command->example) {
        fputs("\nExamples:\n", out);
        print_indented(out, command->example, 2);
    }
}
