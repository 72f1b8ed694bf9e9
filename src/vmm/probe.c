/* SPDX-License-Identifier: Apache-2.0 */
/*
 * probe.c - choosing an engine
 *
 * There are two: our own monitor, which needs KVM, and is the automatic choice where a trial of KVM succeeds; and QEMU, with KVM
 * where that trial succeeds, else as software emulation. A trial can't foresee everything that QEMU wants of KVM, so a QEMU that
 * ends at once with KVM is started again without. BOXLITE_QEMU names another emulator than the one in PATH. BOXLITE_QEMU_ACCEL
 * overrides the trial, for both engines: kvm, tcg, or kvm:tcg (the first, then the second); it is there for tests and for machines
 * that the trial misjudges.
 */
#include "vmm/probe.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vmm/kvm_trial.h"

#define QEMU_PROGRAM "qemu-system-x86_64"
#define QEMU_MISSING "install it (Debian, Ubuntu: apt install qemu-system-x86; Fedora: dnf install qemu-system-x86-core)"
#ifdef __x86_64__
#define OWN_MONITOR true
#else
#define OWN_MONITOR false /* not yet */
#endif
#define DEFAULT_PATH "/usr/local/bin:/usr/bin:/bin"

/* find_program() - Look for an executable in PATH, as execvp() would. Return: 0 and @out (PATH_MAX bytes); -1 */
static int find_program(const char *name, char *out)
{
    const char *path = getenv("PATH");

    for (const char *at = path && *path ? path : DEFAULT_PATH; *at;) {
        size_t length = strcspn(at, ":");

        if (length && snprintf(out, PATH_MAX, "%.*s/%s", (int)length, at, name) < PATH_MAX && access(out, X_OK) == 0)
            return 0;
        at += length + (at[length] == ':');
    }
    return -1;
}

/* find_qemu() - Return: 0 and choice->program; -1 and choice->reason */
static int find_qemu(struct bl_engine_choice *choice)
{
    const char *named = getenv("BOXLITE_QEMU");

    if (named && *named) {
        snprintf(choice->program, sizeof choice->program, "%s", named);
        if (access(named, X_OK) == 0)
            return 0;
        choice->program[0] = '\0';
        snprintf(choice->reason, sizeof choice->reason, "BOXLITE_QEMU names %.200s, which can't be executed", named);
        return -1;
    }
    if (find_program(QEMU_PROGRAM, choice->program) == 0)
        return 0;
    choice->program[0] = '\0';
    snprintf(choice->reason, sizeof choice->reason, "%s was not found in PATH: %s", QEMU_PROGRAM, QEMU_MISSING);
    return -1;
}

/* use_emulation() - The texts of a choice without KVM. */
static void use_emulation(struct bl_engine_choice *choice, const char *why)
{
    choice->kvm = choice->falls_back = false;
    snprintf(choice->virtualization, sizeof choice->virtualization, "unavailable: %s", why);
    if (!choice->program[0])
        return;
    snprintf(choice->name, sizeof choice->name, "qemu (emulation)");
    snprintf(choice->reason, sizeof choice->reason, "%s", why);
    snprintf(choice->notice, sizeof choice->notice, "using software emulation, several times slower: %s", why);
}

void bl_engine_fall_back(struct bl_engine_choice *choice, const char *why)
{
    use_emulation(choice, why);
}

