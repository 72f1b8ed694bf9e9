/* SPDX-License-Identifier: Apache-2.0 */
/* users.h - who a command runs as, by the passwd and group files of the box */
#ifndef BL_GUEST_USERS_H
#define BL_GUEST_USERS_H

#include <stddef.h>
#include <sys/types.h>

#include "base/error.h"

#define BL_GROUPS_MAX 64 /* supplementary groups that are taken from the group file */

struct bl_user {
    uid_t uid;
    gid_t gid;
    gid_t groups[BL_GROUPS_MAX];
    size_t group_count;
    char home[4096]; /* "/" when the passwd file does not say */
};

/*
 * bl_user_find() - Look up a user as Docker does
 * @root_fd: the root directory whose etc/passwd and etc/group are read; links in it do not lead out of it
 * @spec:    "name|uid[:group|gid]"; NULL or "" is root. A number needs no entry. With a group there are no supplementary ones.
 * Return: 0; -1 with BL_EXECUTION
 */
int bl_user_find(int root_fd, const char *spec, struct bl_user *out, struct bl_error *err);

#endif
