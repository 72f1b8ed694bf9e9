/* SPDX-License-Identifier: Apache-2.0 */
/* test_cli_format.c - tables, YAML, templates, times, sizes, and log lines */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "cli/format.h"
#include "cli/logs.h"

static void table_draws_sharp_lines(void **state)
{
    const char *const header[] = {"ID", "NAMES"};
    const char *const cells[] = {"abc", "wörk", "d", "e\033[1m"};
    cleanup_free char *text = NULL;
    size_t length = 0;
    FILE *out = open_memstream(&text, &length);

    (void)state;
    bl_table_print(out, header, 2, cells, 2);
    bl_table_print(out, header, 2, NULL, 0);
    fclose(out);
    assert_string_equal(text, "┌─────┬───────┐\n"
                              "│ ID  │ NAMES │\n"
                              "├─────┼───────┤\n"
                              "│ abc │ wörk  │\n"
                              "│ d   │ e?[1m │\n"
                              "└─────┴───────┘\n"
                              "┌────┬───────┐\n"
                              "│ ID │ NAMES │\n"
                              "└────┴───────┘\n");
}

static void assert_yaml(const char *json, const char *expected)
{
    cleanup_buffer struct bl_buffer text = BL_BUFFER_INIT(BL_FORMAT_BYTES_MAX);
    json_t *value = json_loads(json, JSON_DECODE_ANY, NULL);

    assert_non_null(value);
    assert_int_equal(bl_yaml_append(&text, value), 0);
    assert_int_equal(bl_buffer_append(&text, "", 1), 0);
    assert_string_equal((const char *)bl_buffer_data(&text), expected);
    json_decref(value);
}

static void yaml_has_blocks(void **state)
{
    (void)state;
    assert_yaml("[{\"ID\":\"abc\",\"State\":{\"Pid\":7,\"List\":[\"a\",{\"b\":null,\"c\":[]}]},\"Empty\":{}},\"x\",[1,2]]",
                "- ID: abc\n"
                "  State:\n"
                "    Pid: 7\n"
                "    List:\n"
                "    - a\n"
                "    - b: null\n"
                "      c: []\n"
                "  Empty: {}\n"
                "- x\n"
                "- - 1\n"
                "  - 2\n");
    assert_yaml("[]", "[]\n");
    assert_yaml("{\"version\":\"0.1.0\"}", "version: \"0.1.0\"\n");
}

static void yaml_quotes_what_would_change(void **state)
{
    static const char *const quoted[] = {
        "",   "yes", "No",  "null", "true", "1",   "1.5", "-x",  "- x",  "a: b", "a #b", "a ",
        " a", "a:",  "#",   "&a",   "*a",   "[x]", "{",   "~",   "0x1f", ".5",   ".inf", "2026-01-31 09:30:00 UTC",
        "é",  "y",   "a,b", "!x",   "%x",   "@x",  "`x",  "'x'", "=",    "<<"};
    static const char *const plain[] = {
        "abc", "busybox:latest", "/root/x-y_z", "docker.io/library/a:1", "Running", "a b c", "qemu (emulation)", "none", "x=y"};

    (void)state;
    for (size_t i = 0; i < sizeof quoted / sizeof *quoted; i++) {
        cleanup_buffer struct bl_buffer text = BL_BUFFER_INIT(BL_FORMAT_BYTES_MAX);
        json_t *value = json_string(quoted[i]);

        bl_yaml_append(&text, value);
        if (bl_buffer_data(&text)[0] != '"')
            fail_msg("'%s' is not quoted", quoted[i]);
        json_decref(value);
    }
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++) {
        cleanup_buffer struct bl_buffer text = BL_BUFFER_INIT(BL_FORMAT_BYTES_MAX);
        json_t *value = json_string(plain[i]);

        bl_yaml_append(&text, value);
        if (bl_buffer_data(&text)[0] == '"')
            fail_msg("'%s' is quoted", plain[i]);
        json_decref(value);
    }
    assert_yaml("\"a\\nb\\\"c\"", "\"a\\nb\\\"c\"\n");
}

