/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pack.h - bytes that become a layer blob: digested, compressed with gzip, digested again
 *
 * The blob goes to a nameless file of the store, since an archive wants to know its size and digest before its first byte. One
 * thread uses a pack.
 */
#ifndef BL_IMAGE_LOADER_PACK_H
#define BL_IMAGE_LOADER_PACK_H

#include "image/document.h"
#include "image/loader/stream.h"

struct bl_pack;

/* A finished blob. */
struct bl_packed {
    int fd; /* its bytes, from the start; -1: none */
    uint64_t size_bytes;
    char digest[BL_DIGEST_MAX];
    char diff_id[BL_DIGEST_MAX]; /* before compression */
};

/* bl_pack_open() - Begin a blob in the store of @load. Return: 0; -1 with @err */
int bl_pack_open(struct bl_load *load, struct bl_pack **out, struct bl_error *err);
/* bl_pack_write() - More of it. Return: 0; -1: BL_STORAGE, BL_RESOURCE_EXHAUSTED (a full disk), BL_STOPPED */
int bl_pack_write(struct bl_pack *pack, const void *bytes, size_t length, struct bl_error *err);
/* bl_pack_finish() - @out: its descriptor is the caller's. Return: 0; -1 with @err */
int bl_pack_finish(struct bl_pack *pack, struct bl_packed *out, struct bl_error *err);
void bl_pack_close(struct bl_pack *pack);

#endif
