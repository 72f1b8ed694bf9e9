/* SPDX-License-Identifier: Apache-2.0 */
/* notice.c - see notice.h */
#include "cli/notice.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/strings.h"

#define QUIET_SECONDS 86400

static void print_notice(const char *line, void *data)
{
    const struct bl_cli *cli = data;
    cleanup_free char *marker = bl_format("%s/.engine-notice", bl_runtime_home(cli->runtime));

    fprintf(stderr, "%s\n", line);
    if (marker) {
        cleanup_close int fd = open(marker, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

        if (fd >= 0)
            futimens(fd, NULL);
    }
}

void bl_notice_ask(struct bl_cli *cli, struct bl_start_options *start)
{
    cleanup_free char *marker = bl_format("%s/.engine-notice", bl_runtime_home(cli->runtime));
    struct stat status;

    if (!isatty(STDERR_FILENO) && !cli->debug)
        return;
    if (!cli->debug && marker && stat(marker, &status) == 0 && time(NULL) - status.st_mtime < QUIET_SECONDS)
        return;
    start->notice = print_notice;
    start->notice_data = cli;
}
