/* SPDX-License-Identifier: Apache-2.0 */
/*
 * logs.c - boxlite logs: what a box said
 *
 * The output log is kept in two files, output.log and, before it, output.log.1. For "the last N lines" both are read twice: once
 * to count, once to print. Following waits for inotify events of the directory and, in a thread, for the end of the box; when
 * the file at the path is another one than the open one, the log was rotated: the old one is read to its end first.
 */
#include "cli/logs.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/strings.h"
#include "cli/cli.h"

struct logs_values {
    long long lines;
    bool follow, vm;
};

/* The wait for the end of a box, in a thread of its own. */
struct watcher {
    struct bl_cli *cli;
    const char *name;
    int cancel_fd; /* eventfd: give up */
    int ended_fd;  /* eventfd: the box has ended */
};

static void *wait_for_end(void *data)
{
    const struct watcher *watcher = data;
    struct bl_box_info info = {0};
    const uint64_t one = 1;

    if (bl_box_wait(watcher->cli->runtime, watcher->name, watcher->cancel_fd, &info, NULL) == 0)
        bl_box_info_free(&info);
    if (write(watcher->ended_fd, &one, sizeof one) < 0)
        return NULL;
    return NULL;
}

/* read_on() - Feed what a file has from where it was read to. Return: 0; -1 with errno */
static int read_on(struct bl_log_reader *reader, int fd)
{
    char bytes[65536];
    ssize_t n;

    while ((n = read(fd, bytes, sizeof bytes)) != 0) {
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 || bl_log_reader_feed(reader, bytes, (size_t)n) < 0)
            return -1;
        if (ferror(reader->out))
            return -1;
    }
    return 0;
}

/* was_rotated() - Whether the path names another file than the one that is open. Opens the new one into *@fd */
static bool was_rotated(const char *path, int *fd)
{
    struct stat now, then;
    int fresh;

    if (stat(path, &now) < 0 || (*fd >= 0 && fstat(*fd, &then) == 0 && then.st_ino == now.st_ino && then.st_dev == now.st_dev))
        return false;
    fresh = open(path, O_RDONLY | O_CLOEXEC);
    if (fresh < 0)
        return false;
    bl_close_fd(fd);
    *fd = fresh;
    return true;
}

/* follow() - Print what is added until the box has ended. Return: 0; -1 with errno */
static int follow(struct bl_log_reader *reader, const char *path, int *fd, int ended_fd)
{
    cleanup_free char *copy = strdup(path);
    cleanup_close int notify = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    bool ended = false;

    if (!copy || notify < 0 || inotify_add_watch(notify, dirname(copy), IN_MODIFY | IN_CREATE | IN_MOVED_TO) < 0)
        return -1;
    for (;;) {
        char events[4096];
        struct pollfd watched[2] = {{notify, POLLIN, 0}, {ended_fd, POLLIN, 0}};

        if (*fd >= 0 && read_on(reader, *fd) < 0)
            return -1;
        while (was_rotated(path, fd))
            if (read_on(reader, *fd) < 0)
                return -1;
        if (fflush(reader->out) != 0 || fflush(reader->err) != 0)
            return -1;
        /* All that was written before the end has been read in this very round. */
        if (ended)
            return 0;
        if (poll(watched, 2, -1) < 0 && errno != EINTR)
            return -1;
        while (read(notify, events, sizeof events) > 0)
            ;
        ended = watched[1].revents != 0;
    }
}

