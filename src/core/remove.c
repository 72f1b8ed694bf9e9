/* SPDX-License-Identifier: Apache-2.0 */
/*
 * remove.c - removing boxes, and sweeping what nothing owns
 *
 * The record goes first (but for the link that its name is, which makes it only quicker to find), then the files, the lifecycle
 * lock's last: whatever kills a removal half-way, what is left is a directory without a record, which the next sweep takes for what
 * it is.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/crash.h"
#include "base/io.h"
#include "base/log.h"
#include "base/os.h"
#include "core/change.h"
#include "core/links.h"
#include "core/lock.h"
#include "core/names.h"
#include "proto/launch.h"

#define PASSES          1000
#define FORCED_GRACE_MS 0 /* a forced removal throws the box's disk away: there is nothing to sync */

/* empty_directory() - All that is in a box's directory, the lock file last. Return: 0; -1 with errno */
static int empty_directory(DIR *dir)
{
    rewinddir(dir);
    for (struct dirent *entry; (entry = bl_next_entry(dir));) {
        if (strcmp(entry->d_name, BL_FILE_LIFECYCLE_LOCK) == 0)
            continue;
        if (bl_remove_tree(dirfd(dir), entry->d_name) < 0)
            return -1;
        BL_CRASH_POINT("rm:file-removed");
    }
    if (errno)
        return -1;
    BL_CRASH_POINT("rm:files-removed");
    return bl_os.unlinkat(dirfd(dir), BL_FILE_LIFECYCLE_LOCK, 0) < 0 && errno != ENOENT ? -1 : 0;
}

/*
 * remove_files() - A box's directory, whose lifecycle lock the caller holds
 *
 * Others may still put something into it: who waited for the lock may make its file anew, and who looked at the box while it ran
 * may be about to repair its shim.pid. They find out at their next look, so a few more passes see the end of it.
 *
 * Return: 0; -1 with errno
 */
