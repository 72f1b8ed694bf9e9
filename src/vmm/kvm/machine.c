/* SPDX-License-Identifier: Apache-2.0 */
/*
 * machine.c - a virtual machine and its memory
 *
 * What the host's KVM must be able to do is checked first, so that a host that can't is told by name what it lacks, instead of by
 * an ioctl that fails later.
 *
 * Guest memory is one memfd, whose size is sealed: nobody who gets hold of the descriptor can cut it under the guest. Its parts are
 * mapped as regions (vmm/memory.h) and given to KVM as slots. No host memory is set aside: a page is there once it was touched.
 *
 * A saved machine's pages are mapped from their file over it, privately: nothing is copied before the guest writes to it, and what
 * no box has written all boxes of one template share.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "vmm/kvm/machine.h"

#define KVM_VERSION 12 /* the one version of the interface that ever was in use; KVM API documentation, 4.1 */

static int check_kvm(int kvm_fd, unsigned int cpus, struct bl_error *err)
{
    static const struct {
        int capability;
        const char *what;
    } needed[] = {
        {KVM_CAP_USER_MEMORY, "memory from this process (KVM_CAP_USER_MEMORY)"},
        {KVM_CAP_IRQCHIP, "interrupt controllers (KVM_CAP_IRQCHIP)"},
        {KVM_CAP_IRQFD, "interrupts by descriptor (KVM_CAP_IRQFD)"},
        {KVM_CAP_IOEVENTFD, "notifications by descriptor (KVM_CAP_IOEVENTFD)"},
        {KVM_CAP_IMMEDIATE_EXIT, "a processor that stops when told to (KVM_CAP_IMMEDIATE_EXIT; Linux 4.11 or later)"},
    };
    int most;

    if (ioctl(kvm_fd, KVM_GET_API_VERSION, 0) != KVM_VERSION)
        return bl_fail(err, BL_UNSUPPORTED_ENGINE, 0, "this host's KVM does not speak version %d of its interface", KVM_VERSION);
    for (size_t i = 0; i < sizeof needed / sizeof *needed; i++)
        if (ioctl(kvm_fd, KVM_CHECK_EXTENSION, needed[i].capability) <= 0)
            return bl_fail(err, BL_UNSUPPORTED_ENGINE, 0, "this host's KVM does not offer %s", needed[i].what);
    most = ioctl(kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_MAX_VCPUS);
    if (most < (int)cpus || cpus < 1 || cpus > BL_KVM_CPUS_MAX)
        return bl_fail(err, BL_UNSUPPORTED_ENGINE, 0, "a box of engine kvm has 1 to %d processors here, not %u",
                       most > 0 && most < BL_KVM_CPUS_MAX ? most : BL_KVM_CPUS_MAX, cpus);
    return bl_arch_check(kvm_fd, err);
}

/* map_saved() - Lay a saved machine's pages over the memory. Return: 0; -1 */
static int map_saved(struct bl_machine *machine, const struct bl_engine_config *config, struct bl_error *err)
{
    struct stat file;

    if (fstat(config->saved_fd, &file) < 0)
        return bl_fail(err, BL_ENGINE, errno, "look at the saved machine");
    for (size_t i = 0; i < config->extent_count; i++) {
        const struct bl_engine_extent *extent = &config->extents[i];
        uint64_t end;

        /* A page past the end of the file would be a SIGBUS at its first use. */
        if (__builtin_add_overflow(extent->file, extent->bytes, &end) || end > (uint64_t)file.st_size)
            return bl_fail(err, BL_ENGINE, 0, "the saved machine's file is cut short");
        if (bl_memory_overlay(&machine->memory, extent->memory, extent->bytes, config->saved_fd, extent->file, err) < 0)
            return -1;
    }
    return 0;
}

