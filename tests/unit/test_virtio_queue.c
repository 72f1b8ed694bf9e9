/* SPDX-License-Identifier: Apache-2.0 */
/* test_virtio_queue.c - split virtqueues: chains by the rules, chains against them, and when each side wants to be told */
#include <linux/virtio_ring.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "virtio_driver.h"

#define SIZE 16

/* A queue without a device. */
struct bench {
    struct machine machine;
    struct driver_queue driver;
    struct bl_queue queue;
    struct bl_chain chain;
};

static void start(struct bench *bench, bool indirect, bool event_index)
{
    machine_init(&bench->machine, BL_MEMORY_SHARED);
    driver_queue_init(&bench->driver, &bench->machine, SIZE);
    bench->driver.indirect = indirect;
    bench->queue = (struct bl_queue){.memory = &bench->machine.memory, .size_max = BL_QUEUE_SIZE_MAX, .size = SIZE};
    bench->queue.descriptors_address = bench->driver.descriptors;
    bench->queue.available_address = bench->driver.available;
    bench->queue.used_address = bench->driver.used;
    assert_int_equal(bl_queue_start(&bench->queue, indirect, event_index), 0);
}

static void stop(struct bench *bench)
{
    machine_finish(&bench->machine);
}

static void chains_come_and_go(bool indirect)
{
    struct bench bench;
    struct bl_cursor cursor;
    uint8_t bytes[64];
    uint32_t written;

    start(&bench, indirect, false);

    uint64_t at = machine_take(&bench.machine, 256, 16);
    const struct piece pieces[] = {{at, 5, false}, {at + 100, 7, false}, {RAM_SEAM - 2, 4, true}, {RAM_HIGH, 3, true}};

    assert_int_equal(bl_queue_pop(&bench.queue, &bench.chain), 0);
    /* More rounds than there are descriptors, so that indices wrap; and 65536 indices would too. */
    bench.driver.available_index = bench.queue.next_available = 65530;
    bench.driver.used_seen = bench.queue.next_used = bench.queue.signalled_used = 65530;
    machine_put16(&bench.machine, bench.driver.used + 2, 65530);
    machine_put16(&bench.machine, bench.driver.available + 2, 65530);
    for (int round = 0; round < 20; round++) {
        machine_put(&bench.machine, at, "hello", 5);
        machine_put(&bench.machine, at + 100, ", guest", 7);

        uint16_t head = driver_add(&bench.driver, pieces, 4);

        assert_true(bl_queue_pending(&bench.queue));
        assert_int_equal(bl_queue_pop(&bench.queue, &bench.chain), 1);
        assert_int_equal(bl_queue_pop(&bench.queue, &(struct bl_chain){0}), 0);
        assert_int_equal(bench.chain.head, head);
        assert_int_equal(bench.chain.readable, 2);
        assert_int_equal(bench.chain.writable, 3); /* one goes across a seam */
        assert_int_equal(bench.chain.readable_bytes, 12);
        assert_int_equal(bench.chain.writable_bytes, 7);
        cursor = bl_chain_reader(&bench.chain);
        assert_int_equal(bl_cursor_skip(&cursor, 3), 3);
        assert_int_equal(bl_cursor_read(&cursor, bytes, sizeof bytes), 9);
        assert_memory_equal(bytes, "lo, guest", 9);
        cursor = bl_chain_writer(&bench.chain);
        assert_int_equal(bl_cursor_write(&cursor, "abcdefghi", 9), 7);
        bl_queue_push(&bench.queue, &bench.chain, 7);
        assert_int_equal(driver_used(&bench.driver), 1);
        assert_int_equal(driver_take(&bench.driver, &written), head);
        assert_int_equal(written, 7);
        machine_get(&bench.machine, RAM_SEAM - 2, bytes, 4);
        machine_get(&bench.machine, RAM_HIGH, bytes + 4, 3);
        assert_memory_equal(bytes, "abcdefg", 7);
    }
    stop(&bench);
}

static void direct_chains_come_and_go(void **state)
{
    (void)state;
    chains_come_and_go(false);
}

static void indirect_chains_come_and_go(void **state)
{
    (void)state;
    chains_come_and_go(true);
}

