/* SPDX-License-Identifier: Apache-2.0 */
/* identity.h - what a saved VM depends on, as text; for the engines (bl_engine_identity()) */
#ifndef BL_VMM_IDENTITY_H
#define BL_VMM_IDENTITY_H

#include "base/buffer.h"

/*
 * bl_identity_put_file() - Add which version of a file this is: device, inode, size and time of change
 * @what: a word for it; @path: links are followed
 * Return: 0; -1: it can't be looked at, or there is no room
 */
int bl_identity_put_file(struct bl_buffer *out, const char *what, const char *path);

#endif
