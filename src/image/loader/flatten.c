/* SPDX-License-Identifier: Apache-2.0 */
/*
 * flatten.c - reading a base disk back; see flatten.h
 *
 * The disk is one that the loader wrote and nobody changed since. Directories are walked from the root, each before what is in it
 * and in the order in which it stands there; a file's further names become hard links to its first. What the archive says is what
 * the disk says: owners, modes, times to the nanosecond, attributes, devices, holes. The same disk gives the same layer.
 */
#include "image/loader/flatten.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/os.h"
#include "base/strings.h"
#include "image/loader/ext4_private.h"

#define BLOCK_BYTES      (256u << 10)
#define HOLES_WORTH_SAYS (UINT64_C(1) << 20) /* fewer bytes of holes are written as zeros, which any reader understands */

struct flatten {
    struct bl_load *load;
    int fd;
    ext2_filsys fs;
    struct archive *archive;
    struct bl_pack *pack;
    struct bl_error failure; /* of the pack, inside libarchive */
    char **first_names;      /* by inode: the name that others are linked to; NULL: none yet */
    uint32_t inodes;
    uint8_t *block;
    const uint8_t *zeros;
};

/* A run of a file: where it is in the file and on the disk, in bytes. */
struct run {
    uint64_t offset, place, length;
};

struct runs {
    struct run *list;
    size_t count;
    uint64_t bytes;
};

static void free_runs(struct runs *runs)
{
    free(runs->list);
}
#define cleanup_runs __attribute__((cleanup(free_runs)))

static int disk_failure(errcode_t code, const char *path, struct bl_error *err)
{
    if (code == ENOMEM || code == EXT2_ET_NO_MEMORY)
        return bl_fail_memory(err);
    return bl_fail(err, BL_STORAGE, 0, "read '%.200s' from the image's disk: %s", path, error_message(code));
}

static int archive_failure(struct flatten *flatten, const char *path, struct bl_error *err)
{
    const char *text = archive_error_string(flatten->archive);

    if (flatten->failure.code == BL_OK)
        return bl_fail(err, BL_STORAGE, 0, "put '%.200s' into a layer: %s", path, text ? text : "it failed");
    if (err)
        *err = flatten->failure;
    return -1;
}

static la_ssize_t take_bytes(struct archive *archive, void *data, const void *bytes, size_t length)
{
    struct flatten *flatten = data;

    if (flatten->failure.code == BL_OK && !bl_pack_write(flatten->pack, bytes, length, &flatten->failure))
        return (la_ssize_t)length;
    archive_set_error(archive, EIO, "%s", flatten->failure.message);
    return -1;
}

static uint64_t size_of(const struct ext2_inode_large *inode)
{
    return inode->i_size | (uint64_t)inode->i_size_high << 32;
}

/* add_run() - Return: 0; -1 without memory */
static int add_run(struct runs *runs, struct run run)
{
    struct run *grown = reallocarray(runs->list, runs->count + 1, sizeof *grown);

    if (!grown)
        return -1;
    runs->list = grown;
    grown[runs->count++] = run;
    runs->bytes += run.length;
    return 0;
}

/* list_runs() - Where a file's bytes are. Return: 0; -1 with @err */
static int list_runs(struct flatten *flatten, ext2_ino_t number, struct ext2_inode_large *inode, const char *path,
                     struct runs *runs, struct bl_error *err)
{
    uint64_t size = size_of(inode), unit = flatten->fs->blocksize;
    ext2_extent_handle_t handle;
    struct ext2fs_extent extent;
    errcode_t code;
    int result = 0;

    if (!(inode->i_flags & EXT4_EXTENTS_FL))
        return size ? bl_fail(err, BL_INTERNAL, 0, "'%.200s' on the image's disk has no extents", path) : 0;
    code = ext2fs_extent_open2(flatten->fs, number, (struct ext2_inode *)inode, &handle);
    if (code)
        return disk_failure(code, path, err);
    code = ext2fs_extent_get(handle, EXT2_EXTENT_ROOT, &extent);
    for (; !code && !result; code = ext2fs_extent_get(handle, EXT2_EXTENT_NEXT, &extent)) {
        struct run run = {extent.e_lblk * unit, extent.e_pblk * unit, extent.e_len * unit};

        if (!(extent.e_flags & EXT2_EXTENT_FLAGS_LEAF) || (extent.e_flags & EXT2_EXTENT_FLAGS_UNINIT) || run.offset >= size)
            continue;
        if (run.length > size - run.offset)
            run.length = size - run.offset;
        if (add_run(runs, run))
            result = bl_fail_memory(err);
    }
    ext2fs_extent_free(handle);
    return result || code == EXT2_ET_EXTENT_NO_NEXT || code == EXT2_ET_NO_CURRENT_NODE ? result : disk_failure(code, path, err);
}

