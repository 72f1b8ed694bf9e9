/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mmio.c - the registers of a virtio slot; see mmio.h
 *
 * Registers are read and written under the device's lock, but for the two of the interrupt, which are one atomic word: handlers
 * in the guest read and acknowledge while the device works. The driver comes up in the order of virtio 1.2, 3.1; what comes out of
 * order is not carried out: features count until FEATURES_OK, queues are set up between it and DRIVER_OK, and a status bit that is
 * set stays until the reset.
 *
 * A reset waits for requests in flight, as the driver takes its memory back once it has written 0. While it waits the lock is
 * open, so another processor could come in between: it reads the old status, and what it writes is lost.
 */
#include "vmm/virtio/mmio.h"

#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "vmm/virtio/mmio_private.h"

#define REGISTER_BYTES 4
#define RING_FEATURES  (1ull << VIRTIO_RING_F_INDIRECT_DESC | 1ull << VIRTIO_RING_F_EVENT_IDX | 1ull << VIRTIO_F_VERSION_1)

/* Between these two bits queues are set up. */
#define SETTING_UP(status) (((status) & (VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK)) == VIRTIO_CONFIG_S_FEATURES_OK)

static void signal_fd(int fd)
{
    uint64_t one = 1;

    while (write(fd, &one, sizeof one) < 0 && errno == EINTR)
        ;
}

static void raise_interrupt(struct bl_mmio *mmio, uint32_t cause)
{
    atomic_fetch_or(&mmio->interrupt, cause);
    signal_fd(mmio->irq_fd);
}

static void on_interrupt(void *data)
{
    raise_interrupt(data, VIRTIO_MMIO_INT_VRING);
}

static void on_config_changed(void *data)
{
    struct bl_mmio *mmio = data;

    mmio->config_generation++;
    if (mmio->status & VIRTIO_CONFIG_S_DRIVER_OK)
        raise_interrupt(mmio, VIRTIO_MMIO_INT_CONFIG);
}

static void on_needs_reset(void *data)
{
    struct bl_mmio *mmio = data;

    mmio->device->active = false;
    mmio->status |= VIRTIO_CONFIG_S_NEEDS_RESET;
    if (mmio->status & VIRTIO_CONFIG_S_DRIVER_OK)
        raise_interrupt(mmio, VIRTIO_MMIO_INT_CONFIG);
}

uint64_t bl_mmio_offered(const struct bl_device *device)
{
    return device->features | RING_FEATURES;
}

static void kick_all(struct bl_device *device)
{
    for (unsigned int i = 0; i < device->queue_count; i++)
        bl_device_kick(device, i);
}

static void reset(struct bl_mmio *mmio)
{
    struct bl_device *device = mmio->device;

    mmio->resetting = true;
    device->active = false;
    if (device->ops->reset)
        device->ops->reset(device);
    for (unsigned int i = 0; i < device->queue_count; i++)
        bl_queue_reset(&device->queues[i]);
    device->negotiated = mmio->driver_features = 0;
    mmio->status = mmio->device_features_select = mmio->driver_features_select = mmio->queue_select = 0;
    atomic_store(&mmio->interrupt, 0);
    mmio->resetting = false;
    kick_all(device);
}

/* accept_features() - Return: whether the device works with what the driver chose */
static bool accept_features(struct bl_mmio *mmio)
{
    uint64_t chosen = mmio->driver_features;

    if (!(chosen >> VIRTIO_F_VERSION_1 & 1) || chosen & ~bl_mmio_offered(mmio->device))
        return false;
    mmio->device->negotiated = chosen;
    return true;
}

static void write_status(struct bl_mmio *mmio, uint32_t value)
{
    struct bl_device *device = mmio->device;
    uint32_t fresh = value & ~mmio->status;

    if (!value) {
        reset(mmio);
        return;
    }
    if (fresh & VIRTIO_CONFIG_S_FEATURES_OK && !accept_features(mmio))
        fresh &= ~(uint32_t)VIRTIO_CONFIG_S_FEATURES_OK;
    if (!((mmio->status | fresh) & VIRTIO_CONFIG_S_FEATURES_OK))
        fresh &= ~(uint32_t)VIRTIO_CONFIG_S_DRIVER_OK;
    mmio->status |= fresh & (VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_DRIVER_OK |
                             VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_FAILED);
    if (mmio->status & VIRTIO_CONFIG_S_FAILED)
        device->active = false;
    else if (fresh & VIRTIO_CONFIG_S_DRIVER_OK && !(mmio->status & VIRTIO_CONFIG_S_NEEDS_RESET)) {
        device->active = true;
        if (device->ops->activate)
            device->ops->activate(device);
        kick_all(device);
    }
}

static void write_features(struct bl_mmio *mmio, uint32_t value)
{
    unsigned int shift = mmio->driver_features_select * 32;

    if (mmio->status & VIRTIO_CONFIG_S_FEATURES_OK || mmio->driver_features_select > 1)
        return;
    mmio->driver_features = (mmio->driver_features & ~(0xffffffffull << shift)) | (uint64_t)value << shift;
}

