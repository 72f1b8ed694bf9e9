/* SPDX-License-Identifier: Apache-2.0 */
/*
 * main.c - boxlite-shim, the host process of one running box
 *
 * argv is exactly [program, box id]. The id says nothing secret: it is there so that /proc/<pid>/cmdline names the box, for the
 * runtime's bl_is_same_process(), which compares it for equality and relies on the name "boxlite-shim" as argv[0]'s base name.
 * Everything else comes on standard input (proto/launch.h) and is never written anywhere.
 *
 * The order matters: read and check the configuration; become a process of its own (session, limits, descriptors); take the lock;
 * only then touch the box's files and disks. A second shim of a box fails at the lock and changes nothing. Standard error is
 * logs/shim.log.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/crash.h"
#include "base/io.h"
#include "base/log.h"
#include "proto/launch.h"
#include "shim/answer.h"
#include "shim/box.h"
#include "shim/files.h"

#define READ_BYTES     65536
#define LOG_LINE_BYTES 2112 /* a line of bl_log(), its time and its level */

/* write_log() - From any thread, also one that may do little but write: a stream of the C library would ask for more. */
static void write_log(enum bl_log_level level, const char *line, void *data)
{
    char stamp[40], text[LOG_LINE_BYTES];
    struct timespec now;
    int length;
    struct tm utc;

    (void)data;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%S", &utc);
    length = snprintf(text, sizeof text, "%s.%03ldZ %s: %s\n", stamp, now.tv_nsec / 1000000, bl_log_level_name(level), line);
    if (length >= (int)sizeof text)
        length = sizeof text - 1;
    if (length > 0 && write(STDERR_FILENO, text, (size_t)length) < 0)
        return; /* nobody is left to be told */
}

/* read_document() - Read standard input, whatever it is, to its end. Return: 0; -1 with errno */
static int read_document(struct bl_buffer *document)
{
    for (;;) {
        size_t room = bl_buffer_room(document), want = room < READ_BYTES ? room : READ_BYTES;
        uint8_t *at = bl_buffer_reserve(document, want);
        ssize_t n = at && want ? bl_read_all(STDIN_FILENO, at, want) : -1;

        if (!at || !want)
            errno = at ? EFBIG : ENOMEM;
        if (n < 0)
            return -1;
        bl_buffer_commit(document, (size_t)n);
        if ((size_t)n < want)
            return 0;
    }
}

/* read_launch() - Read the configuration and take it apart. Return: 0; -1 with *@err */
static int read_launch(struct bl_launch *out, struct bl_error *err)
{
    cleanup_buffer struct bl_buffer document = BL_BUFFER_INIT(BL_LAUNCH_MAX + 1);
    int failed = read_document(&document);

    if (failed)
        bl_fail(err, BL_CONFIG, errno, "read the configuration from standard input");
    else
        failed = bl_launch_decode(bl_buffer_data(&document), document.length, out, err);
    /* It can hold secrets; what is needed of it was copied. */
    if (document.memory)
        explicit_bzero(document.memory, document.capacity);
    return failed;
}

/* take_fds() - Keep the descriptors that the configuration names, close all others. Return: 0; -1 with *@err */
static int take_fds(const struct bl_launch *launch, struct bl_error *err)
{
    int kept[] = {launch->ready_fd, launch->lifecycle_fd, launch->creator_fd};
    unsigned int from = STDERR_FILENO + 1;

    for (;;) {
        int next = -1;

        for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
            if (kept[i] >= (int)from && (next < 0 || kept[i] < next))
                next = kept[i];
        if (next < 0)
            break;
        if (next > (int)from)
            close_range(from, (unsigned int)next - 1, 0);
        if (fcntl(next, F_SETFD, FD_CLOEXEC) < 0)
            return bl_fail(err, BL_CONFIG, errno, "use descriptor %d, which the configuration names", next);
        from = (unsigned int)next + 1;
    }
    close_range(from, ~0u, 0);

    cleanup_close int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);

    if (null_fd < 0 || dup2(null_fd, STDIN_FILENO) < 0 || dup2(null_fd, STDOUT_FILENO) < 0)
        return bl_fail(err, BL_INTERNAL, errno, "open /dev/null");
    return 0;
}

