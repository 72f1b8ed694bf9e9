/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mptable.c - processors and interrupts for a kernel that is told to leave ACPI alone (MultiProcessor Specification 1.4)
 *
 * The tuned kernel has no PCI, and Linux 6.1 without PCI can't load ACPI's description of devices: it gives up, with messages. So
 * that kernel gets acpi=off, finds its processors here, as on QEMU's microvm, and its devices on the command line. That also is the
 * shorter boot. The table is there for every kernel; one that reads ACPI does not look.
 */
#include "vmm/kvm/x86_64/mptable.h"

#include <string.h>

#include "base/bytes.h"
#include "vmm/kvm/arch.h"
#include "vmm/kvm/x86_64/layout.h"

#define POINTER_BYTES    16
#define HEADER_BYTES     44
#define ISA_INTERRUPTS   16
#define REVISION         4    /* 1.4 */
#define APIC_VERSION     0x14 /* integrated; KVM's */
#define IO_APIC_VERSION  0x11
#define CPU_ENABLED      1u
#define CPU_FIRST        2u
#define EDGE_ACTIVE_HIGH 0x05u
#define TABLE_MAX        (HEADER_BYTES + BL_KVM_CPUS_MAX * 20 + (4 + ISA_INTERRUPTS) * 8)

enum entry { ENTRY_CPU, ENTRY_BUS, ENTRY_IO_APIC, ENTRY_INTERRUPT, ENTRY_LOCAL };
enum interrupt { INTERRUPT_VECTORED, INTERRUPT_NMI, INTERRUPT_SMI, INTERRUPT_EXTERNAL };

struct table {
    uint8_t bytes[POINTER_BYTES + TABLE_MAX];
    size_t length;
    unsigned int entries;
};

/* add() - Append an entry; there is room for all that can come. Return: where its bytes after the type stand */
static uint8_t *add(struct table *table, enum entry type, size_t bytes)
{
    uint8_t *at = table->bytes + table->length;

    at[0] = (uint8_t)type;
    table->length += bytes;
    table->entries++;
    return at + 1;
}

static void add_interrupt(struct table *table, enum entry entry, enum interrupt type, unsigned int flags, uint8_t from, uint8_t to,
                          uint8_t pin)
{
    uint8_t *at = add(table, entry, 8);

    at[0] = (uint8_t)type;
    bl_put_le16(at + 1, (uint16_t)flags);
    at[3] = 0; /* the one bus */
    at[4] = from;
    at[5] = to;
    at[6] = pin;
}

static uint8_t sum(const uint8_t *bytes, size_t length)
{
    uint8_t total = 0;

    while (length--)
        total = (uint8_t)(total + *bytes++);
    return (uint8_t)-total;
}

static void add_entries(struct table *table, unsigned int cpus)
{
    uint8_t *at;

    for (unsigned int cpu = 0; cpu < cpus; cpu++) {
        at = add(table, ENTRY_CPU, 20);
        at[0] = (uint8_t)cpu;
        at[1] = APIC_VERSION;
        at[2] = CPU_ENABLED | (cpu ? 0 : CPU_FIRST);
    }
    at = add(table, ENTRY_BUS, 8);
    memcpy(at + 1, "ISA   ", 6);
    at = add(table, ENTRY_IO_APIC, 8);
    at[1] = IO_APIC_VERSION;
    at[2] = 1; /* usable */
    bl_put_le32(at + 3, X86_IO_APIC);
    for (unsigned int line = 0; line < ISA_INTERRUPTS; line++)
        add_interrupt(table, ENTRY_INTERRUPT, INTERRUPT_VECTORED, EDGE_ACTIVE_HIGH, (uint8_t)line, 0, (uint8_t)line);
    add_interrupt(table, ENTRY_LOCAL, INTERRUPT_EXTERNAL, 0, 0, 0, 0);
    add_interrupt(table, ENTRY_LOCAL, INTERRUPT_NMI, 0, 0, UINT8_MAX, 1);
}

int bl_mptable_write(struct bl_memory *memory, unsigned int cpus, struct bl_error *err)
{
    struct table table = {.length = POINTER_BYTES + HEADER_BYTES};
    uint8_t *pointer = table.bytes, *header = table.bytes + POINTER_BYTES;

    add_entries(&table, cpus < BL_KVM_CPUS_MAX ? cpus : BL_KVM_CPUS_MAX);
    memcpy(header, "PCMP", 4);
    bl_put_le16(header + 4, (uint16_t)(table.length - POINTER_BYTES));
    header[6] = REVISION;
    memcpy(header + 8, "BOXLITE BOXLITE-VM  ", 20);
    bl_put_le16(header + 34, (uint16_t)table.entries);
    bl_put_le32(header + 36, X86_LOCAL_APIC);
    header[7] = sum(header, table.length - POINTER_BYTES);
    memcpy(pointer, "_MP_", 4);
    bl_put_le32(pointer + 4, X86_MP_TABLE + POINTER_BYTES);
    pointer[8] = POINTER_BYTES / 16;
    pointer[9] = REVISION;
    pointer[10] = sum(pointer, POINTER_BYTES);
    if (bl_memory_write(memory, X86_MP_TABLE, table.bytes, table.length) < 0)
        return bl_fail(err, BL_ENGINE, 0, "the guest's memory is too small");
    return 0;
}
