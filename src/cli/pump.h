/* SPDX-License-Identifier: Apache-2.0 */
/* pump.h - the terminal or pipes of this command on one side, a session on the other */
#ifndef BL_CLI_PUMP_H
#define BL_CLI_PUMP_H

#include <stdbool.h>

#include "base/buffer.h"
#include "cli/cli.h"
#include "cli/sink.h"
#include "core/core.h"

struct bl_pump {
    /* Set by the caller. */
    bool tty;         /* raw mode, window sizes */
    bool interactive; /* read standard input */
    bool detach;      /* leave as soon as the command runs */
    int signal_fd;

    /* The pump's own. */
    struct bl_session *session;
    struct bl_endpoint input, outputs[2]; /* standard output and error */
    struct bl_buffer in, out[2];          /* read and not sent; received and not written */
    bool input_ended, input_closed;       /* nothing more to read; and the session knows */
    bool input_blocked;                   /* the session takes no more for now */
    bool opened, exited;
    int64_t opened_us; /* when it was opened, on the monotonic clock */
    int early_signal;  /* came before the command ran */
    int interrupts;    /* how often a person asked it to end */
    int quit;          /* exit code to leave with at once; 0: none */
    int lost;          /* exit code once the command has ended, because its output could not be written; 0: none */
    struct bl_exit exit;
};

extern const struct bl_session_events bl_pump_events;

/* bl_pump_begin() - Prepare; the pump is the `data` of a session with bl_pump_events */
void bl_pump_begin(struct bl_pump *pump);
/*
 * bl_pump_run() - Carry bytes and signals until the command has ended and all its output is written
 *
 * Return: 0 with pump->exit (or pump->quit) set; -1: the box died, *@err says how
 */
int bl_pump_run(struct bl_pump *pump, struct bl_session *session, struct bl_error *err);
/* bl_pump_end() - Give the terminal back, hang up, free. */
void bl_pump_end(struct bl_pump *pump);
/* bl_pump_report() - Say on standard error why a command did not run or was killed. Return: exit code for this program */
int bl_pump_report(const struct bl_pump *pump, const char *command);

/* bl_pump_check_tty() - Return: 0; -1 when -t was given and standard input is no terminal */
int bl_pump_check_tty(bool tty, struct bl_error *err);

#endif
