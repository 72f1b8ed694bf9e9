/* SPDX-License-Identifier: Apache-2.0 */
/*
 * console.c - the serial device: ports and their sockets; see console.h
 *
 * The queues of a device with two ports (virtio 1.2, 5.3.2): to and from port 0, to and from the driver about ports (control), to
 * and from port 1. Without MULTIPORT there is port 0 alone.
 *
 * No byte is kept here. A chain that the guest sends goes into the socket; when that takes only a part, the chain is put back into
 * its queue, the bytes that went are remembered as a number, and the socket is watched for room. To the guest, a chain is popped
 * first and the socket read into it; when there is nothing to read, the chain goes back. So between two calls nothing is in flight:
 * a reset has nothing to wait for, and a saved device is its queues and that number.
 *
 * What the driver shall be told about ports is kept as a set of facts and not as a list, so a driver that asks without end and
 * never reads the answers takes no memory.
 *
 * Nobody is starved: a call moves a bounded number of bytes, then lets the loop look after others first.
 */
#include "vmm/virtio/console.h"

#include <errno.h>
#include <linux/virtio_console.h>
#include <linux/virtio_ids.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "vmm/virtio/console_private.h"

#define QUEUE_COUNT   6
#define QUEUE_SIZE    64
#define TURN_BYTES    131072 /* that one port moves in one direction before others are looked after */
#define TURN_CHAINS   64
#define STATE_VERSION 1

/* watch() - For what the port waits for; a socket that hung up is reported in any case. */
static void watch(struct bl_serial_port *port)
{
    bl_source_watch(&port->socket, (port->wants_bytes ? (uint32_t)EPOLLIN : 0) | (port->wants_room ? (uint32_t)EPOLLOUT : 0));
}

static void hang_up(struct bl_serial_port *port)
{
    bl_source_remove(&port->socket);
    bl_close_fd(&port->socket.fd);
    port->wants_room = port->wants_bytes = false;
    port->sent = 0;
    port->tell |= BL_TELL_OPEN;
}

/* Bytes */

