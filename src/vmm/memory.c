/* SPDX-License-Identifier: Apache-2.0 */
/*
 * memory.c - regions of guest memory; see memory.h
 *
 * Finding a region is a walk over a handful of entries. A range is checked piece by piece: the part within the region that holds
 * its first byte, then the rest from the first byte after it, so regions that touch need no special case and a gap ends the walk.
 */
#include "vmm/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#define WORD_PAGES 64
#define LARGE_PAGE (2ull << 20)

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25 /* linux/mman.h, since 6.1 */
#endif

void bl_memory_init(struct bl_memory *memory, uint64_t page_bytes)
{
    *memory = (struct bl_memory){.page_bytes = page_bytes};
}

/*
 * reserve() - Addresses for a region that has room for large pages, which want the same place within one on both sides
 *
 * Return: NULL: it is too small for that, or there is no such place
 */
static uint8_t *reserve(uint64_t start, uint64_t bytes)
{
    size_t all = (size_t)(bytes + LARGE_PAGE), skip;
    uint8_t *room;

    if (bytes < LARGE_PAGE || bytes > SIZE_MAX - LARGE_PAGE)
        return NULL;
    room = mmap(NULL, all, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (room == MAP_FAILED)
        return NULL;
    skip = (size_t)((start - (uintptr_t)room) & (LARGE_PAGE - 1));
    if (skip)
        munmap(room, skip);
    if (LARGE_PAGE - skip)
        munmap(room + skip + bytes, (size_t)(LARGE_PAGE - skip));
    return room + skip;
}

int bl_memory_add(struct bl_memory *memory, uint64_t start, uint64_t bytes, int fd, uint64_t offset, enum bl_memory_sharing sharing,
                  struct bl_error *err)
{
    const struct bl_memory_region *last = memory->count ? &memory->regions[memory->count - 1] : NULL;
    uint64_t end, file_end;
    struct stat status = {0};

    if (memory->count == BL_MEMORY_REGIONS_MAX)
        return bl_fail(err, BL_INVALID_ARGUMENT, 0, "more than %d regions of guest memory", BL_MEMORY_REGIONS_MAX);
    if (!bytes || (start | bytes | offset) & (memory->page_bytes - 1) || bytes > SIZE_MAX || offset > INT64_MAX ||
        __builtin_add_overflow(start, bytes, &end) || __builtin_add_overflow(offset, bytes, &file_end))
        return bl_fail(err, BL_INVALID_ARGUMENT, 0, "no region of guest memory: %#llx bytes at %#llx, from %#llx of the file",
                       (unsigned long long)bytes, (unsigned long long)start, (unsigned long long)offset);
    if (fd < 0 && sharing == BL_MEMORY_SHARED)
        return bl_fail(err, BL_INVALID_ARGUMENT, 0, "guest memory that is shared and in no file");
    if (last && start < last->start + last->bytes)
        return bl_fail(err, BL_INVALID_ARGUMENT, 0, "a region of guest memory at %#llx, which is not above the one before it",
                       (unsigned long long)start);
    if (fd >= 0 && fstat(fd, &status) < 0)
        return bl_fail(err, BL_ENGINE, errno, "look at the file of guest memory");
    /* A page past the end of the file would be a SIGBUS at its first use. */
    if (fd >= 0 && (status.st_size < 0 || file_end > (uint64_t)status.st_size))
        return bl_fail(err, BL_INVALID_ARGUMENT, 0, "the file of guest memory ends at %lld, its region at %#llx",
                       (long long)status.st_size, (unsigned long long)file_end);

    int flags = sharing == BL_MEMORY_SHARED ? MAP_SHARED : MAP_PRIVATE | (fd < 0 ? MAP_ANONYMOUS : 0);
    uint8_t *room = reserve(start, bytes);
    void *host =
        mmap(room, (size_t)bytes, PROT_READ | PROT_WRITE, flags | MAP_NORESERVE | (room ? MAP_FIXED : 0), fd, (off_t)offset);

    if (host == MAP_FAILED && room)
        munmap(room, (size_t)bytes);
    if (host == MAP_FAILED)
        return bl_fail(err, BL_ENGINE, errno, "map %llu MiB of guest memory", (unsigned long long)(bytes >> 20));
    memory->regions[memory->count++] = (struct bl_memory_region){
        .start = start,
        .bytes = bytes,
        .fd = fd,
        .offset = offset,
        .sharing = sharing,
        .host = host,
    };
    return 0;
}

int bl_memory_overlay(struct bl_memory *memory, uint64_t at, uint64_t bytes, int fd, uint64_t from, struct bl_error *err)
{
    uint64_t end;

    if ((at | bytes | from) & (memory->page_bytes - 1) || from > INT64_MAX || __builtin_add_overflow(at, bytes, &end))
        return bl_fail(err, BL_INVALID_ARGUMENT, 0, "no part of guest memory: %#llx bytes at %#llx", (unsigned long long)bytes,
                       (unsigned long long)at);
    for (size_t i = 0; i < memory->count && at < end; i++) {
        struct bl_memory_region *region = &memory->regions[i];

        if (at < region->offset || at - region->offset >= region->bytes)
            continue;

        uint64_t inside = at - region->offset;
        uint64_t part = region->bytes - inside < end - at ? region->bytes - inside : end - at;

        if (mmap(region->host + inside, (size_t)part, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE | MAP_FIXED, fd,
                 (off_t)from) == MAP_FAILED)
            return bl_fail(err, BL_ENGINE, errno, "map %llu KiB of saved memory", (unsigned long long)(part >> 10));
        region->overlaid = true;
        at += part;
        from += part;
    }
    if (at < end)
        return bl_fail(err, BL_INVALID_ARGUMENT, 0, "no region of guest memory has %#llx", (unsigned long long)at);
    return 0;
}

void bl_memory_free(struct bl_memory *memory)
{
    for (size_t i = 0; i < memory->count; i++)
        munmap(memory->regions[i].host, (size_t)memory->regions[i].bytes);
    bl_memory_untrack(memory);
    memory->count = 0;
}

uint64_t bl_memory_bytes(const struct bl_memory *memory)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < memory->count; i++)
        sum += memory->regions[i].bytes;
    return sum;
}

