/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hub.c - one thread that steps the sessions of all executions
 *
 * An execution arrives once its session is open, and leaves when it has ended. What the hub waits for of each session is asked
 * again after each step and when somebody woke it (input was written, credit was given, the handle was freed).
 */
#include "capi/execution.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/cleanup.h"

#define ROUND 64

/* The hub thread's own list of what it steps. */
struct table {
    CExecutionHandle **items;
    size_t count, capacity;
};

int bl_capi_hub_init(struct bl_capi_hub *hub)
{
    *hub = (struct bl_capi_hub){.wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), .epoll_fd = epoll_create1(EPOLL_CLOEXEC)};
    pthread_mutex_init(&hub->lock, NULL);

    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};

    return hub->wake_fd < 0 || hub->epoll_fd < 0 || epoll_ctl(hub->epoll_fd, EPOLL_CTL_ADD, hub->wake_fd, &event) < 0 ? -1 : 0;
}

void bl_capi_hub_destroy(struct bl_capi_hub *hub)
{
    bl_close_fd(&hub->wake_fd);
    bl_close_fd(&hub->epoll_fd);
    pthread_mutex_destroy(&hub->lock);
}

void bl_capi_hub_wake(struct bl_capi_hub *hub)
{
    uint64_t one = 1;
    ssize_t n = write(hub->wake_fd, &one, sizeof one);

    (void)n;
}

/*
 * watch() - Ask the session what it waits for and tell epoll. Return: 0; -1 with errno
 * What waits for nothing leaves epoll, which would otherwise tell again and again that its other end has hung up.
 */
static int watch(struct bl_capi_hub *hub, CExecutionHandle *execution, bool hold_back)
{
    pthread_mutex_lock(&execution->lock);

    short wanted = bl_session_poll_events(execution->session);
    int fd = bl_session_fd(execution->session);

    pthread_mutex_unlock(&execution->lock);

    uint32_t events = (wanted & POLLIN && !hold_back ? (uint32_t)EPOLLIN : 0) | (wanted & POLLOUT ? (uint32_t)EPOLLOUT : 0);
    uint32_t before = execution->watched;
    struct epoll_event event = {.events = events, .data.ptr = execution};

    if (events == before)
        return 0;
    execution->watched = events;
    return epoll_ctl(hub->epoll_fd, !before ? EPOLL_CTL_ADD : !events ? EPOLL_CTL_DEL : EPOLL_CTL_MOD, fd, &event);
}

/* leave() - Forget an execution; its session, which owns the descriptor that epoll knows, is freed with the last reference or by
 * step(). */
static void leave(struct table *table, size_t index)
{
    CExecutionHandle *execution = table->items[index];

    table->items[index] = table->items[--table->count];
    bl_capi_execution_release(execution);
}

static void take_arrivals(CBoxliteRuntime *runtime, struct table *table)
{
    struct bl_capi_hub *hub = &runtime->hub;

    pthread_mutex_lock(&hub->lock);

    CExecutionHandle *arrival = hub->arrivals;

    hub->arrivals = NULL;
    pthread_mutex_unlock(&hub->lock);
    while (arrival) {
        CExecutionHandle *next = arrival->next;
        struct bl_error err = BL_ERROR_INIT;

        arrival->next = NULL;
        if (table->count == table->capacity) {
            size_t capacity = table->capacity ? table->capacity * 2 : 16;
            CExecutionHandle **grown = realloc(table->items, capacity * sizeof(CExecutionHandle *));

            if (grown) {
                table->items = grown;
                table->capacity = capacity;
            }
        }
        if (table->count == table->capacity)
            bl_fail_memory(&err);
        else if (watch(hub, arrival, false) < 0)
            bl_fail(&err, BL_RESOURCE_EXHAUSTED, errno, "watch an execution");
        if (err.code != BL_OK) {
            bl_capi_execution_fail(arrival, &err);
            bl_capi_execution_release(arrival);
        } else {
            table->items[table->count++] = arrival; /* NOLINT(clang-analyzer-core.NullDereference): capacity implies items */
        }
        arrival = next;
    }
}

/* step_at() - One session's turn. Return: whether it lives on */
static bool step_at(CBoxliteRuntime *runtime, struct table *table, size_t index)
{
    CExecutionHandle *execution = table->items[index];

    if (!bl_capi_execution_step(execution)) {
        leave(table, index);
        return false;
    }
    watch(&runtime->hub, execution, bl_capi_queue_full(&runtime->queue));
    return true;
}

/* step_all() - After a wake: look at every session, since any of them may want something else now. */
static void step_all(CBoxliteRuntime *runtime, struct table *table)
{
    for (size_t i = 0; i < table->count;)
        i += step_at(runtime, table, i);
}

static void step_one(CBoxliteRuntime *runtime, struct table *table, const CExecutionHandle *execution)
{
    for (size_t i = 0; i < table->count; i++) {
        if (table->items[i] != execution)
            continue;
        step_at(runtime, table, i);
        return;
    }
}

static void *run(void *data)
{
    CBoxliteRuntime *runtime = data;
    struct bl_capi_hub *hub = &runtime->hub;
    struct table table = {0};

    for (;;) {
        struct epoll_event events[ROUND];
        int count = epoll_wait(hub->epoll_fd, events, ROUND, -1);
        bool woken = false;

        for (int i = 0; i < count; i++) {
            if (!events[i].data.ptr)
                woken = true;
            else
                step_one(runtime, &table, events[i].data.ptr);
        }
        if (!woken)
            continue;

        uint64_t value;
        ssize_t n = read(hub->wake_fd, &value, sizeof value);

        (void)n;
        pthread_mutex_lock(&hub->lock);

        bool stopping = hub->stopping;

        pthread_mutex_unlock(&hub->lock);
        take_arrivals(runtime, &table);
        if (stopping)
            break;
        step_all(runtime, &table);
    }
    /* The runtime is being freed: whoever still holds one of these learns that it was given up. */
    while (table.count) {
        struct bl_error err = BL_ERROR_INIT;

        bl_fail(&err, BL_STOPPED, 0, "the runtime was freed");
        bl_capi_execution_fail(table.items[0], &err);
        leave(&table, 0);
    }
    free(table.items);
    return NULL;
}

int bl_capi_hub_add(CBoxliteRuntime *runtime, CExecutionHandle *execution, struct bl_error *err)
{
    struct bl_capi_hub *hub = &runtime->hub;
    int failed = 0;

    pthread_mutex_lock(&hub->lock);
    if (hub->stopping) {
        failed = bl_fail(err, BL_INVALID_STATE, 0, "the runtime was freed");
    } else if (!hub->running) {
        if (bl_capi_start_thread(&hub->thread, run, runtime) < 0)
            failed = bl_fail(err, BL_RESOURCE_EXHAUSTED, errno, "start the thread of all executions");
        else
            hub->running = true;
    }
    if (!failed) {
        bl_capi_execution_hold(execution);
        execution->next = hub->arrivals;
        hub->arrivals = execution;
    }
    pthread_mutex_unlock(&hub->lock);
    if (!failed)
        bl_capi_hub_wake(hub);
    return failed;
}

void bl_capi_hub_stop(struct bl_capi_hub *hub)
{
    pthread_mutex_lock(&hub->lock);

    bool running = hub->running;

    hub->stopping = true;
    hub->running = false;
    pthread_mutex_unlock(&hub->lock);
    if (!running)
        return;
    bl_capi_hub_wake(hub);
    pthread_join(hub->thread, NULL);
}
