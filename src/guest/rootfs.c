/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rootfs.c - what the workload sees as its root; see rootfs.h
 *
 * It follows Docker: a /dev of its own with the harmless devices, /proc of its own pid namespace with the parts that concern the
 * whole machine hidden or read-only, /sys and the cgroups read-only.
 *
 * One thing is stricter. Everything is mounted `nodev`, and the devices in /dev are bind mounts of single nodes: root in the
 * box may make device nodes (images and package managers do), but none of them opens the disk's raw device or the agent's port.
 *
 * The agent's root is the initramfs, which pivot_root() can't leave. The disk is moved over it instead, as every initramfs
 * does: every path begins and ends above it, and only CAP_SYS_ADMIN could take the disk off again.
 *
 * All this is part of every start, and under emulation it is code that runs for the first time that costs: so the kernel is asked
 * for few different things.
 */
#include "guest/rootfs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "guest/syscalls.h"

static const char *const device_names[] = {"null", "zero", "full", "random", "urandom", "tty"};

#define DEVICES (sizeof device_names / sizeof *device_names)

struct mounted {
    const char *where, *type, *data;
    unsigned long flags;
    bool optional; /* a kernel without it is fine */
};

static const struct mounted mounts[] = {
    {"/proc", "proc", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC, false},
    {"/sys", "sysfs", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RDONLY, false},
    {"/sys/fs/cgroup", "cgroup2", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RDONLY, true},
    {"/dev", "tmpfs", "mode=0755,size=64m", MS_NOSUID | MS_NODEV | MS_STRICTATIME, false},
    {"/dev/pts", "devpts", "newinstance,ptmxmode=0666,mode=0620,gid=5", MS_NOSUID | MS_NOEXEC, false},
    {"/dev/shm", "tmpfs", "mode=1777,size=64m", MS_NOSUID | MS_NODEV | MS_NOEXEC, false},
    {"/dev/mqueue", "mqueue", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC, true},
};

/* Docker's lists. What is no directory gets /dev/null on top, a directory an empty read-only file system. */
static const char *const masked[] = {
    "/proc/acpi",        "/proc/asound",     "/proc/kcore",       "/proc/keys",    "/proc/latency_stats",          "/proc/scsi",
    "/proc/sched_debug", "/proc/timer_list", "/proc/timer_stats", "/sys/firmware", "/sys/devices/virtual/powercap"};
static const char *const read_only[] = {"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"};

#define COUNT(list) (sizeof(list) / sizeof *(list))

/* make_mount_point() - An image need not have /proc and the like, but a link in their place would lead elsewhere. */
static int make_mount_point(const char *path, struct bl_error *err)
{
    struct stat info;

    if (lstat(path, &info) < 0 && (errno != ENOENT || mkdir(path, 0755) < 0 || lstat(path, &info) < 0))
        return bl_fail(err, BL_EXECUTION, errno, "make the directory %s in the box", path);
    if (!S_ISDIR(info.st_mode))
        return bl_fail(err, BL_EXECUTION, 0, "%s in the box is no directory: the image can't be run", path);
    return 0;
}

static int mount_all(struct bl_error *err)
{
    for (size_t i = 0; i < COUNT(mounts); i++) {
        const struct mounted *m = &mounts[i];

        /* Below /sys nothing can be made: there the kernel has a directory, or there is nothing to mount. */
        if (strncmp(m->where, "/sys/", 5) != 0 && make_mount_point(m->where, err) < 0)
            return -1;
        if (mount(m->type, m->where, m->type, m->flags, m->data) < 0 && !m->optional)
            return bl_fail(err, BL_EXECUTION, errno, "mount %s on %s in the box", m->type, m->where);
    }
    return 0;
}

/* fill_dev() - The devices and links of /dev. @devices: detached mounts of the agent's nodes */
static int fill_dev(const int *devices, struct bl_error *err)
{
    static const char *const links[][2] = {
        {"/proc/self/fd", "/dev/fd"},       {"/proc/self/fd/0", "/dev/stdin"}, {"/proc/self/fd/1", "/dev/stdout"},
        {"/proc/self/fd/2", "/dev/stderr"}, {"pts/ptmx", "/dev/ptmx"},
    };

    for (size_t i = 0; i < DEVICES; i++) {
        char path[32];

        snprintf(path, sizeof path, "/dev/%s", device_names[i]);

        cleanup_close int file = open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0666);

        if (file < 0 || bl_move_mount(devices[i], path) < 0)
            return bl_fail(err, BL_EXECUTION, errno, "put %s into the box", path);
    }
    for (size_t i = 0; i < COUNT(links); i++)
        if (symlink(links[i][0], links[i][1]) < 0)
            return bl_fail(err, BL_EXECUTION, errno, "link %s in the box", links[i][1]);
    return 0;
}

