/* SPDX-License-Identifier: Apache-2.0 */
/*
 * identity.h - whether a process is the one that we mean
 *
 * A pid alone says nothing: it may have been given to another process. What a box's host process is known by, beside its lock, is
 * its command line, which the spawner made (core/spawn.c, make_argv(): exactly {".../boxlite-shim", "<id>"}), and the start time
 * and boot id that were recorded with the pid. All of this only looks; nothing here signals or reaps.
 */
#ifndef BL_CORE_IDENTITY_H
#define BL_CORE_IDENTITY_H

#include <stdint.h>
#include <sys/types.h>

#define BL_BOOT_ID_LENGTH 36 /* a UUID as text */
#define BL_SHIM_NAME      "boxlite-shim"

/* What was remembered of a process; a field that is 0 or empty was not. */
struct bl_process {
    pid_t pid;
    uint64_t start_ticks; /* field 22 of /proc/<pid>/stat: clock ticks since boot */
    char boot_id[BL_BOOT_ID_LENGTH + 1];
};

enum bl_identity {
    BL_IDENTITY_OTHER, /* no such process, a zombie, or another one */
    BL_IDENTITY_SAME,
    BL_IDENTITY_UNKNOWN, /* /proc can't be read */
};

/*
 * bl_is_same_process() - Whether a live process is the host process of a box
 * @id: the box's id; an empty one is never matched
 *
 * One argument after argv[0] must equal the id, and the base name of argv[0] must be that of the shim. It is the counterpart of
 * make_argv() in core/spawn.c: change them together.
 */
enum bl_identity bl_is_same_process(pid_t pid, const char *id);
/* bl_process_check() - The same, overruled by a recorded start time or boot id that disagrees. */
enum bl_identity bl_process_check(const struct bl_process *process, const char *id);
/*
 * bl_process_start_ticks() - When a process started
 * @state: set to its state letter ('Z' for a zombie); may be NULL
 * Return: 0; -1 with errno (ENOENT or ESRCH: no such process)
 */
int bl_process_start_ticks(pid_t pid, uint64_t *ticks, char *state);
/* bl_boot_id() - The id of this boot, read once. Return: a text, empty when it can't be told */
const char *bl_boot_id(void);
/* bl_process_parse() - The three lines of a shim.pid: pid, start time, boot id. Return: 0; -1 when it is none */
int bl_process_parse(const char *text, struct bl_process *out);

#endif
