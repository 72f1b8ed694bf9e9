/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ext4_io.c - how libext2fs reaches the disk
 *
 * libext2fs opens files by name, without O_CLOEXEC, and caches blocks. The loader holds the one descriptor already, writes
 * content through it, and lives in programs that fork: so this manager only reads and writes at places of that descriptor.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/os.h"
#include "base/strings.h"
#include "image/loader/ext4_private.h"

static int channel_fd(io_channel channel)
{
    return (int)(intptr_t)channel->private_data;
}

static errcode_t open_channel(const char *name, int flags, io_channel *out)
{
    long long fd;
    io_channel channel;
    errcode_t code;

    (void)flags;
    if (bl_parse_number(name, 0, INT32_MAX, &fd))
        return EXT2_ET_BAD_DEVICE_NAME;
    code = ext2fs_get_memzero(sizeof *channel, &channel);
    if (code)
        return code;
    channel->magic = EXT2_ET_MAGIC_IO_CHANNEL;
    channel->manager = (io_manager)(uintptr_t)&bl_ext4_io_manager;
    channel->block_size = 1024;
    channel->refcount = 1;
    channel->private_data = (void *)(intptr_t)fd;
    code = ext2fs_get_mem(strlen(name) + 1, &channel->name);
    if (code) {
        ext2fs_free_mem(&channel);
        return code;
    }
    memcpy(channel->name, name, strlen(name) + 1);
    *out = channel;
    return 0;
}

static errcode_t close_channel(io_channel channel)
{
    if (--channel->refcount > 0)
        return 0;
    ext2fs_free_mem(&channel->name);
    ext2fs_free_mem(&channel);
    return 0;
}

static errcode_t set_block_size(io_channel channel, int size)
{
    channel->block_size = size;
    return 0;
}

/* length_of() - libext2fs's way to say a length: blocks, or bytes when it is negative. */
static size_t length_of(io_channel channel, int count)
{
    return count < 0 ? (size_t)-count : (size_t)count * (size_t)channel->block_size;
}

static errcode_t read_blocks(io_channel channel, unsigned long long block, int count, void *data)
{
    size_t length = length_of(channel, count), done = 0;

    while (done < length) {
        ssize_t got = bl_os.pread(channel_fd(channel), (char *)data + done, length - done,
                                  (off_t)(block * (unsigned long long)channel->block_size + done));

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return errno;
        if (!got)
            return EXT2_ET_SHORT_READ;
        done += (size_t)got;
    }
    return 0;
}

/* libext2fs tells a failed write as what it was about to write, and keeps for itself why. */
static _Thread_local int last_failure;

int bl_ext4_io_failure(void)
{
    int failure = last_failure;

    last_failure = 0;
    return failure;
}

static errcode_t write_at(io_channel channel, unsigned long long offset, size_t length, const void *data)
{
    size_t done = 0;

    while (done < length) {
        ssize_t put = bl_os.pwrite(channel_fd(channel), (const char *)data + done, length - done, (off_t)(offset + done));

        if (put < 0 && errno != EINTR)
            return last_failure = errno;
        if (put > 0)
            done += (size_t)put;
    }
    return 0;
}

static errcode_t write_blocks(io_channel channel, unsigned long long block, int count, const void *data)
{
    return write_at(channel, block * (unsigned long long)channel->block_size, length_of(channel, count), data);
}

static errcode_t read_blocks_32(io_channel channel, unsigned long block, int count, void *data)
{
    return read_blocks(channel, block, count, data);
}

static errcode_t write_blocks_32(io_channel channel, unsigned long block, int count, const void *data)
{
    return write_blocks(channel, block, count, data);
}

static errcode_t write_bytes(io_channel channel, unsigned long offset, int count, const void *data)
{
    return write_at(channel, offset, (size_t)count, data);
}

static errcode_t flush_channel(io_channel channel)
{
    (void)channel;
    return 0; /* bl_ext4_finish() syncs, once */
}

const struct struct_io_manager bl_ext4_io_manager = {
    .magic = EXT2_ET_MAGIC_IO_MANAGER,
    .name = "boxlite",
    .open = open_channel,
    .close = close_channel,
    .set_blksize = set_block_size,
    .read_blk = read_blocks_32,
    .write_blk = write_blocks_32,
    .flush = flush_channel,
    .write_byte = write_bytes,
    .read_blk64 = read_blocks,
    .write_blk64 = write_blocks,
};
