/* SPDX-License-Identifier: Apache-2.0 */
/* kernel_file.h - what a kernel file tells about how it finds its devices */
#ifndef BL_VMM_KERNEL_FILE_H
#define BL_VMM_KERNEL_FILE_H

#include <stdbool.h>

/*
 * bl_kernel_takes_devices() - Whether a kernel finds virtio-mmio devices that its command line names
 *
 * Such a kernel has the parameter virtio_mmio.device, whose name stands in its read-only data. Costs a millisecond or two.
 *
 * Return: false also for what is no ELF file that can be read
 */
bool bl_kernel_takes_devices(const char *path);
/* bl_kernel_takes_devices_fd() - The same, of a file that is open. */
bool bl_kernel_takes_devices_fd(int fd);

#endif
