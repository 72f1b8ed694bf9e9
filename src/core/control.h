/* SPDX-License-Identifier: Apache-2.0 */
/* control.h - connections to a running box's control.sock */
#ifndef BL_CORE_CONTROL_H
#define BL_CORE_CONTROL_H

#include <stdint.h>

#include "base/buffer.h"

/* bl_control_connect() - A non-blocking connection. Return: descriptor; -1 with errno (ENOENT, ECONNREFUSED: nobody listens) */
int bl_control_connect(int boxes_fd, const char *id);
/* bl_control_hello() - Append the opening of a conversation. Return: 0; -1 with errno */
int bl_control_hello(struct bl_buffer *out);
/*
 * bl_control_stop() - Ask a box to end
 * Return: the connection, which ends when the shim does, for the caller to close; -1 with errno
 */
int bl_control_stop(int boxes_fd, const char *id, uint32_t grace_ms);

#endif
