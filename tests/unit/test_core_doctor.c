/* SPDX-License-Identifier: Apache-2.0 */
/* test_core_doctor.c - what bl_doctor() finds, with the kernel's own errors; and what bl_runtime_gc() takes and leaves */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "core/change.h"
#include "core/doctor.h"
#include "core/names.h"
#include "core_fixture.h"
#include "proto/launch.h"

static time_t clock_ahead_s;

/* In the place of libc's: only time makes a file's change time older. */
time_t time(time_t *out)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    now.tv_sec += clock_ahead_s;
    if (out)
        *out = now.tv_sec;
    return now.tv_sec;
}

/* deny() - From now on the kernel answers a system call of this process and its children with an error. */
static void deny(unsigned int number, unsigned int error)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = sizeof filter / sizeof *filter, .filter = filter};

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0)
        _exit(99);
}

/* in_child() - Run something in a process of its own. Return: its exit code */
static int in_child(int (*act)(unsigned int number, unsigned int error), unsigned int number, unsigned int error)
{
    int status = 0;
    pid_t pid = fork();

    if (pid == 0)
        _exit(act(number, error));
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static int try_denied(unsigned int number, unsigned int error)
{
    int found = 0;

    deny(number, error);

    enum bl_userns_step step = bl_userns_try(&found);

    return found == (int)error ? (int)step : 50;
}

static void each_refusal_of_a_namespace_has_its_hint(void **state)
{
    static const struct {
        unsigned int number, error;
        enum bl_userns_step step;
        const char *hint;
    } rows[] = {
        {SYS_unshare, EPERM, BL_USERNS_MAKE, "kernel.unprivileged_userns_clone=1"},
        {SYS_unshare, EACCES, BL_USERNS_MAKE, "kernel.apparmor_restrict_unprivileged_userns=0"},
        {SYS_unshare, ENOSPC, BL_USERNS_MAKE, "user.max_user_namespaces"},
        {SYS_unshare, EINVAL, BL_USERNS_MAKE, "CONFIG_USER_NS"},
        {SYS_mount, EPERM, BL_USERNS_USE, "AppArmor"},
        {SYS_mount, EACCES, BL_USERNS_USE, "AppArmor"},
    };
    int error = 0;
    bool possible = bl_userns_try(&error) == BL_USERNS_OK;

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const char *hint = bl_userns_hint(rows[i].step, (int)rows[i].error);

        assert_non_null(hint);
        assert_non_null(strstr(hint, rows[i].hint));
        for (size_t k = 0; k < i; k++)
            if (rows[k].step == rows[i].step && rows[i].step == BL_USERNS_MAKE)
                assert_string_not_equal(hint, bl_userns_hint(rows[k].step, (int)rows[k].error));
        /* Where none can be made at all, the first step's error is the host's. */
        if (possible || rows[i].step == BL_USERNS_MAKE)
            assert_int_equal(in_child(try_denied, rows[i].number, rows[i].error), rows[i].step);
    }
    assert_null(bl_userns_hint(BL_USERNS_MAKE, EDOM));
    assert_int_equal(possible ? BL_USERNS_OK : 0, possible ? (int)bl_userns_try(&error) : 0);
}

static int lacks(unsigned int number, unsigned int error)
{
    const char *missing;

    deny(number, error);
    missing = bl_kernel_lacks();
    return missing && strcmp(missing, "openat2") == 0;
}

static void a_kernel_without_a_call_is_told(void **state)
{
    (void)state;
    assert_null(bl_kernel_lacks());
    assert_int_equal(in_child(lacks, SYS_openat2, ENOSYS), 1);
    assert_int_equal(in_child(lacks, SYS_openat2, EPERM), 0);
}

struct said {
    char text[8192];
    int attentions;
};

static void note(const struct bl_finding *finding, void *data)
{
    struct said *said = data;
    size_t length = strlen(said->text);

    /* What the machine itself has is not what these tests are about. */
    if (strcmp(finding->check, "engine") == 0 || strcmp(finding->check, "guest") == 0 || strcmp(finding->check, "kvm") == 0 ||
        strcmp(finding->check, "space") == 0)
        return;
    said->attentions += finding->level == BL_LEVEL_ATTENTION;
    snprintf(said->text + length, sizeof said->text - length, "%s: %s\n%s\n", finding->check, finding->text,
             finding->hint ? finding->hint : "");
}

