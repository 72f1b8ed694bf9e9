/* SPDX-License-Identifier: Apache-2.0 */
/* file.c - whole transfers at offsets of one file; see file.h */
#include "disk/file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/os.h"

static ssize_t read_vector(int fd, const struct iovec *iov, int count, off_t offset)
{
    return bl_os.preadv2(fd, iov, count, offset, 0);
}

static ssize_t read_vector_nowait(int fd, const struct iovec *iov, int count, off_t offset)
{
    return bl_os.preadv2(fd, iov, count, offset, RWF_NOWAIT);
}

static ssize_t write_vector(int fd, const struct iovec *iov, int count, off_t offset)
{
    return bl_os.pwritev(fd, iov, count, offset);
}

static int flush(int fd)
{
    return bl_os.fdatasync(fd);
}

static int set_length(int fd, off_t length)
{
    return bl_os.ftruncate(fd, length);
}

static int punch(int fd, off_t offset, off_t length)
{
    return bl_os.fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length);
}

static int zero(int fd, off_t offset, off_t length, bool unmap)
{
    if (unmap)
        return punch(fd, offset, length);
    return bl_os.fallocate(fd, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, offset, length);
}

const struct bl_disk_calls bl_disk_system_calls = {
    .preadv = read_vector,
    .preadv_nowait = read_vector_nowait,
    .pwritev = write_vector,
    .fdatasync = flush,
    .ftruncate = set_length,
    .punch = punch,
    .zero = zero,
};

uint64_t bl_disk_vector_bytes(const struct iovec *iov, size_t count)
{
    uint64_t bytes = 0;

    for (size_t i = 0; i < count; i++)
        if (__builtin_add_overflow(bytes, iov[i].iov_len, &bytes))
            return UINT64_MAX;
    return bytes;
}

int bl_disk_cursor_part(const struct bl_disk_cursor *cursor, uint64_t length, struct iovec *parts, int most, uint64_t *bytes)
{
    size_t used = cursor->used;
    int count = 0;

    *bytes = 0;
    for (size_t i = 0; i < cursor->count && count < most && *bytes < length; i++, used = 0) {
        size_t here = cursor->iov[i].iov_len - used;

        if (here > length - *bytes)
            here = (size_t)(length - *bytes);
        if (!here)
            continue;
        parts[count++] = (struct iovec){(uint8_t *)cursor->iov[i].iov_base + used, here};
        *bytes += here;
    }
    return count;
}

void bl_disk_cursor_skip(struct bl_disk_cursor *cursor, uint64_t bytes)
{
    while (cursor->count && bytes >= cursor->iov->iov_len - cursor->used) {
        bytes -= cursor->iov->iov_len - cursor->used;
        cursor->iov++;
        cursor->count--;
        cursor->used = 0;
    }
    cursor->used += (size_t)bytes;
}

void bl_disk_cursor_zero(struct bl_disk_cursor *cursor, uint64_t bytes)
{
    while (bytes) {
        struct iovec parts[BL_DISK_PARTS];
        uint64_t here;
        int count = bl_disk_cursor_part(cursor, bytes, parts, BL_DISK_PARTS, &here);

        if (!count)
            return;
        for (int i = 0; i < count; i++)
            memset(parts[i].iov_base, 0, parts[i].iov_len);
        bl_disk_cursor_skip(cursor, here);
        bytes -= here;
    }
}

int bl_disk_file_read_at(const struct bl_disk_file *file, struct bl_disk_cursor *cursor, uint64_t length, uint64_t offset,
                         bool nowait)
{
    while (length) {
        struct iovec parts[BL_DISK_PARTS];
        uint64_t here;
        int count = bl_disk_cursor_part(cursor, length, parts, BL_DISK_PARTS, &here);
        ssize_t n = (nowait ? file->calls->preadv_nowait : file->calls->preadv)(file->fd, parts, count, (off_t)offset);

        if (n < 0 && errno == EINTR && !nowait)
            continue;
        if (n < 0 && nowait && (errno == EOPNOTSUPP || errno == EINTR))
            errno = EAGAIN;
        if (n < 0)
            return -1;
        if (!n) { /* the end of the file */
            bl_disk_cursor_zero(cursor, length);
            return 0;
        }
        bl_disk_cursor_skip(cursor, (uint64_t)n);
        offset += (uint64_t)n;
        length -= (uint64_t)n;
    }
    return 0;
}

int bl_disk_file_write_at(const struct bl_disk_file *file, struct bl_disk_cursor *cursor, uint64_t length, uint64_t offset)
{
    while (length) {
        struct iovec parts[BL_DISK_PARTS];
        uint64_t here;
        int count = bl_disk_cursor_part(cursor, length, parts, BL_DISK_PARTS, &here);
        ssize_t n = file->calls->pwritev(file->fd, parts, count, (off_t)offset);

        if (n < 0 && errno == EINTR)
            continue;
        if (!n)
            errno = EIO;
        if (n <= 0)
            return -1;
        bl_disk_cursor_skip(cursor, (uint64_t)n);
        offset += (uint64_t)n;
        length -= (uint64_t)n;
    }
    return 0;
}

int bl_disk_file_read(const struct bl_disk_file *file, void *bytes, size_t length, uint64_t offset)
{
    struct iovec all = {bytes, length};

    return bl_disk_file_read_at(file, &(struct bl_disk_cursor){&all, 1, 0}, length, offset, false);
}

int bl_disk_file_write(const struct bl_disk_file *file, const void *bytes, size_t length, uint64_t offset)
{
    struct iovec all = {(void *)(uintptr_t)bytes, length};

    return bl_disk_file_write_at(file, &(struct bl_disk_cursor){&all, 1, 0}, length, offset);
}

bool bl_disk_file_hole(const struct bl_disk_file *file, uint64_t offset, uint64_t length)
{
    off_t data = bl_os.lseek(file->fd, (off_t)offset, SEEK_DATA);

    return data < 0 ? errno == ENXIO : (uint64_t)data >= offset + length;
}
