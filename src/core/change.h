/* SPDX-License-Identifier: Apache-2.0 */
/* change.h - steps of changing a box, for who holds its lifecycle lock */
#ifndef BL_CORE_CHANGE_H
#define BL_CORE_CHANGE_H

#include "core/judge.h"

/*
 * bl_change_begin() - Find a box, get its lifecycle lock, and judge it
 * @name: as people name boxes
 * @lock_fd: set to the lock, for bl_lifecycle_unlock()
 * @record: set (bl_record_free())
 * Return: 0; -1: BL_NOT_FOUND, BL_STOPPED, BL_INVALID_STATE (its state can't be told) ...; nothing to free
 */
int bl_change_begin(struct bl_runtime *runtime, const char *name, int64_t deadline, int cancel_fd, int *lock_fd,
                    struct bl_record *record, struct bl_verdict *verdict, struct bl_error *err);
/*
 * bl_change_state() - Write a new state over whatever is recorded: the holder of the lock knows best
 * @record: its state is written; the generation follows the store's
 */
int bl_change_state(struct bl_runtime *runtime, struct bl_record *record, struct bl_error *err);
/* bl_change_reason() - Set the reason (NULL: none). When memory runs out it is none. */
void bl_change_reason(struct bl_record *record, const char *reason);
/* bl_clean_up_box() - Remove what a dead shim left in the box's directory: socket, pid file, temporary files. */
void bl_clean_up_box(struct bl_runtime *runtime, const char *id);
/* bl_log_tail() - The last lines of a file of a box, from @offset on: at most @size - 1 bytes, printable. Empty when there are none
 */
void bl_log_tail(struct bl_runtime *runtime, const char *id, const char *name, int64_t offset, char *out, size_t size);
/*
 * bl_stop_running() - End a box that runs, and record how it ended
 * @verdict: of bl_change_begin(); its box runs
 * @grace_ms: 0: kill at once
 */
int bl_stop_running(struct bl_runtime *runtime, struct bl_record *record, const struct bl_verdict *verdict, int64_t grace_ms,
                    int cancel_fd, struct bl_error *err);
/* bl_remove_dead() - Forget a box that does not run, and remove its files. */
int bl_remove_dead(struct bl_runtime *runtime, const struct bl_record *record, struct bl_error *err);
/* bl_sweep_doomed() - Remove the boxes that are doomed; waits for nobody. */
void bl_sweep_doomed(struct bl_runtime *runtime);
/* bl_nothing_lives() - Whether both the shim's and the disk's lock of a directory are free. */
bool bl_nothing_lives(struct bl_runtime *runtime, const char *id);
/* bl_has_ended() - Whether a box ran and does not run any more. */
bool bl_has_ended(const struct bl_record *record, const struct bl_verdict *verdict);
/* bl_is_doomed() - Whether it ended and is to be removed: by auto_remove, or by auto_delete, whose time has come. */
bool bl_is_doomed(const struct bl_record *record, const struct bl_verdict *verdict);

#endif
