/* SPDX-License-Identifier: Apache-2.0 */
/* source.c - directories and archives as named files; see source.h */
#include "image/loader/source.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/os.h"
#include "base/strings.h"
#include "image/document.h"
#include "image/limit.h"
#include "image/loader/layer.h"
#include "image/record.h"

#define MEMBERS_MAX    65536
#define LINKS_FOLLOWED 8
#define TAR_BLOCK      512u

/* A file of an archive, or a link to one (old `docker save` links equal layers). */
struct member {
    char *name;
    char *target; /* name of the member that it is a link to, or NULL */
    uint64_t offset, size;
};

struct bl_source {
    struct bl_load *load;
    char *what;
    struct bl_remote *remote; /* then it has nothing else */
    int directory_fd;         /* a layout directory; else -1 */
    int data_fd;              /* an archive: its file, or what was written of it */
    bool data_owned;
    struct member *members;
    size_t member_count;
};

const char *bl_source_describe(const struct bl_source *source)
{
    return source->what;
}

void bl_blob_close(struct bl_blob *blob)
{
    if (blob->owned)
        bl_close_fd(&blob->fd);
    blob->owned = false;
}

/* plain_name() - Without leading "./" and "/". */
static const char *plain_name(const char *name)
{
    for (;;) {
        if (name[0] == '/')
            name++;
        else if (name[0] == '.' && name[1] == '/')
            name += 2;
        else
            return name;
    }
}

/* link_target() - The member that a symbolic link at @name means: "../x/layer.tar" beside "y/layer.tar". Return: allocated, or NULL
 */
static char *link_target(const char *name, const char *target)
{
    const char *slash = strrchr(name, '/');
    size_t directory = slash ? (size_t)(slash - name) : 0;

    for (; bl_starts_with(target, "../"); target += 3) {
        if (!directory)
            return NULL;
        while (directory && name[directory - 1] != '/')
            directory--;
        directory -= directory > 0;
    }
    return directory ? bl_format("%.*s/%s", (int)directory, name, target) : strdup(target);
}

static int add_member(struct bl_source *source, struct member member, struct bl_error *err)
{
    struct member *grown =
        source->member_count < MEMBERS_MAX ? reallocarray(source->members, source->member_count + 1, sizeof *grown) : NULL;

    if (grown)
        source->members = grown;
    if (!grown || !member.name) {
        free(member.name);
        free(member.target);
        return source->member_count == MEMBERS_MAX
                   ? bl_fail(err, BL_RESOURCE_EXHAUSTED, 0, "%s holds more than %d files", source->what, MEMBERS_MAX)
                   : bl_fail_memory(err);
    }
    grown[source->member_count++] = member;
    return 0;
}

/* spool() - Write a member's bytes to the nameless file. @at: where; becomes the end. Return: 0; -1 with @err */
static int spool(struct bl_source *source, struct bl_tar *tar, uint64_t *at, struct bl_error *err)
{
    const void *data;
    size_t length;
    int64_t offset;
    uint64_t start = *at;
    int result;

    while ((result = archive_read_data_block(tar->archive, &data, &length, &offset)) == ARCHIVE_OK) {
        if (offset < 0 || __builtin_add_overflow(start, (uint64_t)offset + length, at) || *at > source->load->limits.total_bytes)
            return bl_fail_limit(err, "unpacked_mib", "%s holds more than %" PRIu64 " bytes", source->what,
                                 source->load->limits.total_bytes);
        if (bl_os.lseek(source->data_fd, (off_t)(start + (uint64_t)offset), SEEK_SET) < 0 ||
            bl_write_all(source->data_fd, data, length))
            return bl_fail(err, errno == ENOSPC || errno == EDQUOT ? BL_RESOURCE_EXHAUSTED : BL_STORAGE, errno,
                           "write a copy of %s to %s/partial", source->what, source->load->images_path);
    }
    return result == ARCHIVE_EOF ? 0 : bl_tar_fail(tar, source->what, err);
}