static void set_ready(struct bl_mmio *mmio, struct bl_queue *queue, uint32_t value)
{
    const struct bl_device *device = mmio->device;

    if (value != 1) {
        queue->ready = false;
        return;
    }
    if (!queue->ready && bl_queue_start(queue, bl_device_has(device, VIRTIO_RING_F_INDIRECT_DESC),
                                        bl_device_has(device, VIRTIO_RING_F_EVENT_IDX)) < 0) {
        bl_log(BL_LOG_DEBUG, "virtio %s: a queue that can't be: %u entries", device->ops->name, (unsigned int)queue->size);
        on_needs_reset(mmio);
    }
}

static void set_low(uint64_t *address, uint32_t value)
{
    *address = (*address & 0xffffffff00000000ull) | value;
}

static void set_high(uint64_t *address, uint32_t value)
{
    *address = (*address & 0xffffffffull) | (uint64_t)value << 32;
}

/* write_queue() - A register of the queue that is selected. */
static void write_queue(struct bl_mmio *mmio, uint64_t offset, uint32_t value)
{
    struct bl_queue *queue;

    if (mmio->queue_select >= mmio->device->queue_count || !SETTING_UP(mmio->status))
        return;
    queue = &mmio->device->queues[mmio->queue_select];
    if (offset == VIRTIO_MMIO_QUEUE_READY)
        set_ready(mmio, queue, value);
    if (queue->ready)
        return; /* the addresses of a ready queue stand */
    if (offset == VIRTIO_MMIO_QUEUE_NUM)
        queue->size = value <= queue->size_max ? (uint16_t)value : 0;
    else if (offset == VIRTIO_MMIO_QUEUE_DESC_LOW)
        set_low(&queue->descriptors_address, value);
    else if (offset == VIRTIO_MMIO_QUEUE_DESC_HIGH)
        set_high(&queue->descriptors_address, value);
    else if (offset == VIRTIO_MMIO_QUEUE_AVAIL_LOW)
        set_low(&queue->available_address, value);
    else if (offset == VIRTIO_MMIO_QUEUE_AVAIL_HIGH)
        set_high(&queue->available_address, value);
    else if (offset == VIRTIO_MMIO_QUEUE_USED_LOW)
        set_low(&queue->used_address, value);
    else if (offset == VIRTIO_MMIO_QUEUE_USED_HIGH)
        set_high(&queue->used_address, value);
}

static void write_register(struct bl_mmio *mmio, uint64_t offset, uint32_t value)
{
    switch (offset) {
    case VIRTIO_MMIO_DEVICE_FEATURES_SEL:
        mmio->device_features_select = value;
        return;
    case VIRTIO_MMIO_DRIVER_FEATURES_SEL:
        mmio->driver_features_select = value;
        return;
    case VIRTIO_MMIO_DRIVER_FEATURES:
        write_features(mmio, value);
        return;
    case VIRTIO_MMIO_QUEUE_SEL:
        mmio->queue_select = value;
        return;
    case VIRTIO_MMIO_STATUS:
        write_status(mmio, value);
        return;
    default:
        write_queue(mmio, offset, value);
        return;
    }
}

void bl_mmio_write(struct bl_mmio *mmio, uint64_t offset, const void *data, size_t length)
{
    struct bl_device *device = mmio->device;
    uint32_t value = length == REGISTER_BYTES ? bl_get_le32(data) : 0;

    if (!device || (offset < VIRTIO_MMIO_CONFIG && length != REGISTER_BYTES))
        return;
    if (offset == VIRTIO_MMIO_QUEUE_NOTIFY) {
        if (value < device->queue_count)
            bl_device_kick(device, value);
        return;
    }
    if (offset == VIRTIO_MMIO_INTERRUPT_ACK) {
        atomic_fetch_and(&mmio->interrupt, ~value);
        return;
    }
    pthread_mutex_lock(&device->lock);
    if (mmio->resetting)
        ;
    else if (offset < VIRTIO_MMIO_CONFIG)
        write_register(mmio, offset, value);
    else if (device->ops->write_config && offset - VIRTIO_MMIO_CONFIG < device->config_bytes &&
             length <= device->config_bytes - (offset - VIRTIO_MMIO_CONFIG))
        device->ops->write_config(device, (size_t)offset - VIRTIO_MMIO_CONFIG, data, length);
    pthread_mutex_unlock(&device->lock);
}

/* read_register() - One that only a device has; with the lock. */
static uint32_t read_register(const struct bl_mmio *mmio, uint64_t offset)
{
    const struct bl_device *device = mmio->device;
    bool selected = mmio->queue_select < device->queue_count;

    switch (offset) {
    case VIRTIO_MMIO_DEVICE_FEATURES:
        return mmio->device_features_select > 1 ? 0 : (uint32_t)(bl_mmio_offered(device) >> mmio->device_features_select * 32);
    case VIRTIO_MMIO_QUEUE_NUM_MAX:
        return selected ? device->queues[mmio->queue_select].size_max : 0;
    case VIRTIO_MMIO_QUEUE_READY:
        return selected && device->queues[mmio->queue_select].ready;
    case VIRTIO_MMIO_STATUS:
        return mmio->status;
    case VIRTIO_MMIO_CONFIG_GENERATION:
        return mmio->config_generation;
    case VIRTIO_MMIO_SHM_LEN_LOW:
    case VIRTIO_MMIO_SHM_LEN_HIGH:
    case VIRTIO_MMIO_SHM_BASE_LOW:
    case VIRTIO_MMIO_SHM_BASE_HIGH:
        return UINT32_MAX; /* there is no shared memory region; virtio 1.2, 4.2.2 */
    default:
        return 0;
    }
}

