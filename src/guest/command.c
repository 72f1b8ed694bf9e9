/* SPDX-License-Identifier: Apache-2.0 */
/*
 * command.c - the program behind the first word of a command; see command.h
 *
 * Every candidate is simply executed: what the kernel says is the truth, while a look beforehand would have to repeat its rules
 * and could be wrong a moment later.
 */
#include "guest/command.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/strings.h"

/* explain() - Why a file that was to be executed was not. Return: exit code */
static int explain(const char *name, const char *file, int number, struct bl_error *err)
{
    struct stat info;

    if (number == EACCES && stat(file, &info) == 0 && S_ISDIR(info.st_mode))
        bl_fail(err, BL_EXECUTION, EACCES, "Execution error: exec \"%s\": is a directory", name);
    else if (number == ENOENT && stat(file, &info) == 0)
        bl_fail(err, BL_EXECUTION, ENOENT, "Execution error: exec \"%s\": its interpreter or loader is not in the box", name);
    else if (number == ENOENT || number == ENOTDIR)
        bl_fail(err, BL_EXECUTION, 0, "Execution error: exec \"%s\": file not found in the box", name);
    else if (number == EACCES)
        bl_fail(err, BL_EXECUTION, 0, "Execution error: exec \"%s\": permission denied", name);
    else if (number == ENOEXEC)
        bl_fail(err, BL_EXECUTION, 0, "Execution error: exec \"%s\": exec format error (another architecture, or no #! line)",
                name);
    else
        bl_fail(err, BL_EXECUTION, number, "Execution error: exec \"%s\"", name);
    err->sys_errno = number;
    return number == ENOENT || number == ENOTDIR ? BL_EXIT_NOT_FOUND : BL_EXIT_NOT_EXECUTABLE;
}

int bl_command_exec(char *const *args, char *const *env, struct bl_error *err)
{
    const char *name = args[0];
    const char *path = bl_strings_get_env((const char *const *)env, "PATH");
    char refused[PATH_MAX] = "";
    int reason = 0;

    if (strchr(name, '/')) {
        execve(name, args, env);
        return explain(name, name, errno, err);
    }
    for (const char *at = path ? path : BL_DEFAULT_PATH; *name;) {
        char candidate[PATH_MAX];
        size_t length = strcspn(at, ":");
        int written = snprintf(candidate, sizeof candidate, "%.*s%s%s", (int)length, at, length ? "/" : "./", name);

        if (written < (int)sizeof candidate) {
            struct stat info;

            execve(candidate, args, env);

            /* A directory of that name is no candidate; a file that can't be executed is kept in mind, a later one may work. */
            int failed = errno;

            if (failed != ENOENT && failed != ENOTDIR && !reason && stat(candidate, &info) == 0 && !S_ISDIR(info.st_mode)) {
                reason = failed;
                snprintf(refused, sizeof refused, "%s", candidate);
            } else if (failed == ENOENT && !reason && stat(candidate, &info) == 0) {
                reason = ENOENT;
                snprintf(refused, sizeof refused, "%s", candidate);
            }
        }
        if (!at[length])
            break;
        at += length + 1;
    }
    if (reason)
        return explain(name, refused, reason, err);
    bl_fail(err, BL_EXECUTION, 0, "Execution error: exec \"%s\": executable file not found in $PATH", name);
    err->sys_errno = ENOENT;
    return BL_EXIT_NOT_FOUND;
}
