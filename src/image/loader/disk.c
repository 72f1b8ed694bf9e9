/* SPDX-License-Identifier: Apache-2.0 */
/*
 * disk.c - building a base disk; see disk.h
 *
 * How large the files of compressed layers are is known only when all were read. So a disk of the default size is tried, and
 * one of twice the size when that was too small: images of this kind are rare.
 */
#include "image/loader/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/crash.h"
#include "base/os.h"
#include "base/strings.h"
#include "image/limit.h"
#include "image/loader/ext4.h"
#include "image/loader/layer.h"
#include "image/loader/tree.h"
#include "image/record.h"

/* Part of every key: a change of what the loader writes makes new disks. */
#define FORMAT         "boxlite disk 1\n"
#define DISK_BYTES     (UINT64_C(10) << 30)
#define DISK_BYTES_MAX (UINT64_C(1) << 40)

int bl_disk_key(const struct bl_layer_source *layers, size_t count, char key[65], struct bl_error *err)
{
    size_t length = strlen(FORMAT), at = length;

    for (size_t i = 0; i < count; i++)
        length += strlen(layers[i].diff_id) + 1;

    cleanup_free char *text = malloc(length + 1);

    if (!text)
        return bl_fail_memory(err);
    memcpy(text, FORMAT, sizeof FORMAT);
    for (size_t i = 0; i < count; i++)
        at += (size_t)sprintf(text + at, "%s\n", layers[i].diff_id);
    return bl_sha256_hex(text, length, key, err);
}

/* A disk under construction. */
struct build {
    struct bl_load *load;
    struct bl_source *source;
    struct bl_ext4 *ext4;
    struct bl_tree *tree;
};

/* counted - A stream that counts what the layers of one load unpack to, and stops a bomb. */
struct counted {
    struct bl_stream stream;
    struct bl_stream *below;
    struct bl_load *load;
    const char *what;
};

static ssize_t next_counted(struct bl_stream *stream, const void **data, struct bl_error *err)
{
    struct counted *counted = (struct counted *)stream;
    struct bl_load *load = counted->load;
    ssize_t got = counted->below->next(counted->below, data, err);

    if (got <= 0)
        return got;
    load->unpacked_bytes += (uint64_t)got;
    load->layer_bytes += (uint64_t)got;
    if (load->unpacked_bytes > load->limits.total_bytes)
        return bl_fail_limit(err, "unpacked_mib", "the image unpacks to more than %" PRIu64 " bytes", load->limits.total_bytes);
    if (load->layer_bytes > load->limits.layer_bytes)
        return bl_fail_limit(err, "layer_mib", "%s unpacks to more than %" PRIu64 " bytes", counted->what,
                             load->limits.layer_bytes);
    return bl_load_expired(load, err) ? -1 : got;
}

/* apply_layer() - Verify, decompress, verify and apply one layer. Return: 0; -1 with @err */
static int apply_layer(struct build *build, const struct bl_layer_source *layer, const char *what, struct bl_error *err)
{
    cleanup_blob struct bl_blob blob = BL_BLOB_NONE;
    struct bl_stream *stored = bl_source_stream(build->source, layer->name, &blob, err);

    if (!stored) {
        if (!err || err->code != BL_NOT_FOUND)
            return bl_fail_context(err, "%s", what);
        err->code = BL_IMAGE;
        return bl_fail_context(err, "%s is missing", what);
    }
    if (layer->size_bytes != UINT64_MAX && blob.size != layer->size_bytes) {
        bl_stream_close(stored);
        return bl_fail(err, BL_IMAGE, 0, "%s is damaged: it has %" PRIu64 " bytes, and should have %" PRIu64, what, blob.size,
                       layer->size_bytes);
    }
    build->load->layer_bytes = 0;
    build->load->progress.done_bytes = 0;
    build->load->progress.total_bytes = blob.size;

    struct bl_stream *verified = stored = bl_stream_digest(stored, layer->digest, what, err);
    struct bl_stream *unpacked = stored ? bl_stream_unpack(build->load, stored, what, err) : NULL;
    cleanup_stream struct bl_stream *digested = unpacked ? bl_stream_digest(unpacked, layer->diff_id, what, err) : NULL;

    if (!digested)
        return -1;

    struct counted counted = {{next_counted, NULL}, digested, build->load, what};

    if (bl_layer_apply(build->load, &counted.stream, build->tree, build->ext4, what, err) ||
        bl_stream_drain(&counted.stream, err) || (layer->digest && bl_stream_verify(verified, err)))
        return -1;
    if (bl_stream_verify(digested, err))
        return bl_fail_context(err, "decompressed");
    bl_load_report(build->load, true);
    return 0;
}

