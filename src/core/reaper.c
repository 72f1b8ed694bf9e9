/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reaper.c - see reaper.h
 *
 * The thread only turns readiness of a pidfd into a waitid(P_PIDFD). Owners that ask may be faster than the thread: they try
 * the same waitid themselves, under the same mutex, so that nobody ever waits for the thread's turn.
 */
#include "core/reaper.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/os.h"

#define EVENTS_AT_ONCE 16

#ifndef P_PIDFD
#define P_PIDFD 3
#endif

struct bl_child {
    struct bl_child *next;
    pid_t pid;
    int pidfd; /* -1 once it ended */
    int owners;
    enum bl_child_state state;
    int status;
};

struct bl_reaper {
    pthread_mutex_t lock; /* guards all below but what join_lock does */
    struct bl_child *children;
    int epoll_fd, wake_fd;
    bool running, stopping;
    pthread_t thread;
    pthread_mutex_t join_lock; /* guards joined; whoever holds it waits for the thread */
    bool joined;
};

/* wait_status() - What waitid() tells, in the form of waitpid(). */
static int wait_status(const siginfo_t *info)
{
    if (info->si_code == CLD_EXITED)
        return (info->si_status & 0xff) << 8;
    return (info->si_status & 0x7f) | (info->si_code == CLD_DUMPED ? 0x80 : 0);
}

/* reap() - Reap a child if it ended. The lock is held. */
static void reap(struct bl_reaper *reaper, struct bl_child *child)
{
    siginfo_t info = {0};

    if (child->state != BL_CHILD_ALIVE)
        return;
    while (bl_os.waitid((idtype_t)P_PIDFD, (id_t)child->pidfd, &info, WEXITED | WNOHANG) < 0) {
        if (errno == EINTR)
            continue;
        /* ECHILD: the host program reaped it, or has the kernel do it. It is gone only when its pidfd says so. */
        child->state = BL_CHILD_LOST;
        break;
    }
    if (child->state == BL_CHILD_ALIVE && info.si_pid == 0)
        return;
    if (child->state == BL_CHILD_ALIVE) {
        child->status = wait_status(&info);
        child->state = BL_CHILD_ENDED;
    }
    bl_os.epoll_ctl(reaper->epoll_fd, EPOLL_CTL_DEL, child->pidfd, NULL);
    close(child->pidfd);
    child->pidfd = -1;
}

/* drop_unowned() - Forget the children that ended and that nobody asks for. The lock is held. */
static void drop_unowned(struct bl_reaper *reaper)
{
    for (struct bl_child **at = &reaper->children; *at;) {
        struct bl_child *child = *at;

        if (child->owners || child->state == BL_CHILD_ALIVE) {
            at = &child->next;
            continue;
        }
        *at = child->next;
        free(child);
    }
}

static void *reap_children(void *data)
{
    struct bl_reaper *reaper = data;

    for (;;) {
        struct epoll_event events[EVENTS_AT_ONCE];
        int count = bl_os.epoll_wait(reaper->epoll_fd, events, EVENTS_AT_ONCE, -1);

        if (count < 0 && errno != EINTR)
            return NULL;
        pthread_mutex_lock(&reaper->lock);
        if (reaper->stopping) {
            pthread_mutex_unlock(&reaper->lock);
            return NULL;
        }
        /* An owner may have reaped and freed a child of these events meanwhile, so they are looked up by pid. */
        for (int i = 0; i < count; i++)
            for (struct bl_child *child = reaper->children; child; child = child->next)
                if ((uint64_t)child->pid == events[i].data.u64)
                    reap(reaper, child);
        drop_unowned(reaper);
        pthread_mutex_unlock(&reaper->lock);
    }
}

int bl_reaper_new(struct bl_reaper **out, struct bl_error *err)
{
    struct bl_reaper *reaper = calloc(1, sizeof *reaper);

    *out = NULL;
    if (!reaper)
        return bl_fail_memory(err);
    pthread_mutex_init(&reaper->lock, NULL);
    pthread_mutex_init(&reaper->join_lock, NULL);
    reaper->epoll_fd = bl_os.epoll_create1(EPOLL_CLOEXEC);
    reaper->wake_fd = bl_os.eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

    struct epoll_event event = {.events = EPOLLIN, .data.u64 = 0};

    if (reaper->epoll_fd < 0 || reaper->wake_fd < 0 ||
        bl_os.epoll_ctl(reaper->epoll_fd, EPOLL_CTL_ADD, reaper->wake_fd, &event) < 0) {
        bl_fail(err, BL_INTERNAL, errno, "make the reaper's descriptors");
        bl_reaper_free(reaper);
        return -1;
    }
    *out = reaper;
    return 0;
}

/* start_thread() - Make the thread, deaf to signals, if it is not there. The lock is held. Return: 0; -1 with errno */
static int start_thread(struct bl_reaper *reaper)
{
    sigset_t all, before;

    if (reaper->running)
        return 0;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);

    int failed = bl_os.pthread_create(&reaper->thread, NULL, reap_children, reaper);

    pthread_sigmask(SIG_SETMASK, &before, NULL);
    errno = failed;
    reaper->running = !failed;
    return failed ? -1 : 0;
}

