/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pull_layers.c - layers that download while they are applied
 *
 * One thread does both. A layer's stream reads the file that its download fills; when it runs dry it advances all downloads until
 * there is more, and when it does not it gives them a turn anyway, so sockets are drained while the disk is written. The
 * kernel's socket buffers bridge the gaps. Bytes go from the socket to the file and from there, through the digest, to the disk.
 *
 * A layer that came before the ones below it is verified while it waits, a block a turn, so that a damaged one is not found out
 * only after everything below it was written.
 *
 * At most @parallel layers download at once, in the manifest's order: the lowest is the one that is waited for.
 */
#include <errno.h>
#include <inttypes.h>
#include <openssl/evp.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/os.h"
#include "base/strings.h"
#include "image/pull.h"

#define PARALLEL           3
#define BLOCK_BYTES        (256u << 10)
#define REPORT_INTERVAL_US 100000

static int write_layer(struct bl_transfer *transfer, const void *bytes, size_t length, struct bl_error *err)
{
    const struct bl_download *download = transfer->data;
    const uint8_t *at = bytes;
    uint64_t offset = transfer->offset_bytes;

    while (length) {
        ssize_t done = bl_os.pwrite(download->blob.fd, at, length, (off_t)offset);

        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return bl_fail(err, errno == ENOSPC || errno == EDQUOT ? BL_RESOURCE_EXHAUSTED : BL_STORAGE, errno,
                           "%s: write to images/blobs", download->what);
        at += done;
        offset += (uint64_t)done;
        length -= (size_t)done;
    }
    return 0;
}

static int authorize_layer(struct bl_transfer *transfer, const struct bl_auth_challenge *challenge, struct bl_error *err)
{
    const struct bl_download *download = transfer->data;

    return bl_registry_authorize(download->pull->registry, challenge, err);
}

int bl_pull_layers_init(struct bl_pull *pull, const struct bl_descriptor *layers, size_t count, struct bl_error *err)
{
    pull->downloads = calloc(count ? count : 1, sizeof *pull->downloads);
    pull->shown = calloc(count ? count : 1, sizeof *pull->shown);
    if (!pull->downloads || !pull->shown)
        return bl_fail_memory(err);
    pull->count = count;
    for (size_t i = 0; i < count; i++) {
        struct bl_download *download = &pull->downloads[i];

        download->layer = &layers[i];
        download->pull = pull;
        download->blob = (struct bl_blob_file)BL_BLOB_FILE_NONE;
        download->what = bl_format("get layer %zu (%.19s)", i + 1, layers[i].digest);
        pull->shown[i] = (struct bl_pull_layer){.digest = layers[i].digest, .total_bytes = layers[i].size_bytes};
        if (!download->what)
            return bl_fail_memory(err);
    }
    return 0;
}

void bl_pull_layers_free(struct bl_pull *pull)
{
    for (size_t i = 0; i < pull->count; i++) {
        bl_transfer_finish(&pull->downloads[i].transfer);
        bl_blob_finish(&pull->downloads[i].blob);
        EVP_MD_CTX_free(pull->downloads[i].digest);
        free(pull->downloads[i].what);
    }
    free(pull->downloads);
    free(pull->shown);
    pull->downloads = NULL;
    pull->shown = NULL;
    pull->damaged = NULL;
    pull->count = 0;
}

/* find() - The download of a digest: the first layer that has it. */
static struct bl_download *find(const struct bl_pull *pull, const char *digest)
{
    for (size_t i = 0; i < pull->count; i++)
        if (!strcmp(pull->downloads[i].layer->digest, digest))
            return &pull->downloads[i];
    return NULL;
}

static bool is_running(const struct bl_download *download)
{
    return download->transfer.state == BL_TRANSFER_WAITING || download->transfer.state == BL_TRANSFER_RUNNING;
}

static bool is_complete(const struct bl_download *download)
{
    return download->blob.fd >= 0 && download->transfer.offset_bytes == download->layer->size_bytes;
}

/* begin() - Open a layer's file and get what is missing of it. Return: 0; -1 with @err */
static int begin(struct bl_download *download, struct bl_error *err)
{
    struct bl_pull *pull = download->pull;
    struct bl_transfer *transfer = &download->transfer;

    if (bl_blob_open(pull->images_fd, download->layer->digest, download->layer->size_bytes, &download->blob, err))
        return -1;
    download->continued = download->blob.have_bytes > 0;
    *transfer = (struct bl_transfer){
        .what = download->what,
        .size_bytes = download->layer->size_bytes,
        .limit_bytes = download->layer->size_bytes,
        .offset_bytes = download->blob.have_bytes,
        .sink = write_layer,
        .unauthorized = authorize_layer,
        .data = download,
    };
    if (is_complete(download)) {
        transfer->state = BL_TRANSFER_DONE;
        return 0;
    }
    if (bl_registry_prepare_blob(pull->registry, download->layer->digest, transfer, err))
        return -1;
    bl_http_start(bl_registry_http(pull->registry), transfer);
    return 0;
}