static const struct bl_memory_region *find(const struct bl_memory *memory, uint64_t address)
{
    for (size_t i = 0; i < memory->count; i++)
        if (address >= memory->regions[i].start && address - memory->regions[i].start < memory->regions[i].bytes)
            return &memory->regions[i];
    return NULL;
}

int bl_memory_iovec(const struct bl_memory *memory, uint64_t address, uint64_t length, struct iovec *out, size_t max)
{
    size_t count = 0;

    while (length) {
        const struct bl_memory_region *region = find(memory, address);

        if (!region || count == max)
            return -1;

        uint64_t inside = address - region->start;
        uint64_t part = region->bytes - inside < length ? region->bytes - inside : length;

        out[count++] = (struct iovec){.iov_base = region->host + inside, .iov_len = (size_t)part};
        length -= part;
        address += part; /* wraps only when nothing is left, as no region does */
    }
    return (int)count;
}

int bl_memory_read(const struct bl_memory *memory, uint64_t address, void *to, size_t length)
{
    struct iovec parts[BL_MEMORY_REGIONS_MAX];
    int count = bl_memory_iovec(memory, address, length, parts, BL_MEMORY_REGIONS_MAX);
    uint8_t *at = to;

    for (int i = 0; i < count; i++) {
        memcpy(at, parts[i].iov_base, parts[i].iov_len);
        at += parts[i].iov_len;
    }
    return count < 0 ? -1 : 0;
}

int bl_memory_write(struct bl_memory *memory, uint64_t address, const void *from, size_t length)
{
    struct iovec parts[BL_MEMORY_REGIONS_MAX];
    int count = bl_memory_iovec(memory, address, length, parts, BL_MEMORY_REGIONS_MAX);
    const uint8_t *at = from;

    for (int i = 0; i < count; i++) {
        memcpy(parts[i].iov_base, at, parts[i].iov_len);
        at += parts[i].iov_len;
    }
    if (count < 0)
        return -1;
    bl_memory_mark_iovec(memory, parts, (size_t)count, length);
    return 0;
}

