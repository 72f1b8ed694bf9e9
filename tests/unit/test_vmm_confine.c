/* SPDX-License-Identifier: Apache-2.0 */
/* test_vmm_confine.c - what threads of our own monitor can still do; each is tried in a child, which is bound for good */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "vmm/kvm/confine.h"

#define NOT_CONFINED 99

/* What a child tries; a file that can be read and written is on descriptor 9. Raw system calls: no library gets in between. */
static int write_something(void)
{
    return syscall(SYS_write, 9, "x", 1) == 1 ? 0 : errno;
}

static int read_at_an_offset(void)
{
    char byte;

    return syscall(SYS_pread64, 9, &byte, 1, 0) >= 0 ? 0 : errno;
}

static int open_a_file(void)
{
    return syscall(SYS_openat, AT_FDCWD, "/dev/null", O_RDONLY) >= 0 ? 0 : errno;
}

static int run_a_program(void)
{
    static char name[] = "true";
    char *const arguments[] = {name, NULL};

    return syscall(SYS_execve, "/bin/true", arguments, arguments + 1) == 0 ? 0 : errno;
}

static int open_a_socket(void)
{
    return syscall(SYS_socket, AF_INET, SOCK_STREAM, 0) >= 0 ? 0 : errno;
}

/* On a file, both fail with ENOTTY once the filter lets them through. */
static int run_a_guest(void)
{
    return syscall(SYS_ioctl, 9, KVM_RUN, 0) == 0 ? 0 : errno;
}

static int create_a_machine(void)
{
    return syscall(SYS_ioctl, 9, KVM_CREATE_VM, 0) == 0 ? 0 : errno;
}

static int read_a_processor(void)
{
    return syscall(SYS_ioctl, 9, KVM_GET_LAPIC, 0) == 0 ? 0 : errno;
}

static int change_a_processor(void)
{
    return syscall(SYS_ioctl, 9, KVM_SET_REGS, 0) == 0 ? 0 : errno;
}

static int use_other_numbers(void)
{
    return syscall(0x40000000 | SYS_write, 9, "x", 1) == 1 ? 0 : errno;
}

static volatile sig_atomic_t signals;

static void on_signal(int number)
{
    (void)number;
    signals = signals + 1;
}

/* grow_and_shrink() - The heap, blocks of their own, and a thread's own arena. Return: 0, or 1 */
static int grow_and_shrink(void)
{
    void *blocks[32];
    int failed = 0;

    for (size_t i = 0; i < 32; i++) {
        blocks[i] = malloc((size_t)1 << (8 + i % 16));
        failed |= !blocks[i];
        if (blocks[i])
            memset(blocks[i], 1, (size_t)1 << (8 + i % 16));
    }
    for (size_t i = 0; i < 32; i++) {
        void *more = realloc(blocks[i], (size_t)4 << (8 + i % 16));

        failed |= !more;
        free(more ? more : blocks[i]);
    }
    return failed;
}

/* use_the_library() - What any code may do on its way to an error: memory, locks, time, a signal, and a line in the log. */
static int use_the_library(void)
{
    struct timespec now;
    struct tm utc;
    char stamp[40], line[120];
    pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    pthread_cond_t never = PTHREAD_COND_INITIALIZER;

    if (grow_and_shrink() || clock_gettime(CLOCK_REALTIME, &now) < 0 || syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &now) < 0)
        return 1;
    clock_gettime(CLOCK_REALTIME, &now);
    pthread_mutex_lock(&lock);
    if (pthread_cond_timedwait(&never, &lock, &now) != ETIMEDOUT)
        return 2;
    pthread_mutex_unlock(&lock);
    pthread_kill(pthread_self(), SIGUSR1);
    if (signals != 1)
        return 3;
    gmtime_r(&now.tv_sec, &utc);
    if (!strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%S", &utc) ||
        snprintf(line, sizeof line, "%s %s %.1f\n", stamp, strerror(EIO), 1.5) < 0 || write(9, line, strlen(line)) < 0)
        return 4;
    sched_yield();
    return 0;
}

/* The address sanitizer would ask for the signal stack first, which is no call of the library's. */
__attribute__((no_sanitize("address"))) static int give_up_by_assertion(void)
{
    __assert_fail("false", __FILE__, __LINE__, __func__);
}

