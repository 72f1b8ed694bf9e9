/* SPDX-License-Identifier: Apache-2.0 */
/*
 * qcow2.h - the disk of a box: a chain of files, the last of which is written
 *
 * A disk is what a guest's block device reads and writes. It lies in a chain of files: a base, raw or qcow2, read-only overlays
 * above it, and one that is written on top. The format is that of QEMU's docs/interop/qcow2.txt, version 3; docs/disks.md says
 * which parts of it are understood, in which order things reach the file, and why no kill and no power failure leaves a corrupt
 * image. The backing file's name in a header is there for people's tools (qemu-img): nothing of ours follows it, the chain of a
 * box's disk comes from its record, as open descriptors.
 *
 * All functions on an open disk but bl_disk_close() may be called by any number of threads at once. The data of a request goes
 * between the caller's memory and the page cache without a copy and without a lock held; only the lookup of where it lies is
 * serialised. Requests of one guest that overlap in time and place have no order, as on any disk.
 *
 * The system calls of requests on an open disk, for a seccomp filter of the threads that make them: preadv preadv2 pwritev lseek
 * fdatasync ftruncate fallocate futex, and what malloc() needs (brk mmap munmap mprotect madvise). Opening and closing call fstat
 * and fcntl too.
 */
#ifndef BL_DISK_QCOW2_H
#define BL_DISK_QCOW2_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/error.h"

#define BL_QCOW2_CLUSTER_BYTES 65536u       /* of an overlay that is made here; one made elsewhere may have others */
#define BL_QCOW2_MOST_BYTES    (4ull << 40) /* what one cluster of L1 entries can map */
#define BL_DISK_LAYERS_MAX     16
#define BL_DISK_SECTOR_BYTES   512u

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

/* One file of a chain. The format is what the box's record says; it is never guessed from the content, which a guest may write. */
struct bl_disk_layer {
    int fd;     /* regular file without O_DIRECT or O_APPEND; stays the caller's, who closes it after bl_disk_close() */
    bool qcow2; /* else raw */
};

enum bl_disk_flags {
    BL_DISK_READ_ONLY = 1, /* the last layer too is only read; writes fail with EROFS */
    BL_DISK_VOLATILE = 2,  /* nothing is needed after the machine goes down: flushes do not reach the host's disk */
};

struct bl_disk;

/*
 * bl_disk_open() - Open a chain of files
 * @disk: where the disk goes; bl_disk_close() ends it
 * @layers: the base first, the one that is written last (open for reading and writing unless BL_DISK_READ_ONLY)
 * @count: 1 to BL_DISK_LAYERS_MAX
 * @flags: of enum bl_disk_flags
 *
 * The size is that of the last layer; a layer below that is shorter reads as zeros past its end. Each file is locked as QEMU
 * locks it (open-file-description locks on bytes 100 and 200 up of the descriptor), so a second writer, ours or QEMU's, is
 * refused. Since those locks belong to the open file, a descriptor that another process holds a copy of stays locked until that
 * one is closed too, or until bl_disk_close() unlocks it.
 *
 * Return: 0; -1: BL_INVALID_STATE (another writes the file), BL_UNSUPPORTED (a feature of the format that is not understood:
 *         snapshots, encryption, external data, extended L2 entries, version 2), BL_STORAGE (a corrupt image, a failing file),
 *         BL_INVALID_ARGUMENT, BL_RESOURCE_EXHAUSTED (memory)
 */
int bl_disk_open(struct bl_disk **disk, const struct bl_disk_layer *layers, size_t count, unsigned int flags, struct bl_error *err);

/* bl_disk_close() - Flush, unlock and free; no request may be in flight. @disk may be NULL. Return: 0; -1 with errno, of the flush
 */
int bl_disk_close(struct bl_disk *disk);

/* bl_disk_bytes() - The size as the guest sees it. A file's last sector may be a part of one: rounded up to 512, read as zeros. */
uint64_t bl_disk_bytes(struct bl_disk *disk);
/* bl_disk_granularity() - Bytes and alignment from which on a discard gives space back (a cluster). */
uint32_t bl_disk_granularity(const struct bl_disk *disk);

/*
 * bl_disk_read() / bl_disk_write() - Transfer all bytes of @iov at a byte offset
 * @iov: the caller's memory (guest memory will do), not changed; any alignment; @count elements, any number
 * @offset: in bytes; any alignment, though multiples of 512 are what guests use and multiples of 4096 are fastest
 *
 * A write can be read by everybody when it returns; it survives this process and the machine after bl_disk_flush(). When it fails,
 * any part of its range may hold old or new bytes.
 *
 * Return: 0; -1 with errno: EINVAL (past the end), EROFS, ENOSPC, EIO (also: the image is corrupt, or an earlier flush failed,
 * after which the kernel may have thrown data away), EOPNOTSUPP (a compressed cluster), ENOMEM, or what the file's call said
 */
int bl_disk_read(struct bl_disk *disk, const struct iovec *iov, size_t count, uint64_t offset);
int bl_disk_write(struct bl_disk *disk, const struct iovec *iov, size_t count, uint64_t offset);

/*
 * bl_disk_try_read() - The same if it can be done at once: from the page cache, without waiting for a file or another thread
 *
 * For the thread of an event loop, which hands the request to a worker when this fails with EAGAIN; parts of @iov may be filled
 * then.
 */
int bl_disk_try_read(struct bl_disk *disk, const struct iovec *iov, size_t count, uint64_t offset);

/* bl_disk_flush() - Make all writes, discards and so on that returned before survive a power failure. Return: 0; -1 with errno */
int bl_disk_flush(struct bl_disk *disk);

/*
 * bl_disk_discard() - Give up what a range holds; it reads as zeros where whole clusters lay in it, and as before elsewhere
 * bl_disk_write_zeroes() - Make a range read as zeros
 * @unmap: whole clusters may be given back to the host
 *
 * Space goes back to the host with the next flush. Return: 0; -1 with errno, as bl_disk_write()
 */
int bl_disk_discard(struct bl_disk *disk, uint64_t offset, uint64_t bytes);
int bl_disk_write_zeroes(struct bl_disk *disk, uint64_t offset, uint64_t bytes, bool unmap);

/*
 * bl_disk_resize() - Change the size; what is cut off is lost, and what is gained reads as zeros
 * @bytes: a multiple of 512
 *
 * Waits for requests in flight. Survives a power failure as a whole or not at all. Return: 0; -1: BL_INVALID_ARGUMENT, BL_STORAGE
 */
int bl_disk_resize(struct bl_disk *disk, uint64_t bytes, struct bl_error *err);

#endif
