/* SPDX-License-Identifier: Apache-2.0 */
/*
 * acpi.c - the tables that describe the machine to its kernel (ACPI 6.4, chapter 5)
 *
 *     RSDP ──▶ XSDT ──▶ FADT ──▶ DSDT
 *                  └──▶ MADT
 *
 * The machine is "hardware-reduced": it has none of the fixed registers, timers and interrupts of a PC, and the kernel looks for
 * none, neither for the old interrupt controller, timer, clock and keyboard. Switching off and a reset are a write to a port each.
 * The DSDT lists the virtio-mmio slots ("LNRO0005", as Linux knows them) and the generation identifier ("VM_Gen_Counter"): 16
 * random bytes that differ from machine to machine. (A kernel looks at them when it is notified, which nobody does here: what makes
 * a copy another machine is the entropy that its agent is given.)
 *
 * Tables are built in one buffer at the offsets that they will have, and AML by a few functions that each append one construct. All
 * of it is constant but for the number of processors.
 */
#include "vmm/kvm/x86_64/acpi.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "base/io.h"
#include "vmm/kvm/arch.h"
#include "vmm/kvm/x86_64/layout.h"

#define TABLES_MAX       8192
#define TABLE_ALIGN      64
#define HEADER_BYTES     36
#define RSDP_BYTES       36
#define FADT_BYTES       276
#define GENERATION_BYTES 16

/* Of the FADT, 5.2.9. */
#define FADT_DSDT             40
#define FADT_BOOT_FLAGS       109
#define FADT_FLAGS            112
#define FADT_RESET_REGISTER   116
#define FADT_RESET_VALUE      128
#define FADT_MINOR            131
#define FADT_X_DSDT           140
#define FADT_SLEEP_CONTROL    244
#define FADT_SLEEP_STATUS     256
#define FADT_HYPERVISOR       268
#define BOOT_NO_VGA           (1u << 2)
#define BOOT_NO_CMOS_RTC      (1u << 5)
#define FLAG_WBINVD           (1u << 0)
#define FLAG_NO_POWER_BUTTON  (1u << 4)
#define FLAG_NO_SLEEP_BUTTON  (1u << 5)
#define FLAG_RESET_REGISTER   (1u << 10)
#define FLAG_HARDWARE_REDUCED (1u << 20)

/* What is being built; @failed instead of a check at each step. */
struct tables {
    uint8_t bytes[TABLES_MAX];
    size_t length;
    bool failed;
};

static void put(struct tables *tables, const void *bytes, size_t length)
{
    if (length > sizeof tables->bytes - tables->length) {
        tables->failed = true;
        return;
    }
    memcpy(tables->bytes + tables->length, bytes, length);
    tables->length += length;
}

static void put_byte(struct tables *tables, unsigned int value)
{
    put(tables, &(uint8_t){(uint8_t)value}, 1);
}

static void put_number(struct tables *tables, uint64_t value, size_t bytes)
{
    uint8_t stored[8];

    bl_put_le64(stored, value);
    put(tables, stored, bytes);
}

/* begin() - Begin a table at the next aligned place. Return: its offset */
static size_t begin(struct tables *tables, const char *signature, unsigned int revision)
{
    static const uint8_t zeros[TABLE_ALIGN];
    size_t at;

    put(tables, zeros, -tables->length % TABLE_ALIGN);
    at = tables->length;
    put(tables, signature, 4);
    put_number(tables, 0, 4); /* length, by end() */
    put_byte(tables, revision);
    put_byte(tables, 0); /* checksum, by end() */
    put(tables, "BOXLITBOXLITEVM", 14);
    put_number(tables, 1, 4);
    put(tables, "BXLT", 4);
    put_number(tables, 1, 4);
    return at;
}

/* sum() - What makes the bytes' sum zero. */
static uint8_t sum(const uint8_t *bytes, size_t length)
{
    uint8_t total = 0;

    while (length--)
        total = (uint8_t)(total + *bytes++);
    return (uint8_t)-total;
}

static void end(struct tables *tables, size_t at)
{
    if (tables->failed)
        return;
    bl_put_le32(tables->bytes + at + 4, (uint32_t)(tables->length - at));
    tables->bytes[at + 9] = sum(tables->bytes + at, tables->length - at);
}

