/* SPDX-License-Identifier: Apache-2.0 */
/*
 * queue.c - split virtqueues; see queue.h
 *
 * The rings are used by the guest at the same time, so each access to them is one atomic load or store of its field, and what
 * was loaded is never loaded again. Indices: the guest publishes a chain by its store to available.idx, which the load here
 * acquires; used.idx is stored with release. "May I sleep" and "must I interrupt" are each a store followed by a load of the
 * other side's store, so a full fence stands between (virtio 1.2, 2.7.7.1, 2.7.10).
 *
 * All addresses were checked when the queue became ready; the mapping does not change while it is.
 */
#include "vmm/virtio/queue.h"

#include <endian.h>
#include <linux/virtio_ring.h>
#include <stdatomic.h>
#include <string.h>

#include "base/log.h"

/* Offsets in the rings; virtio 1.2, 2.7.6 and 2.7.8. */
#define RING_FLAGS               0
#define RING_INDEX               2
#define RING_ENTRIES             4
#define DESCRIPTOR_BYTES         16u
#define USED_ENTRY_BYTES         8u
#define AVAILABLE_BYTES(size)    (6u + 2u * (uint32_t)(size))
#define USED_BYTES(size)         (6u + USED_ENTRY_BYTES * (uint32_t)(size))
#define USED_EVENT_AT(size)      (4u + 2u * (uint32_t)(size))
#define AVAILABLE_EVENT_AT(size) (4u + USED_ENTRY_BYTES * (uint32_t)(size))

/* One descriptor, copied out of the guest. */
struct descriptor {
    uint64_t address;
    uint32_t length;
    uint16_t flags;
    uint16_t next;
};

/* A walk along a chain: the table that it is in now, and how many descriptors it has taken. */
struct walk {
    bool indirect;
    uint64_t table; /* guest address, in an indirect one */
    uint32_t entries;
    uint32_t taken;
};

static uint16_t load16(const uint8_t *at, int order)
{
    return le16toh(__atomic_load_n((const uint16_t *)(const void *)at, order));
}

static void store16(uint8_t *at, uint16_t value, int order)
{
    __atomic_store_n((uint16_t *)(void *)at, htole16(value), order);
}

static bool is_power_of_two(uint16_t value)
{
    return value && !(value & (value - 1));
}

int bl_queue_start(struct bl_queue *queue, bool indirect, bool event_index)
{
    uint16_t size = queue->size;

    if (!is_power_of_two(size) || size > queue->size_max)
        return -1;
    queue->descriptors = bl_memory_at(queue->memory, queue->descriptors_address, DESCRIPTOR_BYTES * size, VRING_DESC_ALIGN_SIZE);
    queue->available = bl_memory_at(queue->memory, queue->available_address, AVAILABLE_BYTES(size), VRING_AVAIL_ALIGN_SIZE);
    queue->used = bl_memory_at(queue->memory, queue->used_address, USED_BYTES(size), VRING_USED_ALIGN_SIZE);
    if (!queue->descriptors || !queue->available || !queue->used)
        return -1;
    queue->indirect = indirect;
    queue->event_index = event_index;
    queue->next_available = queue->next_used = queue->signalled_used = queue->in_flight = 0;
    queue->broken = false;
    queue->ready = true;
    return 0;
}

void bl_queue_reset(struct bl_queue *queue)
{
    *queue = (struct bl_queue){.memory = queue->memory, .size_max = queue->size_max, .size = queue->size_max};
}

static int break_queue(struct bl_queue *queue, const char *why)
{
    bl_log(BL_LOG_DEBUG, "virtqueue: the driver broke a rule: %s", why);
    queue->broken = true;
    return -1;
}

/* load_descriptor() - Copy one descriptor out. Return: 0; -1: there is no such descriptor */
static int load_descriptor(const struct bl_queue *queue, const struct walk *walk, uint32_t index, struct descriptor *out)
{
    uint64_t words[2];

    if (index >= walk->entries)
        return -1;
    if (walk->indirect) {
        if (bl_memory_read(queue->memory, walk->table + (uint64_t)index * DESCRIPTOR_BYTES, words, sizeof words) < 0)
            return -1;
    } else {
        const uint64_t *at = (const uint64_t *)(const void *)(queue->descriptors + (size_t)index * DESCRIPTOR_BYTES);

        words[0] = __atomic_load_n(&at[0], __ATOMIC_RELAXED);
        words[1] = __atomic_load_n(&at[1], __ATOMIC_RELAXED);
    }
    words[1] = le64toh(words[1]);
    *out = (struct descriptor){
        .address = le64toh(words[0]),
        .length = (uint32_t)words[1],
        .flags = (uint16_t)(words[1] >> 32),
        .next = (uint16_t)(words[1] >> 48),
    };
    return 0;
}

