/* SPDX-License-Identifier: Apache-2.0 */
/*
 * blobs.h - <home>/images/blobs: what was pulled, as it came
 *
 *   blobs/sha256-<hex>        a manifest, configuration or layer, whole
 *   blobs/sha256-<hex>.part   the start of a layer; locked (flock) by whoever downloads it
 *
 * Layers are kept so that images which share them download them once, and for `save`. A name is a claim only: whoever reads a
 * blob compares its digest while reading. That is why nothing here waits for the disk (fsync): what a power cut damages is found
 * and fetched again.
 *
 * A blob that no known image names is swept 300 s after it came, a part after 7 days.
 */
#ifndef BL_IMAGE_BLOBS_H
#define BL_IMAGE_BLOBS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/error.h"
#include "image/document.h"

#define BL_BLOB_FILE_MAX (BL_DIGEST_MAX + 16)

/* bl_blob_file() - Name of a blob beneath <home>/images. @digest: one that bl_is_digest() accepts. Return: @file */
const char *bl_blob_file(const char *digest, char file[BL_BLOB_FILE_MAX]);

/* A layer on its way into the store, or there already. */
struct bl_blob_file {
    int fd;              /* for reading and writing; -1: not open */
    uint64_t have_bytes; /* from its start */
    bool whole;          /* it has its final name */
    bool anonymous;      /* somebody else is downloading the same: this one is for ourselves and has no name */
};

#define BL_BLOB_FILE_NONE                                                                                                          \
    {                                                                                                                              \
        -1, 0, false, false                                                                                                        \
    }

/*
 * bl_blob_open() - Open what is there of a layer, or begin it
 * @images_fd: <home>/images, with its directory blobs
 * @size_bytes: what it will have
 *
 * Return: 0; -1 with BL_STORAGE or BL_RESOURCE_EXHAUSTED
 */
int bl_blob_open(int images_fd, const char *digest, uint64_t size_bytes, struct bl_blob_file *out, struct bl_error *err);
/* bl_blob_keep() - Give a layer its final name; the caller has verified it. */
void bl_blob_keep(int images_fd, const char *digest, struct bl_blob_file *blob);
/* bl_blob_discard() - Remove a layer that turned out damaged. */
void bl_blob_discard(int images_fd, const char *digest, struct bl_blob_file *blob);
/* bl_blob_finish() - Close it; what is there stays. */
void bl_blob_finish(struct bl_blob_file *blob);

/* bl_blob_write() - Keep a document. Return: 0; -1 with @err */
int bl_blob_write(int images_fd, const char *digest, const void *bytes, size_t length, struct bl_error *err);

#define BL_BLOBS_NOW   1u /* whole blobs that nobody uses, without grace */
#define BL_BLOBS_PARTS 2u /* parts that nobody downloads, without grace */
#define BL_BLOBS_USED  4u /* blobs that images use, too */

/* bl_blobs_sweep() - Remove what is in nobody's use. @which: BL_BLOBS_...; 0: what is past its grace. */
void bl_blobs_sweep(int images_fd, unsigned int which);

#endif
