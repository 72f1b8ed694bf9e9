/* SPDX-License-Identifier: Apache-2.0 */
/* arguments.h - QEMU's command line for a VM */
#ifndef BL_VMM_QEMU_ARGUMENTS_H
#define BL_VMM_QEMU_ARGUMENTS_H

#include "vmm/engine.h"

/* Numbers that the descriptors have in QEMU. */
enum bl_qemu_fd { BL_QEMU_FD_QMP = 3, BL_QEMU_FD_AGENT, BL_QEMU_FD_CONSOLE, BL_QEMU_FD_MEMORY, BL_QEMU_FD_DISKS };

/*
 * bl_qemu_arguments() - Build argv
 * @tsc_khz: frequency of the host's time stamp counter; 0: unknown
 * Return: allocated list (base/strings.h); NULL when memory ran out
 */
char **bl_qemu_arguments(const struct bl_engine_choice *choice, const struct bl_engine_config *config, unsigned long tsc_khz);

/* bl_qemu_tsc_khz() - Measure the time stamp counter against the clock, which takes 2 ms. Return: kHz; 0: unknown */
unsigned long bl_qemu_tsc_khz(void);

#endif
