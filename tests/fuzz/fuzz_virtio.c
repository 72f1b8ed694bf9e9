/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz_virtio.c - a hostile driver; see fuzz_virtio.h */
#include "fuzz_virtio.h"

#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define LOW_BYTES  0x10000ull
#define HIGH       0x100000ull
#define HIGH_BYTES 0x4000ull
#define STEPS_MAX  64
#define TURNS_MAX  1000

enum { STEP_KICK, STEP_REGISTER, STEP_OFFER, STEP_HOST, STEP_RESTART, STEP_SAVE, STEP_KINDS };

struct fuzz_guest *fuzz_guest(const uint8_t *data, size_t size)
{
    static struct fuzz_guest guest;
    static const uint8_t zeros[LOW_BYTES];

    if (!guest.memory.count) {
        guest.fd = memfd_create("guest", MFD_CLOEXEC);
        must(guest.fd >= 0 && ftruncate(guest.fd, (off_t)(LOW_BYTES + HIGH_BYTES)) == 0 && bl_loop_init(&guest.loop) == 0);
        bl_memory_init(&guest.memory, 4096);
        must(bl_memory_add(&guest.memory, 0, LOW_BYTES / 2, guest.fd, 0, BL_MEMORY_SHARED, NULL) == 0);
        must(bl_memory_add(&guest.memory, LOW_BYTES / 2, LOW_BYTES / 2, guest.fd, LOW_BYTES / 2, BL_MEMORY_SHARED, NULL) == 0);
        must(bl_memory_add(&guest.memory, HIGH, HIGH_BYTES, guest.fd, LOW_BYTES, BL_MEMORY_SHARED, NULL) == 0);
    }
    must(bl_memory_write(&guest.memory, 0, zeros, sizeof zeros) == 0);
    must(bl_memory_write(&guest.memory, 0, data, size < LOW_BYTES ? size : LOW_BYTES) == 0);
    return &guest;
}

/* settle() - Let the devices work. Each turn of theirs is bounded, and so is what a guest can keep them busy with in a step. */
static void settle(struct fuzz_guest *guest)
{
    struct pollfd ready = {.fd = guest->loop.epoll_fd, .events = POLLIN};

    for (int i = 0; i < TURNS_MAX && poll(&ready, 1, 0) == 1; i++)
        must(bl_loop_step(&guest->loop, 0) == 0);
}

static void write_register(struct bl_mmio *mmio, uint64_t offset, uint32_t value)
{
    uint8_t bytes[4];

    bl_put_le32(bytes, value);
    bl_mmio_write(mmio, offset, bytes, sizeof bytes);
}

static uint32_t read_register(struct bl_mmio *mmio, uint64_t offset)
{
    uint8_t bytes[4];

    bl_mmio_read(mmio, offset, bytes, sizeof bytes);
    return bl_get_le32(bytes);
}

