/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fields.h - tagged fields, the payload of most frames
 *
 * A field is u16 tag, u32 length (both little-endian) and its bytes. Numbers are u32 or u64 by length, strings are bytes
 * without a NUL and without one inside, lists are repeated tags in order. A reader skips tags that it does not know, so that
 * an older peer understands what it can.
 *
 * The reader checks every length against the end; strings and lists have limits that the caller names.
 */
#ifndef BL_PROTO_FIELDS_H
#define BL_PROTO_FIELDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"

#define BL_FIELD_HEADER_BYTES 6

int bl_field_put_bytes(struct bl_buffer *out, uint16_t tag, const void *bytes, size_t length);
int bl_field_put_string(struct bl_buffer *out, uint16_t tag, const char *text); /* NULL: puts nothing */
int bl_field_put_strings(struct bl_buffer *out, uint16_t tag, const char *const *list);
int bl_field_put_u32(struct bl_buffer *out, uint16_t tag, uint32_t value);
int bl_field_put_u64(struct bl_buffer *out, uint16_t tag, uint64_t value);

/* One field while reading; its bytes lie in the payload. */
struct bl_field {
    uint16_t tag;
    const uint8_t *bytes;
    uint32_t length;
};

struct bl_field_reader {
    const uint8_t *at;
    size_t left;
};

#define BL_FIELD_READER(payload, length)                                                                                           \
    {                                                                                                                              \
        (payload), (length)                                                                                                        \
    }

/* bl_field_next() - Return: 1 and *@field; 0 at the end; -1 when the rest is no field */
int bl_field_next(struct bl_field_reader *reader, struct bl_field *field);
/* bl_field_number() - A u32 or u64 field. Return: 0; -1 when it is neither */
int bl_field_number(const struct bl_field *field, uint64_t *out);
/* bl_field_string() - Copy a string of at most @max bytes. Return: allocated; NULL: too long, a NUL inside, or no memory */
char *bl_field_string(const struct bl_field *field, size_t max);
/* bl_field_add_string() - Copy a string to the end of a list (base/strings.h) of at most @max_count. Return: 0; -1 */
int bl_field_add_string(const struct bl_field *field, size_t max, size_t max_count, char ***list);

#endif
