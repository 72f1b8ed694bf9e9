/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_core_embedding.c - the runtime in a program that has children, signal handlers and waits of its own
 *
 * The program's children keep their exit codes whatever the library does, the library's starts and stops end whatever the program
 * does with SIGCHLD, and shims that die while they start, and whom nobody waits for, leave no zombie.
 */
#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "core/reaper.h"
#include "core_fixture.h"
#include "proto/launch.h"

#define AT_ONCE  8
#define ROUNDS   20
#define CHILDREN 16
#define IDLE_MS  10000 /* how long an idle reaper is watched */

/* zombies() - Children of ours that ended and were not reaped. */
static int zombies(void)
{
    DIR *dir = opendir("/proc");
    int count = 0;

    assert_non_null(dir);
    for (struct dirent *entry; (entry = readdir(dir));) {
        char path[300], text[512];
        char state = 0;
        int parent = 0;

        snprintf(path, sizeof path, "/proc/%s/stat", entry->d_name);

        FILE *file = *entry->d_name >= '1' && *entry->d_name <= '9' ? fopen(path, "re") : NULL;

        if (!file)
            continue;

        const char *after = fgets(text, sizeof text, file) ? strrchr(text, ')') : NULL;

        if (after && sscanf(after, ") %c %d", &state, &parent) == 2)
            count += state == 'Z' && parent == getpid();
        fclose(file);
    }
    closedir(dir);
    return count;
}

/* expect_reaped() - The reaper's thread comes by in its own time: until then nothing announces it to us. */
static void expect_reaped(struct bl_runtime *runtime)
{
    int64_t deadline = bl_deadline_in(WAIT_MS);
    const struct timespec moment = {.tv_nsec = 1000000};

    while (zombies() || bl_reaper_count(runtime->reaper)) {
        assert_true(bl_deadline_left(deadline) > 0);
        nanosleep(&moment, NULL);
    }
}

struct starter {
    struct bl_runtime *runtime;
    char id[BL_BOX_ID_LENGTH + 1];
    int result;
};

static void *start_one(void *data)
{
    struct starter *starter = data;

    starter->result = bl_box_start(starter->runtime, starter->id, NULL, NULL);
    return NULL;
}

static void starts_that_die_and_are_abandoned_leave_no_zombie(void **state)
{
    struct bl_runtime *runtime = fixture_open();
    struct starter starters[AT_ONCE];
    pthread_t threads[AT_ONCE];

    (void)state;
    for (int i = 0; i < AT_ONCE; i++) {
        starters[i].runtime = runtime;
        fixture_box(runtime, "early", true, starters[i].id);
    }
    for (int i = 0; i < AT_ONCE; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, start_one, &starters[i]), 0);
    for (int i = 0; i < AT_ONCE; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(starters[i].result, -1);
    }
    expect_reaped(runtime);

    /* Who tries again and again. */
    for (int i = 0; i < AT_ONCE; i++)
        assert_int_equal(bl_box_start(runtime, starters[0].id, NULL, NULL), -1);
    expect_reaped(runtime);
    for (int i = 0; i < AT_ONCE; i++)
        assert_int_equal(bl_box_remove(runtime, starters[i].id, false, NULL), 0);

    /* One that lived before it died. */
    char id[BL_BOX_ID_LENGTH + 1];

    fixture_box(runtime, NULL, true, id);
    fixture_kill(fixture_start(runtime, id));
    expect_reaped(runtime);
    assert_int_equal(bl_box_remove(runtime, id, false, NULL), 0);
    bl_runtime_close(runtime);
    assert_int_equal(zombies(), 0);
}

/* A runtime that is closed and opened again has no memory: it must find what the one before it started. */
static void a_runtime_opened_again_finds_the_same_shim(void **state)
{
    struct bl_runtime *runtime = fixture_open();
    char id[BL_BOX_ID_LENGTH + 1], hint[256];
    struct bl_error err = BL_ERROR_INIT;

    (void)state;
    fixture_box(runtime, NULL, true, id);

    pid_t pid = fixture_start(runtime, id);

    snprintf(hint, sizeof hint, "%s", fixture_read(id, BL_FILE_SHIM_PID));
    assert_true(*hint);
    for (int round = 0; round < ROUNDS; round++) {
        bl_runtime_close(runtime);
        runtime = fixture_open();

        struct bl_box_info info = fixture_inspect(runtime, id);

        assert_int_equal(info.status, BL_BOX_RUNNING);
        assert_int_equal(info.pid, pid);
        bl_box_info_free(&info);
        assert_int_equal(bl_box_remove(runtime, id, false, &err), -1);
        assert_int_equal(err.code, BL_INVALID_STATE);
        assert_int_equal(bl_box_start(runtime, id, NULL, NULL), 0); /* it runs: nothing to do */
        assert_string_equal(fixture_read(id, BL_FILE_SHIM_PID), hint);
        assert_int_equal(fixture_shims(id), 1);
    }
    assert_int_equal(bl_box_remove(runtime, id, true, NULL), 0);
    assert_int_equal(fixture_shims(id), 0);
    assert_int_not_equal(access(fixture_path(id, ""), F_OK), 0);
    expect_reaped(runtime);
    bl_runtime_close(runtime);
}

