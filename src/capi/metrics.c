/* SPDX-License-Identifier: Apache-2.0 */
/* metrics.c - numbers of a runtime and of a box; all are measured */
#include <stdlib.h>
#include <string.h>

#include "capi/capi.h"

struct metrics_op {
    struct bl_capi_op op;
    char id[BL_BOX_ID_LENGTH + 1];
    CRuntimeMetrics runtime;
    struct bl_box_usage usage;
    CRuntimeMetricsCb on_runtime;
    CBoxMetricsCb on_box;
};

static void dispose(struct bl_capi_op *base)
{
    free(base);
}

static int runtime_work(struct bl_capi_op *base, struct bl_error *err)
{
    struct metrics_op *op = (struct metrics_op *)base;
    struct bl_runtime *core = bl_capi_enter(base->runtime, err);
    struct bl_box_info *list = NULL;
    size_t count = 0;

    if (!core)
        return -1;

    int failed = bl_box_list(core, &list, &count, err);

    bl_capi_leave(base->runtime);
    for (size_t i = 0; i < count; i++)
        op->runtime.num_running_boxes += list[i].status == BL_BOX_RUNNING;
    bl_box_list_free(list, count);
    op->runtime.boxes_created_total = atomic_load(&base->runtime->boxes_created);
    op->runtime.boxes_failed_total = atomic_load(&base->runtime->boxes_failed);
    op->runtime.total_commands_executed = atomic_load(&base->runtime->commands);
    op->runtime.total_exec_errors = atomic_load(&base->runtime->command_errors);
    return failed;
}

static void runtime_complete(struct bl_capi_op *base, CBoxliteError *error)
{
    struct metrics_op *op = (struct metrics_op *)base;

    op->on_runtime(error ? NULL : &op->runtime, error, base->user_data);
}

enum BoxliteErrorCode boxlite_runtime_metrics(CBoxliteRuntime *runtime, CRuntimeMetricsCb cb, void *user_data,
                                              CBoxliteError *out_error)
{
    enum BoxliteErrorCode code = bl_capi_check_runtime(runtime, out_error);

    if (code != BOXLITE_OK)
        return code;
    if (!cb)
        return bl_capi_reject(out_error, BL_INVALID_ARGUMENT, "cb is NULL");

    struct metrics_op *op = bl_capi_new_op(sizeof *op, runtime, user_data, runtime_work, runtime_complete, dispose);

    if (!op)
        return bl_capi_no_memory(out_error);
    op->on_runtime = cb;
    return bl_capi_post(runtime, CAPI_LANE_QUICK, &op->op, out_error);
}

static int box_work(struct bl_capi_op *base, struct bl_error *err)
{
    struct metrics_op *op = (struct metrics_op *)base;
    struct bl_runtime *core = bl_capi_enter(base->runtime, err);

    if (!core)
        return -1;

    int failed = bl_box_measure(core, op->id, &op->usage, err);

    bl_capi_leave(base->runtime);
    return failed;
}

static void box_complete(struct bl_capi_op *base, CBoxliteError *error)
{
    struct metrics_op *op = (struct metrics_op *)base;
    CBoxMetrics metrics = {
        .cpu_percent = op->usage.cpu_percent,
        .memory_bytes = (int64_t)op->usage.memory_bytes,
        .commands_executed = (int)op->usage.execs,
        .exec_errors = (int)op->usage.exec_errors,
        .bytes_sent = (int64_t)op->usage.bytes_in,
        .bytes_received = (int64_t)op->usage.bytes_out,
        .create_duration_ms = op->usage.create_ms,
        .boot_duration_ms = op->usage.boot_ms,
    };

    op->on_box(error ? NULL : &metrics, error, base->user_data);
}

enum BoxliteErrorCode boxlite_box_metrics(CBoxHandle *handle, CBoxMetricsCb cb, void *user_data, CBoxliteError *out_error)
{
    if (!handle || !cb)
        return bl_capi_reject(out_error, BL_INVALID_ARGUMENT, "%s is NULL", handle ? "cb" : "handle");

    enum BoxliteErrorCode code = bl_capi_check_runtime(handle->runtime, out_error);

    if (code != BOXLITE_OK)
        return code;

    struct metrics_op *op = bl_capi_new_op(sizeof *op, handle->runtime, user_data, box_work, box_complete, dispose);

    if (!op)
        return bl_capi_no_memory(out_error);
    op->on_box = cb;
    memcpy(op->id, handle->id, sizeof op->id);
    return bl_capi_post(handle->runtime, CAPI_LANE_QUICK, &op->op, out_error);
}
