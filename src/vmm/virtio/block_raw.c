/* SPDX-License-Identifier: Apache-2.0 */
/* block_raw.c - a plain file as a disk; see block.h */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "vmm/virtio/block.h"

#define ZERO_BYTES 65536

/* A file; constant, and the kernel's calls are safe from any thread. */
struct raw {
    struct bl_block_disk disk;
    int fd;
    bool volatile_disk;
};

static const uint8_t zeros[ZERO_BYTES];

/* advance() - Drop the first @done bytes of an iovec. */
static void advance(struct iovec **iov, int *count, size_t done)
{
    while (*count && done >= (*iov)->iov_len) {
        done -= (*iov)->iov_len;
        (*iov)++;
        (*count)--;
    }
    if (*count) {
        (*iov)->iov_base = (uint8_t *)(*iov)->iov_base + done;
        (*iov)->iov_len -= done;
    }
}

/* transfer() - All of it, however many calls it takes. */
static int transfer(const struct raw *raw, bool write, const struct iovec *iov, int count, uint64_t offset, uint64_t bytes)
{
    struct iovec left[BL_CHAIN_PIECES_MAX], *at = left;

    if (count > BL_CHAIN_PIECES_MAX)
        return -EINVAL;
    memcpy(left, iov, (size_t)count * sizeof *iov);
    while (bytes) {
        ssize_t n = write ? pwritev(raw->fd, at, count, (off_t)offset) : preadv(raw->fd, at, count, (off_t)offset);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            return -EIO; /* somebody made the file shorter */
        advance(&at, &count, (size_t)n);
        offset += (uint64_t)n;
        bytes -= (uint64_t)n;
    }
    return 0;
}

static int raw_read(struct bl_block_disk *disk, const struct iovec *iov, int count, uint64_t offset, uint64_t bytes)
{
    return transfer((const struct raw *)disk, false, iov, count, offset, bytes);
}

static int raw_write(struct bl_block_disk *disk, const struct iovec *iov, int count, uint64_t offset, uint64_t bytes)
{
    return transfer((const struct raw *)disk, true, iov, count, offset, bytes);
}

static int raw_flush(struct bl_block_disk *disk)
{
    const struct raw *raw = (const struct raw *)disk;

    return raw->volatile_disk || fdatasync(raw->fd) == 0 ? 0 : -errno;
}

/* change_range() - Return: 0; negative errno */
static int change_range(const struct raw *raw, int mode, uint64_t offset, uint64_t bytes)
{
    while (fallocate(raw->fd, mode | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)bytes) < 0)
        if (errno != EINTR)
            return -errno;
    return 0;
}

static int raw_discard(struct bl_block_disk *disk, uint64_t offset, uint64_t bytes)
{
    int result = change_range((const struct raw *)disk, FALLOC_FL_PUNCH_HOLE, offset, bytes);

    return result == -EOPNOTSUPP ? 0 : result; /* it is advice */
}

static int raw_write_zeroes(struct bl_block_disk *disk, uint64_t offset, uint64_t bytes, bool unmap)
{
    const struct raw *raw = (const struct raw *)disk;
    int result = change_range(raw, unmap ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE, offset, bytes);

    if (result != -EOPNOTSUPP)
        return result;
    for (result = 0; bytes && !result;) {
        uint64_t part = bytes < ZERO_BYTES ? bytes : ZERO_BYTES;
        struct iovec piece = {.iov_base = (void *)(uintptr_t)zeros, .iov_len = (size_t)part};

        result = transfer(raw, true, &piece, 1, offset, part);
        offset += part;
        bytes -= part;
    }
    return result;
}

static void raw_close(struct bl_block_disk *disk)
{
    struct raw *raw = (struct raw *)disk;

    close(raw->fd);
    free(raw);
}

static const struct bl_block_ops raw_ops = {
    .read = raw_read,
    .write = raw_write,
    .flush = raw_flush,
    .discard = raw_discard,
    .write_zeroes = raw_write_zeroes,
    .close = raw_close,
};

int bl_block_raw(int fd, bool read_only, bool volatile_disk, struct bl_block_disk **out, struct bl_error *err)
{
    cleanup_close int taken = fd;
    off_t end = lseek(taken, 0, SEEK_END);
    struct raw *raw;

    if (end < 0)
        return bl_fail(err, BL_STORAGE, errno, "find the end of the disk");
    if (end % BL_BLOCK_SECTOR_BYTES)
        return bl_fail(err, BL_STORAGE, 0, "the disk ends within a sector: it has %lld bytes", (long long)end);
    raw = calloc(1, sizeof *raw);
    if (!raw)
        return bl_fail_memory(err);
    *raw = (struct raw){
        .disk = {.ops = &raw_ops, .bytes = (uint64_t)end, .read_only = read_only},
        .fd = bl_steal_fd(&taken),
        .volatile_disk = volatile_disk,
    };
    *out = &raw->disk;
    return 0;
}
