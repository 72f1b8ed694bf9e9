/* SPDX-License-Identifier: Apache-2.0 */
/* timing.c - run --timing: where the time of one run went; see timing.h */
#include "cli/timing.h"

#include <stdbool.h>
#include <stdio.h>

#include "base/clock.h"

/* A part, by the moment that ends it. */
struct part {
    const char *name;
    const char *what;
};

/* print_part() - Print what ends at @until, if that is known, and not before @from. Return: where the next part begins */
static int64_t print_part(struct part part, int64_t from, int64_t until)
{
    if (!until || until < from)
        return from;
    fprintf(stderr, "timing: %-9s %9.1f ms  %s\n", part.name, (double)(until - from) / 1000, part.what);
    return until;
}

/* name_part() - What the part that a moment ends is called, which depends on the engine and on where the machine came from. */
static struct part name_part(enum bl_moment moment, const struct bl_moments *start)
{
    bool own = start->at_us[BL_MOMENT_MADE] != 0, template = start->origin == BL_ORIGIN_TEMPLATE;

    switch (moment) {
    case BL_MOMENT_SHIM:
        return (struct part){"spawn", "until the box's host process runs"};
    case BL_MOMENT_ENGINE:
        return (struct part){"shim", "its settings, locks, logs and disks"};
    case BL_MOMENT_MADE:
        return (struct part){"vmm", "KVM, the virtual machine, its memory"};
    case BL_MOMENT_LOADED:
        return template ? (struct part){"load", "its devices, and all that they and the processors hold"}
                        : (struct part){"load", "kernel and initramfs, into that memory"};
    case BL_MOMENT_RUNNING:
        return own && template ? (struct part){"run", "until the first processor runs"}
               : own           ? (struct part){"devices", "devices and processors, until the first one runs"}
                               : (struct part){"vmm", "until the emulator's process is made"};
    case BL_MOMENT_KERNEL:
        return own ? (struct part){"entry", "until the kernel's clock runs"}
                   : (struct part){"emulator", "its own start, until the kernel's clock runs"};
    case BL_MOMENT_INIT:
        return (struct part){"kernel", "until init, the agent, runs"};
    case BL_MOMENT_GREETED:
        return template && own ? (struct part){"template", "until the machine, which goes on, has answered"}
               : template      ? (struct part){"template", "the emulator's start, and a machine that goes on"}
                               : (struct part){"agent", "until it has answered"};
    case BL_MOMENT_CONFIGURED:
        return (struct part){"keep", "the machine is kept as a template"};
    case BL_MOMENT_MOUNTED:
        return (struct part){"disk", "until it is mounted"};
    case BL_MOMENT_COUNT:
        break;
    }
    return (struct part){"", ""};
}

void bl_timing_print(const struct bl_timing *timing, const struct bl_exit *exit)
{
    int64_t end = timing->gone ? timing->gone : timing->started ? timing->started : bl_now_us();
    int64_t at = print_part((struct part){"open", "the home"}, timing->begun, timing->opened);

    at = print_part((struct part){"create", "the image is found, the box and its disk are made"}, at, timing->created);
    for (enum bl_moment moment = 0; moment < BL_MOMENT_COUNT; moment++) {
        int64_t until = timing->start.at_us[moment];

        if ((moment != BL_MOMENT_CONFIGURED || timing->start.origin == BL_ORIGIN_BOOT_KEPT) && until <= timing->started)
            at = print_part(name_part(moment, &timing->start), at, until);
    }
    at = print_part((struct part){"ready", "until this command knows that the box runs"}, at, timing->started);
    at = print_part((struct part){"command", "until the command in the box runs"}, at, timing->running);
    at = print_part((struct part){"workload", "until it has ended and its output is written"}, at,
                    timing->running ? timing->ended : 0);
    if (exit && exit->duration_us)
        fprintf(stderr, "timing: %-9s %9.1f ms  (command and workload, by the clock in the box)\n", "",
                (double)exit->duration_us / 1000);
    print_part((struct part){"end", timing->gone ? "until the box has ended, or is removed" : ""}, at, timing->gone);
    fprintf(stderr, "timing: %-9s %9.1f ms\n", "total", (double)(end - timing->begun) / 1000);
}
