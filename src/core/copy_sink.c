/* SPDX-License-Identifier: Apache-2.0 */
/*
 * copy_sink.c - files on the host, made of what a box sends
 *
 * The box may be hostile, so:
 * - every path is walked beneath a descriptor of where the copy lands, following no link at all (openat2), so that neither the box
 * nor somebody who plants links meanwhile can lead a write elsewhere;
 * - what stands in the way of a file is removed and the file made anew, never opened and overwritten;
 * - files belong to whoever copies, and no set-user-id, set-group-id or sticky bit is taken over;
 * - devices do not exist in the protocol.
 *
 * Directories get their modes and times at the end, or one without write permission could not be filled.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/os.h"
#include "base/strings.h"
#include "core/copy.h"
#include "proto/messages.h"

#define DIRECTORIES_MAX 1000000

/* A directory that waits for its mode and time. */
struct finished_dir {
    char *path; /* relative to the landing directory */
    uint32_t mode;
    uint64_t mtime_ns;
};

struct bl_tree_sink {
    char *shown; /* where to, as the user wrote it */
    int root_fd; /* the directory in which the copy lands */
    char *top;   /* name of the copy in it; NULL: not settled yet; "." : the copy's content lands in root_fd itself */
    bool no_overwrite, started;
    int parent_fd; /* of the last entry, kept since the next is likely to be beside it; -1: none */
    char *parent_path;
    int file_fd; /* the file under way; -1: none */
    char file_name[BL_NAME_BYTES_MAX + 1];
    uint32_t file_mode;
    uint64_t file_mtime_ns;
    struct finished_dir *dirs;
    size_t dir_count, dir_room;
};

static bool usable_name(const char *name)
{
    return name && *name && strcmp(name, ".") != 0 && strcmp(name, "..") != 0 && !strchr(name, '/') &&
           strlen(name) <= BL_NAME_BYTES_MAX;
}

/* open_beneath() - A directory below the landing directory, through no link. Return: descriptor; -1 with errno */
static int open_beneath(int root_fd, const char *path)
{
    struct open_how how = {.flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW,
                           .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS};

    return bl_os.openat2(root_fd, *path ? path : ".", &how, sizeof how);
}

