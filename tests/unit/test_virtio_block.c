/* SPDX-License-Identifier: Apache-2.0 */
/* test_virtio_block.c - the block device: requests against a disk in memory that can be held up, and against files */
#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "disk_fixture.h"
#include "virtio_driver.h"
#include "vmm/virtio/block.h"

#define SECTOR     512ull
#define DISK_BYTES (1ull << 20)
#define RINGS      (1ull << VIRTIO_RING_F_INDIRECT_DESC | 1ull << VIRTIO_RING_F_EVENT_IDX)
#define ALL        (RINGS | 1ull << VIRTIO_BLK_F_FLUSH | 1ull << VIRTIO_BLK_F_DISCARD | 1ull << VIRTIO_BLK_F_WRITE_ZEROES)
#define NO_STATUS  0xee
#define UNKNOWN    99 /* a type of request */

/* A disk in memory. The lock guards all of it; what is held waits in the operation until it is let go. */
struct fake {
    struct bl_block_disk disk;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint8_t bytes[DISK_BYTES];
    bool hold_writes, hold_flushes;
    int held; /* operations that wait */
    int reads, tries, writes, flushes, unflushed;
    int fail;            /* negative errno of every operation; 0: none */
    bool cached, closed; /* whether try_read() finds what it is asked for */
};

static void wait_let_go(struct fake *fake, const bool *hold)
{
    while (*hold) {
        fake->held++;
        pthread_cond_broadcast(&fake->changed);
        pthread_cond_wait(&fake->changed, &fake->lock);
        fake->held--;
    }
}

static void move(struct fake *fake, const struct iovec *iov, int count, uint64_t offset, bool write)
{
    for (int i = 0; i < count; i++) {
        if (write)
            memcpy(fake->bytes + offset, iov[i].iov_base, iov[i].iov_len);
        else
            memcpy(iov[i].iov_base, fake->bytes + offset, iov[i].iov_len);
        offset += iov[i].iov_len;
    }
}

static int fake_read(struct bl_block_disk *disk, const struct iovec *iov, int count, uint64_t offset, uint64_t bytes)
{
    struct fake *fake = (struct fake *)disk;

    (void)bytes;
    pthread_mutex_lock(&fake->lock);
    fake->reads++;
    move(fake, iov, count, offset, false);
    pthread_mutex_unlock(&fake->lock);
    return fake->fail;
}

static int fake_try_read(struct bl_block_disk *disk, const struct iovec *iov, int count, uint64_t offset, uint64_t bytes)
{
    struct fake *fake = (struct fake *)disk;
    int result = -EAGAIN;

    (void)bytes;
    pthread_mutex_lock(&fake->lock);
    fake->tries++;
    if (fake->cached) {
        move(fake, iov, count, offset, false);
        result = 0;
    }
    pthread_mutex_unlock(&fake->lock);
    return result;
}

static int fake_write(struct bl_block_disk *disk, const struct iovec *iov, int count, uint64_t offset, uint64_t bytes)
{
    struct fake *fake = (struct fake *)disk;

    (void)bytes;
    pthread_mutex_lock(&fake->lock);
    wait_let_go(fake, &fake->hold_writes);
    fake->writes++;
    fake->unflushed++;
    move(fake, iov, count, offset, true);
    pthread_mutex_unlock(&fake->lock);
    return fake->fail;
}

static int fake_flush(struct bl_block_disk *disk)
{
    struct fake *fake = (struct fake *)disk;

    pthread_mutex_lock(&fake->lock);
    wait_let_go(fake, &fake->hold_flushes);
    fake->flushes++;
    fake->unflushed = 0;
    pthread_mutex_unlock(&fake->lock);
    return fake->fail;
}

static int fake_discard(struct bl_block_disk *disk, uint64_t offset, uint64_t bytes)
{
    (void)disk, (void)offset, (void)bytes;
    return -EOPNOTSUPP;
}

static int fake_write_zeroes(struct bl_block_disk *disk, uint64_t offset, uint64_t bytes, bool unmap)
{
    struct fake *fake = (struct fake *)disk;

    (void)unmap;
    pthread_mutex_lock(&fake->lock);
    memset(fake->bytes + offset, 0, bytes);
    fake->unflushed++;
    pthread_mutex_unlock(&fake->lock);
    return 0;
}

static void fake_close(struct bl_block_disk *disk)
{
    ((struct fake *)disk)->closed = true;
}

static const struct bl_block_ops fake_ops = {
    .read = fake_read,
    .try_read = fake_try_read,
    .write = fake_write,
    .flush = fake_flush,
    .discard = fake_discard,
    .write_zeroes = fake_write_zeroes,
    .close = fake_close,
};

static void let_go(struct fake *fake, bool *hold)
{
    pthread_mutex_lock(&fake->lock);
    *hold = false;
    pthread_cond_broadcast(&fake->changed);
    pthread_mutex_unlock(&fake->lock);
}

