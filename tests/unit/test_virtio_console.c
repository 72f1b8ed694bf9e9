/* SPDX-License-Identifier: Apache-2.0 */
/* test_virtio_console.c - the serial device: how ports are found, bytes both ways, and what happens when a side is full or gone */
#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_console.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "virtio_driver.h"
#include "vmm/virtio/console.h"

#define CONSOLE_TX 1
#define CONTROL_RX 2
#define CONTROL_TX 3
#define AGENT_RX   4
#define AGENT_TX   5
#define FEATURES   (1ull << VIRTIO_CONSOLE_F_MULTIPORT | 1ull << VIRTIO_RING_F_INDIRECT_DESC | 1ull << VIRTIO_RING_F_EVENT_IDX)
#define BUFFER     1024

struct bench {
    struct machine machine;
    struct bl_device *device;
    struct bl_mmio *mmio;
    struct driver_queue queues[BL_DEVICE_QUEUES_MAX];
    int console, agent; /* the host's ends */
    uint64_t control;   /* buffers of the control queues */
};

static void start(struct bench *bench)
{
    struct bl_error err = BL_ERROR_INIT;
    int console[2], agent[2];

    machine_init(&bench->machine, BL_MEMORY_SHARED);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, console), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, agent), 0);
    bench->console = console[0];
    bench->agent = agent[0];
    assert_int_equal(bl_serial_new(&bench->machine.loop, console[1], agent[1], &bench->device, &err), 0);
    assert_int_equal(bl_mmio_new(&bench->machine.loop, &bench->machine.memory, bench->device, &bench->mmio, &err), 0);
}

/* come_up() - The driver's side of the device, up to DRIVER_OK; its buffers for control messages are offered. */
static void come_up(struct bench *bench)
{
    driver_start(&bench->machine, bench->mmio, FEATURES, 64, bench->queues);
    bench->control = machine_take(&bench->machine, 16 * 64, 16);
    for (uint64_t i = 0; i < 16; i++)
        driver_add(&bench->queues[CONTROL_RX], &(struct piece){bench->control + 64 * i, 64, true}, 1);
    driver_kick(&bench->queues[CONTROL_RX]);
    machine_settle(&bench->machine);
}

static void stop(struct bench *bench)
{
    bl_mmio_free(bench->mmio);
    close(bench->console);
    close(bench->agent);
    machine_finish(&bench->machine);
}

static void say(struct bench *bench, uint32_t port, uint16_t event, uint16_t value)
{
    uint64_t at = machine_take(&bench->machine, 8, 8);
    uint8_t message[8];

    bl_put_le32(message, port);
    bl_put_le16(message + 4, event);
    bl_put_le16(message + 6, value);
    machine_put(&bench->machine, at, message, sizeof message);
    driver_add(&bench->queues[CONTROL_TX], &(struct piece){at, 8, false}, 1);
    driver_kick(&bench->queues[CONTROL_TX]);
    machine_settle(&bench->machine);
    while (driver_used(&bench->queues[CONTROL_TX]))
        driver_take(&bench->queues[CONTROL_TX], NULL);
}

/* heard() - The next message of the device is this one. @name: what follows it; NULL: nothing */
static void heard(struct bench *bench, uint32_t port, uint16_t event, uint16_t value, const char *name)
{
    uint8_t message[64];
    uint32_t written;
    uint16_t head = driver_take(&bench->queues[CONTROL_RX], &written);

    machine_get(&bench->machine, bench->control + 64ull * head, message, sizeof message);
    assert_int_equal(bl_get_le32(message), port);
    assert_int_equal(bl_get_le16(message + 4), event);
    assert_int_equal(bl_get_le16(message + 6), value);
    assert_int_equal(written, 8 + (name ? strlen(name) : 0));
    if (name)
        assert_memory_equal(message + 8, name, strlen(name));
}

