/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cgroup.h - who may use how much of the machine
 *
 *     /                      the agent: no limit, and a priority above all others
 *     /boxlite               everything of the box; memory.max leaves the agent and the kernel room
 *     /boxlite/workload      the workload: memory.max, pids.max
 *     /boxlite/exec-<n>      one exec or copy: the same limits, and by cpu.weight a fair share of the processor
 *
 * So a workload that takes all it can get leaves every exec its share, and the agent alive.
 */
#ifndef BL_GUEST_CGROUP_H
#define BL_GUEST_CGROUP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/loop.h"

#define BL_CGROUP_ROOT     "/sys/fs/cgroup"
#define BL_CGROUP_NAME_MAX 32
#define BL_CGROUP_LEFT_MAX 16

struct bl_cgroups {
    int box_fd;          /* directory of /boxlite */
    uint64_t memory_max; /* bytes, of the workload and of each exec */
    uint32_t pids_max;
    uint64_t next;                                     /* number of the next exec */
    char left[BL_CGROUP_LEFT_MAX][BL_CGROUP_NAME_MAX]; /* groups to remove at the next bl_cgroups_tidy() */
    size_t left_count;
    struct bl_source emptied; /* inotify: tells when a lingering group has lost its last process */
    struct bl_lingering {
        uint64_t number;
        int watch;
    } * lingering; /* groups of execs that ended and left processes behind; allocated */
    size_t lingering_count;
};

/* bl_cgroups_init() - Mount the hierarchy and make /boxlite, with the limits that follow from the memory. Return: 0; -1 */
int bl_cgroups_init(struct bl_cgroups *groups, struct bl_loop *loop, struct bl_error *err);
/* bl_cgroups_limit() - What this box wants instead. @pids_max: 0: nothing else */
void bl_cgroups_limit(struct bl_cgroups *groups, uint32_t pids_max);
/*
 * bl_cgroup_make() - A new group
 * @name: "workload", or NULL for the next exec; @out: its name then, of BL_CGROUP_NAME_MAX bytes
 * Return: descriptor of its directory, for CLONE_INTO_CGROUP; -1
 */
int bl_cgroup_make(struct bl_cgroups *groups, const char *name, char *out, struct bl_error *err);
/* bl_cgroup_kill() - Kill all processes of a group, however they fork; "" is the whole box. */
void bl_cgroup_kill(struct bl_cgroups *groups, const char *name);
/* bl_cgroup_ran_out() - Whether the kernel killed in it because memory ran out. */
bool bl_cgroup_ran_out(struct bl_cgroups *groups, const char *name);
/* bl_cgroup_remove() - Remove a group now, or as soon as its last process ends. */
void bl_cgroup_remove(struct bl_cgroups *groups, const char *name);
/* bl_cgroup_leave() - As bl_cgroup_remove(), but not before the host has been told what waits for it. */
void bl_cgroup_leave(struct bl_cgroups *groups, const char *name);
void bl_cgroups_tidy(struct bl_cgroups *groups);

#endif