/* read_run() - Some of a run, at least a byte. Return: bytes at flatten->block; -1 with @err */
static ssize_t read_run(struct flatten *flatten, const struct run *run, uint64_t at, const char *path, struct bl_error *err)
{
    size_t wanted = run->length - at < BLOCK_BYTES ? (size_t)(run->length - at) : BLOCK_BYTES;
    ssize_t got;

    do
        got = bl_os.pread(flatten->fd, flatten->block, wanted, (off_t)(run->place + at));
    while (got < 0 && errno == EINTR);
    return got > 0 ? got : bl_fail(err, BL_STORAGE, got < 0 ? errno : 0, "read '%.200s' from the image's disk", path);
}

/* put() - File content into the archive. Return: 0; -1 with @err */
static int put(struct flatten *flatten, const void *bytes, size_t length, const char *path, struct bl_error *err)
{
    const char *at = bytes;

    while (length) {
        la_ssize_t done = archive_write_data(flatten->archive, at, length);

        if (done <= 0)
            return archive_failure(flatten, path, err);
        at += done;
        length -= (size_t)done;
    }
    return 0;
}

/* put_zeros() - Holes; those that the entry names cost no byte. */
static int put_zeros(struct flatten *flatten, uint64_t length, const char *path, struct bl_error *err)
{
    while (length) {
        size_t part = length < BLOCK_BYTES ? (size_t)length : BLOCK_BYTES;

        if (bl_load_cancelled(flatten->load, err) || put(flatten, flatten->zeros, part, path, err))
            return -1;
        length -= part;
    }
    return 0;
}

static int put_content(struct flatten *flatten, const struct runs *runs, uint64_t size, const char *path, struct bl_error *err)
{
    uint64_t at = 0;

    for (size_t i = 0; i < runs->count; i++) {
        const struct run *run = &runs->list[i];

        if (put_zeros(flatten, run->offset - at, path, err))
            return -1;
        for (uint64_t done = 0; done < run->length;) {
            ssize_t got = read_run(flatten, run, done, path, err);

            if (got < 0 || put(flatten, flatten->block, (size_t)got, path, err))
                return -1;
            done += (uint64_t)got;
        }
        at = run->offset + run->length;
    }
    return put_zeros(flatten, size - at, path, err);
}

/* set_target() - Where a symbolic link points: in the inode, or in a block of its own. Return: 0; -1 with @err */
static int set_target(struct flatten *flatten, ext2_ino_t number, struct ext2_inode_large *inode, const char *path,
                      struct archive_entry *entry, struct bl_error *err)
{
    cleanup_runs struct runs runs = {0};
    uint64_t size = size_of(inode);
    char target[4096 + 1];

    if (size > 4096)
        return bl_fail(err, BL_INTERNAL, 0, "the link '%.200s' on the image's disk is too long", path);
    if (!(inode->i_flags & EXT4_EXTENTS_FL) && size < sizeof inode->i_block) {
        memcpy(target, inode->i_block, (size_t)size);
    } else {
        if (list_runs(flatten, number, inode, path, &runs, err))
            return -1;
        if (runs.count != 1 || runs.bytes != size || read_run(flatten, &runs.list[0], 0, path, err) != (ssize_t)size)
            return bl_fail(err, BL_INTERNAL, 0, "the link '%.200s' on the image's disk has no target", path);
        memcpy(target, flatten->block, (size_t)size);
    }
    target[size] = '\0';
    archive_entry_copy_symlink(entry, target);
    return 0;
}

static int add_attribute(char *name, char *value, size_t length, void *data)
{
    archive_entry_xattr_add_entry(data, name, value, length);
    return 0;
}

static int set_attributes(struct flatten *flatten, ext2_ino_t number, const char *path, struct archive_entry *entry,
                          struct bl_error *err)
{
    struct ext2_xattr_handle *handle;
    errcode_t code = ext2fs_xattrs_open(flatten->fs, number, &handle);

    if (code)
        return disk_failure(code, path, err);
    code = ext2fs_xattrs_read(handle);
    if (!code)
        code = ext2fs_xattrs_iterate(handle, add_attribute, entry);
    ext2fs_xattrs_close(&handle);
    return code ? disk_failure(code, path, err) : 0;
}

static void set_device(const struct ext2_inode_large *inode, struct archive_entry *entry)
{
    uint32_t old = inode->i_block[0], new = inode->i_block[1];

    archive_entry_set_rdevmajor(entry, old ? old >> 8 & 0xff : new >> 8 & 0xfff);
    archive_entry_set_rdevminor(entry, old ? old & 0xff : (new & 0xff) | (new >> 12 & 0xfff00));
}

