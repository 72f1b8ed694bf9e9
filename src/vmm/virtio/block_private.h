/* SPDX-License-Identifier: Apache-2.0 */
/* block_private.h - between the device (block.c) and one request of it (block_request.c) */
#ifndef BL_VMM_VIRTIO_BLOCK_PRIVATE_H
#define BL_VMM_VIRTIO_BLOCK_PRIVATE_H

#include "vmm/virtio/block.h"

/* What the configuration promises. A chain of 256 holds a request's header, its status and as many pieces of data. */
#define BL_BLOCK_SEGMENTS_MAX  254
#define BL_BLOCK_RANGES_MAX    32         /* in one discard or write-zeroes request */
#define BL_BLOCK_RANGE_SECTORS (1u << 21) /* 1 GiB, in one range of such a request */

/* A request being carried out, by one thread. */
struct bl_block_request {
    struct bl_block_disk *disk; /* NULL: there are no sectors */
    const char *serial;         /* BL_BLOCK_SERIAL_BYTES bytes */
    bool write_through;         /* a write that has ended survives a crash of the host */
    struct bl_chain chain;
    uint32_t type; /* of the header, copied out once */
    uint64_t sector;
    struct iovec data[BL_CHAIN_PIECES_MAX];
};

/* bl_block_begin() - Copy the header out. Return: 0; -1: the chain is no request, it lacks a header or room for a status */
int bl_block_begin(struct bl_block_request *request);
/*
 * bl_block_try() - Carry the request out if it can be done without waiting
 *
 * Return: whether it was; if not, bl_block_carry_out() has to
 */
bool bl_block_try(struct bl_block_request *request);
/* bl_block_carry_out() - Do what the chain asks for and write its status; the chain is a request. */
void bl_block_carry_out(struct bl_block_request *request);

#endif
