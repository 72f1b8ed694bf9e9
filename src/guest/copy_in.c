/* SPDX-License-Identifier: Apache-2.0 */
/*
 * copy_in.c - entries become files; the format and the rule of where they land are in proto/entry.h
 *
 * The target's path is the user's and is followed as any path in the box is. Below it, nothing is followed: directories are
 * opened with openat2(RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS), files are made anew in place of what had their name. So a link
 * among the entries, or one that was there, never leads a later entry elsewhere.
 *
 * A directory that was there keeps its owner, mode and times: copying into /tmp must not change /tmp. Those of new ones are set
 * at the end, when what is in them no longer changes their times.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "guest/copy.h"
#include "guest/syscalls.h"
#include "proto/entry.h"

#define BUFFER_BYTES 262144
#define BENEATH      (RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS)
#define FILE_FLAGS   (O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC)

/* A directory that this copy made. */
struct made {
    struct made *next;
    uint32_t mode, uid, gid;
    uint64_t mtime_ns;
    char path[]; /* as in its entry */
};

struct copy {
    int from_fd;
    uint32_t flags;
    const struct bl_user *owner; /* whose everything becomes; NULL: as the entries say */
    struct bl_buffer in;
    bool begun;        /* the first entry has come */
    int target_fd;     /* where the first entry goes: its directory ... */
    char *name;        /* ... and its name in it; owned */
    int fds_fd;        /* /proc/self/fd, through which a file without a name gets one; -1: there is none */
    int source_fd;     /* the first entry itself when it is a directory, else -1 */
    int parent_fd;     /* directory of the last entry, */
    char *parent;      /* and its path; owned */
    struct made *made; /* the deepest first */
};

/* fill() - Have at least @length bytes in the buffer. Return: 0; -1: the end or an error came before */
static int fill(struct copy *copy, size_t length, struct bl_error *err)
{
    while (copy->in.length < length) {
        uint8_t *at = bl_buffer_reserve(&copy->in, BUFFER_BYTES);
        ssize_t n = at ? read(copy->from_fd, at, BUFFER_BYTES) : -1;

        if (n < 0 && at && errno == EINTR)
            continue;
        if (n < 0)
            return at ? bl_fail(err, BL_STORAGE, errno, "read the files of a copy") : bl_fail_memory(err);
        if (n == 0)
            return bl_fail(err, BL_STORAGE, 0, "the copy was cut short");
        bl_buffer_commit(&copy->in, (size_t)n);
    }
    return 0;
}

/* next_entry() - Return: 0 and *@entry (bl_entry_free()); -1 */
static int next_entry(struct copy *copy, struct bl_entry *entry, struct bl_error *err)
{
    for (;;) {
        size_t used = 0;
        int got = bl_entry_decode(bl_buffer_data(&copy->in), copy->in.length, entry, &used);

        if (got < 0)
            return bl_fail(err, BL_INVALID_ARGUMENT, 0,
                           "the copy holds something that is no entry, or a path that leads out of it");
        if (got > 0) {
            bl_buffer_consume(&copy->in, used);
            return 0;
        }
        if (fill(copy, copy->in.length + 1, err) < 0)
            return -1;
    }
}

static struct timespec time_of(uint64_t ns)
{
    return (struct timespec){.tv_sec = (time_t)(ns / 1000000000), .tv_nsec = (long)(ns % 1000000000)};
}

/* open_parent() - The directory of an entry below the source, and where its name begins. Return: descriptor, not owned; -1 */
static int open_parent(struct copy *copy, const char *path, const char **name, struct bl_error *err)
{
    const char *slash = strrchr(path, '/');
    size_t length = slash ? (size_t)(slash - path) : 0;

    if (copy->source_fd < 0)
        return bl_fail(err, BL_INVALID_ARGUMENT, 0, "\"%s\" belongs to a directory that the copy does not have", path);
    *name = slash ? slash + 1 : path;
    if (!length)
        return copy->source_fd;
    if (copy->parent && strlen(copy->parent) == length && memcmp(copy->parent, path, length) == 0)
        return copy->parent_fd;

    char *parent = strndup(path, length);

    if (!parent)
        return bl_fail_memory(err);
    bl_close_fd(&copy->parent_fd);
    free(copy->parent);
    copy->parent = parent;
    copy->parent_fd = bl_openat2(copy->source_fd, parent, O_PATH | O_DIRECTORY, 0, BENEATH);
    if (copy->parent_fd < 0) {
        bl_fail(err, BL_STORAGE, errno, "open the directory of \"%s\" in the box", path);
        free(bl_steal_ptr(&copy->parent));
        return -1;
    }
    return copy->parent_fd;
}

