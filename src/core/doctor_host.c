/* SPDX-License-Identifier: Apache-2.0 */
/*
 * doctor_host.c - finding out by trying: user namespaces, system calls, what can confine a process
 *
 * Settings tell little: a sysctl of one distribution, a security module of another and the seccomp filter of a container can each
 * forbid the same, and only a trial tells. Who forbade it shows in the error:
 *
 *     EPERM     a sysctl (kernel.unprivileged_userns_clone), a container's filter, or a chroot
 *     EACCES    a security module (AppArmor, SELinux)
 *     ENOSPC    a limit (user.max_user_namespaces)
 *     EINVAL    a kernel without them
 *
 * AppArmor as Ubuntu sets it up lets a user namespace be made, but without any privilege in it. So it is used, too.
 *
 * The trial is a child's, since it can't be undone. After the fork it makes system calls only: the host program may have threads.
 */
#include "core/doctor.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <linux/openat2.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/os.h"

struct outcome {
    enum bl_userns_step step;
    int error;
};

/* write_map() - A file of /proc that takes one write. Return: 0; -1 with errno */
static int write_map(const char *path, const char *text, size_t length)
{
    int fd = bl_os.open(path, O_WRONLY | O_CLOEXEC);

    return fd < 0 || bl_os.write(fd, text, length) != (ssize_t)length ? -1 : 0;
}

/* try_in_child() - @map: the line for uid_map, made before the fork */
static struct outcome try_in_child(const char *map, size_t length)
{
    if (unshare(CLONE_NEWUSER) < 0)
        return (struct outcome){BL_USERNS_MAKE, errno};
    if (unshare(CLONE_NEWNS) < 0 || write_map("/proc/self/uid_map", map, length) < 0 ||
        mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        return (struct outcome){BL_USERNS_USE, errno};
    return (struct outcome){BL_USERNS_OK, 0};
}

enum bl_userns_step bl_userns_try(int *error)
{
    struct outcome outcome = {0};
    int ends[2] = {-1, -1};
    char map[64];
    size_t length = (size_t)snprintf(map, sizeof map, "0 %u 1", geteuid());

    *error = 0;
    if (bl_os.pipe2(ends, O_CLOEXEC) < 0) {
        *error = errno;
        return BL_USERNS_TRY;
    }

    cleanup_close int said = ends[0];
    pid_t child = bl_os.fork();

    if (child == 0) {
        outcome = try_in_child(map, length);
        _exit(bl_os.write(ends[1], &outcome, sizeof outcome) != sizeof outcome);
    }
    *error = errno;
    close(ends[1]);
    if (child < 0)
        return BL_USERNS_TRY;

    ssize_t n;

    do
        n = bl_os.read(said, &outcome, sizeof outcome);
    while (n < 0 && errno == EINTR);
    /* ECHILD: the host program ignores SIGCHLD, or was faster. What the child said counts. */
    while (bl_os.waitpid(child, NULL, 0) < 0 && errno == EINTR)
        ;
    *error = n == sizeof outcome ? outcome.error : EIO;
    return n == sizeof outcome ? outcome.step : BL_USERNS_TRY;
}

const char *bl_userns_hint(enum bl_userns_step step, int error)
{
    static const char restricted[] = "a security module restricts them: with AppArmor, `sudo sysctl "
                                     "kernel.apparmor_restrict_unprivileged_userns=0`, or a profile "
                                     "for the program that has `userns,`";
    static const struct {
        enum bl_userns_step step;
        int error;
        const char *hint;
    } known[] = {
        {BL_USERNS_MAKE, EPERM,
         "they are switched off: `sudo sysctl kernel.unprivileged_userns_clone=1`, or, in a container, a seccomp profile that "
         "allows "
         "unshare and clone"},
        {BL_USERNS_MAKE, EACCES, restricted},
        {BL_USERNS_MAKE, ENOSPC, "their number is limited: `sudo sysctl user.max_user_namespaces=15000`"},
        {BL_USERNS_MAKE, EINVAL, "this kernel is built without them: use one with CONFIG_USER_NS"},
        {BL_USERNS_MAKE, ENOSYS, "this kernel has none, or a container's filter hides them"},
        {BL_USERNS_USE, EPERM, restricted},
        {BL_USERNS_USE, EACCES, restricted},
    };

    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (known[i].step == step && known[i].error == error)
            return known[i].hint;
    return NULL;
}

const char *bl_kernel_lacks(void)
{
    struct open_how how = {.flags = O_PATH | O_CLOEXEC};
    /* Each fails, or does nothing, where it is known. */
    const struct {
        const char *name;
        long result;
        int error;
    } tried[] = {
        {"pidfd_open", syscall(SYS_pidfd_open, -1, 0), errno},
        {"clone3", syscall(SYS_clone3, NULL, 0), errno},
        {"close_range", syscall(SYS_close_range, ~0u, ~0u, 0), errno},
        {"openat2", syscall(SYS_openat2, -1, "", &how, sizeof how), errno},
    };

    for (size_t i = 0; i < sizeof tried / sizeof *tried; i++)
        if (tried[i].result < 0 && tried[i].error == ENOSYS)
            return tried[i].name;
    return NULL;
}

bool bl_seccomp_works(void)
{
    uint32_t action = SECCOMP_RET_KILL_PROCESS;

    return syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) == 0;
}

long bl_landlock_version(void)
{
    long version = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);

    return version > 0 ? version : 0;
}
