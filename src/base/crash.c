/* SPDX-License-Identifier: Apache-2.0 */
/* crash.c - dying where a test says; see crash.h. Part of test builds only. */
#include "base/crash.h"

#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* note() - One line in the log, by which the test knows that the point was reached. */
static void note(const char *name)
{
    const char *path = getenv("BOXLITE_CRASH_LOG");
    int fd = path ? open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600) : -1;
    char line[128];
    size_t length = strlen(name);

    if (fd < 0)
        return;
    if (length < sizeof line) {
        memcpy(line, name, length);
        line[length] = '\n';
        if (write(fd, line, length + 1) < 0)
            _exit(126);
    }
    close(fd);
}

void bl_crash_point(const char *name)
{
    static atomic_int visits;
    const char *wanted = getenv("BOXLITE_CRASH_AT");
    size_t length = strlen(name);

    if (!wanted || strncmp(wanted, name, length) != 0 || (wanted[length] && wanted[length] != '@'))
        return;
    if (atomic_fetch_add(&visits, 1) + 1 < (wanted[length] ? atoi(wanted + length + 1) : 1))
        return;
    note(name);
    kill(getpid(), SIGKILL);
    for (;;)
        pause();
}
