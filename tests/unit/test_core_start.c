/* SPDX-License-Identifier: Apache-2.0 */
/* test_core_start.c - starting and stopping boxes whose shim is a stand-in: what it is given, and every way it can go wrong */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/io.h"
#include "core/home.h"
#include "core/lock.h"
#include "core_fixture.h"
#include "proto/launch.h"

static int count_lines(const char *text, const char *prefix)
{
    int count = 0;

    for (const char *line = text; line && *line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL)
        count += strncmp(line, prefix, strlen(prefix)) == 0;
    return count;
}

static void the_command_line_is_the_shim_and_the_id(void **state)
{
    char id[BL_BOX_ID_LENGTH + 1], path[64], line[4096];
    struct bl_runtime *runtime = fixture_open();

    (void)state;
    setenv("A_SECRET", "marker-of-the-host", 1);
    signal(SIGPIPE, SIG_IGN);
    fixture_box(runtime, NULL, true, id);

    pid_t pid = fixture_start(runtime, id);

    snprintf(path, sizeof path, "/proc/%d/cmdline", (int)pid);

    cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = read(fd, line, sizeof line);

    assert_int_equal(n, strlen(fixture_runtime_dir) + strlen("/boxlite-shim") + 1 + BL_BOX_ID_LENGTH + 1);
    assert_string_equal(line + strlen(line) + 1, id);

    /* What it was given: these descriptors and no others, no signal blocked or ignored, a harmless environment, its own session. */
    const char *given = fixture_read(id, "logs/stand-in.log");

    assert_int_equal(count_lines(given, "arg "), 2);
    assert_int_equal(count_lines(given, "fd "), 5); /* 0 to 4: nobody's death is watched by a detached one */
    assert_int_equal(count_lines(given, "blocked "), 0);
    assert_int_equal(count_lines(given, "ignored "), 0);
    assert_int_equal(count_lines(given, "session 1"), 1);
    assert_int_equal(count_lines(given, "env PATH="), 1);
    assert_null(strstr(given, "marker-of-the-host"));
    signal(SIGPIPE, SIG_DFL);
    assert_int_equal(bl_box_remove(runtime, id, true, NULL), 0);
    fixture_wait_gone(pid);
    bl_runtime_close(runtime);
}

#define PIPE_BYTES 65536 /* what a pipe takes before its writer waits */

/* make_large_box() - A box whose configuration is as large as one can be: larger than a pipe. */
static void make_large_box(struct bl_runtime *runtime, char *id)
{
    static char first[PIPE_BYTES / 2], second[PIPE_BYTES / 2];
    const char *env[] = {first, second, NULL};
    const struct bl_box_options options = {.image = "busybox", .env = env, .detach = true};
    struct bl_error err = BL_ERROR_INIT;
    size_t length = sizeof second - 1;

    memset(first, 'x', sizeof first - 1);
    memset(second, 'x', length);
    memcpy(first, "BIG=", 4);
    memcpy(second, "ALSO=", 5);

    /* One that the protocol can't carry is refused when the box is created. */
    assert_int_equal(bl_box_create(runtime, &options, -1, id, &err), -1);
    assert_int_equal(err.code, BL_INVALID_ARGUMENT);
    do {
        assert_true(length > sizeof second / 2);
        length -= 16;
        second[length] = '\0';
    } while (bl_box_create(runtime, &options, -1, id, NULL) < 0);
}

static void a_large_configuration_arrives_whole(void **state)
{
    char id[BL_BOX_ID_LENGTH + 1];
    struct bl_runtime *runtime = fixture_open();
    struct bl_error err = BL_ERROR_INIT;

    (void)state;
    make_large_box(runtime, id);
    assert_true(fixture_start(runtime, id) > 0);

    const char *arrived = strstr(fixture_read(id, "logs/stand-in.log"), "document ");

    assert_non_null(arrived);
    assert_true(atoi(arrived + strlen("document ")) > PIPE_BYTES);
    assert_int_equal(bl_box_stop(runtime, id, -1, -1, &err), 0);
    assert_int_equal(bl_box_remove(runtime, id, false, &err), 0);
    bl_runtime_close(runtime);
}

