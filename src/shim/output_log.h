/* SPDX-License-Identifier: Apache-2.0 */
/*
 * output_log.h - logs/output.log, the workload's output as Kubernetes' CRI writes it
 *
 *     2026-01-31T12:00:00.000000000Z stdout F a whole line
 *     2026-01-31T12:00:00.000000000Z stdout P a part of one: no newline came (yet) after it
 *
 * A line longer than 16 KiB is cut into parts, and so is what stands before an end without a newline: joining all parts, with a
 * newline after each F, gives the output's bytes back. When the file has grown to its limit it becomes output.log.1, which
 * replaces the one before it.
 */
#ifndef BL_SHIM_OUTPUT_LOG_H
#define BL_SHIM_OUTPUT_LOG_H

#include "base/buffer.h"
#include "proto/frame.h"

#define BL_OUTPUT_LOG_MAX  (16u << 20) /* bytes of one file; two are kept */
#define BL_OUTPUT_LINE_MAX 16384

/* One log, used by one thread. A log that can't be written says so once and takes no more. */
struct bl_output_log {
    int dir_fd; /* of the logs; borrowed */
    int fd;     /* -1: not open */
    size_t written, max;
    char name[32];
    struct bl_buffer parts[BL_CHANNEL_COUNT]; /* lines that have no end yet */
    struct bl_buffer lines;                   /* formatted, to be written in one go */
};

/* bl_output_log_open() - Append to @name in a directory. Return: 0; -1 with errno */
int bl_output_log_open(struct bl_output_log *log, int dir_fd, const char *name, size_t max);
void bl_output_log_add(struct bl_output_log *log, enum bl_channel channel, const void *bytes, size_t length);
/* bl_output_log_end() - Write what stands without a newline. */
void bl_output_log_end(struct bl_output_log *log);
void bl_output_log_close(struct bl_output_log *log);

#endif
