/* SPDX-License-Identifier: Apache-2.0 */
/*
 * copy_out.c - files become entries (proto/entry.h)
 *
 * The tree is walked by descriptors, one a level, and no link is followed below the source unless that was asked for. What changes
 * meanwhile is sent as it is found: a file that shrinks is filled up with zeros to the size that was announced, one that grows
 * ends there.
 *
 * Sockets and devices inside a tree are left out, as are the contents of /proc, /sys and the cgroups: none of them can be made
 * again elsewhere.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "guest/copy.h"
#include "guest/syscalls.h"
#include "proto/entry.h"

#define FLUSH_BYTES 65536 /* headers and small files are collected up to this */
#define BUCKETS     1024

/* A file with several names that was sent once. */
struct sent {
    struct sent *next;
    dev_t device;
    ino_t inode;
    char path[];
};

/* A directory that is being walked, for finding links that lead back up. */
struct level {
    const struct level *above;
    dev_t device;
    ino_t inode;
};

struct copy {
    int to_fd;
    uint32_t flags;
    struct bl_buffer out;
    struct sent *sent[BUCKETS];
    char path[BL_PATH_BYTES_MAX + 1]; /* of the entry that is being sent, below the source */
};

static int flush(struct copy *copy, struct bl_error *err)
{
    if (bl_write_all(copy->to_fd, bl_buffer_data(&copy->out), copy->out.length) < 0)
        return bl_fail(err, BL_STORAGE, errno, "send the files of a copy");
    bl_buffer_clear(&copy->out);
    return 0;
}

static int send_header(struct copy *copy, const struct bl_entry *entry, struct bl_error *err)
{
    if (bl_entry_encode(&copy->out, entry) < 0)
        return bl_fail(err, BL_STORAGE, ENAMETOOLONG, "copy \"%s\"", copy->path);
    return copy->out.length >= FLUSH_BYTES ? flush(copy, err) : 0;
}

/* send_zeros() - What a file that shrank does not have any more. */
static int send_zeros(struct copy *copy, uint64_t size, struct bl_error *err)
{
    static const uint8_t zeros[FLUSH_BYTES];

    while (size) {
        size_t part = size < sizeof zeros ? (size_t)size : sizeof zeros;

        if (bl_write_all(copy->to_fd, zeros, part) < 0)
            return bl_fail(err, BL_STORAGE, errno, "send the files of a copy");
        size -= part;
    }
    return 0;
}

/* send_content() - A file's bytes: small ones with the headers around them, others without passing through this process. */
static int send_content(struct copy *copy, int fd, uint64_t size, struct bl_error *err)
{
    if (size <= FLUSH_BYTES / 2) {
        uint8_t *at = bl_buffer_reserve(&copy->out, (size_t)size);
        ssize_t n = at ? bl_read_all(fd, at, (size_t)size) : -1;

        if (n < 0)
            return bl_fail(err, BL_STORAGE, errno, "read \"%s\" in the box", copy->path);
        memset(at + n, 0, (size_t)size - (size_t)n);
        bl_buffer_commit(&copy->out, (size_t)size);
        return copy->out.length >= FLUSH_BYTES ? flush(copy, err) : 0;
    }
    if (flush(copy, err) < 0)
        return -1;
    while (size) {
        ssize_t n = sendfile(copy->to_fd, fd, NULL, size < 1u << 30 ? (size_t)size : 1u << 30);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return bl_fail(err, BL_STORAGE, errno, "read or send \"%s\" in the box", copy->path);
        if (n == 0)
            return send_zeros(copy, size, err);
        size -= (uint64_t)n;
    }
    return 0;
}

/* find_sent() - The first name of a file that has several; this one is remembered if it is the first. Return: path; NULL */
static const char *find_sent(struct copy *copy, const struct stat *info)
{
    struct sent **bucket = &copy->sent[(info->st_ino ^ info->st_dev) % BUCKETS];

    for (struct sent *sent = *bucket; sent; sent = sent->next)
        if (sent->inode == info->st_ino && sent->device == info->st_dev)
            return sent->path;

    size_t path_bytes = strlen(copy->path) + 1;
    struct sent *sent = malloc(sizeof *sent + path_bytes);

    /* Without memory it is sent as a file of its own. */
    if (sent) {
        *sent = (struct sent){.next = *bucket, .device = info->st_dev, .inode = info->st_ino};
        memcpy(sent->path, copy->path, path_bytes);
        *bucket = sent;
    }
    return NULL;
}

