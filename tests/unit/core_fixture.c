/* SPDX-License-Identifier: Apache-2.0 */
/* core_fixture.c - see core_fixture.h */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "core_fixture.h"
#include "proto/launch.h"

char fixture_home[64] = "/tmp/bl-core-home-XXXXXX";
char fixture_runtime_dir[64] = "/tmp/bl-core-run-XXXXXX";

static void link_into(const char *target, const char *name)
{
    char path[128];

    snprintf(path, sizeof path, "%s/%s", fixture_runtime_dir, name);
    assert_int_equal(symlink(target, path), 0);
}

static void touch(const char *name)
{
    char path[128];

    snprintf(path, sizeof path, "%s/%s", fixture_runtime_dir, name);

    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    close(fd);
}

int fixture_setup(void **state)
{
    char path[128];

    (void)state;
    if (!mkdtemp(fixture_home) || !mkdtemp(fixture_runtime_dir))
        return -1;
    snprintf(path, sizeof path, "%s/guest", fixture_runtime_dir);
    assert_int_equal(mkdir(path, 0700), 0);
    snprintf(path, sizeof path, "%s/guest/stock", fixture_runtime_dir);
    assert_int_equal(mkdir(path, 0700), 0);
    touch("guest/stock/vmlinux");
    touch("guest/stock/initramfs");
    link_into(STAND_IN_SHIM, "boxlite-shim");
    link_into(BUILD_DIR "/libboxlite-image.so", "libboxlite-image.so");
    link_into(BUILD_DIR "/images", "images");
    setenv("BOXLITE_RUNTIME_DIR", fixture_runtime_dir, 1);
    unsetenv("BOXLITE_KERNEL_KIND");
    unsetenv("BOXLITE_START_TIMEOUT");
    return 0;
}

static int count_shims(const char *id, bool kill_them);

int fixture_teardown(void **state)
{
    siginfo_t info = {0};
    int failed = 0, left = count_shims(NULL, true);

    (void)state;
    if (left) {
        print_error("%d shims are left\n", left);
        failed = -1;
    }
    if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid) {
        print_error("process %d is left as a zombie\n", (int)info.si_pid);
        failed = -1;
    }
    bl_remove_tree(AT_FDCWD, fixture_home);
    bl_remove_tree(AT_FDCWD, fixture_runtime_dir);
    return failed;
}

struct bl_runtime *fixture_open(void)
{
    struct bl_runtime *runtime = NULL;
    struct bl_error err = BL_ERROR_INIT;

    if (bl_runtime_open(fixture_home, &runtime, &err) < 0)
        fail_msg("%s", err.message);
    return runtime;
}

struct bl_runtime *fixture_runtime;

int fixture_open_runtime(void **state)
{
    (void)state;
    fixture_runtime = fixture_open();
    return 0;
}

int fixture_close_runtime(void **state)
{
    (void)state;
    bl_runtime_close(fixture_runtime);
    fixture_runtime = NULL;
    return 0;
}

void fixture_box(struct bl_runtime *runtime, const char *mode, bool detach, char *id)
{
    const char *command[] = {mode, NULL}, *entrypoint[] = {NULL};
    const struct bl_box_options options = {
        .image = "busybox", .entrypoint = entrypoint, .command = mode ? command : NULL, .detach = detach};
    struct bl_error err = BL_ERROR_INIT;

    if (bl_box_create(runtime, &options, -1, id, &err) < 0)
        fail_msg("%s", err.message);
}

pid_t fixture_start(struct bl_runtime *runtime, const char *id)
{
    struct bl_error err = BL_ERROR_INIT;

    if (bl_box_start(runtime, id, NULL, &err) < 0)
        fail_msg("%s", err.message);

    struct bl_box_info info = fixture_inspect(runtime, id);
    pid_t pid = info.pid;

    bl_box_info_free(&info);
    return pid;
}

struct bl_box_info fixture_inspect(struct bl_runtime *runtime, const char *id)
{
    struct bl_box_info info;
    struct bl_error err = BL_ERROR_INIT;

    if (bl_box_inspect(runtime, id, &info, &err) < 0)
        fail_msg("%s", err.message);
    return info;
}

void fixture_state(struct bl_runtime *runtime, const char *id, enum bl_box_status status, const struct bl_process *shim)
{
    struct bl_record record = {0};

    assert_int_equal(bl_store_get(runtime->store, id, &record, NULL), 0);
    record.state.status = status;
    record.state.shim = shim ? *shim : (struct bl_process){0};
    assert_int_equal(bl_store_update(runtime->store, id, &record.state, NULL), 1);
    bl_record_free(&record);
}

