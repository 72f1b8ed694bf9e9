/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spawn.c - see spawn.h
 *
 * The child is made by clone3() with CLONE_PIDFD, so that its pidfd is there from its birth, however quickly a host program that
 * reaps everything may reap it. Between clone and exec the child of a threaded program may only make system calls that POSIX calls
 * async-signal-safe: everything else, memory included, is prepared before.
 */
#include "core/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/crash.h"
#include "base/io.h"
#include "base/os.h"
#include "base/strings.h"

#define FIRST_SPARE_FD 16 /* where descriptors wait until they are moved; above all fixed numbers */
#define LAST_SIGNAL    64
#define DEFAULT_PATH   "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

/* Everything that the child needs, ready for use. */
struct child_plan {
    const char *path;
    char *const *argv;
    char *const *envp;
    int config_fd, null_fd, log_fd, ready_fd, lifecycle_fd, creator_fd; /* all at least FIRST_SPARE_FD; creator_fd may be -1 */
};

/*
 * make_argv() - The command line: the program and the box's id, and nothing else
 *
 * bl_is_same_process() in core/identity.c recognises a shim by exactly this: change them together.
 */
static void make_argv(const struct bl_spawn_request *request, char **argv)
{
    /* execve() does not write to them; its prototype predates const. */
    memcpy(&argv[0], &request->shim, sizeof argv[0]);
    memcpy(&argv[1], &request->id, sizeof argv[1]);
    argv[2] = NULL;
}

/* make_environment() - What a shim and its emulator may need to find their files. Return: allocated; NULL when memory ran out */
static char **make_environment(void)
{
    static const char *const kept[] = {"PATH",
                                       "HOME",
                                       "LD_LIBRARY_PATH",
                                       "TMPDIR",
                                       "BOXLITE_RUNTIME_DIR",
                                       "BOXLITE_QEMU",
                                       BL_CRASH_VARIABLES "BOXLITE_QEMU_ACCEL"};
    char **list = bl_strings_copy(NULL);

    for (size_t i = 0; list && i < sizeof kept / sizeof *kept; i++) {
        const char *value = getenv(kept[i]);

        if (!value && i == 0)
            value = DEFAULT_PATH;
        if (!value)
            continue;

        cleanup_free char *entry = bl_format("%s=%s", kept[i], value);

        if (!entry || bl_strings_append(&list, entry) < 0) {
            bl_strings_free(list);
            return NULL;
        }
    }
    return list;
}

/* make_config() - The document in memory of its own, to be read from its start. Return: descriptor; -1 with errno */
static int make_config(const struct bl_buffer *document)
{
    cleanup_close int fd = bl_os.memfd_create("boxlite-config", MFD_CLOEXEC);

    if (fd < 0 || bl_write_all(fd, bl_buffer_data(document), document->length) < 0 || bl_os.lseek(fd, 0, SEEK_SET) < 0)
        return -1;
    BL_CRASH_POINT("start:configuration-written");
    return bl_steal_fd(&fd);
}

/* spare() - A copy that the child's moves don't hit. Return: descriptor; -1 with errno, which is left alone when there is no @fd */
static int spare(int fd)
{
    return fd < 0 ? -1 : bl_os.fcntl(fd, F_DUPFD_CLOEXEC, FIRST_SPARE_FD);
}

/* give_up() - Say on the ready pipe why the program could not be executed, without printf(), and end. */
__attribute__((noreturn)) static void give_up(int ready_fd, int error)
{
    char text[sizeof BL_SPAWN_NO_EXEC + 16] = BL_SPAWN_NO_EXEC;
    size_t length = strlen(text);
    char digits[12];
    int count = 0;

    do
        digits[count++] = (char)('0' + error % 10);
    while (error /= 10);
    while (count)
        text[length++] = digits[--count];
    text[length++] = '\n';
    _exit(bl_os.write(ready_fd, text, length) < 0 ? 126 : 127);
}

