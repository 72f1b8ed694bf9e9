/* SPDX-License-Identifier: Apache-2.0 */
/*
 * template_file.h - a saved machine as one file
 *
 *          0  header: magic, then little-endian numbers of 64 bits (enum in template_file.c), the last a checksum
 *        256  identity: text, all that the machine depends on; then the console's last lines
 *      65536  the engine's state; behind it, at the next page, the contents of memory, run after run; behind them the table of
 *             runs: 64 bits of offset in the guest's memory, 64 bits of length, both multiples of 4096
 *
 * The checksum covers header, identity, console, state and table. Memory has none: it would cost as much as the copy itself, and
 * what it could find (a disk that lies) is found by nobody else either.
 *
 * A file is written under its own name, since its writer may be confined to another directory when it is whole. Until then its
 * owner may write it (mode 0600); the last step takes that away (0400). So a file that its owner may write is incomplete: its
 * writer is at work, or was killed. It is not synced: a machine that goes down takes the boot id with it that is part of every
 * template's name.
 */
#ifndef BL_SHIM_TEMPLATE_FILE_H
#define BL_SHIM_TEMPLATE_FILE_H

#include <stdbool.h>
#include <stdint.h>

#include <sys/stat.h>

#include "base/buffer.h"
#include "vmm/engine.h"

#define BL_TEMPLATE_STATE_AT    65536
#define BL_TEMPLATE_STATE_MAX   (4u << 20)
#define BL_TEMPLATE_CONSOLE_MAX 16384
#define BL_TEMPLATE_FILE_MAX    (512u << 20) /* bytes; a machine that needs more is not kept */

/* One that is read or written. Memory is copied piece by piece, so that a loop can do other things meanwhile. */
struct bl_template_file {
    int fd; /* owned */
    uint64_t memory_bytes;
    struct bl_buffer console; /* of one that is read */
    struct bl_buffer runs;    /* the table */
    uint64_t memory_at;       /* writing: how far the guest's memory was looked at; reading: how much of the run was copied */
    uint64_t data_at;         /* where the next bytes of memory stand in the file */
    uint64_t data_end;
};

/*
 * bl_template_file_open() - Read and check everything but the memory
 * @fd: taken in every case
 * Return: 0, the file stands where the state begins; -1 with errno: EILSEQ when it is broken or for another machine
 */
int bl_template_file_open(struct bl_template_file *file, int fd, const struct bl_buffer *identity, uint64_t memory_bytes);
/* bl_template_file_extents() - The parts of memory and where they stand. Return: allocated, *@count of them; NULL: no memory */
struct bl_engine_extent *bl_template_file_extents(const struct bl_template_file *file, size_t *count);
/* bl_template_file_read() - Copy a piece into a machine's memory. Return: 1: there is more; 0: that was all; -1 with errno */
int bl_template_file_read(struct bl_template_file *file, int memory_fd);

/* bl_template_file_make() - Begin a new file, which stands where the state shall be written. Return: 0; -1 with errno */
int bl_template_file_make(struct bl_template_file *file, int dir_fd, const char *name, uint64_t memory_bytes);
/* bl_template_file_write() - The state is written: copy a piece of memory. Return: 1: there is more; 0: that was all; -1 with errno
 */
int bl_template_file_write(struct bl_template_file *file, int memory_fd);
/* bl_template_file_complete() - Memory is written, too: from here on others may use it. Return: 0; -1 with errno */
int bl_template_file_complete(struct bl_template_file *file, const struct bl_buffer *identity, const char *console);
/* bl_template_file_is_complete() - By what fstat() says of it. */
bool bl_template_file_is_complete(const struct stat *status);

void bl_template_file_close(struct bl_template_file *file);

#endif
