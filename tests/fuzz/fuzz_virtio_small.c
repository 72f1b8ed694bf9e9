/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz_virtio_small.c - the balloon, or, when the first bit of the input says so, the entropy device */
#include "fuzz_virtio.h"
#include "vmm/virtio/balloon.h"
#include "vmm/virtio/rng.h"

static struct bl_device *make_balloon(struct fuzz_guest *guest)
{
    struct bl_device *device = NULL;

    must(bl_balloon_new(&guest->memory, &device, NULL) == 0);
    return device;
}

static struct bl_device *make_rng(struct fuzz_guest *guest)
{
    struct bl_device *device = NULL;

    (void)guest;
    must(bl_rng_new(&device, NULL) == 0);
    return device;
}

static void aim(struct bl_device *device, uint8_t what, uint16_t value)
{
    bl_balloon_aim(device, (uint64_t)value << what % 64);
    (void)bl_balloon_holds(device);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct fuzz_device balloon = {.make = make_balloon, .host = aim}, rng = {.make = make_rng};

    if (size)
        fuzz_virtio(data[0] & 1 ? &rng : &balloon, data, size);
    return 0;
}
