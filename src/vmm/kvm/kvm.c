/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kvm.c - our own monitor as an engine
 *
 * A start makes the machine, loads the kernel, plugs the devices in and starts the processors, in this order; whatever fails on the
 * way, all of it goes again. A machine that goes on from a saved state gets no kernel, and waits with its processors until load().
 * To be saved, a machine comes to rest: processors first, so that nothing new begins, then devices. The end always comes the same
 * way: the processors are told to stop, by the guest, by a failure or by the owner; the last of their threads tells the loop; the
 * loop joins them, lets the devices finish, closes the disks, and reports.
 *
 * The process is confined on the way: files before the first thread starts, system calls as each thread begins, this one's last.
 * The loop's thread serves devices, the programs that talk to the box, and the box's files:
 *
 * #syscalls:loop epoll_wait epoll_ctl epoll_create1 eventfd2 poll ppoll read write readv writev pread64 pwrite64 preadv pwritev
 * preadv2 recvmsg sendmsg recvfrom sendto accept accept4 shutdown getsockopt setsockopt getsockname getpeername socketpair openat
 * close close_range unlinkat renameat renameat2 mkdirat fsync fdatasync ftruncate fallocate fstat newfstatat statx lseek fcntl dup
 * dup2 dup3 fchmod umask faccessat faccessat2 access readlinkat getdents64 fstatfs pipe2 flock getrandom getuid geteuid
 * rt_sigaction signalfd4 clock_nanosleep timerfd_create timerfd_settime uname sysinfo unlink rename
 */
#include "vmm/kvm/kvm.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "vmm/bzimage.h"
#include "vmm/identity.h"
#include "vmm/kernel_file.h"
#include "vmm/kvm/confine.h"
#include "vmm/kvm/machine.h"

static struct bl_machine *of(struct bl_engine *engine)
{
    return (struct bl_machine *)engine;
}

/* on_over() - All processors stand for good. */
static void on_over(struct bl_source *source, uint32_t events)
{
    struct bl_machine *machine = source->data;

    (void)events;
    bl_source_remove(source);
    bl_source_remove(&machine->rested);
    machine->save_fd = -1;
    bl_cpus_join(machine);
    bl_devices_finish(machine);
    bl_devices_free(machine);
    bl_log(BL_LOG_DEBUG, "the machine ended: %s", machine->message);
    machine->events.ended(machine->how, machine->message, machine->data);
}

static void kvm_stop(struct bl_engine *engine, enum bl_engine_stop how)
{
    (void)how; /* either way the devices finish what is under way and the disk is flushed, unless it is volatile */
    bl_cpus_stop(of(engine), BL_ENGINE_END_KILLED, "killed");
}

static void kvm_free(struct bl_engine *engine)
{
    struct bl_machine *machine = of(engine);

    bl_source_remove(&machine->over);
    bl_source_remove(&machine->rested);
    bl_cpus_stop(machine, BL_ENGINE_END_KILLED, "given up");
    bl_cpus_join(machine);
    bl_devices_free(machine);
    bl_cpus_unmake(machine);
    bl_machine_unmake(machine);
    bl_arch_ports_free(machine->ports);
    bl_close_fd(&machine->over.fd);
    bl_close_fd(&machine->rested.fd);
    pthread_cond_destroy(&machine->go_on);
    pthread_mutex_destroy(&machine->lock);
    free(machine);
}

/* on_rested() - All processors stand until they are told to go on: the state can be read. */
static void on_rested(struct bl_source *source, uint32_t events)
{
    struct bl_machine *machine = source->data;
    struct bl_error err = BL_ERROR_INIT;
    uint64_t count;
    int fd = machine->save_fd;

    (void)events;
    if (read(source->fd, &count, sizeof count) < 0 || fd < 0)
        return;
    machine->save_fd = -1;
    bl_devices_quiesce(machine);

    int failed = bl_machine_save(machine, fd, &err);

    machine->events.saved(failed ? err.message : NULL, machine->data);
}

