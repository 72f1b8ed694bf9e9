/* SPDX-License-Identifier: Apache-2.0 */
/*
 * memory.h - the memory of a guest
 *
 * Guest memory is a list of regions, each a part of a file (a memfd, or a saved machine's memory), mapped shared or private. The
 * regions are added while one thread sets the machine up and stand until bl_memory_free(), so readers take no lock.
 *
 * Everything that is not the processor reaches it through this file. An address and a length from the guest become bytes or an
 * iovec only after they were checked against the regions, without an overflow. What is read more than once, and decided upon, is
 * copied out once first: another processor of the guest may change it at any time. Whoever wrote says so, for the record of dirty
 * pages: bl_memory_write() does it itself, who writes through an iovec calls bl_memory_mark_iovec() afterwards.
 *
 * Two regions may touch; a range may then go across both. There is no page size in here but the one the owner named.
 */
#ifndef BL_VMM_MEMORY_H
#define BL_VMM_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "base/error.h"

#define BL_MEMORY_REGIONS_MAX 8

enum bl_memory_sharing {
    BL_MEMORY_SHARED,  /* writes go to the file */
    BL_MEMORY_PRIVATE, /* the file stays as it is; pages are copied when they are written */
};

/* One region. Read by all threads, written by none once it was added, but for the dirty bits. */
struct bl_memory_region {
    uint64_t start; /* guest-physical address */
    uint64_t bytes;
    int fd;          /* the owner's; outlives the memory; -1: none */
    uint64_t offset; /* in the file */
    enum bl_memory_sharing sharing;
    bool overlaid;           /* parts of it show another file, by bl_memory_overlay() */
    uint8_t *host;           /* where it is mapped */
    _Atomic uint64_t *dirty; /* a bit a page, by bl_memory_track(); NULL before */
};

struct bl_memory {
    struct bl_memory_region regions[BL_MEMORY_REGIONS_MAX]; /* in the order of their addresses */
    size_t count;
    uint64_t page_bytes; /* a power of two */
    _Atomic bool tracking;
};

/* bl_memory_init() - No region yet. @page_bytes: page size of the host for this memory */
void bl_memory_init(struct bl_memory *memory, uint64_t page_bytes);

/*
 * bl_memory_add() - Map a region
 * @start: guest-physical address; above all regions that were added before
 * @bytes: length; it, @start and @offset are multiples of the page size
 * @fd: stays the caller's, and open until bl_memory_free(); readable and writable (private: readable). -1: zeros, in no file,
 * private
 *
 * Return: 0; -1: BL_INVALID_ARGUMENT (no multiple, overlap, overflow, past the end of the file, too many regions), BL_ENGINE (no
 * mapping)
 */
int bl_memory_add(struct bl_memory *memory, uint64_t start, uint64_t bytes, int fd, uint64_t offset, enum bl_memory_sharing sharing,
                  struct bl_error *err);
/*
 * bl_memory_overlay() - Have a part of the memory show another file's bytes, before anybody uses it
 * @at, @bytes: in the file that the regions are parts of, wherever they end; multiples of the page size, as @from is
 * @fd, @from: mapped privately: pages are copied when they are written, and the file stays as it is. Not needed open afterwards;
 * who cuts the file short makes an access to what is missing a SIGBUS
 *
 * Return: 0; -1: BL_INVALID_ARGUMENT (no multiple, or no region has it), BL_ENGINE (no mapping)
 */
int bl_memory_overlay(struct bl_memory *memory, uint64_t at, uint64_t bytes, int fd, uint64_t from, struct bl_error *err);
/* bl_memory_free() - Unmap all regions; the descriptors stay the owner's. Nothing may use the memory any more. */
void bl_memory_free(struct bl_memory *memory);
/* bl_memory_bytes() - The sum of all regions. */
uint64_t bl_memory_bytes(const struct bl_memory *memory);

/* bl_memory_read() / bl_memory_write() - Copy out of and into the guest. Return: 0; -1: a part lies in no region, nothing was
 * copied */
int bl_memory_read(const struct bl_memory *memory, uint64_t address, void *to, size_t length);
int bl_memory_write(struct bl_memory *memory, uint64_t address, const void *from, size_t length);

/*
 * bl_memory_gather() - Have large pages of the host behind a range that is going to be filled
 * @start, @end: moved to the nearest borders of large pages
 *
 * A page that is touched for the first time costs an exit of the guest and a fault of the host; a large page costs them once for
 * 512. It takes memory for all of the range at once, so it is for what will be used to the last page. Nothing but time depends on
 * it: it needs Linux 6.1 (MADV_COLLAPSE), a shared region, and free memory in one piece.
 *
 * Return: whether all of it is there now
 */
bool bl_memory_gather(struct bl_memory *memory, uint64_t start, uint64_t end);
/*
 * bl_memory_fill() - Put bytes of a file into the guest, as many as go at once; one thread at a time
 * @fd: a file, read from @offset
 * @there: the guest's pages are there already, as bl_memory_gather() says: then copying is cheaper than moving
 *
 * Return: bytes; 0: the file ends there; -1 with errno, EFAULT: a part of the range lies in no region
 */
ssize_t bl_memory_fill(struct bl_memory *memory, uint64_t address, int fd, uint64_t offset, uint64_t length, bool there);

/*
 * bl_memory_iovec() - Translate a range
 * @max: entries in @out
 *
 * A range is one entry, or one a region when it goes across some. An empty range has no entry, wherever it lies.
 *
 * Return: entries; -1: a part lies in no region, or more than @max entries are needed
 */
int bl_memory_iovec(const struct bl_memory *memory, uint64_t address, uint64_t length, struct iovec *out, size_t max);

/*
 * bl_memory_at() - A structure that both sides use at the same time, such as a ring
 * @align: what the address must be a multiple of, a power of two
 *
 * Return: host address; NULL: not within one region, or not aligned
 */
void *bl_memory_at(const struct bl_memory *memory, uint64_t address, uint64_t length, uint64_t align);

/* bl_memory_track() - Keep a record of dirty pages from now on, all clean. Devices must be quiet. Return: 0; -1 (no memory) */
int bl_memory_track(struct bl_memory *memory, struct bl_error *err);
/* bl_memory_untrack() - Keep no record any more. Devices must be quiet. */
void bl_memory_untrack(struct bl_memory *memory);
/* bl_memory_mark() / bl_memory_mark_iovec() - Say that the host wrote there (the first @length bytes of the iovec). */
void bl_memory_mark(struct bl_memory *memory, uint64_t address, uint64_t length);
void bl_memory_mark_iovec(struct bl_memory *memory, const struct iovec *iov, size_t count, uint64_t length);
/*
 * bl_memory_take_dirty() - Take 64 pages' bits of one region, and clear them
 * @word: pages 64 * @word to 64 * @word + 63 of @region; the bit of the first is the lowest
 */
uint64_t bl_memory_take_dirty(struct bl_memory *memory, size_t region, uint64_t word);

/*
 * bl_memory_discard_iovec() - Give the whole pages inside an iovec back to the host
 *
 * They read as zeros afterwards, or, in a private region and below an overlay, as the file has them. They count as dirty.
 *
 * Return: bytes given back; what the host refuses is not counted
 */
uint64_t bl_memory_discard_iovec(struct bl_memory *memory, const struct iovec *iov, size_t count);

#endif
