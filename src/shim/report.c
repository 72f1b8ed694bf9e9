/* SPDX-License-Identifier: Apache-2.0 */
/* report.c - writing exit.json; see report.h */
#include "shim/report.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "proto/launch.h"
#include "shim/files.h"

static const char *const type_names[] = {
    [BL_REPORT_WORKLOAD] = "workload", [BL_REPORT_SIGNAL] = "signal", [BL_REPORT_STOPPED] = "stopped",
    [BL_REPORT_ERROR] = "error",       [BL_REPORT_PANIC] = "panic",
};

/* printable() - Copy text as printable ASCII: it comes from a guest, and JSON wants UTF-8. */
static void printable(char *out, size_t size, const char *text, size_t length)
{
    size_t at = 0;

    for (size_t i = 0; i < length && at + 1 < size; i++)
        if (text[i] != '\r')
            out[at++] = text[i] >= 0x20 && text[i] < 0x7f ? text[i] : text[i] == '\t' ? ' ' : '?';
    out[at] = '\0';
}

/* last_lines() - The last lines of a console as an array. Return: a new reference */
static json_t *last_lines(const char *console)
{
    json_t *lines = json_array();

    for (const char *end = console ? console + strlen(console) : NULL;
         end && end > console && json_array_size(lines) < BL_REPORT_CONSOLE_LINES;) {
        const char *start = end;
        char line[BL_REPORT_LINE_MAX + 1];

        while (start > console && start[-1] != '\n')
            start--;
        printable(line, sizeof line, start, (size_t)(end - start));
        if (line[0])
            json_array_insert_new(lines, 0, json_string(line));
        end = start > console ? start - 1 : console;
    }
    return lines;
}

int bl_report_write(int dir_fd, const struct bl_report *report, struct bl_error *err)
{
    char boot_id[BL_BOOT_ID_BYTES], message[sizeof report->message];
    struct timespec now;

    bl_boot_id(boot_id);
    printable(message, sizeof message, report->message, strlen(report->message));
    clock_gettime(CLOCK_REALTIME, &now);

    json_t *root =
        json_pack("{s:i, s:s, s:i, s:b, s:b, s:b, s:b, s:s, s:o, s:s, s:I}", "version", BL_REPORT_VERSION, "type",
                  type_names[report->type], "exit_code", report->exit_code, "timed_out", report->timed_out, "oom", report->oom,
                  "ready", report->ready, "asked", report->asked, "message", message, "console", last_lines(report->console),
                  "boot_id", boot_id, "ended_at_ms", (json_int_t)now.tv_sec * 1000 + now.tv_nsec / 1000000);

    if (root && report->signal)
        json_object_set_new(root, "signal", json_integer(report->signal));

    cleanup_free char *text = root ? json_dumps(root, JSON_INDENT(2)) : NULL;

    json_decref(root);
    if (!text)
        return bl_fail_memory(err);
    if (bl_replace_file(dir_fd, BL_FILE_EXIT_REPORT, text, strlen(text)) < 0)
        return bl_fail(err, BL_STORAGE, errno, "write %s", BL_FILE_EXIT_REPORT);
    return 0;
}
