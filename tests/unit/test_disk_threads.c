/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_disk_threads.c - requests of several threads on one disk
 *
 * Each thread owns every fourth sector, so that they meet in each cluster: allocate it at once, write beside each other, and find
 * what they wrote. One more flushes all the time, and another discards and writes a part of the disk of its own, whose clusters the
 * others are given afterwards.
 */
#include "disk_fixture.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"

#define SECTOR     512u
#define WRITERS    4u
#define DISK_BYTES (4u << 20)
#define OWN_BYTES  (1u << 20) /* of the one that discards, behind the others' */
#define ROUNDS     4000

static struct bl_disk *disk;
static atomic_bool done;

struct writer {
    pthread_t thread;
    unsigned int number;
    uint64_t tags[DISK_BYTES / SECTOR]; /* what its sectors hold; 0: nothing */
};

/* Assertions of cmocka belong to the main thread. */
#define must(condition)                                                                                                            \
    do {                                                                                                                           \
        if (!(condition)) {                                                                                                        \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                                                        \
            abort();                                                                                                               \
        }                                                                                                                          \
    } while (0)

static void *write_sectors(void *data)
{
    struct writer *self = data;
    struct random random = {self->number + 1};
    uint8_t bytes[SECTOR];
    struct iovec all = {bytes, sizeof bytes};

    for (int round = 0; round < ROUNDS; round++) {
        uint64_t sector = random_below(&random, DISK_BYTES / SECTOR / WRITERS) * WRITERS + self->number;

        if (random_below(&random, 3)) {
            self->tags[sector] = random_next(&random) | 1;
            for (size_t i = 0; i < SECTOR; i += 8)
                bl_put_be64(bytes + i, self->tags[sector]);
            must(!bl_disk_write(disk, &all, 1, sector * SECTOR));
        } else {
            if (bl_disk_try_read(disk, &all, 1, sector * SECTOR) < 0)
                must(!bl_disk_read(disk, &all, 1, sector * SECTOR));
            must(bl_get_be64(bytes) == self->tags[sector] && bl_get_be64(bytes + SECTOR - 8) == self->tags[sector]);
        }
    }
    return NULL;
}

static void *flush_always(void *data)
{
    (void)data;
    while (!atomic_load(&done))
        must(!bl_disk_flush(disk));
    return NULL;
}

static void *discard_and_write(void *data)
{
    struct random random = {99};
    static uint8_t bytes[OWN_BYTES];
    uint32_t unit = bl_disk_granularity(disk);

    (void)data;
    for (int round = 0; round < 60; round++) {
        uint64_t first = random_below(&random, OWN_BYTES / unit), count = 1 + random_below(&random, OWN_BYTES / unit - first);
        struct iovec all = {bytes, count * unit};

        memset(bytes, round + 1, sizeof bytes);
        must(!bl_disk_write(disk, &all, 1, DISK_BYTES + first * unit));
        must(!(round % 2 ? bl_disk_discard(disk, DISK_BYTES + first * unit, count * unit)
                         : bl_disk_write_zeroes(disk, DISK_BYTES + first * unit, count * unit, round % 4 != 0)));
        must(!bl_disk_read(disk, &all, 1, DISK_BYTES + first * unit));
        must(!bytes[0] && !memcmp(bytes, bytes + 1, count * unit - 1));
    }
    return NULL;
}

static void meet(unsigned int cluster_bytes)
{
    static struct writer writers[WRITERS];
    pthread_t flusher, discarder;
    uint8_t bytes[SECTOR];

    shell("qemu-img create -q -f qcow2 -o cluster_size=%u disk.qcow2 %u", cluster_bytes, DISK_BYTES + OWN_BYTES);
    disk = disk_open(0, quick_calls(), "qcow2:disk.qcow2", NULL);
    atomic_store(&done, false);
    for (unsigned int i = 0; i < WRITERS; i++) {
        memset(&writers[i], 0, sizeof writers[i]);
        writers[i].number = i;
        assert_int_equal(pthread_create(&writers[i].thread, NULL, write_sectors, &writers[i]), 0);
    }
    assert_int_equal(pthread_create(&flusher, NULL, flush_always, NULL), 0);
    assert_int_equal(pthread_create(&discarder, NULL, discard_and_write, NULL), 0);
    for (unsigned int i = 0; i < WRITERS; i++)
        assert_int_equal(pthread_join(writers[i].thread, NULL), 0);
    assert_int_equal(pthread_join(discarder, NULL), 0);
    atomic_store(&done, true);
    assert_int_equal(pthread_join(flusher, NULL), 0);
    disk_close(disk);

    shell("qemu-img check -q disk.qcow2");
    disk = disk_open(BL_DISK_READ_ONLY, NULL, "qcow2:disk.qcow2", NULL);
    for (uint64_t sector = 0; sector < DISK_BYTES / SECTOR; sector++) {
        assert_int_equal(bl_disk_read(disk, &(struct iovec){bytes, SECTOR}, 1, sector * SECTOR), 0);
        assert_int_equal(bl_get_be64(bytes), writers[sector % WRITERS].tags[sector]);
    }
    disk_close(disk);
}

static void test_usual_clusters(void **state)
{
    (void)state;
    meet(65536);
}

static void test_page_clusters(void **state)
{
    (void)state;
    meet(4096);
}

/* Threads resize while others write below both sizes. */
static void *resize_always(void *data)
{
    struct bl_error err = BL_ERROR_INIT;

    (void)data;
    for (int round = 0; round < 30; round++)
        must(!bl_disk_resize(disk, (round % 2 ? 5u : 90u) << 20, &err));
    return NULL;
}

static void test_resize_meanwhile(void **state)
{
    static struct writer writers[WRITERS];
    pthread_t resizer;

    (void)state;
    shell("qemu-img create -q -f qcow2 -o cluster_size=1024 disk.qcow2 5M");
    disk = disk_open(0, quick_calls(), "qcow2:disk.qcow2", NULL);
    for (unsigned int i = 0; i < WRITERS; i++) {
        writers[i].number = i;
        assert_int_equal(pthread_create(&writers[i].thread, NULL, write_sectors, &writers[i]), 0);
    }
    assert_int_equal(pthread_create(&resizer, NULL, resize_always, NULL), 0);
    for (unsigned int i = 0; i < WRITERS; i++)
        assert_int_equal(pthread_join(writers[i].thread, NULL), 0);
    assert_int_equal(pthread_join(resizer, NULL), 0);
    disk_close(disk);
    shell("qemu-img check -q disk.qcow2");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_usual_clusters),
        cmocka_unit_test(test_page_clusters),
        cmocka_unit_test(test_resize_meanwhile),
    };

    return cmocka_run_group_tests(tests, disk_enter, disk_leave);
}
