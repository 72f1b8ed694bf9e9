/* SPDX-License-Identifier: Apache-2.0 */
/* test_virtio_small.c - the entropy device and the balloon */
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "virtio_driver.h"
#include "vmm/virtio/balloon.h"
#include "vmm/virtio/rng.h"

#define PAGE    4096ull
#define INFLATE 0
#define DEFLATE 1
#define REPORT  2
#define RINGS   (1ull << VIRTIO_RING_F_INDIRECT_DESC | 1ull << VIRTIO_RING_F_EVENT_IDX)

struct bench {
    struct machine machine;
    struct bl_device *device;
    struct bl_mmio *mmio;
    struct driver_queue queues[BL_DEVICE_QUEUES_MAX];
};

static void start(struct bench *bench, bool balloon)
{
    struct bl_error err = BL_ERROR_INIT;

    machine_init(&bench->machine, BL_MEMORY_SHARED);
    assert_int_equal(balloon ? bl_balloon_new(&bench->machine.memory, &bench->device, &err) : bl_rng_new(&bench->device, &err), 0);
    assert_int_equal(bl_mmio_new(&bench->machine.loop, &bench->machine.memory, bench->device, &bench->mmio, &err), 0);
    driver_start(&bench->machine, bench->mmio, RINGS, 64, bench->queues);
    machine_settle(&bench->machine);
}

static void stop(struct bench *bench)
{
    bl_mmio_free(bench->mmio);
    machine_finish(&bench->machine);
}

static void bytes_are_random(void **state)
{
    struct bench bench;
    uint8_t bytes[2][64];
    uint32_t written;

    (void)state;
    start(&bench, false);
    for (int i = 0; i < 2; i++) {
        const struct piece pieces[] = {{RAM_HIGH, 1, true}, {RAM_SEAM - 30, 63, true}};

        driver_add(&bench.queues[0], pieces, 2);
        driver_kick(&bench.queues[0]);
        driver_wait(&bench.queues[0], 1);
        driver_take(&bench.queues[0], &written);
        assert_int_equal(written, 64);
        machine_get(&bench.machine, RAM_HIGH, bytes[i], 1);
        machine_get(&bench.machine, RAM_SEAM - 30, bytes[i] + 1, 63);
    }
    assert_memory_not_equal(bytes[0], bytes[1], 64);
    stop(&bench);
}

/* A buffer of megabytes gets a bounded part; one that the device may only read gets nothing, and comes back. */
static void greedy_requests_are_bounded(void **state)
{
    struct bench bench;
    uint32_t written;

    (void)state;
    start(&bench, false);
    driver_add(&bench.queues[0], &(struct piece){RAM_HIGH, (uint32_t)RAM_HIGH_BYTES, true}, 1);
    driver_add(&bench.queues[0], &(struct piece){RAM_HIGH, 64, false}, 1);
    driver_kick(&bench.queues[0]);
    driver_wait(&bench.queues[0], 2);
    driver_take(&bench.queues[0], &written);
    assert_int_equal(written, 4096);
    driver_take(&bench.queues[0], &written);
    assert_int_equal(written, 0);
    /* More requests than a turn takes are served all the same. */
    for (int round = 0; round < 4; round++) {
        for (int i = 0; i < 16; i++)
            driver_add(&bench.queues[0], &(struct piece){RAM_HIGH, 64, true}, 1);
        driver_kick(&bench.queues[0]);
        driver_wait(&bench.queues[0], 16);
        for (int i = 0; i < 16; i++)
            driver_take(&bench.queues[0], &written);
    }
    stop(&bench);
}

static uint64_t file_bytes(struct machine *machine)
{
    struct stat status;

    assert_int_equal(fstat(machine->fd, &status), 0);
    return (uint64_t)status.st_blocks * 512;
}

/* More requests than a turn of the balloon takes; the last is seen as well as the first. */
static void many_requests_are_all_served(void **state)
{
    struct bench bench;

    (void)state;
    start(&bench, true);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 64; i++)
            driver_add(&bench.queues[DEFLATE], &(struct piece){0x200000, 4, false}, 1);
        driver_kick(&bench.queues[DEFLATE]);
        driver_wait(&bench.queues[DEFLATE], 64);
        while (driver_used(&bench.queues[DEFLATE]))
            driver_take(&bench.queues[DEFLATE], NULL);
    }
    stop(&bench);
}

/* pss_bytes() - What the mapping of one region takes of the host, as /proc/self/smaps has it. */
static uint64_t pss_bytes(struct machine *machine, size_t region)
{
    cleanup_file FILE *maps = fopen("/proc/self/smaps", "re");
    char line[512];
    unsigned long from, kib;
    bool inside = false;

    assert_non_null(maps);
    while (fgets(line, sizeof line, maps)) {
        char *end;

        from = strtoul(line, &end, 16);
        if (*end == '-')
            inside = from == (unsigned long)machine->memory.regions[region].host;
        if (inside && sscanf(line, "Pss: %lu kB", &kib) == 1)
            return kib * 1024ull;
    }
    fail();
    return 0;
}

