/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_disk_crash_threads.c - the host is killed or loses power while several threads use a disk
 *
 * As test_disk_crash.c, with changes that come while a commit is being written: those must not reach the file with it, nor clusters
 * that they gave up be free at its end. Each sector has one thread that writes it, so each thread's own history says what its
 * sectors may hold: what they held at its last flush, or something that it wrote since.
 */
#include "disk_record.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"

#define SECTOR        512u
#define THREADS       4u
#define CLUSTER       4096u
#define SHARED_BYTES  (256u << 10) /* the threads' sectors lie by turns */
#define OWN_BYTES     (64u << 10)  /* behind that, for each thread alone: discards are about whole clusters */
#define DISK_BYTES    (SHARED_BYTES + THREADS * OWN_BYTES)
#define OPERATIONS    60
#define LOSSES        4
#define ROUNDS_OF_ALL 8

struct operation {
    uint64_t first, end; /* sectors */
    uint64_t tag;        /* of what was written; 0: zeros */
    size_t started;      /* length of the record */
    size_t flushed;      /* of a flush: when it returned; else 0 */
};

struct worker {
    pthread_t thread;
    unsigned int number;
    uint64_t seed;
    struct operation operations[OPERATIONS];
    size_t durable; /* operations that are on the disk for certain, at the cut that is looked at */
};

static struct bl_disk *disk;
static struct worker workers[THREADS];

/* Assertions of cmocka belong to the main thread. */
static void must(bool condition)
{
    if (!condition)
        abort();
}

static void write_range(const struct operation *operation)
{
    static _Thread_local uint8_t bytes[OWN_BYTES];
    uint64_t length = (operation->end - operation->first) * SECTOR;

    for (uint64_t i = 0; i < length; i += 8)
        bl_put_be64(bytes + i, operation->tag + operation->first + i / SECTOR);
    must(!bl_disk_write(disk, &(struct iovec){bytes, length}, 1, operation->first * SECTOR));
}

static void *work(void *data)
{
    struct worker *self = data;
    struct random random = {self->seed};
    uint64_t own = (SHARED_BYTES + self->number * OWN_BYTES) / SECTOR;

    for (size_t i = 0; i < OPERATIONS; i++) {
        struct operation *operation = &self->operations[i];
        uint64_t kind = random_below(&random, 8);
        uint64_t first = random_below(&random, OWN_BYTES / CLUSTER);
        uint64_t end = first + 1 + random_below(&random, OWN_BYTES / CLUSTER - first);

        *operation = (struct operation){.started = record_now(), .tag = (uint64_t)(self->number * OPERATIONS + i + 1) << 32};
        if (kind < 3) {
            operation->first = random_below(&random, SHARED_BYTES / SECTOR / THREADS) * THREADS + self->number;
            operation->end = operation->first + 1;
            write_range(operation);
        } else if (kind == 3) {
            must(!bl_disk_flush(disk));
            operation->flushed = record_now();
        } else {
            operation->first = own + first * (CLUSTER / SECTOR);
            operation->end = own + end * (CLUSTER / SECTOR);
            if (kind < 6)
                write_range(operation);
            else
                operation->tag = 0;
            if (kind == 6)
                must(!bl_disk_discard(disk, operation->first * SECTOR, (operation->end - operation->first) * SECTOR));
            if (kind == 7)
                must(!bl_disk_write_zeroes(disk, operation->first * SECTOR, (operation->end - operation->first) * SECTOR,
                                           first % 2));
        }
    }
    return NULL;
}

static bool may_hold(const struct worker *worker, uint64_t sector, uint64_t value, size_t cut)
{
    for (size_t i = OPERATIONS; i-- > 0;) {
        const struct operation *operation = &worker->operations[i];

        if (operation->started > cut || sector < operation->first || sector >= operation->end)
            continue;
        if (operation->tag ? value == operation->tag + sector : !value)
            return true;
        if (i < worker->durable)
            return false;
    }
    return !value;
}

static void check_state(const struct content *state, size_t cut, const char *how)
{
    const char *wrong = image_wrong(state);

    if (wrong)
        fail_msg("cut at %zu of %zu, %s: wrong: %s", cut, record_length, how, wrong);
    for (unsigned int i = 0; i < THREADS; i++) {
        workers[i].durable = 0;
        for (size_t k = 0; k < OPERATIONS; k++)
            if (workers[i].operations[k].flushed && workers[i].operations[k].flushed <= cut)
                workers[i].durable = k + 1;
    }
    for (uint64_t sector = 0; sector < DISK_BYTES / SECTOR; sector++) {
        uint64_t at = sector * SECTOR;
        unsigned int owner = (unsigned int)(at < SHARED_BYTES ? sector % THREADS : (at - SHARED_BYTES) / OWN_BYTES);
        bool torn;
        uint64_t value = image_sector(state, sector, &torn);

        if (value == UINT64_MAX)
            value = 0;
        if (torn || !may_hold(&workers[owner], sector, value, cut))
            fail_msg("cut at %zu of %zu, %s: sector %llu holds %#llx%s", cut, record_length, how, (unsigned long long)sector,
                     (unsigned long long)value, torn ? ", torn" : "");
    }
}

static void look_at_cuts(const struct content *initial, struct random *random)
{
    struct content durable = {0}, written = {0}, state = {0};
    size_t flushed = 0;

    content_copy(&durable, initial);
    content_copy(&written, initial);
    for (size_t cut = 0; cut <= record_length; cut++) {
        if (cut % 2 == 0 || cut == record_length) {
            check_state(&written, cut, "killed");
            for (uint64_t loss = 0; loss < LOSSES; loss++) {
                content_copy(&state, &durable);
                for (size_t i = flushed; i < cut; i++)
                    if (random_below(random, 4) > loss % 3)
                        content_apply(&state, &record[i], loss % 2 ? random : NULL);
                check_state(&state, cut, "power lost");
            }
        }
        if (cut == record_length)
            break;
        content_apply(&written, &record[cut], NULL);
        if (record[cut].kind == EVENT_FLUSH) {
            content_copy(&durable, &written);
            flushed = cut + 1;
        }
    }
    content_free(&durable);
    content_free(&written);
    content_free(&state);
}

static void test_threads(void **state)
{
    struct random random = {3};

    (void)state;
    for (int round = 0; round < ROUNDS_OF_ALL; round++) {
        struct content initial = {0};

        shell("qemu-img create -q -f qcow2 -o cluster_size=%u disk.qcow2 %u", CLUSTER, DISK_BYTES);
        disk = disk_open(0, record_calls(), "qcow2:disk.qcow2", NULL);
        record_clear();
        content_load(&initial, "disk.qcow2");
        for (unsigned int i = 0; i < THREADS; i++) {
            workers[i].number = i;
            workers[i].seed = (uint64_t)round * THREADS + i;
            assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
        }
        for (unsigned int i = 0; i < THREADS; i++)
            assert_int_equal(pthread_join(workers[i].thread, NULL), 0);
        disk_close(disk);
        shell("qemu-img check -q disk.qcow2");
        look_at_cuts(&initial, &random);
        content_free(&initial);
        record_clear();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_threads)};

    return cmocka_run_group_tests(tests, disk_enter, disk_leave);
}
