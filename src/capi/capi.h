/* SPDX-License-Identifier: Apache-2.0 */
/*
 * capi.h - the public header's façade over core, from the inside
 *
 * Three threads of a program's life meet here, and each owns its part:
 *
 *   user threads     check arguments, queue operations, deliver events (boxlite_runtime_drain())
 *   workers          carry out operations that may wait: a few threads in lanes, so that a long copy or boot never keeps a
 *                    quick question waiting (pool.c)
 *   the hub          one thread that steps the sessions of all executions, however many wait (hub.c)
 *
 * Results come back as events in one queue (queue.c). Nothing of ours runs user code but drain(), with no lock held.
 *
 * Locks, in the order in which they may nest: an execution's lock, then the queue's, then the pool's or the hub's. None is held
 * while user code runs or while anything waits for a box.
 */
#ifndef BL_CAPI_CAPI_H
#define BL_CAPI_CAPI_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/types.h>

#include "base/error.h"
#include "base/user_config.h"
#include "boxlite.h"
#include "core/core.h"

/* Something that drain() delivers. Embedded in its owner; both functions free it. */
struct bl_capi_event {
    struct bl_capi_event *next;
    void (*deliver)(struct bl_capi_event *event); /* on the draining thread, no lock held */
    void (*drop)(struct bl_capi_event *event);    /* the runtime is freed: reclaim what it owns */
};

/* The events of one runtime, first in, first out. */
struct bl_capi_queue {
    pthread_mutex_t lock;   /* guards all below */
    pthread_cond_t changed; /* monotonic clock */
    struct bl_capi_event *first, *last;
    size_t count;
    int event_fd; /* readable while count > 0, or once closed */
    bool closed;
    bool starved; /* the hub held output back because the queue was full */
};

enum bl_capi_lane {
    CAPI_LANE_QUICK, /* looks something up: milliseconds */
    CAPI_LANE_OPEN,  /* opens a session; boots a box when it must */
    CAPI_LANE_LIFE,  /* create, start */
    CAPI_LANE_END,   /* stop, remove, shutdown: never behind what they shall end */
    CAPI_LANE_BULK,  /* copies, pulls */
    CAPI_LANE_COUNT
};

/* An operation under way: a job for a worker first, an event afterwards. Embedded first in the structs of its kinds. */
struct bl_capi_op {
    struct bl_capi_event event;
    struct bl_capi_op *next;  /* in its lane */
    CBoxliteRuntime *runtime; /* a reference */
    /* On a worker: do it. Return: 0; -1 with *@err */
    int (*work)(struct bl_capi_op *op, struct bl_error *err);
    /* On the draining thread: hand the result (or the error, else NULL) to the user's callback. NULL: nobody is told. */
    void (*complete)(struct bl_capi_op *op, CBoxliteError *error);
    /* Free arguments and what of the result was not handed over; then the op itself. */
    void (*dispose)(struct bl_capi_op *op);
    void *user_data;
    bool failed;
    struct bl_error error;
};

#define CAPI_LANE_WORKERS 4 /* at most, in each lane; started when there is work */

struct bl_capi_lane_state {
    struct bl_capi_op *first, *last;
    pthread_t workers[CAPI_LANE_WORKERS];
    unsigned int started, idle, queued;
    pthread_cond_t work;
};

struct bl_capi_pool {
    pthread_mutex_t lock; /* guards all below */
    struct bl_capi_lane_state lanes[CAPI_LANE_COUNT];
    bool stopping;
};

struct bl_capi_hub {
    pthread_mutex_t lock; /* guards arrivals, stopping, running */
    pthread_t thread;
    bool running, stopping;
    int wake_fd, epoll_fd;
    CExecutionHandle *arrivals; /* executions whose session the hub has not seen yet */
};

/* A copy stream, whose thread gives up when its descriptor becomes readable. */
struct bl_capi_cancel {
    struct bl_capi_cancel *next;
    int fd; /* an eventfd of its owner's */
};

