/* SPDX-License-Identifier: Apache-2.0 */
/* info.c - what is known of boxes, as the public structs */
#include <stdlib.h>
#include <string.h>

#include "capi/capi.h"

struct info_op {
    struct bl_capi_op op;
    char *name;
    struct bl_box_info info;  /* one box */
    struct bl_box_info *list; /* or all */
    size_t count;
    CBoxInfoCb on_info;
    CBoxInfoListCb on_list;
};

static void clear_box_info(CBoxInfo *info)
{
    free(info->id);
    free(info->name);
    free(info->image);
    free(info->status);
    free(info->exit_code);
    free(info->resolved_image_digest);
    if (info->network)
        free(info->network->published_ports);
    free(info->network);
}

/* fill() - Return: 0; -1 when memory ran out, nothing to free */
static int fill(const struct bl_box_info *from, CBoxInfo *to)
{
    *to = (CBoxInfo){
        .id = bl_capi_text(from->id),
        .name = bl_capi_text(from->name),
        .image = bl_capi_text(from->image),
        .status = bl_capi_text(bl_box_status_name(from->status)),
        .running = from->status == BL_BOX_RUNNING,
        .pid = (int)from->pid,
        .cpus = (int)from->cpus,
        .memory_mib = (int)from->memory_mib,
        .auto_stop = (uint32_t)((from->auto_stop_ms + 999) / 1000),
        .auto_delete = (uint32_t)((from->auto_delete_ms + 999) / 1000),
        .auto_resume = !from->no_auto_resume,
        .created_at = from->created_at_ms / 1000,
        .network = calloc(1, sizeof(CNetworkInfo)),
        .started_at = from->started_at_ms,
        .last_activity_at = from->ended_at_ms ? from->ended_at_ms : from->started_at_ms,
        .resolved_image_digest = bl_capi_text(from->image_digest),
    };

    bool failed = !to->id || !to->name || !to->image || !to->status || !to->network || !to->resolved_image_digest;

    if (from->has_exit_code) {
        to->exit_code = malloc(sizeof *to->exit_code);
        if (to->exit_code)
            *to->exit_code = from->exit_code;
        failed = failed || !to->exit_code;
    }
    if (to->network) {
        to->network->mode = BoxliteNetworkModeDisabled;
        to->network->outbound.mode = BoxliteNetworkModeDisabled;
        to->network->inbound.mode = BoxliteNetworkModeDisabled;
        to->network->published_ports = calloc(1, sizeof(CPublishedPortList));
        failed = failed || !to->network->published_ports;
    }
    if (failed)
        clear_box_info(to);
    return failed ? -1 : 0;
}

void boxlite_free_box_info(CBoxInfo *info)
{
    if (!info)
        return;
    clear_box_info(info);
    free(info);
}

void boxlite_free_box_info_list(CBoxInfoList *list)
{
    if (!list)
        return;
    for (int i = 0; i < list->count; i++)
        clear_box_info(&list->items[i]);
    free(list->items);
    free(list);
}

static void dispose(struct bl_capi_op *base)
{
    struct info_op *op = (struct info_op *)base;

    free(op->name);
    bl_box_info_free(&op->info);
    bl_box_list_free(op->list, op->count);
    free(op);
}

static int one_work(struct bl_capi_op *base, struct bl_error *err)
{
    struct info_op *op = (struct info_op *)base;
    struct bl_runtime *core = bl_capi_enter(base->runtime, err);

    if (!core)
        return -1;

    int failed = bl_box_inspect(core, op->name, &op->info, err);

    bl_capi_leave(base->runtime);
    return failed;
}

static void one_complete(struct bl_capi_op *base, CBoxliteError *error)
{
    struct info_op *op = (struct info_op *)base;
    CBoxInfo *info = error ? NULL : calloc(1, sizeof *info);

    if (!error && (!info || fill(&op->info, info) < 0)) {
        CBoxliteError own = bl_capi_memory_error();

        free(info);
        op->on_info(NULL, &own, base->user_data);
        boxlite_error_free(&own);
        return;
    }
    op->on_info(info, error, base->user_data);
}

static int list_work(struct bl_capi_op *base, struct bl_error *err)
{
    struct info_op *op = (struct info_op *)base;
    struct bl_runtime *core = bl_capi_enter(base->runtime, err);

    if (!core)
        return -1;

    int failed = bl_box_list(core, &op->list, &op->count, err);

    bl_capi_leave(base->runtime);
    return failed;
}

/* make_list() - Return: NULL when memory ran out */
static CBoxInfoList *make_list(const struct info_op *op)
{
    CBoxInfoList *list = calloc(1, sizeof *list);

    if (list)
        list->items = calloc(op->count ? op->count : 1, sizeof *list->items);
    for (size_t i = 0; list && list->items && i < op->count; i++) {
        if (fill(&op->list[i], &list->items[i]) < 0) {
            boxlite_free_box_info_list(list);
            return NULL;
        }
        list->count++;
    }
    if (list && !list->items) {
        free(list);
        return NULL;
    }
    return list;
}

static void list_complete(struct bl_capi_op *base, CBoxliteError *error)
{
    struct info_op *op = (struct info_op *)base;
    CBoxInfoList *list = error ? NULL : make_list(op);

    if (!error && !list) {
        CBoxliteError own = bl_capi_memory_error();

        op->on_list(NULL, &own, base->user_data);
        boxlite_error_free(&own);
        return;
    }
    op->on_list(list, error, base->user_data);
}

enum BoxliteErrorCode boxlite_get_info(CBoxliteRuntime *runtime, const char *id_or_name, CBoxInfoCb cb, void *user_data,
                                       CBoxliteError *out_error)
{
    enum BoxliteErrorCode code = bl_capi_check_runtime(runtime, out_error);

    if (code != BOXLITE_OK)
        return code;
    if (!id_or_name || !cb)
        return bl_capi_reject(out_error, BL_INVALID_ARGUMENT, "%s is NULL", id_or_name ? "cb" : "id_or_name");

    struct info_op *op = bl_capi_new_op(sizeof *op, runtime, user_data, one_work, one_complete, dispose);

    if (!op)
        return bl_capi_no_memory(out_error);
    op->on_info = cb;
    op->name = strdup(id_or_name);
    if (!op->name) {
        dispose(&op->op);
        bl_capi_runtime_release(runtime);
        return bl_capi_no_memory(out_error);
    }
    return bl_capi_post(runtime, CAPI_LANE_QUICK, &op->op, out_error);
}

enum BoxliteErrorCode boxlite_box_info(CBoxHandle *handle, CBoxInfoCb cb, void *user_data, CBoxliteError *out_error)
{
    if (!handle)
        return bl_capi_reject(out_error, BL_INVALID_ARGUMENT, "handle is NULL");
    return boxlite_get_info(handle->runtime, handle->id, cb, user_data, out_error);
}

enum BoxliteErrorCode boxlite_list_info(CBoxliteRuntime *runtime, CBoxInfoListCb cb, void *user_data, CBoxliteError *out_error)
{
    enum BoxliteErrorCode code = bl_capi_check_runtime(runtime, out_error);

    if (code != BOXLITE_OK)
        return code;
    if (!cb)
        return bl_capi_reject(out_error, BL_INVALID_ARGUMENT, "cb is NULL");

    struct info_op *op = bl_capi_new_op(sizeof *op, runtime, user_data, list_work, list_complete, dispose);

    if (!op)
        return bl_capi_no_memory(out_error);
    op->on_list = cb;
    return bl_capi_post(runtime, CAPI_LANE_QUICK, &op->op, out_error);
}