/* open_agent() - As a guest's agent that opens its port. */
static void open_agent(struct bench *bench)
{
    say(bench, 0, VIRTIO_CONSOLE_DEVICE_READY, 1);
    say(bench, 1, VIRTIO_CONSOLE_PORT_READY, 1);
    say(bench, 1, VIRTIO_CONSOLE_PORT_OPEN, 1);
    while (driver_used(&bench->queues[CONTROL_RX]))
        driver_take(&bench->queues[CONTROL_RX], NULL);
}

/* write_port() - Offer bytes of the guest; they lie at the address that is returned. */
static uint64_t write_port(struct bench *bench, unsigned int queue, const void *bytes, uint32_t length)
{
    uint64_t at = machine_take(&bench->machine, length, 1);

    machine_put(&bench->machine, at, bytes, length);
    driver_add(&bench->queues[queue], &(struct piece){at, length, false}, 1);
    driver_kick(&bench->queues[queue]);
    machine_settle(&bench->machine);
    return at;
}

static void ports_are_found_by_name(void **state)
{
    struct bench bench;

    (void)state;
    start(&bench);
    come_up(&bench);
    assert_int_equal(reg_read(bench.mmio, VIRTIO_MMIO_CONFIG + 4), 2); /* max_nr_ports */
    assert_int_equal(driver_used(&bench.queues[CONTROL_RX]), 0);
    say(&bench, 0, VIRTIO_CONSOLE_DEVICE_READY, 1);
    assert_int_equal(driver_used(&bench.queues[CONTROL_RX]), 2);
    heard(&bench, 0, VIRTIO_CONSOLE_PORT_ADD, 1, NULL);
    heard(&bench, 1, VIRTIO_CONSOLE_PORT_ADD, 1, NULL);
    say(&bench, 0, VIRTIO_CONSOLE_PORT_READY, 1);
    heard(&bench, 0, VIRTIO_CONSOLE_CONSOLE_PORT, 1, NULL);
    heard(&bench, 0, VIRTIO_CONSOLE_PORT_OPEN, 1, NULL);
    say(&bench, 1, VIRTIO_CONSOLE_PORT_READY, 1);
    heard(&bench, 1, VIRTIO_CONSOLE_PORT_NAME, 1, "boxlite.agent");
    heard(&bench, 1, VIRTIO_CONSOLE_PORT_OPEN, 1, NULL);
    assert_int_equal(driver_used(&bench.queues[CONTROL_RX]), 0);
    stop(&bench);
}

/* A driver that asks without end and takes no answer gets them, once, when it does; what it says is taken meanwhile. */
static void answers_wait_for_buffers(void **state)
{
    struct bench bench;

    (void)state;
    start(&bench);
    driver_start(&bench.machine, bench.mmio, FEATURES, 16, bench.queues);
    machine_settle(&bench.machine);
    for (int i = 0; i < 200; i++) {
        say(&bench, 0, VIRTIO_CONSOLE_DEVICE_READY, 1);
        say(&bench, 1, VIRTIO_CONSOLE_PORT_READY, 1);
    }
    say(&bench, 7, VIRTIO_CONSOLE_PORT_READY, 1); /* there is no such port */
    say(&bench, UINT32_MAX, VIRTIO_CONSOLE_PORT_OPEN, 1);
    say(&bench, 1, 999, 1);
    bench.control = machine_take(&bench.machine, 16 * 64, 16);
    for (uint64_t i = 0; i < 16; i++) {
        driver_add(&bench.queues[CONTROL_RX], &(struct piece){bench.control + 64 * i, 64, true}, 1);
        driver_kick(&bench.queues[CONTROL_RX]);
        machine_settle(&bench.machine);
        assert_int_equal(driver_used(&bench.queues[CONTROL_RX]), i < 4 ? i + 1 : 4);
    }
    heard(&bench, 0, VIRTIO_CONSOLE_PORT_ADD, 1, NULL);
    heard(&bench, 1, VIRTIO_CONSOLE_PORT_ADD, 1, NULL);
    heard(&bench, 1, VIRTIO_CONSOLE_PORT_NAME, 1, "boxlite.agent");
    heard(&bench, 1, VIRTIO_CONSOLE_PORT_OPEN, 1, NULL);
    stop(&bench);
}