/* describe() - All that an entry says before its content. Return: 0; -1 with @err */
static int describe(struct flatten *flatten, ext2_ino_t number, struct ext2_inode_large *inode, const char *path,
                    struct archive_entry *entry, struct bl_error *err)
{
    const char *first = number < flatten->inodes ? flatten->first_names[number] : NULL;
    int64_t seconds = (int32_t)inode->i_mtime + ((int64_t)(inode->i_mtime_extra & 3) << 32);

    archive_entry_copy_pathname(entry, path);
    archive_entry_set_mode(entry, inode->i_mode);
    archive_entry_set_uid(entry, (la_int64_t)inode_uid(*inode));
    archive_entry_set_gid(entry, (la_int64_t)inode_gid(*inode));
    archive_entry_set_mtime(entry, seconds, (long)(inode->i_mtime_extra >> 2));
    archive_entry_set_size(entry, 0);
    if (first) {
        archive_entry_copy_hardlink(entry, first);
        return 0;
    }
    if (S_ISLNK(inode->i_mode) && set_target(flatten, number, inode, path, entry, err))
        return -1;
    if (S_ISCHR(inode->i_mode) || S_ISBLK(inode->i_mode))
        set_device(inode, entry);
    return set_attributes(flatten, number, path, entry, err);
}

/* write_entry() - A described entry and its content. Return: 0; -1 with @err */
static int write_entry(struct flatten *flatten, ext2_ino_t number, struct ext2_inode_large *inode, const char *path,
                       struct archive_entry *entry, struct bl_error *err)
{
    cleanup_runs struct runs runs = {0};
    bool content = S_ISREG(inode->i_mode) && !archive_entry_hardlink(entry);
    uint64_t size = content ? size_of(inode) : 0;
    int result;

    if (content && list_runs(flatten, number, inode, path, &runs, err))
        return -1;
    archive_entry_set_size(entry, (la_int64_t)size);
    if (size - runs.bytes >= HOLES_WORTH_SAYS) {
        for (size_t i = 0; i < runs.count; i++)
            archive_entry_sparse_add_entry(entry, (la_int64_t)runs.list[i].offset, (la_int64_t)runs.list[i].length);
        if (!runs.count)
            archive_entry_sparse_add_entry(entry, (la_int64_t)size, 0);
    }
    /* A warning says that a name is no text of the locale; the archive then says that it holds bytes. */
    result = archive_write_header(flatten->archive, entry);
    if (result != ARCHIVE_OK && result != ARCHIVE_WARN)
        return archive_failure(flatten, path, err);
    return content ? put_content(flatten, &runs, size, path, err) : 0;
}

/* add() - One name of the disk. @directory: whether there is more below. Return: 0; -1 with @err */
static int add(struct flatten *flatten, ext2_ino_t number, const char *path, bool *directory, struct bl_error *err)
{
    struct ext2_inode_large inode = {0};
    struct archive_entry *entry;
    errcode_t code = ext2fs_read_inode_full(flatten->fs, number, (struct ext2_inode *)&inode, sizeof inode);
    int result;

    if (code)
        return disk_failure(code, path, err);
    if (bl_load_cancelled(flatten->load, err))
        return -1;
    *directory = S_ISDIR(inode.i_mode);
    entry = archive_entry_new2(flatten->archive);
    if (!entry)
        return bl_fail_memory(err);
    result = describe(flatten, number, &inode, path, entry, err);
    if (!result)
        result = write_entry(flatten, number, &inode, path, entry, err);
    archive_entry_free(entry);
    if (!result && !*directory && inode.i_links_count > 1 && number < flatten->inodes && !flatten->first_names[number]) {
        flatten->first_names[number] = strdup(path);
        if (!flatten->first_names[number])
            return bl_fail_memory(err);
    }
    return result;
}

struct child {
    ext2_ino_t number;
    char *name;
};

/* What is in a directory. */
struct children {
    struct child *list;
    size_t count, room;
    bool failed; /* memory ran out */
};

static void free_children(struct children *children)
{
    for (size_t i = 0; i < children->count; i++)
        free(children->list[i].name);
    free(children->list);
}
#define cleanup_children __attribute__((cleanup(free_children)))

static int collect(ext2_ino_t directory, int kind, struct ext2_dir_entry *entry, int offset, int block_size, char *buffer,
                   void *data)
{
    struct children *children = data;
    char *name;

    (void)directory, (void)offset, (void)block_size, (void)buffer;
    if (kind != DIRENT_OTHER_FILE)
        return 0;
    if (children->count == children->room) {
        size_t room = children->room ? 2 * children->room : 16;
        struct child *grown = reallocarray(children->list, room, sizeof *grown);

        if (grown) {
            children->list = grown;
            children->room = room;
        }
    }
    name = strndup(entry->name, (size_t)ext2fs_dirent_name_len(entry));
    if (!name || children->count == children->room) {
        free(name);
        children->failed = true;
        return DIRENT_ABORT;
    }
    children->list[children->count++] = (struct child){entry->inode, name};
    return 0;
}

