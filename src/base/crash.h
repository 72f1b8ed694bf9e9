/* SPDX-License-Identifier: Apache-2.0 */
/*
 * crash.h - places at which a test can have a process killed
 *
 * A crash point stands right after a step that outlives the process: a file made, renamed or removed, a lock taken, a record
 * written, a process made, a frame sent. tests/torture kills each of them in turn and looks whether the next command tells the
 * truth; it fails for a point that is never reached, and for one that its table does not know.
 *
 * In an ordinary build a point is nothing at all. A build with -Dcrash_points=true compares it with BOXLITE_CRASH_AT ("name", or
 * "name@2" for the second time that this process comes by), notes in the file BOXLITE_CRASH_LOG that it was reached, and has the
 * process killed as the kernel would do it. Nothing but system calls and getenv() is used, so that a point may stand between fork
 * and exec.
 */
#ifndef BL_BASE_CRASH_H
#define BL_BASE_CRASH_H

#ifdef BL_CRASH_POINTS

/* Elements of the list of variables that the spawner hands on, so that the host process of a box has its crash points too. */
#define BL_CRASH_VARIABLES "BOXLITE_CRASH_AT", "BOXLITE_CRASH_LOG",

/**
 * bl_crash_point() - Kill this process if a test wants it to die here
 * @name: of the point: "part:what-was-just-done"
 */
void bl_crash_point(const char *name);
#define BL_CRASH_POINT(name) bl_crash_point(name)

#else

#define BL_CRASH_VARIABLES
#define BL_CRASH_POINT(name) ((void)0)

#endif

#endif
