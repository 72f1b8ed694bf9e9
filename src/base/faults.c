/* SPDX-License-Identifier: Apache-2.0 */
/* faults.c - calls that fail where a test says; see faults.h. Part of test builds only. */
#include "base/faults.h"

#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <string.h>
#include <unwind.h>

#include "base/os.h"

#define CALLERS        3           /* how many callers tell two ways to one helper apart */
#define STACK_MAX      (64 * 1024) /* a frame further up than this is none */
#define LINE_MAX_BYTES 256

/* What the environment asked for, read once. */
static struct {
    const char *log;
    const char *at;   /* a site, and perhaps "@" and a number */
    size_t at_length; /* of the site alone */
    int visit;        /* the how manieth call fails; 0: each */
    int error;        /* 0: a short read or write */
    char module[64];  /* the file name of the program or library that this copy is part of */
    char *base;       /* where it lies */
} faults;

extern char __ehdr_start[] __attribute__((visibility("hidden")));
extern char _end[] __attribute__((visibility("hidden")));

__attribute__((constructor)) static void read_environment(void)
{
    const char *number = getenv("BOXLITE_FAULT_ERRNO");
    Dl_info where;

    faults.base = __ehdr_start;
    if (!dladdr(__ehdr_start, &where) || !where.dli_fname)
        return;

    const char *slash = strrchr(where.dli_fname, '/');

    strncpy(faults.module, slash ? slash + 1 : where.dli_fname, sizeof faults.module - 1);
    faults.log = getenv("BOXLITE_FAULT_LOG");
    faults.at = getenv("BOXLITE_FAULT_AT");
    if (!faults.at)
        return;

    const char *visit = strchr(faults.at, '@');

    faults.at_length = visit ? (size_t)(visit - faults.at) : strlen(faults.at);
    faults.visit = visit ? atoi(visit + 1) : 0;
    faults.error = number ? atoi(number) : 0;
}

static char *append(char *to, const char *end, const char *text)
{
    while (to < end && *text)
        *to++ = *text++;
    return to;
}

static char *append_offset(char *to, const char *end, size_t offset)
{
    char digits[2 * sizeof offset + 1];
    char *at = digits + sizeof digits - 1;

    *at = '\0';
    do
        *--at = "0123456789abcdef"[offset & 15];
    while (offset >>= 4);
    return append(to, end, at);
}

static bool is_ours(const char *address)
{
    return address >= faults.base && address < _end;
}

static char *append_place(char *to, const char *end, const char *module, const char *base, const char *address)
{
    const char *slash = strrchr(module, '/');

    to = append(to, end, slash ? slash + 1 : module);
    to = append(to, end, "+");
    return append_offset(to, end, (size_t)(address - base));
}

struct library_site {
    char *to;
    const char *end;
    int seen; /* frames so far, from the one of the wrapper on */
};

/* add_frame() - One frame of a call that a library makes: its innermost one, and then the first of ours. */
static _Unwind_Reason_Code add_frame(struct _Unwind_Context *context, void *opaque)
{
    struct library_site *site = opaque;
    const char *address = (const char *)_Unwind_GetIP(context); /* NOLINT(performance-no-int-to-ptr) */
    Dl_info where;
    bool ours = is_ours(address);

    if (!site->seen && ours)
        return _URC_NO_REASON;
    if (!dladdr(address, &where) || !where.dli_fname)
        return _URC_END_OF_STACK;
    if (!site->seen || ours) {
        site->to = append(site->to, site->end, site->seen ? "/" : "");
        site->to = append_place(site->to, site->end, where.dli_fname, where.dli_fbase, address);
    }
    site->seen++;
    return site->seen > 1 && ours ? _URC_END_OF_STACK : _URC_NO_REASON;
}

