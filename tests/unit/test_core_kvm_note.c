/* SPDX-License-Identifier: Apache-2.0 */
/* test_core_kvm_note.c - what a home remembers of /dev/kvm, and when that counts for nothing */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "core/kvm_note.h"
#include "core_fixture.h"

/* write_note() - A note as an earlier start on this boot would have left it. @user: who left it; -1: us. Return: whether there is a
 * device that we may use */
static bool write_note(const char *boot_id, long user)
{
    cleanup_close int fd = openat(fixture_runtime->home_fd, "kvm", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    struct stat device = {0};
    bool there = access("/dev/kvm", R_OK | W_OK) == 0 && stat("/dev/kvm", &device) == 0;

    assert_true(fd >= 0);
    assert_true(dprintf(fd, "%s %jx %jx %jx %jd.%09ld user %ld\n", boot_id, (uintmax_t)device.st_dev, (uintmax_t)device.st_ino,
                        (uintmax_t)device.st_rdev, (intmax_t)device.st_ctim.tv_sec, device.st_ctim.tv_nsec,
                        user < 0 ? (long)geteuid() : user) > 0);
    return there;
}

static enum bl_kvm_verdict look(void)
{
    struct bl_kvm_known known;

    bl_kvm_note_look(fixture_runtime, &known);
    return known.verdict;
}

static void a_note_of_now_is_believed(void **state)
{
    struct bl_kvm_known really;

    (void)state;
    bl_kvm_look(&really);
    assert_int_equal(look(), really.verdict);
    /* A trial that succeeded is noted, one that failed is not. */
    assert_int_equal(faccessat(fixture_runtime->home_fd, "kvm", F_OK, 0), really.verdict == BL_KVM_USABLE ? 0 : -1);

    bool there = write_note(bl_boot_id(), -1);

    assert_int_equal(look(), there ? BL_KVM_USABLE : really.verdict);
    bl_kvm_note_drop(fixture_runtime);
    assert_int_equal(faccessat(fixture_runtime->home_fd, "kvm", F_OK, 0), -1);
    assert_int_equal(look(), really.verdict);
}

static void any_other_note_counts_for_nothing(void **state)
{
    struct bl_kvm_known really;

    (void)state;
    bl_kvm_look(&really);
    write_note("another-boot", -1);
    assert_int_equal(look(), really.verdict);
    write_note(bl_boot_id(), (long)geteuid() + 1);
    assert_int_equal(look(), really.verdict);
    write_note(bl_boot_id(), -1);
    assert_int_equal(truncate(fixture_path("../", "kvm"), 20), 0);
    assert_int_equal(look(), really.verdict);

    /* What the environment says goes before all notes, and is not noted. */
    write_note(bl_boot_id(), -1);
    assert_int_equal(setenv("BOXLITE_QEMU_ACCEL", "tcg", 1), 0);
    assert_int_equal(look(), BL_KVM_REFUSED);
    bl_kvm_note_drop(fixture_runtime);
    assert_int_equal(setenv("BOXLITE_QEMU_ACCEL", "kvm", 1), 0);
    assert_int_equal(look(), BL_KVM_USABLE);
    assert_int_equal(faccessat(fixture_runtime->home_fd, "kvm", F_OK, 0), -1);
    assert_int_equal(unsetenv("BOXLITE_QEMU_ACCEL"), 0);

    /* Something in the way of a note is left alone. */
    assert_int_equal(mkdirat(fixture_runtime->home_fd, "kvm", 0700), 0);
    assert_int_equal(look(), really.verdict);
    assert_int_equal(unlinkat(fixture_runtime->home_fd, "kvm", AT_REMOVEDIR), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_A_RUNTIME(a_note_of_now_is_believed),
        WITH_A_RUNTIME(any_other_note_counts_for_nothing),
    };

    return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
