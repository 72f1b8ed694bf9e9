/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vcpu.c - a virtual machine and its processors, as KVM has them on x86-64
 *
 * The interrupt controllers are KVM's own, so an interrupt needs no exit. The first processor begins at the kernel's PVH entry in
 * 32-bit protected mode, with flat segments and without paging; the others wait to be started, as on any PC.
 *
 * Firmware would have switched the memory type registers on; without that a kernel also leaves page attribute tables off, and has
 * no way to map a device's registers uncached. So that is done here.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/cleanup.h"
#include "vmm/kvm/arch.h"
#include "vmm/kvm/x86_64/cpuid.h"
#include "vmm/kvm/x86_64/layout.h"

#define MSR_MISC_ENABLE       0x1a0u
#define MSR_MTRR_DEFAULT_TYPE 0x2ffu
#define MISC_FAST_STRINGS     1u
#define MTRR_ON_WRITE_BACK    (1u << 11 | 6u)
#define CR0_PE_ET             0x11u

int bl_arch_check(int kvm_fd, struct bl_error *err)
{
    static const struct {
        int capability;
        const char *what;
    } needed[] = {
        {KVM_CAP_SET_TSS_ADDR, "a place for its task state (KVM_CAP_SET_TSS_ADDR)"},
        {KVM_CAP_EXT_CPUID, "what the processor can do (KVM_CAP_EXT_CPUID)"},
        {KVM_CAP_TSC_DEADLINE_TIMER, "timers by the processor's counter (KVM_CAP_TSC_DEADLINE_TIMER)"},
        {KVM_CAP_CLOCKSOURCE, "a clock for the guest (KVM_CAP_CLOCKSOURCE)"},
    };

    for (size_t i = 0; i < sizeof needed / sizeof *needed; i++)
        if (ioctl(kvm_fd, KVM_CHECK_EXTENSION, needed[i].capability) <= 0)
            return bl_fail(err, BL_UNSUPPORTED_ENGINE, 0, "this host's KVM does not offer %s", needed[i].what);
    return 0;
}

int bl_arch_vm(int vm_fd, struct bl_error *err)
{
    uint64_t identity = X86_IDENTITY_MAP;

    if (ioctl(vm_fd, KVM_SET_IDENTITY_MAP_ADDR, &identity) < 0)
        return bl_fail(err, bl_kvm_fault(errno), errno, "KVM_SET_IDENTITY_MAP_ADDR");
    if (ioctl(vm_fd, KVM_SET_TSS_ADDR, (unsigned long)X86_TSS) < 0)
        return bl_fail(err, bl_kvm_fault(errno), errno, "KVM_SET_TSS_ADDR");
    if (ioctl(vm_fd, KVM_CREATE_IRQCHIP, 0) < 0)
        return bl_fail(err, bl_kvm_fault(errno), errno, "KVM_CREATE_IRQCHIP");
    return 0;
}

static int set_cpuid(int kvm_fd, int vcpu_fd, unsigned int index, unsigned int cpus, struct bl_error *err)
{
    cleanup_free struct bl_cpuid *cpuid = calloc(1, sizeof *cpuid);
    int khz = ioctl(vcpu_fd, KVM_GET_TSC_KHZ, 0);

    if (!cpuid)
        return bl_fail_memory(err);
    cpuid->count = BL_CPUID_MAX;
    if (ioctl(kvm_fd, KVM_GET_SUPPORTED_CPUID, cpuid) < 0)
        return bl_fail(err, bl_kvm_fault(errno), errno, "KVM_GET_SUPPORTED_CPUID");
    bl_cpuid_fill(cpuid, index, cpus, khz > 0 ? (uint32_t)khz : 0);
    if (ioctl(vcpu_fd, KVM_SET_CPUID2, cpuid) < 0)
        return bl_fail(err, bl_kvm_fault(errno), errno, "KVM_SET_CPUID2");
    return 0;
}

static int set_msrs(int vcpu_fd, struct bl_error *err)
{
    struct msrs {
        uint32_t count, padding;
        struct kvm_msr_entry entries[2];
    } msrs = {
        .count = 2,
        .entries = {{.index = MSR_MTRR_DEFAULT_TYPE, .data = MTRR_ON_WRITE_BACK},
                    {.index = MSR_MISC_ENABLE, .data = MISC_FAST_STRINGS}},
    };

    _Static_assert(offsetof(struct msrs, entries) == offsetof(struct kvm_msrs, entries), "KVM's ioctl takes it");
    /* Returns how many it set; the second is Intel's and may fail elsewhere. */
    if (ioctl(vcpu_fd, KVM_SET_MSRS, &msrs) < 1)
        return bl_fail(err, bl_kvm_fault(errno), errno, "KVM_SET_MSRS");
    return 0;
}

static int set_registers(int vcpu_fd, const struct bl_arch_boot *boot, struct bl_error *err)
{
    struct kvm_segment code = {.limit = UINT32_MAX, .selector = 8, .type = 11, .present = 1, .s = 1, .db = 1, .g = 1};
    struct kvm_segment data = {.limit = UINT32_MAX, .selector = 16, .type = 3, .present = 1, .s = 1, .db = 1, .g = 1};
    struct kvm_segment task = {.limit = 0x67, .type = 11, .present = 1};
    struct kvm_regs regs = {.rip = boot->entry, .rbx = boot->parameters, .rflags = 2};
    struct kvm_sregs sregs;

    if (ioctl(vcpu_fd, KVM_GET_SREGS, &sregs) < 0)
        return bl_fail(err, bl_kvm_fault(errno), errno, "KVM_GET_SREGS");
    sregs.cr0 = CR0_PE_ET;
    sregs.cr3 = sregs.cr4 = sregs.efer = 0;
    sregs.cs = code;
    sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = data;
    sregs.tr = task;
    if (ioctl(vcpu_fd, KVM_SET_SREGS, &sregs) < 0)
        return bl_fail(err, bl_kvm_fault(errno), errno, "KVM_SET_SREGS");
    if (ioctl(vcpu_fd, KVM_SET_REGS, &regs) < 0)
        return bl_fail(err, bl_kvm_fault(errno), errno, "KVM_SET_REGS");
    return 0;
}

int bl_arch_vcpu(int kvm_fd, int vcpu_fd, unsigned int index, unsigned int cpus, const struct bl_arch_boot *boot,
                 struct bl_error *err)
{
    if (set_cpuid(kvm_fd, vcpu_fd, index, cpus, err) < 0 || set_msrs(vcpu_fd, err) < 0)
        return -1;
    return index || !boot ? 0 : set_registers(vcpu_fd, boot, err);
}

void bl_arch_registers(int vcpu_fd, char *out, size_t size)
{
    struct kvm_regs regs;
    struct kvm_sregs sregs;

    if (ioctl(vcpu_fd, KVM_GET_REGS, &regs) < 0 || ioctl(vcpu_fd, KVM_GET_SREGS, &sregs) < 0) {
        snprintf(out, size, "registers can't be read: %s", strerror(errno));
        return;
    }
    snprintf(out, size,
             "rip %#llx rsp %#llx rflags %#llx rax %#llx rbx %#llx rcx %#llx rdx %#llx rsi %#llx rdi %#llx "
             "cr0 %#llx cr2 %#llx cr3 %#llx cr4 %#llx efer %#llx",
             regs.rip, regs.rsp, regs.rflags, regs.rax, regs.rbx, regs.rcx, regs.rdx, regs.rsi, regs.rdi, sregs.cr0, sregs.cr2,
             sregs.cr3, sregs.cr4, sregs.efer);
}