/* live() - A whole life of a box, a start that fails, and one whose shim is killed. */
static void live(struct bl_runtime *runtime)
{
    struct bl_box_info info;
    char id[BL_BOX_ID_LENGTH + 1];

    fixture_box(runtime, "done", true, id);
    assert_int_equal(bl_box_start(runtime, id, NULL, NULL), 0);
    assert_int_equal(bl_box_wait(runtime, id, -1, &info, NULL), 0);
    assert_int_equal(info.exit_code, 7);
    bl_box_info_free(&info);
    assert_int_equal(bl_box_remove(runtime, id, false, NULL), 0);
    fixture_box(runtime, "early", true, id);
    assert_int_equal(bl_box_start(runtime, id, NULL, NULL), -1);
    assert_int_equal(bl_box_remove(runtime, id, false, NULL), 0);
    fixture_box(runtime, NULL, true, id);
    fixture_start(runtime, id);
    assert_int_equal(bl_box_stop(runtime, id, -1, -1, NULL), 0);
    assert_int_equal(bl_box_remove(runtime, id, false, NULL), 0);
}

/* child() - A child of the program itself that exits with a code. */
static pid_t child(int code)
{
    pid_t pid = fork();

    if (pid == 0)
        _exit(code);
    assert_true(pid > 0);
    return pid;
}

static atomic_int signals_heard;

static void hear(int number)
{
    (void)number;
    atomic_fetch_add(&signals_heard, 1);
}

static void children_of_the_program_keep_their_codes(void **state)
{
    struct bl_runtime *runtime = fixture_open();
    struct sigaction ours = {.sa_handler = hear}, found;
    pid_t pids[CHILDREN];

    (void)state;
    assert_int_equal(sigaction(SIGCHLD, &ours, NULL), 0); /* no SA_RESTART: waits of the library are interrupted, too */
    for (int i = 0; i < CHILDREN; i++)
        pids[i] = child(i + 1);
    live(runtime);
    assert_int_equal(sigaction(SIGCHLD, NULL, &found), 0);
    assert_ptr_equal(found.sa_handler, hear);
    assert_true(atomic_load(&signals_heard) > 0);
    for (int i = 0; i < CHILDREN; i++) {
        int status;

        assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == i + 1);
    }
    signal(SIGCHLD, SIG_DFL);
    bl_runtime_close(runtime);
}

static atomic_bool enough;
static atomic_int codes_seen; /* of our own children: the bits of their codes */

/* wait_for_all() - What a library must not do, and a program may: wait for any child, all the time. */
static void *wait_for_all(void *data)
{
    const struct timespec moment = {.tv_nsec = 1000000};
    int status;

    while (!atomic_load(&enough)) {
        if (waitpid(-1, &status, 0) < 0) {
            if (errno != ECHILD)
                abort();
            nanosleep(&moment, NULL);
        } else if (WIFEXITED(status) && WEXITSTATUS(status) >= 64) {
            atomic_fetch_or(&codes_seen, 1 << (WEXITSTATUS(status) - 64));
        }
    }
    return data;
}

static void a_program_that_waits_for_all_gets_its_own(void **state)
{
    struct bl_runtime *runtime = fixture_open();
    pthread_t waiter;

    (void)state;
    assert_int_equal(pthread_create(&waiter, NULL, wait_for_all, NULL), 0);
    for (int i = 0; i < CHILDREN; i++)
        child(64 + i);
    live(runtime);
    for (int64_t deadline = bl_deadline_in(WAIT_MS); atomic_load(&codes_seen) != (1 << CHILDREN) - 1;) {
        assert_true(bl_deadline_left(deadline) > 0);
        nanosleep(&(const struct timespec){.tv_nsec = 1000000}, NULL);
    }
    atomic_store(&enough, true);
    pthread_join(waiter, NULL);
    expect_reaped(runtime);
    bl_runtime_close(runtime);
}

static void with_sigchld_ignored_starts_and_stops_end(void **state)
{
    struct bl_runtime *runtime = fixture_open();

    (void)state;
    signal(SIGCHLD, SIG_IGN);
    live(runtime);
    signal(SIGCHLD, SIG_DFL);
    expect_reaped(runtime);
    bl_runtime_close(runtime);
}

static atomic_int waits_with_an_end, wakings; /* of whoever waits for events: the reaper's thread */

/* In the place of libc's: notes how long is waited, and that something came. (Who was stopped and goes on hears EINTR of that.) */
int epoll_wait(int epoll_fd, struct epoll_event *events, int count, int timeout_ms)
{
    int n = (int)syscall(SYS_epoll_pwait, epoll_fd, events, count, timeout_ms, NULL, 0), saved = errno;

    atomic_fetch_add(&waits_with_an_end, timeout_ms >= 0);
    atomic_fetch_add(&wakings, n >= 0 || saved != EINTR);
    errno = saved;
    return n;
}

static void an_idle_reaper_does_nothing(void **state)
{
    struct bl_runtime *runtime = fixture_open();
    char id[BL_BOX_ID_LENGTH + 1];

    (void)state;
    fixture_box(runtime, NULL, true, id);

    pid_t shim = fixture_start(runtime, id);
    int before = atomic_load(&wakings);
    const struct timespec while_idle = {.tv_sec = IDLE_MS / 1000};

    nanosleep(&while_idle, NULL);
    assert_int_equal(atomic_load(&wakings), before);
    assert_int_equal(atomic_load(&waits_with_an_end), 0);
    /* The control: an end wakes it. */
    fixture_kill(shim);
    expect_reaped(runtime);
    assert_true(atomic_load(&wakings) > before);
    assert_int_equal(bl_box_remove(runtime, id, true, NULL), 0);
    bl_runtime_close(runtime);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(starts_that_die_and_are_abandoned_leave_no_zombie),
        cmocka_unit_test(a_runtime_opened_again_finds_the_same_shim),
        cmocka_unit_test(children_of_the_program_keep_their_codes),
        cmocka_unit_test(a_program_that_waits_for_all_gets_its_own),
        cmocka_unit_test(with_sigchld_ignored_starts_and_stops_end),
        cmocka_unit_test(an_idle_reaper_does_nothing),
    };

    return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
