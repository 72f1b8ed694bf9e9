/* SPDX-License-Identifier: Apache-2.0 */
/* lock.h - one builder, or remover, of a disk at a time, over all threads and processes of a home */
#ifndef BL_IMAGE_LOCK_H
#define BL_IMAGE_LOCK_H

#include "base/error.h"

/*
 * bl_image_lock() - Lock a disk key
 * @images_fd: <home>/images
 * @key: 64 hex digits
 * @cancel_fd: readable: give up; -1: none
 *
 * Return: a descriptor that holds the lock until it is closed; -1: BL_STOPPED, BL_STORAGE
 */
int bl_image_lock(int images_fd, const char *key, int cancel_fd, struct bl_error *err);

#endif