static struct said examine(const char *home)
{
    struct said said = {0};

    bl_doctor(home, note, &said);
    return said;
}

static void says(const struct said *said, const char *words)
{
    if (!strstr(said->text, words))
        fail_msg("'%s' is not said:\n%s", words, said->text);
}

static void a_healthy_home_needs_nothing(void **state)
{
    char id[BL_BOX_ID_LENGTH + 1];
    struct said said;

    (void)state;
    fixture_box(fixture_runtime, NULL, true, id);
    fixture_start(fixture_runtime, id);
    said = examine(fixture_home);
    if (said.attentions)
        fail_msg("%s", said.text);
    says(&said, "its locks work");
    says(&said, "boxes: 1, and the state of each can be told");
    says(&said, "leftovers: none");
    assert_int_equal(bl_box_remove(fixture_runtime, id, true, NULL), 0);
}

static void a_home_that_can_not_be_one(void **state)
{
    struct said said = examine("/proc/nothing");

    (void)state;
    assert_int_equal(said.attentions, 1);
    says(&said, "home: make the BoxLite home /proc/nothing");
    assert_null(strstr(said.text, "boxes:"));
}

static void boxes_in_trouble_are_named(void **state)
{
    char lockless[BL_BOX_ID_LENGTH + 1], lost[BL_BOX_ID_LENGTH + 1], held[BL_BOX_ID_LENGTH + 1];
    struct said said;

    (void)state;
    fixture_box(fixture_runtime, "lockless", true, lockless);
    fixture_box(fixture_runtime, NULL, true, lost);
    fixture_box(fixture_runtime, NULL, true, held);

    pid_t pid = fixture_start(fixture_runtime, lockless);
    struct holder holder = hold_ofd(held, BL_FILE_OVERLAY, F_RDLCK, 100, 1);

    assert_int_equal(bl_remove_tree(fixture_runtime->boxes_fd, lost), 0);
    said = examine(fixture_home);
    assert_int_equal(said.attentions, 3);
    says(&said, "has lost its lock");
    says(&said, "has lost its files");
    says(&said, "something still writes its disk");
    let_go(&holder);
    assert_int_equal(bl_box_remove(fixture_runtime, lost, false, NULL), 0);
    assert_int_equal(bl_box_remove(fixture_runtime, held, false, NULL), 0);
    assert_int_equal(bl_box_remove(fixture_runtime, lockless, true, NULL), 0);
    fixture_wait_gone(pid);
    assert_int_equal(examine(fixture_home).attentions, 0);
}

