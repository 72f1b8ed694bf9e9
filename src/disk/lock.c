/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lock.c - the locks on the files of a disk, as QEMU sets them
 *
 * Who opens an image says which permissions it uses and which ones it forbids to others, each by a shared open-file-description
 * lock on one byte: 100 + n for a permission that is used, 200 + n for one that is forbidden (QEMU's block/file-posix.c,
 * RAW_LOCK_PERM_BASE and RAW_LOCK_SHARED_BASE; the permissions are its BLK_PERM_*). First the locks are set, then the other
 * side's bytes are looked at: of two who come at once at least one sees the other.
 */
#include <errno.h>
#include <fcntl.h>

#include "base/os.h"
#include "disk/file.h"

#define USED_START      100
#define FORBIDDEN_START 200
#define LOCK_BYTES      200

/* BLK_PERM_*, as powers of two */
#define PERMISSION_CONSISTENT_READ 0x1u
#define PERMISSION_WRITE           0x2u
#define PERMISSION_RESIZE          0x8u
#define PERMISSIONS                4

static int set(int fd, short type, off_t start, off_t length)
{
    struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = length};

    return bl_os.fcntl(fd, F_OFD_SETLK, &lock);
}

static int set_all(int fd, off_t start, unsigned int permissions)
{
    for (int i = 0; i < PERMISSIONS; i++)
        if (permissions & 1u << i && set(fd, F_RDLCK, start + i, 1) < 0)
            return -1;
    return 0;
}

/* look() - Whether another holds one of these bytes. Return: 0: none; 1: one; -1 with errno */
static int look(int fd, off_t start, unsigned int permissions)
{
    for (int i = 0; i < PERMISSIONS; i++) {
        struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = start + i, .l_len = 1};

        if (!(permissions & 1u << i))
            continue;
        if (bl_os.fcntl(fd, F_OFD_GETLK, &lock) < 0)
            return -1;
        if (lock.l_type != F_UNLCK)
            return 1;
    }
    return 0;
}

int bl_disk_file_lock(int fd, bool writes, struct bl_error *err)
{
    unsigned int used = PERMISSION_CONSISTENT_READ | (writes ? PERMISSION_WRITE | PERMISSION_RESIZE : 0);
    unsigned int forbidden = PERMISSION_WRITE | PERMISSION_RESIZE;
    int others;
    int failure;

    if (set_all(fd, USED_START, used) < 0 || set_all(fd, FORBIDDEN_START, forbidden) < 0)
        others = errno == EAGAIN || errno == EACCES ? 1 : -1;
    else if (!(others = look(fd, FORBIDDEN_START, used)))
        others = look(fd, USED_START, forbidden);
    if (!others)
        return 0;
    failure = errno;
    bl_disk_file_unlock(fd);
    if (others < 0)
        return bl_fail(err, BL_STORAGE, failure, "lock a disk's file");
    return bl_fail(err, BL_INVALID_STATE, 0, "open a disk: another process %s one of its files; stop that first",
                   writes ? "uses" : "writes");
}

void bl_disk_file_unlock(int fd)
{
    set(fd, F_UNLCK, USED_START, LOCK_BYTES);
}
