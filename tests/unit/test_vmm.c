/* SPDX-License-Identifier: Apache-2.0 */
/* test_vmm.c - choosing an engine, QEMU's command line, and kernel files that are not what they say */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <elf.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/strings.h"
#include "vmm/kernel_file.h"
#include "vmm/probe.h"
#include "vmm/qemu/arguments.h"

static void test_choice(void **state)
{
    struct bl_engine_choice choice;
    struct bl_error err = BL_ERROR_INIT;

    (void)state;
    assert_int_equal(setenv("BOXLITE_QEMU", "/bin/true", 1), 0);
    assert_int_equal(setenv("BOXLITE_QEMU_ACCEL", "tcg", 1), 0);
    assert_int_equal(bl_engine_choose(NULL, NULL, &choice, &err), 0);
    assert_false(choice.kvm || choice.falls_back);
    assert_string_equal(choice.name, "qemu (emulation)");
    assert_string_equal(choice.program, "/bin/true");
    assert_non_null(strstr(choice.notice, "software emulation"));

    assert_int_equal(setenv("BOXLITE_QEMU_ACCEL", "kvm", 1), 0);
    assert_int_equal(bl_engine_choose("qemu", NULL, &choice, &err), 0);
    assert_true(choice.kvm && !choice.falls_back);
    assert_string_equal(choice.notice, "");
    assert_int_equal(setenv("BOXLITE_QEMU_ACCEL", "kvm:tcg", 1), 0);
    assert_int_equal(bl_engine_choose("qemu", NULL, &choice, &err), 0);
    assert_true(choice.kvm && choice.falls_back);
    bl_engine_fall_back(&choice, "it broke");
    assert_false(choice.kvm || choice.falls_back);
    assert_string_equal(choice.virtualization, "unavailable: it broke");

    /* Our own monitor: where KVM is, and not without. */
#ifdef __x86_64__
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(bl_engine_choose(i ? "kvm" : "auto", NULL, &choice, &err), 0);
        assert_true(choice.own && choice.kvm && choice.falls_back == !i);
        assert_string_equal(choice.name, "kvm");
        assert_string_equal(choice.notice, "");
    }
#endif
    assert_int_equal(setenv("BOXLITE_QEMU_ACCEL", "tcg", 1), 0);
    assert_int_equal(bl_engine_choose("kvm", NULL, &choice, &err), -1);
    assert_int_equal(err.code, BL_UNSUPPORTED_ENGINE);
    assert_non_null(strstr(err.message, "engine qemu"));
    assert_int_equal(bl_engine_choose("vax", NULL, &choice, &err), -1);
    assert_int_equal(err.code, BL_INVALID_ARGUMENT);

    /* Without an emulator there is no engine, and what to do about it is said. */
    assert_int_equal(setenv("BOXLITE_QEMU", "/nonexistent/qemu", 1), 0);
    assert_int_equal(bl_engine_choose("auto", NULL, &choice, &err), -1);
    assert_int_equal(err.code, BL_ENGINE);
    assert_non_null(strstr(err.message, "/nonexistent/qemu"));
    assert_string_equal(choice.program, "");
    assert_int_equal(unsetenv("BOXLITE_QEMU"), 0);

    cleanup_free char *path = strdup(getenv("PATH"));

    assert_int_equal(setenv("PATH", ":/nonexistent::relative", 1), 0);
    assert_int_equal(bl_engine_choose("auto", NULL, &choice, &err), -1);
    assert_non_null(strstr(err.message, "apt install"));
    assert_int_equal(setenv("PATH", path, 1), 0);
    assert_int_equal(unsetenv("BOXLITE_QEMU_ACCEL"), 0);

    /* The trial itself: whatever this machine is, a verdict comes with its reason. */
    bl_engine_probe(&choice);
    assert_true(choice.kvm ? strcmp(choice.virtualization, "available") == 0
                           : bl_starts_with(choice.virtualization, "unavailable: "));
}

