/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cpuid.c - what a guest's processor says of itself
 *
 * KVM names what the host's processor and it can do. That is filtered and completed, so that what the guest reads is consistent:
 *   - topology: one package, a core a processor, one thread a core, in every place where a processor tells it;
 *   - time: the kernel takes its clock from KVM (the leaves at 0x40000000), ticks from the APIC's TSC deadline, which KVM carries
 * out but does not list; the frequencies are told too, so nobody calibrates;
 *   - not offered, since nothing in a box has a use for them and each is surface: virtualization in the guest (VMX, SVM), counters
 * of the processor's events, memory protection extensions (MPX), MONITOR, debug store, thermal and power management, SGX.
 *
 * Leaves are those of Intel SDM volume 2, CPUID, and AMD APM volume 3, appendix E.
 */
#include "vmm/kvm/x86_64/cpuid.h"

#include <string.h>

#define BIT(n) (1u << (n))

#define KVM_LEAF_FIRST 0x40000000u
#define KVM_LEAF_TIME  0x40000010u
#define APIC_BUS_KHZ   1000000u /* KVM's local APIC counts nanoseconds */

/* What is taken out of a leaf. */
struct removal {
    uint32_t function, index;
    uint32_t eax, ebx, ecx, edx;
};

static const struct removal removals[] = {
    /* DTES64, MONITOR, DS-CPL, VMX, SMX, EIST, TM2, PDCM; DS, ACPI, TM */
    {1, 0, 0, 0, BIT(2) | BIT(3) | BIT(4) | BIT(5) | BIT(6) | BIT(7) | BIT(8) | BIT(15), BIT(21) | BIT(22) | BIT(29)},
    /* SGX, MPX, PQM, PQE, processor trace; SGX_LC; arch LBR */
    {7, 0, 0, BIT(2) | BIT(12) | BIT(14) | BIT(15) | BIT(25), BIT(30), BIT(19)},
    /* MPX's state */
    {0xd, 0, BIT(3) | BIT(4), 0, 0, 0},
    /* SVM, IBS, SKINIT, WDT, LWP, NodeId, the counters; */
    {0x80000001, 0, 0, 0, BIT(2) | BIT(10) | BIT(12) | BIT(13) | BIT(15) | BIT(19) | BIT(23) | BIT(24) | BIT(28), 0},
};

/* Leaves that say nothing at all here: MONITOR, thermal, performance counters, SGX, processor trace; SVM, IBS, counters. */
static const uint32_t silent[] = {5, 6, 0xa, 0x12, 0x14, 0x8000000a, 0x8000001b, 0x80000022};

static struct kvm_cpuid_entry2 *find(struct bl_cpuid *cpuid, uint32_t function, uint32_t index)
{
    for (uint32_t i = 0; i < cpuid->count; i++) {
        struct kvm_cpuid_entry2 *entry = &cpuid->entries[i];

        if (entry->function == function && entry->index == index)
            return entry;
    }
    return NULL;
}

/* need() - The same, made when it is missing. Return: NULL when there is no room */
static struct kvm_cpuid_entry2 *need(struct bl_cpuid *cpuid, uint32_t function, uint32_t index, uint32_t flags)
{
    struct kvm_cpuid_entry2 *entry = find(cpuid, function, index);

    if (entry || cpuid->count >= BL_CPUID_MAX)
        return entry;
    entry = &cpuid->entries[cpuid->count++];
    *entry = (struct kvm_cpuid_entry2){.function = function, .index = index, .flags = flags};
    return entry;
}

/* drop() - Take a leaf out, all of its indices. */
static void drop(struct bl_cpuid *cpuid, uint32_t function)
{
    uint32_t kept = 0;

    for (uint32_t i = 0; i < cpuid->count; i++)
        if (cpuid->entries[i].function != function)
            cpuid->entries[kept++] = cpuid->entries[i];
    cpuid->count = kept;
}

/* width() - Bits that number @count things. */
static unsigned int width(unsigned int count)
{
    unsigned int bits = 0;

    while ((1u << bits) < count)
        bits++;
    return bits;
}

static void remove_features(struct bl_cpuid *cpuid)
{
    for (size_t i = 0; i < sizeof removals / sizeof *removals; i++) {
        const struct removal *removal = &removals[i];
        struct kvm_cpuid_entry2 *entry = find(cpuid, removal->function, removal->index);

        if (!entry)
            continue;
        entry->eax &= ~removal->eax;
        entry->ebx &= ~removal->ebx;
        entry->ecx &= ~removal->ecx;
        entry->edx &= ~removal->edx;
    }
    for (size_t i = 0; i < sizeof silent / sizeof *silent; i++)
        for (uint32_t j = 0; j < cpuid->count; j++)
            if (cpuid->entries[j].function == silent[i])
                cpuid->entries[j].eax = cpuid->entries[j].ebx = cpuid->entries[j].ecx = cpuid->entries[j].edx = 0;
}

