/* SPDX-License-Identifier: Apache-2.0 */
/*
 * image.h - one open qcow2 file, as the sources of this folder share it
 *
 * Guest cluster: a cluster-sized piece of the disk as the guest sees it. Host cluster: one of the file. Both are counted from 0.
 *
 *     header.c   reads and checks the header, changes fields of it
 *     owned.c    which host clusters hold metadata; no data may lie there, and nothing twice
 *     cache.c    slices of tables in memory
 *     map.c      guest cluster -> host cluster, and the change of that
 *     refcount.c which host clusters are in use; taking and giving back
 *     commit.c   what is in memory goes to the file, in the order that keeps it whole
 *     range.c    requests in flight, which of them may overlap
 *     transfer.c reads and writes
 *     discard.c  discards and zeroes
 *     resize.c   a new size
 *     disk.c     the chain of files
 *
 * Everything of an image is guarded by its lock but what is set once when it is opened. Data is transferred without it.
 *
 * When the cache is full of changes, which must not reach the file before others, a function fails with EAGAIN: its caller has
 * bl_qcow2_make_room() commit, and begins again. So such functions change nothing when they fail.
 */
#ifndef BL_DISK_IMAGE_H
#define BL_DISK_IMAGE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "disk/file.h"
#include "disk/format.h"

/* A run of host clusters. */
struct bl_run {
    uint64_t first;
    uint64_t count;
    bool shared; /* others may use them as well: they are counted down, but what is in them stays */
};

struct bl_runs {
    struct bl_run *runs;
    size_t count;
    size_t room;
};

/* A set of host clusters: an open hash table of cluster numbers + 1. */
struct bl_owned {
    uint64_t *slots;
    size_t used;
    size_t mask; /* slots - 1; a power of two */
};

/*
 * A piece of an L2 table or a refcount block. While a commit writes one, `writing` is what goes to the file; who changes it in the
 * meantime does so in a copy.
 */
struct bl_slice {
    uint64_t offset; /* in the file; 0: the slot is empty */
    uint8_t *bytes;
    uint8_t *writing;
    bool dirty;
    bool used;     /* since the hand of the clock came by */
    uint32_t next; /* slot with the same hash + 1; 0: none */
};

/* One file of a chain. */
struct bl_layer;

/* layer.c: @layer may be NULL: zeros, of any size. Return: 0; -1 with errno */
int bl_layer_read(struct bl_layer *layer, struct bl_disk_cursor *cursor, uint64_t length, uint64_t offset, bool nowait);
bool bl_layer_hole(struct bl_layer *layer, uint64_t offset, uint64_t length);
uint64_t bl_layer_bytes(struct bl_layer *layer);

#define BL_CACHE_BUCKETS 256u

struct bl_cache {
    struct bl_slice *slots;
    uint32_t most; /* slots */
    uint32_t hand;
    uint32_t buckets[BL_CACHE_BUCKETS]; /* slot + 1; 0: none */
};

/* A table that is in memory as a whole, in the host's byte order. */
struct bl_table {
    uint64_t *entries;
    uint64_t count;
    uint64_t offset; /* in the file */
    uint64_t dirty_first, dirty_end;
};

/* A range of guest clusters that a request works on right now. In a list on the stacks of the requests. */
struct bl_range {
    uint64_t first, end;
    bool alone; /* nobody else may work on it */
    struct bl_range *next;
};

struct bl_qcow2 {
    struct bl_disk_file file;
    struct bl_layer *below; /* what unallocated clusters hold; NULL: zeros */
    bool writable;
    bool unsafe; /* flushes do not reach the disk */

    /* geometry */
    uint32_t cluster_bits;
    uint32_t cluster_bytes;
    uint32_t entry_bits; /* log2 of the entries of an L2 table */
    uint32_t refcount_order;
    uint32_t block_bits; /* log2 of the counts of a refcount block */
    uint32_t slice_bytes;

    pthread_mutex_t commit_lock; /* taken before the other one: one commit at a time */
    pthread_mutex_t lock;
    pthread_cond_t range_ended;
    struct bl_range *ranges;
    unsigned int waiting; /* for a range to end */

