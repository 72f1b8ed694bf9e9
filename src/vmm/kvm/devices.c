/* SPDX-License-Identifier: Apache-2.0 */
/*
 * devices.c - the devices of a machine, and how processors reach them
 *
 * All slots are filled, in the same order at each start: serial (console and agent port), disk, random numbers, balloon, and empty
 * ones. A queue's notification never comes to this process as an exit: KVM writes the queue's eventfd itself (ioeventfd), and takes
 * interrupts from another (irqfd). Only set-up and acknowledgements are exits, on the thread of the processor that caused them.
 *
 * A disk's thread waits for kicks, does what disk/qcow2.h lists, and interrupts:
 *
 * #syscalls:disk newfstatat lseek fsync read write preadv pwritev pread64 pwrite64 preadv2 pwritev2 fdatasync ftruncate fallocate
 * fcntl fstat
 */
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "disk/qcow2.h"
#include "vmm/kvm/confine.h"
#include "vmm/kvm/machine.h"
#include "vmm/virtio/balloon.h"
#include "vmm/virtio/block.h"
#include "vmm/virtio/console.h"
#include "vmm/virtio/rng.h"

enum slot { SLOT_SERIAL, SLOT_DISK, SLOT_RANDOM, SLOT_BALLOON };

_Static_assert(SLOT_BALLOON + 1 == BL_DEVICES_COUNT, "kernels are told of that many");

static int make_serial(struct bl_machine *machine, struct bl_engine_config *config, struct bl_device **out, struct bl_error *err)
{
    if (bl_serial_new(machine->loop, bl_steal_fd(&config->console_fd), bl_steal_fd(&config->agent_fd), out, err) < 0)
        return -1;
    machine->serial = *out;
    return 0;
}

/* confine_disk() - On each of the disk's threads. */
static int confine_disk(void *data)
{
    struct bl_error err = BL_ERROR_INIT;

    (void)data;
    if (bl_confine_thread(BL_THREAD_DISK, &err) == 0)
        return 0;
    bl_log(BL_LOG_ERROR, "%s", err.message);
    return -1;
}

static int make_disk(struct bl_engine_config *config, struct bl_device **out, struct bl_error *err)
{
    struct bl_block_config block = {.serial = BL_ENGINE_DISK_SERIAL, .on_thread = config->unconfined ? NULL : confine_disk};
    struct bl_disk_layer layers[BL_ENGINE_DISKS_MAX];

    for (size_t i = 0; i < config->disk_count; i++)
        layers[i] =
            (struct bl_disk_layer){.fd = bl_steal_fd(&config->disks[i].fd), .qcow2 = config->disks[i].format == BL_DISK_QCOW2};
    if (config->disk_count &&
        bl_block_open(layers, config->disk_count, config->volatile_disk ? BL_DISK_VOLATILE : 0, &block.disk, err) < 0)
        return -1;
    return bl_block_new(&block, out, err);
}

/* connect_slot() - Have KVM carry interrupts and notifications of a slot. Return: 0; -1 */
static int connect_slot(struct bl_machine *machine, unsigned int slot, struct bl_error *err)
{
    const struct bl_mmio *mmio = machine->slots[slot];
    struct kvm_irqfd line = {.fd = (uint32_t)bl_mmio_irq_fd(mmio), .gsi = bl_arch_slot_interrupt(slot)};
    unsigned int queues = bl_mmio_queue_count(mmio);

    if (!queues)
        return 0;
    if (ioctl(machine->vm_fd, KVM_IRQFD, &line) < 0)
        return bl_fail(err, bl_kvm_fault(errno), errno, "connect the interrupt of device %u (KVM_IRQFD)", slot);
    for (unsigned int queue = 0; queue < queues; queue++) {
        struct kvm_ioeventfd kick = {
            .datamatch = queue,
            .addr = bl_arch_slot_address(slot) + BL_MMIO_QUEUE_NOTIFY,
            .len = 4,
            .fd = bl_mmio_kick_fd(mmio, queue),
            .flags = KVM_IOEVENTFD_FLAG_DATAMATCH,
        };

        if (ioctl(machine->vm_fd, KVM_IOEVENTFD, &kick) < 0)
            return bl_fail(err, bl_kvm_fault(errno), errno, "connect queue %u of device %u (KVM_IOEVENTFD)", queue, slot);
    }
    return 0;
}

int bl_devices_make(struct bl_machine *machine, struct bl_engine_config *config, struct bl_error *err)
{
    for (unsigned int slot = 0; slot < BL_KVM_SLOTS; slot++) {
        struct bl_device *device = NULL;
        int failed = slot == SLOT_SERIAL    ? make_serial(machine, config, &device, err)
                     : slot == SLOT_DISK    ? make_disk(config, &device, err)
                     : slot == SLOT_RANDOM  ? bl_rng_new(&device, err)
                     : slot == SLOT_BALLOON ? bl_balloon_new(&machine->memory, &device, err)
                                            : 0;

        if (failed || bl_mmio_new(machine->loop, &machine->memory, device, &machine->slots[slot], err) < 0 ||
            connect_slot(machine, slot, err) < 0)
            return -1;
    }
    return 0;
}

void bl_devices_quiesce(struct bl_machine *machine)
{
    for (unsigned int slot = 0; slot < BL_KVM_SLOTS; slot++)
        if (machine->slots[slot])
            bl_mmio_quiesce(machine->slots[slot]);
}

void bl_devices_resume(struct bl_machine *machine)
{
    for (unsigned int slot = 0; slot < BL_KVM_SLOTS; slot++)
        if (machine->slots[slot])
            bl_mmio_resume(machine->slots[slot]);
}

void bl_devices_finish(struct bl_machine *machine)
{
    /* First: a device that is quiet takes nothing out of its queues. */
    if (machine->serial)
        bl_serial_drain(machine->serial);
    bl_devices_quiesce(machine);
}

void bl_devices_free(struct bl_machine *machine)
{
    machine->serial = NULL;
    for (unsigned int slot = 0; slot < BL_KVM_SLOTS; slot++) {
        bl_mmio_free(machine->slots[slot]);
        machine->slots[slot] = NULL;
    }
}

void bl_devices_access(struct bl_machine *machine, uint64_t address, void *data, uint32_t length, bool write)
{
    uint64_t offset = address - bl_arch_slot_address(0);

    if (address < bl_arch_slot_address(0) || offset >= (uint64_t)BL_KVM_SLOTS * BL_MMIO_BYTES) {
        /* Nothing is there: a bus without a device reads as ones. */
        if (!write)
            memset(data, UINT8_MAX, length);
        return;
    }

    struct bl_mmio *mmio = machine->slots[offset / BL_MMIO_BYTES];

    if (write)
        bl_mmio_write(mmio, offset % BL_MMIO_BYTES, data, length);
    else
        bl_mmio_read(mmio, offset % BL_MMIO_BYTES, data, length);
}