static json_t *sample(void)
{
    json_t *value = json_loads(
        "{\"Id\":\"abc\",\"Name\":\"work\",\"Image\":\"busybox\",\"State\":{\"Pid\":7,\"Running\":true,\"StartedAt\":null},"
        "\"Cmd\":[\"sh\",\"-c\"],\"Empty\":{}}",
        0, NULL);

    assert_non_null(value);
    return value;
}

static void templates_expand(void **state)
{
    static const struct {
        const char *template, *expected;
    } cases[] = {
        {"", ""},
        {"plain } text {", "plain } text {"},
        {"{{.Name}}", "work"},
        {"{{ .Name }}/{{.State.Pid}}", "work/7"},
        {"{{.ID}} {{.id}} {{.ImageID}}", "abc abc busybox"},
        {"{{.State}}", "{Pid:7 Running:true StartedAt:<nil>}"},
        {"{{.Cmd}}", "[sh -c]"},
        {"{{.Empty}}", "{}"},
        {"{{json .State}}", "{\"Pid\":7,\"Running\":true,\"StartedAt\":null}"},
        {"{{.Cmd | json}}", "[\"sh\",\"-c\"]"},
        {"{{json .Name}}", "\"work\""},
        {"{{\"\\n\"}}", "\n"},
        {"{{\"a\\t\\\"b\\\\\"}}{{`\\n`}}", "a\t\"b\\\\n"},
        {"a  {{- .Name -}}  b", "aworkb"},
        {"{{json \"x\"}}", "\"x\""},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cleanup_buffer struct bl_buffer text = BL_BUFFER_INIT(BL_FORMAT_BYTES_MAX);
        struct bl_error err = BL_ERROR_INIT;
        json_t *value = sample();

        if (bl_template_append(&text, cases[i].template, value, &err) < 0)
            fail_msg("'%s': %s", cases[i].template, err.message);
        assert_int_equal(bl_buffer_append(&text, "", 1), 0);
        assert_string_equal((const char *)bl_buffer_data(&text), cases[i].expected);
        json_decref(value);
    }
}

static void broken_templates_are_refused(void **state)
{
    static const char *const broken[] = {"{{",
                                         "{{.Name",
                                         "{{.Name}",
                                         "{{.Nothing}}",
                                         "{{.State.pid}}",
                                         "{{.Name.More}}",
                                         "{{range .Cmd}}",
                                         "{{\"open}}",
                                         "{{\"\\q\"}}",
                                         "{{.Name x}}",
                                         "{{.Name | x}}",
                                         "{{}}",
                                         "{{..}}",
                                         "{{.State.}}",
                                         "{{jsonx .Name}}",
                                         "{{`"};

    (void)state;
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
        cleanup_buffer struct bl_buffer text = BL_BUFFER_INIT(BL_FORMAT_BYTES_MAX);
        struct bl_error err = BL_ERROR_INIT;
        json_t *value = sample();

        if (bl_template_append(&text, broken[i], value, &err) == 0)
            fail_msg("'%s' was taken", broken[i]);
        assert_int_equal(err.code, BL_INVALID_ARGUMENT);
        json_decref(value);
    }
}

static void times_and_sizes(void **state)
{
    char text[32];
    json_t *time = bl_json_time(1769851800123);
    json_t *never = bl_json_time(0);

    (void)state;
    assert_string_equal(bl_format_time(text, 1769851800), "2026-01-31 09:30:00 UTC");
    assert_string_equal(bl_format_time(text, 0), "");
    assert_string_equal(json_string_value(time), "2026-01-31T09:30:00.123Z");
    assert_true(json_is_null(never));
    json_decref(time);
    json_decref(never);
    assert_string_equal(bl_format_bytes(text, 0), "0 B");
    assert_string_equal(bl_format_bytes(text, 999), "999 B");
    assert_string_equal(bl_format_bytes(text, 999999), "1.0 MB");
    assert_string_equal(bl_format_bytes(text, 190200000), "190.2 MB");
    assert_string_equal(bl_format_bytes(text, UINT64_MAX), "18.4 EB");
}

