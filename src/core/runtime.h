/* SPDX-License-Identifier: Apache-2.0 */
/*
 * runtime.h - what the files of this part share: the runtime itself
 *
 * How a box is changed, everywhere in this part: find its record, get its lifecycle lock, read the record again and judge it
 * (core/judge.h), act, write the new state, unlock. What only looks judges without the lock.
 */
#ifndef BL_CORE_RUNTIME_H
#define BL_CORE_RUNTIME_H

#include <pthread.h>
#include <stdatomic.h>

#include "core/core.h"
#include "core/reaper.h"
#include "core/store.h"

/* A shim that this runtime started and that shall end with it. */
struct bl_attached {
    struct bl_attached *next;
    char id[BL_BOX_ID_LENGTH + 1];
    struct bl_process shim; /* so that a later life of the box, started by somebody else, is left alone */
};

struct bl_runtime {
    char *home;
    int home_fd, boxes_fd;
    pid_t owner;               /* the process that opened it; a forked child must not use it */
    pthread_mutex_t open_lock; /* around opening all of it; "open" is set once, below it */
    atomic_bool open;          /* the next four are there */
    char *runtime_dir;
    struct bl_store *store;
    struct bl_images *images;
    struct bl_reaper *reaper;
    pthread_mutex_t attached_lock;
    struct bl_attached *attached;
    struct bl_start_options implicit_start; /* of boxes that start by themselves; set before other threads come */
};

/* bl_runtime_owned() - Refuse to work in a forked child. Return: 0; -1 with BL_INVALID_STATE */
int bl_runtime_owned(const struct bl_runtime *runtime, struct bl_error *err);
/* bl_runtime_check() - The same, and open what bl_runtime_begin() left; the first thing that each operation calls. Return: 0; -1 */
int bl_runtime_check(struct bl_runtime *runtime, struct bl_error *err);
/* bl_runtime_attach() - Remember a shim that ends with the runtime. Return: 0; -1 when memory ran out */
int bl_runtime_attach(struct bl_runtime *runtime, const char *id, const struct bl_process *shim);
/* bl_runtime_detach() - Forget it: it ended. */
void bl_runtime_detach(struct bl_runtime *runtime, const char *id);

#endif