/* split_target() - Where the copy lands and under which name, when @path is not an existing directory. Return: 0; -1 with errno */
static int split_target(struct bl_tree_sink *sink, const char *path)
{
    cleanup_free char *copy = strdup(path);

    if (!copy)
        return -1;
    for (size_t length = strlen(copy); length > 1 && copy[length - 1] == '/'; length--)
        copy[length - 1] = '\0';

    char *slash = strrchr(copy, '/');
    const char *name = slash ? slash + 1 : copy;

    if (!usable_name(name)) {
        errno = ENOENT;
        return -1;
    }
    sink->top = strdup(name);
    if (!sink->top)
        return -1;
    if (slash)
        slash[slash == copy] = '\0';
    sink->root_fd = bl_os.open(slash ? copy : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return sink->root_fd < 0 ? -1 : 0;
}

int bl_tree_sink_open(const char *path, const char *name, bool content_only, bool no_overwrite, struct bl_tree_sink **out,
                      struct bl_error *err)
{
    struct bl_tree_sink *sink = calloc(1, sizeof *sink);

    *out = NULL;
    if (!sink || !(sink->shown = strdup(path))) {
        free(sink);
        return bl_fail_memory(err);
    }
    sink->parent_fd = sink->file_fd = -1;
    sink->no_overwrite = no_overwrite;
    sink->root_fd = bl_os.open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    int failed = 0;

    if (sink->root_fd >= 0) {
        sink->top = content_only ? strdup(".") : usable_name(name) ? strdup(name) : NULL;
        failed = !sink->top && (content_only || usable_name(name));
    } else if (errno == ENOENT || errno == ENOTDIR) {
        failed = split_target(sink, path) < 0;
    } else {
        failed = 1;
    }
    if (failed) {
        int saved = errno;

        bl_tree_sink_close(sink);
        return bl_fail(err, saved == ENOENT ? BL_NOT_FOUND : BL_STORAGE, saved, "copy to %s: open the directory it lies in", path);
    }
    *out = sink;
    return 0;
}

static int sink_error(const struct bl_tree_sink *sink, const char *what, const char *path, struct bl_error *err)
{
    enum bl_code code = errno == ENOSPC || errno == EDQUOT ? BL_RESOURCE_EXHAUSTED : BL_STORAGE;

    return bl_fail(err, code, errno, "copy to %s: %s %s", sink->shown, what, *path ? path : ".");
}

/* place_of() - Where an entry lands, relative to the landing directory. Return: allocated; NULL when memory ran out */
static char *place_of(const struct bl_tree_sink *sink, const char *path)
{
    if (strcmp(sink->top, ".") == 0)
        return strdup(path);
    if (!*path)
        return strdup(sink->top);
    return bl_format("%s/%s", sink->top, path);
}

/* enter_parent() - Have the directory of a place open in parent_fd. @name: set to the last component. Return: 0; -1 with errno */
static int enter_parent(struct bl_tree_sink *sink, char *place, const char **name)
{
    char *slash = strrchr(place, '/');
    const char *parent = slash ? place : "";

    if (slash)
        *slash = '\0';
    *name = slash ? slash + 1 : place;
    if (sink->parent_fd >= 0 && strcmp(sink->parent_path, parent) == 0)
        return 0;
    bl_close_fd(&sink->parent_fd);
    free(sink->parent_path);
    sink->parent_path = strdup(parent);
    if (!sink->parent_path)
        return -1;
    sink->parent_fd = open_beneath(sink->root_fd, parent);
    return sink->parent_fd < 0 ? -1 : 0;
}

/* make_way() - Remove what stands where something that is no directory shall be. Return: 0; -1 with errno */
static int make_way(const struct bl_tree_sink *sink, const char *name)
{
    if (sink->no_overwrite) {
        struct stat there;

        if (bl_os.fstatat(sink->parent_fd, name, &there, AT_SYMLINK_NOFOLLOW) == 0) {
            errno = EEXIST;
            return -1;
        }
        return errno == ENOENT ? 0 : -1;
    }
    return bl_os.unlinkat(sink->parent_fd, name, 0) < 0 && errno != ENOENT ? -1 : 0;
}

/* remember_directory() - It gets mode and time at the end. Return: 0; -1 with errno */
static int remember_directory(struct bl_tree_sink *sink, const struct bl_entry *entry)
{
    if (sink->dir_count == DIRECTORIES_MAX) {
        errno = E2BIG;
        return -1;
    }
    if (sink->dir_count == sink->dir_room) {
        size_t room = sink->dir_room ? 2 * sink->dir_room : 64;
        struct finished_dir *grown = realloc(sink->dirs, room * sizeof *grown);

        if (!grown)
            return -1;
        sink->dirs = grown;
        sink->dir_room = room;
    }

    char *place = place_of(sink, entry->path);

    if (!place)
        return -1;
    sink->dirs[sink->dir_count++] = (struct finished_dir){.path = place, .mode = entry->mode, .mtime_ns = entry->mtime_ns};
    return 0;
}

static int make_directory(struct bl_tree_sink *sink, const char *name, const struct bl_entry *entry)
{
    struct stat there;

    if (!*name || bl_os.mkdirat(sink->parent_fd, name, 0700) < 0) {
        /* One that exists is filled, and stays as it is; "" is the landing directory itself. */
        if (!*name)
            return 0;
        if (errno != EEXIST || bl_os.fstatat(sink->parent_fd, name, &there, AT_SYMLINK_NOFOLLOW) < 0)
            return -1;
        errno = ENOTDIR;
        return S_ISDIR(there.st_mode) ? 0 : -1;
    }
    return remember_directory(sink, entry);
}

static int make_file(struct bl_tree_sink *sink, const char *name, const struct bl_entry *entry)
{
    if (make_way(sink, name) < 0)
        return -1;
    sink->file_fd = bl_os.openat(sink->parent_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (sink->file_fd < 0)
        return -1;
    snprintf(sink->file_name, sizeof sink->file_name, "%s", name);
    sink->file_mode = entry->mode;
    sink->file_mtime_ns = entry->mtime_ns;
    return 0;
}

static int make_hard_link(struct bl_tree_sink *sink, const char *name, const char *target)
{
    cleanup_free char *place = place_of(sink, target);

    if (!place)
        return -1;

    char *slash = strrchr(place, '/');

    if (slash)
        *slash = '\0';

    cleanup_close int dir = open_beneath(sink->root_fd, slash ? place : "");

    if (dir < 0 || make_way(sink, name) < 0)
        return -1;
    return bl_os.linkat(dir, slash ? slash + 1 : place, sink->parent_fd, name, 0);
}

static struct timespec to_time(uint64_t ns)
{
    return (struct timespec){.tv_sec = (time_t)(ns / 1000000000u), .tv_nsec = (long)(ns % 1000000000u)};
}

static int make_other(struct bl_tree_sink *sink, const char *name, const struct bl_entry *entry)
{
    const struct timespec times[] = {{.tv_nsec = UTIME_OMIT}, to_time(entry->mtime_ns)};

    if (make_way(sink, name) < 0)
        return -1;
    if (entry->type == BL_ENTRY_SYMLINK ? bl_os.symlinkat(entry->link, sink->parent_fd, name) < 0
                                        : bl_os.mkfifoat(sink->parent_fd, name, entry->mode & 0777) < 0)
        return -1;
    bl_os.utimensat(sink->parent_fd, name, times, AT_SYMLINK_NOFOLLOW);
    return 0;
}

/* settle() - At the first entry: its name, and whether it can take the place of what is there. */
static int settle(struct bl_tree_sink *sink, const struct bl_entry *entry, struct bl_error *err)
{
    sink->started = true;
    if (*entry->path)
        return bl_fail(err, BL_RPC, 0, "copy to %s: the box did not begin with what was asked for", sink->shown);
    if (!sink->top) {
        if (!usable_name(entry->name))
            return bl_fail(err, BL_RPC, 0, "copy to %s: the box sent no usable name", sink->shown);
        sink->top = strdup(entry->name);
        if (!sink->top)
            return bl_fail_memory(err);
    }
    if (strcmp(sink->top, ".") == 0 && entry->type != BL_ENTRY_DIRECTORY)
        return bl_fail(err, BL_INVALID_ARGUMENT, 0, "copy to %s: what is copied is not a directory, so '/.' means nothing",
                       sink->shown);
    return 0;
}

int bl_tree_sink_entry(void *data, const struct bl_entry *entry, struct bl_error *err)
{
    struct bl_tree_sink *sink = data;
    const char *name = NULL;

    if (!sink->started && settle(sink, entry, err) < 0)
        return -1;

    cleanup_free char *place = place_of(sink, entry->path);
    int failed = !place || enter_parent(sink, place, &name) < 0 ? -1 : 0;

    if (!failed && !*name && entry->type != BL_ENTRY_DIRECTORY) {
        errno = EISDIR;
        failed = -1;
    }
    if (!failed) {
        switch (entry->type) {
        case BL_ENTRY_DIRECTORY:
            failed = make_directory(sink, name, entry);
            break;
        case BL_ENTRY_FILE:
            failed = make_file(sink, name, entry);
            break;
        case BL_ENTRY_HARDLINK:
            failed = make_hard_link(sink, name, entry->link);
            break;
        case BL_ENTRY_SYMLINK:
        case BL_ENTRY_FIFO:
            failed = make_other(sink, name, entry);
            break;
        case BL_ENTRY_END:
            break;
        }
    }
    return failed ? sink_error(sink, "make", *entry->path ? entry->path : sink->top, err) : 0;
}

int bl_tree_sink_content(void *data, const void *bytes, size_t length, struct bl_error *err)
{
    struct bl_tree_sink *sink = data;

    return bl_write_all(sink->file_fd, bytes, length) < 0 ? sink_error(sink, "write", sink->file_name, err) : 0;
}

int bl_tree_sink_content_end(void *data, struct bl_error *err)
{
    struct bl_tree_sink *sink = data;
    const struct timespec times[] = {{.tv_nsec = UTIME_OMIT}, to_time(sink->file_mtime_ns)};

    if (bl_os.fchmod(sink->file_fd, sink->file_mode & 0777) < 0)
        return sink_error(sink, "set the mode of", sink->file_name, err);
    bl_os.futimens(sink->file_fd, times);
    if (close(bl_steal_fd(&sink->file_fd)) < 0)
        return sink_error(sink, "write", sink->file_name, err);
    return 0;
}

int bl_tree_sink_end(void *data, struct bl_error *err)
{
    struct bl_tree_sink *sink = data;

    if (!sink->started)
        return bl_fail(err, BL_RPC, 0, "copy to %s: the box sent nothing", sink->shown);
    /* The innermost first: a change in a directory touches its time, and one above may become unreadable. */
    for (size_t i = sink->dir_count; i-- > 0;) {
        const struct finished_dir *dir = &sink->dirs[i];
        const struct timespec times[] = {{.tv_nsec = UTIME_OMIT}, to_time(dir->mtime_ns)};
        cleanup_close int fd = open_beneath(sink->root_fd, dir->path);

        if (fd < 0 || bl_os.fchmod(fd, dir->mode & 0777) < 0)
            return sink_error(sink, "set the mode of", dir->path, err);
        bl_os.futimens(fd, times);
    }
    return 0;
}

void bl_tree_sink_close(struct bl_tree_sink *sink)
{
    if (!sink)
        return;
    if (sink->file_fd >= 0)
        bl_os.unlinkat(sink->parent_fd, sink->file_name, 0);
    bl_close_fd(&sink->file_fd);
    bl_close_fd(&sink->parent_fd);
    bl_close_fd(&sink->root_fd);
    for (size_t i = 0; i < sink->dir_count; i++)
        free(sink->dirs[i].path);
    free(sink->dirs);
    free(sink->parent_path);
    free(sink->top);
    free(sink->shown);
    free(sink);
}
