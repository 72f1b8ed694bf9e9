// SPDX-License-Identifier: Apache-2.0
/*
 * trivial-init: the smallest init there can be, for the bare boot that others are measured against.
 *
 * It restarts the machine at once. Both guest kernels are booted with `reboot=t` and QEMU with -no-reboot, so that ends
 * the emulator; powering off would need ACPI, which the tuned kernel is booted without.
 */
#include <sys/reboot.h>

int main(void)
{
    return reboot(RB_AUTOBOOT);
}
