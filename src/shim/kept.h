/* SPDX-License-Identifier: Apache-2.0 */
/* kept.h - the last output of a workload that nobody is attached to, in the order in which it came */
#ifndef BL_SHIM_KEPT_H
#define BL_SHIM_KEPT_H

#include <stddef.h>

#include "base/buffer.h"
#include "proto/frame.h"

/* A replay of all of it must fit into a client's window. */
#define BL_KEPT_MAX BL_WINDOW_BYTES

/* Pieces of output, each a header and bytes, the oldest first. */
struct bl_kept {
    struct bl_buffer pieces;
    size_t bytes;            /* of output */
    size_t last;             /* bytes of the newest piece; 0: there is none */
    enum bl_channel channel; /* of the newest piece */
};

void bl_kept_init(struct bl_kept *kept);
/* bl_kept_add() - Keep output; the oldest goes when it gets too much. */
void bl_kept_add(struct bl_kept *kept, enum bl_channel channel, const void *bytes, size_t length);
/* bl_kept_take() - Hand all of it, in order, to a function, and forget it. */
void bl_kept_take(struct bl_kept *kept, void (*take)(void *data, enum bl_channel channel, const void *bytes, size_t length),
                  void *data);
void bl_kept_free(struct bl_kept *kept);

#endif