/* run_child() - The child's side; never returns. */
__attribute__((noreturn)) static void run_child(const struct child_plan *plan)
{
    struct sigaction plain = {.sa_handler = SIG_DFL};
    sigset_t none;
    const int moves[][2] = {
        {plan->config_fd, STDIN_FILENO},
        {plan->null_fd, STDOUT_FILENO},
        {plan->log_fd, STDERR_FILENO},
        {plan->ready_fd, BL_SHIM_READY_FD},
        {plan->lifecycle_fd, BL_SHIM_LIFECYCLE_FD},
        {plan->creator_fd, BL_SHIM_CREATOR_FD},
    };

    /* Its own session from the first moment: a Ctrl-C at the terminal is for the program that started it. */
    setsid();
    BL_CRASH_POINT("start:child-alone");
    for (size_t i = 0; i < sizeof moves / sizeof *moves; i++) {
        if (moves[i][0] < 0)
            close(moves[i][1]);
        else if (bl_os.dup2(moves[i][0], moves[i][1]) < 0)
            give_up(plan->ready_fd, errno);
    }
    if (syscall(SYS_close_range, BL_SHIM_CREATOR_FD + 1, ~0u, 0) < 0)
        for (int fd = BL_SHIM_CREATOR_FD + 1; fd < 65536; fd++)
            close(fd);
    for (int number = 1; number <= LAST_SIGNAL; number++)
        sigaction(number, &plain, NULL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    umask(077);
    if (chdir("/") < 0)
        give_up(BL_SHIM_READY_FD, errno);
    BL_CRASH_POINT("start:child-placed");
    bl_os.execve(plan->path, plan->argv, plan->envp);
    give_up(BL_SHIM_READY_FD, errno);
}

/* make_child() - fork() that also yields a pidfd. Return: pid; 0 in the child; -1 with errno */
static pid_t make_child(int *pidfd)
{
    struct clone_args args = {.flags = CLONE_PIDFD, .pidfd = (uint64_t)(uintptr_t)pidfd, .exit_signal = SIGCHLD};
    pid_t pid = bl_os.clone3(&args, sizeof args);

    if (pid >= 0 || errno != ENOSYS)
        return pid;
    /* A filter that does not know clone3() says that it does not exist. */
    pid = bl_os.fork();
    if (pid > 0) {
        *pidfd = bl_os.pidfd_open(pid, 0);
        if (*pidfd < 0) {
            int saved = errno;

            kill(pid, SIGKILL);
            errno = saved;
            return -1;
        }
    }
    return pid;
}

int bl_spawn(const struct bl_spawn_request *request, struct bl_spawned *out, struct bl_error *err)
{
    char *argv[3];
    int pipe_fds[2];
    sigset_t all, before;

    make_argv(request, argv);

    cleanup_strings char **environment = make_environment();

    if (!environment)
        return bl_fail_memory(err);
    if (bl_os.pipe2(pipe_fds, O_CLOEXEC) < 0)
        return bl_fail(err, BL_RESOURCE_EXHAUSTED, errno, "make a pipe for the shim");

    cleanup_close int ready = pipe_fds[0];
    cleanup_close int ready_end = pipe_fds[1];
    cleanup_close int config = make_config(request->document);
    cleanup_close int null = bl_os.open("/dev/null", O_WRONLY | O_CLOEXEC);
    cleanup_close int spare_config = spare(config), spare_null = spare(null), spare_log = spare(request->log_fd);
    cleanup_close int spare_ready = spare(ready_end), spare_lifecycle = spare(request->lifecycle_fd);
    cleanup_close int spare_creator = request->creator_fd >= 0 ? spare(request->creator_fd) : -1;

    if (spare_config < 0 || spare_null < 0 || spare_log < 0 || spare_ready < 0 || spare_lifecycle < 0 ||
        (request->creator_fd >= 0 && spare_creator < 0))
        return bl_fail(err, BL_RESOURCE_EXHAUSTED, errno, "prepare the shim's descriptors");

    const struct child_plan plan = {
        .path = request->shim,
        .argv = argv,
        .envp = environment,
        .config_fd = spare_config,
        .null_fd = spare_null,
        .log_fd = spare_log,
        .ready_fd = spare_ready,
        .lifecycle_fd = spare_lifecycle,
        .creator_fd = spare_creator,
    };
    int pidfd = -1;

    /* No handler of the host program may run in the child. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);

    pid_t pid = make_child(&pidfd);

    if (pid == 0)
        run_child(&plan);

    int saved = errno;

    BL_CRASH_POINT("start:child-made");
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (pid < 0)
        return bl_fail(err, BL_RESOURCE_EXHAUSTED, saved, "make a process for the shim");
    *out = (struct bl_spawned){.pid = pid, .pidfd = pidfd, .ready_fd = bl_steal_fd(&ready)};
    return 0;
}
