/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reaper.h - ends the zombies of the shims that a runtime started, and keeps how they ended
 *
 * One thread, made at the first registration, sleeps until the pidfd of a registered child says that it ended, and waits for that
 * child alone: never for any child, which would steal the exit codes of the host program's own. All signals are blocked in it.
 *
 * A registration is a handle. Releasing it ends the owner's interest, not the duty to reap: a child that lives stays watched. When
 * the host program was faster (a wait for all children, SIGCHLD ignored), the status is lost, which is no error.
 *
 * Every function may be called from any thread.
 */
#ifndef BL_CORE_REAPER_H
#define BL_CORE_REAPER_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

struct bl_reaper;
struct bl_child; /* a registered child; valid until its owner releases it */

enum bl_child_state {
    BL_CHILD_ALIVE,
    BL_CHILD_ENDED,
    BL_CHILD_LOST, /* somebody else reaped it: its status is unknown */
};

int bl_reaper_new(struct bl_reaper **out, struct bl_error *err);
/* bl_reaper_shutdown() - End the thread, without waiting for living children. Any number of times, from any threads. */
void bl_reaper_shutdown(struct bl_reaper *reaper);
/* bl_reaper_free() - Shut down and forget all; handles end with it. */
void bl_reaper_free(struct bl_reaper *reaper);
/*
 * bl_reaper_register() - Watch a child of this process
 * @pid, @pidfd: the child, whose pidfd is duplicated
 *
 * A child that is watched already gets one more owner.
 *
 * Return: the handle; NULL with *@err
 */
struct bl_child *bl_reaper_register(struct bl_reaper *reaper, pid_t pid, int pidfd, struct bl_error *err);
/* bl_child_status() - Whether it ended. @status: as of waitpid(), set when it ENDED; may be NULL */
enum bl_child_state bl_child_status(struct bl_reaper *reaper, struct bl_child *child, int *status);
void bl_child_release(struct bl_reaper *reaper, struct bl_child *child);
/*
 * bl_reaper_await() - Wait for the end of a child that is about to end, and see that it is no zombie
 * @deadline: as of bl_deadline_in()
 *
 * The thread does that too, in its own time; who has ended a child and tells so does not depend on it. A process that is not
 * watched is none of ours, and not waited for.
 */
void bl_reaper_await(struct bl_reaper *reaper, pid_t pid, int64_t deadline);
/* bl_reaper_count() - Children that are watched, or whose status is kept for an owner. */
size_t bl_reaper_count(struct bl_reaper *reaper);

#endif
