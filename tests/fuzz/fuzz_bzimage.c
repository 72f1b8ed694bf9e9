/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz_bzimage.c - a bzImage that a user names; what comes out is as large as it said, and then looked at as a kernel */
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fuzz.h"
#include "vmm/bzimage.h"
#include "vmm/kernel_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static int file = -1;
    struct bl_error err = BL_ERROR_INIT;
    struct stat status;
    int out = -1, result;

    if (file < 0) {
        file = memfd_create("kernel", MFD_CLOEXEC);
        must(file >= 0);
    }
    must(ftruncate(file, 0) == 0 && pwrite(file, data, size, 0) == (ssize_t)size);
    result = bl_bzimage_unpack(file, "fuzz", &out, &err);
    must((out >= 0) == (result > 0));
    if (result < 0)
        must(err.message[0] && err.code == BL_ENGINE);
    if (out < 0)
        return 0;
    must(fstat(out, &status) == 0 && status.st_size > 0 && status.st_size <= 256 << 20);
    bl_kernel_takes_devices_fd(out);
    close(out);
    return 0;
}
