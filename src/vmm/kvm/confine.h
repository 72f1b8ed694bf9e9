/* SPDX-License-Identifier: Apache-2.0 */
/* confine.h - taking from a process that runs a machine what it does not need for that */
#ifndef BL_VMM_KVM_CONFINE_H
#define BL_VMM_KVM_CONFINE_H

#include "base/error.h"

/* What a thread does; decides which system calls it has. */
enum bl_thread_kind { BL_THREAD_CPU, BL_THREAD_DISK, BL_THREAD_LOOP };

/*
 * bl_confine_files() - From now on the calling thread, and those it starts, open no path outside of one directory
 * @dir_fd: the directory; -1: no path at all
 *
 * Descriptors that are open stay usable. For good: there is no way back.
 *
 * Return: 1: done; 0: this host's kernel can't (no Landlock); -1: BL_ENGINE
 */
int bl_confine_files(int dir_fd, struct bl_error *err);

/* bl_confine_thread() - Filter the system calls of the calling thread, for good. Return: 0; -1: BL_ENGINE */
int bl_confine_thread(enum bl_thread_kind kind, struct bl_error *err);

#endif
