/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kvm_note.h - what a home remembers of /dev/kvm
 *
 * A trial of it costs each start some milliseconds and tells the same until the next boot. One that succeeded is written down in
 * <home>/kvm, with all that it depends on: the boot, the device, and who asked. A note that says anything else is as good as none.
 * Failures are not written down: somebody is about to put them right.
 */
#ifndef BL_CORE_KVM_NOTE_H
#define BL_CORE_KVM_NOTE_H

#include "core/runtime.h"
#include "vmm/probe.h"

/* bl_kvm_note_look() - As bl_kvm_look(), unless the home knows it. @out: never UNKNOWN */
void bl_kvm_note_look(const struct bl_runtime *runtime, struct bl_kvm_known *out);
/* bl_kvm_note_drop() - Something failed that may be KVM's fault: have the next one look. */
void bl_kvm_note_drop(const struct bl_runtime *runtime);

#endif
