/* SPDX-License-Identifier: Apache-2.0 */
/* doctor.c - boxlite doctor: can boxes run here, and what waits for somebody to put it right */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/format.h"

struct doctor_values {
    const char *format;
};

/* What was found so far. */
struct report {
    json_t *findings;
    bool needs_attention;
};

static const char *const level_names[] = {[BL_LEVEL_OK] = "ok", [BL_LEVEL_NOTE] = "note", [BL_LEVEL_ATTENTION] = "attention"};

static void add_finding(const struct bl_finding *finding, void *data)
{
    struct report *report = data;
    json_t *object = json_object();

    report->needs_attention = report->needs_attention || finding->level == BL_LEVEL_ATTENTION;
    json_object_set_new(object, "Check", json_string(finding->check));
    json_object_set_new(object, "Level", json_string(level_names[finding->level]));
    json_object_set_new(object, "Text", bl_json_text(finding->text));
    json_object_set_new(object, "Hint", bl_json_text(finding->hint ? finding->hint : ""));
    json_array_append_new(report->findings, object);
}

static const char *field(const json_t *finding, const char *key)
{
    const char *text = json_string_value(json_object_get(finding, key));

    return text ? text : "";
}

static void print_text(const json_t *findings)
{
    size_t index;
    json_t *finding;

    json_array_foreach(findings, index, finding)
    {
        const char *hint = field(finding, "Hint");

        printf("%-9s  %-11s  %s\n", field(finding, "Level"), field(finding, "Check"), field(finding, "Text"));
        if (*hint)
            printf("%-9s  %-11s  -> %s\n", "", "", hint);
    }
}

static int run_doctor(struct bl_cli *cli, void *data)
{
    const struct doctor_values *values = data;
    struct report report = {.findings = json_array()};

    if (bl_cli_configure(cli)) {
        json_decref(report.findings);
        return BL_EXIT_FAILURE;
    }
    bl_doctor(bl_cli_home(cli), add_finding, &report);
    if (values->format && !strcmp(values->format, "json"))
        bl_json_print(stdout, report.findings);
    else
        print_text(report.findings);
    json_decref(report.findings);
    return report.needs_attention ? BL_EXIT_FAILURE : 0;
}

static const struct bl_option options[] = {
    {"format", 0, BL_OPTION_CHOICE, "text|json", "How to print it (default text)", offsetof(struct doctor_values, format),
     .choices = "text|json"},
    {NULL},
};

const struct bl_command bl_command_doctor = {
    .name = "doctor",
    .summary = "Find out whether boxes can run here, and what to do about it",
    .usage = "[OPTIONS]",
    .about = "Looks at the kernel, the engine and /dev/kvm, the installation, user namespaces, the home with its locks and\n"
             "its room, the boxes, and at what nothing owns. Exits with 1 when something needs attention.",
    .example = "boxlite doctor",
    .options = options,
    .values_bytes = sizeof(struct doctor_values),
    .run = run_doctor,
};