/* in_home() - A file or directory (when @text is NULL) below the home. */
static void in_home(const char *path, const char *text)
{
    char whole[256];

    snprintf(whole, sizeof whole, "%s/%s", fixture_home, path);
    if (!text) {
        assert_int_equal(mkdir(whole, 0700), 0);
        return;
    }

    cleanup_close int fd = open(whole, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    assert_int_equal(bl_write_all(fd, text, strlen(text)), 0);
}

static bool is_there(const char *path)
{
    return faccessat(fixture_runtime->home_fd, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static void list_leftover(const struct bl_leftover *leftover, void *data)
{
    struct said *said = data;
    size_t length = strlen(said->text);

    said->attentions++;
    snprintf(said->text + length, sizeof said->text - length, "%s\n", leftover->path);
}

static struct said collect(bool dry_run)
{
    struct said said = {0};

    assert_int_equal(bl_runtime_gc(fixture_runtime, dry_run, list_leftover, &said, NULL), 0);
    return said;
}

static void what_nothing_owns_is_found_and_removed(void **state)
{
    char dead[BL_BOX_ID_LENGTH + 1], alive[BL_BOX_ID_LENGTH + 1], path[128];
    struct said said;

    (void)state;
    fixture_box(fixture_runtime, NULL, true, dead);
    fixture_box(fixture_runtime, NULL, true, alive);
    fixture_start(fixture_runtime, alive);
    fixture_kill(fixture_start(fixture_runtime, dead));
    in_home("boxes/aaaaaaaaaaaa", NULL);
    in_home("boxes/aaaaaaaaaaaa/lifecycle.lock", "");
    in_home("boxes/aaaaaaaaaaaa/big", "what a creation had written");
    in_home("boxes/not-an-id", NULL);
    in_home("images/partial/0123456789abcdef", "half a disk");
    in_home("images/partial/fedcba9876543210", "another, whose writer lives");

    cleanup_close int writer = openat(fixture_runtime->home_fd, "images/partial/fedcba9876543210", O_RDWR | O_CLOEXEC);

    assert_int_equal(flock(writer, LOCK_EX), 0);
    for (int turn = 0; turn < 2; turn++) {
        said = collect(turn == 0);
        assert_int_equal(said.attentions, 4); /* of the dead one: its socket and shim.pid */
        says(&said, "boxes/aaaaaaaaaaaa\n");
        says(&said, "images/partial/0123456789abcdef\n");
        snprintf(path, sizeof path, "boxes/%s/control.sock\n", dead);
        says(&said, path);
        path[strlen(path) - 1] = '\0';
        assert_int_equal(is_there(path), turn == 0);
        assert_int_equal(is_there("boxes/aaaaaaaaaaaa/big"), turn == 0);
        assert_int_equal(is_there("images/partial/0123456789abcdef"), turn == 0);
    }
    assert_int_equal(collect(true).attentions, 0);
    assert_true(is_there("images/partial/fedcba9876543210"));
    assert_true(is_there("boxes/not-an-id"));
    assert_int_equal(rmdir(fixture_path("not-an-id", "")), 0);
    assert_int_equal(unlinkat(fixture_runtime->home_fd, "images/partial/fedcba9876543210", 0), 0);
    snprintf(path, sizeof path, "boxes/%s/control.sock", alive);
    assert_true(is_there(path));
    assert_int_equal(bl_box_remove(fixture_runtime, dead, false, NULL), 0);
    assert_int_equal(bl_box_remove(fixture_runtime, alive, true, NULL), 0);
}

/* What somebody works on is nobody's leaving, however it looks. */
static void what_is_locked_is_left(void **state)
{
    struct holder holder;

    (void)state;
    in_home("boxes/bbbbbbbbbbbb", NULL);
    in_home("boxes/bbbbbbbbbbbb/lifecycle.lock", "");
    holder = hold_ofd("bbbbbbbbbbbb", BL_FILE_LIFECYCLE_LOCK, F_WRLCK, 0, 0);
    assert_int_equal(collect(true).attentions, 0);
    assert_int_equal(collect(false).attentions, 0);
    assert_true(is_there("boxes/bbbbbbbbbbbb"));
    let_go(&holder);
    assert_int_equal(collect(false).attentions, 1);
    assert_false(is_there("boxes/bbbbbbbbbbbb"));
}

/* A disk that no image has any more, once it is old enough that no box can be about to take it. */
static void a_disk_of_no_image(void **state)
{
    char path[128] = "images/disks/";

    (void)state;
    memset(path + strlen(path), 'c', 64);
    strcat(path, ".ext4");
    in_home(path, "a disk");
    assert_int_equal(collect(true).attentions, 0);
    clock_ahead_s = 3600;
    assert_int_equal(collect(true).attentions, 1);
    assert_true(is_there(path));
    assert_int_equal(collect(false).attentions, 1);
    assert_false(is_there(path));
    clock_ahead_s = 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_refusal_of_a_namespace_has_its_hint),
        cmocka_unit_test(a_kernel_without_a_call_is_told),
        WITH_A_RUNTIME(a_healthy_home_needs_nothing),
        WITH_A_RUNTIME(a_home_that_can_not_be_one),
        WITH_A_RUNTIME(boxes_in_trouble_are_named),
        WITH_A_RUNTIME(what_nothing_owns_is_found_and_removed),
        WITH_A_RUNTIME(what_is_locked_is_left),
        WITH_A_RUNTIME(a_disk_of_no_image),
    };

    return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
