/* SPDX-License-Identifier: Apache-2.0 */
/*
 * moments.h - when the parts of a start were over, on one clock
 *
 * All moments are microseconds of the host's CLOCK_MONOTONIC, which library, shim and engine share. The guest tells its own by its
 * own clock, which began when its kernel did. CONFIG and READY tie the two clocks together: READY says what the guest's clock
 * showed when CONFIG came and when READY left, and the host knows when it sent the one and got the other.
 *
 * The shim hands them to the starter behind the word "ready" (proto/launch.h), as numbers: the origin, then each moment in the
 * order of enum bl_moment; 0 is one that was not reached or does not exist there, and numbers beyond those that are known are
 * ignored.
 */
#ifndef BL_PROTO_MOMENTS_H
#define BL_PROTO_MOMENTS_H

#include <stddef.h>
#include <stdint.h>

#include "proto/frame.h"

/* In the order in which they come. */
enum bl_moment {
    BL_MOMENT_SHIM,       /* the host process's first instruction */
    BL_MOMENT_ENGINE,     /* its settings, locks, logs and disks are at hand: the engine begins */
    BL_MOMENT_MADE,       /* the virtual machine and its memory are made; our own monitor only, as the next */
    BL_MOMENT_LOADED,     /* kernel, initramfs and tables are in that memory; or a saved machine's state is taken over */
    BL_MOMENT_RUNNING,    /* the first processor is about to run; with QEMU: its process was made */
    BL_MOMENT_KERNEL,     /* the guest's clock began, early in its kernel; a machine from a template has no such, nor the next */
    BL_MOMENT_INIT,       /* the agent's first instruction */
    BL_MOMENT_GREETED,    /* the agent has answered */
    BL_MOMENT_CONFIGURED, /* it is told which box it is; later than GREETED when the machine was kept as a template first */
    BL_MOMENT_MOUNTED,    /* the guest has mounted its disk */
    BL_MOMENT_COUNT
};

/* Where the machine came from. */
enum bl_origin { BL_ORIGIN_BOOT, BL_ORIGIN_TEMPLATE, BL_ORIGIN_BOOT_KEPT /* booted, and kept as a template */ };

struct bl_moments {
    enum bl_origin origin;
    int64_t at_us[BL_MOMENT_COUNT]; /* 0: unknown */
};

#define BL_MOMENTS_TEXT_MAX 256 /* bytes of them as text, with a NUL */

/* bl_moments_print() - As text: each number with a blank before it. */
void bl_moments_print(const struct bl_moments *moments, char out[BL_MOMENTS_TEXT_MAX]);
/* bl_moments_parse() - From such a text; what is no moment, or comes before the one before it, is unknown. */
void bl_moments_parse(const char *text, struct bl_moments *out);
/*
 * bl_moments_ready() - Add what the guest's READY tells
 * @now_us: when READY came
 *
 * The guest may say anything: what it says is moved between the moments of the host that it must lie between. A guest that says
 * nothing leaves its moments unknown.
 */
void bl_moments_ready(struct bl_moments *moments, const struct bl_frame *ready, int64_t now_us);

#endif
