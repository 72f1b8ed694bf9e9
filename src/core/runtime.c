/* SPDX-License-Identifier: Apache-2.0 */
/* runtime.c - opening, describing and closing a home; see core.h */
#include "core/runtime.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/os.h"
#include "core/control.h"
#include "core/home.h"
#include "core/judge.h"
#include "vmm/probe.h"

#ifndef P_PIDFD
#define P_PIDFD 3
#endif

#define DEATH_WAIT_MS 30000 /* how long the kernel may take to end a process that ends already */

int bl_runtime_owned(const struct bl_runtime *runtime, struct bl_error *err)
{
    if (runtime->owner != getpid())
        return bl_fail(err, BL_INVALID_STATE, 0,
                       "this runtime was opened before a fork: a forked child must execute a program first");
    return 0;
}

/*
 * adopt_child() - Reap a box's shim that an earlier runtime of this very process started
 *
 * It may even have ended already. Whether it is a child of this process only waitid() can say, and with WNOWAIT it takes nothing.
 */
static void adopt_child(struct bl_runtime *runtime, const struct bl_process *shim)
{
    siginfo_t info = {0};
    uint64_t ticks = 0;

    if (shim->pid <= 0 || strcmp(shim->boot_id, bl_boot_id()) != 0)
        return;

    cleanup_close int fd = bl_os.pidfd_open(shim->pid, 0);

    if (fd < 0 || bl_process_start_ticks(shim->pid, &ticks, NULL) < 0 || ticks != shim->start_ticks ||
        bl_os.waitid((idtype_t)P_PIDFD, (id_t)fd, &info, WEXITED | WNOHANG | WNOWAIT) < 0)
        return;
    bl_child_release(runtime->reaper, bl_reaper_register(runtime->reaper, shim->pid, fd, NULL));
}

/* judge_claims() - Judge what claims to run, so that records tell the truth from the start. */
static int judge_claims(struct bl_runtime *runtime, struct bl_error *err)
{
    struct bl_record *list;
    size_t count;

    if (bl_store_list(runtime->store, BL_STORE_CLAIM_TO_RUN, &list, &count, err) < 0)
        return -1;
    for (size_t i = 0; i < count; i++) {
        struct bl_verdict verdict;

        adopt_child(runtime, &list[i].state.shim);
        /* One that can't be judged does not keep the others from being used. */
        bl_judge(runtime, &list[i], BL_JUDGE_GLANCE, &verdict, NULL);
    }
    bl_store_list_free(list, count);
    return 0;
}

/* close_all() - What open_all() opened. */
static void close_all(struct bl_runtime *runtime)
{
    bl_reaper_free(bl_steal_ptr(&runtime->reaper));
    if (runtime->images)
        bl_images_close(bl_steal_ptr(&runtime->images));
    bl_store_close(bl_steal_ptr(&runtime->store));
    free(bl_steal_ptr(&runtime->runtime_dir));
}

/* open_all() - The database, the images, and who reaps; all of them or nothing. Return: 0; -1 */
static int open_all(struct bl_runtime *runtime, struct bl_error *err)
{
    if ((runtime->runtime_dir = bl_runtime_dir_find(err)) &&
        bl_store_open(runtime->home_fd, runtime->home, &runtime->store, err) == 0 &&
        bl_images_open(runtime->home, runtime->runtime_dir, &runtime->images, err) == 0 &&
        bl_reaper_new(&runtime->reaper, err) == 0 && judge_claims(runtime, err) == 0)
        return 0;
    close_all(runtime);
    return -1;
}

int bl_runtime_check(struct bl_runtime *runtime, struct bl_error *err)
{
    int failed = 0;

    if (bl_runtime_owned(runtime, err) < 0)
        return -1;
    if (atomic_load(&runtime->open))
        return 0;
    pthread_mutex_lock(&runtime->open_lock);
    if (!atomic_load(&runtime->open)) {
        failed = open_all(runtime, err);
        atomic_store(&runtime->open, !failed);
    }
    pthread_mutex_unlock(&runtime->open_lock);
    return failed;
}