static int count_descriptors(void)
{
    cleanup_dir DIR *fds = opendir("/proc/self/fd");
    int count = 0;

    while (readdir(fds))
        count++;
    return count;
}

/* dies_over_its_configuration() - A start whose shim is a script that reads a part of what it is told, and ends. */
static void dies_over_its_configuration(struct bl_runtime *runtime, const char *id, const char *script, const char *cause)
{
    char shim[128], away[128];
    struct bl_error err = BL_ERROR_INIT;

    snprintf(shim, sizeof shim, "%s/boxlite-shim", fixture_runtime_dir);
    snprintf(away, sizeof away, "%s/away", fixture_runtime_dir);
    assert_int_equal(rename(shim, away), 0);

    int fd = open(shim, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0700);

    assert_int_equal(bl_write_all(fd, script, strlen(script)), 0);
    close(fd);

    int before = count_descriptors(), failed = bl_box_start(runtime, id, NULL, &err), after = count_descriptors();

    assert_int_equal(rename(away, shim), 0);
    assert_int_equal(failed, -1);
    assert_int_equal(err.code, BL_ENGINE);
    if (!strstr(err.message, cause))
        fail_msg("'%s' does not say '%s'", err.message, cause);
    assert_int_equal(after, before);
    assert_int_equal(bl_reaper_count(runtime->reaper), 0);
    assert_true(waitid(P_ALL, 0, &(siginfo_t){0}, WEXITED | WNOHANG | WNOWAIT) < 0 && errno == ECHILD);

    struct bl_box_info info = fixture_inspect(runtime, id);

    assert_int_equal(info.status, BL_BOX_FAILED);
    assert_non_null(strstr(info.reason, cause));
    bl_box_info_free(&info);
}

static void a_shim_that_dies_over_its_configuration_harms_nobody(void **state)
{
    char id[BL_BOX_ID_LENGTH + 1];
    struct bl_runtime *runtime = fixture_open();
    struct sigaction plain;

    (void)state;
    /* SIGPIPE is as every program has it at first: one that came would end this program. */
    assert_int_equal(sigaction(SIGPIPE, NULL, &plain), 0);
    assert_true(plain.sa_handler == SIG_DFL);
    make_large_box(runtime, id);
    dies_over_its_configuration(runtime, id, "#!/bin/sh\nhead -c 1000 >/dev/null\necho had enough >&2\nexit 3\n",
                                "exited with code 3: had enough");
    dies_over_its_configuration(runtime, id, "#!/bin/sh\nhead -c 1000 >/dev/null\nkill -9 $$\n", "was killed by signal 9");
    dies_over_its_configuration(runtime, id, "#!/bin/sh\nexec <&-\nexit 4\n", "exited with code 4");
    assert_true(fixture_start(runtime, id) > 0); /* the control: told to its end, it starts */
    assert_int_equal(bl_box_remove(runtime, id, true, NULL), 0);
    bl_runtime_close(runtime);
}

/* fails_with() - A start that must fail: at once, with this cause, leaving no process and the box failed. */
static void fails_with(const char *mode, enum bl_code code, const char *cause, int exit_code)
{
    char id[BL_BOX_ID_LENGTH + 1];
    int code_given = 0;
    struct bl_runtime *runtime = fixture_open();
    struct bl_error err = BL_ERROR_INIT;
    const struct bl_start_options options = {.cancel_fd = -1, .exit_code = &code_given, .timeout_ms = -1};

    fixture_box(runtime, mode, true, id);
    assert_int_equal(bl_box_start(runtime, id, &options, &err), -1);
    assert_int_equal(err.code, code);
    if (!strstr(err.message, cause))
        fail_msg("'%s' does not say '%s'", err.message, cause);
    assert_int_equal(code_given, exit_code);
    assert_int_equal(fixture_shims(id), 0);
    assert_int_equal(bl_reaper_count(runtime->reaper), 0);

    struct bl_box_info info = fixture_inspect(runtime, id);

    assert_int_equal(info.status, BL_BOX_FAILED);
    assert_int_equal(info.pid, 0);
    assert_non_null(info.reason);
    assert_non_null(strstr(info.reason, cause));
    bl_box_info_free(&info);
    assert_int_equal(bl_box_remove(runtime, id, false, &err), 0);
    bl_runtime_close(runtime);
}

