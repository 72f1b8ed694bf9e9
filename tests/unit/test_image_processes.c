/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_image_processes.c - many at once, killed in the middle, given up
 *
 * A loader is held at a known place by the pipe that it reads: what it got so far is what the test wrote. No test waits for
 * time to pass.
 */
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/strings.h"
#include "image/lock.h"
#include "image/record.h"
#include "image/store.h"
#include "image_fixture.h"

#define LOADERS 4

static struct home home;
static struct bl_images *images;

static int set_up(void **state)
{
    (void)state;
    home_make(&home);
    assert_int_equal(bl_images_open(home.path, BUILD_DIR, &images, NULL), 0);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    bl_images_close(images);
    home_remove(&home);
    return 0;
}

static struct bl_buffer some_layer(void)
{
    struct bl_buffer layer = TAR_INIT;
    char name[32], content[10000];

    for (int i = 0; i < 300; i++) {
        snprintf(name, sizeof name, "directory-%d/file-%d", i % 7, i);
        memset(content, 'a' + i % 26, sizeof content);
        tar_add(&layer, &(struct entry){.path = name, .data = content, .length = sizeof content - (size_t)i});
    }
    tar_end(&layer);
    return layer;
}

static struct bl_buffer some_archive(void)
{
    struct bl_buffer layer = some_layer();
    struct layout layout = oci_layout(&(struct recipe){.layers = &layer, .layer_count = 1});
    struct bl_buffer tar = layout_tar(&layout);

    layout_free(&layout);
    bl_buffer_free(&layer);
    return tar;
}

/* load_fd() - Load from a descriptor. Return: 0, or the error's code */
static int load_fd(int fd, const char *name, int cancel_fd)
{
    struct bl_load_request request = {.fd = fd, .reference = name, .cancel_fd = cancel_fd};
    struct bl_error err = BL_ERROR_INIT;
    struct bl_image **loaded;
    size_t count;

    if (bl_images_load(images, &request, &loaded, &count, &err)) {
        if (err.code != BL_STOPPED)
            fprintf(stderr, "%s\n", err.message);
        return (int)err.code;
    }
    bl_image_free_list(loaded, count);
    return 0;
}

/* All of one image, under two names, while one of them removes what it loaded. */
static void many_load_at_once(void **state)
{
    struct bl_buffer tar = some_archive();
    cleanup_free char *path = bl_format("%s/archive.tar", home.path);
    pid_t children[LOADERS];
    struct bl_image **list;
    size_t count;

    (void)state;
    write_file(path, &tar);
    bl_buffer_free(&tar);
    for (int i = 0; i < LOADERS; i++) {
        children[i] = fork();
        assert_true(children[i] >= 0);
        if (!children[i]) {
            char name[32];
            int result = 0;

            snprintf(name, sizeof name, "name-%d", i % 2);
            for (int round = 0; !result && round < 5; round++) {
                int fd = open(path, O_RDONLY | O_CLOEXEC);

                result = load_fd(fd, name, -1);
                close(fd);
                /* Another of the same name may write its record between; not being there is no failure then. */
                struct bl_error err = BL_ERROR_INIT;

                if (!result && i == 3 && round < 4 && bl_images_remove(images, name, NULL, NULL, &err) && err.code != BL_NOT_FOUND)
                    result = 99;
            }
            _exit(result);
        }
    }
    for (int i = 0; i < LOADERS; i++) {
        int status;

        assert_int_equal(waitpid(children[i], &status, 0), children[i]);
        assert_int_equal(status, 0);
    }
    home_is_clean(&home, 2, 1);
    assert_int_equal(bl_images_list(images, &list, &count, NULL), 0);
    assert_int_equal(count, 2);

    struct disk disk = disk_open(list[0]);

    assert_int_not_equal(disk_find(&disk, "/directory-5/file-299"), 0);
    disk_close(&disk);
    bl_image_free_list(list, count);
}

/* wait_until_read() - Until a pipe is empty: its reader has taken all that was written, and waits for more. */
static void wait_until_read(int fd)
{
    struct pollfd polled = {.fd = fd, .events = POLLOUT};
    int left = 1;

    /* One page of buffer: writable means that the reader has taken the last byte. */
    assert_int_equal(poll(&polled, 1, 120000), 1);
    assert_int_equal(ioctl(fd, FIONREAD, &left), 0);
    assert_int_equal(left, 0);
}

/* feed() - Write the start of an archive to a loader in a child, so that it is in the middle. */
static pid_t feed(const struct bl_buffer *tar, size_t length, int *end)
{
    int ends[2];
    pid_t child;

    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    assert_int_equal(fcntl(ends[1], F_SETPIPE_SZ, 4096), 4096);
    child = fork();
    assert_true(child >= 0);
    if (!child) {
        close(ends[1]);
        _exit(load_fd(ends[0], "killed", -1));
    }
    close(ends[0]);
    assert_int_equal(bl_write_all(ends[1], bl_buffer_data(tar), length), 0);
    wait_until_read(ends[1]);
    *end = ends[1];
    return child;
}

static void a_killed_load_leaves_nothing(void **state)
{
    struct bl_buffer tar = some_archive();
    cleanup_free char *path = bl_format("%s/archive.tar", home.path);
    struct bl_image **list;
    size_t count;
    int status, end, fd;

    (void)state;
    for (size_t part = 1; part < 4; part++) {
        pid_t child = feed(&tar, tar.length / 4 * part / 4096 * 4096, &end);

        assert_int_equal(kill(child, SIGKILL), 0);
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status));
        close(end);
        assert_int_equal(bl_images_list(images, &list, &count, NULL), 0);
        assert_int_equal(count, 0);
        free(list);
    }
    write_file(path, &tar);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_int_equal(load_fd(fd, "killed", -1), 0);
    close(fd);
    home_is_clean(&home, 1, 1);
    bl_buffer_free(&tar);
}

