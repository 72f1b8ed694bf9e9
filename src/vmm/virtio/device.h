/* SPDX-License-Identifier: Apache-2.0 */
/*
 * device.h - what a virtio device is to its transport, and the other way round
 *
 * A device knows requests, a transport (mmio.h) knows registers. The device is made first, by its own header (block.h,
 * console.h, rng.h, balloon.h); then a transport takes it, and frees it with itself.
 *
 * Threads: registers are used by the guest's processors, requests are carried out on the event loop, or, by devices that say so, on
 * threads of their own. One lock a device guards all of it but the interrupt bits. All functions below are called with the lock
 * held, unless they say otherwise. Nothing that can wait is done under it, with one exception: reset() and quiesce() wait, on a
 * condition that gives up the lock, until no request is in flight, since after a reset nothing may touch the guest's memory.
 *
 * Only the loop's thread registers and changes sources of the loop. So a change that comes from a processor (activate, reset)
 * is followed by a notification of every queue, on the loop, in which the device looks at what it is now.
 */
#ifndef BL_VMM_VIRTIO_DEVICE_H
#define BL_VMM_VIRTIO_DEVICE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/loop.h"
#include "vmm/memory.h"
#include "vmm/virtio/queue.h"

#define BL_DEVICE_QUEUES_MAX 8

struct bl_device;

/* Where a device is plugged in. Called with the device's lock held. */
struct bl_device_host {
    void (*interrupt)(void *data);      /* a queue has used buffers; the driver wants to know */
    void (*config_changed)(void *data); /* what read_config() gives has changed */
    void (*needs_reset)(void *data);    /* the driver broke a rule; it has to begin again */
    void *data;
};

/* What every device offers; those marked so may be NULL. */
struct bl_device_ops {
    const char *name;
    /* The device's own configuration; the range lies within config_bytes, which is a multiple of 4. */
    void (*read_config)(struct bl_device *device, size_t offset, void *out, size_t length);
    void (*write_config)(struct bl_device *device, size_t offset, const void *in, size_t length); /* NULL: nothing is writable */
    /* The driver is ready (DRIVER_OK): device->negotiated and the queues are final. NULL: nothing to do */
    void (*activate)(struct bl_device *device);
    /* Let requests in flight end and forget all of the driver. The transport resets the queues then. NULL: nothing to do */
    void (*reset)(struct bl_device *device);
    /* Something may have changed in a queue; on the loop. Called also when the device is not active: look at device->active */
    void (*notify)(struct bl_device *device, unsigned int queue);
    /* Let requests in flight end; pop nothing more while device->paused. NULL: none is ever in flight between two calls */
    void (*quiesce)(struct bl_device *device);
    /* State beyond the queues and the negotiated features, of a quiet device. NULL: there is none */
    int (*save)(struct bl_device *device, struct bl_buffer *out);
    int (*load)(struct bl_device *device, struct bl_state_reader *in, uint32_t version, struct bl_error *err);
    /* Without the lock: end the threads, give everything back, the struct included. The loop still stands. */
    void (*free)(struct bl_device *device);
};

/* First member of every device's own struct. The first part is constant once the device was made; the lock guards the rest. */
struct bl_device {
    const struct bl_device_ops *ops;
    uint32_t id;            /* virtio 1.2, 5; 0: an empty slot */
    uint32_t state_version; /* of what save() writes */
    uint64_t features;      /* the device's own that it offers (bits 0 to 23 and 50 up) */
    size_t config_bytes;
    unsigned int queue_count;
    uint16_t queue_sizes[BL_DEVICE_QUEUES_MAX];
    bool own_kicks; /* the device's threads read kick_fds; there is no notify() */

    pthread_mutex_t lock;
    struct bl_device_host host;
    int kick_fds[BL_DEVICE_QUEUES_MAX]; /* eventfds; non-blocking, unless own_kicks */
    struct bl_queue queues[BL_DEVICE_QUEUES_MAX];
    uint64_t negotiated; /* features, the ring's included */
    bool active;         /* the driver is ready and neither side failed */
    bool paused;         /* between bl_mmio_quiesce() and bl_mmio_resume() */
};

/* bl_device_init() - For makers: lock, descriptors, queues as the constant part says. Return: 0; -1 with errno */
int bl_device_init(struct bl_device *device);
/* bl_device_finish() - For ops->free: what init took. */
void bl_device_finish(struct bl_device *device);
/* bl_device_running() - Whether chains may be popped. */
static inline bool bl_device_running(const struct bl_device *device)
{
    return device->active && !device->paused;
}
/* bl_device_has() - Whether a feature was negotiated. @bit: its number */
static inline bool bl_device_has(const struct bl_device *device, unsigned int bit)
{
    return device->negotiated >> bit & 1;
}
/*
 * bl_device_pop() / bl_device_push() - As the queue's, and the host learns of a broken queue
 *
 * Push does not interrupt: bl_device_tell() does, once, after some pushes, if the driver wants it.
 */
int bl_device_pop(struct bl_device *device, unsigned int queue, struct bl_chain *chain);
void bl_device_push(struct bl_device *device, unsigned int queue, const struct bl_chain *chain, uint64_t written);
void bl_device_tell(struct bl_device *device, unsigned int queue);
/* bl_device_break() - The driver broke a rule of the device's: no chain is popped until it resets the device. */
void bl_device_break(struct bl_device *device, unsigned int queue, const char *why);
/* bl_device_kick() - Have a queue looked at again, on its thread. From any thread, with or without the lock. */
void bl_device_kick(struct bl_device *device, unsigned int queue);

#endif
