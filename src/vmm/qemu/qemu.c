/* SPDX-License-Identifier: Apache-2.0 */
/*
 * qemu.c - QEMU as a child process
 *
 * The child is forked from the process's main thread and gets SIGKILL when that thread ends (PR_SET_PDEATHSIG), whatever ended
 * it; the parent is checked once the signal is set, since it may have died before. No credentials change after it, which would
 * clear it. QEMU starts with the descriptors it needs and no others, an environment of two variables, and our core limit and
 * no_new_privs.
 *
 * Three descriptors watch the child: a pidfd for its end, its standard error for the reason (the last line is kept), and QMP for
 * how a guest ended. The pidfd decides; the others are read out after it.
 *
 * A VM is saved and loaded by what QEMU calls a migration, to and from a file, without its memory, which is shared with us (the
 * capability x-ignore-shared). It is not stopped before: QEMU does that itself at the end, and remembers that it had run, so that
 * the one that loads the state goes on by itself.
 */
#include "vmm/qemu/qemu.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/crash.h"
#include "base/io.h"
#include "base/log.h"
#include "base/strings.h"
#include "vmm/qemu/arguments.h"
#include "vmm/qemu/qmp.h"

#define STDERR_BYTES_MAX  8192 /* kept of what QEMU says; the first bytes go when more comes */
#define CHILD_FDS_MAX     (BL_QEMU_FD_DISKS + BL_ENGINE_DISKS_MAX)
#define CHILD_FDS_PARKING 64 /* above all numbers that the child's descriptors shall have */

struct qemu {
    struct bl_engine engine;
    struct bl_engine_events events;
    void *data;
    pid_t pid; /* 0: reaped */
    bool stopping;
    bool saves;               /* saved() is owed */
    bool loads;               /* a state was given to it, and not taken over yet */
    char refused[256];        /* why it was not */
    struct bl_source process; /* the pidfd */
    struct bl_source errors;  /* QEMU's standard output and error */
    struct bl_buffer said;
    struct bl_qmp qmp;
};

/* drain_errors() - Read what QEMU said, keep the end of it. */
static void drain_errors(struct qemu *qemu)
{
    uint8_t bytes[2048];

    while (qemu->errors.fd >= 0) {
        ssize_t n = read(qemu->errors.fd, bytes, sizeof bytes);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return;
        if (n <= 0) {
            bl_source_remove(&qemu->errors);
            bl_close_fd(&qemu->errors.fd);
            return;
        }
        if ((size_t)n > bl_buffer_room(&qemu->said))
            bl_buffer_consume(&qemu->said, (size_t)n);
        bl_buffer_append(&qemu->said, bytes, (size_t)n);
    }
}

static void on_errors(struct bl_source *source, uint32_t events)
{
    (void)events;
    drain_errors(source->data);
}

/* last_line() - The last line that QEMU said, without its own name in front. */
static void last_line(struct qemu *qemu, char *out, size_t size)
{
    const char *at = (const char *)bl_buffer_data(&qemu->said);
    size_t end = qemu->said.length, start;

    while (end && (at[end - 1] == '\n' || at[end - 1] == '\r'))
        end--;
    for (start = end; start && at[start - 1] != '\n';)
        start--;
    snprintf(out, size, "%.*s", (int)(end - start), end ? at + start : "");

    char *colon = strstr(out, ": ");

    if (colon && memchr(out, ' ', (size_t)(colon - out)) == NULL)
        memmove(out, colon + 2, strlen(colon + 2) + 1);
}

/* describe_end() - Why QEMU ended by itself, for people. */
static void describe_end(struct qemu *qemu, const siginfo_t *status, char *out, size_t size)
{
    char line[256];

    last_line(qemu, line, sizeof line);
    if (status->si_code == CLD_EXITED)
        snprintf(out, size, "the emulator (QEMU) ended with code %d: %s", status->si_status, line[0] ? line : "it said nothing");
    else if (status->si_status == SIGKILL)
        snprintf(out, size, "the emulator (QEMU) was killed, or the host ran out of memory");
    else
        snprintf(out, size, "the emulator (QEMU) was ended by signal %d (%s)%s%s", status->si_status, strsignal(status->si_status),
                 line[0] ? ": " : "", line);
}

static void on_process(struct bl_source *source, uint32_t events)
{
    struct qemu *qemu = source->data;
    siginfo_t status = {0};
    char message[BL_ENGINE_MESSAGE_MAX] = "";
    enum bl_engine_end how = BL_ENGINE_END_FAILED;

    (void)events;
    if (waitid(P_PIDFD, (id_t)source->fd, &status, WEXITED | WNOHANG) < 0 && errno == EINTR)
        return;
    if (!status.si_pid)
        return;
    qemu->pid = 0;
    bl_source_remove(&qemu->process);
    drain_errors(qemu);
    bl_qmp_drain(&qemu->qmp);
    if (qemu->stopping)
        how = BL_ENGINE_END_KILLED;
    else if (qemu->refused[0])
        snprintf(message, sizeof message, "the emulator (QEMU) does not take the saved state over: %s", qemu->refused);
    else if (status.si_code == CLD_EXITED && status.si_status == 0)
        how = BL_ENGINE_END_GUEST;
    else
        describe_end(qemu, &status, message, sizeof message);
    bl_log(BL_LOG_DEBUG, "qemu ended: %s", message[0] ? message : qemu->stopping ? "as asked" : "by the guest");
    qemu->events.ended(how, message, qemu->data);
}

