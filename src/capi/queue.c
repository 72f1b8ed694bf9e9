/* SPDX-License-Identifier: Apache-2.0 */
/*
 * queue.c - events on their way to the draining thread
 *
 * Completions are always taken: there is one for each operation that the user began. Output is what could grow without bound,
 * so each piece of it asks bl_capi_queue_full() first and stays in its session, and what follows in the guest, while the queue is
 * full.
 *
 * The eventfd holds 1 while there are events and 0 otherwise; it is changed under the lock, so it never lies.
 */
#include <errno.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "capi/capi.h"

int bl_capi_queue_init(struct bl_capi_queue *queue)
{
    pthread_condattr_t monotonic;

    *queue = (struct bl_capi_queue){.event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
    if (queue->event_fd < 0)
        return -1;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&queue->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    pthread_mutex_init(&queue->lock, NULL);
    return 0;
}

void bl_capi_queue_destroy(struct bl_capi_queue *queue)
{
    bl_close_fd(&queue->event_fd);
    pthread_cond_destroy(&queue->changed);
    pthread_mutex_destroy(&queue->lock);
}

/* set_readable() - Make event_fd readable, or not. Under the lock. */
static void set_readable(struct bl_capi_queue *queue, bool readable)
{
    uint64_t value = 1;
    /* Neither call can fail in a way that matters: the counter never passes 1, and reading an empty one says EAGAIN. */
    ssize_t n = readable ? write(queue->event_fd, &value, sizeof value) : read(queue->event_fd, &value, sizeof value);

    (void)n;
}

void bl_capi_queue_push(struct bl_capi_queue *queue, struct bl_capi_event *event)
{
    event->next = NULL;
    pthread_mutex_lock(&queue->lock);

    bool closed = queue->closed;

    if (!closed) {
        if (queue->last)
            queue->last->next = event;
        else
            queue->first = event;
        queue->last = event;
        if (queue->count++ == 0)
            set_readable(queue, true);
        pthread_cond_broadcast(&queue->changed);
    }
    pthread_mutex_unlock(&queue->lock);
    if (closed)
        event->drop(event);
}

bool bl_capi_queue_full(struct bl_capi_queue *queue)
{
    pthread_mutex_lock(&queue->lock);

    bool full = !queue->closed && queue->count >= BOXLITE_QUEUE_CAPACITY;

    if (full)
        queue->starved = true;
    pthread_mutex_unlock(&queue->lock);
    return full;
}

void bl_capi_queue_close(struct bl_capi_queue *queue)
{
    pthread_mutex_lock(&queue->lock);

    struct bl_capi_event *event = queue->first;

    queue->first = queue->last = NULL;
    queue->count = 0;
    if (!queue->closed)
        set_readable(queue, true); /* for good: loops that watch it come and learn that it is over */
    queue->closed = true;
    pthread_cond_broadcast(&queue->changed);
    pthread_mutex_unlock(&queue->lock);
    while (event) {
        struct bl_capi_event *next = event->next;

        event->drop(event);
        event = next;
    }
}

/* pop() - The next event, waiting for it until @deadline. Return: NULL: none came; *@closed: none will */
static struct bl_capi_event *pop(struct bl_capi_queue *queue, int64_t deadline, bool *closed, bool *feed_hub)
{
    struct timespec until = {.tv_sec = deadline / 1000, .tv_nsec = (deadline % 1000) * 1000000};

    pthread_mutex_lock(&queue->lock);
    while (!queue->first && !queue->closed) {
        if (deadline == BL_NEVER)
            pthread_cond_wait(&queue->changed, &queue->lock);
        else if (pthread_cond_timedwait(&queue->changed, &queue->lock, &until) == ETIMEDOUT)
            break;
    }

    struct bl_capi_event *event = queue->first;

    if (event) {
        queue->first = event->next;
        if (!queue->first)
            queue->last = NULL;
        if (--queue->count == 0)
            set_readable(queue, false);
        /* Half empty, rather than one short of full, so that the hub works in batches. */
        *feed_hub = queue->starved && queue->count < BOXLITE_QUEUE_CAPACITY / 2;
        if (*feed_hub)
            queue->starved = false;
    }
    *closed = queue->closed;
    pthread_mutex_unlock(&queue->lock);
    return event;
}

/* drain() - Deliver what there is; the caller holds a reference. Return: how many, or -1 */
static int drain(CBoxliteRuntime *runtime, int timeout_ms, CBoxliteError *out_error)
{
    int64_t deadline = bl_deadline_in(timeout_ms);
    int delivered = 0;
    bool closed = false;

    if (bl_capi_check_runtime(runtime, out_error) != BOXLITE_OK)
        return -1;
    bl_capi_ok(out_error);

    /* What was there at the start, and no more: callbacks that queue new work must not keep drain() from returning. */
    pthread_mutex_lock(&runtime->queue.lock);

    size_t most = runtime->queue.count;

    pthread_mutex_unlock(&runtime->queue.lock);
    if (!most)
        most = 1;
    while ((size_t)delivered < most) {
        bool feed_hub = false;
        struct bl_capi_event *event = pop(&runtime->queue, delivered ? 0 : deadline, &closed, &feed_hub);

        if (feed_hub)
            bl_capi_hub_wake(&runtime->hub);
        if (!event)
            break;
        event->deliver(event);
        delivered++;
    }
    if (closed && !delivered) {
        bl_capi_reject(out_error, BL_INVALID_STATE, "drain events: the runtime was freed");
        delivered = -1;
    }
    return delivered;
}

int boxlite_runtime_drain(CBoxliteRuntime *runtime, int timeout_ms, CBoxliteError *out_error)
{
    if (!runtime) {
        bl_capi_reject(out_error, BL_INVALID_ARGUMENT, "runtime is NULL");
        return -1;
    }
    if (!bl_capi_hold_open(runtime)) {
        bl_capi_reject(out_error, BL_INVALID_STATE, "drain events: the runtime was freed");
        return -1;
    }

    /* A callback may free the runtime. */
    int delivered = drain(runtime, timeout_ms, out_error);

    bl_capi_runtime_release(runtime);
    return delivered;
}
