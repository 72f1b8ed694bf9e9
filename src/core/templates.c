/* SPDX-License-Identifier: Apache-2.0 */
/* templates.c - whether boxes start from saved machines, and what those take; the shim uses, makes and sweeps them */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/crash.h"
#include "base/log.h"
#include "base/os.h"
#include "base/strings.h"
#include "core/home.h"
#include "proto/launch.h"

int bl_templates_wanted(bool *out, struct bl_error *err)
{
    const char *text = getenv("BOXLITE_TEMPLATES");

    *out = !text || !*text || strcmp(text, "on") == 0;
    if (*out || strcmp(text, "off") == 0)
        return 0;
    return bl_fail(err, BL_CONFIG, 0, "BOXLITE_TEMPLATES is '%s': 'on' and 'off' are known", text);
}

/* is_name() - Of a template, with nothing in it that leads elsewhere. */
static bool is_name(const char *name)
{
    size_t length = strlen(name), suffix = strlen(BL_TEMPLATE_SUFFIX);

    return length > suffix && length < BL_LAUNCH_TEMPLATE_NAME_MAX && name[0] != '.' && !strchr(name, '/') &&
           strcmp(name + length - suffix, BL_TEMPLATE_SUFFIX) == 0;
}

/* is_complete() - See shim/template_file.h. */
static bool is_complete(const struct stat *file)
{
    return !(file->st_mode & S_IWUSR);
}

void bl_template_give_up(int home_fd, const char *name)
{
    cleanup_close int dir = bl_os.openat(home_fd, BL_DIR_TEMPLATES, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);

    struct stat file;

    /* Who has the lock is making one, of this name maybe. */
    if (dir < 0 || !is_name(name) || bl_os.flock(dir, LOCK_EX | LOCK_NB) < 0)
        return;
    if (bl_os.fstatat(dir, name, &file, AT_SYMLINK_NOFOLLOW) == 0 && (!is_complete(&file) || bl_os.unlinkat(dir, name, 0) < 0))
        return;
    BL_CRASH_POINT("start:template-removed");

    cleanup_close int fd = bl_os.openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0400);

    if (fd < 0)
        bl_log(BL_LOG_WARN, "a template that can't be restored can't be marked as such: %s", strerror(errno));
    BL_CRASH_POINT("start:template-rejected");
}

/* open_templates() - The directory, to be read. Return: NULL: there is none, or it can't be opened */
static DIR *open_templates(int home_fd)
{
    cleanup_close int fd = bl_os.openat(home_fd, BL_DIR_TEMPLATES, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    DIR *dir = fd < 0 ? NULL : bl_os.fdopendir(fd);

    if (dir)
        bl_steal_fd(&fd);
    return dir;
}

/* next_template() - Return: its name, and what it is; NULL: that were all */
static const char *next_template(DIR *dir, struct stat *file)
{
    for (struct dirent *entry; (entry = bl_os.readdir(dir));)
        if (is_name(entry->d_name) && bl_os.fstatat(dirfd(dir), entry->d_name, file, AT_SYMLINK_NOFOLLOW) == 0)
            return entry->d_name;
    return NULL;
}

void bl_templates_usage(int home_fd, unsigned int *count, uint64_t *bytes)
{
    cleanup_dir DIR *dir = open_templates(home_fd);
    struct stat file;

    *count = 0;
    *bytes = 0;
    while (dir && next_template(dir, &file)) {
        /* An empty one says that its kind can't be restored. */
        if (!file.st_size || !is_complete(&file))
            continue;
        *count += 1;
        *bytes += (uint64_t)file.st_blocks * 512;
    }
}

void bl_templates_leftovers(int home_fd, bool remove, void (*found)(const char *name, uint64_t bytes, void *data), void *data)
{
    cleanup_dir DIR *dir = open_templates(home_fd);
    const char *name;
    struct stat file;

    /* Whoever writes one has this lock. */
    if (!dir || bl_os.flock(dirfd(dir), LOCK_EX | LOCK_NB) < 0)
        return;
    while ((name = next_template(dir, &file)))
        if (!is_complete(&file) && (!remove || bl_os.unlinkat(dirfd(dir), name, 0) == 0) && found)
            found(name, (uint64_t)file.st_blocks * 512, data);
}
