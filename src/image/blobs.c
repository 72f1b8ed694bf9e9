/* SPDX-License-Identifier: Apache-2.0 */
/* blobs.c - files of pulled content; see blobs.h */
#include "image/blobs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/os.h"
#include "base/strings.h"
#include "image/record.h"

#define PART               ".part"
#define DOCUMENT_MAX_BYTES (16u << 20)
#define BLOB_GRACE_SECONDS 300
#define PART_GRACE_SECONDS (7 * 24 * 3600)

const char *bl_blob_file(const char *digest, char file[BL_BLOB_FILE_MAX])
{
    snprintf(file, BL_BLOB_FILE_MAX, "blobs/%.6s-%.128s", digest, digest + 7);
    return file;
}

static int storage_failure(struct bl_error *err, const char *what, const char *file)
{
    return bl_fail(err, errno == ENOSPC || errno == EDQUOT ? BL_RESOURCE_EXHAUSTED : BL_STORAGE, errno, "%s images/%s", what, file);
}

/* open_whole() - A layer that came earlier. Return: whether it is there */
static bool open_whole(int images_fd, const char *file, uint64_t size, struct bl_blob_file *out)
{
    cleanup_close int fd = bl_os.openat(images_fd, file, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
    struct stat status;

    if (fd < 0 || bl_os.fstat(fd, &status) || !S_ISREG(status.st_mode))
        return false;
    if ((uint64_t)status.st_size != size) {
        bl_os.unlinkat(images_fd, file, 0);
        return false;
    }
    *out = (struct bl_blob_file){bl_steal_fd(&fd), size, true, false};
    return true;
}

/* begin_anonymous() - A file that nobody else sees. */
static int begin_anonymous(int images_fd, struct bl_blob_file *out, struct bl_error *err)
{
    char name[64];

    out->fd = bl_partial_create(images_fd, name, sizeof name, err);
    if (out->fd < 0)
        return -1;
    bl_os.unlinkat(images_fd, name, 0);
    out->anonymous = true;
    return 0;
}

int bl_blob_open(int images_fd, const char *digest, uint64_t size_bytes, struct bl_blob_file *out, struct bl_error *err)
{
    char file[BL_BLOB_FILE_MAX], part[BL_BLOB_FILE_MAX + sizeof PART];

    *out = (struct bl_blob_file)BL_BLOB_FILE_NONE;
    bl_blob_file(digest, file);
    snprintf(part, sizeof part, "%s" PART, file);
    for (;;) {
        struct stat status;

        if (open_whole(images_fd, file, size_bytes, out))
            return 0;

        cleanup_close int fd = bl_os.openat(images_fd, part, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);

        if (fd < 0)
            return storage_failure(err, "make", part);
        if (bl_os.flock(fd, LOCK_EX | LOCK_NB))
            return begin_anonymous(images_fd, out, err);
        if (bl_os.fstat(fd, &status))
            return storage_failure(err, "examine", part);
        /* Its last owner may have named or removed it since it was opened. */
        if (!status.st_nlink || !bl_os.faccessat(images_fd, file, F_OK, AT_SYMLINK_NOFOLLOW))
            continue;
        if ((uint64_t)status.st_size > size_bytes && bl_os.ftruncate(fd, 0))
            return storage_failure(err, "empty", part);
        out->have_bytes = (uint64_t)status.st_size > size_bytes ? 0 : (uint64_t)status.st_size;
        out->fd = bl_steal_fd(&fd);
        return 0;
    }
}

void bl_blob_keep(int images_fd, const char *digest, struct bl_blob_file *blob)
{
    char file[BL_BLOB_FILE_MAX], part[BL_BLOB_FILE_MAX + sizeof PART];

    if (blob->fd < 0 || blob->whole || blob->anonymous)
        return;
    bl_blob_file(digest, file);
    snprintf(part, sizeof part, "%s" PART, file);
    /* When it fails it stays a whole part, which is as good. */
    if (!bl_os.renameat(images_fd, part, images_fd, file))
        blob->whole = true;
}

void bl_blob_discard(int images_fd, const char *digest, struct bl_blob_file *blob)
{
    char file[BL_BLOB_FILE_MAX], part[BL_BLOB_FILE_MAX + sizeof PART];

    if (blob->fd >= 0 && !blob->anonymous) {
        bl_blob_file(digest, file);
        snprintf(part, sizeof part, "%s" PART, file);
        bl_os.unlinkat(images_fd, blob->whole ? file : part, 0);
    }
    bl_blob_finish(blob);
}

void bl_blob_finish(struct bl_blob_file *blob)
{
    bl_close_fd(&blob->fd);
    *blob = (struct bl_blob_file)BL_BLOB_FILE_NONE;
}

int bl_blob_write(int images_fd, const char *digest, const void *bytes, size_t length, struct bl_error *err)
{
    char file[BL_BLOB_FILE_MAX], partial[64];
    cleanup_close int fd = bl_partial_create(images_fd, partial, sizeof partial, err);

    if (fd < 0)
        return -1;
    if (bl_write_all(fd, bytes, length) || bl_os.renameat(images_fd, partial, images_fd, bl_blob_file(digest, file))) {
        storage_failure(err, "write", bl_blob_file(digest, file));
        bl_os.unlinkat(images_fd, partial, 0);
        return -1;
    }
    return 0;
}

/* Digests in use, as file names; sorted by nothing: there are few. */
struct used {
    char **files;
    bool unsure; /* a record could not be read: nothing may be removed */
};

static void use(struct used *used, const char *digest)
{
    char file[BL_BLOB_FILE_MAX];

    if (bl_strings_append(&used->files, bl_blob_file(digest, file) + strlen("blobs/")))
        used->unsure = true;
}

/* use_image() - Note all that a manifest names. */
static void use_image(int images_fd, const char *digest, struct used *used)
{
    cleanup_buffer struct bl_buffer bytes = BL_BUFFER_INIT(DOCUMENT_MAX_BYTES);
    char file[BL_BLOB_FILE_MAX];
    struct bl_manifest manifest;
    struct bl_index index;
    int kind;

    /* An image that came out of an archive has no blobs. */
    if (!bl_is_digest(digest))
        return;
    if (bl_read_file(images_fd, bl_blob_file(digest, file), &bytes)) {
        used->unsure |= errno != ENOENT;
        return;
    }
    use(used, digest);
    kind = bl_manifest_parse(bl_buffer_data(&bytes), bytes.length, "a manifest", &manifest, &index, NULL);
    if (kind == BL_DOCUMENT_INDEX)
        bl_index_free(&index);
    if (kind != BL_DOCUMENT_MANIFEST) {
        used->unsure |= kind < 0;
        return;
    }
    use(used, manifest.config.digest);
    for (size_t i = 0; i < manifest.layer_count; i++)
        use(used, manifest.layers[i].digest);
    bl_manifest_free(&manifest);
}

static void collect_used(int images_fd, struct used *used)
{
    cleanup_close int index_fd = bl_os.openat(images_fd, "index", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    cleanup_dir DIR *index = index_fd < 0 ? NULL : bl_os.fdopendir(bl_os.fcntl(index_fd, F_DUPFD_CLOEXEC, 3));
    const struct dirent *entry;

    if (!index) {
        used->unsure = index_fd >= 0 || errno != ENOENT;
        return;
    }
    while ((entry = bl_next_entry(index))) {
        struct bl_error failure = BL_ERROR_INIT;
        struct bl_image *image;

        if (entry->d_name[0] == '.')
            continue;
        if (!bl_record_read(index_fd, entry->d_name, "", &image, &failure)) {
            use_image(images_fd, image->manifest_digest, used);
            bl_image_free(image);
        } else if (failure.code != BL_NOT_FOUND) {
            used->unsure = true;
        }
    }
    used->unsure |= errno != 0;
}

static bool is_used(const struct used *used, const char *file)
{
    for (char **at = used->files; at && *at; at++)
        if (!strcmp(*at, file))
            return true;
    return false;
}

/* sweep_one() - Remove a blob or a part that nobody needs. */
static void sweep_one(int blobs_fd, const char *file, const struct used *used, unsigned int which)
{
    size_t length = strlen(file);
    bool part = length > strlen(PART) && !strcmp(file + length - strlen(PART), PART);
    cleanup_close int fd = bl_os.openat(blobs_fd, file, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    struct stat status;
    time_t age;

    /* Whoever downloads a part holds its lock. */
    if (fd < 0 || (part && bl_os.flock(fd, LOCK_EX | LOCK_NB)) || bl_os.fstat(fd, &status) ||
        (!part && !(which & BL_BLOBS_USED) && is_used(used, file)))
        return;
    age = time(NULL) - (part ? status.st_mtime : status.st_ctime);
    if ((which & (part ? BL_BLOBS_PARTS : BL_BLOBS_NOW)) || age >= (part ? PART_GRACE_SECONDS : BLOB_GRACE_SECONDS))
        bl_os.unlinkat(blobs_fd, file, 0);
}

void bl_blobs_sweep(int images_fd, unsigned int which)
{
    cleanup_close int blobs_fd = bl_os.openat(images_fd, "blobs", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    cleanup_dir DIR *blobs = blobs_fd < 0 ? NULL : bl_os.fdopendir(bl_os.fcntl(blobs_fd, F_DUPFD_CLOEXEC, 3));
    struct used used = {0};
    const struct dirent *entry;

    if (!blobs)
        return;
    collect_used(images_fd, &used);
    while (!used.unsure && (entry = bl_os.readdir(blobs)))
        if (entry->d_name[0] != '.')
            sweep_one(blobs_fd, entry->d_name, &used, which);
    bl_strings_free(used.files);
}
