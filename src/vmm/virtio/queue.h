/* SPDX-License-Identifier: Apache-2.0 */
/*
 * queue.h - the device's side of a split virtqueue (virtio 1.2, 2.7)
 *
 * bl_queue_pop() takes one chain of descriptors from the guest: each descriptor is copied out once, checked, and translated into
 * host addresses; the order "first what the device reads, then what it writes" is checked too. A chain never has more descriptors
 * than the queue, so a loop is found. bl_queue_push() gives it back. A queue on which the guest broke a rule is broken until it is
 * reset: nothing is popped, and the device says that it needs a reset.
 *
 * A queue has no lock; its device's guards it.
 */
#ifndef BL_VMM_VIRTIO_QUEUE_H
#define BL_VMM_VIRTIO_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "vmm/memory.h"
#include "vmm/state.h"

#define BL_QUEUE_SIZE_MAX 256 /* the most any queue of ours can have */
/* A descriptor is one piece of memory, but for those that go across regions that touch. */
#define BL_CHAIN_PIECES_MAX (BL_QUEUE_SIZE_MAX + 8)

/* One queue. What the driver sets is written by the transport while the queue is not ready, and by the queue's functions after
 * that. */
struct bl_queue {
    struct bl_memory *memory;
    uint16_t size_max; /* what the device offers; 0: there is no such queue */
    uint16_t size;     /* what the driver chose, a power of two */
    uint64_t descriptors_address, available_address, used_address;
    bool ready;

    bool indirect, event_index; /* negotiated */
    bool broken;
    uint16_t next_available, next_used;
    uint16_t signalled_used; /* next_used when the driver was last told */
    uint16_t in_flight;      /* chains popped and not pushed */

    const uint8_t *descriptors;
    uint8_t *available, *used; /* host addresses while it is ready */
};

/* A chain that was popped; plain data. */
struct bl_chain {
    uint16_t head;
    uint16_t readable, writable; /* pieces: first all that the device reads, then all that it writes */
    uint64_t readable_bytes, writable_bytes;
    struct iovec pieces[BL_CHAIN_PIECES_MAX];
};

/* bl_queue_start() - Check addresses and size and make the queue ready. Return: 0; -1: a ring lies outside of memory or is
 * misaligned */
int bl_queue_start(struct bl_queue *queue, bool indirect, bool event_index);
/* bl_queue_reset() - As new; the device holds no chain of it any more. */
void bl_queue_reset(struct bl_queue *queue);

/* bl_queue_pop() - Take the next chain. Return: 1 and *@chain; 0: there is none; -1: the queue is broken */
int bl_queue_pop(struct bl_queue *queue, struct bl_chain *chain);
/* bl_queue_push() - Give a chain back. @written: bytes written to its first writable pieces; those pages are marked dirty */
void bl_queue_push(struct bl_queue *queue, const struct bl_chain *chain, uint64_t written);
/* bl_queue_unpop() - Put the chain that was popped last back, as if it had never been popped. */
void bl_queue_unpop(struct bl_queue *queue);
/* bl_queue_must_interrupt() - Whether the driver wants to be told of what was pushed since this was last asked. */
bool bl_queue_must_interrupt(struct bl_queue *queue);
/*
 * bl_queue_listen() - Ask the driver for a kick at the next chain, or for none
 *
 * Return: whether there are chains already, for which no kick will come: pop them before you wait
 */
bool bl_queue_listen(struct bl_queue *queue, bool listen);
/* bl_queue_pending() - Whether the guest has offered a chain that was not popped. */
bool bl_queue_pending(struct bl_queue *queue);

/* bl_queue_save() / bl_queue_load() - A queue without chains in flight; loading checks as bl_queue_start() does. Return: 0; -1 */
int bl_queue_save(const struct bl_queue *queue, struct bl_buffer *out);
int bl_queue_load(struct bl_queue *queue, struct bl_state_reader *in, bool indirect, bool event_index);

/* A place in the pieces of a chain. */
struct bl_cursor {
    const struct iovec *at;
    size_t left;   /* pieces, @at included */
    size_t offset; /* in *at */
};

/* bl_chain_reader() / bl_chain_writer() - At the first byte that the device reads, or writes. */
struct bl_cursor bl_chain_reader(const struct bl_chain *chain);
struct bl_cursor bl_chain_writer(const struct bl_chain *chain);
/* bl_cursor_read() / bl_cursor_write() / bl_cursor_skip() - Move on, copying. Return: bytes, fewer than @length at the end */
size_t bl_cursor_read(struct bl_cursor *cursor, void *to, size_t length);
size_t bl_cursor_write(struct bl_cursor *cursor, const void *from, size_t length);
uint64_t bl_cursor_skip(struct bl_cursor *cursor, uint64_t length);
/* bl_cursor_iovec() - The next @length bytes as an iovec; the cursor stays. Return: entries; -1: they don't fit @max */
int bl_cursor_iovec(const struct bl_cursor *cursor, uint64_t length, struct iovec *out, size_t max);

#endif
