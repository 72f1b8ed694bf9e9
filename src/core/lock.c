/* SPDX-License-Identifier: Apache-2.0 */
/* lock.c - the locks of a box, and waiting for them; see lock.h */
#include "core/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/crash.h"
#include "base/io.h"
#include "base/os.h"
#include "core/core.h"
#include "proto/launch.h"

/* Where QEMU locks an image: block/file-posix.c, RAW_LOCK_PERM_BASE and RAW_LOCK_SHARED_BASE, one byte a permission. */
#define DISK_LOCK_START 100
#define DISK_LOCK_BYTES 200

#define BOX_PATH_MAX (BL_BOX_ID_LENGTH + 64)

/* One wait, shared by the waiter and its thread; whoever is last frees it. */
struct lock_wait {
    atomic_int users;
    int fd; /* the thread's own reference, a duplicate: the same open file description as the waiter's */
    struct flock lock;
    int done_fd;      /* eventfd: the thread has an answer */
    atomic_int error; /* errno of the locking; valid when done */
};

static void drop_wait(struct lock_wait *wait)
{
    if (atomic_fetch_sub(&wait->users, 1) > 1)
        return;
    if (wait->fd >= 0)
        close(wait->fd);
    if (wait->done_fd >= 0)
        close(wait->done_fd);
    free(wait);
}

static void *wait_for_lock(void *data)
{
    struct lock_wait *wait = data;
    struct flock lock = wait->lock;
    int failed;

    do
        failed = bl_os.fcntl(wait->fd, F_OFD_SETLKW, &lock);
    while (failed && errno == EINTR);
    atomic_store(&wait->error, failed ? errno : 0);
    if (eventfd_write(wait->done_fd, 1) < 0)
        atomic_store(&wait->error, errno);
    drop_wait(wait);
    return NULL;
}

/* start_waiter() - A thread that blocks in the kernel for a lock, deaf to the host program's signals. Return: NULL with errno */
static struct lock_wait *start_waiter(int fd, const struct flock *lock)
{
    struct lock_wait *wait = calloc(1, sizeof *wait);
    pthread_attr_t attributes;
    pthread_t thread;
    sigset_t all, before;

    if (!wait)
        return NULL;
    wait->lock = *lock;
    atomic_init(&wait->users, 1);
    wait->fd = bl_os.fcntl(fd, F_DUPFD_CLOEXEC, 0);
    wait->done_fd = bl_os.eventfd(0, EFD_CLOEXEC);
    if (wait->fd < 0 || wait->done_fd < 0) {
        drop_wait(wait);
        return NULL;
    }
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attributes, PTHREAD_STACK_MIN > 65536 ? PTHREAD_STACK_MIN : 65536);
    atomic_fetch_add(&wait->users, 1);

    int failed = bl_os.pthread_create(&thread, &attributes, wait_for_lock, wait);

    pthread_attr_destroy(&attributes);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed) {
        atomic_fetch_sub(&wait->users, 1);
        drop_wait(wait);
        errno = failed;
        return NULL;
    }
    return wait;
}

/*
 * lock_range() - Lock a range, waiting for it
 *
 * When it gives up, the thread that waits still holds a duplicate of @fd, and will get the lock once: the caller must close
 * its own descriptor and not use the description again; the lock then ends with the thread.
 *
 * Return: 0; -1 with errno: ETIMEDOUT, ECANCELED, or what fcntl() says
 */
static int lock_range(int fd, struct flock *lock, int64_t deadline, int cancel_fd)
{
    struct flock attempt = *lock;

    if (bl_os.fcntl(fd, F_OFD_SETLK, &attempt) == 0)
        return 0;
    if (errno != EAGAIN && errno != EACCES)
        return -1;

    struct lock_wait *wait = start_waiter(fd, lock);

    if (!wait)
        return -1;

    struct pollfd polled[] = {{.fd = wait->done_fd, .events = POLLIN}, {.fd = cancel_fd, .events = POLLIN}};
    int error = 0;

    for (;;) {
        int n = bl_os.poll(polled, 2, bl_deadline_left(deadline));

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            error = errno;
        else if (polled[0].revents)
            error = atomic_load(&wait->error);
        else
            error = n == 0 ? ETIMEDOUT : ECANCELED;
        break;
    }
    drop_wait(wait);
    errno = error;
    return error ? -1 : 0;
}

