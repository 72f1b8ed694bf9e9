/* SPDX-License-Identifier: Apache-2.0 */
/*
 * child.c - from a fork of the agent to the command; see child.h
 *
 * The order matters. Whatever needs the agent's file systems or full capabilities comes first; joining the box's namespaces
 * (or making them) next; the terminal, limits and the user after that, read from the box's own files; the command last. A copy of
 * the agent is inside the box's namespaces for that time: it is not dumpable (main.c), so nobody in the box can look into it
 * or open its program.
 */
#include "guest/child.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/strings.h"
#include "guest/command.h"
#include "guest/rootfs.h"
#include "guest/syscalls.h"
#include "guest/users.h"

#define OPEN_FILES_MAX 1048576
#define TTY_GROUP      5 /* as in the options of devpts */

int bl_child_report(const struct bl_child *child, const struct bl_report *report)
{
    return write(child->report_fd, report, sizeof *report) == sizeof *report ? 0 : -1;
}

_Noreturn void bl_child_fail(const struct bl_child *child, int exit_code, const struct bl_error *err)
{
    struct bl_report report = {.kind = BL_REPORT_FAILURE, .exit_code = exit_code, .error_number = err->sys_errno};

    snprintf(report.message, sizeof report.message, "%s", err->message);
    bl_child_report(child, &report);
    _exit(exit_code);
}

void bl_child_prepare(void)
{
    sigset_t none;

    for (int number = 1; number < NSIG; number++)
        signal(number, SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    setpriority(PRIO_PROCESS, 0, 0);
    setsid();
    umask(0022);

    cleanup_close int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

    if (fd >= 0)
        bl_write_all(fd, "0", 1);
}

/* bound_capabilities() - Nothing that this process executes gets others than @kept. Return: 0; -1 */
static int bound_capabilities(uint64_t kept, struct bl_error *err)
{
    for (int capability = 0; capability < 64; capability++) {
        if (kept >> capability & 1 || prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) == 0)
            continue;
        if (errno == EINVAL)
            break; /* past the last one that this kernel has */
        return bl_fail(err, BL_EXECUTION, errno, "drop the capability %d", capability);
    }
    return 0;
}

/* set_capabilities() - Those of this process itself; none is inheritable, so none is ambient. Return: 0; -1 */
static int set_capabilities(uint64_t kept, struct bl_error *err)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {
        {.effective = (uint32_t)kept, .permitted = (uint32_t)kept},
        {.effective = (uint32_t)(kept >> 32), .permitted = (uint32_t)(kept >> 32)},
    };

    if (syscall(SYS_capset, &header, data) < 0)
        return bl_fail(err, BL_EXECUTION, errno, "set the capabilities");
    return 0;
}

int bl_child_drop_capabilities(struct bl_error *err)
{
    return bound_capabilities(BL_CAPABILITIES_DEFAULT, err) < 0 || set_capabilities(BL_CAPABILITIES_DEFAULT, err) < 0 ? -1 : 0;
}

/* send_terminal() - Hand the master over. Return: 0; -1 with errno */
static int send_terminal(int report_fd, int master)
{
    struct bl_report report = {.kind = BL_REPORT_TERMINAL};
    struct iovec part = {.iov_base = &report, .iov_len = sizeof report};
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = control.space, .msg_controllen = sizeof control.space};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);

    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof master);
    memcpy(CMSG_DATA(header), &master, sizeof master);
    return sendmsg(report_fd, &message, MSG_NOSIGNAL) < 0 ? -1 : 0;
}

/*
 * make_terminal() - A terminal of the box's own devpts as controlling terminal and descriptors 0 to 2
 * TIOCGPTPEER opens the other side without a path, which somebody in the box could have replaced.
 */
