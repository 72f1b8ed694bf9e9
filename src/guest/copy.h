/* SPDX-License-Identifier: Apache-2.0 */
/* copy.h - files into and out of the box, as entries (proto/entry.h) */
#ifndef BL_GUEST_COPY_H
#define BL_GUEST_COPY_H

#include <stdint.h>

#include "base/error.h"
#include "guest/child.h"
#include "guest/users.h"

/* bl_copy_run() - Be the process of a COPY_IN or COPY_OUT: enter the box, copy, end. Does not return. */
_Noreturn void bl_copy_run(struct bl_child *child);

/*
 * bl_copy_in() - Make files of the entries that come from a descriptor
 * @root_fd: root of the box
 * @fds_fd: /proc/self/fd, so that a file gets its name once it is whole; -1: it has it from the beginning
 * @owner: whose they become; NULL: whose the entries say
 * Return: 0; -1
 */
int bl_copy_in(int root_fd, int fds_fd, const char *path, uint32_t flags, const struct bl_user *owner, int from_fd,
               struct bl_error *err);
/* bl_copy_out() - Write a file, or a directory with all below it, as entries. Return: 0; -1 */
int bl_copy_out(int root_fd, const char *path, uint32_t flags, int to_fd, struct bl_error *err);

#endif
