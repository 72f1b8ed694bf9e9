/* SPDX-License-Identifier: Apache-2.0 */
/* test_vmm_boot.c - what our own monitor puts into a guest's memory: kernels, hostile ones too, parameters, tables */
#include <elf.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "vmm/kvm/arch.h"
#include "vmm/kvm/x86_64/acpi.h"
#include "vmm/kvm/x86_64/kernel.h"
#include "vmm/kvm/x86_64/layout.h"
#include "vmm/kvm/x86_64/mptable.h"

#define MIB        (1ull << 20)
#define RAM        (32 * MIB)
#define TEXT_AT    0x200000ull
#define TEXT       0x1000 /* offset of the text in the file */
#define TEXT_BYTES 0x2000
#define NOTES      0x800

/* A guest's memory without a guest. */
struct guest {
    struct bl_memory memory;
    int fd;
};

static int file_of(const void *bytes, size_t length)
{
    int fd = memfd_create("test", MFD_CLOEXEC);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, length), length);
    return fd;
}

static void guest_init(struct guest *guest, uint64_t bytes)
{
    struct bl_error err = BL_ERROR_INIT;
    struct bl_arch_range ranges[BL_ARCH_RANGES_MAX];
    size_t count = bl_arch_ranges(bytes, ranges);
    uint64_t offset = 0;

    guest->fd = memfd_create("ram", MFD_CLOEXEC);
    assert_int_equal(ftruncate(guest->fd, (off_t)bytes), 0);
    bl_memory_init(&guest->memory, 4096);
    for (size_t i = 0; i < count; i++, offset += ranges[i - 1].bytes)
        assert_int_equal(bl_memory_add(&guest->memory, ranges[i].start, ranges[i].bytes, guest->fd, offset, BL_MEMORY_SHARED, &err),
                         0);
}

static void guest_finish(struct guest *guest)
{
    bl_memory_free(&guest->memory);
    close(guest->fd);
}

/* The smallest kernel there is: one segment, one note. */
struct kernel_file {
    Elf64_Ehdr header;
    Elf64_Phdr segments[2];
    uint8_t room[NOTES - sizeof(Elf64_Ehdr) - 2 * sizeof(Elf64_Phdr)];
    Elf64_Nhdr other;
    char other_name[4];
    uint8_t other_value[4];
    Elf64_Nhdr note;
    char note_name[4];
    uint32_t entry[2];
    uint8_t more[TEXT - NOTES - 2 * sizeof(Elf64_Nhdr) - 20];
    uint8_t text[TEXT_BYTES];
};

static struct kernel_file good_kernel(void)
{
    struct kernel_file file = {0};

    memcpy(file.header.e_ident, ELFMAG, SELFMAG);
    file.header.e_ident[EI_CLASS] = ELFCLASS64;
    file.header.e_ident[EI_DATA] = ELFDATA2LSB;
    file.header.e_machine = EM_X86_64;
    file.header.e_phoff = offsetof(struct kernel_file, segments);
    file.header.e_phentsize = sizeof(Elf64_Phdr);
    file.header.e_phnum = 2;
    file.segments[0] = (Elf64_Phdr){
        .p_type = PT_LOAD, .p_offset = TEXT, .p_paddr = TEXT_AT, .p_filesz = TEXT_BYTES, .p_memsz = TEXT_BYTES + 0x3000};
    file.segments[1] = (Elf64_Phdr){.p_type = PT_NOTE, .p_offset = NOTES, .p_filesz = 2 * sizeof(Elf64_Nhdr) + 20};
    file.other = (Elf64_Nhdr){.n_namesz = 4, .n_descsz = 4, .n_type = NT_GNU_BUILD_ID};
    memcpy(file.other_name, "GNU", 4);
    file.note = (Elf64_Nhdr){.n_namesz = 4, .n_descsz = 8, .n_type = 18};
    memcpy(file.note_name, "Xen", 4);
    file.entry[0] = TEXT_AT + 0x123;
    memset(file.text, 0x5a, sizeof file.text);
    return file;
}

_Static_assert(offsetof(struct kernel_file, text) == TEXT && offsetof(struct kernel_file, other) == NOTES, "as the headers say");

