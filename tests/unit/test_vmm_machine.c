/* SPDX-License-Identifier: Apache-2.0 */
/* test_vmm_machine.c - what a processor of our own monitor says of itself, and the machine's I/O ports */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "vmm/kvm/arch.h"
#include "vmm/kvm/x86_64/cpuid.h"
#include "vmm/kvm/x86_64/layout.h"

/* What KVM_GET_SUPPORTED_CPUID says on two kinds of hosts, as far as it matters here; ones for "everything". */
static const struct kvm_cpuid_entry2 intel[] = {
    {.function = 0, .eax = 0x1f, .ebx = 0x756e6547, .ecx = 0x6c65746e, .edx = 0x49656e69},
    {.function = 1, .eax = 0x806f8, .ebx = 0x2c400800, .ecx = ~0u, .edx = ~0u},
    {.function = 4, .index = 0, .flags = 1, .eax = 0xfc004121, .ebx = 0x2c0003f, .ecx = 0x3f},
    {.function = 4, .index = 3, .flags = 1, .eax = 0xfc1fc163, .ebx = 0x380003f, .ecx = 0x1ffff},
    {.function = 7, .index = 0, .flags = 1, .eax = 2, .ebx = ~0u, .ecx = ~0u, .edx = ~0u},
    {.function = 0xa, .eax = 0x7300805, .edx = 0x8603},
    {.function = 0xb, .index = 0, .flags = 1, .eax = 1, .ebx = 2, .ecx = 0x100, .edx = 0x2c},
    {.function = 0xb, .index = 1, .flags = 1, .eax = 7, .ebx = 0x60, .ecx = 0x201, .edx = 0x2c},
    {.function = 0xd, .index = 0, .flags = 1, .eax = 0x2ff, .ebx = 0x240, .ecx = 0xa88},
    {.function = 0x14, .index = 0, .flags = 1, .eax = 1, .ebx = 0x4f},
    {.function = 0x40000000, .eax = 0x40000001, .ebx = 0x4b4d564b, .ecx = 0x564b4d56, .edx = 0x4d},
    {.function = 0x40000001, .eax = 0x01007efb},
    {.function = 0x80000008, .eax = 0x3934},
};

static const struct kvm_cpuid_entry2 amd[] = {
    {.function = 0, .eax = 0x10, .ebx = 0x68747541, .ecx = 0x444d4163, .edx = 0x69746e65},
    {.function = 1, .eax = 0xa20f10, .ebx = 0x00100800, .ecx = 0x7ed8320b, .edx = 0x178bfbff},
    {.function = 0x40000000, .eax = 0x40000001, .ebx = 0x4b4d564b, .ecx = 0x564b4d56, .edx = 0x4d},
    {.function = 0x80000001, .eax = 0xa20f10, .ecx = ~2u, .edx = 0x2fd3fbff},
    {.function = 0x80000008, .eax = 0x3030, .ecx = 0x700f},
    {.function = 0x8000000a, .eax = 1, .ebx = 0x8000, .edx = 0x119b9cff},
    {.function = 0x8000001d, .index = 0, .flags = 1, .eax = 0x4121, .ebx = 0x1c0003f, .ecx = 0x3f},
    {.function = 0x8000001d, .index = 3, .flags = 1, .eax = 0x3c163, .ebx = 0x3c0003f, .ecx = 0x7fff},
    {.function = 0x8000001e, .eax = 0x10, .ebx = 0x108, .ecx = 0x700},
};

static struct bl_cpuid *fill(const struct kvm_cpuid_entry2 *entries, size_t count, unsigned int index, unsigned int cpus)
{
    struct bl_cpuid *cpuid = calloc(1, sizeof *cpuid);

    memcpy(cpuid->entries, entries, count * sizeof *entries);
    cpuid->count = (uint32_t)count;
    bl_cpuid_fill(cpuid, index, cpus, 2600000);
    return cpuid;
}

