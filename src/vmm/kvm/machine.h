/* SPDX-License-Identifier: Apache-2.0 */
/*
 * machine.h - one virtual machine on /dev/kvm, for the files of this folder
 *
 * machine.c makes it (KVM, memory), devices.c plugs devices in, cpus.c runs its processors, kvm.c is the engine around it.
 */
#ifndef BL_VMM_KVM_MACHINE_H
#define BL_VMM_KVM_MACHINE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "vmm/engine.h"
#include "vmm/kvm/arch.h"
#include "vmm/memory.h"
#include "vmm/virtio/mmio.h"

struct bl_machine;

/* One processor. Made and freed on the loop's thread; between start and join its own thread uses it. */
struct bl_cpu {
    struct bl_machine *machine;
    unsigned int index;
    int fd;
    struct kvm_run *run; /* shared with KVM; others write only immediate_exit */
    size_t run_bytes;
    pthread_t thread;
    _Atomic bool started; /* there is a thread to join */
    bool rests;           /* counted among those that stand until bl_cpus_go_on(); the machine's lock guards it */
};

/* Constant once the processors run, but for what the lock guards. */
struct bl_machine {
    struct bl_engine engine;
    struct bl_engine_events events;
    void *data; /* of events */
    struct bl_loop *loop;
    int kvm_fd, vm_fd, memory_fd;
    struct bl_memory memory;
    struct bl_arch_ports *ports;
    struct bl_mmio *slots[BL_KVM_SLOTS];
    struct bl_device *serial;
    bool confined;  /* threads filter their system calls */
    bool in_folder; /* and open paths below one directory only */
    int64_t begun_us;
    unsigned int cpu_count;
    struct bl_cpu cpus[BL_KVM_CPUS_MAX];
    struct bl_source over;   /* an eventfd that the last processor writes when it stands for good */
    struct bl_source rested; /* the same, when all stand until they are told to go on */
    bool restored;           /* it goes on from a saved state */
    bool waits;              /* for that, before any processor has run */
    int save_fd;             /* where the state goes when all rest; -1: nobody asked */

    _Atomic bool stopping;
    pthread_mutex_t lock; /* guards all below */
    pthread_cond_t go_on;
    unsigned int running; /* processors whose thread has not ended */
    unsigned int resting; /* those of them that rest */
    bool rest;            /* all shall */
    bool decided;         /* how and message hold why the machine ends */
    enum bl_engine_end how;
    char message[BL_ENGINE_MESSAGE_MAX];
};

/* bl_machine_make() - KVM, the virtual machine and its memory: fresh, the owner's, or a saved machine's
 *
 * Return: 0; -1: BL_UNSUPPORTED_ENGINE (KVM refuses), BL_ENGINE; what was made is the owner's to free
 */
int bl_machine_make(struct bl_machine *machine, struct bl_engine_config *config, struct bl_error *err);
/* bl_machine_unmake() - All that bl_machine_make() made; no processor runs. */
void bl_machine_unmake(struct bl_machine *machine);

/* bl_machine_save() - Write the state of a machine at rest to a file, from where that stands. Return: 0; -1 */
int bl_machine_save(struct bl_machine *machine, int fd, struct bl_error *err);
/* bl_machine_load() - Read a state into a machine that has not run; devices are quiet then. Return: 0; -1: it must not run */
int bl_machine_load(struct bl_machine *machine, int fd, struct bl_error *err);
/* bl_machine_take() - The same, from bytes, without their header. */
int bl_machine_take(struct bl_machine *machine, struct bl_state_reader *in, struct bl_error *err);

/* bl_machine_tell() - Log how a machine came to run; on the first processor's thread, just before that runs. */
void bl_machine_tell(struct bl_machine *machine);

#define BL_DEVICES_COUNT 4 /* slots with something in them, the first ones */

/* bl_devices_make() - Make the devices that the config wants and fill all slots. Return: 0; -1 */
int bl_devices_make(struct bl_machine *machine, struct bl_engine_config *config, struct bl_error *err);
/* bl_devices_finish() - Let requests under way end and give what the guest said to its readers; no processor runs. */
void bl_devices_finish(struct bl_machine *machine);
/* bl_devices_quiesce() / bl_devices_resume() - Let requests under way end, and begin no others; go on. */
void bl_devices_quiesce(struct bl_machine *machine);
void bl_devices_resume(struct bl_machine *machine);
/* bl_devices_free() - Take all devices out; disks are flushed and closed. */
void bl_devices_free(struct bl_machine *machine);
/* bl_devices_access() - A processor's access to an address that is no memory; on its thread. */
void bl_devices_access(struct bl_machine *machine, uint64_t address, void *data, uint32_t length, bool write);

/* bl_cpus_make() - Make the processors, ready to run. @boot: NULL: they go on from a state that follows. Return: 0; -1 */
int bl_cpus_make(struct bl_machine *machine, const struct bl_arch_boot *boot, struct bl_error *err);
/* bl_cpus_start() - One thread a processor. Return: 0; -1, those that were started stop: machine->over tells when */
int bl_cpus_start(struct bl_machine *machine, struct bl_error *err);
/* bl_cpus_stop() - Have all processors stop, because of @how, unless the end was decided before; from any thread, without waiting.
 */
void bl_cpus_stop(struct bl_machine *machine, enum bl_engine_end how, const char *message);
/* bl_cpus_rest() - Have all processors stand, between two instructions; machine->rested tells when, unless the machine ends. */
void bl_cpus_rest(struct bl_machine *machine);
/* bl_cpus_go_on() - After bl_cpus_rest(). */
void bl_cpus_go_on(struct bl_machine *machine);
/* bl_cpus_join() - Wait for the threads, which stop() was called for. */
void bl_cpus_join(struct bl_machine *machine);
/* bl_cpus_unmake() - Give the processors back; no thread runs. */
void bl_cpus_unmake(struct bl_machine *machine);

#endif
