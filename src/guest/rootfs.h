/* SPDX-License-Identifier: Apache-2.0 */
/* rootfs.h - what the workload sees as its root */
#ifndef BL_GUEST_ROOTFS_H
#define BL_GUEST_ROOTFS_H

#include "base/error.h"

#define BL_BOX_ROOT "/box" /* where the agent has the disk mounted */

/*
 * bl_rootfs_enter() - Make the disk the root, with what belongs on top of it; in a new mount and pid namespace
 * Afterwards nothing of the agent's own file systems can be reached. Return: 0; -1
 */
int bl_rootfs_enter(struct bl_error *err);
/* bl_rootfs_console() - Make the terminal on descriptor 0 the box's /dev/console; failing is harmless. */
void bl_rootfs_console(void);
/* bl_rootfs_write_etc() - Write /etc/hostname, and /etc/hosts and /etc/resolv.conf when missing; failing is harmless. */
void bl_rootfs_write_etc(const char *hostname);

#endif
