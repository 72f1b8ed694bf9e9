/* SPDX-License-Identifier: Apache-2.0 */
/*
 * unpack.c - gzip and zstd
 *
 * zlib and libzstd are used directly, not through libarchive: a zstd frame's window is memory that the archive's author asks
 * for, and only libzstd's own interface can bound it.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>

#include "base/cleanup.h"
#include "image/limit.h"
#include "image/loader/stream.h"

#define BLOCK_BYTES (256u << 10)

enum kind { PLAIN, GZIP, ZSTD };

struct unpack {
    struct bl_stream stream;
    struct bl_stream *below;
    enum kind kind;
    const uint8_t *input; /* what is left of the block from below */
    size_t input_bytes;
    bool ended;     /* nothing comes from below any more */
    bool in_member; /* within a gzip member or zstd frame: an end here is too early */
    z_stream gzip;
    bool gzip_ready;
    ZSTD_DCtx *zstd;
    uint64_t window_bytes;
    char what[128];
    uint8_t *output;
};

/* fill() - Get a block from below when none is left. Return: 0; -1 with @err */
static int fill(struct unpack *unpack, struct bl_error *err)
{
    const void *data;

    if (unpack->input_bytes || unpack->ended)
        return 0;

    ssize_t got = unpack->below->next(unpack->below, &data, err);

    if (got < 0)
        return -1;
    unpack->input = data;
    unpack->input_bytes = (size_t)got;
    unpack->ended = !got;
    return 0;
}

static int cut_short(const struct unpack *unpack, struct bl_error *err)
{
    return bl_fail(err, BL_IMAGE, 0, "%s is cut short: its compressed data ends too early", unpack->what);
}

static ssize_t next_gzip(struct unpack *unpack, struct bl_error *err)
{
    z_stream *z = &unpack->gzip;

    z->next_out = unpack->output;
    z->avail_out = BLOCK_BYTES;
    while (z->avail_out) {
        if (fill(unpack, err))
            return -1;
        if (!unpack->input_bytes) {
            if (unpack->in_member)
                return cut_short(unpack, err);
            break;
        }
        if (!unpack->in_member) {
            /* After a member, zeros are padding (gzip 1.13 manual, "trailing data"); anything else is a new member. */
            if (!*unpack->input && z->total_in) {
                unpack->input++;
                unpack->input_bytes--;
                continue;
            }
            inflateReset(z);
            unpack->in_member = true;
        }
        z->next_in = (Bytef *)(uintptr_t)unpack->input;
        z->avail_in = (uInt)unpack->input_bytes;

        int result = inflate(z, Z_NO_FLUSH);

        unpack->input += unpack->input_bytes - z->avail_in;
        unpack->input_bytes = z->avail_in;
        if (result == Z_STREAM_END)
            unpack->in_member = false;
        else if (result == Z_MEM_ERROR)
            return bl_fail_memory(err);
        else if (result != Z_OK && result != Z_BUF_ERROR)
            return bl_fail(err, BL_IMAGE, 0, "%s is damaged: its gzip data is invalid%s%s", unpack->what, z->msg ? ": " : "",
                           z->msg ? z->msg : "");
    }
    return (ssize_t)(BLOCK_BYTES - z->avail_out);
}

static ssize_t next_zstd(struct unpack *unpack, struct bl_error *err)
{
    ZSTD_outBuffer out = {unpack->output, BLOCK_BYTES, 0};

    while (out.pos < out.size) {
        if (fill(unpack, err))
            return -1;
        if (unpack->ended && !unpack->in_member)
            break;

        ZSTD_inBuffer in = {unpack->input, unpack->input_bytes, 0};
        size_t before = out.pos, result = ZSTD_decompressStream(unpack->zstd, &out, &in);

        if (ZSTD_isError(result) && ZSTD_getErrorCode(result) == ZSTD_error_frameParameter_windowTooLarge)
            return bl_fail_limit(err, "zstd_window_mib", "%s needs a zstd window of more than %llu MiB", unpack->what,
                                 (unsigned long long)unpack->window_bytes >> 20);
        if (ZSTD_isError(result))
            return bl_fail(err, BL_IMAGE, 0, "%s is damaged: zstd says '%s'", unpack->what, ZSTD_getErrorName(result));
        unpack->input += in.pos;
        unpack->input_bytes -= in.pos;
        unpack->in_member = result != 0;
        if (unpack->ended && result && out.pos == before)
            return cut_short(unpack, err);
    }
    return (ssize_t)out.pos;
}

