/* SPDX-License-Identifier: Apache-2.0 */
/* test_cli_options.c - tables to values, the commands' own tables, durations, sizes, environments */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/strings.h"
#include "cli/cli.h"

struct values {
    bool flag;
    const char *text, *choice;
    long long number, memory;
    int64_t duration;
    char **list;
};

static const struct bl_option options[] = {
    {"flag", 'f', BL_OPTION_FLAG, NULL, "A flag", offsetof(struct values, flag)},
    {"text", 't', BL_OPTION_TEXT, "TEXT", "A text", offsetof(struct values, text)},
    {"choice", 0, BL_OPTION_CHOICE, "a|bc", "A choice", offsetof(struct values, choice), .choices = "a|bc"},
    {"number", 'n', BL_OPTION_NUMBER, "N", "A number", offsetof(struct values, number), .least = 1, .most = 9},
    {"memory", 'm', BL_OPTION_MEMORY, "MIB", "A size", offsetof(struct values, memory), .least = 1, .most = 4096},
    {"time", 0, BL_OPTION_DURATION, "TIME", "A time", offsetof(struct values, duration)},
    {"list", 'l', BL_OPTION_LIST, "X", "A list\nof things", offsetof(struct values, list)},
    {"secret", 0, BL_OPTION_FLAG, NULL, NULL, offsetof(struct values, flag)},
    {NULL},
};

static struct bl_command command = {
    .name = "try",
    .summary = "Try things",
    .usage = "[OPTIONS] THING...\n--other",
    .example = "boxlite try it",
    .options = options,
    .least_operands = 0,
    .most_operands = -1,
};

static struct values values;
static struct bl_globals globals;
static struct bl_operands operands;
static char complaint[256];

static void forget(void)
{
    bl_options_free(&command, &values);
    free(operands.list);
    operands = (struct bl_operands){0};
    values = (struct values){0};
    globals = (struct bl_globals){0};
    complaint[0] = '\0';
}

/* parse() - Parse words that are separated by single spaces */
static enum bl_parse_result parse(const char *line)
{
    static char copy[512];
    static char *argv[64];
    int argc = 1;
    char *rest = NULL;

    forget();
    snprintf(copy, sizeof copy, "%s", line);
    argv[0] = copy + sizeof copy - 1;
    for (char *word = strtok_r(copy, " ", &rest); word; word = strtok_r(NULL, " ", &rest))
        argv[argc++] = word;
    argv[argc] = NULL;
    return bl_options_parse(&command, bl_cli_globals, argc, argv, &values, &globals, &operands, complaint, sizeof complaint);
}

static int after_each(void **state)
{
    (void)state;
    forget();
    command.options_end_at_operand = false;
    command.least_operands = 0;
    command.most_operands = -1;
    return 0;
}

static void every_kind_is_stored(void **state)
{
    (void)state;
    assert_int_equal(parse("one -f --text=a=b --choice bc -n 9 -m2g --time 1m30s -l x --list y two"), BL_PARSE_OK);
    assert_true(values.flag);
    assert_string_equal(values.text, "a=b");
    assert_string_equal(values.choice, "bc");
    assert_int_equal(values.number, 9);
    assert_int_equal(values.memory, 2048);
    assert_int_equal(values.duration, 90000);
    assert_string_equal(values.list[0], "x");
    assert_string_equal(values.list[1], "y");
    assert_null(values.list[2]);
    assert_int_equal(operands.count, 2);
    assert_string_equal(operands.list[0], "one");
    assert_string_equal(operands.list[1], "two");
    assert_null(operands.list[2]);
    assert_int_equal(operands.before_dashes, -1);
}

static void globals_work_anywhere(void **state)
{
    (void)state;
    assert_int_equal(parse("one --debug two --home /x -f"), BL_PARSE_OK);
    assert_true(globals.debug);
    assert_string_equal(globals.home, "/x");
    assert_true(values.flag);
}

static void dashes_are_found(void **state)
{
    (void)state;
    assert_int_equal(parse("box -f -- ls -f --help"), BL_PARSE_OK);
    assert_int_equal(operands.before_dashes, 1);
    assert_int_equal(operands.count, 4);
    assert_string_equal(operands.list[2], "-f");
    assert_int_equal(parse("-- -f"), BL_PARSE_OK);
    assert_int_equal(operands.before_dashes, 0);
    assert_false(values.flag);
}

static void options_end_at_the_first_operand_where_they_shall(void **state)
{
    (void)state;
    command.options_end_at_operand = true;
    assert_int_equal(parse("-f image ls --text -n"), BL_PARSE_OK);
    assert_int_equal(operands.count, 4);
    assert_string_equal(operands.list[2], "--text");
    assert_null(values.text);
    assert_int_equal(parse("image -- ls"), BL_PARSE_OK);
    assert_int_equal(operands.count, 2);
    assert_string_equal(operands.list[1], "ls");
    assert_int_equal(parse("image sh -- x"), BL_PARSE_OK);
    assert_int_equal(operands.count, 4);
}

