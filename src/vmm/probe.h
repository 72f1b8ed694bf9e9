/* SPDX-License-Identifier: Apache-2.0 */
/* probe.h - which engine would run a box here, and why; for the shim that starts it and for people who ask (`info`) */
#ifndef BL_VMM_PROBE_H
#define BL_VMM_PROBE_H

#include <limits.h>
#include <stdbool.h>

#include "base/error.h"

#define BL_PROBE_TEXT_MAX 384

/* Whether KVM can be used here. */
enum bl_kvm_verdict { BL_KVM_UNKNOWN, BL_KVM_USABLE, BL_KVM_REFUSED };

struct bl_kvm_known {
    enum bl_kvm_verdict verdict;
    char why[256]; /* REFUSED: one line, and what to do */
};

/* Plain data; every text is one line. */
struct bl_engine_choice {
    bool falls_back;                        /* if it can't start with kvm, emulation will do: bl_engine_fall_back(), if not own */
    bool own;                               /* our own monitor, not an emulator */
    bool kvm;                               /* hardware virtualization is used, not software emulation */
    char name[32];                          /* "kvm", "qemu (kvm)", "qemu (emulation)"; empty: no engine can run */
    char reason[BL_PROBE_TEXT_MAX];         /* why this one, or why none */
    char virtualization[BL_PROBE_TEXT_MAX]; /* "available", or "unavailable: <why and what to do>" */
    char notice[BL_PROBE_TEXT_MAX];         /* what a user should be told at a start; empty: nothing */
    char program[PATH_MAX];                 /* the emulator */
};

/*
 * bl_kvm_look() - Find out whether KVM can be used
 *
 * KVM is judged by a trial, not by the presence of the device: a VM of one page of code is made and run. Some nested hosts
 * offer a /dev/kvm that can't carry out what every 64-bit kernel needs. Costs one to three milliseconds; what a process found
 * out once holds as long as the device stays what it is, and the shim of a box is told by who starts it. Thread-safe.
 *
 * @out: never UNKNOWN
 */
void bl_kvm_look(struct bl_kvm_known *out);

/*
 * bl_engine_probe() - Look at this machine: is /dev/kvm usable (bl_kvm_look()), is QEMU installed
 *
 * @out: always filled in; name is empty when nothing can run
 */
void bl_engine_probe(struct bl_engine_choice *out);

/*
 * bl_engine_check() - Whether there is such an engine, and, for "kvm", whether it can run here; the emulator may still be missing
 * @engine, @known: as for bl_engine_choose()
 *
 * Return: 0; -1: BL_INVALID_ARGUMENT (no such engine), BL_UNSUPPORTED_ENGINE ("kvm" can't run here)
 */
int bl_engine_check(const char *engine, const struct bl_kvm_known *known, struct bl_error *err);

/*
 * bl_engine_choose() - The engine for a start
 * @engine: "auto", "qemu" or "kvm"; NULL: "auto"
 * @known: of KVM; NULL or UNKNOWN: it is looked at
 *
 * Return: 0 and *@out; -1: as bl_engine_check(); BL_ENGINE (the emulator is missing)
 */
int bl_engine_choose(const char *engine, const struct bl_kvm_known *known, struct bl_engine_choice *out, struct bl_error *err);

/* bl_engine_fall_back() - Change a choice of kvm to software emulation. @why: what went wrong with kvm */
void bl_engine_fall_back(struct bl_engine_choice *choice, const char *why);

#endif
