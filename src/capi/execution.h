/* SPDX-License-Identifier: Apache-2.0 */
/*
 * execution.h - a command in a box, between the thread that began it, the hub and the draining thread
 *
 * Its session is stepped by the hub and written to by user threads, always under its lock. Output becomes events that own a
 * copy of the bytes; the credit for more goes back to the box when an event is delivered, so a program that does not drain
 * holds at most a window of each stream, and the rest waits in the guest.
 */
#ifndef BL_CAPI_EXECUTION_H
#define BL_CAPI_EXECUTION_H

#include "base/buffer.h"
#include "capi/capi.h"

/* Input that may wait on the host for one execution. */
#define EXECUTION_INPUT_MAX (64u << 20)

struct wait_op; /* execution.c */

struct ExecutionHandle {
    atomic_int references; /* the user's, the hub's, and one an event */
    CBoxliteRuntime *runtime;
    CExecutionHandle *next; /* in the hub's arrivals; the hub's lock */

    /* Only the draining thread and the thread that holds the handle. */
    CBoxStdoutCb on_stdout;
    CBoxStderrCb on_stderr;
    CBoxExitCb on_exit;
    void *stdout_data, *stderr_data, *exit_data;

    pthread_mutex_t lock;           /* guards all below */
    struct bl_session *session;     /* NULL before it is open, and after its end */
    struct bl_buffer input;         /* what the session has not taken yet */
    bool input_closed, input_ended; /* by the user; told to the session */
    bool kill_wanted;               /* before the session was open */
    int signal_wanted;
    uint16_t rows_wanted, columns_wanted;
    bool freed; /* the user let go: no event any more */
    bool ended;
    bool exit_told; /* on_exit was called or needs no call any more */
    struct bl_exit exit;
    bool failed; /* it ended without an exit: error says how */
    struct bl_error error;
    struct wait_op *waiters;
    uint32_t watched; /* epoll events, 0: epoll does not know it; the hub's own */
};

void bl_capi_execution_hold(CExecutionHandle *execution);
void bl_capi_execution_release(CExecutionHandle *execution);
/* bl_capi_execution_step() - The hub's turn: move bytes. Under no lock. Return: whether the session lives on */
bool bl_capi_execution_step(CExecutionHandle *execution);
/* bl_capi_execution_fail() - It never got a session, or lost it. Under no lock. */
void bl_capi_execution_fail(CExecutionHandle *execution, const struct bl_error *err);

#endif