/* locate() - Where in a plain archive the data of the current member is. Return: 0; -1 with @err */
static int locate(struct bl_source *source, struct bl_tar *tar, const struct member *member, uint64_t *offset, struct bl_error *err)
{
    const void *data;
    size_t length;
    int64_t data_offset;

    *offset = 0;
    if (!member->size)
        return 0;
    /* libarchive gives the first bytes before it counts them as read: its position is theirs. */
    if (archive_read_data_block(tar->archive, &data, &length, &data_offset) != ARCHIVE_OK)
        return bl_tar_fail(tar, source->what, err);
    *offset = (uint64_t)archive_filter_bytes(tar->archive, 0);
    return *offset % TAR_BLOCK || data_offset ? bl_fail(err, BL_INTERNAL, 0, "find '%.200s' in %s", member->name, source->what) : 0;
}

static int read_member(struct bl_source *source, struct bl_tar *tar, struct archive_entry *entry, uint64_t *spooled,
                       struct bl_error *err)
{
    const char *path = archive_entry_pathname(entry), *link = archive_entry_hardlink(entry);
    struct member member = {0};
    int result = 0;

    if (!path)
        return 0;
    path = plain_name(path);
    if (link) {
        member.target = strdup(plain_name(link));
    } else if (archive_entry_filetype(entry) == AE_IFLNK && archive_entry_symlink(entry)) {
        member.target = link_target(path, archive_entry_symlink(entry));
        if (!member.target)
            return 0;
    } else if (archive_entry_filetype(entry) != AE_IFREG) {
        return 0; /* cppcheck-suppress memleak ; on this path there is no target */
    } else {
        if (archive_entry_sparse_count(entry))
            return bl_fail(err, BL_IMAGE, 0, "%s holds '%.200s' as a sparse file: make the archive without --sparse", source->what,
                           path);
        member.size = (uint64_t)archive_entry_size(entry);
    }
    member.name = strdup(path);
    if (!member.name || (link && !member.target)) {
        free(member.name);
        free(member.target);
        return bl_fail_memory(err);
    }
    if (!member.target && source->data_owned) {
        member.offset = *spooled;
        result = spool(source, tar, spooled, err);
    } else if (!member.target) {
        result = locate(source, tar, &member, &member.offset, err);
    }
    if (!result)
        return add_member(source, member, err);
    free(member.name);
    return -1;
}

static int read_members(struct bl_source *source, struct bl_stream *stream, struct bl_error *err)
{
    struct bl_tar tar;
    struct archive_entry *entry;
    uint64_t spooled = 0;
    int result;

    if (bl_tar_open(&tar, stream, source->what, err))
        return -1;
    while ((result = archive_read_next_header(tar.archive, &entry)) == ARCHIVE_OK || result == ARCHIVE_WARN) {
        if (read_member(source, &tar, entry, &spooled, err)) {
            bl_tar_close(&tar);
            return -1;
        }
    }
    result = result == ARCHIVE_EOF ? 0 : bl_tar_fail(&tar, source->what, err);
    bl_tar_close(&tar);
    return result;
}

/* make_spool() - A nameless file in partial/. */
static int make_spool(struct bl_source *source, struct bl_error *err)
{
    char name[64];

    source->data_fd = bl_partial_create(source->load->images_fd, name, sizeof name, err);
    source->data_owned = true;
    if (source->data_fd < 0)
        return -1;
    bl_os.unlinkat(source->load->images_fd, name, 0);
    return 0;
}

/* is_compressed() - By the first bytes of a regular file. */
static bool is_compressed(int fd)
{
    uint8_t head[4];

    return bl_os.pread(fd, head, sizeof head, 0) == (ssize_t)sizeof head &&
           ((head[0] == 0x1f && head[1] == 0x8b) || !memcmp(head, "\x28\xb5\x2f\xfd", 4) || !memcmp(head + 1, "\x2a\x4d\x18", 3) ||
            !memcmp(head, "BZh", 3) ||
            !memcmp(head,
                    "\xfd"
                    "7zX",
                    4));
}