#define FILL(table, index, cpus) fill(table, sizeof(table) / sizeof *(table), index, cpus)

/* leaf() - The one entry of a leaf; there must not be two. */
static struct kvm_cpuid_entry2 leaf(const struct bl_cpuid *cpuid, uint32_t function, uint32_t index)
{
    struct kvm_cpuid_entry2 found = {0};
    unsigned int count = 0;

    for (uint32_t i = 0; i < cpuid->count; i++)
        if (cpuid->entries[i].function == function && cpuid->entries[i].index == index) {
            found = cpuid->entries[i];
            count++;
        }
    if (count != 1)
        fail_msg("leaf %#x, %u is there %u times", function, index, count);
    return found;
}

static void topology_is_one_package(void **state)
{
    (void)state;
    for (unsigned int index = 0; index < 6; index++) {
        cleanup_free struct bl_cpuid *one = FILL(intel, index, 6), *other = FILL(amd, index, 6);

        assert_int_equal(leaf(one, 1, 0).ebx, index << 24 | 6 << 16 | 0x800);
        assert_true(leaf(one, 1, 0).edx & 1u << 28);
        /* Three bits number six processors. */
        for (uint32_t function = 0xb; function <= 0x1f; function += 0x14) {
            assert_int_equal(leaf(one, function, 0).eax, 0);
            assert_int_equal(leaf(one, function, 0).ebx, 1);
            assert_int_equal(leaf(one, function, 0).ecx, 0x100);
            assert_int_equal(leaf(one, function, 1).eax, 3);
            assert_int_equal(leaf(one, function, 1).ebx, 6);
            assert_int_equal(leaf(one, function, 1).ecx, 0x201);
            assert_int_equal(leaf(one, function, 2).ebx, 0);
            for (uint32_t level = 0; level < 3; level++)
                assert_int_equal(leaf(one, function, level).edx, index);
        }
        assert_int_equal(leaf(one, 4, 0).eax, 0x121 | 7u << 26);            /* a core's own */
        assert_int_equal(leaf(one, 4, 3).eax, 0x163 | 5u << 14 | 7u << 26); /* everybody's */

        assert_int_equal(leaf(other, 0x80000008, 0).ecx, 3 << 12 | 5);
        assert_true(leaf(other, 0x80000001, 0).ecx & 2);
        assert_int_equal(leaf(other, 0x8000001d, 0).eax, 0x121);
        assert_int_equal(leaf(other, 0x8000001d, 3).eax, 0x163 | 5u << 14);
        assert_int_equal(leaf(other, 0x8000001e, 0).eax, index);
        assert_int_equal(leaf(other, 0x8000001e, 0).ebx, index);
        assert_int_equal(leaf(other, 0x8000001e, 0).ecx, 0);
        assert_int_equal(leaf(other, 0xb, 1).ebx, 6);
    }

    cleanup_free struct bl_cpuid *single = FILL(intel, 0, 1);

    assert_false(leaf(single, 1, 0).edx & 1u << 28);
    assert_int_equal(leaf(single, 0xb, 1).eax, 0);
    assert_int_equal(leaf(single, 4, 3).eax, 0x163);
}

static void what_a_box_has_no_use_for_is_not_offered(void **state)
{
    cleanup_free struct bl_cpuid *one = FILL(intel, 0, 1), *other = FILL(amd, 0, 1);

    (void)state;
    assert_int_equal(leaf(one, 1, 0).ecx & (1u << 3 | 1u << 5 | 1u << 6 | 1u << 15), 0); /* MONITOR, VMX, SMX, PDCM */
    assert_int_equal(leaf(one, 7, 0).ebx & (1u << 2 | 1u << 14 | 1u << 25), 0);          /* SGX, MPX, processor trace */
    assert_int_equal(leaf(one, 0xd, 0).eax, 0x2e7);                                      /* MPX's state */
    assert_int_equal(leaf(one, 0xa, 0).eax, 0);                                          /* counters */
    assert_int_equal(leaf(one, 0x14, 0).ebx, 0);
    assert_int_equal(leaf(other, 0x80000001, 0).ecx & (1u << 2 | 1u << 10 | 1u << 23 | 1u << 24), 0); /* SVM, IBS, counters */
    assert_int_equal(leaf(other, 0x8000000a, 0).edx, 0);
    /* And what it needs is there: SSE4.2, x2APIC, AES, XSAVE, AVX, RDRAND; AVX2. */
    assert_true((leaf(one, 1, 0).ecx & 0x56300000) == 0x56300000);
    assert_true(leaf(one, 7, 0).ebx & 1u << 5);
}

