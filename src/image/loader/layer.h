/* SPDX-License-Identifier: Apache-2.0 */
/* layer.h - one layer, a tar archive, applied to a tree */
#ifndef BL_IMAGE_LOADER_LAYER_H
#define BL_IMAGE_LOADER_LAYER_H

#include "image/loader/stream.h"
#include "image/loader/tree.h"

struct archive;

/*
 * bl_layer_apply() - Read a layer and apply it
 * @stream: decompressed bytes of the layer; read to its end only as far as the archive goes
 * @what: how messages call it
 *
 * Return: 0; -1: BL_IMAGE, BL_RESOURCE_EXHAUSTED (a limit, or the disk), BL_STOPPED, BL_STORAGE
 */
int bl_layer_apply(struct bl_load *load, struct bl_stream *stream, struct bl_tree *tree, struct bl_ext4 *ext4, const char *what,
                   struct bl_error *err);

/*
 * A tar reader on a stream. libarchive interprets names by the locale; within bl_bytes_begin() and _end() this thread's is "C",
 * in which names stay the bytes that they are.
 */
struct bl_tar {
    struct archive *archive;
    struct bl_stream *stream;
    struct bl_error failure; /* of the stream, which libarchive would lose */
};

/* bl_tar_open() - Read a tar archive; the stream stays the caller's. @what: how messages call it. Return: 0; -1 with @err */
int bl_tar_open(struct bl_tar *tar, struct bl_stream *stream, const char *what, struct bl_error *err);
void bl_tar_close(struct bl_tar *tar);
/* bl_tar_fail() - Say why libarchive failed. Return: always -1 */
int bl_tar_fail(struct bl_tar *tar, const char *what, struct bl_error *err);

/* bl_bytes_begin(), bl_bytes_end() - The "C" locale for this thread, and back. */
void *bl_bytes_begin(void);
void bl_bytes_end(void *before);

#endif
