/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fork.c - who may open a runtime after a fork
 *
 * A fork copies whatever the other threads are in the middle of. SQLite may hold locks there that nobody will release in the child,
 * and its books say of the database's file that this process has locks on it, which are the parent's alone: a connection of the
 * child's own would rely on them, and could damage the database ("How To Corrupt An SQLite Database File", 2.6). So the child of a
 * process that has a runtime gets none before it has executed a program. When no runtime exists there is nothing to copy, and the
 * child may do what any process may.
 */
#include <pthread.h>

#include "capi/capi.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards what follows */
static size_t in_use;                                    /* runtimes, from before they open until they have closed */
static bool forked_in_use;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void take_lock(void)
{
    pthread_mutex_lock(&lock);
}

static void leave_lock(void)
{
    pthread_mutex_unlock(&lock);
}

static void begin_as_child(void)
{
    forked_in_use = in_use > 0;
    pthread_mutex_unlock(&lock);
}

static void watch_forks(void)
{
    pthread_atfork(take_lock, leave_lock, begin_as_child);
}

/* count() - Return: whether this process may have runtimes */
static bool count(int change)
{
    take_lock();

    bool may = !forked_in_use;

    in_use = may ? in_use + (size_t)change : in_use;
    leave_lock();
    return may;
}

int bl_capi_open_core(const char *home_dir, struct bl_runtime **out_core, struct bl_error *err)
{
    pthread_once(&once, watch_forks);
    if (!count(1))
        return bl_fail(err, BL_INVALID_STATE, 0,
                       "this process was forked from one that has a runtime: it must execute a program before it opens its own");
    if (bl_runtime_open(home_dir, out_core, err) == 0)
        return 0;
    count(-1);
    return -1;
}

void bl_capi_close_core(struct bl_runtime *core)
{
    bl_runtime_close(core);
    count(-1);
}
