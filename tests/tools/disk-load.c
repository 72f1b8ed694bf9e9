/* SPDX-License-Identifier: Apache-2.0 */
/*
 * disk-load.c - work for a disk, from inside a box
 *
 * disk-load FILE MIB OPERATIONS: writes FILE of MIB MiB in pieces of 1 MiB and syncs it, reads it, then reads and writes OPERATIONS
 * blocks of 4 KiB at random and syncs. All past the page cache of the box (O_DIRECT), so what is measured is the device. Prints the
 * microseconds of each, in this order.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define MIB   (1u << 20)
#define BLOCK 4096u

static uint64_t now_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

__attribute__((noreturn)) static void give_up(const char *what)
{
    fprintf(stderr, "disk-load: %s: %s\n", what, strerror(errno));
    exit(1);
}

/* work() - @count pieces, in a row or at random, read or written. Return: microseconds */
static uint64_t work(int fd, uint8_t *bytes, size_t piece, uint64_t count, uint64_t area, int write)
{
    uint64_t begun = now_us(), random = 88172645463325252u;

    for (uint64_t i = 0; i < count; i++) {
        off_t at = (off_t)(i * piece);

        if (area) {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            at = (off_t)(random % area * piece);
        }
        if ((write ? pwrite(fd, bytes, piece, at) : pread(fd, bytes, piece, at)) != (ssize_t)piece)
            give_up(write ? "write" : "read");
    }
    if (write && fsync(fd) < 0)
        give_up("sync");
    return now_us() - begun;
}

int main(int argc, char **argv)
{
    uint8_t *bytes = aligned_alloc(MIB, MIB);
    uint64_t mib = argc == 4 ? strtoull(argv[2], NULL, 10) : 0, operations = argc == 4 ? strtoull(argv[3], NULL, 10) : 0;
    int fd = argc == 4 ? open(argv[1], O_RDWR | O_CREAT | O_DIRECT | O_CLOEXEC, 0600) : -1;

    if (fd < 0 || !bytes || !mib)
        give_up(argc == 4 ? argv[1] : "FILE MIB OPERATIONS");
    for (size_t i = 0; i < MIB; i++)
        bytes[i] = (uint8_t)(i * 7 + i / 255);
    printf("%llu", (unsigned long long)work(fd, bytes, MIB, mib, 0, 1));
    printf(" %llu", (unsigned long long)work(fd, bytes, MIB, mib, 0, 0));
    printf(" %llu", (unsigned long long)work(fd, bytes, BLOCK, operations, mib * MIB / BLOCK, 0));
    printf(" %llu\n", (unsigned long long)work(fd, bytes, BLOCK, operations, mib * MIB / BLOCK, 1));
    return 0;
}
