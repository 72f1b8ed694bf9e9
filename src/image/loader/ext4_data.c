/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ext4_data.c - contents of files on their way to the disk
 *
 * Blocks are taken by next fit, so a file that streams in gets one run, files that follow each other lie side by side, and
 * many small ones leave in one write. A block that is all zeros becomes a hole: a bomb of zeros costs nothing.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/os.h"
#include "image/loader/ext4_private.h"

#define RUN_BLOCKS_MAX 32768u /* ext4: longest initialised extent */

static const uint8_t zeros[BL_EXT4_BLOCK];

static int write_out(struct bl_ext4 *ext4, uint64_t offset, const uint8_t *data, size_t length, struct bl_error *err)
{
    size_t done = 0;

    while (done < length) {
        ssize_t put = bl_os.pwrite(ext4->fd, data + done, length - done, (off_t)(offset + done));

        if (put < 0 && errno != EINTR)
            return bl_ext4_fail(ext4, errno, "write the disk", err);
        if (put > 0)
            done += (size_t)put;
    }
    /* The host writes while the next layer bytes are unpacked, so that the sync at the end has little left to wait for. */
    if (length >= PENDING_BYTES)
        bl_os.sync_file_range(ext4->fd, (off_t)offset, (off_t)length, SYNC_FILE_RANGE_WRITE);
    return 0;
}

int bl_ext4_flush(struct bl_ext4 *ext4, struct bl_error *err)
{
    struct pending *pending = &ext4->pending;
    size_t length = pending->length;
    uint64_t offset = pending->offset;

    /* Empty, but standing where it stood: an open block goes on there. */
    pending->length = 0;
    pending->offset += length;
    return write_out(ext4, offset, pending->bytes, length, err);
}

int bl_ext4_put(struct bl_ext4 *ext4, uint64_t offset, const void *data, size_t length, struct bl_error *err)
{
    struct pending *pending = &ext4->pending;
    const uint8_t *from = data;

    if (pending->length && offset != pending->offset + pending->length && bl_ext4_flush(ext4, err))
        return -1;
    if (!pending->length)
        pending->offset = offset;
    while (length) {
        size_t part = PENDING_BYTES - pending->length;

        part = length < part ? length : part;
        memcpy(pending->bytes + pending->length, from, part);
        pending->length += part;
        from += part;
        length -= part;
        if (pending->length == PENDING_BYTES && bl_ext4_flush(ext4, err))
            return -1;
    }
    return 0;
}

int bl_extents_add(struct bl_extents *extents, struct bl_extent run, struct bl_error *err)
{
    struct bl_extent *list = extents->capacity ? extents->many : &extents->one;
    struct bl_extent *last = extents->count ? &list[extents->count - 1] : NULL;

    if (last && last->logical + last->blocks == run.logical && last->physical + last->blocks == run.physical &&
        last->blocks + run.blocks <= RUN_BLOCKS_MAX) {
        last->blocks += run.blocks;
        return 0;
    }
    if (extents->count == (extents->capacity ? extents->capacity : 1)) {
        uint32_t capacity = extents->capacity ? extents->capacity * 2 : 4;
        struct bl_extent *grown = reallocarray(extents->capacity ? extents->many : NULL, capacity, sizeof *grown);

        if (!grown)
            return bl_fail_memory(err);
        if (!extents->capacity)
            grown[0] = extents->one;
        extents->many = grown;
        extents->capacity = capacity;
        list = grown;
    }
    list[extents->count++] = run; /* NOLINT(clang-analyzer-core.NullDereference): capacity implies many */
    return 0;
}

void bl_extents_free(struct bl_extents *extents)
{
    if (extents->capacity)
        free(extents->many);
    *extents = (struct bl_extents){0};
}

void bl_ext4_release(struct bl_ext4 *ext4, struct bl_extents *extents)
{
    const struct bl_extent *list = bl_extents_list(extents);

    /* Pending bytes may belong to these blocks; they must not come back into the holes. */
    if (extents->count)
        bl_ext4_flush(ext4, NULL);
    for (uint32_t i = 0; i < extents->count; i++) {
        ext2fs_block_alloc_stats_range(ext4->fs, list[i].physical, list[i].blocks, -1);
        bl_os.fallocate(ext4->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)list[i].physical * BL_EXT4_BLOCK,
                        (off_t)list[i].blocks * BL_EXT4_BLOCK);
    }
    bl_extents_free(extents);
}

