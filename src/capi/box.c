/* SPDX-License-Identifier: Apache-2.0 */
/* box.c - operations on boxes: create, find, start, stop, remove */
#include <stdlib.h>
#include <string.h>

#include "capi/options.h"

/* One operation on one box. Which of the callbacks is set depends on its kind. */
struct box_op {
    struct bl_capi_op op;
    char *name;               /* id, name or prefix */
    CBoxliteOptions *options; /* create: taken from the user once it was queued */
    bool force;
    bool created;
    CBoxHandle *box; /* the result, until it was handed over */
    CBoxCreateBoxCb on_box;
    CBoxGetOrCreateBoxCb on_created;
    CBoxStartBoxCb on_done;
};

static void dispose(struct bl_capi_op *base)
{
    struct box_op *op = (struct box_op *)base;

    free(op->name);
    boxlite_options_free(op->options);
    boxlite_box_free(op->box);
    free(op);
}

static void complete(struct bl_capi_op *base, CBoxliteError *error)
{
    struct box_op *op = (struct box_op *)base;
    CBoxHandle *box = op->box;

    op->box = NULL; /* the callback's from here on */
    if (op->on_box)
        op->on_box(box, error, base->user_data);
    else if (op->on_created)
        op->on_created(box, op->created, error, base->user_data);
    else
        op->on_done(error, base->user_data);
}

/* refuse_if_shut_down() - Return: 0; -1 with *@err */
static int refuse_if_shut_down(CBoxliteRuntime *runtime, const char *what, struct bl_error *err)
{
    if (!atomic_load(&runtime->shut_down))
        return 0;
    return bl_fail(err, BL_STOPPED, 0, "%s: the runtime was shut down", what);
}

static int make_handle(struct box_op *op, const char *id, struct bl_error *err)
{
    op->box = bl_capi_new_box(op->op.runtime, id);
    return op->box ? 0 : bl_fail_memory(err);
}

/* find() - Set the result to the box of that name. Return: 0; -1 with *@err */
static int find(struct box_op *op, struct bl_runtime *core, const char *name, struct bl_error *err)
{
    struct bl_box_info info = {0};

    if (bl_box_inspect(core, name, &info, err) < 0)
        return -1;

    int failed = make_handle(op, info.id, err);

    bl_box_info_free(&info);
    return failed;
}

static int create(struct box_op *op, struct bl_runtime *core, struct bl_error *err)
{
    struct bl_box_options options;
    char id[BL_BOX_ID_LENGTH + 1];

    if (refuse_if_shut_down(op->op.runtime, "create a box", err) < 0 || bl_capi_options_fill(op->options, &options, err) < 0)
        return -1;
    /* Core knows the user's usual registries only. */
    if (op->op.runtime->config && options.image &&
        bl_capi_pull(op->op.runtime, core, options.image, BL_PULL_MISSING, NULL, err) < 0) {
        atomic_fetch_add(&op->op.runtime->boxes_failed, 1);
        return -1;
    }
    if (bl_box_create(core, &options, op->op.runtime->cancel_fd, id, err) < 0) {
        atomic_fetch_add(&op->op.runtime->boxes_failed, 1);
        return -1;
    }
    atomic_fetch_add(&op->op.runtime->boxes_created, 1);
    op->created = true;
    return make_handle(op, id, err);
}

static int get_or_create(struct box_op *op, struct bl_runtime *core, struct bl_error *err)
{
    const char *name = op->options->name;

    /* Between a look and a creation somebody else may take the name, or give it up again: then look again. */
    for (int attempt = 0; attempt < 3; attempt++) {
        if (name && find(op, core, name, err) == 0)
            return 0;
        if (name && err->code != BL_NOT_FOUND)
            return -1;
        bl_error_clear(err);
        if (create(op, core, err) == 0)
            return 0;
        if (!name || err->code != BL_ALREADY_EXISTS)
            return -1;
        bl_error_clear(err);
    }
    return bl_fail(err, BL_INVALID_STATE, 0, "get or create box %s: it comes and goes; try again", name);
}