struct RuntimeHandle {
    atomic_int references;
    CBoxliteRuntime *next_open; /* runtime.c */
    pid_t owner;                /* the process that opened it; a forked child is another */
    pthread_mutex_t lock;       /* guards core against boxlite_runtime_free(), see bl_capi_enter() */
    pthread_cond_t left;
    unsigned int inside;            /* threads that use core right now */
    struct bl_capi_cancel *streams; /* what else gives up when the runtime shuts down */
    struct bl_runtime *core;        /* NULL once freed */
    atomic_bool shut_down, freed;
    int cancel_fd; /* an eventfd, readable once the runtime shuts down: running creations and starts give up */
    struct bl_capi_queue queue;
    struct bl_capi_pool pool;
    struct bl_capi_hub hub;
    struct bl_user_config *config; /* registries given by the program; NULL: the user's usual configuration */
    atomic_int boxes_created, boxes_failed, commands, command_errors;
};

struct BoxHandle {
    CBoxliteRuntime *runtime; /* a reference */
    char id[BL_BOX_ID_LENGTH + 1];
};

/* ---- error.c ---- */

/* bl_capi_report() - Fill a user's error from ours. Return: the code, never BOXLITE_OK */
enum BoxliteErrorCode bl_capi_report(CBoxliteError *out_error, const struct bl_error *err);
/* bl_capi_reject() - The same with a text. */
enum BoxliteErrorCode bl_capi_reject(CBoxliteError *out_error, enum bl_code code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
enum BoxliteErrorCode bl_capi_no_memory(CBoxliteError *out_error);
/* bl_capi_memory_error() - For a completion whose result could not be built; give it back with boxlite_error_free(). */
CBoxliteError bl_capi_memory_error(void);
/* bl_capi_text() - A copy; public strings are never NULL, so that bindings need not look. Return: NULL when memory ran out */
char *bl_capi_text(const char *text);
/* bl_capi_ok() - Leave a clean error behind. Return: BOXLITE_OK */
enum BoxliteErrorCode bl_capi_ok(CBoxliteError *out_error);

/* ---- fork.c ---- */

/* bl_capi_open_core() - As bl_runtime_open(), but refused (BL_INVALID_STATE) in a child of a process that had a runtime open */
int bl_capi_open_core(const char *home_dir, struct bl_runtime **out_core, struct bl_error *err);
/* bl_capi_close_core() - As bl_runtime_close() */
void bl_capi_close_core(struct bl_runtime *core);

/* ---- runtime.c ---- */

void bl_capi_runtime_hold(CBoxliteRuntime *runtime);
/* bl_capi_hold_open() - The same, for a pointer to what may be freed already. Return: whether it was not */
bool bl_capi_hold_open(CBoxliteRuntime *runtime);
void bl_capi_runtime_release(CBoxliteRuntime *runtime);
/*
 * bl_capi_check_runtime() - Whether calls may use it: not NULL, not freed, not another process's
 * Return: BOXLITE_OK; else the code, with *@out_error filled
 */
enum BoxliteErrorCode bl_capi_check_runtime(CBoxliteRuntime *runtime, CBoxliteError *out_error);
/* bl_capi_enter() - Keep core from being closed while it is used. Return: core; NULL with *@err when it is closed */
struct bl_runtime *bl_capi_enter(CBoxliteRuntime *runtime, struct bl_error *err);
void bl_capi_leave(CBoxliteRuntime *runtime);
/* bl_capi_add_stream() - Have a stream cancelled with the runtime; at once, if it is shut down already. */
void bl_capi_add_stream(CBoxliteRuntime *runtime, struct bl_capi_cancel *stream);
void bl_capi_remove_stream(CBoxliteRuntime *runtime, struct bl_capi_cancel *stream);
/* bl_capi_cancel() - Make an eventfd readable. */
void bl_capi_cancel(int fd);
/* bl_capi_pull() - Bring an image in, as the runtime's registries say. Return: 0 and *@out (may be NULL); -1 with *@err */
int bl_capi_pull(CBoxliteRuntime *runtime, struct bl_runtime *core, const char *reference, enum bl_pull_policy policy,
                 struct bl_image **out, struct bl_error *err);
/* bl_capi_take_registries() - A program's registries, over the user's configuration. Return: NULL with *@err */
struct bl_user_config *bl_capi_take_registries(const BoxliteImageRegistry *registries, int count, struct bl_error *err);
void bl_capi_free_registries(struct bl_user_config *config);
/* bl_capi_new_box() - A handle for a box. Return: NULL when memory ran out */
CBoxHandle *bl_capi_new_box(CBoxliteRuntime *runtime, const char *id);

/* ---- queue.c ---- */

int bl_capi_queue_init(struct bl_capi_queue *queue);
void bl_capi_queue_destroy(struct bl_capi_queue *queue);
/* bl_capi_queue_push() - Takes the event; a closed queue drops it. */
void bl_capi_queue_push(struct bl_capi_queue *queue, struct bl_capi_event *event);
/* bl_capi_queue_full() - Whether output has to wait; if so, the hub is woken when there is room again. */
bool bl_capi_queue_full(struct bl_capi_queue *queue);
/* bl_capi_queue_close() - Drop what is there and will come, wake who waits. Idempotent. */
void bl_capi_queue_close(struct bl_capi_queue *queue);

/* ---- pool.c ---- */

int bl_capi_pool_init(struct bl_capi_pool *pool);
/* bl_capi_pool_stop() - Drop what was not begun, wait for what was. */
void bl_capi_pool_stop(struct bl_capi_pool *pool);
void bl_capi_pool_destroy(struct bl_capi_pool *pool);
/*
 * bl_capi_post() - Queue an operation
 * @op: takes it; on failure it is disposed of
 * Return: BOXLITE_OK; else the code with *@out_error
 */
enum BoxliteErrorCode bl_capi_post(CBoxliteRuntime *runtime, enum bl_capi_lane lane, struct bl_capi_op *op,
                                   CBoxliteError *out_error);
/* bl_capi_post_keeping() - The same, but when it fails what *@kept (a member of the op) points to stays the caller's. */
enum BoxliteErrorCode bl_capi_post_keeping(CBoxliteRuntime *runtime, enum bl_capi_lane lane, struct bl_capi_op *op, void **kept,
                                           CBoxliteError *out_error);
/* bl_capi_new_op() - Allocate an operation of @size bytes, whose first member is struct bl_capi_op. Return: NULL when memory ran
 * out */
void *bl_capi_new_op(size_t size, CBoxliteRuntime *runtime, void *user_data, int (*work)(struct bl_capi_op *, struct bl_error *),
                     void (*complete)(struct bl_capi_op *, CBoxliteError *), void (*dispose)(struct bl_capi_op *));
/* bl_capi_finish() - The operation is over: make it an event. */
void bl_capi_finish(struct bl_capi_op *op);
/* bl_capi_start_thread() - A thread with all signals blocked: they belong to the program's own. Return: 0; -1 with errno */
int bl_capi_start_thread(pthread_t *thread, void *(*run)(void *), void *data);

/* ---- hub.c ---- */

int bl_capi_hub_init(struct bl_capi_hub *hub);
void bl_capi_hub_stop(struct bl_capi_hub *hub);
void bl_capi_hub_destroy(struct bl_capi_hub *hub);
/* bl_capi_hub_add() - Step this execution's session from now on; takes a reference of its own. Return: 0; -1 with *@err */
int bl_capi_hub_add(CBoxliteRuntime *runtime, CExecutionHandle *execution, struct bl_error *err);
void bl_capi_hub_wake(struct bl_capi_hub *hub);

#endif