/* The last trial of this process whose outcome holds, and of which device that was. */
static struct {
    pthread_mutex_t lock;
    bool valid;
    struct stat device;
    struct bl_kvm_known known;
} tried = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* same_device() - Whether nobody made the device anew, or changed who may use it. */
static bool same_device(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_rdev == b->st_rdev && a->st_ctim.tv_sec == b->st_ctim.tv_sec &&
           a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

/* try_kvm() - The trial, unless its outcome is known. */
static void try_kvm(struct bl_kvm_known *out)
{
    struct stat device = {0};
    bool there = stat("/dev/kvm", &device) == 0, lasting;

    pthread_mutex_lock(&tried.lock);
    if (!tried.valid || !there || !same_device(&device, &tried.device)) {
        tried.known.why[0] = '\0';
        tried.known.verdict = bl_kvm_trial(tried.known.why, sizeof tried.known.why, &lasting) == 0 ? BL_KVM_USABLE : BL_KVM_REFUSED;
        tried.valid = there && lasting;
        tried.device = device;
    }
    *out = tried.known;
    pthread_mutex_unlock(&tried.lock);
}

void bl_kvm_look(struct bl_kvm_known *out)
{
    const char *forced = getenv("BOXLITE_QEMU_ACCEL");

    if (!forced || !*forced) {
        try_kvm(out);
        return;
    }
    *out = (struct bl_kvm_known){.verdict = strncmp(forced, "kvm", 3) == 0 ? BL_KVM_USABLE : BL_KVM_REFUSED,
                                 .why = "switched off by BOXLITE_QEMU_ACCEL"};
}

/* emulation_will_do() - Whether KVM that fails at a start may be left for emulation. */
static bool emulation_will_do(void)
{
    const char *forced = getenv("BOXLITE_QEMU_ACCEL");

    return !forced || !*forced || strcmp(forced, "kvm:tcg") == 0;
}

/* choose_qemu() - The texts of a choice of QEMU. */
static void choose_qemu(struct bl_engine_choice *out, const struct bl_kvm_known *kvm)
{
    bool found = find_qemu(out) == 0, usable = kvm->verdict == BL_KVM_USABLE;

    out->kvm = usable;
    out->falls_back = usable && emulation_will_do();
    if (!usable) {
        use_emulation(out, kvm->why);
        return;
    }
    snprintf(out->virtualization, sizeof out->virtualization, "available");
    if (!found)
        return;
    snprintf(out->name, sizeof out->name, "qemu (kvm)");
    snprintf(out->reason, sizeof out->reason, "/dev/kvm is usable");
}

static void choose_own(struct bl_engine_choice *out, const char *why)
{
    out->own = out->kvm = true;
    snprintf(out->name, sizeof out->name, "kvm");
    snprintf(out->reason, sizeof out->reason, "%s", why);
    snprintf(out->virtualization, sizeof out->virtualization, "available");
}

/* choose_best() - The automatic choice. */
static void choose_best(struct bl_engine_choice *out, const struct bl_kvm_known *kvm)
{
    if (kvm->verdict != BL_KVM_USABLE || !OWN_MONITOR) {
        choose_qemu(out, kvm);
        return;
    }
    choose_own(out, "/dev/kvm is usable");
    out->falls_back = emulation_will_do();
}

void bl_engine_probe(struct bl_engine_choice *out)
{
    struct bl_kvm_known kvm;

    *out = (struct bl_engine_choice){0};
    bl_kvm_look(&kvm);
    choose_best(out, &kvm);
}

/* check_own() - Whether our own monitor can run here. Return: 0; -1: BL_UNSUPPORTED_ENGINE */
static int check_own(const struct bl_kvm_known *kvm, struct bl_error *err)
{
    if (!OWN_MONITOR)
        return bl_fail(err, BL_UNSUPPORTED_ENGINE, 0, "engine kvm is not there for this processor yet; engine qemu is");
    if (kvm->verdict == BL_KVM_USABLE)
        return 0;
    return bl_fail(err, BL_UNSUPPORTED_ENGINE, 0, "engine kvm can't run here: %s; engine qemu can do without", kvm->why);
}

static bool is(const char *engine, const char *name)
{
    return engine && strcmp(engine, name) == 0;
}

/* check_name() - Return: 0; -1: BL_INVALID_ARGUMENT */
static int check_name(const char *engine, struct bl_error *err)
{
    if (!engine || is(engine, "auto") || is(engine, "qemu") || is(engine, "kvm"))
        return 0;
    return bl_fail(err, BL_INVALID_ARGUMENT, 0, "unknown engine '%s': auto, qemu and kvm are known", engine);
}

/* know() - What is known, or can be found out. */
static struct bl_kvm_known know(const struct bl_kvm_known *known)
{
    struct bl_kvm_known kvm;

    if (known && known->verdict != BL_KVM_UNKNOWN)
        return *known;
    bl_kvm_look(&kvm);
    return kvm;
}

int bl_engine_check(const char *engine, const struct bl_kvm_known *known, struct bl_error *err)
{
    if (check_name(engine, err) < 0)
        return -1;
    if (!is(engine, "kvm"))
        return 0;

    const struct bl_kvm_known kvm = know(known);

    return check_own(&kvm, err);
}

int bl_engine_choose(const char *engine, const struct bl_kvm_known *known, struct bl_engine_choice *out, struct bl_error *err)
{
    *out = (struct bl_engine_choice){0};
    if (check_name(engine, err) < 0)
        return -1;

    const struct bl_kvm_known kvm = know(known);

    if (is(engine, "kvm") && check_own(&kvm, err) < 0)
        return -1;
    if (is(engine, "kvm"))
        choose_own(out, "it was asked for, and /dev/kvm is usable");
    else if (is(engine, "qemu"))
        choose_qemu(out, &kvm);
    else
        choose_best(out, &kvm);
    if (!out->name[0])
        return bl_fail(err, BL_ENGINE, 0, "no engine can run: %s", out->reason);
    return 0;
}