int bl_runtime_begin(const char *home, struct bl_runtime **out, struct bl_error *err)
{
    struct bl_runtime *runtime = calloc(1, sizeof *runtime);

    *out = NULL;
    if (!runtime)
        return bl_fail_memory(err);
    runtime->owner = getpid();
    runtime->home_fd = runtime->boxes_fd = -1;
    runtime->implicit_start.cancel_fd = -1;
    pthread_mutex_init(&runtime->attached_lock, NULL);
    pthread_mutex_init(&runtime->open_lock, NULL);
    runtime->home = home ? strdup(home) : bl_runtime_default_home(err);

    size_t length = runtime->home ? strlen(runtime->home) : 0;

    while (length > 1 && runtime->home[length - 1] == '/')
        runtime->home[--length] = '\0';
    if (home && !runtime->home)
        bl_fail_memory(err);
    if (!runtime->home || bl_home_open(runtime->home, &runtime->home_fd, &runtime->boxes_fd, err) < 0) {
        bl_runtime_close(runtime);
        return -1;
    }
    *out = runtime;
    return 0;
}

int bl_runtime_open(const char *home, struct bl_runtime **out, struct bl_error *err)
{
    if (bl_runtime_begin(home, out, err) < 0)
        return -1;
    if (bl_runtime_check(*out, err) == 0)
        return 0;
    bl_runtime_close(*out);
    *out = NULL;
    return -1;
}

void bl_runtime_start_as(struct bl_runtime *runtime, const struct bl_start_options *options)
{
    runtime->implicit_start = *options;
    runtime->implicit_start.attach = false;
    runtime->implicit_start.exit_code = NULL;
}

int bl_runtime_attach(struct bl_runtime *runtime, const char *id, const struct bl_process *shim)
{
    struct bl_attached *attached = calloc(1, sizeof *attached);

    if (!attached)
        return -1;
    memcpy(attached->id, id, sizeof attached->id);
    attached->shim = *shim;
    pthread_mutex_lock(&runtime->attached_lock);
    attached->next = runtime->attached;
    runtime->attached = attached;
    pthread_mutex_unlock(&runtime->attached_lock);
    return 0;
}

void bl_runtime_detach(struct bl_runtime *runtime, const char *id)
{
    pthread_mutex_lock(&runtime->attached_lock);
    for (struct bl_attached **at = &runtime->attached; *at;) {
        struct bl_attached *attached = *at;

        if (strcmp(attached->id, id) != 0) {
            at = &attached->next;
            continue;
        }
        *at = attached->next;
        free(attached);
    }
    pthread_mutex_unlock(&runtime->attached_lock);
}

/* take_attached() - All of them, out of the runtime. */
static struct bl_attached *take_attached(struct bl_runtime *runtime)
{
    pthread_mutex_lock(&runtime->attached_lock);

    struct bl_attached *list = bl_steal_ptr(&runtime->attached);

    pthread_mutex_unlock(&runtime->attached_lock);
    return list;
}

/* Ask all at once, then see each of them end. */
int bl_runtime_stop_attached(struct bl_runtime *runtime, int64_t grace_ms, struct bl_error *err)
{
    struct bl_attached *list = take_attached(runtime);
    uint32_t asked_grace = grace_ms < 0 || grace_ms > UINT32_MAX ? UINT32_MAX : (uint32_t)grace_ms;
    int failed = 0;

    for (const struct bl_attached *attached = list; attached; attached = attached->next) {
        if (bl_process_check(&attached->shim, attached->id) != BL_IDENTITY_SAME)
            continue;

        cleanup_close int asked = bl_control_stop(runtime->boxes_fd, attached->id, asked_grace);

        if (asked < 0)
            bl_log(BL_LOG_DEBUG, "box %s: its control socket does not answer", attached->id);
    }
    while (list) {
        struct bl_attached *attached = list;
        struct bl_error why = BL_ERROR_INIT;

        list = attached->next;
        /* A life of the box that somebody else began since is theirs. */
        enum bl_identity identity = bl_process_check(&attached->shim, attached->id);

        /* One that ends already shows no name any more, but is not gone before its pidfd says so. */
        if (identity == BL_IDENTITY_OTHER)
            bl_reaper_await(runtime->reaper, attached->shim.pid, bl_deadline_in(DEATH_WAIT_MS));
        if (identity == BL_IDENTITY_SAME && bl_box_stop(runtime, attached->id, asked_grace, -1, &why) < 0 &&
            why.code != BL_NOT_FOUND) {
            bl_log(BL_LOG_WARN, "box %s: %s", attached->id, why.message);
            if (!failed && err)
                *err = why;
            failed = -1;
        }
        free(attached);
    }
    return failed;
}

