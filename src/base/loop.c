/* SPDX-License-Identifier: Apache-2.0 */
/* loop.c - the event loop, on epoll; see loop.h */
#include "base/loop.h"

#include <errno.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/os.h"

int bl_loop_init(struct bl_loop *loop)
{
    *loop = (struct bl_loop){.epoll_fd = bl_os.epoll_create1(EPOLL_CLOEXEC)};
    return loop->epoll_fd < 0 ? -1 : 0;
}

void bl_loop_finish(struct bl_loop *loop)
{
    while (loop->timers)
        bl_timer_cancel(loop->timers);
    if (loop->epoll_fd >= 0)
        close(loop->epoll_fd);
    loop->epoll_fd = -1;
}

int bl_source_add(struct bl_loop *loop, struct bl_source *source)
{
    struct epoll_event event = {.events = source->events, .data.ptr = source};

    if (bl_os.epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, source->fd, &event) < 0)
        return -1;
    source->loop = loop;
    return 0;
}

void bl_source_watch(struct bl_source *source, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = source};

    if (!source->loop || source->events == events)
        return;
    source->events = events;
    bl_os.epoll_ctl(source->loop->epoll_fd, EPOLL_CTL_MOD, source->fd, &event);
}

void bl_source_remove(struct bl_source *source)
{
    struct bl_loop *loop = source->loop;

    if (!loop)
        return;
    bl_os.epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, source->fd, NULL);
    for (int i = 0; i < loop->round_length; i++)
        if (loop->round[i] == source)
            loop->round[i] = NULL;
    source->loop = NULL;
}

void bl_timer_set(struct bl_loop *loop, struct bl_timer *timer, int64_t due_ms)
{
    bl_timer_cancel(timer);

    struct bl_timer **at = &loop->timers;

    while (*at && (*at)->due_ms <= due_ms)
        at = &(*at)->next;
    timer->due_ms = due_ms;
    timer->loop = loop;
    timer->next = *at;
    *at = timer;
}

void bl_timer_cancel(struct bl_timer *timer)
{
    if (!timer->loop)
        return;
    for (struct bl_timer **at = &timer->loop->timers; *at; at = &(*at)->next) {
        if (*at == timer) {
            *at = timer->next;
            break;
        }
    }
    timer->loop = NULL;
    timer->next = NULL;
}

/* run_timers() - Call what is due now; what its callbacks set for now waits for the next step. */
static void run_timers(struct bl_loop *loop)
{
    int64_t now = bl_now_ms();

    while (loop->timers && loop->timers->due_ms <= now && !loop->stopped) {
        struct bl_timer *timer = loop->timers;

        bl_timer_cancel(timer);
        timer->expired(timer);
    }
}

int bl_loop_step(struct bl_loop *loop, int timeout_ms)
{
    struct epoll_event events[BL_LOOP_EVENTS];

    if (loop->timers) {
        int left = bl_deadline_left(loop->timers->due_ms);

        if (timeout_ms < 0 || left < timeout_ms)
            timeout_ms = left;
    }

    int count = bl_os.epoll_wait(loop->epoll_fd, events, BL_LOOP_EVENTS, timeout_ms);

    if (count < 0 && errno != EINTR)
        return -1;
    loop->round_length = count < 0 ? 0 : count;
    for (int i = 0; i < loop->round_length; i++)
        loop->round[i] = events[i].data.ptr;
    for (int i = 0; i < loop->round_length && !loop->stopped; i++)
        if (loop->round[i])
            loop->round[i]->ready(loop->round[i], events[i].events);
    loop->round_length = 0;
    run_timers(loop);
    return 0;
}

int bl_loop_run(struct bl_loop *loop)
{
    while (!loop->stopped)
        if (bl_loop_step(loop, -1) < 0)
            return -1;
    return 0;
}

void bl_loop_stop(struct bl_loop *loop)
{
    loop->stopped = true;
}