static void an_early_death_is_told_at_once(void **state)
{
    (void)state;
    fails_with("early", BL_ENGINE, "exited with code 3: the engine has no wheels", 125);
    fails_with("killed", BL_ENGINE, "was killed by signal 9", 125);
    fails_with("garbage", BL_ENGINE, "can't be understood", 125);
}

static void a_workload_that_cannot_run_gives_its_code(void **state)
{
    (void)state;
    fails_with("fail", BL_EXECUTION, "no such command", 127);
}

/* starts_with_the_second() - The first shim gives up a template; the second one boots. */
static void starts_with_the_second(const char *mode)
{
    char id[BL_BOX_ID_LENGTH + 1];
    struct bl_error err = BL_ERROR_INIT;

    fixture_box(fixture_runtime, mode, true, id);
    assert_true(fixture_start(fixture_runtime, id) > 0);
    assert_int_equal(fixture_shims(id), 1);
    /* The lock went from one to the other, and was given back by the second. */
    assert_int_equal(bl_lifecycle_probe(fixture_runtime->boxes_fd, id), BL_LOCK_FREE);
    assert_int_equal(bl_box_stop(fixture_runtime, id, -1, -1, &err), 0);
    assert_int_equal(bl_box_remove(fixture_runtime, id, false, &err), 0);
    assert_int_equal(bl_reaper_count(fixture_runtime->reaper), 0);
}

