/* SPDX-License-Identifier: Apache-2.0 */
/*
 * block.c - the block device: its configuration and its threads; see block.h
 *
 * The threads take turns. The one that leads sleeps in a read of the kick descriptor; all others that have nothing to do sleep on a
 * condition. Who takes a request first tries it without waiting, as most reads find the page cache; if that is not enough, it wakes
 * one of these before it goes on. So a request that takes long (a flush) never keeps the next kick waiting, and a short one wakes
 * nobody. Before a thread sleeps it asks the driver for kicks and looks at the
 * queue once more, under the lock, so no kick is lost: either the look finds the chain, or the driver sees that it has to kick.
 *
 * A reset, or a rest before the machine is saved, waits until no request is in flight; nothing new is popped meanwhile, as the
 * device is not active or paused.
 *
 * Writes reach the page cache of the host, and the driver knows that by the feature FLUSH. A driver that did not take it, or that
 * switched the cache off (CONFIG_WCE), gets writes that end after a flush.
 */
#include "vmm/virtio/block.h"

#include <errno.h>
#include <limits.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_ids.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "vmm/virtio/block_private.h"

#define QUEUE            0
#define THREADS_DEFAULT  4
#define THREADS_MAX      16
#define STACK_BYTES      (128u * 1024)
#define STATE_VERSION    1
#define BLOCK_BYTES      512
#define CONFIG_BYTES     offsetof(struct virtio_blk_config, max_secure_erase_sectors) /* virtio 1.2, 5.2.4 */
#define CONFIG_WRITEBACK offsetof(struct virtio_blk_config, wce)

/* The device. Its lock guards all but what is constant. */
struct block {
    struct bl_device device;
    struct bl_block_config config; /* constant */
    char serial[BL_BLOCK_SERIAL_BYTES];
    pthread_t threads[THREADS_MAX];
    unsigned int thread_count;
    unsigned int started; /* threads that said whether they can work */
    unsigned int refused; /* of them, those that can't */
    pthread_cond_t wake;  /* for those that do not lead: there may be work, or a leader is wanted */
    pthread_cond_t quiet; /* nothing is in flight; a thread has started */
    bool led;             /* a thread sleeps in a read of the kick descriptor */
    bool ending;
    bool write_back;        /* the driver's choice; counts with CONFIG_WCE */
    unsigned int in_flight; /* requests that a thread is carrying out */
};

static void fill_config(const struct block *block, struct virtio_blk_config *config)
{
    const struct bl_block_disk *disk = block->config.disk;
    uint32_t granularity = disk && disk->granularity >= BL_BLOCK_SECTOR_BYTES ? disk->granularity : BL_BLOCK_SECTOR_BYTES;

    *config = (struct virtio_blk_config){
        .capacity = htole64(disk ? disk->bytes / BL_BLOCK_SECTOR_BYTES : 0),
        .seg_max = htole32(BL_BLOCK_SEGMENTS_MAX),
        .blk_size = htole32(BLOCK_BYTES),
        .wce = block->write_back,
        .num_queues = htole16(1),
        .max_discard_sectors = htole32(BL_BLOCK_RANGE_SECTORS),
        .max_discard_seg = htole32(BL_BLOCK_RANGES_MAX),
        .discard_sector_alignment = htole32(granularity / BL_BLOCK_SECTOR_BYTES),
        .max_write_zeroes_sectors = htole32(BL_BLOCK_RANGE_SECTORS),
        .max_write_zeroes_seg = htole32(BL_BLOCK_RANGES_MAX),
        .write_zeroes_may_unmap = 1,
    };
}

static void read_config(struct bl_device *device, size_t offset, void *out, size_t length)
{
    struct virtio_blk_config config;

    fill_config((struct block *)device, &config);
    memcpy(out, (const uint8_t *)&config + offset, length);
}