/* begin_more() - Keep as many downloads going as there may be. Return: 0; -1 with @err */
static int begin_more(struct bl_pull *pull, struct bl_error *err)
{
    unsigned int most = pull->request->parallel ? pull->request->parallel : PARALLEL, running = 0;

    for (size_t i = 0; i < pull->count; i++)
        running += is_running(&pull->downloads[i]);
    for (size_t i = 0; i < pull->count && running < most; i++) {
        struct bl_download *download = &pull->downloads[i];

        if (download->transfer.state != BL_TRANSFER_IDLE || find(pull, download->layer->digest) != download)
            continue;
        if (begin(download, err))
            return -1;
        running += is_running(download);
    }
    return 0;
}

enum verdict { MORE, RIGHT, WRONG, UNKNOWN };

/* conclude() - All bytes were digested: is the digest the layer's? */
static enum verdict conclude(const struct bl_download *download)
{
    uint8_t bytes[EVP_MAX_MD_SIZE];
    char hex[2 * EVP_MAX_MD_SIZE + 1];
    unsigned int length = 0;

    if (!EVP_DigestFinal_ex(download->digest, bytes, &length))
        return UNKNOWN;
    for (unsigned int i = 0; i < length; i++)
        snprintf(hex + 2 * i, 3, "%02x", bytes[i]);
    return strcmp(hex, download->layer->digest + strlen("sha256:")) == 0 ? RIGHT : WRONG;
}

/* digest_block() - Digest the next block of a layer that is all there, and conclude after its last one. */
static enum verdict digest_block(struct bl_download *download, uint8_t *block)
{
    const EVP_MD *algorithm = strncmp(download->layer->digest, "sha512:", 7) == 0 ? EVP_sha512() : EVP_sha256();
    ssize_t got;

    if (!download->digest) {
        download->digest = EVP_MD_CTX_new();
        download->digested_bytes = 0;
        if (!download->digest || !EVP_DigestInit_ex(download->digest, algorithm, NULL))
            return UNKNOWN;
    }
    do
        got = bl_os.pread(download->blob.fd, block, BLOCK_BYTES, (off_t)download->digested_bytes);
    while (got < 0 && errno == EINTR);
    if (got < 0 || !EVP_DigestUpdate(download->digest, block, (size_t)got))
        return UNKNOWN;
    download->digested_bytes += (uint64_t)got;
    if (download->digested_bytes < download->layer->size_bytes)
        return got ? MORE : UNKNOWN;
    return conclude(download);
}

/* verify_block() - digest_block(), whose context goes with the verdict. */
static enum verdict verify_block(struct bl_download *download)
{
    cleanup_free uint8_t *block = malloc(BLOCK_BYTES);
    enum verdict verdict = block ? digest_block(download, block) : UNKNOWN;

    if (verdict != MORE) {
        EVP_MD_CTX_free(download->digest);
        download->digest = NULL;
    }
    return verdict;
}

/* discard() - Remove a layer whose digest is wrong. Return: -1 with @err */
static int discard(struct bl_pull *pull, struct bl_download *download, struct bl_error *err)
{
    bl_blob_discard(pull->images_fd, download->layer->digest, &download->blob);
    return bl_fail(err, BL_IMAGE, 0, "layer %zu (%.19s) is damaged or forged: what came does not have its digest; it was removed",
                   (size_t)(download - pull->downloads) + 1, download->layer->digest);
}

/* waits_unverified() - Whether a layer came early, in this pull, and nobody has looked at it yet */
static bool waits_unverified(const struct bl_download *download)
{
    return is_complete(download) && !download->blob.whole && !download->checked && !download->reading && !download->read_bytes;
}

/*
 * verify_early() - Verify a block of a layer that waits for its turn
 *
 * What can't be told here is told when the layer is read. Return: 1: it did; 0: there is none; -1 with @err: its digest is wrong
 */
static int verify_early(struct bl_pull *pull, struct bl_error *err)
{
    for (size_t i = 0; i < pull->count; i++) {
        struct bl_download *download = &pull->downloads[i];

        if (!waits_unverified(download))
            continue;

        enum verdict verdict = verify_block(download);

        download->checked = verdict != MORE;
        if (verdict == WRONG) {
            pull->damaged = download;
            return discard(pull, download, err);
        }
        return 1;
    }
    return 0;
}

/* advance() - Give all downloads a turn, or wait until there is something for them to do. Return: 0; -1 with @err */
static int advance(struct bl_pull *pull, bool wait, struct bl_error *err)
{
    int verified = begin_more(pull, err) ? -1 : verify_early(pull, err);

    if (verified < 0 || bl_http_step(bl_registry_http(pull->registry), wait && !verified, err))
        return -1;
    bl_pull_report(pull, false);
    return 0;
}