static struct flock whole_file(void)
{
    return (struct flock){.l_type = F_WRLCK, .l_whence = SEEK_SET};
}

static int open_in_box(int boxes_fd, const char *id, const char *name, int flags)
{
    char path[BOX_PATH_MAX];

    snprintf(path, sizeof path, "%s/%s", id, name);
    return bl_os.openat(boxes_fd, path, flags | O_CLOEXEC | O_NOFOLLOW, 0600);
}

/* still_there() - Whether the locked file is the one at its path. Return: 1, 0; -1 with errno */
static int still_there(int fd, int boxes_fd, const char *id)
{
    char path[BOX_PATH_MAX];
    struct stat mine, there;

    snprintf(path, sizeof path, "%s/%s", id, BL_FILE_LIFECYCLE_LOCK);
    if (bl_os.fstat(fd, &mine) < 0)
        return -1;
    if (bl_os.fstatat(boxes_fd, path, &there, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : -1;
    return mine.st_dev == there.st_dev && mine.st_ino == there.st_ino;
}

int bl_lifecycle_lock(int boxes_fd, const char *id, int64_t deadline, int cancel_fd, struct bl_error *err)
{
    for (;;) {
        /* A lock file that was deleted by hand is made anew, or the box could never be removed; no directory: no box. */
        cleanup_close int fd = open_in_box(boxes_fd, id, BL_FILE_LIFECYCLE_LOCK, O_RDWR | O_CREAT);
        struct flock lock = whole_file();

        if (fd < 0)
            return bl_fail(err, errno == ENOENT ? BL_NOT_FOUND : BL_STORAGE, errno == ENOENT ? 0 : errno,
                           errno == ENOENT ? "No such box: %s" : "open the lifecycle lock of box %s", id);
        if (lock_range(fd, &lock, deadline, cancel_fd) < 0) {
            if (errno == ETIMEDOUT)
                return bl_fail(err, BL_INVALID_STATE, 0, "box %s is being changed by another program: try again later", id);
            if (errno == ECANCELED)
                return bl_fail(err, BL_STOPPED, 0, "given up while another program changes box %s", id);
            return bl_fail(err, BL_STORAGE, errno, "lock box %s", id);
        }

        int there = still_there(fd, boxes_fd, id);

        if (there > 0)
            return bl_steal_fd(&fd);
        bl_lifecycle_unlock(bl_steal_fd(&fd));
        if (there < 0)
            return bl_fail(err, BL_STORAGE, errno, "look at the lifecycle lock of box %s", id);
    }
}

int bl_lifecycle_try(int boxes_fd, const char *id)
{
    for (;;) {
        cleanup_close int fd = open_in_box(boxes_fd, id, BL_FILE_LIFECYCLE_LOCK, O_RDWR);
        struct flock lock = whole_file();

        if (fd < 0)
            return -1;
        if (bl_os.fcntl(fd, F_OFD_SETLK, &lock) < 0) {
            errno = errno == EACCES ? EAGAIN : errno;
            return -1;
        }

        int there = still_there(fd, boxes_fd, id);

        if (there > 0)
            return bl_steal_fd(&fd);
        bl_lifecycle_unlock(bl_steal_fd(&fd));
        if (there < 0)
            return -1;
    }
}

/* give_up_directory() - Remove a directory that could not be locked. Return: -1 with the errno that it found */
static int give_up_directory(int boxes_fd, const char *id)
{
    int saved = errno;

    bl_remove_tree(boxes_fd, id);
    errno = saved;
    return -1;
}

int bl_lifecycle_create(int boxes_fd, const char *id)
{
    for (;;) {
        if (bl_os.mkdirat(boxes_fd, id, 0700) < 0)
            return -1;
        BL_CRASH_POINT("create:directory-made");

        cleanup_close int fd = open_in_box(boxes_fd, id, BL_FILE_LIFECYCLE_LOCK, O_RDWR | O_CREAT | O_EXCL);
        struct flock lock = whole_file();

        /* A sweep may take a directory that is not locked yet for an abandoned one: then once more from the start. */
        if (fd < 0 && errno == ENOENT)
            continue;
        if (fd < 0)
            return give_up_directory(boxes_fd, id);
        BL_CRASH_POINT("create:lock-made");
        while (bl_os.fcntl(fd, F_OFD_SETLKW, &lock) < 0)
            if (errno != EINTR)
                return give_up_directory(boxes_fd, id);
        BL_CRASH_POINT("create:locked");

        int there = still_there(fd, boxes_fd, id);

        if (there > 0)
            return bl_steal_fd(&fd);
        if (there < 0)
            give_up_directory(boxes_fd, id);
        bl_lifecycle_unlock(bl_steal_fd(&fd));
        if (there < 0)
            return -1;
    }
}

void bl_lifecycle_unlock(int fd)
{
    struct flock unlock = {.l_type = F_UNLCK, .l_whence = SEEK_SET};

    if (fd < 0)
        return;
    bl_os.fcntl(fd, F_OFD_SETLK, &unlock);
    close(fd);
}

/* probe_ofd() - Whether a lock of an open file description that is not ours, or a POSIX lock, stands in the way. */
static enum bl_lock_state probe_ofd(int fd, off_t start, off_t length)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = start, .l_len = length};

    if (bl_os.fcntl(fd, F_OFD_GETLK, &lock) < 0)
        return BL_LOCK_UNKNOWN;
    return lock.l_type == F_UNLCK ? BL_LOCK_FREE : BL_LOCK_HELD;
}