static int kvm_save(struct bl_engine *engine, int fd, struct bl_error *err)
{
    struct bl_machine *machine = of(engine);

    if (machine->save_fd >= 0 || machine->waits)
        return bl_fail(err, BL_INVALID_STATE, 0, "the machine is being saved, or loaded");
    machine->save_fd = fd;
    bl_cpus_rest(machine);
    return 0;
}

static int kvm_resume(struct bl_engine *engine, struct bl_error *err)
{
    (void)err;
    bl_devices_resume(of(engine));
    bl_cpus_go_on(of(engine));
    return 0;
}

static int run(struct bl_machine *machine, struct bl_error *err);

static int kvm_load(struct bl_engine *engine, int fd, struct bl_error *err)
{
    struct bl_machine *machine = of(engine);

    if (!machine->waits)
        return bl_fail(err, BL_INVALID_STATE, 0, "the machine runs already");
    if (bl_machine_load(machine, fd, err) < 0)
        return -1;
    machine->waits = false;
    machine->engine.moments.loaded_us = bl_now_us();
    bl_devices_resume(machine);
    return run(machine, err);
}

static const struct bl_engine_ops kvm_ops = {
    .name = "kvm",
    .resume = kvm_resume,
    .save = kvm_save,
    .load = kvm_load,
    .stop = kvm_stop,
    .free = kvm_free,
};

/* load() - Fill the memory: kernel, initramfs, tables. Return: 0 and *@boot; -1 */
static int load(struct bl_machine *machine, const struct bl_engine_config *config, struct bl_arch_boot *boot, struct bl_error *err)
{
    cleanup_close int kernel = open(config->kernel, O_RDONLY | O_CLOEXEC);
    cleanup_close int initramfs = open(config->initramfs, O_RDONLY | O_CLOEXEC);
    cleanup_close int unpacked = -1;
    struct bl_arch_machine loaded = {
        .cpus = config->cpus,
        .memory_bytes = bl_memory_bytes(&machine->memory),
        .initramfs_fd = initramfs,
        .kernel_name = config->kernel,
        .initramfs_name = config->initramfs,
        .command_line = config->command_line,
        .devices = BL_DEVICES_COUNT,
    };

    if (kernel < 0 || initramfs < 0)
        return bl_fail(err, BL_ENGINE, errno, "open %s", kernel < 0 ? config->kernel : config->initramfs);
    if (bl_bzimage_unpack(kernel, config->kernel, &unpacked, err) < 0)
        return -1;
    loaded.kernel_fd = unpacked < 0 ? kernel : unpacked;
    loaded.devices_in_line = bl_kernel_takes_devices_fd(loaded.kernel_fd);
    return bl_arch_load(&machine->memory, &loaded, boot, err);
}

/* make_ports() - The serial port says what it says on the console. Return: 0; -1 */
static int make_ports(struct bl_machine *machine, const struct bl_engine_config *config, bool serial, struct bl_error *err)
{
    int console = serial && config->console_fd >= 0 ? fcntl(config->console_fd, F_DUPFD_CLOEXEC, 0) : -1;

    machine->ports = bl_arch_ports_new(console);
    return machine->ports ? 0 : bl_fail_memory(err);
}

static int watch(struct bl_machine *machine, struct bl_source *source, void (*ready)(struct bl_source *, uint32_t))
{
    *source = (struct bl_source){.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), .events = EPOLLIN, .ready = ready, .data = machine};
    return source->fd < 0 ? -1 : bl_source_add(machine->loop, source);
}

/* run() - The processors run from here on, and this thread is confined like them. Return: 0; -1 */
static int run(struct bl_machine *machine, struct bl_error *err)
{
    if (bl_cpus_start(machine, err) < 0)
        return -1;
    return machine->confined ? bl_confine_thread(BL_THREAD_LOOP, err) : 0;
}

