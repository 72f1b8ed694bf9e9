/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cpus.c - the processors of a machine, a thread each
 *
 * A thread runs its processor until an exit wants something of this process, serves that, and goes on. The machine stops when one
 * processor comes to an exit that ends it, or when the owner says so; the first reason counts. Then every processor is kicked, and
 * the last thread to end tells the loop through an eventfd, so nobody waits for a thread that still runs.
 *
 * A kick is never lost: it sets machine->stopping, then the flag immediate_exit of the processor, then sends a signal. A thread
 * that is in the guest comes out by the signal; one that was about to enter it is turned back by the flag, which KVM looks at after
 * the point where a signal would still interrupt; one that serves an exit looks at machine->stopping afterwards. The signal has an
 * empty handler and is the only one that these threads do not block.
 *
 * Processors that shall rest are kicked the same way. One rests only where KVM_RUN came back because of the kick: an exit that was
 * served before is complete in KVM then, and its registers say so.
 *
 * A processor's thread runs the guest, interrupts devices, and passes on what the serial port says:
 *
 * #syscalls:cpu write sendto
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "vmm/kvm/confine.h"
#include "vmm/kvm/machine.h"

#define KICK_SIGNAL     SIGRTMIN
#define CPU_STACK_BYTES (256u << 10)

static void on_kick(int number)
{
    (void)number;
}

