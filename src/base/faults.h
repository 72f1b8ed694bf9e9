/* SPDX-License-Identifier: Apache-2.0 */
/*
 * faults.h - calls that fail where a test says; part of test builds only (-Dcrash_points=true)
 *
 * A call is known by its site: the module it stands in and the return addresses of the innermost callers there, as offsets, which
 * are the same in every run of one build. BOXLITE_FAULT_LOG names a file that gets a line for each call ("openat
 * boxlite+1f2c.88a0"), so a run that is left alone tells all sites that there are. BOXLITE_FAULT_AT then names one, or the Nth time
 * that one is passed
 * ("boxlite+1f2c.88a0@3"), and BOXLITE_FAULT_ERRNO what the call fails with there; it is not made then. "short" instead of a number
 * has a read or a write move one byte. The log says "failed" when it happened. The name of a call instead of a site stands for all
 * calls of that name.
 *
 * The system calls of our own sources come by here through the table of os.h, memory through the linker (--wrap=malloc and the
 * like, meson.build), SQLite's through what it offers for that (src/core/store_faults.c).
 */
#ifndef BL_BASE_FAULTS_H
#define BL_BASE_FAULTS_H

#include <stddef.h>

enum bl_fault { BL_FAULT_NONE, BL_FAULT_FAIL, BL_FAULT_SHORT };

/**
 * bl_fault() - Whether a call is to fail
 * @call: its name
 * @frame: __builtin_frame_address(0) of the function that stands for the call
 *
 * Only system calls are used, so that a call may stand between fork and exec.
 * Return: what is to happen; errno is set for BL_FAULT_FAIL, untouched otherwise
 */
enum bl_fault bl_fault(const char *call, void *frame);
#define BL_FAULT(call) bl_fault(call, __builtin_frame_address(0))

#endif
