/* SPDX-License-Identifier: Apache-2.0 */
/* test_virtio_mmio.c - the registers: the order in which a driver comes up, what comes out of order, reset, saving */
#include <linux/virtio_balloon.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "virtio_driver.h"
#include "vmm/virtio/balloon.h"
#include "vmm/virtio/rng.h"

#define OK (VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_FEATURES_OK)

/* One slot with an entropy device, or a balloon where a configuration is needed. */
struct bench {
    struct machine machine;
    struct bl_mmio *mmio;
    struct driver_queue queues[BL_DEVICE_QUEUES_MAX];
};

static struct bl_mmio *plug(struct machine *machine, struct bl_device *device)
{
    struct bl_error err = BL_ERROR_INIT;
    struct bl_mmio *mmio = NULL;

    assert_int_equal(bl_mmio_new(&machine->loop, &machine->memory, device, &mmio, &err), 0);
    return mmio;
}

static void start(struct bench *bench, bool balloon)
{
    struct bl_device *device = NULL;
    struct bl_error err = BL_ERROR_INIT;

    machine_init(&bench->machine, BL_MEMORY_SHARED);
    assert_int_equal(balloon ? bl_balloon_new(&bench->machine.memory, &device, &err) : bl_rng_new(&device, &err), 0);
    bench->mmio = plug(&bench->machine, device);
}

static void stop(struct bench *bench)
{
    bl_mmio_free(bench->mmio);
    machine_finish(&bench->machine);
}

static void an_empty_slot_is_no_device(void **state)
{
    struct machine machine;
    struct bl_mmio *mmio;

    (void)state;
    machine_init(&machine, BL_MEMORY_SHARED);
    mmio = plug(&machine, NULL);
    assert_int_equal(reg_read(mmio, VIRTIO_MMIO_MAGIC_VALUE), 0x74726976);
    assert_int_equal(reg_read(mmio, VIRTIO_MMIO_VERSION), 2);
    assert_int_equal(reg_read(mmio, VIRTIO_MMIO_DEVICE_ID), 0);
    for (uint32_t at = VIRTIO_MMIO_DEVICE_FEATURES; at < BL_MMIO_BYTES; at += 4) {
        reg_write(mmio, at, UINT32_MAX);
        assert_int_equal(reg_read(mmio, at), 0);
    }
    assert_int_equal(bl_mmio_queue_count(mmio), 0);
    assert_int_equal(bl_mmio_kick_fd(mmio, 0), -1);
    bl_mmio_free(mmio);
    machine_finish(&machine);
}

static void a_device_says_what_it_is(void **state)
{
    struct bench bench;

    (void)state;
    start(&bench, true);
    assert_int_equal(reg_read(bench.mmio, VIRTIO_MMIO_DEVICE_ID), VIRTIO_ID_BALLOON);
    assert_int_equal(reg_read(bench.mmio, VIRTIO_MMIO_VENDOR_ID), BL_MMIO_VENDOR);
    assert_int_equal(reg_read(bench.mmio, VIRTIO_MMIO_STATUS), 0);
    reg_write(bench.mmio, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 1);
    assert_int_equal(reg_read(bench.mmio, VIRTIO_MMIO_DEVICE_FEATURES), 1); /* VERSION_1 */
    reg_write(bench.mmio, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 0);
    assert_int_equal(reg_read(bench.mmio, VIRTIO_MMIO_DEVICE_FEATURES),
                     1u << VIRTIO_RING_F_INDIRECT_DESC | 1u << VIRTIO_RING_F_EVENT_IDX | 1u << VIRTIO_BALLOON_F_DEFLATE_ON_OOM |
                         1u << VIRTIO_BALLOON_F_REPORTING);
    reg_write(bench.mmio, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 2);
    assert_int_equal(reg_read(bench.mmio, VIRTIO_MMIO_DEVICE_FEATURES), 0);
    reg_write(bench.mmio, VIRTIO_MMIO_QUEUE_SEL, 2);
    assert_int_equal(reg_read(bench.mmio, VIRTIO_MMIO_QUEUE_NUM_MAX), 128);
    reg_write(bench.mmio, VIRTIO_MMIO_QUEUE_SEL, 3);
    assert_int_equal(reg_read(bench.mmio, VIRTIO_MMIO_QUEUE_NUM_MAX), 0);
    assert_int_equal(reg_read(bench.mmio, VIRTIO_MMIO_SHM_LEN_LOW), UINT32_MAX);
    stop(&bench);
}