static void fill(struct machine *machine, uint64_t address, uint64_t bytes)
{
    uint8_t ones[PAGE];

    memset(ones, 1, sizeof ones);
    for (uint64_t at = 0; at < bytes; at += PAGE)
        machine_put(machine, address + at, ones, sizeof ones);
}

static void put_page_number(struct machine *machine, uint64_t at, uint64_t index, uint64_t address)
{
    uint8_t bytes[4];

    bl_put_le32(bytes, (uint32_t)(address / PAGE));
    machine_put(machine, at + 4 * index, bytes, sizeof bytes);
}

static void inflating_gives_memory_back(void **state)
{
    struct bench bench;
    struct machine *machine = &bench.machine;
    uint64_t before, list, held, returned;

    (void)state;
    start(&bench, true);
    list = machine_take(machine, 1024, 16);
    fill(machine, RAM_HIGH, RAM_HIGH_BYTES);
    before = file_bytes(machine);
    assert_true(pss_bytes(machine, 2) >= RAM_HIGH_BYTES);
    bl_balloon_aim(bench.device, 1 << 20);
    /* Every page of a MiB, downwards as Linux gives them, in requests of 128. */
    for (uint64_t page = 256; page;) {
        for (uint64_t i = 0; i < 128; i++)
            put_page_number(machine, list, i, RAM_HIGH + --page * PAGE);
        driver_add(&bench.queues[INFLATE], &(struct piece){list, 512, false}, 1);
        driver_kick(&bench.queues[INFLATE]);
        driver_wait(&bench.queues[INFLATE], 1);
        driver_take(&bench.queues[INFLATE], NULL);
    }
    reg_write(bench.mmio, VIRTIO_MMIO_CONFIG + 4, 256);
    held = bl_balloon_holds(bench.device);
    returned = bl_balloon_returned(bench.device);
    assert_int_equal(held, 1 << 20);
    assert_int_equal(returned, 1 << 20);
    assert_int_equal(before - file_bytes(machine), 1 << 20);
    assert_true(pss_bytes(machine, 2) <= RAM_HIGH_BYTES - (1 << 20));
    /* Deflated, they come back as zeros when they are touched. */
    driver_add(&bench.queues[DEFLATE], &(struct piece){list, 512, false}, 1);
    driver_kick(&bench.queues[DEFLATE]);
    driver_wait(&bench.queues[DEFLATE], 1);

    uint8_t got[PAGE];

    machine_get(machine, RAM_HIGH, got, sizeof got);
    for (size_t i = 0; i < sizeof got; i++)
        assert_int_equal(got[i], 0);
    stop(&bench);
}

static void nonsense_pages_are_skipped(void **state)
{
    struct bench bench;
    struct machine *machine = &bench.machine;
    uint64_t list;

    (void)state;
    start(&bench, true);
    list = machine_take(machine, 1024, 16);
    fill(machine, RAM_LOW - 2 * PAGE, 2 * PAGE);
    put_page_number(machine, list, 0, RAM_LOW);
    put_page_number(machine, list, 1, RAM_LOW - PAGE); /* the only one in memory, in a run that goes past its end */
    put_page_number(machine, list, 2, RAM_GAP);
    put_page_number(machine, list, 3, 0xffffffffull * PAGE);
    driver_add(&bench.queues[INFLATE], &(struct piece){list, 18, false}, 1); /* and half a number */
    driver_kick(&bench.queues[INFLATE]);
    driver_wait(&bench.queues[INFLATE], 1);
    assert_int_equal(bl_balloon_returned(bench.device), PAGE);
    assert_int_equal(reg_read(bench.mmio, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET, 0);
    stop(&bench);
}

static void reported_pages_go_back(void **state)
{
    struct bench bench;
    struct machine *machine = &bench.machine;
    const struct piece pages[] = {
        {RAM_HIGH, 1 << 20, true}, {RAM_HIGH + (2 << 20), 1 << 19, true}, {RAM_SEAM - PAGE, (uint32_t)(2 * PAGE), true}};
    uint64_t before;

    (void)state;
    start(&bench, true);
    fill(machine, RAM_HIGH, RAM_HIGH_BYTES);
    fill(machine, RAM_SEAM - PAGE, 2 * PAGE);
    before = file_bytes(machine);
    driver_add(&bench.queues[REPORT], pages, 3);
    driver_kick(&bench.queues[REPORT]);
    driver_wait(&bench.queues[REPORT], 1);
    assert_int_equal(bl_balloon_returned(bench.device), (1 << 20) + (1 << 19) + 2 * PAGE);
    assert_in_range(before - file_bytes(machine), (1 << 20) + (1 << 19) + PAGE, (1 << 20) + (1 << 19) + 2 * PAGE);
    assert_true(pss_bytes(machine, 2) <= RAM_HIGH_BYTES - (1 << 20) - (1 << 19));
    stop(&bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_are_random),
        cmocka_unit_test(greedy_requests_are_bounded),
        cmocka_unit_test(many_requests_are_all_served),
        cmocka_unit_test(inflating_gives_memory_back),
        cmocka_unit_test(nonsense_pages_are_skipped),
        cmocka_unit_test(reported_pages_go_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
