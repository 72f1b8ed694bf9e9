/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_machine_state.c - a saved machine's state, as somebody may have changed it
 *
 * The state is that of a machine whose devices are all in use. An input is: a byte with the number of changes, the changes, of 4
 * bytes each (where, 16 bits; what is put there; how many bytes the state is cut by), and the content of memory from RINGS on,
 * where the rings are. Whatever is taken over, the devices go on from it. KVM is made up (tests/unit/fake_kvm.h); it takes
 * everything.
 */
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../unit/fake_kvm.h"
#include "../unit/machine_fixture.h"
#include "fuzz.h"

#define TURNS       4 /* of the loop, in which devices look at their queues */
#define HEADER      16
#define STATE_MAX   65536
#define RINGS       0x10000u
#define RING_STRIDE 0x1000u
#define RING_SIZE   16u
#define CHANGE      4u
#define FEATURES    (1u << 28 | 1u << 29) /* indirect descriptors, event index */

static const struct fake_msr msrs[FAKE_MSRS] = {
    {0x10, 1000, true, true, true}, {0x8b, 42, true, true, true},  {0x3a, 7, true, true, true},
    {0x6e0, 0, true, true, true},   {0x2ff, 0, false, true, true},
};

static void put(struct bl_machine *machine, unsigned int slot, uint32_t reg, uint32_t value)
{
    bl_devices_access(machine, bl_arch_slot_address(slot) + reg, &value, sizeof value, true);
}

/* use_devices() - As a driver would. */
static void use_devices(struct bl_machine *machine)
{
    const uint32_t begun = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER, chosen = begun | VIRTIO_CONFIG_S_FEATURES_OK;
    uint32_t ring = RINGS;

    for (unsigned int slot = 0; slot < BL_DEVICES_COUNT; slot++) {
        put(machine, slot, VIRTIO_MMIO_STATUS, begun);
        put(machine, slot, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 0);
        put(machine, slot, VIRTIO_MMIO_DRIVER_FEATURES, FEATURES);
        put(machine, slot, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
        put(machine, slot, VIRTIO_MMIO_DRIVER_FEATURES, 1); /* VERSION_1 */
        put(machine, slot, VIRTIO_MMIO_STATUS, chosen);
        for (unsigned int queue = 0; queue < bl_mmio_queue_count(machine->slots[slot]); queue++, ring += RING_STRIDE) {
            put(machine, slot, VIRTIO_MMIO_QUEUE_SEL, queue);
            put(machine, slot, VIRTIO_MMIO_QUEUE_NUM, RING_SIZE);
            put(machine, slot, VIRTIO_MMIO_QUEUE_DESC_LOW, ring);
            put(machine, slot, VIRTIO_MMIO_QUEUE_AVAIL_LOW, ring + 0x400);
            put(machine, slot, VIRTIO_MMIO_QUEUE_USED_LOW, ring + 0x800);
            put(machine, slot, VIRTIO_MMIO_QUEUE_READY, 1);
        }
        put(machine, slot, VIRTIO_MMIO_STATUS, chosen | VIRTIO_CONFIG_S_DRIVER_OK);
    }
}

/* saved_state() - Made once. Return: its length, without the header */
static size_t saved_state(const uint8_t **out)
{
    static uint8_t bytes[STATE_MAX];
    static size_t length;
    struct machine_fixture fixture;
    int fd;

    *out = bytes;
    if (length)
        return length;
    fd = memfd_create("state", MFD_CLOEXEC);
    fake_kvm_reset(msrs);
    machine_fixture_init(&fixture, 1);
    use_devices(&fixture.machine);
    bl_devices_quiesce(&fixture.machine);
    must(bl_machine_save(&fixture.machine, fd, NULL) == 0);
    machine_fixture_finish(&fixture);
    length = (size_t)pread(fd, bytes, sizeof bytes, HEADER);
    must(length > 0 && length < sizeof bytes);
    close(fd);
    return length;
}

/* change() - Carry the changes out. Return: how long the state is then */
static size_t change(uint8_t *state, size_t length, const uint8_t *changes, size_t count)
{
    size_t cut = 0;

    for (size_t i = 0; i < count; i++, changes += CHANGE) {
        state[(size_t)(changes[0] | changes[1] << 8) % length] = changes[2];
        cut += changes[3];
    }
    return cut < length ? length - cut : 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t state[STATE_MAX];
    struct bl_error err = BL_ERROR_INIT;
    struct machine_fixture fixture;
    const uint8_t *saved;
    size_t length = saved_state(&saved), count;

    if (!size)
        return 0;
    count = data[0] < (size - 1) / CHANGE ? data[0] : (size - 1) / CHANGE;
    memcpy(state, saved, length);

    size_t left = change(state, length, data + 1, count);
    struct bl_state_reader in = BL_STATE_READER(state, left);

    fake_kvm_reset(msrs);
    machine_fixture_init(&fixture, 1);
    bl_memory_write(&fixture.machine.memory, RINGS, data + 1 + count * CHANGE, size - 1 - count * CHANGE);
    if (bl_machine_take(&fixture.machine, &in, &err) < 0)
        must(err.message[0] && err.code != BL_OK);
    else
        must(left == length);
    bl_devices_resume(&fixture.machine);
    for (int i = 0; i < TURNS; i++)
        must(bl_loop_step(&fixture.loop, 0) == 0);
    machine_fixture_finish(&fixture);
    return 0;
}
