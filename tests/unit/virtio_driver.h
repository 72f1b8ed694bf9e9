/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio_driver.h - a guest without a processor: memory, a loop, and a driver that fills virtqueues
 *
 * The driver plays by the rules unless a test writes into the rings itself. Memory: RAM_LOW bytes at 0, in two regions that touch
 * at RAM_SEAM, a gap, and RAM_HIGH_BYTES at RAM_HIGH. Memory for rings and buffers is taken from the bottom up and never given
 * back.
 */
#ifndef BL_TESTS_VIRTIO_DRIVER_H
#define BL_TESTS_VIRTIO_DRIVER_H

#include "vmm/virtio/mmio.h"

#define RAM_SEAM       0x400000ull
#define RAM_LOW        0x800000ull
#define RAM_HIGH       0x100000000ull
#define RAM_HIGH_BYTES 0x400000ull
#define RAM_GAP        0x1000000ull /* an address in no memory */

struct machine {
    struct bl_loop loop;
    struct bl_memory memory;
    int fd;
    uint64_t free; /* the next address that is not in use */
};

/* The driver's side of one queue. */
struct driver_queue {
    struct machine *machine;
    struct bl_mmio *mmio; /* NULL: the queue is used without a transport */
    unsigned int number;
    uint16_t size, next_descriptor, available_index, used_seen;
    uint64_t descriptors, available, used;
    bool indirect, event_index;
    uint16_t kicked; /* the available index at the last kick that was considered */
};

struct piece {
    uint64_t address;
    uint32_t length;
    bool writable;
};

void machine_init(struct machine *machine, enum bl_memory_sharing sharing);
void machine_finish(struct machine *machine);
uint64_t machine_take(struct machine *machine, uint64_t bytes, uint64_t align);
/* machine_put() / machine_get() - Copy into and out of the guest; it must be memory. */
void machine_put(struct machine *machine, uint64_t address, const void *bytes, size_t length);
void machine_get(struct machine *machine, uint64_t address, void *bytes, size_t length);
void machine_put16(struct machine *machine, uint64_t address, uint16_t value);
uint16_t machine_get16(struct machine *machine, uint64_t address);

/* reg_read() / reg_write() - 32-bit registers. */
uint32_t reg_read(struct bl_mmio *mmio, uint64_t offset);
void reg_write(struct bl_mmio *mmio, uint64_t offset, uint32_t value);

/* driver_negotiate() - From a reset to FEATURES_OK. Return: whether the device took the features (VERSION_1 is added) */
bool driver_negotiate(struct bl_mmio *mmio, uint64_t features);
/* driver_queue_init() - Lay a queue out in memory; driver_queue_set_up() - and tell the transport of it. */
void driver_queue_init(struct driver_queue *queue, struct machine *machine, uint16_t size);
void driver_queue_set_up(struct driver_queue *queue, struct machine *machine, struct bl_mmio *mmio, unsigned int number,
                         uint16_t size);
/* driver_start() - The whole way: negotiate, set up all queues at the size given (at most theirs), DRIVER_OK. */
void driver_start(struct machine *machine, struct bl_mmio *mmio, uint64_t features, uint16_t size, struct driver_queue *queues);

/* driver_descriptor() - Write one descriptor into a table. */
void driver_descriptor(struct machine *machine, uint64_t table, uint16_t index, uint64_t address, uint32_t length, uint16_t flags,
                       uint16_t next);
/* driver_publish() - Make a head available. */
void driver_publish(struct driver_queue *queue, uint16_t head);
/* driver_add() - Write a chain and publish it, without a kick. Return: its head */
uint16_t driver_add(struct driver_queue *queue, const struct piece *pieces, size_t count);
/* driver_kick() - Tell the device of what was published, if it wants to be told, as a driver does (virtio 1.2, 2.7.10). */
void driver_kick(struct driver_queue *queue);
/* driver_used() - Chains that came back and were not taken. */
uint16_t driver_used(struct driver_queue *queue);
/* driver_take() - The next chain that came back; there must be one. Return: its head */
uint16_t driver_take(struct driver_queue *queue, uint32_t *written);
/* driver_wait() - Run the loop, and wait for interrupts, until @count chains came back that were not taken. */
void driver_wait(struct driver_queue *queue, uint16_t count);
/* machine_settle() - Run the loop until nothing is ready. */
void machine_settle(struct machine *machine);
/* interrupted() - Take the interrupt of a slot, and acknowledge. Return: its causes; 0: there was none */
uint32_t interrupted(struct bl_mmio *mmio);
/* wait_interrupted() - The same, once there is one. */
uint32_t wait_interrupted(struct bl_mmio *mmio);

#endif