/* name_site() - Where a call comes from. Return: length of what was written */
static size_t name_site(void *frame_of_call, char *site, size_t size)
{
    char **frame = frame_of_call;
    char *to = site, *end = site + size;
    char *caller = frame[1];

    if (!is_ours(caller)) {
        struct library_site library = {.to = site, .end = end};

        _Unwind_Backtrace(add_frame, &library);
        return (size_t)(library.to - site);
    }
    to = append(to, end, faults.module);
    for (int i = 0; i < CALLERS && is_ours(caller); i++) {
        to = append(to, end, i ? "." : "+");
        to = append_offset(to, end, (size_t)(caller - faults.base));

        char **above = (char **)(void *)frame[0];

        if (above <= frame || (uintptr_t)above % sizeof *above || (size_t)((char *)above - (char *)frame) > STACK_MAX)
            break;
        frame = above;
        caller = frame[1];
    }
    return (size_t)(to - site);
}

static void note(const char *what, const char *site, size_t length)
{
    char line[LINE_MAX_BYTES];
    char *to = append(line, line + sizeof line - length - 2, what);
    int fd = faults.log ? open(faults.log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600) : -1;

    if (fd < 0)
        return;
    *to++ = ' ';
    memcpy(to, site, length);
    to += length;
    *to++ = '\n';
    if (write(fd, line, (size_t)(to - line)) < 0)
        _exit(126);
    close(fd);
}

static bool is_wanted(const char *text, size_t length)
{
    return length == faults.at_length && memcmp(text, faults.at, length) == 0;
}

enum bl_fault bl_fault(const char *call, void *frame)
{
    static atomic_int visits;
    char site[LINE_MAX_BYTES / 2];
    int saved = errno;

    if (!faults.log && !faults.at)
        return BL_FAULT_NONE;

    size_t length = name_site(frame, site, sizeof site);
    enum bl_fault fault = BL_FAULT_NONE;

    if (!faults.at) {
        note(call, site, length);
    } else if (is_wanted(site, length) || is_wanted(call, strlen(call))) {
        int visit = atomic_fetch_add(&visits, 1) + 1;

        if (!faults.visit || faults.visit == visit) {
            note("failed", site, length);
            fault = faults.error ? BL_FAULT_FAIL : BL_FAULT_SHORT;
        }
    }
    errno = fault == BL_FAULT_FAIL ? faults.error : saved;
    return fault;
}

