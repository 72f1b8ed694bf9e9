/* SPDX-License-Identifier: Apache-2.0 */
/*
 * balloon.h - a virtio balloon (virtio 1.2, 5.5): memory that goes back to the host
 *
 * Two ways: the host asks for some (the balloon is inflated), or the guest tells, unasked, of pages that it does not use (free page
 * reporting). Either way the pages leave the host's memory at once, and come back as zeros when the guest touches them.
 */
#ifndef BL_VMM_VIRTIO_BALLOON_H
#define BL_VMM_VIRTIO_BALLOON_H

#include "vmm/virtio/device.h"

/* bl_balloon_new() - @memory: the guest's; outlives the device. Return: 0; -1 */
int bl_balloon_new(struct bl_memory *memory, struct bl_device **out, struct bl_error *err);
/* bl_balloon_aim() - Ask the guest to give up @bytes; it does so in its own time. On the loop, without the lock. */
void bl_balloon_aim(struct bl_device *device, uint64_t bytes);
/* bl_balloon_holds() - What the guest says it has given up, in bytes. Without the lock. */
uint64_t bl_balloon_holds(struct bl_device *device);
/* bl_balloon_returned() - Bytes given back to the host so far, by both ways. Without the lock. */
uint64_t bl_balloon_returned(struct bl_device *device);

#endif