static void a_chain_that_was_put_back_comes_again(void **state)
{
    struct bench bench;

    (void)state;
    start(&bench, false, false);

    uint64_t at = machine_take(&bench.machine, 64, 16);
    uint16_t first = driver_add(&bench.driver, &(struct piece){at, 1, false}, 1);
    uint16_t second = driver_add(&bench.driver, &(struct piece){at, 1, false}, 1);

    for (int i = 0; i < 3; i++) {
        assert_int_equal(bl_queue_pop(&bench.queue, &bench.chain), 1);
        assert_int_equal(bench.chain.head, first);
        bl_queue_unpop(&bench.queue);
    }
    assert_int_equal(bl_queue_pop(&bench.queue, &bench.chain), 1);
    bl_queue_push(&bench.queue, &bench.chain, 0);
    assert_int_equal(bl_queue_pop(&bench.queue, &bench.chain), 1);
    assert_int_equal(bench.chain.head, second);
    stop(&bench);
}

/* Each writes descriptors that break a rule, and publishes them. */
typedef void (*break_rule)(struct bench *bench, uint64_t at);

static void add(struct bench *bench, uint16_t index, uint64_t address, uint32_t length, uint16_t flags, uint16_t next)
{
    driver_descriptor(&bench->machine, bench->driver.descriptors, index, address, length, flags, next);
}

static void loop_of_one(struct bench *bench, uint64_t at)
{
    add(bench, 0, at, 1, VRING_DESC_F_NEXT, 0);
    driver_publish(&bench->driver, 0);
}

static void loop_of_all(struct bench *bench, uint64_t at)
{
    for (uint16_t i = 0; i < SIZE; i++)
        add(bench, i, at, 1, VRING_DESC_F_NEXT, (uint16_t)((i + 1) % SIZE));
    driver_publish(&bench->driver, 3);
}

/* What lies past the table looks like a good descriptor. */
static void head_out_of_range(struct bench *bench, uint64_t at)
{
    add(bench, 10 * SIZE, at, 1, 0, 0);
    driver_publish(&bench->driver, 10 * SIZE);
}

static void next_out_of_range(struct bench *bench, uint64_t at)
{
    add(bench, 10 * SIZE, at, 1, 0, 0);
    add(bench, 0, at, 1, VRING_DESC_F_NEXT, 10 * SIZE);
    driver_publish(&bench->driver, 0);
}

static void address_in_a_gap(struct bench *bench, uint64_t at)
{
    (void)at;
    add(bench, 0, RAM_GAP, 1, 0, 0);
    driver_publish(&bench->driver, 0);
}

static void length_past_the_end(struct bench *bench, uint64_t at)
{
    (void)at;
    add(bench, 0, RAM_LOW - 8, 9, VRING_DESC_F_WRITE, 0);
    driver_publish(&bench->driver, 0);
}

static void address_that_wraps(struct bench *bench, uint64_t at)
{
    (void)at;
    add(bench, 0, UINT64_MAX - 3, 16, 0, 0);
    driver_publish(&bench->driver, 0);
}

static void length_of_zero(struct bench *bench, uint64_t at)
{
    add(bench, 0, at, 0, 0, 0);
    driver_publish(&bench->driver, 0);
}

static void readable_after_writable(struct bench *bench, uint64_t at)
{
    add(bench, 0, at, 1, VRING_DESC_F_WRITE | VRING_DESC_F_NEXT, 1);
    add(bench, 1, at, 1, 0, 0);
    driver_publish(&bench->driver, 0);
}

static void index_that_jumps(struct bench *bench, uint64_t at)
{
    add(bench, 0, at, 1, 0, 0);
    machine_put16(&bench->machine, bench->driver.available + 2, SIZE + 1);
}

static void index_that_goes_back(struct bench *bench, uint64_t at)
{
    add(bench, 0, at, 1, 0, 0);
    machine_put16(&bench->machine, bench->driver.available + 2, UINT16_MAX);
}

static void table_of_no_length(struct bench *bench, uint64_t at)
{
    add(bench, 0, at, 0, VRING_DESC_F_INDIRECT, 0);
    driver_publish(&bench->driver, 0);
}

static void table_of_half_an_entry(struct bench *bench, uint64_t at)
{
    driver_descriptor(&bench->machine, at, 0, at, 1, 0, 0);
    add(bench, 0, at, 24, VRING_DESC_F_INDIRECT, 0);
    driver_publish(&bench->driver, 0);
}

static void table_in_a_gap(struct bench *bench, uint64_t at)
{
    (void)at;
    add(bench, 0, RAM_GAP, 16, VRING_DESC_F_INDIRECT, 0);
    driver_publish(&bench->driver, 0);
}

static void table_that_wraps(struct bench *bench, uint64_t at)
{
    (void)at;
    add(bench, 0, UINT64_MAX - 15, 0xfffffff0, VRING_DESC_F_INDIRECT, 0);
    driver_publish(&bench->driver, 0);
}