/* enter_table() - Go on in an indirect table. Return: 0; -1: against the rules (virtio 1.2, 2.7.5.3.1) */
static int enter_table(struct bl_queue *queue, struct walk *walk, const struct descriptor *descriptor)
{
    uint64_t end;

    if (!queue->indirect)
        return break_queue(queue, "an indirect table that was not negotiated");
    if (walk->indirect || walk->taken || descriptor->flags & VRING_DESC_F_NEXT)
        return break_queue(queue, "an indirect table that is not alone");
    if (!descriptor->length || descriptor->length % DESCRIPTOR_BYTES ||
        __builtin_add_overflow(descriptor->address, descriptor->length, &end))
        return break_queue(queue, "an indirect table of no length");
    *walk = (struct walk){.indirect = true, .table = descriptor->address, .entries = descriptor->length / DESCRIPTOR_BYTES};
    return 0;
}

/* add_piece() - Translate a descriptor into pieces at the end of the chain. Return: 0; -1: against the rules */
static int add_piece(struct bl_queue *queue, struct bl_chain *chain, const struct descriptor *descriptor)
{
    bool writable = descriptor->flags & VRING_DESC_F_WRITE;
    size_t count = (size_t)chain->readable + chain->writable;
    int added;

    if (!descriptor->length)
        return break_queue(queue, "a descriptor without a byte");
    if (!writable && chain->writable)
        return break_queue(queue, "a readable descriptor after a writable one");
    added =
        bl_memory_iovec(queue->memory, descriptor->address, descriptor->length, chain->pieces + count, BL_CHAIN_PIECES_MAX - count);
    if (added < 0)
        return break_queue(queue, "a descriptor outside of memory");
    if (writable) {
        chain->writable = (uint16_t)(chain->writable + added);
        chain->writable_bytes += descriptor->length;
    } else {
        chain->readable = (uint16_t)(chain->readable + added);
        chain->readable_bytes += descriptor->length;
    }
    if (chain->readable_bytes + chain->writable_bytes > UINT32_MAX)
        return break_queue(queue, "a chain of more than 4 GiB");
    return 0;
}

/* walk_chain() - Take all descriptors of a chain. Return: 0; -1: the queue is broken */
static int walk_chain(struct bl_queue *queue, struct bl_chain *chain)
{
    struct walk walk = {.entries = queue->size};
    struct descriptor descriptor = {.flags = VRING_DESC_F_NEXT, .next = chain->head};

    while (descriptor.flags & VRING_DESC_F_NEXT) {
        if (load_descriptor(queue, &walk, descriptor.next, &descriptor) < 0)
            return break_queue(queue, "a descriptor that does not exist");
        if (descriptor.flags & VRING_DESC_F_INDIRECT) {
            if (enter_table(queue, &walk, &descriptor) < 0)
                return -1;
            descriptor = (struct descriptor){.flags = VRING_DESC_F_NEXT, .next = 0};
            continue;
        }
        /* No chain is longer than the largest queue, so one that is goes round in a circle. */
        if (walk.taken++ >= (walk.indirect ? BL_QUEUE_SIZE_MAX : queue->size))
            return break_queue(queue, "a chain without an end");
        if (add_piece(queue, chain, &descriptor) < 0)
            return -1;
    }
    return 0;
}

int bl_queue_pop(struct bl_queue *queue, struct bl_chain *chain)
{
    uint16_t offered, mask = (uint16_t)(queue->size - 1);

    if (queue->broken)
        return -1;
    if (!queue->ready)
        return 0;
    offered = (uint16_t)(load16(queue->available + RING_INDEX, __ATOMIC_ACQUIRE) - queue->next_available);
    if (!offered)
        return 0;
    if (offered > queue->size)
        return break_queue(queue, "an index that jumps");
    if (queue->in_flight >= queue->size)
        return break_queue(queue, "more chains than descriptors");
    *chain = (struct bl_chain){
        .head = load16(queue->available + RING_ENTRIES + 2u * (queue->next_available & mask), __ATOMIC_RELAXED),
    };
    if (walk_chain(queue, chain) < 0)
        return -1;
    queue->next_available++;
    queue->in_flight++;
    return 1;
}