/* A construct of AML that has a length: it is known at its end. Always three bytes long, which 20.2.4 allows. */
static size_t aml_begin(struct tables *tables, const char *operation)
{
    put(tables, operation, strlen(operation));
    put_number(tables, 0, 3);
    return tables->length - 3;
}

static void aml_end(struct tables *tables, size_t at)
{
    size_t length = tables->length - at;

    if (tables->failed)
        return;
    tables->bytes[at] = (uint8_t)(0x80 | (length & 0xf));
    tables->bytes[at + 1] = (uint8_t)(length >> 4);
    tables->bytes[at + 2] = (uint8_t)(length >> 12);
}

static void aml_name(struct tables *tables, const char *name)
{
    put_byte(tables, 0x08); /* NameOp */
    put(tables, name, 4);
}

static void aml_number(struct tables *tables, uint32_t value)
{
    put_byte(tables, 0x0c); /* DWordPrefix */
    put_number(tables, value, 4);
}

static void aml_string(struct tables *tables, const char *text)
{
    put_byte(tables, 0x0d); /* StringPrefix */
    put(tables, text, strlen(text) + 1);
}

static size_t aml_device(struct tables *tables, const char *name, const char *id, uint32_t number)
{
    size_t at = aml_begin(tables, "\x5b\x82"); /* DeviceOp */

    put(tables, name, 4);
    aml_name(tables, "_HID");
    aml_string(tables, id);
    aml_name(tables, "_UID");
    aml_number(tables, number);
    return at;
}

static void add_slot(struct tables *tables, unsigned int slot)
{
    char name[8];
    size_t device, buffer;

    snprintf(name, sizeof name, "VR%02u", slot % 100);
    device = aml_device(tables, name, "LNRO0005", slot);
    aml_name(tables, "_CCA");
    put_byte(tables, 0x01); /* OneOp */
    aml_name(tables, "_CRS");
    buffer = aml_begin(tables, "\x11"); /* BufferOp */
    put_byte(tables, 0x0a);             /* BytePrefix */
    put_byte(tables, 12 + 9 + 2);
    put(tables, "\x86\x09\x00\x01", 4); /* 32-bit fixed memory, writable; 6.4.3.4 */
    put_number(tables, bl_arch_slot_address(slot), 4);
    put_number(tables, X86_SLOT_BYTES, 4);
    put(tables, "\x89\x06\x00\x03\x01", 5); /* one interrupt: consumer, edge, active high, exclusive; 6.4.3.6 */
    put_number(tables, bl_arch_slot_interrupt(slot), 4);
    put(tables, "\x79\x00", 2); /* end tag without a checksum */
    aml_end(tables, buffer);
    aml_end(tables, device);
}

/* add_generation() - The device whose ADDR is the address of the identifier, in two halves. */
static void add_generation(struct tables *tables)
{
    size_t device = aml_device(tables, "VGEN", "BXLT0001", 0), package;

    aml_name(tables, "_CID");
    aml_string(tables, "VM_Gen_Counter");
    aml_name(tables, "_DDN");
    aml_string(tables, "VM_Gen_Counter");
    aml_name(tables, "ADDR");
    package = aml_begin(tables, "\x12"); /* PackageOp */
    put_byte(tables, 2);
    aml_number(tables, X86_GENERATION);
    aml_number(tables, 0);
    aml_end(tables, package);
    aml_end(tables, device);
}

static size_t add_dsdt(struct tables *tables)
{
    size_t at = begin(tables, "DSDT", 2), scope, package;

    scope = aml_begin(tables, "\x10"); /* ScopeOp */
    put(tables, "\\_SB_", 5);
    for (unsigned int slot = 0; slot < BL_KVM_SLOTS; slot++)
        add_slot(tables, slot);
    add_generation(tables);
    aml_end(tables, scope);
    aml_name(tables, "_S5_"); /* the state "off": the value that is written to switch off */
    package = aml_begin(tables, "\x12");
    put_byte(tables, 4);
    aml_number(tables, X86_SLEEP_TYPE_OFF);
    for (int i = 0; i < 3; i++)
        aml_number(tables, 0);
    aml_end(tables, package);
    end(tables, at);
    return at;
}

/* put_port() - A generic address of a byte-wide I/O port, 5.2.3.2. */
static void put_port(uint8_t *at, uint64_t port)
{
    at[0] = 1; /* I/O space */
    at[1] = 8; /* bits */
    at[2] = 0;
    at[3] = 1; /* byte accesses */
    bl_put_le64(at + 4, port);
}