/* wait_held() - Until so many operations are in the disk and wait there. */
static void wait_held(struct fake *fake, int count)
{
    pthread_mutex_lock(&fake->lock);
    while (fake->held < count)
        pthread_cond_wait(&fake->changed, &fake->lock);
    pthread_mutex_unlock(&fake->lock);
}

struct bench {
    struct machine machine;
    struct fake *fake; /* NULL: the disk is a file */
    struct bl_device *device;
    struct bl_mmio *mmio;
    struct driver_queue queue;
    uint64_t status; /* of the request that was made last: its address */
};

static void start_with(struct bench *bench, struct bl_block_disk *disk)
{
    struct bl_block_config config = {.disk = disk, .serial = "0123456789abcdef"};
    struct bl_error err = BL_ERROR_INIT;

    machine_init(&bench->machine, BL_MEMORY_SHARED);
    assert_int_equal(bl_block_new(&config, &bench->device, &err), 0);
    assert_int_equal(bl_mmio_new(&bench->machine.loop, &bench->machine.memory, bench->device, &bench->mmio, &err), 0);
}

static void start(struct bench *bench)
{
    bench->fake = calloc(1, sizeof *bench->fake);
    assert_non_null(bench->fake);
    bench->fake->disk = (struct bl_block_disk){.ops = &fake_ops, .bytes = DISK_BYTES};
    pthread_mutex_init(&bench->fake->lock, NULL);
    pthread_cond_init(&bench->fake->changed, NULL);
    start_with(bench, &bench->fake->disk);
}

static void come_up(struct bench *bench, uint64_t features)
{
    driver_start(&bench->machine, bench->mmio, features, 64, &bench->queue);
}

static void stop(struct bench *bench)
{
    bl_mmio_free(bench->mmio);
    if (bench->fake) {
        assert_true(bench->fake->closed);
        pthread_mutex_destroy(&bench->fake->lock);
        pthread_cond_destroy(&bench->fake->changed);
        free(bench->fake);
    }
    machine_finish(&bench->machine);
}

/* submit() - A request with one piece of data; length 0: none. */
static void submit(struct bench *bench, uint32_t type, uint64_t sector, uint64_t data, uint32_t length)
{
    uint64_t header = machine_take(&bench->machine, 16, 16);
    uint8_t bytes[16] = {0}, none = NO_STATUS;
    bool in = type == VIRTIO_BLK_T_IN || type == VIRTIO_BLK_T_GET_ID || type == UNKNOWN;
    struct piece pieces[3] = {{header, 16, false}};
    size_t count = 1;

    bl_put_le32(bytes, type);
    bl_put_le64(bytes + 8, sector);
    machine_put(&bench->machine, header, bytes, sizeof bytes);
    bench->status = machine_take(&bench->machine, 1, 1);
    machine_put(&bench->machine, bench->status, &none, 1);
    if (length)
        pieces[count++] = (struct piece){data, length, in};
    pieces[count++] = (struct piece){bench->status, 1, true};
    driver_add(&bench->queue, pieces, count);
    driver_kick(&bench->queue);
}

static uint8_t status_of(struct bench *bench)
{
    uint8_t status;

    machine_get(&bench->machine, bench->status, &status, 1);
    return status;
}

/* ask() - A request, to its end. Return: its status */
static uint8_t ask(struct bench *bench, uint32_t type, uint64_t sector, uint64_t data, uint32_t length)
{
    submit(bench, type, sector, data, length);
    driver_wait(&bench->queue, 1);
    driver_take(&bench->queue, NULL);
    return status_of(bench);
}

static void the_disk_says_what_it_is(void **state)
{
    struct bench bench;
    char serial[21] = "";

    (void)state;
    start(&bench);
    come_up(&bench, ALL);
    assert_int_equal(reg_read(bench.mmio, VIRTIO_MMIO_CONFIG), DISK_BYTES / SECTOR);
    assert_int_equal(reg_read(bench.mmio, VIRTIO_MMIO_CONFIG + 4), 0);
    assert_int_equal(reg_read(bench.mmio, VIRTIO_MMIO_CONFIG + 12), 254); /* seg_max */
    assert_int_equal(reg_read(bench.mmio, VIRTIO_MMIO_CONFIG + 20), 512); /* blk_size */
    assert_int_equal(ask(&bench, VIRTIO_BLK_T_GET_ID, 0, 0x200000, 20), VIRTIO_BLK_S_OK);
    machine_get(&bench.machine, 0x200000, serial, 20);
    assert_string_equal(serial, "0123456789abcdef");
    stop(&bench);
}

