/* SPDX-License-Identifier: Apache-2.0 */
/*
 * report.h - exit.json, how the last run of a box ended
 *
 * The shim writes it into the box's directory when it ends by itself, as its last act that others can see: the file is there
 * before the connections of clients close and before shim.lock is free. It is replaced as a whole, never changed. A shim removes
 * the report of the run before it, once it has the lock. Without a report the shim was killed, or left the start to another one.
 *
 *     {"version": 1,
 *      "type": "workload",        how: see enum bl_report_type
 *      "exit_code": 3,            0..255: the workload's; 128 + signal; 137 when it was killed or can't be told;
 *                                 125..127 when it never ran
 *      "signal": 9,               only when a signal ended the workload
 *      "timed_out": false,
 *      "oom": false,              memory ran out in the workload's cgroup
 *      "ready": true,             the start had succeeded before
 *      "asked": false,            "stopped": somebody meant that, or nobody used the box (--auto-stop); no signal or death did it
 *      "message": "...",          one line; empty when it ended as expected
 *      "console": ["..."],        the console's last lines, oldest first; at most 20, each at most 240 bytes, printable ASCII
 *      "boot_id": "...",          the host's
 *      "ended_at_ms": 0}          since the epoch
 *
 * A reader must bear what is missing, and more than this.
 */
#ifndef BL_SHIM_REPORT_H
#define BL_SHIM_REPORT_H

#include <stdbool.h>

#include "base/error.h"

#define BL_REPORT_VERSION       1
#define BL_REPORT_CONSOLE_LINES 20
#define BL_REPORT_LINE_MAX      240

enum bl_report_type {
    BL_REPORT_WORKLOAD, /* "workload": it ended by itself */
    BL_REPORT_SIGNAL,   /* "signal": a signal ended it, out of memory included */
    BL_REPORT_STOPPED,  /* "stopped": by a stop, a signal to the shim, or the end of its creator */
    BL_REPORT_ERROR,    /* "error": it never started, the emulator died, or the guest broke the protocol */
    BL_REPORT_PANIC,    /* "panic": the guest's kernel gave up */
};

struct bl_report {
    enum bl_report_type type;
    int exit_code;
    int signal; /* 0: none */
    bool timed_out, oom, ready;
    bool asked;
    char message[BL_ERROR_MESSAGE_MAX];
    const char *console; /* raw bytes of the console's end, NUL-terminated; NULL: none */
};

/* bl_report_write() - Write exit.json into a directory. Return: 0; -1 with BL_STORAGE */
int bl_report_write(int dir_fd, const struct bl_report *report, struct bl_error *err);

#endif
