/* SPDX-License-Identifier: Apache-2.0 */
/* acpi.h - the tables that describe the machine to its kernel */
#ifndef BL_VMM_KVM_X86_64_ACPI_H
#define BL_VMM_KVM_X86_64_ACPI_H

#include "base/error.h"
#include "vmm/memory.h"

/* bl_acpi_write() - Write all tables, and a fresh generation identifier, into memory. Return: 0; -1: BL_ENGINE */
int bl_acpi_write(struct bl_memory *memory, unsigned int cpus, struct bl_error *err);
/* bl_acpi_renew() - Write a fresh generation identifier. Return: 0; -1: BL_ENGINE */
int bl_acpi_renew(struct bl_memory *memory, struct bl_error *err);

#endif
