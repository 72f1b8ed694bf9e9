/* SPDX-License-Identifier: Apache-2.0 */
/*
 * buffer.h - bytes that grow, up to a maximum that every user must name
 *
 * One buffer has one owner and is touched by one thread at a time. Bytes are appended at the end and consumed at the start,
 * so it serves as a queue as well as a builder.
 */
#ifndef BL_BASE_BUFFER_H
#define BL_BASE_BUFFER_H

#include <stddef.h>
#include <stdint.h>

struct bl_buffer {
    uint8_t *memory;
    size_t capacity;
    size_t start;   /* offset of the first byte that was not consumed */
    size_t length;  /* bytes from start */
    size_t maximum; /* length never passes this */
};

/* BL_BUFFER_INIT() - An empty buffer; allocates nothing until bytes come. @max: bytes */
#define BL_BUFFER_INIT(max)                                                                                                        \
    {                                                                                                                              \
        NULL, 0, 0, 0, (max)                                                                                                       \
    }

/* bl_buffer_append() - Copy bytes to the end. Return: 0; -1 when the maximum or memory does not allow it (nothing changed) */
int bl_buffer_append(struct bl_buffer *buffer, const void *bytes, size_t length);
/* bl_buffer_reserve() - Make room for @length more bytes. Return: where to write them, NULL as bl_buffer_append() */
uint8_t *bl_buffer_reserve(struct bl_buffer *buffer, size_t length);
/* bl_buffer_commit() - Say that @length bytes of the reserved room were written. */
void bl_buffer_commit(struct bl_buffer *buffer, size_t length);
/* bl_buffer_consume() - Drop @length bytes from the start; @length is at most the buffer's length. */
void bl_buffer_consume(struct bl_buffer *buffer, size_t length);
/* bl_buffer_data() - The first byte; valid until the next append, reserve or free. */
static inline uint8_t *bl_buffer_data(const struct bl_buffer *buffer)
{
    return buffer->memory ? buffer->memory + buffer->start : NULL;
}
static inline size_t bl_buffer_room(const struct bl_buffer *buffer)
{
    return buffer->maximum - buffer->length;
}
/* bl_buffer_clear() - Drop all bytes, keep the memory. */
void bl_buffer_clear(struct bl_buffer *buffer);
/* bl_buffer_free() - Give the memory back; the buffer is empty and usable afterwards. */
void bl_buffer_free(struct bl_buffer *buffer);

#define cleanup_buffer __attribute__((cleanup(bl_buffer_free)))

#endif
