/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pool.c - operations that may wait, on a few threads
 *
 * Each lane has its own workers, started as work comes and at most CAPI_LANE_WORKERS of them. An operation that waits for its
 * turn costs no thread.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "capi/capi.h"

#define WORKER_STACK_BYTES (512 * 1024)

int bl_capi_start_thread(pthread_t *thread, void *(*run)(void *), void *data)
{
    pthread_attr_t attributes;
    sigset_t all, before;

    sigfillset(&all);
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, WORKER_STACK_BYTES);
    pthread_sigmask(SIG_SETMASK, &all, &before);

    int failed = pthread_create(thread, &attributes, run, data);

    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    errno = failed;
    return failed ? -1 : 0;
}

int bl_capi_pool_init(struct bl_capi_pool *pool)
{
    *pool = (struct bl_capi_pool){0};
    pthread_mutex_init(&pool->lock, NULL);
    for (size_t i = 0; i < CAPI_LANE_COUNT; i++)
        pthread_cond_init(&pool->lanes[i].work, NULL);
    return 0;
}

void bl_capi_pool_destroy(struct bl_capi_pool *pool)
{
    for (size_t i = 0; i < CAPI_LANE_COUNT; i++)
        pthread_cond_destroy(&pool->lanes[i].work);
    pthread_mutex_destroy(&pool->lock);
}

/* dispose() - The end of an operation. */
static void dispose(struct bl_capi_op *op)
{
    CBoxliteRuntime *runtime = op->runtime;

    op->dispose(op);
    bl_capi_runtime_release(runtime);
}

static void drop_op(struct bl_capi_event *event)
{
    dispose((struct bl_capi_op *)event);
}

static void deliver_op(struct bl_capi_event *event)
{
    struct bl_capi_op *op = (struct bl_capi_op *)event;
    CBoxliteError error = {BOXLITE_OK, NULL};

    if (op->failed)
        bl_capi_report(&error, &op->error);
    op->complete(op, op->failed ? &error : NULL);
    boxlite_error_free(&error);
    dispose(op);
}

void *bl_capi_new_op(size_t size, CBoxliteRuntime *runtime, void *user_data, int (*work)(struct bl_capi_op *, struct bl_error *),
                     void (*complete)(struct bl_capi_op *, CBoxliteError *), void (*dispose_op)(struct bl_capi_op *))
{
    struct bl_capi_op *op = calloc(1, size);

    if (!op)
        return NULL;
    *op = (struct bl_capi_op){
        .event = {.deliver = deliver_op, .drop = drop_op},
        .runtime = runtime,
        .work = work,
        .complete = complete,
        .dispose = dispose_op,
        .user_data = user_data,
    };
    bl_capi_runtime_hold(runtime);
    return op;
}

void bl_capi_finish(struct bl_capi_op *op)
{
    bl_capi_queue_push(&op->runtime->queue, &op->event);
}

struct worker {
    struct bl_capi_pool *pool;
    struct bl_capi_lane_state *lane;
};

static void *work(void *data)
{
    struct worker self = *(struct worker *)data;

    free(data);
    pthread_mutex_lock(&self.pool->lock);
    for (;;) {
        while (!self.lane->first && !self.pool->stopping) {
            self.lane->idle++;
            pthread_cond_wait(&self.lane->work, &self.pool->lock);
            self.lane->idle--;
        }
        if (self.pool->stopping)
            break;

        struct bl_capi_op *op = self.lane->first;

        self.lane->first = op->next;
        if (!self.lane->first)
            self.lane->last = NULL;
        self.lane->queued--;
        pthread_mutex_unlock(&self.pool->lock);
        op->failed = op->work(op, &op->error) < 0;
        if (op->complete)
            bl_capi_finish(op);
        else
            dispose(op);
        pthread_mutex_lock(&self.pool->lock);
    }
    pthread_mutex_unlock(&self.pool->lock);
    return NULL;
}

/* add_worker() - One more thread for a lane. Under the lock. Return: 0; -1 with errno */
static int add_worker(struct bl_capi_pool *pool, struct bl_capi_lane_state *lane)
{
    struct worker *worker = malloc(sizeof *worker);

    if (!worker)
        return -1;
    *worker = (struct worker){pool, lane};
    if (bl_capi_start_thread(&lane->workers[lane->started], work, worker) < 0) {
        free(worker);
        return -1;
    }
    lane->started++;
    return 0;
}

/* enqueue() - Return: BOXLITE_OK, and the op is the pool's; else the code with *@out_error, and it stays the caller's */
static enum BoxliteErrorCode enqueue(struct bl_capi_pool *pool, enum bl_capi_lane lane_name, struct bl_capi_op *op,
                                     CBoxliteError *out_error)
{
    struct bl_capi_lane_state *lane = &pool->lanes[lane_name];
    enum BoxliteErrorCode code = BOXLITE_OK;

    pthread_mutex_lock(&pool->lock);
    if (pool->stopping)
        code = bl_capi_reject(out_error, BL_INVALID_STATE, "the runtime was freed");
    else if (lane->queued >= lane->idle && lane->started < CAPI_LANE_WORKERS && add_worker(pool, lane) < 0 && !lane->started)
        code = bl_capi_reject(out_error, BL_RESOURCE_EXHAUSTED, "start a worker thread: %s", strerror(errno));
    if (code == BOXLITE_OK) {
        op->next = NULL;
        if (lane->last)
            lane->last->next = op;
        else
            lane->first = op;
        lane->last = op;
        lane->queued++;
        pthread_cond_signal(&lane->work);
    }
    pthread_mutex_unlock(&pool->lock);
    return code == BOXLITE_OK ? bl_capi_ok(out_error) : code;
}

enum BoxliteErrorCode bl_capi_post_keeping(CBoxliteRuntime *runtime, enum bl_capi_lane lane, struct bl_capi_op *op, void **kept,
                                           CBoxliteError *out_error)
{
    enum BoxliteErrorCode code = enqueue(&runtime->pool, lane, op, out_error);

    if (code != BOXLITE_OK) {
        *kept = NULL;
        dispose(op);
    }
    return code;
}

enum BoxliteErrorCode bl_capi_post(CBoxliteRuntime *runtime, enum bl_capi_lane lane, struct bl_capi_op *op,
                                   CBoxliteError *out_error)
{
    enum BoxliteErrorCode code = enqueue(&runtime->pool, lane, op, out_error);

    if (code != BOXLITE_OK)
        dispose(op);
    return code;
}

void bl_capi_pool_stop(struct bl_capi_pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    pool->stopping = true;
    for (size_t i = 0; i < CAPI_LANE_COUNT; i++)
        pthread_cond_broadcast(&pool->lanes[i].work);
    pthread_mutex_unlock(&pool->lock);
    for (size_t i = 0; i < CAPI_LANE_COUNT; i++) {
        struct bl_capi_lane_state *lane = &pool->lanes[i];

        /* No worker is started any more, so this needs no lock. */
        for (unsigned int w = 0; w < lane->started; w++)
            pthread_join(lane->workers[w], NULL);
        lane->started = 0;
        while (lane->first) {
            struct bl_capi_op *op = lane->first;

            lane->first = op->next;
            dispose(op);
        }
        lane->last = NULL;
    }
}
