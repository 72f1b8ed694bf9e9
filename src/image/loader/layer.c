/* SPDX-License-Identifier: Apache-2.0 */
/*
 * layer.c - from tar entries to the tree and the disk; see layer.h
 *
 * libarchive parses the archive (ustar, pax, GNU, sparse files of all kinds); its file-writing half is not used, so nothing of
 * a layer touches the host's file tree. Contents go from its buffer to the disk's.
 */
#include "image/loader/layer.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <inttypes.h>
#include <locale.h>
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "image/limit.h"

static locale_t c_locale;

static void make_locale(void)
{
    c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
}

void *bl_bytes_begin(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, make_locale);
    return uselocale(c_locale);
}

void bl_bytes_end(void *before)
{
    uselocale(before);
}

static la_ssize_t read_stream(struct archive *archive, void *data, const void **buffer)
{
    struct bl_tar *tar = data;
    ssize_t got = tar->stream->next(tar->stream, buffer, &tar->failure);

    if (got < 0)
        archive_set_error(archive, EIO, "%s", tar->failure.message);
    return got;
}

int bl_tar_open(struct bl_tar *tar, struct bl_stream *stream, const char *what, struct bl_error *err)
{
    *tar = (struct bl_tar){.archive = archive_read_new(), .stream = stream};
    if (!tar->archive)
        return bl_fail_memory(err);
    /* Only tar, whatever else libarchive knows; an empty file is a layer without entries. */
    if (archive_read_support_format_tar(tar->archive) == ARCHIVE_OK &&
        archive_read_support_format_empty(tar->archive) == ARCHIVE_OK &&
        archive_read_open(tar->archive, tar, NULL, read_stream, NULL) == ARCHIVE_OK)
        return 0;
    bl_tar_fail(tar, what, err);
    bl_tar_close(tar);
    return -1;
}

void bl_tar_close(struct bl_tar *tar)
{
    archive_read_free(tar->archive);
    tar->archive = NULL;
}

int bl_tar_fail(struct bl_tar *tar, const char *what, struct bl_error *err)
{
    if (tar->failure.code != BL_OK) {
        if (err)
            *err = tar->failure;
        return -1;
    }
    if (archive_errno(tar->archive) == ENOMEM)
        return bl_fail_memory(err);

    const char *text = archive_error_string(tar->archive);

    return bl_fail(err, BL_IMAGE, 0, "%s is no valid tar archive: %s", what, text ? text : "it is damaged");
}

/* A layer on its way into the tree. */
struct layer {
    struct bl_load *load;
    struct bl_tar tar;
    struct bl_tree *tree;
    struct bl_ext4 *ext4;
    const char *what;
};

/* describe() - Take an entry over into our words. Return: 0; 1 to pass over it; -1 with @err */
static int describe(struct layer *layer, struct archive_entry *from, struct bl_tree_entry *to, struct bl_error *err)
{
    int64_t uid = archive_entry_uid(from), gid = archive_entry_gid(from);
    mode_t type = archive_entry_filetype(from);

    *to = (struct bl_tree_entry){
        .path = archive_entry_pathname(from),
        .hard_link = archive_entry_hardlink(from),
        .target = archive_entry_symlink(from),
        .mode = (uint16_t)(type | (archive_entry_perm(from) & 07777)),
        .uid = (uint32_t)uid,
        .gid = (uint32_t)gid,
        .mtime = archive_entry_mtime_is_set(from) ? archive_entry_mtime(from) : 0,
        .mtime_ns = (uint32_t)archive_entry_mtime_nsec(from),
    };
    if (!to->path)
        return bl_fail(err, BL_IMAGE, 0, "%s has an entry without a name", layer->what);
    if (uid < 0 || uid > UINT32_MAX || gid < 0 || gid > UINT32_MAX)
        return bl_fail(err, BL_IMAGE, 0, "%s: the owner of '%.200s' (%" PRId64 ":%" PRId64 ") is out of range", layer->what,
                       to->path, uid, gid);
    if (to->mtime_ns >= 1000000000)
        to->mtime_ns = 0;
    if (type == AE_IFCHR || type == AE_IFBLK) {
        to->major = (uint32_t)archive_entry_rdevmajor(from);
        to->minor = (uint32_t)archive_entry_rdevminor(from);
        if (to->major > 0xfff || to->minor > 0xfffff)
            return bl_fail(err, BL_IMAGE, 0, "%s: the device '%.200s' has numbers out of range", layer->what, to->path);
    }
    if (to->hard_link)
        return 0;
    /* Sockets say nothing without the program that made them. */
    return type == AE_IFREG || type == AE_IFDIR || type == AE_IFLNK || type == AE_IFCHR || type == AE_IFBLK || type == AE_IFIFO ? 0
                                                                                                                                : 1;
}

