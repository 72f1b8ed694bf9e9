/* SPDX-License-Identifier: Apache-2.0 */
/*
 * console.h - a virtio serial device with two ports (virtio 1.2, 5.3)
 *
 * Port 0 is the guest's console (hvc0), of which the host reads what the guest writes. Port 1 has the name boxlite.agent. Each ends
 * at a stream socket on the host. Nothing is buffered here: bytes go from the guest's buffers into the socket and back, and a full
 * side holds the other one up.
 */
#ifndef BL_VMM_VIRTIO_CONSOLE_H
#define BL_VMM_VIRTIO_CONSOLE_H

#include "vmm/virtio/device.h"

#define BL_CONSOLE_AGENT_NAME "boxlite.agent"

/* bl_serial_new() - @console_fd, @agent_fd: stream sockets, taken in every case; -1: nobody listens. Return: 0; -1 */
int bl_serial_new(struct bl_loop *loop, int console_fd, int agent_fd, struct bl_device **out, struct bl_error *err);
/* bl_serial_drain() - What the guest has written already goes to the sockets, as far as they take it; once the processors stand. */
void bl_serial_drain(struct bl_device *device);

#endif