static ssize_t next_of_unpack(struct bl_stream *stream, const void **data, struct bl_error *err)
{
    struct unpack *unpack = (struct unpack *)stream;

    *data = unpack->output;
    switch (unpack->kind) {
    case GZIP:
        return next_gzip(unpack, err);
    case ZSTD:
        return next_zstd(unpack, err);
    case PLAIN:
        break;
    }
    if (fill(unpack, err))
        return -1;
    *data = unpack->input;

    size_t got = unpack->input_bytes;

    unpack->input_bytes = 0;
    return (ssize_t)got;
}

static void close_unpack(struct bl_stream *stream)
{
    struct unpack *unpack = (struct unpack *)stream;

    bl_stream_close(unpack->below);
    if (unpack->gzip_ready)
        inflateEnd(&unpack->gzip);
    ZSTD_freeDCtx(unpack->zstd);
    free(unpack->output);
    free(unpack);
}

/* begin() - Tell the kind by the first bytes and prepare for it. Return: 0; -1 with @err */
static int begin(struct unpack *unpack, uint64_t window_bytes, struct bl_error *err)
{
    static const struct {
        const char *magic;
        size_t length;
        const char *name;
    } others[] = {{"BZh", 3, "bzip2"}, {"\3757zXZ", 5, "xz"}, {"\x04\x22\x4d\x18", 4, "lz4"}};

    if (fill(unpack, err))
        return -1;
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (unpack->input_bytes >= others[i].length && !memcmp(unpack->input, others[i].magic, others[i].length))
            return bl_fail(err, BL_IMAGE, 0, "%s is compressed with %s; gzip, zstd and none are supported", unpack->what,
                           others[i].name);
    if (unpack->input_bytes >= 2 && !memcmp(unpack->input, "\x1f\x8b", 2)) {
        unpack->kind = GZIP;
        if (inflateInit2(&unpack->gzip, 16 + MAX_WBITS) != Z_OK)
            return bl_fail_memory(err);
        unpack->gzip_ready = true;
    } else if (unpack->input_bytes >= 4 && (!memcmp(unpack->input, "\x28\xb5\x2f\xfd", 4) ||
                                            (!memcmp(unpack->input + 1, "\x2a\x4d\x18", 3) && (unpack->input[0] & 0xf0) == 0x50))) {
        int window_log = 63 - __builtin_clzll(window_bytes);

        window_log = window_log < 10 ? 10 : window_log > 31 ? 31 : window_log; /* what libzstd takes */

        unpack->kind = ZSTD;
        unpack->window_bytes = window_bytes;
        unpack->zstd = ZSTD_createDCtx();
        if (!unpack->zstd || ZSTD_isError(ZSTD_DCtx_setParameter(unpack->zstd, ZSTD_d_windowLogMax, window_log)))
            return bl_fail_memory(err);
    }
    if (unpack->kind != PLAIN && !(unpack->output = malloc(BLOCK_BYTES)))
        return bl_fail_memory(err);
    return 0;
}

struct bl_stream *bl_stream_unpack(struct bl_load *load, struct bl_stream *below, const char *what, struct bl_error *err)
{
    struct unpack *unpack = below ? calloc(1, sizeof *unpack) : NULL;

    if (!unpack) {
        bl_stream_close(below);
        if (below)
            bl_fail_memory(err);
        return NULL;
    }
    unpack->stream = (struct bl_stream){next_of_unpack, close_unpack};
    unpack->below = below;
    snprintf(unpack->what, sizeof unpack->what, "%s", what);
    if (begin(unpack, load->limits.zstd_window_bytes, err)) {
        close_unpack(&unpack->stream);
        return NULL;
    }
    return &unpack->stream;
}