static void clocks_are_told(void **state)
{
    cleanup_free struct bl_cpuid *cpuid = FILL(amd, 0, 1);

    (void)state;
    assert_true((leaf(cpuid, 1, 0).ecx & 0x81200000) == 0x81200000); /* x2APIC, TSC deadline, a hypervisor */
    assert_int_equal(leaf(cpuid, 0x40000000, 0).eax, 0x40000010);
    assert_int_equal(leaf(cpuid, 0x40000000, 0).ebx, 0x4b4d564b);
    assert_int_equal(leaf(cpuid, 0x40000010, 0).eax, 2600000);
    assert_int_equal(leaf(cpuid, 0x40000010, 0).ebx, 1000000);
}

static void a_full_table_overflows_nowhere(void **state)
{
    cleanup_free struct bl_cpuid *cpuid = calloc(1, sizeof *cpuid);

    (void)state;
    for (uint32_t i = 0; i < BL_CPUID_MAX; i++)
        cpuid->entries[i].function = i ? 0x20000000 + i : 0;
    cpuid->entries[0].eax = 0x1f;
    cpuid->count = BL_CPUID_MAX + 7;
    bl_cpuid_fill(cpuid, 0, 1, 1);
    assert_int_equal(cpuid->count, BL_CPUID_MAX);
}

/* An exit as KVM gives it, with its data behind it. */
union exit {
    struct kvm_run run;
    uint8_t bytes[sizeof(struct kvm_run) + 64];
};

static enum bl_arch_exit io(struct bl_arch_ports *ports, uint16_t port, bool out, uint8_t size, uint32_t count, void *data)
{
    union exit exit = {.run = {.exit_reason = KVM_EXIT_IO}};
    enum bl_arch_exit result;

    exit.run.io.direction = out ? KVM_EXIT_IO_OUT : KVM_EXIT_IO_IN;
    exit.run.io.port = port;
    exit.run.io.size = size;
    exit.run.io.count = count;
    exit.run.io.data_offset = sizeof(struct kvm_run);
    memcpy(exit.bytes + sizeof(struct kvm_run), data, (size_t)size * count);
    result = bl_arch_exit(ports, &exit.run);
    memcpy(data, exit.bytes + sizeof(struct kvm_run), (size_t)size * count);
    return result;
}

static enum bl_arch_exit out_byte(struct bl_arch_ports *ports, uint16_t port, uint8_t value)
{
    return io(ports, port, true, 1, 1, &value);
}

static uint8_t in_byte(struct bl_arch_ports *ports, uint16_t port)
{
    uint8_t value = 0;

    assert_int_equal(io(ports, port, false, 1, 1, &value), BL_EXIT_DONE);
    return value;
}