static void the_console_writes(void **state)
{
    struct bench bench;
    char got[64];

    (void)state;
    start(&bench);
    come_up(&bench);
    write_port(&bench, CONSOLE_TX, "panic: ", 7);
    write_port(&bench, CONSOLE_TX, "none", 4);
    assert_int_equal(driver_used(&bench.queues[CONSOLE_TX]), 2);
    assert_int_equal(read(bench.console, got, sizeof got), 11);
    assert_memory_equal(got, "panic: none", 11);
    stop(&bench);
}

static void a_driver_of_one_port(void **state)
{
    struct bench bench;
    char got[64];

    (void)state;
    start(&bench);
    driver_start(&bench.machine, bench.mmio, 0, 16, bench.queues);
    write_port(&bench, CONSOLE_TX, "early", 5);
    assert_int_equal(read(bench.console, got, sizeof got), 5);
    /* It reads too. */
    driver_add(&bench.queues[0], &(struct piece){0x200000, 64, true}, 1);
    driver_kick(&bench.queues[0]);
    assert_int_equal(write(bench.console, "typed", 5), 5);
    driver_wait(&bench.queues[0], 1);
    machine_get(&bench.machine, 0x200000, got, 5);
    assert_memory_equal(got, "typed", 5);
    stop(&bench);
}

static void nothing_is_read_before_the_agent_opens(void **state)
{
    struct bench bench;
    char got[5];
    uint32_t written;

    (void)state;
    start(&bench);
    come_up(&bench);
    assert_int_equal(write(bench.agent, "hello", 5), 5);
    driver_add(&bench.queues[AGENT_RX], &(struct piece){0x200000, BUFFER, true}, 1);
    driver_kick(&bench.queues[AGENT_RX]);
    machine_settle(&bench.machine);
    assert_int_equal(driver_used(&bench.queues[AGENT_RX]), 0);
    open_agent(&bench);
    driver_wait(&bench.queues[AGENT_RX], 1);
    driver_take(&bench.queues[AGENT_RX], &written);
    assert_int_equal(written, 5);
    machine_get(&bench.machine, 0x200000, got, sizeof got);
    assert_memory_equal(got, "hello", 5);
    /* Closed again, the bytes stay with the host. */
    say(&bench, 1, VIRTIO_CONSOLE_PORT_OPEN, 0);
    assert_int_equal(write(bench.agent, "again", 5), 5);
    driver_add(&bench.queues[AGENT_RX], &(struct piece){0x200000, BUFFER, true}, 1);
    driver_kick(&bench.queues[AGENT_RX]);
    machine_settle(&bench.machine);
    assert_int_equal(driver_used(&bench.queues[AGENT_RX]), 0);
    say(&bench, 1, VIRTIO_CONSOLE_PORT_OPEN, 1);
    driver_wait(&bench.queues[AGENT_RX], 1);
    stop(&bench);
}

static uint8_t pattern(uint64_t at)
{
    return (uint8_t)(at * 7 + at / 251);
}

/* The guest writes far more than the socket takes: it is held up, nothing is lost or doubled, and no byte is kept by the device. */
static void a_full_socket_holds_the_guest_up(void **state)
{
    enum { CHUNK = 50000, CHUNKS = 12 };
    struct bench bench;
    uint8_t bytes[CHUNK];
    uint64_t seen = 0, wrote = 0;
    ssize_t n;

    (void)state;
    start(&bench);
    come_up(&bench);
    open_agent(&bench);
    for (int i = 0; i < CHUNKS; i++) {
        for (size_t j = 0; j < CHUNK; j++)
            bytes[j] = pattern(wrote++);
        write_port(&bench, AGENT_TX, bytes, CHUNK);
    }
    assert_true(driver_used(&bench.queues[AGENT_TX]) < CHUNKS);
    while (seen < wrote) {
        n = recv(bench.agent, bytes, 7001, MSG_DONTWAIT);
        if (n < 0) {
            assert_int_equal(errno, EAGAIN);
            machine_settle(&bench.machine); /* room in the socket is an event; there must be bytes after it */
            n = recv(bench.agent, bytes, 7001, MSG_DONTWAIT);
            assert_true(n > 0);
        }
        for (ssize_t j = 0; j < n; j++)
            assert_int_equal(bytes[j], pattern(seen++));
    }
    machine_settle(&bench.machine);
    assert_int_equal(driver_used(&bench.queues[AGENT_TX]), CHUNKS);
    assert_int_equal(recv(bench.agent, bytes, 1, MSG_DONTWAIT), -1);
    stop(&bench);
}