static void write_config(struct bl_device *device, size_t offset, const void *in, size_t length)
{
    struct block *block = (struct block *)device;

    if (offset == CONFIG_WRITEBACK && length == 1 && bl_device_has(device, VIRTIO_BLK_F_CONFIG_WCE))
        block->write_back = *(const uint8_t *)in & 1;
}

static bool is_write_through(const struct block *block)
{
    if (!bl_device_has(&block->device, VIRTIO_BLK_F_FLUSH))
        return true;
    return bl_device_has(&block->device, VIRTIO_BLK_F_CONFIG_WCE) && !block->write_back;
}

/* appoint() - See to it that somebody looks at the queue while this thread waits for a disk. */
static void appoint(struct block *block)
{
    pthread_mutex_lock(&block->device.lock);
    if (!block->led)
        pthread_cond_signal(&block->wake);
    pthread_mutex_unlock(&block->device.lock);
}

/* work() - Take one request and carry it out; with the lock, which is open meanwhile. Return: whether there was one */
static bool work(struct block *block, struct bl_block_request *request)
{
    struct bl_device *device = &block->device;

    if (bl_device_pop(device, QUEUE, &request->chain) <= 0)
        return false;
    if (bl_block_begin(request) < 0) {
        bl_device_break(device, QUEUE, "a request without header or status");
        return false;
    }
    request->write_through = is_write_through(block);
    block->in_flight++;
    pthread_mutex_unlock(&device->lock);
    if (!bl_block_try(request)) {
        appoint(block);
        bl_block_carry_out(request);
    }
    pthread_mutex_lock(&device->lock);
    bl_device_push(device, QUEUE, &request->chain, request->chain.writable_bytes);
    bl_device_tell(device, QUEUE);
    if (--block->in_flight == 0)
        pthread_cond_broadcast(&block->quiet);
    return true;
}

/* lead() - Sleep until the driver kicks. */
static void lead(struct block *block)
{
    uint64_t kicks;

    block->led = true;
    pthread_mutex_unlock(&block->device.lock);
    while (read(block->device.kick_fds[QUEUE], &kicks, sizeof kicks) < 0 && errno == EINTR)
        ;
    pthread_mutex_lock(&block->device.lock);
    block->led = false;
}

static void *run(void *data)
{
    struct block *block = data;
    struct bl_device *device = &block->device;
    struct bl_block_request request = {.disk = block->config.disk, .serial = block->serial};
    bool refused = block->config.on_thread && block->config.on_thread(block->config.data) < 0;

    pthread_mutex_lock(&device->lock);
    block->started++;
    block->refused += refused;
    pthread_cond_broadcast(&block->quiet);
    while (!block->ending && !refused) {
        if (bl_device_running(device)) {
            bl_queue_listen(&device->queues[QUEUE], false);
            if (work(block, &request) || bl_queue_listen(&device->queues[QUEUE], true))
                continue;
        }
        if (block->led)
            pthread_cond_wait(&block->wake, &device->lock);
        else
            lead(block);
    }
    pthread_mutex_unlock(&device->lock);
    return NULL;
}

/* wait_quiet() - Give up the lock until no request is in flight. */
static void wait_quiet(struct bl_device *device)
{
    struct block *block = (struct block *)device;

    while (block->in_flight)
        pthread_cond_wait(&block->quiet, &device->lock);
}

static void reset(struct bl_device *device)
{
    wait_quiet(device);
    ((struct block *)device)->write_back = true;
}

static int save(struct bl_device *device, struct bl_buffer *out)
{
    return bl_state_put_u16(out, ((struct block *)device)->write_back);
}

static int load(struct bl_device *device, struct bl_state_reader *in, uint32_t version, struct bl_error *err)
{
    (void)version;
    ((struct block *)device)->write_back = bl_state_get_u16(in) & 1;
    return in->failed ? bl_fail(err, BL_INVALID_ARGUMENT, 0, "it is cut short") : 0;
}