/* What somebody found out is not tried again: by this process, or by who is told. */
static void a_trial_of_kvm_is_made_once(void **state)
{
    const struct bl_kvm_known told = {BL_KVM_REFUSED, "it was tried elsewhere"}, praised = {BL_KVM_USABLE, ""};
    struct rlimit files, none;
    struct bl_kvm_known first, second;
    struct bl_engine_choice choice;
    struct bl_error err = BL_ERROR_INIT;

    (void)state;
    assert_int_equal(unsetenv("BOXLITE_QEMU_ACCEL"), 0);
    bl_kvm_look(&first);
    assert_int_not_equal(first.verdict, BL_KVM_UNKNOWN);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &files), 0);
    none = (struct rlimit){0, files.rlim_max};
    /* Without descriptors there is no trial, so the outcome of one that came to an end is the former one. */
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    bl_kvm_look(&second);
    assert_int_equal(bl_engine_choose("kvm", &praised, &choice, &err), 0);
    assert_int_equal(bl_engine_choose("kvm", &told, &choice, &err), -1);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &files), 0);
    assert_int_equal(second.verdict, first.verdict);
    if (strstr(first.why, "partial emulation"))
        assert_string_equal(second.why, first.why);
    assert_non_null(strstr(err.message, "it was tried elsewhere"));

    assert_int_equal(setenv("BOXLITE_QEMU", "/bin/true", 1), 0);
    assert_int_equal(bl_engine_choose("auto", &told, &choice, &err), 0);
    assert_string_equal(choice.name, "qemu (emulation)");
    assert_string_equal(choice.reason, "it was tried elsewhere");
    assert_int_equal(unsetenv("BOXLITE_QEMU"), 0);
}

/* after() - The argument that follows an option, the @nth time that it is given. */
static const char *after(char **argv, const char *option, int nth)
{
    for (; *argv; argv++)
        if (strcmp(*argv, option) == 0 && nth-- == 0)
            return argv[1];
    return "";
}

static void test_arguments(void **state)
{
    const struct bl_engine_choice choice = {.program = "/usr/bin/qemu"};
    struct bl_engine_config config = {
        .name = "a,b",
        .cpus = 1,
        .memory_bytes = 256u << 20,
        .kernel = "/nonexistent",
        .initramfs = "/initramfs",
        .command_line = "quiet",
        .disks = {{.fd = 10, .format = BL_DISK_RAW}, {.fd = 11, .format = BL_DISK_QCOW2}, {.fd = 12, .format = BL_DISK_QCOW2}},
        .disk_count = 3,
        .memory_fd = -1,
        .saved_fd = -1,
    };

    (void)state;

    char **argv = bl_qemu_arguments(&choice, &config, 2000000);

    assert_non_null(argv);
    assert_string_equal(argv[0], "/usr/bin/qemu");
    assert_string_equal(after(argv, "-name", 0), "guest=a,,b");
    assert_string_equal(after(argv, "-m", 0), "262144K");
    assert_string_equal(after(argv, "-object", 0), "rng-builtin,id=random");
    assert_string_equal(after(argv, "-accel", 0), "tcg,thread=single");
    assert_non_null(strstr(after(argv, "-sandbox", 0), "spawn=deny"));
    assert_non_null(strstr(after(argv, "-append", 0), "tsc_early_khz=2000000 lpj=8000000"));
    assert_non_null(strstr(after(argv, "-append", 0), " quiet"));
    assert_non_null(strstr(after(argv, "-machine", 0), "acpi=on")); /* for a kernel that is not known to do without */

    /* Node by node: each overlay names what is under it, and only the last file is written. */
    assert_string_equal(after(argv, "-add-fd", 2), "fd=9,set=3");
    assert_non_null(strstr(after(argv, "-blockdev", 0), "\"filename\":\"/dev/fdset/1\",\"locking\":\"on\",\"read-only\":true"));
    assert_non_null(strstr(after(argv, "-blockdev", 1), "\"driver\":\"raw\""));
    assert_null(strstr(after(argv, "-blockdev", 1), "backing"));
    assert_non_null(strstr(after(argv, "-blockdev", 3), "\"backing\":\"disk0\""));
    assert_non_null(strstr(after(argv, "-blockdev", 3), "\"read-only\":true"));
    assert_non_null(strstr(after(argv, "-blockdev", 5), "\"backing\":\"disk1\""));
    assert_non_null(strstr(after(argv, "-blockdev", 5), "\"read-only\":false"));
    assert_non_null(strstr(after(argv, "-blockdev", 5), "\"no-flush\":false"));
    bl_strings_free(argv);

    /* A qcow2 file at the bottom has no backing file, whatever its header says. */
    config.disks[0].format = BL_DISK_QCOW2;
    config.disk_count = 1;
    config.volatile_disk = true;
    config.unconfined = true;
    config.cpus = 4;
    argv = bl_qemu_arguments(&(struct bl_engine_choice){.program = "/qemu", .kvm = true}, &config, 0);
    assert_non_null(argv);
    assert_non_null(strstr(after(argv, "-blockdev", 1), "\"backing\":null"));
    assert_non_null(strstr(after(argv, "-blockdev", 1), "\"no-flush\":true"));
    assert_string_equal(after(argv, "-accel", 0), "kvm");
    assert_string_equal(after(argv, "-cpu", 0), "host");
    assert_null(strstr(after(argv, "-append", 0), "tsc"));
    for (char **word = argv; *word; word++)
        assert_string_not_equal(*word, "-sandbox");
    bl_strings_free(argv);

    /* Memory of the owner's is shared with him; a machine that goes on from a state needs no kernel. */
    config.memory_fd = 20;
    config.loads = true;
    argv = bl_qemu_arguments(&choice, &config, 2000000);
    assert_non_null(argv);
    assert_string_equal(after(argv, "-object", 0), "memory-backend-file,id=memory,size=262144K,mem-path=/proc/self/fd/6,share=on");
    assert_non_null(strstr(after(argv, "-machine", 0), ",memory-backend=memory"));
    assert_string_equal(after(argv, "-incoming", 0), "defer");
    assert_string_equal(after(argv, "-kernel", 0), "");
    bl_strings_free(argv);
}

