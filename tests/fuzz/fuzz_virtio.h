/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_virtio.h - a hostile driver: memory and a script of what it does come from the fuzzer
 *
 * An input is: a byte of features, a byte with the number of steps, the steps, of 4 bytes each, and the content of guest memory
 * from address 0 on, rings included. The rings of queue N lie at 0x1000 * N: 16 descriptors, the available ring at 0x400, the used
 * ring at 0x800. A step is what it is, a queue or a register, and a value of 16 bits.
 */
#ifndef BL_TESTS_FUZZ_VIRTIO_H
#define BL_TESTS_FUZZ_VIRTIO_H

#include "fuzz.h"
#include "vmm/virtio/mmio.h"

#define FUZZ_RING_STRIDE    0x1000u
#define FUZZ_RING_SIZE      16u
#define FUZZ_RING_AVAILABLE 0x400u
#define FUZZ_RING_USED      0x800u

struct fuzz_guest {
    struct bl_loop loop;
    struct bl_memory memory;
    int fd;
};

/* fuzz_guest() - The guest's memory, made once and zeroed here; @data goes to its start. */
struct fuzz_guest *fuzz_guest(const uint8_t *data, size_t size);

struct fuzz_device {
    /* A new device of this guest, without a driver. */
    struct bl_device *(*make)(struct fuzz_guest *guest);
    /* What the host does between two steps of the guest; may be NULL. */
    void (*host)(struct bl_device *device, uint8_t what, uint16_t value);
};

/* fuzz_virtio() - Bring a device up and carry the script out. */
void fuzz_virtio(const struct fuzz_device *fuzzed, const uint8_t *data, size_t size);

#endif
