/* SPDX-License-Identifier: Apache-2.0 */
/* chain.c - reading and writing the pieces of a descriptor chain; see queue.h */
#include <string.h>

#include "vmm/virtio/queue.h"

struct bl_cursor bl_chain_reader(const struct bl_chain *chain)
{
    return (struct bl_cursor){.at = chain->pieces, .left = chain->readable};
}

struct bl_cursor bl_chain_writer(const struct bl_chain *chain)
{
    return (struct bl_cursor){.at = chain->pieces + chain->readable, .left = chain->writable};
}

/* next_part() - The bytes at the cursor up to the end of their piece, at most @length; the cursor moves on. Return: bytes */
static size_t next_part(struct bl_cursor *cursor, uint64_t length, uint8_t **out)
{
    size_t part;

    if (!cursor->left || !length)
        return 0;
    part = cursor->at->iov_len - cursor->offset;
    *out = (uint8_t *)cursor->at->iov_base + cursor->offset;
    if (part > length) {
        cursor->offset += (size_t)length;
        return (size_t)length;
    }
    cursor->at++;
    cursor->left--;
    cursor->offset = 0;
    return part;
}

size_t bl_cursor_read(struct bl_cursor *cursor, void *to, size_t length)
{
    size_t done = 0, part;
    uint8_t *from;

    while ((part = next_part(cursor, length - done, &from)) > 0) {
        memcpy((uint8_t *)to + done, from, part);
        done += part;
    }
    return done;
}

size_t bl_cursor_write(struct bl_cursor *cursor, const void *from, size_t length)
{
    size_t done = 0, part;
    uint8_t *to;

    while ((part = next_part(cursor, length - done, &to)) > 0) {
        memcpy(to, (const uint8_t *)from + done, part);
        done += part;
    }
    return done;
}

uint64_t bl_cursor_skip(struct bl_cursor *cursor, uint64_t length)
{
    uint64_t done = 0;
    uint8_t *unused;
    size_t part;

    while ((part = next_part(cursor, length - done, &unused)) > 0)
        done += part;
    return done;
}

int bl_cursor_iovec(const struct bl_cursor *cursor, uint64_t length, struct iovec *out, size_t max)
{
    struct bl_cursor at = *cursor;
    size_t count = 0, part;
    uint8_t *bytes;

    while ((part = next_part(&at, length, &bytes)) > 0) {
        if (count == max)
            return -1;
        out[count++] = (struct iovec){.iov_base = bytes, .iov_len = part};
        length -= part;
    }
    return (int)count;
}
