/* SPDX-License-Identifier: Apache-2.0 */
/*
 * disk-bench.c - disk-bench [-w] [-c COUNT] [-d THREADS] [-s BYTES] [-S STEP] [-f EVERY] FORMAT:FILE...
 *
 * What `qemu-img bench` does, through our driver: COUNT requests of BYTES, STEP apart, round and round the disk, by THREADS at once
 * where qemu-img has as many in flight; a flush after EVERY so many writes, and none at the end. The chain's base comes first.
 * Prints the seconds that it took, opening and closing left out.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "disk/qcow2.h"

#define THREADS_MAX 64

static struct bl_disk *disk;
static bool writes;
static uint64_t count = 75000, bytes = 4096, step, every;
static atomic_uint_fast64_t next;

static void die(const char *what)
{
    fprintf(stderr, "disk-bench: %s\n", what);
    exit(1);
}

static void *work(void *data)
{
    uint64_t size = bl_disk_bytes(disk);
    void *memory = aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);
    struct iovec all = {memory, bytes};
    uint64_t number;

    (void)data;
    if (!memory)
        die("no memory");
    memset(memory, 0x5a, bytes);
    while ((number = atomic_fetch_add(&next, 1)) < count) {
        uint64_t offset = number * step % size;

        if ((writes ? bl_disk_write : bl_disk_read)(disk, &all, 1, offset) < 0)
            die("a request failed");
        if (writes && every && number % every == every - 1 && bl_disk_flush(disk) < 0)
            die("a flush failed");
    }
    free(memory);
    return NULL;
}

int main(int argc, char **argv)
{
    struct bl_disk_layer layers[BL_DISK_LAYERS_MAX];
    pthread_t threads[THREADS_MAX];
    struct bl_error err = BL_ERROR_INIT;
    unsigned long depth = 1;
    size_t layer_count = 0;
    int64_t begun;
    int option;

    while ((option = getopt(argc, argv, "wc:d:s:S:f:")) != -1)
        switch (option) {
        case 'w':
            writes = true;
            break;
        case 'c':
            count = strtoull(optarg, NULL, 10);
            break;
        case 'd':
            depth = strtoul(optarg, NULL, 10);
            break;
        case 's':
            bytes = strtoull(optarg, NULL, 10);
            break;
        case 'S':
            step = strtoull(optarg, NULL, 10);
            break;
        case 'f':
            every = strtoull(optarg, NULL, 10);
            break;
        default:
            die("usage: disk-bench [-w] [-c COUNT] [-d THREADS] [-s BYTES] [-S STEP] [-f EVERY] FORMAT:FILE...");
        }
    if (!step)
        step = bytes;
    for (; optind < argc && layer_count < BL_DISK_LAYERS_MAX; optind++, layer_count++) {
        const char *name = strchr(argv[optind], ':');

        layers[layer_count].qcow2 = !strncmp(argv[optind], "qcow2:", 6);
        layers[layer_count].fd = open(name ? name + 1 : "", (optind + 1 == argc && writes ? O_RDWR : O_RDONLY) | O_CLOEXEC);
    }
    if (bl_disk_open(&disk, layers, layer_count, writes ? 0 : BL_DISK_READ_ONLY, &err) < 0)
        die(err.message);
    if (!depth || depth > THREADS_MAX || !bytes || bytes > bl_disk_bytes(disk))
        die("that does not fit");
    begun = bl_now_us();
    for (unsigned long i = 0; i < depth; i++)
        if (pthread_create(&threads[i], NULL, work, NULL))
            die("no thread");
    for (unsigned long i = 0; i < depth; i++)
        pthread_join(threads[i], NULL);
    printf("%.6f\n", (double)(bl_now_us() - begun) / 1e6);
    return bl_disk_close(disk) < 0;
}