static int remove_files(struct bl_runtime *runtime, const char *id)
{
    int fd = bl_os.openat(runtime->boxes_fd, id, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    cleanup_dir DIR *dir = fd < 0 ? NULL : bl_os.fdopendir(fd);

    if (!dir) {
        bl_close_fd(&fd);
        return errno == ENOENT ? 0 : -1;
    }
    for (int pass = 0; pass < PASSES; pass++) {
        if (empty_directory(dir) < 0)
            return -1;
        BL_CRASH_POINT("rm:lock-removed");
        if (bl_os.unlinkat(runtime->boxes_fd, id, AT_REMOVEDIR) == 0 || errno == ENOENT)
            return 0;
        if (errno != ENOTEMPTY && errno != EEXIST)
            return -1;
    }
    return -1;
}

/*
 * give_disk() - A dead box's own disk, for its room
 *
 * It is cut before it is removed: who has it open, as an emulator about to end, would keep the room of a file without a name.
 *
 * Return: 0; -1
 */
static int give_disk(struct bl_runtime *runtime, const char *id)
{
    cleanup_close int box_fd = bl_os.openat(runtime->boxes_fd, id, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    cleanup_close int disk_fd = box_fd < 0 ? -1 : bl_os.openat(box_fd, BL_FILE_OVERLAY, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);

    if (disk_fd >= 0 && bl_os.ftruncate(disk_fd, 0) < 0)
        bl_log(BL_LOG_WARN, "box %s: cut its disk: %s", id, strerror(errno));
    return box_fd < 0 ? -1 : bl_remove_tree(box_fd, "disks");
}

/* remove_link() - While the record still keeps others from the name. `gc` finds one that stays. */
static void remove_link(struct bl_runtime *runtime, const struct bl_record *record)
{
    if (record->name && bl_link_remove(runtime->home_fd, record->name, record->id) < 0)
        bl_log(BL_LOG_WARN, "box %s: remove the link of its name: %s", record->id, strerror(errno));
    BL_CRASH_POINT("rm:link-removed");
}

/* forget() - Delete the record. On a full disk even that needs room, which the box's own disk gives. Return: 0; -1 */
static int forget(struct bl_runtime *runtime, const struct bl_record *record, struct bl_error *err)
{
    const char *id = record->id;

    remove_link(runtime, record);
    if (bl_store_delete(runtime->store, id, err) == 0)
        return 0;
    if (err->code != BL_RESOURCE_EXHAUSTED || give_disk(runtime, id) < 0)
        return -1;
    bl_error_clear(err);
    return bl_store_delete(runtime->store, id, err);
}

int bl_remove_dead(struct bl_runtime *runtime, const struct bl_record *record, struct bl_error *err)
{
    struct bl_error local = BL_ERROR_INIT;
    const char *id = record->id;

    if (!err)
        err = &local;
    if (forget(runtime, record, err) < 0)
        return -1;
    BL_CRASH_POINT("rm:forgotten");
    if (remove_files(runtime, id) < 0)
        return bl_fail(err, BL_STORAGE, errno, "remove %s/boxes/%s (the box is forgotten; `boxlite gc` tries again)", runtime->home,
                       id);
    BL_CRASH_POINT("rm:directory-removed");
    bl_log(BL_LOG_INFO, "box %s: removed", id);
    return 0;
}

/* forget_lost() - A record whose directory was removed by hand. Return: 1 forgotten; 0: it has a directory; -1 */
static int forget_lost(struct bl_runtime *runtime, const char *name, struct bl_error *err)
{
    cleanup_record struct bl_record record = {0};

    if (bl_store_find(runtime->store, name, &record, err) < 0)
        return -1;
    if (bl_os.faccessat(runtime->boxes_fd, record.id, F_OK, AT_SYMLINK_NOFOLLOW) == 0 || errno != ENOENT)
        return 0;
    remove_link(runtime, &record);
    return bl_store_delete(runtime->store, record.id, err) < 0 ? -1 : 1;
}

int bl_box_remove(struct bl_runtime *runtime, const char *name, bool force, struct bl_error *err)
{
    struct bl_error local = BL_ERROR_INIT;
    cleanup_record struct bl_record record = {0};
    struct bl_verdict verdict;
    int lock_fd;

    if (!err)
        err = &local;
    if (bl_runtime_check(runtime, err) < 0)
        return -1;
    if (bl_change_begin(runtime, name, BL_NEVER, -1, &lock_fd, &record, &verdict, err) < 0) {
        int forgotten = err->code == BL_NOT_FOUND ? forget_lost(runtime, name, err) : 0;

        return forgotten > 0 ? 0 : -1;
    }

    cleanup_lifecycle int lock = lock_fd;

    BL_CRASH_POINT("rm:locked");
    if (verdict.runs && !force)
        return bl_fail(err, BL_INVALID_STATE, 0, "box %s is running: stop it first, or use --force", name);
    /* On a full disk its end can't be recorded, which does not matter to a box that goes. */
    if (verdict.runs && bl_stop_running(runtime, &record, &verdict, FORCED_GRACE_MS, -1, err) < 0 &&
        err->code != BL_RESOURCE_EXHAUSTED)
        return -1;
    bl_error_clear(err);
    BL_CRASH_POINT("rm:stopped");
    if (bl_disk_lock_wait(runtime->boxes_fd, record.id, bl_deadline_in(BL_DEFAULT_STOP_GRACE_MS), -1, err) < 0)
        return -1;
    bl_runtime_detach(runtime, record.id);
    if (bl_remove_dead(runtime, &record, err) < 0)
        return -1;
    bl_sweep_doomed(runtime);
    return 0;
}

bool bl_nothing_lives(struct bl_runtime *runtime, const char *id)
{
    pid_t holder;

    return bl_shim_lock_probe(runtime->boxes_fd, id, &holder) == BL_LOCK_FREE &&
           bl_disk_lock_probe(runtime->boxes_fd, id) == BL_LOCK_FREE;
}

/* sweep_box() - Clear what a dead box left, and remove it when that was its wish. The caller holds no lock. */
static void sweep_box(struct bl_runtime *runtime, const char *id)
{
    cleanup_lifecycle int lock = bl_lifecycle_try(runtime->boxes_fd, id);
    cleanup_record struct bl_record record = {0};
    struct bl_verdict verdict;

    if (lock < 0 || bl_store_get(runtime->store, id, &record, NULL) < 0 ||
        bl_judge(runtime, &record, BL_JUDGE_HOLDER, &verdict, NULL) < 0)
        return;
    if (verdict.runs || *verdict.trouble || !bl_nothing_lives(runtime, id))
        return;
    if (bl_is_doomed(&record, &verdict))
        bl_remove_dead(runtime, &record, NULL);
    else
        bl_clean_up_box(runtime, id);
}

/* lock_again() - Lock a directory whose lock file is gone, by making it anew. Return: as bl_lifecycle_try() */
static int lock_again(struct bl_runtime *runtime, const char *id)
{
    cleanup_close int dir = bl_os.openat(runtime->boxes_fd, id, O_PATH | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    cleanup_close int fd =
        dir < 0 ? -1 : bl_os.openat(dir, BL_FILE_LIFECYCLE_LOCK, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

    return fd < 0 ? -1 : bl_lifecycle_try(runtime->boxes_fd, id);
}

/* sweep_directory() - Remove a directory that no record knows, if nothing lives in it. */
static void sweep_directory(struct bl_runtime *runtime, const char *id)
{
    cleanup_lifecycle int lock = bl_lifecycle_try(runtime->boxes_fd, id);
    cleanup_record struct bl_record record = {0};
    struct bl_error err = BL_ERROR_INIT;

    if (lock < 0) {
        /* A creation that died before its first file, or one that is just about to make it, and then begins anew. */
        if (errno != ENOENT || bl_os.unlinkat(runtime->boxes_fd, id, AT_REMOVEDIR) == 0 || errno != ENOTEMPTY)
            return;
        /* Or a removal that died after the lock file, while somebody who looked at the box had repaired its shim.pid. */
        lock = lock_again(runtime, id);
        if (lock < 0)
            return;
    }
    if (bl_store_get(runtime->store, id, &record, &err) == 0 || err.code != BL_NOT_FOUND || !bl_nothing_lives(runtime, id))
        return;
    if (remove_files(runtime, id) == 0)
        bl_log(BL_LOG_INFO, "box %s: swept, no record knows it", id);
}

void bl_sweep_doomed(struct bl_runtime *runtime)
{
    struct bl_record *list;
    size_t count;

    if (bl_store_list(runtime->store, BL_STORE_GO_BY_THEMSELVES, &list, &count, NULL) < 0)
        return;
    for (size_t i = 0; i < count; i++) {
        struct bl_verdict verdict;

        if (bl_judge(runtime, &list[i], BL_JUDGE_LOOK, &verdict, NULL) == 0 && bl_is_doomed(&list[i], &verdict))
            sweep_box(runtime, list[i].id);
    }
    bl_store_list_free(list, count);
}

int bl_runtime_sweep(struct bl_runtime *runtime, struct bl_error *err)
{
    struct bl_record *list;
    size_t count;

    if (bl_runtime_check(runtime, err) < 0)
        return -1;

    int fd = bl_os.openat(runtime->boxes_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    cleanup_dir DIR *dir = fd < 0 ? NULL : bl_os.fdopendir(fd);

    if (!dir) {
        bl_close_fd(&fd);
        return bl_fail(err, BL_STORAGE, errno, "read %s/boxes", runtime->home);
    }
    for (struct dirent *entry; (entry = bl_next_entry(dir));) {
        cleanup_record struct bl_record record = {0};
        struct bl_error missing = BL_ERROR_INIT;

        if (bl_box_id_valid(entry->d_name) && bl_store_get(runtime->store, entry->d_name, &record, &missing) < 0 &&
            missing.code == BL_NOT_FOUND)
            sweep_directory(runtime, entry->d_name);
    }
    if (errno)
        return bl_fail(err, BL_STORAGE, errno, "read %s/boxes", runtime->home);
    if (bl_store_list(runtime->store, BL_STORE_ALL, &list, &count, err) < 0)
        return -1;
    for (size_t i = 0; i < count; i++)
        sweep_box(runtime, list[i].id);
    bl_store_list_free(list, count);
    return 0;
}
