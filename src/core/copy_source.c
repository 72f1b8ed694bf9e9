/* SPDX-License-Identifier: Apache-2.0 */
/*
 * copy_source.c - a tree of files on the host as entries
 *
 * The walk keeps one open directory a level and goes by descriptors, so a tree that is moved meanwhile can't lead it elsewhere.
 * Devices and sockets are refused: no box could use them, and leaving them out in silence would make a copy that lies.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/os.h"
#include "core/copy.h"
#include "proto/messages.h"

#define DEPTH_MAX     256
#define CONTENT_PIECE 131072

/* One level of the walk: a directory whose names are being read. */
struct level {
    DIR *dir;
    size_t path_length; /* of the walk's path, up to and with this directory */
};

/* A file with several names that was sent already, under the first of them. */
struct linked {
    dev_t dev;
    ino_t ino;
    char *path;
};

struct bl_tree_source {
    const char *shown; /* the source as the user wrote it, for messages */
    char *name;
    bool follow_links, started, finished;
    struct level levels[DEPTH_MAX];
    int depth;
    char path[BL_PATH_BYTES_MAX + 1]; /* of the current entry, relative to the source */
    int fd;                           /* the file whose content is under way; -1: none */
    uint64_t left;                    /* of its bytes */
    void *links;                      /* a tree of struct linked (tsearch) */
};

static int compare_links(const void *a, const void *b)
{
    const struct linked *one = a, *two = b;

    if (one->dev != two->dev)
        return one->dev < two->dev ? -1 : 1;
    return one->ino < two->ino ? -1 : one->ino > two->ino;
}

static void free_link(void *data)
{
    struct linked *linked = data;

    free(linked->path);
    free(linked);
}

void bl_tree_source_close(struct bl_tree_source *source)
{
    if (!source)
        return;
    while (source->depth)
        closedir(source->levels[--source->depth].dir);
    bl_close_fd(&source->fd);
    tdestroy(source->links, free_link);
    free(source->name);
    free(source);
}

/* base_name() - Of a path that may end in "/" or "/."; "" for a root. Return: allocated; NULL when memory ran out */
static char *base_name(const char *path)
{
    size_t end = strlen(path);

    while (end > 0 && (path[end - 1] == '/' || (path[end - 1] == '.' && (end == 1 || path[end - 2] == '/'))))
        end--;

    size_t start = end;

    while (start > 0 && path[start - 1] != '/')
        start--;
    return strndup(path + start, end - start);
}

int bl_tree_source_open(const char *path, bool follow_links, struct bl_tree_source **out, struct bl_error *err)
{
    struct bl_tree_source *source = calloc(1, sizeof *source);
    struct stat there;

    *out = NULL;
    if (!source || !(source->name = base_name(path))) {
        free(source);
        return bl_fail_memory(err);
    }
    source->shown = path;
    source->follow_links = follow_links;
    source->fd = -1;
    if (bl_os.fstatat(AT_FDCWD, path, &there, follow_links ? 0 : AT_SYMLINK_NOFOLLOW) < 0) {
        int saved = errno;

        bl_tree_source_close(source);
        if (saved == ENOENT)
            return bl_fail(err, BL_NOT_FOUND, 0, "copy %s: it does not exist", path);
        return bl_fail(err, BL_STORAGE, saved, "copy %s", path);
    }
    *out = source;
    return 0;
}

/* first_name() - Whether a file with several names was sent before. Return: 0 no; 1 and its path; -1 no memory */
static int first_name(struct bl_tree_source *source, const struct stat *file, const char **path)
{
    struct linked key = {.dev = file->st_dev, .ino = file->st_ino};
    struct linked **found;
    struct linked *made;

    if (file->st_nlink < 2 || !S_ISREG(file->st_mode))
        return 0;
    found = tfind(&key, &source->links, compare_links);
    if (found) {
        *path = (*found)->path;
        return 1;
    }
    made = calloc(1, sizeof *made);
    if (!made)
        return -1;
    *made = key;
    made->path = strdup(source->path);
    if (!made->path || !tsearch(made, &source->links, compare_links)) {
        free_link(made);
        return -1;
    }
    return 0;
}