static void text_that_is_not_utf8_becomes_printable(void **state)
{
    json_t *value = bl_json_text("a\xff"
                                 "b");
    json_t *none = bl_json_text(NULL);

    (void)state;
    assert_string_equal(json_string_value(value), "a?b");
    assert_true(json_is_null(none));
    json_decref(value);
    json_decref(none);
}

/* read_log() - Feed a log in pieces of @piece bytes. Return: allocated, "<stdout>|<stderr>" */
static char *read_log(const char *log, size_t piece, bool raw, size_t skip)
{
    cleanup_free char *out = NULL, *err = NULL;
    size_t out_length = 0, err_length = 0, length = strlen(log);
    struct bl_log_reader reader = {.raw = raw, .skip = skip, .rest = BL_BUFFER_INIT(2 * BL_LOG_LINE_MAX)};
    char *both = malloc(length * 2 + 2);

    reader.out = open_memstream(&out, &out_length);
    reader.err = open_memstream(&err, &err_length);
    for (size_t at = 0; at < length; at += piece)
        assert_int_equal(bl_log_reader_feed(&reader, log + at, length - at < piece ? length - at : piece), 0);
    bl_log_reader_end(&reader);
    fclose(reader.out);
    fclose(reader.err);
    sprintf(both, "%s|%s", out, err);
    return both;
}

static void log_lines_in_every_cut(void **state)
{
    static const char log[] = "2026-01-31T09:30:00.1Z stdout F one\n"
                              "2026-01-31T09:30:00.2Z stderr F bad\n"
                              "2026-01-31T09:30:00.3Z stdout P tw\n"
                              "2026-01-31T09:30:00.3Z stdout F o\n"
                              "2026-01-31T09:30:00.4Z stdout F \n"
                              "garbage\n"
                              "2026-01-31T09:30:00.5Z stdout X odd\n"
                              "2026-01-31T09:30:00.6Z stdout P no end";

    (void)state;
    for (size_t piece = 1; piece < sizeof log; piece++) {
        cleanup_free char *all = read_log(log, piece, false, 0);
        cleanup_free char *last = read_log(log, piece, false, 4);

        assert_string_equal(all, "one\ntwo\n\ngarbage\n2026-01-31T09:30:00.5Z stdout X odd\nno end|bad\n");
        assert_string_equal(last, "garbage\n2026-01-31T09:30:00.5Z stdout X odd\nno end|");
    }
}

static void console_is_printed_as_it_is(void **state)
{
    (void)state;
    cleanup_free char *all = read_log("[ 0.1] a\r\nx stdout F y\nend", 5, true, 0);
    cleanup_free char *last = read_log("[ 0.1] a\r\nx stdout F y\nend", 5, true, 2);

    assert_string_equal(all, "[ 0.1] a\r\nx stdout F y\nend|");
    assert_string_equal(last, "end|");
}

static void long_log_line_is_cut_not_lost(void **state)
{
    size_t length = 3 * BL_LOG_LINE_MAX;
    cleanup_free char *log = malloc(length + 2);
    size_t count = 0;

    (void)state;
    memset(log, 'x', length);
    memcpy(log + length, "\n", 2);
    cleanup_free char *all = read_log(log, 65536, true, 0);

    for (const char *p = all; *p; p++)
        count += *p == 'x';
    assert_int_equal(count, length);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(table_draws_sharp_lines),
        cmocka_unit_test(yaml_has_blocks),
        cmocka_unit_test(yaml_quotes_what_would_change),
        cmocka_unit_test(templates_expand),
        cmocka_unit_test(broken_templates_are_refused),
        cmocka_unit_test(times_and_sizes),
        cmocka_unit_test(text_that_is_not_utf8_becomes_printable),
        cmocka_unit_test(log_lines_in_every_cut),
        cmocka_unit_test(console_is_printed_as_it_is),
        cmocka_unit_test(long_log_line_is_cut_not_lost),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
