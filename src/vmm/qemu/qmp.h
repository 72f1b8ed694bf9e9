/* SPDX-License-Identifier: Apache-2.0 */
/* qmp.h - QEMU's machine protocol: why a VM ended, and the few commands that save and load one */
#ifndef BL_VMM_QEMU_QMP_H
#define BL_VMM_QEMU_QMP_H

#include <stdbool.h>

#include "base/buffer.h"
#include "base/loop.h"

#define BL_QMP_REASON_MAX 64

/* A connection to a QEMU; the descriptor is owned. */
struct bl_qmp {
    struct bl_source source;
    struct bl_buffer in;
    char shutdown_reason[BL_QMP_REASON_MAX]; /* of the SHUTDOWN event; empty: none came */
    unsigned long io_errors;                 /* BLOCK_IO_ERROR events */
    /* Both may be NULL. */
    void (*refused)(const char *reason, void *data); /* a command was answered with an error */
    void (*migrated)(bool completed, void *data);    /* a state was written or read, or not */
    void *data;
};

/* bl_qmp_init() - Take the descriptor and listen on the loop. Return: 0; -1 with errno, the descriptor is closed */
int bl_qmp_init(struct bl_qmp *qmp, struct bl_loop *loop, int fd);
/*
 * bl_qmp_send() - Send commands, which QEMU carries out in their order
 * @commands: JSON objects, each with a newline
 * @fd: for a "getfd" among them, which must be the first; -1: none
 * Return: 0; -1 with errno
 */
int bl_qmp_send(struct bl_qmp *qmp, const char *commands, int fd);
/* bl_qmp_drain() - Take what has come and was not read yet; for the time when QEMU is dead. */
void bl_qmp_drain(struct bl_qmp *qmp);
void bl_qmp_finish(struct bl_qmp *qmp);

#endif
