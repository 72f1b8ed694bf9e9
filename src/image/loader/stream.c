/* SPDX-License-Identifier: Apache-2.0 */
/* stream.c - reading and digesting; see stream.h. Decompression is in unpack.c. */
#include "image/loader/stream.h"

#include <errno.h>
#include <openssl/evp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/os.h"
#include "image/limit.h"

#define BLOCK_BYTES        (256u << 10)
#define REPORT_INTERVAL_US 100000

bool bl_load_expired(const struct bl_load *load, struct bl_error *err)
{
    if (!load->deadline_ms || bl_now_ms() < load->deadline_ms)
        return false;
    bl_fail_limit(err, "time_s", "the image took longer than the %u s that it may take", load->limits.time_s);
    return true;
}

bool bl_load_cancelled(struct bl_load *load, struct bl_error *err)
{
    struct pollfd polled = {.fd = load->request->cancel_fd, .events = POLLIN};

    if (bl_load_expired(load, err))
        return true;
    if (polled.fd < 0 || bl_os.poll(&polled, 1, 0) < 1)
        return false;
    bl_fail(err, BL_STOPPED, 0, "loading the image was cancelled");
    return true;
}

void bl_load_report(struct bl_load *load, bool now)
{
    if (!load->request->progress)
        return;

    int64_t time = bl_now_us();

    if (!now && time - load->reported_at_us < REPORT_INTERVAL_US)
        return;
    load->reported_at_us = time;
    load->request->progress(&load->progress, load->request->progress_data);
}

void bl_stream_close(struct bl_stream *stream)
{
    if (stream)
        stream->close(stream);
}

int bl_stream_drain(struct bl_stream *stream, struct bl_error *err)
{
    const void *data;
    ssize_t got;

    while ((got = stream->next(stream, &data, err)) > 0)
        ;
    return got < 0 ? -1 : 0;
}

/* A file's range, or whatever a descriptor gives. */
struct source {
    struct bl_stream stream;
    struct bl_load *load;
    int fd;
    uint64_t offset, left;
    uint8_t block[BLOCK_BYTES];
};

static ssize_t next_of_range(struct bl_stream *stream, const void **data, struct bl_error *err)
{
    struct source *source = (struct source *)stream;
    size_t wanted = source->left < BLOCK_BYTES ? (size_t)source->left : BLOCK_BYTES;

    if (!wanted)
        return 0;
    if (bl_load_cancelled(source->load, err))
        return -1;

    ssize_t got;

    do
        got = bl_os.pread(source->fd, source->block, wanted, (off_t)source->offset);
    while (got < 0 && errno == EINTR);
    if (got < 0)
        return bl_fail(err, BL_STORAGE, errno, "read the image");
    if (!got)
        return bl_fail(err, BL_IMAGE, 0, "the image is cut short: its file ends %llu bytes early",
                       (unsigned long long)source->left);
    source->offset += (uint64_t)got;
    source->left -= (uint64_t)got;
    source->load->progress.done_bytes += (uint64_t)got;
    bl_load_report(source->load, false);
    *data = source->block;
    return got;
}

/* read_pipe() - One read, when there is something or the end. Return: bytes; -1 with @err */
static ssize_t read_pipe(struct source *source, uint8_t *to, size_t length, struct bl_error *err)
{
    struct pollfd polled[] = {{.fd = source->fd, .events = POLLIN}, {.fd = source->load->request->cancel_fd, .events = POLLIN}};

    for (;;) {
        int left = bl_deadline_left(source->load->deadline_ms ? source->load->deadline_ms : BL_NEVER);

        if (bl_os.poll(polled, 2, left) < 0 && errno != EINTR)
            return bl_fail(err, BL_STORAGE, errno, "wait for the image");
        if (bl_load_cancelled(source->load, err))
            return -1;
        if (!polled[0].revents)
            continue;

        ssize_t got = bl_os.read(source->fd, to, length);

        if (got >= 0)
            return got;
        if (errno != EINTR && errno != EAGAIN)
            return bl_fail(err, BL_STORAGE, errno, "read the image");
    }
}

static ssize_t next_of_pipe(struct bl_stream *stream, const void **data, struct bl_error *err)
{
    struct source *source = (struct source *)stream;
    size_t filled = 0;

    /* Whole blocks, however the writer cuts its bytes: what stands above tells the kind of data by the first block. */
    while (filled < BLOCK_BYTES) {
        ssize_t got = read_pipe(source, source->block + filled, BLOCK_BYTES - filled, err);

        if (got < 0)
            return -1;
        if (!got)
            break;
        filled += (size_t)got;
    }
    source->load->progress.done_bytes += filled;
    bl_load_report(source->load, false);
    *data = source->block;
    return (ssize_t)filled;
}

static void close_source(struct bl_stream *stream)
{
    free(stream);
}