bool bl_memory_gather(struct bl_memory *memory, uint64_t start, uint64_t end)
{
    const struct bl_memory_region *region = find(memory, start);
    uint8_t *from;

    if (!region || region->sharing != BL_MEMORY_SHARED || region->overlaid || end < start || end - region->start > region->bytes)
        return false;
    start = (start + LARGE_PAGE / 2) & ~(LARGE_PAGE - 1);
    end = (end + LARGE_PAGE / 2) & ~(LARGE_PAGE - 1);
    if (end > region->start + region->bytes)
        end -= LARGE_PAGE;
    if (start >= end || ((uintptr_t)region->host - region->start) & (LARGE_PAGE - 1))
        return start >= end;
    from = region->host + (start - region->start);
    /* Where nothing was touched yet, there is nothing to collapse. */
    for (uint64_t at = 0; at < end - start; at += LARGE_PAGE)
        *(volatile uint8_t *)(from + at) = from[at];
    return madvise(from, (size_t)(end - start), MADV_COLLAPSE) == 0;
}

/*
 * send_to() - Have the kernel move bytes from one file to the other
 *
 * Nothing of the memory is touched through its mapping, so no page is faulted in, or filled with zeros before: that makes a third
 * of the time of reading, and two thirds where a fault is expensive.
 *
 * Return: bytes; -1 with errno, also where the file is of a kind that can't be moved from, or a limit on file sizes forbids it
 */
static ssize_t send_to(int memory_fd, uint64_t to, int fd, uint64_t offset, uint64_t length)
{
    off_t from = (off_t)offset;

    return lseek(memory_fd, (off_t)to, SEEK_SET) < 0 ? -1 : sendfile(memory_fd, fd, &from, (size_t)length);
}

ssize_t bl_memory_fill(struct bl_memory *memory, uint64_t address, int fd, uint64_t offset, uint64_t length, bool there)
{
    const struct bl_memory_region *region = find(memory, address);
    struct iovec parts[BL_MEMORY_REGIONS_MAX];
    int count = bl_memory_iovec(memory, address, length, parts, BL_MEMORY_REGIONS_MAX);
    bool moves = region && region->sharing == BL_MEMORY_SHARED && !region->overlaid && !there;
    ssize_t n = -1;

    if (count < 0 || !region) {
        errno = EFAULT;
        return -1;
    }
    if (!count)
        return 0;
    if (moves)
        n = send_to(region->fd, region->offset + (address - region->start), fd, offset, parts[0].iov_len);
    if (n < 0 && (!moves || errno != EINTR))
        n = preadv(fd, parts, count, (off_t)offset);
    if (n > 0)
        bl_memory_mark_iovec(memory, parts, (size_t)count, (uint64_t)n);
    return n;
}

void *bl_memory_at(const struct bl_memory *memory, uint64_t address, uint64_t length, uint64_t align)
{
    const struct bl_memory_region *region = find(memory, address);

    if (!region || address & (align - 1) || region->bytes - (address - region->start) < length)
        return NULL;
    return region->host + (address - region->start);
}

/* The record of dirty pages */

int bl_memory_track(struct bl_memory *memory, struct bl_error *err)
{
    bl_memory_untrack(memory);
    for (size_t i = 0; i < memory->count; i++) {
        struct bl_memory_region *region = &memory->regions[i];
        uint64_t pages = region->bytes / memory->page_bytes;

        region->dirty = calloc((size_t)((pages + WORD_PAGES - 1) / WORD_PAGES), sizeof *region->dirty);
        if (!region->dirty) {
            bl_memory_untrack(memory);
            return bl_fail_memory(err);
        }
    }
    atomic_store(&memory->tracking, true);
    return 0;
}

void bl_memory_untrack(struct bl_memory *memory)
{
    atomic_store(&memory->tracking, false);
    for (size_t i = 0; i < memory->count; i++) {
        free(memory->regions[i].dirty);
        memory->regions[i].dirty = NULL;
    }
}

/* mark_inside() - Mark the pages of a part of a region; a bit that is set already is only read, so that nobody fights for its line.
 */