static void sectors_come_and_go(void **state)
{
    struct bench bench;
    uint8_t wrote[4096], got[4096];

    (void)state;
    start(&bench);
    come_up(&bench, ALL);
    for (size_t i = 0; i < sizeof wrote; i++)
        wrote[i] = (uint8_t)(i * 31);
    machine_put(&bench.machine, RAM_SEAM - 100, wrote, sizeof wrote);
    assert_int_equal(ask(&bench, VIRTIO_BLK_T_OUT, 8, RAM_SEAM - 100, sizeof wrote), VIRTIO_BLK_S_OK);
    assert_memory_equal(bench.fake->bytes + 8 * SECTOR, wrote, sizeof wrote);
    assert_int_equal(ask(&bench, VIRTIO_BLK_T_IN, 8, RAM_HIGH, sizeof got), VIRTIO_BLK_S_OK);
    machine_get(&bench.machine, RAM_HIGH, got, sizeof got);
    assert_memory_equal(got, wrote, sizeof got);
    assert_int_equal(ask(&bench, VIRTIO_BLK_T_IN, 0, 0, 0), VIRTIO_BLK_S_OK); /* of nothing */
    stop(&bench);
}

/* Header, data and status are bytes in a row, wherever descriptors begin and end. */
static void descriptors_need_not_match_fields(void **state)
{
    struct bench bench;
    uint8_t header[16] = {0}, wrote[1024], got[1024];
    uint64_t at;

    (void)state;
    start(&bench);
    come_up(&bench, ALL);
    at = machine_take(&bench.machine, 4096, 16);
    memset(wrote, 0x5a, sizeof wrote);
    bl_put_le32(header, VIRTIO_BLK_T_OUT);
    bl_put_le64(header + 8, 3);
    machine_put(&bench.machine, at, header, 16);
    machine_put(&bench.machine, at + 16, wrote, sizeof wrote);

    const struct piece out[] = {{at, 7, false}, {at + 7, 509, false}, {at + 516, 524, false}, {at + 2000, 1, true}};

    driver_add(&bench.queue, out, 4);
    driver_kick(&bench.queue);
    driver_wait(&bench.queue, 1);
    driver_take(&bench.queue, NULL);
    bench.status = at + 2000;
    assert_int_equal(status_of(&bench), VIRTIO_BLK_S_OK);
    assert_memory_equal(bench.fake->bytes + 3 * SECTOR, wrote, sizeof wrote);

    bl_put_le32(header, VIRTIO_BLK_T_IN);
    machine_put(&bench.machine, at, header, 16);

    const struct piece in[] = {{at, 16, false}, {RAM_HIGH, 1000, true}, {RAM_HIGH + 1000, 25, true}};

    driver_add(&bench.queue, in, 3);
    driver_kick(&bench.queue);
    driver_wait(&bench.queue, 1);
    driver_take(&bench.queue, NULL);
    bench.status = RAM_HIGH + 1024;
    assert_int_equal(status_of(&bench), VIRTIO_BLK_S_OK);
    machine_get(&bench.machine, RAM_HIGH, got, sizeof got);
    assert_memory_equal(got, wrote, sizeof got);
    stop(&bench);
}