static int apply_layers(struct build *build, const struct bl_layer_source *layers, size_t count, struct bl_error *err)
{
    char what[160];

    build->load->unpacked_bytes = build->load->entries = 0;
    build->load->progress.what = "writing";
    build->load->progress.layers = (unsigned int)count;
    for (size_t i = 0; i < count; i++) {
        build->load->progress.layer = (unsigned int)i + 1;
        snprintf(what, sizeof what, "layer %zu (%.19s)", i + 1, layers[i].digest ? layers[i].digest : layers[i].diff_id);
        if (apply_layer(build, &layers[i], what, err))
            return -1;
        BL_CRASH_POINT("load:layer-applied");
    }
    build->load->progress.what = "finishing";
    bl_load_report(build->load, true);
    return 0;
}

/* uuid_of() - A disk's UUID from its key: version 8, "custom" (RFC 9562). */
static void uuid_of(const char *key, uint8_t uuid[16])
{
    for (size_t i = 0; i < 16; i++) {
        unsigned int byte = 0;

        sscanf(key + 2 * i, "%2x", &byte);
        uuid[i] = (uint8_t)byte;
    }
    uuid[6] = (uuid[6] & 0x0f) | 0x80;
    uuid[8] = (uuid[8] & 0x3f) | 0x80;
}

/* build_disk() - Write a disk of a size. Return: 0; 1 when it is too small, with @err; -1 with @err */
static int build_disk(struct bl_load *load, struct bl_source *source, const struct bl_layer_source *layers, size_t count,
                      const char *key, uint64_t bytes, int fd, struct bl_error *err)
{
    struct build build = {.load = load, .source = source};
    uint8_t uuid[16];
    int result;

    uuid_of(key, uuid);
    if (bl_ext4_create(fd, bytes, uuid, &build.ext4, err))
        return -1;
    result = bl_tree_create(build.ext4, load->limits.path_depth, &build.tree, err);
    if (!result)
        result = apply_layers(&build, layers, count, err);
    if (!result)
        result = bl_tree_write(build.tree, err);
    if (!result)
        result = bl_ext4_finish(build.ext4, NULL, err);
    if (result && bl_ext4_is_full(build.ext4))
        result = 1;
    bl_tree_free(build.tree);
    bl_ext4_free(build.ext4);
    return result;
}

static int measure(struct bl_load *load, const char *file, uint64_t *disk_bytes, uint64_t *content_bytes, struct bl_error *err)
{
    struct stat status;

    if (bl_os.fstatat(load->images_fd, file, &status, AT_SYMLINK_NOFOLLOW))
        return bl_fail(err, BL_STORAGE, errno, "examine %s/%s", load->images_path, file);
    *disk_bytes = (uint64_t)status.st_size;
    *content_bytes = (uint64_t)status.st_blocks * 512;
    return 0;
}

/* publish() - Give a complete disk its name. */
static int publish(struct bl_load *load, int fd, const char *partial, const char *file, struct bl_error *err)
{
    cleanup_close int disks_fd = bl_os.openat(load->images_fd, "disks", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (disks_fd < 0 || bl_os.fchmod(fd, 0400) || bl_os.renameat(load->images_fd, partial, load->images_fd, file) ||
        bl_os.fsync(disks_fd))
        return bl_fail(err, BL_STORAGE, errno, "put the disk at %s/%s", load->images_path, file);
    BL_CRASH_POINT("load:disk-published");
    return 0;
}

int bl_disk_ensure(struct bl_load *load, struct bl_source *source, const struct bl_layer_source *layers, size_t count,
                   const char *key, uint64_t *disk_bytes, uint64_t *content_bytes, struct bl_error *err)
{
    cleanup_free char *file = bl_format("disks/%s.ext4", key);
    char partial[64];
    int result = 1;

    if (!file)
        return bl_fail_memory(err);
    if (!bl_os.faccessat(load->images_fd, file, F_OK, AT_SYMLINK_NOFOLLOW))
        return measure(load, file, disk_bytes, content_bytes, err);
    for (uint64_t bytes = load->disk_bytes ? load->disk_bytes : DISK_BYTES; result > 0 && bytes <= DISK_BYTES_MAX; bytes *= 2) {
        cleanup_close int fd = bl_partial_create(load->images_fd, partial, sizeof partial, err);

        if (fd < 0)
            return -1;
        BL_CRASH_POINT("load:disk-begun");
        result = build_disk(load, source, layers, count, key, bytes, fd, err);
        BL_CRASH_POINT("load:disk-built");
        if (!result)
            result = publish(load, fd, partial, file, err);
        if (result)
            bl_os.unlinkat(load->images_fd, partial, 0);
    }
    if (result && err && (err->sys_errno == ENOSPC || err->sys_errno == EDQUOT))
        bl_fail_context(err, "build the image's disk in %s, where space must be made", load->images_path);
    return result ? -1 : measure(load, file, disk_bytes, content_bytes, err);
}

void bl_disk_forget(struct bl_load *load, const char *key)
{
    char name[128];

    snprintf(name, sizeof name, "disks/%s.ext4", key);
    if (!bl_os.faccessat(load->images_fd, name, F_OK, AT_SYMLINK_NOFOLLOW))
        return;
    snprintf(name, sizeof name, "locks/%s.lock", key);
    bl_os.unlinkat(load->images_fd, name, 0);
}
