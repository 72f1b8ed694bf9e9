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
 * A file is written under no name (O_TMPFILE) and linked when it is whole: it is complete or absent, and nothing is left of one
 * whose writer was killed. It is not synced: a machine that goes down takes the boot id with it that is part of every template's
 * name.
 */
#ifndef BL_SHIM_TEMPLATE_FILE_H
#define BL_SHIM_TEMPLATE_FILE_H

#include <stdint.h>

#include "base/buffer.h"

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
/* bl_template_file_read() - Copy a piece into a machine's memory. Return: 1: there is more; 0: that was all; -1 with errno */
int bl_template_file_read(struct bl_template_file *file, int memory_fd);

/* bl_template_file_make() - Begin a file without a name, which stands where the state shall be written. Return: 0; -1 with errno */
int bl_template_file_make(struct bl_template_file *file, int dir_fd, uint64_t memory_bytes);
/* bl_template_file_write() - The state is written: copy a piece of memory. Return: 1: there is more; 0: that was all; -1 with errno
 */
int bl_template_file_write(struct bl_template_file *file, int memory_fd);
/* bl_template_file_link() - Complete it and give it its name. Return: 0; -1 with errno (EEXIST: somebody else was faster) */
int bl_template_file_link(struct bl_template_file *file, int dir_fd, const char *name, const struct bl_buffer *identity,
                          const char *console);

void bl_template_file_close(struct bl_template_file *file);

#endif
