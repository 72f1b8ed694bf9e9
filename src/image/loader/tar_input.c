/* SPDX-License-Identifier: Apache-2.0 */
/* tar_input.c - entries out of a tar stream; see image/tar.h */
#include <archive.h>
#include <archive_entry.h>
#include <inttypes.h>
#include <string.h>

#include "base/cleanup.h"
#include "image/loader/layer.h"
#include "image/loader/stream.h"
#include "image/loader/tar.h"

#define ZERO_BYTES   4096
#define WINDOW_BYTES (UINT64_C(128) << 20)
#define NANOSECONDS  UINT64_C(1000000000)
#define SECONDS_MAX  (INT64_C(1) << 34)

struct bl_tar_input {
    struct bl_load_request request; /* only to be cancelled by */
    struct bl_load load;
    struct bl_stream *stream;
    struct bl_tar tar;
    char *path, *link;    /* of the current entry, cleaned */
    uint64_t given, size; /* bytes of the current file */
    const uint8_t *block; /* a block that libarchive gave, which stands at @block_offset and is not given yet */
    size_t block_length;
    uint64_t block_offset;
    bool block_end; /* libarchive has no more */
};

int bl_tar_input_open(int fd, int cancel_fd, struct bl_tar_input **out, struct bl_error *err)
{
    struct bl_tar_input *input = calloc(1, sizeof *input);

    if (!input)
        return bl_fail_memory(err);
    input->request = (struct bl_load_request){.fd = fd, .cancel_fd = cancel_fd};
    input->load = (struct bl_load){.images_fd = -1, .request = &input->request, .limits = {.zstd_window_bytes = WINDOW_BYTES}};

    struct bl_stream *stream = bl_stream_pipe(&input->load, fd);

    if (!stream)
        bl_fail_memory(err);
    else
        input->stream = bl_stream_unpack(&input->load, stream, "the archive", err);
    if (!input->stream || bl_tar_open(&input->tar, input->stream, "the archive", err)) {
        bl_tar_input_close(input);
        return -1;
    }
    *out = input;
    return 0;
}

void bl_tar_input_close(struct bl_tar_input *input)
{
    if (!input)
        return;
    if (input->tar.archive)
        bl_tar_close(&input->tar);
    bl_stream_close(input->stream);
    free(input->path);
    free(input->link);
    free(input);
}

/* clean() - A path without empty and "." components. Return: allocated; NULL with @err, when it has ".." */
static char *clean(const char *path, struct bl_error *err)
{
    char *cleaned = malloc(strlen(path) + 1);
    size_t length = 0;

    if (!cleaned) {
        bl_fail_memory(err);
        return NULL;
    }
    while (*path) {
        size_t part = strcspn(path, "/");

        if (part == 2 && path[0] == '.' && path[1] == '.') {
            free(cleaned);
            bl_fail(err, BL_IMAGE, 0, "the archive holds '%.200s': paths with '..' are not taken", path);
            return NULL;
        }
        if (part && !(part == 1 && path[0] == '.')) {
            if (length)
                cleaned[length++] = '/';
            memcpy(cleaned + length, path, part);
            length += part;
        }
        path += part + (path[part] == '/');
    }
    cleaned[length] = '\0';
    return cleaned;
}

/* type_of() - Return: 0 for what a copy passes over */
static enum bl_tar_type type_of(struct archive_entry *entry)
{
    if (archive_entry_hardlink(entry))
        return BL_TAR_HARDLINK;
    switch (archive_entry_filetype(entry)) {
    case AE_IFREG:
        return BL_TAR_FILE;
    case AE_IFDIR:
        return BL_TAR_DIRECTORY;
    case AE_IFLNK:
        return BL_TAR_SYMLINK;
    case AE_IFIFO:
        return BL_TAR_FIFO;
    default:
        return (enum bl_tar_type)0;
    }
}

static uint64_t time_of(struct archive_entry *entry)
{
    int64_t seconds = archive_entry_mtime(entry);
    long nanoseconds = archive_entry_mtime_nsec(entry);

    if (!archive_entry_mtime_is_set(entry) || seconds < 0 || seconds > SECONDS_MAX)
        return 0;
    return (uint64_t)seconds * NANOSECONDS + (nanoseconds > 0 && (uint64_t)nanoseconds < NANOSECONDS ? (uint64_t)nanoseconds : 0);
}

