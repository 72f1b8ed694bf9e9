/* SPDX-License-Identifier: Apache-2.0 */
/* test_core_reaper.c - children that end, in every order, with nobody else's exit code stolen */
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "core/reaper.h"

#define CHILDREN 16
#define WAIT_MS  120000

/* A child that lives until its pipe is closed, and then exits with a code (or dies of a signal, when it is negative). */
struct made {
    pid_t pid;
    int pidfd, hold;
};

static struct made make(int code)
{
    struct made made;
    int hold[2];
    char byte;

    assert_int_equal(pipe(hold), 0);
    made.pid = fork();
    if (made.pid == 0) {
        /* Copies of other children's pipes would keep those alive. */
        for (int fd = 3; fd < 256; fd++)
            if (fd != hold[0])
                close(fd);
        while (read(hold[0], &byte, 1) < 0)
            ;
        if (code < 0)
            raise(-code);
        _exit(code);
    }
    close(hold[0]);
    made.hold = hold[1];
    made.pidfd = (int)syscall(SYS_pidfd_open, made.pid, 0);
    assert_true(made.pidfd >= 0);
    return made;
}

static void finish(struct made *made)
{
    struct pollfd ended = {.fd = made->pidfd, .events = POLLIN};

    bl_close_fd(&made->hold);
    assert_int_equal(poll(&ended, 1, WAIT_MS), 1);
}

static struct bl_reaper *make_reaper(void)
{
    struct bl_reaper *reaper = NULL;

    assert_int_equal(bl_reaper_new(&reaper, NULL), 0);
    return reaper;
}

/* no_children() - Nothing is left to wait for, zombies included. */
static void no_children(void)
{
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
}

static void the_status_is_kept_for_its_owner(void **state)
{
    struct bl_reaper *reaper = make_reaper();
    struct made exits = make(42), dies = make(-SIGTERM);
    struct bl_child *one = bl_reaper_register(reaper, exits.pid, exits.pidfd, NULL);
    struct bl_child *two = bl_reaper_register(reaper, dies.pid, dies.pidfd, NULL);
    int status = 0;

    (void)state;
    assert_int_equal(bl_child_status(reaper, one, &status), BL_CHILD_ALIVE);
    finish(&exits);
    finish(&dies);
    assert_int_equal(bl_child_status(reaper, one, &status), BL_CHILD_ENDED);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 42);
    assert_int_equal(bl_child_status(reaper, two, &status), BL_CHILD_ENDED);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
    assert_int_equal(bl_child_status(reaper, two, &status), BL_CHILD_ENDED); /* asked again, told again */
    assert_int_equal(bl_reaper_count(reaper), 2);
    bl_child_release(reaper, one);
    bl_child_release(reaper, two);
    assert_int_equal(bl_reaper_count(reaper), 0);
    close(exits.pidfd);
    close(dies.pidfd);
    bl_reaper_free(reaper);
    no_children();
}

/* wait_reaped() - Until the thread has reaped a child that nobody owns. */
static void wait_reaped(const struct made *made)
{
    /* A pidfd tells the end, not the reaping; but a process that was reaped has no entry to be signalled. */
    while (syscall(SYS_pidfd_send_signal, made->pidfd, 0, NULL, 0) == 0)
        sched_yield();
}

static void released_children_are_reaped_all_the_same(void **state)
{
    struct bl_reaper *reaper = make_reaper();
    struct made children[CHILDREN];

    (void)state;
    for (int i = 0; i < CHILDREN; i++) {
        children[i] = make(i);
        bl_child_release(reaper, bl_reaper_register(reaper, children[i].pid, children[i].pidfd, NULL));
    }
    assert_int_equal(bl_reaper_count(reaper), CHILDREN);
    for (int i = 0; i < CHILDREN; i++)
        finish(&children[i]);
    for (int i = 0; i < CHILDREN; i++) {
        wait_reaped(&children[i]);
        close(children[i].pidfd);
    }
    no_children();
    bl_reaper_free(reaper);
}

static void only_registered_children_are_reaped(void **state)
{
    struct bl_reaper *reaper = make_reaper();
    /* Strangers older and younger than ours: a wait for any child would meet one of them. */
    struct made older = make(7), ours = make(1), younger = make(8);
    struct bl_child *child = bl_reaper_register(reaper, ours.pid, ours.pidfd, NULL);
    int status;

    (void)state;
    finish(&older);
    finish(&younger);
    finish(&ours);
    assert_int_equal(bl_child_status(reaper, child, &status), BL_CHILD_ENDED);
    assert_int_equal(WEXITSTATUS(status), 1);
    assert_int_equal(waitpid(older.pid, &status, 0), older.pid);
    assert_int_equal(WEXITSTATUS(status), 7);
    assert_int_equal(waitpid(younger.pid, &status, 0), younger.pid);
    assert_int_equal(WEXITSTATUS(status), 8);
    bl_child_release(reaper, child);
    close(ours.pidfd);
    close(older.pidfd);
    close(younger.pidfd);
    bl_reaper_free(reaper);
    no_children();
}

