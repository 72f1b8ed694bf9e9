/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mmio.h - virtio over memory-mapped registers (virtio 1.2, 4.2), modern only
 *
 * A transport is one slot of the machine: 4 KiB of registers, one interrupt, an eventfd a queue. The platform routes accesses of
 * the processors to bl_mmio_read() and bl_mmio_write(), on any thread, and connects:
 *   - the interrupt: bl_mmio_irq_fd() is written for each interrupt (an irqfd, edge-triggered: the driver acknowledges in a
 * register, and a cause that comes after that is a new edge);
 *   - kicks: bl_mmio_kick_fd() of each queue is what an ioeventfd at BL_MMIO_QUEUE_NOTIFY, 4 bytes, with the queue's number as its
 *     data, writes. Without it the write arrives at bl_mmio_write(), to the same effect.
 *
 * All slots are filled, so that the machine's layout is a constant; a slot without a device has the id 0, which drivers skip.
 */
#ifndef BL_VMM_VIRTIO_MMIO_H
#define BL_VMM_VIRTIO_MMIO_H

#include "vmm/virtio/device.h"

#define BL_MMIO_BYTES        0x1000 /* of registers; the configuration begins at 0x100 */
#define BL_MMIO_QUEUE_NOTIFY 0x50
#define BL_MMIO_VENDOR       0x584f4c42 /* "BLOX" */

struct bl_mmio;

/*
 * bl_mmio_new() - A slot, with a device or empty
 * @loop: where the device's queues are looked at; on whose thread this, free, quiesce, resume, save and load are called
 * @memory: outlives the transport
 * @device: taken in every case; NULL: an empty slot
 *
 * Return: 0 and *@out; -1: BL_ENGINE, BL_RESOURCE_EXHAUSTED
 */
int bl_mmio_new(struct bl_loop *loop, struct bl_memory *memory, struct bl_device *device, struct bl_mmio **out,
                struct bl_error *err);
/* bl_mmio_free() - The device is freed too. No processor runs any more. NULL: nothing happens */
void bl_mmio_free(struct bl_mmio *mmio);

/* bl_mmio_irq_fd() / bl_mmio_kick_fd() - The transport's; they live as long as it does. */
int bl_mmio_irq_fd(const struct bl_mmio *mmio);
unsigned int bl_mmio_queue_count(const struct bl_mmio *mmio); /* 0 for an empty slot */
int bl_mmio_kick_fd(const struct bl_mmio *mmio, unsigned int queue);
/* bl_mmio_device() - What is plugged in; NULL for an empty slot. */
struct bl_device *bl_mmio_device(const struct bl_mmio *mmio);

/*
 * bl_mmio_read() / bl_mmio_write() - An access of a processor, any length, any offset; any thread
 *
 * What makes no sense reads as zeros and is not written. A write to the status register can wait until requests in flight end.
 */
void bl_mmio_read(struct bl_mmio *mmio, uint64_t offset, void *data, size_t length);
void bl_mmio_write(struct bl_mmio *mmio, uint64_t offset, const void *data, size_t length);

/*
 * bl_mmio_quiesce() - Let requests in flight end; none begins until bl_mmio_resume()
 *
 * After it the device touches no memory of the guest and none of its files. Registers still answer.
 */
void bl_mmio_quiesce(struct bl_mmio *mmio);
void bl_mmio_resume(struct bl_mmio *mmio);

/*
 * bl_mmio_save() - Append the state of a quiet slot
 * bl_mmio_load() - Take over a saved state, before the processors run; the slot is quiet then and wants a resume
 *
 * The interrupt line is not saved: an interrupt whose cause is pending is raised again by the resume.
 *
 * Return: 0; -1: save: BL_RESOURCE_EXHAUSTED; load: BL_INVALID_ARGUMENT (another device or version, or values that make no sense)
 */
int bl_mmio_save(struct bl_mmio *mmio, struct bl_buffer *out, struct bl_error *err);
int bl_mmio_load(struct bl_mmio *mmio, struct bl_state_reader *in, struct bl_error *err);

#endif
