/* SPDX-License-Identifier: Apache-2.0 */
/* box.h - the life of one box, from its engine's start to its exit report */
#ifndef BL_SHIM_BOX_H
#define BL_SHIM_BOX_H

#include <stdint.h>

#include "proto/launch.h"
#include "shim/answer.h"

/*
 * bl_box_live() - Start the box, serve it, and end it
 * @dir_fd: the box's directory; its lock is held
 * @answer: given when the box is ready or will not be
 * @started_us: when this process began, on the monotonic clock
 *
 * To be called on the main thread, with SIGTERM, SIGINT and SIGHUP blocked and SIGPIPE ignored. When it returns the VM is gone
 * and the report is written.
 *
 * Return: 0 when the box had been ready; -1: the start failed
 */
int bl_box_live(const struct bl_launch *launch, int dir_fd, struct bl_answer *answer, int64_t started_us);

#endif