static void mark_inside(const struct bl_memory *memory, struct bl_memory_region *region, uint64_t inside, uint64_t length)
{
    uint64_t first = inside / memory->page_bytes, last = (inside + length - 1) / memory->page_bytes;

    for (uint64_t page = first; page <= last; page++) {
        _Atomic uint64_t *word = &region->dirty[page / WORD_PAGES];
        uint64_t bit = 1ull << page % WORD_PAGES;

        if (!(atomic_load_explicit(word, memory_order_relaxed) & bit))
            atomic_fetch_or_explicit(word, bit, memory_order_relaxed);
    }
}

/* find_host() - The region that a host address lies in; what was translated before always does. */
static struct bl_memory_region *find_host(struct bl_memory *memory, const void *at)
{
    for (size_t i = 0; i < memory->count; i++) {
        struct bl_memory_region *region = &memory->regions[i];

        if ((const uint8_t *)at >= region->host && (const uint8_t *)at < region->host + region->bytes)
            return region;
    }
    return NULL;
}

void bl_memory_mark_iovec(struct bl_memory *memory, const struct iovec *iov, size_t count, uint64_t length)
{
    if (!atomic_load_explicit(&memory->tracking, memory_order_relaxed))
        return;
    for (size_t i = 0; i < count && length; i++) {
        struct bl_memory_region *region = find_host(memory, iov[i].iov_base);
        uint64_t part = iov[i].iov_len < length ? iov[i].iov_len : length;

        if (region && part)
            mark_inside(memory, region, (uint64_t)((const uint8_t *)iov[i].iov_base - region->host), part);
        length -= part;
    }
}

void bl_memory_mark(struct bl_memory *memory, uint64_t address, uint64_t length)
{
    struct iovec parts[BL_MEMORY_REGIONS_MAX];
    int count;

    if (!atomic_load_explicit(&memory->tracking, memory_order_relaxed))
        return;
    count = bl_memory_iovec(memory, address, length, parts, BL_MEMORY_REGIONS_MAX);
    if (count > 0)
        bl_memory_mark_iovec(memory, parts, (size_t)count, length);
}

uint64_t bl_memory_take_dirty(struct bl_memory *memory, size_t region, uint64_t word)
{
    const struct bl_memory_region *at = &memory->regions[region];
    uint64_t pages = at->bytes / memory->page_bytes;

    if (!at->dirty || word >= (pages + WORD_PAGES - 1) / WORD_PAGES)
        return 0;
    return atomic_exchange(&at->dirty[word], 0);
}

/* Memory that goes back */

/* discard_piece() - Return: bytes given back */
static uint64_t discard_piece(struct bl_memory *memory, const struct iovec *piece)
{
    struct bl_memory_region *region = find_host(memory, piece->iov_base);
    uint64_t mask = memory->page_bytes - 1, from, to;

    if (!region)
        return 0;
    from = (uint64_t)((uint8_t *)piece->iov_base - region->host);
    to = from + piece->iov_len;
    if (to > region->bytes)
        to = region->bytes;
    from = (from + mask) & ~mask;
    to &= ~mask;
    if (from >= to)
        return 0;

    bool gone;

    /* A hole in a file that is mapped shared empties the mapping too. A private copy is dropped, and the file's page shows again.
     * Below an overlay nobody knows here which of the two a page is; what is wrong for the other kind does it no harm. */
    gone = region->sharing != BL_MEMORY_SHARED || fallocate(region->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                                            (off_t)(region->offset + from), (off_t)(to - from)) == 0;
    if (gone && (region->sharing == BL_MEMORY_PRIVATE || region->overlaid))
        gone = madvise(region->host + from, (size_t)(to - from), MADV_DONTNEED) == 0;
    if (!gone)
        return 0;
    if (atomic_load_explicit(&memory->tracking, memory_order_relaxed))
        mark_inside(memory, region, from, to - from);
    return to - from;
}

uint64_t bl_memory_discard_iovec(struct bl_memory *memory, const struct iovec *iov, size_t count)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < count; i++)
        sum += discard_piece(memory, &iov[i]);
    return sum;
}
