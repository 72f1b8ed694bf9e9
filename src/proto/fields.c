/* SPDX-License-Identifier: Apache-2.0 */
/* fields.c - tagged fields; the format is described in fields.h */
#include "proto/fields.h"

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/strings.h"

int bl_field_put_bytes(struct bl_buffer *out, uint16_t tag, const void *bytes, size_t length)
{
    if (length > UINT32_MAX - BL_FIELD_HEADER_BYTES)
        return -1;

    uint8_t *at = bl_buffer_reserve(out, BL_FIELD_HEADER_BYTES + length);

    if (!at)
        return -1;
    bl_put_le16(at, tag);
    bl_put_le32(at + 2, (uint32_t)length);
    if (length)
        memcpy(at + BL_FIELD_HEADER_BYTES, bytes, length);
    bl_buffer_commit(out, BL_FIELD_HEADER_BYTES + length);
    return 0;
}

int bl_field_put_string(struct bl_buffer *out, uint16_t tag, const char *text)
{
    return text ? bl_field_put_bytes(out, tag, text, strlen(text)) : 0;
}

int bl_field_put_strings(struct bl_buffer *out, uint16_t tag, const char *const *list)
{
    for (; list && *list; list++)
        if (bl_field_put_string(out, tag, *list) < 0)
            return -1;
    return 0;
}

int bl_field_put_u32(struct bl_buffer *out, uint16_t tag, uint32_t value)
{
    uint8_t bytes[4];

    bl_put_le32(bytes, value);
    return bl_field_put_bytes(out, tag, bytes, sizeof bytes);
}

int bl_field_put_u64(struct bl_buffer *out, uint16_t tag, uint64_t value)
{
    uint8_t bytes[8];

    bl_put_le64(bytes, value);
    return bl_field_put_bytes(out, tag, bytes, sizeof bytes);
}

int bl_field_next(struct bl_field_reader *reader, struct bl_field *field)
{
    if (!reader->left)
        return 0;
    if (reader->left < BL_FIELD_HEADER_BYTES)
        return -1;

    uint32_t length = bl_get_le32(reader->at + 2);

    if (reader->left - BL_FIELD_HEADER_BYTES < length)
        return -1;
    *field = (struct bl_field){
        .tag = bl_get_le16(reader->at),
        .bytes = reader->at + BL_FIELD_HEADER_BYTES,
        .length = length,
    };
    reader->at += BL_FIELD_HEADER_BYTES + (size_t)length;
    reader->left -= BL_FIELD_HEADER_BYTES + (size_t)length;
    return 1;
}

int bl_field_number(const struct bl_field *field, uint64_t *out)
{
    if (field->length == 4)
        *out = bl_get_le32(field->bytes);
    else if (field->length == 8)
        *out = bl_get_le64(field->bytes);
    else
        return -1;
    return 0;
}

char *bl_field_string(const struct bl_field *field, size_t max)
{
    if (field->length > max || memchr(field->bytes, '\0', field->length))
        return NULL;

    char *text = malloc((size_t)field->length + 1);

    if (!text)
        return NULL;
    memcpy(text, field->bytes, field->length);
    text[field->length] = '\0';
    return text;
}

int bl_field_add_string(const struct bl_field *field, size_t max, size_t max_count, char ***list)
{
    if (bl_strings_count((const char *const *)*list) >= max_count)
        return -1;

    char *text = bl_field_string(field, max);

    if (!text)
        return -1;

    int failed = bl_strings_append(list, text);

    free(text);
    return failed;
}
