/* SPDX-License-Identifier: Apache-2.0 */
/* answer.c - telling the starter; see answer.h */
#include "shim/answer.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/crash.h"
#include "base/io.h"

static void unlock(struct bl_answer *answer)
{
    struct flock lock = {.l_type = F_UNLCK, .l_whence = SEEK_SET};

    /* Unlocked, not just closed: a forked copy of the descriptor would keep the lock. */
    if (answer->lifecycle_fd >= 0)
        (void)fcntl(answer->lifecycle_fd, F_OFD_SETLK, &lock);
    bl_close_fd(&answer->lifecycle_fd);
}

static void say(struct bl_answer *answer, const char *line)
{
    /* SIGPIPE is ignored: a starter that is gone hears nothing. */
    if (answer->ready_fd >= 0)
        (void)bl_write_all(answer->ready_fd, line, strlen(line));
    bl_close_fd(&answer->ready_fd);
    answer->given = true;
}

void bl_answer_ready(struct bl_answer *answer, const struct bl_moments *moments)
{
    char numbers[BL_MOMENTS_TEXT_MAX], line[BL_MOMENTS_TEXT_MAX + 16];

    if (answer->given)
        return;
    bl_moments_print(moments, numbers);
    snprintf(line, sizeof line, "ready%s\n", numbers);
    say(answer, line);
    BL_CRASH_POINT("shim:answered");
    unlock(answer);
    BL_CRASH_POINT("shim:unlocked");
}

void bl_answer_failed(struct bl_answer *answer, enum bl_code code, int exit_code, const char *message)
{
    char line[BL_ERROR_MESSAGE_MAX + 64];

    if (answer->given)
        return;
    snprintf(line, sizeof line - 1, "failed %d %d %s", (int)code, exit_code, message);
    /* Parts of it can be the guest's words. */
    for (char *at = line; *at; at++)
        if ((unsigned char)*at < ' ' || *at == 0x7f)
            *at = ' ';
    size_t length = strlen(line);

    line[length] = '\n';
    line[length + 1] = '\0';
    say(answer, line);
}

void bl_answer_finish(struct bl_answer *answer)
{
    bl_close_fd(&answer->ready_fd);
    unlock(answer);
}