static void table_and_next(struct bench *bench, uint64_t at)
{
    driver_descriptor(&bench->machine, at, 0, at, 1, 0, 0);
    add(bench, 0, at, 16, VRING_DESC_F_INDIRECT | VRING_DESC_F_NEXT, 1);
    driver_publish(&bench->driver, 0);
}

static void table_after_a_descriptor(struct bench *bench, uint64_t at)
{
    driver_descriptor(&bench->machine, at, 0, at, 1, 0, 0);
    add(bench, 0, at, 1, VRING_DESC_F_NEXT, 1);
    add(bench, 1, at, 16, VRING_DESC_F_INDIRECT, 0);
    driver_publish(&bench->driver, 0);
}

static void table_in_a_table(struct bench *bench, uint64_t at)
{
    driver_descriptor(&bench->machine, at, 0, at, 16, VRING_DESC_F_INDIRECT, 0);
    add(bench, 0, at, 16, VRING_DESC_F_INDIRECT, 0);
    driver_publish(&bench->driver, 0);
}

static void table_with_a_loop(struct bench *bench, uint64_t at)
{
    driver_descriptor(&bench->machine, at, 0, at, 1, VRING_DESC_F_NEXT, 1);
    driver_descriptor(&bench->machine, at, 1, at, 1, VRING_DESC_F_NEXT, 0);
    add(bench, 0, at, 32, VRING_DESC_F_INDIRECT, 0);
    driver_publish(&bench->driver, 0);
}

static void table_with_a_next_past_it(struct bench *bench, uint64_t at)
{
    driver_descriptor(&bench->machine, at, 0, at, 1, VRING_DESC_F_NEXT, 2);
    driver_descriptor(&bench->machine, at, 2, at, 1, 0, 0);
    add(bench, 0, at, 32, VRING_DESC_F_INDIRECT, 0);
    driver_publish(&bench->driver, 0);
}

/* A table may be long, a chain in it not. */
static void longer_than_any_queue(struct bench *bench, uint64_t at)
{
    uint64_t table = machine_take(&bench->machine, 16 * 600, 16);

    (void)at;
    for (uint16_t i = 0; i < 600; i++)
        driver_descriptor(&bench->machine, table, i, 0, (uint32_t)RAM_LOW, VRING_DESC_F_NEXT, (uint16_t)(i + 1));
    add(bench, 0, table, 16 * 600, VRING_DESC_F_INDIRECT, 0);
    driver_publish(&bench->driver, 0);
}

/* More pieces than a chain holds: 256 descriptors, each across a seam. */
static void too_many_pieces(struct bench *bench, uint64_t at)
{
    uint64_t table = machine_take(&bench->machine, 16 * 256, 16);

    (void)at;
    for (uint16_t i = 0; i < 256; i++)
        driver_descriptor(&bench->machine, table, i, RAM_SEAM - 1, 2, i < 255 ? VRING_DESC_F_NEXT : 0, (uint16_t)(i + 1));
    add(bench, 0, table, 16 * 256, VRING_DESC_F_INDIRECT, 0);
    driver_publish(&bench->driver, 0);
}

static void broken_rules_break_the_queue(void **state)
{
    static const break_rule rules[] = {
        loop_of_one,
        loop_of_all,
        head_out_of_range,
        next_out_of_range,
        address_in_a_gap,
        length_past_the_end,
        address_that_wraps,
        length_of_zero,
        readable_after_writable,
        index_that_jumps,
        index_that_goes_back,
        table_of_no_length,
        table_of_half_an_entry,
        table_in_a_gap,
        table_that_wraps,
        table_and_next,
        table_after_a_descriptor,
        table_in_a_table,
        table_with_a_loop,
        table_with_a_next_past_it,
        longer_than_any_queue,
        too_many_pieces,
    };

    (void)state;
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++) {
        struct bench bench;

        start(&bench, true, false);

        uint64_t at = machine_take(&bench.machine, 256, 16);

        rules[i](&bench, at);
        assert_int_equal(bl_queue_pop(&bench.queue, &bench.chain), -1);
        assert_int_equal(bl_queue_pop(&bench.queue, &bench.chain), -1);
        assert_false(bl_queue_listen(&bench.queue, true));
        /* As new after a reset. */
        bl_queue_reset(&bench.queue);
        assert_int_equal(bl_queue_pop(&bench.queue, &bench.chain), 0);
        stop(&bench);
    }
}

