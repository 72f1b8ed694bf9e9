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

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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

/* kvm_usable() - The trial, or what overrides it. Return: whether KVM is to be used; else @why */
static bool kvm_usable(char *why, size_t size)
{
    const char *forced = getenv("BOXLITE_QEMU_ACCEL");

    if (!forced || !*forced)
        return bl_kvm_trial(why, size) == 0;
    snprintf(why, size, "switched off by BOXLITE_QEMU_ACCEL");
    return strncmp(forced, "kvm", 3) == 0;
}

/* choose_qemu() - The texts of a choice of QEMU. @usable: whether KVM is; @why: if not */
static void choose_qemu(struct bl_engine_choice *out, bool usable, const char *why)
{
    const char *forced = getenv("BOXLITE_QEMU_ACCEL");
    bool found = find_qemu(out) == 0;

    out->kvm = usable;
    out->falls_back = usable && (!forced || !*forced || strcmp(forced, "kvm:tcg") == 0);
    if (!usable) {
        use_emulation(out, why);
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

void bl_engine_probe(struct bl_engine_choice *out)
{
    char why[256];
    bool usable = kvm_usable(why, sizeof why);

    *out = (struct bl_engine_choice){0};
    if (usable && OWN_MONITOR)
        choose_own(out, "/dev/kvm is usable");
    else
        choose_qemu(out, usable, why);
}

/* check_own() - Whether our own monitor can run here. Return: 0; -1: BL_UNSUPPORTED_ENGINE */
static int check_own(struct bl_error *err)
{
    char why[256];

    if (!OWN_MONITOR)
        return bl_fail(err, BL_UNSUPPORTED_ENGINE, 0, "engine kvm is not there for this processor yet; engine qemu is");
    if (kvm_usable(why, sizeof why))
        return 0;
    return bl_fail(err, BL_UNSUPPORTED_ENGINE, 0, "engine kvm can't run here: %s; engine qemu can do without", why);
}

int bl_engine_check(const char *engine, struct bl_error *err)
{
    if (!engine || strcmp(engine, "auto") == 0 || strcmp(engine, "qemu") == 0)
        return 0;
    if (strcmp(engine, "kvm") == 0)
        return check_own(err);
    return bl_fail(err, BL_INVALID_ARGUMENT, 0, "unknown engine '%s': auto, qemu and kvm are known", engine);
}

int bl_engine_choose(const char *engine, struct bl_engine_choice *out, struct bl_error *err)
{
    *out = (struct bl_engine_choice){0};
    if (bl_engine_check(engine, err) < 0)
        return -1;
    if (engine && strcmp(engine, "kvm") == 0) {
        choose_own(out, "it was asked for, and /dev/kvm is usable");
    } else if (engine && strcmp(engine, "qemu") == 0) {
        char why[256];
        bool usable = kvm_usable(why, sizeof why);

        choose_qemu(out, usable, why);
    } else {
        bl_engine_probe(out);
    }
    if (!out->name[0])
        return bl_fail(err, BL_ENGINE, 0, "no engine can run: %s", out->reason);
    return 0;
}