struct bl_process fixture_process(pid_t pid)
{
    struct bl_process process = {.pid = pid};

    assert_int_equal(bl_process_start_ticks(pid, &process.start_ticks, NULL), 0);
    snprintf(process.boot_id, sizeof process.boot_id, "%s", bl_boot_id());
    return process;
}

void fixture_wait_gone(pid_t pid)
{
    cleanup_close int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    struct pollfd polled = {.fd = fd, .events = POLLIN};

    if (fd >= 0)
        assert_int_equal(poll(&polled, 1, WAIT_MS), 1);
}

void fixture_kill(pid_t pid)
{
    cleanup_close int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    struct pollfd polled = {.fd = fd, .events = POLLIN};

    assert_true(fd >= 0);
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(poll(&polled, 1, WAIT_MS), 1);
}

const char *fixture_path(const char *id, const char *name)
{
    static char path[256];

    snprintf(path, sizeof path, "%s/boxes/%s/%s", fixture_home, id, name);
    return path;
}

void fixture_write(const char *id, const char *name, const char *text)
{
    int fd = open(fixture_path(id, name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(bl_write_all(fd, text, strlen(text)), 0);
    close(fd);
}

const char *fixture_read(const char *id, const char *name)
{
    static char text[65536];
    int fd = open(fixture_path(id, name), O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : bl_read_all(fd, text, sizeof text - 1);

    text[n < 0 ? 0 : n] = '\0';
    if (fd >= 0)
        close(fd);
    return text;
}

/* count_shims() - As fixture_shims(); @kill_them: and end them, so that a test that failed leaves none */
static int count_shims(const char *id, bool kill_them)
{
    cleanup_dir DIR *proc = opendir("/proc");
    char expected[128];
    int count = 0;

    snprintf(expected, sizeof expected, "%s/boxlite-shim", fixture_runtime_dir);
    for (struct dirent *entry; (entry = readdir(proc));) {
        char path[300], line[4096];

        snprintf(path, sizeof path, "/proc/%s/cmdline", entry->d_name);

        cleanup_close int fd = entry->d_name[0] >= '0' && entry->d_name[0] <= '9' ? open(path, O_RDONLY | O_CLOEXEC) : -1;
        ssize_t n = fd < 0 ? -1 : bl_read_all(fd, line, sizeof line - 1);

        if (n <= 0)
            continue;
        line[n] = '\0';
        if (strcmp(line, expected) != 0 || (id && strcmp(line + strlen(line) + 1, id) != 0))
            continue;
        count++;
        if (kill_them)
            kill(atoi(entry->d_name), SIGKILL);
    }
    return count;
}

int fixture_shims(const char *id)
{
    return count_shims(id, false);
}

/* start_holder() - A child that runs @prepare, says so, and waits. */
static struct holder start_holder(int (*prepare)(const void *), const void *data)
{
    int up[2], down[2];
    struct holder holder;
    char byte = 0;

    assert_int_equal(pipe2(up, O_CLOEXEC), 0);
    assert_int_equal(pipe2(down, O_CLOEXEC), 0);
    holder.pid = fork();
    assert_true(holder.pid >= 0);
    if (holder.pid == 0) {
        close(down[1]);
        if (prepare(data) < 0 || write(up[1], "x", 1) != 1)
            _exit(1);
        while (read(down[0], &byte, 1) < 0)
            ;
        _exit(0);
    }
    close(up[1]);
    close(down[0]);
    assert_int_equal(read(up[0], &byte, 1), 1);
    close(up[0]);
    holder.release_fd = down[1];
    return holder;
}

struct range {
    const char *path;
    int command;
    short type;
    off_t start, length;
};

static int take_range(const void *data)
{
    const struct range *range = data;
    struct flock lock = {.l_type = range->type, .l_whence = SEEK_SET, .l_start = range->start, .l_len = range->length};
    int fd = open(range->path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

    return fd < 0 ? -1 : fcntl(fd, range->command, &lock);
}

struct holder hold_posix(const char *id)
{
    const struct range range = {fixture_path(id, BL_FILE_SHIM_LOCK), F_SETLK, F_WRLCK, 0, 0};

    return start_holder(take_range, &range);
}

struct holder hold_ofd(const char *id, const char *name, short type, off_t start, off_t length)
{
    const struct range range = {fixture_path(id, name), F_OFD_SETLK, type, start, length};

    return start_holder(take_range, &range);
}

void let_go(struct holder *holder)
{
    int status;

    close(holder->release_fd);
    assert_int_equal(waitpid(holder->pid, &status, 0), holder->pid);
    assert_int_equal(status, 0);
}
