/* SPDX-License-Identifier: Apache-2.0 */
/*
 * manage.c - the store kept small and in order: names, documents, pruning; see image.h
 *
 * Whether a box uses an image is told by the kernel: a box holds a hard link of the base disk, so a disk with one link is
 * nobody's, unless somebody holds the image and is about to link it (bl_image_pin()). When it was used last is told by the same:
 * making and removing a link sets its change time.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "base/os.h"
#include "base/strings.h"
#include "base/user_config.h"
#include "image/blobs.h"
#include "image/lock.h"
#include "image/plugin.h"
#include "image/record.h"
#include "image/store.h"

static int open_store(const struct bl_images *images, struct bl_error *err)
{
    int fd = bl_os.open(images->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    return fd < 0 ? bl_fail(err, BL_STORAGE, errno, "open %s", images->path) : fd;
}

/* read_kept() - A document among the blobs. Return: allocated; NULL: it is not there, which is no error */
static char *read_kept(int images_fd, const char *digest)
{
    cleanup_buffer struct bl_buffer bytes = BL_BUFFER_INIT(16u << 20);
    char file[BL_BLOB_FILE_MAX];

    if (!bl_is_digest(digest) || bl_read_file(images_fd, bl_blob_file(digest, file), &bytes) || bl_buffer_append(&bytes, "", 1))
        return NULL;
    return strdup((const char *)bl_buffer_data(&bytes));
}

