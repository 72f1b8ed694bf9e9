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

/* say_message() - A line with somebody's words in it, the guest's maybe; a newline is added. @line: with room for it */
static void say_message(struct bl_answer *answer, char *line)
{
    size_t length = strlen(line);

    for (size_t i = 0; i < length; i++)
        if ((unsigned char)line[i] < ' ' || line[i] == 0x7f)
            line[i] = ' ';
    line[length] = '\n';
    line[length + 1] = '\0';
    say(answer, line);
}

void bl_answer_failed(struct bl_answer *answer, enum bl_code code, int exit_code, const char *message)
{
    char line[BL_ERROR_MESSAGE_MAX + 64];

    if (answer->given)
        return;
    snprintf(line, sizeof line - 1, "failed %d %d %s", (int)code, exit_code, message);
    say_message(answer, line);
}

void bl_answer_again(struct bl_answer *answer, const char *which, const char *what)
{
    char line[BL_ERROR_MESSAGE_MAX + 64];

    if (answer->given)
        return;
    snprintf(line, sizeof line - 1, "%s%s", which, what);
    say_message(answer, line);
}

void bl_answer_finish(struct bl_answer *answer)
{
    bl_close_fd(&answer->ready_fd);
    /* Closed, not unlocked: the starter has the same lock, and is not done with a start that failed or goes on. Without a starter
     * it goes with this descriptor. */
    bl_close_fd(&answer->lifecycle_fd);
}