static int add_attributes(struct archive_entry *entry, struct bl_inode *inode, struct bl_error *err)
{
    const char *name;
    const void *value;
    size_t length;

    archive_entry_xattr_reset(entry);
    while (archive_entry_xattr_next(entry, &name, &value, &length) == ARCHIVE_OK)
        if (name && bl_inode_add_attribute(inode, name, value, length, err))
            return -1;
    return 0;
}

/* copy_content() - A file's bytes onto the disk. Return: 0; -1 with @err */
static int copy_content(struct layer *layer, struct archive_entry *entry, struct bl_inode *inode, struct bl_error *err)
{
    int64_t size = archive_entry_size(entry), offset;
    const void *data;
    size_t length;
    int result;

    if (size < 0 || (uint64_t)size > BL_EXT4_SIZE_MAX)
        return bl_fail(err, BL_IMAGE, 0, "%s: '%.200s' has a size that no disk holds", layer->what, archive_entry_pathname(entry));
    while ((result = archive_read_data_block(layer->tar.archive, &data, &length, &offset)) == ARCHIVE_OK) {
        if (offset < 0 || offset > size || length > (uint64_t)(size - offset))
            return bl_fail(err, BL_IMAGE, 0, "%s: '%.200s' is longer than it says", layer->what, archive_entry_pathname(entry));
        if (bl_ext4_write(layer->ext4, &inode->extents, (uint64_t)offset, data, length, err))
            return -1;
    }
    if (result != ARCHIVE_EOF)
        return bl_tar_fail(&layer->tar, layer->what, err);
    inode->size_bytes = (uint64_t)size;
    return bl_ext4_end_file(layer->ext4, err);
}

static int apply_entry(struct layer *layer, struct archive_entry *entry, struct bl_error *err)
{
    struct bl_tree_entry described;
    struct bl_inode *inode;
    int result;

    if (++layer->load->entries > layer->load->limits.entries)
        return bl_fail_limit(err, "files", "the image has more than %" PRIu64 " files", layer->load->limits.entries);
    /* An entry can cost more than its bytes: thousands of steps through links, each of which is another such path. */
    if (bl_load_expired(layer->load, err))
        return -1;
    result = describe(layer, entry, &described, err);
    if (result)
        return result < 0 ? -1 : 0;
    if (bl_tree_add(layer->tree, &described, &inode, err))
        return bl_fail_context(err, "%s", layer->what);
    if (!inode)
        return 0;
    if (add_attributes(entry, inode, err))
        return bl_fail_context(err, "%s: '%.200s'", layer->what, described.path);
    return S_ISREG(described.mode) ? copy_content(layer, entry, inode, err) : 0;
}

static int apply_entries(struct layer *layer, struct bl_error *err)
{
    struct archive_entry *entry;
    int result;

    /* A warning is about a name that is no text in the "C" locale, or an attribute that libarchive does not know. */
    while ((result = archive_read_next_header(layer->tar.archive, &entry)) == ARCHIVE_OK || result == ARCHIVE_WARN)
        if (apply_entry(layer, entry, err))
            return -1;
    return result == ARCHIVE_EOF ? 0 : bl_tar_fail(&layer->tar, layer->what, err);
}

int bl_layer_apply(struct bl_load *load, struct bl_stream *stream, struct bl_tree *tree, struct bl_ext4 *ext4, const char *what,
                   struct bl_error *err)
{
    struct layer layer = {.load = load, .tree = tree, .ext4 = ext4, .what = what};
    void *before = bl_bytes_begin();
    int result = bl_tar_open(&layer.tar, stream, what, err);

    if (!result) {
        bl_tree_begin_layer(tree);
        result = apply_entries(&layer, err);
        if (!result)
            result = bl_tree_end_layer(tree, err);
        bl_tar_close(&layer.tar);
    }
    bl_bytes_end(before);
    return result;
}
