/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz_virtio_console.c - the serial device, its sockets read and written by a host that comes and goes */
#include <sys/socket.h>
#include <unistd.h>

#include "fuzz_virtio.h"
#include "vmm/virtio/console.h"

static int console = -1, agent = -1;

static void hang_up(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static struct bl_device *make(struct fuzz_guest *guest)
{
    struct bl_device *device = NULL;
    int first[2], second[2];

    hang_up(&console);
    hang_up(&agent);
    must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, first) == 0);
    must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, second) == 0);
    console = first[0];
    agent = second[0];
    must(bl_serial_new(&guest->loop, first[1], second[1], &device, NULL) == 0);
    return device;
}

static void host(struct bl_device *device, uint8_t what, uint16_t value)
{
    static uint8_t bytes[65536];
    int *fd = what & 1 ? &agent : &console;

    if (what >> 1 == 127)
        hang_up(fd);
    else if (what >> 1 == 126)
        bl_serial_drain(device);
    else if (*fd >= 0 && what & 2)
        (void)!send(*fd, bytes, value, MSG_DONTWAIT | MSG_NOSIGNAL);
    else if (*fd >= 0)
        (void)!recv(*fd, bytes, value, MSG_DONTWAIT);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct fuzz_device fuzzed = {.make = make, .host = host};

    fuzz_virtio(&fuzzed, data, size);
    hang_up(&console);
    hang_up(&agent);
    return 0;
}