static bool is_zero_block(const uint8_t *data)
{
    return !data[0] && !memcmp(data, data + 1, BL_EXT4_BLOCK - 1);
}

/* count_blocks() - How many blocks at the start of @data are zero, or are not; a last part of a block is not. */
static size_t count_blocks(const uint8_t *data, size_t length, bool zero)
{
    size_t count = 0;

    for (; length >= BL_EXT4_BLOCK && is_zero_block(data) == zero; count++) {
        data += BL_EXT4_BLOCK;
        length -= BL_EXT4_BLOCK;
    }
    return count + (!zero && length && length < BL_EXT4_BLOCK);
}

/* append() - Add bytes at the position. */
static int append(struct bl_ext4 *ext4, struct bl_extents *extents, const uint8_t *data, size_t length, struct bl_error *err)
{
    size_t in_block = ext4->position % BL_EXT4_BLOCK;

    if (in_block) {
        size_t part = BL_EXT4_BLOCK - in_block < length ? BL_EXT4_BLOCK - in_block : length;

        /* The open block's bytes were the last to be put, so this joins them. */
        if (bl_ext4_put(ext4, ext4->pending.offset + ext4->pending.length, data, part, err))
            return -1;
        ext4->position += part;
        data += part;
        length -= part;
    }
    while (length) {
        size_t skip = count_blocks(data, length, true) * BL_EXT4_BLOCK;

        ext4->position += skip;
        data += skip;
        length -= skip;
        if (!length)
            break;

        struct bl_extent run = {.logical = (uint32_t)(ext4->position / BL_EXT4_BLOCK)};

        run.blocks = bl_ext4_allocate(ext4, (uint32_t)count_blocks(data, length, false), &run.physical, err);
        if (!run.blocks)
            return -1;

        size_t bytes = (size_t)run.blocks * BL_EXT4_BLOCK < length ? (size_t)run.blocks * BL_EXT4_BLOCK : length;

        if (bl_extents_add(extents, run, err) || bl_ext4_put(ext4, (uint64_t)run.physical * BL_EXT4_BLOCK, data, bytes, err))
            return -1;
        ext4->position += bytes;
        data += bytes;
        length -= bytes;
    }
    return 0;
}

/* pad() - Fill the open block with zeros up to a position or its end. */
static int pad(struct bl_ext4 *ext4, uint64_t until, struct bl_error *err)
{
    size_t in_block = ext4->position % BL_EXT4_BLOCK;
    uint64_t end = ext4->position - in_block + BL_EXT4_BLOCK;

    if (!in_block || until <= ext4->position)
        return 0;
    end = until < end ? until : end;

    int result = bl_ext4_put(ext4, ext4->pending.offset + ext4->pending.length, zeros, (size_t)(end - ext4->position), err);

    ext4->position = end;
    return result;
}

/* open_block() - Begin a block within: zeros from its start to @offset. */
static int open_block(struct bl_ext4 *ext4, struct bl_extents *extents, uint64_t offset, struct bl_error *err)
{
    struct bl_extent run = {.logical = (uint32_t)(offset / BL_EXT4_BLOCK)};

    run.blocks = bl_ext4_allocate(ext4, 1, &run.physical, err);
    if (!run.blocks || bl_extents_add(extents, run, err) ||
        bl_ext4_put(ext4, (uint64_t)run.physical * BL_EXT4_BLOCK, zeros, offset % BL_EXT4_BLOCK, err))
        return -1;
    ext4->position = offset;
    return 0;
}

int bl_ext4_write(struct bl_ext4 *ext4, struct bl_extents *extents, uint64_t offset, const void *data, size_t length,
                  struct bl_error *err)
{
    if (offset < ext4->position)
        return bl_fail(err, BL_IMAGE, 0, "a sparse file's parts overlap");
    if (offset > BL_EXT4_SIZE_MAX || length > BL_EXT4_SIZE_MAX - offset)
        return bl_fail(err, BL_IMAGE, 0, "a file is larger than ext4 holds");
    if (!length)
        return 0;
    if (pad(ext4, offset, err))
        return -1;
    if (ext4->position < offset) {
        ext4->position = offset - offset % BL_EXT4_BLOCK;
        if (ext4->position < offset && open_block(ext4, extents, offset, err))
            return -1;
    }
    return append(ext4, extents, data, length, err);
}

int bl_ext4_end_file(struct bl_ext4 *ext4, struct bl_error *err)
{
    int result = pad(ext4, UINT64_MAX, err);

    ext4->position = 0;
    return result;
}