static void a_table_that_was_not_negotiated(void **state)
{
    struct bench bench;

    (void)state;
    start(&bench, false, false);

    uint64_t at = machine_take(&bench.machine, 256, 16);

    driver_descriptor(&bench.machine, at, 0, at, 1, 0, 0);
    add(&bench, 0, at, 16, VRING_DESC_F_INDIRECT, 0);
    driver_publish(&bench.driver, 0);
    assert_int_equal(bl_queue_pop(&bench.queue, &bench.chain), -1);
    stop(&bench);
}

/* A driver that offers what was not given back, again and again. */
static void more_chains_than_descriptors(void **state)
{
    struct bench bench;

    (void)state;
    start(&bench, false, false);

    uint64_t at = machine_take(&bench.machine, 256, 16);

    for (int i = 0; i < SIZE; i++) {
        driver_add(&bench.driver, &(struct piece){at, 1, false}, 1);
        assert_int_equal(bl_queue_pop(&bench.queue, &bench.chain), 1);
    }
    driver_add(&bench.driver, &(struct piece){at, 1, false}, 1);
    assert_int_equal(bl_queue_pop(&bench.queue, &bench.chain), -1);
    stop(&bench);
}

static void rings_lie_in_memory(void **state)
{
    struct bench bench;
    uint64_t *const addresses[] = {&bench.queue.descriptors_address, &bench.queue.available_address, &bench.queue.used_address};
    const uint64_t bad[] = {RAM_GAP, RAM_LOW - 16, RAM_SEAM - 16, UINT64_MAX - 15, 0x1001};

    (void)state;
    start(&bench, true, true);
    for (size_t i = 0; i < 3; i++) {
        uint64_t good = *addresses[i];

        for (size_t j = 0; j < sizeof bad / sizeof bad[0]; j++) {
            *addresses[i] = bad[j];
            bench.queue.ready = false;
            assert_int_equal(bl_queue_start(&bench.queue, true, true), -1);
            assert_false(bench.queue.ready);
        }
        *addresses[i] = good;
    }
    for (uint16_t size = 0; size < 600; size++) {
        bool allowed = size && size <= BL_QUEUE_SIZE_MAX && !(size & (size - 1));

        bench.queue.size = size;
        assert_int_equal(bl_queue_start(&bench.queue, true, true), allowed ? 0 : -1);
    }
    stop(&bench);
}

static void pushing(struct bench *bench, uint64_t at)
{
    driver_add(&bench->driver, &(struct piece){at, 1, false}, 1);
    assert_int_equal(bl_queue_pop(&bench->queue, &bench->chain), 1);
    bl_queue_push(&bench->queue, &bench->chain, 0);
}

static void interrupts_without_event_index(void **state)
{
    struct bench bench;

    (void)state;
    start(&bench, false, false);

    uint64_t at = machine_take(&bench.machine, 16, 16);

    assert_false(bl_queue_must_interrupt(&bench.queue));
    pushing(&bench, at);
    assert_true(bl_queue_must_interrupt(&bench.queue));
    assert_false(bl_queue_must_interrupt(&bench.queue)); /* nothing new */
    machine_put16(&bench.machine, bench.driver.available, VRING_AVAIL_F_NO_INTERRUPT);
    pushing(&bench, at);
    assert_false(bl_queue_must_interrupt(&bench.queue));
    stop(&bench);
}

static void interrupts_with_event_index(void **state)
{
    struct bench bench;

    (void)state;
    start(&bench, false, true);

    uint64_t at = machine_take(&bench.machine, 16, 16), used_event = bench.driver.available + 4 + 2 * SIZE;

    machine_put16(&bench.machine, used_event, 2); /* tell me once three came back */
    pushing(&bench, at);
    assert_false(bl_queue_must_interrupt(&bench.queue));
    pushing(&bench, at);
    assert_false(bl_queue_must_interrupt(&bench.queue));
    pushing(&bench, at);
    assert_true(bl_queue_must_interrupt(&bench.queue));
    pushing(&bench, at);
    assert_false(bl_queue_must_interrupt(&bench.queue));
    /* Several at once that pass the index. */
    machine_put16(&bench.machine, used_event, 5);
    pushing(&bench, at);
    pushing(&bench, at);
    pushing(&bench, at);
    assert_true(bl_queue_must_interrupt(&bench.queue));
    stop(&bench);
}

