/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tar.h - tar streams, for copies into and out of a box
 *
 * Reading understands what the loader does: ustar, pax and GNU archives, plain or compressed with gzip or zstd, from a pipe or a
 * file. Writing gives pax archives that any tar reads. Names are bytes. The work is done by the loader (plugin.h), which the
 * first call opens.
 *
 * A reader or writer is used by one thread at a time. Calls block on the descriptor, and give up when @cancel_fd is readable.
 * Writing to a pipe whose reader is gone raises SIGPIPE, as any write does.
 */
#ifndef BL_IMAGE_TAR_H
#define BL_IMAGE_TAR_H

#include <stdint.h>
#include <sys/types.h>

#include "image/image.h"

enum bl_tar_type { BL_TAR_FILE = 1, BL_TAR_DIRECTORY, BL_TAR_SYMLINK, BL_TAR_HARDLINK, BL_TAR_FIFO };

/* One entry. What a reader gives is the reader's, until its next call. */
struct bl_tar_entry {
    enum bl_tar_type type;
    const char *path; /* relative, without "." and ".." components; "" is the archive's own root directory */
    const char *link; /* target of a SYMLINK; path of an earlier entry, cleaned as @path, for a HARDLINK; else NULL */
    uint32_t mode;    /* permission bits, setuid, setgid, sticky */
    uint32_t uid, gid;
    uint64_t mtime_ns; /* since the epoch */
    uint64_t size;     /* of a FILE */
};

struct bl_tar_reader;
struct bl_tar_writer;

/* bl_tar_reader_open() - Read the archive that @fd gives; it stays the caller's. @cancel_fd: -1: none. Return: 0; -1 with @err */
int bl_tar_reader_open(struct bl_images *images, int fd, int cancel_fd, struct bl_tar_reader **out, struct bl_error *err);
/*
 * bl_tar_reader_next() - The next entry; devices and what is unknown are passed over, and so is data that was not read
 *
 * Return: 1; 0 at the end; -1: BL_IMAGE (no archive, cut short, a path with ".."), BL_STOPPED, BL_STORAGE
 */
int bl_tar_reader_next(struct bl_tar_reader *reader, struct bl_tar_entry *entry, struct bl_error *err);
/* bl_tar_reader_data() - More of a FILE's content, @size bytes in all, holes as zeros. Return: bytes; 0 at its end; -1 with @err */
ssize_t bl_tar_reader_data(struct bl_tar_reader *reader, const void **bytes, struct bl_error *err);
void bl_tar_reader_close(struct bl_tar_reader *reader);

/* bl_tar_writer_open() - Write an archive to @fd, which stays the caller's. Return: 0; -1 with @err */
int bl_tar_writer_open(struct bl_images *images, int fd, int cancel_fd, struct bl_tar_writer **out, struct bl_error *err);
/* bl_tar_writer_entry() - Begin an entry; a FILE's @size bytes follow. Return: 0; -1: BL_STORAGE, BL_STOPPED, BL_INVALID_ARGUMENT
 */
int bl_tar_writer_entry(struct bl_tar_writer *writer, const struct bl_tar_entry *entry, struct bl_error *err);
int bl_tar_writer_data(struct bl_tar_writer *writer, const void *bytes, size_t length, struct bl_error *err);
/* bl_tar_writer_finish() - Complete the archive: without it a reader sees that it was cut short. Return: 0; -1 with @err */
int bl_tar_writer_finish(struct bl_tar_writer *writer, struct bl_error *err);
void bl_tar_writer_close(struct bl_tar_writer *writer);

#endif
