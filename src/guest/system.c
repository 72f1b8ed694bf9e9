/* SPDX-License-Identifier: Apache-2.0 */
/*
 * system.c - what PID 1 does for the machine itself
 *
 * The kernel starts the agent from the initramfs with nothing mounted. It mounts the few file systems that it needs, loads
 * the modules of a kernel that has any, and waits for its devices. Devices appear when their drivers are done, which the
 * kernel tells as uevents on a netlink socket: the socket is opened first and the look comes second, so nothing is missed
 * and nothing polls.
 *
 * Powering off is a restart: the machine has no ACPI, and its monitor was told that a restart is the end (QEMU -no-reboot).
 */
#include "guest/system.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <termios.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/io.h"

#define CONSOLE_PREFIX      "BoxLite Guest Agent"
#define CONSOLE_WAIT_S      1
#define MODULES_ORDER_MAX   65536
#define UEVENT_GROUP_KERNEL 1

static int console_fd = -1;

void bl_say(const char *fmt, ...)
{
    char line[BL_ERROR_MESSAGE_MAX + 64] = CONSOLE_PREFIX ": ";
    size_t used = strlen(line);
    va_list args;

    va_start(args, fmt);
    vsnprintf(line + used, sizeof line - used - 1, fmt, args);
    va_end(args);
    used = strlen(line);
    line[used] = '\n';

    /* The console is a device too, which appears when its driver is ready: before the agent's port, but after the agent began. */
    if (console_fd < 0)
        console_fd = open("/dev/console", O_WRONLY | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);

    /* One that takes nothing must not stop the agent: what does not fit is lost. */
    ssize_t written = write(console_fd, line, used + 1);

    (void)written;
}

/* make_descriptors() - Descriptors 0 to 2 lead nowhere, so that nothing else gets their numbers. */
static void make_descriptors(void)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);

    for (int fd = 0; null >= 0 && fd < 3; fd++)
        dup2(null, fd);
    if (null > 2)
        close(null);
}

int bl_system_mount(struct bl_error *err)
{
    static const struct {
        const char *type, *where, *data;
        unsigned long flags;
    } mounts[] = {
        {"proc", "/proc", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC},
        {"sysfs", "/sys", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC},
        {"devtmpfs", "/dev", "mode=0755", MS_NOSUID | MS_NOEXEC},
    };

    umask(0);
    for (size_t i = 0; i < sizeof mounts / sizeof *mounts; i++) {
        mkdir(mounts[i].where, 0755);
        /* A kernel can have mounted devtmpfs by itself. */
        if (mount(mounts[i].type, mounts[i].where, mounts[i].type, mounts[i].flags, mounts[i].data) < 0 && errno != EBUSY)
            return bl_fail(err, BL_INTERNAL, errno, "mount %s on %s", mounts[i].type, mounts[i].where);
    }
    make_descriptors();
    return 0;
}

int bl_system_load_modules(struct bl_error *err)
{
    cleanup_buffer struct bl_buffer order = BL_BUFFER_INIT(MODULES_ORDER_MAX);
    char path[256];
    char *rest = NULL;

    if (bl_read_file(AT_FDCWD, "/modules/order", &order) < 0)
        return errno == ENOENT ? 0 : bl_fail(err, BL_INTERNAL, errno, "read /modules/order");
    if (bl_buffer_append(&order, "", 1) < 0)
        return bl_fail_memory(err);
    for (char *name = strtok_r((char *)bl_buffer_data(&order), "\n", &rest); name; name = strtok_r(NULL, "\n", &rest)) {
        snprintf(path, sizeof path, "/modules/%s", name);

        cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);

        if (fd < 0 || (syscall(SYS_finit_module, fd, "", 0) < 0 && errno != EEXIST))
            return bl_fail(err, BL_INTERNAL, errno, "load the kernel module %s", path);
    }
    return 0;
}

