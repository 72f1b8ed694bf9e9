/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_virtio_block.c - block requests: chains of a hostile driver against a disk in memory
 *
 * The requests are carried out here and now, without the device's threads, so that an input does the same each time. The first byte
 * says what the disk is like and which features the driver took, the second how many chains are offered.
 */
#include <string.h>

#include "fuzz_virtio.h"
#include "vmm/virtio/block_private.h"

#define DISK_BYTES 65536u

/* The disk; it checks what the device promised to have checked. */
static uint8_t disk_bytes[DISK_BYTES];

static int move(const struct iovec *iov, int count, uint64_t offset, uint64_t bytes, bool write)
{
    uint64_t sum = 0;

    must(bytes && offset % BL_BLOCK_SECTOR_BYTES == 0 && bytes % BL_BLOCK_SECTOR_BYTES == 0);
    must(offset < DISK_BYTES && bytes <= DISK_BYTES - offset);
    for (int i = 0; i < count; i++) {
        must(iov[i].iov_len && iov[i].iov_len <= bytes - sum);
        if (write)
            memcpy(disk_bytes + offset + sum, iov[i].iov_base, iov[i].iov_len);
        else
            memcpy(iov[i].iov_base, disk_bytes + offset + sum, iov[i].iov_len);
        sum += iov[i].iov_len;
    }
    must(sum == bytes);
    return 0;
}

static int disk_read(struct bl_block_disk *disk, const struct iovec *iov, int count, uint64_t offset, uint64_t bytes)
{
    (void)disk;
    return move(iov, count, offset, bytes, false);
}

static int disk_write(struct bl_block_disk *disk, const struct iovec *iov, int count, uint64_t offset, uint64_t bytes)
{
    must(!disk->read_only);
    return move(iov, count, offset, bytes, true);
}

static int disk_flush(struct bl_block_disk *disk)
{
    (void)disk;
    return 0;
}

static int disk_discard(struct bl_block_disk *disk, uint64_t offset, uint64_t bytes)
{
    must(!disk->read_only && bytes && offset < DISK_BYTES && bytes <= DISK_BYTES - offset);
    memset(disk_bytes + offset, 0, bytes);
    return 0;
}

static int disk_write_zeroes(struct bl_block_disk *disk, uint64_t offset, uint64_t bytes, bool unmap)
{
    (void)unmap;
    return disk_discard(disk, offset, bytes);
}

static const struct bl_block_ops disk_ops = {
    .read = disk_read,
    .try_read = disk_read,
    .write = disk_write,
    .flush = disk_flush,
    .discard = disk_discard,
    .write_zeroes = disk_write_zeroes,
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char serial[BL_BLOCK_SERIAL_BYTES] = "serial";
    struct bl_block_disk disk = {.ops = &disk_ops, .bytes = DISK_BYTES};
    struct bl_block_request request = {.serial = serial};
    struct fuzz_guest *guest;
    struct bl_queue queue;
    uint8_t offered[2];

    if (size < 2)
        return 0;
    guest = fuzz_guest(data + 2, size - 2);
    disk.read_only = data[0] & 1;
    request.disk = data[0] & 2 ? NULL : &disk;
    request.write_through = data[0] & 4;
    queue = (struct bl_queue){.memory = &guest->memory, .size_max = BL_QUEUE_SIZE_MAX, .size = FUZZ_RING_SIZE};
    queue.available_address = FUZZ_RING_AVAILABLE;
    queue.used_address = FUZZ_RING_USED;
    must(bl_queue_start(&queue, !(data[0] & 8), data[0] & 16) == 0);
    bl_put_le16(offered, data[1] % (FUZZ_RING_SIZE + 2));
    must(bl_memory_write(&guest->memory, FUZZ_RING_AVAILABLE + 2, offered, sizeof offered) == 0);
    /* What is read from the disk can make more chains of the ring. */
    for (int taken = 0; taken < 64 && bl_queue_pop(&queue, &request.chain) > 0; taken++) {
        if (bl_block_begin(&request) < 0)
            break;
        if (data[0] & 32 || !bl_block_try(&request))
            bl_block_carry_out(&request);
        bl_queue_push(&queue, &request.chain, request.chain.writable_bytes);
        (void)bl_queue_must_interrupt(&queue);
        (void)bl_queue_listen(&queue, data[0] & 64);
    }
    return 0;
}
