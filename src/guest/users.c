/* SPDX-License-Identifier: Apache-2.0 */
/*
 * users.c - who a command runs as; see users.h
 *
 * The files belong to the image and may hold anything: lines that make no sense are skipped, and reading stops at a limit.
 */
#include "guest/users.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/strings.h"
#include "guest/syscalls.h"

#define ID_MAX         2147483647LL
#define FILE_MAX_BYTES (4u << 20)
#define FIELDS_MAX     8

/* read_text() - The text of a file of the box, with a NUL at its end; empty when it is not there. Return: 0; -1 no memory */
static int read_text(int root_fd, const char *path, struct bl_buffer *out)
{
    /* Not blocking: a FIFO of that name must not stop us. */
    cleanup_close int fd = bl_openat2(root_fd, path, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0, RESOLVE_IN_ROOT);
    struct stat info;

    if (fd >= 0 && fstat(fd, &info) == 0 && S_ISREG(info.st_mode)) {
        for (;;) {
            uint8_t *at = bl_buffer_room(out) > 4096 ? bl_buffer_reserve(out, 4096) : NULL;
            ssize_t n = at ? read(fd, at, 4096) : 0;

            if (n <= 0)
                break;
            bl_buffer_commit(out, (size_t)n);
        }
    }
    return bl_buffer_append(out, "", 1);
}

/* next_line() - Cut the next line into its fields. Return: number of fields; -1 at the end */
static int next_line(char **rest, char *fields[FIELDS_MAX])
{
    char *line = strsep(rest, "\n");
    int count = 0;

    if (!line)
        return -1;
    while (count < FIELDS_MAX && (fields[count] = strsep(&line, ":")))
        count++;
    return count;
}

static bool is_id(const char *text, long long *out)
{
    return bl_parse_number(text, 0, ID_MAX, out) == 0;
}

/* in_list() - Whether a name stands in a list with commas. */
static bool in_list(char *list, const char *name)
{
    for (char *member; (member = strsep(&list, ","));)
        if (strcmp(member, name) == 0)
            return true;
    return false;
}

/*
 * find_passwd() - The first entry of that name, or else that number
 * @name: of BL_NAME's size; becomes the entry's name, "" when there is none
 * Return: 0; -1
 */
static int find_passwd(int root_fd, const char *wanted, struct bl_user *out, char *name, size_t name_size, struct bl_error *err)
{
    cleanup_buffer struct bl_buffer text = BL_BUFFER_INIT(FILE_MAX_BYTES);
    char *fields[FIELDS_MAX];
    long long number = -1;
    bool numeric = is_id(wanted, &number);

    if (read_text(root_fd, "etc/passwd", &text) < 0)
        return bl_fail_memory(err);

    char *rest = (char *)bl_buffer_data(&text);

    name[0] = '\0';
    for (int count; (count = next_line(&rest, fields)) >= 0;) {
        long long uid, gid;

        if (count < 4 || !is_id(fields[2], &uid) || !is_id(fields[3], &gid))
            continue;
        if (strcmp(fields[0], wanted) != 0 && !(numeric && uid == number))
            continue;
        out->uid = (uid_t)uid;
        out->gid = (gid_t)gid;
        if (count > 5 && fields[5][0] == '/')
            snprintf(out->home, sizeof out->home, "%s", fields[5]);
        snprintf(name, name_size, "%s", fields[0]);
        return 0;
    }
    if (!numeric)
        return bl_fail(err, BL_EXECUTION, 0, "unable to find user %s: no matching entries in passwd file", wanted);
    out->uid = (uid_t)number;
    out->gid = 0;
    return 0;
}

/* find_groups() - The named group, or, without a name, all that list the user. Return: 0; -1 */
static int find_groups(int root_fd, const char *wanted, const char *user, struct bl_user *out, struct bl_error *err)
{
    cleanup_buffer struct bl_buffer text = BL_BUFFER_INIT(FILE_MAX_BYTES);
    char *fields[FIELDS_MAX];
    long long number = -1;
    bool numeric = wanted && is_id(wanted, &number);

    if (read_text(root_fd, "etc/group", &text) < 0)
        return bl_fail_memory(err);

    char *rest = (char *)bl_buffer_data(&text);

    for (int count; (count = next_line(&rest, fields)) >= 0;) {
        long long gid;

        if (count < 3 || !is_id(fields[2], &gid))
            continue;
        if (wanted && (strcmp(fields[0], wanted) == 0 || (numeric && gid == number))) {
            out->gid = (gid_t)gid;
            return 0;
        }
        if (!wanted && *user && count > 3 && out->group_count < BL_GROUPS_MAX && in_list(fields[3], user))
            out->groups[out->group_count++] = (gid_t)gid;
    }
    if (wanted && !numeric)
        return bl_fail(err, BL_EXECUTION, 0, "unable to find group %s: no matching entries in group file", wanted);
    if (wanted)
        out->gid = (gid_t)number;
    return 0;
}

int bl_user_find(int root_fd, const char *spec, struct bl_user *out, struct bl_error *err)
{
    char user[256], name[256];
    const char *colon = spec ? strchr(spec, ':') : NULL;
    size_t length = colon ? (size_t)(colon - spec) : spec ? strlen(spec) : 0;

    *out = (struct bl_user){.home = "/"};
    if (length >= sizeof user)
        return bl_fail(err, BL_EXECUTION, 0, "the name of the user is too long");
    /* Root needs no entry, but its entry names its home. */
    snprintf(user, sizeof user, "%.*s", length ? (int)length : 1, length ? spec : "0");
    if (find_passwd(root_fd, user, out, name, sizeof name, err) < 0)
        return -1;
    return find_groups(root_fd, colon && colon[1] ? colon + 1 : NULL, name, out, err);
}
