/* SPDX-License-Identifier: Apache-2.0 */
/* pack.c - digest, gzip, digest, file; see pack.h */
#include "image/loader/pack.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <zlib.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/os.h"
#include "image/record.h"

#define BLOCK_BYTES (256u << 10)
#define LEVEL       3 /* twice as fast as zlib's usual one, for a twentieth more bytes */

struct bl_pack {
    struct bl_load *load;
    int fd;
    uint64_t size_bytes;
    EVP_MD_CTX *before, *after;
    z_stream gzip;
    bool gzip_ready;
    uint8_t block[BLOCK_BYTES];
};

void bl_pack_close(struct bl_pack *pack)
{
    if (!pack)
        return;
    if (pack->gzip_ready)
        deflateEnd(&pack->gzip);
    EVP_MD_CTX_free(pack->before);
    EVP_MD_CTX_free(pack->after);
    bl_close_fd(&pack->fd);
    free(pack);
}

int bl_pack_open(struct bl_load *load, struct bl_pack **out, struct bl_error *err)
{
    struct bl_pack *pack = calloc(1, sizeof *pack);
    char name[64];

    if (!pack)
        return bl_fail_memory(err);
    pack->load = load;
    pack->fd = bl_partial_create(load->images_fd, name, sizeof name, err);
    if (pack->fd < 0) {
        bl_pack_close(pack);
        return -1;
    }
    bl_os.unlinkat(load->images_fd, name, 0);
    pack->before = EVP_MD_CTX_new();
    pack->after = EVP_MD_CTX_new();
    /* 16: a gzip header, which has no time in it unless it is given one: the same bytes give the same blob. */
    pack->gzip_ready = deflateInit2(&pack->gzip, LEVEL, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY) == Z_OK;
    if (pack->before && pack->after && pack->gzip_ready && EVP_DigestInit_ex(pack->before, EVP_sha256(), NULL) &&
        EVP_DigestInit_ex(pack->after, EVP_sha256(), NULL)) {
        *out = pack;
        return 0;
    }
    bl_pack_close(pack);
    return bl_fail_memory(err);
}

/* flush() - Write what deflate gave. Return: 0; -1 with @err */
static int flush(struct bl_pack *pack, struct bl_error *err)
{
    size_t length = BLOCK_BYTES - pack->gzip.avail_out;

    if (!EVP_DigestUpdate(pack->after, pack->block, length))
        return bl_fail(err, BL_INTERNAL, 0, "digest a layer");
    if (bl_write_all(pack->fd, pack->block, length))
        return bl_fail(err, errno == ENOSPC || errno == EDQUOT ? BL_RESOURCE_EXHAUSTED : BL_STORAGE, errno,
                       "write a layer to %s/partial", pack->load->images_path);
    pack->size_bytes += length;
    return 0;
}

/* feed() - Compress what is there. @flush_mode: Z_NO_FLUSH, or Z_FINISH at the end. Return: 0; -1 with @err */
static int feed(struct bl_pack *pack, int flush_mode, struct bl_error *err)
{
    int result = Z_OK;

    do {
        pack->gzip.next_out = pack->block;
        pack->gzip.avail_out = BLOCK_BYTES;
        result = deflate(&pack->gzip, flush_mode);
        if (result == Z_STREAM_ERROR)
            return bl_fail(err, BL_INTERNAL, 0, "compress a layer");
        if (flush(pack, err))
            return -1;
    } while (flush_mode == Z_FINISH ? result != Z_STREAM_END : !pack->gzip.avail_out);
    return 0;
}

int bl_pack_write(struct bl_pack *pack, const void *bytes, size_t length, struct bl_error *err)
{
    const uint8_t *at = bytes;

    if (!EVP_DigestUpdate(pack->before, bytes, length))
        return bl_fail(err, BL_INTERNAL, 0, "digest a layer");
    while (length) {
        size_t part = length < BLOCK_BYTES ? length : BLOCK_BYTES;

        if (bl_load_cancelled(pack->load, err))
            return -1;
        pack->gzip.next_in = (Bytef *)(uintptr_t)at;
        pack->gzip.avail_in = (uInt)part;
        if (feed(pack, Z_NO_FLUSH, err))
            return -1;
        at += part;
        length -= part;
    }
    return 0;
}

/* digest_text() - "sha256:<hex>". Return: 0; -1 with @err */
static int digest_text(EVP_MD_CTX *context, char text[BL_DIGEST_MAX], struct bl_error *err)
{
    uint8_t bytes[EVP_MAX_MD_SIZE];
    int at = snprintf(text, BL_DIGEST_MAX, "sha256:");

    if (!EVP_DigestFinal_ex(context, bytes, NULL))
        return bl_fail(err, BL_INTERNAL, 0, "digest a layer");
    for (size_t i = 0; i < 32; i++)
        at += snprintf(text + at, (size_t)(BL_DIGEST_MAX - at), "%02x", bytes[i]);
    return 0;
}

int bl_pack_finish(struct bl_pack *pack, struct bl_packed *out, struct bl_error *err)
{
    pack->gzip.avail_in = 0;
    if (feed(pack, Z_FINISH, err) || digest_text(pack->before, out->diff_id, err) || digest_text(pack->after, out->digest, err))
        return -1;
    out->size_bytes = pack->size_bytes;
    out->fd = bl_steal_fd(&pack->fd);
    return 0;
}