void bl_queue_unpop(struct bl_queue *queue)
{
    if (!queue->ready || !queue->in_flight)
        return;
    queue->next_available--;
    queue->in_flight--;
}

void bl_queue_push(struct bl_queue *queue, const struct bl_chain *chain, uint64_t written)
{
    uint16_t mask = (uint16_t)(queue->size - 1);

    if (!queue->ready || !queue->in_flight)
        return;

    uint32_t at = RING_ENTRIES + USED_ENTRY_BYTES * (queue->next_used & mask);
    uint32_t entry[2] = {htole32(chain->head), htole32((uint32_t)written)};

    bl_memory_mark_iovec(queue->memory, chain->pieces + chain->readable, chain->writable, written);
    memcpy(queue->used + at, entry, sizeof entry);
    queue->next_used++;
    queue->in_flight--;
    store16(queue->used + RING_INDEX, queue->next_used, __ATOMIC_RELEASE);
    bl_memory_mark(queue->memory, queue->used_address, USED_BYTES(queue->size));
}

bool bl_queue_must_interrupt(struct bl_queue *queue)
{
    uint16_t before = queue->signalled_used, now = queue->next_used;

    if (!queue->ready || before == now)
        return false;
    queue->signalled_used = now;
    atomic_thread_fence(memory_order_seq_cst);
    if (!queue->event_index)
        return !(load16(queue->available + RING_FLAGS, __ATOMIC_RELAXED) & VRING_AVAIL_F_NO_INTERRUPT);
    return vring_need_event(load16(queue->available + USED_EVENT_AT(queue->size), __ATOMIC_RELAXED), now, before);
}

bool bl_queue_pending(struct bl_queue *queue)
{
    return queue->ready && !queue->broken && load16(queue->available + RING_INDEX, __ATOMIC_ACQUIRE) != queue->next_available;
}

bool bl_queue_listen(struct bl_queue *queue, bool listen)
{
    if (!queue->ready || queue->broken)
        return false;
    /* With event indices a kick comes only when the index passes the one named here; an old one keeps the driver silent. */
    if (queue->event_index && !listen)
        return false;
    if (queue->event_index)
        store16(queue->used + AVAILABLE_EVENT_AT(queue->size), queue->next_available, __ATOMIC_RELAXED);
    else
        store16(queue->used + RING_FLAGS, listen ? 0 : VRING_USED_F_NO_NOTIFY, __ATOMIC_RELAXED);
    bl_memory_mark(queue->memory, queue->used_address, USED_BYTES(queue->size));
    if (!listen)
        return false;
    atomic_thread_fence(memory_order_seq_cst);
    return bl_queue_pending(queue);
}

int bl_queue_save(const struct bl_queue *queue, struct bl_buffer *out)
{
    bool ready = queue->ready && !queue->broken;
    int failed = bl_state_put_u16(out, ready) | bl_state_put_u16(out, queue->size);

    failed |= bl_state_put_u64(out, queue->descriptors_address) | bl_state_put_u64(out, queue->available_address);
    failed |= bl_state_put_u64(out, queue->used_address);
    failed |= bl_state_put_u16(out, queue->next_available) | bl_state_put_u16(out, queue->next_used);
    return failed | bl_state_put_u16(out, queue->signalled_used);
}

int bl_queue_load(struct bl_queue *queue, struct bl_state_reader *in, bool indirect, bool event_index)
{
    uint16_t ready = bl_state_get_u16(in);

    bl_queue_reset(queue);
    queue->size = bl_state_get_u16(in);
    queue->descriptors_address = bl_state_get_u64(in);
    queue->available_address = bl_state_get_u64(in);
    queue->used_address = bl_state_get_u64(in);

    uint16_t next_available = bl_state_get_u16(in), next_used = bl_state_get_u16(in), signalled = bl_state_get_u16(in);

    if (in->failed || ready > 1)
        return -1;
    if (!ready)
        return 0;
    /* Nothing is in flight in a quiet device, so as many chains were given back as were taken. */
    if (next_available != next_used || bl_queue_start(queue, indirect, event_index) < 0)
        return -1;
    queue->next_available = queue->next_used = next_available;
    queue->signalled_used = signalled;
    return 0;
}
