/* SPDX-License-Identifier: Apache-2.0 */
/*
 * arguments.c - QEMU's command line
 *
 * The machine is microvm, with at most 8 virtio-mmio slots. Without ACPI, QEMU announces these devices on the kernel's command
 * line, with it only in ACPI tables. A kernel that reads the command line gets no ACPI, as that never hung in a boot; a
 * distribution's kernel, which reads only the tables, gets it. What is switched on and off was measured, without KVM, by the time
 * from QEMU's start to its exit with a trivial init:
 *   - rtc=on: a kernel that finds no RTC waits a whole second for one;
 *   - pit=on: without it, and without ACPI, the kernel has no timer to calibrate against and panics;
 *   - no_timer_check: skips a test of the timer's interrupt which emulation on a busy host can fail;
 *   - tsc_early_khz, lpj: without KVM the kernel otherwise calibrates its delay loop against timer interrupts, and hangs there in
 *     one of three boots;
 *   - nolapic_timer, with one processor: the local APIC's timer is calibrated against the PIT for 100 ms and verified for as long;
 *     under emulation that is a sixth of the time to init. The PIT then gives the ticks (an idle guest costs 1 % of a processor
 *     instead of 0.3 %). More processors need timers of their own;
 *   - tsc=reliable: emulation hands the host's counter through, but the kernel would judge it by timer ticks, which a busy host
 *     loses, and then tell the time by those: late, and in steps of 4 ms;
 *   - thread=single for one processor: QEMU before 8.1 may execute a stale breakpoint while the guest patches its code, with
 *     threads.
 *
 * Disks are passed as descriptors in sets: a file node opens /dev/fdset/N, so QEMU never opens a path of a disk. The graph is
 * spelled out; "backing" names a node (or null), so the name in a qcow2 header is never followed. QEMU locks the files itself
 * (open-file-description locks on bytes 100 and up); as the descriptors are closed here once QEMU has them, the locks end with it.
 * A full host disk is an I/O error in the guest (werror=report), not a VM that stands still for ever, which is QEMU's default.
 *
 * Memory that the owner made is opened through /proc/self/fd, as QEMU 7.2 takes a path only, and mapped shared. (Mapped privately,
 * from a file that several VMs share, it would save a copy; but what the guest's balloon gives back is punched out of the file
 * itself.) A VM that loads a state gets no kernel: what it needs of that is in its memory.
 */
#include "vmm/qemu/arguments.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/strings.h"
#include "vmm/identity.h"
#include "vmm/kernel_file.h"
#include "vmm/qemu/qemu.h"

#define GUEST_HZ 250 /* CONFIG_HZ of both kernels */

/* What grows; memory that runs out is remembered, so that callers check once. */
struct list {
    char **items;
    bool failed;
};

static void add(struct list *list, const char *text)
{
    if (bl_strings_append(&list->items, text) < 0)
        list->failed = true;
}

__attribute__((format(printf, 3, 4))) static void add_option(struct list *list, const char *option, const char *fmt, ...)
{
    char *text = NULL;
    va_list args;

    va_start(args, fmt);
    if (vasprintf(&text, fmt, args) < 0)
        text = NULL;
    va_end(args);
    if (!text) {
        list->failed = true;
        return;
    }
    add(list, option);
    add(list, text);
    free(text);
}

