/* SPDX-License-Identifier: Apache-2.0 */
/* test_core_identity.c - ids, names, and which process is a box's shim */
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "core/identity.h"
#include "core/names.h"

static void ids_are_random_base62(void **state)
{
    char ids[100][BL_BOX_ID_LENGTH + 1];

    (void)state;
    for (int i = 0; i < 100; i++) {
        assert_int_equal(bl_box_id_make(ids[i]), 0);
        assert_true(bl_box_id_valid(ids[i]));
        for (int before = 0; before < i; before++)
            assert_string_not_equal(ids[i], ids[before]);
    }
    assert_false(bl_box_id_valid(""));
    assert_false(bl_box_id_valid("0123456789a"));
    assert_false(bl_box_id_valid("0123456789abc"));
    assert_false(bl_box_id_valid("0123456789a."));
    assert_false(bl_box_id_valid("../456789abc"));
}

static void names_keep_their_rule(void **state)
{
    static const char *const good[] = {"a", "0", "web-1", "A.b_c", "x--"};
    static const char *const bad[] = {"", "-a", ".a", "_a", "a b", "a/b", "a\n", "b\303\266x", "a:b"};
    char name[BL_BOX_NAME_MAX + 2];
    struct bl_error err = BL_ERROR_INIT;

    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_int_equal(bl_box_name_check(good[i], &err), 0);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(bl_box_name_check(bad[i], &err), -1);
        assert_int_equal(err.code, BL_INVALID_ARGUMENT);
    }
    memset(name, 'a', sizeof name);
    name[BL_BOX_NAME_MAX] = '\0';
    assert_int_equal(bl_box_name_check(name, &err), 0);
    name[BL_BOX_NAME_MAX] = 'a';
    name[BL_BOX_NAME_MAX + 1] = '\0';
    assert_int_equal(bl_box_name_check(name, &err), -1);
}

/* A process with a command line of our choice, alive until let_go(). */
struct stand_in {
    pid_t pid;
    int input;
};

static struct stand_in start(const char *const *argv)
{
    int input[2], executed[2];
    struct stand_in made;
    char byte;

    assert_int_equal(pipe2(input, O_CLOEXEC), 0);
    assert_int_equal(pipe2(executed, O_CLOEXEC), 0);
    made.pid = fork();
    if (made.pid == 0) {
        dup2(input[0], STDIN_FILENO);
        setenv("STAND_IN_PAUSE", "1", 1);
        execv(STAND_IN_SHIM, (char *const *)(uintptr_t)argv);
        _exit(127);
    }
    close(input[0]);
    close(executed[1]);
    /* The end of this pipe is the moment of the exec: from then on its command line is the one that we gave. */
    assert_int_equal(read(executed[0], &byte, 1), 0);
    close(executed[0]);
    made.input = input[1];
    return made;
}

static void end(struct stand_in *made)
{
    int status;

    /* It was alive all the time, and ends because we let it. */
    assert_int_equal(waitpid(made->pid, &status, WNOHANG), 0);
    close(made->input);
    assert_int_equal(waitpid(made->pid, &status, 0), made->pid);
    assert_int_equal(status, 0);
}

static void one_argument_must_equal_the_id(void **state)
{
    const char *const argv[] = {"/opt/boxlite/boxlite-shim", "box-10", NULL};
    struct stand_in shim = start(argv);

    (void)state;
    assert_int_equal(bl_is_same_process(shim.pid, "box-10"), BL_IDENTITY_SAME);
    assert_int_equal(bl_is_same_process(shim.pid, "box-1"), BL_IDENTITY_OTHER);
    assert_int_equal(bl_is_same_process(shim.pid, "box-100"), BL_IDENTITY_OTHER);
    assert_int_equal(bl_is_same_process(shim.pid, "totally-different-id"), BL_IDENTITY_OTHER);
    assert_int_equal(bl_is_same_process(shim.pid, "boxlite-shim"), BL_IDENTITY_OTHER);
    assert_int_equal(bl_is_same_process(shim.pid, ""), BL_IDENTITY_OTHER);
    end(&shim);
}

static void other_command_lines_are_other_processes(void **state)
{
    static const char *const lines[][4] = {
        {"boxlite-shim", "--id=box-10", NULL},
        {"boxlite", "exec", "box-10", NULL},
        {"/usr/bin/boxlite-shim-x", "box-10", NULL},
        {"/opt/boxlite-shim/other", "box-10", NULL},
        {"boxlite-net", "box-10", NULL},
        {"boxlite-shim", NULL},
        {"box-10", NULL},
        {"boxlite-shim", "", NULL},
    };
    static const char *const accepted[] = {"boxlite-shim", "--later", "box-10", NULL};

    (void)state;
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        struct stand_in other = start(lines[i]);

        assert_int_equal(bl_is_same_process(other.pid, "box-10"), BL_IDENTITY_OTHER);
        assert_int_equal(bl_is_same_process(other.pid, ""), BL_IDENTITY_OTHER);
        end(&other);
    }

    struct stand_in later = start(accepted);

    assert_int_equal(bl_is_same_process(later.pid, "box-10"), BL_IDENTITY_SAME);
    end(&later);
}