/* The host writes far more than the guest offers room for: the host is held up, and each buffer that comes later is filled. */
static void a_full_guest_holds_the_host_up(void **state)
{
    struct bench bench;
    uint8_t bytes[BUFFER];
    uint64_t seen = 0, wrote = 0;
    ssize_t n = 0;

    (void)state;
    start(&bench);
    come_up(&bench);
    open_agent(&bench);
    while (n >= 0) {
        for (size_t j = 0; j < sizeof bytes; j++)
            bytes[j] = pattern(wrote + j);
        n = send(bench.agent, bytes, sizeof bytes, MSG_DONTWAIT);
        wrote += n > 0 ? (uint64_t)n : 0;
        machine_settle(&bench.machine);
    }
    assert_true(wrote > 10 * BUFFER);
    while (seen < wrote) {
        uint32_t written;

        driver_add(&bench.queues[AGENT_RX], &(struct piece){0x200000, BUFFER, true}, 1);
        driver_kick(&bench.queues[AGENT_RX]);
        driver_wait(&bench.queues[AGENT_RX], 1);
        driver_take(&bench.queues[AGENT_RX], &written);
        assert_in_range(written, 1, BUFFER);
        machine_get(&bench.machine, 0x200000, bytes, written);
        for (uint32_t j = 0; j < written; j++)
            assert_int_equal(bytes[j], pattern(seen++));
    }
    stop(&bench);
}

/* Many buffers are waiting when bytes come: they are used in their order, and none is taken for nothing. */
static void buffers_wait_for_bytes(void **state)
{
    struct bench bench;
    char got[3];
    uint32_t written;

    (void)state;
    start(&bench);
    come_up(&bench);
    open_agent(&bench);
    for (uint64_t i = 0; i < 8; i++)
        driver_add(&bench.queues[AGENT_RX], &(struct piece){0x200000 + i * BUFFER, BUFFER, true}, 1);
    driver_kick(&bench.queues[AGENT_RX]);
    machine_settle(&bench.machine);
    for (uint16_t i = 0; i < 8; i++) {
        assert_int_equal(driver_used(&bench.queues[AGENT_RX]), 0);
        assert_int_equal(write(bench.agent, "abc", 3), 3);
        driver_wait(&bench.queues[AGENT_RX], 1);
        assert_int_equal(driver_take(&bench.queues[AGENT_RX], &written), i);
        assert_int_equal(written, 3);
        machine_get(&bench.machine, 0x200000 + (uint64_t)i * BUFFER, got, 3);
        assert_memory_equal(got, "abc", 3);
    }
    stop(&bench);
}