static int send_file(struct copy *copy, int dir_fd, const char *name, struct bl_entry *entry, int follow, struct bl_error *err)
{
    cleanup_close int fd = openat(dir_fd, name, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC | follow);
    struct stat info;

    if (fd < 0 || fstat(fd, &info) < 0)
        return bl_fail(err, BL_STORAGE, errno, "open \"%s\" in the box", *copy->path ? copy->path : name);
    if (!S_ISREG(info.st_mode))
        return bl_fail(err, BL_STORAGE, 0, "\"%s\" in the box changed while it was copied", copy->path);
    if (info.st_nlink > 1) {
        const char *first = find_sent(copy, &info);

        if (first) {
            entry->type = BL_ENTRY_HARDLINK;
            entry->link = strdup(first);
            return entry->link ? send_header(copy, entry, err) : bl_fail_memory(err);
        }
    }
    entry->size = (uint64_t)info.st_size;
    return send_header(copy, entry, err) < 0 ? -1 : send_content(copy, fd, entry->size, err);
}

/* read_link() - The text of a link. Return: allocated; NULL with errno */
static char *read_link(int dir_fd, const char *name)
{
    char *text = malloc(BL_PATH_BYTES_MAX + 2);
    ssize_t n = text ? readlinkat(dir_fd, name, text, BL_PATH_BYTES_MAX + 1) : -1;

    if (n < 0 || n > BL_PATH_BYTES_MAX) {
        free(text);
        return NULL;
    }
    text[n] = '\0';
    return text;
}

static int send_one(struct copy *copy, int dir_fd, const char *name, const char *source_name, const struct level *above,
                    struct bl_error *err);

/* is_kernels() - File systems whose files only look like files. */
static bool is_kernels(int fd)
{
    struct statfs info;

    if (fstatfs(fd, &info) < 0)
        return false;
    return info.f_type == PROC_SUPER_MAGIC || info.f_type == SYSFS_MAGIC || info.f_type == CGROUP2_SUPER_MAGIC;
}

static int send_children(struct copy *copy, int dir_fd, const char *name, int follow, const struct level *above,
                         struct bl_error *err)
{
    int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | follow);
    struct stat info;
    cleanup_dir DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;

    if (!dir || fstat(fd, &info) < 0)
        return bl_fail(err, BL_STORAGE, errno, "open the directory \"%s\" in the box", *copy->path ? copy->path : name);

    struct level level = {.above = above, .device = info.st_dev, .inode = info.st_ino};

    for (const struct level *at = above; at; at = at->above)
        if (at->device == level.device && at->inode == level.inode)
            return bl_fail(err, BL_STORAGE, ELOOP, "follow the link \"%s\" in the box", copy->path);
    if (is_kernels(fd))
        return 0;

    size_t length = strlen(copy->path);

    for (struct dirent *child; (child = readdir(dir));) {
        if (strcmp(child->d_name, ".") == 0 || strcmp(child->d_name, "..") == 0)
            continue;
        if (length + 1 + strlen(child->d_name) > BL_PATH_BYTES_MAX)
            return bl_fail(err, BL_STORAGE, ENAMETOOLONG, "copy \"%.200s...\"", copy->path);
        snprintf(copy->path + length, sizeof copy->path - length, "%s%s", length ? "/" : "", child->d_name);
        if (send_one(copy, fd, child->d_name, NULL, &level, err) < 0)
            return -1;
        copy->path[length] = '\0';
    }
    return 0;
}

/*
 * send_one() - One file of any kind, and all below it
 * @source_name: base name of the source for the first entry, which is the source itself; else NULL
 */
static int send_one(struct copy *copy, int dir_fd, const char *name, const char *source_name, const struct level *above,
                    struct bl_error *err)
{
    bool follows = copy->flags & BL_COPY_FOLLOW_LINKS;
    bool is_source = !above;
    struct stat info;

    if (fstatat(dir_fd, name, &info, follows ? 0 : AT_SYMLINK_NOFOLLOW) < 0) {
        /* A link to nowhere stays a link; what vanished meanwhile is not there. */
        if (!follows || fstatat(dir_fd, name, &info, AT_SYMLINK_NOFOLLOW) < 0)
            return is_source ? bl_fail(err, BL_NOT_FOUND, errno, "look at the source") : 0;
    }

    struct bl_entry entry = {
        .path = copy->path,
        .mode = info.st_mode & 07777,
        .uid = info.st_uid,
        .gid = info.st_gid,
        .mtime_ns = info.st_mtim.tv_sec < 0 ? 0 : (uint64_t)info.st_mtim.tv_sec * 1000000000 + (uint64_t)info.st_mtim.tv_nsec,
    };
    cleanup_free char *own_name = source_name && *source_name ? strdup(source_name) : NULL;
    int follow = follows ? 0 : O_NOFOLLOW;
    int failed;

