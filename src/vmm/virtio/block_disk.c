/* SPDX-License-Identifier: Apache-2.0 */
/* block_disk.c - the disk of a box, a chain of files (disk/qcow2.h), behind a block device; see block.h */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "disk/qcow2.h"
#include "vmm/virtio/block.h"

/* Constant; the disk below has its own locks. */
struct chain {
    struct bl_block_disk disk;
    struct bl_disk *files;
    int fds[BL_DISK_LAYERS_MAX];
    size_t count;
};

static struct bl_disk *files_of(struct bl_block_disk *disk)
{
    return ((struct chain *)disk)->files;
}

static int answer(int result)
{
    return result < 0 ? -errno : 0;
}

static int chain_read(struct bl_block_disk *disk, const struct iovec *iov, int count, uint64_t offset, uint64_t bytes)
{
    (void)bytes;
    return answer(bl_disk_read(files_of(disk), iov, (size_t)count, offset));
}

static int chain_try_read(struct bl_block_disk *disk, const struct iovec *iov, int count, uint64_t offset, uint64_t bytes)
{
    (void)bytes;
    return answer(bl_disk_try_read(files_of(disk), iov, (size_t)count, offset));
}

static int chain_write(struct bl_block_disk *disk, const struct iovec *iov, int count, uint64_t offset, uint64_t bytes)
{
    (void)bytes;
    return answer(bl_disk_write(files_of(disk), iov, (size_t)count, offset));
}

static int chain_flush(struct bl_block_disk *disk)
{
    return answer(bl_disk_flush(files_of(disk)));
}

static int chain_discard(struct bl_block_disk *disk, uint64_t offset, uint64_t bytes)
{
    return answer(bl_disk_discard(files_of(disk), offset, bytes));
}

static int chain_write_zeroes(struct bl_block_disk *disk, uint64_t offset, uint64_t bytes, bool unmap)
{
    return answer(bl_disk_write_zeroes(files_of(disk), offset, bytes, unmap));
}

static void chain_close(struct bl_block_disk *disk)
{
    struct chain *chain = (struct chain *)disk;

    if (chain->files)
        bl_disk_close(chain->files);
    for (size_t i = 0; i < chain->count; i++)
        bl_close_fd(&chain->fds[i]);
    free(chain);
}

static const struct bl_block_ops chain_ops = {
    .read = chain_read,
    .try_read = chain_try_read,
    .write = chain_write,
    .flush = chain_flush,
    .discard = chain_discard,
    .write_zeroes = chain_write_zeroes,
    .close = chain_close,
};

int bl_block_open(const struct bl_disk_layer *layers, size_t count, unsigned int flags, struct bl_block_disk **out,
                  struct bl_error *err)
{
    struct chain *chain = calloc(1, sizeof *chain);

    if (!chain || count > BL_DISK_LAYERS_MAX) {
        for (size_t i = 0; i < count; i++)
            close(layers[i].fd);
        free(chain);
        return chain ? bl_fail(err, BL_INVALID_ARGUMENT, 0, "a disk of more than %d files", BL_DISK_LAYERS_MAX)
                     : bl_fail_memory(err);
    }
    chain->disk.ops = &chain_ops;
    for (size_t i = 0; i < count; i++)
        chain->fds[chain->count++] = layers[i].fd;
    if (bl_disk_open(&chain->files, layers, count, flags, err) < 0) {
        chain->files = NULL;
        chain_close(&chain->disk);
        return -1;
    }
    chain->disk.bytes = bl_disk_bytes(chain->files);
    chain->disk.granularity = bl_disk_granularity(chain->files);
    chain->disk.read_only = flags & BL_DISK_READ_ONLY;
    *out = &chain->disk;
    return 0;
}
