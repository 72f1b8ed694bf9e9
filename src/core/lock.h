/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lock.h - the three locks of a box: who changes it, who runs it, who writes its disk
 *
 * lifecycle.lock    an open-file-description lock: one change of a box (create, start, stop, remove) at a time, across
 *                   processes, threads and several runtimes of one process. Whoever gets it checks that the file is still the one
 * at the path, since a removed box takes its lock file along. shim.lock         a POSIX record lock that the shim holds for its
 * whole life: the authority on whether the box runs. The library only asks (F_GETLK names the holder). It never takes it, and a
 * process that holds none can't drop one by closing. the overlay       what the emulator holds on bytes 100 and 200 up, as QEMU
 * does. It can outlive its shim for a moment.
 *
 * A lock has no descriptor that could be waited for. So a wait that must also heed a deadline and a cancellation is done by a
 * thread of its own, which exists only while somebody else holds the lock; whoever gives up leaves it behind, and it lets go of the
 * lock by itself when it gets it.
 */
#ifndef BL_CORE_LOCK_H
#define BL_CORE_LOCK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

enum bl_lock_state {
    BL_LOCK_FREE,
    BL_LOCK_HELD,
    BL_LOCK_UNKNOWN, /* can't be told: errno says why */
};

/*
 * bl_lifecycle_lock() - Get the right to change a box
 * @boxes_fd: directory of all boxes
 * @id: the box, whose directory and lock file exist
 * @deadline: on the clock of base/clock.h; BL_NEVER: as long as it takes
 * @cancel_fd: give up when it becomes readable; -1: none
 *
 * Return: the locked descriptor, for bl_lifecycle_unlock(); -1: BL_NOT_FOUND (the box is gone), BL_STOPPED (cancelled),
 *         BL_INVALID_STATE (deadline), BL_STORAGE
 */
int bl_lifecycle_lock(int boxes_fd, const char *id, int64_t deadline, int cancel_fd, struct bl_error *err);
/* bl_lifecycle_try() - The same without waiting. Return: descriptor; -1 with errno (EAGAIN: held by another) */
int bl_lifecycle_try(int boxes_fd, const char *id);
/* bl_lifecycle_create() - Make a new box's directory and lock file, locked. Return: descriptor; -1 with errno (EEXIST ...) */
int bl_lifecycle_create(int boxes_fd, const char *id);
/* bl_lifecycle_unlock() - Unlock, so that a copy of the descriptor in a forked child can't retain the lock, and close. */
void bl_lifecycle_unlock(int fd);
static inline void bl_lifecycle_unlock_p(const int *fd)
{
    bl_lifecycle_unlock(*fd);
}
#define cleanup_lifecycle __attribute__((cleanup(bl_lifecycle_unlock_p), unused)) /* some only hold it */

/* bl_lifecycle_probe() - Whether somebody changes the box right now. A missing file is free. */
enum bl_lock_state bl_lifecycle_probe(int boxes_fd, const char *id);
/*
 * bl_shim_lock_probe() - Whether the box runs, by its shim's lock
 * @holder: the shim's pid; 0 when it is free, or its holder can't be seen from here (another pid namespace)
 */
enum bl_lock_state bl_shim_lock_probe(int boxes_fd, const char *id, pid_t *holder);
/* bl_disk_lock_probe() - Whether something still writes the box's disk. */
enum bl_lock_state bl_disk_lock_probe(int boxes_fd, const char *id);
/* bl_disk_lock_wait() - Wait until nothing writes it. Return: 0; -1: BL_INVALID_STATE (deadline), BL_STOPPED, BL_STORAGE */
int bl_disk_lock_wait(int boxes_fd, const char *id, int64_t deadline, int cancel_fd, struct bl_error *err);

#endif