static void features_are_negotiated(void **state)
{
    struct bench bench;

    (void)state;
    start(&bench, false);
    assert_true(driver_negotiate(bench.mmio, 1ull << VIRTIO_RING_F_EVENT_IDX));
    assert_int_equal(bl_mmio_device(bench.mmio)->negotiated, 1ull << VIRTIO_RING_F_EVENT_IDX | 1ull << VIRTIO_F_VERSION_1);
    /* Once they stand, they stand. */
    reg_write(bench.mmio, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 0);
    reg_write(bench.mmio, VIRTIO_MMIO_DRIVER_FEATURES, 0);
    reg_write(bench.mmio, VIRTIO_MMIO_STATUS, OK | VIRTIO_CONFIG_S_DRIVER_OK);
    assert_true(bl_device_has(bl_mmio_device(bench.mmio), VIRTIO_RING_F_EVENT_IDX));
    /* What was not offered, and a driver older than the standard. */
    assert_false(driver_negotiate(bench.mmio, 1ull << VIRTIO_F_RING_PACKED));
    assert_int_equal(bl_mmio_device(bench.mmio)->negotiated, 0);
    reg_write(bench.mmio, VIRTIO_MMIO_STATUS, 0);
    reg_write(bench.mmio, VIRTIO_MMIO_STATUS, OK);
    assert_false(reg_read(bench.mmio, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_FEATURES_OK);
    reg_write(bench.mmio, VIRTIO_MMIO_STATUS, OK | VIRTIO_CONFIG_S_DRIVER_OK);
    assert_false(reg_read(bench.mmio, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_DRIVER_OK);
    assert_false(bl_mmio_device(bench.mmio)->active);
    stop(&bench);
}

static void queues_are_set_up_in_their_time(void **state)
{
    struct bench bench;
    struct bl_queue *queue;
    uint64_t before;

    (void)state;
    start(&bench, false);
    queue = &bl_mmio_device(bench.mmio)->queues[0];
    reg_write(bench.mmio, VIRTIO_MMIO_QUEUE_DESC_LOW, 0x5000); /* too early */
    assert_int_equal(queue->descriptors_address, 0);
    driver_start(&bench.machine, bench.mmio, 0, 16, bench.queues);
    before = queue->descriptors_address;
    assert_int_equal(before, bench.queues[0].descriptors);
    reg_write(bench.mmio, VIRTIO_MMIO_QUEUE_DESC_LOW, 0x5000); /* too late */
    reg_write(bench.mmio, VIRTIO_MMIO_QUEUE_NUM, 2);
    assert_int_equal(queue->descriptors_address, before);
    assert_int_equal(queue->size, 16);
    /* A ready queue stands, even before the driver is. */
    assert_true(driver_negotiate(bench.mmio, 0));
    driver_queue_set_up(&bench.queues[0], &bench.machine, bench.mmio, 0, 16);
    before = queue->descriptors_address;
    reg_write(bench.mmio, VIRTIO_MMIO_QUEUE_DESC_LOW, 0x5000);
    assert_int_equal(queue->descriptors_address, before);
    /* A queue larger than offered, or of no power of two, or with a ring in no memory: the device wants a reset. */
    for (int i = 0; i < 3; i++) {
        assert_true(driver_negotiate(bench.mmio, 0));
        reg_write(bench.mmio, VIRTIO_MMIO_QUEUE_SEL, 0);
        reg_write(bench.mmio, VIRTIO_MMIO_QUEUE_NUM, i == 0 ? 1u << 16 | 16 : i == 1 ? 12 : 16);
        reg_write(bench.mmio, VIRTIO_MMIO_QUEUE_DESC_LOW, i == 2 ? RAM_GAP : 0x1000);
        reg_write(bench.mmio, VIRTIO_MMIO_QUEUE_AVAIL_LOW, 0x2000);
        reg_write(bench.mmio, VIRTIO_MMIO_QUEUE_USED_LOW, 0x3000);
        reg_write(bench.mmio, VIRTIO_MMIO_QUEUE_READY, 1);
        assert_int_equal(reg_read(bench.mmio, VIRTIO_MMIO_QUEUE_READY), 0);
        assert_true(reg_read(bench.mmio, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET);
        reg_write(bench.mmio, VIRTIO_MMIO_STATUS, OK | VIRTIO_CONFIG_S_DRIVER_OK);
        assert_false(bl_mmio_device(bench.mmio)->active);
    }
    stop(&bench);
}

static void odd_accesses_do_nothing(void **state)
{
    struct bench bench;
    uint8_t bytes[64];

    (void)state;
    start(&bench, true);
    driver_start(&bench.machine, bench.mmio, 0, 16, bench.queues);
    for (uint64_t at = 0; at < 0x200; at++)
        for (size_t length = 0; length <= sizeof bytes; length++) {
            if (length == 4 && (at == VIRTIO_MMIO_STATUS || at >= 0x100))
                continue;
            memset(bytes, 0xff, sizeof bytes);
            bl_mmio_read(bench.mmio, at, bytes, length);
            memset(bytes, 0, sizeof bytes);
            bl_mmio_write(bench.mmio, at, bytes, length);
        }
    assert_true(reg_read(bench.mmio, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_DRIVER_OK);
    memset(bytes, 0xff, sizeof bytes);
    bl_mmio_read(bench.mmio, VIRTIO_MMIO_MAGIC_VALUE, bytes, 2);
    assert_int_equal(bytes[0], 0);
    /* Half in the configuration, half past its end: nothing of it. */
    reg_write(bench.mmio, VIRTIO_MMIO_CONFIG + 4, 77);
    bl_mmio_read(bench.mmio, VIRTIO_MMIO_CONFIG + 4, bytes, 8);
    assert_int_equal(bytes[0], 0);
    bl_mmio_read(bench.mmio, VIRTIO_MMIO_CONFIG + 4, bytes, 4);
    assert_int_equal(bytes[0], 77);
    bl_mmio_read(bench.mmio, UINT64_MAX - 1, bytes, 4);
    bl_mmio_write(bench.mmio, UINT64_MAX - 1, bytes, 4);
    reg_write(bench.mmio, VIRTIO_MMIO_QUEUE_NOTIFY, UINT32_MAX);
    machine_settle(&bench.machine);
    stop(&bench);
}

static void a_broken_rule_wants_a_reset(void **state)
{
    struct bench bench;
    uint64_t at;

    (void)state;
    start(&bench, false);
    driver_start(&bench.machine, bench.mmio, 0, 16, bench.queues);
    machine_settle(&bench.machine);
    interrupted(bench.mmio);
    driver_add(&bench.queues[0], &(struct piece){RAM_GAP, 16, true}, 1);
    driver_kick(&bench.queues[0]);
    machine_settle(&bench.machine);
    assert_true(reg_read(bench.mmio, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET);
    assert_int_equal(interrupted(bench.mmio), VIRTIO_MMIO_INT_CONFIG);
    at = machine_take(&bench.machine, 16, 16);
    driver_add(&bench.queues[0], &(struct piece){at, 16, true}, 1);
    driver_kick(&bench.queues[0]);
    machine_settle(&bench.machine);
    assert_int_equal(driver_used(&bench.queues[0]), 0);
    /* After the reset it works again. */
    driver_start(&bench.machine, bench.mmio, 0, 16, bench.queues);
    assert_int_equal(reg_read(bench.mmio, VIRTIO_MMIO_STATUS), OK | VIRTIO_CONFIG_S_DRIVER_OK);
    driver_add(&bench.queues[0], &(struct piece){at, 16, true}, 1);
    driver_kick(&bench.queues[0]);
    driver_wait(&bench.queues[0], 1);
    stop(&bench);
}

/* One broken queue stops the device, its other queues too. */
static void a_broken_queue_stops_all(void **state)
{
    struct bench bench;

    (void)state;
    start(&bench, true);
    driver_start(&bench.machine, bench.mmio, 0, 16, bench.queues);
    driver_add(&bench.queues[0], &(struct piece){RAM_GAP, 16, false}, 1);
    driver_kick(&bench.queues[0]);
    machine_settle(&bench.machine);
    driver_add(&bench.queues[1], &(struct piece){0x100000, 4, false}, 1);
    driver_kick(&bench.queues[1]);
    machine_settle(&bench.machine);
    assert_int_equal(driver_used(&bench.queues[1]), 0);
    stop(&bench);
}

static void a_failed_driver_is_left_alone(void **state)
{
    struct bench bench;

    (void)state;
    start(&bench, false);
    driver_start(&bench.machine, bench.mmio, 0, 16, bench.queues);
    reg_write(bench.mmio, VIRTIO_MMIO_STATUS, OK | VIRTIO_CONFIG_S_DRIVER_OK | VIRTIO_CONFIG_S_FAILED);
    driver_add(&bench.queues[0], &(struct piece){0x100000, 16, true}, 1);
    driver_kick(&bench.queues[0]);
    machine_settle(&bench.machine);
    assert_int_equal(driver_used(&bench.queues[0]), 0);
    reg_write(bench.mmio, VIRTIO_MMIO_STATUS, 0);
    assert_int_equal(reg_read(bench.mmio, VIRTIO_MMIO_STATUS), 0);
    assert_int_equal(reg_read(bench.mmio, VIRTIO_MMIO_INTERRUPT_STATUS), 0);
    stop(&bench);
}

/* What was offered before DRIVER_OK is served without another kick. */
static void early_buffers_are_seen(void **state)
{
    struct bench bench;

    (void)state;
    start(&bench, false);
    assert_true(driver_negotiate(bench.mmio, 0));
    driver_queue_set_up(&bench.queues[0], &bench.machine, bench.mmio, 0, 16);
    driver_add(&bench.queues[0], &(struct piece){0x100000, 16, true}, 1);
    machine_settle(&bench.machine);
    assert_int_equal(driver_used(&bench.queues[0]), 0);
    reg_write(bench.mmio, VIRTIO_MMIO_STATUS, OK | VIRTIO_CONFIG_S_DRIVER_OK);
    driver_wait(&bench.queues[0], 1);
    stop(&bench);
}

static void interrupts_are_acknowledged(void **state)
{
    struct bench bench;

    (void)state;
    start(&bench, true);
    driver_start(&bench.machine, bench.mmio, 0, 16, bench.queues);
    machine_settle(&bench.machine);
    assert_int_equal(interrupted(bench.mmio), 0);
    bl_balloon_aim(bl_mmio_device(bench.mmio), 1 << 20);
    driver_add(&bench.queues[1], &(struct piece){0x100000, 4, false}, 1);
    driver_kick(&bench.queues[1]);
    machine_settle(&bench.machine);
    assert_int_equal(reg_read(bench.mmio, VIRTIO_MMIO_INTERRUPT_STATUS), VIRTIO_MMIO_INT_VRING | VIRTIO_MMIO_INT_CONFIG);
    reg_write(bench.mmio, VIRTIO_MMIO_INTERRUPT_ACK, VIRTIO_MMIO_INT_VRING);
    assert_int_equal(interrupted(bench.mmio), VIRTIO_MMIO_INT_CONFIG);
    assert_int_equal(reg_read(bench.mmio, VIRTIO_MMIO_INTERRUPT_STATUS), 0);
    /* A reset forgets causes. */
    bl_balloon_aim(bl_mmio_device(bench.mmio), 2 << 20);
    assert_int_equal(reg_read(bench.mmio, VIRTIO_MMIO_INTERRUPT_STATUS), VIRTIO_MMIO_INT_CONFIG);
    reg_write(bench.mmio, VIRTIO_MMIO_STATUS, 0);
    assert_int_equal(reg_read(bench.mmio, VIRTIO_MMIO_INTERRUPT_STATUS), 0);
    stop(&bench);
}

static void config_changes_have_generations(void **state)
{
    struct bench bench;
    uint32_t before;

    (void)state;
    start(&bench, true);
    driver_start(&bench.machine, bench.mmio, 0, 16, bench.queues);
    before = reg_read(bench.mmio, VIRTIO_MMIO_CONFIG_GENERATION);
    bl_balloon_aim(bl_mmio_device(bench.mmio), 3 << 20);
    assert_int_not_equal(reg_read(bench.mmio, VIRTIO_MMIO_CONFIG_GENERATION), before);
    assert_int_equal(reg_read(bench.mmio, VIRTIO_MMIO_CONFIG), 768);   /* pages of 4 KiB */
    assert_int_equal(reg_read(bench.mmio, VIRTIO_MMIO_CONFIG + 8), 0); /* past the end */
    stop(&bench);
}

static void a_resting_device_pops_nothing(void **state)
{
    struct bench bench;

    (void)state;
    start(&bench, false);
    driver_start(&bench.machine, bench.mmio, 0, 16, bench.queues);
    machine_settle(&bench.machine);
    bl_mmio_quiesce(bench.mmio);
    driver_add(&bench.queues[0], &(struct piece){0x100000, 16, true}, 1);
    driver_kick(&bench.queues[0]);
    machine_settle(&bench.machine);
    assert_int_equal(driver_used(&bench.queues[0]), 0);
    bl_mmio_resume(bench.mmio);
    driver_wait(&bench.queues[0], 1);
    stop(&bench);
}

static void a_saved_slot_goes_on(void **state)
{
    struct bench bench;
    struct bl_buffer saved = BL_BUFFER_INIT(65536);
    struct bl_error err = BL_ERROR_INIT;
    struct bl_device *device = NULL;
    struct bl_mmio *other;

    (void)state;
    start(&bench, true);
    driver_start(&bench.machine, bench.mmio, 1ull << VIRTIO_RING_F_EVENT_IDX, 16, bench.queues);
    bl_balloon_aim(bl_mmio_device(bench.mmio), 3 << 20);
    reg_write(bench.mmio, VIRTIO_MMIO_CONFIG + 4, 77);
    machine_settle(&bench.machine);
    bl_mmio_quiesce(bench.mmio);
    driver_add(&bench.queues[1], &(struct piece){0x100000, 4, false}, 1);
    driver_kick(&bench.queues[1]);
    assert_int_equal(bl_mmio_save(bench.mmio, &saved, &err), 0);

    assert_int_equal(bl_balloon_new(&bench.machine.memory, &device, &err), 0);
    other = plug(&bench.machine, device);

    struct bl_state_reader reader = BL_STATE_READER(bl_buffer_data(&saved), saved.length);

    assert_int_equal(bl_mmio_load(other, &reader, &err), 0);
    assert_int_equal(reader.left, 0);
    assert_int_equal(reg_read(other, VIRTIO_MMIO_STATUS), OK | VIRTIO_CONFIG_S_DRIVER_OK);
    assert_int_equal(reg_read(other, VIRTIO_MMIO_CONFIG), 768);
    assert_int_equal(bl_balloon_holds(device), 77 * 4096);
    bl_mmio_resume(other);
    /* The pending cause is raised again, and the waiting chain is served. */
    assert_true(interrupted(other) & VIRTIO_MMIO_INT_CONFIG);
    machine_settle(&bench.machine);
    assert_int_equal(driver_used(&bench.queues[1]), 1);
    bl_mmio_free(other);

    /* Whatever a file holds, loading it says no or leads to a device that works. */
    for (size_t i = 0; i < saved.length; i++) {
        for (int cut = 0; cut < 2; cut++) {
            struct bl_state_reader bad = BL_STATE_READER(bl_buffer_data(&saved), cut ? i : saved.length);

            if (!cut)
                bl_buffer_data(&saved)[i] ^= 0x41;
            assert_int_equal(bl_balloon_new(&bench.machine.memory, &device, &err), 0);
            other = plug(&bench.machine, device);
            if (bl_mmio_load(other, &bad, &err) == 0) {
                assert_false(cut);
                bl_mmio_resume(other);
                machine_settle(&bench.machine);
            } else {
                assert_int_equal(err.code, BL_INVALID_ARGUMENT);
            }
            bl_mmio_free(other);
            if (!cut)
                bl_buffer_data(&saved)[i] ^= 0x41;
        }
    }
    bl_buffer_free(&saved);
    stop(&bench);
}

/* States that no driver could have led to; the offsets are those of save_slot(). */
static void impossible_states_are_refused(void **state)
{
    enum { STATUS = 12, FEATURES = 28 };
    static const struct {
        size_t at;
        uint32_t value;
    } cases[] = {
        {STATUS, VIRTIO_CONFIG_S_DRIVER_OK}, /* without features */
        {STATUS, OK | 0x100},                /* a bit that does not exist */
        {FEATURES + 4, 1 | 1u << 31},        /* a feature that was not offered */
        {FEATURES + 4, 0},                   /* without VERSION_1 */
    };
    struct bench bench;
    struct bl_buffer saved = BL_BUFFER_INIT(65536);
    struct bl_error err = BL_ERROR_INIT;

    (void)state;
    start(&bench, false);
    driver_start(&bench.machine, bench.mmio, 0, 16, bench.queues);
    /* Features that are written too late are not part of the state. */
    reg_write(bench.mmio, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 0);
    reg_write(bench.mmio, VIRTIO_MMIO_DRIVER_FEATURES, UINT32_MAX);
    machine_settle(&bench.machine);
    bl_mmio_quiesce(bench.mmio);
    assert_int_equal(bl_mmio_save(bench.mmio, &saved, &err), 0);
    for (size_t i = 0; i <= sizeof cases / sizeof cases[0]; i++) {
        bool last = i == sizeof cases / sizeof cases[0]; /* unchanged: the control */
        uint8_t *at = bl_buffer_data(&saved) + (last ? 0 : cases[i].at);
        uint32_t before = bl_get_le32(at);
        struct bl_state_reader reader = BL_STATE_READER(bl_buffer_data(&saved), saved.length);

        bl_put_le32(at, last ? before : cases[i].value);
        assert_int_equal(bl_mmio_load(bench.mmio, &reader, &err), last ? 0 : -1);
        bl_put_le32(at, before);
    }
    bl_buffer_free(&saved);
    stop(&bench);
}

static void another_device_is_refused(void **state)
{
    struct bench bench;
    struct bl_buffer saved = BL_BUFFER_INIT(65536);
    struct bl_error err = BL_ERROR_INIT;
    struct bl_mmio *empty;

    (void)state;
    start(&bench, false);
    empty = plug(&bench.machine, NULL);
    assert_int_equal(bl_mmio_save(empty, &saved, &err), 0);

    struct bl_state_reader reader = BL_STATE_READER(bl_buffer_data(&saved), saved.length);

    assert_int_equal(bl_mmio_load(bench.mmio, &reader, &err), -1);
    assert_non_null(strstr(err.message, "saved was device 0"));
    reader = (struct bl_state_reader)BL_STATE_READER(bl_buffer_data(&saved), saved.length);
    assert_int_equal(bl_mmio_load(empty, &reader, &err), 0);
    bl_mmio_free(empty);
    bl_buffer_free(&saved);
    stop(&bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_slot_is_no_device),
        cmocka_unit_test(a_device_says_what_it_is),
        cmocka_unit_test(features_are_negotiated),
        cmocka_unit_test(queues_are_set_up_in_their_time),
        cmocka_unit_test(odd_accesses_do_nothing),
        cmocka_unit_test(a_broken_rule_wants_a_reset),
        cmocka_unit_test(a_broken_queue_stops_all),
        cmocka_unit_test(a_failed_driver_is_left_alone),
        cmocka_unit_test(early_buffers_are_seen),
        cmocka_unit_test(interrupts_are_acknowledged),
        cmocka_unit_test(config_changes_have_generations),
        cmocka_unit_test(a_resting_device_pops_nothing),
        cmocka_unit_test(a_saved_slot_goes_on),
        cmocka_unit_test(impossible_states_are_refused),
        cmocka_unit_test(another_device_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
