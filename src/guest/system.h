/* SPDX-License-Identifier: Apache-2.0 */
/* system.h - what PID 1 does for the machine: first mounts, modules, devices, console, power */
#ifndef BL_GUEST_SYSTEM_H
#define BL_GUEST_SYSTEM_H

#include <stdint.h>

#include "base/error.h"

/* bl_say() - A line on the console, which begins with the agent's name. */
void bl_say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* bl_system_mount() - Mount what the agent itself needs, and give it descriptors 0 to 2. Return: 0; -1 */
int bl_system_mount(struct bl_error *err);
/* bl_system_load_modules() - Load what /modules/order names, in that order; nothing to do without that file. Return: 0; -1 */
int bl_system_load_modules(struct bl_error *err);
/* bl_system_open_port() - Wait for the virtio port of that name and open it, not blocking. Return: descriptor; -1 */
int bl_system_open_port(const char *name, int64_t deadline_ms, struct bl_error *err);
/* bl_system_wait_for_disk() - Wait for the first virtio disk, BL_DISK_DEVICE. Return: 0; -1 */
int bl_system_wait_for_disk(int64_t deadline_ms, struct bl_error *err);
/* bl_system_renew_disk() - Take the disk's driver off it and put it back, so that it learns the size anew. */
void bl_system_renew_disk(void);
/* bl_system_loopback() - Bring the interface `lo` up; a kernel without a network is no error. */
void bl_system_loopback(void);
/* bl_system_power_off() - End the machine; does not return. */
_Noreturn void bl_system_power_off(void);

#define BL_DISK_NAME   "vda"
#define BL_DISK_DEVICE "/dev/" BL_DISK_NAME

#endif
