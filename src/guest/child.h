/* SPDX-License-Identifier: Apache-2.0 */
/*
 * child.h - from a fork of the agent to the command
 *
 * The child tells the agent over a pipe (with a terminal: a socket), which closes by itself when the command runs: nothing at all,
 * or a BL_REPORT_TERMINAL with the master of its terminal, or a BL_REPORT_FAILURE. A copy, which executes nothing, says
 * BL_REPORT_STARTED when it begins.
 */
#ifndef BL_GUEST_CHILD_H
#define BL_GUEST_CHILD_H

#include "base/error.h"
#include "proto/messages.h"

enum bl_report_kind { BL_REPORT_TERMINAL = 1, BL_REPORT_FAILURE, BL_REPORT_STARTED };

/* One word of a child, written at once (it is shorter than PIPE_BUF); TERMINAL carries a descriptor. */
struct bl_report {
    enum bl_report_kind kind;
    int exit_code;
    int error_number;
    char message[BL_MESSAGE_BYTES_MAX + 1];
};

/* What a child is to become. Everything is the agent's and is only read. */
struct bl_child {
    const struct bl_open *open;     /* what was asked for */
    const struct bl_open *workload; /* the workload's, from which an exec inherits; NULL for the workload itself */
    const char *hostname;
    int workload_fd; /* pidfd whose namespaces are joined; -1: they are new (the workload) */
    int stdio[3];    /* ends of pipes; -1 with a terminal, and for what is not used */
    int report_fd;
};

/* bl_child_run() - Become it; the caller was just forked, in its pid namespace and cgroup. Does not return. */
_Noreturn void bl_child_run(const struct bl_child *child);
/* bl_child_fail() - Tell the agent why, and end. */
_Noreturn void bl_child_fail(const struct bl_child *child, int exit_code, const struct bl_error *err);
/* bl_child_report() - Tell the agent something. Return: 0; -1 with errno */
int bl_child_report(const struct bl_child *child, const struct bl_report *report);
/* bl_child_drop_capabilities() - Keep the default set as what this process, a copy, can have. Return: 0; -1 */
int bl_child_drop_capabilities(struct bl_error *err);
/* bl_child_prepare() - Undo what is the agent's: signals, priority, protection from running out of memory, session. */
void bl_child_prepare(void);

#endif
