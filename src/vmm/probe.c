/* SPDX-License-Identifier: Apache-2.0 */
/*
 * probe.c - choosing an engine
 *
 * Today there is one engine, QEMU, in two ways: with KVM where a trial of it succeeds, else as software emulation. A trial can't
 * foresee everything that QEMU wants of KVM, so a QEMU that ends at once with KVM is started again without. BOXLITE_QEMU names
 * another emulator than the one in PATH. BOXLITE_QEMU_ACCEL overrides the trial: kvm, tcg, or kvm:tcg (the first, then the second);
 * it is there for tests and for machines that the trial misjudges.
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

void bl_engine_probe(struct bl_engine_choice *out)
{
    const char *forced = getenv("BOXLITE_QEMU_ACCEL");
    bool is_forced = forced && *forced;
    char why[256] = "switched off by BOXLITE_QEMU_ACCEL";
    bool found;

    *out = (struct bl_engine_choice){0};
    found = find_qemu(out) == 0;
    out->kvm = is_forced ? strncmp(forced, "kvm", 3) == 0 : bl_kvm_trial(why, sizeof why) == 0;
    out->falls_back = out->kvm && (!is_forced || strcmp(forced, "kvm:tcg") == 0);
    if (!out->kvm) {
        use_emulation(out, why);
        return;
    }
    snprintf(out->virtualization, sizeof out->virtualization, "available");
    if (!found)
        return;
    snprintf(out->name, sizeof out->name, "qemu (kvm)");
    snprintf(out->reason, sizeof out->reason, "/dev/kvm is usable");
}

int bl_engine_check(const char *engine, struct bl_error *err)
{
    if (!engine || strcmp(engine, "auto") == 0 || strcmp(engine, "qemu") == 0)
        return 0;
    if (strcmp(engine, "kvm") == 0)
        return bl_fail(err, BL_UNSUPPORTED_ENGINE, 0,
                       "engine kvm is not part of this build; --engine qemu uses hardware virtualization too, when it is usable");
    return bl_fail(err, BL_INVALID_ARGUMENT, 0, "unknown engine '%s': auto, qemu and kvm are known", engine);
}

int bl_engine_choose(const char *engine, struct bl_engine_choice *out, struct bl_error *err)
{
    *out = (struct bl_engine_choice){0};
    if (bl_engine_check(engine, err) < 0)
        return -1;
    bl_engine_probe(out);
    if (!out->name[0])
        return bl_fail(err, BL_ENGINE, 0, "no engine can run: %s", out->reason);
    return 0;
}
