/* SPDX-License-Identifier: Apache-2.0 */
/* kernel.h - getting a kernel's ELF file into guest memory */
#ifndef BL_VMM_KVM_X86_64_KERNEL_H
#define BL_VMM_KVM_X86_64_KERNEL_H

#include <stdint.h>

#include "base/error.h"
#include "vmm/memory.h"

/* Where a kernel came to lie. */
struct bl_kernel {
    uint64_t entry; /* of PVH, 32 bits, no paging */
    uint64_t start, end;
};

/*
 * bl_kernel_load() - Load an uncompressed ELF kernel that can be entered the PVH way
 * @memory: fresh: what is not written reads as zeros
 * @fd: the file; only read
 * @name: of the file, for messages
 *
 * Nothing in the file is trusted: every part lies in the file and in memory, above 1 MiB.
 *
 * Return: 0 and *@out; -1: BL_ENGINE
 */
int bl_kernel_load(struct bl_memory *memory, int fd, const char *name, struct bl_kernel *out, struct bl_error *err);

/* bl_file_load() - Read @length bytes of a file at @offset into the guest at @address. Return: 0; -1 */
int bl_file_load(struct bl_memory *memory, uint64_t address, int fd, uint64_t offset, uint64_t length, bool there, const char *name,
                 struct bl_error *err);

#endif
