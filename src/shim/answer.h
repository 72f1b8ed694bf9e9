/* SPDX-License-Identifier: Apache-2.0 */
/* answer.h - what the starter waits for: one line on ready_fd, and, with "ready", the lifecycle lock given back (proto/launch.h) */
#ifndef BL_SHIM_ANSWER_H
#define BL_SHIM_ANSWER_H

#include <stdbool.h>

#include "base/error.h"
#include "proto/moments.h"

struct bl_answer {
    int ready_fd;     /* -1: answered, or nobody waits */
    int lifecycle_fd; /* -1: not handed over, or given back */
    bool given;
};

/* bl_answer_ready() - Say "ready" and how the time passed, and unlock. */
void bl_answer_ready(struct bl_answer *answer, const struct bl_moments *moments);
/*
 * bl_answer_failed() - Say "failed", once; nothing happens when an answer was given
 * @exit_code: what the starter's command should exit with
 *
 * The lifecycle lock stays with this process until bl_answer_finish(): nobody shall start the box while the rest of the failed
 * start is still there.
 */
void bl_answer_failed(struct bl_answer *answer, enum bl_code code, int exit_code, const char *message);
/*
 * bl_answer_again() - Say "again", once: another process has to start the box, in another way
 * @which: BL_AGAIN_TEMPLATE: without a template, and @what is of no use to anybody, unless it is empty; BL_AGAIN_ENGINE: without
 *     KVM, and @what says why
 *
 * The lifecycle lock stays with this process until bl_answer_finish(), and locked after it: the starter goes on with it.
 */
void bl_answer_again(struct bl_answer *answer, const char *which, const char *what);
void bl_answer_finish(struct bl_answer *answer);

#endif
