/* SPDX-License-Identifier: Apache-2.0 */
/*
 * console_control.c - what driver and device tell each other about ports (virtio 1.2, 5.3.6.2)
 *
 * A message is a struct virtio_console_control, with the name after it where there is one. What the driver shall be told is kept as
 * a set of facts and not as a list, so a driver that asks without end and never reads the answers takes no memory.
 */
#include <linux/virtio_console.h>
#include <string.h>

#include "base/bytes.h"
#include "vmm/virtio/console_private.h"

bool bl_serial_is_multiport(const struct bl_serial *serial)
{
    return bl_device_has(&serial->device, VIRTIO_CONSOLE_F_MULTIPORT);
}

static size_t make_message(const struct bl_serial_port *port, uint32_t number, uint32_t what, uint8_t *out, size_t size)
{
    size_t length = BL_SERIAL_CONTROL_BYTES;
    uint16_t event = VIRTIO_CONSOLE_PORT_OPEN, value = 1;

    if (what == BL_TELL_ADD)
        event = VIRTIO_CONSOLE_PORT_ADD;
    else if (what == BL_TELL_CONSOLE)
        event = VIRTIO_CONSOLE_CONSOLE_PORT;
    else if (what == BL_TELL_NAME)
        event = VIRTIO_CONSOLE_PORT_NAME;
    else
        value = port->socket.fd >= 0;
    bl_put_le32(out, number);
    bl_put_le16(out + 4, event);
    bl_put_le16(out + 6, value);
    if (what == BL_TELL_NAME) {
        size_t name = strnlen(port->name, size - length);

        memcpy(out + length, port->name, name);
        length += name;
    }
    return length;
}

/* tell_one() - Return: whether the driver had a buffer for it */
static bool tell_one(struct bl_serial *serial, struct bl_serial_port *port, uint32_t number, uint32_t what)
{
    struct bl_device *device = &serial->device;
    uint8_t message[BL_SERIAL_CONTROL_BYTES + 32];
    size_t length = make_message(port, number, what, message, sizeof message);
    struct bl_cursor out;

    /* Listening before the second look makes sure of a kick when the driver offers more. */
    if (bl_device_pop(device, BL_SERIAL_CONTROL_RECEIVE, &serial->chain) <= 0 &&
        (!bl_queue_listen(&device->queues[BL_SERIAL_CONTROL_RECEIVE], true) ||
         bl_device_pop(device, BL_SERIAL_CONTROL_RECEIVE, &serial->chain) <= 0))
        return false;
    out = bl_chain_writer(&serial->chain);
    bl_device_push(device, BL_SERIAL_CONTROL_RECEIVE, &serial->chain, bl_cursor_write(&out, message, length));
    port->tell &= ~what;
    return true;
}

/* tell_driver() - As much of what it should know as it has buffers for. */
void bl_serial_tell_driver(struct bl_serial *serial)
{
    bool room = bl_device_running(&serial->device) && bl_serial_is_multiport(serial);

    for (uint32_t i = 0; i < BL_SERIAL_PORTS && room; i++)
        for (uint32_t what = BL_TELL_ADD; what <= BL_TELL_OPEN && room; what <<= 1)
            if (serial->ports[i].tell & what)
                room = tell_one(serial, &serial->ports[i], i, what);
    bl_device_tell(&serial->device, BL_SERIAL_CONTROL_RECEIVE);
}

void bl_serial_take_message(struct bl_serial *serial, const uint8_t *message)
{
    uint32_t number = bl_get_le32(message);
    uint16_t event = bl_get_le16(message + 4), value = bl_get_le16(message + 6);
    struct bl_serial_port *port = number < BL_SERIAL_PORTS ? &serial->ports[number] : NULL;

    if (event == VIRTIO_CONSOLE_DEVICE_READY && value) {
        for (int i = 0; i < BL_SERIAL_PORTS; i++)
            serial->ports[i].tell |= BL_TELL_ADD;
    } else if (event == VIRTIO_CONSOLE_PORT_READY && port && value) {
        port->tell |= (port->name ? BL_TELL_NAME : BL_TELL_CONSOLE) | (port->socket.fd >= 0 ? BL_TELL_OPEN : 0);
    } else if (event == VIRTIO_CONSOLE_PORT_OPEN && port) {
        port->guest_open = value;
    }
}
