/* SPDX-License-Identifier: Apache-2.0 */
/* io.h - whole reads and writes, whole files, and descriptors that travel over sockets */
#ifndef BL_BASE_IO_H
#define BL_BASE_IO_H

#include <dirent.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/buffer.h"
#include "base/error.h"

/* bl_write_all() - Write all bytes to a blocking descriptor, never raising SIGPIPE on sockets. Return: 0; -1 with errno */
int bl_write_all(int fd, const void *bytes, size_t length);
/* bl_read_all() - Read until @length bytes came or the end. Return: bytes read; -1 with errno */
ssize_t bl_read_all(int fd, void *bytes, size_t length);
/* bl_read_file() - Append a whole file to a buffer, whose maximum bounds it. Return: 0; -1 with errno (EFBIG: too long) */
int bl_read_file(int dir_fd, const char *path, struct bl_buffer *out);
/* bl_read_text() - Read a small file, as those of /proc, up to @size - 1 bytes, and end it with 0. Return: 0; -1 with errno */
int bl_read_text(const char *path, char *text, size_t size);
/*
 * bl_write_file() - Replace a file's content so that readers see the old or the new, never a part
 * @dir_fd: directory of @name; a temporary beside it is written, synced and renamed
 * Return: 0; -1 with errno, nothing left
 */
int bl_write_file(int dir_fd, const char *name, const void *bytes, size_t length, mode_t mode);
/* bl_make_dirs() - Make a directory and those above it, mode 0700, as far as they are missing. Return: 0; -1 with errno */
int bl_make_dirs(const char *path);
/* bl_remove_tree() - Remove @name (a file or directory with all below it) without following links. Return: 0 (also when it is
 * missing); -1 with errno */
int bl_remove_tree(int dir_fd, const char *name);
/* bl_flock() - flock() that no signal interrupts. Return: 0; -1 with errno */
int bl_flock(int fd, int operation);
/* bl_next_entry() - readdir() without "." and "..". Return: an entry; NULL at the end, with errno 0, or when it can't be read */
struct dirent *bl_next_entry(DIR *dir);
/* bl_set_nonblocking() - Return: 0; -1 with errno */
int bl_set_nonblocking(int fd);
/* bl_random_bytes() - Fill with bytes of the kernel's generator. Return: 0; -1 with errno */
int bl_random_bytes(void *bytes, size_t length);

/*
 * bl_unix_connect() / bl_unix_listen() - A stream socket named @name inside a directory
 *
 * The address goes through /proc/self/fd/<dir_fd>/<name>, so that the length of the directory's path does not matter
 * (sun_path holds 107 bytes). Listening replaces what is there and gives mode 0600. Return: descriptor; -1 with errno
 */
int bl_unix_connect(int dir_fd, const char *name);
int bl_unix_listen(int dir_fd, const char *name);

#endif