static void mistakes_are_named(void **state)
{
    static const struct {
        const char *line, *words;
    } mistakes[] = {
        {"--nothing", "unexpected argument '--nothing'"},
        {"--nothing=3", "unexpected argument '--nothing'"},
        {"-x", "unexpected argument '-x'"},
        {"-fx", "unexpected argument '-x'"},
        {"--tex a", "unexpected argument '--tex'"}, /* no abbreviations */
        {"--text", "a value is required for '--text'"},
        {"-n", "a value is required for '-n'"},
        {"--flag=yes", "'--flag' takes no value"},
        {"--text=", "--text cannot be empty"},
        {"--list=", "--list cannot be empty"},
        {"--choice b", "invalid value 'b' for '--choice': expected one of a|bc"},
        {"--choice a|bc", "invalid value 'a|bc'"},
        {"-n 10", "expected a whole number from 1 to 9"},
        {"-n 1x", "expected a whole number"},
        {"-m 5000", "invalid value '5000' for '--memory'"},
        {"-m 1t", "invalid value '1t'"},
        {"--time fast", "invalid value 'fast' for '--time'"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof mistakes / sizeof *mistakes; i++) {
        assert_int_equal(parse(mistakes[i].line), BL_PARSE_USAGE);
        if (!strstr(complaint, mistakes[i].words))
            fail_msg("'%s': '%s' lacks '%s'", mistakes[i].line, complaint, mistakes[i].words);
    }
}

static void operands_are_counted(void **state)
{
    (void)state;
    command.least_operands = 1;
    command.most_operands = 2;
    command.operands = "THING";
    assert_int_equal(parse("-f"), BL_PARSE_USAGE);
    assert_string_equal(complaint, "required: THING");
    assert_int_equal(parse("a b"), BL_PARSE_OK);
    assert_int_equal(parse("a b c"), BL_PARSE_USAGE);
    assert_string_equal(complaint, "unexpected argument 'c'");
    assert_int_equal(parse("--help"), BL_PARSE_HELP);
    assert_int_equal(parse("-fh"), BL_PARSE_HELP);
}

static void help_is_made_from_the_table(void **state)
{
    cleanup_free char *text = NULL;
    size_t length = 0;
    FILE *out = open_memstream(&text, &length);

    (void)state;
    bl_options_help(out, &command, bl_cli_globals);
    fclose(out);
    assert_non_null(strstr(text, "Try things\n\nUsage: boxlite try [OPTIONS] THING...\n       boxlite try --other\n"));
    assert_non_null(strstr(text, "\n  -f, --flag"));
    assert_non_null(strstr(text, "\n      --choice a|bc "));
    assert_non_null(strstr(text, "A list\n"));
    assert_non_null(strstr(text, "of things\n"));
    assert_null(strstr(text, "secret"));
    assert_non_null(strstr(text, "--home PATH"));
    assert_non_null(strstr(text, "Examples:\n  boxlite try it\n"));
}

/* Each command of ours: no letter or name twice, every line fits a terminal, everything has a text. */
static void own_tables_are_sound(void **state)
{
    (void)state;
    for (const struct bl_command *const *at = bl_commands; *at; at++) {
        bool letters[256] = {['h'] = true};
        cleanup_free char *text = NULL;
        size_t length = 0;
        FILE *out = open_memstream(&text, &length);
        char *rest = NULL;

        assert_non_null((*at)->summary);
        assert_non_null((*at)->example);
        assert_non_null((*at)->run);
        for (const struct bl_option *one = (*at)->options; one && one->name; one++) {
            assert_true(one->offset < (*at)->values_bytes);
            assert_false(one->letter && letters[(unsigned char)one->letter]);
            letters[(unsigned char)one->letter] = one->letter != 0;
            assert_false(!strcmp(one->name, "home") || !strcmp(one->name, "debug") || !strcmp(one->name, "help"));
            for (const struct bl_option *other = one + 1; other->name; other++)
                assert_string_not_equal(one->name, other->name);
            assert_true((one->kind == BL_OPTION_CHOICE) == (one->choices != NULL));
        }
        bl_options_help(out, *at, bl_cli_globals);
        fclose(out);
        for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
            if (strlen(line) > 110)
                fail_msg("boxlite %s --help has a line of %zu characters: %s", (*at)->name, strlen(line), line);
    }
}

static void commands_have_aliases(void **state)
{
    char *list[] = {(char[]){"ps"}, NULL};
    char *load[] = {(char[]){"images"}, (char[]){"load"}, (char[]){"x"}, NULL};
    char *images[] = {(char[]){"images"}, (char[]){"-q"}, NULL};
    char *none[] = {(char[]){"im"}, NULL};
    int words;

    (void)state;
    assert_ptr_equal(bl_command_find(list, &words), &bl_command_list);
    assert_int_equal(words, 1);
    assert_ptr_equal(bl_command_find(load, &words), &bl_command_load);
    assert_int_equal(words, 2);
    assert_ptr_equal(bl_command_find(images, &words), &bl_command_images);
    assert_int_equal(words, 1);
    assert_null(bl_command_find(none, &words));
}

static void durations(void **state)
{
    static const struct {
        const char *text;
        int64_t ms; /* -1: no duration */
    } cases[] = {
        {"0", 0},          {"90", 90000},
        {"1.5", 1500},     {"500ms", 500},
        {"10s", 10000},    {"1m30s", 90000},
        {"1h", 3600000},   {"2d", 172800000},
        {"1.5h", 5400000}, {"0.5s", 500},
        {"", -1},          {"s", -1},
        {"-1", -1},        {"1m30", -1},
        {"1x", -1},        {"1 s", -1},
        {"inf", -1},       {"0x10", -1},
        {".5", -1},        {"1.2.3", -1},
        {"1e3", -1},       {"9999999999999999999999", -1},
        {"4000000d", -1},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int64_t ms = -1;
        int result = bl_parse_duration(cases[i].text, &ms);

        if ((result < 0) != (cases[i].ms < 0) || (result == 0 && ms != cases[i].ms))
            fail_msg("'%s' gave %d, %lld ms", cases[i].text, result, (long long)ms);
    }
}

static void memory_sizes(void **state)
{
    static const struct {
        const char *text;
        long long mib;
    } cases[] = {{"512", 512}, {"512m", 512}, {"2g", 2048}, {"2GiB", 2048}, {"1gb", 1024}, {"64MB", 64},
                 {"", -1},     {"m", -1},     {"-1", -1},   {"1.5g", -1},   {"2t", -1},    {"99999999999999999999", -1}};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        long long mib = -1;
        int result = bl_parse_memory(cases[i].text, &mib);

        if ((result < 0) != (cases[i].mib < 0) || (result == 0 && mib != cases[i].mib))
            fail_msg("'%s' gave %d, %lld MiB", cases[i].text, result, mib);
    }
}

