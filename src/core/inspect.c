/* SPDX-License-Identifier: Apache-2.0 */
/* inspect.c - telling what is known of boxes: judged, never changed but for healed records */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/strings.h"
#include "core/capabilities.h"
#include "core/change.h"
#include "core/policy.h"
#include "proto/launch.h"

#define LOST_LOCK_TROUBLE "lock lost: its host process lives, but does not hold the box's lock any more; stop and start the box"

void bl_box_info_free(struct bl_box_info *info)
{
    free(info->name);
    free(info->image);
    free(info->image_digest);
    free(info->reason);
    free(info->console);
    free(info->trouble);
    free(info->engine);
    bl_strings_free(info->command);
    bl_strings_free(info->env);
    free(info->workdir);
    free(info->user);
    bl_strings_free(info->cap_add);
    bl_strings_free(info->cap_drop);
    bl_strings_free(info->capabilities);
    *info = (struct bl_box_info){0};
}

/* fill_info() - Make a record, which is emptied, into what callers see. */
static int fill_info(struct bl_record *record, const struct bl_verdict *verdict, struct bl_box_info *out, struct bl_error *err)
{
    const struct bl_state *state = &record->state;
    const char *trouble = *verdict->trouble ? verdict->trouble : verdict->lock_lost ? LOST_LOCK_TROUBLE : NULL;

    *out = (struct bl_box_info){
        .status = state->status,
        .pid = verdict->runs ? verdict->pid : 0,
        .has_exit_code = state->has_exit_code,
        .exit_code = state->exit_code,
        .out_of_memory = state->out_of_memory,
        .created_at_ms = record->created_at_ms,
        .create_ms = record->create_ms,
        .started_at_ms = state->started_at_ms,
        .ended_at_ms = state->ended_at_ms,
        .cpus = record->cpus,
        .memory_mib = record->memory_mib,
        .disk_bytes = record->disk_bytes,
        .job = bl_record_is_job(record),
        .detached = record->detach,
        .auto_remove = record->auto_remove,
        .tty = record->tty,
        .unconfined = record->unconfined,
        .no_auto_resume = record->no_auto_resume,
        .restart = record->restart,
        .wanted = state->wanted,
        .auto_stop_ms = record->auto_stop_ms,
        .auto_delete_ms = record->auto_delete_ms,
    };
    uint64_t capabilities;

    bl_capabilities_resolve(record->cap_add, record->cap_drop, &capabilities);
    memcpy(out->id, record->id, sizeof out->id);
    out->trouble = trouble ? strdup(trouble) : NULL;
    out->capabilities = bl_capabilities_list(capabilities);
    if ((trouble && !out->trouble) || !out->capabilities)
        return bl_fail_memory(err);
    out->name = bl_steal_ptr(&record->name);
    out->image = bl_steal_ptr(&record->image);
    out->image_digest = bl_steal_ptr(&record->image_digest);
    out->reason = bl_steal_ptr(&record->state.reason);
    out->console = bl_steal_ptr(&record->state.console);
    out->engine = bl_steal_ptr(&record->engine);
    out->command = bl_steal_ptr(&record->command);
    out->env = bl_steal_ptr(&record->env);
    out->workdir = bl_steal_ptr(&record->workdir);
    out->user = bl_steal_ptr(&record->user);
    out->cap_add = bl_steal_ptr(&record->cap_add);
    out->cap_drop = bl_steal_ptr(&record->cap_drop);
    return 0;
}

int bl_box_inspect(struct bl_runtime *runtime, const char *name, struct bl_box_info *out, struct bl_error *err)
{
    cleanup_record struct bl_record record = {0};
    struct bl_verdict verdict;

    *out = (struct bl_box_info){0};
    if (bl_runtime_check(runtime, err) < 0 || bl_store_find(runtime->store, name, &record, err) < 0 ||
        bl_judge(runtime, &record, BL_JUDGE_LOOK, &verdict, err) < 0)
        return -1;
    if (fill_info(&record, &verdict, out, err) < 0)
        return -1;
    out->restarts = bl_restarts_read(runtime, &record);
    return 0;
}

int bl_box_list(struct bl_runtime *runtime, struct bl_box_info **out, size_t *count, struct bl_error *err)
{
    struct bl_record *records;
    size_t length, filled = 0;
    struct bl_error local = BL_ERROR_INIT;
    int failed = 0;

    *out = NULL;
    *count = 0;
    if (!err)
        err = &local;
    if (bl_runtime_check(runtime, err) < 0 || bl_store_list(runtime->store, BL_STORE_ALL, &records, &length, err) < 0)
        return -1;

    struct bl_box_info *list = calloc(length + 1, sizeof *list);

    if (!list)
        failed = bl_fail_memory(err);
    for (size_t i = 0; i < length && !failed; i++) {
        struct bl_verdict verdict;

        if (bl_judge(runtime, &records[i], BL_JUDGE_GLANCE, &verdict, err) < 0) {
            /* One that was removed meanwhile is none. */
            failed = err->code == BL_NOT_FOUND ? 0 : -1;
            bl_error_clear(failed ? NULL : err);
            continue;
        }
        if (bl_is_doomed(&records[i], &verdict))
            continue;
        failed = fill_info(&records[i], &verdict, &list[filled], err);
        filled++;
    }
    bl_store_list_free(records, length);
    if (failed) {
        bl_box_list_free(list, filled);
        return -1;
    }
    *out = list;
    *count = filled;
    return 0;
}

void bl_box_list_free(struct bl_box_info *list, size_t count)
{
    for (size_t i = 0; list && i < count; i++)
        bl_box_info_free(&list[i]);
    free(list);
}

char *bl_box_log_path(struct bl_runtime *runtime, const char *name, const char *which, struct bl_error *err)
{
    static const struct {
        const char *which, *file;
    } logs[] = {{"output", BL_FILE_OUTPUT_LOG}, {"console", BL_FILE_CONSOLE_LOG}, {"shim", BL_FILE_SHIM_LOG}};
    cleanup_record struct bl_record record = {0};

    if (bl_runtime_check(runtime, err) < 0 || bl_store_find(runtime->store, name, &record, err) < 0)
        return NULL;
    for (size_t i = 0; i < sizeof logs / sizeof *logs; i++) {
        if (strcmp(which, logs[i].which) != 0)
            continue;

        char *path = bl_format("%s/boxes/%s/%s", runtime->home, record.id, logs[i].file);

        if (!path)
            bl_fail_memory(err);
        return path;
    }
    bl_fail(err, BL_INVALID_ARGUMENT, 0, "there is no log '%s': output, console and shim are known", which);
    return NULL;
}
