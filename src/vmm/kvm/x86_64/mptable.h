/* SPDX-License-Identifier: Apache-2.0 */
/* mptable.h - processors and interrupts for a kernel that does not use ACPI */
#ifndef BL_VMM_KVM_X86_64_MPTABLE_H
#define BL_VMM_KVM_X86_64_MPTABLE_H

#include "base/error.h"
#include "vmm/memory.h"

/* bl_mptable_write() - Write the table into memory. Return: 0; -1: BL_ENGINE */
int bl_mptable_write(struct bl_memory *memory, unsigned int cpus, struct bl_error *err);

#endif
