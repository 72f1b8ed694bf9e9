/* SPDX-License-Identifier: Apache-2.0 */
/* kvm.h - the engine that is our own: a virtual machine in this process, on /dev/kvm; used by engine.c only */
#ifndef BL_VMM_KVM_KVM_H
#define BL_VMM_KVM_KVM_H

#include "vmm/engine.h"

/* bl_kvm_start() - As bl_engine_start(); descriptors that the machine keeps are taken out of the config. */
int bl_kvm_start(struct bl_loop *loop, struct bl_engine_config *config, const struct bl_engine_events *events, void *data,
                 struct bl_engine **out, struct bl_error *err);
/* bl_kvm_identity() - As bl_engine_identity(). */
int bl_kvm_identity(const struct bl_engine_config *config, struct bl_buffer *out);

#endif