static int storage_error(const struct bl_tree_source *source, const char *what, struct bl_error *err)
{
    return bl_fail(err, BL_STORAGE, errno, "%s %s%s%s", what, source->shown, *source->path ? "/" : "", source->path);
}

/* describe() - Fill in an entry from a file's status. Return: 0; -1 with *@err */
static int describe(const struct bl_tree_source *source, const struct stat *file, struct bl_entry *entry, struct bl_error *err)
{
    switch (file->st_mode & S_IFMT) {
    case S_IFREG:
        entry->type = BL_ENTRY_FILE;
        entry->size = (uint64_t)file->st_size;
        break;
    case S_IFDIR:
        entry->type = BL_ENTRY_DIRECTORY;
        break;
    case S_IFLNK:
        entry->type = BL_ENTRY_SYMLINK;
        break;
    case S_IFIFO:
        entry->type = BL_ENTRY_FIFO;
        break;
    default:
        return bl_fail(err, BL_UNSUPPORTED, 0, "copy %s%s%s: devices and sockets can't be copied", source->shown,
                       *source->path ? "/" : "", source->path);
    }
    entry->mode = file->st_mode & 07777;
    entry->uid = file->st_uid;
    entry->gid = file->st_gid;
    entry->mtime_ns = file->st_mtim.tv_sec < 0 ? 0 : (uint64_t)file->st_mtim.tv_sec * 1000000000u + (uint64_t)file->st_mtim.tv_nsec;
    return 0;
}

/* open_content() - Get ready to send what is in a file, or to walk what is in a directory. */
static int open_content(struct bl_tree_source *source, int dir_fd, const char *name, const struct bl_entry *entry,
                        struct bl_error *err)
{
    bool directory = entry->type == BL_ENTRY_DIRECTORY;
    int flags =
        O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK | (source->follow_links ? 0 : O_NOFOLLOW) | (directory ? O_DIRECTORY : 0);
    int fd = bl_os.openat(dir_fd, name, flags);

    if (fd < 0)
        return storage_error(source, "read", err);
    if (!directory) {
        source->fd = fd;
        source->left = entry->size;
        return 0;
    }
    if (source->depth == DEPTH_MAX) {
        close(fd);
        return bl_fail(err, BL_UNSUPPORTED, 0, "copy %s: it is deeper than %d directories, or links lead in a circle",
                       source->shown, DEPTH_MAX);
    }

    DIR *dir = bl_os.fdopendir(fd);

    if (!dir) {
        close(fd);
        return storage_error(source, "read", err);
    }
    source->levels[source->depth++] = (struct level){.dir = dir, .path_length = strlen(source->path)};
    return 0;
}

