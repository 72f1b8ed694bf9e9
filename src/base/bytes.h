/* SPDX-License-Identifier: Apache-2.0 */
/* bytes.h - little- and big-endian numbers in byte arrays, without alignment */
#ifndef BL_BASE_BYTES_H
#define BL_BASE_BYTES_H

#include <endian.h>
#include <stdint.h>
#include <string.h>

#define BL_DEFINE_BYTES(bits, order)                                                                                               \
    static inline void bl_put_##order##bits(void *at, uint##bits##_t value)                                                        \
    {                                                                                                                              \
        uint##bits##_t stored = hto##order##bits(value);                                                                           \
        memcpy(at, &stored, sizeof stored);                                                                                        \
    }                                                                                                                              \
    static inline uint##bits##_t bl_get_##order##bits(const void *at)                                                              \
    {                                                                                                                              \
        uint##bits##_t stored;                                                                                                     \
        memcpy(&stored, at, sizeof stored);                                                                                        \
        return order##bits##toh(stored);                                                                                           \
    }

BL_DEFINE_BYTES(16, le)
BL_DEFINE_BYTES(32, le)
BL_DEFINE_BYTES(64, le)
BL_DEFINE_BYTES(16, be)
BL_DEFINE_BYTES(32, be)
BL_DEFINE_BYTES(64, be)

#endif
