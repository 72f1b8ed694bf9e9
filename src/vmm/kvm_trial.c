/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kvm_trial.c - a trial of /dev/kvm
 *
 * Having /dev/kvm, and even creating a VM and a CPU, says little: on some nested hosts KVM is a partial emulation, on which an
 * emulator aborts or a kernel loops at its first locked 16-byte exchange. So the trial does what a guest kernel does early: one
 * CPU enters 64-bit mode with paging, carries out such an exchange and halts. Everything is torn down again.
 *
 * The guest's 64 KiB: page tables at 0x1000-0x3fff (one 2 MiB page maps all), code at 0x4000, the exchanged bytes at 0x8000.
 */
#include "vmm/kvm_trial.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

#ifdef __x86_64__

#include <linux/kvm.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#define TRIAL_MEMORY  0x10000
#define TRIAL_PML4    0x1000
#define TRIAL_PDPT    0x2000
#define TRIAL_PD      0x3000
#define TRIAL_CODE    0x4000
#define TRIAL_DATA    0x8000
#define CPUID_ENTRIES 256

/* Bits of control registers and page tables; Intel SDM volume 3, 2.5 and 4.5. */
#define CR0_PE_ET_NE_PG 0x80000031u
#define CR4_PAE         0x20u
#define EFER_LME_LMA    0x500u
#define PAGE_PRESENT_RW 0x3u
#define PAGE_LARGE      0x80u

/* What the trial holds while it runs. */
struct trial {
    int kvm, vm, cpu;
    uint8_t *memory;
    struct kvm_run *run;
    size_t run_size;
};

static void trial_end(struct trial *trial)
{
    if (trial->run)
        munmap(trial->run, trial->run_size);
    bl_close_fd(&trial->cpu);
    bl_close_fd(&trial->vm);
    bl_close_fd(&trial->kvm);
    if (trial->memory)
        munmap(trial->memory, TRIAL_MEMORY);
}

static int trial_memory(struct trial *trial)
{
    static const uint8_t code[] = {
        0xf0, 0x48, 0x0f, 0xc7, 0x0c, 0x24, /* lock cmpxchg16b (%rsp) */
        0xf4,                               /* hlt */
    };
    void *memory = mmap(NULL, TRIAL_MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    if (memory == MAP_FAILED)
        return -1;
    trial->memory = memory;

    struct kvm_userspace_memory_region region = {.memory_size = TRIAL_MEMORY, .userspace_addr = (uintptr_t)memory};
    const uint64_t entries[][2] = {
        {TRIAL_PML4, TRIAL_PDPT | PAGE_PRESENT_RW},
        {TRIAL_PDPT, TRIAL_PD | PAGE_PRESENT_RW},
        {TRIAL_PD, PAGE_LARGE | PAGE_PRESENT_RW},
    };

    for (size_t i = 0; i < sizeof entries / sizeof *entries; i++)
        memcpy(trial->memory + entries[i][0], &entries[i][1], sizeof entries[i][1]);
    memcpy(trial->memory + TRIAL_CODE, code, sizeof code);
    return ioctl(trial->vm, KVM_SET_USER_MEMORY_REGION, &region);
}

static int trial_cpuid(const struct trial *trial)
{
    cleanup_free struct kvm_cpuid2 *cpuid = calloc(1, sizeof *cpuid + CPUID_ENTRIES * sizeof *cpuid->entries);

    if (!cpuid)
        return -1;
    cpuid->nent = CPUID_ENTRIES;
    return ioctl(trial->kvm, KVM_GET_SUPPORTED_CPUID, cpuid) < 0 ? -1 : ioctl(trial->cpu, KVM_SET_CPUID2, cpuid);
}

static int trial_registers(const struct trial *trial)
{
    struct kvm_segment code = {.limit = UINT32_MAX, .selector = 8, .type = 11, .present = 1, .s = 1, .l = 1, .g = 1};
    struct kvm_segment data = {.limit = UINT32_MAX, .selector = 16, .type = 3, .present = 1, .s = 1, .db = 1, .g = 1};
    struct kvm_regs regs = {.rip = TRIAL_CODE, .rsp = TRIAL_DATA, .rflags = 2};
    struct kvm_sregs sregs;

    if (ioctl(trial->cpu, KVM_GET_SREGS, &sregs) < 0)
        return -1;
    sregs.cr0 = CR0_PE_ET_NE_PG;
    sregs.cr3 = TRIAL_PML4;
    sregs.cr4 = CR4_PAE;
    sregs.efer = EFER_LME_LMA;
    sregs.cs = code;
    sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = data;
    return ioctl(trial->cpu, KVM_SET_SREGS, &sregs) < 0 ? -1 : ioctl(trial->cpu, KVM_SET_REGS, &regs);
}

static int trial_cpu(struct trial *trial)
{
    int size = ioctl(trial->kvm, KVM_GET_VCPU_MMAP_SIZE, 0);

    trial->cpu = ioctl(trial->vm, KVM_CREATE_VCPU, 0);
    if (trial->cpu < 0 || size < (int)sizeof *trial->run)
        return -1;

    void *run = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, trial->cpu, 0);

    if (run == MAP_FAILED)
        return -1;
    trial->run = run;
    trial->run_size = (size_t)size;
    return trial_cpuid(trial) < 0 ? -1 : trial_registers(trial);
}

