/* SPDX-License-Identifier: Apache-2.0 */
/* cgroup.c - limits of the workload and of each exec; see cgroup.h */
#include "guest/cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "guest/system.h"

#define MEMORY_PER_PROCESS 262144 /* bytes of memory for which one process is allowed */
#define PIDS_MAX_LEAST     512
#define PIDS_MAX_MOST      32000 /* the kernel's pid_max is 32768 */

#define THREADS_MAX "131072"
#define EXEC_NAME   "exec-%llu"
#define CONTROLLERS "+cpu +memory +pids"

/* set() - Write one of a group's files. Return: 0; -1 with errno */
static int set(int dir_fd, const char *file, const char *value)
{
    cleanup_close int fd = openat(dir_fd, file, O_WRONLY | O_CLOEXEC);

    return fd < 0 || write(fd, value, strlen(value)) < 0 ? -1 : 0;
}

static int set_number(int dir_fd, const char *file, uint64_t number)
{
    char text[32];

    snprintf(text, sizeof text, "%llu", (unsigned long long)number);
    return set(dir_fd, file, text);
}

/* value_after() - The number behind a key at the start of a line of a small file; 0 when it is not there */
static uint64_t value_after(int dir_fd, const char *file, const char *key)
{
    cleanup_buffer struct bl_buffer text = BL_BUFFER_INIT(16384);

    if (bl_read_file(dir_fd, file, &text) < 0 || bl_buffer_append(&text, "", 1) < 0)
        return 0;
    for (const char *line = (const char *)bl_buffer_data(&text); line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, key, strlen(key)) == 0)
            return strtoull(line + strlen(key), NULL, 10);
    }
    return 0;
}

