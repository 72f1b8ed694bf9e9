/* SPDX-License-Identifier: Apache-2.0 */
/*
 * state.c - what a processor and a virtual machine hold, read from KVM and given back to it
 *
 * Of a processor the kernel's structures are taken in one order, and given back in the same, since some look at others (KVM API
 * documentation; arch/x86/kvm/x86.c and lapic.c):
 *   - whether it runs comes first: asking for it makes KVM act on what waits for a starting processor;
 *   - the special registers hold the base of the local APIC, so they precede its registers;
 *   - the local APIC precedes the MSRs: a deadline is only taken when its timer is in that mode;
 *   - events come last: nothing after them may change what is pending.
 *
 * The time stamp counter of the first processor is written twice, with something far away before: a value within a second of what a
 * fresh one counts is taken for an attempt to make processors agree, and changes nothing (Linux before 6.7, kvm_synchronize_tsc()).
 * The other processors' values are such attempts, and are meant to be.
 *
 * MSRs are those that the kernel lists, but for Hyper-V's, and the memory types, which it does not. What a fresh processor has
 * already is not set again: some can be read and not written. A deadline that has passed is no deadline any more while its
 * interrupt waits inside of KVM, where nobody sees it; such a processor gets a deadline of now instead of none, and at worst one
 * interrupt too many.
 */
#include <asm/kvm.h>
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

#include "vmm/kvm/arch.h"

#define MSR_TSC                   0x10u
#define MSR_MTRR_VARIABLE         0x200u /* to 0x20f: a base and a mask each */
#define MSR_MTRR_VARIABLES        16u
#define MSR_TSC_DEADLINE          0x6e0u
#define MSR_HYPERV_FIRST          0x40000000u
#define MSR_HYPERV_LAST           0x400001ffu
#define TSC_FAR                   (1ull << 40) /* some minutes */
#define MSRS_MAX                  512u
#define MSRS_AT_ONCE              256u   /* MAX_IO_MSRS of KVM */
#define LAPIC_TIMER               0x320u /* of its registers */
#define LAPIC_TIMER_MODE          (3u << 17)
#define LAPIC_TIMER_TO_A_DEADLINE (2u << 17)

/* One of the kernel's structures. */
struct part {
    unsigned long get, set;
    uint32_t bytes;
    const char *name;
};

#define PART(name, type)                                                                                                           \
    {                                                                                                                              \
        KVM_GET_##name, KVM_SET_##name, sizeof(type), #name                                                                        \
    }

static const struct part before_msrs[] = {
    PART(MP_STATE, struct kvm_mp_state), PART(REGS, struct kvm_regs), PART(SREGS, struct kvm_sregs),
    PART(XSAVE, struct kvm_xsave),       PART(XCRS, struct kvm_xcrs), PART(DEBUGREGS, struct kvm_debugregs),
    PART(LAPIC, struct kvm_lapic_state),
};
static const struct part events = PART(VCPU_EVENTS, struct kvm_vcpu_events);

static const uint32_t memory_types[] = {0x2ff, 0x250, 0x258, 0x259, 0x268, 0x269, 0x26a, 0x26b, 0x26c, 0x26d, 0x26e, 0x26f};

#define MEMORY_TYPES (sizeof memory_types / sizeof *memory_types)

/* Room for any part. */
union any {
    struct kvm_mp_state mp_state;
    struct kvm_regs regs;
    struct kvm_sregs sregs;
    struct kvm_xsave xsave;
    struct kvm_xcrs xcrs;
    struct kvm_debugregs debugregs;
    struct kvm_lapic_state lapic;
    struct kvm_vcpu_events events;
    struct kvm_irqchip irqchip;
    struct kvm_clock_data clock;
};

/* As struct kvm_msr_list and struct kvm_msrs, with room. */
struct list {
    uint32_t count, indices[MSRS_MAX];
};

struct msrs {
    uint32_t count, padding;
    struct kvm_msr_entry entries[MSRS_MAX];
};

_Static_assert(offsetof(struct list, indices) == offsetof(struct kvm_msr_list, indices) &&
                   offsetof(struct msrs, entries) == offsetof(struct kvm_msrs, entries),
               "KVM's ioctls take them");

size_t bl_arch_save_requests(const uint32_t **out)
{
    static const uint32_t requests[] = {
        KVM_GET_MP_STATE,       KVM_GET_REGS,  KVM_GET_SREGS,       KVM_GET_XSAVE,   KVM_GET_XCRS,
        KVM_GET_DEBUGREGS,      KVM_GET_LAPIC, KVM_GET_VCPU_EVENTS, KVM_GET_IRQCHIP, KVM_GET_CLOCK,
        KVM_GET_MSR_INDEX_LIST, KVM_GET_MSRS,  KVM_CHECK_EXTENSION,
    };

    *out = requests;
    return sizeof requests / sizeof *requests;
}

static int no_room(const char *what, struct bl_error *err)
{
    return bl_fail(err, BL_RESOURCE_EXHAUSTED, 0, "save %s: it finds no room", what);
}

