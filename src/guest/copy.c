/* SPDX-License-Identifier: Apache-2.0 */
/*
 * copy.c - the process of a copy
 *
 * It joins the mount namespace of the box, so that it sees what commands there see (its mounts too), and keeps only what root in
 * the box may do. Its root is the box's: no link, absolute or not, leads out of it. It is not in the box's pid namespace.
 */
#include "guest/copy.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"

#define EXIT_COPY_FAILED 1
#define KEPT_FIRST       3
#define KEPT_MAX         16 /* above all that dup2() will use */

/*
 * keep_only() - Close every descriptor of the agent but the three that this copy needs, which move to 3, 4 and 5
 * Nothing is executed here, so nothing closes by itself: a copy would hold the pipes of all other streams open, and its own.
 */
static int keep_only(struct bl_child *child)
{
    int *kept[] = {&child->report_fd, &child->workload_fd, child->stdio[0] >= 0 ? &child->stdio[0] : &child->stdio[1]};
    int moved[3];

    for (size_t i = 0; i < 3; i++) {
        moved[i] = fcntl(*kept[i], F_DUPFD_CLOEXEC, KEPT_MAX);
        if (moved[i] < 0)
            return -1;
    }
    for (size_t i = 0; i < 3; i++) {
        *kept[i] = dup2(moved[i], KEPT_FIRST + (int)i);
        if (*kept[i] < 0)
            return -1;
    }
    return (int)syscall(SYS_close_range, KEPT_FIRST + 3U, ~0U, 0);
}

_Noreturn void bl_copy_run(struct bl_child *child)
{
    struct bl_error err = BL_ERROR_INIT;
    const struct bl_report started = {.kind = BL_REPORT_STARTED};
    const struct bl_open *open_ = child->open;
    bool owned = open_->kind == BL_OPEN_COPY_IN && open_->user;
    struct bl_user owner;
    int root = -1, fds = -1, failed = 0;

    bl_child_prepare();
    umask(0);
    if (keep_only(child) < 0)
        failed = bl_fail(&err, BL_EXECUTION, errno, "close the agent's descriptors");
    /* The agent's /proc: the box's knows only the processes of the box. */
    if (!failed && (fds = open("/proc/self/fd", O_PATH | O_DIRECTORY | O_CLOEXEC)) < 0)
        failed = bl_fail(&err, BL_EXECUTION, errno, "open the descriptors of the copy");
    if (!failed && setns(child->workload_fd, CLONE_NEWNS) < 0)
        failed = bl_fail(&err, BL_EXECUTION, errno, "enter the box (its workload is ending)");
    if (!failed && (root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC)) < 0)
        failed = bl_fail(&err, BL_EXECUTION, errno, "open the root of the box");
    if (!failed && owned)
        failed = bl_user_find(root, open_->user, &owner, &err);
    if (!failed)
        failed = bl_child_drop_capabilities(&err);
    if (!failed && bl_child_report(child, &started) < 0)
        failed = bl_fail(&err, BL_EXECUTION, errno, "tell the agent that the copy begins");
    if (!failed)
        failed = open_->kind == BL_OPEN_COPY_IN
                     ? bl_copy_in(root, fds, open_->path, open_->copy_flags, owned ? &owner : NULL, child->stdio[0], &err)
                     : bl_copy_out(root, open_->path, open_->copy_flags, child->stdio[1], &err);
    if (failed)
        bl_child_fail(child, EXIT_COPY_FAILED, &err);
    _exit(0);
}
