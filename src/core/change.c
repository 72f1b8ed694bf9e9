/* SPDX-License-Identifier: Apache-2.0 */
/* change.c - see change.h */
#include "core/change.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/os.h"
#include "core/lock.h"
#include "proto/launch.h"

int bl_change_begin(struct bl_runtime *runtime, const char *name, int64_t deadline, int cancel_fd, int *lock_fd,
                    struct bl_record *record, struct bl_verdict *verdict, struct bl_error *err)
{
    char id[BL_BOX_ID_LENGTH + 1];

    *lock_fd = -1;
    if (bl_runtime_check(runtime, err) < 0 || bl_store_find(runtime->store, name, record, err) < 0)
        return -1;
    memcpy(id, record->id, sizeof id);
    bl_record_free(record);

    cleanup_lifecycle int lock = bl_lifecycle_lock(runtime->boxes_fd, id, deadline, cancel_fd, err);

    if (lock < 0)
        return -1;
    if (bl_store_get(runtime->store, id, record, err) < 0) {
        /* Removed while we waited; the name is what the user knows. */
        return err && err->code == BL_NOT_FOUND ? bl_fail(err, BL_NOT_FOUND, 0, "No such box: %s", name) : -1;
    }
    if (bl_judge(runtime, record, BL_JUDGE_HOLDER, verdict, err) < 0) {
        bl_record_free(record);
        return -1;
    }
    if (*verdict->trouble) {
        bl_fail(err, BL_INVALID_STATE, 0, "the state of box %s can't be told, so nothing was changed: %s", name, verdict->trouble);
        bl_record_free(record);
        return -1;
    }
    *lock_fd = bl_steal_fd(&lock);
    return 0;
}

int bl_change_state(struct bl_runtime *runtime, struct bl_record *record, struct bl_error *err)
{
    for (;;) {
        int changed = bl_store_update(runtime->store, record->id, &record->state, err);

        if (changed)
            return changed < 0 ? -1 : 0;

        /* Somebody who only looked healed the record meanwhile. */
        cleanup_record struct bl_record newer = {0};

        if (bl_store_get(runtime->store, record->id, &newer, err) < 0)
            return -1;
        record->state.generation = newer.state.generation;
    }
}

void bl_change_reason(struct bl_record *record, const char *reason)
{
    free(record->state.reason);
    record->state.reason = reason ? strdup(reason) : NULL;
}

void bl_clean_up_box(struct bl_runtime *runtime, const char *id)
{
    int fd = bl_os.openat(runtime->boxes_fd, id, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);

    if (fd < 0)
        return;
    bl_os.unlinkat(fd, BL_FILE_CONTROL_SOCKET, 0);
    bl_os.unlinkat(fd, BL_FILE_SHIM_PID, 0);

    cleanup_dir DIR *dir = bl_os.fdopendir(fd);

    if (!dir) {
        close(fd);
        return;
    }
    /* What bl_write_file() had not renamed yet. */
    for (struct dirent *entry; (entry = bl_os.readdir(dir));)
        if (entry->d_name[0] == '.' && entry->d_type == DT_REG)
            bl_os.unlinkat(fd, entry->d_name, 0);
}

void bl_log_tail(struct bl_runtime *runtime, const char *id, const char *name, int64_t offset, char *out, size_t size)
{
    char path[BL_BOX_ID_LENGTH + 64];

    *out = '\0';
    snprintf(path, sizeof path, "%s/%s", id, name);

    cleanup_close int fd = bl_os.openat(runtime->boxes_fd, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    off_t end = fd < 0 ? -1 : bl_os.lseek(fd, 0, SEEK_END);

    if (end < 0 || end <= offset)
        return;
    if (end - offset > (off_t)size - 1)
        offset = end - (off_t)size + 1;

    ssize_t n = bl_os.pread(fd, out, size - 1, (off_t)offset);

    out[n < 0 ? 0 : n] = '\0';
    for (unsigned char *p = (unsigned char *)out; *p; p++)
        if ((*p < 0x20 && *p != '\n') || *p == 0x7f)
            *p = *p == '\r' || *p == '\t' ? ' ' : '?';
    while (n > 0 && (out[n - 1] == '\n' || out[n - 1] == ' '))
        out[--n] = '\0';
}

bool bl_has_ended(const struct bl_record *record, const struct bl_verdict *verdict)
{
    return !verdict->runs && !verdict->busy && !*verdict->trouble &&
           (record->state.status == BL_BOX_STOPPED || record->state.status == BL_BOX_FAILED);
}

bool bl_is_doomed(const struct bl_record *record, const struct bl_verdict *verdict)
{
    if (!bl_has_ended(record, verdict))
        return false;
    if (record->auto_remove)
        return true;
    /* One that died and is to be started again has not come to its end. */
    if (!record->auto_delete_ms || (record->restart.kind && record->state.wanted))
        return false;
    return bl_epoch_ms() - record->state.ended_at_ms >= record->auto_delete_ms;
}
