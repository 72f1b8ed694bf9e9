/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rng.c - the entropy device; see rng.h
 *
 * A request is a buffer, which is filled from the host kernel's generator, straight into the guest's pages. A buffer of any size is
 * allowed, and the standard lets the device write less than it holds, so a request gets at most REQUEST_BYTES: a guest can't keep
 * the loop busy with one of 4 GiB.
 */
#include "vmm/virtio/rng.h"

#include <errno.h>
#include <linux/virtio_ids.h>
#include <stdlib.h>
#include <sys/random.h>

#define QUEUE         0
#define QUEUE_SIZE    16
#define REQUEST_BYTES 4096
#define TURN_CHAINS   16

struct rng {
    struct bl_device device;
    struct bl_chain chain;
};

static void read_config(struct bl_device *device, size_t offset, void *out, size_t length)
{
    (void)device, (void)offset, (void)out, (void)length; /* there is none */
}

/* fill() - Return: bytes that were written */
static size_t fill(const struct bl_chain *chain)
{
    size_t done = 0;

    for (uint16_t i = 0; i < chain->writable && done < REQUEST_BYTES; i++) {
        const struct iovec *piece = &chain->pieces[chain->readable + i];
        size_t wanted = piece->iov_len < REQUEST_BYTES - done ? piece->iov_len : REQUEST_BYTES - done;

        for (size_t at = 0; at < wanted;) {
            ssize_t n = getrandom((uint8_t *)piece->iov_base + at, wanted - at, 0);

            if (n < 0 && errno == EINTR)
                continue;
            if (n <= 0)
                return done + at;
            at += (size_t)n;
        }
        done += wanted;
    }
    return done;
}

static void notify(struct bl_device *device, unsigned int queue)
{
    struct rng *rng = (struct rng *)device;
    int chains = 0;

    while (bl_device_running(device)) {
        if (chains == TURN_CHAINS) {
            bl_device_kick(device, queue);
            break;
        }
        if (bl_device_pop(device, queue, &rng->chain) > 0) {
            bl_device_push(device, queue, &rng->chain, fill(&rng->chain));
            chains++;
        } else if (!bl_queue_listen(&device->queues[queue], true)) {
            break;
        }
    }
    bl_device_tell(device, queue);
}

static void destroy(struct bl_device *device)
{
    bl_device_finish(device);
    free(device);
}

static const struct bl_device_ops rng_ops = {.name = "rng", .read_config = read_config, .notify = notify, .free = destroy};

int bl_rng_new(struct bl_device **out, struct bl_error *err)
{
    struct rng *rng = calloc(1, sizeof *rng);

    if (!rng)
        return bl_fail_memory(err);
    rng->device = (struct bl_device){
        .ops = &rng_ops,
        .id = VIRTIO_ID_RNG,
        .state_version = 1,
        .queue_count = 1,
        .queue_sizes = {[QUEUE] = QUEUE_SIZE},
    };
    if (bl_device_init(&rng->device) < 0) {
        free(rng);
        return bl_fail(err, BL_ENGINE, errno, "make the entropy device");
    }
    *out = &rng->device;
    return 0;
}