static int make_terminal(const struct bl_child *child, uid_t owner, struct bl_error *err)
{
    cleanup_close int master = open("/dev/pts/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
    struct winsize size = {.ws_row = child->open->rows, .ws_col = child->open->columns};
    int unlocked = 0;

    if (master < 0 || ioctl(master, TIOCSPTLCK, &unlocked) < 0)
        return bl_fail(err, BL_EXECUTION, errno, "make a terminal in the box");

    cleanup_close int slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);

    if (slave < 0)
        return bl_fail(err, BL_EXECUTION, errno, "open the terminal in the box");
    if (size.ws_row && size.ws_col)
        ioctl(master, TIOCSWINSZ, &size);
    if (fchown(slave, owner, TTY_GROUP) < 0 || ioctl(slave, TIOCSCTTY, 0) < 0 || send_terminal(child->report_fd, master) < 0)
        return bl_fail(err, BL_EXECUTION, errno, "set the terminal up");
    for (int fd = 0; fd < 3; fd++)
        if (dup2(slave, fd) < 0)
            return bl_fail(err, BL_EXECUTION, errno, "use the terminal");
    return 0;
}

/* use_pipes() - Descriptors 0 to 2 without a terminal; pipes belong to the user, so that /dev/stdout can be opened again. */
static int use_pipes(const struct bl_child *child, const struct bl_user *user, struct bl_error *err)
{
    for (int fd = 0; fd < 3; fd++) {
        cleanup_close int null = child->stdio[fd] < 0 ? open("/dev/null", O_RDWR | O_CLOEXEC) : -1;
        int from = child->stdio[fd] < 0 ? null : child->stdio[fd];

        if (from < 0 || (child->stdio[fd] >= 0 && user->uid && fchown(from, user->uid, user->gid) < 0) || dup2(from, fd) < 0)
            return bl_fail(err, BL_EXECUTION, errno, "set descriptor %d up", fd);
    }
    return 0;
}

/* make_environment() - The command's environment: defaults, then the workload's, then its own. Return: list; NULL */
static char **make_environment(const struct bl_child *child, const struct bl_user *user)
{
    char **env = NULL;
    char *entries[3] = {bl_format("PATH=%s", BL_DEFAULT_PATH), bl_format("HOSTNAME=%s", child->hostname),
                        bl_format("HOME=%s", user->home)};
    bool failed = false;

    for (size_t i = 0; i < 3; i++)
        failed |= !entries[i] || bl_strings_append(&env, entries[i]) < 0;
    if (child->open->tty)
        failed |= bl_strings_append(&env, "TERM=xterm") < 0;
    for (char **entry = child->workload ? child->workload->env : NULL; entry && *entry; entry++)
        failed |= bl_strings_set_env(&env, *entry) < 0;
    for (char **entry = child->open->env; entry && *entry; entry++)
        failed |= bl_strings_set_env(&env, *entry) < 0;
    for (size_t i = 0; i < 3; i++)
        free(entries[i]);
    return failed ? NULL : env;
}

/* enter_directory() - The working directory; a workload's is made when it is missing, as Docker does. */
static int enter_directory(const struct bl_child *child, const struct bl_user *user, struct bl_error *err)
{
    const char *path = child->open->cwd ? child->open->cwd : child->workload && child->workload->cwd ? child->workload->cwd : "/";
    char part[BL_PATH_BYTES_MAX + 1];

    if (chdir(path) == 0)
        return 0;
    if (errno == ENOENT && !child->workload && path[0] == '/') {
        snprintf(part, sizeof part, "%s", path);
        for (char *slash = strchr(part + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
            *slash = '\0';
            mkdir(part, 0755);
            *slash = '/';
        }
        if (mkdir(part, 0755) == 0 && user->uid && chown(part, user->uid, user->gid) < 0)
            return bl_fail(err, BL_EXECUTION, errno, "give the working directory \"%s\" to its user", path);
        if (chdir(path) == 0)
            return 0;
    }
    return bl_fail(err, BL_EXECUTION, errno, "Execution error: change to the working directory \"%s\"", path);
}

/* capabilities_of() - What its command can have: its own word, the workload's, or the default. */
static uint64_t capabilities_of(const struct bl_child *child)
{
    if (child->open->has_capabilities)
        return child->open->capabilities;
    return child->workload && child->workload->has_capabilities ? child->workload->capabilities : BL_CAPABILITIES_DEFAULT;
}

/*
 * become_user() - Limits, capabilities, groups and ids, in the only order that works
 * The bounding set goes first, which takes SETPCAP, then the ids, which take SETUID and SETGID, then what this process has itself:
 * the command may be denied each of the three. Leaving root has emptied that set already.
 */
static int become_user(const struct bl_child *child, const struct bl_user *user, struct bl_error *err)
{
    uint64_t kept = capabilities_of(child);
    static const struct {
        int which;
        rlim_t most;
    } limits[] = {{RLIMIT_NOFILE, OPEN_FILES_MAX}, {RLIMIT_NPROC, RLIM_INFINITY}, {RLIMIT_CORE, 0}};

    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        struct rlimit limit = {limits[i].most, limits[i].which == RLIMIT_CORE ? RLIM_INFINITY : limits[i].most};

        if (setrlimit(limits[i].which, &limit) < 0)
            return bl_fail(err, BL_EXECUTION, errno, "set the resource limits");
    }
    if (bound_capabilities(kept, err) < 0)
        return -1;
    if (setgroups(user->group_count, user->groups) < 0 || setresgid(user->gid, user->gid, user->gid) < 0 ||
        setresuid(user->uid, user->uid, user->uid) < 0)
        return bl_fail(err, BL_EXECUTION, errno, "become user %u, group %u", user->uid, user->gid);
    return set_capabilities(user->uid ? 0 : kept, err);
}