static struct bl_stream *make_source(struct bl_load *load, int fd, uint64_t offset, uint64_t size, bool endless)
{
    struct source *source = malloc(sizeof *source);

    if (!source)
        return NULL;
    source->stream = (struct bl_stream){endless ? next_of_pipe : next_of_range, close_source};
    source->load = load;
    source->fd = fd;
    source->offset = offset;
    source->left = size;
    return &source->stream;
}

struct bl_stream *bl_stream_range(struct bl_load *load, int fd, uint64_t offset, uint64_t size)
{
    return make_source(load, fd, offset, size, false);
}

struct bl_stream *bl_stream_pipe(struct bl_load *load, int fd)
{
    return make_source(load, fd, 0, 0, true);
}

struct digest {
    struct bl_stream stream;
    struct bl_stream *below;
    EVP_MD_CTX *context;
    char wanted[136];
    char what[128];
};

static ssize_t next_of_digest(struct bl_stream *stream, const void **data, struct bl_error *err)
{
    struct digest *digest = (struct digest *)stream;
    ssize_t got = digest->below->next(digest->below, data, err);

    if (got > 0 && !EVP_DigestUpdate(digest->context, *data, (size_t)got))
        return bl_fail(err, BL_INTERNAL, 0, "digest %s", digest->what);
    return got;
}

static void close_digest(struct bl_stream *stream)
{
    struct digest *digest = (struct digest *)stream;

    bl_stream_close(digest->below);
    EVP_MD_CTX_free(digest->context);
    free(digest);
}

struct bl_stream *bl_stream_digest(struct bl_stream *below, const char *digest, const char *what, struct bl_error *err)
{
    struct digest *made = below ? calloc(1, sizeof *made) : NULL;

    if (!made) {
        bl_stream_close(below);
        bl_fail_memory(err);
        return NULL;
    }
    made->stream = (struct bl_stream){next_of_digest, close_digest};
    made->below = below;
    made->context = EVP_MD_CTX_new();
    snprintf(made->wanted, sizeof made->wanted, "%s", digest ? digest : "");
    snprintf(made->what, sizeof made->what, "%s", what);

    const EVP_MD *algorithm = digest && strncmp(digest, "sha512:", 7) == 0 ? EVP_sha512() : EVP_sha256();

    if (!made->context || !EVP_DigestInit_ex(made->context, algorithm, NULL)) {
        close_digest(&made->stream);
        bl_fail_memory(err);
        return NULL;
    }
    return &made->stream;
}

static void to_hex(const uint8_t *bytes, size_t length, char *hex)
{
    for (size_t i = 0; i < length; i++)
        sprintf(hex + 2 * i, "%02x", bytes[i]);
}

int bl_stream_verify(struct bl_stream *stream, struct bl_error *err)
{
    struct digest *digest = (struct digest *)stream;
    uint8_t bytes[EVP_MAX_MD_SIZE];
    unsigned int length = 0;
    char hex[2 * EVP_MAX_MD_SIZE + 1];

    if (bl_stream_drain(stream, err))
        return -1;
    if (!EVP_DigestFinal_ex(digest->context, bytes, &length))
        return bl_fail(err, BL_INTERNAL, 0, "digest %s", digest->what);
    to_hex(bytes, length, hex);
    if (strcmp(hex, digest->wanted + strlen("sha256:")) != 0)
        return bl_fail(err, BL_IMAGE, 0, "%s is damaged or forged: its digest is %.7s%s, and should be %s", digest->what,
                       digest->wanted, hex, digest->wanted);
    return 0;
}

int bl_verify_bytes(const void *bytes, size_t length, const char *digest, const char *what, struct bl_error *err)
{
    const EVP_MD *algorithm = strncmp(digest, "sha512:", 7) == 0 ? EVP_sha512() : EVP_sha256();
    uint8_t computed[EVP_MAX_MD_SIZE];
    unsigned int size = 0;
    char hex[2 * EVP_MAX_MD_SIZE + 1];

    if (!EVP_Digest(bytes, length, computed, &size, algorithm, NULL))
        return bl_fail(err, BL_INTERNAL, 0, "digest %s", what);
    to_hex(computed, size, hex);
    if (strcmp(hex, digest + strlen("sha256:")) != 0)
        return bl_fail(err, BL_IMAGE, 0, "%s is damaged or forged: its digest is %.7s%s, and should be %s", what, digest, hex,
                       digest);
    return 0;
}

int bl_sha256_hex(const void *bytes, size_t length, char hex[65], struct bl_error *err)
{
    uint8_t digest[EVP_MAX_MD_SIZE];

    if (!EVP_Digest(bytes, length, digest, NULL, EVP_sha256(), NULL))
        return bl_fail(err, BL_INTERNAL, 0, "compute a digest");
    to_hex(digest, 32, hex);
    return 0;
}