/* send_entry() - One file's entry; its path is in the source already. */
static int send_entry(struct bl_tree_source *source, int dir_fd, const char *name, struct bl_buffer *out, struct bl_error *err)
{
    char target[BL_PATH_BYTES_MAX + 1];
    struct stat file;
    const char *first = NULL;
    struct bl_entry entry = {.path = source->path, .name = source->started || !*source->name ? NULL : source->name};

    if (bl_os.fstatat(dir_fd, name, &file, source->follow_links ? 0 : AT_SYMLINK_NOFOLLOW) < 0)
        return storage_error(source, "look at", err);
    if (describe(source, &file, &entry, err) < 0)
        return -1;
    if (entry.type == BL_ENTRY_SYMLINK) {
        ssize_t n = bl_os.readlinkat(dir_fd, name, target, sizeof target);

        if (n < 0 || n == sizeof target) {
            errno = n < 0 ? errno : ENAMETOOLONG;
            return storage_error(source, "read the link", err);
        }
        target[n] = '\0';
        entry.link = target;
    }

    int linked = source->started ? first_name(source, &file, &first) : 0;
    char *copy = linked > 0 ? strdup(first) : NULL;

    if (linked < 0 || (linked > 0 && !copy))
        return bl_fail_memory(err);
    if (linked) {
        entry.type = BL_ENTRY_HARDLINK;
        entry.link = copy;
        entry.size = 0;
    }
    source->started = true;
    errno = 0;

    int failed = bl_entry_encode(out, &entry), error = errno;

    free(copy);
    if (failed && error == ENOMEM)
        return bl_fail_memory(err);
    if (failed)
        return bl_fail(err, BL_UNSUPPORTED, 0, "copy %s/%s: its path is too long", source->shown, source->path);
    if (entry.type == BL_ENTRY_DIRECTORY || (entry.type == BL_ENTRY_FILE && entry.size))
        return open_content(source, dir_fd, name, &entry, err);
    return 0;
}

/* send_content() - A piece of the file under way. */
static int send_content(struct bl_tree_source *source, struct bl_buffer *out, struct bl_error *err)
{
    size_t piece = source->left < CONTENT_PIECE ? (size_t)source->left : CONTENT_PIECE;

    piece = piece < bl_buffer_room(out) ? piece : bl_buffer_room(out);

    uint8_t *room = bl_buffer_reserve(out, piece);

    if (!room)
        return bl_fail_memory(err);

    ssize_t n = bl_os.read(source->fd, room, piece);

    if (n < 0 && errno == EINTR)
        return 0;
    if (n < 0)
        return storage_error(source, "read", err);
    if (n == 0)
        return bl_fail(err, BL_STORAGE, 0, "copy %s%s%s: it became shorter while it was read", source->shown,
                       *source->path ? "/" : "", source->path);
    bl_buffer_commit(out, (size_t)n);
    source->left -= (uint64_t)n;
    if (!source->left)
        bl_close_fd(&source->fd);
    return 0;
}

/* next_entry() - Go one step further in the innermost directory. */
static int next_entry(struct bl_tree_source *source, struct bl_buffer *out, struct bl_error *err)
{
    struct level *level = &source->levels[source->depth - 1];

    errno = 0;

    struct dirent *found = bl_os.readdir(level->dir);

    source->path[level->path_length] = '\0';
    if (!found && errno)
        return storage_error(source, "read", err);
    if (!found) {
        closedir(level->dir);
        source->depth--;
        return 0;
    }
    if (strcmp(found->d_name, ".") == 0 || strcmp(found->d_name, "..") == 0)
        return 0;

    size_t length = level->path_length, name_length = strlen(found->d_name);

    if (length + 1 + name_length > BL_PATH_BYTES_MAX)
        return bl_fail(err, BL_UNSUPPORTED, 0, "copy %s/%s: the paths below it are too long", source->shown, source->path);
    if (length)
        source->path[length++] = '/';
    memcpy(source->path + length, found->d_name, name_length + 1);
    return send_entry(source, dirfd(level->dir), found->d_name, out, err);
}

int bl_tree_source_fill(void *data, struct bl_buffer *out, struct bl_error *err)
{
    struct bl_tree_source *source = data;
    const struct bl_entry end = {.type = BL_ENTRY_END};

    while (!source->finished && bl_buffer_room(out) > BL_ENTRY_HEADER_MAX + BL_PATH_BYTES_MAX) {
        int failed = source->fd >= 0 ? send_content(source, out, err)
                     : source->depth ? next_entry(source, out, err)
                                     : send_entry(source, AT_FDCWD, source->shown, out, err);

        if (failed)
            return -1;
        if (source->fd < 0 && !source->depth && source->started) {
            if (bl_entry_encode(out, &end) < 0)
                return bl_fail_memory(err);
            source->finished = true;
        }
    }
    return !source->finished;
}