/* extended_topology() - Leaf 0xb or 0x1f: threads of a core, cores of the package. */
static void extended_topology(struct bl_cpuid *cpuid, uint32_t function, unsigned int index, unsigned int cpus)
{
    struct kvm_cpuid_entry2 *entry;

    drop(cpuid, function);
    for (uint32_t level = 0; level < 3; level++) {
        entry = need(cpuid, function, level, KVM_CPUID_FLAG_SIGNIFCANT_INDEX);
        if (!entry)
            return;
        entry->eax = level == 1 ? width(cpus) : 0;
        entry->ebx = level == 0 ? 1 : level == 1 ? cpus : 0;
        entry->ecx = level | (level < 2 ? (level + 1) << 8 : 0); /* level type: 1 thread, 2 core, 0 none */
        entry->edx = index;
    }
}

/* cache_sharing() - Leaf 4 (Intel) and 0x8000001d (AMD): the first two levels are a core's own, the others everybody's. */
static void cache_sharing(struct bl_cpuid *cpuid, unsigned int cpus)
{
    for (uint32_t i = 0; i < cpuid->count; i++) {
        struct kvm_cpuid_entry2 *entry = &cpuid->entries[i];
        uint32_t level = entry->eax >> 5 & 7;

        if ((entry->function != 4 && entry->function != 0x8000001d) || !(entry->eax & 0x1f))
            continue;
        entry->eax &= entry->function == 4 ? 0x3fffu : ~(0xfffu << 14);
        if (level >= 3)
            entry->eax |= (cpus - 1) << 14;
        if (entry->function == 4)
            entry->eax |= ((1u << width(cpus)) - 1) << 26;
    }
}

static void topology(struct bl_cpuid *cpuid, unsigned int index, unsigned int cpus)
{
    struct kvm_cpuid_entry2 *entry = find(cpuid, 1, 0), *highest = find(cpuid, 0, 0);

    if (entry) {
        entry->ebx = (entry->ebx & 0x0000ffff) | index << 24 | cpus << 16;
        entry->edx = cpus > 1 ? entry->edx | BIT(28) : entry->edx & ~BIT(28);
    }
    if (highest && highest->eax >= 0xb)
        extended_topology(cpuid, 0xb, index, cpus);
    if (highest && highest->eax >= 0x1f)
        extended_topology(cpuid, 0x1f, index, cpus);
    cache_sharing(cpuid, cpus);
    entry = find(cpuid, 0x80000001, 0);
    if (entry && cpus > 1 && highest && highest->ebx == 0x68747541) /* "Auth", of AMD: CmpLegacy, cores are no threads */
        entry->ecx |= BIT(1);
    entry = find(cpuid, 0x80000008, 0);
    if (entry)
        entry->ecx = (entry->ecx & ~0xf0ffu) | width(cpus) << 12 | (cpus - 1);
    entry = find(cpuid, 0x8000001e, 0);
    if (entry) {
        entry->eax = index;
        entry->ebx = index; /* the core's number, one thread in it */
        entry->ecx = 0;     /* one node */
        entry->edx = 0;
    }
}

static void clocks(struct bl_cpuid *cpuid, uint32_t tsc_khz)
{
    struct kvm_cpuid_entry2 *entry = find(cpuid, 1, 0);

    if (entry)
        entry->ecx |= BIT(21) | BIT(24) | BIT(31); /* x2APIC, TSC deadline, "this is a virtual machine" */
    entry = find(cpuid, KVM_LEAF_FIRST, 0);
    if (!entry || !tsc_khz)
        return;
    entry->eax = KVM_LEAF_TIME;
    entry = need(cpuid, KVM_LEAF_TIME, 0, 0);
    if (entry) {
        entry->eax = tsc_khz;
        entry->ebx = APIC_BUS_KHZ;
    }
}

void bl_cpuid_fill(struct bl_cpuid *cpuid, unsigned int index, unsigned int cpus, uint32_t tsc_khz)
{
    if (cpuid->count > BL_CPUID_MAX)
        cpuid->count = BL_CPUID_MAX;
    remove_features(cpuid);
    topology(cpuid, index, cpus);
    clocks(cpuid, tsc_khz);
}
