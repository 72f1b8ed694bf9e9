/* SPDX-License-Identifier: Apache-2.0 */
/* template.c - finding, making and sweeping templates; see template.h */
#include "shim/template.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/crash.h"
#include "base/log.h"
#include "proto/frame.h"
#include "shim/files.h"

#define FORMAT         "boxlite " BL_VERSION ", template 2"
#define ROOM_BYTES_MIN (UINT64_C(1) << 30) /* free on the file system, or nothing is kept */
#define KEPT_MAX       4                   /* templates of this boot */

void bl_template_init(struct bl_template *template)
{
    *template = (struct bl_template){
        .dir_fd = -1,
        .memory_fd = -1,
        .identity = BL_BUFFER_INIT(BL_ENGINE_IDENTITY_MAX),
        .file = {.fd = -1},
        .turn.fd = -1,
    };
}

/* drop_incomplete() - Give up what is being saved. Where no path can be opened any more, at least its room is given back. */
static void drop_incomplete(struct bl_template *template)
{
    if (!template->saves || template->kept || template->file.fd < 0)
        return;
    if (unlinkat(template->dir_fd, template->name, 0) < 0 && ftruncate(template->file.fd, 0) < 0)
        bl_log(BL_LOG_WARN, "an incomplete template stays until the next one is made: %s", strerror(errno));
}

void bl_template_close(struct bl_template *template)
{
    drop_incomplete(template);
    bl_source_remove(&template->turn);
    bl_close_fd(&template->turn.fd);
    bl_close_fd(&template->dir_fd);
    bl_close_fd(&template->memory_fd);
    bl_buffer_free(&template->identity);
    bl_template_file_close(&template->file);
    free(template->extents);
    bl_template_init(template);
}

/* make_name() - From all that the machine depends on. Return: 0; -1 */
static int make_name(struct bl_template *template, const struct bl_engine_choice *choice, const struct bl_engine_config *config)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    char boot_id[BL_BOOT_ID_BYTES], format[128];

    bl_boot_id(boot_id);

    int length = snprintf(format, sizeof format, FORMAT ", protocol %d, boot %s\n", BL_PROTO_VERSION, boot_id);

    if (!boot_id[0] || bl_buffer_append(&template->identity, format, (size_t)length) < 0 ||
        bl_engine_identity(choice, config, &template->identity) < 0)
        return -1;
    for (size_t i = 0; i < template->identity.length; i++)
        hash = (hash ^ bl_buffer_data(&template->identity)[i]) * UINT64_C(0x100000001b3);
    snprintf(template->name, sizeof template->name, "%s-%016llx" BL_TEMPLATE_SUFFIX, boot_id, (unsigned long long)hash);
    return 0;
}

/* is_ours() - Whether nobody but this user can have written something. */
static bool is_ours(int fd)
{
    struct stat status;

    return fstat(fd, &status) == 0 && status.st_uid == geteuid() && !(status.st_mode & (S_IWGRP | S_IWOTH));
}

/* open_directory() - @make: make it when it is missing. Return: 0; -1 */
static int open_directory(struct bl_template *template, const char *path)
{
    template->dir_fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (template->dir_fd < 0 && errno == ENOENT && (mkdir(path, 0700) == 0 || errno == EEXIST)) {
        BL_CRASH_POINT("shim:templates-made");
        template->dir_fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    }
    return template->dir_fd >= 0 && is_ours(template->dir_fd) ? 0 : -1;
}

