/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cache.c - pieces of L2 tables and refcount blocks in memory
 *
 * The unit is a slice, 4 KiB or a cluster if that is smaller: 512 entries of an L2 table, which map 32 MiB, or 2048 counts. Memory
 * is taken as slices come in use, up to a bound; then a clock's hand looks for one that was not used lately. A slice that was
 * changed never leaves by this way, since the order in which changes reach the file is the commit's affair: when there is no other,
 * the answer is EAGAIN, and the caller commits.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "disk/image.h"

static uint32_t bucket_of(const struct bl_qcow2 *image, uint64_t offset)
{
    return (uint32_t)(offset / image->slice_bytes * 0x9e3779b97f4a7c15ull >> 40) % BL_CACHE_BUCKETS;
}

int bl_cache_make(struct bl_cache *cache, uint64_t most)
{
    cache->slots = calloc(most, sizeof *cache->slots);
    cache->most = cache->slots ? (uint32_t)most : 0;
    return cache->slots ? 0 : -1;
}

void bl_cache_free(struct bl_cache *cache)
{
    for (uint32_t i = 0; i < cache->most; i++) {
        if (cache->slots[i].writing != cache->slots[i].bytes)
            free(cache->slots[i].writing);
        free(cache->slots[i].bytes);
    }
    free(cache->slots);
    *cache = (struct bl_cache){0};
}

static void unlink_slot(const struct bl_qcow2 *image, struct bl_cache *cache, uint32_t slot)
{
    uint32_t *at = &cache->buckets[bucket_of(image, cache->slots[slot].offset)];

    while (*at != slot + 1)
        at = &cache->slots[*at - 1].next;
    *at = cache->slots[slot].next;
    cache->slots[slot].offset = 0;
}

/* free_slot() - A slot for something else. Return: its number; -1 with errno EAGAIN: all are changed */
static int64_t free_slot(const struct bl_qcow2 *image, struct bl_cache *cache)
{
    for (uint64_t steps = 0; steps < 2ull * cache->most; steps++) {
        uint32_t slot = cache->hand;
        struct bl_slice *slice = &cache->slots[slot];

        cache->hand = (cache->hand + 1) % cache->most;
        if (!slice->offset)
            return slot;
        if (slice->dirty || slice->writing)
            continue;
        if (slice->used) {
            slice->used = false;
            continue;
        }
        unlink_slot(image, cache, slot);
        return slot;
    }
    errno = EAGAIN;
    return -1;
}

int bl_cache_get(struct bl_qcow2 *image, struct bl_cache *cache, uint64_t offset, bool nowait, struct bl_slice **found)
{
    uint32_t *bucket = &cache->buckets[bucket_of(image, offset)];
    struct bl_slice *slice;
    int64_t slot;

    for (uint32_t at = *bucket; at; at = cache->slots[at - 1].next)
        if (cache->slots[at - 1].offset == offset) {
            *found = &cache->slots[at - 1];
            (*found)->used = true;
            return 0;
        }
    if (nowait) {
        errno = EAGAIN;
        return -1;
    }
    slot = free_slot(image, cache);
    if (slot < 0)
        return -1;
    slice = &cache->slots[slot];
    if (!slice->bytes && !(slice->bytes = malloc(image->slice_bytes))) {
        errno = ENOMEM;
        return -1;
    }
    if (bl_disk_file_read(&image->file, slice->bytes, image->slice_bytes, offset) < 0) {
        if (errno == EAGAIN)
            errno = EIO;
        return -1;
    }
    slice->offset = offset;
    slice->used = true;
    slice->next = *bucket;
    *bucket = (uint32_t)slot + 1;
    *found = slice;
    return 0;
}

int bl_cache_change(const struct bl_qcow2 *image, struct bl_slice *slice)
{
    if (slice->writing == slice->bytes) { /* also when both are none, which can't be: a slice that was got has bytes */
        uint8_t *copy = malloc(image->slice_bytes);

        if (!copy) {
            errno = ENOMEM;
            return -1;
        }
        memcpy(copy, slice->bytes, image->slice_bytes);
        slice->bytes = copy;
    }
    slice->dirty = true;
    return 0;
}