void bl_reaper_shutdown(struct bl_reaper *reaper)
{

    pthread_mutex_lock(&reaper->lock);
    reaper->stopping = true;

    bool running = reaper->running;

    pthread_mutex_unlock(&reaper->lock);
    if (!running)
        return;
    while (eventfd_write(reaper->wake_fd, 1) < 0 && errno == EINTR)
        ;
    pthread_mutex_lock(&reaper->join_lock);
    if (!reaper->joined)
        pthread_join(reaper->thread, NULL);
    reaper->joined = true;
    pthread_mutex_unlock(&reaper->join_lock);
}

void bl_reaper_free(struct bl_reaper *reaper)
{
    if (!reaper)
        return;
    bl_reaper_shutdown(reaper);
    while (reaper->children) {
        struct bl_child *child = reaper->children;

        reaper->children = child->next;
        /* The last moment at which one that just ended can be saved from staying a zombie. */
        reap(reaper, child);
        if (child->pidfd >= 0)
            close(child->pidfd);
        free(child);
    }
    if (reaper->wake_fd >= 0)
        close(reaper->wake_fd);
    if (reaper->epoll_fd >= 0)
        close(reaper->epoll_fd);
    pthread_mutex_destroy(&reaper->lock);
    pthread_mutex_destroy(&reaper->join_lock);
    free(reaper);
}

struct bl_child *bl_reaper_register(struct bl_reaper *reaper, pid_t pid, int pidfd, struct bl_error *err)
{
    struct bl_child *child;

    pthread_mutex_lock(&reaper->lock);
    if (reaper->stopping || start_thread(reaper) < 0) {
        bl_fail(err, BL_INTERNAL, reaper->stopping ? 0 : errno, "start the reaper%s", reaper->stopping ? ": it was shut down" : "");
        pthread_mutex_unlock(&reaper->lock);
        return NULL;
    }
    /* A child that was not reaped keeps its pid, so among the living a pid names one. */
    for (child = reaper->children; child; child = child->next)
        if (child->pid == pid && child->state == BL_CHILD_ALIVE)
            break;
    if (child) {
        child->owners++;
        pthread_mutex_unlock(&reaper->lock);
        return child;
    }

    struct epoll_event event = {.events = EPOLLIN, .data.u64 = (uint64_t)pid};

    child = calloc(1, sizeof *child);
    if (child) {
        *child = (struct bl_child){.pid = pid, .owners = 1, .state = BL_CHILD_ALIVE, .next = reaper->children};
        child->pidfd = bl_os.fcntl(pidfd, F_DUPFD_CLOEXEC, 0);
    }
    if (!child || child->pidfd < 0 || bl_os.epoll_ctl(reaper->epoll_fd, EPOLL_CTL_ADD, child->pidfd, &event) < 0) {
        bl_fail(err, BL_RESOURCE_EXHAUSTED, errno, "watch process %d", (int)pid);
        if (child && child->pidfd >= 0)
            close(child->pidfd);
        free(child);
        child = NULL;
    } else {
        reaper->children = child;
    }
    pthread_mutex_unlock(&reaper->lock);
    return child;
}

enum bl_child_state bl_child_status(struct bl_reaper *reaper, struct bl_child *child, int *status)
{
    pthread_mutex_lock(&reaper->lock);
    reap(reaper, child);

    enum bl_child_state state = child->state;

    if (state == BL_CHILD_ENDED && status)
        *status = child->status;
    pthread_mutex_unlock(&reaper->lock);
    return state;
}

void bl_child_release(struct bl_reaper *reaper, struct bl_child *child)
{
    if (!child)
        return;
    pthread_mutex_lock(&reaper->lock);
    child->owners--;
    reap(reaper, child);
    drop_unowned(reaper);
    pthread_mutex_unlock(&reaper->lock);
}

void bl_reaper_await(struct bl_reaper *reaper, pid_t pid, int64_t deadline)
{
    struct pollfd ended = {.fd = -1, .events = POLLIN};

    pthread_mutex_lock(&reaper->lock);
    for (const struct bl_child *child = reaper->children; child && ended.fd < 0; child = child->next)
        if (child->pid == pid && child->state == BL_CHILD_ALIVE)
            ended.fd = bl_os.fcntl(child->pidfd, F_DUPFD_CLOEXEC, 0);
    pthread_mutex_unlock(&reaper->lock);
    if (ended.fd < 0)
        return;
    while (bl_os.poll(&ended, 1, bl_deadline_left(deadline)) < 0 && errno == EINTR)
        ;
    close(ended.fd);
    pthread_mutex_lock(&reaper->lock);
    for (struct bl_child *child = reaper->children; child; child = child->next) {
        if (child->pid == pid)
            reap(reaper, child);
    }
    drop_unowned(reaper);
    pthread_mutex_unlock(&reaper->lock);
}

size_t bl_reaper_count(struct bl_reaper *reaper)
{
    size_t count = 0;

    pthread_mutex_lock(&reaper->lock);
    for (const struct bl_child *child = reaper->children; child; child = child->next)
        count++;
    pthread_mutex_unlock(&reaper->lock);
    return count;
}