    uint64_t bytes; /* size of the disk; read without the lock too, by atomics */
    uint64_t incompatible;
    uint64_t file_bytes;  /* length of the file; only grows */
    uint64_t fresh_from;  /* host clusters from here on were never used: they are zeros */
    uint64_t search_from; /* no host cluster below is free */
    struct bl_table l1, reftable;
    struct bl_owned owned;
    struct bl_cache l2, refcounts;
    struct bl_runs dropped;  /* no entry in memory names these any more; the file's may. After the next commit they are free */
    struct bl_runs released; /* nor do those in the file: to be counted down */
    bool corrupt;            /* no more writes */
    atomic_bool failed;      /* a flush failed: what is in the file is not known any more */
};

/* What a run of guest clusters is. */
enum bl_kind {
    BL_KIND_UNALLOCATED, /* what the layer below has */
    BL_KIND_ZERO,        /* zeros, without a cluster that could be used */
    BL_KIND_ZERO_OWN,    /* zeros, with a cluster of its own */
    BL_KIND_DATA,        /* its own cluster */
    BL_KIND_SHARED,      /* a cluster that others use as well: only read */
};

struct bl_extent {
    enum bl_kind kind;
    uint64_t host;     /* first host cluster; for ZERO_OWN, DATA and SHARED */
    uint64_t clusters; /* at least 1; never past the slice of the first one */
};

static inline uint64_t bl_clusters_up(const struct bl_qcow2 *image, uint64_t bytes)
{
    return (bytes >> image->cluster_bits) + !!(bytes & (image->cluster_bytes - 1));
}

/* header.c */
int bl_qcow2_open(struct bl_qcow2 *image, struct bl_error *err); /* @image: zeroed but for file, writable, unsafe */
void bl_qcow2_free(struct bl_qcow2 *image);
/* bl_qcow2_put_header() - Write consecutive fields, which lie in one sector. Return: 0; -1 with errno */
int bl_qcow2_put_header(struct bl_qcow2 *image, size_t at, const void *bytes, size_t length);
/* bl_qcow2_corrupt() - What was found in the file can't be: no more writes, and the file says so. Return: -1 with EIO */
int bl_qcow2_corrupt(struct bl_qcow2 *image, const char *what, uint64_t offset);
int bl_qcow2_usable(const struct bl_qcow2 *image); /* 0; -1 with EROFS or EIO: nothing may be written any more */

/* owned.c: Return: 0; -1 with errno (EEXIST: it is in it) */
int bl_owned_add(struct bl_owned *owned, uint64_t first, uint64_t count);
bool bl_owned_has(const struct bl_owned *owned, uint64_t cluster);
void bl_owned_remove(struct bl_owned *owned, uint64_t first, uint64_t count);

/* bl_runs_add() - Return: 0; -1 with ENOMEM */
int bl_runs_add(struct bl_runs *runs, uint64_t first, uint64_t count, bool shared);

/* cache.c */
int bl_cache_make(struct bl_cache *cache, uint64_t most);
void bl_cache_free(struct bl_cache *cache);
/* bl_cache_get() - A slice by its offset. It stays until the next call. @nowait: only if it is in memory. Return: 0; -1 with errno
 */
int bl_cache_get(struct bl_qcow2 *image, struct bl_cache *cache, uint64_t offset, bool nowait, struct bl_slice **slice);
/* bl_cache_change() - Make a slice's bytes one's own, and dirty. Return: 0; -1 with ENOMEM */
int bl_cache_change(const struct bl_qcow2 *image, struct bl_slice *slice);

/* map.c */
/* bl_qcow2_map() - What up to @most guest clusters from @cluster on are. Return: 0; -1 with errno (EOPNOTSUPP: compressed) */
int bl_qcow2_map(struct bl_qcow2 *image, uint64_t cluster, uint64_t most, bool nowait, struct bl_extent *extent);
/*
 * bl_qcow2_remap() - Set the entries of @count clusters, which lie in one slice, to @entry, its offset counting up
 *
 * Host clusters that they named before and do not name any more are dropped.
 */
