/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store_faults.c - the calls of SQLite, and its memory, fail where a test says (base/faults.h)
 *
 * Part of test builds only: SQLite belongs to the whole program, so an ordinary build leaves it alone. (jansson, which could have
 * its memory fail as well, does not bear it: version 2.14 writes past a string that could not grow.)
 */
#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/faults.h"
#include "core/store.h"

#define CALL(name, arguments, ...)                                                                                                 \
    static int sqlite_##name(__VA_ARGS__)                                                                                          \
    {                                                                                                                              \
        return BL_FAULT("sqlite-" #name) == BL_FAULT_FAIL ? -1 : name arguments;                                                   \
    }

#define MOVE(name, arguments, ...)                                                                                                 \
    static ssize_t sqlite_##name(__VA_ARGS__)                                                                                      \
    {                                                                                                                              \
        enum bl_fault fault = BL_FAULT("sqlite-" #name);                                                                           \
                                                                                                                                   \
        if (fault == BL_FAULT_SHORT && length > 1)                                                                                 \
            length = 1;                                                                                                            \
        return fault == BL_FAULT_FAIL ? -1 : name arguments;                                                                       \
    }

CALL(open, (path, flags | O_CLOEXEC, mode), const char *path, int flags, int mode)
CALL(access, (path, mode), const char *path, int mode)
CALL(stat, (path, status), const char *path, struct stat *status)
CALL(lstat, (path, status), const char *path, struct stat *status)
CALL(fstat, (fd, status), int fd, struct stat *status)
CALL(ftruncate, (fd, length), int fd, off_t length)
CALL(fchmod, (fd, mode), int fd, mode_t mode)
CALL(unlink, (path), const char *path)
MOVE(read, (fd, bytes, length), int fd, void *bytes, size_t length)
MOVE(write, (fd, bytes, length), int fd, const void *bytes, size_t length)
MOVE(pread, (fd, bytes, length, offset), int fd, void *bytes, size_t length, off_t offset)
MOVE(pwrite, (fd, bytes, length, offset), int fd, const void *bytes, size_t length, off_t offset)

static int sqlite_fcntl(int fd, int command, ...)
{
    va_list more;

    va_start(more, command);

    void *argument = va_arg(more, void *);

    va_end(more);
    return BL_FAULT("sqlite-fcntl") == BL_FAULT_FAIL ? -1 : fcntl(fd, command, argument);
}

static void *sqlite_mmap(void *at, size_t length, int protection, int flags, int fd, off_t offset)
{
    return BL_FAULT("sqlite-mmap") == BL_FAULT_FAIL ? MAP_FAILED : mmap(at, length, protection, flags, fd, offset);
}

/* Under the names that SQLite has for them; a call that this SQLite does not make is not in its list. */
static const struct {
    const char *name;
    sqlite3_syscall_ptr call;
} calls[] = {
    {"open", (sqlite3_syscall_ptr)sqlite_open},     {"access", (sqlite3_syscall_ptr)sqlite_access},
    {"stat", (sqlite3_syscall_ptr)sqlite_stat},     {"lstat", (sqlite3_syscall_ptr)sqlite_lstat},
    {"fstat", (sqlite3_syscall_ptr)sqlite_fstat},   {"ftruncate", (sqlite3_syscall_ptr)sqlite_ftruncate},
    {"fchmod", (sqlite3_syscall_ptr)sqlite_fchmod}, {"unlink", (sqlite3_syscall_ptr)sqlite_unlink},
    {"read", (sqlite3_syscall_ptr)sqlite_read},     {"write", (sqlite3_syscall_ptr)sqlite_write},
    {"pread", (sqlite3_syscall_ptr)sqlite_pread},   {"pwrite", (sqlite3_syscall_ptr)sqlite_pwrite},
    {"pread64", (sqlite3_syscall_ptr)sqlite_pread}, {"pwrite64", (sqlite3_syscall_ptr)sqlite_pwrite},
    {"fcntl", (sqlite3_syscall_ptr)sqlite_fcntl},   {"mmap", (sqlite3_syscall_ptr)sqlite_mmap},
};

static sqlite3_mem_methods sqlite_memory;

static void *sqlite_malloc(int size)
{
    return BL_FAULT("sqlite-malloc") == BL_FAULT_FAIL ? NULL : sqlite_memory.xMalloc(size);
}

static void *sqlite_realloc(void *old, int size)
{
    return BL_FAULT("sqlite-realloc") == BL_FAULT_FAIL ? NULL : sqlite_memory.xRealloc(old, size);
}

void bl_store_take_faults(void)
{
    sqlite3_mem_methods ours;

    if (sqlite3_config(SQLITE_CONFIG_GETMALLOC, &sqlite_memory) != SQLITE_OK)
        return;
    ours = sqlite_memory;
    ours.xMalloc = sqlite_malloc;
    ours.xRealloc = sqlite_realloc;
    sqlite3_config(SQLITE_CONFIG_MALLOC, &ours);

    sqlite3_vfs *vfs = sqlite3_vfs_find(NULL);

    for (size_t i = 0; vfs && i < sizeof calls / sizeof *calls; i++)
        vfs->xSetSystemCall(vfs, calls[i].name, calls[i].call);
}