/* walk() - All below a directory. @path: "" for the root. Return: 0; -1 with @err */
static int walk(struct flatten *flatten, ext2_ino_t number, const char *path, struct bl_error *err)
{
    cleanup_children struct children children = {0};
    errcode_t code = ext2fs_dir_iterate2(flatten->fs, number, 0, NULL, collect, &children);

    if (code)
        return disk_failure(code, path, err);
    if (children.failed)
        return bl_fail_memory(err);
    for (size_t i = 0; i < children.count; i++) {
        cleanup_free char *below = bl_format("%s%s%s", path, *path ? "/" : "", children.list[i].name);
        bool directory;

        if (!below)
            return bl_fail_memory(err);
        if (add(flatten, children.list[i].number, below, &directory, err) ||
            (directory && walk(flatten, children.list[i].number, below, err)))
            return -1;
    }
    return 0;
}

/* write_layer() - The whole disk through the archive into the pack. Return: 0; -1 with @err */
static int write_layer(struct flatten *flatten, struct bl_packed *out, struct bl_error *err)
{
    bool directory;

    if (archive_write_set_format_pax(flatten->archive) != ARCHIVE_OK ||
        archive_write_set_format_option(flatten->archive, "pax", "xattrheader", "SCHILY") != ARCHIVE_OK ||
        archive_write_set_bytes_per_block(flatten->archive, 64 << 10) != ARCHIVE_OK ||
        archive_write_set_bytes_in_last_block(flatten->archive, 1) != ARCHIVE_OK ||
        archive_write_open(flatten->archive, flatten, NULL, take_bytes, NULL) != ARCHIVE_OK)
        return archive_failure(flatten, "/", err);
    if (add(flatten, EXT2_ROOT_INO, "./", &directory, err) || walk(flatten, EXT2_ROOT_INO, "", err))
        return -1;
    if (archive_write_close(flatten->archive) != ARCHIVE_OK)
        return archive_failure(flatten, "/", err);
    return bl_pack_finish(flatten->pack, out, err);
}

static int begin(struct flatten *flatten, const char *disk_path, struct bl_error *err)
{
    char name[16];
    errcode_t code;

    flatten->fd = bl_os.open(disk_path, O_RDONLY | O_CLOEXEC);
    if (flatten->fd < 0)
        return bl_fail(err, BL_STORAGE, errno, "open %s", disk_path);
    snprintf(name, sizeof name, "%d", flatten->fd);
    code = ext2fs_open(name, EXT2_FLAG_64BITS, 0, 0, (io_manager)(uintptr_t)&bl_ext4_io_manager, &flatten->fs);
    if (code)
        return disk_failure(code, "/", err);
    flatten->inodes = flatten->fs->super->s_inodes_count + 1;
    flatten->first_names = calloc(flatten->inodes, sizeof(char *));
    flatten->block = malloc(BLOCK_BYTES);
    flatten->zeros = calloc(1, BLOCK_BYTES);
    flatten->archive = archive_write_new();
    if (!flatten->first_names || !flatten->block || !flatten->zeros || !flatten->archive)
        return bl_fail_memory(err);
    return bl_pack_open(flatten->load, &flatten->pack, err);
}

static void finish(struct flatten *flatten)
{
    /* Whatever is still to be written is not wanted any more. */
    if (flatten->failure.code == BL_OK)
        bl_fail(&flatten->failure, BL_STOPPED, 0, "the layer was given up");
    if (flatten->archive)
        archive_write_free(flatten->archive);
    bl_pack_close(flatten->pack);
    for (uint32_t i = 0; flatten->first_names && i < flatten->inodes; i++)
        free(flatten->first_names[i]);
    free(flatten->first_names);
    free(flatten->block);
    free((void *)(uintptr_t)flatten->zeros);
    if (flatten->fs)
        ext2fs_free(flatten->fs);
    bl_close_fd(&flatten->fd);
}

int bl_flatten(struct bl_load *load, const char *disk_path, struct bl_packed *out, struct bl_error *err)
{
    struct flatten flatten = {.load = load, .fd = -1};
    int result;

    *out = (struct bl_packed){.fd = -1};
    result = begin(&flatten, disk_path, err);
    if (!result)
        result = write_layer(&flatten, out, err);
    finish(&flatten);
    return result;
}