static void a_child_that_somebody_else_reaped_is_lost(void **state)
{
    struct made child = make(3);
    struct bl_reaper *reaper = make_reaper();

    (void)state;
    /* Registered only after it was reaped, so that the thread can't be faster; its pidfd outlives it. */
    finish(&child);
    assert_int_equal(waitpid(child.pid, NULL, 0), child.pid);

    struct bl_child *handle = bl_reaper_register(reaper, child.pid, child.pidfd, NULL);

    assert_int_equal(bl_child_status(reaper, handle, NULL), BL_CHILD_LOST);
    bl_child_release(reaper, handle);
    assert_int_equal(bl_reaper_count(reaper), 0);
    close(child.pidfd);
    bl_reaper_free(reaper);
    no_children();
}

static void registering_twice_is_one_child(void **state)
{
    struct bl_reaper *reaper = make_reaper();
    struct made child = make(5);
    struct bl_child *one = bl_reaper_register(reaper, child.pid, child.pidfd, NULL);
    struct bl_child *two = bl_reaper_register(reaper, child.pid, child.pidfd, NULL);
    int status = 0;

    (void)state;
    assert_int_equal(bl_reaper_count(reaper), 1);
    bl_child_release(reaper, one);

    /* And once more after its release. */
    struct bl_child *three = bl_reaper_register(reaper, child.pid, child.pidfd, NULL);

    bl_child_release(reaper, two);
    finish(&child);
    assert_int_equal(bl_child_status(reaper, three, &status), BL_CHILD_ENDED);
    assert_int_equal(WEXITSTATUS(status), 5);
    bl_child_release(reaper, three);
    assert_int_equal(bl_reaper_count(reaper), 0);
    close(child.pidfd);
    bl_reaper_free(reaper);
    no_children();
}

static void *shut_down(void *reaper)
{
    bl_reaper_shutdown(reaper);
    return NULL;
}

static void shutdown_from_four_threads_waits_for_no_child(void **state)
{
    struct bl_reaper *reaper = make_reaper();
    struct made child = make(0);
    struct bl_child *handle = bl_reaper_register(reaper, child.pid, child.pidfd, NULL);
    struct bl_error err = BL_ERROR_INIT;
    pthread_t threads[4];

    (void)state;
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, shut_down, reaper), 0);
    for (size_t i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    bl_reaper_shutdown(reaper);
    assert_null(bl_reaper_register(reaper, child.pid, child.pidfd, &err));
    /* The child lives, and its owner can still ask. */
    assert_int_equal(bl_child_status(reaper, handle, NULL), BL_CHILD_ALIVE);
    finish(&child);
    assert_int_equal(bl_child_status(reaper, handle, NULL), BL_CHILD_ENDED);
    bl_child_release(reaper, handle);
    close(child.pidfd);
    bl_reaper_free(reaper);
    no_children();
}

/* The thread may be late, or over: who waits for an end reaps. */
static void who_awaits_an_end_sees_no_zombie(void **state)
{
    struct bl_reaper *reaper = make_reaper();
    struct made child = make(0), lives = make(0);

    (void)state;
    bl_child_release(reaper, bl_reaper_register(reaper, child.pid, child.pidfd, NULL));
    bl_child_release(reaper, bl_reaper_register(reaper, lives.pid, lives.pidfd, NULL));
    bl_reaper_shutdown(reaper);
    bl_close_fd(&child.hold);
    bl_reaper_await(reaper, child.pid, bl_deadline_in(WAIT_MS));
    assert_int_equal(kill(child.pid, 0), -1);
    assert_int_equal(bl_reaper_count(reaper), 1);
    /* One that lives is left, and a process that is not watched is not waited for. */
    bl_reaper_await(reaper, lives.pid, bl_deadline_in(0));
    bl_reaper_await(reaper, getpid(), BL_NEVER);
    assert_int_equal(bl_reaper_count(reaper), 1);
    finish(&lives);
    close(child.pidfd);
    close(lives.pidfd);
    bl_reaper_free(reaper);
    no_children();
}

static void the_thread_hears_no_signal(void **state)
{
    struct bl_reaper *reaper = make_reaper();
    struct made child = make(0), first = make(0);
    struct bl_child *handle = bl_reaper_register(reaper, child.pid, child.pidfd, NULL);
    sigset_t set;
    siginfo_t info;
    const struct timespec soon = {.tv_sec = 60};

    (void)state;
    /* A new thread has all signals blocked for a moment: one that reaped a child is past that. */
    bl_child_release(reaper, bl_reaper_register(reaper, first.pid, first.pidfd, NULL));
    finish(&first);
    wait_reaped(&first);
    close(first.pidfd);

    /* Blocked in this thread, a signal to the process could only go to the reaper's: it must stay pending. */
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    assert_int_equal(kill(getpid(), SIGUSR1), 0);
    assert_int_equal(sigtimedwait(&set, &info, &soon), SIGUSR1);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    finish(&child);
    bl_child_release(reaper, handle);
    close(child.pidfd);
    bl_reaper_free(reaper);
    no_children();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_status_is_kept_for_its_owner),    cmocka_unit_test(released_children_are_reaped_all_the_same),
        cmocka_unit_test(only_registered_children_are_reaped), cmocka_unit_test(a_child_that_somebody_else_reaped_is_lost),
        cmocka_unit_test(registering_twice_is_one_child),      cmocka_unit_test(shutdown_from_four_threads_waits_for_no_child),
        cmocka_unit_test(the_thread_hears_no_signal),          cmocka_unit_test(who_awaits_an_end_sees_no_zombie),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
