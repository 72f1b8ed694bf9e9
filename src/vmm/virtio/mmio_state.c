/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mmio_state.c - a slot that rests, is saved and comes back; see mmio.h
 *
 * A saved slot is: version, device id, and for a device its own version, the transport's registers, the queues, and the device's
 * own bytes after their length. Whatever is loaded must be a state that the registers could have led to.
 */
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>
#include <unistd.h>

#include "vmm/virtio/mmio_private.h"

#define SLOT_VERSION     1
#define DEVICE_STATE_MAX 65536
#define STATUS_BITS                                                                                                                \
    (VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_DRIVER_OK | VIRTIO_CONFIG_S_FEATURES_OK |              \
     VIRTIO_CONFIG_S_NEEDS_RESET | VIRTIO_CONFIG_S_FAILED)

void bl_mmio_quiesce(struct bl_mmio *mmio)
{
    struct bl_device *device = mmio->device;

    if (!device)
        return;
    pthread_mutex_lock(&device->lock);
    device->paused = true;
    if (device->ops->quiesce)
        device->ops->quiesce(device);
    pthread_mutex_unlock(&device->lock);
}

void bl_mmio_resume(struct bl_mmio *mmio)
{
    struct bl_device *device = mmio->device;
    uint64_t one = 1;

    if (!device)
        return;
    pthread_mutex_lock(&device->lock);
    device->paused = false;
    pthread_mutex_unlock(&device->lock);
    if (atomic_load(&mmio->interrupt))
        (void)!write(mmio->irq_fd, &one, sizeof one);
    for (unsigned int i = 0; i < device->queue_count; i++)
        bl_device_kick(device, i);
}

/* save_device() - The device's own bytes, after their length. */
static int save_device(struct bl_device *device, struct bl_buffer *out)
{
    struct bl_buffer own __attribute__((cleanup(bl_buffer_free))) = BL_BUFFER_INIT(DEVICE_STATE_MAX);

    if (device->ops->save && device->ops->save(device, &own) < 0)
        return -1;
    return bl_state_put_u32(out, (uint32_t)own.length) < 0 ? -1 : bl_buffer_append(out, bl_buffer_data(&own), own.length);
}

static int save_slot(struct bl_mmio *mmio, struct bl_buffer *out)
{
    struct bl_device *device = mmio->device;
    int failed = bl_state_put_u32(out, SLOT_VERSION) | bl_state_put_u32(out, device ? device->id : 0);

    if (!device || failed)
        return failed;
    failed |= bl_state_put_u32(out, device->state_version) | bl_state_put_u32(out, mmio->status);
    failed |= bl_state_put_u32(out, mmio->device_features_select) | bl_state_put_u32(out, mmio->driver_features_select);
    failed |= bl_state_put_u32(out, mmio->queue_select) | bl_state_put_u64(out, mmio->driver_features);
    failed |= bl_state_put_u32(out, mmio->config_generation) | bl_state_put_u32(out, atomic_load(&mmio->interrupt));
    failed |= bl_state_put_u32(out, device->queue_count);
    for (unsigned int i = 0; i < device->queue_count; i++)
        failed |= bl_queue_save(&device->queues[i], out);
    return failed | save_device(device, out);
}

int bl_mmio_save(struct bl_mmio *mmio, struct bl_buffer *out, struct bl_error *err)
{
    int failed;

    if (mmio->device)
        pthread_mutex_lock(&mmio->device->lock);
    failed = save_slot(mmio, out);
    if (mmio->device)
        pthread_mutex_unlock(&mmio->device->lock);
    if (failed)
        return bl_fail(err, BL_RESOURCE_EXHAUSTED, 0, "save the device %s: its state finds no room",
                       mmio->device ? mmio->device->ops->name : "of an empty slot");
    return 0;
}

