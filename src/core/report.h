/* SPDX-License-Identifier: Apache-2.0 */
/*
 * report.h - the exit report, boxes/<id>/exit.json: what a shim says last about how its box ended
 *
 * The shim writes it (shim/report.h documents the keys). It speaks for a guest, so it is read as what a stranger wrote: bounded,
 * every number within its range, texts made printable.
 */
#ifndef BL_CORE_REPORT_H
#define BL_CORE_REPORT_H

#include <stdbool.h>
#include <stdint.h>

#include "core/record.h"

#define BL_REPORT_MAX         262144 /* bytes of the file */
#define BL_REPORT_CONSOLE_MAX 8192   /* bytes of the console's lines that are kept */

enum bl_report_type {
    BL_REPORT_WORKLOAD, /* the workload ended */
    BL_REPORT_SIGNAL,   /* the workload was ended by a signal */
    BL_REPORT_STOPPED,  /* the box was stopped */
    BL_REPORT_ERROR,    /* the box could not go on */
    BL_REPORT_PANIC,    /* the guest's kernel crashed */
};

struct bl_report {
    enum bl_report_type type;
    bool has_exit_code;
    int exit_code; /* 0..255 */
    int signal;    /* 0: none */
    bool timed_out, out_of_memory;
    bool asked; /* STOPPED: somebody meant the box to end, or nobody used it; no signal or death did it */
    char message[BL_MESSAGE_BYTES_MAX + 1]; /* empty: none */
    char *console;                          /* lines, each ended by a newline; NULL: none */
    int64_t ended_at_ms;                    /* 0: not told */
};

/* bl_report_parse() - Return: 0 and *@out (bl_report_free()); -1 when it is no report */
int bl_report_parse(const char *text, size_t length, struct bl_report *out);
/* bl_report_read() - The report of a box. Return: 1; 0: there is none (or only nonsense); -1 with errno: it can't be read */
int bl_report_read(int boxes_fd, const char *id, struct bl_report *out);
void bl_report_free(struct bl_report *report);
/* bl_report_apply() - Make a report the end of a box's life in its state; takes the console's lines out of it. */
void bl_report_apply(struct bl_report *report, struct bl_state *state);

#endif
