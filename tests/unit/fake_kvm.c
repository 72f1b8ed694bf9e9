/* SPDX-License-Identifier: Apache-2.0 */
/* fake_kvm.c - KVM's state without KVM; see fake_kvm.h */
#include "fake_kvm.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define KEPT_MAX     64
#define KEPT_BYTES   sizeof(struct kvm_xsave)
#define KEPT_MSR_MAX 64

struct kept {
    int fd;
    unsigned long get;
    uint32_t chip;
    _Alignas(uint64_t) uint8_t bytes[KEPT_BYTES];
};

struct kept_msr {
    int fd;
    uint32_t index;
    uint64_t value;
};

const struct fake_part fake_parts[FAKE_PARTS] = {
    {KVM_GET_MP_STATE, KVM_SET_MP_STATE, sizeof(struct kvm_mp_state)},
    {KVM_GET_REGS, KVM_SET_REGS, sizeof(struct kvm_regs)},
    {KVM_GET_SREGS, KVM_SET_SREGS, sizeof(struct kvm_sregs)},
    {KVM_GET_XSAVE, KVM_SET_XSAVE, sizeof(struct kvm_xsave)},
    {KVM_GET_XCRS, KVM_SET_XCRS, sizeof(struct kvm_xcrs)},
    {KVM_GET_DEBUGREGS, KVM_SET_DEBUGREGS, sizeof(struct kvm_debugregs)},
    {KVM_GET_LAPIC, KVM_SET_LAPIC, sizeof(struct kvm_lapic_state)},
    {KVM_GET_VCPU_EVENTS, KVM_SET_VCPU_EVENTS, sizeof(struct kvm_vcpu_events)},
    {KVM_GET_IRQCHIP, KVM_SET_IRQCHIP, sizeof(struct kvm_irqchip)},
    {KVM_GET_CLOCK, KVM_SET_CLOCK, sizeof(struct kvm_clock_data)},
};

struct fake_kvm fake_kvm;
static struct kept kept[KEPT_MAX];
static struct kept_msr kept_msrs[KEPT_MSR_MAX];
static size_t kept_count, kept_msr_count;

void fake_kvm_reset(const struct fake_msr *msrs)
{
    fake_kvm = (struct fake_kvm){.msrs = msrs};
    kept_count = kept_msr_count = 0;
}

static struct kept *find(int fd, unsigned long get, uint32_t chip)
{
    for (size_t i = 0; i < kept_count; i++)
        if (kept[i].fd == fd && kept[i].get == get && kept[i].chip == chip)
            return &kept[i];
    if (kept_count == KEPT_MAX)
        abort();
    kept[kept_count] = (struct kept){.fd = fd, .get = get, .chip = chip};
    /* An interrupt controller says which it is. */
    if (get == KVM_GET_IRQCHIP)
        memcpy(kept[kept_count].bytes, &chip, sizeof chip);
    return &kept[kept_count++];
}

void fake_kvm_put(int fd, unsigned long get, uint32_t chip, const void *bytes, size_t length)
{
    memcpy(find(fd, get, chip)->bytes, bytes, length);
}

const void *fake_kvm_get(int fd, unsigned long get, uint32_t chip)
{
    return find(fd, get, chip)->bytes;
}

static const struct fake_msr *kind_of(uint32_t index)
{
    for (size_t i = 0; i < FAKE_MSRS; i++)
        if (fake_kvm.msrs[i].index == index)
            return &fake_kvm.msrs[i];
    return NULL;
}

static struct kept_msr *find_msr(int fd, uint32_t index)
{
    for (size_t i = 0; i < kept_msr_count; i++)
        if (kept_msrs[i].fd == fd && kept_msrs[i].index == index)
            return &kept_msrs[i];
    if (kept_msr_count == KEPT_MSR_MAX)
        abort();
    kept_msrs[kept_msr_count] = (struct kept_msr){.fd = fd, .index = index, .value = kind_of(index)->fresh};
    return &kept_msrs[kept_msr_count++];
}

void fake_kvm_put_msr(int fd, uint32_t index, uint64_t value)
{
    find_msr(fd, index)->value = value;
}

uint64_t fake_kvm_msr(int fd, uint32_t index)
{
    return find_msr(fd, index)->value;
}

static void note(unsigned long call)
{
    if (fake_kvm.call_count < FAKE_CALLS_MAX)
        fake_kvm.calls[fake_kvm.call_count++] = call;
}

/* pass_msrs() - Up to the first that is refused. Return: how many */
static int pass_msrs(int fd, bool sets, struct kvm_msrs *msrs)
{
    for (uint32_t i = 0; i < msrs->nmsrs; i++) {
        struct kvm_msr_entry *entry = &msrs->entries[i];
        const struct fake_msr *kind = kind_of(entry->index);

        if (!kind || !(sets ? kind->writable : kind->readable))
            return (int)i;
        if (sets) {
            find_msr(fd, entry->index)->value = entry->data;
            note(entry->index);
        } else {
            entry->data = find_msr(fd, entry->index)->value;
        }
    }
    return (int)msrs->nmsrs;
}

static int list_msrs(struct kvm_msr_list *list)
{
    list->nmsrs = 0;
    for (size_t i = 0; i < FAKE_MSRS; i++)
        if (fake_kvm.msrs[i].listed)
            list->indices[list->nmsrs++] = fake_kvm.msrs[i].index;
    return 0;
}

static int pass_part(int fd, unsigned long request, void *at)
{
    for (size_t i = 0; i < FAKE_PARTS; i++) {
        uint32_t chip = 0;

        if (fake_parts[i].get == KVM_GET_IRQCHIP && at)
            memcpy(&chip, at, sizeof chip);
        if (request == fake_parts[i].get)
            memcpy(at, find(fd, request, chip)->bytes, fake_parts[i].bytes);
        if (request == fake_parts[i].set) {
            note(request);
            memcpy(find(fd, fake_parts[i].get, chip)->bytes, at, fake_parts[i].bytes);
        }
    }
    return 0;
}

int __wrap_ioctl(int fd, unsigned long request, ...);
int __wrap_ioctl(int fd, unsigned long request, ...)
{
    va_list arguments;
    void *at;

    va_start(arguments, request);
    at = va_arg(arguments, void *);
    va_end(arguments);
    if (request == fake_kvm.fails) {
        errno = EINVAL;
        return -1;
    }
    switch (request) {
    case KVM_CHECK_EXTENSION:
        return sizeof(struct kvm_xsave);
    case KVM_GET_MSR_INDEX_LIST:
        return list_msrs(at);
    case KVM_GET_MSRS:
    case KVM_SET_MSRS:
        return pass_msrs(fd, request == KVM_SET_MSRS, at);
    default:
        return pass_part(fd, request, at);
    }
}
