/* SPDX-License-Identifier: Apache-2.0 */
/*
 * os.h - the one table through which the runtime asks the operating system
 *
 * Every call of base, core, disk and image that can fail for reasons outside of the program (no space, a broken disk, too many open
 * files, no memory, a signal) is written bl_os.openat(...), and a test makes each of them fail in turn (tests/torture). A call that
 * is not in the table yet is added here and in faults.c. scripts/check-calls finds those that go past it, and lists the few that do
 * so for a reason.
 *
 * In an ordinary build the table is a constant, so what is compiled is the call itself. A build with -Dcrash_points=true has the
 * table of faults.c instead, whose entries fail where BOXLITE_FAULT_AT says.
 *
 * Not in the table: close(), whose failure changes nothing (what must last was synced before); calls that can't fail, such as
 * getpid(), or the waking of a thread through an eventfd; and memory, which stays malloc() in the sources, since the test build has
 * the linker put faults.c before it.
 */
#ifndef BL_BASE_OS_H
#define BL_BASE_OS_H

#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

struct clone_args;
struct open_how;

/* Calls that libc has no function for, or only a newer one. */
static inline int bl_os_openat2(int dir_fd, const char *path, const struct open_how *how, size_t size)
{
    return (int)syscall(SYS_openat2, dir_fd, path, how, size);
}

static inline ssize_t bl_os_preadv2(int fd, const struct iovec *parts, int count, off_t offset, int flags)
{
    return syscall(SYS_preadv2, fd, parts, (long)count, (long)offset, 0L, flags); /* 0: no half of it is left */
}

static inline pid_t bl_os_clone3(struct clone_args *args, size_t size)
{
    return (pid_t)syscall(SYS_clone3, args, size);
}

static inline int bl_os_pidfd_open(pid_t pid, unsigned flags)
{
    return (int)syscall(SYS_pidfd_open, pid, flags);
}

static inline int bl_os_pidfd_send_signal(int pidfd, int number, siginfo_t *info, unsigned flags)
{
    return (int)syscall(SYS_pidfd_send_signal, pidfd, number, info, flags);
}

/* struct bl_os - The calls, each as its manual page has it. */
struct bl_os {
    /* Names and files. */
    int (*open)(const char *path, int flags, ...);
    int (*openat)(int dir_fd, const char *path, int flags, ...);
    int (*openat2)(int dir_fd, const char *path, const struct open_how *how, size_t size);
    int (*access)(const char *path, int mode);
    int (*faccessat)(int dir_fd, const char *path, int mode, int flags);
    int (*stat)(const char *path, struct stat *status);
    int (*fstat)(int fd, struct stat *status);
    int (*fstatat)(int dir_fd, const char *path, struct stat *status, int flags);
    int (*fstatfs)(int fd, struct statfs *status);
    int (*fstatvfs)(int fd, struct statvfs *status);
    int (*mkdir)(const char *path, mode_t mode);
    int (*mkdirat)(int dir_fd, const char *path, mode_t mode);
    int (*mknodat)(int dir_fd, const char *path, mode_t mode, dev_t device);
    int (*mkfifoat)(int dir_fd, const char *path, mode_t mode);
    int (*linkat)(int from_fd, const char *from, int to_fd, const char *to, int flags);
    int (*symlinkat)(const char *target, int dir_fd, const char *path);
    ssize_t (*readlinkat)(int dir_fd, const char *path, char *target, size_t size);
    int (*renameat)(int from_fd, const char *from, int to_fd, const char *to);
    int (*unlinkat)(int dir_fd, const char *path, int flags);
    int (*fchmod)(int fd, mode_t mode);
    int (*futimens)(int fd, const struct timespec times[2]);
    int (*utimensat)(int dir_fd, const char *path, const struct timespec times[2], int flags);
    char *(*realpath)(const char *path, char *resolved);
    DIR *(*opendir)(const char *path);
    DIR *(*fdopendir)(int fd);
    struct dirent *(*readdir)(DIR *dir);
    /* Content. */
    ssize_t (*read)(int fd, void *bytes, size_t length);
    ssize_t (*write)(int fd, const void *bytes, size_t length);
    ssize_t (*pread)(int fd, void *bytes, size_t length, off_t offset);
    ssize_t (*pwrite)(int fd, const void *bytes, size_t length, off_t offset);
    ssize_t (*preadv2)(int fd, const struct iovec *parts, int count, off_t offset, int flags);
    ssize_t (*pwritev)(int fd, const struct iovec *parts, int count, off_t offset);
    off_t (*lseek)(int fd, off_t offset, int whence);
    int (*ftruncate)(int fd, off_t length);
    int (*fallocate)(int fd, int mode, off_t offset, off_t length);
    int (*fsync)(int fd);
    int (*fdatasync)(int fd);
    int (*sync_file_range)(int fd, off_t offset, off_t length, unsigned flags);
    /* Locks and descriptors. */
    int (*fcntl)(int fd, int command, ...);
    int (*flock)(int fd, int operation);
    int (*dup2)(int fd, int to);
    int (*pipe2)(int fds[2], int flags);
    int (*eventfd)(unsigned value, int flags);
    int (*memfd_create)(const char *name, unsigned flags);
    ssize_t (*getrandom)(void *bytes, size_t length, unsigned flags);
    /* Waiting. */
    int (*poll)(struct pollfd *polled, nfds_t count, int timeout_ms);
    int (*epoll_create1)(int flags);
    int (*epoll_ctl)(int epoll_fd, int operation, int fd, struct epoll_event *event);
    int (*epoll_wait)(int epoll_fd, struct epoll_event *events, int count, int timeout_ms);
    /* Sockets. */
    int (*socket)(int domain, int type, int protocol);
    int (*connect)(int fd, const struct sockaddr *address, socklen_t length);
    int (*bind)(int fd, const struct sockaddr *address, socklen_t length);
    int (*listen)(int fd, int backlog);
    ssize_t (*send)(int fd, const void *bytes, size_t length, int flags);
    ssize_t (*recv)(int fd, void *bytes, size_t length, int flags);
    /* Processes, threads, objects. */
    pid_t (*clone3)(struct clone_args *args, size_t size);
    pid_t (*fork)(void);
    int (*execve)(const char *path, char *const argv[], char *const envp[]);
    int (*waitid)(idtype_t type, id_t id, siginfo_t *info, int options);
    pid_t (*waitpid)(pid_t pid, int *status, int options);
    int (*pidfd_open)(pid_t pid, unsigned flags);
    int (*pidfd_send_signal)(int pidfd, int number, siginfo_t *info, unsigned flags);
    int (*pthread_create)(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *opaque);
    void *(*dlopen)(const char *path, int flags);
};