static void a_template_of_no_use_is_given_up_and_the_box_booted(void **state)
{
    struct stat status;
    unsigned int count;
    uint64_t bytes;

    (void)state;
    /* Nobody has made one: there is nothing to mark, and the box boots all the same. */
    starts_with_the_second("again");
    assert_int_equal(mkdirat(fixture_runtime->home_fd, "templates", 0700), 0);

    cleanup_close int dir = openat(fixture_runtime->home_fd, "templates", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    cleanup_close int fd =
        openat(fixture_runtime->home_fd, "templates/kind.template", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0400);

    assert_int_equal(write(fd, "saved", 5), 5);
    bl_templates_usage(fixture_runtime->home_fd, &count, &bytes);
    assert_int_equal(count, 1);
    /* It was not the template's fault; it may be of use to others; or somebody is at work there. */
    fails_with("again-fail", BL_EXECUTION, "no such command", 127);
    /* The template first, then KVM: the third shim runs, and nobody knows whether KVM was to blame before. */
    assert_int_equal(setenv("BOXLITE_QEMU_ACCEL", "kvm:tcg", 1), 0);
    starts_with_the_second("slow");
    assert_int_equal(unsetenv("BOXLITE_QEMU_ACCEL"), 0);
    starts_with_the_second("again-once");
    assert_int_equal(flock(dir, LOCK_EX), 0);
    starts_with_the_second("again");
    assert_int_equal(flock(dir, LOCK_UN), 0);
    bl_templates_usage(fixture_runtime->home_fd, &count, &bytes);
    assert_int_equal(count, 1);
    starts_with_the_second("again");
    /* Another file, and empty: who has the old one mapped keeps it. */
    assert_int_equal(fstat(fd, &status), 0);
    assert_true(status.st_size == 5 && status.st_nlink == 0);
    assert_int_equal(fstatat(fixture_runtime->home_fd, "templates/kind.template", &status, 0), 0);
    assert_int_equal(status.st_size, 0);
    assert_int_equal(status.st_mode & 0777, 0400);
    bl_templates_usage(fixture_runtime->home_fd, &count, &bytes);
    assert_int_equal(count, 0);

    assert_int_equal(mkdirat(fixture_runtime->home_fd, "away.template", 0700), 0);
    starts_with_the_second("again-away");
    assert_int_equal(fstatat(fixture_runtime->home_fd, "away.template", &status, 0), 0);
    assert_true(S_ISDIR(status.st_mode));
    assert_int_equal(unlinkat(fixture_runtime->home_fd, "away.template", AT_REMOVEDIR), 0);
    assert_int_equal(unlinkat(fixture_runtime->home_fd, "templates/kind.template", 0), 0);
    assert_int_equal(unlinkat(fixture_runtime->home_fd, "templates", AT_REMOVEDIR), 0);

    /* Without templates there is nothing to be given up. */
    fails_with("again-ever", BL_ENGINE, "can't be understood", 125);
}

static void count_leftover(const struct bl_leftover *leftover, void *data)
{
    assert_string_equal(leftover->path, "templates/half.template");
    assert_string_equal(leftover->why, "half-made");
    *(int *)data += 1;
}

static void a_template_that_nobody_completes_is_swept(void **state)
{
    struct bl_error err = BL_ERROR_INIT;
    unsigned int count;
    uint64_t bytes;
    int found = 0;

    (void)state;
    assert_int_equal(mkdirat(fixture_runtime->home_fd, "templates", 0700), 0);

    cleanup_close int dir = openat(fixture_runtime->home_fd, "templates", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    cleanup_close int half = openat(dir, "half.template", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    cleanup_close int whole = openat(dir, "whole.template", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0400);

    assert_true(whole >= 0);
    assert_int_equal(write(half, "saved", 5), 5);
    bl_templates_usage(fixture_runtime->home_fd, &count, &bytes);
    assert_int_equal(count, 0);
    /* While somebody writes it, it is nobody else's. */
    assert_int_equal(flock(dir, LOCK_EX), 0);
    assert_int_equal(bl_runtime_gc(fixture_runtime, false, count_leftover, &found, &err), 0);
    assert_int_equal(found, 0);
    assert_int_equal(flock(dir, LOCK_UN), 0);
    assert_int_equal(bl_runtime_gc(fixture_runtime, true, count_leftover, &found, &err), 0);
    assert_int_equal(found, 1);
    assert_int_equal(faccessat(dir, "half.template", F_OK, 0), 0);
    assert_int_equal(bl_runtime_gc(fixture_runtime, false, count_leftover, &found, &err), 0);
    assert_int_equal(found, 2);
    assert_int_equal(faccessat(dir, "half.template", F_OK, 0), -1);
    assert_int_equal(unlinkat(dir, "whole.template", 0), 0);
    assert_int_equal(unlinkat(fixture_runtime->home_fd, "templates", AT_REMOVEDIR), 0);
}

static void a_passed_deadline_leaves_no_shim(void **state)
{
    char id[BL_BOX_ID_LENGTH + 1];
    struct bl_runtime *runtime = fixture_open();
    struct bl_error err = BL_ERROR_INIT;
    /* The library gives the shim five seconds more than it asks for: the only wait in these tests that passes in vain. */
    const struct bl_start_options options = {.cancel_fd = -1, .timeout_ms = 1};

    (void)state;
    fixture_box(runtime, "hang", true, id);
    assert_int_equal(bl_box_start(runtime, id, &options, &err), -1);
    assert_int_equal(err.code, BL_ENGINE);
    assert_non_null(strstr(err.message, "BOXLITE_START_TIMEOUT"));
    assert_int_equal(fixture_shims(id), 0);
    assert_int_equal(bl_box_remove(runtime, id, false, &err), 0);
    bl_runtime_close(runtime);
}

static void a_cancelled_start_leaves_the_box_as_it_was(void **state)
{
    char id[BL_BOX_ID_LENGTH + 1];
    struct bl_runtime *runtime = fixture_open();
    struct bl_error err = BL_ERROR_INIT;
    int cancel = eventfd(1, EFD_CLOEXEC);
    const struct bl_start_options options = {.cancel_fd = cancel, .timeout_ms = -1};

    (void)state;
    fixture_box(runtime, "hang", true, id);
    assert_int_equal(bl_box_start(runtime, id, &options, &err), -1);
    assert_int_equal(err.code, BL_STOPPED);
    assert_int_equal(fixture_shims(id), 0);

    struct bl_box_info info = fixture_inspect(runtime, id);

    assert_int_equal(info.status, BL_BOX_CONFIGURED);
    bl_box_info_free(&info);
    close(cancel);
    assert_int_equal(bl_box_remove(runtime, id, false, &err), 0);
    bl_runtime_close(runtime);
}

static void a_missing_shim_or_kernel_says_what_to_do(void **state)
{
    char id[BL_BOX_ID_LENGTH + 1], kernel[128], away[128];
    struct bl_error err = BL_ERROR_INIT;
    struct bl_runtime *runtime = fixture_open();

    (void)state;
    fixture_box(runtime, NULL, true, id);
    snprintf(kernel, sizeof kernel, "%s/guest/stock/vmlinux", fixture_runtime_dir);
    snprintf(away, sizeof away, "%s/guest/stock/away", fixture_runtime_dir);
    assert_int_equal(rename(kernel, away), 0);
    assert_int_equal(bl_box_start(runtime, id, NULL, &err), -1);
    assert_non_null(strstr(err.message, "make kernel"));
    assert_int_equal(rename(away, kernel), 0);
    bl_runtime_close(runtime);

    setenv("BOXLITE_RUNTIME_DIR", "/nonexistent", 1);
    runtime = fixture_open();
    assert_int_equal(bl_box_start(runtime, id, NULL, &err), -1);
    assert_int_equal(err.code, BL_ENGINE);
    assert_non_null(strstr(err.message, "BOXLITE_RUNTIME_DIR"));
    bl_runtime_close(runtime);
    setenv("BOXLITE_RUNTIME_DIR", fixture_runtime_dir, 1);
    runtime = fixture_open();
    assert_true(fixture_start(runtime, id) > 0); /* the control: with both in place it starts */
    assert_int_equal(bl_box_remove(runtime, id, true, &err), 0);
    bl_runtime_close(runtime);
}

#define AT_ONCE 8

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

static void eight_start_at_once(void **state)
{
    struct bl_runtime *runtime = fixture_open();
    struct starter starters[AT_ONCE];
    pthread_t threads[AT_ONCE];

    (void)state;
    for (int i = 0; i < AT_ONCE; i++) {
        starters[i].runtime = runtime;
        fixture_box(runtime, NULL, true, starters[i].id);
    }
    for (int i = 0; i < AT_ONCE; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, start_one, &starters[i]), 0);
    for (int i = 0; i < AT_ONCE; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(starters[i].result, 0);
    }
    for (int i = 0; i < AT_ONCE; i++) {
        assert_int_equal(fixture_shims(starters[i].id), 1);
        assert_int_equal(bl_box_remove(runtime, starters[i].id, true, NULL), 0);
    }
    bl_runtime_close(runtime);
}

static void many_starts_of_one_box_make_one_shim(void **state)
{
    struct bl_runtime *runtime = fixture_open();
    struct starter starters[AT_ONCE];
    pthread_t threads[AT_ONCE];
    char id[BL_BOX_ID_LENGTH + 1];

    (void)state;
    fixture_box(runtime, NULL, true, id);
    for (int i = 0; i < AT_ONCE; i++) {
        starters[i].runtime = runtime;
        strcpy(starters[i].id, id);
        assert_int_equal(pthread_create(&threads[i], NULL, start_one, &starters[i]), 0);
    }
    for (int i = 0; i < AT_ONCE; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(starters[i].result, 0);
    }
    assert_int_equal(fixture_shims(id), 1);
    assert_int_equal(bl_box_remove(runtime, id, true, NULL), 0);
    bl_runtime_close(runtime);
}

static void *stop_one(void *data)
{
    struct starter *starter = data;

    starter->result = bl_box_stop(starter->runtime, starter->id, -1, -1, NULL);
    return NULL;
}

static void stops_at_once_all_succeed_and_keep_the_code(void **state)
{
    struct bl_runtime *runtime = fixture_open();
    struct starter starters[AT_ONCE];
    pthread_t threads[AT_ONCE];
    char id[BL_BOX_ID_LENGTH + 1];

    (void)state;
    fixture_box(runtime, NULL, true, id);

    pid_t pid = fixture_start(runtime, id);

    for (int i = 0; i < AT_ONCE; i++) {
        starters[i].runtime = runtime;
        strcpy(starters[i].id, id);
        assert_int_equal(pthread_create(&threads[i], NULL, stop_one, &starters[i]), 0);
    }
    for (int i = 0; i < AT_ONCE; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(starters[i].result, 0);
    }
    fixture_wait_gone(pid);

    struct bl_box_info info = fixture_inspect(runtime, id);

    assert_int_equal(info.status, BL_BOX_STOPPED);
    assert_true(info.has_exit_code);
    assert_int_equal(info.exit_code, 143);
    assert_null(info.reason);
    bl_box_info_free(&info);
    assert_int_not_equal(access(fixture_path(id, BL_FILE_CONTROL_SOCKET), F_OK), 0);
    assert_int_not_equal(access(fixture_path(id, BL_FILE_SHIM_PID), F_OK), 0);
    assert_int_equal(bl_box_remove(runtime, id, false, NULL), 0);
    bl_runtime_close(runtime);
}

static void a_deaf_shim_is_killed(void **state)
{
    struct bl_runtime *runtime = fixture_open();
    char id[BL_BOX_ID_LENGTH + 1];

    (void)state;
    fixture_box(runtime, "deaf", true, id);
    fixture_start(runtime, id);
    assert_int_equal(bl_box_stop(runtime, id, 1, -1, NULL), 0);
    assert_int_equal(fixture_shims(id), 0);

    struct bl_box_info info = fixture_inspect(runtime, id);

    assert_int_equal(info.status, BL_BOX_STOPPED);
    assert_int_equal(info.exit_code, 137);
    bl_box_info_free(&info);
    assert_int_equal(bl_box_remove(runtime, id, false, NULL), 0);
    bl_runtime_close(runtime);
}

static void removing_a_running_box_needs_force(void **state)
{
    struct bl_runtime *runtime = fixture_open();
    struct bl_error err = BL_ERROR_INIT;
    char id[BL_BOX_ID_LENGTH + 1];

    (void)state;
    fixture_box(runtime, NULL, true, id);

    pid_t pid = fixture_start(runtime, id);

    assert_int_equal(bl_box_remove(runtime, id, false, &err), -1);
    assert_int_equal(err.code, BL_INVALID_STATE);
    assert_int_equal(fixture_shims(id), 1);

    struct bl_box_info info = fixture_inspect(runtime, id);

    assert_int_equal(info.pid, pid);
    bl_box_info_free(&info);
    assert_int_equal(bl_box_remove(runtime, id, true, &err), 0);
    assert_int_equal(fixture_shims(id), 0);
    assert_int_equal(bl_box_inspect(runtime, id, &info, &err), -1);
    assert_int_equal(err.code, BL_NOT_FOUND);
    assert_int_not_equal(access(fixture_path(id, ""), F_OK), 0);
    bl_runtime_close(runtime);
}

static void an_emulator_that_outlives_its_shim_keeps_the_box(void **state)
{
    struct bl_runtime *runtime = fixture_open();
    struct bl_error err = BL_ERROR_INIT;
    int cancel = eventfd(1, EFD_CLOEXEC);
    const struct bl_start_options cancelled = {.cancel_fd = cancel};
    char id[BL_BOX_ID_LENGTH + 1];

    (void)state;
    fixture_box(runtime, "outlived", true, id);
    fixture_kill(fixture_start(runtime, id));
    assert_int_equal(fixture_shims(id), 1); /* the child that holds the disk */

    /* It is stopped, but neither started again nor swept while its disk is held. */
    assert_int_equal(bl_box_start(runtime, id, &cancelled, &err), -1);
    assert_int_equal(err.code, BL_STOPPED);
    if (!strstr(err.message, "disk"))
        fail_msg("%s", err.message);
    assert_int_equal(bl_runtime_sweep(runtime, &err), 0);
    assert_int_equal(access(fixture_path(id, BL_FILE_CONTROL_SOCKET), F_OK), 0);

    /* Once it lets go, the box starts. */
    fixture_write(id, "let-go", "");
    assert_true(fixture_start(runtime, id) > 0);
    assert_int_equal(bl_box_remove(runtime, id, true, &err), 0);
    close(cancel);
    bl_runtime_close(runtime);
}

static void attached_boxes_end_with_the_runtime(void **state)
{
    struct bl_runtime *runtime = fixture_open();
    char attached[BL_BOX_ID_LENGTH + 1], detached[BL_BOX_ID_LENGTH + 1];
    struct bl_error err = BL_ERROR_INIT;

    (void)state;
    fixture_box(runtime, NULL, false, attached);
    fixture_box(runtime, NULL, true, detached);
    fixture_start(runtime, attached);
    assert_int_equal(count_lines(fixture_read(attached, "logs/stand-in.log"), "fd 5."), 1); /* its creator's pidfd */

    pid_t pid = fixture_start(runtime, detached);

    bl_runtime_close(runtime);
    assert_int_equal(fixture_shims(attached), 0);
    assert_int_equal(fixture_shims(detached), 1);

    /* The next runtime of this very process finds the same shim, and reaps it when it dies. */
    runtime = fixture_open();

    struct bl_box_info info = fixture_inspect(runtime, detached);

    assert_int_equal(info.status, BL_BOX_RUNNING);
    assert_int_equal(info.pid, pid);
    bl_box_info_free(&info);
    assert_int_equal(bl_reaper_count(runtime->reaper), 1);
    assert_int_equal(bl_box_remove(runtime, detached, true, &err), 0);
    assert_int_equal(bl_box_remove(runtime, attached, false, &err), 0);
    bl_runtime_close(runtime);
}

static void waiting_tells_how_it_ended(void **state)
{
    struct bl_runtime *runtime = fixture_open();
    struct bl_box_info info;
    struct bl_error err = BL_ERROR_INIT;
    char id[BL_BOX_ID_LENGTH + 1];
    const struct {
        const char *mode;
        enum bl_box_status status;
        bool has_code;
        int code;
    } ends[] = {{"done", BL_BOX_STOPPED, true, 7}, {"crash", BL_BOX_FAILED, false, 0}};

    (void)state;
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        fixture_box(runtime, ends[i].mode, true, id);
        assert_int_equal(bl_box_start(runtime, id, NULL, &err), 0);
        assert_int_equal(bl_box_wait(runtime, id, -1, &info, &err), 0);
        assert_int_equal(info.status, ends[i].status);
        assert_int_equal(info.has_exit_code, ends[i].has_code);
        assert_int_equal(info.exit_code, ends[i].code);
        if (info.status == BL_BOX_FAILED) {
            assert_string_equal(info.reason, "kernel panic");
            assert_string_equal(info.console, "BUG: ?[31mred\nend\n");
        }
        bl_box_info_free(&info);
        assert_int_equal(bl_box_remove(runtime, id, false, &err), 0);
    }
    bl_runtime_close(runtime);
}

static void a_box_that_is_removed_when_it_ended_is_gone(void **state)
{
    const char *command[] = {"done", NULL}, *entrypoint[] = {NULL};
    const struct bl_box_options options = {
        .image = "busybox", .entrypoint = entrypoint, .command = command, .detach = true, .auto_remove = true};
    struct bl_runtime *runtime = fixture_open();
    char id[BL_BOX_ID_LENGTH + 1];
    struct bl_box_info info, *list;
    size_t count;

    (void)state;
    assert_int_equal(bl_box_create(runtime, &options, -1, id, NULL), 0);
    assert_int_equal(bl_runtime_sweep(runtime, NULL), 0); /* one that never ran is no box that ended */
    assert_int_equal(bl_box_start(runtime, id, NULL, NULL), 0);
    assert_int_equal(bl_box_wait(runtime, id, -1, &info, NULL), 0);
    bl_box_info_free(&info);
    assert_int_equal(bl_box_list(runtime, &list, &count, NULL), 0);
    for (size_t i = 0; i < count; i++)
        assert_string_not_equal(list[i].id, id);
    bl_box_list_free(list, count);
    assert_int_equal(access(fixture_path(id, ""), F_OK), 0); /* to look removes nothing */
    assert_int_equal(bl_runtime_sweep(runtime, NULL), 0);
    assert_int_not_equal(access(fixture_path(id, ""), F_OK), 0);
    bl_runtime_close(runtime);
}

static void a_forked_child_is_refused(void **state)
{
    struct bl_runtime *runtime = fixture_open();
    int status;
    pid_t pid = fork();

    (void)state;
    if (pid == 0) {
        struct bl_box_info *list;
        size_t count;
        struct bl_error err = BL_ERROR_INIT;
        int refused = bl_box_list(runtime, &list, &count, &err) < 0 && err.code == BL_INVALID_STATE;

        bl_runtime_close(runtime);
        _exit(refused ? 0 : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    bl_runtime_close(runtime);
}

static void reaping_everything_in_the_host_program_changes_nothing(void **state)
{
    struct bl_runtime *runtime = fixture_open();
    struct bl_box_info info;
    char id[BL_BOX_ID_LENGTH + 1];

    (void)state;
    /* With SIGCHLD ignored, the kernel reaps each child at once: waitid() says ECHILD. */
    signal(SIGCHLD, SIG_IGN);
    fixture_box(runtime, "done", true, id);
    assert_int_equal(bl_box_start(runtime, id, NULL, NULL), 0);
    assert_int_equal(bl_box_wait(runtime, id, -1, &info, NULL), 0);
    assert_int_equal(info.exit_code, 7); /* from the exit report */
    bl_box_info_free(&info);
    assert_int_equal(bl_box_remove(runtime, id, false, NULL), 0);
    fixture_box(runtime, "early", true, id);
    assert_int_equal(bl_box_start(runtime, id, NULL, NULL), -1);
    assert_int_equal(bl_box_remove(runtime, id, false, NULL), 0);
    fixture_box(runtime, NULL, true, id);
    fixture_start(runtime, id);
    assert_int_equal(bl_box_stop(runtime, id, -1, -1, NULL), 0);
    assert_int_equal(bl_box_remove(runtime, id, false, NULL), 0);
    signal(SIGCHLD, SIG_DFL);
    bl_runtime_close(runtime);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_command_line_is_the_shim_and_the_id),
        cmocka_unit_test(a_large_configuration_arrives_whole),
        cmocka_unit_test(a_shim_that_dies_over_its_configuration_harms_nobody),
        cmocka_unit_test(an_early_death_is_told_at_once),
        cmocka_unit_test(a_workload_that_cannot_run_gives_its_code),
        WITH_A_RUNTIME(a_template_of_no_use_is_given_up_and_the_box_booted),
        WITH_A_RUNTIME(a_template_that_nobody_completes_is_swept),
        cmocka_unit_test(a_passed_deadline_leaves_no_shim),
        cmocka_unit_test(a_cancelled_start_leaves_the_box_as_it_was),
        cmocka_unit_test(a_missing_shim_or_kernel_says_what_to_do),
        cmocka_unit_test(eight_start_at_once),
        cmocka_unit_test(many_starts_of_one_box_make_one_shim),
        cmocka_unit_test(stops_at_once_all_succeed_and_keep_the_code),
        cmocka_unit_test(a_deaf_shim_is_killed),
        cmocka_unit_test(removing_a_running_box_needs_force),
        cmocka_unit_test(an_emulator_that_outlives_its_shim_keeps_the_box),
        cmocka_unit_test(attached_boxes_end_with_the_runtime),
        cmocka_unit_test(waiting_tells_how_it_ended),
        cmocka_unit_test(a_box_that_is_removed_when_it_ended_is_gone),
        cmocka_unit_test(a_forked_child_is_refused),
        cmocka_unit_test(reaping_everything_in_the_host_program_changes_nothing),
    };

    return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