void bl_runtime_close(struct bl_runtime *runtime)
{
    if (!runtime)
        return;
    /* A forked child has copies of descriptors and of a database connection that are its parent's: it must not even close them. */
    if (runtime->owner != getpid())
        return;
    if (atomic_load(&runtime->open))
        bl_runtime_stop_attached(runtime, BL_DEFAULT_STOP_GRACE_MS, NULL);
    close_all(runtime);
    bl_close_fd(&runtime->boxes_fd);
    bl_close_fd(&runtime->home_fd);
    pthread_mutex_destroy(&runtime->attached_lock);
    pthread_mutex_destroy(&runtime->open_lock);
    free(runtime->home);
    free(runtime);
}

const char *bl_runtime_home(const struct bl_runtime *runtime)
{
    return runtime->home;
}

struct bl_images *bl_runtime_images(struct bl_runtime *runtime)
{
    return runtime->images;
}

/* count_boxes() - How many boxes there are, by what is true of them. */
static int count_boxes(struct bl_runtime *runtime, struct bl_runtime_info *out, struct bl_error *err)
{
    struct bl_box_info *list;
    size_t count;

    if (bl_box_list(runtime, &list, &count, err) < 0)
        return -1;
    out->boxes = (unsigned int)count;
    for (size_t i = 0; i < count; i++) {
        if (bl_state_claims_to_run(list[i].status))
            out->running++;
        else if (list[i].status == BL_BOX_CONFIGURED)
            out->configured++;
        else
            out->stopped++;
    }
    bl_box_list_free(list, count);
    return 0;
}

/* describe_engine() - The engine that a box made now would have: what the environment asks for, else the automatic choice. */
static void describe_engine(struct bl_engine_choice *out)
{
    const char *asked = getenv("BOXLITE_ENGINE");
    struct bl_error err = BL_ERROR_INIT;

    if (bl_engine_choose(asked && *asked ? asked : NULL, NULL, out, &err) == 0 || err.code == BL_ENGINE)
        return; /* without an emulator, the choice says so itself */
    bl_engine_probe(out);
    out->name[0] = '\0';
    snprintf(out->reason, sizeof out->reason, "%.*s", (int)sizeof out->reason - 1, err.message);
}

int bl_runtime_describe(struct bl_runtime *runtime, struct bl_runtime_info *out, struct bl_error *err)
{
    struct bl_image **images = NULL;
    struct bl_guest_files guest = {0};
    struct bl_engine_choice engine;
    size_t count = 0;

    *out = (struct bl_runtime_info){0};
    if (bl_runtime_check(runtime, err) < 0 || count_boxes(runtime, out, err) < 0 ||
        bl_templates_wanted(&out->templates_wanted, err) < 0 || bl_images_list(runtime->images, &images, &count, err) < 0)
        return -1;
    bl_image_free_list(images, count);
    out->images = (unsigned int)count;
    bl_templates_usage(runtime->home_fd, &out->templates, &out->templates_bytes);
    describe_engine(&engine);
    bl_guest_files_find(runtime->runtime_dir, &guest, NULL);
    out->engine = *engine.name ? strdup(engine.name) : NULL;
    out->engine_reason = strdup(engine.reason);
    out->virtualization = strdup(engine.virtualization);
    out->runtime_dir = strdup(runtime->runtime_dir);
    out->kernel_kind = guest.kind ? strdup(guest.kind) : NULL;
    out->kernel = bl_steal_ptr(&guest.kernel);
    bl_guest_files_free(&guest);
    if ((*engine.name && !out->engine) || !out->engine_reason || !out->virtualization || !out->runtime_dir) {
        bl_runtime_info_free(out);
        return bl_fail_memory(err);
    }
    return 0;
}

void bl_runtime_info_free(struct bl_runtime_info *info)
{
    free(info->engine);
    free(info->engine_reason);
    free(info->virtualization);
    free(info->kernel);
    free(info->kernel_kind);
    free(info->runtime_dir);
    *info = (struct bl_runtime_info){0};
}
