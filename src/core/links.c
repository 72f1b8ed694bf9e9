/* SPDX-License-Identifier: Apache-2.0 */
/* links.c - names of boxes as links; see links.h */
#include "core/links.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/os.h"
#include "base/strings.h"
#include "core/names.h"
#include "core/runtime.h"

#define TO_BOXES  "../boxes/"
#define ATTEMPTS  3 /* one for each thing that may be in the way: no directory, a link that leads elsewhere */
#define PATH_SIZE (sizeof BL_DIR_NAMES + 1 + BL_BOX_NAME_MAX)

/* path_of() - @path: PATH_SIZE bytes. Return: 0; -1: no name, with errno */
static int path_of(const char *name, char *path)
{
    if (bl_box_name_check(name, NULL) < 0) {
        errno = EINVAL;
        return -1;
    }
    snprintf(path, PATH_SIZE, BL_DIR_NAMES "/%s", name);
    return 0;
}

/* read_link() - The id that a link leads to; @dir_fd, @path: of the link. Return: 0; -1 with errno (EINVAL: it is none of ours) */
static int read_link(int dir_fd, const char *path, char *id)
{
    char target[sizeof TO_BOXES + BL_BOX_ID_LENGTH + 1];
    ssize_t length = bl_os.readlinkat(dir_fd, path, target, sizeof target - 1);

    if (length < 0)
        return -1;
    target[length] = '\0';
    if (!bl_starts_with(target, TO_BOXES) || !bl_box_id_valid(target + strlen(TO_BOXES))) {
        errno = EINVAL;
        return -1;
    }
    memcpy(id, target + strlen(TO_BOXES), BL_BOX_ID_LENGTH + 1);
    return 0;
}

static bool is_letter(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

/* has_two_names() - Whether a link is found by a name with other capitals, too. */
static bool has_two_names(int home_fd, const char *path, const char *id)
{
    char other[PATH_SIZE], there[BL_BOX_ID_LENGTH + 1];
    size_t i = strlen(BL_DIR_NAMES);

    memcpy(other, path, i);
    for (; path[i]; i++)
        other[i] = is_letter(path[i]) ? path[i] ^ 0x20 : path[i];
    other[i] = '\0';
    return strcmp(other, path) != 0 && read_link(home_fd, other, there) == 0 && strcmp(there, id) == 0;
}

/* make_link() - As bl_link_make(), whatever the file system makes of the name. */
static int make_link(int home_fd, const char *path, const char *id)
{
    char target[sizeof TO_BOXES + BL_BOX_ID_LENGTH], there[BL_BOX_ID_LENGTH + 1];

    snprintf(target, sizeof target, TO_BOXES "%s", id);
    for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
        if (bl_os.symlinkat(target, home_fd, path) == 0)
            return 0;
        if (errno == ENOENT) {
            if (bl_os.mkdirat(home_fd, BL_DIR_NAMES, 0700) < 0 && errno != EEXIST)
                return -1;
        } else if (errno != EEXIST) {
            return -1;
        } else {
            if (read_link(home_fd, path, there) == 0 && strcmp(there, id) == 0)
                return 0;
            if (bl_os.unlinkat(home_fd, path, 0) < 0 && errno != ENOENT)
                return -1;
        }
    }
    errno = EEXIST;
    return -1;
}

int bl_link_make(int home_fd, const char *name, const char *id)
{
    char path[PATH_SIZE];

    if (path_of(name, path) < 0 || make_link(home_fd, path, id) < 0)
        return -1;
    if (!has_two_names(home_fd, path, id))
        return 0;
    bl_link_remove(home_fd, name, NULL);
    errno = ENOTUNIQ;
    return -1;
}

int bl_link_remove(int home_fd, const char *name, const char *id)
{
    char path[PATH_SIZE], there[BL_BOX_ID_LENGTH + 1];

    if (path_of(name, path) < 0)
        return -1;
    if (id && read_link(home_fd, path, there) == 0 && strcmp(there, id) != 0)
        return 0;
    return bl_os.unlinkat(home_fd, path, 0) < 0 && errno != ENOENT ? -1 : 0;
}

bool bl_link_find(const struct bl_runtime *runtime, const char *text, char *id)
{
    char path[PATH_SIZE];

    /* An exact id comes before a name (bl_store_find()): whether a text of that form is a name only the database can tell. */
    if (bl_box_id_valid(text)) {
        memcpy(id, text, BL_BOX_ID_LENGTH + 1);
        return true;
    }
    return path_of(text, path) == 0 && read_link(runtime->home_fd, path, id) == 0;
}

void bl_links_leftovers(struct bl_runtime *runtime, bool remove, void (*found)(const char *name, void *data), void *data)
{
    int fd = bl_os.openat(runtime->home_fd, BL_DIR_NAMES, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    cleanup_dir DIR *dir = fd < 0 ? NULL : bl_os.fdopendir(fd);

    if (!dir) {
        bl_close_fd(&fd);
        return;
    }
    for (struct dirent *entry; (entry = bl_os.readdir(dir));) {
        cleanup_record struct bl_record record = {0};
        struct bl_error missing = BL_ERROR_INIT;
        char id[BL_BOX_ID_LENGTH + 1];

        /*
         * The record is there before a start makes the link, and goes after it. A start of another box of the name may replace the
         * link right now; then that one goes, and is made again by the next start.
         */
        if (read_link(dirfd(dir), entry->d_name, id) < 0 || bl_store_get(runtime->store, id, &record, &missing) == 0 ||
            missing.code != BL_NOT_FOUND)
            continue;
        if ((!remove || bl_os.unlinkat(dirfd(dir), entry->d_name, 0) == 0) && found)
            found(entry->d_name, data);
    }
}