static void environments(void **state)
{
    char path[] = "/tmp/boxlite-env-XXXXXX";
    int fd = mkstemp(path);
    static const char text[] = "# comment\n\nA=file\nB=file\r\n  TAKEN\n";
    char *files[] = {path, NULL};
    char *pairs[] = {(char[]){"A=line"}, (char[]){"C=x=y"}, (char[]){"TAKEN"}, (char[]){"MISSING_HERE"}, (char[]){"D="}, NULL};
    char *wrong[] = {(char[]){"=x"}, NULL};
    struct bl_error err = BL_ERROR_INIT;
    cleanup_strings char **env = NULL;
    char **nothing = NULL;

    (void)state;
    assert_int_equal(write(fd, text, sizeof text - 1), sizeof text - 1);
    close(fd);
    setenv("TAKEN", "from here", 1);
    unsetenv("MISSING_HERE");
    assert_int_equal(bl_cli_environment(pairs, files, &env, &err), 0);
    assert_string_equal(bl_strings_get_env((const char *const *)env, "A"), "line");
    assert_string_equal(bl_strings_get_env((const char *const *)env, "B"), "file");
    assert_string_equal(bl_strings_get_env((const char *const *)env, "C"), "x=y");
    assert_string_equal(bl_strings_get_env((const char *const *)env, "TAKEN"), "from here");
    assert_string_equal(bl_strings_get_env((const char *const *)env, "D"), "");
    assert_null(bl_strings_get_env((const char *const *)env, "MISSING_HERE"));
    assert_int_equal(bl_cli_environment(wrong, NULL, &nothing, &err), -1);
    assert_non_null(strstr(err.message, "KEY=VALUE"));
    unlink(path);
    assert_int_equal(bl_cli_environment(NULL, files, &nothing, &err), -1);
    assert_int_equal(err.code, BL_INVALID_ARGUMENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(every_kind_is_stored, after_each),
        cmocka_unit_test_teardown(globals_work_anywhere, after_each),
        cmocka_unit_test_teardown(dashes_are_found, after_each),
        cmocka_unit_test_teardown(options_end_at_the_first_operand_where_they_shall, after_each),
        cmocka_unit_test_teardown(mistakes_are_named, after_each),
        cmocka_unit_test_teardown(operands_are_counted, after_each),
        cmocka_unit_test_teardown(help_is_made_from_the_table, after_each),
        cmocka_unit_test(own_tables_are_sound),
        cmocka_unit_test(commands_have_aliases),
        cmocka_unit_test(durations),
        cmocka_unit_test(memory_sizes),
        cmocka_unit_test(environments),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