#define FILE_BYTES 1024
#define DATA_AT    512
#define NAMES_AT   768

/* make_kernel() - The least of an ELF file that has a section .rodata with the parameter's name in it. */
static void make_kernel(uint8_t *file)
{
    Elf64_Ehdr header = {.e_shoff = 64, .e_shentsize = sizeof(Elf64_Shdr), .e_shnum = 2, .e_shstrndx = 1};
    Elf64_Shdr sections[] = {
        {.sh_name = 1, .sh_type = SHT_PROGBITS, .sh_offset = DATA_AT, .sh_size = 64},
        {.sh_name = 0, .sh_type = SHT_STRTAB, .sh_offset = NAMES_AT, .sh_size = 16},
    };

    memset(file, 0, FILE_BYTES);
    memcpy(header.e_ident, ELFMAG, SELFMAG);
    header.e_ident[EI_CLASS] = ELFCLASS64;
    memcpy(file, &header, sizeof header);
    memcpy(file + 64, sections, sizeof sections);
    memcpy(file + DATA_AT + 3, "virtio_mmio.device", sizeof "virtio_mmio.device");
    memcpy(file + NAMES_AT + 1, ".rodata", sizeof ".rodata");
}

static bool takes_devices(const char *path, const uint8_t *file, size_t size)
{
    cleanup_close int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(bl_write_all(fd, file, size), 0);
    return bl_kernel_takes_devices(path);
}

static void test_kernel_files(void **state)
{
    char path[] = "/tmp/boxlite-kernel-XXXXXX";
    uint8_t file[FILE_BYTES];
    int fd = mkstemp(path);

    (void)state;
    assert_true(fd >= 0);
    close(fd);
    make_kernel(file);
    assert_true(takes_devices(path, file, sizeof file));
    file[DATA_AT + 5] = 'X';
    assert_false(takes_devices(path, file, sizeof file));

    /* Cut anywhere, and any byte of the headers wrong: an answer, and no access past the end. */
    make_kernel(file);
    for (size_t size = 0; size < NAMES_AT + 16; size += 7)
        assert_false(takes_devices(path, file, size));
    for (size_t at = 0; at < 64 + 2 * sizeof(Elf64_Shdr); at++) {
        for (int value = 0; value < 3; value++) {
            make_kernel(file);
            file[at] = value == 0 ? 0xff : value == 1 ? 0x7f : (uint8_t)(file[at] + 1);
            takes_devices(path, file, sizeof file);
        }
    }
    assert_int_equal(unlink(path), 0);
    assert_false(bl_kernel_takes_devices(path));
    assert_false(bl_kernel_takes_devices("/tmp"));
}

static void test_counter_frequency(void **state)
{
    unsigned long first = bl_qemu_tsc_khz(), second = bl_qemu_tsc_khz();

    (void)state;
    /* Two measurements agree within one part in a hundred, or there is no counter. */
    assert_true(first ? first > 100000 && labs((long)first - (long)second) < (long)(first / 100) : second == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_choice),       cmocka_unit_test(a_trial_of_kvm_is_made_once), cmocka_unit_test(test_arguments),
        cmocka_unit_test(test_kernel_files), cmocka_unit_test(test_counter_frequency),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
