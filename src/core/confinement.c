/* SPDX-License-Identifier: Apache-2.0 */
/*
 * confinement.c - what confines the processes of a running box, as the kernel has it in its books
 *
 * A box on our own monitor is one process, with a thread for each processor; on an emulator it is that of the shim and a child.
 * Whatever runs the guest is looked at: /proc says of each thread whether it can gain privileges and how many filters of system
 * calls it has. More than we have ourselves are the box's own: in a container everybody has the container's. Landlock has no entry
 * there; our monitor does not start without it where the kernel has it.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/os.h"
#include "base/strings.h"
#include "core/core.h"
#include "core/doctor.h"

#define PROC_FILE_MAX   4096
#define CPU_THREAD_NAME "cpu " /* vmm/kvm/cpus.c */

/* What is known of a process: the least of its threads counts. */
struct confinement {
    bool own_monitor;      /* it runs processors itself */
    unsigned long threads; /* that could be read */
    bool no_new_privileges;
    unsigned long filters;
};

/* number_after() - Of a line of /proc/<pid>/status. Return: 0 when there is no such line */
static unsigned long number_after(const char *text, const char *name)
{
    const char *at = strstr(text, name);

    return at ? strtoul(at + strlen(name), NULL, 10) : 0;
}

/* look_at_thread() - @folder: in /proc */
static void look_at_thread(const char *folder, struct confinement *out)
{
    char path[96], text[PROC_FILE_MAX];

    snprintf(path, sizeof path, "%s/status", folder);
    if (bl_read_text(path, text, sizeof text) < 0)
        return;

    unsigned long filters = number_after(text, "\nSeccomp_filters:");
    bool none_new = number_after(text, "\nNoNewPrivs:") == 1;

    out->own_monitor |= bl_starts_with(text, "Name:\t" CPU_THREAD_NAME);
    out->no_new_privileges = none_new && (out->no_new_privileges || !out->threads);
    out->filters = out->threads && out->filters < filters ? out->filters : filters;
    out->threads++;
}

static void look_at_process(long pid, struct confinement *out)
{
    char path[64];

    *out = (struct confinement){0};
    snprintf(path, sizeof path, "/proc/%ld/task", pid);

    cleanup_dir DIR *dir = bl_os.opendir(path);

    for (struct dirent *entry; dir && (entry = bl_os.readdir(dir));) {
        char folder[96];
        long thread = strtol(entry->d_name, NULL, 10);

        if (thread <= 0)
            continue;
        snprintf(folder, sizeof folder, "/proc/%ld/task/%ld", pid, thread);
        look_at_thread(folder, out);
    }
}

/* engine_of() - The process that runs the guest: the emulator, which is the shim's only child, or the shim itself. */
static long engine_of(long shim)
{
    char path[80], text[PROC_FILE_MAX];
    long child = 0;

    snprintf(path, sizeof path, "/proc/%ld/task/%ld/children", shim, shim);
    if (bl_read_text(path, text, sizeof text) == 0)
        child = strtol(text, NULL, 10);
    return child > 0 ? child : shim;
}

int bl_box_confinement(const struct bl_box_info *info, char ***out, struct bl_error *err)
{
    cleanup_strings char **layers = bl_strings_copy(NULL);
    struct confinement engine, ours = {0};
    int failed = layers ? 0 : -1;

    *out = NULL;
    if (info->pid > 0) {
        look_at_process(engine_of(info->pid), &engine);
        look_at_thread("/proc/self", &ours);
        if (engine.threads && engine.no_new_privileges)
            failed |= bl_strings_append(&layers, "no-new-privileges");
        if (engine.threads && engine.filters > ours.filters)
            failed |= bl_strings_append(&layers, "seccomp");
        if (engine.own_monitor && !info->unconfined && bl_landlock_version() > 0)
            failed |= bl_strings_append(&layers, "landlock");
    }
    if (failed)
        return bl_fail_memory(err);
    *out = bl_steal_ptr(&layers);
    return 0;
}
