/* SPDX-License-Identifier: Apache-2.0 */
/*
 * file.h - one file of a disk's chain: whole transfers at offsets, and the table of system calls behind them
 *
 * Everything that an open disk does to a file goes through the table, so that a test can record the order of writes and flushes,
 * replay any part of it, and let the Nth call fail.
 */
#ifndef BL_DISK_FILE_H
#define BL_DISK_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "base/error.h"

/* What is called on a file; each as the system call of its name, -1 with errno. */
struct bl_disk_calls {
    ssize_t (*preadv)(int fd, const struct iovec *iov, int count, off_t offset);
    ssize_t (*preadv_nowait)(int fd, const struct iovec *iov, int count, off_t offset); /* EAGAIN when it is not in memory */
    ssize_t (*pwritev)(int fd, const struct iovec *iov, int count, off_t offset);
    int (*fdatasync)(int fd);
    int (*ftruncate)(int fd, off_t length);
    int (*punch)(int fd, off_t offset, off_t length);            /* a hole, the length of the file stays */
    int (*zero)(int fd, off_t offset, off_t length, bool unmap); /* zeros, with space behind them unless @unmap */
};

/* The real ones. */
extern const struct bl_disk_calls bl_disk_system_calls;

#define BL_DISK_PARTS 128 /* elements of one system call; a longer vector takes several */

struct bl_disk_file {
    int fd;
    const struct bl_disk_calls *calls;
};

/* A place in a caller's vector, from which transfers take bytes in order. The vector itself is never changed. */
struct bl_disk_cursor {
    const struct iovec *iov;
    size_t count; /* elements left, the first one partly used */
    size_t used;  /* bytes of the first one */
};

/* bl_disk_vector_bytes() - All bytes of a vector. Return: UINT64_MAX when the sum overflows */
uint64_t bl_disk_vector_bytes(const struct iovec *iov, size_t count);
/*
 * bl_disk_cursor_part() - The next bytes of a cursor, at most @length, as a vector of their own; the cursor stays where it is
 * @bytes: what the parts hold; less than @length when there are more parts than fit
 * Return: how many parts
 */
int bl_disk_cursor_part(const struct bl_disk_cursor *cursor, uint64_t length, struct iovec *parts, int most, uint64_t *bytes);
/* bl_disk_cursor_skip() - Go past the next bytes. */
void bl_disk_cursor_skip(struct bl_disk_cursor *cursor, uint64_t bytes);
/* bl_disk_cursor_zero() - Fill the next bytes with zeros, and go past them. */
void bl_disk_cursor_zero(struct bl_disk_cursor *cursor, uint64_t bytes);

/* bl_disk_file_read() - All bytes at an offset; past the end of the file they are zeros. Return: 0; -1 with errno */
int bl_disk_file_read(const struct bl_disk_file *file, void *bytes, size_t length, uint64_t offset);
int bl_disk_file_write(const struct bl_disk_file *file, const void *bytes, size_t length, uint64_t offset);
/*
 * bl_disk_file_read_at() / bl_disk_file_write_at() - The same from and to a cursor, which goes past what was transferred
 * @nowait: fail with EAGAIN rather than wait for the file
 */
int bl_disk_file_read_at(const struct bl_disk_file *file, struct bl_disk_cursor *cursor, uint64_t length, uint64_t offset,
                         bool nowait);
int bl_disk_file_write_at(const struct bl_disk_file *file, struct bl_disk_cursor *cursor, uint64_t length, uint64_t offset);
/* bl_disk_file_hole() - Whether a range of a file is known to hold no data, and so reads as zeros, without reading it. */
bool bl_disk_file_hole(const struct bl_disk_file *file, uint64_t offset, uint64_t length);

/*
 * bl_disk_file_lock() - Lock a file as QEMU does, so that nobody, ours or QEMU, writes it beside its one writer
 * @writes: we are the writer; else we only read and forbid that it changes
 *
 * Return: 0; -1: BL_INVALID_STATE (another's lock forbids it), BL_STORAGE
 */
int bl_disk_file_lock(int fd, bool writes, struct bl_error *err);
void bl_disk_file_unlock(int fd);

#endif
