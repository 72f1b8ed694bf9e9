/* SPDX-License-Identifier: Apache-2.0 */
/*
 * balloon.c - the balloon; see balloon.h
 *
 * Queues are numbered as Linux and QEMU number them: those of features that were not offered are left out, so reporting is the
 * third (virtio 1.2, 5.5.2, would have it the fifth).
 *
 * An inflate request is a list of page numbers, of 4 KiB whatever the host's page size; neighbours are put together before they go,
 * since a hole of 2 MiB costs one call and 512 holes cost 512. Numbers that are in no memory are skipped. A report is a chain of
 * writable buffers, which are the free pages themselves. Deflating needs nothing: the pages come back when they are touched.
 *
 * STATS_VQ, FREE_PAGE_HINT and PAGE_POISON are not offered: the first two have no user here, and without the third a guest that
 * wants poisoned pages does not report them, which is right, as they come back as zeros, or as a saved machine had them.
 */
#include "vmm/virtio/balloon.h"

#include <errno.h>
#include <linux/virtio_balloon.h>
#include <linux/virtio_ids.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"

#define INFLATE       0
#define DEFLATE       1
#define REPORT        2
#define QUEUE_SIZE    128
#define PAGES_MAX     1024 /* numbers of one request */
#define TURN_CHAINS   32
#define STATE_VERSION 1
#define CONFIG_BYTES  offsetof(struct virtio_balloon_config, free_page_hint_cmd_id) /* num_pages and actual */
#define CONFIG_ACTUAL offsetof(struct virtio_balloon_config, actual)

/* The device; its lock guards it. */
struct balloon {
    struct bl_device device;
    struct bl_memory *memory;
    uint32_t target_pages; /* what the host asks for, in pages of 4 KiB */
    uint32_t actual_pages; /* what the guest says it gave */
    uint64_t returned_bytes;
    struct bl_chain chain;
    uint32_t pages[PAGES_MAX];
};

static void read_config(struct bl_device *device, size_t offset, void *out, size_t length)
{
    const struct balloon *balloon = (const struct balloon *)device;
    struct virtio_balloon_config config = {
        .num_pages = htole32(balloon->target_pages),
        .actual = htole32(balloon->actual_pages),
    };

    memcpy(out, (const uint8_t *)&config + offset, length);
}

static void write_config(struct bl_device *device, size_t offset, const void *in, size_t length)
{
    if (offset == CONFIG_ACTUAL && length == sizeof(uint32_t))
        ((struct balloon *)device)->actual_pages = bl_get_le32(in);
}

static int compare_pages(const void *a, const void *b)
{
    uint32_t first = *(const uint32_t *)a, second = *(const uint32_t *)b;

    return (first > second) - (first < second);
}

/* discard_pages() - Give back @count pages from the number @first on. */
static void discard_pages(struct balloon *balloon, uint32_t first, uint32_t count)
{
    struct iovec parts[BL_MEMORY_REGIONS_MAX];
    int found = bl_memory_iovec(balloon->memory, (uint64_t)first << VIRTIO_BALLOON_PFN_SHIFT,
                                (uint64_t)count << VIRTIO_BALLOON_PFN_SHIFT, parts, BL_MEMORY_REGIONS_MAX);

    if (found > 0)
        balloon->returned_bytes += bl_memory_discard_iovec(balloon->memory, parts, (size_t)found);
    else if (found < 0 && count > 1) {
        /* One of them is in no memory; the others are. */
        for (uint32_t i = 0; i < count; i++)
            discard_pages(balloon, first + i, 1);
    }
}

/* inflate() - As many numbers as there is room for here; Linux names 256 at a time. More are left out: it is the guest's loss. */
static void inflate(struct balloon *balloon)
{
    struct bl_cursor in = bl_chain_reader(&balloon->chain);
    size_t count = bl_cursor_read(&in, balloon->pages, sizeof balloon->pages) / sizeof balloon->pages[0], run;

    for (size_t i = 0; i < count; i++)
        balloon->pages[i] = le32toh(balloon->pages[i]);
    qsort(balloon->pages, count, sizeof balloon->pages[0], compare_pages);
    for (size_t i = 0; i < count; i += run) {
        for (run = 1; i + run < count && balloon->pages[i + run] == balloon->pages[i] + run;)
            run++;
        discard_pages(balloon, balloon->pages[i], (uint32_t)run);
    }
}

