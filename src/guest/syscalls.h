/* SPDX-License-Identifier: Apache-2.0 */
/* syscalls.h - system calls that a C library may not wrap, by number; each is as its manual page says */
#ifndef BL_GUEST_SYSCALLS_H
#define BL_GUEST_SYSCALLS_H

#include <fcntl.h>
#include <linux/openat2.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

/* Values of linux/mount.h and linux/sched.h, whose headers clash with those of the C library. */
#ifndef OPEN_TREE_CLONE
#define OPEN_TREE_CLONE 1
#endif
#ifndef MOVE_MOUNT_F_EMPTY_PATH
#define MOVE_MOUNT_F_EMPTY_PATH 0x00000004
#endif
#ifndef CLONE_PIDFD
#define CLONE_PIDFD 0x00001000
#endif
#ifndef CLONE_INTO_CGROUP
#define CLONE_INTO_CGROUP 0x200000000ULL
#endif

/* struct clone_args of Linux 5.7 (CLONE_ARGS_SIZE_VER2). */
struct bl_clone_args {
    uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size, cgroup;
} __attribute__((aligned(8)));

static inline pid_t bl_clone3(struct bl_clone_args *args)
{
    return (pid_t)syscall(SYS_clone3, args, sizeof *args);
}

static inline int bl_openat2(int dir_fd, const char *path, uint64_t flags, uint64_t mode, uint64_t resolve)
{
    struct open_how how = {.flags = flags | O_CLOEXEC, .mode = mode, .resolve = resolve};

    return (int)syscall(SYS_openat2, dir_fd, path, &how, sizeof how);
}

static inline int bl_open_tree(int dir_fd, const char *path, unsigned int flags)
{
    return (int)syscall(SYS_open_tree, dir_fd, path, flags | O_CLOEXEC);
}

static inline int bl_move_mount(int from_fd, const char *to)
{
    return (int)syscall(SYS_move_mount, from_fd, "", AT_FDCWD, to, MOVE_MOUNT_F_EMPTY_PATH);
}

#endif
