/* SPDX-License-Identifier: Apache-2.0 */
/* tar_output.c - entries into a tar stream; see image/tar.h */
#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/os.h"
#include "image/loader/layer.h"
#include "image/loader/tar.h"

#define NANOSECONDS UINT64_C(1000000000)

struct bl_tar_output {
    int fd, cancel_fd;
    struct archive *archive;
    uint64_t left; /* bytes of the current file that are still to come */
    struct bl_error failure;
};

/* write_some() - One write, when there is room; none after a failure. Return: bytes; -1 with the failure kept */
static la_ssize_t write_some(struct archive *archive, void *data, const void *bytes, size_t length)
{
    struct bl_tar_output *output = data;
    struct pollfd polled[] = {{.fd = output->fd, .events = POLLOUT}, {.fd = output->cancel_fd, .events = POLLIN}};

    while (output->failure.code == BL_OK) {
        if (bl_os.poll(polled, 2, -1) < 0 && errno != EINTR)
            bl_fail(&output->failure, BL_STORAGE, errno, "wait to write the archive");
        else if (polled[1].revents)
            bl_fail(&output->failure, BL_STOPPED, 0, "writing the archive was cancelled");
        else if (!polled[0].revents)
            continue;

        if (output->failure.code == BL_OK) {
            ssize_t put = bl_os.write(output->fd, bytes, length);

            if (put >= 0)
                return put;
            if (errno == EINTR || errno == EAGAIN)
                continue;
            bl_fail(&output->failure, BL_STORAGE, errno, "write the archive");
        }
    }
    archive_set_error(archive, EIO, "%s", output->failure.message);
    return -1;
}

static int fail(struct bl_tar_output *output, struct bl_error *err)
{
    const char *text = archive_error_string(output->archive);

    if (output->failure.code == BL_OK)
        return bl_fail(err, BL_STORAGE, 0, "write the archive: %s", text ? text : "it failed");
    if (err)
        *err = output->failure;
    return -1;
}

int bl_tar_output_open(int fd, int cancel_fd, struct bl_tar_output **out, struct bl_error *err)
{
    struct bl_tar_output *output = calloc(1, sizeof *output);

    if (output)
        output->archive = archive_write_new();
    if (!output || !output->archive) {
        free(output);
        return bl_fail_memory(err);
    }
    output->fd = fd;
    output->cancel_fd = cancel_fd;
    if (archive_write_set_format_pax(output->archive) != ARCHIVE_OK ||
        archive_write_set_bytes_per_block(output->archive, 64 << 10) != ARCHIVE_OK ||
        archive_write_set_bytes_in_last_block(output->archive, 1) != ARCHIVE_OK ||
        archive_write_open(output->archive, output, NULL, write_some, NULL) != ARCHIVE_OK) {
        fail(output, err);
        bl_tar_output_close(output);
        return -1;
    }
    *out = output;
    return 0;
}

static unsigned int file_type(enum bl_tar_type type)
{
    switch (type) {
    case BL_TAR_DIRECTORY:
        return AE_IFDIR;
    case BL_TAR_SYMLINK:
        return AE_IFLNK;
    case BL_TAR_FIFO:
        return AE_IFIFO;
    case BL_TAR_FILE:
    case BL_TAR_HARDLINK:
        break;
    }
    return AE_IFREG;
}

int bl_tar_output_entry(struct bl_tar_output *output, const struct bl_tar_entry *from, struct bl_error *err)
{
    bool link = from->type == BL_TAR_SYMLINK || from->type == BL_TAR_HARDLINK;
    struct archive_entry *entry;
    void *before;
    int result;

    if (output->left || (link && !from->link))
        return bl_fail(err, BL_INVALID_ARGUMENT, 0, "the archive's file before '%.200s' is incomplete, or this link has no target",
                       from->path);
    entry = archive_entry_new2(output->archive);
    if (!entry)
        return bl_fail_memory(err);
    before = bl_bytes_begin();
    archive_entry_copy_pathname(entry, *from->path ? from->path : ".");
    archive_entry_set_filetype(entry, file_type(from->type));
    archive_entry_set_perm(entry, from->mode & 07777);
    archive_entry_set_uid(entry, from->uid);
    archive_entry_set_gid(entry, from->gid);
    archive_entry_set_mtime(entry, (time_t)(from->mtime_ns / NANOSECONDS), (long)(from->mtime_ns % NANOSECONDS));
    archive_entry_set_size(entry, from->type == BL_TAR_FILE ? (int64_t)from->size : 0);
    if (from->type == BL_TAR_SYMLINK)
        archive_entry_copy_symlink(entry, from->link);
    else if (from->type == BL_TAR_HARDLINK)
        archive_entry_copy_hardlink(entry, from->link);
    /* A warning says that a name is no text of the locale; the archive then says that it holds bytes. */
    result = archive_write_header(output->archive, entry);
    bl_bytes_end(before);
    archive_entry_free(entry);
    if (result != ARCHIVE_OK && result != ARCHIVE_WARN)
        return fail(output, err);
    output->left = from->type == BL_TAR_FILE ? from->size : 0;
    return 0;
}

int bl_tar_output_data(struct bl_tar_output *output, const void *bytes, size_t length, struct bl_error *err)
{
    if (length > output->left)
        return bl_fail(err, BL_INVALID_ARGUMENT, 0, "a file of the archive is longer than it says");
    output->left -= length;
    while (length) {
        la_ssize_t put = archive_write_data(output->archive, bytes, length);

        if (put <= 0)
            return fail(output, err);
        bytes = (const char *)bytes + put;
        length -= (size_t)put;
    }
    return 0;
}

int bl_tar_output_finish(struct bl_tar_output *output, struct bl_error *err)
{
    if (output->left)
        return bl_fail(err, BL_INVALID_ARGUMENT, 0, "the archive's last file is incomplete");
    return archive_write_close(output->archive) == ARCHIVE_OK ? 0 : fail(output, err);
}

void bl_tar_output_close(struct bl_tar_output *output)
{
    if (!output)
        return;
    /* Without finish() nothing more is written: a cut archive must not look whole. (archive_write_fail() would say so to
     * libarchive, which then leaks its buffer.) */
    if (output->failure.code == BL_OK)
        bl_fail(&output->failure, BL_STOPPED, 0, "the archive was given up");
    archive_write_close(output->archive);
    archive_write_free(output->archive);
    free(output);
}