/* describe() - An entry in our words. Return: 1; 0 to pass over it; -1 with @err */
static int describe(struct bl_tar_input *input, struct archive_entry *from, struct bl_tar_entry *to, struct bl_error *err)
{
    int64_t uid = archive_entry_uid(from), gid = archive_entry_gid(from), size = archive_entry_size(from);
    const char *path = archive_entry_pathname(from), *link = archive_entry_symlink(from);

    *to =
        (struct bl_tar_entry){.type = type_of(from), .mode = (uint32_t)archive_entry_perm(from) & 07777, .mtime_ns = time_of(from)};
    if (!to->type)
        return 0;
    if (!path || uid < 0 || uid > UINT32_MAX || gid < 0 || gid > UINT32_MAX || size < 0)
        return bl_fail(err, BL_IMAGE, 0, "the archive's entry '%.200s' has no name, or an owner or size out of range",
                       path ? path : "");
    to->uid = (uint32_t)uid;
    to->gid = (uint32_t)gid;
    input->path = clean(path, err);
    if (!input->path)
        return -1;
    if (to->type == BL_TAR_HARDLINK)
        input->link = clean(archive_entry_hardlink(from), err);
    else if (to->type == BL_TAR_SYMLINK && link && !(input->link = strdup(link)))
        bl_fail_memory(err);
    else if (to->type == BL_TAR_SYMLINK && !link)
        bl_fail(err, BL_IMAGE, 0, "the archive's symbolic link '%.200s' has no target", path);
    if ((to->type == BL_TAR_HARDLINK || to->type == BL_TAR_SYMLINK) && !input->link)
        return -1;
    to->path = input->path;
    to->link = input->link;
    to->size = input->size = to->type == BL_TAR_FILE ? (uint64_t)size : 0;
    return 1;
}

static int next_entry(struct bl_tar_input *input, struct bl_tar_entry *out, struct bl_error *err)
{
    for (;;) {
        struct archive_entry *entry;
        int result = archive_read_next_header(input->tar.archive, &entry);

        free(input->path);
        free(input->link);
        input->path = input->link = NULL;
        input->given = input->size = input->block_offset = 0;
        input->block_length = 0;
        input->block_end = false;
        if (result == ARCHIVE_EOF) {
            /* What follows the archive's end is read, so that its writer is not killed by a closed pipe. */
            return bl_stream_drain(input->stream, err);
        }
        if (result != ARCHIVE_OK && result != ARCHIVE_WARN)
            return bl_tar_fail(&input->tar, "the archive", err);
        result = describe(input, entry, out, err);
        if (result)
            return result;
    }
}

int bl_tar_input_next(struct bl_tar_input *input, struct bl_tar_entry *entry, struct bl_error *err)
{
    void *before = bl_bytes_begin();
    int result = next_entry(input, entry, err);

    bl_bytes_end(before);
    return result;
}

/* fetch() - Get libarchive's next block when there is none. Return: 0; -1 with @err */
static int fetch(struct bl_tar_input *input, struct bl_error *err)
{
    while (!input->block_length && !input->block_end) {
        const void *data;
        int64_t offset = 0;
        int result = archive_read_data_block(input->tar.archive, &data, &input->block_length, &offset);

        if (result == ARCHIVE_EOF) {
            input->block_end = true;
            input->block_length = 0;
        } else if (result != ARCHIVE_OK) {
            return bl_tar_fail(&input->tar, "the archive", err);
        } else {
            input->block = data;
            input->block_offset = (uint64_t)offset;
            if (offset < 0 || input->block_offset < input->given || input->block_offset > input->size ||
                input->block_length > input->size - input->block_offset)
                return bl_fail(err, BL_IMAGE, 0, "the archive's file '%.200s' does not have the size that it says", input->path);
        }
    }
    return 0;
}

ssize_t bl_tar_input_data(struct bl_tar_input *input, const void **bytes, struct bl_error *err)
{
    static const uint8_t zeros[ZERO_BYTES];
    uint64_t until;
    size_t part;

    if (fetch(input, err))
        return -1;
    if (input->block_length && input->block_offset == input->given) {
        *bytes = input->block;
        part = input->block_length;
        input->block_length = 0;
    } else {
        until = input->block_length ? input->block_offset : input->size;
        part = until - input->given < ZERO_BYTES ? (size_t)(until - input->given) : ZERO_BYTES;
        *bytes = zeros;
    }
    input->given += part;
    return (ssize_t)part;
}