/* inside() - Run a step with core at hand. */
static int inside(struct bl_capi_op *base, struct bl_error *err,
                  int (*step)(struct box_op *, struct bl_runtime *, struct bl_error *))
{
    struct bl_runtime *core = bl_capi_enter(base->runtime, err);

    if (!core)
        return -1;

    int failed = step((struct box_op *)base, core, err);

    bl_capi_leave(base->runtime);
    return failed;
}

static int create_work(struct bl_capi_op *base, struct bl_error *err)
{
    return inside(base, err, create);
}

static int get_or_create_work(struct bl_capi_op *base, struct bl_error *err)
{
    return inside(base, err, get_or_create);
}

static int get(struct box_op *op, struct bl_runtime *core, struct bl_error *err)
{
    return find(op, core, op->name, err);
}

static int get_work(struct bl_capi_op *base, struct bl_error *err)
{
    return inside(base, err, get);
}

static int start(struct box_op *op, struct bl_runtime *core, struct bl_error *err)
{
    struct bl_start_options options = {.cancel_fd = op->op.runtime->cancel_fd};

    if (refuse_if_shut_down(op->op.runtime, "start a box", err) < 0)
        return -1;
    if (bl_box_start(core, op->name, &options, err) == 0)
        return 0;
    atomic_fetch_add(&op->op.runtime->boxes_failed, 1);
    return -1;
}

static int start_work(struct bl_capi_op *base, struct bl_error *err)
{
    return inside(base, err, start);
}

static int stop(struct box_op *op, struct bl_runtime *core, struct bl_error *err)
{
    return bl_box_stop(core, op->name, -1, -1, err);
}

static int stop_work(struct bl_capi_op *base, struct bl_error *err)
{
    return inside(base, err, stop);
}

static int remove_box(struct box_op *op, struct bl_runtime *core, struct bl_error *err)
{
    return bl_box_remove(core, op->name, op->force, err);
}

static int remove_work(struct bl_capi_op *base, struct bl_error *err)
{
    return inside(base, err, remove_box);
}

/* new_op() - @name may be NULL. Return: NULL when memory ran out */
static struct box_op *new_op(CBoxliteRuntime *runtime, const char *name, void *user_data,
                             int (*work)(struct bl_capi_op *, struct bl_error *))
{
    struct box_op *op = bl_capi_new_op(sizeof *op, runtime, user_data, work, complete, dispose);

    if (!op || !name)
        return op;
    op->name = strdup(name);
    if (op->name)
        return op;
    dispose(&op->op);
    bl_capi_runtime_release(runtime);
    return NULL;
}

/* check_creation() - What both ways of creating check first. */
static enum BoxliteErrorCode check_creation(CBoxliteRuntime *runtime, const CBoxliteOptions *opts, bool has_cb,
                                            CBoxliteError *out_error)
{
    enum BoxliteErrorCode code = bl_capi_check_runtime(runtime, out_error);
    struct bl_box_options filled;
    struct bl_error err = BL_ERROR_INIT;

    if (code != BOXLITE_OK)
        return code;
    if (!opts || !has_cb)
        return bl_capi_reject(out_error, BL_INVALID_ARGUMENT, "%s is NULL", opts ? "cb" : "opts");
    if (refuse_if_shut_down(runtime, "create a box", &err) < 0 || bl_capi_options_fill(opts, &filled, &err) < 0)
        return bl_capi_report(out_error, &err);
    return BOXLITE_OK;
}

/* post_creation() - Queue it; the options change hands only when that worked. */
static enum BoxliteErrorCode post_creation(struct box_op *op, CBoxliteOptions *opts, CBoxliteError *out_error)
{
    op->options = opts;
    return bl_capi_post_keeping(op->op.runtime, CAPI_LANE_LIFE, &op->op, (void **)&op->options, out_error);
}

enum BoxliteErrorCode boxlite_create_box(CBoxliteRuntime *runtime, CBoxliteOptions *opts, CBoxCreateBoxCb cb, void *user_data,
                                         CBoxliteError *out_error)
{
    enum BoxliteErrorCode code = check_creation(runtime, opts, cb != NULL, out_error);

    if (code != BOXLITE_OK)
        return code;

    struct box_op *op = new_op(runtime, NULL, user_data, create_work);

    if (!op)
        return bl_capi_no_memory(out_error);
    op->on_box = cb;
    return post_creation(op, opts, out_error);
}