/* look_at_place() - Whether something new may have a name: no directory has it, nor what shall stay. Return: 1 taken; 0 free; -1 */
static int look_at_place(const struct copy *copy, int dir_fd, const char *name, struct bl_error *err)
{
    struct stat there;

    if (fstatat(dir_fd, name, &there, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : bl_fail(err, BL_STORAGE, errno, "look at \"%s\" in the box", name);
    if (S_ISDIR(there.st_mode))
        return bl_fail(err, BL_STORAGE, EISDIR, "put \"%s\" in place of a directory", name);
    if (copy->flags & BL_COPY_NO_OVERWRITE)
        return bl_fail(err, BL_ALREADY_EXISTS, EEXIST, "\"%s\" exists in the box and was not to be overwritten", name);
    return 1;
}

/* make_way() - Remove what has the name of something new. Return: 0; -1 */
static int make_way(const struct copy *copy, int dir_fd, const char *name, struct bl_error *err)
{
    int taken = look_at_place(copy, dir_fd, name, err);

    if (taken < 0)
        return -1;
    if (taken && unlinkat(dir_fd, name, 0) < 0 && errno != ENOENT)
        return bl_fail(err, BL_STORAGE, errno, "replace \"%s\" in the box", name);
    return 0;
}

/* receive_content() - The bytes of a file that follow its header. Return: 0; -1 */
static int receive_content(struct copy *copy, int fd, uint64_t size, const char *name, struct bl_error *err)
{
    while (size) {
        if (!copy->in.length && fill(copy, 1, err) < 0)
            return -1;

        size_t part = copy->in.length < size ? copy->in.length : (size_t)size;

        if (bl_write_all(fd, bl_buffer_data(&copy->in), part) < 0)
            return bl_fail(err, BL_STORAGE, errno, "write \"%s\" in the box", name);
        bl_buffer_consume(&copy->in, part);
        size -= part;
    }
    return 0;
}

/* give_name() - To a file that has none. Return: 0; -1 */
static int give_name(const struct copy *copy, int fd, int dir_fd, const char *name, struct bl_error *err)
{
    char descriptor[16];

    if (make_way(copy, dir_fd, name, err) < 0)
        return -1;
    /* By its descriptor alone (AT_EMPTY_PATH) only who may read everything may do it. */
    snprintf(descriptor, sizeof descriptor, "%d", fd);
    if (linkat(copy->fds_fd, descriptor, dir_fd, name, AT_SYMLINK_FOLLOW) < 0)
        return bl_fail(err, BL_STORAGE, errno, "name \"%s\" in the box", name);
    return 0;
}

/*
 * make_file() - A file, which has no name before it is whole: nobody in the box sees half of one, whoever cuts the copy short
 *
 * Where files without a name are not possible (not every file system has them), it has its name from the beginning.
 */
static int make_file(struct copy *copy, int dir_fd, const char *name, const struct bl_entry *entry, struct bl_error *err)
{
    struct timespec times[2] = {time_of(entry->mtime_ns), time_of(entry->mtime_ns)};

    if (look_at_place(copy, dir_fd, name, err) < 0)
        return -1;

    cleanup_close int nameless = copy->fds_fd < 0 ? -1 : openat(dir_fd, ".", O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600);
    bool named = nameless < 0;

    if (named && make_way(copy, dir_fd, name, err) < 0)
        return -1;

    cleanup_close int fd = named ? openat(dir_fd, name, FILE_FLAGS, 0600) : bl_steal_fd(&nameless);

    if (fd < 0)
        return bl_fail(err, BL_STORAGE, errno, "make \"%s\" in the box", name);
    /* Setting the owner takes the set-id bits away, so the mode comes after it. */
    if (receive_content(copy, fd, entry->size, name, err) < 0 ||
        ((fchown(fd, entry->uid, entry->gid) < 0 || fchmod(fd, entry->mode) < 0 || futimens(fd, times) < 0) &&
         bl_fail(err, BL_STORAGE, errno, "set owner, mode and time of \"%s\" in the box", name))) {
        if (named)
            unlinkat(dir_fd, name, 0); /* half a file is worse than none */
        return -1;
    }
    return named ? 0 : give_name(copy, fd, dir_fd, name, err);
}

/* make_link() - A symbolic link, or a pipe: what has no content. */
static int make_special(struct copy *copy, int dir_fd, const char *name, const struct bl_entry *entry, struct bl_error *err)
{
    struct timespec times[2] = {time_of(entry->mtime_ns), time_of(entry->mtime_ns)};
    bool is_link = entry->type == BL_ENTRY_SYMLINK;

    if (make_way(copy, dir_fd, name, err) < 0)
        return -1;
    if ((is_link ? symlinkat(entry->link, dir_fd, name) : mkfifoat(dir_fd, name, 0600)) < 0)
        return bl_fail(err, BL_STORAGE, errno, "make \"%s\" in the box", name);
    if (fchownat(dir_fd, name, entry->uid, entry->gid, AT_SYMLINK_NOFOLLOW) < 0 ||
        (!is_link && fchmodat(dir_fd, name, entry->mode, 0) < 0) || utimensat(dir_fd, name, times, AT_SYMLINK_NOFOLLOW) < 0)
        return bl_fail(err, BL_STORAGE, errno, "set owner, mode and time of \"%s\" in the box", name);
    return 0;
}

/* make_hardlink() - One more name of a file that this copy brought. */
static int make_hardlink(struct copy *copy, int dir_fd, const char *name, const struct bl_entry *entry, struct bl_error *err)
{
    const char *slash = strrchr(entry->link, '/');
    cleanup_free char *parent = slash ? strndup(entry->link, (size_t)(slash - entry->link)) : strdup(".");

    if (!parent)
        return bl_fail_memory(err);
    if (copy->source_fd < 0)
        return bl_fail(err, BL_INVALID_ARGUMENT, 0, "\"%s\" is a link to a file that the copy does not have", name);

    cleanup_close int from = bl_openat2(copy->source_fd, parent, O_PATH | O_DIRECTORY, 0, BENEATH);

    if (make_way(copy, dir_fd, name, err) < 0)
        return -1;
    if (from < 0 || linkat(from, slash ? slash + 1 : entry->link, dir_fd, name, 0) < 0)
        return bl_fail(err, BL_STORAGE, errno, "link \"%s\" in the box", name);
    return 0;
}

/* make_directory() - A directory, or the one that is there. Return: 0; -1 */
static int make_directory(struct copy *copy, int dir_fd, const char *name, const struct bl_entry *entry, struct bl_error *err)
{
    struct stat there;

    if (mkdirat(dir_fd, name, 0700) < 0) {
        if (errno == EEXIST && fstatat(dir_fd, name, &there, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(there.st_mode))
            return 0;
        return bl_fail(err, BL_STORAGE, errno, "make the directory \"%s\" in the box", name);
    }

    size_t path_bytes = strlen(entry->path) + 1;
    struct made *made = malloc(sizeof *made + path_bytes);

    if (!made)
        return bl_fail_memory(err);
    *made =
        (struct made){.next = copy->made, .mode = entry->mode, .uid = entry->uid, .gid = entry->gid, .mtime_ns = entry->mtime_ns};
    memcpy(made->path, entry->path, path_bytes);
    copy->made = made;
    return 0;
}

static int make(struct copy *copy, int dir_fd, const char *name, const struct bl_entry *entry, struct bl_error *err)
{
    switch (entry->type) {
    case BL_ENTRY_FILE:
        return make_file(copy, dir_fd, name, entry, err);
    case BL_ENTRY_DIRECTORY:
        return make_directory(copy, dir_fd, name, entry, err);
    case BL_ENTRY_SYMLINK:
    case BL_ENTRY_FIFO:
        return make_special(copy, dir_fd, name, entry, err);
    case BL_ENTRY_HARDLINK:
        return make_hardlink(copy, dir_fd, name, entry, err);
    case BL_ENTRY_END:
        break;
    }
    return bl_fail(err, BL_INVALID_ARGUMENT, 0, "the copy holds an entry of an unknown kind");
}

/* place_first() - Make the source itself, where it belongs. Return: 0; -1 */
static int place_first(struct copy *copy, const struct bl_entry *entry, struct bl_error *err)
{
    if (entry->path[0])
        return bl_fail(err, BL_INVALID_ARGUMENT, 0, "the copy does not begin with its source");
    /* No name in the target: the source's content goes into the target itself. */
    if (copy->name && make(copy, copy->target_fd, copy->name, entry, err) < 0)
        return -1;
    if (entry->type == BL_ENTRY_DIRECTORY) {
        copy->source_fd =
            copy->name ? bl_openat2(copy->target_fd, copy->name, O_PATH | O_DIRECTORY, 0, BENEATH) : bl_steal_fd(&copy->target_fd);
        if (copy->source_fd < 0)
            return bl_fail(err, BL_STORAGE, errno, "open \"%s\" in the box", copy->name);
    }
    copy->begun = true;
    return 0;
}

/* choose_place() - By the rule in proto/entry.h: target_fd and name. Return: 0; -1 */
static int choose_place(struct copy *copy, int root_fd, const char *path, const struct bl_entry *first, struct bl_error *err)
{
    bool is_directory = first->type == BL_ENTRY_DIRECTORY;
    size_t length = strlen(path);
    bool into = length >= 2 && strcmp(path + length - 2, "/.") == 0;
    bool names_directory = into || path[length - 1] == '/';
    cleanup_close int there = bl_openat2(root_fd, path, O_PATH | O_DIRECTORY, 0, RESOLVE_IN_ROOT);

    if (there >= 0) {
        copy->target_fd = bl_steal_fd(&there);
        if (into && is_directory)
            return 0;
        if (!first->name)
            return bl_fail(err, BL_INVALID_ARGUMENT, 0, "the copy's source has no name");
        copy->name = strdup(first->name);
        return copy->name ? 0 : bl_fail_memory(err);
    }
    if (errno != ENOENT && errno != ENOTDIR)
        return bl_fail(err, BL_STORAGE, errno, "open \"%s\" in the box", path);
    if (names_directory && !is_directory)
        return bl_fail(err, BL_NOT_FOUND, errno, "the directory \"%s\" does not exist in the box", path);

    /* The last name of the path, without what makes it say "a directory". */
    cleanup_free char *parent = strdup(path);

    if (!parent)
        return bl_fail_memory(err);
    if (into)
        parent[length - 1] = '\0';
    for (length = strlen(parent); length > 1 && parent[length - 1] == '/'; length--)
        parent[length - 1] = '\0';

    char *slash = strrchr(parent, '/');

    copy->name = strdup(slash + 1);
    slash[slash == parent] = '\0';
    if (!copy->name)
        return bl_fail_memory(err);
    if (!*copy->name || strcmp(copy->name, "..") == 0)
        return bl_fail(err, BL_INVALID_ARGUMENT, 0, "\"%s\" names no place for a copy", path);
    copy->target_fd = bl_openat2(root_fd, parent, O_PATH | O_DIRECTORY, 0, RESOLVE_IN_ROOT);
    return copy->target_fd < 0 ? bl_fail(err, BL_NOT_FOUND, errno, "the directory \"%s\" does not exist in the box", parent) : 0;
}

/* finish_directories() - Owners, modes and times of the directories that were made. Return: 0; -1 */
static int finish_directories(struct copy *copy, struct bl_error *err)
{
    for (struct made *made = copy->made; made; made = made->next) {
        struct timespec times[2] = {time_of(made->mtime_ns), time_of(made->mtime_ns)};
        cleanup_close int fd =
            bl_openat2(copy->source_fd, made->path[0] ? made->path : ".", O_RDONLY | O_DIRECTORY | O_NONBLOCK, 0, BENEATH);

        if (fd < 0 || fchown(fd, made->uid, made->gid) < 0 || fchmod(fd, made->mode) < 0 || futimens(fd, times) < 0)
            return bl_fail(err, BL_STORAGE, errno, "set owner, mode and time of \"%s\" in the box", made->path);
    }
    return 0;
}

static int take_entries(struct copy *copy, int root_fd, const char *path, struct bl_error *err)
{
    for (;;) {
        struct bl_entry entry;
        const char *name = NULL;
        int failed;

        if (next_entry(copy, &entry, err) < 0)
            return -1;
        if (entry.type == BL_ENTRY_END) {
            bl_entry_free(&entry);
            return copy->begun ? finish_directories(copy, err) : bl_fail(err, BL_INVALID_ARGUMENT, 0, "the copy is empty");
        }
        if (copy->owner) {
            entry.uid = copy->owner->uid;
            entry.gid = copy->owner->gid;
        }
        if (!copy->begun) {
            failed = choose_place(copy, root_fd, path, &entry, err) < 0 || place_first(copy, &entry, err) < 0;
        } else {
            int dir_fd = open_parent(copy, entry.path, &name, err);

            if (dir_fd >= 0 && !*name)
                dir_fd = bl_fail(err, BL_INVALID_ARGUMENT, 0, "the copy has more than one source");
            failed = dir_fd < 0 || make(copy, dir_fd, name, &entry, err) < 0;
        }
        bl_entry_free(&entry);
        if (failed)
            return -1;
    }
}

int bl_copy_in(int root_fd, int fds_fd, const char *path, uint32_t flags, const struct bl_user *owner, int from_fd,
               struct bl_error *err)
{
    struct copy copy = {
        .from_fd = from_fd,
        .flags = flags,
        .owner = owner,
        .in = BL_BUFFER_INIT(2 * BUFFER_BYTES),
        .target_fd = -1,
        .fds_fd = fds_fd,
        .source_fd = -1,
        .parent_fd = -1,
    };
    int failed = take_entries(&copy, root_fd, path, err);

    while (copy.made) {
        struct made *next = copy.made->next;

        free(copy.made);
        copy.made = next;
    }
    bl_close_fd(&copy.target_fd);
    bl_close_fd(&copy.source_fd);
    bl_close_fd(&copy.parent_fd);
    free(copy.name);
    free(copy.parent);
    bl_buffer_free(&copy.in);
    return failed;
}
