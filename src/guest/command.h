/* SPDX-License-Identifier: Apache-2.0 */
/* command.h - the program behind the first word of a command */
#ifndef BL_GUEST_COMMAND_H
#define BL_GUEST_COMMAND_H

#include "base/error.h"

#define BL_DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

/* Exit codes of a command that never ran, as shells and Docker have them. */
#define BL_EXIT_CANNOT_START   125
#define BL_EXIT_NOT_EXECUTABLE 126
#define BL_EXIT_NOT_FOUND      127

/*
 * bl_command_exec() - Become a command; the caller is the process that shall run it, as its user, in its root and directory
 * @args: the command; its first word is looked up in PATH of @env when it has no "/"
 * Return: only when it failed: BL_EXIT_NOT_FOUND or BL_EXIT_NOT_EXECUTABLE, and @err
 */
int bl_command_exec(char *const *args, char *const *env, struct bl_error *err);

#endif