static int save_part(int fd, const struct part *part, union any *at, struct bl_buffer *out, struct bl_error *err)
{
    if (ioctl(fd, part->get, at) < 0)
        return bl_fail(err, BL_ENGINE, errno, "KVM_GET_%s", part->name);
    return bl_buffer_append(out, at, part->bytes) < 0 ? no_room(part->name, err) : 0;
}

static int load_part(int fd, const struct part *part, union any *at, struct bl_state_reader *in, struct bl_error *err)
{
    bl_state_get_bytes(in, at, part->bytes);
    if (in->failed)
        return bl_fail(err, BL_INVALID_ARGUMENT, 0, "the saved machine is cut short in %s", part->name);
    return ioctl(fd, part->set, at) < 0 ? bl_fail(err, BL_ENGINE, errno, "KVM_SET_%s", part->name) : 0;
}

/* pass() - Read or write MSRs, as many as go at once. Return: how many of them were passed; the one after these is refused */
static uint32_t pass(int vcpu_fd, unsigned long request, const struct kvm_msr_entry *entries, uint32_t count,
                     struct kvm_msr_entry *out)
{
    struct {
        uint32_t count, padding;
        struct kvm_msr_entry entries[MSRS_AT_ONCE];
    } some = {.count = count < MSRS_AT_ONCE ? count : MSRS_AT_ONCE};
    int done;

    memcpy(some.entries, entries, some.count * sizeof *entries);
    done = ioctl(vcpu_fd, request, &some);
    if (done <= 0)
        return 0;
    memcpy(out, some.entries, (size_t)done * sizeof *out);
    return (uint32_t)done;
}

/* read_msrs() - Replace the values by the processor's; those that it does not have are left out. */
static void read_msrs(int vcpu_fd, struct msrs *msrs)
{
    uint32_t kept = 0;

    for (uint32_t at = 0, done; at < msrs->count; at += done ? done : 1) {
        done = pass(vcpu_fd, KVM_GET_MSRS, msrs->entries + at, msrs->count - at, msrs->entries + kept);
        kept += done;
    }
    msrs->count = kept;
}

/* add_msr() - But for Hyper-V's, which KVM lists, and makes something for when they are asked for; the guest is told of none. */
static void add_msr(struct msrs *msrs, uint32_t index)
{
    if (msrs->count < MSRS_MAX && (index < MSR_HYPERV_FIRST || index > MSR_HYPERV_LAST))
        msrs->entries[msrs->count++] = (struct kvm_msr_entry){.index = index};
}

static struct kvm_msr_entry *find_msr(struct msrs *msrs, uint32_t index)
{
    for (uint32_t i = 0; i < msrs->count; i++)
        if (msrs->entries[i].index == index)
            return &msrs->entries[i];
    return NULL;
}

static int save_msrs(int kvm_fd, int vcpu_fd, bool to_a_deadline, struct bl_buffer *out, struct bl_error *err)
{
    struct list list = {.count = MSRS_MAX};
    struct msrs msrs = {0};
    struct kvm_msr_entry *deadline, *now;
    int failed;

    if (ioctl(kvm_fd, KVM_GET_MSR_INDEX_LIST, &list) < 0)
        return bl_fail(err, BL_ENGINE, errno, "KVM_GET_MSR_INDEX_LIST");
    for (uint32_t i = 0; i < list.count && i < MSRS_MAX; i++)
        add_msr(&msrs, list.indices[i]);
    for (size_t i = 0; i < MEMORY_TYPES; i++)
        add_msr(&msrs, memory_types[i]);
    for (uint32_t i = 0; i < MSR_MTRR_VARIABLES; i++)
        add_msr(&msrs, MSR_MTRR_VARIABLE + i);
    read_msrs(vcpu_fd, &msrs);
    deadline = find_msr(&msrs, MSR_TSC_DEADLINE);
    now = find_msr(&msrs, MSR_TSC);
    if (to_a_deadline && deadline && now && !deadline->data)
        deadline->data = now->data;
    failed = bl_state_put_u32(out, msrs.count);
    for (uint32_t i = 0; i < msrs.count; i++)
        failed |= bl_state_put_u32(out, msrs.entries[i].index) | bl_state_put_u64(out, msrs.entries[i].data);
    return failed ? no_room("MSRs", err) : 0;
}

/* leave_fresh_count() - Set the time stamp counter to what is nowhere near that of a fresh processor, nor of the saved one. */
static void leave_fresh_count(int vcpu_fd, struct msrs *msrs)
{
    const struct kvm_msr_entry *counter = find_msr(msrs, MSR_TSC);
    struct kvm_msr_entry far = {.index = MSR_TSC};

    if (!counter)
        return;
    far.data = counter->data + TSC_FAR;
    pass(vcpu_fd, KVM_SET_MSRS, &far, 1, &far);
}

