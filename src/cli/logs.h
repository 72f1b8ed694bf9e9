/* SPDX-License-Identifier: Apache-2.0 */
/* logs.h - reading a box's logs, apart from the command so that it can be tested */
#ifndef BL_CLI_LOGS_H
#define BL_CLI_LOGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "base/buffer.h"

/* One log under way: bytes of a line that has no end yet are kept. */
struct bl_log_reader {
    bool raw;      /* a console: bytes as they are; else CRI lines */
    FILE *out;     /* what the workload said on standard output, and all of a console */
    FILE *err;     /* what it said on standard error */
    size_t skip;   /* this many lines from the start are not printed */
    bool counting; /* print nothing, only count */
    size_t lines;  /* whole lines that were seen */
    struct bl_buffer rest;
};

#define BL_LOG_LINE_MAX (1u << 20) /* longer ones are printed in pieces */

/* bl_log_reader_feed() - Take bytes of the file, in order. Return: 0; -1 when memory ran out */
int bl_log_reader_feed(struct bl_log_reader *reader, const void *bytes, size_t length);
/* bl_log_reader_end() - Print what is left without an end, and free. */
void bl_log_reader_end(struct bl_log_reader *reader);

#endif