static void requests_stay_on_the_disk(void **state)
{
    static const struct {
        uint64_t sector;
        uint32_t length;
        uint8_t status;
    } cases[] = {
        {DISK_BYTES / SECTOR - 1, 512, VIRTIO_BLK_S_OK},
        {DISK_BYTES / SECTOR - 1, 1024, VIRTIO_BLK_S_IOERR},
        {DISK_BYTES / SECTOR, 512, VIRTIO_BLK_S_IOERR},
        {UINT64_MAX, 512, VIRTIO_BLK_S_IOERR},
        {UINT64_MAX / SECTOR, 512, VIRTIO_BLK_S_IOERR},
        {UINT64_MAX / SECTOR + 1, 512, VIRTIO_BLK_S_IOERR},
        {0, 511, VIRTIO_BLK_S_IOERR},
        {0, 513, VIRTIO_BLK_S_IOERR},
    };
    struct bench bench;

    (void)state;
    start(&bench);
    come_up(&bench, ALL);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        for (uint32_t type = VIRTIO_BLK_T_IN; type <= VIRTIO_BLK_T_OUT; type++)
            assert_int_equal(ask(&bench, type, cases[i].sector, RAM_HIGH, cases[i].length), cases[i].status);
    assert_int_equal(ask(&bench, UNKNOWN, 0, RAM_HIGH, 512), VIRTIO_BLK_S_UNSUPP);
    assert_int_equal(reg_read(bench.mmio, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET, 0);
    stop(&bench);
}

static void a_chain_that_is_no_request(void **state)
{
    static const struct piece cases[][2] = {
        {{0x200000, 15, false}, {0x201000, 1, true}},   /* no whole header */
        {{0x200000, 16, false}, {0x200000, 16, false}}, /* no status */
        {{0x200000, 16, true}, {0x201000, 1, true}},    /* nothing to read */
    };
    struct bench bench;

    (void)state;
    start(&bench);
    for (size_t i = 0; i < 3; i++) {
        come_up(&bench, ALL);
        driver_add(&bench.queue, cases[i], 2);
        driver_kick(&bench.queue);

        assert_int_equal(wait_interrupted(bench.mmio), VIRTIO_MMIO_INT_CONFIG);
        assert_true(reg_read(bench.mmio, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET);
        assert_int_equal(driver_used(&bench.queue), 0);
    }
    come_up(&bench, ALL);
    assert_int_equal(ask(&bench, VIRTIO_BLK_T_FLUSH, 0, 0, 0), VIRTIO_BLK_S_OK);
    stop(&bench);
}

static void errors_of_the_disk_are_told(void **state)
{
    struct bench bench;

    (void)state;
    start(&bench);
    come_up(&bench, ALL);
    bench.fake->fail = -ENOSPC;
    assert_int_equal(ask(&bench, VIRTIO_BLK_T_OUT, 0, RAM_HIGH, 512), VIRTIO_BLK_S_IOERR);
    assert_int_equal(ask(&bench, VIRTIO_BLK_T_FLUSH, 0, 0, 0), VIRTIO_BLK_S_IOERR);
    assert_int_equal(ask(&bench, VIRTIO_BLK_T_IN, 0, RAM_HIGH, 512), VIRTIO_BLK_S_IOERR);
    bench.fake->fail = 0;
    assert_int_equal(ask(&bench, VIRTIO_BLK_T_OUT, 0, RAM_HIGH, 512), VIRTIO_BLK_S_OK);
    stop(&bench);
}

static void a_read_only_disk(void **state)
{
    struct bench bench;

    (void)state;
    start(&bench);
    bench.fake->disk.read_only = true;
    come_up(&bench, RINGS | 1ull << VIRTIO_BLK_F_FLUSH);
    assert_int_equal(ask(&bench, VIRTIO_BLK_T_OUT, 0, RAM_HIGH, 512), VIRTIO_BLK_S_IOERR);
    assert_int_equal(ask(&bench, VIRTIO_BLK_T_WRITE_ZEROES, 0, RAM_HIGH, 16), VIRTIO_BLK_S_IOERR);
    assert_int_equal(ask(&bench, VIRTIO_BLK_T_IN, 0, RAM_HIGH, 512), VIRTIO_BLK_S_OK);
    assert_int_equal(bench.fake->writes, 0);
    stop(&bench);
}

static void no_disk_at_all(void **state)
{
    struct bench bench = {0};

    (void)state;
    start_with(&bench, NULL);
    come_up(&bench, ALL);
    assert_int_equal(reg_read(bench.mmio, VIRTIO_MMIO_CONFIG), 0);
    assert_int_equal(ask(&bench, VIRTIO_BLK_T_IN, 0, RAM_HIGH, 512), VIRTIO_BLK_S_IOERR);
    assert_int_equal(ask(&bench, VIRTIO_BLK_T_OUT, 0, RAM_HIGH, 512), VIRTIO_BLK_S_IOERR);
    assert_int_equal(ask(&bench, VIRTIO_BLK_T_DISCARD, 0, RAM_HIGH, 16), VIRTIO_BLK_S_IOERR);
    assert_int_equal(ask(&bench, VIRTIO_BLK_T_FLUSH, 0, 0, 0), VIRTIO_BLK_S_OK);
    stop(&bench);
}

/* Who did not ask for a cache, or switched it off, has none. */
static void writes_go_through_when_they_must(void **state)
{
    static const struct {
        uint64_t features;
        bool switched_off, flushed;
    } cases[] = {
        {RINGS, false, true},
        {RINGS | 1ull << VIRTIO_BLK_F_FLUSH, false, false},
        {RINGS | 1ull << VIRTIO_BLK_F_FLUSH | 1ull << VIRTIO_BLK_F_CONFIG_WCE, false, false},
        {RINGS | 1ull << VIRTIO_BLK_F_FLUSH | 1ull << VIRTIO_BLK_F_CONFIG_WCE, true, true},
        {RINGS | 1ull << VIRTIO_BLK_F_FLUSH, true, false}, /* the switch was not negotiated */
    };
    struct bench bench;
    uint8_t off = 0, now;

    (void)state;
    start(&bench);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        come_up(&bench, cases[i].features);
        bl_mmio_read(bench.mmio, VIRTIO_MMIO_CONFIG + 32, &now, 1);
        assert_int_equal(now, 1); /* on again after each reset */
        if (cases[i].switched_off)
            bl_mmio_write(bench.mmio, VIRTIO_MMIO_CONFIG + 32, &off, 1);
        bl_mmio_read(bench.mmio, VIRTIO_MMIO_CONFIG + 32, &now, 1);
        assert_int_equal(now, cases[i].switched_off && cases[i].flushed ? 0 : 1);
        assert_int_equal(ask(&bench, VIRTIO_BLK_T_OUT, 0, RAM_HIGH, 512), VIRTIO_BLK_S_OK);
        assert_int_equal(bench.fake->unflushed, cases[i].flushed ? 0 : 1);
        bench.fake->unflushed = 0;
    }
    stop(&bench);
}

/* A flush that takes its time keeps neither reads nor writes waiting, and ends after them. */
static void a_flush_holds_nobody_up(void **state)
{
    struct bench bench;
    uint64_t flush;

    (void)state;
    start(&bench);
    come_up(&bench, ALL);
    bench.fake->hold_flushes = true;
    submit(&bench, VIRTIO_BLK_T_FLUSH, 0, 0, 0);
    flush = bench.status;
    wait_held(bench.fake, 1);
    for (int i = 0; i < 20; i++) {
        assert_int_equal(ask(&bench, VIRTIO_BLK_T_OUT, 0, RAM_HIGH, 512), VIRTIO_BLK_S_OK);
        assert_int_equal(ask(&bench, VIRTIO_BLK_T_IN, 0, RAM_HIGH, 512), VIRTIO_BLK_S_OK);
    }
    bench.status = flush;
    assert_int_equal(status_of(&bench), NO_STATUS);
    let_go(bench.fake, &bench.fake->hold_flushes);
    driver_wait(&bench.queue, 1);
    assert_int_equal(status_of(&bench), VIRTIO_BLK_S_OK);
    stop(&bench);
}

/* All threads are held up; what comes meanwhile is not forgotten, though nobody was there to hear the kick. */
static void kicks_are_not_lost(void **state)
{
    struct bench bench;

    (void)state;
    start(&bench);
    come_up(&bench, ALL);
    for (int round = 0; round < 20; round++) {
        bench.fake->hold_writes = true;
        for (int i = 0; i < 4; i++)
            submit(&bench, VIRTIO_BLK_T_OUT, 0, RAM_HIGH, 512);
        wait_held(bench.fake, 4);
        for (int i = 0; i < 4; i++)
            submit(&bench, VIRTIO_BLK_T_IN, 0, RAM_HIGH, 512);
        assert_int_equal(driver_used(&bench.queue), 0);
        let_go(bench.fake, &bench.fake->hold_writes);
        driver_wait(&bench.queue, 8);
        while (driver_used(&bench.queue))
            driver_take(&bench.queue, NULL);
    }
    stop(&bench);
}

static void a_cached_read_needs_one_thread(void **state)
{
    struct bench bench;
    uint8_t got;

    (void)state;
    start(&bench);
    come_up(&bench, ALL);
    bench.fake->bytes[512] = 42;
    assert_int_equal(ask(&bench, VIRTIO_BLK_T_IN, 1, RAM_HIGH, 512), VIRTIO_BLK_S_OK);
    assert_int_equal(bench.fake->reads, 1);
    bench.fake->cached = true;
    assert_int_equal(ask(&bench, VIRTIO_BLK_T_IN, 1, RAM_HIGH, 512), VIRTIO_BLK_S_OK);
    assert_int_equal(bench.fake->reads, 1);
    assert_int_equal(bench.fake->tries, 2);
    machine_get(&bench.machine, RAM_HIGH, &got, 1);
    assert_int_equal(got, 42);
    assert_int_equal(ask(&bench, VIRTIO_BLK_T_IN, DISK_BYTES / SECTOR, RAM_HIGH, 512), VIRTIO_BLK_S_IOERR);
    assert_int_equal(ask(&bench, UNKNOWN, 0, RAM_HIGH, 512), VIRTIO_BLK_S_UNSUPP);
    assert_int_equal(bench.fake->tries, 2);
    stop(&bench);
}

/* A processor that writes a register, on a thread of its own. */
struct processor {
    struct bl_mmio *mmio;
    struct fake *fake;
    bool rest; /* quiesce instead of a reset */
    int writes_before, writes_after;
};

static void *run_processor(void *data)
{
    struct processor *processor = data;

    if (processor->rest)
        bl_mmio_quiesce(processor->mmio);
    else
        reg_write(processor->mmio, VIRTIO_MMIO_STATUS, 0);
    pthread_mutex_lock(&processor->fake->lock);
    processor->writes_after = processor->fake->writes;
    pthread_mutex_unlock(&processor->fake->lock);
    return NULL;
}

static bool is_running(struct bl_device *device)
{
    bool running;

    pthread_mutex_lock(&device->lock);
    running = bl_device_running(device);
    pthread_mutex_unlock(&device->lock);
    return running;
}

/* A reset, or a rest, waits for what is in the disk: three writes are held there, and all three have ended when it returns. */
static void requests_in_flight_are_waited_for(void **state)
{
    (void)state;
    for (int rest = 0; rest < 2; rest++) {
        struct bench bench;
        struct processor processor;
        pthread_t thread;

        start(&bench);
        come_up(&bench, ALL);
        bench.fake->hold_writes = true;
        for (int i = 0; i < 3; i++)
            submit(&bench, VIRTIO_BLK_T_OUT, 0, RAM_HIGH, 512);
        wait_held(bench.fake, 3);
        processor = (struct processor){.mmio = bench.mmio, .fake = bench.fake, .rest = rest};
        assert_int_equal(pthread_create(&thread, NULL, run_processor, &processor), 0);
        while (is_running(bench.device))
            sched_yield();
        let_go(bench.fake, &bench.fake->hold_writes);
        assert_int_equal(pthread_join(thread, NULL), 0);
        assert_int_equal(processor.writes_after, 3);
        if (rest) {
            assert_int_equal(driver_used(&bench.queue), 3);
            submit(&bench, VIRTIO_BLK_T_OUT, 0, RAM_HIGH, 512);
            bl_mmio_resume(bench.mmio);
            driver_wait(&bench.queue, 4);
        } else {
            assert_int_equal(reg_read(bench.mmio, VIRTIO_MMIO_STATUS), 0);
            come_up(&bench, ALL);
            assert_int_equal(ask(&bench, VIRTIO_BLK_T_OUT, 0, RAM_HIGH, 512), VIRTIO_BLK_S_OK);
        }
        stop(&bench);
    }
}

static void ranges(struct bench *bench, uint64_t at, uint64_t index, uint64_t sector, uint32_t sectors, uint32_t flags)
{
    uint8_t range[16];

    bl_put_le64(range, sector);
    bl_put_le32(range + 8, sectors);
    bl_put_le32(range + 12, flags);
    machine_put(&bench->machine, at + 16 * index, range, sizeof range);
}

static void zeroes_and_discards_are_checked(void **state)
{
    struct bench bench;

    (void)state;
    start(&bench);
    come_up(&bench, ALL);
    memset(bench.fake->bytes, 1, sizeof bench.fake->bytes);
    ranges(&bench, 0x200000, 0, 2, 2, 0);
    ranges(&bench, 0x200000, 1, 8, 1, VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP);
    assert_int_equal(ask(&bench, VIRTIO_BLK_T_WRITE_ZEROES, 0, 0x200000, 32), VIRTIO_BLK_S_OK);
    for (uint64_t sector = 0; sector < 12; sector++)
        assert_int_equal(bench.fake->bytes[sector * SECTOR], sector == 2 || sector == 3 || sector == 8 ? 0 : 1);
    assert_int_equal(ask(&bench, VIRTIO_BLK_T_DISCARD, 0, 0x200000, 16), VIRTIO_BLK_S_UNSUPP); /* as this disk says */

    ranges(&bench, 0x200000, 0, DISK_BYTES / SECTOR - 1, 2, 0);
    assert_int_equal(ask(&bench, VIRTIO_BLK_T_WRITE_ZEROES, 0, 0x200000, 16), VIRTIO_BLK_S_IOERR);
    ranges(&bench, 0x200000, 0, UINT64_MAX, UINT32_MAX, 0);
    assert_int_equal(ask(&bench, VIRTIO_BLK_T_WRITE_ZEROES, 0, 0x200000, 16), VIRTIO_BLK_S_IOERR);
    ranges(&bench, 0x200000, 0, 0, 1, 2);
    assert_int_equal(ask(&bench, VIRTIO_BLK_T_WRITE_ZEROES, 0, 0x200000, 16), VIRTIO_BLK_S_UNSUPP);
    ranges(&bench, 0x200000, 0, 0, 1, 1);
    assert_int_equal(ask(&bench, VIRTIO_BLK_T_DISCARD, 0, 0x200000, 16), VIRTIO_BLK_S_UNSUPP);
    ranges(&bench, 0x200000, 0, 0, 1, 0);
    assert_int_equal(ask(&bench, VIRTIO_BLK_T_WRITE_ZEROES, 0, 0x200000, 15), VIRTIO_BLK_S_IOERR);
    assert_int_equal(ask(&bench, VIRTIO_BLK_T_WRITE_ZEROES, 0, 0x200000, 0), VIRTIO_BLK_S_IOERR);
    assert_int_equal(ask(&bench, VIRTIO_BLK_T_WRITE_ZEROES, 0, 0x200000, 33 * 16), VIRTIO_BLK_S_IOERR);
    assert_int_equal(bench.fake->bytes[0], 1);
    stop(&bench);
}

/* fill_queue() - Random writes and reads of whole regions, checked against what was written. */
static void many_requests_at_once(void **state)
{
    enum { AREAS = 16, AREA = 8192, ROUNDS = 60 };
    struct bench bench;
    uint8_t bytes[AREA];
    uint32_t random = 12345;

    (void)state;
    start(&bench);
    come_up(&bench, ALL);
    for (int round = 0; round < ROUNDS; round++) {
        uint64_t free = bench.machine.free;
        uint64_t statuses[AREAS];

        bench.fake->cached = round % 2;
        /* Each area is written, or read, by one request of this round; all are in flight at once. */
        for (uint64_t i = 0; i < AREAS; i++) {
            bool write = (random = random * 1103515245 + 12345) & 0x10000;

            if (write) {
                memset(bytes, (int)(random >> 8), sizeof bytes);
                machine_put(&bench.machine, 0x200000 + i * AREA, bytes, sizeof bytes);
            }
            submit(&bench, write ? VIRTIO_BLK_T_OUT : VIRTIO_BLK_T_IN, i * AREA / SECTOR, 0x200000 + i * AREA, AREA);
            statuses[i] = bench.status;
        }
        driver_wait(&bench.queue, AREAS);
        while (driver_used(&bench.queue))
            driver_take(&bench.queue, NULL);
        for (uint64_t i = 0; i < AREAS; i++) {
            bench.status = statuses[i];
            assert_int_equal(status_of(&bench), VIRTIO_BLK_S_OK);
            machine_get(&bench.machine, 0x200000 + i * AREA, bytes, sizeof bytes);
            assert_memory_equal(bytes, bench.fake->bytes + i * AREA, AREA);
        }
        bench.machine.free = free;
    }
    stop(&bench);
}

/* open_chain() - A chain of files as a disk, the base first. */
static struct bl_block_disk *open_chain(const struct bl_disk_layer *layers, size_t count)
{
    struct bl_block_disk *disk = NULL;
    struct bl_error err = BL_ERROR_INIT;

    if (bl_block_open(layers, count, 0, &disk, &err) < 0)
        fail_msg("%s", err.message);
    return disk;
}

static void a_file_is_a_disk(void **state)
{
    struct bench bench = {0};
    struct stat before, after;
    int fd = open_file("raw", O_RDWR | O_CREAT | O_TRUNC);
    cleanup_close int look = open_file("raw", O_RDONLY);
    uint8_t bytes[8192], got[8192];

    (void)state;
    memset(bytes, 7, sizeof bytes);
    assert_int_equal(ftruncate(fd, (off_t)DISK_BYTES), 0);
    start_with(&bench, open_chain(&(struct bl_disk_layer){.fd = fd}, 1));
    come_up(&bench, ALL);
    machine_put(&bench.machine, RAM_HIGH, bytes, sizeof bytes);
    assert_int_equal(ask(&bench, VIRTIO_BLK_T_OUT, 16, RAM_HIGH, sizeof bytes), VIRTIO_BLK_S_OK);
    assert_int_equal(ask(&bench, VIRTIO_BLK_T_FLUSH, 0, 0, 0), VIRTIO_BLK_S_OK);
    assert_int_equal(pread(look, got, sizeof got, 8192), sizeof got);
    assert_memory_equal(got, bytes, sizeof got);
    assert_int_equal(ask(&bench, VIRTIO_BLK_T_IN, 16, RAM_HIGH + 8192, sizeof bytes), VIRTIO_BLK_S_OK);
    machine_get(&bench.machine, RAM_HIGH + 8192, got, sizeof got);
    assert_memory_equal(got, bytes, sizeof got);
    fstat(look, &before);
    ranges(&bench, 0x200000, 0, 16, 8, 0);
    assert_int_equal(ask(&bench, VIRTIO_BLK_T_DISCARD, 0, 0x200000, 16), VIRTIO_BLK_S_OK);
    assert_int_equal(ask(&bench, VIRTIO_BLK_T_FLUSH, 0, 0, 0), VIRTIO_BLK_S_OK);
    fstat(look, &after);
    assert_int_equal(before.st_blocks - after.st_blocks, 8);
    ranges(&bench, 0x200000, 0, 24, 8, VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP);
    assert_int_equal(ask(&bench, VIRTIO_BLK_T_WRITE_ZEROES, 0, 0x200000, 16), VIRTIO_BLK_S_OK);
    memset(bytes, 0, sizeof bytes);
    assert_int_equal(pread(look, got, sizeof got, 8192), sizeof got);
    assert_memory_equal(got, bytes, sizeof got);
    stop(&bench);
}

/* next_request() - A write, read, discard or zeroes of one area, at random; what the disk should hold then is in @model. */
static void next_request(struct bench *bench, struct random *random, uint64_t area, uint64_t bytes, uint8_t *model)
{
    uint64_t data = 0x200000 + area * bytes;
    uint64_t list = machine_take(&bench->machine, 16, 16);

    ranges(bench, list, 0, area * bytes / SECTOR, (uint32_t)(bytes / SECTOR), 0);
    switch (random_below(random, 5)) {
    case 0:
        submit(bench, VIRTIO_BLK_T_WRITE_ZEROES, 0, list, 16);
        memset(model + area * bytes, 0, bytes);
        return;
    case 1:
        submit(bench, VIRTIO_BLK_T_FLUSH, 0, 0, 0);
        return;
    case 2:
        submit(bench, VIRTIO_BLK_T_IN, area * bytes / SECTOR, data, (uint32_t)bytes);
        return;
    default:
        memset(model + area * bytes, (int)random_below(random, 256), bytes);
        machine_put(&bench->machine, data, model + area * bytes, bytes);
        submit(bench, VIRTIO_BLK_T_OUT, area * bytes / SECTOR, data, (uint32_t)bytes);
        return;
    }
}

/* An overlay on a base: many requests at once by four threads, then what QEMU makes of the image. */
static void an_overlay_is_a_disk(void **state)
{
    enum { AREAS = 16, AREA = 24576, ROUNDS = 60 };
    struct bench bench = {0};
    struct random random = {42};
    struct bl_disk_layer layers[2] = {{.qcow2 = false}, {.qcow2 = true}};
    cleanup_close int out = open_file("model", O_RDWR | O_CREAT | O_TRUNC);
    uint8_t *model = calloc(1, DISK_BYTES), bytes[AREA];
    uint64_t free_before;

    (void)state;
    assert_non_null(model);
    make_raw("base", DISK_BYTES, 1);
    shell("qemu-img create -q -f qcow2 -b base -F raw top %llu", DISK_BYTES);
    layers[0].fd = open_file("base", O_RDONLY);
    layers[1].fd = open_file("top", O_RDWR);
    assert_int_equal(pread(layers[0].fd, model, DISK_BYTES, 0), DISK_BYTES);
    start_with(&bench, open_chain(layers, 2));
    come_up(&bench, ALL);
    free_before = bench.machine.free;
    for (int round = 0; round < ROUNDS; round++) {
        bench.machine.free = free_before;
        for (uint64_t area = 0; area < AREAS; area++)
            next_request(&bench, &random, area, AREA, model);
        driver_wait(&bench.queue, AREAS);
        while (driver_used(&bench.queue))
            driver_take(&bench.queue, NULL);
    }
    for (uint64_t area = 0; area < AREAS; area++) {
        assert_int_equal(ask(&bench, VIRTIO_BLK_T_IN, area * AREA / SECTOR, RAM_HIGH, AREA), VIRTIO_BLK_S_OK);
        machine_get(&bench.machine, RAM_HIGH, bytes, AREA);
        assert_memory_equal(bytes, model + area * AREA, AREA);
    }
    stop(&bench);
    assert_int_equal(pwrite(out, model, DISK_BYTES, 0), DISK_BYTES);
    shell("qemu-img check -q top");
    shell("qemu-img compare -q -f qcow2 -F raw top model");
    free(model);
}

static void a_chain_that_does_not_open(void **state)
{
    struct bl_disk_layer layer = {.fd = open_file("nonsense", O_RDWR | O_CREAT | O_TRUNC), .qcow2 = true};
    struct bl_block_disk *disk = NULL;
    struct bl_error err = BL_ERROR_INIT;

    (void)state;
    assert_int_equal(bl_block_open(&layer, 1, 0, &disk, &err), -1);
    assert_true(err.message[0]);
    assert_int_equal(fcntl(layer.fd, F_GETFD), -1); /* it was taken */
}

static int refuse_third(void *data)
{
    return __atomic_add_fetch((int *)data, 1, __ATOMIC_SEQ_CST) == 3 ? -1 : 0;
}

static void a_thread_that_refuses(void **state)
{
    struct fake *fake = calloc(1, sizeof *fake);
    int calls = 0;
    struct bl_block_config config = {.threads = 3, .on_thread = refuse_third, .data = &calls};
    struct bl_device *device = NULL;
    struct bl_error err = BL_ERROR_INIT;

    (void)state;
    assert_non_null(fake);
    fake->disk = (struct bl_block_disk){.ops = &fake_ops, .bytes = DISK_BYTES};
    config.disk = &fake->disk;
    assert_int_equal(bl_block_new(&config, &device, &err), -1);
    assert_int_equal(err.code, BL_ENGINE);
    assert_int_equal(calls, 3);
    assert_true(fake->closed);
    /* Two threads are fine. */
    fake->closed = false;
    calls = 0;
    config.threads = 2;
    assert_int_equal(bl_block_new(&config, &device, &err), 0);
    assert_int_equal(calls, 2);
    device->ops->free(device);
    assert_true(fake->closed);
    free(fake);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_disk_says_what_it_is),
        cmocka_unit_test(sectors_come_and_go),
        cmocka_unit_test(descriptors_need_not_match_fields),
        cmocka_unit_test(requests_stay_on_the_disk),
        cmocka_unit_test(a_chain_that_is_no_request),
        cmocka_unit_test(errors_of_the_disk_are_told),
        cmocka_unit_test(a_read_only_disk),
        cmocka_unit_test(no_disk_at_all),
        cmocka_unit_test(writes_go_through_when_they_must),
        cmocka_unit_test(a_flush_holds_nobody_up),
        cmocka_unit_test(kicks_are_not_lost),
        cmocka_unit_test(a_cached_read_needs_one_thread),
        cmocka_unit_test(requests_in_flight_are_waited_for),
        cmocka_unit_test(zeroes_and_discards_are_checked),
        cmocka_unit_test(many_requests_at_once),
        cmocka_unit_test(a_file_is_a_disk),
        cmocka_unit_test(an_overlay_is_a_disk),
        cmocka_unit_test(a_chain_that_does_not_open),
        cmocka_unit_test(a_thread_that_refuses),
    };

    return cmocka_run_group_tests(tests, disk_enter, disk_leave);
}
