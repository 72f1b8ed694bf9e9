/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fake_kvm.h - what KVM holds of processors and of a machine, kept in this process
 *
 * For programs that are linked with --wrap=ioctl: every ioctl comes here. Structures that are set are kept by descriptor, and given
 * back when they are asked for; what nobody set is zeros. MSRs are a list that all processors have. Anything else succeeds and does
 * nothing.
 */
#ifndef BL_TESTS_FAKE_KVM_H
#define BL_TESTS_FAKE_KVM_H

#include <linux/kvm.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FAKE_CALLS_MAX 256
#define FAKE_MSRS      5

/* An MSR as it is in a fresh processor, and what can be done with it. */
struct fake_msr {
    uint32_t index;
    uint64_t fresh;
    bool listed, readable, writable;
};

struct fake_kvm {
    const struct fake_msr *msrs;         /* FAKE_MSRS of them */
    unsigned long calls[FAKE_CALLS_MAX]; /* that set something, in order; an MSR's index for KVM_SET_MSRS */
    size_t call_count;
    unsigned long fails; /* a request that fails with EINVAL; 0: none */
};

extern struct fake_kvm fake_kvm;

/* The structures, and how they are asked for and set: a processor's in the order in which they have to be given back, then a VM's.
 */
struct fake_part {
    unsigned long get, set;
    size_t bytes;
};

#define FAKE_CPU_PARTS 8
#define FAKE_PARTS     10
extern const struct fake_part fake_parts[FAKE_PARTS];

/* fake_kvm_reset() - Nothing was ever set. */
void fake_kvm_reset(const struct fake_msr *msrs);
/* fake_kvm_put() / fake_kvm_get() - What a descriptor holds of the structure that @get asks for; @chip: of an interrupt controller.
 */
void fake_kvm_put(int fd, unsigned long get, uint32_t chip, const void *bytes, size_t length);
const void *fake_kvm_get(int fd, unsigned long get, uint32_t chip);
void fake_kvm_put_msr(int fd, uint32_t index, uint64_t value);
uint64_t fake_kvm_msr(int fd, uint32_t index);

#endif
