/* SPDX-License-Identifier: Apache-2.0 */
/* record.c - known references as files, and the room for unfinished ones; see record.h */
#include "image/record.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/crash.h"
#include "base/io.h"
#include "base/os.h"
#include "base/strings.h"
#include "image/document.h"

#define RECORD_VERSION   1
#define RECORD_MAX_BYTES (40u << 20) /* a configuration of 16 MiB, each character of it escaped */

char *bl_record_file(const char *reference)
{
    char *name = bl_format("%s.json", reference);

    for (char *c = name; c && *c; c++)
        if (*c == '/')
            *c = '+';
    return name;
}

int bl_record_names(struct bl_image *image, struct bl_error *err)
{
    struct bl_reference reference;

    if (bl_reference_parse(image->reference, &reference, err))
        return -1;

    bool docker = strcmp(reference.registry, "docker.io") == 0;
    bool library = docker && bl_starts_with(reference.repository, "library/");

    image->repository = bl_format("%s%s%s", docker ? "" : reference.registry, docker ? "" : "/",
                                  reference.repository + (library ? strlen("library/") : 0));
    image->tag = strdup(reference.tag ? reference.tag : "<none>");
    bl_reference_free(&reference);
    return image->repository && image->tag ? 0 : bl_fail_memory(err);
}

static char *copy_string(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));

    return text ? strdup(text) : NULL;
}

static uint64_t get_number(const json_t *object, const char *key)
{
    json_int_t number = json_integer_value(json_object_get(object, key));

    return number < 0 ? 0 : (uint64_t)number;
}

/* decode() - JSON to image; what was read stays in @image. Return: 0; -1 with @err */
static int decode(const json_t *root, const char *file, const char *images_path, struct bl_image *image, struct bl_error *err)
{
    json_t *config = json_object_get(root, "config");
    struct bl_config_document document;

    if (get_number(root, "version") != RECORD_VERSION)
        return bl_fail(err, BL_STORAGE, 0,
                       "the image record %s has version %" PRIu64 ", made by a newer boxlite; this one knows %d", file,
                       get_number(root, "version"), RECORD_VERSION);
    errno = 0;
    image->reference = copy_string(root, "reference");
    image->manifest_digest = copy_string(root, "manifest_digest");
    image->config_digest = copy_string(root, "config_digest");
    image->disk_key = copy_string(root, "disk_key");
    if (!image->reference || !image->manifest_digest || !image->config_digest || !image->disk_key ||
        strlen(image->disk_key) != BL_DISK_KEY_LENGTH || strspn(image->disk_key, "0123456789abcdef") != BL_DISK_KEY_LENGTH ||
        !bl_is_digest(image->config_digest) || !json_is_string(config))
        return errno == ENOMEM ? bl_fail_memory(err)
                               : bl_fail(err, BL_STORAGE, 0, "the image record %s is damaged; load the image again", file);
    image->disk_bytes = get_number(root, "disk_bytes");
    image->content_bytes = get_number(root, "content_bytes");
    image->loaded_at = (int64_t)get_number(root, "loaded_at");
    image->layer_count = (unsigned int)get_number(root, "layer_count");
    image->disk_path = bl_format("%s/disks/%s.ext4", images_path, image->disk_key);
    if (!image->disk_path)
        return bl_fail_memory(err);
    if (bl_record_names(image, err) ||
        bl_config_parse(json_string_value(config), json_string_length(config), "the recorded configuration", &document, err))
        return -1;
    image->config = document.config;
    image->created_at = document.created_at;
    document.config = (struct bl_image_config){0};
    bl_config_document_free(&document);
    return 0;
}

int bl_record_read(int index_fd, const char *file, const char *images_path, struct bl_image **out, struct bl_error *err)
{
    cleanup_buffer struct bl_buffer bytes = BL_BUFFER_INIT(RECORD_MAX_BYTES);

    if (bl_read_file(index_fd, file, &bytes))
        return bl_fail(err, errno == ENOENT ? BL_NOT_FOUND : BL_STORAGE, errno, "read the image record %s", file);

    cleanup_json json_t *root = bl_json_load(bl_buffer_data(&bytes), bytes.length, file, err);

    if (!root) {
        if (err)
            err->code = BL_STORAGE;
        return -1;
    }

    struct bl_image *image = calloc(1, sizeof *image);

    if (!image)
        return bl_fail_memory(err);
    image->pin_fd = -1;
    if (decode(root, file, images_path, image, err)) {
        if (err && err->code != BL_RESOURCE_EXHAUSTED)
            err->code = BL_STORAGE;
        bl_image_free(image);
        return -1;
    }
    *out = image;
    return 0;
}

int bl_record_config(int index_fd, const char *file, char **config, struct bl_error *err)
{
    cleanup_buffer struct bl_buffer bytes = BL_BUFFER_INIT(RECORD_MAX_BYTES);

    if (bl_read_file(index_fd, file, &bytes))
        return bl_fail(err, errno == ENOENT ? BL_NOT_FOUND : BL_STORAGE, errno, "read the image record %s", file);

    cleanup_json json_t *root = bl_json_load(bl_buffer_data(&bytes), bytes.length, file, err);

    if (!root)
        return -1;
    errno = 0;
    *config = copy_string(root, "config");
    if (!*config && errno == ENOMEM)
        return bl_fail_memory(err);
    return *config ? 0 : bl_fail(err, BL_STORAGE, 0, "the image record %s is damaged; load the image again", file);
}