static size_t add_fadt(struct tables *tables, size_t dsdt)
{
    size_t at = begin(tables, "FACP", 6);
    uint8_t fadt[FADT_BYTES] = {0};

    bl_put_le32(fadt + FADT_DSDT, (uint32_t)(X86_ACPI + dsdt));
    bl_put_le64(fadt + FADT_X_DSDT, X86_ACPI + dsdt);
    bl_put_le16(fadt + FADT_BOOT_FLAGS, BOOT_NO_VGA | BOOT_NO_CMOS_RTC);
    bl_put_le32(fadt + FADT_FLAGS,
                FLAG_WBINVD | FLAG_NO_POWER_BUTTON | FLAG_NO_SLEEP_BUTTON | FLAG_RESET_REGISTER | FLAG_HARDWARE_REDUCED);
    put_port(fadt + FADT_RESET_REGISTER, X86_PORT_RESET);
    fadt[FADT_RESET_VALUE] = X86_RESET_VALUE;
    fadt[FADT_MINOR] = 4;
    put_port(fadt + FADT_SLEEP_CONTROL, X86_PORT_SLEEP);
    put_port(fadt + FADT_SLEEP_STATUS, X86_PORT_SLEEP + 1);
    memcpy(fadt + FADT_HYPERVISOR, "BOXLITE", 8);
    put(tables, fadt + HEADER_BYTES, sizeof fadt - HEADER_BYTES);
    end(tables, at);
    return at;
}

/* add_madt() - Processors, the I/O APIC, and where non-maskable interrupts arrive; 5.2.12. */
static size_t add_madt(struct tables *tables, unsigned int cpus)
{
    size_t at = begin(tables, "APIC", 5);

    put_number(tables, X86_LOCAL_APIC, 4);
    put_number(tables, 0, 4); /* no old interrupt controllers */
    for (unsigned int cpu = 0; cpu < cpus; cpu++) {
        put(tables, "\x00\x08", 2);
        put_byte(tables, cpu);
        put_byte(tables, cpu);
        put_number(tables, 1, 4); /* enabled */
    }
    put(tables, "\x01\x0c\x00\x00", 4);
    put_number(tables, X86_IO_APIC, 4);
    put_number(tables, 0, 4);
    put(tables, "\x04\x06\xff\x00\x00\x01", 6);
    end(tables, at);
    return at;
}

/* build() - All tables; the root pointer is the first. */
static void build(struct tables *tables, unsigned int cpus)
{
    size_t dsdt, fadt, madt, xsdt;
    uint8_t root[RSDP_BYTES] = "RSD PTR ";

    put(tables, root, sizeof root);
    dsdt = add_dsdt(tables);
    fadt = add_fadt(tables, dsdt);
    madt = add_madt(tables, cpus);
    xsdt = begin(tables, "XSDT", 1);
    put_number(tables, X86_ACPI + fadt, 8);
    put_number(tables, X86_ACPI + madt, 8);
    end(tables, xsdt);
    memcpy(root + 9, "BOXLIT", 6);
    root[15] = 2; /* revision: there is an XSDT */
    bl_put_le32(root + 20, sizeof root);
    bl_put_le64(root + 24, X86_ACPI + xsdt);
    root[8] = sum(root, 20);
    root[32] = sum(root, sizeof root);
    memcpy(tables->bytes, root, sizeof root);
}

int bl_acpi_renew(struct bl_memory *memory, struct bl_error *err)
{
    uint8_t generation[GENERATION_BYTES];

    if (bl_random_bytes(generation, sizeof generation) < 0)
        return bl_fail(err, BL_ENGINE, errno, "make the identifier of the machine");
    if (bl_memory_write(memory, X86_GENERATION, generation, sizeof generation) < 0)
        return bl_fail(err, BL_ENGINE, 0, "the guest's memory is too small");
    return 0;
}

int bl_acpi_write(struct bl_memory *memory, unsigned int cpus, struct bl_error *err)
{
    struct tables tables = {.length = 0};

    build(&tables, cpus);
    if (tables.failed)
        return bl_fail(err, BL_INTERNAL, 0, "the ACPI tables for %u processors do not fit", cpus);
    if (bl_memory_write(memory, X86_ACPI, tables.bytes, tables.length) < 0)
        return bl_fail(err, BL_ENGINE, 0, "the guest's memory is too small");
    return bl_acpi_renew(memory, err);
}
