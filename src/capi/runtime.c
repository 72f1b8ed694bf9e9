/* SPDX-License-Identifier: Apache-2.0 */
/*
 * runtime.c - a runtime's life: opened, used by many threads, shut down, freed while anything may be under way
 *
 * The struct lives as long as anybody holds a reference (handles, operations, a running drain). Core lives until
 * boxlite_runtime_free(), which first makes everything that waits give up (cancel_fd), then waits until no thread is inside core.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "capi/capi.h"

#define DEFAULT_SHUTDOWN_MS 10000

void bl_capi_runtime_hold(CBoxliteRuntime *runtime)
{
    atomic_fetch_add(&runtime->references, 1);
}

void bl_capi_runtime_release(CBoxliteRuntime *runtime)
{
    if (atomic_fetch_sub(&runtime->references, 1) != 1)
        return;
    bl_capi_hub_destroy(&runtime->hub);
    bl_capi_pool_destroy(&runtime->pool);
    bl_capi_queue_destroy(&runtime->queue);
    bl_close_fd(&runtime->cancel_fd);
    bl_capi_free_registries(runtime->config);
    pthread_cond_destroy(&runtime->left);
    pthread_mutex_destroy(&runtime->lock);
    free(runtime);
}

/*
 * The runtimes that programs hold. A free that finds its runtime not among them came second, and does nothing: two threads may free
 * one at once, and a callback may free what the program frees too. A drain that comes too late is told so: threads that do nothing
 * but drain learn only by that answer that another thread has freed the runtime.
 */
static pthread_mutex_t open_lock = PTHREAD_MUTEX_INITIALIZER; /* guards all below */
static CBoxliteRuntime *open_runtimes;
static pthread_once_t open_once = PTHREAD_ONCE_INIT;

static void lock_open(void)
{
    pthread_mutex_lock(&open_lock);
}

static void unlock_open(void)
{
    pthread_mutex_unlock(&open_lock);
}

static void survive_forks(void)
{
    pthread_atfork(lock_open, unlock_open, unlock_open);
}

static void note_open(CBoxliteRuntime *runtime)
{
    pthread_once(&open_once, survive_forks);
    lock_open();
    runtime->next_open = open_runtimes;
    open_runtimes = runtime;
    unlock_open();
}

/* take_open() - Return: whether it was open, which it is no more */
static bool take_open(const CBoxliteRuntime *runtime)
{
    CBoxliteRuntime **at = &open_runtimes;

    lock_open();
    while (*at && *at != runtime)
        at = &(*at)->next_open;

    bool found = *at != NULL;

    if (found)
        *at = runtime->next_open;
    unlock_open();
    return found;
}

bool bl_capi_hold_open(CBoxliteRuntime *runtime)
{
    lock_open();

    CBoxliteRuntime *at = open_runtimes;

    while (at && at != runtime)
        at = at->next_open;
    if (at)
        bl_capi_runtime_hold(at);
    unlock_open();
    return at != NULL;
}

enum BoxliteErrorCode bl_capi_check_runtime(CBoxliteRuntime *runtime, CBoxliteError *out_error)
{
    if (!runtime)
        return bl_capi_reject(out_error, BL_INVALID_ARGUMENT, "runtime is NULL");
    if (runtime->owner != getpid())
        return bl_capi_reject(out_error, BL_INVALID_STATE,
                              "the runtime belongs to process %d: a forked child must execute a program before it uses the library",
                              (int)runtime->owner);
    if (atomic_load(&runtime->freed))
        return bl_capi_reject(out_error, BL_INVALID_STATE, "the runtime was freed");
    return BOXLITE_OK;
}

struct bl_runtime *bl_capi_enter(CBoxliteRuntime *runtime, struct bl_error *err)
{
    pthread_mutex_lock(&runtime->lock);

    struct bl_runtime *core = runtime->core;

    if (core)
        runtime->inside++;
    pthread_mutex_unlock(&runtime->lock);
    if (!core)
        bl_fail(err, BL_INVALID_STATE, 0, "the runtime was freed");
    return core;
}

void bl_capi_leave(CBoxliteRuntime *runtime)
{
    pthread_mutex_lock(&runtime->lock);
    if (--runtime->inside == 0)
        pthread_cond_broadcast(&runtime->left);
    pthread_mutex_unlock(&runtime->lock);
}

CBoxHandle *bl_capi_new_box(CBoxliteRuntime *runtime, const char *id)
{
    CBoxHandle *box = calloc(1, sizeof *box);

    if (!box)
        return NULL;
    bl_capi_runtime_hold(runtime);
    box->runtime = runtime;
    memcpy(box->id, id, sizeof box->id);
    return box;
}

