/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_qcow2.c - images that anybody made, and what a guest does to a disk
 *
 * The input is a count of operations, so many records of 8 bytes, and an image. Whatever it holds, nothing may crash or write
 * outside its file; and a sector that was written without an error reads as it was written.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/io.h"
#include "disk/layer.h"
#include "fuzz.h"

#define INPUT_MAX      (256u << 10)
#define BASE_BYTES     (40u << 10)
#define LENGTH_MOST    (96u << 10)
#define RESIZE_MOST    (8u << 20)
#define OPERATION      8u
#define OPERATIONS_MAX 32u

static int no_flush(int fd)
{
    (void)fd;
    return 0;
}

static void write_and_read(struct bl_disk *disk, uint8_t *bytes, uint64_t offset, uint64_t length)
{
    uint8_t sector[512];
    struct iovec iov[3] = {{bytes, length / 3}, {bytes, 0}, {bytes + length / 3, length - length / 3}};

    memset(bytes, (int)(offset >> 3 | 1), length);
    if (bl_disk_write(disk, iov, 3, offset) < 0 || length < sizeof sector)
        return;
    offset += length - sizeof sector;
    if (offset % sizeof sector || bl_disk_read(disk, &(struct iovec){sector, sizeof sector}, 1, offset) < 0)
        return;
    must(!memcmp(sector, bytes + length - sizeof sector, sizeof sector));
}

/* operate() - One record: a kind, a length, and where on the disk */
static void operate(struct bl_disk *disk, const uint8_t *record, uint8_t *bytes)
{
    uint64_t size = bl_disk_bytes(disk);
    uint64_t offset = bl_get_le32(record + 4) * 512ull;
    uint64_t length = bl_get_le16(record + 2) * (record[1] % 2 ? 512ull : 1ull) % LENGTH_MOST;
    struct bl_error err = BL_ERROR_INIT;

    /* Most of it shall lie on the disk. */
    if (size && record[1] & 2)
        offset %= size;
    if (record[1] & 4)
        offset += record[1] >> 3;
    switch (record[0] % 8) {
    case 0:
    case 1:
        write_and_read(disk, bytes, offset, length);
        break;
    case 2:
        (void)bl_disk_read(disk, &(struct iovec){bytes, length}, 1, offset);
        break;
    case 3:
        (void)bl_disk_try_read(disk, &(struct iovec){bytes, length}, 1, offset);
        break;
    case 4:
        (void)bl_disk_discard(disk, offset, length);
        break;
    case 5:
        (void)bl_disk_write_zeroes(disk, offset, length, record[1] & 8);
        break;
    case 6:
        (void)bl_disk_flush(disk);
        break;
    default:
        if (size <= RESIZE_MOST)
            (void)bl_disk_resize(disk, bl_get_le16(record + 2) * 512ull % RESIZE_MOST, &err);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t bytes[LENGTH_MOST];
    struct bl_disk_calls calls = bl_disk_system_calls;
    struct bl_error err = BL_ERROR_INIT;
    struct bl_disk *disk = NULL;

    if (size < 2 || size > INPUT_MAX)
        return 0;

    size_t operations = data[0] % (OPERATIONS_MAX + 1);
    unsigned int flags = data[1] & 1 ? BL_DISK_READ_ONLY : 0;
    bool based = data[1] & 2;
    const uint8_t *records = data + 2;

    if (size < 2 + operations * OPERATION)
        return 0;

    int base = memfd_create("base", MFD_CLOEXEC), image = memfd_create("image", MFD_CLOEXEC);
    struct bl_disk_layer layers[2] = {{base, false}, {image, true}};

    must(base >= 0 && image >= 0);
    memset(bytes, 0xba, BASE_BYTES);
    must(!bl_write_all(base, bytes, BASE_BYTES));
    must(!bl_write_all(image, records + operations * OPERATION, size - 2 - operations * OPERATION));
    calls.fdatasync = no_flush;
    if (!bl_disk_open_with(&disk, layers + !based, 1u + based, flags, &calls, &err)) {
        for (size_t i = 0; i < operations; i++)
            operate(disk, records + i * OPERATION, bytes);
        (void)bl_disk_close(disk);
    }
    close(base);
    close(image);
    return 0;
}
