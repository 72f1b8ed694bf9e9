/* SPDX-License-Identifier: Apache-2.0 */
/*
 * state.c - all of a machine but its memory and its disk, as bytes
 *
 *     magic, version, length of what follows
 *     processors, bytes of memory
 *     the architecture: each processor, what they share, the ports
 *     the slots, one after the other (vmm/virtio/mmio_state.c)
 *
 * The bytes end where the machine does: one too many is as wrong as one too few. What is read may have been written by anybody; a
 * machine that has taken over a part of a state and then refused it never runs.
 */
#include <errno.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "vmm/kvm/machine.h"

#define MAGIC        UINT64_C(0x3154534d56584c42) /* "BLXVMST1" */
#define VERSION      1u
#define HEADER_BYTES 16
#define STATE_MAX    (4u << 20)

static int transfer(int fd, uint8_t *bytes, size_t length, bool writes)
{
    while (length) {
        ssize_t n = writes ? write(fd, bytes, length) : read(fd, bytes, length);

        if (n < 0 && errno == EINTR)
            continue;
        if (n == 0)
            errno = EILSEQ;
        if (n <= 0)
            return -1;
        bytes += n;
        length -= (size_t)n;
    }
    return 0;
}

/* append() - All that follows the header. Return: 0; -1 */
static int append(struct bl_machine *machine, struct bl_buffer *out, struct bl_error *err)
{
    if (bl_state_put_u32(out, machine->cpu_count) < 0 || bl_state_put_u64(out, bl_memory_bytes(&machine->memory)) < 0)
        return bl_fail_memory(err);
    for (unsigned int i = 0; i < machine->cpu_count; i++)
        if (bl_arch_cpu_save(machine->kvm_fd, machine->cpus[i].fd, out, err) < 0)
            return bl_fail_context(err, "processor %u", i);
    if (bl_arch_vm_save(machine->vm_fd, out, err) < 0 || bl_arch_ports_save(machine->ports, out, err) < 0)
        return -1;
    for (unsigned int slot = 0; slot < BL_KVM_SLOTS; slot++)
        if (bl_mmio_save(machine->slots[slot], out, err) < 0)
            return -1;
    return 0;
}

int bl_machine_save(struct bl_machine *machine, int fd, struct bl_error *err)
{
    cleanup_buffer struct bl_buffer state = BL_BUFFER_INIT(STATE_MAX);
    uint8_t header[HEADER_BYTES];

    if (append(machine, &state, err) < 0)
        return -1;
    bl_put_le64(header, MAGIC);
    bl_put_le32(header + 8, VERSION);
    bl_put_le32(header + 12, (uint32_t)state.length);
    if (transfer(fd, header, sizeof header, true) < 0 || transfer(fd, bl_buffer_data(&state), state.length, true) < 0)
        return bl_fail(err, BL_STORAGE, errno, "write the state of the machine");
    return 0;
}

int bl_machine_take(struct bl_machine *machine, struct bl_state_reader *in, struct bl_error *err)
{
    uint32_t cpus = bl_state_get_u32(in);
    uint64_t bytes = bl_state_get_u64(in);

    if (in->failed || cpus != machine->cpu_count || bytes != bl_memory_bytes(&machine->memory))
        return bl_fail(err, BL_INVALID_ARGUMENT, 0, "the saved machine has %u processors and %llu bytes of memory", cpus,
                       (unsigned long long)bytes);
    for (unsigned int i = 0; i < machine->cpu_count; i++)
        if (bl_arch_cpu_load(machine->cpus[i].fd, i, in, err) < 0)
            return bl_fail_context(err, "processor %u", i);
    if (bl_arch_vm_load(machine->vm_fd, in, err) < 0 || bl_arch_ports_load(machine->ports, in, err) < 0)
        return -1;
    for (unsigned int slot = 0; slot < BL_KVM_SLOTS; slot++)
        if (bl_mmio_load(machine->slots[slot], in, err) < 0)
            return -1;
    if (in->left)
        return bl_fail(err, BL_INVALID_ARGUMENT, 0, "the saved machine has %zu bytes too many", in->left);
    return bl_arch_renew(&machine->memory, err);
}

int bl_machine_load(struct bl_machine *machine, int fd, struct bl_error *err)
{
    cleanup_buffer struct bl_buffer state = BL_BUFFER_INIT(STATE_MAX);
    uint8_t header[HEADER_BYTES], *at;

    if (transfer(fd, header, sizeof header, false) < 0)
        return bl_fail(err, BL_STORAGE, errno, "read the state of a machine");

    uint32_t version = bl_get_le32(header + 8), length = bl_get_le32(header + 12);

    if (bl_get_le64(header) != MAGIC || version != VERSION || length > STATE_MAX)
        return bl_fail(err, BL_INVALID_ARGUMENT, 0, "this is no state of a machine (version %u, %u bytes)", version, length);
    at = bl_buffer_reserve(&state, length);
    if (!at)
        return bl_fail_memory(err);
    if (transfer(fd, at, length, false) < 0)
        return bl_fail(err, BL_STORAGE, errno, "read the state of a machine");

    struct bl_state_reader in = BL_STATE_READER(at, length);

    return bl_machine_take(machine, &in, err);
}
