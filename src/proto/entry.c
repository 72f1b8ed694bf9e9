/* SPDX-License-Identifier: Apache-2.0 */
/* entry.c - headers of files under way; the format and its rules are described in entry.h */
#include "proto/entry.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "proto/fields.h"
#include "proto/messages.h"

#define LENGTH_BYTES 4

int bl_entry_encode(struct bl_buffer *out, const struct bl_entry *entry)
{
    cleanup_buffer struct bl_buffer header = BL_BUFFER_INIT(BL_ENTRY_HEADER_MAX);
    uint8_t length[LENGTH_BYTES];
    int failed = bl_field_put_u32(&header, BL_ENTRY_TYPE, entry->type);

    if (entry->type != BL_ENTRY_END) {
        failed |= bl_field_put_string(&header, BL_ENTRY_PATH, entry->path);
        failed |= bl_field_put_u32(&header, BL_ENTRY_MODE, entry->mode);
        failed |= bl_field_put_u32(&header, BL_ENTRY_UID, entry->uid);
        failed |= bl_field_put_u32(&header, BL_ENTRY_GID, entry->gid);
        failed |= bl_field_put_u64(&header, BL_ENTRY_MTIME_NS, entry->mtime_ns);
        failed |= bl_field_put_string(&header, BL_ENTRY_LINK, entry->link);
        failed |= bl_field_put_string(&header, BL_ENTRY_NAME, entry->name);
    }
    if (entry->type == BL_ENTRY_FILE)
        failed |= bl_field_put_u64(&header, BL_ENTRY_SIZE, entry->size);
    if (failed || bl_buffer_room(out) < LENGTH_BYTES + header.length)
        return -1;
    bl_put_le32(length, (uint32_t)header.length);
    return bl_buffer_append(out, length, sizeof length) < 0 || bl_buffer_append(out, bl_buffer_data(&header), header.length) < 0
               ? -1
               : 0;
}

/* inside() - Whether a relative path stays where it starts: no empty, "." or ".." component, no leading "/". */
static bool inside(const char *path)
{
    if (!*path)
        return true;
    for (const char *at = path;;) {
        size_t length = strcspn(at, "/");

        if (length == 0 || (length == 1 && at[0] == '.') || (length == 2 && at[0] == '.' && at[1] == '.') ||
            length > BL_NAME_BYTES_MAX)
            return false;
        if (!at[length])
            return true;
        at += length + 1;
    }
}

static int take_field(const struct bl_field *field, struct bl_entry *entry)
{
    uint64_t number = 0;
    char **text = field->tag == BL_ENTRY_PATH   ? &entry->path
                  : field->tag == BL_ENTRY_LINK ? &entry->link
                  : field->tag == BL_ENTRY_NAME ? &entry->name
                                                : NULL;

    if (text) {
        if (*text)
            return -1;
        *text = bl_field_string(field, BL_PATH_BYTES_MAX);
        return *text ? 0 : -1;
    }
    if (field->tag < BL_ENTRY_TYPE || field->tag > BL_ENTRY_SIZE)
        return 0;
    if (bl_field_number(field, &number) < 0)
        return -1;
    switch (field->tag) {
    case BL_ENTRY_TYPE:
        if (number < BL_ENTRY_FILE || number > BL_ENTRY_END)
            return -1;
        entry->type = (enum bl_entry_type)number;
        return 0;
    case BL_ENTRY_MODE:
        entry->mode = (uint32_t)number & 07777;
        return 0;
    case BL_ENTRY_UID:
        entry->uid = (uint32_t)number;
        return 0;
    case BL_ENTRY_GID:
        entry->gid = (uint32_t)number;
        return 0;
    case BL_ENTRY_MTIME_NS:
        entry->mtime_ns = number;
        return 0;
    default:
        entry->size = number;
        return number > INT64_MAX ? -1 : 0;
    }
}

/* check() - What can't be said field by field. Return: 0; -1 */
static int check(struct bl_entry *entry)
{
    if (!entry->type)
        return -1;
    if (!entry->path && !(entry->path = strdup("")))
        return -1;
    if (!inside(entry->path))
        return -1;
    if (entry->name && (!*entry->name || !inside(entry->name) || strchr(entry->name, '/')))
        return -1;
    if (entry->type == BL_ENTRY_SYMLINK && (!entry->link || !*entry->link))
        return -1;
    if (entry->type == BL_ENTRY_HARDLINK && (!entry->link || !inside(entry->link)))
        return -1;
    if (entry->type != BL_ENTRY_FILE)
        entry->size = 0;
    return 0;
}

int bl_entry_decode(const uint8_t *bytes, size_t length, struct bl_entry *entry, size_t *used)
{
    if (length < LENGTH_BYTES)
        return 0;

    uint32_t header = bl_get_le32(bytes);

    if (header > BL_ENTRY_HEADER_MAX)
        return -1;
    if (length - LENGTH_BYTES < header)
        return 0;

    struct bl_field_reader reader = BL_FIELD_READER(bytes + LENGTH_BYTES, header);
    struct bl_field field;
    int more;

    *entry = (struct bl_entry){0};
    while ((more = bl_field_next(&reader, &field)) > 0)
        if (take_field(&field, entry) < 0)
            break;
    if (more != 0 || check(entry) < 0) {
        bl_entry_free(entry);
        return -1;
    }
    *used = LENGTH_BYTES + (size_t)header;
    return 1;
}

void bl_entry_free(struct bl_entry *entry)
{
    free(entry->path);
    free(entry->link);
    free(entry->name);
    *entry = (struct bl_entry){0};
}
