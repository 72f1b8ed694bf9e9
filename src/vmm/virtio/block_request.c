/* SPDX-License-Identifier: Apache-2.0 */
/*
 * block_request.c - one block request (virtio 1.2, 5.2.6)
 *
 * A request is a header of 16 bytes, data in one direction, and one byte of status at the end of what the device writes. Where one
 * ends and the other begins is a matter of bytes, not of descriptors. The header, and the ranges of a discard, are copied out once;
 * data goes between the disk and the guest's own pages.
 *
 * An error of the disk is an error of this one request. It is not told why to the guest, but to the log.
 */
#include <errno.h>
#include <linux/virtio_blk.h>
#include <string.h>

#include "base/bytes.h"
#include "base/log.h"
#include "vmm/virtio/block_private.h"

#define HEADER_BYTES 16
#define STATUS_BYTES 1
#define RANGE_BYTES  16

/* The guest's range in bytes, checked against the disk. Return: 0; -1: past its end */
static int to_bytes(const struct bl_block_disk *disk, uint64_t sector, uint64_t sectors, uint64_t *offset, uint64_t *bytes)
{
    uint64_t end;

    if (__builtin_mul_overflow(sector, BL_BLOCK_SECTOR_BYTES, offset) ||
        __builtin_mul_overflow(sectors, BL_BLOCK_SECTOR_BYTES, bytes) || __builtin_add_overflow(*offset, *bytes, &end))
        return -1;
    return end <= disk->bytes ? 0 : -1;
}

/* to_status() - What the guest is told of a disk's answer. */
static uint8_t to_status(const char *what, int result)
{
    if (!result)
        return VIRTIO_BLK_S_OK;
    if (result == -EOPNOTSUPP)
        return VIRTIO_BLK_S_UNSUPP;
    bl_log(BL_LOG_WARN, "the box's disk: %s: %s", what, strerror(-result));
    return VIRTIO_BLK_S_IOERR;
}

/* transfer() - Read or write sectors. @cursor: at the data; @length: of it, in bytes */
static uint8_t transfer(struct bl_block_request *request, bool write, struct bl_cursor cursor, uint64_t length)
{
    struct bl_block_disk *disk = request->disk;
    uint64_t offset, bytes;
    int count, result;

    if (length % BL_BLOCK_SECTOR_BYTES || to_bytes(disk, request->sector, length / BL_BLOCK_SECTOR_BYTES, &offset, &bytes) < 0)
        return VIRTIO_BLK_S_IOERR;
    if (write && disk->read_only)
        return VIRTIO_BLK_S_IOERR;
    if (!bytes)
        return VIRTIO_BLK_S_OK;
    count = bl_cursor_iovec(&cursor, length, request->data, BL_CHAIN_PIECES_MAX);
    if (count < 0)
        return VIRTIO_BLK_S_IOERR;
    result = write ? disk->ops->write(disk, request->data, count, offset, bytes)
                   : disk->ops->read(disk, request->data, count, offset, bytes);
    if (!result && write && request->write_through)
        result = disk->ops->flush(disk);
    return to_status(write ? "write" : "read", result);
}

/* one_range() - Carry out one range of a discard or write-zeroes request (virtio 1.2, 5.2.6.2) */
static uint8_t one_range(struct bl_block_request *request, bool zeroes, const uint8_t *range)
{
    struct bl_block_disk *disk = request->disk;
    uint32_t sectors = bl_get_le32(range + 8), flags = bl_get_le32(range + 12);
    uint64_t offset, bytes;

    if (flags & ~(zeroes ? (uint32_t)VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP : 0u))
        return VIRTIO_BLK_S_UNSUPP;
    if (sectors > BL_BLOCK_RANGE_SECTORS || to_bytes(disk, bl_get_le64(range), sectors, &offset, &bytes) < 0)
        return VIRTIO_BLK_S_IOERR;
    if (!bytes)
        return VIRTIO_BLK_S_OK;
    if (zeroes)
        return to_status("write zeros", disk->ops->write_zeroes(disk, offset, bytes, flags));
    return to_status("discard", disk->ops->discard(disk, offset, bytes));
}