static void signal_process(const struct qemu *qemu, int number)
{
    if (qemu->pid && syscall(SYS_pidfd_send_signal, qemu->process.fd, number, NULL, 0) < 0)
        bl_log(BL_LOG_WARN, "signal %d to qemu: %s", number, strerror(errno));
}

static void qemu_stop(struct bl_engine *engine, enum bl_engine_stop how)
{
    struct qemu *qemu = (struct qemu *)engine;

    qemu->stopping = true;
    signal_process(qemu, how == BL_ENGINE_KILL ? SIGKILL : SIGTERM);
    BL_CRASH_POINT("shim:engine-told");
}

static void qemu_free(struct bl_engine *engine)
{
    struct qemu *qemu = (struct qemu *)engine;

    if (qemu->pid) {
        signal_process(qemu, SIGKILL);
        while (waitid(P_PIDFD, (id_t)qemu->process.fd, &(siginfo_t){0}, WEXITED) < 0 && errno == EINTR)
            ;
    }
    bl_source_remove(&qemu->process);
    bl_source_remove(&qemu->errors);
    bl_close_fd(&qemu->process.fd);
    bl_close_fd(&qemu->errors.fd);
    bl_qmp_finish(&qemu->qmp);
    bl_buffer_free(&qemu->said);
    free(qemu);
}

/* end_save() - Tell the owner, once. */
static void end_save(struct qemu *qemu, const char *error)
{
    if (!qemu->saves)
        return;
    qemu->saves = false;
    qemu->events.saved(error, qemu->data);
}

static void on_refused(const char *reason, void *data)
{
    struct qemu *qemu = data;

    if (qemu->loads && !qemu->refused[0]) {
        snprintf(qemu->refused, sizeof qemu->refused, "%s", reason);
        signal_process(qemu, SIGKILL);
    }
    end_save(qemu, reason);
}

static void on_migrated(bool completed, void *data)
{
    struct qemu *qemu = data;

    /* A state that can't be loaded is QEMU's end. */
    qemu->loads = qemu->loads && !completed;
    end_save(qemu, completed ? NULL : "the emulator could not write it");
}

#define CAPABILITIES                                                                                                               \
    "{\"execute\":\"migrate-set-capabilities\",\"arguments\":{\"capabilities\":["                                                  \
    "{\"capability\":\"x-ignore-shared\",\"state\":true},{\"capability\":\"events\",\"state\":true}]}}\n"
#define GETFD "{\"execute\":\"getfd\",\"arguments\":{\"fdname\":\"state\"}}\n"

static int qemu_save(struct bl_engine *engine, int fd, struct bl_error *err)
{
    static const char commands[] = GETFD CAPABILITIES "{\"execute\":\"migrate\",\"arguments\":{\"uri\":\"fd:state\"}}\n";
    struct qemu *qemu = (struct qemu *)engine;

    if (bl_qmp_send(&qemu->qmp, commands, fd) < 0)
        return bl_fail(err, BL_ENGINE, errno, "tell the emulator to save the VM");
    qemu->saves = true;
    return 0;
}

static int qemu_load(struct bl_engine *engine, int fd, struct bl_error *err)
{
    static const char commands[] = GETFD CAPABILITIES "{\"execute\":\"migrate-incoming\",\"arguments\":{\"uri\":\"fd:state\"}}\n";
    struct qemu *qemu = (struct qemu *)engine;

    if (bl_qmp_send(&qemu->qmp, commands, fd) < 0)
        return bl_fail(err, BL_ENGINE, errno, "tell the emulator to load a saved VM");
    qemu->loads = true;
    return 0;
}

static int qemu_resume(struct bl_engine *engine, struct bl_error *err)
{
    struct qemu *qemu = (struct qemu *)engine;

    if (bl_qmp_send(&qemu->qmp, "{\"execute\":\"cont\"}\n", -1) == 0)
        return 0;
    return bl_fail(err, BL_ENGINE, errno, "tell the emulator to go on");
}

static const struct bl_engine_ops qemu_ops = {
    .name = "qemu", .resume = qemu_resume, .save = qemu_save, .load = qemu_load, .stop = qemu_stop, .free = qemu_free};

/* child_fail() - In the child: say why on standard error, which the parent keeps, and end. */
__attribute__((noreturn)) static void child_fail(const char *what)
{
    char text[256];
    int n = snprintf(text, sizeof text, "can't start: %s: %s\n", what, strerror(errno));

    if (n > 0)
        (void)!write(STDERR_FILENO, text, (size_t)n);
    _exit(127);
}

/*
 * place_fds() - In the child: give each descriptor its number, and close all others
 * @fds: by the number that each shall have; changed
 */