/* A flood on one port is cut into turns, by chains and by bytes; all of it arrives. */
static void a_flood_takes_turns(void **state)
{
    enum { CHAINS = 64, ROOM = 4096 };
    struct bench bench;
    uint8_t bytes[ROOM];
    uint64_t seen = 0, wrote = 0, got = 0;
    ssize_t n;

    (void)state;
    start(&bench);
    come_up(&bench);
    open_agent(&bench);
    for (int round = 0; round < 10; round++) {
        for (int i = 0; i < CHAINS; i++)
            driver_add(&bench.queues[CONSOLE_TX], &(struct piece){0x200000, 100, false}, 1);
        driver_kick(&bench.queues[CONSOLE_TX]);
        machine_settle(&bench.machine);
        while ((n = recv(bench.console, bytes, sizeof bytes, MSG_DONTWAIT)) > 0)
            seen += (uint64_t)n;
        assert_int_equal(driver_used(&bench.queues[CONSOLE_TX]), CHAINS);
        while (driver_used(&bench.queues[CONSOLE_TX]))
            driver_take(&bench.queues[CONSOLE_TX], NULL);
    }
    assert_int_equal(seen, 10 * CHAINS * 100);
    /* The other way: as much as the socket holds, which is more than a turn, into buffers that are there already. */
    while ((n = send(bench.agent, bytes, sizeof bytes, MSG_DONTWAIT)) > 0)
        wrote += (uint64_t)n;
    assert_true(wrote > 131072 && wrote <= CHAINS * ROOM);
    for (uint64_t i = 0; i < CHAINS; i++)
        driver_add(&bench.queues[AGENT_RX], &(struct piece){0x200000 + i * ROOM, ROOM, true}, 1);
    driver_kick(&bench.queues[AGENT_RX]);
    machine_settle(&bench.machine);
    while (driver_used(&bench.queues[AGENT_RX])) {
        uint32_t written;

        driver_take(&bench.queues[AGENT_RX], &written);
        got += written;
    }
    assert_int_equal(got, wrote);
    stop(&bench);
}

static void a_host_that_goes_is_told(void **state)
{
    struct bench bench;

    (void)state;
    start(&bench);
    come_up(&bench);
    open_agent(&bench);
    close(bench.agent);
    bench.agent = -1;
    machine_settle(&bench.machine);
    heard(&bench, 1, VIRTIO_CONSOLE_PORT_OPEN, 0, NULL);
    /* What is written then is taken and goes nowhere: the guest must not hang. */
    write_port(&bench, AGENT_TX, "to nobody", 9);
    assert_int_equal(driver_used(&bench.queues[AGENT_TX]), 1);
    write_port(&bench, CONSOLE_TX, "still", 5);
    assert_int_equal(driver_used(&bench.queues[CONSOLE_TX]), 1);
    stop(&bench);
}

/* Half of a chain is in the socket when the guest resets: the rest is gone, and a new driver begins with its own bytes. */
static void a_reset_in_the_middle(void **state)
{
    struct bench bench;
    uint8_t bytes[4096];
    uint64_t most = 4 << 20;

    (void)state;
    start(&bench);
    come_up(&bench);
    open_agent(&bench);
    driver_add(&bench.queues[AGENT_TX], &(struct piece){RAM_HIGH, (uint32_t)most, false}, 1);
    driver_kick(&bench.queues[AGENT_TX]);
    machine_settle(&bench.machine);
    assert_int_equal(driver_used(&bench.queues[AGENT_TX]), 0);
    reg_write(bench.mmio, VIRTIO_MMIO_STATUS, 0);
    machine_settle(&bench.machine);
    while (recv(bench.agent, bytes, sizeof bytes, MSG_DONTWAIT) > 0)
        machine_settle(&bench.machine);
    come_up(&bench);
    open_agent(&bench);
    write_port(&bench, AGENT_TX, "new", 3);
    assert_int_equal(recv(bench.agent, bytes, sizeof bytes, MSG_DONTWAIT), 3);
    assert_memory_equal(bytes, "new", 3);
    stop(&bench);
}

