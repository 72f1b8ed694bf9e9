/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stream.h - bytes that pass through the loader: read, verified, decompressed
 *
 * A stream gives blocks. Streams stand on one another: a layer is a file's range, below a digest of what was stored, below
 * a decompressor, below a digest of what came out. A block stays valid until the next call; closing a stream closes
 * those below it. One thread uses a stream.
 */
#ifndef BL_IMAGE_LOADER_STREAM_H
#define BL_IMAGE_LOADER_STREAM_H

#include <stdint.h>
#include <sys/types.h>

#include "image/image.h"
#include "image/platform.h"

/* What all steps of one load share; owned by the load, one thread. */
struct bl_load {
    int images_fd;           /* <home>/images */
    const char *images_path; /* the same, absolute */
    const struct bl_load_request *request;
    struct bl_load_limits limits; /* no field is 0 */
    int64_t deadline_ms;          /* of the monotonic clock; 0: none */
    struct bl_platform platform;
    struct bl_load_progress progress;
    int64_t reported_at_us;  /* when progress was told last */
    uint64_t unpacked_bytes; /* of all layers so far */
    uint64_t layer_bytes;    /* of the layer under way, unpacked */
    uint64_t entries;        /* of all layers so far */
    uint64_t disk_bytes;     /* size of disk to try first; 0: the default */
};

/* bl_load_expired() - Whether its time is over; fills @err with BL_RESOURCE_EXHAUSTED. */
bool bl_load_expired(const struct bl_load *load, struct bl_error *err);
/* bl_load_cancelled() - Whether the caller gave up, which fills @err with BL_STOPPED, or the time is over. */
bool bl_load_cancelled(struct bl_load *load, struct bl_error *err);
/* bl_load_report() - Tell the caller how far it is, at most ten times a second unless @now. */
void bl_load_report(struct bl_load *load, bool now);

struct bl_stream {
    /* Return: bytes at *@data, 0 at the end, -1 with @err */
    ssize_t (*next)(struct bl_stream *stream, const void **data, struct bl_error *err);
    void (*close)(struct bl_stream *stream);
};

/* bl_stream_close() - Close a stream and those below it; NULL is fine. */
void bl_stream_close(struct bl_stream *stream);
static inline void bl_stream_close_p(struct bl_stream **stream)
{
    bl_stream_close(*stream);
}
#define cleanup_stream __attribute__((cleanup(bl_stream_close_p)))

/* bl_stream_range() - @size bytes at @offset of a file, which stays the caller's; counted as progress. Return: NULL without memory
 */
struct bl_stream *bl_stream_range(struct bl_load *load, int fd, uint64_t offset, uint64_t size);
/* bl_stream_pipe() - All bytes that a descriptor gives, which stays the caller's. Return: NULL without memory */
struct bl_stream *bl_stream_pipe(struct bl_load *load, int fd);

/*
 * bl_stream_digest() - Pass blocks on and digest them
 * @below: taken over, also on failure
 * @digest: "sha256:<hex>" or "sha512:<hex>", what it should come to; NULL: sha256, only counted and told
 * @what: how messages call it; copied
 */
struct bl_stream *bl_stream_digest(struct bl_stream *below, const char *digest, const char *what, struct bl_error *err);
/* bl_stream_verify() - Read what is left, and compare. Return: 0; -1 with BL_IMAGE when it is not the digest that was asked for */
int bl_stream_verify(struct bl_stream *stream, struct bl_error *err);
/* bl_stream_drain() - Read what is left. Return: 0; -1 with @err */
int bl_stream_drain(struct bl_stream *stream, struct bl_error *err);

/*
 * bl_stream_unpack() - Decompress gzip or zstd, told by its first bytes; pass on what is neither
 * @below: taken over, also on failure
 * @what: how messages call it; copied
 *
 * Several gzip members or zstd frames in a row are one text, as their formats say.
 */
struct bl_stream *bl_stream_unpack(struct bl_load *load, struct bl_stream *below, const char *what, struct bl_error *err);

/* bl_verify_bytes() - Compare the digest of some bytes. @what: how messages call them. Return: 0; -1 with BL_IMAGE */
int bl_verify_bytes(const void *bytes, size_t length, const char *digest, const char *what, struct bl_error *err);

/* bl_sha256_hex() - SHA-256 of some bytes as 64 digits and an end. Return: 0; -1 with @err */
int bl_sha256_hex(const void *bytes, size_t length, char hex[65], struct bl_error *err);

#endif
