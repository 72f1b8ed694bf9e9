/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stand-in-shim.c - what the library takes for a boxlite-shim, without a machine behind it
 *
 * It keeps the contract of proto/launch.h: takes its configuration from standard input, holds shim.lock and the disk's lock for its
 * life, listens on control.sock, answers on the ready pipe, unlocks the lifecycle lock. The first word of its workload says how it
 * misbehaves:
 *
 *     (none)      it runs until it is told to stop, and leaves a report
 *     early       it logs a line and exits with 3 before it answers
 *     killed      it dies of SIGKILL before it answers
 *     fail        it answers "failed 10 127 no such command"
 *     internal    it answers "failed 1 125 a bug in here"
 *     babble      it runs, and answers every connection with what is no frame
 *     hangup      it runs, and closes every connection at once
 *     flood       it runs, and answers every command with 20,000 bytes of output, each in a frame of its own, and an exit
 *     again       while templates are wanted it answers "again template kind.template"; else it runs
 *     again-away  the same with a template of a name that leads elsewhere
 *     again-once  the same, and says of no template that it is of no use to others
 *     again-fail  the same, but without templates it answers "failed 10 127 no such command"
 *     again-ever  it answers so in any case
 *     slow        while KVM is not refused it answers "again engine no wheels", after a template was given up; else it runs
 *     hang        it never answers
 *     garbage     it answers nonsense
 *     lockless    it runs without holding shim.lock
 *     deaf        it runs, and hears neither STOP nor SIGTERM
 *     done        it runs for a moment, and leaves the report that the workload exited with 7
 *     crash       it runs for a moment, and leaves the report of a crash
 *     outlived    it runs; a child of it holds the disk until the file "let-go" in the box's directory is there
 *
 * What it was given (arguments, environment, descriptors, signals) it writes to logs/stand-in.log. With STAND_IN_PAUSE in the
 * environment it does nothing but wait for the end of its standard input.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "core/identity.h"
#include "proto/launch.h"

/*
 * Under the address sanitizer: no search for leaks at the end. It runs in a process of its own with this one's command line, which
 * outlives this one for a moment when it is killed, and would be taken for a shim that was left behind.
 */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "detect_leaks=0";
}

static struct bl_launch launch;
static size_t document_bytes;
static int box_fd = -1;

static void die(const char *what)
{
    fprintf(stderr, "stand-in: %s: %s\n", what, strerror(errno));
    exit(99);
}