/* Saved with half of a chain in the socket, the device that comes back sends the other half. */
static void a_saved_port_goes_on(void **state)
{
    struct bench bench;
    struct bl_buffer saved = BL_BUFFER_INIT(65536);
    struct bl_error err = BL_ERROR_INIT;
    struct bl_device *device = NULL;
    struct bl_mmio *other = NULL;
    uint8_t bytes[4096];
    uint64_t seen = 0, most = 2 << 20;
    int console[2], agent[2];

    (void)state;
    start(&bench);
    come_up(&bench);
    open_agent(&bench);
    for (uint64_t at = 0; at < most; at += sizeof bytes) {
        for (size_t j = 0; j < sizeof bytes; j++)
            bytes[j] = pattern(at + j);
        machine_put(&bench.machine, RAM_HIGH + at, bytes, sizeof bytes);
    }
    driver_add(&bench.queues[AGENT_TX], &(struct piece){RAM_HIGH, (uint32_t)most, false}, 1);
    driver_kick(&bench.queues[AGENT_TX]);
    machine_settle(&bench.machine);
    bl_mmio_quiesce(bench.mmio);
    machine_settle(&bench.machine);
    assert_int_equal(bl_mmio_save(bench.mmio, &saved, &err), 0);
    for (ssize_t n; (n = recv(bench.agent, bytes, sizeof bytes, MSG_DONTWAIT)) > 0;)
        for (ssize_t j = 0; j < n; j++)
            assert_int_equal(bytes[j], pattern(seen++));
    assert_true(seen > 0 && seen < most);

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, console), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, agent), 0);
    assert_int_equal(bl_serial_new(&bench.machine.loop, console[1], agent[1], &device, &err), 0);
    assert_int_equal(bl_mmio_new(&bench.machine.loop, &bench.machine.memory, device, &other, &err), 0);

    struct bl_state_reader reader = BL_STATE_READER(bl_buffer_data(&saved), saved.length);

    assert_int_equal(bl_mmio_load(other, &reader, &err), 0);
    bl_mmio_resume(other);
    machine_settle(&bench.machine);
    for (ssize_t n; (n = recv(agent[0], bytes, sizeof bytes, MSG_DONTWAIT)) > 0; machine_settle(&bench.machine))
        for (ssize_t j = 0; j < n; j++)
            assert_int_equal(bytes[j], pattern(seen++));
    assert_int_equal(seen, most);
    assert_int_equal(driver_used(&bench.queues[AGENT_TX]), 1);
    bl_mmio_free(other);
    close(console[0]);
    close(agent[0]);
    bl_buffer_free(&saved);
    stop(&bench);
}

/* The last words of a kernel, still in the queue when its processors have stopped. */
static void last_words_are_drained(void **state)
{
    struct bench bench;
    char got[64];

    (void)state;
    start(&bench);
    come_up(&bench);
    machine_put(&bench.machine, 0x200000, "goodbye", 7);
    driver_add(&bench.queues[CONSOLE_TX], &(struct piece){0x200000, 7, false}, 1);
    bl_serial_drain(bench.device);
    assert_int_equal(recv(bench.console, got, sizeof got, MSG_DONTWAIT), 7);
    stop(&bench);
}

/* A processor that brings the device up, uses it and resets it in the middle, again and again, while the loop serves it. */
struct processor {
    struct bench *bench;
    int done; /* eventfd */
};

static void *run_processor(void *data)
{
    const struct processor *processor = data;
    struct bench *bench = processor->bench;
    uint64_t free_before = bench->machine.free, one = 1;

    for (int round = 0; round < 200; round++) {
        bench->machine.free = free_before;
        driver_start(&bench->machine, bench->mmio, FEATURES, 16, bench->queues);
        for (uint64_t i = 0; i < 8; i++)
            driver_add(&bench->queues[CONTROL_RX], &(struct piece){0x200000 + 64 * i, 64, true}, 1);
        driver_kick(&bench->queues[CONTROL_RX]);
        for (int i = 0; i < 8; i++) {
            driver_add(&bench->queues[CONSOLE_TX], &(struct piece){RAM_HIGH, 1000, false}, 1);
            driver_add(&bench->queues[AGENT_TX], &(struct piece){RAM_HIGH, 3000, false}, 1);
            driver_kick(&bench->queues[CONSOLE_TX]);
            driver_kick(&bench->queues[AGENT_TX]);
        }
        /* On some rounds, until the loop came to the first chain. */
        while (round % 4 == 0 && !driver_used(&bench->queues[CONSOLE_TX]))
            sched_yield();
        (void)reg_read(bench->mmio, VIRTIO_MMIO_INTERRUPT_STATUS);
    }
    reg_write(bench->mmio, VIRTIO_MMIO_STATUS, 0);
    if (write(processor->done, &one, sizeof one) < 0)
        abort();
    return NULL;
}