static void work(struct balloon *balloon, unsigned int queue)
{
    if (queue == INFLATE)
        inflate(balloon);
    else if (queue == REPORT)
        balloon->returned_bytes +=
            bl_memory_discard_iovec(balloon->memory, balloon->chain.pieces + balloon->chain.readable, balloon->chain.writable);
}

static void notify(struct bl_device *device, unsigned int queue)
{
    struct balloon *balloon = (struct balloon *)device;
    int chains = 0;

    while (bl_device_running(device)) {
        if (chains == TURN_CHAINS) {
            bl_device_kick(device, queue);
            break;
        }
        if (bl_device_pop(device, queue, &balloon->chain) > 0) {
            work(balloon, queue);
            bl_device_push(device, queue, &balloon->chain, 0);
            chains++;
        } else if (!bl_queue_listen(&device->queues[queue], true)) {
            break;
        }
    }
    bl_device_tell(device, queue);
}

static void reset(struct bl_device *device)
{
    ((struct balloon *)device)->actual_pages = 0;
}

static int save(struct bl_device *device, struct bl_buffer *out)
{
    const struct balloon *balloon = (const struct balloon *)device;

    return bl_state_put_u32(out, balloon->target_pages) | bl_state_put_u32(out, balloon->actual_pages);
}

static int load(struct bl_device *device, struct bl_state_reader *in, uint32_t version, struct bl_error *err)
{
    struct balloon *balloon = (struct balloon *)device;

    (void)version;
    balloon->target_pages = bl_state_get_u32(in);
    balloon->actual_pages = bl_state_get_u32(in);
    return in->failed ? bl_fail(err, BL_INVALID_ARGUMENT, 0, "it is cut short") : 0;
}

static void destroy(struct bl_device *device)
{
    bl_device_finish(device);
    free(device);
}

static const struct bl_device_ops balloon_ops = {
    .name = "balloon",
    .read_config = read_config,
    .write_config = write_config,
    .reset = reset,
    .notify = notify,
    .save = save,
    .load = load,
    .free = destroy,
};

int bl_balloon_new(struct bl_memory *memory, struct bl_device **out, struct bl_error *err)
{
    struct balloon *balloon = calloc(1, sizeof *balloon);

    if (!balloon)
        return bl_fail_memory(err);
    balloon->memory = memory;
    balloon->device = (struct bl_device){
        .ops = &balloon_ops,
        .id = VIRTIO_ID_BALLOON,
        .state_version = STATE_VERSION,
        .features = 1ull << VIRTIO_BALLOON_F_DEFLATE_ON_OOM | 1ull << VIRTIO_BALLOON_F_REPORTING,
        .config_bytes = CONFIG_BYTES,
        .queue_count = 3,
        .queue_sizes = {[INFLATE] = QUEUE_SIZE, [DEFLATE] = QUEUE_SIZE, [REPORT] = QUEUE_SIZE},
    };
    if (bl_device_init(&balloon->device) < 0) {
        free(balloon);
        return bl_fail(err, BL_ENGINE, errno, "make the balloon");
    }
    *out = &balloon->device;
    return 0;
}

void bl_balloon_aim(struct bl_device *device, uint64_t bytes)
{
    struct balloon *balloon = (struct balloon *)device;
    uint64_t pages = bytes >> VIRTIO_BALLOON_PFN_SHIFT;

    pthread_mutex_lock(&device->lock);
    balloon->target_pages = pages < UINT32_MAX ? (uint32_t)pages : UINT32_MAX;
    device->host.config_changed(device->host.data);
    pthread_mutex_unlock(&device->lock);
}

uint64_t bl_balloon_holds(struct bl_device *device)
{
    uint64_t pages;

    pthread_mutex_lock(&device->lock);
    pages = ((struct balloon *)device)->actual_pages;
    pthread_mutex_unlock(&device->lock);
    return pages << VIRTIO_BALLOON_PFN_SHIFT;
}

uint64_t bl_balloon_returned(struct bl_device *device)
{
    uint64_t bytes;

    pthread_mutex_lock(&device->lock);
    bytes = ((struct balloon *)device)->returned_bytes;
    pthread_mutex_unlock(&device->lock);
    return bytes;
}
