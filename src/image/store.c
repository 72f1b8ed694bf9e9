/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store.c - what images a home has; see image.h
 *
 * A handle holds two paths and nothing else: every call looks at the files, so that it sees what other processes did, and any
 * number of threads may use one handle. The lists are small (one file a reference), so nothing is cached.
 *
 * Removing takes the lock of the disk's key, which a load holds from looking for the disk until its record is written: a disk
 * can't go between the two.
 */
#include "image/store.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/crash.h"
#include "base/log.h"
#include "base/os.h"
#include "base/strings.h"
#include "image/blobs.h"
#include "image/lock.h"
#include "image/record.h"

#define ID_DIGITS_MIN 6
/* A disk without a reference may be on its way into a box, which takes a hard link of it; then it is nobody's. */
#define ORPHAN_GRACE_SECONDS 300

void bl_image_free(struct bl_image *image)
{
    if (!image)
        return;
    free(image->reference);
    free(image->repository);
    free(image->tag);
    free(image->manifest_digest);
    free(image->config_digest);
    free(image->disk_key);
    free(image->disk_path);
    bl_close_fd(&image->pin_fd);
    bl_strings_free(image->config.env);
    bl_strings_free(image->config.entrypoint);
    bl_strings_free(image->config.cmd);
    free(image->config.working_dir);
    free(image->config.user);
    free(image->config.stop_signal);
    bl_strings_free(image->config.exposed_ports);
    bl_strings_free(image->config.volumes);
    free(image->config.architecture);
    free(image->config.os);
    free(image);
}

void bl_image_free_list(struct bl_image **images, size_t count)
{
    for (size_t i = 0; i < count; i++)
        bl_image_free(images[i]);
    free(images);
}

int bl_images_open(const char *home, const char *runtime_dir, struct bl_images **out, struct bl_error *err)
{
    struct bl_images *images = calloc(1, sizeof *images);

    if (images) {
        images->path = bl_format("%s/images", home);
        images->runtime_dir = strdup(runtime_dir);
    }
    if (!images || !images->path || !images->runtime_dir) {
        bl_images_close(images);
        return bl_fail_memory(err);
    }
    *out = images;
    return 0;
}

void bl_images_close(struct bl_images *images)
{
    if (!images)
        return;
    free(images->path);
    free(images->runtime_dir);
    free(images);
}

/* A list that grows. */
struct list {
    struct bl_image **images;
    size_t count;
    struct bl_error unread; /* of a record that was passed over because a call failed */
};

static void free_list(struct list *list)
{
    bl_image_free_list(list->images, list->count);
}
#define cleanup_list __attribute__((cleanup(free_list)))

static int list_append(struct list *list, struct bl_image *image, struct bl_error *err)
{
    struct bl_image **grown = reallocarray(list->images, list->count + 1, sizeof(struct bl_image *));

    if (!grown) {
        bl_image_free(image);
        return bl_fail_memory(err);
    }
    list->images = grown;
    list->images[list->count++] = image;
    return 0;
}

/*
 * read_record() - Read one file into a list; a record that just went is skipped
 * @strict: a record that can't be understood is an error; else it is logged and passed over, so that one never hides the others
 *
 * Return: 0; -1 with @err
 */
static int read_record(const struct bl_images *images, int index_fd, const char *file, bool strict, struct list *list,
                       struct bl_error *err)
{
    struct bl_image *image;
    struct bl_error failure = BL_ERROR_INIT;

    if (!bl_record_read(index_fd, file, images->path, &image, &failure))
        return list_append(list, image, err);
    if (failure.code == BL_NOT_FOUND)
        return 0;
    if (!strict && failure.code == BL_STORAGE) {
        bl_log(BL_LOG_WARN, "%s", failure.message);
        if (failure.sys_errno)
            list->unread = failure;
        return 0;
    }
    if (err)
        *err = failure;
    return -1;
}

static bool is_record_name(const char *name)
{
    size_t length = strlen(name);

    return name[0] != '.' && length > 5 && strcmp(name + length - 5, ".json") == 0;
}

/* read_all() - Every record, also those whose disk is gone. Return: 0; -1 with @err */
static int read_all(const struct bl_images *images, bool strict, struct list *list, struct bl_error *err)
{
    cleanup_free char *path = bl_format("%s/index", images->path);

    if (!path)
        return bl_fail_memory(err);

    cleanup_dir DIR *directory = bl_os.opendir(path);
    const struct dirent *entry;

    if (!directory)
        return errno == ENOENT ? 0 : bl_fail(err, BL_STORAGE, errno, "read %s", path);
    for (errno = 0; (entry = bl_os.readdir(directory)); errno = 0)
        if (is_record_name(entry->d_name) && read_record(images, dirfd(directory), entry->d_name, strict, list, err))
            return -1;
    return errno ? bl_fail(err, BL_STORAGE, errno, "read %s", path) : 0;
}

