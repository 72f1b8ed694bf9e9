/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gc.c - finding what nothing owns
 *
 * What is found is what a sweep (core/remove.c, image/store.c) would take, by the same conditions, but without a lock that anybody
 * waits for: who only looks must neither wait nor stand in the way. So it is found first, then swept, and what is gone afterwards
 * is told as removed.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/os.h"
#include "base/strings.h"
#include "core/change.h"
#include "core/home.h"
#include "core/links.h"
#include "core/lock.h"
#include "core/names.h"
#include "proto/launch.h"

#define DEPTH_MAX 16 /* of directories that are summed up; a box's are two deep */

/* What was found; owned paths. */
struct found {
    struct bl_leftover *list;
    size_t count;
    bool no_memory;
};

static void free_found(struct found *found)
{
    for (size_t i = 0; i < found->count; i++)
        free((char *)(uintptr_t)found->list[i].path);
    free(found->list);
}
#define cleanup_found __attribute__((cleanup(free_found)))

/* add() - Takes @path, which may be NULL when memory ran out. */
static void add(struct found *found, char *path, const char *why, uint64_t bytes)
{
    struct bl_leftover *grown = path ? realloc(found->list, (found->count + 1) * sizeof *grown) : NULL;

    if (!grown) {
        free(path);
        found->no_memory = true;
        return;
    }
    found->list = grown;
    grown[found->count++] = (struct bl_leftover){.path = path, .why = why, .bytes = bytes};
}

/* sum_of() - What a file, or a directory with all below it, takes that nothing else shares. */
static uint64_t sum_of(int dir_fd, const char *name, int depth)
{
    struct stat status;

    if (bl_os.fstatat(dir_fd, name, &status, AT_SYMLINK_NOFOLLOW) < 0)
        return 0;
    if (!S_ISDIR(status.st_mode))
        return status.st_nlink > 1 ? 0 : (uint64_t)status.st_blocks * 512;
    if (depth == DEPTH_MAX)
        return 0;

    int fd = bl_os.openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    cleanup_dir DIR *dir = fd < 0 ? NULL : bl_os.fdopendir(fd);
    uint64_t sum = 0;

    if (!dir) {
        bl_close_fd(&fd);
        return 0;
    }
    for (struct dirent *entry; (entry = bl_os.readdir(dir));)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            sum += sum_of(dirfd(dir), entry->d_name, depth + 1);
    return sum;
}

/* is_quiet() - Whether nobody changes a box, runs it or writes its disk. */
static bool is_quiet(struct bl_runtime *runtime, const char *id)
{
    return bl_lifecycle_probe(runtime->boxes_fd, id) == BL_LOCK_FREE && bl_nothing_lives(runtime, id);
}

/* find_directories() - Those that no record knows. Return: 0; -1 */
static int find_directories(struct bl_runtime *runtime, struct found *found, struct bl_error *err)
{
    int fd = bl_os.openat(runtime->boxes_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    cleanup_dir DIR *dir = fd < 0 ? NULL : bl_os.fdopendir(fd);

    if (!dir) {
        bl_close_fd(&fd);
        return bl_fail(err, BL_STORAGE, errno, "read %s/boxes", runtime->home);
    }
    for (struct dirent *entry; (entry = bl_os.readdir(dir));) {
        cleanup_record struct bl_record record = {0};
        struct bl_error missing = BL_ERROR_INIT;

        if (bl_box_id_valid(entry->d_name) && bl_store_get(runtime->store, entry->d_name, &record, &missing) < 0 &&
            missing.code == BL_NOT_FOUND && is_quiet(runtime, entry->d_name))
            add(found, bl_format("boxes/%s", entry->d_name), "no box has it", sum_of(runtime->boxes_fd, entry->d_name, 0));
    }
    return 0;
}

/* find_leavings() - What the dead shim of a box left in its directory: what bl_clean_up_box() removes. */
static void find_leavings(struct bl_runtime *runtime, const char *id, struct found *found)
{
    static const char why[] = "its host process died";
    int fd = bl_os.openat(runtime->boxes_fd, id, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    cleanup_dir DIR *dir = fd < 0 ? NULL : bl_os.fdopendir(fd);

    if (!dir) {
        bl_close_fd(&fd);
        return;
    }
    for (struct dirent *entry; (entry = bl_os.readdir(dir));)
        if (strcmp(entry->d_name, BL_FILE_CONTROL_SOCKET) == 0 || strcmp(entry->d_name, BL_FILE_SHIM_PID) == 0 ||
            (entry->d_name[0] == '.' && entry->d_type == DT_REG))
            add(found, bl_format("boxes/%s/%s", id, entry->d_name), why, sum_of(dirfd(dir), entry->d_name, 0));
}

/* find_in_boxes() - Boxes that are to go, and what dead ones left. Return: 0; -1 */
static int find_in_boxes(struct bl_runtime *runtime, struct found *found, struct bl_error *err)
{
    struct bl_record *list;
    size_t count;

    if (bl_store_list(runtime->store, BL_STORE_ALL, &list, &count, err) < 0)
        return -1;
    for (size_t i = 0; i < count; i++) {
        struct bl_verdict verdict;
        const char *id = list[i].id;

        if (bl_judge(runtime, &list[i], BL_JUDGE_LOOK, &verdict, NULL) < 0 || verdict.runs || *verdict.trouble ||
            !is_quiet(runtime, id))
            continue;
        if (bl_is_doomed(&list[i], &verdict))
            add(found, bl_format("boxes/%s", id), "its box has ended, and was to be removed then",
                sum_of(runtime->boxes_fd, id, 0));
        else
            find_leavings(runtime, id, found);
    }
    bl_store_list_free(list, count);
    return 0;
}

static void add_image_leftover(const char *path, uint64_t bytes, void *data)
{
    add(data, bl_format("images/%s", path), bl_starts_with(path, "partial/") ? "half-made" : "no image has it", bytes);
}

static void add_template_leftover(const char *name, uint64_t bytes, void *data)
{
    add(data, bl_format(BL_DIR_TEMPLATES "/%s", name), "half-made", bytes);
}

static void add_link_leftover(const char *name, void *data)
{
    add(data, bl_format(BL_DIR_NAMES "/%s", name), "no box has it", 0);
}

int bl_runtime_gc(struct bl_runtime *runtime, bool dry_run, void (*found)(const struct bl_leftover *leftover, void *data),
                  void *data, struct bl_error *err)
{
    cleanup_found struct found all = {0};

    if (bl_runtime_check(runtime, err) < 0 || find_directories(runtime, &all, err) < 0 || find_in_boxes(runtime, &all, err) < 0)
        return -1;
    bl_images_leftovers(runtime->images, add_image_leftover, &all);
    bl_templates_leftovers(runtime->home_fd, false, add_template_leftover, &all);
    bl_links_leftovers(runtime, false, add_link_leftover, &all);
    if (all.no_memory)
        return bl_fail_memory(err);
    if (!dry_run) {
        if (bl_runtime_sweep(runtime, err) < 0)
            return -1;
        bl_images_sweep(runtime->images);
        bl_templates_leftovers(runtime->home_fd, true, NULL, NULL);
        bl_links_leftovers(runtime, true, NULL, NULL);
    }
    for (size_t i = 0; found && i < all.count; i++)
        if (dry_run || (bl_os.faccessat(runtime->home_fd, all.list[i].path, F_OK, AT_SYMLINK_NOFOLLOW) < 0 && errno == ENOENT))
            found(&all.list[i], data);
    return 0;
}