static void add_disks(struct list *list, const struct bl_engine_config *config)
{
    const char *cache = config->volatile_disk ? "true" : "false";

    for (size_t i = 0; i < config->disk_count; i++) {
        bool written = i + 1 == config->disk_count;
        bool qcow2 = config->disks[i].format == BL_DISK_QCOW2;
        char backing[48] = "";

        if (qcow2 && i)
            snprintf(backing, sizeof backing, ",\"backing\":\"disk%zu\"", i - 1);
        else if (qcow2)
            snprintf(backing, sizeof backing, ",\"backing\":null");
        add_option(list, "-add-fd", "fd=%zu,set=%zu", BL_QEMU_FD_DISKS + i, i + 1);
        add_option(list, "-blockdev",
                   "{\"driver\":\"file\",\"node-name\":\"file%zu\",\"filename\":\"/dev/fdset/%zu\",\"locking\":\"on\","
                   "\"read-only\":%s,\"auto-read-only\":false,\"discard\":\"unmap\",\"cache\":{\"no-flush\":%s}}",
                   i, i + 1, written ? "false" : "true", cache);
        add_option(list, "-blockdev",
                   "{\"driver\":\"%s\",\"node-name\":\"disk%zu\",\"file\":\"file%zu\",\"read-only\":%s,\"discard\":\"unmap\"%s,"
                   "\"cache\":{\"no-flush\":%s}}",
                   qcow2 ? "qcow2" : "raw", i, i, written ? "false" : "true", backing, cache);
    }
    if (config->disk_count)
        add_option(list, "-device", "virtio-blk-device,drive=disk%zu,werror=report,rerror=report,serial=%s", config->disk_count - 1,
                   BL_ENGINE_DISK_SERIAL);
}

static void add_devices(struct list *list, const struct bl_engine_config *config)
{
    add_option(list, "-chardev", "socket,id=agent,fd=%d", BL_QEMU_FD_AGENT);
    add_option(list, "-chardev", "socket,id=console,fd=%d", BL_QEMU_FD_CONSOLE);
    add_option(list, "-device", "virtio-serial-device,max_ports=4");
    add_option(list, "-device", "virtconsole,chardev=console,nr=0");
    add_option(list, "-device", "virtserialport,chardev=agent,nr=1,name=boxlite.agent");
    add_disks(list, config);
    add_option(list, "-object", "rng-builtin,id=random");
    add_option(list, "-device", "virtio-rng-device,rng=random");
    add_option(list, "-device", "virtio-balloon-device,free-page-reporting=on");
}

/* add_commas() - An option's value in which each comma stands doubled, as QEMU reads paths and names. */
static void add_escaped(struct list *list, const char *option, const char *before, const char *value)
{
    size_t length = strlen(value), at = strlen(before);
    char *text = malloc(at + 2 * length + 1);

    if (!text) {
        list->failed = true;
        return;
    }
    memcpy(text, before, at);
    for (size_t i = 0; i < length; i++) {
        text[at++] = value[i];
        if (value[i] == ',')
            text[at++] = ',';
    }
    text[at] = '\0';
    add(list, option);
    add(list, text);
    free(text);
}

/* add_memory() - How much, and whose. */
static void add_memory(struct list *list, const struct bl_engine_config *config)
{
    unsigned long long kib = config->memory_bytes / 1024;

    add_option(list, "-m", "%lluK", kib);
    if (config->memory_fd >= 0)
        add_option(list, "-object", "memory-backend-file,id=memory,size=%lluK,mem-path=/proc/self/fd/%d,share=on", kib,
                   BL_QEMU_FD_MEMORY);
}