static char *encode(const struct bl_image *image, const void *config, size_t config_length)
{
    cleanup_json json_t *root = json_pack(
        "{s:i, s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:s%}", "version", RECORD_VERSION, "reference", image->reference,
        "manifest_digest", image->manifest_digest, "config_digest", image->config_digest, "disk_key", image->disk_key, "disk_bytes",
        (json_int_t)image->disk_bytes, "content_bytes", (json_int_t)image->content_bytes, "loaded_at", (json_int_t)image->loaded_at,
        "layer_count", (json_int_t)image->layer_count, "config", (const char *)config, config_length);

    return root ? json_dumps(root, JSON_INDENT(2)) : NULL;
}

int bl_record_write(int images_fd, const struct bl_image *image, const void *config, size_t config_length, struct bl_error *err)
{
    cleanup_free char *file = bl_record_file(image->reference);
    cleanup_free char *text = encode(image, config, config_length);
    char partial[64];
    cleanup_close int index_fd = bl_os.openat(images_fd, "index", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (!file || !text)
        return bl_fail_memory(err);
    if (index_fd < 0)
        return bl_fail(err, BL_STORAGE, errno, "open images/index");

    cleanup_close int fd = bl_partial_create(images_fd, partial, sizeof partial, err);

    if (fd < 0)
        return -1;
    BL_CRASH_POINT("load:record-begun");
    if (bl_write_all(fd, text, strlen(text)) || bl_os.fsync(fd) || bl_os.renameat(images_fd, partial, index_fd, file)) {
        bl_fail(err, errno == ENOSPC || errno == EDQUOT ? BL_RESOURCE_EXHAUSTED : BL_STORAGE, errno, "write the image record %s",
                file);
        bl_os.unlinkat(images_fd, partial, 0);
        return -1;
    }
    BL_CRASH_POINT("load:record-written");
    /* What it replaced can't be brought back. */
    if (bl_os.fsync(index_fd))
        return bl_fail(err, BL_STORAGE, errno, "sync images/index: the image is there, but may be lost if the machine goes down");
    return 0;
}

int bl_partial_create(int images_fd, char *name, size_t name_size, struct bl_error *err)
{
    for (;;) {
        uint64_t number;
        struct stat status;

        if (bl_random_bytes(&number, sizeof number))
            return bl_fail(err, BL_STORAGE, errno, "get random bytes");
        snprintf(name, name_size, "partial/%016" PRIx64, number);

        cleanup_close int fd = bl_os.openat(images_fd, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

        if (fd < 0 && errno == EEXIST)
            continue;
        if (fd < 0 || bl_flock(fd, LOCK_EX) || bl_os.fstat(fd, &status)) {
            bl_fail(err, BL_STORAGE, errno, "make images/%s", name);
            if (fd >= 0)
                bl_os.unlinkat(images_fd, name, 0);
            return -1;
        }
        /* A sweeper can come between making and locking; what it removed is of no use. */
        if (status.st_nlink)
            return bl_steal_fd(&fd);
    }
}

void bl_partial_list(int images_fd, void (*found)(const char *path, uint64_t bytes, void *data), void *data)
{
    cleanup_close int fd = bl_os.openat(images_fd, "partial", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    cleanup_dir DIR *directory = fd >= 0 ? bl_os.fdopendir(fd) : NULL;
    const struct dirent *entry;

    if (!directory)
        return;
    (void)bl_steal_fd(&fd);
    while ((entry = bl_os.readdir(directory))) {
        cleanup_close int file =
            entry->d_name[0] == '.' ? -1
                                    : bl_os.openat(dirfd(directory), entry->d_name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        char path[300];
        struct stat status;

        /* A writer holds the lock exclusively; who only looks keeps nobody else from looking. */
        if (file < 0 || bl_os.flock(file, LOCK_SH | LOCK_NB) || bl_os.fstat(file, &status))
            continue;
        snprintf(path, sizeof path, "partial/%s", entry->d_name);
        found(path, (uint64_t)status.st_blocks * 512, data);
    }
}

void bl_partial_sweep(int images_fd)
{
    cleanup_close int fd = bl_os.openat(images_fd, "partial", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    cleanup_dir DIR *directory = fd >= 0 ? bl_os.fdopendir(fd) : NULL;
    const struct dirent *entry;

    if (!directory)
        return;
    (void)bl_steal_fd(&fd);
    while ((entry = bl_os.readdir(directory))) {
        cleanup_close int file =
            entry->d_name[0] == '.' ? -1
                                    : bl_os.openat(dirfd(directory), entry->d_name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

        /* Renaming it into place and closing it are two steps of a living writer, who holds the lock through both. */
        if (file >= 0 && !bl_os.flock(file, LOCK_EX | LOCK_NB))
            bl_os.unlinkat(dirfd(directory), entry->d_name, 0);
    }
}
