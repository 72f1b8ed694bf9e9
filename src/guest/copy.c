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
#include <unistd.h>

#include "base/cleanup.h"

#define EXIT_COPY_FAILED 1

_Noreturn void bl_copy_run(const struct bl_child *child)
{
    struct bl_error err = BL_ERROR_INIT;
    const struct bl_open *open_ = child->open;
    int root = -1, failed = 0;

    bl_child_prepare();
    umask(0);
    if (setns(child->workload_fd, CLONE_NEWNS) < 0)
        failed = bl_fail(&err, BL_EXECUTION, errno, "enter the box (its workload is ending)");
    if (!failed && (root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC)) < 0)
        failed = bl_fail(&err, BL_EXECUTION, errno, "open the root of the box");
    if (!failed)
        failed = bl_child_drop_capabilities(&err);
    if (!failed)
        failed = open_->kind == BL_OPEN_COPY_IN ? bl_copy_in(root, open_->path, open_->copy_flags, child->stdio[0], &err)
                                                : bl_copy_out(root, open_->path, open_->copy_flags, child->stdio[1], &err);
    if (failed)
        bl_child_fail(child, EXIT_COPY_FAILED, &err);
    _exit(0);
}