static bool has_disk(const struct bl_image *image)
{
    return bl_os.faccessat(AT_FDCWD, image->disk_path, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static int newest_first(const void *left, const void *right)
{
    const struct bl_image *a = *(struct bl_image *const *)left, *b = *(struct bl_image *const *)right;

    if (a->loaded_at != b->loaded_at)
        return a->loaded_at < b->loaded_at ? 1 : -1;
    return strcmp(a->reference, b->reference);
}

int bl_images_list(struct bl_images *images, struct bl_image ***out, size_t *count, struct bl_error *err)
{
    cleanup_list struct list list = {0};
    size_t kept = 0;

    if (read_all(images, false, &list, err))
        return -1;
    for (size_t i = 0; i < list.count; i++) {
        struct bl_image *image = list.images[i];

        if (has_disk(image))
            list.images[kept++] = image;
        else
            bl_image_free(image);
    }
    list.count = kept;
    if (kept)
        qsort(list.images, kept, sizeof(struct bl_image *), newest_first);
    *out = list.images;
    *count = kept;
    list = (struct list){0};
    return 0;
}

/* id_digits() - The digits when @name can be (the start of) an id, else NULL. */
static const char *id_digits(const char *name)
{
    const char *digits = bl_starts_with(name, "sha256:") ? name + strlen("sha256:") : name;
    size_t length = strlen(digits);

    return length >= ID_DIGITS_MIN && length <= 64 && strspn(digits, "0123456789abcdef") == length ? digits : NULL;
}

/* same_digest() - Whether a record is of the repository and, when it is given, digest that are looked for. */
static bool same_digest(const struct bl_image *image, const struct bl_reference *wanted)
{
    struct bl_reference reference;

    if (!wanted->digest || strcmp(image->manifest_digest, wanted->digest) != 0 ||
        bl_reference_parse(image->reference, &reference, NULL))
        return false;

    bool same = !strcmp(reference.registry, wanted->registry) && !strcmp(reference.repository, wanted->repository);

    bl_reference_free(&reference);
    return same;
}

static bool matches(const struct bl_image *image, const struct bl_reference *wanted, const char *full, const char *digits)
{
    if (digits)
        return bl_starts_with(image->config_digest + strlen("sha256:"), digits);
    return strcmp(image->reference, full) == 0 || same_digest(image, wanted);
}

/*
 * select_images() - The records that a name means
 * @list: gets one record for a reference, all records of the image for an id
 *
 * Return: 0; -1: BL_NOT_FOUND, BL_INVALID_ARGUMENT, BL_STORAGE
 */
static int select_images(const struct bl_images *images, const char *name, struct list *list, struct bl_error *err)
{
    cleanup_list struct list all = {0};
    struct bl_error bad_name = BL_ERROR_INIT;
    struct bl_reference wanted;
    const char *digits = id_digits(name);
    bool is_reference = bl_reference_parse(name, &wanted, &bad_name) == 0;
    cleanup_free char *full = is_reference ? bl_reference_format(&wanted) : NULL;
    int result = 0;

    if (!is_reference && !digits) {
        if (err)
            *err = bad_name;
        return -1;
    }
    result = is_reference && !full ? bl_fail_memory(err) : read_all(images, false, &all, err);
    /* A reference that has just these digits as its name goes first. */
    for (int by_id = is_reference ? 0 : 1; !result && !list->count && by_id <= (digits ? 1 : 0); by_id++) {
        for (size_t i = 0; !result && i < all.count; i++) {
            if (!matches(all.images[i], &wanted, full, by_id ? digits : NULL))
                continue;
            if (list->count && by_id && strcmp(list->images[0]->config_digest, all.images[i]->config_digest) != 0)
                result = bl_fail(err, BL_INVALID_ARGUMENT, 0, "image id '%s' is ambiguous: give more digits", digits);
            else if (!list->count || by_id)
                result = list_append(list, bl_steal_ptr(&all.images[i]), err);
        }
    }
    bl_reference_free(&wanted);
    if (!result && !list->count)
        return all.unread.code == BL_OK
                   ? bl_fail(err, BL_NOT_FOUND, 0, "no image '%s' here", name)
                   : bl_fail(err, BL_NOT_FOUND, 0, "no image '%s' here that can be read: %s", name, all.unread.message);
    return result;
}

int bl_images_find(struct bl_images *images, const char *name, struct bl_image **out, struct bl_error *err)
{
    cleanup_list struct list list = {0};

    int error = 0;

    if (select_images(images, name, &list, err))
        return -1;
    for (size_t i = 0; i < list.count; i++) {
        if (has_disk(list.images[i])) {
            *out = bl_steal_ptr(&list.images[i]);
            return 0;
        }
        if (errno != ENOENT)
            error = errno;
    }
    if (error)
        return bl_fail(err, BL_STORAGE, error, "look for the disk of image '%s'", name);
    return bl_fail(err, BL_NOT_FOUND, 0, "image '%s' is known, but its disk is gone; load it again", name);
}

/* What is left after a record went. */
struct remains {
    bool disk_used;
    bool config_used;
};

/* find_remains() - When a record can't be read it could be of any image: nothing more may go then. */
static struct remains find_remains(const struct bl_images *images, const struct bl_image *gone)
{
    cleanup_list struct list all = {0};
    struct bl_error failure = BL_ERROR_INIT;
    struct remains remains = {false, false};

    if (read_all(images, true, &all, &failure)) {
        bl_log(BL_LOG_WARN, "the disk of %s is kept: %s", gone->reference, failure.message);
        return (struct remains){true, true};
    }
    for (size_t i = 0; i < all.count; i++) {
        remains.disk_used |= strcmp(all.images[i]->disk_key, gone->disk_key) == 0;
        remains.config_used |= strcmp(all.images[i]->config_digest, gone->config_digest) == 0;
    }
    return remains;
}

/* remove_disk() - Unlink a disk and its lock's file; the caller holds the lock. */
static int remove_disk(int images_fd, const char *key)
{
    char name[128];

    snprintf(name, sizeof name, "disks/%s.ext4", key);
    if (bl_os.unlinkat(images_fd, name, 0) && errno != ENOENT)
        return -1;
    snprintf(name, sizeof name, "locks/%s.lock", key);
    bl_os.unlinkat(images_fd, name, 0);
    return 0;
}

static int remove_one(const struct bl_images *images, int images_fd, const struct bl_image *image,
                      void (*removed)(const char *line, void *data), void *data, struct bl_error *err)
{
    cleanup_close int lock = bl_image_lock(images_fd, image->disk_key, -1, err);
    cleanup_free char *file = bl_record_file(image->reference);
    cleanup_free char *path = file ? bl_format("index/%s", file) : NULL;
    cleanup_free char *untagged = bl_format("Untagged: %s:%s", image->repository, image->tag);
    cleanup_free char *deleted = bl_format("Deleted: %s", image->config_digest);
    struct remains remains;

    if (lock < 0)
        return -1;
    if (!path || !untagged || !deleted)
        return bl_fail_memory(err);
    if (bl_os.unlinkat(images_fd, path, 0) && errno != ENOENT)
        return bl_fail(err, BL_STORAGE, errno, "remove %s/%s", images->path, path);
    BL_CRASH_POINT("rmi:record-removed");
    if (removed)
        removed(untagged, data);
    remains = find_remains(images, image);
    if (!remains.disk_used && remove_disk(images_fd, image->disk_key))
        return bl_fail(err, BL_STORAGE, errno, "remove %s", image->disk_path);
    BL_CRASH_POINT("rmi:disk-removed");
    if (!remains.config_used && removed)
        removed(deleted, data);
    return 0;
}

int bl_images_remove(struct bl_images *images, const char *name, void (*removed)(const char *line, void *data), void *data,
                     struct bl_error *err)
{
    cleanup_list struct list list = {0};

    if (select_images(images, name, &list, err))
        return -1;

    cleanup_close int images_fd = bl_os.open(images->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (images_fd < 0)
        return bl_fail(err, BL_STORAGE, errno, "open %s", images->path);
    for (size_t i = 0; i < list.count; i++)
        if (remove_one(images, images_fd, list.images[i], removed, data, err))
            return -1;
    bl_blobs_sweep(images_fd, BL_BLOBS_NOW);
    return 0;
}

/* is_orphan() - Whether a disk has no record, no box and no youth. */
static bool is_orphan(int images_fd, const char *key, const struct list *all)
{
    char name[128];
    struct stat status;

    for (size_t i = 0; i < all->count; i++)
        if (strcmp(all->images[i]->disk_key, key) == 0)
            return false;
    snprintf(name, sizeof name, "disks/%s.ext4", key);
    return !bl_os.fstatat(images_fd, name, &status, AT_SYMLINK_NOFOLLOW) && status.st_nlink == 1 &&
           time(NULL) - status.st_ctime > ORPHAN_GRACE_SECONDS;
}

/* sweep_locks() - Remove lock files that no disk and no builder has: those of builders who were killed. */
static void sweep_locks(int images_fd)
{
    cleanup_close int fd = bl_os.openat(images_fd, "locks", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    cleanup_dir DIR *locks = fd < 0 ? NULL : bl_os.fdopendir(fd);
    const struct dirent *entry;

    if (!locks)
        return;
    (void)bl_steal_fd(&fd);
    while ((entry = bl_os.readdir(locks))) {
        char disk[128];

        if (strlen(entry->d_name) != BL_DISK_KEY_LENGTH + strlen(".lock"))
            continue;
        snprintf(disk, sizeof disk, "disks/%.*s.ext4", BL_DISK_KEY_LENGTH, entry->d_name);

        cleanup_close int lock = bl_os.openat(dirfd(locks), entry->d_name, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

        /* Who waits for it looks at the path again after getting it (lock.c). */
        if (lock >= 0 && !bl_os.flock(lock, LOCK_EX | LOCK_NB) && bl_os.faccessat(images_fd, disk, F_OK, AT_SYMLINK_NOFOLLOW) &&
            errno == ENOENT)
            bl_os.unlinkat(dirfd(locks), entry->d_name, 0);
    }
}

/* disk_key() - The key in a disk's file name. Return: whether it is one */
static bool disk_key(const char *name, char *key)
{
    if (strlen(name) != BL_DISK_KEY_LENGTH + strlen(".ext4"))
        return false;
    memcpy(key, name, BL_DISK_KEY_LENGTH);
    key[BL_DISK_KEY_LENGTH] = '\0';
    return true;
}

void bl_images_leftovers(struct bl_images *images, void (*found)(const char *path, uint64_t bytes, void *data), void *data)
{
    cleanup_list struct list all = {0};
    cleanup_close int images_fd = bl_os.open(images->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    cleanup_close int disks_fd = images_fd < 0 ? -1 : bl_os.openat(images_fd, "disks", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    cleanup_dir DIR *disks = disks_fd < 0 ? NULL : bl_os.fdopendir(disks_fd);
    const struct dirent *entry;

    if (!disks)
        return;
    (void)bl_steal_fd(&disks_fd);
    bl_partial_list(images_fd, found, data);
    /* When a record can't be read, its disk is no orphan. */
    if (read_all(images, true, &all, NULL))
        return;
    while ((entry = bl_os.readdir(disks))) {
        char key[BL_DISK_KEY_LENGTH + 1], path[128];
        struct stat status;

        if (!disk_key(entry->d_name, key) || !is_orphan(images_fd, key, &all) ||
            bl_os.fstatat(dirfd(disks), entry->d_name, &status, AT_SYMLINK_NOFOLLOW))
            continue;
        snprintf(path, sizeof path, "disks/%s.ext4", key);
        found(path, (uint64_t)status.st_blocks * 512, data);
    }
}

void bl_images_sweep(struct bl_images *images)
{
    cleanup_list struct list before = {0};
    cleanup_close int images_fd = bl_os.open(images->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    cleanup_close int disks_fd = images_fd < 0 ? -1 : bl_os.openat(images_fd, "disks", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    cleanup_dir DIR *disks = disks_fd < 0 ? NULL : bl_os.fdopendir(disks_fd);
    const struct dirent *entry;

    if (!disks)
        return;
    (void)bl_steal_fd(&disks_fd);
    bl_partial_sweep(images_fd);
    bl_blobs_sweep(images_fd, 0);
    sweep_locks(images_fd);
    if (read_all(images, true, &before, NULL))
        return;
    while ((entry = bl_os.readdir(disks))) {
        char key[BL_DISK_KEY_LENGTH + 1];
        cleanup_list struct list now = {0};

        if (!disk_key(entry->d_name, key) || !is_orphan(images_fd, key, &before))
            continue;

        /* A record can have been written since; under the lock none can. */
        cleanup_close int lock = bl_image_lock(images_fd, key, -1, NULL);

        if (lock >= 0 && !read_all(images, true, &now, NULL) && is_orphan(images_fd, key, &now))
            remove_disk(images_fd, key);
    }
}
