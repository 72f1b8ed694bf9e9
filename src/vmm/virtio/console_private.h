/* SPDX-License-Identifier: Apache-2.0 */
/* console_private.h - between bytes (console.c) and messages about ports (console_control.c) */
#ifndef BL_VMM_VIRTIO_CONSOLE_PRIVATE_H
#define BL_VMM_VIRTIO_CONSOLE_PRIVATE_H

#include "vmm/virtio/console.h"

#define BL_SERIAL_PORTS            2
#define BL_SERIAL_CONTROL_RECEIVE  2 /* queues; from the driver's point of view, as in the standard */
#define BL_SERIAL_CONTROL_TRANSMIT 3
#define BL_SERIAL_CONTROL_BYTES    8

/* What the driver has yet to be told about a port, in this order. */
#define BL_TELL_ADD     1u
#define BL_TELL_CONSOLE 2u
#define BL_TELL_NAME    4u
#define BL_TELL_OPEN    8u
#define BL_TELL_ALL     15u

struct bl_serial_port {
    struct bl_source socket; /* .fd -1: nobody is there */
    unsigned int receive, transmit;
    const char *name; /* NULL: none */
    uint32_t tell;    /* BL_TELL_ bits */
    uint64_t sent;    /* bytes of the next chain in the transmit queue that the socket has already */
    bool guest_open;  /* somebody in the guest listens */
    bool wants_room;  /* the socket was full */
    bool wants_bytes; /* there is a buffer to read into, and the socket was empty */
};

/* The device. Its lock guards all of it; sockets are touched on the loop's thread only. */
struct bl_serial {
    struct bl_device device;
    struct bl_serial_port ports[BL_SERIAL_PORTS];
    struct bl_chain chain;                  /* what a call works on */
    struct iovec rest[BL_CHAIN_PIECES_MAX]; /* what of it is left to send */
};

bool bl_serial_is_multiport(const struct bl_serial *serial);
/* bl_serial_tell_driver() - As much of what it should know as it has buffers for. */
void bl_serial_tell_driver(struct bl_serial *serial);
/* bl_serial_take_message() - What the driver says. @message: BL_SERIAL_CONTROL_BYTES bytes */
void bl_serial_take_message(struct bl_serial *serial, const uint8_t *message);

#endif