void bl_mmio_read(struct bl_mmio *mmio, uint64_t offset, void *data, size_t length)
{
    struct bl_device *device = mmio->device;
    uint32_t value = 0;

    memset(data, 0, length);
    if (offset >= VIRTIO_MMIO_CONFIG) {
        if (!device || offset - VIRTIO_MMIO_CONFIG >= device->config_bytes ||
            length > device->config_bytes - (offset - VIRTIO_MMIO_CONFIG))
            return;
        pthread_mutex_lock(&device->lock);
        device->ops->read_config(device, (size_t)offset - VIRTIO_MMIO_CONFIG, data, length);
        pthread_mutex_unlock(&device->lock);
        return;
    }
    if (length != REGISTER_BYTES)
        return;
    if (offset == VIRTIO_MMIO_MAGIC_VALUE)
        value = 0x74726976; /* "virt" */
    else if (offset == VIRTIO_MMIO_VERSION)
        value = 2;
    else if (offset == VIRTIO_MMIO_DEVICE_ID)
        value = device ? device->id : 0;
    else if (offset == VIRTIO_MMIO_VENDOR_ID)
        value = BL_MMIO_VENDOR;
    else if (device && offset == VIRTIO_MMIO_INTERRUPT_STATUS)
        value = atomic_load(&mmio->interrupt);
    else if (device) {
        pthread_mutex_lock(&device->lock);
        value = read_register(mmio, offset);
        pthread_mutex_unlock(&device->lock);
    }
    bl_put_le32(data, value);
}

/* on_kick() - A queue of a device that works on the loop; what was kicked before the device became active is looked at too. */
static void on_kick(struct bl_source *source, uint32_t events)
{
    struct bl_mmio *mmio = source->data;
    struct bl_device *device = mmio->device;
    uint64_t kicks;

    (void)events;
    if (read(source->fd, &kicks, sizeof kicks) != sizeof kicks)
        return;
    pthread_mutex_lock(&device->lock);
    device->ops->notify(device, (unsigned int)(source - mmio->kicks));
    pthread_mutex_unlock(&device->lock);
}

static int plug_in(struct bl_mmio *mmio, struct bl_loop *loop, struct bl_memory *memory)
{
    struct bl_device *device = mmio->device;

    device->host = (struct bl_device_host){
        .interrupt = on_interrupt,
        .config_changed = on_config_changed,
        .needs_reset = on_needs_reset,
        .data = mmio,
    };
    for (unsigned int i = 0; i < device->queue_count; i++) {
        device->queues[i].memory = memory;
        mmio->kicks[i] = (struct bl_source){.fd = device->kick_fds[i], .events = EPOLLIN, .ready = on_kick, .data = mmio};
        if (!device->own_kicks && bl_source_add(loop, &mmio->kicks[i]) < 0)
            return -1;
    }
    return 0;
}

int bl_mmio_new(struct bl_loop *loop, struct bl_memory *memory, struct bl_device *device, struct bl_mmio **out,
                struct bl_error *err)
{
    struct bl_mmio *mmio = calloc(1, sizeof *mmio);

    if (!mmio) {
        if (device)
            device->ops->free(device);
        return bl_fail_memory(err);
    }
    mmio->device = device;
    mmio->irq_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (mmio->irq_fd < 0 || (device && plug_in(mmio, loop, memory) < 0)) {
        bl_fail(err, BL_ENGINE, errno, "plug in the device %s", device ? device->ops->name : "of an empty slot");
        bl_mmio_free(mmio);
        return -1;
    }
    *out = mmio;
    return 0;
}

void bl_mmio_free(struct bl_mmio *mmio)
{
    if (!mmio)
        return;
    for (unsigned int i = 0; i < BL_DEVICE_QUEUES_MAX; i++)
        bl_source_remove(&mmio->kicks[i]);
    if (mmio->device)
        mmio->device->ops->free(mmio->device);
    bl_close_fd(&mmio->irq_fd);
    free(mmio);
}

int bl_mmio_irq_fd(const struct bl_mmio *mmio)
{
    return mmio->irq_fd;
}

unsigned int bl_mmio_queue_count(const struct bl_mmio *mmio)
{
    return mmio->device ? mmio->device->queue_count : 0;
}

int bl_mmio_kick_fd(const struct bl_mmio *mmio, unsigned int queue)
{
    return mmio->device && queue < mmio->device->queue_count ? mmio->device->kick_fds[queue] : -1;
}

struct bl_device *bl_mmio_device(const struct bl_mmio *mmio)
{
    return mmio->device;
}