/* open_archive() - Learn the members of an archive at @fd, which stays open while the source does. Return: 0; -1 with @err */
static int open_archive(struct bl_source *source, int fd, const struct stat *status, struct bl_error *err)
{
    struct bl_load *load = source->load;
    bool in_place = S_ISREG(status->st_mode) && bl_os.lseek(fd, 0, SEEK_CUR) == 0 && !is_compressed(fd);
    cleanup_stream struct bl_stream *stream = NULL;

    load->progress.what = "reading";
    load->progress.total_bytes = S_ISREG(status->st_mode) ? (uint64_t)status->st_size : 0;
    if (in_place) {
        source->data_fd = fd;
        stream = bl_stream_range(load, fd, 0, (uint64_t)status->st_size);
    } else {
        stream = bl_stream_pipe(load, fd);
        if (make_spool(source, err))
            return -1;
        if (stream)
            stream = bl_stream_unpack(load, stream, source->what, err);
        if (!stream)
            return -1;
    }
    if (!stream)
        return bl_fail_memory(err);

    void *before = bl_bytes_begin();
    int result = read_members(source, stream, err);

    bl_bytes_end(before);
    return result;
}

static int open_path(struct bl_source *source, const char *path, struct bl_error *err)
{
    cleanup_close int fd = bl_os.open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat status;

    if (fd < 0 || bl_os.fstat(fd, &status))
        return bl_fail(err, errno == ENOENT || errno == ENOTDIR ? BL_NOT_FOUND : BL_STORAGE, errno, "open the image %s", path);
    if (S_ISDIR(status.st_mode)) {
        source->directory_fd = bl_steal_fd(&fd);
        return 0;
    }
    if (!S_ISREG(status.st_mode) && !S_ISFIFO(status.st_mode))
        return bl_fail(err, BL_IMAGE, 0, "%s is neither a directory nor an archive", path);
    if (open_archive(source, fd, &status, err))
        return -1;
    if (source->data_owned)
        return 0;
    source->data_fd = bl_steal_fd(&fd);
    source->data_owned = true;
    return 0;
}

static int open_stream(struct bl_source *source, int fd, struct bl_error *err)
{
    struct stat status;

    if (bl_os.fstat(fd, &status))
        return bl_fail(err, BL_INVALID_ARGUMENT, errno, "read the image from descriptor %d", fd);
    if (S_ISDIR(status.st_mode))
        return bl_fail(err, BL_INVALID_ARGUMENT, 0, "the image's descriptor is a directory: give its path");
    return open_archive(source, fd, &status, err);
}

int bl_source_open(struct bl_load *load, struct bl_source **out, struct bl_error *err)
{
    struct bl_source *source = calloc(1, sizeof *source);

    if (!source)
        return bl_fail_memory(err);
    source->load = load;
    source->directory_fd = source->data_fd = -1;
    source->what = load->request->path ? strdup(load->request->path) : strdup("the stream");

    int result = !source->what         ? bl_fail_memory(err)
                 : load->request->path ? open_path(source, load->request->path, err)
                                       : open_stream(source, load->request->fd, err);

    load->progress.done_bytes = load->progress.total_bytes = 0;
    if (result)
        bl_source_close(source);
    else
        *out = source;
    return result;
}

int bl_source_remote(struct bl_load *load, struct bl_remote *remote, struct bl_source **out, struct bl_error *err)
{
    struct bl_source *source = calloc(1, sizeof *source);

    if (!source)
        return bl_fail_memory(err);
    source->load = load;
    source->remote = remote;
    source->directory_fd = source->data_fd = -1;
    source->what = strdup(remote->what);
    if (!source->what) {
        free(source);
        return bl_fail_memory(err);
    }
    *out = source;
    return 0;
}

void bl_source_close(struct bl_source *source)
{
    if (!source)
        return;
    bl_close_fd(&source->directory_fd);
    if (source->data_owned)
        bl_close_fd(&source->data_fd);
    for (size_t i = 0; i < source->member_count; i++) {
        free(source->members[i].name);
        free(source->members[i].target);
    }
    free(source->members);
    free(source->what);
    free(source);
}

static int find_in_directory(struct bl_source *source, const char *name, struct bl_blob *out, struct bl_error *err)
{
    struct open_how how = {.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK, .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS};
    cleanup_close int fd = bl_os.openat2(source->directory_fd, name, &how, sizeof how);
    struct stat status;

    if (fd < 0)
        return bl_fail(err, errno == ENOENT || errno == ENOTDIR ? BL_NOT_FOUND : BL_STORAGE, errno, "open %.200s in %s", name,
                       source->what);
    if (bl_os.fstat(fd, &status) || !S_ISREG(status.st_mode))
        return bl_fail(err, BL_IMAGE, 0, "%.200s in %s is no regular file", name, source->what);
    *out = (struct bl_blob){bl_steal_fd(&fd), true, 0, (uint64_t)status.st_size};
    return 0;
}

