/* SPDX-License-Identifier: Apache-2.0 */
/* timing.h - run --timing: where the time of one run went */
#ifndef BL_CLI_TIMING_H
#define BL_CLI_TIMING_H

#include <stdint.h>

#include "proto/messages.h"
#include "proto/moments.h"

/* Moments of one run, microseconds of the monotonic clock; 0: not reached. */
struct bl_timing {
    int64_t begun, opened, created, started; /* this command, its home, the box, the box's host process answered */
    int64_t running, ended, gone;            /* the command in the box runs, has ended; the box has ended or is removed */
    struct bl_moments start;                 /* between created and started */
};

/*
 * bl_timing_print() - On standard error, a line a part, and their sum
 * @exit: how the command ended; NULL: it did not, or nobody knows
 *
 * Each part ends where the next begins. One without a known end is counted as part of the next.
 */
void bl_timing_print(const struct bl_timing *timing, const struct bl_exit *exit);

#endif