/* hold() - A progress callback that says when a layer is on the disk, and then waits to be killed. */
static void hold(const struct bl_load_progress *progress, void *data)
{
    const int *ready = data;

    if (strcmp(progress->what, "writing") != 0 || progress->done_bytes < progress->total_bytes)
        return;
    if (write(*ready, "x", 1) == 1)
        pause();
}

static size_t count_partial(void)
{
    cleanup_free char *path = bl_format("%s/partial", home.images);
    cleanup_dir DIR *directory = opendir(path);
    const struct dirent *entry;
    size_t count = 0;

    assert_non_null(directory);
    while ((entry = readdir(directory)))
        count += entry->d_name[0] != '.';
    return count;
}

static void a_kill_while_writing_leaves_nothing(void **state)
{
    struct bl_buffer tar = some_archive();
    cleanup_free char *path = bl_format("%s/archive.tar", home.path);
    int status, ready[2], fd;
    char byte;

    (void)state;
    write_file(path, &tar);
    bl_buffer_free(&tar);
    assert_int_equal(pipe2(ready, O_CLOEXEC), 0);

    pid_t child = fork();

    assert_true(child >= 0);
    if (!child) {
        struct bl_load_request request = {
            .path = path, .fd = -1, .reference = "x", .cancel_fd = -1, .progress = hold, .progress_data = &ready[1]};
        struct bl_image **loaded;
        size_t count;

        _exit(bl_images_load(images, &request, &loaded, &count, NULL) ? 1 : 0);
    }
    close(ready[1]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    close(ready[0]);

    /* While its writer lives the half disk stays; the first load after its death takes it away. */
    bl_images_sweep(images);
    assert_int_equal(count_partial(), 1);
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(count_partial(), 1);
    bl_images_sweep(images);
    home_is_clean(&home, 0, 0);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_int_equal(load_fd(fd, "x", -1), 0);
    close(fd);
    home_is_clean(&home, 1, 1);
}

struct cancelled {
    int fd, cancel_fd, result;
};

static void *load_in_thread(void *data)
{
    struct cancelled *cancelled = data;

    cancelled->result = load_fd(cancelled->fd, "cancelled", cancelled->cancel_fd);
    return NULL;
}

static void a_cancelled_load_leaves_nothing(void **state)
{
    struct bl_buffer tar = some_archive();
    struct cancelled cancelled = {.cancel_fd = eventfd(0, EFD_CLOEXEC)};
    pthread_t thread;
    int ends[2];

    (void)state;
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    assert_int_equal(fcntl(ends[1], F_SETPIPE_SZ, 4096), 4096);
    cancelled.fd = ends[0];
    assert_int_equal(pthread_create(&thread, NULL, load_in_thread, &cancelled), 0);
    assert_int_equal(bl_write_all(ends[1], bl_buffer_data(&tar), tar.length / 2 / 4096 * 4096), 0);
    wait_until_read(ends[1]);
    assert_int_equal(eventfd_write(cancelled.cancel_fd, 1), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(cancelled.result, BL_STOPPED);
    home_is_clean(&home, 0, 0);
    close(ends[0]);
    close(ends[1]);
    close(cancelled.cancel_fd);
    bl_buffer_free(&tar);
}

#define KEY "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

struct waiter {
    int images_fd, cancel_fd, result;
    struct bl_error err;
};

static void *wait_for_lock(void *data)
{
    struct waiter *waiter = data;

    waiter->result = bl_image_lock(waiter->images_fd, KEY, waiter->cancel_fd, &waiter->err);
    return NULL;
}

static void a_wait_for_the_lock_can_be_cancelled(void **state)
{
    int images_fd = open(home.images, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct waiter waiter = {.images_fd = images_fd, .cancel_fd = eventfd(0, EFD_CLOEXEC), .result = -2};
    int held = bl_image_lock(images_fd, KEY, -1, NULL);
    pthread_t thread;

    (void)state;
    assert_true(held >= 0);
    assert_int_equal(pthread_create(&thread, NULL, wait_for_lock, &waiter), 0);
    assert_int_equal(eventfd_write(waiter.cancel_fd, 1), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(waiter.result, -1);
    assert_int_equal(waiter.err.code, BL_STOPPED);

    /* Not cancelled, it gets the lock when its holder lets go: that of the file that is there now. */
    struct stat named, locked;
    eventfd_t value;
    int other;

    assert_int_equal(eventfd_read(waiter.cancel_fd, &value), 0);
    assert_int_equal(pthread_create(&thread, NULL, wait_for_lock, &waiter), 0);
    assert_int_equal(unlinkat(images_fd, "locks/" KEY ".lock", 0), 0);
    other = openat(images_fd, "locks/" KEY ".lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_true(other >= 0);
    close(held);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_true(waiter.result >= 0);
    assert_int_equal(fstat(waiter.result, &locked), 0);
    assert_int_equal(fstatat(images_fd, "locks/" KEY ".lock", &named, 0), 0);
    assert_int_equal(locked.st_ino, named.st_ino);
    close(other);
    close(waiter.result);
    close(waiter.cancel_fd);
    close(images_fd);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(many_load_at_once),
        T(a_killed_load_leaves_nothing),
        T(a_kill_while_writing_leaves_nothing),
        T(a_cancelled_load_leaves_nothing),
        T(a_wait_for_the_lock_can_be_cancelled),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
