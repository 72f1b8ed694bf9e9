/* SPDX-License-Identifier: Apache-2.0 */
/*
 * boot.c - what a kernel finds in memory when it is entered
 *
 * The PVH boot protocol (Xen's public/arch-x86/hvm/start_info.h): one structure that names the command line, the initramfs as a
 * module, the memory map and the root of the ACPI tables. The initramfs lies at the very end of low memory, where it is in nobody's
 * way.
 *
 * The machine's own words of the command line come before the user's:
 *   - console=hvc0: the console is a virtio port;
 *   - reboot=t: a restart is a triple fault, which needs no device;
 *   - panic=-1: a kernel that panics restarts at once, so the machine ends;
 *   - no_timer_check: skips the test of a timer that a virtual machine does not have;
 *   - acpi=off and virtio_mmio.device=..., for a kernel that takes its devices so: see mptable.c.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "vmm/kvm/arch.h"
#include "vmm/kvm/x86_64/acpi.h"
#include "vmm/kvm/x86_64/kernel.h"
#include "vmm/kvm/x86_64/layout.h"
#include "vmm/kvm/x86_64/mptable.h"

#define OWN_WORDS "console=hvc0 reboot=t panic=-1 no_timer_check"

#define START_MAGIC     0x336ec578u /* "xEn3" */
#define MAP_ENTRIES_MAX 8
#define GATHERED_MAX    (32ull << 20) /* bytes at the end of memory */

/* Kinds of memory in the map; those of the BIOS's E820 function. */
enum map_type { MAP_MEMORY = 1, MAP_RESERVED = 2, MAP_ACPI = 3 };

struct start_info {
    uint32_t magic, version, flags, module_count;
    uint64_t modules, command_line, acpi, map;
    uint32_t map_count, reserved;
};

struct start_module {
    uint64_t start, bytes, command_line, reserved;
};

struct map_entry {
    uint64_t start, bytes;
    uint32_t type, reserved;
};

/* All that is at X86_BOOT_PARAMETERS. */
struct parameters {
    struct start_info info;
    struct start_module initramfs;
    struct map_entry map[MAP_ENTRIES_MAX];
};

_Static_assert(sizeof(struct start_info) == 56 && sizeof(struct start_module) == 32 && sizeof(struct map_entry) == 24,
               "the protocol says so");

size_t bl_arch_ranges(uint64_t bytes, struct bl_arch_range out[BL_ARCH_RANGES_MAX])
{
    out[0] = (struct bl_arch_range){.start = 0, .bytes = bytes < X86_HOLE ? bytes : X86_HOLE};
    if (bytes <= X86_HOLE)
        return 1;
    out[1] = (struct bl_arch_range){.start = X86_ABOVE_HOLE, .bytes = bytes - X86_HOLE};
    return 2;
}

uint64_t bl_arch_slot_address(unsigned int slot)
{
    return X86_SLOTS + (uint64_t)slot * X86_SLOT_BYTES;
}

unsigned int bl_arch_slot_interrupt(unsigned int slot)
{
    return X86_SLOT_INTERRUPT + slot;
}

static void map_add(struct parameters *parameters, uint64_t start, uint64_t end, enum map_type type)
{
    parameters->map[parameters->info.map_count++] = (struct map_entry){.start = start, .bytes = end - start, .type = type};
}

/* make_map() - What of memory the kernel may use. */
static void make_map(struct parameters *parameters, uint64_t bytes)
{
    struct bl_arch_range ranges[BL_ARCH_RANGES_MAX];
    size_t count = bl_arch_ranges(bytes, ranges);

    map_add(parameters, 0, X86_LOW_END, MAP_MEMORY);
    map_add(parameters, X86_LOW_END, X86_ACPI, MAP_RESERVED);
    map_add(parameters, X86_ACPI, X86_ACPI_END, MAP_ACPI);
    map_add(parameters, X86_ACPI_END, X86_HIGH, MAP_RESERVED);
    map_add(parameters, X86_HIGH, ranges[0].bytes, MAP_MEMORY);
    if (count > 1)
        map_add(parameters, ranges[1].start, ranges[1].start + ranges[1].bytes, MAP_MEMORY);
}

/* load_initramfs() - To the end of low memory. Return: 0 and *@out; -1 */
static int load_initramfs(struct bl_memory *memory, const struct bl_arch_machine *machine, uint64_t kernel_end,
                          struct start_module *out, struct bl_error *err)
{
    struct bl_arch_range ranges[BL_ARCH_RANGES_MAX];
    size_t count = bl_arch_ranges(machine->memory_bytes, ranges);
    struct stat status;
    uint64_t length, start, top;
    bool there;