static void kicks_are_asked_for(void **state)
{
    struct bench bench;

    (void)state;
    for (int event_index = 0; event_index < 2; event_index++) {
        start(&bench, false, event_index);

        uint64_t at = machine_take(&bench.machine, 16, 16);
        uint64_t wanted = event_index ? bench.driver.used + 4 + 8 * SIZE : bench.driver.used;

        assert_false(bl_queue_listen(&bench.queue, false));
        if (!event_index)
            assert_int_equal(machine_get16(&bench.machine, wanted), VRING_USED_F_NO_NOTIFY);
        pushing(&bench, at);
        assert_false(bl_queue_listen(&bench.queue, false));
        if (event_index)
            assert_int_equal(machine_get16(&bench.machine, wanted), 0); /* an old index: the driver stays silent */
        assert_false(bl_queue_listen(&bench.queue, true));
        assert_int_equal(machine_get16(&bench.machine, wanted), event_index ? bench.driver.available_index : 0);
        /* A chain that came before the driver could see that is not lost. */
        driver_add(&bench.driver, &(struct piece){at, 1, false}, 1);
        assert_true(bl_queue_listen(&bench.queue, true));
        stop(&bench);
    }
}

static void what_the_device_writes_is_dirty(void **state)
{
    struct bench bench;
    struct bl_error err = BL_ERROR_INIT;

    (void)state;
    start(&bench, false, false);
    bench.machine.free = 0x10000;

    const struct piece pieces[] = {{0x10000, 4096, false}, {0x20000, 4096, true}, {0x30000, 4096, true}};

    driver_add(&bench.driver, pieces, 3);
    assert_int_equal(bl_memory_track(&bench.machine.memory, &err), 0);
    assert_int_equal(bl_queue_pop(&bench.queue, &bench.chain), 1);
    bl_queue_push(&bench.queue, &bench.chain, 4096);
    /* The used ring, in page 1, and the first writable page. */
    assert_int_equal(bl_memory_take_dirty(&bench.machine.memory, 0, 0), 1ull << 1 | 1ull << 0x20);
    stop(&bench);
}

static void a_saved_queue_goes_on(void **state)
{
    struct bench bench;
    struct bl_buffer saved = BL_BUFFER_INIT(4096);
    struct bl_queue other;

    (void)state;
    start(&bench, true, true);

    uint64_t at = machine_take(&bench.machine, 16, 16);

    pushing(&bench, at);
    pushing(&bench, at);

    uint16_t head = driver_add(&bench.driver, &(struct piece){at, 1, false}, 1);

    assert_int_equal(bl_queue_save(&bench.queue, &saved), 0);
    other = (struct bl_queue){.memory = &bench.machine.memory, .size_max = BL_QUEUE_SIZE_MAX};

    struct bl_state_reader reader = BL_STATE_READER(bl_buffer_data(&saved), saved.length);

    assert_int_equal(bl_queue_load(&other, &reader, true, true), 0);
    assert_int_equal(reader.left, 0);
    assert_int_equal(bl_queue_pop(&other, &bench.chain), 1);
    assert_int_equal(bench.chain.head, head);
    bl_queue_push(&other, &bench.chain, 0);
    assert_int_equal(driver_used(&bench.driver), 3);
    /* Each byte cut off is noticed. */
    for (size_t length = 0; length < saved.length; length++) {
        struct bl_state_reader cut = BL_STATE_READER(bl_buffer_data(&saved), length);

        assert_int_equal(bl_queue_load(&other, &cut, true, true), -1);
    }
    /* Addresses and indices of a changed file are checked. */
    for (size_t i = 0; i < saved.length; i++) {
        struct bl_state_reader changed = BL_STATE_READER(bl_buffer_data(&saved), saved.length);

        bl_buffer_data(&saved)[i] ^= 0x80;
        bl_queue_load(&other, &changed, true, true);
        if (other.ready)
            assert_true(bl_queue_pop(&other, &bench.chain) <= 1);
        bl_buffer_data(&saved)[i] ^= 0x80;
    }
    bl_buffer_free(&saved);
    stop(&bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(direct_chains_come_and_go),
        cmocka_unit_test(indirect_chains_come_and_go),
        cmocka_unit_test(a_chain_that_was_put_back_comes_again),
        cmocka_unit_test(broken_rules_break_the_queue),
        cmocka_unit_test(a_table_that_was_not_negotiated),
        cmocka_unit_test(more_chains_than_descriptors),
        cmocka_unit_test(rings_lie_in_memory),
        cmocka_unit_test(interrupts_without_event_index),
        cmocka_unit_test(interrupts_with_event_index),
        cmocka_unit_test(kicks_are_asked_for),
        cmocka_unit_test(what_the_device_writes_is_dirty),
        cmocka_unit_test(a_saved_queue_goes_on),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
