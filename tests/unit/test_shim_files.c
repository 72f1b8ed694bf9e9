/* SPDX-License-Identifier: Apache-2.0 */
/* test_shim_files.c - what a shim writes: output log, kept output, console, exit report, shim.pid, and its lock */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/strings.h"
#include "shim/answer.h"
#include "shim/console.h"
#include "shim/files.h"
#include "shim/kept.h"
#include "shim/output_log.h"
#include "shim/report.h"

struct place {
    char path[64];
    int fd;
};

static int set_up(void **state)
{
    struct place *place = calloc(1, sizeof *place);

    assert_non_null(place);
    snprintf(place->path, sizeof place->path, "/tmp/boxlite-shim-XXXXXX");
    assert_non_null(mkdtemp(place->path));
    place->fd = open(place->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    *state = place;
    return place->fd < 0 ? -1 : 0;
}

static int tear_down(void **state)
{
    struct place *place = *state;

    close(place->fd);
    assert_int_equal(bl_remove_tree(AT_FDCWD, place->path), 0);
    free(place);
    return 0;
}

/* content() - A file as text. Return: allocated */
static char *content(const struct place *place, const char *name)
{
    struct bl_buffer bytes = BL_BUFFER_INIT(64u << 20);

    assert_int_equal(bl_read_file(place->fd, name, &bytes), 0);
    assert_int_equal(bl_buffer_append(&bytes, "", 1), 0);
    return (char *)bytes.memory;
}

/* joined() - A log's output of one channel, put together again. Return: allocated */
static char *joined(const char *log, const char *channel)
{
    struct bl_buffer out = BL_BUFFER_INIT(64u << 20);

    for (const char *at = log; *at;) {
        const char *end = strchr(at, '\n');
        char stamp[40], name[8], mark;
        int head = 0;

        assert_non_null(end);
        assert_int_equal(sscanf(at, "%39s %7s %c%n", stamp, name, &mark, &head), 3);
        assert_int_equal(strlen(stamp), strlen("2026-01-31T12:00:00.000000000Z"));
        if (strcmp(name, channel) == 0) {
            bl_buffer_append(&out, at + head + 1, (size_t)(end - at) - (size_t)head - 1);
            if (mark == 'F')
                bl_buffer_append(&out, "\n", 1);
        }
        at = end + 1;
    }
    bl_buffer_append(&out, "", 1);
    return (char *)out.memory;
}

static void test_output_log_gives_the_bytes_back(void **state)
{
    struct place *place = *state;
    struct bl_output_log log;
    char long_line[3 * BL_OUTPUT_LINE_MAX + 7];

    memset(long_line, 'x', sizeof long_line);
    assert_int_equal(bl_output_log_open(&log, place->fd, "output.log", BL_OUTPUT_LOG_MAX), 0);
    bl_output_log_add(&log, BL_CHANNEL_STDOUT, "one\ntw", 6);
    bl_output_log_add(&log, BL_CHANNEL_STDERR, "error\n", 6);
    bl_output_log_add(&log, BL_CHANNEL_STDOUT, "o\n\n", 3);
    bl_output_log_add(&log, BL_CHANNEL_STDOUT, long_line, sizeof long_line);
    bl_output_log_add(&log, BL_CHANNEL_STDOUT, "\n", 1);
    /* A line that fills a part exactly ends with it. */
    bl_output_log_add(&log, BL_CHANNEL_STDOUT, long_line, BL_OUTPUT_LINE_MAX);
    bl_output_log_add(&log, BL_CHANNEL_STDOUT, "\nno end", 7);
    bl_output_log_close(&log);

    cleanup_free char *text = content(place, "output.log");
    cleanup_free char *out = joined(text, "stdout");
    cleanup_free char *err = joined(text, "stderr");
    cleanup_free char *wanted =
        bl_format("one\ntwo\n\n%.*s\n%.*s\nno end", (int)sizeof long_line, long_line, BL_OUTPUT_LINE_MAX, long_line);

    assert_string_equal(out, wanted);
    assert_string_equal(err, "error\n");
    assert_non_null(strstr(text, " stdout F two\n"));
    assert_non_null(strstr(text, " stdout P no end\n"));
}

static void test_output_log_is_bounded(void **state)
{
    struct place *place = *state;
    struct bl_output_log log;
    struct stat now, before;
    char line[100];

    memset(line, 'y', sizeof line);
    line[sizeof line - 1] = '\n';
    assert_int_equal(bl_output_log_open(&log, place->fd, "output.log", 10000), 0);
    for (int i = 0; i < 1000; i++) {
        snprintf(line, 8, "%07d", i);
        line[7] = ' ';
        bl_output_log_add(&log, BL_CHANNEL_STDOUT, line, sizeof line);
    }
    bl_output_log_close(&log);
    assert_int_equal(fstatat(place->fd, "output.log", &now, 0), 0);
    assert_int_equal(fstatat(place->fd, "output.log.1", &before, 0), 0);
    assert_true(now.st_size <= 10000 && before.st_size <= 10000 && before.st_size > 9000);

    cleanup_free char *text = content(place, "output.log");

    assert_non_null(strstr(text, "0000999 "));

    /* A restart goes on where the file ends. */
    assert_int_equal(bl_output_log_open(&log, place->fd, "output.log", 10000), 0);
    assert_int_equal(log.written, now.st_size);
    bl_output_log_close(&log);
}

/* What a replay handed over. */
struct replay {
    char text[2 * BL_KEPT_MAX];
    size_t length;
};

static void take(void *data, enum bl_channel channel, const void *bytes, size_t length)
{
    struct replay *replay = data;

    /* Each byte as two: its channel and itself. */
    for (size_t i = 0; i < length; i++) {
        replay->text[replay->length++] = (char)('0' + channel);
        replay->text[replay->length++] = ((const char *)bytes)[i];
    }
}

static void test_kept_output_keeps_order_and_end(void **state)
{
    cleanup_free struct replay *replay = calloc(1, sizeof *replay);
    struct bl_kept kept;
    const size_t total = BL_KEPT_MAX + 1000;

    (void)state;
    assert_non_null(replay);
    bl_kept_init(&kept);
    /* Single bytes, the channels taking turns in an uneven way, more than is kept. */
    for (size_t i = 0; i < total; i++) {
        char byte = (char)('a' + i % 26);

        bl_kept_add(&kept, i % 7 < 3 ? BL_CHANNEL_STDOUT : BL_CHANNEL_STDERR, &byte, 1);
    }
    assert_int_equal(kept.bytes, BL_KEPT_MAX);
    bl_kept_take(&kept, take, replay);
    assert_int_equal(replay->length, 2 * BL_KEPT_MAX);
    for (size_t i = 1000; i < total; i++) {
        assert_int_equal(replay->text[2 * (i - 1000)], i % 7 < 3 ? '1' : '2');
        assert_int_equal(replay->text[2 * (i - 1000) + 1], 'a' + i % 26);
    }

    /* Taken is taken; and one addition may be longer than all that is kept. */
    cleanup_free char *much = calloc(2, BL_KEPT_MAX);

    replay->length = 0;
    bl_kept_take(&kept, take, replay);
    assert_int_equal(replay->length, 0);
    memset(much + BL_KEPT_MAX, 'z', BL_KEPT_MAX);
    bl_kept_add(&kept, BL_CHANNEL_STDOUT, much, 2 * BL_KEPT_MAX);
    bl_kept_take(&kept, take, replay);
    assert_int_equal(replay->length, 2 * BL_KEPT_MAX);
    assert_null(memchr(replay->text, '\0', replay->length));
    bl_kept_free(&kept);
}

static void test_console(void **state)
{
    struct place *place = *state;
    struct bl_console console;
    struct bl_loop loop;
    char line[64];
    int fds[2];

    assert_int_equal(bl_loop_init(&loop), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    assert_int_equal(bl_console_init(&console, &loop, fds[0], openat(place->fd, "console.log", O_CREAT | O_RDWR | O_CLOEXEC, 0600)),
                     0);
    assert_int_equal(bl_write_all(fds[1], "first\n\0\x1b[31mlast\r\n \n", 20), 0);
    assert_int_equal(bl_loop_step(&loop, 60000), 0);
    bl_console_drain(&console);
    bl_console_last_line(&console, line, sizeof line);
    assert_string_equal(line, "??[31mlast");
    /* More than the log holds, in pieces that a socket takes. */
    for (size_t sent = 0; sent < BL_CONSOLE_LOG_MAX + 100000; sent += 8192) {
        char piece[8192];

        memset(piece, 'c', sizeof piece);
        piece[sizeof piece - 1] = '\n';
        assert_int_equal(bl_write_all(fds[1], piece, sizeof piece), 0);
        bl_console_drain(&console);
    }
    assert_int_equal(strlen(bl_console_tail(&console)), BL_CONSOLE_TAIL_BYTES);
    close(fds[1]);
    bl_console_drain(&console);
    bl_console_finish(&console);
    bl_loop_finish(&loop);

    struct stat log;

    assert_int_equal(fstatat(place->fd, "console.log", &log, 0), 0);
    assert_true(log.st_size <= BL_CONSOLE_LOG_MAX);
}

static void test_report(void **state)
{
    struct place *place = *state;
    char console[4000] = "";
    struct bl_report report = {
        .type = BL_REPORT_SIGNAL, .exit_code = 137, .signal = 9, .oom = true, .ready = true, .console = console};

    for (int i = 0; i < 40; i++)
        snprintf(console + strlen(console), sizeof console - strlen(console), "line %d \x80\xff\x1b\r\n", i);
    snprintf(report.message, sizeof report.message, "why \xff \"quoted\"");
    assert_int_equal(bl_report_write(place->fd, &report, NULL), 0);

    cleanup_free char *text = content(place, "exit.json");
    json_t *root = json_loads(text, 0, NULL);
    const json_t *lines = json_object_get(root, "console");
    struct stat file;

    assert_non_null(root);
    assert_string_equal(json_string_value(json_object_get(root, "type")), "signal");
    assert_int_equal(json_integer_value(json_object_get(root, "exit_code")), 137);
    assert_int_equal(json_integer_value(json_object_get(root, "signal")), 9);
    assert_true(json_is_true(json_object_get(root, "oom")));
    assert_true(json_is_false(json_object_get(root, "timed_out")));
    assert_string_equal(json_string_value(json_object_get(root, "message")), "why ? \"quoted\"");
    assert_int_equal(strlen(json_string_value(json_object_get(root, "boot_id"))), BL_BOOT_ID_BYTES - 1);
    assert_int_equal(json_array_size(lines), BL_REPORT_CONSOLE_LINES);
    assert_string_equal(json_string_value(json_array_get(lines, BL_REPORT_CONSOLE_LINES - 1)), "line 39 ???");
    json_decref(root);
    assert_int_equal(fstatat(place->fd, "exit.json", &file, 0), 0);
    assert_int_equal(file.st_mode & 0777, 0600);

    /* Without a signal and without a console, and over the one before. */
    report = (struct bl_report){.type = BL_REPORT_WORKLOAD};
    assert_int_equal(bl_report_write(place->fd, &report, NULL), 0);

    cleanup_free char *again = content(place, "exit.json");

    root = json_loads(again, 0, NULL);
    assert_null(json_object_get(root, "signal"));
    assert_int_equal(json_array_size(json_object_get(root, "console")), 0);
    json_decref(root);
}

/* in_child() - Run a check in a process of its own, since locks of this kind belong to processes. Return: its exit code */
static int in_child(int (*check)(const struct place *), const struct place *place)
{
    pid_t pid = fork();
    int status = 0;

    assert_true(pid >= 0);
    if (pid == 0)
        _exit(check(place));
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static int try_lock(const struct place *place)
{
    struct bl_error err = BL_ERROR_INIT;

    if (bl_shim_lock(place->fd, "box", &err) == 0)
        return 0;

    char *pid = bl_format("process %d", (int)getppid());
    int told = err.code == BL_INVALID_STATE && pid && strstr(err.message, pid);

    free(pid);
    return told ? 1 : 2;
}

static void test_one_shim_has_the_lock(void **state)
{
    struct place *place = *state;

    assert_int_equal(in_child(try_lock, place), 0); /* and it went with the child */
    assert_int_equal(bl_shim_lock(place->fd, "box", NULL), 0);
    assert_int_equal(in_child(try_lock, place), 1);
}

static void test_pid_file(void **state)
{
    struct place *place = *state;
    unsigned long long ticks = 0;
    char boot_id[BL_BOOT_ID_BYTES], wanted_boot_id[BL_BOOT_ID_BYTES];
    int pid = 0;

    assert_int_equal(bl_shim_write_pid(place->fd, NULL), 0);

    cleanup_free char *text = content(place, "shim.pid");

    assert_int_equal(sscanf(text, "%d\n%llu\n%36s\n", &pid, &ticks, boot_id), 3);
    bl_boot_id(wanted_boot_id);
    assert_int_equal(pid, getpid());
    assert_true(ticks > 0);
    assert_string_equal(boot_id, wanted_boot_id);
    assert_int_equal(faccessat(place->fd, ".shim.pid.new", F_OK, 0), -1);
}

static void test_disk_in_use(void **state)
{
    struct place *place = *state;
    cleanup_close int ours = openat(place->fd, "disk", O_CREAT | O_RDWR | O_CLOEXEC, 0600);
    cleanup_close int theirs = openat(place->fd, "disk", O_RDWR | O_CLOEXEC);
    struct flock elsewhere = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 99};
    struct flock qemu = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = 201, .l_len = 1};
    char user[96];

    assert_int_equal(bl_disk_in_use(ours, user, sizeof user), 0);
    assert_int_equal(fcntl(theirs, F_OFD_SETLK, &elsewhere), 0);
    assert_int_equal(bl_disk_in_use(ours, user, sizeof user), 0);
    assert_int_equal(fcntl(theirs, F_OFD_SETLK, &qemu), 0);
    assert_int_equal(bl_disk_in_use(ours, user, sizeof user), 1);
    assert_string_equal(user, "another process"); /* there is none but this one */
}

static void test_answer(void **state)
{
    struct place *place = *state;
    cleanup_close int probe = openat(place->fd, "lifecycle.lock", O_CREAT | O_RDWR | O_CLOEXEC, 0600);
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    char line[256] = "";
    int fds[2];

    for (size_t i = 0; i < 3; i++) {
        static const char *const lines[] = {"failed 12 125 because of this\n", "again engine no wheels\n",
                                            "ready 0 7 0 0 0 0 0 0 0 0 0\n"};
        struct bl_answer answer = {.lifecycle_fd = openat(place->fd, "lifecycle.lock", O_RDWR | O_CLOEXEC)};
        int copy = dup(answer.lifecycle_fd); /* as the starter has, and a forked child would */
        bool ready = i == 2;

        assert_int_equal(fcntl(answer.lifecycle_fd, F_OFD_SETLK, &lock), 0);
        assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
        answer.ready_fd = fds[1];
        assert_true(copy >= 0);
        if (i == 1)
            bl_answer_again(&answer, BL_AGAIN_ENGINE, "no\nwheels");
        if (ready)
            bl_answer_ready(&answer, &(struct bl_moments){.at_us = {[BL_MOMENT_SHIM] = 7}});
        bl_answer_failed(&answer, BL_ENGINE, 125, "because\nof\x1bthis");
        memset(line, 0, sizeof line);
        assert_true(bl_read_all(fds[0], line, sizeof line - 1) > 0); /* up to the end: it was closed */
        assert_string_equal(line, lines[i]);
        close(fds[0]);
        /* A failed start is guarded until all of it is gone, and by its starter until that is done with it. */
        assert_int_equal(fcntl(probe, F_OFD_SETLK, &lock), ready ? 0 : -1);
        bl_answer_finish(&answer);
        assert_int_equal(fcntl(probe, F_OFD_SETLK, &lock), ready ? 0 : -1);
        close(copy);
        assert_int_equal(fcntl(probe, F_OFD_SETLK, &lock), 0);
        lock.l_type = F_UNLCK;
        assert_int_equal(fcntl(probe, F_OFD_SETLK, &lock), 0);
        lock.l_type = F_WRLCK;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_output_log_gives_the_bytes_back, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_output_log_is_bounded, set_up, tear_down),
        cmocka_unit_test(test_kept_output_keeps_order_and_end),
        cmocka_unit_test_setup_teardown(test_console, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_report, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_one_shim_has_the_lock, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_pid_file, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_disk_in_use, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_answer, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