static void on_done(struct bl_source *source, uint32_t events)
{
    (void)events;
    bl_loop_stop(source->data);
}

static void on_host(struct bl_source *source, uint32_t events)
{
    uint8_t bytes[4096];

    (void)events;
    while (recv(source->fd, bytes, sizeof bytes, MSG_DONTWAIT) > 0)
        ;
}

static void a_processor_works_beside_the_loop(void **state)
{
    struct bench bench;
    struct processor processor = {.bench = &bench, .done = eventfd(0, EFD_CLOEXEC)};
    struct bl_source sources[3];
    pthread_t thread;

    (void)state;
    start(&bench);
    sources[0] = (struct bl_source){.fd = processor.done, .events = EPOLLIN, .ready = on_done, .data = &bench.machine.loop};
    sources[1] = (struct bl_source){.fd = bench.console, .events = EPOLLIN, .ready = on_host};
    sources[2] = (struct bl_source){.fd = bench.agent, .events = EPOLLIN, .ready = on_host};
    for (int i = 0; i < 3; i++)
        assert_int_equal(bl_source_add(&bench.machine.loop, &sources[i]), 0);
    assert_int_equal(pthread_create(&thread, NULL, run_processor, &processor), 0);
    assert_int_equal(bl_loop_run(&bench.machine.loop), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    bench.machine.loop.stopped = false;
    for (int i = 0; i < 3; i++)
        bl_source_remove(&sources[i]);
    close(processor.done);
    /* It works as ever. */
    come_up(&bench);
    write_port(&bench, CONSOLE_TX, "after", 5);
    assert_int_equal(driver_used(&bench.queues[CONSOLE_TX]), 1);
    stop(&bench);
}

static void broken_rules_want_a_reset(void **state)
{
    static const struct {
        unsigned int queue;
        struct piece piece;
    } cases[] = {
        {CONTROL_RX, {RAM_GAP, 64, true}},
        {CONTROL_TX, {RAM_GAP, 8, false}},
        {AGENT_TX, {RAM_LOW - 1, 2, false}},
        {AGENT_RX, {0x200000, 64, false}}, /* not writable */
    };
    struct bench bench;

    (void)state;
    start(&bench);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        driver_start(&bench.machine, bench.mmio, FEATURES, 16, bench.queues);
        machine_settle(&bench.machine);
        say(&bench, 0, VIRTIO_CONSOLE_DEVICE_READY, 1);
        say(&bench, 1, VIRTIO_CONSOLE_PORT_OPEN, 1);
        assert_int_equal(reg_read(bench.mmio, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET, 0);
        driver_add(&bench.queues[cases[i].queue], &cases[i].piece, 1);
        driver_kick(&bench.queues[cases[i].queue]);
        machine_settle(&bench.machine);
        assert_true(reg_read(bench.mmio, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET);
    }
    stop(&bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ports_are_found_by_name),
        cmocka_unit_test(answers_wait_for_buffers),
        cmocka_unit_test(the_console_writes),
        cmocka_unit_test(a_driver_of_one_port),
        cmocka_unit_test(nothing_is_read_before_the_agent_opens),
        cmocka_unit_test(a_full_socket_holds_the_guest_up),
        cmocka_unit_test(a_full_guest_holds_the_host_up),
        cmocka_unit_test(buffers_wait_for_bytes),
        cmocka_unit_test(a_flood_takes_turns),
        cmocka_unit_test(a_host_that_goes_is_told),
        cmocka_unit_test(a_reset_in_the_middle),
        cmocka_unit_test(a_saved_port_goes_on),
        cmocka_unit_test(last_words_are_drained),
        cmocka_unit_test(a_processor_works_beside_the_loop),
        cmocka_unit_test(broken_rules_want_a_reset),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