enum bl_lock_state bl_lifecycle_probe(int boxes_fd, const char *id)
{
    cleanup_close int fd = open_in_box(boxes_fd, id, BL_FILE_LIFECYCLE_LOCK, O_RDWR);

    if (fd < 0)
        return errno == ENOENT ? BL_LOCK_FREE : BL_LOCK_UNKNOWN;
    return probe_ofd(fd, 0, 0);
}

enum bl_lock_state bl_shim_lock_probe(int boxes_fd, const char *id, pid_t *holder)
{
    cleanup_close int fd = open_in_box(boxes_fd, id, BL_FILE_SHIM_LOCK, O_RDWR);
    struct flock lock = whole_file();

    *holder = 0;
    if (fd < 0)
        return errno == ENOENT ? BL_LOCK_FREE : BL_LOCK_UNKNOWN;
    if (bl_os.fcntl(fd, F_GETLK, &lock) < 0)
        return BL_LOCK_UNKNOWN;
    if (lock.l_type == F_UNLCK)
        return BL_LOCK_FREE;
    /* The pid is 0 when the holder lives in a pid namespace that we do not see, -1 for a lock without an owner. */
    *holder = lock.l_pid > 0 ? lock.l_pid : 0;
    return BL_LOCK_HELD;
}

enum bl_lock_state bl_disk_lock_probe(int boxes_fd, const char *id)
{
    cleanup_close int fd = open_in_box(boxes_fd, id, BL_FILE_OVERLAY, O_RDWR);

    if (fd < 0)
        return errno == ENOENT ? BL_LOCK_FREE : BL_LOCK_UNKNOWN;
    return probe_ofd(fd, DISK_LOCK_START, DISK_LOCK_BYTES);
}

int bl_disk_lock_wait(int boxes_fd, const char *id, int64_t deadline, int cancel_fd, struct bl_error *err)
{
    cleanup_close int fd = open_in_box(boxes_fd, id, BL_FILE_OVERLAY, O_RDWR);
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = DISK_LOCK_START, .l_len = DISK_LOCK_BYTES};

    if (fd < 0)
        return errno == ENOENT ? 0 : bl_fail(err, BL_STORAGE, errno, "open the disk of box %s", id);
    if (lock_range(fd, &lock, deadline, cancel_fd) < 0) {
        if (errno == ETIMEDOUT)
            return bl_fail(err, BL_INVALID_STATE, 0,
                           "the disk of box %s is still in use, though its host process is gone: an emulator may have outlived it",
                           id);
        if (errno == ECANCELED)
            return bl_fail(err, BL_STOPPED, 0, "given up while the disk of box %s is still in use", id);
        return bl_fail(err, BL_STORAGE, errno, "lock the disk of box %s", id);
    }
    lock.l_type = F_UNLCK;
    bl_os.fcntl(fd, F_OFD_SETLK, &lock);
    return 0;
}
