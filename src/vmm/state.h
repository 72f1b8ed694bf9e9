/* SPDX-License-Identifier: Apache-2.0 */
/*
 * state.h - the state of a device as bytes
 *
 * Little-endian numbers one after the other; whoever writes a record begins it with a version. A reader that comes to the end
 * early gives zeros and remembers that it failed, so callers check once, at the end. A saved machine is a file that somebody may
 * have changed: what is read is checked as if it came from the guest.
 */
#ifndef BL_VMM_STATE_H
#define BL_VMM_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/buffer.h"
#include "base/bytes.h"

/* What is read; the bytes are their owner's. */
struct bl_state_reader {
    const uint8_t *at;
    size_t left;
    bool failed;
};

#define BL_STATE_READER(bytes, length)                                                                                             \
    {                                                                                                                              \
        (bytes), (length), false                                                                                                   \
    }

#define BL_DEFINE_STATE(bits)                                                                                                      \
    static inline int bl_state_put_u##bits(struct bl_buffer *out, uint##bits##_t value)                                            \
    {                                                                                                                              \
        uint8_t bytes[sizeof value];                                                                                               \
        bl_put_le##bits(bytes, value);                                                                                             \
        return bl_buffer_append(out, bytes, sizeof bytes);                                                                         \
    }                                                                                                                              \
    static inline uint##bits##_t bl_state_get_u##bits(struct bl_state_reader *reader)                                              \
    {                                                                                                                              \
        uint##bits##_t value = 0;                                                                                                  \
        if (reader->failed || reader->left < sizeof value) {                                                                       \
            reader->failed = true;                                                                                                 \
            return 0;                                                                                                              \
        }                                                                                                                          \
        value = bl_get_le##bits(reader->at);                                                                                       \
        reader->at += sizeof value;                                                                                                \
        reader->left -= sizeof value;                                                                                              \
        return value;                                                                                                              \
    }

BL_DEFINE_STATE(16)
BL_DEFINE_STATE(32)
BL_DEFINE_STATE(64)

/* bl_state_get_bytes() - Zeros when there are not so many. */
static inline void bl_state_get_bytes(struct bl_state_reader *reader, void *out, size_t length)
{
    if (reader->failed || reader->left < length) {
        reader->failed = true;
        memset(out, 0, length);
        return;
    }
    memcpy(out, reader->at, length);
    reader->at += length;
    reader->left -= length;
}

#endif