/* What stands in the table: the call, unless it is to fail. */
#define CALL(type, name, failure, real, arguments, ...)                                                                            \
    static type name##_or_fail(__VA_ARGS__)                                                                                        \
    {                                                                                                                              \
        return BL_FAULT(#name) == BL_FAULT_FAIL ? (failure) : real arguments;                                                      \
    }

/* The same for calls that move bytes, and may move fewer than they were asked to. */
#define MOVE(name, arguments, ...)                                                                                                 \
    static ssize_t name##_or_fail(__VA_ARGS__)                                                                                     \
    {                                                                                                                              \
        enum bl_fault fault = BL_FAULT(#name);                                                                                     \
                                                                                                                                   \
        if (fault == BL_FAULT_SHORT && length > 1)                                                                                 \
            length = 1;                                                                                                            \
        return fault == BL_FAULT_FAIL ? -1 : name arguments;                                                                       \
    }

/* The argument that a variadic call may have. */
#define LAST(type, before)                                                                                                         \
    ({                                                                                                                             \
        va_list more;                                                                                                              \
        va_start(more, before);                                                                                                    \
        type last = va_arg(more, type);                                                                                            \
        va_end(more);                                                                                                              \
        last;                                                                                                                      \
    })

static int open_or_fail(const char *path, int flags, ...)
{
    mode_t mode = flags & (O_CREAT | __O_TMPFILE) ? LAST(mode_t, flags) : 0;

    const char *name = strncmp(path, "/proc/", 6) == 0 ? "open-proc" : flags & O_CREAT ? "open-create" : "open";

    return BL_FAULT(name) == BL_FAULT_FAIL ? -1 : open(path, flags, mode);
}

static int openat_or_fail(int dir_fd, const char *path, int flags, ...)
{
    mode_t mode = flags & (O_CREAT | __O_TMPFILE) ? LAST(mode_t, flags) : 0;

    return BL_FAULT(flags & O_CREAT ? "openat-create" : "openat") == BL_FAULT_FAIL ? -1 : openat(dir_fd, path, flags, mode);
}

static int fcntl_or_fail(int fd, int command, ...)
{
    void *argument = LAST(void *, command);
    bool waits = command == F_SETLKW || command == F_OFD_SETLKW;
    const char *name = waits                                          ? "fcntl-wait"
                       : command == F_DUPFD_CLOEXEC                   ? "fcntl-dup"
                       : command == F_GETLK || command == F_OFD_GETLK ? "fcntl-look"
                       : command == F_SETLK || command == F_OFD_SETLK ? "fcntl-lock"
                                                                      : "fcntl";

    return BL_FAULT(name) == BL_FAULT_FAIL ? -1 : fcntl(fd, command, argument);
}

static ssize_t preadv2_or_fail(int fd, const struct iovec *parts, int count, off_t offset, int flags)
{
    enum bl_fault fault = BL_FAULT("preadv2");
    const struct iovec short_part = {.iov_base = parts->iov_base, .iov_len = 1};

    if (fault == BL_FAULT_SHORT && parts->iov_len)
        return bl_os_preadv2(fd, &short_part, 1, offset, flags);
    return fault == BL_FAULT_FAIL ? -1 : bl_os_preadv2(fd, parts, count, offset, flags);
}

static ssize_t pwritev_or_fail(int fd, const struct iovec *parts, int count, off_t offset)
{
    enum bl_fault fault = BL_FAULT("pwritev");
    const struct iovec short_part = {.iov_base = parts->iov_base, .iov_len = 1};

    if (fault == BL_FAULT_SHORT && parts->iov_len)
        return pwritev(fd, &short_part, 1, offset);
    return fault == BL_FAULT_FAIL ? -1 : pwritev(fd, parts, count, offset);
}

CALL(int, openat2, -1, bl_os_openat2, (dir_fd, path, how, size), int dir_fd, const char *path, const struct open_how *how,
     size_t size)
CALL(int, access, -1, access, (path, mode), const char *path, int mode)
CALL(int, faccessat, -1, faccessat, (dir_fd, path, mode, flags), int dir_fd, const char *path, int mode, int flags)
CALL(int, stat, -1, stat, (path, status), const char *path, struct stat *status)
CALL(int, fstat, -1, fstat, (fd, status), int fd, struct stat *status)
CALL(int, fstatat, -1, fstatat, (dir_fd, path, status, flags), int dir_fd, const char *path, struct stat *status, int flags)
CALL(int, fstatfs, -1, fstatfs, (fd, status), int fd, struct statfs *status)
CALL(int, fstatvfs, -1, fstatvfs, (fd, status), int fd, struct statvfs *status)
CALL(int, mkdir, -1, mkdir, (path, mode), const char *path, mode_t mode)
CALL(int, mkdirat, -1, mkdirat, (dir_fd, path, mode), int dir_fd, const char *path, mode_t mode)
CALL(int, mknodat, -1, mknodat, (dir_fd, path, mode, device), int dir_fd, const char *path, mode_t mode, dev_t device)
CALL(int, mkfifoat, -1, mkfifoat, (dir_fd, path, mode), int dir_fd, const char *path, mode_t mode)
CALL(int, linkat, -1, linkat, (from_fd, from, to_fd, to, flags), int from_fd, const char *from, int to_fd, const char *to,
     int flags)
CALL(int, symlinkat, -1, symlinkat, (target, dir_fd, path), const char *target, int dir_fd, const char *path)
CALL(ssize_t, readlinkat, -1, readlinkat, (dir_fd, path, target, size), int dir_fd, const char *path, char *target, size_t size)
CALL(int, renameat, -1, renameat, (from_fd, from, to_fd, to), int from_fd, const char *from, int to_fd, const char *to)
CALL(int, unlinkat, -1, unlinkat, (dir_fd, path, flags), int dir_fd, const char *path, int flags)
CALL(int, fchmod, -1, fchmod, (fd, mode), int fd, mode_t mode)
CALL(int, futimens, -1, futimens, (fd, times), int fd, const struct timespec times[2])
CALL(int, utimensat, -1, utimensat, (dir_fd, path, times, flags), int dir_fd, const char *path, const struct timespec times[2],
     int flags)
CALL(char *, realpath, NULL, realpath, (path, resolved), const char *path, char *resolved)
CALL(DIR *, opendir, NULL, opendir, (path), const char *path)
CALL(DIR *, fdopendir, NULL, fdopendir, (fd), int fd)
CALL(struct dirent *, readdir, NULL, readdir, (dir), DIR *dir)
MOVE(read, (fd, bytes, length), int fd, void *bytes, size_t length)
MOVE(write, (fd, bytes, length), int fd, const void *bytes, size_t length)
MOVE(pread, (fd, bytes, length, offset), int fd, void *bytes, size_t length, off_t offset)
MOVE(pwrite, (fd, bytes, length, offset), int fd, const void *bytes, size_t length, off_t offset)
CALL(off_t, lseek, -1, lseek, (fd, offset, whence), int fd, off_t offset, int whence)
CALL(int, ftruncate, -1, ftruncate, (fd, length), int fd, off_t length)
CALL(int, fallocate, -1, fallocate, (fd, mode, offset, length), int fd, int mode, off_t offset, off_t length)
CALL(int, fsync, -1, fsync, (fd), int fd)
CALL(int, fdatasync, -1, fdatasync, (fd), int fd)
CALL(int, sync_file_range, -1, sync_file_range, (fd, offset, length, flags), int fd, off_t offset, off_t length, unsigned flags)
CALL(int, flock, -1, flock, (fd, operation), int fd, int operation)
CALL(int, dup2, -1, dup2, (fd, to), int fd, int to)
CALL(int, pipe2, -1, pipe2, (fds, flags), int fds[2], int flags)
CALL(int, eventfd, -1, eventfd, (value, flags), unsigned value, int flags)
CALL(int, memfd_create, -1, memfd_create, (name, flags), const char *name, unsigned flags)
CALL(ssize_t, getrandom, -1, getrandom, (bytes, length, flags), void *bytes, size_t length, unsigned flags)
CALL(int, poll, -1, poll, (polled, count, timeout_ms), struct pollfd *polled, nfds_t count, int timeout_ms)
CALL(int, epoll_create1, -1, epoll_create1, (flags), int flags)
CALL(int, epoll_ctl, -1, epoll_ctl, (epoll_fd, operation, fd, event), int epoll_fd, int operation, int fd,
     struct epoll_event *event)
CALL(int, epoll_wait, -1, epoll_wait, (epoll_fd, events, count, timeout_ms), int epoll_fd, struct epoll_event *events, int count,
     int timeout_ms)
CALL(int, socket, -1, socket, (domain, type, protocol), int domain, int type, int protocol)
CALL(int, connect, -1, connect, (fd, address, length), int fd, const struct sockaddr *address, socklen_t length)
CALL(int, bind, -1, bind, (fd, address, length), int fd, const struct sockaddr *address, socklen_t length)
CALL(int, listen, -1, listen, (fd, backlog), int fd, int backlog)
MOVE(send, (fd, bytes, length, flags), int fd, const void *bytes, size_t length, int flags)
MOVE(recv, (fd, bytes, length, flags), int fd, void *bytes, size_t length, int flags)
CALL(pid_t, clone3, -1, bl_os_clone3, (args, size), struct clone_args *args, size_t size)
CALL(pid_t, fork, -1, fork, (), void)
CALL(int, execve, -1, execve, (path, argv, envp), const char *path, char *const argv[], char *const envp[])
CALL(int, waitid, -1, waitid, (type, id, info, options), idtype_t type, id_t id, siginfo_t *info, int options)
CALL(pid_t, waitpid, -1, waitpid, (pid, status, options), pid_t pid, int *status, int options)
CALL(int, pidfd_open, -1, bl_os_pidfd_open, (pid, flags), pid_t pid, unsigned flags)
CALL(int, pidfd_send_signal, -1, bl_os_pidfd_send_signal, (pidfd, number, info, flags), int pidfd, int number, siginfo_t *info,
     unsigned flags)
CALL(int, pthread_create, errno, pthread_create, (thread, attributes, run, opaque), pthread_t *thread,
     const pthread_attr_t *attributes, void *(*run)(void *), void *opaque)

/* An object that is not there has dlerror() say what it says. */
static void *dlopen_or_fail(const char *path, int flags)
{
    return dlopen(BL_FAULT("dlopen") == BL_FAULT_FAIL ? "/dev/null/none" : path, flags);
}

const struct bl_os bl_os = {
    .open = open_or_fail,
    .openat = openat_or_fail,
    .openat2 = openat2_or_fail,
    .access = access_or_fail,
    .faccessat = faccessat_or_fail,
    .stat = stat_or_fail,
    .fstat = fstat_or_fail,
    .fstatat = fstatat_or_fail,
    .fstatfs = fstatfs_or_fail,
    .fstatvfs = fstatvfs_or_fail,
    .mkdir = mkdir_or_fail,
    .mkdirat = mkdirat_or_fail,
    .mknodat = mknodat_or_fail,
    .mkfifoat = mkfifoat_or_fail,
    .linkat = linkat_or_fail,
    .symlinkat = symlinkat_or_fail,
    .readlinkat = readlinkat_or_fail,
    .renameat = renameat_or_fail,
    .unlinkat = unlinkat_or_fail,
    .fchmod = fchmod_or_fail,
    .futimens = futimens_or_fail,
    .utimensat = utimensat_or_fail,
    .realpath = realpath_or_fail,
    .opendir = opendir_or_fail,
    .fdopendir = fdopendir_or_fail,
    .readdir = readdir_or_fail,
    .read = read_or_fail,
    .write = write_or_fail,
    .pread = pread_or_fail,
    .pwrite = pwrite_or_fail,
    .preadv2 = preadv2_or_fail,
    .pwritev = pwritev_or_fail,
    .lseek = lseek_or_fail,
    .ftruncate = ftruncate_or_fail,
    .fallocate = fallocate_or_fail,
    .fsync = fsync_or_fail,
    .fdatasync = fdatasync_or_fail,
    .sync_file_range = sync_file_range_or_fail,
    .fcntl = fcntl_or_fail,
    .flock = flock_or_fail,
    .dup2 = dup2_or_fail,
    .pipe2 = pipe2_or_fail,
    .eventfd = eventfd_or_fail,
    .memfd_create = memfd_create_or_fail,
    .getrandom = getrandom_or_fail,
    .poll = poll_or_fail,
    .epoll_create1 = epoll_create1_or_fail,
    .epoll_ctl = epoll_ctl_or_fail,
    .epoll_wait = epoll_wait_or_fail,
    .socket = socket_or_fail,
    .connect = connect_or_fail,
    .bind = bind_or_fail,
    .listen = listen_or_fail,
    .send = send_or_fail,
    .recv = recv_or_fail,
    .clone3 = clone3_or_fail,
    .fork = fork_or_fail,
    .execve = execve_or_fail,
    .waitid = waitid_or_fail,
    .waitpid = waitpid_or_fail,
    .pidfd_open = pidfd_open_or_fail,
    .pidfd_send_signal = pidfd_send_signal_or_fail,
    .pthread_create = pthread_create_or_fail,
    .dlopen = dlopen_or_fail,
};

/*
 * Memory: the linker has every malloc() of our objects come here. What the wrapped functions of libc allocate themselves goes past
 * the wrapped malloc(), so each is wrapped.
 */
#define MEMORY(type, name, failure, arguments, ...)                                                                                \
    type __real_##name(__VA_ARGS__);                                                                                               \
    type __wrap_##name(__VA_ARGS__);                                                                                               \
    type __wrap_##name(__VA_ARGS__)                                                                                                \
    {                                                                                                                              \
        return BL_FAULT(#name) == BL_FAULT_FAIL ? (failure) : __real_##name arguments;                                             \
    }

MEMORY(void *, malloc, NULL, (size), size_t size)
MEMORY(void *, calloc, NULL, (count, size), size_t count, size_t size)
MEMORY(void *, realloc, NULL, (old, size), void *old, size_t size)
MEMORY(void *, reallocarray, NULL, (old, count, size), void *old, size_t count, size_t size)
MEMORY(char *, strdup, NULL, (text), const char *text)
MEMORY(char *, strndup, NULL, (text, length), const char *text, size_t length)
MEMORY(int, vasprintf, -1, (out, format, arguments_), char **out, const char *format, va_list arguments_)
