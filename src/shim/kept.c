/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kept.c - output that waits for somebody to attach
 *
 * A piece is a header of 8 bytes (channel, length) and its bytes. Small writes are joined with the piece before them when they are
 * of the same channel, so that a workload that writes single bytes does not spend nine for each.
 */
#include "shim/kept.h"

#include <stdbool.h>
#include <string.h>

#include "base/bytes.h"

#define PIECE_HEADER 8
#define PIECE_MAX    4096                                       /* a piece that is that long is not joined any more */
#define PIECES_MAX   (BL_KEPT_MAX + BL_KEPT_MAX * PIECE_HEADER) /* one byte a piece, two channels taking turns */

void bl_kept_init(struct bl_kept *kept)
{
    *kept = (struct bl_kept){.pieces = BL_BUFFER_INIT(PIECES_MAX)};
}

/*
 * drop() - Throw the oldest bytes away until @room more fit
 *
 * The newest piece, to which join() may append, is never touched: it and @room are at most PIECE_MAX each.
 */
static void drop(struct bl_kept *kept, size_t room)
{
    while (kept->bytes + room > BL_KEPT_MAX) {
        uint8_t *piece = bl_buffer_data(&kept->pieces);
        uint32_t length = bl_get_le32(piece + 4);
        size_t excess = kept->bytes + room - BL_KEPT_MAX;

        if (excess >= length) {
            bl_buffer_consume(&kept->pieces, PIECE_HEADER + length);
            kept->bytes -= length;
            continue;
        }
        /* The front of a piece: its header moves up over it. */
        memmove(piece + excess, piece, PIECE_HEADER);
        bl_put_le32(piece + excess + 4, (uint32_t)(length - excess));
        bl_buffer_consume(&kept->pieces, excess);
        kept->bytes -= excess;
    }
}

/* join() - Append to the newest piece. Return: whether that was possible */
static bool join(struct bl_kept *kept, enum bl_channel channel, const void *bytes, size_t length)
{
    if (!kept->last || kept->channel != channel || kept->last + length > PIECE_MAX ||
        bl_buffer_append(&kept->pieces, bytes, length) < 0)
        return false;

    uint8_t *header = bl_buffer_data(&kept->pieces) + kept->pieces.length - length - kept->last - PIECE_HEADER;

    kept->last += length;
    bl_put_le32(header + 4, (uint32_t)kept->last);
    return true;
}

static bool append(struct bl_kept *kept, enum bl_channel channel, const void *bytes, size_t length)
{
    uint8_t *at = bl_buffer_reserve(&kept->pieces, PIECE_HEADER + length);

    if (!at)
        return false;
    bl_put_le32(at, channel);
    bl_put_le32(at + 4, (uint32_t)length);
    memcpy(at + PIECE_HEADER, bytes, length);
    bl_buffer_commit(&kept->pieces, PIECE_HEADER + length);
    kept->last = length;
    kept->channel = channel;
    return true;
}

void bl_kept_add(struct bl_kept *kept, enum bl_channel channel, const void *bytes, size_t length)
{
    const uint8_t *at = bytes;

    while (length) {
        size_t part = length < PIECE_MAX ? length : PIECE_MAX;

        drop(kept, part);
        if (!join(kept, channel, at, part) && !append(kept, channel, at, part))
            return;
        kept->bytes += part;
        at += part;
        length -= part;
    }
}

void bl_kept_take(struct bl_kept *kept, void (*take)(void *data, enum bl_channel channel, const void *bytes, size_t length),
                  void *data)
{
    while (kept->pieces.length) {
        const uint8_t *piece = bl_buffer_data(&kept->pieces);
        uint32_t length = bl_get_le32(piece + 4);

        take(data, (enum bl_channel)bl_get_le32(piece), piece + PIECE_HEADER, length);
        bl_buffer_consume(&kept->pieces, PIECE_HEADER + length);
    }
    bl_kept_free(kept);
}

void bl_kept_free(struct bl_kept *kept)
{
    bl_buffer_free(&kept->pieces);
    kept->bytes = kept->last = 0;
}
