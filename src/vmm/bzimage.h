/* SPDX-License-Identifier: Apache-2.0 */
/* bzimage.h - kernels as distributions install them (/boot/vmlinuz): packed, behind a boot loader's header */
#ifndef BL_VMM_BZIMAGE_H
#define BL_VMM_BZIMAGE_H

#include "base/error.h"

/*
 * bl_bzimage_unpack() - Get the ELF kernel out of a bzImage
 * @fd: the file; stays the caller's
 * @name: for messages
 *
 * It takes as long as unpacking some ten megabytes does, and memory of that size, which the descriptor holds.
 *
 * Return: 1 and *@out, a memfd for the caller to close, with what was packed in it, whatever that is; 0: it is no bzImage;
 * -1: BL_ENGINE
 */
int bl_bzimage_unpack(int fd, const char *name, int *out, struct bl_error *err);

#endif
