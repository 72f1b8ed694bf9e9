/* SPDX-License-Identifier: Apache-2.0 */
/* cpuid.h - what a guest's processor says of itself */
#ifndef BL_VMM_KVM_X86_64_CPUID_H
#define BL_VMM_KVM_X86_64_CPUID_H

#include <linux/kvm.h>
#include <stddef.h>
#include <stdint.h>

#define BL_CPUID_MAX 256

/* What KVM can offer: its struct kvm_cpuid2, with room. */
struct bl_cpuid {
    uint32_t count, padding;
    struct kvm_cpuid_entry2 entries[BL_CPUID_MAX];
};

_Static_assert(offsetof(struct bl_cpuid, entries) == offsetof(struct kvm_cpuid2, entries), "KVM's ioctls take it");

/*
 * bl_cpuid_fill() - Make the answers of one processor from what KVM supports
 * @cpuid: what KVM_GET_SUPPORTED_CPUID gave; changed in place
 * @index: of the processor, its APIC id
 * @tsc_khz: 0: not known
 */
void bl_cpuid_fill(struct bl_cpuid *cpuid, unsigned int index, unsigned int cpus, uint32_t tsc_khz);

#endif