    entry.name = own_name;
    switch (info.st_mode & S_IFMT) {
    case S_IFREG:
        entry.type = BL_ENTRY_FILE;
        failed = send_file(copy, dir_fd, name, &entry, follow, err);
        break;
    case S_IFDIR:
        entry.type = BL_ENTRY_DIRECTORY;
        failed = send_header(copy, &entry, err) < 0 || send_children(copy, dir_fd, name, follow, above, err) < 0 ? -1 : 0;
        break;
    case S_IFLNK:
        entry.type = BL_ENTRY_SYMLINK;
        entry.link = read_link(dir_fd, name);
        failed = entry.link ? send_header(copy, &entry, err) : bl_fail(err, BL_STORAGE, errno, "read the link \"%s\"", copy->path);
        break;
    case S_IFIFO:
        entry.type = BL_ENTRY_FIFO;
        failed = send_header(copy, &entry, err);
        break;
    default:
        failed = is_source ? bl_fail(err, BL_UNSUPPORTED, 0, "a socket or a device can't be copied") : 0;
    }
    free(entry.link);
    return failed;
}

/* open_source() - The source's directory, and its name there ("." for a directory by itself). Return: descriptor; -1 */
static int open_source(int root_fd, const char *path, uint32_t flags, char *name, char *base, struct bl_error *err)
{
    size_t length = strlen(path);
    bool as_directory = path[length - 1] == '/' || (length >= 2 && strcmp(path + length - 2, "/.") == 0);
    uint64_t follow = flags & BL_COPY_FOLLOW_LINKS || as_directory ? 0 : O_NOFOLLOW;
    cleanup_close int there = bl_openat2(root_fd, path, O_PATH | follow, 0, RESOLVE_IN_ROOT);
    struct stat info;

    if (there < 0 || fstat(there, &info) < 0)
        return errno == ENOENT || errno == ENOTDIR ? bl_fail(err, BL_NOT_FOUND, errno, "\"%s\" does not exist in the box", path)
                                                   : bl_fail(err, BL_STORAGE, errno, "open \"%s\" in the box", path);

    /* The last name of the path that is one. */
    size_t end = length;

    while (end && (path[end - 1] == '/' || (path[end - 1] == '.' && end >= 2 && path[end - 2] == '/')))
        end--;

    size_t start = end;

    while (start && path[start - 1] != '/')
        start--;
    if (end - start > BL_NAME_BYTES_MAX)
        return bl_fail(err, BL_INVALID_ARGUMENT, ENAMETOOLONG, "copy \"%s\"", path);
    snprintf(base, BL_NAME_BYTES_MAX + 1, "%.*s", (int)(end - start), path + start);
    if (strcmp(base, "..") == 0)
        *base = '\0';
    if (S_ISDIR(info.st_mode)) {
        memcpy(name, ".", 2);
        return bl_steal_fd(&there);
    }

    /* What is no directory is sent by its name in its directory; through a link its directory is not that of the link. */
    cleanup_free char *parent = strndup(path, start);
    int dir_fd = parent ? bl_openat2(root_fd, *parent ? parent : "/", O_PATH | O_DIRECTORY, 0, RESOLVE_IN_ROOT) : -1;

    snprintf(name, BL_NAME_BYTES_MAX + 1, "%.*s", (int)(end - start), path + start);
    return dir_fd < 0 ? bl_fail(err, BL_STORAGE, errno, "open the directory of \"%s\" in the box", path) : dir_fd;
}

int bl_copy_out(int root_fd, const char *path, uint32_t flags, int to_fd, struct bl_error *err)
{
    struct bl_entry end = {.type = BL_ENTRY_END};
    char name[BL_NAME_BYTES_MAX + 1], base[BL_NAME_BYTES_MAX + 1];
    cleanup_close int dir_fd = open_source(root_fd, path, flags, name, base, err);

    if (dir_fd < 0)
        return -1;

    struct copy *copy = calloc(1, sizeof *copy);

    if (!copy)
        return bl_fail_memory(err);
    copy->to_fd = to_fd;
    copy->flags = flags;
    copy->out = (struct bl_buffer)BL_BUFFER_INIT(2 * FLUSH_BYTES + BL_ENTRY_HEADER_MAX);

    int failed = send_one(copy, dir_fd, name, base, NULL, err) < 0 || send_header(copy, &end, err) < 0 || flush(copy, err) < 0;

    for (size_t i = 0; i < BUCKETS; i++) {
        while (copy->sent[i]) {
            struct sent *next = copy->sent[i]->next;

            free(copy->sent[i]);
            copy->sent[i] = next;
        }
    }
    bl_buffer_free(&copy->out);
    free(copy);
    return failed ? -1 : 0;
}