static int load(const struct kernel_file *file, size_t length, struct bl_kernel *out, struct bl_error *err)
{
    struct guest guest;
    cleanup_close int fd = file_of(file, length);
    uint8_t bytes[TEXT_BYTES];
    int result;

    guest_init(&guest, RAM);
    result = bl_kernel_load(&guest.memory, fd, "vmlinux", out, err);
    if (result == 0) {
        assert_int_equal(bl_memory_read(&guest.memory, TEXT_AT, bytes, sizeof bytes), 0);
        assert_memory_equal(bytes, file->text, sizeof bytes);
    }
    guest_finish(&guest);
    return result;
}

static void kernel_that_is_good(void **state)
{
    struct kernel_file file = good_kernel();
    struct bl_error err = BL_ERROR_INIT;
    struct bl_kernel kernel;

    (void)state;
    assert_int_equal(load(&file, sizeof file, &kernel, &err), 0);
    assert_int_equal(kernel.entry, TEXT_AT + 0x123);
    assert_int_equal(kernel.start, TEXT_AT);
    assert_int_equal(kernel.end, TEXT_AT + TEXT_BYTES + 0x3000);
    file.note.n_descsz = 4; /* 32 bits of it will do, even at the very end of the notes */
    file.segments[1].p_filesz -= 4;
    assert_int_equal(load(&file, sizeof file, &kernel, &err), 0);
    assert_int_equal(kernel.entry, TEXT_AT + 0x123);
}