/* print_log() - The file before, the file, and what is added */
static int print_log(const struct logs_values *values, const char *path, int ended_fd)
{
    cleanup_free char *before_path = bl_format("%s.1", path);
    cleanup_close int before = before_path && !values->vm ? open(before_path, O_RDONLY | O_CLOEXEC) : -1;
    cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct bl_log_reader reader = {.raw = values->vm, .out = stdout, .err = stderr, .rest = BL_BUFFER_INIT(2 * BL_LOG_LINE_MAX)};
    int result = 0;

    if (fd < 0 && before < 0 && !values->follow) {
        fprintf(stderr, "There is no log yet: the box has not been started.\n");
        return 0;
    }
    if (values->lines > 0) {
        struct bl_log_reader counter = {.raw = values->vm, .counting = true, .rest = BL_BUFFER_INIT(2 * BL_LOG_LINE_MAX)};

        counter.out = counter.err = stdout;
        if ((before >= 0 && read_on(&counter, before) < 0) || (fd >= 0 && read_on(&counter, fd) < 0))
            result = -1;
        counter.lines += counter.rest.length != 0;
        reader.skip = counter.lines > (size_t)values->lines ? counter.lines - (size_t)values->lines : 0;
        bl_log_reader_end(&counter);
        if ((before >= 0 && lseek(before, 0, SEEK_SET) < 0) || (fd >= 0 && lseek(fd, 0, SEEK_SET) < 0))
            result = -1;
    }
    if (result == 0 && ((before >= 0 && read_on(&reader, before) < 0) || (fd >= 0 && read_on(&reader, fd) < 0)))
        result = -1;
    if (result == 0 && values->follow)
        result = follow(&reader, path, &fd, ended_fd);

    int error = errno;

    bl_log_reader_end(&reader);
    errno = error;
    return result;
}

static int run(struct bl_cli *cli, void *data)
{
    const struct logs_values *values = data;
    struct bl_error err = BL_ERROR_INIT;
    const char *name = cli->operands.list[0];

    if (!bl_cli_open(cli))
        return BL_EXIT_FAILURE;

    cleanup_free char *path = bl_box_log_path(cli->runtime, name, values->vm ? "console" : "output", &err);
    struct watcher watcher = {cli, name, -1, -1};
    pthread_t thread;
    bool threaded = false;
    int result;

    if (!path)
        return bl_cli_fail(cli, &err);
    if (values->follow) {
        watcher.cancel_fd = eventfd(0, EFD_CLOEXEC);
        watcher.ended_fd = eventfd(0, EFD_CLOEXEC);
        threaded = watcher.cancel_fd >= 0 && watcher.ended_fd >= 0 && pthread_create(&thread, NULL, wait_for_end, &watcher) == 0;
        if (!threaded)
            bl_cli_complain("follow the log: %s", strerror(errno));
    }
    result = values->follow && !threaded ? BL_EXIT_FAILURE : print_log(values, path, watcher.ended_fd);
    if (result < 0 && errno != EPIPE)
        bl_cli_complain("print the log %s: %s", path, strerror(errno));
    if (result < 0)
        result = errno == EPIPE ? 128 + SIGPIPE : BL_EXIT_FAILURE;
    if (threaded) {
        const uint64_t one = 1;

        if (write(watcher.cancel_fd, &one, sizeof one) == (ssize_t)sizeof one)
            pthread_join(thread, NULL);
    }
    bl_close_fd(&watcher.cancel_fd);
    bl_close_fd(&watcher.ended_fd);
    return result;
}

static const struct bl_option options[] = {
    {"lines", 'n', BL_OPTION_NUMBER, "N", "Only the last N lines; 0: all (default)", offsetof(struct logs_values, lines),
     .most = 1LL << 40},
    {"follow", 'f', BL_OPTION_FLAG, NULL, "Go on until the box has ended", offsetof(struct logs_values, follow)},
    {"vm", 0, BL_OPTION_FLAG, NULL, "The console of the virtual machine instead", offsetof(struct logs_values, vm)},
    {NULL},
};

const struct bl_command bl_command_logs = {
    .name = "logs",
    .summary = "Show what a box's command printed",
    .usage = "[OPTIONS] BOX",
    .about = "What the command printed on standard output goes to standard output here, and likewise for errors.",
    .example = "boxlite logs -n 20 work\nboxlite logs -f work",
    .options = options,
    .values_bytes = sizeof(struct logs_values),
    .least_operands = 1,
    .most_operands = 1,
    .operands = "BOX",
    .run = run,
};
