/* SPDX-License-Identifier: Apache-2.0 */
/*
 * save.c - images as an oci-archive: what was pulled, byte for byte; else what is on the disk, as one layer
 *
 * An OCI layout in a tar archive (OCI image specification 1.1, "Image Layout"): first the documents, then the blobs in the order in
 * which a reader needs them. Every digest is compared while copying, so an archive that was written to its end is right.
 *
 * An image that came out of an archive has left no layers here, since a store that keeps everything twice is not small; nor has one
 * whose layers were pruned. Its disk is read back instead (flatten.h): the files are the same, and the configuration is but for
 * the layers that it names. So the saved image has another id.
 */
#include "image/save.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/os.h"
#include "base/strings.h"
#include "image/blobs.h"
#include "image/loader/flatten.h"
#include "image/loader/layer.h"
#include "image/loader/stream.h"
#include "image/record.h"

#define DOCUMENT_MAX_BYTES (16u << 20)
#define INDEX_TYPE         "application/vnd.oci.image.index.v1+json"
#define MANIFEST_TYPE      "application/vnd.oci.image.manifest.v1+json"
#define CONFIG_TYPE        "application/vnd.oci.image.config.v1+json"
#define LAYER_TYPE         "application/vnd.oci.image.layer.v1.tar+gzip"

/* One archive under construction. */
struct save {
    struct bl_load load; /* for streams */
    struct archive *archive;
    int fd;         /* of the archive */
    int failure;    /* errno: nothing more is written */
    char **written; /* digests */
};

/* An image that is to be saved, with its documents as they will stand in the archive. */
struct saved {
    const struct bl_image *image;
    struct bl_buffer manifest, config; /* @config: only of one whose layers are not kept */
    char manifest_digest[BL_DIGEST_MAX];
    struct bl_packed layer; /* all of it; its descriptor is -1 when the layers are kept */
};

static int archive_failure(const struct save *save, struct bl_error *err)
{
    int number = archive_errno(save->archive);

    return bl_fail(err, number == ENOSPC || number == EDQUOT ? BL_RESOURCE_EXHAUSTED : BL_STORAGE, number > 0 ? number : EIO,
                   "write the archive");
}

/* write_some() - What libarchive has ready, to the archive's file. Return: bytes; -1, told to libarchive */
static la_ssize_t write_some(struct archive *archive, void *data, const void *bytes, size_t length)
{
    struct save *save = data;

    while (!save->failure) {
        ssize_t put = bl_os.write(save->fd, bytes, length);

        if (put >= 0)
            return put;
        if (errno != EINTR)
            save->failure = errno;
    }
    archive_set_error(archive, save->failure, "write");
    return -1;
}

/* write_header() - A file, or with a '/' at the end of its name a directory. Return: 0; -1 with @err */
static int write_header(struct save *save, const char *name, uint64_t size, struct bl_error *err)
{
    bool directory = name[strlen(name) - 1] == '/';
    struct archive_entry *entry = archive_entry_new();
    int result;

    if (!entry)
        return bl_fail_memory(err);
    archive_entry_set_pathname(entry, name);
    archive_entry_set_filetype(entry, directory ? AE_IFDIR : AE_IFREG);
    archive_entry_set_perm(entry, directory ? 0755 : 0644);
    archive_entry_set_size(entry, (la_int64_t)size);
    archive_entry_set_mtime(entry, 0, 0);
    result = archive_write_header(save->archive, entry) == ARCHIVE_OK ? 0 : archive_failure(save, err);
    archive_entry_free(entry);
    return result;
}

static int write_data(struct save *save, const void *data, size_t length, struct bl_error *err)
{
    const char *at = data;

    while (length) {
        la_ssize_t done = archive_write_data(save->archive, at, length);

        if (done <= 0)
            return archive_failure(save, err);
        at += done;
        length -= (size_t)done;
    }
    return 0;
}

static int write_document(struct save *save, const char *name, const void *bytes, size_t length, struct bl_error *err)
{
    return write_header(save, name, length, err) ? -1 : write_data(save, bytes, length, err);
}

/* is_written() - Whether a blob is in the archive, as it will be from now on. Return: 1; 0; -1 without memory, with @err */
static int is_written(struct save *save, const char *digest, struct bl_error *err)
{
    for (char **at = save->written; at && *at; at++)
        if (!strcmp(*at, digest))
            return 1;
    return bl_strings_append(&save->written, digest) ? bl_fail_memory(err) : 0;
}

static const char *blob_name(const char *digest, char name[BL_DIGEST_MAX + 16])
{
    snprintf(name, BL_DIGEST_MAX + 16, "blobs/%.6s/%.128s", digest, digest + 7);
    return name;
}