char **bl_qemu_arguments(const struct bl_engine_choice *choice, const struct bl_engine_config *config, unsigned long tsc_khz)
{
    struct list list = {0};
    char clocks[128] = "";
    bool takes_devices = bl_kernel_takes_devices(config->kernel);

    add(&list, choice->program);
    add_escaped(&list, "-name", "guest=", config->name);
    add(&list, "-nodefaults");
    add(&list, "-no-user-config");
    add(&list, "-no-reboot");
    add_option(&list, "-display", "none");
    if (!config->unconfined)
        add_option(&list, "-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny");
    add_option(&list, "-machine", "microvm,acpi=%s,isa-serial=off,rtc=on,pit=on,pic=on%s", takes_devices ? "off" : "on",
               config->memory_fd >= 0 ? ",memory-backend=memory" : "");
    if (choice->kvm) {
        add_option(&list, "-accel", "kvm");
        add_option(&list, "-cpu", "host");
    } else {
        add_option(&list, "-accel", "tcg,thread=%s", config->cpus > 1 ? "multi" : "single");
        add_option(&list, "-cpu", "max");
        if (tsc_khz)
            snprintf(clocks, sizeof clocks, " tsc=reliable tsc_early_khz=%lu lpj=%lu%s", tsc_khz, tsc_khz * 1000 / GUEST_HZ,
                     config->cpus == 1 && takes_devices ? " nolapic_timer" : "");
    }
    add_option(&list, "-smp", "%u", config->cpus);
    add_memory(&list, config);
    add_option(&list, "-chardev", "socket,id=qmp,fd=%d", BL_QEMU_FD_QMP);
    add_option(&list, "-mon", "chardev=qmp,mode=control");
    if (config->loads) {
        add_option(&list, "-incoming", "defer");
    } else {
        add_option(&list, "-kernel", "%s", config->kernel);
        add_option(&list, "-initrd", "%s", config->initramfs);
        add_option(&list, "-append", "console=hvc0 reboot=t panic=-1 no_timer_check%s %s", clocks, config->command_line);
    }
    add_devices(&list, config);
    if (!list.failed)
        return list.items;
    bl_strings_free(list.items);
    return NULL;
}

int bl_qemu_identity(const struct bl_engine_choice *choice, const struct bl_engine_config *config, struct bl_buffer *out)
{
    /* Disks are another box's and so is the name; the frequency of the counter is measured anew each time, and never the same. */
    struct bl_engine_config machine = *config;

    machine.name = "";
    machine.disk_count = config->disk_count ? 1 : 0;
    machine.disks[0] = (struct bl_engine_disk){.fd = -1, .format = BL_DISK_RAW};
    machine.volatile_disk = false;
    machine.memory_fd = 0;
    machine.loads = false;

    cleanup_strings char **argv = bl_qemu_arguments(choice, &machine, 0);

    if (!argv || bl_identity_put_file(out, "program", choice->program) < 0 ||
        bl_identity_put_file(out, "kernel", config->kernel) < 0 || bl_identity_put_file(out, "initramfs", config->initramfs) < 0)
        return -1;
    for (char **argument = argv; *argument; argument++)
        if (bl_buffer_append(out, *argument, strlen(*argument)) < 0 || bl_buffer_append(out, "\n", 1) < 0)
            return -1;
    return 0;
}

#ifdef __x86_64__

#define TSC_BASELINE_NS 2000000
#define TSC_TRIES       8

/* One reading of both clocks, as close together as they come. */
struct reading {
    uint64_t ticks;
    int64_t ns;
};

static int64_t raw_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC_RAW, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static struct reading read_clocks(void)
{
    struct reading best = {0};
    uint64_t closest = UINT64_MAX;

    /* The reading that took the fewest ticks was not interrupted. */
    for (int i = 0; i < TSC_TRIES; i++) {
        uint64_t before = __builtin_ia32_rdtsc();
        int64_t ns = raw_ns();
        uint64_t after = __builtin_ia32_rdtsc();

        if (after - before < closest) {
            closest = after - before;
            best = (struct reading){.ticks = before + (after - before) / 2, .ns = ns};
        }
    }
    return best;
}

unsigned long bl_qemu_tsc_khz(void)
{
    struct reading first = read_clocks(), second;

    /* /proc/cpuinfo tells the processor's frequency of the moment, not the counter's; 2 ms of measuring make some 20 ppm. */
    do
        second = read_clocks();
    while (second.ns - first.ns < TSC_BASELINE_NS);
    return (unsigned long)((double)(second.ticks - first.ticks) * 1e6 / (double)(second.ns - first.ns) + 0.5);
}

#else

unsigned long bl_qemu_tsc_khz(void)
{
    return 0;
}

#endif