static void end_threads(struct block *block)
{
    pthread_mutex_lock(&block->device.lock);
    block->device.active = false;
    block->ending = true;
    pthread_cond_broadcast(&block->wake);
    pthread_mutex_unlock(&block->device.lock);
    /* One wakes the leader. Whoever leads after it looks at "ending" first. */
    if (block->thread_count)
        bl_device_kick(&block->device, QUEUE);
    for (unsigned int i = 0; i < block->thread_count; i++)
        pthread_join(block->threads[i], NULL);
}

static void destroy(struct bl_device *device)
{
    struct block *block = (struct block *)device;

    end_threads(block);
    if (block->config.disk)
        block->config.disk->ops->close(block->config.disk);
    pthread_cond_destroy(&block->wake);
    pthread_cond_destroy(&block->quiet);
    bl_device_finish(device);
    free(block);
}

static const struct bl_device_ops block_ops = {
    .name = "block",
    .read_config = read_config,
    .write_config = write_config,
    .reset = reset,
    .quiesce = wait_quiet,
    .save = save,
    .load = load,
    .free = destroy,
};

/* start_threads() - All signals stay with the owner's threads. Return: 0; an errno, or -1: a thread refused */
static int start_threads(struct block *block)
{
    unsigned int wanted = block->config.threads ? block->config.threads : THREADS_DEFAULT;
    sigset_t all, before;
    pthread_attr_t attributes;
    int failed = 0;

    sigfillset(&all);
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (!failed && block->thread_count < wanted && block->thread_count < THREADS_MAX) {
        failed = pthread_create(&block->threads[block->thread_count], &attributes, run, block);
        block->thread_count += !failed;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    pthread_mutex_lock(&block->device.lock);
    while (block->started < block->thread_count)
        pthread_cond_wait(&block->quiet, &block->device.lock);
    if (!failed && block->refused)
        failed = -1;
    pthread_mutex_unlock(&block->device.lock);
    return failed;
}

static uint64_t features_of(const struct bl_block_config *config)
{
    uint64_t features =
        1ull << VIRTIO_BLK_F_SEG_MAX | 1ull << VIRTIO_BLK_F_BLK_SIZE | 1ull << VIRTIO_BLK_F_FLUSH | 1ull << VIRTIO_BLK_F_CONFIG_WCE;

    if (config->disk && config->disk->read_only)
        return features | 1ull << VIRTIO_BLK_F_RO;
    return features | 1ull << VIRTIO_BLK_F_DISCARD | 1ull << VIRTIO_BLK_F_WRITE_ZEROES;
}

int bl_block_new(const struct bl_block_config *config, struct bl_device **out, struct bl_error *err)
{
    struct block *block = calloc(1, sizeof *block);
    int failed;

    if (block)
        *block = (struct block){
            .device = {.ops = &block_ops,
                       .id = VIRTIO_ID_BLOCK,
                       .state_version = STATE_VERSION,
                       .features = features_of(config),
                       .config_bytes = CONFIG_BYTES,
                       .queue_count = 1,
                       .queue_sizes = {BL_QUEUE_SIZE_MAX},
                       .own_kicks = true},
            .config = *config,
            .write_back = true,
        };
    if (!block || bl_device_init(&block->device) < 0) {
        bl_fail(err, BL_ENGINE, errno, "make the block device");
        if (config->disk)
            config->disk->ops->close(config->disk);
        free(block);
        return -1;
    }
    if (config->serial)
        memcpy(block->serial, config->serial, strnlen(config->serial, BL_BLOCK_SERIAL_BYTES));
    block->config.serial = NULL; /* the caller's; copied above */
    pthread_cond_init(&block->wake, NULL);
    pthread_cond_init(&block->quiet, NULL);
    failed = start_threads(block);
    if (failed) {
        destroy(&block->device);
        return bl_fail(err, BL_ENGINE, failed > 0 ? failed : 0, "start a thread for the disk");
    }
    *out = &block->device;
    return 0;
}
