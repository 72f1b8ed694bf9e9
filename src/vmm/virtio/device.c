/* SPDX-License-Identifier: Apache-2.0 */
/* device.c - what all virtio devices have in common; see device.h */
#include "vmm/virtio/device.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"

int bl_device_init(struct bl_device *device)
{
    int flags = EFD_CLOEXEC | (device->own_kicks ? 0 : EFD_NONBLOCK);

    pthread_mutex_init(&device->lock, NULL);
    for (unsigned int i = 0; i < BL_DEVICE_QUEUES_MAX; i++)
        device->kick_fds[i] = -1;
    for (unsigned int i = 0; i < device->queue_count; i++) {
        device->queues[i] = (struct bl_queue){.size_max = device->queue_sizes[i], .size = device->queue_sizes[i]};
        device->kick_fds[i] = eventfd(0, flags);
        if (device->kick_fds[i] < 0) {
            int saved = errno;

            bl_device_finish(device);
            errno = saved;
            return -1;
        }
    }
    return 0;
}

void bl_device_finish(struct bl_device *device)
{
    for (unsigned int i = 0; i < BL_DEVICE_QUEUES_MAX; i++)
        bl_close_fd(&device->kick_fds[i]);
    pthread_mutex_destroy(&device->lock);
}

int bl_device_pop(struct bl_device *device, unsigned int queue, struct bl_chain *chain)
{
    bool was_broken = device->queues[queue].broken;
    int got = bl_queue_pop(&device->queues[queue], chain);

    if (got < 0 && !was_broken)
        device->host.needs_reset(device->host.data);
    return got;
}

void bl_device_push(struct bl_device *device, unsigned int queue, const struct bl_chain *chain, uint64_t written)
{
    bl_queue_push(&device->queues[queue], chain, written);
}

void bl_device_tell(struct bl_device *device, unsigned int queue)
{
    if (bl_queue_must_interrupt(&device->queues[queue]))
        device->host.interrupt(device->host.data);
}

void bl_device_break(struct bl_device *device, unsigned int queue, const char *why)
{
    if (device->queues[queue].broken)
        return;
    bl_log(BL_LOG_DEBUG, "virtio %s: the driver broke a rule: %s", device->ops->name, why);
    device->queues[queue].broken = true;
    device->host.needs_reset(device->host.data);
}

void bl_device_kick(struct bl_device *device, unsigned int queue)
{
    uint64_t one = 1;

    /* It fails only when the counter is full, and then nobody has to be told again. */
    while (write(device->kick_fds[queue], &one, sizeof one) < 0 && errno == EINTR)
        ;
}
