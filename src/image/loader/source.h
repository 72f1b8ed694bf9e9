/* SPDX-License-Identifier: Apache-2.0 */
/*
 * source.h - where an image comes from: a directory or an archive, as named files
 *
 * A plain archive in a regular file is read in place; one that is compressed or comes through a pipe is first written to a
 * nameless file of the home's partial/, since its index stands at the end as often as at the start.
 */
#ifndef BL_IMAGE_LOADER_SOURCE_H
#define BL_IMAGE_LOADER_SOURCE_H

#include "base/buffer.h"
#include "image/loader/stream.h"

struct bl_source;

/* bl_source_open() - Open what the request names. Return: 0; -1 with @err */
int bl_source_open(struct bl_load *load, struct bl_source **out, struct bl_error *err);
void bl_source_close(struct bl_source *source);
/*
 * A source whose content is fetched when it is asked for, by digest: a registry. The calls return what they can get; whether it has
 * the digest is checked by whoever asked.
 */
struct bl_remote {
    const char *what; /* how messages call it */
    int (*read)(struct bl_remote *remote, const char *digest, struct bl_buffer *out, struct bl_error *err);
    struct bl_stream *(*stream)(struct bl_remote *remote, const char *digest, uint64_t *size_bytes, struct bl_error *err);
};

/* bl_source_remote() - A source over a remote, which stays the caller's. Return: 0; -1 with @err */
int bl_source_remote(struct bl_load *load, struct bl_remote *remote, struct bl_source **out, struct bl_error *err);

/* bl_source_describe() - How messages call it. */
const char *bl_source_describe(const struct bl_source *source);

/* A file of the source; @fd is its own when @owned. */
struct bl_blob {
    int fd;
    bool owned;
    uint64_t offset, size;
};

#define BL_BLOB_NONE                                                                                                               \
    {                                                                                                                              \
        -1, false, 0, 0                                                                                                            \
    }

/* bl_source_find() - A file by its name, "blobs/sha256/..." say. Return: 0; -1 with BL_NOT_FOUND or another error */
int bl_source_find(struct bl_source *source, const char *name, struct bl_blob *out, struct bl_error *err);
/*
 * bl_source_stream() - The bytes of a file, from its start
 * @blob: what it is; to be closed after the stream
 *
 * Return: NULL with @err, as bl_source_find()
 */
struct bl_stream *bl_source_stream(struct bl_source *source, const char *name, struct bl_blob *blob, struct bl_error *err);
void bl_blob_close(struct bl_blob *blob);
#define cleanup_blob __attribute__((cleanup(bl_blob_close)))

/*
 * bl_source_read() - A whole document
 * @digest: what it must have; NULL: not known
 * @out: its bytes are appended; its maximum bounds them
 */
int bl_source_read(struct bl_source *source, const char *name, const char *digest, struct bl_buffer *out, struct bl_error *err);

#endif