/* outcome() - Return: what a confined child's attempt came to: 0, an errno, or minus the signal that ended it */
static int outcome(enum bl_thread_kind kind, int (*attempt)(void))
{
    char path[] = "/tmp/confine-XXXXXX";
    int fd = mkstemp(path), status;
    pid_t pid;

    assert_true(fd >= 0);
    unlink(path);
    pid = fork();
    if (pid == 0) {
        struct bl_error err = BL_ERROR_INIT;

        dup2(fd, 9);
        dup2(fd, STDERR_FILENO);
        sigaction(SIGUSR1, &(struct sigaction){.sa_handler = on_signal}, NULL);
        tzset(); /* reads a file at the first time; a host process has logged something by then */
        if (bl_confine_thread(kind, &err) < 0)
            _exit(NOT_CONFINED);
        syscall(SYS_exit_group, attempt());
    }
    close(fd);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

static void threads_have_what_they_need_and_nothing_else(void **state)
{
    (void)state;
    assert_int_equal(outcome(BL_THREAD_CPU, write_something), 0);
    assert_int_equal(outcome(BL_THREAD_CPU, run_a_guest), ENOTTY);
    assert_int_equal(outcome(BL_THREAD_CPU, create_a_machine), -SIGSYS);
    assert_int_equal(outcome(BL_THREAD_CPU, read_at_an_offset), -SIGSYS);
    assert_int_equal(outcome(BL_THREAD_CPU, open_a_file), -SIGSYS);
    assert_int_equal(outcome(BL_THREAD_CPU, run_a_program), -SIGSYS);
    assert_int_equal(outcome(BL_THREAD_CPU, use_other_numbers), -SIGSYS);

    assert_int_equal(outcome(BL_THREAD_DISK, write_something), 0);
    assert_int_equal(outcome(BL_THREAD_DISK, read_at_an_offset), 0);
    assert_int_equal(outcome(BL_THREAD_DISK, run_a_guest), -SIGSYS);
    assert_int_equal(outcome(BL_THREAD_DISK, open_a_file), -SIGSYS);
    assert_int_equal(outcome(BL_THREAD_DISK, open_a_socket), -SIGSYS);

    assert_int_equal(outcome(BL_THREAD_LOOP, write_something), 0);
    assert_int_equal(outcome(BL_THREAD_LOOP, open_a_file), 0);
    assert_int_equal(outcome(BL_THREAD_LOOP, open_a_socket), EPERM);
    assert_int_equal(outcome(BL_THREAD_LOOP, run_a_program), EPERM);
    assert_int_equal(outcome(BL_THREAD_LOOP, run_a_guest), EPERM);
    assert_int_equal(outcome(BL_THREAD_LOOP, read_a_processor), ENOTTY);
    assert_int_equal(outcome(BL_THREAD_LOOP, change_a_processor), EPERM);
    assert_int_equal(outcome(BL_THREAD_CPU, read_a_processor), -SIGSYS);
    assert_int_equal(outcome(BL_THREAD_LOOP, use_other_numbers), -SIGSYS);
}

/* A call that is missing from a filter ends the process where it should have said what is wrong. */
static void threads_can_use_the_library(void **state)
{
    static const enum bl_thread_kind kinds[] = {BL_THREAD_CPU, BL_THREAD_DISK, BL_THREAD_LOOP};

    (void)state;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        assert_int_equal(outcome(kinds[i], use_the_library), 0);
        assert_int_equal(outcome(kinds[i], give_up_by_assertion), -SIGABRT);
    }
}

static void files_outside_are_out_of_reach(void **state)
{
    char folder[] = "/tmp/confine-XXXXXX";
    int status;
    pid_t pid;

    (void)state;
    assert_non_null(mkdtemp(folder));
    pid = fork();
    if (pid == 0) {
        struct bl_error err = BL_ERROR_INIT;
        int dir_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC), done = bl_confine_files(dir_fd, &err);

        if (done < 0)
            _exit(NOT_CONFINED);
        if (done == 0)
            _exit(0); /* a kernel without Landlock */
        if (openat(dir_fd, "inside", O_RDWR | O_CREAT | O_CLOEXEC, 0600) < 0 || renameat(dir_fd, "inside", dir_fd, "renamed") < 0 ||
            unlinkat(dir_fd, "renamed", 0) < 0)
            _exit(1);
        if (open("/etc/passwd", O_RDONLY | O_CLOEXEC) >= 0 || errno != EACCES)
            _exit(2);
        if (mknodat(dir_fd, "device", S_IFCHR | 0600, 0) == 0)
            _exit(3);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    assert_int_equal(rmdir(folder), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_have_what_they_need_and_nothing_else),
        cmocka_unit_test(threads_can_use_the_library),
        cmocka_unit_test(files_outside_are_out_of_reach),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
