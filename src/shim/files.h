/* SPDX-License-Identifier: Apache-2.0 */
/* files.h - a shim's files in its box's directory: the lock and shim.pid, which say that it lives, and the disks */
#ifndef BL_SHIM_FILES_H
#define BL_SHIM_FILES_H

#include <stddef.h>

#include "base/error.h"
#include "proto/launch.h"
#include "vmm/engine.h"

#define BL_BOOT_ID_BYTES 37 /* with its NUL */

/*
 * bl_shim_lock() - Take the lock that says this process is the box's shim
 *
 * A POSIX record lock: closing any descriptor of the file would drop it, so the file is opened here, once, and never closed.
 *
 * Return: 0; -1: BL_INVALID_STATE (another shim has it), BL_STORAGE
 */
int bl_shim_lock(int dir_fd, const char *box_id, struct bl_error *err);
/* bl_shim_write_pid() - Write shim.pid: pid, start time in clock ticks, boot id. Return: 0; -1 with BL_STORAGE */
int bl_shim_write_pid(int dir_fd, struct bl_error *err);
/* bl_boot_id() - The host's boot id; empty when it can't be read. */
void bl_boot_id(char out[BL_BOOT_ID_BYTES]);
/*
 * bl_replace_file() - Replace a file's content at once, mode 0600
 *
 * Without a sync, which can take tens of milliseconds: after a crash of the machine these files mean nothing anyway, as the boot id
 * in them tells.
 *
 * Return: 0; -1 with errno
 */
int bl_replace_file(int dir_fd, const char *name, const void *bytes, size_t length);
/*
 * bl_disk_in_use() - Whether another process holds QEMU's locks on a disk
 * @user: who, for people ("process 123 (qemu-system-x86)"); "another process" when that can't be seen
 * Return: 1: yes; 0: no; -1 with errno
 */
int bl_disk_in_use(int fd, char *user, size_t size);
/* bl_open_disks() - Open the chain of the box's disk for a VM; nobody else may have the overlay. Return: 0; -1: BL_STORAGE,
 * BL_INVALID_STATE; what was opened is the config's */
int bl_open_disks(int dir_fd, const struct bl_launch *launch, struct bl_engine_config *config, struct bl_error *err);

#endif
