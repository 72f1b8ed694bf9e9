/* SPDX-License-Identifier: Apache-2.0 */
/* machine_fixture.c - see machine_fixture.h */
#include "machine_fixture.h"

#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"

static void must(bool holds)
{
    if (!holds)
        abort();
}

void machine_fixture_init(struct machine_fixture *fixture, unsigned int cpus)
{
    struct bl_machine *machine = &fixture->machine;
    struct bl_engine_config config = {.agent_fd = -1, .console_fd = -1, .memory_fd = -1, .saved_fd = -1, .unconfined = true};
    int console[2], agent[2];

    memset(fixture, 0, sizeof *fixture);
    must(bl_loop_init(&fixture->loop) == 0);
    must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, console) == 0);
    must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, agent) == 0);
    fixture->console_fd = console[0];
    fixture->agent_fd = agent[0];
    config.console_fd = console[1];
    config.agent_fd = agent[1];
    machine->loop = &fixture->loop;
    machine->cpu_count = cpus;
    /* Any descriptors: what they hold is in fake_kvm.c. */
    machine->kvm_fd = eventfd(0, EFD_CLOEXEC);
    machine->vm_fd = eventfd(0, EFD_CLOEXEC);
    for (unsigned int i = 0; i < cpus; i++)
        machine->cpus[i] = (struct bl_cpu){.machine = machine, .index = i, .fd = eventfd(0, EFD_CLOEXEC)};
    machine->memory_fd = memfd_create("memory", MFD_CLOEXEC);
    must(ftruncate(machine->memory_fd, MACHINE_FIXTURE_MEMORY) == 0);
    bl_memory_init(&machine->memory, 4096);
    must(bl_memory_add(&machine->memory, 0, MACHINE_FIXTURE_MEMORY, machine->memory_fd, 0, BL_MEMORY_SHARED, NULL) == 0);
    machine->ports = bl_arch_ports_new(-1);
    must(machine->ports && bl_devices_make(machine, &config, NULL) == 0);
}

void machine_fixture_finish(struct machine_fixture *fixture)
{
    struct bl_machine *machine = &fixture->machine;

    bl_devices_finish(machine);
    bl_devices_free(machine);
    bl_cpus_unmake(machine);
    bl_machine_unmake(machine);
    bl_arch_ports_free(machine->ports);
    close(fixture->console_fd);
    close(fixture->agent_fd);
    bl_loop_finish(&fixture->loop);
}
