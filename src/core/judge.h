/* SPDX-License-Identifier: Apache-2.0 */
/*
 * judge.h - what is true of a box right now, whatever its record says
 *
 * The kernel's locks are the authority; the record, the pid and the exit report only fill in what locks can't say. The table is
 * that of the design (contract 2):
 *
 *     record says            lifecycle.lock    shim.lock              becomes
 *     any                    another's         -                      as recorded (starting, stopping)
 *     any                    free, ours        held                   running; pid from the lock, 0 when it can't be seen
 *     claims to run          free, ours        free, process alive    running, lock lost
 *     claims to run          free, ours        free, exit report      stopped or failed, as the report says
 *     claims to run          free, ours        free, nothing          stopped with 137, or failed when it was starting
 *     anything else          free, ours        free                   as recorded
 *     any                    can't be told     can't be told          as recorded, with the trouble named
 *
 * Judging removes nothing and waits for nothing. What it finds is written to the record, unless somebody else changed that
 * meanwhile: then it judges anew.
 */
#ifndef BL_CORE_JUDGE_H
#define BL_CORE_JUDGE_H

#include "core/runtime.h"

#define BL_REASON_KILLED      "its host process was killed, or memory ran out"
#define BL_REASON_REBOOT      "the machine went down"
#define BL_REASON_INTERRUPTED "its start was interrupted"
#define BL_EXIT_KILLED        137

enum bl_judge_how {
    BL_JUDGE_LOOK,   /* the caller only looks: another's lifecycle lock is respected */
    BL_JUDGE_GLANCE, /* as LOOK, for many boxes: one that is down, or runs as recorded, costs one lock probe; busy is not told of it
                      */
    BL_JUDGE_HOLDER, /* the caller holds the box's lifecycle lock */
};

struct bl_verdict {
    enum bl_box_status status; /* as in the healed record */
    bool busy;                 /* another holds the lifecycle lock: the box changes right now */
    bool runs;                 /* its shim lives */
    bool lock_lost;            /* it lives without its lock: known by its process only */
    pid_t pid;                 /* of the shim; 0: it does not run, or can't be seen from here */
    char trouble[256];         /* why its state can't be told; empty: it can */
};

/*
 * bl_judge() - Find out what is true of a box, and heal its record
 * @record: as read from the store; replaced by a newer one when that changed, and healed
 *
 * Return: 0 and *@verdict; -1: BL_NOT_FOUND (removed meanwhile), BL_DATABASE
 */
int bl_judge(struct bl_runtime *runtime, struct bl_record *record, enum bl_judge_how how, struct bl_verdict *verdict,
             struct bl_error *err);
/* bl_state_claims_to_run() - Whether a recorded status says that there is a shim. */
bool bl_state_claims_to_run(enum bl_box_status status);
/* bl_epoch_ms() - Milliseconds of the wall clock. */
int64_t bl_epoch_ms(void);

#endif