/* kick() - Have all processors come out of the guest; with the lock. */
static void kick(struct bl_machine *machine)
{
    for (unsigned int i = 0; i < machine->cpu_count; i++) {
        struct bl_cpu *cpu = &machine->cpus[i];

        if (!cpu->run)
            continue;
        __atomic_store_n(&cpu->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
        if (cpu->started)
            pthread_kill(cpu->thread, KICK_SIGNAL);
    }
}

void bl_cpus_stop(struct bl_machine *machine, enum bl_engine_end how, const char *message)
{
    pthread_mutex_lock(&machine->lock);
    if (!machine->decided) {
        machine->decided = true;
        machine->how = how;
        snprintf(machine->message, sizeof machine->message, "%s", message);
    }
    atomic_store(&machine->stopping, true);
    kick(machine);
    pthread_cond_broadcast(&machine->go_on);
    /* Nobody runs, so nobody else tells. */
    if (!machine->running)
        eventfd_write(machine->over.fd, 1);
    pthread_mutex_unlock(&machine->lock);
}

void bl_cpus_rest(struct bl_machine *machine)
{
    pthread_mutex_lock(&machine->lock);
    machine->rest = true;
    kick(machine);
    pthread_mutex_unlock(&machine->lock);
}

void bl_cpus_go_on(struct bl_machine *machine)
{
    pthread_mutex_lock(&machine->lock);
    machine->rest = false;
    machine->resting = 0;
    for (unsigned int i = 0; i < machine->cpu_count; i++)
        machine->cpus[i].rests = false;
    pthread_cond_broadcast(&machine->go_on);
    pthread_mutex_unlock(&machine->lock);
}

/* rest() - On a processor's thread, which was kicked: stand as long as that is wanted. */
static void rest(struct bl_cpu *cpu)
{
    struct bl_machine *machine = cpu->machine;

    pthread_mutex_lock(&machine->lock);
    while (machine->rest && !atomic_load(&machine->stopping)) {
        if (!cpu->rests) {
            cpu->rests = true;
            if (++machine->resting == machine->running)
                eventfd_write(machine->rested.fd, 1);
        }
        pthread_cond_wait(&machine->go_on, &machine->lock);
    }
    /* Who wants the machine to end has said so before it set this. */
    __atomic_store_n(&cpu->run->immediate_exit, 0, __ATOMIC_SEQ_CST);
    pthread_mutex_unlock(&machine->lock);
}

/* give_up() - An exit that should not be: the machine ends, and the report says what the processor was at. */
static void give_up(struct bl_cpu *cpu, const char *what, unsigned long long number)
{
    char registers[384], message[BL_ENGINE_MESSAGE_MAX];

    bl_arch_registers(cpu->fd, registers, sizeof registers);
    snprintf(message, sizeof message, "processor %u: %s %#llx; %s", cpu->index, what, number, registers);
    bl_cpus_stop(cpu->machine, BL_ENGINE_END_FAILED, message);
}

/* serve() - Serve one exit. */
static void serve(struct bl_cpu *cpu)
{
    struct kvm_run *run = cpu->run;

    switch (run->exit_reason) {
    case KVM_EXIT_MMIO:
        if (run->mmio.len <= sizeof run->mmio.data)
            bl_devices_access(cpu->machine, run->mmio.phys_addr, run->mmio.data, run->mmio.len, run->mmio.is_write);
        return;
    case KVM_EXIT_INTR:
        return;
    case KVM_EXIT_FAIL_ENTRY:
        give_up(cpu, "the guest can't be entered, hardware reason", run->fail_entry.hardware_entry_failure_reason);
        return;
    case KVM_EXIT_INTERNAL_ERROR:
        give_up(cpu, "KVM came to an error of its own, kind", run->internal.suberror);
        return;
    default:
        break;
    }
    switch (bl_arch_exit(cpu->machine->ports, run)) {
    case BL_EXIT_DONE:
        return;
    case BL_EXIT_POWER_OFF:
        bl_cpus_stop(cpu->machine, BL_ENGINE_END_GUEST, "the guest powered off");
        return;
    case BL_EXIT_RESET:
        bl_cpus_stop(cpu->machine, BL_ENGINE_END_GUEST, "the guest reset itself");
        return;
    case BL_EXIT_UNKNOWN:
        give_up(cpu, "an exit that is not known, reason", run->exit_reason);
        return;
    }
}

static void *run_cpu(void *data)
{
    struct bl_cpu *cpu = data;
    struct bl_machine *machine = cpu->machine;
    struct bl_error err = BL_ERROR_INIT;
    char name[16];
    bool last;

    snprintf(name, sizeof name, "cpu %u", cpu->index);
    prctl(PR_SET_NAME, name);
    if (machine->confined && bl_confine_thread(BL_THREAD_CPU, &err) < 0)
        bl_cpus_stop(machine, BL_ENGINE_END_FAILED, err.message);
    if (cpu->index == 0) {
        atomic_store(&machine->engine.moments.running_us, bl_now_us());
        bl_machine_tell(machine);
    }
    while (!atomic_load(&machine->stopping)) {
        if (ioctl(cpu->fd, KVM_RUN, 0) == 0)
            serve(cpu);
        else if (errno == EINTR)
            rest(cpu);
        else if (errno != EAGAIN)
            give_up(cpu, "the guest can't be run (KVM_RUN), error", (unsigned long long)errno);
    }
    pthread_mutex_lock(&machine->lock);
    last = --machine->running == 0;
    pthread_mutex_unlock(&machine->lock);
    /* The last one tells only after it is done with the machine; the owner joins it before anything is freed. */
    if (last)
        eventfd_write(machine->over.fd, 1);
    return NULL;
}

static int make_cpu(struct bl_machine *machine, unsigned int index, const struct bl_arch_boot *boot, struct bl_error *err)
{
    struct bl_cpu *cpu = &machine->cpus[index];
    int bytes = ioctl(machine->kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
    void *run;

    cpu->machine = machine;
    cpu->index = index;
    cpu->fd = ioctl(machine->vm_fd, KVM_CREATE_VCPU, (unsigned long)index);
    if (cpu->fd < 0 || bytes < (int)sizeof *cpu->run)
        return bl_fail(err, bl_kvm_fault(errno), errno, "create processor %u (KVM_CREATE_VCPU)", index);
    run = mmap(NULL, (size_t)bytes, PROT_READ | PROT_WRITE, MAP_SHARED, cpu->fd, 0);
    if (run == MAP_FAILED)
        return bl_fail(err, BL_ENGINE, errno, "map processor %u", index);
    cpu->run = run;
    cpu->run_bytes = (size_t)bytes;
    return bl_arch_vcpu(machine->kvm_fd, cpu->fd, index, machine->cpu_count, boot, err);
}

int bl_cpus_make(struct bl_machine *machine, const struct bl_arch_boot *boot, struct bl_error *err)
{
    for (unsigned int i = 0; i < machine->cpu_count; i++)
        if (make_cpu(machine, i, boot, err) < 0)
            return -1;
    return 0;
}

/* start_threads() - Start all; every signal but the kick is blocked in them. Return: 0, or an errno */
static int start_threads(struct bl_machine *machine)
{
    pthread_attr_t attributes;
    int failed = pthread_attr_init(&attributes);

    if (failed)
        return failed;
    pthread_attr_setstacksize(&attributes, CPU_STACK_BYTES);
    for (unsigned int i = 0; i < machine->cpu_count && !failed; i++) {
        struct bl_cpu *cpu = &machine->cpus[i];

        pthread_mutex_lock(&machine->lock);
        machine->running++;
        pthread_mutex_unlock(&machine->lock);
        failed = pthread_create(&cpu->thread, &attributes, run_cpu, cpu);
        cpu->started = !failed;
        if (failed) {
            pthread_mutex_lock(&machine->lock);
            machine->running--;
            pthread_mutex_unlock(&machine->lock);
        }
    }
    pthread_attr_destroy(&attributes);
    return failed;
}

int bl_cpus_start(struct bl_machine *machine, struct bl_error *err)
{
    struct sigaction kick = {.sa_handler = on_kick};
    sigset_t theirs, ours;
    int failed;

    if (sigaction(KICK_SIGNAL, &kick, NULL) < 0)
        return bl_fail(err, BL_ENGINE, errno, "prepare the signal of the processors");
    sigfillset(&theirs);
    sigdelset(&theirs, KICK_SIGNAL);
    pthread_sigmask(SIG_SETMASK, &theirs, &ours);
    failed = start_threads(machine);
    pthread_sigmask(SIG_SETMASK, &ours, NULL);
    return failed ? bl_fail(err, BL_ENGINE, failed, "start the threads of the processors") : 0;
}

void bl_cpus_join(struct bl_machine *machine)
{
    for (unsigned int i = 0; i < machine->cpu_count; i++)
        if (machine->cpus[i].started) {
            pthread_join(machine->cpus[i].thread, NULL);
            machine->cpus[i].started = false;
        }
}

void bl_cpus_unmake(struct bl_machine *machine)
{
    for (unsigned int i = 0; i < machine->cpu_count; i++) {
        struct bl_cpu *cpu = &machine->cpus[i];

        if (cpu->run)
            munmap(cpu->run, cpu->run_bytes);
        cpu->run = NULL;
        bl_close_fd(&cpu->fd);
    }
}
