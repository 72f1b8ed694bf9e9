/* SPDX-License-Identifier: Apache-2.0 */
/*
 * save.c - images as an oci-archive: what was pulled, byte for byte
 *
 * An OCI layout in a tar archive (OCI image specification 1.1, "Image Layout"): first the documents, then the blobs in the order in
 * which a reader needs them. Every digest is compared while copying, so an archive that was written to its end is right. Only what
 * was pulled can be saved: an image that came out of an archive has left no layers here.
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
#include "image/loader/layer.h"
#include "image/loader/stream.h"

#define DOCUMENT_MAX_BYTES (16u << 20)
#define INDEX_TYPE         "application/vnd.oci.image.index.v1+json"
#define MANIFEST_TYPE      "application/vnd.oci.image.manifest.v1+json"

/* One archive under construction. */
struct save {
    struct bl_load load; /* for streams */
    struct archive *archive;
    char **written; /* digests */
};

static int archive_failure(const struct save *save, struct bl_error *err)
{
    int number = archive_errno(save->archive);

    return bl_fail(err, number == ENOSPC || number == EDQUOT ? BL_RESOURCE_EXHAUSTED : BL_STORAGE, number > 0 ? number : EIO,
                   "write the archive");
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

/* write_blob() - A kept blob, once. @what: how messages call it. Return: 0; -1 with @err */
static int write_blob(struct save *save, const char *digest, uint64_t size, const char *what, struct bl_error *err)
{
    char file[BL_BLOB_FILE_MAX], name[BL_DIGEST_MAX + 16];
    struct stat status;
    const void *data;
    ssize_t got;

    for (char **at = save->written; at && *at; at++)
        if (!strcmp(*at, digest))
            return 0;

    cleanup_close int fd = bl_os.openat(save->load.images_fd, bl_blob_file(digest, file), O_RDONLY | O_NOFOLLOW | O_CLOEXEC);

    if (fd < 0 || bl_os.fstat(fd, &status) || (uint64_t)status.st_size != size)
        return bl_fail(err, BL_NOT_FOUND, 0, "%s (%.19s) is not kept here", what, digest);
    snprintf(name, sizeof name, "blobs/%.6s/%.128s", digest, digest + 7);

    struct bl_stream *range = bl_stream_range(&save->load, fd, 0, size);
    cleanup_stream struct bl_stream *stream = bl_stream_digest(range, digest, what, err);

    if (!stream || bl_strings_append(&save->written, digest) || write_header(save, name, size, err))
        return -1;
    while ((got = stream->next(stream, &data, err)) > 0)
        if (write_data(save, data, (size_t)got, err))
            return -1;
    return got < 0 ? -1 : bl_stream_verify(stream, err);
}

/* read_manifest() - The kept manifest of an image. Return: 0, to be freed; -1 with @err */
static int read_manifest(struct save *save, const struct bl_image *image, struct bl_buffer *bytes, struct bl_manifest *manifest,
                         struct bl_error *err)
{
    char file[BL_BLOB_FILE_MAX];
    struct bl_index index;
    int kind;

    if (bl_read_file(save->load.images_fd, bl_blob_file(image->manifest_digest, file), bytes))
        return bl_fail(err, BL_NOT_FOUND, 0, "the layers of %s are not kept here: only what was pulled can be saved; pull it again",
                       image->reference);
    if (bl_verify_bytes(bl_buffer_data(bytes), bytes->length, image->manifest_digest, "the kept manifest", err))
        return -1;
    kind = bl_manifest_parse(bl_buffer_data(bytes), bytes->length, "the kept manifest", manifest, &index, err);
    if (kind == BL_DOCUMENT_INDEX) {
        bl_index_free(&index);
        return bl_fail(err, BL_INTERNAL, 0, "the kept manifest of %s is an index", image->reference);
    }
    return kind < 0 ? -1 : 0;
}

/* describe() - An image's entry of index.json. Return: NULL without memory */
static json_t *describe(const struct bl_image *image, const struct bl_buffer *manifest)
{
    json_t *parsed = json_loadb((const char *)bl_buffer_data(manifest), manifest->length, 0, NULL);
    const char *type = json_string_value(json_object_get(parsed, "mediaType"));
    json_t *entry = json_pack("{s:s, s:s, s:I, s:{s:s, s:s}, s:{s:s, s:s}}", "mediaType", type ? type : MANIFEST_TYPE, "digest",
                              image->manifest_digest, "size", (json_int_t)manifest->length, "platform", "architecture",
                              image->config.architecture ? image->config.architecture : "amd64", "os",
                              image->config.os ? image->config.os : "linux", "annotations", "io.containerd.image.name",
                              image->reference, "org.opencontainers.image.ref.name", image->tag);

    json_decref(parsed);
    return entry;
}

/* write_index() - "oci-layout" and "index.json". Return: 0; -1 with @err */
static int write_index(struct save *save, const struct bl_image *const *images, size_t count, struct bl_error *err)
{
    static const char layout[] = "{\"imageLayoutVersion\":\"1.0.0\"}";
    cleanup_json json_t *manifests = json_array();

    for (size_t i = 0; i < count; i++) {
        cleanup_buffer struct bl_buffer bytes = BL_BUFFER_INIT(DOCUMENT_MAX_BYTES);
        struct bl_manifest manifest;

        if (read_manifest(save, images[i], &bytes, &manifest, err))
            return -1;
        bl_manifest_free(&manifest);
        if (json_array_append_new(manifests, describe(images[i], &bytes)))
            return bl_fail_memory(err);
    }

    cleanup_json json_t *root = json_pack("{s:i, s:s, s:O}", "schemaVersion", 2, "mediaType", INDEX_TYPE, "manifests", manifests);
    cleanup_free char *text = root ? json_dumps(root, JSON_COMPACT) : NULL;

    if (!text)
        return bl_fail_memory(err);
    if (write_document(save, "oci-layout", layout, sizeof layout - 1, err) ||
        write_document(save, "index.json", text, strlen(text), err))
        return -1;
    /* Directories that are not in the archive are given to root by some readers, which an ordinary user can't do. */
    return write_header(save, "blobs/", 0, err) || write_header(save, "blobs/sha256/", 0, err) ? -1 : 0;
}

static int write_image(struct save *save, const struct bl_image *image, struct bl_error *err)
{
    cleanup_buffer struct bl_buffer bytes = BL_BUFFER_INIT(DOCUMENT_MAX_BYTES);
    struct bl_manifest manifest;
    char what[64];
    int result;

    if (read_manifest(save, image, &bytes, &manifest, err))
        return -1;
    result = write_blob(save, image->manifest_digest, bytes.length, "the manifest", err) ||
             write_blob(save, manifest.config.digest, manifest.config.size_bytes, "the configuration", err);
    for (size_t i = 0; !result && i < manifest.layer_count; i++) {
        snprintf(what, sizeof what, "layer %zu", i + 1);
        result = write_blob(save, manifest.layers[i].digest, manifest.layers[i].size_bytes, what, err);
    }
    bl_manifest_free(&manifest);
    return result ? bl_fail_context(err, "save %s", image->reference) : 0;
}

static int write_archive(struct save *save, const struct bl_image *const *images, size_t count, int fd, struct bl_error *err)
{
    if (archive_write_set_format_ustar(save->archive) != ARCHIVE_OK ||
        archive_write_set_bytes_in_last_block(save->archive, 1) != ARCHIVE_OK ||
        archive_write_open_fd(save->archive, fd) != ARCHIVE_OK)
        return archive_failure(save, err);
    if (write_index(save, images, count, err))
        return -1;
    for (size_t i = 0; i < count; i++)
        if (write_image(save, images[i], err))
            return -1;
    return archive_write_close(save->archive) == ARCHIVE_OK ? 0 : archive_failure(save, err);
}

int bl_loader_save(const char *images_path, const struct bl_image *const *images, size_t count, int fd, int cancel_fd,
                   struct bl_error *err)
{
    cleanup_close int images_fd = bl_os.open(images_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    const struct bl_load_request request = {.fd = -1, .cancel_fd = cancel_fd};
    struct save save = {.load = {.images_fd = images_fd, .images_path = images_path, .request = &request}};
    void *before;
    int result;

    if (images_fd < 0)
        return bl_fail(err, BL_STORAGE, errno, "open %s", images_path);
    save.archive = archive_write_new();
    if (!save.archive)
        return bl_fail_memory(err);
    before = bl_bytes_begin();
    result = write_archive(&save, images, count, fd, err);
    bl_bytes_end(before);
    /* What failed is not to be completed by the free. */
    if (result)
        archive_write_fail(save.archive);
    archive_write_free(save.archive);
    bl_strings_free(save.written);
    return result;
}