/* find_port() - Descriptor of the port of that name; -1: not there (yet), errno is ENOENT, or it can't be opened */
static int find_port(const char *name)
{
    cleanup_dir DIR *ports = opendir("/sys/class/virtio-ports");

    errno = ENOENT;
    for (struct dirent *port; ports && (port = readdir(ports));) {
        char path[512];
        cleanup_buffer struct bl_buffer found = BL_BUFFER_INIT(256);

        snprintf(path, sizeof path, "/sys/class/virtio-ports/%s/name", port->d_name);
        if (port->d_name[0] == '.' || bl_read_file(AT_FDCWD, path, &found) < 0)
            continue;
        if (found.length != strlen(name) + 1 || memcmp(bl_buffer_data(&found), name, strlen(name)) != 0)
            continue;
        snprintf(path, sizeof path, "/dev/%s", port->d_name);
        return open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    }
    errno = ENOENT;
    return -1;
}

static int find_disk(const char *path)
{
    return access(path, F_OK);
}

/* wait_for_device() - Try @find now and after each event of a device. Return: what it found; -1 */
static int wait_for_device(int (*find)(const char *), const char *what, int64_t deadline_ms, struct bl_error *err)
{
    int fd = find(what);

    if (fd >= 0)
        return fd;

    cleanup_close int events = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_KOBJECT_UEVENT);
    struct sockaddr_nl address = {.nl_family = AF_NETLINK, .nl_groups = UEVENT_GROUP_KERNEL};

    if (events < 0 || bind(events, (struct sockaddr *)&address, sizeof address) < 0)
        return bl_fail(err, BL_INTERNAL, errno, "listen to device events");
    for (;;) {
        char event[4096];
        struct pollfd waiting = {.fd = events, .events = POLLIN};

        fd = find(what);
        if (fd >= 0)
            return fd;
        if (errno != ENOENT && errno != ENXIO)
            return bl_fail(err, BL_INTERNAL, errno, "open the device %s", what);
        if (poll(&waiting, 1, bl_deadline_left(deadline_ms)) == 0)
            return bl_fail(err, BL_INTERNAL, 0, "the device %s did not appear", what);
        while (recv(events, event, sizeof event, 0) > 0)
            ;
    }
}

int bl_system_open_port(const char *name, int64_t deadline_ms, struct bl_error *err)
{
    return wait_for_device(find_port, name, deadline_ms, err);
}

int bl_system_wait_for_disk(int64_t deadline_ms, struct bl_error *err)
{
    return wait_for_device(find_disk, BL_DISK_DEVICE, deadline_ms, err);
}

/* tell_driver() - Write the name of a device to a file of its driver. Return: 0; -1 with errno */
static int tell_driver(const char *file, const char *device)
{
    cleanup_close int fd = open(file, O_WRONLY | O_CLOEXEC);

    return fd < 0 ? -1 : bl_write_all(fd, device, strlen(device));
}

void bl_system_renew_disk(void)
{
    char target[256];
    ssize_t length = readlink("/sys/block/" BL_DISK_NAME "/device", target, sizeof target - 1);

    if (length <= 0)
        return;
    target[length] = '\0';

    const char *slash = strrchr(target, '/');
    const char *device = slash ? slash + 1 : target;

    if (tell_driver("/sys/bus/virtio/drivers/virtio_blk/unbind", device) < 0 ||
        tell_driver("/sys/bus/virtio/drivers/virtio_blk/bind", device) < 0)
        bl_say("the disk's driver can't be started anew: %s", strerror(errno));
}

void bl_system_loopback(void)
{
    cleanup_close int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct ifreq interface = {.ifr_name = "lo"};

    if (fd < 0 || ioctl(fd, SIOCGIFFLAGS, &interface) < 0)
        return;
    interface.ifr_flags |= IFF_UP;
    ioctl(fd, SIOCSIFFLAGS, &interface);
}

static void interrupt(int number)
{
    (void)number; /* only so that a system call ends */
}

_Noreturn void bl_system_power_off(void)
{
    const struct sigaction ends_calls = {.sa_handler = interrupt};

    /* What the console's driver still holds would be lost; a console that takes nothing is not waited for. */
    sigaction(SIGALRM, &ends_calls, NULL);
    alarm(CONSOLE_WAIT_S);
    if (console_fd >= 0)
        tcdrain(console_fd);
    reboot(RB_AUTOBOOT);
    /* Not allowed to be PID 1, then: as a test of the agent outside of a machine would be. */
    _exit(1);
}