static int hide(struct bl_error *err)
{
    for (size_t i = 0; i < COUNT(masked); i++) {
        struct stat info;

        if (lstat(masked[i], &info) < 0)
            continue;

        int failed = S_ISDIR(info.st_mode)
                         ? mount("tmpfs", masked[i], "tmpfs", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, "size=0,mode=0755")
                         : mount("/dev/null", masked[i], NULL, MS_BIND, NULL);

        if (failed)
            return bl_fail(err, BL_EXECUTION, errno, "hide %s from the box", masked[i]);
    }
    for (size_t i = 0; i < COUNT(read_only); i++) {
        if (mount(read_only[i], read_only[i], NULL, MS_BIND, NULL) < 0) {
            if (errno == ENOENT)
                continue;
            return bl_fail(err, BL_EXECUTION, errno, "bind %s in the box", read_only[i]);
        }
        if (mount(NULL, read_only[i], NULL, MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0)
            return bl_fail(err, BL_EXECUTION, errno, "make %s read-only in the box", read_only[i]);
    }
    return 0;
}

/* take_over_root() - Move the disk over the agent's root, with all that is mounted there. */
static int take_over_root(struct bl_error *err)
{
    if (chdir(BL_BOX_ROOT) < 0 || mount(".", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0 || chdir("/") < 0)
        return bl_fail(err, BL_EXECUTION, errno, "make the disk the root of the box");
    return 0;
}

int bl_rootfs_enter(struct bl_error *err)
{
    int devices[DEVICES];

    for (size_t i = 0; i < DEVICES; i++) {
        char path[32];

        snprintf(path, sizeof path, "/dev/%s", device_names[i]);
        devices[i] = bl_open_tree(AT_FDCWD, path, OPEN_TREE_CLONE);
        if (devices[i] < 0)
            return bl_fail(err, BL_EXECUTION, errno, "take %s for the box", path);
    }
    if (take_over_root(err) < 0 || mount_all(err) < 0 || fill_dev(devices, err) < 0 || hide(err) < 0)
        return -1;
    for (size_t i = 0; i < DEVICES; i++)
        close(devices[i]);
    return 0;
}

void bl_rootfs_console(void)
{
    char terminal[64];
    cleanup_close int file = open("/dev/console", O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);

    if (file >= 0 && ttyname_r(STDIN_FILENO, terminal, sizeof terminal) == 0)
        mount(terminal, "/dev/console", NULL, MS_BIND, NULL);
}

/* says() - Whether a file says that; NULL: whether it is there. Nothing else may be in its place. */
static bool says(const char *path, const char *text)
{
    char found[300] = "";
    struct stat info;

    if (lstat(path, &info) < 0)
        return false;
    if (!text || !S_ISREG(info.st_mode))
        return true;
    if ((size_t)info.st_size != strlen(text) || strlen(text) >= sizeof found)
        return false;

    cleanup_close int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);

    return fd >= 0 && read(fd, found, sizeof found - 1) == info.st_size && strcmp(found, text) == 0;
}

/* write_new() - Make a file of that text; without its old content first, as the file system would write that out at once. */
static void write_new(const char *path, const char *text)
{
    mkdir("/etc", 0755);
    unlink(path);

    cleanup_close int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);

    if (fd >= 0)
        bl_write_all(fd, text, strlen(text));
}

void bl_rootfs_write_etc(const char *hostname)
{
    char hosts[512], name[300];

    snprintf(name, sizeof name, "%s\n", hostname);
    snprintf(hosts, sizeof hosts, "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n127.0.1.1\t%s\n", hostname);

    const struct {
        const char *path, *text;
        bool must_say; /* an image's own is replaced */
    } files[] = {
        {"/etc/hostname", name, true},
        {"/etc/hosts", hosts, false},
        {"/etc/resolv.conf", "", false},
    };

    for (size_t i = 0; i < COUNT(files); i++)
        if (!says(files[i].path, files[i].must_say ? files[i].text : NULL))
            write_new(files[i].path, files[i].text);
}
