/* SPDX-License-Identifier: Apache-2.0 */
/*
 * layout.h - where things lie in the guest-physical memory of an x86-64 machine
 *
 *     0x00006000  what the kernel is given (PVH): start information, memory map, modules
 *     0x00020000  command line
 *     0x0009f000  end of low memory; from here to 1 MiB nothing is memory to the kernel
 *     0x000e0000  ACPI: the root pointer first, then the tables; then a page with the generation identifier
 *     0x000f0000  MP table
 *     0x00100000  memory again: the kernel where its file says, the initramfs at the end of the low part
 *     0xc0000000  no memory: devices
 *     0xd0000000  virtio-mmio slots, 4 KiB each
 *     0xfec00000  I/O APIC; 0xfee00000 local APICs; 0xfffbc000 four pages that KVM needs on Intel
 *     4 GiB       the rest of memory
 */
#ifndef BL_VMM_KVM_X86_64_LAYOUT_H
#define BL_VMM_KVM_X86_64_LAYOUT_H

#define X86_PAGE             0x1000u
#define X86_BOOT_PARAMETERS  0x6000u
#define X86_COMMAND_LINE     0x20000u
#define X86_COMMAND_LINE_MAX 4096u /* COMMAND_LINE_SIZE is 2048 in kernels; longer ones are cut by them */
#define X86_LOW_END          0x9f000u
#define X86_ACPI             0xe0000u
#define X86_ACPI_END         0xef000u
#define X86_GENERATION       0xef000u /* one page: the generation identifier of the machine */
#define X86_MP_TABLE         0xf0000u
#define X86_HIGH             0x100000u
#define X86_HOLE             0xc0000000u
#define X86_SLOTS            0xd0000000u
#define X86_SLOT_BYTES       0x1000u
#define X86_IO_APIC          0xfec00000u
#define X86_LOCAL_APIC       0xfee00000u
#define X86_IDENTITY_MAP     0xfffbc000u
#define X86_TSS              0xfffbd000u
#define X86_ABOVE_HOLE       0x100000000ull
#define X86_SLOT_INTERRUPT   5u /* the first of 8 lines, all among the 16 of ISA, which a kernel without ACPI knows */

/* I/O ports. */
#define X86_PORT_SERIAL    0x3f8u
#define X86_PORT_KEYBOARD  0x64u
#define X86_PORT_SLEEP     0x600u /* sleep control and, one above, sleep status (ACPI 6.4, 4.8.3.7) */
#define X86_PORT_RESET     0x604u
#define X86_RESET_VALUE    0x01u
#define X86_SLEEP_TYPE_OFF 5u /* of \_S5 */

#endif