static void read_configuration(const char *id)
{
    struct bl_buffer document = BL_BUFFER_INIT(BL_LAUNCH_MAX);
    struct bl_error err = BL_ERROR_INIT;

    if (bl_read_file(AT_FDCWD, "/dev/stdin", &document) < 0)
        die("read the configuration");
    if (bl_launch_decode(bl_buffer_data(&document), document.length, &launch, &err) < 0 || strcmp(launch.box_id, id) != 0) {
        fprintf(stderr, "stand-in: %s\n", err.message);
        exit(98);
    }
    document_bytes = document.length;
    bl_buffer_free(&document);
    box_fd = open(launch.box_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (box_fd < 0)
        die("open the box");
}

/* write_down() - What this process was given. */
static void write_down(int argc, char **argv, char **envp)
{
    int fd = openat(box_fd, "logs/stand-in.log", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    FILE *out = fdopen(fd, "w");
    DIR *fds = opendir("/proc/self/fd");
    sigset_t mask;

    for (int i = 0; i < argc; i++)
        fprintf(out, "arg %s\n", argv[i]);
    for (char **entry = envp; *entry; entry++)
        fprintf(out, "env %s\n", *entry);
    for (struct dirent *entry; (entry = readdir(fds));)
        if (atoi(entry->d_name) != fd && atoi(entry->d_name) != dirfd(fds) && atoi(entry->d_name) != box_fd &&
            entry->d_name[0] != '.')
            fprintf(out, "fd %s.\n", entry->d_name);
    sigprocmask(SIG_SETMASK, NULL, &mask);
    for (int number = 1; number < 32; number++) {
        struct sigaction action;

        if (sigismember(&mask, number))
            fprintf(out, "blocked %d\n", number);
        if (sigaction(number, NULL, &action) == 0 && action.sa_handler == SIG_IGN)
            fprintf(out, "ignored %d\n", number);
    }
    fprintf(out, "session %d\n", getsid(0) == getpid());
    fprintf(out, "document %zu\n", document_bytes);
    closedir(fds);
    fclose(out);
}

static int hold_shim_lock(void)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    int fd = openat(box_fd, BL_FILE_SHIM_LOCK, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

    if (fd < 0 || fcntl(fd, F_SETLK, &lock) < 0)
        die("take shim.lock");
    return fd;
}

static int hold_disk(void)
{
    struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = 100, .l_len = 1};
    int fd = openat(box_fd, BL_FILE_OVERLAY, O_RDWR);

    if (fd < 0 || fcntl(fd, F_OFD_SETLK, &lock) < 0)
        die("lock the disk");
    return fd;
}

static void write_pid(void)
{
    char text[256];
    uint64_t ticks = 0;

    bl_process_start_ticks(getpid(), &ticks, NULL);

    int length = snprintf(text, sizeof text, "%d\n%llu\n%s\n", getpid(), (unsigned long long)ticks, bl_boot_id());

    if (bl_write_file(box_fd, BL_FILE_SHIM_PID, text, (size_t)length, 0600) < 0)
        die("write shim.pid");
}

static void answer(const char *line)
{
    struct flock unlock = {.l_type = F_UNLCK, .l_whence = SEEK_SET};

    if (write(launch.ready_fd, line, strlen(line)) < 0)
        die("answer");
    close(launch.ready_fd);
    fcntl(launch.lifecycle_fd, F_OFD_SETLK, &unlock);
    close(launch.lifecycle_fd);
}

/* leave_to_another() - As a shim whose template, or whose KVM, was of no use: the lifecycle lock stays locked. */
static int leave_to_another(const char *mode)
{
    const char *line = strcmp(mode, "again-away") == 0   ? BL_AGAIN_TEMPLATE "../away.template\n"
                       : strcmp(mode, "again-once") == 0 ? BL_AGAIN_TEMPLATE "\n"
                       : strcmp(mode, "slow") == 0       ? BL_AGAIN_ENGINE "no wheels\n"
                                                         : BL_AGAIN_TEMPLATE "kind.template\n";

    return write(launch.ready_fd, line, strlen(line)) < 0;
}

static void report(const char *text)
{
    if (bl_write_file(box_fd, BL_FILE_EXIT_REPORT, text, strlen(text), 0600) < 0)
        die("write the report");
}

static void report_stop(int number)
{
    (void)number;
    report("{\"version\":1,\"type\":\"stopped\",\"exit_code\":143,\"console\":[]}");
    _exit(0);
}

/* outlive() - A child that holds the disk until it is told to let go, and hears nothing else. */
static void outlive(int disk)
{
    if (fork() != 0)
        return;

    int watch = inotify_init1(IN_CLOEXEC);
    char event[4096];

    setsid();
    inotify_add_watch(watch, launch.box_dir, IN_CREATE | IN_MOVED_TO | IN_DELETE_SELF);
    while (faccessat(box_fd, "let-go", F_OK, 0) < 0 && faccessat(box_fd, BL_FILE_LIFECYCLE_LOCK, F_OK, 0) == 0)
        if (read(watch, event, sizeof event) < 0)
            break;
    close(disk);
    _exit(0);
}

/* misbehave() - Connections are answered with garbage, or with nothing, until a signal ends this. */
static _Noreturn void misbehave(int listener, bool babbles)
{
    static const char garbage[] = "this is no frame, and long enough to be seen as none";

    for (;;) {
        struct pollfd waiting = {.fd = listener, .events = POLLIN};

        if (poll(&waiting, 1, -1) < 0)
            continue;

        int client = accept(listener, NULL, NULL);

        if (client >= 0 && babbles && write(client, garbage, sizeof garbage) > 0) {
            char byte;

            while (read(client, &byte, 1) > 0)
                ;
        }
        if (client >= 0)
            close(client);
    }
}

/* flood() - Commands that print much in small pieces, until a signal ends this. */
static _Noreturn void flood(int listener)
{
    for (;;) {
        struct bl_buffer out = BL_BUFFER_INIT(1 << 20);
        const struct bl_hello hello = {.version = BL_PROTO_VERSION, .oldest = BL_PROTO_OLDEST_VERSION};
        const struct bl_exit ended = {.code = 0};
        struct bl_buffer exit_fields = BL_BUFFER_INIT(1024);
        struct pollfd waiting = {.fd = listener, .events = POLLIN};
        char byte;

        if (poll(&waiting, 1, -1) < 0)
            continue;

        int client = accept(listener, NULL, NULL), failed = bl_hello_append(&out, &hello);

        failed |= bl_exit_encode(&exit_fields, &ended);
        failed |= bl_frame_append(&out, BL_FRAME_OPENED, 0, 1, NULL, 0);
        for (int i = 0; i < 20000; i++) {
            byte = (char)('a' + i % 26);
            failed |= bl_frame_append(&out, BL_FRAME_DATA, BL_CHANNEL_STDOUT, 1, &byte, 1);
        }
        failed |= bl_frame_append(&out, BL_FRAME_EXIT, 0, 1, bl_buffer_data(&exit_fields), exit_fields.length);
        if (!failed && bl_write_all(client, bl_buffer_data(&out), out.length) == 0)
            while (read(client, &byte, 1) > 0)
                ;
        close(client);
        bl_buffer_free(&out);
        bl_buffer_free(&exit_fields);
    }
}

/* serve() - Until a STOP comes. A connection gets our HELLO, and what it sends is looked at no further than that. */
static void serve(int listener, bool deaf)
{
    for (;;) {
        struct pollfd waiting = {.fd = listener, .events = POLLIN};
        struct bl_buffer in = BL_BUFFER_INIT(1 << 20);

        if (poll(&waiting, 1, -1) < 0)
            continue;

        int client = accept(listener, NULL, NULL);

        for (;;) {
            struct bl_frame frame;
            size_t used = 0;
            uint8_t *room = bl_buffer_reserve(&in, 4096);
            ssize_t n = read(client, room, 4096);

            if (n <= 0)
                break;
            bl_buffer_commit(&in, (size_t)n);
            while (bl_frame_next(&in, &frame, &used) > 0) {
                if (frame.type == BL_FRAME_STOP && !deaf)
                    report_stop(0);
                bl_buffer_consume(&in, used);
            }
        }
        close(client);
        bl_buffer_free(&in);
    }
}

int main(int argc, char **argv, char **envp)
{
    char byte;

    if (getenv("STAND_IN_PAUSE")) {
        while (read(STDIN_FILENO, &byte, 1) > 0)
            ;
        return 0;
    }
    if (argc != 2)
        return 97;
    read_configuration(argv[1]);
    write_down(argc, argv, envp);

    const char *mode = launch.workload.args && launch.workload.args[0] ? launch.workload.args[0] : "run";
    bool deaf = strcmp(mode, "deaf") == 0;

    if (strcmp(mode, "early") == 0) {
        fprintf(stderr, "first line\nthe engine has no wheels\n");
        return 3;
    }
    if (strcmp(mode, "killed") == 0)
        raise(SIGKILL);
    if (strcmp(mode, "lockless") != 0)
        hold_shim_lock();
    if (strcmp(mode, "fail") == 0 || (strcmp(mode, "again-fail") == 0 && !launch.templates)) {
        answer("failed 10 127 no such command\n");
        return 0;
    }
    if (strcmp(mode, "internal") == 0) {
        answer("failed 1 125 a bug in here\n");
        return 0;
    }
    if (strcmp(mode, "slow") == 0 && (launch.templates || !launch.kvm_refused))
        return leave_to_another(launch.templates ? "again" : "slow");
    if (strncmp(mode, "again", 5) == 0 && (launch.templates || strcmp(mode, "again-ever") == 0))
        return leave_to_another(mode);
    if (strcmp(mode, "garbage") == 0) {
        answer("\1\2 mumble mumble\n");
        pause();
    }
    if (strcmp(mode, "hang") == 0)
        pause();

    int disk = hold_disk();
    int listener = bl_unix_listen(box_fd, BL_FILE_CONTROL_SOCKET);

    if (strcmp(mode, "outlived") == 0)
        outlive(disk);
    signal(SIGTERM, deaf ? SIG_IGN : report_stop);
    write_pid();
    answer("ready\n");
    if (strcmp(mode, "done") == 0) {
        report("{\"version\":1,\"type\":\"workload\",\"exit_code\":7}");
        return 0;
    }
    if (strcmp(mode, "crash") == 0) {
        report("{\"version\":1,\"type\":\"panic\",\"message\":\"kernel panic\",\"console\":[\"BUG: \\u001b[31mred\",\"end\"]}");
        return 0;
    }
    if (strcmp(mode, "babble") == 0 || strcmp(mode, "hangup") == 0)
        misbehave(listener, strcmp(mode, "babble") == 0);
    if (strcmp(mode, "flood") == 0)
        flood(listener);
    serve(listener, deaf);
}