/*
 * idle() - A PID 1 that does nothing but its duties: it reaps, and a signal that asks it to end does
 * The signals are blocked and waited for: the kernel would not deliver to a PID 1 what it has no handler for.
 */
static _Noreturn void idle(const struct bl_child *child)
{
    sigset_t all;

    prctl(PR_SET_NAME, "boxlite-idle");
    sigemptyset(&all);
    sigaddset(&all, SIGCHLD);
    sigaddset(&all, SIGTERM);
    sigaddset(&all, SIGINT);
    sigaddset(&all, SIGQUIT);
    sigaddset(&all, SIGHUP);
    if (child->open->stop_signal)
        sigaddset(&all, (int)child->open->stop_signal);
    sigprocmask(SIG_BLOCK, &all, NULL);
    /* The agent's descriptors go, as they would by executing a program; that tells the agent that this runs, so it comes last. */
    syscall(SYS_close_range, 0U, ~0U, 0);
    for (;;) {
        while (waitpid(-1, NULL, WNOHANG) > 0)
            ;

        int number = sigwaitinfo(&all, NULL);

        if (number > 0 && number != SIGCHLD)
            _exit(0);
    }
}

_Noreturn void bl_child_run(const struct bl_child *child)
{
    const struct bl_open *open_ = child->open;
    bool is_workload = child->workload_fd < 0;
    struct bl_error err = BL_ERROR_INIT;
    struct bl_user user = {.home = "/"};

    bl_child_prepare();
    if (is_workload) {
        if (bl_rootfs_enter(&err) < 0)
            bl_child_fail(child, BL_EXIT_CANNOT_START, &err);
        bl_rootfs_write_etc(child->hostname);
    } else if (setns(child->workload_fd, CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC) < 0) {
        bl_fail(&err, BL_EXECUTION, errno, "enter the box (its workload is ending)");
        bl_child_fail(child, BL_EXIT_CANNOT_START, &err);
    }

    cleanup_close int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    const char *spec = open_->user ? open_->user : child->workload ? child->workload->user : NULL;

    if (root < 0)
        bl_fail(&err, BL_EXECUTION, errno, "open the root of the box");
    if (root < 0 || bl_user_find(root, spec, &user, &err) < 0)
        bl_child_fail(child, BL_EXIT_NOT_EXECUTABLE, &err);
    if ((open_->tty ? make_terminal(child, user.uid, &err) : use_pipes(child, &user, &err)) < 0)
        bl_child_fail(child, BL_EXIT_CANNOT_START, &err);
    if (is_workload && open_->tty)
        bl_rootfs_console();

    char **env = make_environment(child, &user);

    if (!env) {
        bl_fail_memory(&err);
        bl_child_fail(child, BL_EXIT_CANNOT_START, &err);
    }
    if (enter_directory(child, &user, &err) < 0)
        bl_child_fail(child, BL_EXIT_NOT_EXECUTABLE, &err);
    if (!open_->args)
        user = (struct bl_user){.home = "/"};
    if (become_user(child, &user, &err) < 0)
        bl_child_fail(child, BL_EXIT_CANNOT_START, &err);
    if (!open_->args)
        idle(child);
    bl_child_fail(child, bl_command_exec(open_->args, env, &err), &err);
}