static void zombies_and_nobody_are_not_alive(void **state)
{
    const char *const argv[] = {"boxlite-shim", "box-10", NULL};
    struct stand_in shim = start(argv);
    siginfo_t info;

    (void)state;
    assert_int_equal(bl_is_same_process(shim.pid, "box-10"), BL_IDENTITY_SAME);
    close(shim.input);
    assert_int_equal(waitid(P_PID, (id_t)shim.pid, &info, WEXITED | WNOWAIT), 0);
    assert_int_equal(bl_is_same_process(shim.pid, "box-10"), BL_IDENTITY_OTHER);
    assert_int_equal(waitpid(shim.pid, NULL, 0), shim.pid);
    assert_int_equal(bl_is_same_process(shim.pid, "box-10"), BL_IDENTITY_OTHER);
    assert_int_equal(bl_is_same_process(0, "box-10"), BL_IDENTITY_OTHER);
    assert_int_equal(bl_is_same_process(-1, "box-10"), BL_IDENTITY_OTHER);
}

static void start_time_and_boot_overrule_looks(void **state)
{
    const char *const argv[] = {"boxlite-shim", "box-10", NULL};
    struct stand_in shim = start(argv);
    struct bl_process process = {.pid = shim.pid};

    (void)state;
    assert_int_equal(bl_process_check(&process, "box-10"), BL_IDENTITY_SAME); /* nothing recorded: its looks decide */
    assert_int_equal(bl_process_start_ticks(shim.pid, &process.start_ticks, NULL), 0);
    assert_int_equal(strlen(bl_boot_id()), BL_BOOT_ID_LENGTH);
    strcpy(process.boot_id, bl_boot_id());
    assert_int_equal(bl_process_check(&process, "box-10"), BL_IDENTITY_SAME);
    assert_int_equal(bl_process_check(&process, "box-1"), BL_IDENTITY_OTHER);
    process.start_ticks--;
    assert_int_equal(bl_process_check(&process, "box-10"), BL_IDENTITY_OTHER);
    process.start_ticks++;
    process.boot_id[0] = process.boot_id[0] == 'a' ? 'b' : 'a';
    assert_int_equal(bl_process_check(&process, "box-10"), BL_IDENTITY_OTHER);
    end(&shim);
}

static void a_name_with_parentheses_does_not_confuse_the_start_time(void **state)
{
    char before[32] = "", name[] = ") R 1 1 (";
    uint64_t plain = 0, odd = 0;
    char letter = 0;

    (void)state;
    assert_int_equal(bl_process_start_ticks(getpid(), &plain, NULL), 0);
    cleanup_close int comm = open("/proc/self/comm", O_RDWR | O_CLOEXEC);
    assert_true(read(comm, before, sizeof before - 1) > 0);
    assert_true(write(comm, name, strlen(name)) > 0);
    assert_int_equal(bl_process_start_ticks(getpid(), &odd, &letter), 0);
    assert_true(plain == odd && plain > 0);
    assert_int_equal(letter, 'R');
}

static void shim_pid_is_three_lines_or_nothing(void **state)
{
    static const char *const bad[] = {
        "",
        "12",
        "12\n",
        "12\n34\n",
        "12\n34\nboot",
        "12\n34\nboot\nmore\n",
        "-1\n34\nboot\n",
        "0\n34\nboot\n",
        "x\n34\nboot\n",
        "12\n-3\nboot\n",
        "12 \n34\nboot\n",
        "99999999999\n34\nboot\n",
        "12\n34\n0123456789012345678901234567890123456\n",
    };
    struct bl_process process = {0};

    (void)state;
    assert_int_equal(bl_process_parse("12\n34\n01234567-89ab-cdef-0123-456789abcdef\n", &process), 0);
    assert_int_equal(process.pid, 12);
    assert_int_equal(process.start_ticks, 34);
    assert_string_equal(process.boot_id, "01234567-89ab-cdef-0123-456789abcdef");
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(bl_process_parse(bad[i], &process), -1);
    assert_int_equal(process.pid, 12); /* untouched */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids_are_random_base62),
        cmocka_unit_test(names_keep_their_rule),
        cmocka_unit_test(one_argument_must_equal_the_id),
        cmocka_unit_test(other_command_lines_are_other_processes),
        cmocka_unit_test(zombies_and_nobody_are_not_alive),
        cmocka_unit_test(start_time_and_boot_overrule_looks),
        cmocka_unit_test(a_name_with_parentheses_does_not_confuse_the_start_time),
        cmocka_unit_test(shim_pid_is_three_lines_or_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