/* open_failed() - Why /dev/kvm can't be opened, and what helps. */
static int open_failed(int reason, char *why, size_t size)
{
    if (reason == ENOENT || reason == ENODEV || reason == ENXIO)
        snprintf(why, size, "there is no /dev/kvm: switch on virtualization in the firmware, or nested virtualization of this VM");
    else if (reason == EACCES || reason == EPERM)
        snprintf(why, size, "no permission for /dev/kvm: add the user to the group kvm (sudo usermod -aG kvm $USER; log in again)");
    else
        snprintf(why, size, "/dev/kvm can't be opened: %s", strerror(reason));
    return -1;
}

static int trial_failed(const char *step, char *why, size_t size)
{
    snprintf(why, size, "/dev/kvm is there but can't %s (%s)", step, strerror(errno));
    return -1;
}

int bl_kvm_trial(char *why, size_t size, bool *lasting)
{
    __attribute__((cleanup(trial_end))) struct trial trial = {.kvm = -1, .vm = -1, .cpu = -1};

    *lasting = false;
    trial.kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    if (trial.kvm < 0)
        return open_failed(errno, why, size);
    /* 12 is the one version of the interface that ever was in use; KVM API documentation, 4.1. */
    if (ioctl(trial.kvm, KVM_GET_API_VERSION, 0) != 12)
        return trial_failed("speak the KVM interface, version 12", why, size);
    trial.vm = ioctl(trial.kvm, KVM_CREATE_VM, 0);
    if (trial.vm < 0)
        return trial_failed("create a VM", why, size);
    if (trial_memory(&trial) < 0)
        return trial_failed("give memory to a VM", why, size);
    if (trial_cpu(&trial) < 0)
        return trial_failed("set up a CPU", why, size);
    while (ioctl(trial.cpu, KVM_RUN, 0) < 0)
        if (errno != EINTR)
            return trial_failed("run a guest", why, size);
    *lasting = true;
    if (trial.run->exit_reason != KVM_EXIT_HLT) {
        snprintf(why, size, "/dev/kvm is there but only a partial emulation, which can't run a guest kernel (exit reason %u)",
                 trial.run->exit_reason);
        return -1;
    }
    return 0;
}

#else

int bl_kvm_trial(char *why, size_t size, bool *lasting)
{
    *lasting = true;
    snprintf(why, size, "not supported on this processor yet");
    return -1;
}

#endif
