/* SPDX-License-Identifier: Apache-2.0 */
/* rng.h - a virtio entropy device (virtio 1.2, 5.4): bytes of the host kernel's generator */
#ifndef BL_VMM_VIRTIO_RNG_H
#define BL_VMM_VIRTIO_RNG_H

#include "vmm/virtio/device.h"

/* bl_rng_new() - Return: 0; -1 */
int bl_rng_new(struct bl_device **out, struct bl_error *err);

#endif
