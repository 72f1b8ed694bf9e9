/* SPDX-License-Identifier: Apache-2.0 */
/*
 * entry.h - files under way, for copies into and out of a box
 *
 * A copy's channel carries entries back to back: u32 length of a header, the header as fields (enum bl_entry_tag), then, for a
 * regular file, exactly SIZE bytes. A directory comes before what is in it. The first entry is the source itself, with an empty
 * PATH; the others' PATHs are relative to it, without "." and ".." components and without a leading "/".
 *
 * Where the first entry lands is settled by the receiver of a COPY_IN as `cp -a` does it: if the target PATH of the OPEN is an
 * existing directory, the source goes into it under BL_ENTRY_NAME, unless the PATH ends in "/." (then the source's content goes
 * there); if it does not exist, the source gets that name, and its parent must exist.
 */
#ifndef BL_PROTO_ENTRY_H
#define BL_PROTO_ENTRY_H

#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"

#define BL_ENTRY_HEADER_MAX 16384 /* bytes of one entry's fields */

enum bl_entry_type { BL_ENTRY_FILE = 1, BL_ENTRY_DIRECTORY, BL_ENTRY_SYMLINK, BL_ENTRY_HARDLINK, BL_ENTRY_FIFO, BL_ENTRY_END };

enum bl_entry_tag {
    BL_ENTRY_TYPE = 1,     /* u32 */
    BL_ENTRY_PATH = 2,     /* string, empty (or none) for the source itself */
    BL_ENTRY_MODE = 3,     /* u32: permission bits, setuid, setgid, sticky */
    BL_ENTRY_UID = 4,      /* u32 */
    BL_ENTRY_GID = 5,      /* u32 */
    BL_ENTRY_MTIME_NS = 6, /* u64: since the epoch */
    BL_ENTRY_SIZE = 7,     /* u64: bytes that follow; only of a FILE */
    BL_ENTRY_LINK = 8,     /* string: a SYMLINK's target; a HARDLINK's: PATH of an earlier entry */
    BL_ENTRY_NAME = 9,     /* string: base name of the source; only in the first entry */
};

/* One entry; strings are owned. END is the last entry of a copy: without it the copy was cut short. */
struct bl_entry {
    enum bl_entry_type type;
    char *path; /* never NULL after decoding */
    char *link;
    char *name;
    uint32_t mode, uid, gid;
    uint64_t mtime_ns;
    uint64_t size;
};

/* bl_entry_encode() - Append length and header. Return: 0; -1 when the buffer can't take it or a rule is broken */
int bl_entry_encode(struct bl_buffer *out, const struct bl_entry *entry);
/*
 * bl_entry_decode() - Take the next header from the start of received bytes
 * Return: 1, *@entry (bl_entry_free()) and *@used bytes; 0: more bytes are needed; -1: no entry, or a PATH that breaks the rules
 */
int bl_entry_decode(const uint8_t *bytes, size_t length, struct bl_entry *entry, size_t *used);
void bl_entry_free(struct bl_entry *entry);

#endif