enum BoxliteErrorCode boxlite_get_or_create_box(CBoxliteRuntime *runtime, CBoxliteOptions *opts, CBoxGetOrCreateBoxCb cb,
                                                void *user_data, CBoxliteError *out_error)
{
    enum BoxliteErrorCode code = check_creation(runtime, opts, cb != NULL, out_error);

    if (code != BOXLITE_OK)
        return code;

    struct box_op *op = new_op(runtime, NULL, user_data, get_or_create_work);

    if (!op)
        return bl_capi_no_memory(out_error);
    op->on_created = cb;
    return post_creation(op, opts, out_error);
}

enum BoxliteErrorCode boxlite_get(CBoxliteRuntime *runtime, const char *id_or_name, CBoxGetBoxCb cb, void *user_data,
                                  CBoxliteError *out_error)
{
    enum BoxliteErrorCode code = bl_capi_check_runtime(runtime, out_error);

    if (code != BOXLITE_OK)
        return code;
    if (!id_or_name || !cb)
        return bl_capi_reject(out_error, BL_INVALID_ARGUMENT, "%s is NULL", id_or_name ? "cb" : "id_or_name");

    struct box_op *op = new_op(runtime, id_or_name, user_data, get_work);

    if (!op)
        return bl_capi_no_memory(out_error);
    op->on_box = cb;
    return bl_capi_post(runtime, CAPI_LANE_QUICK, &op->op, out_error);
}

/* post_simple() - An operation on a handle whose callback hears only whether it worked. */
static enum BoxliteErrorCode post_simple(CBoxHandle *handle, CBoxStartBoxCb cb, void *user_data, enum bl_capi_lane lane,
                                         int (*work)(struct bl_capi_op *, struct bl_error *), CBoxliteError *out_error)
{
    if (!handle || !cb)
        return bl_capi_reject(out_error, BL_INVALID_ARGUMENT, "%s is NULL", handle ? "cb" : "handle");

    enum BoxliteErrorCode code = bl_capi_check_runtime(handle->runtime, out_error);

    if (code != BOXLITE_OK)
        return code;

    struct box_op *op = new_op(handle->runtime, handle->id, user_data, work);

    if (!op)
        return bl_capi_no_memory(out_error);
    op->on_done = cb;
    return bl_capi_post(handle->runtime, lane, &op->op, out_error);
}

enum BoxliteErrorCode boxlite_start_box(CBoxHandle *handle, CBoxStartBoxCb cb, void *user_data, CBoxliteError *out_error)
{
    return post_simple(handle, cb, user_data, CAPI_LANE_LIFE, start_work, out_error);
}

enum BoxliteErrorCode boxlite_stop_box(CBoxHandle *handle, CBoxStopBoxCb cb, void *user_data, CBoxliteError *out_error)
{
    return post_simple(handle, cb, user_data, CAPI_LANE_END, stop_work, out_error);
}

enum BoxliteErrorCode boxlite_remove(CBoxliteRuntime *runtime, const char *id_or_name, int force, CBoxRemoveBoxCb cb,
                                     void *user_data, CBoxliteError *out_error)
{
    enum BoxliteErrorCode code = bl_capi_check_runtime(runtime, out_error);

    if (code != BOXLITE_OK)
        return code;
    if (!id_or_name || !cb)
        return bl_capi_reject(out_error, BL_INVALID_ARGUMENT, "%s is NULL", id_or_name ? "cb" : "id_or_name");

    struct box_op *op = new_op(runtime, id_or_name, user_data, remove_work);

    if (!op)
        return bl_capi_no_memory(out_error);
    op->on_done = cb;
    op->force = force != 0;
    return bl_capi_post(runtime, CAPI_LANE_END, &op->op, out_error);
}

char *boxlite_box_id(CBoxHandle *handle)
{
    return handle ? strdup(handle->id) : NULL;
}

void boxlite_box_free(CBoxHandle *handle)
{
    if (!handle)
        return;
    bl_capi_runtime_release(handle->runtime);
    free(handle);
}