/* load_registers() - Return: 0; -1: no state that a driver could have led to */
static int load_registers(struct bl_mmio *mmio, struct bl_state_reader *in)
{
    struct bl_device *device = mmio->device;
    bool chosen;

    mmio->status = bl_state_get_u32(in);
    mmio->device_features_select = bl_state_get_u32(in);
    mmio->driver_features_select = bl_state_get_u32(in);
    mmio->queue_select = bl_state_get_u32(in);
    mmio->driver_features = bl_state_get_u64(in);
    mmio->config_generation = bl_state_get_u32(in);
    atomic_store(&mmio->interrupt, bl_state_get_u32(in) & (VIRTIO_MMIO_INT_VRING | VIRTIO_MMIO_INT_CONFIG));

    uint32_t queues = bl_state_get_u32(in);

    chosen = mmio->status & VIRTIO_CONFIG_S_FEATURES_OK;
    if (in->failed || mmio->status & ~(uint32_t)STATUS_BITS || queues != device->queue_count)
        return -1;
    if (!chosen && mmio->status & VIRTIO_CONFIG_S_DRIVER_OK)
        return -1;
    if (chosen && (!(mmio->driver_features >> VIRTIO_F_VERSION_1 & 1) || mmio->driver_features & ~bl_mmio_offered(device)))
        return -1;
    device->negotiated = chosen ? mmio->driver_features : 0;
    for (unsigned int i = 0; i < queues; i++)
        if (bl_queue_load(&device->queues[i], in, bl_device_has(device, VIRTIO_RING_F_INDIRECT_DESC),
                          bl_device_has(device, VIRTIO_RING_F_EVENT_IDX)) < 0)
            return -1;
    return 0;
}

/* load_device() - What follows device id and version. Return: 0; -1, @err says why when the device does */
static int load_device(struct bl_mmio *mmio, struct bl_state_reader *in, uint32_t version, struct bl_error *err)
{
    struct bl_device *device = mmio->device;

    if (load_registers(mmio, in) < 0)
        return bl_fail(err, BL_INVALID_ARGUMENT, 0, "its registers make no sense");

    uint32_t length = bl_state_get_u32(in);
    struct bl_state_reader own = BL_STATE_READER(in->at, length);

    if (in->failed || length > in->left || (length && !device->ops->load))
        return bl_fail(err, BL_INVALID_ARGUMENT, 0, "it is cut short");
    if (device->ops->load && device->ops->load(device, &own, version, err) < 0)
        return -1;
    in->at += length;
    in->left -= length;
    device->active = (mmio->status & (VIRTIO_CONFIG_S_DRIVER_OK | VIRTIO_CONFIG_S_NEEDS_RESET | VIRTIO_CONFIG_S_FAILED)) ==
                     VIRTIO_CONFIG_S_DRIVER_OK;
    if (device->active && device->ops->activate)
        device->ops->activate(device);
    return 0;
}

int bl_mmio_load(struct bl_mmio *mmio, struct bl_state_reader *in, struct bl_error *err)
{
    struct bl_device *device = mmio->device;
    uint32_t version = bl_state_get_u32(in), id = bl_state_get_u32(in), own = 0;
    int failed;

    if (in->failed || version != SLOT_VERSION || id != (device ? device->id : 0))
        return bl_fail(err, BL_INVALID_ARGUMENT, 0,
                       "load a device: saved was device %u, version %u; here it is device %u, version %d", id, version,
                       device ? device->id : 0, SLOT_VERSION);
    if (!device)
        return 0;
    own = bl_state_get_u32(in);
    if (in->failed || own > device->state_version)
        return bl_fail(err, BL_INVALID_ARGUMENT, 0, "load the device %s: its state is of version %u, this program knows %u",
                       device->ops->name, own, device->state_version);
    pthread_mutex_lock(&device->lock);
    device->paused = true;
    failed = load_device(mmio, in, own, err);
    pthread_mutex_unlock(&device->lock);
    return failed < 0 ? bl_fail_context(err, "load the device %s", device->ops->name) : 0;
}