enum BoxliteErrorCode boxlite_runtime_new(const char *home_dir, const BoxliteImageRegistry *image_registries,
                                          int image_registries_count, CBoxliteRuntime **out_runtime, CBoxliteError *out_error)
{
    struct bl_error err = BL_ERROR_INIT;

    if (!out_runtime)
        return bl_capi_reject(out_error, BL_INVALID_ARGUMENT, "out_runtime is NULL");
    *out_runtime = NULL;
    if (image_registries_count < 0 || (image_registries_count > 0 && !image_registries))
        return bl_capi_reject(out_error, BL_INVALID_ARGUMENT, "image_registries is NULL, or its count negative");

    struct bl_user_config *config =
        image_registries_count ? bl_capi_take_registries(image_registries, image_registries_count, &err) : NULL;

    if (image_registries_count && !config)
        return bl_capi_report(out_error, &err);

    CBoxliteRuntime *runtime = calloc(1, sizeof *runtime);

    if (!runtime) {
        bl_capi_free_registries(config);
        return bl_capi_no_memory(out_error);
    }
    runtime->config = config;
    atomic_init(&runtime->references, 1);
    runtime->owner = getpid();
    runtime->cancel_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    pthread_mutex_init(&runtime->lock, NULL);
    pthread_cond_init(&runtime->left, NULL);
    bl_capi_pool_init(&runtime->pool);

    int failed = bl_capi_queue_init(&runtime->queue) < 0 || bl_capi_hub_init(&runtime->hub) < 0 || runtime->cancel_fd < 0;

    if (failed)
        bl_fail(&err, BL_RESOURCE_EXHAUSTED, 0, "open the descriptors of a runtime: raise the limit of open files");
    if (failed || bl_capi_open_core(home_dir, &runtime->core, &err) < 0) {
        bl_capi_runtime_release(runtime);
        return bl_capi_report(out_error, &err);
    }
    note_open(runtime);
    *out_runtime = runtime;
    return bl_capi_ok(out_error);
}

int boxlite_runtime_fd(CBoxliteRuntime *runtime)
{
    return runtime && runtime->owner == getpid() ? runtime->queue.event_fd : -1;
}

void bl_capi_cancel(int fd)
{
    uint64_t one = 1;
    ssize_t n = write(fd, &one, sizeof one);

    (void)n; /* full: it is readable already */
}

void bl_capi_add_stream(CBoxliteRuntime *runtime, struct bl_capi_cancel *stream)
{
    pthread_mutex_lock(&runtime->lock);
    stream->next = runtime->streams;
    runtime->streams = stream;
    if (atomic_load(&runtime->shut_down))
        bl_capi_cancel(stream->fd);
    pthread_mutex_unlock(&runtime->lock);
}

void bl_capi_remove_stream(CBoxliteRuntime *runtime, struct bl_capi_cancel *stream)
{
    pthread_mutex_lock(&runtime->lock);
    for (struct bl_capi_cancel **at = &runtime->streams; *at; at = &(*at)->next) {
        if (*at == stream) {
            *at = stream->next;
            break;
        }
    }
    pthread_mutex_unlock(&runtime->lock);
}

/* give_up() - Make everything that waits in core come back. */
static void give_up(CBoxliteRuntime *runtime)
{
    bl_capi_cancel(runtime->cancel_fd);
    pthread_mutex_lock(&runtime->lock);
    for (struct bl_capi_cancel *stream = runtime->streams; stream; stream = stream->next)
        bl_capi_cancel(stream->fd);
    pthread_mutex_unlock(&runtime->lock);
}

void boxlite_runtime_free(CBoxliteRuntime *runtime)
{
    if (!runtime || !take_open(runtime))
        return;
    if (runtime->owner != getpid())
        return; /* what the parent opened is the parent's; the copy ends with the process */
    atomic_store(&runtime->freed, true);
    atomic_store(&runtime->shut_down, true);
    give_up(runtime);
    bl_capi_queue_close(&runtime->queue);
    bl_capi_pool_stop(&runtime->pool);
    bl_capi_hub_stop(&runtime->hub);
    pthread_mutex_lock(&runtime->lock);

    struct bl_runtime *core = runtime->core;

    runtime->core = NULL;
    while (runtime->inside)
        pthread_cond_wait(&runtime->left, &runtime->lock);
    pthread_mutex_unlock(&runtime->lock);
    bl_capi_close_core(core);
    bl_capi_runtime_release(runtime);
}

struct shutdown_op {
    struct bl_capi_op op;
    int64_t grace_ms;
    CRuntimeShutdownCb cb;
};

static int shutdown_work(struct bl_capi_op *base, struct bl_error *err)
{
    struct shutdown_op *op = (struct shutdown_op *)base;
    struct bl_runtime *core = bl_capi_enter(base->runtime, err);

    if (!core)
        return -1;

    int failed = bl_runtime_stop_attached(core, op->grace_ms, err);

    bl_capi_leave(base->runtime);
    return failed;
}

static void shutdown_complete(struct bl_capi_op *base, CBoxliteError *error)
{
    ((struct shutdown_op *)base)->cb(error, base->user_data);
}

static void shutdown_dispose(struct bl_capi_op *base)
{
    free(base);
}

enum BoxliteErrorCode boxlite_runtime_shutdown(CBoxliteRuntime *runtime, int timeout_secs, CRuntimeShutdownCb cb, void *user_data,
                                               CBoxliteError *out_error)
{
    enum BoxliteErrorCode code = bl_capi_check_runtime(runtime, out_error);

    if (code != BOXLITE_OK)
        return code;
    if (!cb)
        return bl_capi_reject(out_error, BL_INVALID_ARGUMENT, "cb is NULL");

    struct shutdown_op *op = bl_capi_new_op(sizeof *op, runtime, user_data, shutdown_work, shutdown_complete, shutdown_dispose);

    if (!op)
        return bl_capi_no_memory(out_error);
    op->cb = cb;
    op->grace_ms = timeout_secs == 0 ? DEFAULT_SHUTDOWN_MS : timeout_secs < 0 ? -1 : (int64_t)timeout_secs * 1000;
    atomic_store(&runtime->shut_down, true);
    give_up(runtime);
    return bl_capi_post(runtime, CAPI_LANE_END, &op->op, out_error);
}
