/* SPDX-License-Identifier: Apache-2.0 */
/*
 * confine.c - taking from a process that runs a machine what it does not need for that
 *
 * A guest that breaks out of its virtual machine finds itself in a thread of this process. What that thread can still ask of the
 * kernel is bounded in two layers, on top of what the shim does for itself (no new privileges, no dumps, no inherited descriptors):
 *
 *   - Landlock: no path outside of the box's own directory can be opened. It binds a thread and those it starts, so it is set
 * before the first of them;
 *   - seccomp: each thread has the system calls of its kind, and no others. A processor's thread and a disk's thread that ask for
 *     another are killed, with the whole process: nothing good asks. The loop's thread, which also serves programs that talk to the
 *     box, gets an error instead.
 *
 * The system calls stand in comments beside the code that needs them, in a paragraph of their own that begins with a hash sign and
 * "syscalls:KIND"; scripts/syscalls makes tables of them. Of ioctl, a processor's thread has but the three requests that it uses,
 * and the loop's thread those that read what a machine at rest holds, to save it; nothing of KVM is changed from there. A filter
 * also ends whoever uses another processor architecture's numbers, or the x32 ones.
 *
 * What every thread needs of the C library (memory, locks, an orderly end):
 *
 * #syscalls:cpu,disk,loop futex brk mmap munmap mremap mprotect madvise sched_getaffinity sched_yield rt_sigprocmask rt_sigreturn
 * exit exit_group gettid getpid tgkill restart_syscall clock_gettime
 *
 * And for the library's and the log's last words:
 *
 * #syscalls:cpu,disk,loop write writev
 */
#include "vmm/kvm/confine.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/kvm.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "vmm/kvm/arch.h"
#include "vmm/kvm_syscalls.h" /* made by scripts/syscalls: cpu_calls, disk_calls, loop_calls */

#define PROGRAM_MAX 256
#define X32_BIT     0x40000000u

/* Rights by version of Landlock's interface; linux/landlock.h of the build may be older than the kernel. */
#define FILES_FIRST    0x1fffull /* version 1: bits 0 to 12 */
#define FILES_REFER    (1ull << 13)
#define FILES_TRUNCATE (1ull << 14)
#define FILES_IOCTL    (1ull << 15)
#define NET_TCP        0x3ull /* version 4: bind and connect */
#define NOT_INSIDE     (LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_BLOCK)

/* As the kernel has it from version 4 on; older ones are told a shorter length. */
struct ruleset {
    uint64_t files, net;
};

int bl_confine_files(int dir_fd, struct bl_error *err)
{
    long version = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    struct ruleset rules = {.files = FILES_FIRST};

    if (version < 1)
        return 0;
    rules.files |= (version >= 2 ? FILES_REFER : 0) | (version >= 3 ? FILES_TRUNCATE : 0) | (version >= 5 ? FILES_IOCTL : 0);
    rules.net = version >= 4 ? NET_TCP : 0;

    cleanup_close int fd =
        (int)syscall(SYS_landlock_create_ruleset, &rules, version >= 4 ? sizeof rules : offsetof(struct ruleset, net), 0);
    struct landlock_path_beneath_attr inside = {.allowed_access = rules.files & ~(uint64_t)NOT_INSIDE, .parent_fd = dir_fd};

    if (fd < 0)
        return bl_fail(err, BL_ENGINE, errno, "make rules for files (Landlock)");
    if (dir_fd >= 0 && syscall(SYS_landlock_add_rule, fd, LANDLOCK_RULE_PATH_BENEATH, &inside, 0) < 0)
        return bl_fail(err, BL_ENGINE, errno, "allow the box's directory (Landlock)");
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || syscall(SYS_landlock_restrict_self, fd, 0) < 0)
        return bl_fail(err, BL_ENGINE, errno, "confine this process to the box's directory (Landlock)");
    return 1;
}

/* A filter that is being written. */
struct program {
    struct sock_filter code[PROGRAM_MAX];
    unsigned short length;
};

static void add(struct program *program, uint16_t code, uint32_t k, uint8_t if_true, uint8_t if_false)
{
    if (program->length < PROGRAM_MAX)
        program->code[program->length++] = (struct sock_filter){.code = code, .jt = if_true, .jf = if_false, .k = k};
}

static void load(struct program *program, size_t offset)
{
    add(program, BPF_LD | BPF_W | BPF_ABS, (uint32_t)offset, 0, 0);
}

static void answer(struct program *program, uint32_t action)
{
    add(program, BPF_RET | BPF_K, action, 0, 0);
}

/* What a kind of thread may do. */
struct policy {
    const int *calls;
    size_t call_count;
    const uint32_t *requests; /* of ioctl */
    size_t request_count;
    uint32_t otherwise; /* what becomes of anything else */
};

static void write_program(struct program *program, const struct policy *policy)
{
    load(program, offsetof(struct seccomp_data, arch));
    add(program, BPF_JMP | BPF_JEQ | BPF_K, SYSCALL_ARCHITECTURE, 1, 0);
    answer(program, SECCOMP_RET_KILL_PROCESS);
    load(program, offsetof(struct seccomp_data, nr));
    add(program, BPF_JMP | BPF_JGE | BPF_K, X32_BIT, 0, 1);
    answer(program, SECCOMP_RET_KILL_PROCESS);
    for (size_t i = 0; i < policy->call_count; i++) {
        add(program, BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)policy->calls[i], 0, 1);
        answer(program, SECCOMP_RET_ALLOW);
    }
    if (policy->request_count) {
        add(program, BPF_JMP | BPF_JEQ | BPF_K, SYS_ioctl, 1, 0);
        answer(program, policy->otherwise);
        load(program, offsetof(struct seccomp_data, args[1]));
        for (size_t i = 0; i < policy->request_count; i++) {
            add(program, BPF_JMP | BPF_JEQ | BPF_K, policy->requests[i], 0, 1);
            answer(program, SECCOMP_RET_ALLOW);
        }
    }
    answer(program, policy->otherwise);
}

int bl_confine_thread(enum bl_thread_kind kind, struct bl_error *err)
{
    static const uint32_t cpu_requests[] = {KVM_RUN, KVM_GET_REGS, KVM_GET_SREGS};
    struct program program = {.length = 0};
    struct sock_fprog filter = {.filter = program.code};
    struct policy policy = {.otherwise = SECCOMP_RET_KILL_PROCESS};

    switch (kind) {
    case BL_THREAD_CPU:
        policy.calls = cpu_calls;
        policy.call_count = sizeof cpu_calls / sizeof *cpu_calls;
        policy.requests = cpu_requests;
        policy.request_count = sizeof cpu_requests / sizeof *cpu_requests;
        break;
    case BL_THREAD_DISK:
        policy.calls = disk_calls;
        policy.call_count = sizeof disk_calls / sizeof *disk_calls;
        break;
    case BL_THREAD_LOOP:
        policy.calls = loop_calls;
        policy.call_count = sizeof loop_calls / sizeof *loop_calls;
        policy.request_count = bl_arch_save_requests(&policy.requests);
        policy.otherwise = SECCOMP_RET_ERRNO | EPERM;
        break;
    }
    write_program(&program, &policy);
    if (program.length == PROGRAM_MAX)
        return bl_fail(err, BL_INTERNAL, 0, "the filter of a thread's system calls is too long");
    filter.len = program.length;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) < 0)
        return bl_fail(err, BL_ENGINE, errno, "filter the system calls of a thread (seccomp)");
    return 0;
}