static void come_up(struct bl_mmio *mmio, uint8_t features)
{
    uint32_t status = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_FEATURES_OK;

    write_register(mmio, VIRTIO_MMIO_STATUS, 0);
    must(read_register(mmio, VIRTIO_MMIO_STATUS) == 0);
    for (uint32_t i = 0; i < 2; i++) {
        write_register(mmio, VIRTIO_MMIO_DRIVER_FEATURES_SEL, i);
        write_register(mmio, VIRTIO_MMIO_DEVICE_FEATURES_SEL, i);
        /* The ring's features and VERSION_1 as they come, each of the device's as the input says. */
        write_register(mmio, VIRTIO_MMIO_DRIVER_FEATURES,
                       read_register(mmio, VIRTIO_MMIO_DEVICE_FEATURES) &
                           (i ? UINT32_MAX : (uint32_t)features << 28 | 0xf0000f | features));
    }
    write_register(mmio, VIRTIO_MMIO_STATUS, status);
    must(read_register(mmio, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_FEATURES_OK);
    for (uint32_t i = 0; i < bl_mmio_queue_count(mmio); i++) {
        write_register(mmio, VIRTIO_MMIO_QUEUE_SEL, i);
        write_register(mmio, VIRTIO_MMIO_QUEUE_NUM, FUZZ_RING_SIZE);
        write_register(mmio, VIRTIO_MMIO_QUEUE_DESC_LOW, FUZZ_RING_STRIDE * i);
        write_register(mmio, VIRTIO_MMIO_QUEUE_AVAIL_LOW, FUZZ_RING_STRIDE * i + FUZZ_RING_AVAILABLE);
        write_register(mmio, VIRTIO_MMIO_QUEUE_USED_LOW, FUZZ_RING_STRIDE * i + FUZZ_RING_USED);
        write_register(mmio, VIRTIO_MMIO_QUEUE_READY, 1);
    }
    write_register(mmio, VIRTIO_MMIO_STATUS, status | VIRTIO_CONFIG_S_DRIVER_OK);
}

/* offer() - Move the available index on. */
static void offer(struct fuzz_guest *guest, struct bl_mmio *mmio, uint8_t queue, uint16_t count)
{
    uint64_t at = FUZZ_RING_STRIDE * (uint64_t)(queue % (bl_mmio_queue_count(mmio) + 1)) + FUZZ_RING_AVAILABLE + 2;
    uint8_t index[2];

    must(bl_memory_read(&guest->memory, at, index, sizeof index) == 0);
    bl_put_le16(index, (uint16_t)(bl_get_le16(index) + count % (FUZZ_RING_SIZE + 2)));
    must(bl_memory_write(&guest->memory, at, index, sizeof index) == 0);
}

/* save_and_load() - What was saved loads; with a byte of it changed it may be refused, and nothing else. */
static struct bl_mmio *save_and_load(const struct fuzz_device *fuzzed, struct fuzz_guest *guest, struct bl_mmio *mmio, uint8_t at,
                                     uint16_t value)
{
    struct bl_buffer saved = BL_BUFFER_INIT(65536);
    struct bl_mmio *other = NULL;
    struct bl_state_reader reader;
    bool changed;
    int loaded;

    bl_mmio_quiesce(mmio);
    must(bl_mmio_save(mmio, &saved, NULL) == 0);
    changed = at < saved.length && (uint8_t)value;
    if (changed)
        bl_buffer_data(&saved)[at] ^= (uint8_t)value;
    bl_mmio_free(mmio);
    must(bl_mmio_new(&guest->loop, &guest->memory, fuzzed->make(guest), &other, NULL) == 0);
    reader = (struct bl_state_reader)BL_STATE_READER(bl_buffer_data(&saved), saved.length);
    loaded = bl_mmio_load(other, &reader, NULL);
    must(loaded == 0 || changed);
    bl_buffer_free(&saved);
    if (loaded < 0) {
        /* Nothing is promised of a slot that half a state was loaded into, but that it can be freed. */
        bl_mmio_free(other);
        must(bl_mmio_new(&guest->loop, &guest->memory, fuzzed->make(guest), &other, NULL) == 0);
    }
    bl_mmio_resume(other);
    return other;
}

void fuzz_virtio(const struct fuzz_device *fuzzed, const uint8_t *data, size_t size)
{
    size_t steps = size > 2 ? data[1] % STEPS_MAX : 0;
    struct fuzz_guest *guest;
    struct bl_mmio *mmio = NULL;

    if (size < 2 + 4 * steps || size < 2)
        return;
    guest = fuzz_guest(data + 2 + 4 * steps, size - 2 - 4 * steps);
    must(bl_mmio_new(&guest->loop, &guest->memory, fuzzed->make(guest), &mmio, NULL) == 0);
    come_up(mmio, data[0]);
    settle(guest);
    for (size_t i = 0; i < steps; i++) {
        const uint8_t *step = data + 2 + 4 * i;
        uint16_t value = bl_get_le16(step + 2);

        switch (step[0] % STEP_KINDS) {
        case STEP_KICK:
            write_register(mmio, VIRTIO_MMIO_QUEUE_NOTIFY, step[1]);
            break;
        case STEP_REGISTER:
            write_register(mmio, 4u * step[1], value);
            (void)read_register(mmio, 4u * step[1]);
            break;
        case STEP_OFFER:
            offer(guest, mmio, step[1], value);
            write_register(mmio, VIRTIO_MMIO_QUEUE_NOTIFY, step[1]);
            break;
        case STEP_HOST:
            if (fuzzed->host)
                fuzzed->host(bl_mmio_device(mmio), step[1], value);
            break;
        case STEP_RESTART:
            come_up(mmio, step[1]);
            break;
        default:
            mmio = save_and_load(fuzzed, guest, mmio, step[1], value);
            break;
        }
        settle(guest);
    }
    bl_mmio_free(mmio);
}