/* open_template() - Return: 1: it can be used; 0: there is none, or none of use any more; -1: leave it alone */
static int open_template(struct bl_template *template, uint64_t memory_bytes)
{
    int fd = openat(template->dir_fd, template->name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    struct stat status;

    if (fd < 0)
        return errno == ENOENT ? 0 : -1;
    if (!is_ours(fd) || fstat(fd, &status) < 0 || !S_ISREG(status.st_mode)) {
        close(fd);
        return -1;
    }
    if (!status.st_size || !bl_template_file_is_complete(&status)) {
        close(fd);
        return bl_template_file_is_complete(&status) ? -1 : 0;
    }
    futimens(fd, NULL); /* used last: the others are removed first */
    if (bl_template_file_open(&template->file, fd, &template->identity, memory_bytes) == 0)
        return 1;
    return errno == EILSEQ ? 0 : -1; /* it is damaged; it can't be read now */
}

/* is_older() - Whether a file was used before another. */
static bool is_older(const struct timespec *one, const struct timespec *other)
{
    return one->tv_sec < other->tv_sec || (one->tv_sec == other->tv_sec && one->tv_nsec < other->tv_nsec);
}

/* is_leaving() - Of another boot of the host; or incomplete, and whoever wrote it had the lock that is ours now. */
static bool is_leaving(const struct bl_template *template, const char *name, const struct stat *status)
{
    return strncmp(name, template->name, BL_BOOT_ID_BYTES - 1) != 0 || !bl_template_file_is_complete(status);
}

/* sweep_once() - As sweep(), but of those that are complete at most one. Return: whether one more is too many */
static bool sweep_once(const struct bl_template *template)
{
    cleanup_dir DIR *dir = fdopendir(openat(template->dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    char oldest[BL_LAUNCH_TEMPLATE_NAME_MAX] = "";
    struct timespec oldest_use = {0};
    int others = 0;

    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        size_t length = strlen(entry->d_name), suffix = strlen(BL_TEMPLATE_SUFFIX);
        struct stat status;

        if (length <= suffix || length >= sizeof oldest || strcmp(entry->d_name + length - suffix, BL_TEMPLATE_SUFFIX) != 0 ||
            fstatat(template->dir_fd, entry->d_name, &status, AT_SYMLINK_NOFOLLOW) < 0)
            continue;
        if (is_leaving(template, entry->d_name, &status))
            unlinkat(template->dir_fd, entry->d_name, 0);
        else if (status.st_size && strcmp(entry->d_name, template->name) != 0 &&
                 (!others++ || is_older(&status.st_mtim, &oldest_use))) {
            oldest_use = status.st_mtim;
            memcpy(oldest, entry->d_name, length + 1);
        }
    }
    return others >= KEPT_MAX && unlinkat(template->dir_fd, oldest, 0) == 0 && others > KEPT_MAX;
}

/* sweep() - Make room for one: remove what is of no use any more, and the longest unused that are too many then. */
static void sweep(const struct bl_template *template)
{
    while (sweep_once(template))
        ;
    BL_CRASH_POINT("shim:templates-swept");
}

/* begin_saving() - With the lock. Return: 0; -1: it can't be done without harm to anybody */
static int begin_saving(struct bl_template *template, uint64_t memory_bytes)
{
    struct statvfs room;

    if (unlinkat(template->dir_fd, template->name, 0) == 0)
        bl_log(BL_LOG_WARN, "the template %s is damaged, or was never complete: booting, and making it anew", template->name);
    sweep(template);
    if (fstatvfs(template->dir_fd, &room) < 0 || (uint64_t)room.f_bavail * room.f_frsize < ROOM_BYTES_MIN ||
        bl_template_file_make(&template->file, template->dir_fd, template->name, memory_bytes) < 0)
        return -1;
    BL_CRASH_POINT("shim:template-begun");
    return 0;
}

/* find() - Look for a template, or begin one: then the directory is locked, and was looked at again. */
static void find(struct bl_template *template, uint64_t memory_bytes)
{
    int found = open_template(template, memory_bytes);

    if (found == 0 && flock(template->dir_fd, LOCK_EX | LOCK_NB) == 0) {
        found = open_template(template, memory_bytes);
        template->saves = found == 0 && begin_saving(template, memory_bytes) == 0;
        if (!template->saves)
            flock(template->dir_fd, LOCK_UN);
    }
    template->loads = found == 1;
}

/* map_memory() - The engine takes it from the file. Return: 0; -1 */
static int map_memory(struct bl_template *template, struct bl_engine_config *config)
{
    template->extents = bl_template_file_extents(&template->file, &config->extent_count);
    config->saved_fd = template->extents ? fcntl(template->file.fd, F_DUPFD_CLOEXEC, 0) : -1;
    config->extents = template->extents;
    template->maps = true;
    return config->saved_fd < 0 ? -1 : 0;
}

/* make_memory() - The guest's memory, once for us and once for the engine. Return: 0; -1 */
static int make_memory(struct bl_template *template, struct bl_engine_config *config)
{
    template->memory_fd = memfd_create("boxlite-memory", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (template->memory_fd < 0 || ftruncate(template->memory_fd, (off_t)config->memory_bytes) < 0)
        return -1;
    config->memory_fd = fcntl(template->memory_fd, F_DUPFD_CLOEXEC, 0);
    return config->memory_fd < 0 ? -1 : 0;
}

void bl_template_prepare(struct bl_template *template, struct bl_loop *loop, const char *path,
                         const struct bl_engine_choice *choice, struct bl_engine_config *config)
{
    bl_template_close(template);
    template->loop = loop;
    if (!path || make_name(template, choice, config) < 0 || open_directory(template, path) < 0) {
        bl_template_close(template);
        return;
    }
    find(template, config->memory_bytes);

    bool maps = template->loads && bl_engine_maps_memory(choice);

    if ((template->loads || template->saves) && (maps ? map_memory(template, config) : make_memory(template, config)) == 0) {
        config->loads = template->loads;
        return;
    }
    bl_template_close(template);
    config->extents = NULL;
    config->extent_count = 0;
}

static void end_move(struct bl_template *template, const char *error)
{
    bl_source_remove(&template->turn);
    bl_close_fd(&template->turn.fd);
    template->moved(error, template->data);
}

static void move_piece(struct bl_source *turn, uint32_t events)
{
    struct bl_template *template = turn->data;
    int more = template->maps    ? 0
               : template->loads ? bl_template_file_read(&template->file, template->memory_fd)
                                 : bl_template_file_write(&template->file, template->memory_fd);

    (void)events;
    if (more <= 0)
        end_move(template, more < 0 ? strerror(errno) : NULL);
}

int bl_template_move(struct bl_template *template, void (*moved)(const char *error, void *data), void *data)
{
    template->moved = moved;
    template->data = data;
    template->turn =
        (struct bl_source){.fd = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK), .events = EPOLLIN, .ready = move_piece, .data = template};
    return template->turn.fd < 0 ? -1 : bl_source_add(template->loop, &template->turn);
}

int bl_template_publish(struct bl_template *template, const char *console)
{
    if (bl_template_file_complete(&template->file, &template->identity, console) < 0)
        return -1;
    template->kept = true;
    BL_CRASH_POINT("shim:template-kept");
    return 0;
}
