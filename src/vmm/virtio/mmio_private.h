/* SPDX-License-Identifier: Apache-2.0 */
/* mmio_private.h - the slot itself, for mmio.c and mmio_state.c */
#ifndef BL_VMM_VIRTIO_MMIO_PRIVATE_H
#define BL_VMM_VIRTIO_MMIO_PRIVATE_H

#include <stdatomic.h>

#include "vmm/virtio/mmio.h"

/* A slot. The device's lock guards what is not constant, but for the interrupt's causes. */
struct bl_mmio {
    struct bl_device *device; /* NULL: an empty slot */
    int irq_fd;
    struct bl_source kicks[BL_DEVICE_QUEUES_MAX];
    uint32_t status;
    uint32_t device_features_select, driver_features_select, queue_select;
    uint64_t driver_features; /* as the driver writes them; final at FEATURES_OK */
    uint32_t config_generation;
    bool resetting;             /* a processor is in the middle of a reset, waiting for requests */
    _Atomic uint32_t interrupt; /* causes that were not acknowledged */
};

/* bl_mmio_offered() - The features that a driver may choose. */
uint64_t bl_mmio_offered(const struct bl_device *device);

#endif