void bl_machine_tell(struct bl_machine *machine)
{
    const struct bl_engine_moments *moments = &machine->engine.moments;
    int64_t spent_us = bl_process_time_us(), now_us = atomic_load(&moments->running_us);

    bl_log(BL_LOG_INFO,
           "the machine runs: VM and memory %.1f ms, %s %.1f ms, %s %.1f ms; processor time so far %.1f ms; confined by %s",
           (double)(moments->made_us - machine->begun_us) / 1000, machine->restored ? "devices and state" : "kernel and tables",
           (double)(moments->loaded_us - moments->made_us) / 1000, machine->restored ? "processors" : "devices and processors",
           (double)(now_us - moments->loaded_us) / 1000, (double)spent_us / 1000,
           !machine->confined   ? "nothing"
           : machine->in_folder ? "seccomp, Landlock"
                                : "seccomp (no Landlock here)");
}

static int start(struct bl_machine *machine, struct bl_engine_config *config, struct bl_error *err)
{
    struct bl_arch_boot boot = {.serial = bl_arch_serial(config->command_line)};
    struct bl_engine_moments *moments = &machine->engine.moments;

    machine->begun_us = bl_now_us();
    machine->waits = machine->restored = config->loads;
    if (watch(machine, &machine->over, on_over) < 0 || watch(machine, &machine->rested, on_rested) < 0)
        return bl_fail(err, BL_ENGINE, errno, "watch the processors");
    if (bl_machine_make(machine, config, err) < 0)
        return -1;
    moments->made_us = bl_now_us();
    if ((!config->loads && load(machine, config, &boot, err) < 0) || make_ports(machine, config, boot.serial, err) < 0)
        return -1;
    moments->loaded_us = bl_now_us();
    if (machine->confined) {
        int files = bl_confine_files(config->directory_fd, err);

        if (files < 0)
            return -1;
        machine->in_folder = files > 0;
    }
    if (bl_devices_make(machine, config, err) < 0 || bl_cpus_make(machine, config->loads ? NULL : &boot, err) < 0)
        return -1;
    return config->loads ? 0 : run(machine, err);
}

int bl_kvm_identity(const struct bl_engine_config *config, struct bl_buffer *out)
{
    char line[128];
    int length = snprintf(line, sizeof line, "engine kvm, %u processors, %llu bytes\n", config->cpus,
                          (unsigned long long)config->memory_bytes);

    if (bl_buffer_append(out, line, (size_t)length) < 0 || bl_identity_put_file(out, "program", "/proc/self/exe") < 0 ||
        bl_identity_put_file(out, "kernel", config->kernel) < 0 || bl_identity_put_file(out, "initramfs", config->initramfs) < 0)
        return -1;
    return bl_buffer_append(out, config->command_line, strlen(config->command_line));
}

int bl_kvm_start(struct bl_loop *loop, struct bl_engine_config *config, const struct bl_engine_events *events, void *data,
                 struct bl_engine **out, struct bl_error *err)
{
    struct bl_machine *machine = calloc(1, sizeof *machine);

    if (!machine)
        return bl_fail_memory(err);
    machine->engine.ops = &kvm_ops;
    machine->events = *events;
    machine->data = data;
    machine->loop = loop;
    machine->confined = !config->unconfined;
    machine->kvm_fd = machine->vm_fd = machine->memory_fd = machine->save_fd = machine->over.fd = machine->rested.fd = -1;
    for (unsigned int i = 0; i < BL_KVM_CPUS_MAX; i++)
        machine->cpus[i].fd = -1;
    pthread_mutex_init(&machine->lock, NULL);
    pthread_cond_init(&machine->go_on, NULL);
    if (start(machine, config, err) < 0) {
        kvm_free(&machine->engine);
        return -1;
    }
    *out = &machine->engine;
    return 0;
}
