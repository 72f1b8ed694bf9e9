/* SPDX-License-Identifier: Apache-2.0 */
/* files.c - lock, shim.pid, disks, and who uses them; see files.h */
#include "shim/files.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/crash.h"
#include "base/io.h"

/* QEMU locks byte 100 + n for a permission it uses and 200 + n for one it forbids others; block/file-posix.c, RAW_LOCK_*_BASE. */
#define DISK_LOCK_START 100
#define DISK_LOCK_BYTES 200

int bl_shim_lock(int dir_fd, const char *box_id, struct bl_error *err)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    /* Kept open for the life of the process, on purpose: see files.h. */
    int fd = openat(dir_fd, BL_FILE_SHIM_LOCK, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

    if (fd < 0)
        return bl_fail(err, BL_STORAGE, errno, "open %s of box %s", BL_FILE_SHIM_LOCK, box_id);
    if (fcntl(fd, F_SETLK, &lock) == 0)
        return 0;
    if (errno != EAGAIN && errno != EACCES)
        return bl_fail(err, BL_STORAGE, errno, "lock %s of box %s", BL_FILE_SHIM_LOCK, box_id);
    lock.l_type = F_WRLCK;
    lock.l_pid = 0;
    if (fcntl(fd, F_GETLK, &lock) == 0 && lock.l_type != F_UNLCK && lock.l_pid > 0)
        return bl_fail(err, BL_INVALID_STATE, 0, "box %s runs already, its shim is process %d", box_id, (int)lock.l_pid);
    return bl_fail(err, BL_INVALID_STATE, 0, "box %s runs already", box_id);
}

/* start_ticks() - Field 22 of /proc/self/stat: when this process started, in clock ticks after the boot. */
static unsigned long long start_ticks(void)
{
    cleanup_buffer struct bl_buffer text = BL_BUFFER_INIT(4096);

    if (bl_read_file(AT_FDCWD, "/proc/self/stat", &text) < 0 || bl_buffer_append(&text, "", 1) < 0)
        return 0;

    /* The name, field 2, may hold anything, blanks and parentheses too: count from the last one. */
    const char *at = strrchr((const char *)bl_buffer_data(&text), ')');

    for (int field = 2; at && field < 22; field++)
        at = strchr(at + 1, ' ');
    return at ? strtoull(at + 1, NULL, 10) : 0;
}

void bl_boot_id(char out[BL_BOOT_ID_BYTES])
{
    cleanup_close int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : bl_read_all(fd, out, BL_BOOT_ID_BYTES - 1);

    out[n < 0 ? 0 : n] = '\0';
    out[strcspn(out, "\n")] = '\0';
}

int bl_replace_file(int dir_fd, const char *name, const void *bytes, size_t length)
{
    char temporary[64];

    /* One shim at a time holds the lock, so one name will do; what a killed one left is replaced. */
    snprintf(temporary, sizeof temporary, ".%s.new", name);

    cleanup_close int fd = openat(dir_fd, temporary, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);

    if (fd < 0)
        return -1;
    BL_CRASH_POINT("shim:temporary-made");
    if (bl_write_all(fd, bytes, length) == 0 && renameat(dir_fd, temporary, dir_fd, name) == 0)
        return 0;

    int saved = errno;

    unlinkat(dir_fd, temporary, 0);
    errno = saved;
    return -1;
}

int bl_shim_write_pid(int dir_fd, struct bl_error *err)
{
    char boot_id[BL_BOOT_ID_BYTES], text[128];

    bl_boot_id(boot_id);

    int n = snprintf(text, sizeof text, "%d\n%llu\n%s\n", (int)getpid(), start_ticks(), boot_id);

    if (bl_replace_file(dir_fd, BL_FILE_SHIM_PID, text, (size_t)n) < 0)
        return bl_fail(err, BL_STORAGE, errno, "write %s", BL_FILE_SHIM_PID);
    return 0;
}

/* has_open() - Whether a process has a file open. */
static bool has_open(const char *pid, const struct stat *file)
{
    char path[64];

    snprintf(path, sizeof path, "/proc/%.20s/fd", pid);

    cleanup_dir DIR *fds = opendir(path);

    for (struct dirent *entry; fds && (entry = readdir(fds));) {
        struct stat open_file;

        if (fstatat(dirfd(fds), entry->d_name, &open_file, 0) == 0 && open_file.st_dev == file->st_dev &&
            open_file.st_ino == file->st_ino)
            return true;
    }
    return false;
}

/* name_user() - Look for a process, other than this one, that has a file open. Locks of this kind do not name their owner. */
static void name_user(int fd, char *user, size_t size)
{
    cleanup_dir DIR *proc = opendir("/proc");
    struct stat file;

    snprintf(user, size, "another process");
    if (fstat(fd, &file) < 0)
        return;
    for (struct dirent *entry; proc && (entry = readdir(proc));) {
        if (!isdigit((unsigned char)entry->d_name[0]) || atoi(entry->d_name) == getpid() || !has_open(entry->d_name, &file))
            continue;

        cleanup_buffer struct bl_buffer name = BL_BUFFER_INIT(64);
        char path[64];

        snprintf(path, sizeof path, "/proc/%.20s/comm", entry->d_name);
        if (bl_read_file(AT_FDCWD, path, &name) < 0)
            bl_buffer_clear(&name);
        snprintf(user, size, "process %.20s (%.*s)", entry->d_name, (int)(name.length ? name.length - 1 : 0),
                 name.length ? (const char *)bl_buffer_data(&name) : "");
        return;
    }
}

int bl_disk_in_use(int fd, char *user, size_t size)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = DISK_LOCK_START, .l_len = DISK_LOCK_BYTES};

    if (fcntl(fd, F_OFD_GETLK, &lock) < 0)
        return -1;
    if (lock.l_type == F_UNLCK)
        return 0;
    name_user(fd, user, size);
    return 1;
}

int bl_open_disks(int dir_fd, const struct bl_launch *launch, struct bl_engine_config *config, struct bl_error *err)
{
    static const struct {
        const char *path;
        int flags;
        enum bl_disk_format format;
    } files[] = {{BL_FILE_BASE, O_RDONLY, BL_DISK_RAW}, {BL_FILE_OVERLAY, O_RDWR, BL_DISK_QCOW2}};
    char user[96];

    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        int fd = openat(dir_fd, files[i].path, files[i].flags | O_NOFOLLOW | O_CLOEXEC);

        if (fd < 0)
            return bl_fail(err, BL_STORAGE, errno, "open the disk %s/%s", launch->box_dir, files[i].path);
        config->disks[config->disk_count++] = (struct bl_engine_disk){.fd = fd, .format = files[i].format};
    }
    if (bl_disk_in_use(config->disks[config->disk_count - 1].fd, user, sizeof user) > 0)
        return bl_fail(err, BL_INVALID_STATE, 0, "the disk of box %s is still in use by %s", launch->box_id, user);
    BL_CRASH_POINT("shim:disks-opened");
    return 0;
}