static int place_fds(int *fds, int count)
{
    for (int i = 0; i < count; i++) {
        fds[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, CHILD_FDS_PARKING);
        if (fds[i] < 0)
            return -1;
    }
    for (int i = 0; i < count; i++)
        if (dup2(fds[i], i) < 0)
            return -1;
    return close_range((unsigned int)count, ~0u, 0);
}

/* run_child() - In the child: become QEMU. */
__attribute__((noreturn)) static void run_child(pid_t parent, char **argv, int *fds, int count)
{
    char *const environment[] = {(char *)(uintptr_t) "PATH=/usr/bin:/bin", (char *)(uintptr_t) "LC_ALL=C.UTF-8", NULL};
    sigset_t none;

    sigemptyset(&none);
    signal(SIGPIPE, SIG_DFL);
    sigprocmask(SIG_SETMASK, &none, NULL);
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
        child_fail("setting the death signal");
    if (getppid() != parent)
        _exit(127);
    BL_CRASH_POINT("engine:child-bound");
    if (place_fds(fds, count) < 0)
        child_fail("placing descriptors");
    BL_CRASH_POINT("engine:child-placed");
    execve(argv[0], argv, environment);
    child_fail(argv[0]);
}

/* fork_qemu() - Return: pid, and *@pidfd; -1 with errno */
static pid_t fork_qemu(char **argv, const struct bl_engine_config *config, int qmp_fd, int error_fd, int *pidfd)
{
    cleanup_close int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    int memory_fd = config->memory_fd < 0 ? null_fd : config->memory_fd;
    int fds[CHILD_FDS_MAX] = {null_fd, error_fd, error_fd, qmp_fd, config->agent_fd, config->console_fd, memory_fd};
    pid_t parent = getpid();

    if (null_fd < 0)
        return -1;
    for (size_t i = 0; i < config->disk_count; i++)
        fds[BL_QEMU_FD_DISKS + i] = config->disks[i].fd;

    pid_t pid = fork();

    if (pid == 0)
        run_child(parent, argv, fds, BL_QEMU_FD_DISKS + (int)config->disk_count);
    if (pid < 0)
        return -1;
    BL_CRASH_POINT("shim:engine-forked");
    *pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (*pidfd >= 0)
        return pid;

    int saved = errno;

    kill(pid, SIGKILL);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
    errno = saved;
    return -1;
}

/* watch() - Watch a new child. Return: 0; -1 with errno; the descriptors are taken */
static int watch(struct qemu *qemu, struct bl_loop *loop, int pidfd, int error_fd, int qmp_fd)
{
    qemu->process = (struct bl_source){.fd = pidfd, .events = EPOLLIN, .ready = on_process, .data = qemu};
    qemu->errors = (struct bl_source){.fd = error_fd, .events = EPOLLIN, .ready = on_errors, .data = qemu};
    if (bl_qmp_init(&qemu->qmp, loop, qmp_fd) < 0 || bl_set_nonblocking(error_fd) < 0)
        return -1;
    qemu->qmp.refused = on_refused;
    qemu->qmp.migrated = on_migrated;
    qemu->qmp.data = qemu;
    return bl_source_add(loop, &qemu->process) < 0 ? -1 : bl_source_add(loop, &qemu->errors);
}

int bl_qemu_start(struct bl_loop *loop, const struct bl_engine_choice *choice, const struct bl_engine_config *config,
                  const struct bl_engine_events *events, void *data, struct bl_engine **out, struct bl_error *err)
{
    cleanup_strings char **argv = bl_qemu_arguments(choice, config, choice->kvm || config->loads ? 0 : bl_qemu_tsc_khz());
    struct qemu *qemu = calloc(1, sizeof *qemu);
    int errors[2] = {-1, -1}, qmp[2] = {-1, -1}, pidfd = -1, failed = -1;

    if (!argv || !qemu || config->disk_count > BL_ENGINE_DISKS_MAX) {
        free(qemu);
        return bl_fail_memory(err);
    }
    *qemu = (struct qemu){
        .engine.ops = &qemu_ops,
        .events = *events,
        .data = data,
        .process.fd = -1,
        .errors.fd = -1,
        .qmp.source.fd = -1,
        .said = BL_BUFFER_INIT(STDERR_BYTES_MAX),
    };
    if (pipe2(errors, O_CLOEXEC) == 0 && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, qmp) == 0)
        qemu->pid = fork_qemu(argv, config, qmp[1], errors[1], &pidfd);
    if (qemu->pid > 0)
        failed = watch(qemu, loop, pidfd, bl_steal_fd(&errors[0]), bl_steal_fd(&qmp[0]));
    if (failed)
        bl_fail(err, BL_ENGINE, errno, "start %s", choice->program);
    for (int i = 0; i < 2; i++) {
        bl_close_fd(&errors[i]);
        bl_close_fd(&qmp[i]);
    }
    if (failed) {
        if (qemu->pid < 0)
            qemu->pid = 0;
        qemu_free(&qemu->engine);
        return -1;
    }
    atomic_store(&qemu->engine.moments.running_us, bl_now_us());
    bl_log(BL_LOG_DEBUG, "qemu started, pid %d", (int)qemu->pid);
    *out = &qemu->engine;
    return 0;
}
