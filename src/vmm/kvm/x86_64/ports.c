/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ports.c - the machine's I/O ports
 *
 * There are few: the first serial port (a 16550 without interrupts, for early messages, and only when the command line asks for
 * it: else a kernel that probes finds nothing), the registers to switch off and to reset, and the keyboard controller's reset line,
 * which some kernels try. Any other port reads as ones, as a bus without a device does, and swallows what is written.
 *
 * What the serial port is given goes to a socket that is never waited for: when nobody reads, messages are lost.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "vmm/kvm/arch.h"
#include "vmm/kvm/x86_64/layout.h"

/* Registers of the 16550, and bits of its line status. */
enum serial_register {
    SERIAL_DATA,
    SERIAL_INTERRUPTS,
    SERIAL_IDENTITY,
    SERIAL_LINE,
    SERIAL_MODEM,
    SERIAL_STATUS,
    SERIAL_LINES,
    SERIAL_SCRATCH
};
#define SERIAL_REGISTERS  8
#define LINE_DIVISOR      0x80u
#define MODEM_LOOP        0x10u
#define STATUS_EMPTY      0x60u /* holding register and transmitter */
#define STATUS_DATA       0x01u
#define IDENTITY_NOTHING  0x01u
#define LINES_CONNECTED   0xb0u /* carrier, data set ready, clear to send */
#define KEYBOARD_RESET    0xfeu
#define SLEEP_ENABLE      0x20u /* SLP_EN of the sleep control register; its type is bits 2 to 4 */
#define SLEEP_TYPE(value) ((value) >> 2 & 7u)

struct bl_arch_ports {
    pthread_mutex_t lock; /* guards all below */
    int console_fd;       /* -1: there is no serial port */
    uint8_t serial[SERIAL_REGISTERS];
    uint8_t divisor[2];
    int looped; /* a byte that was written in loop mode and not read; -1: none */
};

struct bl_arch_ports *bl_arch_ports_new(int console_fd)
{
    struct bl_arch_ports *ports = calloc(1, sizeof *ports);

    if (!ports) {
        bl_close_fd(&console_fd);
        return NULL;
    }
    pthread_mutex_init(&ports->lock, NULL);
    ports->console_fd = console_fd;
    ports->looped = -1;
    return ports;
}

void bl_arch_ports_free(struct bl_arch_ports *ports)
{
    if (!ports)
        return;
    bl_close_fd(&ports->console_fd);
    pthread_mutex_destroy(&ports->lock);
    free(ports);
}

int bl_arch_ports_save(struct bl_arch_ports *ports, struct bl_buffer *out, struct bl_error *err)
{
    int failed;

    pthread_mutex_lock(&ports->lock);
    failed = bl_buffer_append(out, ports->serial, sizeof ports->serial) |
             bl_buffer_append(out, ports->divisor, sizeof ports->divisor) | bl_state_put_u32(out, (uint32_t)ports->looped);
    pthread_mutex_unlock(&ports->lock);
    return failed ? bl_fail(err, BL_RESOURCE_EXHAUSTED, 0, "save the serial port: it finds no room") : 0;
}

int bl_arch_ports_load(struct bl_arch_ports *ports, struct bl_state_reader *in, struct bl_error *err)
{
    uint32_t looped;

    pthread_mutex_lock(&ports->lock);
    bl_state_get_bytes(in, ports->serial, sizeof ports->serial);
    bl_state_get_bytes(in, ports->divisor, sizeof ports->divisor);
    looped = bl_state_get_u32(in);
    ports->looped = looped <= UINT8_MAX ? (int)looped : -1;
    pthread_mutex_unlock(&ports->lock);
    return in->failed ? bl_fail(err, BL_INVALID_ARGUMENT, 0, "load the serial port: it is cut short") : 0;
}

