/* SPDX-License-Identifier: Apache-2.0 */
/* qemu.h - the engine that runs QEMU's microvm machine as a child process; used by engine.c only */
#ifndef BL_VMM_QEMU_QEMU_H
#define BL_VMM_QEMU_QEMU_H

#include "vmm/engine.h"

/* bl_qemu_start() - As bl_engine_start(); the config's descriptors stay the caller's to close. */
int bl_qemu_start(struct bl_loop *loop, const struct bl_engine_choice *choice, const struct bl_engine_config *config,
                  const struct bl_engine_events *events, void *data, struct bl_engine **out, struct bl_error *err);
/* bl_qemu_identity() - As bl_engine_identity(). */
int bl_qemu_identity(const struct bl_engine_choice *choice, const struct bl_engine_config *config, struct bl_buffer *out);

#endif