/* send_chain() - Return: whether the chain is done with: all of it is in the socket, or nobody is there to take it */
static bool send_chain(struct bl_serial *serial, struct bl_serial_port *port)
{
    struct bl_cursor in = bl_chain_reader(&serial->chain);
    struct msghdr message = {.msg_iov = serial->rest};
    uint64_t left = serial->chain.readable_bytes - bl_cursor_skip(&in, port->sent);
    ssize_t n;

    if (port->socket.fd < 0 || !left)
        return true;
    message.msg_iovlen = (size_t)bl_cursor_iovec(&in, left, serial->rest, BL_CHAIN_PIECES_MAX);
    do
        n = sendmsg(port->socket.fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    if (n < 0 && errno != EAGAIN) {
        hang_up(port);
        return true;
    }
    if (n >= 0 && (uint64_t)n == left)
        return true;
    port->sent += n > 0 ? (uint64_t)n : 0;
    port->wants_room = true;
    return false;
}

/* next_chain() - Return: whether there is one; if not, the driver kicks when it offers one */
static bool next_chain(struct bl_serial *serial, unsigned int queue)
{
    struct bl_device *device = &serial->device;

    if (!bl_device_running(device))
        return false;
    if (bl_device_pop(device, queue, &serial->chain) > 0)
        return true;
    return bl_device_running(device) && bl_queue_listen(&device->queues[queue], true) &&
           bl_device_pop(device, queue, &serial->chain) > 0;
}

/* transmit() - From the guest to the socket. */
static void transmit(struct bl_serial *serial, struct bl_serial_port *port)
{
    uint64_t moved = 0;
    int chains = 0;

    port->wants_room = false;
    while (chains < TURN_CHAINS && moved < TURN_BYTES && next_chain(serial, port->transmit)) {
        if (!send_chain(serial, port)) {
            bl_queue_unpop(&serial->device.queues[port->transmit]);
            break;
        }
        moved += serial->chain.readable_bytes;
        chains++;
        port->sent = 0;
        bl_device_push(&serial->device, port->transmit, &serial->chain, 0);
    }
    if (chains == TURN_CHAINS || moved >= TURN_BYTES)
        bl_device_kick(&serial->device, port->transmit);
    bl_device_tell(&serial->device, port->transmit);
}

/* receive_chain() - Read the socket into a chain. Return: bytes; 0: there is nothing to read, the chain was put back */
static size_t receive_chain(struct bl_serial *serial, struct bl_serial_port *port)
{
    const struct bl_chain *chain = &serial->chain;
    struct msghdr message = {.msg_iov = serial->rest, .msg_iovlen = chain->writable};
    ssize_t n;

    memcpy(serial->rest, chain->pieces + chain->readable, chain->writable * sizeof serial->rest[0]);
    do
        n = recvmsg(port->socket.fd, &message, MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    if (n > 0) {
        bl_device_push(&serial->device, port->receive, chain, (uint64_t)n);
        return (size_t)n;
    }
    bl_queue_unpop(&serial->device.queues[port->receive]);
    if (n == 0 || errno != EAGAIN)
        hang_up(port);
    else
        port->wants_bytes = true;
    return 0;
}

/* receive() - From the socket to the guest, while somebody there listens. */
static void receive(struct bl_serial *serial, struct bl_serial_port *port)
{
    size_t moved = 0, n;

    port->wants_bytes = false;
    while (port->socket.fd >= 0 && port->guest_open && moved < TURN_BYTES && next_chain(serial, port->receive)) {
        if (!serial->chain.writable) {
            bl_device_break(&serial->device, port->receive, "a buffer to read into that is not writable");
            break;
        }
        n = receive_chain(serial, port);
        if (!n)
            break;
        moved += n;
    }
    if (moved >= TURN_BYTES)
        bl_device_kick(&serial->device, port->receive);
    bl_device_tell(&serial->device, port->receive);
}

/* take_control() - What the driver says about ports. */
static void take_control(struct bl_serial *serial)
{
    uint8_t message[BL_SERIAL_CONTROL_BYTES];
    int chains = 0;

    while (bl_serial_is_multiport(serial) && chains < TURN_CHAINS && next_chain(serial, BL_SERIAL_CONTROL_TRANSMIT)) {
        struct bl_cursor in = bl_chain_reader(&serial->chain);

        if (bl_cursor_read(&in, message, sizeof message) == sizeof message)
            bl_serial_take_message(serial, message);
        bl_device_push(&serial->device, BL_SERIAL_CONTROL_TRANSMIT, &serial->chain, 0);
        chains++;
    }
    if (chains == TURN_CHAINS)
        bl_device_kick(&serial->device, BL_SERIAL_CONTROL_TRANSMIT);
    bl_device_tell(&serial->device, BL_SERIAL_CONTROL_TRANSMIT);
    for (int i = 0; i < BL_SERIAL_PORTS; i++)
        receive(serial, &serial->ports[i]);
}

static void on_socket(struct bl_source *source, uint32_t events)
{
    struct bl_serial *serial = source->data;
    struct bl_serial_port *port = source == &serial->ports[0].socket ? &serial->ports[0] : &serial->ports[1];

    pthread_mutex_lock(&serial->device.lock);
    if (events & EPOLLOUT)
        transmit(serial, port);
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
        receive(serial, port);
    /* A peer that is gone is reported without end; what it left, and nobody in the guest has room for, is lost. */
    if (events & (EPOLLHUP | EPOLLERR) && port->socket.fd >= 0)
        hang_up(port);
    watch(port);
    bl_serial_tell_driver(serial);
    pthread_mutex_unlock(&serial->device.lock);
}

/* The device */

static void read_config(struct bl_device *device, size_t offset, void *out, size_t length)
{
    /* Columns and rows are without a meaning, as SIZE is not offered; neither is there an emergency write. */
    struct virtio_console_config config = {.max_nr_ports = htole32(BL_SERIAL_PORTS)};

    (void)device;
    memcpy(out, (const uint8_t *)&config + offset, length);
}

static void activate(struct bl_device *device)
{
    struct bl_serial *serial = (struct bl_serial *)device;

    if (!bl_serial_is_multiport(serial))
        serial->ports[0].guest_open = true;
}

static void reset(struct bl_device *device)
{
    struct bl_serial *serial = (struct bl_serial *)device;

    for (int i = 0; i < BL_SERIAL_PORTS; i++) {
        serial->ports[i].guest_open = false;
        serial->ports[i].tell = 0;
        serial->ports[i].sent = 0;
    }
}

static void notify(struct bl_device *device, unsigned int queue)
{
    struct bl_serial *serial = (struct bl_serial *)device;

    if (queue == BL_SERIAL_CONTROL_TRANSMIT)
        take_control(serial);
    for (int i = 0; i < BL_SERIAL_PORTS; i++) {
        struct bl_serial_port *port = &serial->ports[i];

        if (queue == port->transmit)
            transmit(serial, port);
        if (queue == port->receive)
            receive(serial, port);
        watch(port);
    }
    bl_serial_tell_driver(serial);
}

void bl_serial_drain(struct bl_device *device)
{
    struct bl_serial *serial = (struct bl_serial *)device;

    pthread_mutex_lock(&device->lock);
    for (int i = 0; i < BL_SERIAL_PORTS; i++)
        do
            transmit(serial, &serial->ports[i]);
        while (!serial->ports[i].wants_room && bl_device_running(device) &&
               bl_queue_pending(&device->queues[serial->ports[i].transmit]));
    pthread_mutex_unlock(&device->lock);
}

static int save(struct bl_device *device, struct bl_buffer *out)
{
    const struct bl_serial *serial = (const struct bl_serial *)device;
    int failed = 0;

    for (int i = 0; i < BL_SERIAL_PORTS; i++) {
        failed |= bl_state_put_u16(out, serial->ports[i].guest_open);
        failed |= bl_state_put_u32(out, serial->ports[i].tell) | bl_state_put_u64(out, serial->ports[i].sent);
    }
    return failed;
}

static int load(struct bl_device *device, struct bl_state_reader *in, uint32_t version, struct bl_error *err)
{
    struct bl_serial *serial = (struct bl_serial *)device;

    (void)version;
    for (int i = 0; i < BL_SERIAL_PORTS; i++) {
        serial->ports[i].guest_open = bl_state_get_u16(in);
        serial->ports[i].tell = bl_state_get_u32(in) & BL_TELL_ALL;
        serial->ports[i].sent = bl_state_get_u64(in);
        if (serial->ports[i].socket.fd < 0)
            serial->ports[i].tell |= BL_TELL_OPEN;
    }
    return in->failed ? bl_fail(err, BL_INVALID_ARGUMENT, 0, "it is cut short") : 0;
}

static void destroy(struct bl_device *device)
{
    struct bl_serial *serial = (struct bl_serial *)device;

    for (int i = 0; i < BL_SERIAL_PORTS; i++)
        hang_up(&serial->ports[i]);
    bl_device_finish(device);
    free(serial);
}

static const struct bl_device_ops serial_ops = {
    .name = "console",
    .read_config = read_config,
    .activate = activate,
    .reset = reset,
    .notify = notify,
    .save = save,
    .load = load,
    .free = destroy,
};

static const struct bl_device serial_device = {
    .ops = &serial_ops,
    .id = VIRTIO_ID_CONSOLE,
    .state_version = STATE_VERSION,
    .features = 1ull << VIRTIO_CONSOLE_F_MULTIPORT,
    .config_bytes = sizeof(struct virtio_console_config),
    .queue_count = QUEUE_COUNT,
    .queue_sizes = {QUEUE_SIZE, QUEUE_SIZE, QUEUE_SIZE, QUEUE_SIZE, QUEUE_SIZE, QUEUE_SIZE},
};

int bl_serial_new(struct bl_loop *loop, int console_fd, int agent_fd, struct bl_device **out, struct bl_error *err)
{
    cleanup_close int console = console_fd, agent = agent_fd;
    struct bl_serial *serial = calloc(1, sizeof *serial);
    int *fds[BL_SERIAL_PORTS] = {&console, &agent};

    if (!serial)
        return bl_fail_memory(err);
    serial->device = serial_device;
    serial->ports[0] = (struct bl_serial_port){.receive = 0, .transmit = 1, .socket.fd = -1};
    serial->ports[1] = (struct bl_serial_port){.receive = 4, .transmit = 5, .name = BL_CONSOLE_AGENT_NAME, .socket.fd = -1};
    if (bl_device_init(&serial->device) < 0) {
        free(serial);
        return bl_fail(err, BL_ENGINE, errno, "make the console");
    }
    for (int i = 0; i < BL_SERIAL_PORTS; i++) {
        struct bl_serial_port *port = &serial->ports[i];

        port->socket = (struct bl_source){.fd = bl_steal_fd(fds[i]), .events = 0, .ready = on_socket, .data = serial};
        if (port->socket.fd >= 0 && bl_source_add(loop, &port->socket) < 0) {
            bl_fail(err, BL_ENGINE, errno, "watch a socket of the console");
            destroy(&serial->device);
            return -1;
        }
    }
    *out = &serial->device;
    return 0;
}