int bl_images_documents(struct bl_images *images, const char *name, struct bl_image_documents *out, struct bl_error *err)
{
    *out = (struct bl_image_documents){0};

    cleanup_close int images_fd = open_store(images, NULL);
    cleanup_close int index_fd = images_fd < 0 ? -1 : bl_os.openat(images_fd, "index", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (bl_images_find(images, name, &out->image, err))
        return -1;

    cleanup_free char *file = bl_record_file(out->image->reference);

    if (!file)
        bl_fail_memory(err);
    else if (!bl_record_config(index_fd, file, &out->config, err)) {
        out->manifest = read_kept(images_fd, out->image->manifest_digest);
        return 0;
    }
    bl_image_documents_free(out);
    return -1;
}

void bl_image_documents_free(struct bl_image_documents *documents)
{
    bl_image_free(documents->image);
    free(documents->config);
    free(documents->manifest);
    *documents = (struct bl_image_documents){0};
}

/* write_name() - A record of the same image under another name; the caller holds the disk's lock. Return: 0; -1 with @err */
static int write_name(int images_fd, struct bl_image_documents *documents, const char *full, struct bl_error *err)
{
    struct bl_image *image = documents->image;
    cleanup_free char *disk = bl_format("disks/%s.ext4", image->disk_key);
    char *copy = strdup(full);

    if (!disk || !copy) {
        free(copy);
        return bl_fail_memory(err);
    }
    free(image->reference);
    image->reference = copy;
    if (bl_os.faccessat(images_fd, disk, F_OK, AT_SYMLINK_NOFOLLOW))
        return bl_fail(err, BL_NOT_FOUND, 0, "the image was removed in the meantime");
    return bl_record_write(images_fd, image, documents->config, strlen(documents->config), err);
}

int bl_images_tag(struct bl_images *images, const char *name, const char *reference, struct bl_error *err)
{
    struct bl_image_documents documents;
    struct bl_reference wanted;
    int result;

    if (bl_reference_parse(reference, &wanted, err))
        return -1;

    cleanup_free char *full = bl_reference_format(&wanted);
    bool digest = wanted.digest != NULL;

    bl_reference_free(&wanted);
    if (!full)
        return bl_fail_memory(err);
    if (digest)
        return bl_fail(err, BL_INVALID_ARGUMENT, 0, "'%s' has a digest: a name to give ends in a tag", reference);
    if (bl_images_documents(images, name, &documents, err))
        return -1;

    cleanup_close int images_fd = open_store(images, err);
    cleanup_close int lock = images_fd < 0 ? -1 : bl_image_lock(images_fd, documents.image->disk_key, -1, err);

    result = lock < 0 ? -1 : write_name(images_fd, &documents, full, err);
    bl_image_documents_free(&documents);
    return result;
}

/* sum_of() - What the files of a directory of the store take. */
static uint64_t sum_of(int images_fd, const char *name)
{
    cleanup_close int fd = bl_os.openat(images_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    cleanup_dir DIR *directory = fd < 0 ? NULL : bl_os.fdopendir(fd);
    const struct dirent *entry;
    uint64_t sum = 0;

    if (!directory)
        return 0;
    (void)bl_steal_fd(&fd);
    while ((entry = bl_os.readdir(directory))) {
        struct stat status;

        if (entry->d_name[0] != '.' && !bl_os.fstatat(dirfd(directory), entry->d_name, &status, AT_SYMLINK_NOFOLLOW))
            sum += (uint64_t)status.st_blocks * 512;
    }
    return sum;
}

uint64_t bl_images_usage(struct bl_images *images)
{
    cleanup_close int images_fd = open_store(images, NULL);

    return images_fd < 0 ? 0 : sum_of(images_fd, "disks") + sum_of(images_fd, "blobs");
}

/* unused_since() - When the last box let go of an image's disk. Return: ns since the epoch; -1: one has it, or it is gone */
static int64_t unused_since(const struct bl_image *image)
{
    struct stat status;

    if (bl_os.fstatat(AT_FDCWD, image->disk_path, &status, AT_SYMLINK_NOFOLLOW) || status.st_nlink != 1)
        return -1;
    return (int64_t)status.st_ctim.tv_sec * 1000000000 + status.st_ctim.tv_nsec;
}

void bl_image_pin(struct bl_image *image)
{
    if (image->pin_fd >= 0)
        return;
    image->pin_fd = bl_os.open(image->disk_path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    while (image->pin_fd >= 0 && bl_os.flock(image->pin_fd, LOCK_SH) && errno == EINTR)
        ;
}

/* find_oldest() - The unused image that nobody used for longest, of those that nobody holds. @lock_fd: keeps it so. Return: NULL */
static const struct bl_image *find_oldest(struct bl_image *const *list, size_t count, int *lock_fd)
{
    int64_t passed = -1;

    for (;;) {
        const struct bl_image *oldest = NULL;
        int64_t since = 0;

        for (size_t i = 0; i < count; i++) {
            int64_t its = unused_since(list[i]);

            if (its > passed && (!oldest || its < since)) {
                oldest = list[i];
                since = its;
            }
        }
        *lock_fd = oldest ? bl_os.open(oldest->disk_path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC) : -1;
        /* Looked at again under the lock: who held it may have made a box of it. */
        if (!oldest || (*lock_fd >= 0 && !bl_os.flock(*lock_fd, LOCK_EX | LOCK_NB) && unused_since(oldest) == since))
            return oldest;
        bl_close_fd(lock_fd);
        passed = since;
    }
}

/* remove_oldest() - Remove all names of the image that find_oldest() gives. Return: 1; 0: there is none; -1 with @err */
static int remove_oldest(struct bl_images *images, const struct bl_prune_request *request, struct bl_error *err)
{
    struct bl_image **list;
    size_t count;
    cleanup_close int lock = -1;
    int result = 0;

    if (bl_images_list(images, &list, &count, err))
        return -1;

    const struct bl_image *oldest = find_oldest(list, count, &lock);

    /* Names of other images can share the disk. */
    for (size_t i = 0; oldest && result >= 0 && i < count; i++)
        if (!strcmp(list[i]->disk_key, oldest->disk_key))
            result = bl_images_remove(images, list[i]->reference, request->removed, request->data, err) ? -1 : 1;
    bl_image_free_list(list, count);
    return result;
}

/* shrink() - Remove unused images until the store is small enough. Return: 0; -1 with @err */
static int shrink(struct bl_images *images, int images_fd, const struct bl_prune_request *request, struct bl_error *err)
{
    int result = 1;

    while (result > 0 && (request->all || (request->max_bytes && bl_images_usage(images) > request->max_bytes))) {
        result = remove_oldest(images, request, err);
        bl_blobs_sweep(images_fd, BL_BLOBS_NOW);
    }
    /* Better than nothing: what is only kept for others to share. */
    if (result >= 0 && request->max_bytes && bl_images_usage(images) > request->max_bytes)
        bl_blobs_sweep(images_fd, BL_BLOBS_NOW | BL_BLOBS_PARTS | BL_BLOBS_USED);
    return result < 0 ? -1 : 0;
}

static void log_evicted(const char *line, void *data)
{
    (void)data;
    bl_log(BL_LOG_INFO, "the image store is over its limit: %s", line);
}

void bl_images_evict(struct bl_images *images, const struct bl_user_config *config)
{
    const struct bl_prune_request request = {.max_bytes = (uint64_t)config->image_store_mib << 20, .removed = log_evicted};
    cleanup_close int images_fd = request.max_bytes ? open_store(images, NULL) : -1;
    struct bl_error failure = BL_ERROR_INIT;

    if (images_fd < 0 || bl_images_usage(images) <= request.max_bytes)
        return;
    /* No image goes for what an interrupted pull left, which a hostile registry can make as large as an image may be. */
    bl_blobs_sweep(images_fd, BL_BLOBS_NOW | BL_BLOBS_PARTS);
    if (shrink(images, images_fd, &request, &failure))
        bl_log(BL_LOG_WARN, "make room in the image store: %s", failure.message);
}

int bl_images_prune(struct bl_images *images, const struct bl_prune_request *request, uint64_t *freed_bytes, struct bl_error *err)
{
    cleanup_close int images_fd = bl_os.open(images->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    uint64_t before = bl_images_usage(images), after;
    int result;

    *freed_bytes = 0;
    if (images_fd < 0)
        return errno == ENOENT ? 0 : bl_fail(err, BL_STORAGE, errno, "open %s", images->path);
    bl_images_sweep(images);
    bl_blobs_sweep(images_fd, BL_BLOBS_NOW | BL_BLOBS_PARTS | (request->layers ? BL_BLOBS_USED : 0));
    result = shrink(images, images_fd, request, err);
    after = bl_images_usage(images);
    *freed_bytes = before > after ? before - after : 0;
    return result;
}

int bl_images_save(struct bl_images *images, const char *const *names, int fd, int cancel_fd, struct bl_error *err)
{
    const struct bl_image_plugin *loader = bl_images_plugin(images, err);
    size_t count = bl_strings_count(names);
    struct bl_image **list = calloc(count + 1, sizeof(struct bl_image *));
    int result = loader && list ? 0 : -1;

    if (loader && !list)
        bl_fail_memory(err);
    for (size_t i = 0; !result && i < count; i++)
        result = bl_images_find(images, names[i], &list[i], err);
    if (!result)
        result = bl_images_make_store(images, err); /* what is packed anew lies in one of its rooms meanwhile */
    if (!result)
        result = loader->save(images->path, (const struct bl_image *const *)list, count, fd, cancel_fd, err);
    if (list)
        bl_image_free_list(list, count);
    return result;
}
