/* SPDX-License-Identifier: Apache-2.0 */
/*
 * qcow2.h - the writable disk of a box: a qcow2 overlay on a read-only base
 *
 * Only the creation of an empty overlay lives here today; the engine reads and writes it. The format is that of QEMU's
 * docs/interop/qcow2.txt, version 3. The backing file's name in the header is there for people's tools (qemu-img): nothing of
 * ours follows it, the chain of a box's disk comes from its record.
 */
#ifndef BL_DISK_QCOW2_H
#define BL_DISK_QCOW2_H

#include <stdint.h>

#include "base/error.h"

#define BL_QCOW2_CLUSTER_BYTES 65536u
#define BL_QCOW2_MOST_BYTES    (4ull << 40) /* what one cluster of L1 entries can map */

/*
 * bl_qcow2_create() - Write an empty overlay
 * @fd: an empty regular file, open for writing; stays open, its offset is not used
 * @virtual_bytes: size of the disk as the guest sees it, a multiple of 512, at most BL_QCOW2_MOST_BYTES
 * @backing_bytes: size of the base, at most @virtual_bytes; past its end the overlay reads as zeros
 * @backing_name: name of the base for people's tools, relative to the overlay; at most 1023 bytes
 *
 * Return: 0; -1: BL_INVALID_ARGUMENT, BL_STORAGE, BL_RESOURCE_EXHAUSTED (no space)
 */
int bl_qcow2_create(int fd, uint64_t virtual_bytes, uint64_t backing_bytes, const char *backing_name, struct bl_error *err);

#endif