/* Each way to be wrong, and a word of what is said about it. */
static void kernels_that_are_hostile(void **state)
{
    struct bl_kernel kernel;

    (void)state;
#define REFUSED(change, size, says)                                                                                                \
    do {                                                                                                                           \
        struct kernel_file file = good_kernel();                                                                                   \
        struct bl_error err = BL_ERROR_INIT;                                                                                       \
        change;                                                                                                                    \
        assert_int_equal(load(&file, (size), &kernel, &err), -1);                                                                  \
        assert_int_equal(err.code, BL_ENGINE);                                                                                     \
        if (!strstr(err.message, says))                                                                                            \
            fail_msg("%s: %s", #change, err.message);                                                                              \
    } while (0)
    REFUSED(file.header.e_ident[0] = 0, sizeof file, "neither an ELF file");
    REFUSED(file.header.e_ident[EI_CLASS] = ELFCLASS32, sizeof file, "this processor");
    REFUSED(file.header.e_machine = EM_AARCH64, sizeof file, "this processor");
    REFUSED(file.header.e_phnum = 0, sizeof file, "program header");
    REFUSED(file.header.e_phnum = UINT16_MAX, sizeof file, "program header");
    REFUSED(file.header.e_phentsize = 8, sizeof file, "program header");
    REFUSED(file.header.e_phoff = UINT64_MAX - 8, sizeof file, "cut short");
    REFUSED(file.header.e_phoff = sizeof file - 8, sizeof file, "cut short");
    REFUSED((void)file, sizeof file.header - 1, "cut short");
    REFUSED((void)file, sizeof file - 1, "cut short");
    REFUSED(file.segments[0].p_offset = UINT64_MAX - 0x100, sizeof file, "cut short");
    REFUSED(file.segments[0].p_filesz = UINT64_MAX, sizeof file, "cut short");
    REFUSED(file.segments[0].p_memsz = TEXT_BYTES - 1, sizeof file, "cut short");
    REFUSED(file.segments[0].p_memsz = UINT64_MAX - 0x1000, sizeof file, "does not fit");
    REFUSED(file.segments[0].p_paddr = UINT64_MAX - 0x1000, sizeof file, "does not fit");
    REFUSED(file.segments[0].p_paddr = RAM - 0x1000, sizeof file, "does not fit");
    REFUSED(file.segments[0].p_paddr = X86_BOOT_PARAMETERS, sizeof file, "does not fit");
    REFUSED(file.segments[0].p_paddr = X86_SLOTS, sizeof file, "does not fit");
    REFUSED(file.segments[0].p_type = PT_NULL, sizeof file, "outside of itself");
    REFUSED(file.segments[1].p_offset = UINT64_MAX, sizeof file, "cut short");
    REFUSED(file.segments[1].p_type = PT_NULL, sizeof file, "no PVH entry");
    REFUSED(file.note.n_type = 17, sizeof file, "no PVH entry");
    REFUSED(file.note_name[0] = 'x', sizeof file, "no PVH entry");
    REFUSED(file.note.n_descsz = 16, sizeof file, "no PVH entry");
    REFUSED(file.note.n_namesz = UINT32_MAX, sizeof file, "no PVH entry");
    REFUSED(file.other.n_descsz = UINT32_MAX, sizeof file, "no PVH entry");
    REFUSED(file.segments[1].p_filesz = sizeof(Elf64_Nhdr) - 1, sizeof file, "no PVH entry");
    REFUSED(file.entry[0] = TEXT_AT - 1, sizeof file, "outside of itself");
    REFUSED(file.entry[1] = 1, sizeof file, "outside of itself");
#undef REFUSED
}

struct start_info {
    uint32_t magic, version, flags, module_count;
    uint64_t modules, command_line, acpi, map;
    uint32_t map_count, reserved;
};

static void parameters_of_a_kernel(void **state)
{
    struct kernel_file file = good_kernel();
    struct bl_error err = BL_ERROR_INIT;
    cleanup_close int kernel = file_of(&file, sizeof file), initramfs = file_of("initramfs", 9);
    struct bl_arch_machine machine = {.cpus = 2,
                                      .memory_bytes = RAM,
                                      .kernel_fd = kernel,
                                      .initramfs_fd = initramfs,
                                      .kernel_name = "vmlinux",
                                      .initramfs_name = "initramfs",
                                      .command_line = "quiet x=y",
                                      .devices = 2};
    struct bl_arch_boot boot;
    struct start_info info;
    struct guest guest;
    uint64_t module[2], map[6][3];
    char line[512], bytes[9];

    (void)state;
    guest_init(&guest, RAM);
    assert_int_equal(bl_arch_load(&guest.memory, &machine, &boot, &err), 0);
    assert_int_equal(boot.entry, TEXT_AT + 0x123);
    assert_false(boot.serial);
    bl_memory_read(&guest.memory, boot.parameters, &info, sizeof info);
    assert_int_equal(info.magic, 0x336ec578);
    bl_memory_read(&guest.memory, info.command_line, line, sizeof line);
    assert_string_equal(line, "console=hvc0 reboot=t panic=-1 no_timer_check quiet x=y");
    bl_memory_read(&guest.memory, info.modules, module, sizeof module);
    assert_int_equal(module[1], 9);
    assert_int_equal(module[0] % 4096, 0);
    bl_memory_read(&guest.memory, module[0], bytes, sizeof bytes);
    assert_memory_equal(bytes, "initramfs", 9);
    bl_memory_read(&guest.memory, info.acpi, bytes, 8);
    assert_memory_equal(bytes, "RSD PTR ", 8);

    /* The map is in order, without gaps below the end of memory, and no usable part of it holds what the monitor put there. */
    assert_int_equal(info.map_count, 5);
    bl_memory_read(&guest.memory, info.map, map, 5 * sizeof map[0]);
    for (int i = 0; i < 5; i++)
        assert_int_equal(map[i][0], i ? map[i - 1][0] + map[i - 1][1] : 0);
    assert_int_equal(map[4][0] + map[4][1], RAM);
    assert_int_equal((uint32_t)map[2][2], 3);
    assert_int_equal(map[2][0], info.acpi);

    /* Devices on the command line, for a kernel that takes them; the serial port when it is named. */
    machine.devices_in_line = true;
    machine.command_line = "console=ttyS0";
    assert_int_equal(bl_arch_load(&guest.memory, &machine, &boot, &err), 0);
    assert_true(boot.serial);
    bl_memory_read(&guest.memory, info.command_line, line, sizeof line);
    assert_string_equal(line, "console=hvc0 reboot=t panic=-1 no_timer_check acpi=off virtio_mmio.device=4K@0xd0000000:5 "
                              "virtio_mmio.device=4K@0xd0001000:6 console=ttyS0");

    char *endless = calloc(1, 5000);

    memset(endless, 'x', 4999);
    machine.command_line = endless;
    assert_int_equal(bl_arch_load(&guest.memory, &machine, &boot, &err), -1);
    assert_non_null(strstr(err.message, "too long"));
    free(endless);
    machine.command_line = "";
    assert_int_equal(ftruncate(initramfs, RAM - TEXT_AT - TEXT_BYTES), 0);
    assert_int_equal(bl_arch_load(&guest.memory, &machine, &boot, &err), -1);
    assert_non_null(strstr(err.message, "do not fit"));
    assert_int_equal(ftruncate(initramfs, 0), 0);
    assert_int_equal(bl_arch_load(&guest.memory, &machine, &boot, &err), -1);
    guest_finish(&guest);
}

static void memory_around_the_hole(void **state)
{
    struct bl_arch_range ranges[BL_ARCH_RANGES_MAX];

    (void)state;
    assert_int_equal(bl_arch_ranges(3072 * MIB, ranges), 1);
    assert_int_equal(ranges[0].bytes, 3072 * MIB);
    assert_int_equal(bl_arch_ranges(65536 * MIB, ranges), 2);
    assert_int_equal(ranges[0].bytes, 3072 * MIB);
    assert_int_equal(ranges[1].start, 4096 * MIB);
    assert_int_equal(ranges[1].bytes, (65536 - 3072) * MIB);
    assert_true(bl_arch_slot_address(0) >= 3072 * MIB && bl_arch_slot_address(BL_KVM_SLOTS) <= X86_IO_APIC);
}

static uint8_t sum_of(const struct bl_memory *memory, uint64_t at, size_t length)
{
    uint8_t bytes[4096], sum = 0;

    assert_true(length <= sizeof bytes);
    assert_int_equal(bl_memory_read(memory, at, bytes, length), 0);
    for (size_t i = 0; i < length; i++)
        sum = (uint8_t)(sum + bytes[i]);
    return sum;
}

static uint32_t number_at(const struct bl_memory *memory, uint64_t at)
{
    uint8_t bytes[4];

    assert_int_equal(bl_memory_read(memory, at, bytes, sizeof bytes), 0);
    return bl_get_le32(bytes);
}

/* check_table() - Signature, length, checksum. Return: length */
static uint32_t check_table(const struct bl_memory *memory, uint64_t at, const char *signature)
{
    char name[4];
    uint32_t length = number_at(memory, at + 4);

    assert_int_equal(bl_memory_read(memory, at, name, sizeof name), 0);
    assert_memory_equal(name, signature, 4);
    assert_int_equal(sum_of(memory, at, length), 0);
    return length;
}

/* disassemble() - What Intel's compiler reads in a table. Return: text, to be freed */
static char *disassemble(const struct bl_memory *memory, uint64_t at, uint32_t length)
{
    char folder[] = "/tmp/acpi-XXXXXX", command[256], path[64];
    uint8_t bytes[4096];
    char *text = calloc(1, 65536);
    FILE *file;

    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/table.dat", folder);
    file = fopen(path, "wb");
    assert_int_equal(bl_memory_read(memory, at, bytes, length), 0);
    fwrite(bytes, 1, length, file);
    fclose(file);
    snprintf(command, sizeof command, "cd %s && iasl -d table.dat 2>&1; cat table.dsl; rm -r %s", folder, folder);
    file = popen(command, "r");
    assert_true(fread(text, 1, 65535, file) > 0);
    pclose(file);
    return text;
}

static unsigned int count_of(const char *text, const char *word)
{
    unsigned int count = 0;

    for (const char *at = strstr(text, word); at; at = strstr(at + 1, word))
        count++;
    return count;
}

static void tables_of_acpi(void **state)
{
    struct bl_error err = BL_ERROR_INIT;
    struct guest guest;
    uint64_t xsdt, fadt, madt, dsdt;
    uint8_t identifiers[2][16];
    char *text;

    (void)state;
    guest_init(&guest, RAM);
    assert_int_equal(bl_acpi_write(&guest.memory, 32, &err), 0);
    bl_memory_read(&guest.memory, X86_GENERATION, identifiers[0], 16);
    assert_int_equal(bl_acpi_write(&guest.memory, 32, &err), 0);
    bl_memory_read(&guest.memory, X86_GENERATION, identifiers[1], 16);
    assert_memory_not_equal(identifiers[0], identifiers[1], 16);

    assert_int_equal(sum_of(&guest.memory, X86_ACPI, 20), 0);
    assert_int_equal(sum_of(&guest.memory, X86_ACPI, 36), 0);
    xsdt = number_at(&guest.memory, X86_ACPI + 24);
    assert_int_equal(check_table(&guest.memory, xsdt, "XSDT"), 36 + 16);
    fadt = number_at(&guest.memory, xsdt + 36);
    madt = number_at(&guest.memory, xsdt + 44);
    assert_int_equal(check_table(&guest.memory, fadt, "FACP"), 276);
    assert_int_equal(check_table(&guest.memory, madt, "APIC"), 44 + 32 * 8 + 12 + 6);
    dsdt = number_at(&guest.memory, fadt + 140);
    assert_int_equal(number_at(&guest.memory, fadt + 40), dsdt);
    assert_true(dsdt + check_table(&guest.memory, dsdt, "DSDT") <= X86_ACPI_END);

    text = disassemble(&guest.memory, dsdt, number_at(&guest.memory, dsdt + 4));
    assert_int_equal(count_of(text, "\"LNRO0005\""), BL_KVM_SLOTS);
    assert_int_equal(count_of(text, "Memory32Fixed (ReadWrite"), BL_KVM_SLOTS);
    assert_int_equal(count_of(text, "Interrupt (ResourceConsumer, Edge, ActiveHigh, Exclusive"), BL_KVM_SLOTS);
    assert_non_null(strstr(text, "0xD0007000"));
    assert_non_null(strstr(text, "\"VM_Gen_Counter\""));
    assert_non_null(strstr(text, "0x000EF000"));
    assert_non_null(strstr(text, "_S5"));
    assert_null(strstr(text, "Unknown"));
    free(text);
    text = disassemble(&guest.memory, fadt, 276);
    assert_non_null(strstr(text, "Hardware Reduced (V5) : 1"));
    assert_non_null(strstr(text, "CMOS RTC Not Present (V5) : 1"));
    assert_non_null(strstr(text, "Reset Register Supported (V2) : 1"));
    free(text);
    text = disassemble(&guest.memory, madt, number_at(&guest.memory, madt + 4));
    assert_int_equal(count_of(text, "[Processor Local APIC]"), 32);
    assert_int_equal(count_of(text, "[I/O APIC]"), 1);
    assert_null(strstr(text, "Unknown"));
    free(text);
    guest_finish(&guest);
}

static void table_of_multiprocessors(void **state)
{
    struct bl_error err = BL_ERROR_INIT;
    struct guest guest;
    uint64_t at = X86_MP_TABLE, entry;
    unsigned int counts[5] = {0}, length;
    uint8_t type;

    (void)state;
    guest_init(&guest, RAM);
    for (unsigned int cpus = 1; cpus <= 32; cpus += 31) {
        assert_int_equal(bl_mptable_write(&guest.memory, cpus, &err), 0);
        assert_int_equal(sum_of(&guest.memory, at, 16), 0);
        at = number_at(&guest.memory, X86_MP_TABLE + 4);
        length = number_at(&guest.memory, at + 4) & UINT16_MAX;
        assert_int_equal(sum_of(&guest.memory, at, length), 0);
        memset(counts, 0, sizeof counts);
        for (entry = at + 44; entry < at + length; entry += type ? 8 : 20) {
            assert_int_equal(bl_memory_read(&guest.memory, entry, &type, 1), 0);
            assert_true(type < 5);
            counts[type]++;
        }
        assert_int_equal(entry, at + length);
        assert_int_equal(counts[0], cpus);
        assert_int_equal(counts[1], 1);
        assert_int_equal(counts[2], 1);
        assert_int_equal(counts[3], 16);
        assert_int_equal(counts[4], 2);
        assert_int_equal(number_at(&guest.memory, at + 34) & UINT16_MAX, cpus + 20);
        at = X86_MP_TABLE;
    }
    guest_finish(&guest);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kernel_that_is_good),    cmocka_unit_test(kernels_that_are_hostile),
        cmocka_unit_test(parameters_of_a_kernel), cmocka_unit_test(memory_around_the_hole),
        cmocka_unit_test(tables_of_acpi),         cmocka_unit_test(table_of_multiprocessors),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