int bl_qcow2_remap(struct bl_qcow2 *image, uint64_t cluster, uint64_t count, uint64_t entry);
/* bl_qcow2_slice_left() - Guest clusters from @cluster to the end of its slice. */
uint64_t bl_qcow2_slice_left(const struct bl_qcow2 *image, uint64_t cluster);

/* refcount.c */
/* bl_qcow2_take() - Take up to @most free host clusters in a row. @fresh: they are zeros. Return: 0; -1 with errno */
int bl_qcow2_take(struct bl_qcow2 *image, uint64_t most, struct bl_run *run, bool *fresh);
/* bl_qcow2_give() - Count host clusters down by one; what becomes free can be taken. @run: becomes what is left. Return: 0; -1 with
 * errno */
int bl_qcow2_give(struct bl_qcow2 *image, struct bl_run *run);
/* bl_qcow2_extend() - Have the file reach to the end of host cluster @end - 1. Return: 0; -1 with errno */
int bl_qcow2_extend(struct bl_qcow2 *image, uint64_t end);
/* bl_qcow2_fill_counts() - Set the first counts of an empty block to one. */
void bl_qcow2_fill_counts(const struct bl_qcow2 *image, uint8_t *block, uint64_t count);

/* reftable.c */
/* bl_qcow2_grow_reftable() - Have the refcount table reach further. Return: 0; -1 with errno */
int bl_qcow2_grow_reftable(struct bl_qcow2 *image);

/* commit.c */
/* bl_qcow2_commit() - All that was done before reaches the disk. Called without the lock. Return: 0; -1 with errno */
int bl_qcow2_commit(struct bl_qcow2 *image);
/* bl_qcow2_sync() - fdatasync(), unless unsafe; a failure is remembered for good. Return: 0; -1 with errno */
int bl_qcow2_sync(struct bl_qcow2 *image);
/* bl_qcow2_make_room() - After a failure: commit if that was EAGAIN, with the lock let go. Return: 0: try again; -1 with errno */
int bl_qcow2_make_room(struct bl_qcow2 *image);
/* bl_qcow2_settle() - Commit until nothing is left to do, as at the end. Called without the lock. Return: 0; -1 with errno */
int bl_qcow2_settle(struct bl_qcow2 *image);
/* bl_table_write() - Write entries of a table. Return: 0; -1 with errno */
int bl_table_write(struct bl_qcow2 *image, const struct bl_table *table, uint64_t first, uint64_t end);
void bl_table_set(struct bl_table *table, uint64_t index, uint64_t entry);

/* transfer.c: @cursor goes past what was transferred. Return: 0; -1 with errno */
int bl_qcow2_read(struct bl_qcow2 *image, struct bl_disk_cursor *cursor, uint64_t length, uint64_t offset, bool nowait);
/* @anywhere: past the end of the disk too */
int bl_qcow2_write(struct bl_qcow2 *image, struct bl_disk_cursor *cursor, uint64_t length, uint64_t offset, bool anywhere);
/* bl_qcow2_hole() - Whether a range is known to read as zeros, without reading it. */
bool bl_qcow2_hole(struct bl_qcow2 *image, uint64_t offset, uint64_t length);

/* discard.c: also past the end of the disk. Return: 0; -1 with errno */
int bl_qcow2_discard(struct bl_qcow2 *image, uint64_t offset, uint64_t length);
int bl_qcow2_write_zeroes(struct bl_qcow2 *image, uint64_t offset, uint64_t length, bool unmap);
#define BL_DROPPED_MOST 4096u /* runs that wait for a commit; then one is due */

/* resize.c */
int bl_qcow2_resize(struct bl_qcow2 *image, uint64_t bytes, struct bl_error *err);

/* range.c */
/* bl_range_try() - Work on a range, unless somebody does who forbids it. Return: 0; -1: somebody does */
int bl_range_try(struct bl_qcow2 *image, struct bl_range *range);
/* bl_range_wait() - Wait until some range ends; the lock is let go meanwhile. */
void bl_range_wait(struct bl_qcow2 *image);
void bl_range_end(struct bl_qcow2 *image, struct bl_range *range);

#endif
