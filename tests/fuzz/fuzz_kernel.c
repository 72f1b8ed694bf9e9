/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz_kernel.c - a kernel's ELF file that a user names; what is loaded lies in memory and has its entry in itself */
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fuzz.h"
#include "vmm/kvm/x86_64/kernel.h"

#define RAM (8u << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static int file = -1, ram = -1;
    struct bl_memory memory;
    struct bl_kernel kernel;
    struct bl_error err = BL_ERROR_INIT;

    if (file < 0) {
        file = memfd_create("kernel", MFD_CLOEXEC);
        ram = memfd_create("ram", MFD_CLOEXEC);
        must(file >= 0 && ram >= 0 && ftruncate(ram, RAM) == 0);
    }
    must(ftruncate(file, 0) == 0 && pwrite(file, data, size, 0) == (ssize_t)size);
    bl_memory_init(&memory, 4096);
    must(bl_memory_add(&memory, 0, RAM, ram, 0, BL_MEMORY_SHARED, &err) == 0);
    if (bl_kernel_load(&memory, file, "fuzz", &kernel, &err) < 0)
        must(err.message[0] && err.code == BL_ENGINE);
    else
        must(kernel.start >= (1u << 20) && kernel.end <= RAM && kernel.entry >= kernel.start && kernel.entry < kernel.end);
    bl_memory_free(&memory);
    return 0;
}