static void serial_write(struct bl_arch_ports *ports, unsigned int reg, uint8_t value)
{
    bool divisor = ports->serial[SERIAL_LINE] & LINE_DIVISOR;

    if (reg < 2 && divisor) {
        ports->divisor[reg] = value;
        return;
    }
    if (reg != SERIAL_DATA) {
        ports->serial[reg] = value;
        return;
    }
    if (ports->serial[SERIAL_MODEM] & MODEM_LOOP)
        ports->looped = value;
    else
        (void)send(ports->console_fd, &value, 1, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static uint8_t serial_read(struct bl_arch_ports *ports, unsigned int reg)
{
    uint8_t value;

    if (reg < 2 && ports->serial[SERIAL_LINE] & LINE_DIVISOR)
        return ports->divisor[reg];
    switch (reg) {
    case SERIAL_DATA:
        value = ports->looped >= 0 ? (uint8_t)ports->looped : 0;
        ports->looped = -1;
        return value;
    case SERIAL_INTERRUPTS:
        return ports->serial[reg] & 0x0f;
    case SERIAL_IDENTITY:
        return IDENTITY_NOTHING;
    case SERIAL_STATUS:
        return STATUS_EMPTY | (ports->looped >= 0 ? STATUS_DATA : 0);
    case SERIAL_LINES:
        /* In loop mode the four outputs come back as the four inputs, in this order. */
        value = ports->serial[SERIAL_MODEM];
        if (value & MODEM_LOOP)
            return (uint8_t)((value & 2) << 3 | (value & 1) << 5 | (value & 4) << 4 | (value & 8) << 4);
        return LINES_CONNECTED;
    default:
        return ports->serial[reg];
    }
}

/* write_port() - One byte to one port. */
static enum bl_arch_exit write_port(struct bl_arch_ports *ports, uint16_t port, uint8_t value)
{
    if (port == X86_PORT_SLEEP && value & SLEEP_ENABLE)
        return SLEEP_TYPE(value) == X86_SLEEP_TYPE_OFF ? BL_EXIT_POWER_OFF : BL_EXIT_DONE;
    if (port == X86_PORT_RESET && value == X86_RESET_VALUE)
        return BL_EXIT_RESET;
    if (port == X86_PORT_KEYBOARD && value == KEYBOARD_RESET)
        return BL_EXIT_RESET;
    if (ports->console_fd >= 0 && port >= X86_PORT_SERIAL && port < X86_PORT_SERIAL + SERIAL_REGISTERS)
        serial_write(ports, port - X86_PORT_SERIAL, value);
    return BL_EXIT_DONE;
}

static uint8_t read_port(struct bl_arch_ports *ports, uint16_t port)
{
    if (port == X86_PORT_SLEEP || port == X86_PORT_SLEEP + 1)
        return 0;
    if (ports->console_fd >= 0 && port >= X86_PORT_SERIAL && port < X86_PORT_SERIAL + SERIAL_REGISTERS)
        return serial_read(ports, port - X86_PORT_SERIAL);
    return UINT8_MAX;
}

/* serve_io() - An access may be 1, 2 or 4 bytes wide and repeated; a wide one reaches a port a byte. */
static enum bl_arch_exit serve_io(struct bl_arch_ports *ports, struct kvm_run *run)
{
    uint8_t *data = (uint8_t *)run + run->io.data_offset;
    enum bl_arch_exit result = BL_EXIT_DONE;

    pthread_mutex_lock(&ports->lock);
    for (uint32_t i = 0; i < run->io.count && result == BL_EXIT_DONE; i++)
        for (uint8_t byte = 0; byte < run->io.size && result == BL_EXIT_DONE; byte++, data++) {
            uint16_t port = (uint16_t)(run->io.port + byte);

            if (run->io.direction == KVM_EXIT_IO_OUT)
                result = write_port(ports, port, *data);
            else
                *data = read_port(ports, port);
        }
    pthread_mutex_unlock(&ports->lock);
    return result;
}

enum bl_arch_exit bl_arch_exit(struct bl_arch_ports *ports, struct kvm_run *run)
{
    switch (run->exit_reason) {
    case KVM_EXIT_IO:
        return serve_io(ports, run);
    case KVM_EXIT_SHUTDOWN: /* a triple fault */
        return BL_EXIT_RESET;
    default:
        return BL_EXIT_UNKNOWN;
    }
}