static void ends_of_a_machine(void **state)
{
    struct bl_arch_ports *ports = bl_arch_ports_new(-1);
    struct kvm_run run = {.exit_reason = KVM_EXIT_SHUTDOWN};
    uint32_t wide = 0;

    (void)state;
    assert_int_equal(bl_arch_exit(ports, &run), BL_EXIT_RESET);
    run.exit_reason = KVM_EXIT_DEBUG;
    assert_int_equal(bl_arch_exit(ports, &run), BL_EXIT_UNKNOWN);
    assert_int_equal(out_byte(ports, 0x600, 5 << 2 | 0x20), BL_EXIT_POWER_OFF);
    assert_int_equal(out_byte(ports, 0x600, 3 << 2 | 0x20), BL_EXIT_DONE); /* another state */
    assert_int_equal(out_byte(ports, 0x600, 5 << 2), BL_EXIT_DONE);        /* not enabled */
    assert_int_equal(out_byte(ports, 0x604, 1), BL_EXIT_RESET);
    assert_int_equal(out_byte(ports, 0x604, 2), BL_EXIT_DONE);
    assert_int_equal(out_byte(ports, 0x64, 0xfe), BL_EXIT_RESET);
    assert_int_equal(out_byte(ports, 0x64, 0x20), BL_EXIT_DONE);
    /* Ports without a device, the serial one among them when nobody asked for it. */
    assert_int_equal(in_byte(ports, 0x3fd), 0xff);
    assert_int_equal(out_byte(ports, 0x3f8, 'x'), BL_EXIT_DONE);
    assert_int_equal(io(ports, 0xcfc, false, 4, 1, &wide), BL_EXIT_DONE);
    assert_int_equal(wide, UINT32_MAX);
    assert_int_equal(in_byte(ports, 0xffff), 0xff);
    bl_arch_ports_free(ports);
}

static void serial_port_speaks(void **state)
{
    int sockets[2];
    struct bl_arch_ports *ports;
    char text[8] = "", words[] = "ports";

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets), 0);
    ports = bl_arch_ports_new(sockets[1]);
    assert_int_equal(in_byte(ports, 0x3fd), 0x60);
    for (const char *at = words; *at; at++)
        assert_int_equal(out_byte(ports, 0x3f8, (uint8_t)*at), BL_EXIT_DONE);
    assert_int_equal(recv(sockets[0], text, sizeof text, 0), 5);
    assert_memory_equal(text, words, 5);
    /* A repeated access (outsb). */
    assert_int_equal(io(ports, 0x3f8, true, 1, 5, words), BL_EXIT_DONE);
    assert_int_equal(recv(sockets[0], text, sizeof text, 0), 5);

    /* As a driver looks for it: the scratch register keeps, the divisor is apart from the data, a loop comes back. */
    out_byte(ports, 0x3ff, 0xa5);
    assert_int_equal(in_byte(ports, 0x3ff), 0xa5);
    out_byte(ports, 0x3fb, 0x83);
    out_byte(ports, 0x3f8, 1);
    assert_int_equal(in_byte(ports, 0x3f8), 1);
    out_byte(ports, 0x3fb, 0x03);
    out_byte(ports, 0x3fc, 0x1a);
    assert_int_equal(in_byte(ports, 0x3fe) & 0xf0, 0x90);
    out_byte(ports, 0x3f8, 'l');
    assert_int_equal(in_byte(ports, 0x3fd), 0x61);
    assert_int_equal(in_byte(ports, 0x3f8), 'l');
    assert_int_equal(in_byte(ports, 0x3fd), 0x60);
    assert_int_equal(recv(sockets[0], text, sizeof text, MSG_DONTWAIT), -1);

    /* A reader that is full, or gone, holds nobody up. */
    out_byte(ports, 0x3fc, 0);
    for (int i = 0; i < 1 << 20; i++)
        out_byte(ports, 0x3f8, 'x');
    close(sockets[0]);
    assert_int_equal(out_byte(ports, 0x3f8, 'x'), BL_EXIT_DONE);
    bl_arch_ports_free(ports);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(topology_is_one_package), cmocka_unit_test(what_a_box_has_no_use_for_is_not_offered),
        cmocka_unit_test(clocks_are_told),         cmocka_unit_test(a_full_table_overflows_nowhere),
        cmocka_unit_test(ends_of_a_machine),       cmocka_unit_test(serial_port_speaks),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
