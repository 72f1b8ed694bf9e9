/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lock.c - locks/<key>.lock; see lock.h
 *
 * The lock is flock(): it belongs to the open file, so it also parts threads of one process, and ends with the last
 * descriptor, however its owner dies. Whoever removes a disk also removes its lock file, so after getting the lock the file
 * must still be the one at the path.
 *
 * flock() can't be given up while it waits. A wait that may be cancelled is therefore done by a thread of its own, which the
 * caller abandons: the thread then closes the descriptor as soon as the wait is over, and is gone.
 */
#include "image/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/os.h"

/* A wait in a thread. Owned by both sides until each has let go; @mutex guards the rest. */
struct waiter {
    pthread_mutex_t mutex;
    int lock_fd;
    int done_fd;    /* eventfd: the wait is over */
    int result;     /* errno of flock(), 0: locked */
    bool over;      /* the thread is through */
    bool abandoned; /* the caller does not want it any more */
};

static void free_waiter(struct waiter *waiter)
{
    bl_close_fd(&waiter->lock_fd);
    bl_close_fd(&waiter->done_fd);
    pthread_mutex_destroy(&waiter->mutex);
    free(waiter);
}

static int lock_blocking(int fd)
{
    while (bl_os.flock(fd, LOCK_EX))
        if (errno != EINTR)
            return errno;
    return 0;
}

static void *wait_for_lock(void *data)
{
    struct waiter *waiter = data;
    int result = lock_blocking(waiter->lock_fd);

    pthread_mutex_lock(&waiter->mutex);
    waiter->result = result;
    waiter->over = true;
    bool abandoned = waiter->abandoned;

    if (!abandoned)
        eventfd_write(waiter->done_fd, 1);
    pthread_mutex_unlock(&waiter->mutex);
    if (abandoned)
        free_waiter(waiter);
    return NULL;
}

/* start_waiter() - Begin a wait on a copy of @fd. Return: NULL with errno */
static struct waiter *start_waiter(int fd)
{
    struct waiter *waiter = calloc(1, sizeof *waiter);
    pthread_attr_t attributes;
    pthread_t thread;

    if (!waiter)
        return NULL;
    pthread_mutex_init(&waiter->mutex, NULL);
    waiter->lock_fd = bl_os.fcntl(fd, F_DUPFD_CLOEXEC, 0);
    waiter->done_fd = bl_os.eventfd(0, EFD_CLOEXEC);
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);

    int result =
        waiter->lock_fd < 0 || waiter->done_fd < 0 ? errno : bl_os.pthread_create(&thread, &attributes, wait_for_lock, waiter);

    pthread_attr_destroy(&attributes);
    if (!result)
        return waiter;
    free_waiter(waiter);
    errno = result;
    return NULL;
}

/* lock_or_cancel() - Wait for the lock or for @cancel_fd. Return: 0; -1 with errno, ECANCELED when cancelled */
static int lock_or_cancel(int fd, int cancel_fd)
{
    struct waiter *waiter = start_waiter(fd);

    if (!waiter)
        return -1;

    struct pollfd polled[] = {{.fd = waiter->done_fd, .events = POLLIN}, {.fd = cancel_fd, .events = POLLIN}};

    while (bl_os.poll(polled, 2, -1) < 0 && errno == EINTR)
        ;
    pthread_mutex_lock(&waiter->mutex);
    bool over = waiter->over;
    int result = over ? waiter->result : ECANCELED;

    waiter->abandoned = true;
    pthread_mutex_unlock(&waiter->mutex);
    if (over)
        free_waiter(waiter); /* the lock stays: @fd is the same open file */
    errno = result;
    return result ? -1 : 0;
}

static int take(int fd, int cancel_fd)
{
    if (!bl_flock(fd, LOCK_EX | LOCK_NB))
        return 0;
    if (errno != EWOULDBLOCK)
        return -1;
    if (cancel_fd >= 0)
        return lock_or_cancel(fd, cancel_fd);
    errno = lock_blocking(fd);
    return errno ? -1 : 0;
}

int bl_image_lock(int images_fd, const char *key, int cancel_fd, struct bl_error *err)
{
    char name[128];

    snprintf(name, sizeof name, "locks/%s.lock", key);
    /* A store that was copied or tidied by hand may lack the folder. */
    if (bl_os.mkdirat(images_fd, "locks", 0700) < 0 && errno != EEXIST)
        return bl_fail(err, BL_STORAGE, errno, "make the folder images/locks");
    for (;;) {
        cleanup_close int fd = bl_os.openat(images_fd, name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
        struct stat opened, named;

        if (fd < 0)
            return bl_fail(err, BL_STORAGE, errno, "open the lock images/%s", name);
        if (take(fd, cancel_fd))
            return errno == ECANCELED ? bl_fail(err, BL_STOPPED, 0, "cancelled while another process builds the same image")
                                      : bl_fail(err, BL_STORAGE, errno, "lock images/%s", name);
        if (bl_os.fstat(fd, &opened))
            return bl_fail(err, BL_STORAGE, errno, "examine the lock images/%s", name);
        if (!bl_os.fstatat(images_fd, name, &named, AT_SYMLINK_NOFOLLOW) && named.st_ino == opened.st_ino)
            return bl_steal_fd(&fd);
    }
}