#ifdef BL_CRASH_POINTS

extern const struct bl_os bl_os;

#else

__attribute__((unused)) static const struct bl_os bl_os = {
    .open = open,
    .openat = openat,
    .openat2 = bl_os_openat2,
    .access = access,
    .faccessat = faccessat,
    .stat = stat,
    .fstat = fstat,
    .fstatat = fstatat,
    .fstatfs = fstatfs,
    .fstatvfs = fstatvfs,
    .mkdir = mkdir,
    .mkdirat = mkdirat,
    .mknodat = mknodat,
    .mkfifoat = mkfifoat,
    .linkat = linkat,
    .symlinkat = symlinkat,
    .readlinkat = readlinkat,
    .renameat = renameat,
    .unlinkat = unlinkat,
    .fchmod = fchmod,
    .futimens = futimens,
    .utimensat = utimensat,
    .realpath = realpath,
    .opendir = opendir,
    .fdopendir = fdopendir,
    .readdir = readdir,
    .read = read,
    .write = write,
    .pread = pread,
    .pwrite = pwrite,
    .preadv2 = bl_os_preadv2,
    .pwritev = pwritev,
    .lseek = lseek,
    .ftruncate = ftruncate,
    .fallocate = fallocate,
    .fsync = fsync,
    .fdatasync = fdatasync,
    .sync_file_range = sync_file_range,
    .fcntl = fcntl,
    .flock = flock,
    .dup2 = dup2,
    .pipe2 = pipe2,
    .eventfd = eventfd,
    .memfd_create = memfd_create,
    .getrandom = getrandom,
    .poll = poll,
    .epoll_create1 = epoll_create1,
    .epoll_ctl = epoll_ctl,
    .epoll_wait = epoll_wait,
    .socket = socket,
    .connect = connect,
    .bind = bind,
    .listen = listen,
    .send = send,
    .recv = recv,
    .clone3 = bl_os_clone3,
    .fork = fork,
    .execve = execve,
    .waitid = waitid,
    .waitpid = waitpid,
    .pidfd_open = bl_os_pidfd_open,
    .pidfd_send_signal = bl_os_pidfd_send_signal,
    .pthread_create = pthread_create,
    .dlopen = dlopen,
};

#endif

#endif
