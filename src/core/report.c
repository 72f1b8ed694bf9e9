/* SPDX-License-Identifier: Apache-2.0 */
/* report.c - reading exit reports; see report.h */
#include "core/report.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/os.h"
#include "core/judge.h"
#include "proto/launch.h"

static const char *const type_names[] = {
    [BL_REPORT_WORKLOAD] = "workload", [BL_REPORT_SIGNAL] = "signal", [BL_REPORT_STOPPED] = "stopped",
    [BL_REPORT_ERROR] = "error",       [BL_REPORT_PANIC] = "panic",
};

/* make_printable() - No control characters but, where @lines allows it, the newline at the end that we put there ourselves. */
static void make_printable(char *text)
{
    for (unsigned char *p = (unsigned char *)text; *p; p++)
        if (*p < 0x20 || *p == 0x7f)
            *p = *p == '\t' ? ' ' : '?';
}

/* read_number() - An integer within a range. Return: 1 and *@out; 0: absent or null; -1: something else */
static int read_number(const json_t *json, const char *key, json_int_t least, json_int_t most, json_int_t *out)
{
    const json_t *value = json_object_get(json, key);

    if (!value || json_is_null(value))
        return 0;
    if (!json_is_integer(value) || json_integer_value(value) < least || json_integer_value(value) > most)
        return -1;
    *out = json_integer_value(value);
    return 1;
}

/* read_console() - The last lines, as many as fit. Return: allocated; NULL when there are none */
static char *read_console(const json_t *array)
{
    size_t count = json_array_size(array), first = count, length = 0;

    while (first > 0) {
        const char *line = json_string_value(json_array_get(array, first - 1));

        if (!line || length + strlen(line) + 1 > BL_REPORT_CONSOLE_MAX)
            break;
        length += strlen(line) + 1;
        first--;
    }

    char *text = first < count ? malloc(length + 1) : NULL;
    char *at = text;

    for (size_t i = first; text && i < count; i++) {
        const char *line = json_string_value(json_array_get(array, i));

        memcpy(at, line, strlen(line) + 1);
        make_printable(at);
        at += strlen(at);
        *at++ = '\n';
        *at = '\0';
    }
    return text;
}

int bl_report_parse(const char *text, size_t length, struct bl_report *out)
{
    json_t *json = json_loadb(text, length, JSON_REJECT_DUPLICATES, NULL);
    const char *type = json_string_value(json_object_get(json, "type"));
    const char *message = json_string_value(json_object_get(json, "message"));
    struct bl_report report = {0};
    json_int_t number = 0;
    int known = -1;

    for (size_t i = 0; type && i < sizeof type_names / sizeof *type_names; i++)
        if (strcmp(type, type_names[i]) == 0)
            known = (int)i;
    if (known < 0 || read_number(json, "version", 1, 1, &number) != 1) {
        json_decref(json);
        return -1;
    }
    report.type = (enum bl_report_type)known;

    int code = read_number(json, "exit_code", 0, 255, &number);

    report.has_exit_code = code > 0;
    report.exit_code = code > 0 ? (int)number : 0;

    int has_signal = read_number(json, "signal", 0, 64, &number);

    report.signal = has_signal > 0 ? (int)number : 0;

    int ended = read_number(json, "ended_at_ms", 0, INT64_MAX, &number);

    report.ended_at_ms = ended > 0 ? number : 0;
    report.timed_out = json_is_true(json_object_get(json, "timed_out"));
    report.out_of_memory = json_is_true(json_object_get(json, "oom"));
    report.asked = json_is_true(json_object_get(json, "asked"));
    snprintf(report.message, sizeof report.message, "%s", message ? message : "");
    make_printable(report.message);
    if (code >= 0 && has_signal >= 0 && ended >= 0)
        report.console = read_console(json_object_get(json, "console"));
    json_decref(json);
    if (code < 0 || has_signal < 0 || ended < 0)
        return -1;
    *out = report;
    return 0;
}

int bl_report_read(int boxes_fd, const char *id, struct bl_report *out)
{
    cleanup_buffer struct bl_buffer text = BL_BUFFER_INIT(BL_REPORT_MAX);
    char path[BL_BOX_ID_LENGTH + 64];
    struct stat there;

    snprintf(path, sizeof path, "%s/%s", id, BL_FILE_EXIT_REPORT);
    /* Anything but a regular file, a FIFO that would block us say, is no report. */
    if (bl_os.fstatat(boxes_fd, path, &there, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT || errno == ENOTDIR ? 0 : -1;
    if (!S_ISREG(there.st_mode))
        return 0;
    if (bl_read_file(boxes_fd, path, &text) < 0)
        return errno == ENOENT || errno == EFBIG ? 0 : -1;
    return bl_report_parse((const char *)bl_buffer_data(&text), text.length, out) == 0;
}

void bl_report_free(struct bl_report *report)
{
    free(report->console);
    report->console = NULL;
}

void bl_report_apply(struct bl_report *report, struct bl_state *state)
{
    bool failed = report->type == BL_REPORT_ERROR || report->type == BL_REPORT_PANIC;
    const char *reason = *report->message                  ? report->message
                         : report->out_of_memory           ? "memory ran out in the box"
                         : report->type == BL_REPORT_PANIC ? "the guest's kernel crashed"
                         : report->type == BL_REPORT_ERROR ? "the box could not go on"
                         : report->timed_out               ? "its time was up"
                                                           : NULL;

    state->status = failed ? BL_BOX_FAILED : BL_BOX_STOPPED;
    bl_state_no_shim(state);
    /* When the workload had ended, its shim has done what the policy says. */
    if (report->type == BL_REPORT_WORKLOAD || report->type == BL_REPORT_SIGNAL || report->asked)
        state->wanted = false;
    state->ended_at_ms = report->ended_at_ms ? report->ended_at_ms : bl_epoch_ms();
    state->has_exit_code = report->has_exit_code || report->signal;
    state->exit_code = report->has_exit_code ? report->exit_code : report->signal ? 128 + report->signal : 0;
    state->out_of_memory = report->out_of_memory;
    free(state->reason);
    state->reason = reason ? strdup(reason) : NULL;
    free(state->console);
    state->console = failed ? bl_steal_ptr(&report->console) : NULL;
}
