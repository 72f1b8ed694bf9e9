/* SPDX-License-Identifier: Apache-2.0 */
/* virtio_driver.c - a guest without a processor; see virtio_driver.h */
#include "virtio_driver.h"

#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "base/clock.h"

#define WAIT_MS  60000
#define INDIRECT (1ull << VIRTIO_RING_F_INDIRECT_DESC)

void machine_init(struct machine *machine, enum bl_memory_sharing sharing)
{
    struct bl_error err = BL_ERROR_INIT;

    *machine = (struct machine){.fd = memfd_create("guest", MFD_CLOEXEC), .free = 0x1000};
    assert_true(machine->fd >= 0);
    assert_int_equal(ftruncate(machine->fd, (off_t)(RAM_LOW + RAM_HIGH_BYTES)), 0);
    assert_int_equal(bl_loop_init(&machine->loop), 0);
    bl_memory_init(&machine->memory, 4096);
    assert_int_equal(bl_memory_add(&machine->memory, 0, RAM_SEAM, machine->fd, 0, sharing, &err), 0);
    assert_int_equal(bl_memory_add(&machine->memory, RAM_SEAM, RAM_LOW - RAM_SEAM, machine->fd, RAM_SEAM, sharing, &err), 0);
    assert_int_equal(bl_memory_add(&machine->memory, RAM_HIGH, RAM_HIGH_BYTES, machine->fd, RAM_LOW, sharing, &err), 0);
}

void machine_finish(struct machine *machine)
{
    bl_memory_free(&machine->memory);
    bl_loop_finish(&machine->loop);
    close(machine->fd);
}

uint64_t machine_take(struct machine *machine, uint64_t bytes, uint64_t align)
{
    uint64_t at = (machine->free + align - 1) & ~(align - 1);

    machine->free = at + bytes;
    assert_true(machine->free <= RAM_LOW);
    return at;
}

void machine_put(struct machine *machine, uint64_t address, const void *bytes, size_t length)
{
    assert_int_equal(bl_memory_write(&machine->memory, address, bytes, length), 0);
}

void machine_get(struct machine *machine, uint64_t address, void *bytes, size_t length)
{
    assert_int_equal(bl_memory_read(&machine->memory, address, bytes, length), 0);
}

/* Indices are what the two sides synchronise by. */
void machine_put16(struct machine *machine, uint64_t address, uint16_t value)
{
    uint16_t *at = bl_memory_at(&machine->memory, address, 2, 2);

    assert_non_null(at);
    __atomic_store_n(at, htole16(value), __ATOMIC_SEQ_CST);
}

uint16_t machine_get16(struct machine *machine, uint64_t address)
{
    const uint16_t *at = bl_memory_at(&machine->memory, address, 2, 2);

    assert_non_null(at);
    return le16toh(__atomic_load_n(at, __ATOMIC_SEQ_CST));
}

uint32_t reg_read(struct bl_mmio *mmio, uint64_t offset)
{
    uint8_t bytes[4];

    bl_mmio_read(mmio, offset, bytes, sizeof bytes);
    return bl_get_le32(bytes);
}

void reg_write(struct bl_mmio *mmio, uint64_t offset, uint32_t value)
{
    uint8_t bytes[4];

    bl_put_le32(bytes, value);
    bl_mmio_write(mmio, offset, bytes, sizeof bytes);
}