/* write_bytes() - A document as a blob, once. Return: 0; -1 with @err */
static int write_bytes(struct save *save, const char *digest, const struct bl_buffer *bytes, struct bl_error *err)
{
    char name[BL_DIGEST_MAX + 16];
    int written = is_written(save, digest, err);

    return written ? (written < 0 ? -1 : 0)
                   : write_document(save, blob_name(digest, name), bl_buffer_data(bytes), bytes->length, err);
}

/* write_file() - A file's bytes as a blob, compared with its digest. @what: how messages call it. Return: 0; -1 with @err */
static int write_file(struct save *save, int fd, const char *digest, uint64_t size, const char *what, struct bl_error *err)
{
    char name[BL_DIGEST_MAX + 16];
    const void *data;
    ssize_t got;

    struct bl_stream *range = bl_stream_range(&save->load, fd, 0, size);
    cleanup_stream struct bl_stream *stream = bl_stream_digest(range, digest, what, err);

    if (!stream || write_header(save, blob_name(digest, name), size, err))
        return -1;
    while ((got = stream->next(stream, &data, err)) > 0)
        if (write_data(save, data, (size_t)got, err))
            return -1;
    return got < 0 ? -1 : bl_stream_verify(stream, err);
}

static int open_kept(const struct save *save, const char *digest)
{
    char file[BL_BLOB_FILE_MAX];

    return bl_os.openat(save->load.images_fd, bl_blob_file(digest, file), O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
}

/* write_kept() - A kept blob, once. @what: how messages call it. Return: 0; -1 with @err */
static int write_kept(struct save *save, const struct bl_descriptor *blob, const char *what, struct bl_error *err)
{
    int written = is_written(save, blob->digest, err);

    if (written)
        return written < 0 ? -1 : 0;

    cleanup_close int fd = open_kept(save, blob->digest);

    if (fd < 0)
        return bl_fail(err, BL_NOT_FOUND, 0, "%s (%.19s) went away just now", what, blob->digest);
    return write_file(save, fd, blob->digest, blob->size_bytes, what, err);
}

static bool is_kept(const struct save *save, const struct bl_descriptor *blob)
{
    cleanup_close int fd = open_kept(save, blob->digest);
    struct stat status;

    return fd >= 0 && !bl_os.fstat(fd, &status) && (uint64_t)status.st_size == blob->size_bytes;
}

/* parse_kept() - The kept manifest, already read. Return: 0, to be freed; -1 with @err */
static int parse_kept(const struct saved *saved, struct bl_manifest *manifest, struct bl_error *err)
{
    struct bl_index index;
    int kind =
        bl_manifest_parse(bl_buffer_data(&saved->manifest), saved->manifest.length, "the kept manifest", manifest, &index, err);

    if (kind == BL_DOCUMENT_INDEX) {
        bl_index_free(&index);
        return bl_fail(err, BL_INTERNAL, 0, "the kept manifest of %s is an index", saved->image->reference);
    }
    return kind < 0 ? -1 : 0;
}

/* find_kept() - Read the manifest of an image that was pulled. Return: 1; 0: not all of the image is kept; -1 with @err */
static int find_kept(struct save *save, struct saved *saved, struct bl_error *err)
{
    const char *digest = saved->image->manifest_digest;
    struct bl_manifest manifest;
    char file[BL_BLOB_FILE_MAX];
    bool all;

    if (!bl_is_digest(digest) || bl_read_file(save->load.images_fd, bl_blob_file(digest, file), &saved->manifest))
        return 0;
    if (bl_verify_bytes(bl_buffer_data(&saved->manifest), saved->manifest.length, digest, "the kept manifest", err) ||
        parse_kept(saved, &manifest, err))
        return -1;
    all = is_kept(save, &manifest.config);
    for (size_t i = 0; all && i < manifest.layer_count; i++)
        all = is_kept(save, &manifest.layers[i]);
    bl_manifest_free(&manifest);
    snprintf(saved->manifest_digest, sizeof saved->manifest_digest, "%s", digest);
    return all;
}

/* put_json() - A document as bytes. @json: taken over, may be NULL. Return: 0; -1 without memory */
static int put_json(json_t *json, struct bl_buffer *bytes)
{
    cleanup_free char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;

    json_decref(json);
    bl_buffer_clear(bytes);
    return text && !bl_buffer_append(bytes, text, strlen(text)) ? 0 : -1;
}

/* flat_config() - An image's configuration with one layer instead of its own; its steps stay, and are said to add none. */
static json_t *flat_config(const char *text, const struct saved *saved)
{
    json_t *config = json_loads(text, 0, NULL), *history = json_object_get(config, "history"), *step;
    json_t *last = json_pack("{s:s, s:s}", "created_by", "boxlite save", "comment", "all layers as one");
    size_t i;

    json_array_foreach(history, i, step)
    {
        if (json_is_object(step))
            json_object_set_new(step, "empty_layer", json_true());
    }
    if (json_is_array(history))
        json_array_append(history, last);
    else
        json_object_set_new(config, "history", json_pack("[O]", last));
    json_decref(last);
    if (json_object_set_new(config, "rootfs", json_pack("{s:s, s:[s]}", "type", "layers", "diff_ids", saved->layer.diff_id)) == 0)
        return config;
    json_decref(config);
    return NULL;
}

/* flatten() - An image without kept layers: its disk as a layer, and documents for it. Return: 0; -1 with @err */
static int flatten(struct save *save, struct saved *saved, struct bl_error *err)
{
    const struct bl_image *image = saved->image;
    cleanup_free char *file = bl_record_file(image->reference);
    cleanup_free char *config = NULL;
    cleanup_close int index_fd = bl_os.openat(save->load.images_fd, "index", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    char config_digest[BL_DIGEST_MAX] = "sha256:";

    if (index_fd < 0)
        return bl_fail(err, BL_STORAGE, errno, "open %s/index", save->load.images_path);
    if (!file)
        return bl_fail_memory(err);
    if (bl_record_config(index_fd, file, &config, err) || bl_flatten(&save->load, image->disk_path, &saved->layer, err))
        return -1;
    if (put_json(flat_config(config, saved), &saved->config))
        return bl_fail_memory(err);
    if (bl_sha256_hex(bl_buffer_data(&saved->config), saved->config.length, config_digest + 7, err))
        return -1;
    if (put_json(json_pack("{s:i, s:s, s:{s:s, s:s, s:I}, s:[{s:s, s:s, s:I}]}", "schemaVersion", 2, "mediaType", MANIFEST_TYPE,
                           "config", "mediaType", CONFIG_TYPE, "digest", config_digest, "size", (json_int_t)saved->config.length,
                           "layers", "mediaType", LAYER_TYPE, "digest", saved->layer.digest, "size",
                           (json_int_t)saved->layer.size_bytes),
                 &saved->manifest))
        return bl_fail_memory(err);
    strcpy(saved->manifest_digest, "sha256:");
    return bl_sha256_hex(bl_buffer_data(&saved->manifest), saved->manifest.length, saved->manifest_digest + 7, err);
}

static int prepare(struct save *save, const struct bl_image *image, struct saved *saved, struct bl_error *err)
{
    int kept;

    *saved = (struct saved){.image = image,
                            .manifest = BL_BUFFER_INIT(DOCUMENT_MAX_BYTES),
                            .config = BL_BUFFER_INIT(2 * DOCUMENT_MAX_BYTES),
                            .layer = {.fd = -1}};
    kept = find_kept(save, saved, err);
    if (kept < 0 || (!kept && flatten(save, saved, err)))
        return bl_fail_context(err, "save %s", image->reference);
    return 0;
}

static void free_saved(struct saved *saved, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        bl_buffer_free(&saved[i].manifest);
        bl_buffer_free(&saved[i].config);
        bl_close_fd(&saved[i].layer.fd);
    }
    free(saved);
}

/* describe() - An image's entry of index.json. Return: NULL without memory */
static json_t *describe(const struct saved *saved)
{
    const struct bl_image *image = saved->image;
    json_t *parsed = json_loadb((const char *)bl_buffer_data(&saved->manifest), saved->manifest.length, 0, NULL);
    const char *type = json_string_value(json_object_get(parsed, "mediaType"));
    json_t *entry = json_pack("{s:s, s:s, s:I, s:{s:s, s:s}, s:{s:s, s:s}}", "mediaType", type ? type : MANIFEST_TYPE, "digest",
                              saved->manifest_digest, "size", (json_int_t)saved->manifest.length, "platform", "architecture",
                              image->config.architecture ? image->config.architecture : BL_BOX_ARCHITECTURE, "os",
                              image->config.os ? image->config.os : BL_BOX_OS, "annotations", "io.containerd.image.name",
                              image->reference, "org.opencontainers.image.ref.name", image->tag);

    json_decref(parsed);
    return entry;
}

/* write_index() - "oci-layout" and "index.json". Return: 0; -1 with @err */
static int write_index(struct save *save, const struct saved *saved, size_t count, struct bl_error *err)
{
    static const char layout[] = "{\"imageLayoutVersion\":\"1.0.0\"}";
    cleanup_buffer struct bl_buffer text = BL_BUFFER_INIT(DOCUMENT_MAX_BYTES);
    cleanup_json json_t *manifests = json_array();

    for (size_t i = 0; i < count; i++)
        if (json_array_append_new(manifests, describe(&saved[i])))
            return bl_fail_memory(err);
    if (put_json(json_pack("{s:i, s:s, s:O}", "schemaVersion", 2, "mediaType", INDEX_TYPE, "manifests", manifests), &text))
        return bl_fail_memory(err);
    if (write_document(save, "oci-layout", layout, sizeof layout - 1, err) ||
        write_document(save, "index.json", bl_buffer_data(&text), text.length, err))
        return -1;
    /* Directories that are not in the archive are given to root by some readers, which an ordinary user can't do. */
    return write_header(save, "blobs/", 0, err) || write_header(save, "blobs/sha256/", 0, err) ? -1 : 0;
}

/* write_kept_image() - The blobs that a kept manifest names. Return: 0; -1 with @err */
static int write_kept_image(struct save *save, const struct saved *saved, struct bl_error *err)
{
    struct bl_manifest manifest;
    char what[64];
    int result;

    if (parse_kept(saved, &manifest, err))
        return -1;
    result = write_kept(save, &manifest.config, "the configuration", err);
    for (size_t i = 0; !result && i < manifest.layer_count; i++) {
        snprintf(what, sizeof what, "layer %zu", i + 1);
        result = write_kept(save, &manifest.layers[i], what, err);
    }
    bl_manifest_free(&manifest);
    return result;
}

/* write_flat_image() - The blobs of an image that was made for this archive. Return: 0; -1 with @err */
static int write_flat_image(struct save *save, const struct saved *saved, struct bl_error *err)
{
    char digest[BL_DIGEST_MAX] = "sha256:";
    int written;

    if (bl_sha256_hex(bl_buffer_data(&saved->config), saved->config.length, digest + 7, err) ||
        write_bytes(save, digest, &saved->config, err))
        return -1;
    written = is_written(save, saved->layer.digest, err);
    return written ? (written < 0 ? -1 : 0)
                   : write_file(save, saved->layer.fd, saved->layer.digest, saved->layer.size_bytes, "the layer", err);
}

static int write_image(struct save *save, const struct saved *saved, struct bl_error *err)
{
    if (!write_bytes(save, saved->manifest_digest, &saved->manifest, err) &&
        !(saved->layer.fd >= 0 ? write_flat_image : write_kept_image)(save, saved, err))
        return 0;
    return bl_fail_context(err, "save %s", saved->image->reference);
}

static int write_archive(struct save *save, const struct saved *saved, size_t count, struct bl_error *err)
{
    if (archive_write_set_format_pax_restricted(save->archive) != ARCHIVE_OK ||
        archive_write_set_bytes_in_last_block(save->archive, 1) != ARCHIVE_OK ||
        archive_write_open(save->archive, save, NULL, write_some, NULL) != ARCHIVE_OK)
        return archive_failure(save, err);
    if (write_index(save, saved, count, err))
        return -1;
    for (size_t i = 0; i < count; i++)
        if (write_image(save, &saved[i], err))
            return -1;
    return archive_write_close(save->archive) == ARCHIVE_OK ? 0 : archive_failure(save, err);
}

int bl_loader_save(const char *images_path, const struct bl_image *const *images, size_t count, int fd, int cancel_fd,
                   struct bl_error *err)
{
    cleanup_close int images_fd = bl_os.open(images_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    const struct bl_load_request request = {.fd = -1, .cancel_fd = cancel_fd};
    struct save save = {.load = {.images_fd = images_fd, .images_path = images_path, .request = &request}, .fd = fd};
    struct saved *saved = calloc(count ? count : 1, sizeof *saved);
    size_t prepared = 0;
    void *before;
    int result = 0;

    if (images_fd < 0) {
        free(saved);
        return bl_fail(err, BL_STORAGE, errno, "open %s", images_path);
    }
    save.archive = archive_write_new();
    if (!save.archive || !saved) {
        archive_write_free(save.archive);
        free(saved);
        return bl_fail_memory(err);
    }
    before = bl_bytes_begin();
    while (!result && prepared < count) {
        result = prepare(&save, images[prepared], &saved[prepared], err);
        prepared++;
    }
    if (!result)
        result = write_archive(&save, saved, count, err);
    bl_bytes_end(before);
    /* What failed is not to be completed: a cut archive must not look whole. (With archive_write_fail() libarchive would leak.) */
    if (!save.failure)
        save.failure = ECANCELED;
    archive_write_close(save.archive);
    archive_write_free(save.archive);
    free_saved(saved, prepared);
    bl_strings_free(save.written);
    return result;
}