static int load_msrs(int vcpu_fd, bool first, struct bl_state_reader *in, struct bl_error *err)
{
    struct msrs fresh = {0}, msrs = {0};
    uint32_t count = bl_state_get_u32(in);

    if (in->failed || count > MSRS_MAX)
        return bl_fail(err, BL_INVALID_ARGUMENT, 0, "the saved machine has %u MSRs", count);
    for (uint32_t i = 0; i < count; i++) {
        msrs.entries[i].index = fresh.entries[i].index = bl_state_get_u32(in);
        msrs.entries[i].data = bl_state_get_u64(in);
    }
    if (in->failed)
        return bl_fail(err, BL_INVALID_ARGUMENT, 0, "the saved machine is cut short in its MSRs");
    fresh.count = count;
    read_msrs(vcpu_fd, &fresh);
    for (uint32_t i = 0; i < count; i++) {
        const struct kvm_msr_entry *has = find_msr(&fresh, msrs.entries[i].index);

        if (!has || has->data != msrs.entries[i].data)
            msrs.entries[msrs.count++] = msrs.entries[i];
    }
    if (first)
        leave_fresh_count(vcpu_fd, &msrs);
    for (uint32_t at = 0, done; at < msrs.count; at += done) {
        done = pass(vcpu_fd, KVM_SET_MSRS, msrs.entries + at, msrs.count - at, msrs.entries + at);
        if (!done)
            return bl_fail(err, BL_ENGINE, 0, "KVM_SET_MSRS: %#x can't be %#llx", msrs.entries[at].index,
                           (unsigned long long)msrs.entries[at].data);
    }
    return 0;
}

int bl_arch_cpu_save(int kvm_fd, int vcpu_fd, struct bl_buffer *out, struct bl_error *err)
{
    union any at = {0};
    uint32_t timer;

    if (ioctl(kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_XSAVE2) > (int)sizeof at.xsave)
        return bl_fail(err, BL_UNSUPPORTED, 0, "save a processor whose registers take more than %zu bytes", sizeof at.xsave);
    for (size_t i = 0; i < sizeof before_msrs / sizeof *before_msrs; i++)
        if (save_part(vcpu_fd, &before_msrs[i], &at, out, err) < 0)
            return -1;
    /* The last of them is the local APIC. */
    memcpy(&timer, at.lapic.regs + LAPIC_TIMER, sizeof timer);
    if (save_msrs(kvm_fd, vcpu_fd, (timer & LAPIC_TIMER_MODE) == LAPIC_TIMER_TO_A_DEADLINE, out, err) < 0)
        return -1;
    return save_part(vcpu_fd, &events, &at, out, err);
}

int bl_arch_cpu_load(int vcpu_fd, unsigned int index, struct bl_state_reader *in, struct bl_error *err)
{
    union any at = {0};

    for (size_t i = 0; i < sizeof before_msrs / sizeof *before_msrs; i++)
        if (load_part(vcpu_fd, &before_msrs[i], &at, in, err) < 0)
            return -1;
    return load_msrs(vcpu_fd, index == 0, in, err) < 0 ? -1 : load_part(vcpu_fd, &events, &at, in, err);
}

/* Interrupt controllers: each tells by its number which it is. */
static const struct part irqchip = PART(IRQCHIP, struct kvm_irqchip);
static const struct part clock_part = PART(CLOCK, struct kvm_clock_data);
static const uint32_t chips[] = {KVM_IRQCHIP_PIC_MASTER, KVM_IRQCHIP_PIC_SLAVE, KVM_IRQCHIP_IOAPIC};

int bl_arch_vm_save(int vm_fd, struct bl_buffer *out, struct bl_error *err)
{
    union any at = {0};

    for (size_t i = 0; i < sizeof chips / sizeof *chips; i++) {
        at.irqchip = (struct kvm_irqchip){.chip_id = chips[i]};
        if (save_part(vm_fd, &irqchip, &at, out, err) < 0)
            return -1;
    }
    return save_part(vm_fd, &clock_part, &at, out, err);
}

int bl_arch_vm_load(int vm_fd, struct bl_state_reader *in, struct bl_error *err)
{
    union any at = {0};
    uint64_t clock;

    for (size_t i = 0; i < sizeof chips / sizeof *chips; i++) {
        bl_state_get_bytes(in, &at.irqchip, sizeof at.irqchip);
        if (in->failed || at.irqchip.chip_id != chips[i])
            return bl_fail(err, BL_INVALID_ARGUMENT, 0, "the saved machine lacks interrupt controller %u", chips[i]);
        if (ioctl(vm_fd, KVM_SET_IRQCHIP, &at.irqchip) < 0)
            return bl_fail(err, BL_ENGINE, errno, "KVM_SET_IRQCHIP");
    }
    bl_state_get_bytes(in, &at.clock, sizeof at.clock);
    /* The guest's clock goes on from where it stood; what time it is the agent is told. */
    clock = at.clock.clock;
    at.clock = (struct kvm_clock_data){.clock = clock};
    if (in->failed)
        return bl_fail(err, BL_INVALID_ARGUMENT, 0, "the saved machine is cut short in its clock");
    return ioctl(vm_fd, KVM_SET_CLOCK, &at.clock) < 0 ? bl_fail(err, BL_ENGINE, errno, "KVM_SET_CLOCK") : 0;
}