/* become_own() - A session of its own, nothing to gain, nothing to dump, signals as descriptors. */
static void become_own(void)
{
    struct rlimit none = {0, 0};
    sigset_t watched;

    (void)setsid(); /* fails when we lead a group already, which is as good */
    umask(077);
    setrlimit(RLIMIT_CORE, &none);
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a limit on file sizes is an error like any other, for a guest's memory as for a log */
    sigemptyset(&watched);
    sigaddset(&watched, SIGTERM);
    sigaddset(&watched, SIGINT);
    sigaddset(&watched, SIGHUP);
    sigprocmask(SIG_SETMASK, &watched, NULL);
}

/* take_box() - Open the box's directory and become its owner. Return: descriptor; -1 with *@err */
static int take_box(const struct bl_launch *launch, struct bl_error *err)
{
    cleanup_close int dir_fd = open(launch->box_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (dir_fd < 0) {
        bl_fail(err, BL_STORAGE, errno, "open the box's directory %s", launch->box_dir);
        return -1;
    }
    if (bl_shim_lock(dir_fd, launch->box_id, err) < 0)
        return -1;
    BL_CRASH_POINT("shim:locked");
    if (unlinkat(dir_fd, BL_FILE_EXIT_REPORT, 0) < 0 && errno != ENOENT) {
        bl_fail(err, BL_STORAGE, errno, "remove the report of the run before, %s", BL_FILE_EXIT_REPORT);
        return -1;
    }
    BL_CRASH_POINT("shim:report-removed");
    if (bl_shim_write_pid(dir_fd, err) < 0)
        return -1;
    BL_CRASH_POINT("shim:pid-written");
    return bl_steal_fd(&dir_fd);
}

/* live() - All that follows a readable configuration. Return: exit code */
static int live(const char *id, const struct bl_launch *launch, int64_t started_us)
{
    struct bl_answer answer = {.ready_fd = launch->ready_fd, .lifecycle_fd = launch->lifecycle_fd};
    struct bl_error err = BL_ERROR_INIT;
    cleanup_close int dir_fd = -1;
    int failed = -1;

    if (!launch->box_id || strcmp(id, launch->box_id) != 0)
        bl_fail(&err, BL_CONFIG, 0, "the argument %.64s is not the box of the configuration, %.64s", id,
                launch->box_id ? launch->box_id : "none");
    else if (take_fds(launch, &err) == 0)
        dir_fd = take_box(launch, &err);
    if (dir_fd >= 0) {
        bl_log(BL_LOG_INFO, "shim of box %s, version %s", launch->box_id, BL_VERSION);
        failed = bl_box_live(launch, dir_fd, &answer, started_us);
        unlinkat(dir_fd, BL_FILE_CONTROL_SOCKET, 0);
        BL_CRASH_POINT("shim:socket-removed");
        unlinkat(dir_fd, BL_FILE_SHIM_PID, 0);
        BL_CRASH_POINT("shim:pid-removed");
    } else {
        bl_log(BL_LOG_ERROR, "%s", err.message);
        bl_answer_failed(&answer, err.code, 125, err.message);
    }
    bl_answer_finish(&answer);
    BL_CRASH_POINT("shim:finished");
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
    int64_t started_us = bl_now_us();
    struct bl_error err = BL_ERROR_INIT;
    struct bl_launch launch = {0};

    bl_log_set(write_log, NULL, BL_LOG_INFO);
    if (argc != 2) {
        bl_log(BL_LOG_ERROR, "usage: boxlite-shim BOX-ID < configuration; the boxlite library starts it, people do not");
        return 2;
    }
    become_own();
    BL_CRASH_POINT("shim:begun");
    if (read_launch(&launch, &err) < 0) {
        bl_log(BL_LOG_ERROR, "%s", err.message);
        return EXIT_FAILURE;
    }
    BL_CRASH_POINT("shim:configured");
    if (launch.debug)
        bl_log_set(write_log, NULL, BL_LOG_DEBUG);

    int code = live(argv[1], &launch, started_us);

    bl_launch_free(&launch);
    return code;
}