/* find_member() - The last member of a name, as tar has it. Return: NULL when there is none */
static const struct member *find_member(const struct bl_source *source, const char *name)
{
    for (size_t i = source->member_count; i--;)
        if (!strcmp(source->members[i].name, name))
            return &source->members[i];
    return NULL;
}

int bl_source_find(struct bl_source *source, const char *name, struct bl_blob *out, struct bl_error *err)
{
    const struct member *member;

    if (source->remote)
        return bl_fail(err, BL_NOT_FOUND, 0, "%s holds no '%.200s'", source->what, name);
    if (source->directory_fd >= 0)
        return find_in_directory(source, plain_name(name), out, err);
    member = find_member(source, plain_name(name));
    for (int i = 0; member && member->target && i < LINKS_FOLLOWED; i++)
        member = find_member(source, member->target);
    if (!member || member->target)
        return bl_fail(err, BL_NOT_FOUND, 0, "%s holds no '%.200s'", source->what, name);
    *out = (struct bl_blob){source->data_fd, false, member->offset, member->size};
    return 0;
}

/* digest_of() - The digest that "blobs/<algorithm>/<digits>" names. Return: 0; -1 with @err */
static int digest_of(const struct bl_source *source, const char *name, char digest[BL_DIGEST_MAX], struct bl_error *err)
{
    const char *rest = bl_starts_with(name, "blobs/") ? name + strlen("blobs/") : "";
    const char *slash = strchr(rest, '/');

    if (slash && snprintf(digest, BL_DIGEST_MAX, "%.*s:%s", (int)(slash - rest), rest, slash + 1) < BL_DIGEST_MAX &&
        bl_is_digest(digest))
        return 0;
    return bl_fail(err, BL_NOT_FOUND, 0, "%s holds no '%.200s'", source->what, name);
}

static int read_remote(struct bl_source *source, const char *name, struct bl_buffer *out, struct bl_error *err)
{
    char digest[BL_DIGEST_MAX];
    cleanup_buffer struct bl_buffer bytes = BL_BUFFER_INIT(bl_buffer_room(out));

    if (digest_of(source, name, digest, err) || source->remote->read(source->remote, digest, &bytes, err) ||
        bl_verify_bytes(bl_buffer_data(&bytes), bytes.length, digest, name, err))
        return -1;
    return bl_buffer_append(out, bl_buffer_data(&bytes), bytes.length) ? bl_fail_memory(err) : 0;
}

struct bl_stream *bl_source_stream(struct bl_source *source, const char *name, struct bl_blob *blob, struct bl_error *err)
{
    char digest[BL_DIGEST_MAX];
    struct bl_stream *stream;

    if (source->remote) {
        *blob = (struct bl_blob)BL_BLOB_NONE;
        return digest_of(source, name, digest, err) ? NULL : source->remote->stream(source->remote, digest, &blob->size, err);
    }
    if (bl_source_find(source, name, blob, err))
        return NULL;
    stream = bl_stream_range(source->load, blob->fd, blob->offset, blob->size);
    if (!stream)
        bl_fail_memory(err);
    return stream;
}

int bl_source_read(struct bl_source *source, const char *name, const char *digest, struct bl_buffer *out, struct bl_error *err)
{
    cleanup_blob struct bl_blob blob = BL_BLOB_NONE;
    const void *data;
    ssize_t got;

    if (source->remote)
        return read_remote(source, name, out, err);
    if (bl_source_find(source, name, &blob, err))
        return -1;
    if (blob.size > bl_buffer_room(out))
        return bl_fail(err, BL_RESOURCE_EXHAUSTED, 0, "'%.200s' of %s is larger than the %zu bytes a document may have", name,
                       source->what, bl_buffer_room(out));

    struct bl_stream *range = bl_stream_range(source->load, blob.fd, blob.offset, blob.size);
    cleanup_stream struct bl_stream *stream = bl_stream_digest(range, digest, name, err);

    if (!stream)
        return -1;
    while ((got = stream->next(stream, &data, err)) > 0)
        if (bl_buffer_append(out, data, (size_t)got))
            return bl_fail_memory(err);
    return got < 0 ? -1 : digest ? bl_stream_verify(stream, err) : 0;
}