static uint8_t ranges(struct bl_block_request *request, bool zeroes, struct bl_cursor cursor, uint64_t length)
{
    uint8_t all[BL_BLOCK_RANGES_MAX * RANGE_BYTES], status = VIRTIO_BLK_S_OK;

    if (!length || length % RANGE_BYTES || length > sizeof all || request->disk->read_only)
        return VIRTIO_BLK_S_IOERR;
    bl_cursor_read(&cursor, all, (size_t)length);
    for (size_t at = 0; at < length && status == VIRTIO_BLK_S_OK; at += RANGE_BYTES)
        status = one_range(request, zeroes, all + at);
    if (status == VIRTIO_BLK_S_OK && zeroes && request->write_through)
        status = to_status("flush", request->disk->ops->flush(request->disk));
    return status;
}

int bl_block_begin(struct bl_block_request *request)
{
    struct bl_cursor in = bl_chain_reader(&request->chain);
    uint8_t header[HEADER_BYTES];

    if (bl_cursor_read(&in, header, sizeof header) < sizeof header || request->chain.writable_bytes < STATUS_BYTES)
        return -1;
    request->type = bl_get_le32(header);
    request->sector = bl_get_le64(header + 8);
    return 0;
}

static uint8_t answer(struct bl_block_request *request)
{
    struct bl_cursor in = bl_chain_reader(&request->chain), out = bl_chain_writer(&request->chain);
    uint64_t in_bytes = request->chain.readable_bytes - HEADER_BYTES;
    uint64_t out_bytes = request->chain.writable_bytes - STATUS_BYTES;

    bl_cursor_skip(&in, HEADER_BYTES);
    if (request->type == VIRTIO_BLK_T_GET_ID) {
        bl_cursor_write(&out, request->serial, out_bytes < BL_BLOCK_SERIAL_BYTES ? (size_t)out_bytes : BL_BLOCK_SERIAL_BYTES);
        return VIRTIO_BLK_S_OK;
    }
    if (!request->disk)
        return request->type == VIRTIO_BLK_T_FLUSH ? VIRTIO_BLK_S_OK : VIRTIO_BLK_S_IOERR;
    switch (request->type) {
    case VIRTIO_BLK_T_IN:
        return transfer(request, false, out, out_bytes);
    case VIRTIO_BLK_T_OUT:
        return transfer(request, true, in, in_bytes);
    case VIRTIO_BLK_T_FLUSH:
        return to_status("flush", request->disk->ops->flush(request->disk));
    case VIRTIO_BLK_T_DISCARD:
        return ranges(request, false, in, in_bytes);
    case VIRTIO_BLK_T_WRITE_ZEROES:
        return ranges(request, true, in, in_bytes);
    default:
        return VIRTIO_BLK_S_UNSUPP;
    }
}

static void finish(struct bl_block_request *request, uint8_t status)
{
    struct bl_cursor end = bl_chain_writer(&request->chain);

    bl_cursor_skip(&end, request->chain.writable_bytes - STATUS_BYTES);
    bl_cursor_write(&end, &status, STATUS_BYTES);
}

void bl_block_carry_out(struct bl_block_request *request)
{
    finish(request, answer(request));
}

bool bl_block_try(struct bl_block_request *request)
{
    struct bl_block_disk *disk = request->disk;
    struct bl_cursor out = bl_chain_writer(&request->chain);
    uint64_t length = request->chain.writable_bytes - STATUS_BYTES, offset, bytes;
    int count;

    if (request->type != VIRTIO_BLK_T_IN || !disk || !disk->ops->try_read || !length || length % BL_BLOCK_SECTOR_BYTES)
        return false;
    count = bl_cursor_iovec(&out, length, request->data, BL_CHAIN_PIECES_MAX);
    if (count < 0 || to_bytes(disk, request->sector, length / BL_BLOCK_SECTOR_BYTES, &offset, &bytes) < 0 ||
        disk->ops->try_read(disk, request->data, count, offset, bytes) != 0)
        return false;
    finish(request, VIRTIO_BLK_S_OK);
    return true;
}