/* make_file() - The file of the memory, the owner's or a new one; none where a limit on file sizes forbids it. Return: 0; -1 */
static int make_file(struct bl_machine *machine, struct bl_engine_config *config, uint64_t bytes, struct bl_error *err)
{
    if (config->memory_fd >= 0)
        machine->memory_fd = bl_steal_fd(&config->memory_fd);
    else
        machine->memory_fd = memfd_create("boxlite-memory", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    bool sized = machine->memory_fd >= 0 && ftruncate(machine->memory_fd, (off_t)bytes) == 0;

    if (!sized && errno == EFBIG) {
        bl_close_fd(&machine->memory_fd);
        return 0;
    }
    if (!sized || fcntl(machine->memory_fd, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) < 0)
        return bl_fail(err, BL_ENGINE, errno, "make %llu MiB of guest memory", (unsigned long long)(bytes >> 20));
    return 0;
}

static int make_memory(struct bl_machine *machine, struct bl_engine_config *config, uint64_t bytes, struct bl_error *err)
{
    struct bl_arch_range ranges[BL_ARCH_RANGES_MAX];
    size_t count = bl_arch_ranges(bytes, ranges);
    enum bl_memory_sharing sharing;
    uint64_t offset = 0;

    if (make_file(machine, config, bytes, err) < 0)
        return -1;
    sharing = machine->memory_fd < 0 ? BL_MEMORY_PRIVATE : BL_MEMORY_SHARED;
    for (size_t i = 0; i < count; i++) {
        if (bl_memory_add(&machine->memory, ranges[i].start, ranges[i].bytes, machine->memory_fd, offset, sharing, err) < 0)
            return -1;
        offset += ranges[i].bytes;
    }
    if (config->saved_fd >= 0 && map_saved(machine, config, err) < 0)
        return -1;
    for (size_t i = 0; i < machine->memory.count; i++) {
        const struct bl_memory_region *region = &machine->memory.regions[i];
        struct kvm_userspace_memory_region slot = {.slot = (uint32_t)i,
                                                   .guest_phys_addr = region->start,
                                                   .memory_size = region->bytes,
                                                   .userspace_addr = (uintptr_t)region->host};

        if (ioctl(machine->vm_fd, KVM_SET_USER_MEMORY_REGION, &slot) < 0)
            return bl_fail(err, bl_kvm_fault(errno), errno, "give %llu MiB of memory to the VM",
                           (unsigned long long)(region->bytes >> 20));
    }
    return 0;
}

int bl_machine_make(struct bl_machine *machine, struct bl_engine_config *config, struct bl_error *err)
{
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), bytes = config->memory_bytes & ~(page - 1);

    bl_memory_init(&machine->memory, page);
    if (bytes < 16 << 20 || bytes > BL_KVM_MEMORY_MAX)
        return bl_fail(err, BL_ENGINE, 0, "a box of engine kvm has 16 MiB to 64 GiB of memory, not %llu MiB",
                       (unsigned long long)(config->memory_bytes >> 20));
    machine->kvm_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    if (machine->kvm_fd < 0)
        return bl_fail(err, bl_kvm_fault(errno), errno, "open /dev/kvm");
    if (check_kvm(machine->kvm_fd, config->cpus, err) < 0)
        return -1;
    machine->vm_fd = ioctl(machine->kvm_fd, KVM_CREATE_VM, 0);
    if (machine->vm_fd < 0)
        return bl_fail(err, bl_kvm_fault(errno), errno, "create a VM (KVM_CREATE_VM)");
    machine->cpu_count = config->cpus;
    return bl_arch_vm(machine->vm_fd, err) < 0 ? -1 : make_memory(machine, config, bytes, err);
}

void bl_machine_unmake(struct bl_machine *machine)
{
    /* The VM goes first: it holds on to the memory. */
    bl_close_fd(&machine->vm_fd);
    bl_close_fd(&machine->kvm_fd);
    bl_memory_free(&machine->memory);
    bl_close_fd(&machine->memory_fd);
}
