/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz_entries.c - headers of a copy's entries: no name that leaves the copy's target, nothing read past the end */
#include <string.h>

#include "fuzz.h"
#include "proto/entry.h"

/* stays_inside() - The receiver's own view of a relative path, written apart from the decoder's. */
static int stays_inside(const char *path)
{
    if (*path == '/')
        return 0;
    while (*path) {
        size_t length = strcspn(path, "/");

        if ((length == 1 && path[0] == '.') || (length == 2 && path[0] == '.' && path[1] == '.'))
            return 0;
        path += length + (path[length] == '/');
    }
    return 1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bl_entry entry;
    size_t used = 0;

    while (size && bl_entry_decode(data, size, &entry, &used) > 0) {
        cleanup_buffer struct bl_buffer bytes = BL_BUFFER_INIT(1u << 20);
        struct bl_entry again;
        size_t used_again = 0;

        must(used > 0 && used <= size);
        must(stays_inside(entry.path) && (!entry.name || (stays_inside(entry.name) && !strchr(entry.name, '/'))));
        if (entry.type == BL_ENTRY_HARDLINK)
            must(stays_inside(entry.link));
        must(bl_entry_encode(&bytes, &entry) == 0);
        must(bl_entry_decode(bl_buffer_data(&bytes), bytes.length, &again, &used_again) == 1 && used_again == bytes.length);
        must(again.type == entry.type);
        if (entry.type != BL_ENTRY_END)
            must(again.mode == entry.mode && again.size == entry.size && !strcmp(again.path, entry.path));
        bl_entry_free(&again);
        bl_entry_free(&entry);
        data += used;
        size -= used;
    }
    return 0;
}
