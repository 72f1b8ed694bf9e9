/* SPDX-License-Identifier: Apache-2.0 */
/*
 * arch.h - what the monitor wants from an architecture
 *
 * Everything that differs between processors is behind these functions: where memory and devices lie, how a kernel gets into memory
 * and is entered, which tables describe the machine, and what an exit of the architecture's own means. The folder of the
 * architecture (x86_64/) implements them; the rest of the monitor names no register.
 */
#ifndef BL_VMM_KVM_ARCH_H
#define BL_VMM_KVM_ARCH_H

#include <errno.h>
#include <linux/kvm.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "vmm/memory.h"
#include "vmm/state.h"

#define BL_KVM_SLOTS       8  /* of virtio-mmio; a constant of the product */
#define BL_KVM_CPUS_MAX    32 /* what the tuned kernel is built for */
#define BL_KVM_MEMORY_MAX  (64ull << 30)
#define BL_ARCH_RANGES_MAX 2

/* bl_kvm_fault() - The code of what KVM refused: what any engine would come to is not KVM's fault. */
static inline enum bl_code bl_kvm_fault(int error)
{
    return error == EMFILE || error == ENFILE || error == ENOMEM ? BL_ENGINE : BL_UNSUPPORTED_ENGINE;
}

/* A range of guest-physical memory. */
struct bl_arch_range {
    uint64_t start, bytes;
};

/* What a machine shall look like, and what goes into its memory. */
struct bl_arch_machine {
    unsigned int cpus;
    uint64_t memory_bytes;
    int kernel_fd, initramfs_fd; /* the owner's */
    const char *kernel_name, *initramfs_name;
    const char *command_line; /* the user's and the product's; the architecture puts its own words before it */
    unsigned int devices;     /* slots from the first on that hold a device */
    bool devices_in_line;     /* the kernel is told of them on the command line; else it reads tables */
};

/* Where a loaded kernel begins. */
struct bl_arch_boot {
    uint64_t entry;
    uint64_t parameters; /* guest-physical address of what the kernel is given */
    bool serial;         /* the command line wants the serial port */
};

/* The first serial port, and what else of a machine is reached by I/O ports. Guarded by its lock. */
struct bl_arch_ports;

/* What an exit to the monitor came to. */
enum bl_arch_exit {
    BL_EXIT_DONE,      /* it was served; go on */
    BL_EXIT_POWER_OFF, /* the guest switched itself off */
    BL_EXIT_RESET,     /* the guest wants to begin again */
    BL_EXIT_UNKNOWN,   /* the monitor does not know such an exit */
};

/* bl_arch_ranges() - Where memory lies. Return: ranges */
size_t bl_arch_ranges(uint64_t bytes, struct bl_arch_range out[BL_ARCH_RANGES_MAX]);
/* bl_arch_slot_address() / bl_arch_slot_interrupt() - Registers and interrupt line of a virtio-mmio slot. */
uint64_t bl_arch_slot_address(unsigned int slot);
unsigned int bl_arch_slot_interrupt(unsigned int slot);

/* bl_arch_check() - Capabilities that the architecture's part needs. Return: 0; -1: BL_ENGINE, the message names what is missing */
int bl_arch_check(int kvm_fd, struct bl_error *err);
/* bl_arch_vm() - Set a new VM up: interrupt controllers and what must precede processors. Return: 0; -1 */
int bl_arch_vm(int vm_fd, struct bl_error *err);
/* bl_arch_load() - Put kernel, initramfs, parameters and tables into memory. Return: 0 and *@out; -1 */
int bl_arch_load(struct bl_memory *memory, const struct bl_arch_machine *machine, struct bl_arch_boot *out, struct bl_error *err);
/* bl_arch_serial() - Whether a command line wants the first serial port. */
bool bl_arch_serial(const char *command_line);
/* bl_arch_renew() - Give a machine that goes on from a saved state an identifier of its own. Return: 0; -1 */
int bl_arch_renew(struct bl_memory *memory, struct bl_error *err);
/* bl_arch_vcpu() - Set a processor up; the first starts at the kernel's entry, the others wait for it. @boot: NULL:
 * bl_arch_cpu_load() will say where it goes on. Return: 0; -1 */
int bl_arch_vcpu(int kvm_fd, int vcpu_fd, unsigned int index, unsigned int cpus, const struct bl_arch_boot *boot,
                 struct bl_error *err);

/* bl_arch_ports_new() - @console_fd: a stream socket for what the serial port says, taken; -1: there is no port. Return: NULL: no
 * memory */
struct bl_arch_ports *bl_arch_ports_new(int console_fd);
void bl_arch_ports_free(struct bl_arch_ports *ports);
/* bl_arch_exit() - Serve an exit that is no access to a device's memory; on any processor's thread. */
enum bl_arch_exit bl_arch_exit(struct bl_arch_ports *ports, struct kvm_run *run);
/*
 * The state of what KVM emulates, and of the ports, as bytes. No processor runs meanwhile.
 *
 * Processors and VM are the kernel's structures, which it checks itself when it takes them back; here lengths and numbers are. A
 * processor is loaded after bl_arch_vcpu(), the first one first, and the VM after its processors.
 *
 * Return: 0; -1: BL_ENGINE (KVM refuses), BL_RESOURCE_EXHAUSTED (save: no room), BL_INVALID_ARGUMENT (load: makes no sense)
 */
int bl_arch_cpu_save(int kvm_fd, int vcpu_fd, struct bl_buffer *out, struct bl_error *err);
int bl_arch_cpu_load(int vcpu_fd, unsigned int index, struct bl_state_reader *in, struct bl_error *err);
int bl_arch_vm_save(int vm_fd, struct bl_buffer *out, struct bl_error *err);
int bl_arch_vm_load(int vm_fd, struct bl_state_reader *in, struct bl_error *err);
int bl_arch_ports_save(struct bl_arch_ports *ports, struct bl_buffer *out, struct bl_error *err);
int bl_arch_ports_load(struct bl_arch_ports *ports, struct bl_state_reader *in, struct bl_error *err);
/* bl_arch_save_requests() - The ioctls of saving, which only read. Return: how many */
size_t bl_arch_save_requests(const uint32_t **out);
/* bl_arch_registers() - What a processor's registers hold, one line, for a report. */
void bl_arch_registers(int vcpu_fd, char *out, size_t size);

#endif