/* need() - Wait until a layer has this many bytes. Return: 0; -1 with @err */
static int need(struct bl_download *download, uint64_t bytes, struct bl_error *err)
{
    bool wait = false;

    do {
        if (advance(download->pull, wait, err))
            return -1;
        if (download->transfer.state == BL_TRANSFER_FAILED) {
            if (err)
                *err = download->transfer.error;
            return -1;
        }
        wait = true;
    } while (download->transfer.offset_bytes < bytes);
    return 0;
}

struct layer_stream {
    struct bl_stream stream;
    struct bl_download *download;
    uint8_t block[BLOCK_BYTES];
};

static ssize_t next_of_layer(struct bl_stream *stream, const void **data, struct bl_error *err)
{
    struct layer_stream *layer = (struct layer_stream *)stream;
    struct bl_download *download = layer->download;
    uint64_t left = download->layer->size_bytes - download->read_bytes;
    size_t wanted = left < BLOCK_BYTES ? (size_t)left : BLOCK_BYTES;
    size_t got = 0;

    if (!wanted) {
        download->ended = true;
        return 0;
    }
    if (need(download, download->read_bytes + wanted, err))
        return -1;
    /* Whole blocks: who looks at the first one tells by it what kind of archive this is. */
    while (got < wanted) {
        ssize_t n = bl_os.pread(download->blob.fd, layer->block + got, wanted - got, (off_t)(download->read_bytes + got));

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return bl_fail(err, BL_STORAGE, n < 0 ? errno : 0, "%s: read it back from images/blobs", download->what);
        got += (size_t)n;
    }
    download->read_bytes += got;
    *data = layer->block;
    return (ssize_t)got;
}

static void close_layer(struct bl_stream *stream)
{
    struct layer_stream *layer = (struct layer_stream *)stream;

    layer->download->reading = false;
    free(layer);
}

struct bl_stream *bl_pull_layer_stream(struct bl_pull *pull, const char *digest, uint64_t *size_bytes, struct bl_error *err)
{
    struct bl_download *download = find(pull, digest);
    struct layer_stream *layer;

    if (!download) {
        bl_fail(err, BL_INTERNAL, 0, "no layer %.19s in this pull", digest);
        return NULL;
    }
    if (begin_more(pull, err))
        return NULL;
    layer = malloc(sizeof *layer);
    if (!layer) {
        bl_fail_memory(err);
        return NULL;
    }
    layer->stream = (struct bl_stream){next_of_layer, close_layer};
    layer->download = download;
    download->read_bytes = 0;
    download->reading = true;
    download->ended = false;
    *size_bytes = download->layer->size_bytes;
    return &layer->stream;
}

void bl_pull_layers_keep(struct bl_pull *pull)
{
    for (size_t i = 0; i < pull->count; i++)
        if (is_complete(&pull->downloads[i]))
            bl_blob_keep(pull->images_fd, pull->downloads[i].layer->digest, &pull->downloads[i].blob);
    bl_pull_report(pull, true);
}

int bl_pull_layers_examine(struct bl_pull *pull, struct bl_error *err)
{
    if (pull->damaged)
        return pull->damaged->continued;
    for (size_t i = 0; i < pull->count; i++) {
        struct bl_download *download = &pull->downloads[i];
        enum verdict verdict;

        /* The one that was being read, or read last. */
        if (!download->read_bytes || download->blob.fd < 0)
            continue;
        if (!is_complete(download) && need(download, download->layer->size_bytes, NULL))
            return pull->damaged && pull->damaged->continued;
        do
            verdict = verify_block(download);
        while (verdict == MORE);
        if (verdict != WRONG)
            continue;
        discard(pull, download, err);
        return download->continued;
    }
    return 0;
}

static enum bl_pull_state state_of(const struct bl_download *download)
{
    if (download->ended)
        return BL_PULL_DONE;
    if (download->reading)
        return BL_PULL_WRITING;
    if (is_complete(download))
        return waits_unverified(download) ? BL_PULL_VERIFYING : BL_PULL_DOWNLOADED;
    return download->transfer.state == BL_TRANSFER_IDLE ? BL_PULL_WAITING : BL_PULL_DOWNLOADING;
}

void bl_pull_report(struct bl_pull *pull, bool now)
{
    const struct bl_pull_progress progress = {pull->reference, pull->shown, pull->count};
    int64_t time = bl_now_us();

    if (!pull->request->progress || (!now && time - pull->shown_at_us < REPORT_INTERVAL_US))
        return;
    pull->shown_at_us = time;
    for (size_t i = 0; i < pull->count; i++) {
        const struct bl_download *download = find(pull, pull->downloads[i].layer->digest);

        pull->shown[i].state = state_of(download);
        pull->shown[i].done_bytes = download->transfer.offset_bytes;
        pull->shown[i].written_bytes = download->read_bytes;
    }
    pull->request->progress(&progress, pull->request->progress_data);
}
