/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spawn.h - launching a shim
 *
 * The shim's command line is exactly {path of the shim, box id}; its configuration is on its standard input, in memory that no file
 * system names; its log is its standard error. It inherits these descriptors under fixed numbers and no others, no signal mask and
 * no ignored signal, and an environment of a few harmless variables.
 */
#ifndef BL_CORE_SPAWN_H
#define BL_CORE_SPAWN_H

#include <sys/types.h>

#include "base/buffer.h"
#include "base/error.h"

/* Numbers of the descriptors in the shim; what the launch document says. */
enum { BL_SHIM_READY_FD = 3, BL_SHIM_LIFECYCLE_FD = 4, BL_SHIM_CREATOR_FD = 5 };

struct bl_spawn_request {
    const char *shim; /* absolute path */
    const char *id;
    const struct bl_buffer *document; /* proto/launch.h */
    int log_fd;
    int lifecycle_fd; /* locked; the caller keeps its own */
    int creator_fd;   /* -1: none */
};

struct bl_spawned {
    pid_t pid;
    int pidfd;    /* for the caller to close */
    int ready_fd; /* where the shim's answer comes; for the caller to close */
};

/* bl_spawn() - Launch. Return: 0; -1: BL_ENGINE, BL_RESOURCE_EXHAUSTED; a shim that can't be executed is told through ready_fd */
int bl_spawn(const struct bl_spawn_request *request, struct bl_spawned *out, struct bl_error *err);

/* What stands on ready_fd when the program could not be executed: this and the errno. */
#define BL_SPAWN_NO_EXEC "noexec "

#endif