/* remove_emptied() - Something changed in a lingering group: remove those whose last process has ended. */
static void remove_emptied(struct bl_source *source, uint32_t events)
{
    struct bl_cgroups *groups = source->data;
    char changes[4096];

    (void)events;
    while (read(source->fd, changes, sizeof changes) > 0)
        ;
    for (size_t i = groups->lingering_count; i-- > 0;) {
        char name[BL_CGROUP_NAME_MAX];

        snprintf(name, sizeof name, EXEC_NAME, (unsigned long long)groups->lingering[i].number);
        if (unlinkat(groups->box_fd, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
            continue;
        inotify_rm_watch(source->fd, groups->lingering[i].watch);
        groups->lingering[i] = groups->lingering[--groups->lingering_count];
    }
}

int bl_cgroups_init(struct bl_cgroups *groups, struct bl_loop *loop, struct bl_error *err)
{
    *groups = (struct bl_cgroups){.box_fd = -1, .emptied = {.fd = -1}};
    if (mount("cgroup2", BL_CGROUP_ROOT, "cgroup2", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0 && errno != EBUSY)
        return bl_fail(err, BL_INTERNAL, errno, "mount cgroup2 on %s", BL_CGROUP_ROOT);

    cleanup_close int root = open(BL_CGROUP_ROOT, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct sysinfo info;

    if (sysinfo(&info) < 0)
        return bl_fail(err, BL_INTERNAL, errno, "look at the memory");

    /* At this moment hardly anything is cached, so what is free is what is available. */
    uint64_t available = (uint64_t)(info.freeram + info.bufferram) * info.mem_unit;
    uint64_t by_memory = (uint64_t)info.totalram * info.mem_unit / MEMORY_PER_PROCESS;

    if (root < 0 || mkdirat(root, "boxlite", 0755) < 0)
        return bl_fail(err, BL_INTERNAL, errno, "make the cgroup of the box");
    groups->box_fd = openat(root, "boxlite", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (groups->box_fd < 0 || set(root, "cgroup.subtree_control", CONTROLLERS) < 0 ||
        set(groups->box_fd, "cgroup.subtree_control", CONTROLLERS) < 0)
        return bl_fail(err, BL_INTERNAL, errno, "enable the controllers of cgroup2 (%s)", CONTROLLERS);

    groups->memory_max = available / 10 * 9;
    groups->pids_max = by_memory < PIDS_MAX_LEAST  ? PIDS_MAX_LEAST
                       : by_memory > PIDS_MAX_MOST ? PIDS_MAX_MOST
                                                   : (uint32_t)by_memory;
    /* What the workload may not have is for execs, even while it has all that it may. */
    if (set_number(groups->box_fd, "memory.max", available / 100 * 95) < 0)
        return bl_fail(err, BL_INTERNAL, errno, "limit the memory of the box");

    groups->emptied = (struct bl_source){
        .fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC), .events = EPOLLIN, .ready = remove_emptied, .data = groups};
    if (groups->emptied.fd < 0 || bl_source_add(loop, &groups->emptied) < 0)
        return bl_fail(err, BL_INTERNAL, errno, "watch the cgroups");
    return 0;
}

void bl_cgroups_limit(struct bl_cgroups *groups, uint32_t pids_max)
{
    if (pids_max)
        groups->pids_max = pids_max;
}

int bl_cgroup_make(struct bl_cgroups *groups, const char *name, char *out, struct bl_error *err)
{
    if (name)
        snprintf(out, BL_CGROUP_NAME_MAX, "%s", name);
    else
        snprintf(out, BL_CGROUP_NAME_MAX, EXEC_NAME, (unsigned long long)groups->next++);

    /* The kernel's own limit of threads follows from the memory, and two groups at theirs would reach it: nobody could fork. */
    if (!name && groups->next == 1 && set(AT_FDCWD, "/proc/sys/kernel/threads-max", THREADS_MAX) < 0)
        return bl_fail(err, BL_INTERNAL, errno, "raise the kernel's limit of threads");
    if (mkdirat(groups->box_fd, out, 0755) < 0)
        return bl_fail(err, BL_INTERNAL, errno, "make the cgroup %s", out);

    cleanup_close int fd = openat(groups->box_fd, out, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0 || set_number(fd, "memory.max", groups->memory_max) < 0 || set_number(fd, "pids.max", groups->pids_max) < 0) {
        bl_fail(err, BL_INTERNAL, errno, "limit the cgroup %s", out);
        unlinkat(groups->box_fd, out, AT_REMOVEDIR);
        return -1;
    }
    return bl_steal_fd(&fd);
}

void bl_cgroup_kill(struct bl_cgroups *groups, const char *name)
{
    char file[BL_CGROUP_NAME_MAX + 32];

    snprintf(file, sizeof file, "%s%scgroup.kill", name, *name ? "/" : "");
    set(groups->box_fd, file, "1");
}

bool bl_cgroup_ran_out(struct bl_cgroups *groups, const char *name)
{
    char file[BL_CGROUP_NAME_MAX + 32];

    snprintf(file, sizeof file, "%s/memory.events", name);
    return value_after(groups->box_fd, file, "oom_kill ") > 0;
}

void bl_cgroup_remove(struct bl_cgroups *groups, const char *name)
{
    char file[BL_CGROUP_NAME_MAX + sizeof BL_CGROUP_ROOT + 64];
    unsigned long long number;

    if (unlinkat(groups->box_fd, name, AT_REMOVEDIR) == 0 || errno != EBUSY || sscanf(name, EXEC_NAME, &number) != 1)
        return;
    snprintf(file, sizeof file, BL_CGROUP_ROOT "/boxlite/%s/cgroup.events", name);

    int watch = inotify_add_watch(groups->emptied.fd, file, IN_MODIFY);
    struct bl_lingering *grown = realloc(groups->lingering, (groups->lingering_count + 1) * sizeof *grown);

    if (!grown)
        return;
    groups->lingering = grown;
    grown[groups->lingering_count++] = (struct bl_lingering){.number = number, .watch = watch};
    /* It can have become empty between the first try and the watch. */
    remove_emptied(&groups->emptied, 0);
}

void bl_cgroup_leave(struct bl_cgroups *groups, const char *name)
{
    if (groups->left_count == BL_CGROUP_LEFT_MAX)
        bl_cgroups_tidy(groups);
    snprintf(groups->left[groups->left_count++], BL_CGROUP_NAME_MAX, "%s", name);
}

void bl_cgroups_tidy(struct bl_cgroups *groups)
{
    while (groups->left_count)
        bl_cgroup_remove(groups, groups->left[--groups->left_count]);
}