    if (fstat(machine->initramfs_fd, &status) < 0)
        return bl_fail(err, BL_ENGINE, errno, "read the initramfs %s", machine->initramfs_name);
    if (!S_ISREG(status.st_mode) || status.st_size <= 0)
        return bl_fail(err, BL_ENGINE, 0, "the initramfs %s is no regular file with something in it", machine->initramfs_name);
    length = (uint64_t)status.st_size;
    if (length > ranges[0].bytes || ranges[0].bytes - length < kernel_end)
        return bl_fail(err, BL_ENGINE, 0, "kernel and initramfs do not fit into the guest's memory of %llu MiB",
                       (unsigned long long)(machine->memory_bytes >> 20));
    start = (ranges[0].bytes - length) & ~(uint64_t)(X86_PAGE - 1);
    if (start < kernel_end)
        return bl_fail(err, BL_ENGINE, 0, "kernel and initramfs do not fit into the guest's memory of %llu MiB",
                       (unsigned long long)(machine->memory_bytes >> 20));
    *out = (struct start_module){.start = start, .bytes = length};
    top = length;
    /* From the end of memory down the kernel lays out, before all else, what it keeps of each page, and its tables of files: about
     * 3/128 of memory. */
    if (count == 1)
        top += machine->memory_bytes / 128 * 3;
    top = top < GATHERED_MAX ? top : GATHERED_MAX;
    there = top < ranges[0].bytes - kernel_end && bl_memory_gather(memory, ranges[0].bytes - top, ranges[0].bytes);
    return bl_file_load(memory, start, machine->initramfs_fd, 0, length, there, machine->initramfs_name, err);
}

bool bl_arch_serial(const char *line)
{
    return strstr(line, "ttyS0") || strstr(line, "earlyprintk") || strstr(line, "uart,io,0x3f8") ||
           strstr(line, "uart8250,io,0x3f8");
}

int bl_arch_renew(struct bl_memory *memory, struct bl_error *err)
{
    return bl_acpi_renew(memory, err);
}

/* write_line() - The whole command line. Return: its length; -1 */
static int write_line(char *out, size_t size, const struct bl_arch_machine *machine, struct bl_error *err)
{
    int length = snprintf(out, size, OWN_WORDS "%s", machine->devices_in_line ? " acpi=off" : "");

    for (unsigned int slot = 0; machine->devices_in_line && slot < machine->devices && length < (int)size; slot++)
        length += snprintf(out + length, size - (size_t)length, " virtio_mmio.device=4K@%#llx:%u",
                           (unsigned long long)bl_arch_slot_address(slot), bl_arch_slot_interrupt(slot));
    if (length < (int)size && machine->command_line[0])
        length += snprintf(out + length, size - (size_t)length, " %s", machine->command_line);
    if (length >= (int)size)
        return bl_fail(err, BL_ENGINE, 0, "the kernel's command line is too long: %d bytes, %zu is the most", length, size - 1);
    return length;
}

int bl_arch_load(struct bl_memory *memory, const struct bl_arch_machine *machine, struct bl_arch_boot *out, struct bl_error *err)
{
    struct parameters parameters = {.info = {.magic = START_MAGIC, .version = 1, .module_count = 1}};
    char line[X86_COMMAND_LINE_MAX];
    struct bl_kernel kernel;
    int length = write_line(line, sizeof line, machine, err);

    if (length < 0 || bl_kernel_load(memory, machine->kernel_fd, machine->kernel_name, &kernel, err) < 0 ||
        load_initramfs(memory, machine, kernel.end, &parameters.initramfs, err) < 0 ||
        bl_acpi_write(memory, machine->cpus, err) < 0 || bl_mptable_write(memory, machine->cpus, err) < 0)
        return -1;
    make_map(&parameters, machine->memory_bytes);
    parameters.info.modules = X86_BOOT_PARAMETERS + offsetof(struct parameters, initramfs);
    parameters.info.map = X86_BOOT_PARAMETERS + offsetof(struct parameters, map);
    parameters.info.command_line = X86_COMMAND_LINE;
    parameters.info.acpi = X86_ACPI;
    if (bl_memory_write(memory, X86_BOOT_PARAMETERS, &parameters, sizeof parameters) < 0 ||
        bl_memory_write(memory, X86_COMMAND_LINE, line, (size_t)length + 1) < 0)
        return bl_fail(err, BL_ENGINE, 0, "the guest's memory is too small");
    *out = (struct bl_arch_boot){.entry = kernel.entry, .parameters = X86_BOOT_PARAMETERS, .serial = bl_arch_serial(line)};
    return 0;
}
