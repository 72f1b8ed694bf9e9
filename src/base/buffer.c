/* SPDX-License-Identifier: Apache-2.0 */
/* buffer.c - growing, bounded buffers; see buffer.h */
#include "base/buffer.h"

#include <stdlib.h>
#include <string.h>

#define SMALLEST_CAPACITY 256

uint8_t *bl_buffer_reserve(struct bl_buffer *buffer, size_t length)
{
    if (length > bl_buffer_room(buffer))
        return NULL;
    if (buffer->memory && buffer->capacity - buffer->start - buffer->length >= length)
        return bl_buffer_data(buffer) + buffer->length;

    size_t needed = buffer->length + length;

    if (buffer->memory && needed <= buffer->capacity / 2) {
        /* Moving at most half of the memory costs no more than what was consumed before it. */
        memmove(buffer->memory, bl_buffer_data(buffer), buffer->length);
        buffer->start = 0;
        return buffer->memory + buffer->length;
    }

    size_t capacity = buffer->capacity ? buffer->capacity : SMALLEST_CAPACITY;

    while (capacity < needed)
        capacity = capacity > SIZE_MAX / 2 ? needed : capacity * 2;

    uint8_t *memory = malloc(capacity);

    if (!memory)
        return NULL;
    if (buffer->length)
        memcpy(memory, bl_buffer_data(buffer), buffer->length);
    free(buffer->memory);
    buffer->memory = memory;
    buffer->capacity = capacity;
    buffer->start = 0;
    return memory + buffer->length;
}

void bl_buffer_commit(struct bl_buffer *buffer, size_t length)
{
    buffer->length += length;
}

int bl_buffer_append(struct bl_buffer *buffer, const void *bytes, size_t length)
{
    uint8_t *room = bl_buffer_reserve(buffer, length);

    if (!room)
        return -1;
    if (length)
        memcpy(room, bytes, length);
    bl_buffer_commit(buffer, length);
    return 0;
}

void bl_buffer_consume(struct bl_buffer *buffer, size_t length)
{
    buffer->start += length;
    buffer->length -= length;
    if (!buffer->length)
        buffer->start = 0;
}

void bl_buffer_clear(struct bl_buffer *buffer)
{
    buffer->start = 0;
    buffer->length = 0;
}

void bl_buffer_free(struct bl_buffer *buffer)
{
    free(buffer->memory);
    buffer->memory = NULL;
    buffer->capacity = 0;
    bl_buffer_clear(buffer);
}