bool driver_negotiate(struct bl_mmio *mmio, uint64_t features)
{
    features |= 1ull << VIRTIO_F_VERSION_1;
    reg_write(mmio, VIRTIO_MMIO_STATUS, 0);
    reg_write(mmio, VIRTIO_MMIO_STATUS, VIRTIO_CONFIG_S_ACKNOWLEDGE);
    reg_write(mmio, VIRTIO_MMIO_STATUS, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER);
    for (uint32_t i = 0; i < 2; i++) {
        reg_write(mmio, VIRTIO_MMIO_DRIVER_FEATURES_SEL, i);
        reg_write(mmio, VIRTIO_MMIO_DRIVER_FEATURES, (uint32_t)(features >> 32 * i));
    }
    reg_write(mmio, VIRTIO_MMIO_STATUS, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_FEATURES_OK);
    return reg_read(mmio, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_FEATURES_OK;
}

void driver_queue_init(struct driver_queue *queue, struct machine *machine, uint16_t size)
{
    *queue = (struct driver_queue){.machine = machine, .size = size};
    queue->descriptors = machine_take(machine, 16ull * size, 16);
    queue->available = machine_take(machine, 6 + 2ull * size, 2);
    queue->used = machine_take(machine, 6 + 8ull * size, 4);
    for (uint64_t at = queue->descriptors; at < machine->free; at++)
        machine_put(machine, at, "", 1);
}

void driver_queue_set_up(struct driver_queue *queue, struct machine *machine, struct bl_mmio *mmio, unsigned int number,
                         uint16_t size)
{
    driver_queue_init(queue, machine, size);
    queue->mmio = mmio;
    queue->number = number;
    reg_write(mmio, VIRTIO_MMIO_QUEUE_SEL, number);
    reg_write(mmio, VIRTIO_MMIO_QUEUE_NUM, size);
    reg_write(mmio, VIRTIO_MMIO_QUEUE_DESC_LOW, (uint32_t)queue->descriptors);
    reg_write(mmio, VIRTIO_MMIO_QUEUE_DESC_HIGH, (uint32_t)(queue->descriptors >> 32));
    reg_write(mmio, VIRTIO_MMIO_QUEUE_AVAIL_LOW, (uint32_t)queue->available);
    reg_write(mmio, VIRTIO_MMIO_QUEUE_AVAIL_HIGH, (uint32_t)(queue->available >> 32));
    reg_write(mmio, VIRTIO_MMIO_QUEUE_USED_LOW, (uint32_t)queue->used);
    reg_write(mmio, VIRTIO_MMIO_QUEUE_USED_HIGH, (uint32_t)(queue->used >> 32));
    reg_write(mmio, VIRTIO_MMIO_QUEUE_READY, 1);
    assert_int_equal(reg_read(mmio, VIRTIO_MMIO_QUEUE_READY), 1);
}

void driver_start(struct machine *machine, struct bl_mmio *mmio, uint64_t features, uint16_t size, struct driver_queue *queues)
{
    assert_true(driver_negotiate(mmio, features));
    for (unsigned int i = 0; i < bl_mmio_queue_count(mmio); i++) {
        reg_write(mmio, VIRTIO_MMIO_QUEUE_SEL, i);

        uint32_t most = reg_read(mmio, VIRTIO_MMIO_QUEUE_NUM_MAX);

        driver_queue_set_up(&queues[i], machine, mmio, i, most < size ? (uint16_t)most : size);
        queues[i].indirect = features & INDIRECT;
        queues[i].event_index = features & 1ull << VIRTIO_RING_F_EVENT_IDX;
    }
    reg_write(mmio, VIRTIO_MMIO_STATUS, reg_read(mmio, VIRTIO_MMIO_STATUS) | VIRTIO_CONFIG_S_DRIVER_OK);
    assert_true(reg_read(mmio, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_DRIVER_OK);
}

void driver_descriptor(struct machine *machine, uint64_t table, uint16_t index, uint64_t address, uint32_t length, uint16_t flags,
                       uint16_t next)
{
    uint8_t bytes[16];

    bl_put_le64(bytes, address);
    bl_put_le32(bytes + 8, length);
    bl_put_le16(bytes + 12, flags);
    bl_put_le16(bytes + 14, next);
    machine_put(machine, table + 16ull * index, bytes, sizeof bytes);
}

void driver_publish(struct driver_queue *queue, uint16_t head)
{
    machine_put16(queue->machine, queue->available + 4 + 2ull * (queue->available_index % queue->size), head);
    queue->available_index++;
    machine_put16(queue->machine, queue->available + 2, queue->available_index);
}

uint16_t driver_add(struct driver_queue *queue, const struct piece *pieces, size_t count)
{
    struct machine *machine = queue->machine;
    bool indirect = queue->indirect && count > 1;
    uint64_t table = indirect ? machine_take(machine, 16 * count, 16) : queue->descriptors;
    uint16_t head = queue->next_descriptor;

    for (size_t i = 0; i < count; i++) {
        uint16_t index = indirect ? (uint16_t)i : (uint16_t)((head + i) % queue->size);
        uint16_t next = indirect ? (uint16_t)(i + 1) : (uint16_t)((head + i + 1) % queue->size);
        uint16_t flags = (pieces[i].writable ? VRING_DESC_F_WRITE : 0) | (i + 1 < count ? VRING_DESC_F_NEXT : 0);

        driver_descriptor(machine, table, index, pieces[i].address, pieces[i].length, flags, next);
    }
    if (indirect)
        driver_descriptor(machine, queue->descriptors, head, table, (uint32_t)(16 * count), VRING_DESC_F_INDIRECT, 0);
    queue->next_descriptor = (uint16_t)((head + (indirect ? 1 : count)) % queue->size);
    driver_publish(queue, head);
    return head;
}

void driver_kick(struct driver_queue *queue)
{
    uint16_t before = queue->kicked;
    bool wanted;

    queue->kicked = queue->available_index;
    if (queue->event_index)
        wanted = vring_need_event(machine_get16(queue->machine, queue->used + 4 + 8ull * queue->size), queue->kicked, before);
    else
        wanted = !(machine_get16(queue->machine, queue->used) & VRING_USED_F_NO_NOTIFY);
    if (wanted)
        reg_write(queue->mmio, VIRTIO_MMIO_QUEUE_NOTIFY, queue->number);
}

uint16_t driver_used(struct driver_queue *queue)
{
    return (uint16_t)(machine_get16(queue->machine, queue->used + 2) - queue->used_seen);
}

uint16_t driver_take(struct driver_queue *queue, uint32_t *written)
{
    uint8_t entry[8];

    assert_true(driver_used(queue) > 0);
    machine_get(queue->machine, queue->used + 4 + 8ull * (queue->used_seen % queue->size), entry, sizeof entry);
    queue->used_seen++;
    if (written)
        *written = bl_get_le32(entry + 4);
    return (uint16_t)bl_get_le32(entry);
}

void machine_settle(struct machine *machine)
{
    struct pollfd ready = {.fd = machine->loop.epoll_fd, .events = POLLIN};

    while (poll(&ready, 1, 0) == 1)
        assert_int_equal(bl_loop_step(&machine->loop, 0), 0);
}

void driver_wait(struct driver_queue *queue, uint16_t count)
{
    struct machine *machine = queue->machine;
    int64_t deadline = bl_deadline_in(WAIT_MS);
    struct pollfd events[2] = {{.fd = machine->loop.epoll_fd, .events = POLLIN},
                               {.fd = bl_mmio_irq_fd(queue->mmio), .events = POLLIN}};

    /* With event indices: tell me when the last of them is there. Said first and looked at afterwards, so no interrupt is missed.
     */
    machine_put16(machine, queue->available + 4 + 2ull * queue->size, (uint16_t)(queue->used_seen + count - 1));
    machine_settle(machine);
    while (driver_used(queue) < count) {
        uint64_t interrupts;

        assert_true(poll(events, 2, bl_deadline_left(deadline)) > 0);
        if (events[1].revents)
            assert_int_equal(read(events[1].fd, &interrupts, sizeof interrupts), sizeof interrupts);
        machine_settle(machine);
    }
}

uint32_t interrupted(struct bl_mmio *mmio)
{
    uint64_t interrupts;
    uint32_t causes = 0;

    if (read(bl_mmio_irq_fd(mmio), &interrupts, sizeof interrupts) == sizeof interrupts)
        causes = reg_read(mmio, VIRTIO_MMIO_INTERRUPT_STATUS);
    reg_write(mmio, VIRTIO_MMIO_INTERRUPT_ACK, causes);
    return causes;
}

uint32_t wait_interrupted(struct bl_mmio *mmio)
{
    struct pollfd interrupt = {.fd = bl_mmio_irq_fd(mmio), .events = POLLIN};

    assert_int_equal(poll(&interrupt, 1, WAIT_MS), 1);
    return interrupted(mmio);
}
