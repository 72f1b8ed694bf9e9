/* SPDX-License-Identifier: Apache-2.0 */
/*
 * settings.c - what CONFIG says: the moment in which a machine becomes one box
 *
 * Everything is read before anything is done. The disk and the cgroups are set up by the first CONFIG of a boot; a later one
 * (after a restore) brings the clock, the entropy and the name up to date.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/random.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "guest/agent.h"
#include "guest/rootfs.h"
#include "guest/system.h"

/* No thread that reads all block bitmaps after the start, or clears inode tables that the image maker marked as clear. */
#define MOUNT_OPTIONS "no_prefetch_block_bitmaps,noinit_itable"

#define DISK_WAIT_MS   30000
#define ENTROPY_MIN    32
#define ENTROPY_MAX    256
#define EXT4_RESIZE_FS _IOW('f', 16, uint64_t) /* EXT4_IOC_RESIZE_FS */
#define RESEED_RANDOM  _IO('R', 0x07)          /* RNDRESEEDCRNG */

/* ext4's superblock: where it lies, and offsets in it (Documentation/filesystems/ext4/super.rst). */
#define SUPER_OFFSET         1024
#define SUPER_BYTES          1024
#define SUPER_BLOCKS_LOW     0x4
#define SUPER_LOG_BLOCK_SIZE 0x18
#define SUPER_MAGIC          0x38
#define SUPER_BLOCKS_HIGH    0x150
#define SUPER_MAGIC_VALUE    0xef53
#define SUPER_LOG_BLOCK_MAX  6

struct settings {
    char *hostname;
    uint64_t clock_ns, disk_bytes, pids_max;
    const uint8_t *entropy;
    uint32_t entropy_bytes;
};

static int take_field(const struct bl_field *field, struct settings *out, struct bl_error *err)
{
    switch (field->tag) {
    case BL_CONFIG_HOSTNAME:
        free(out->hostname);
        out->hostname = bl_field_string(field, 64); /* __NEW_UTS_LEN */
        return out->hostname && *out->hostname ? 0 : bl_fail(err, BL_CONFIG, 0, "the host name is empty or longer than 64 bytes");
    case BL_CONFIG_CLOCK_NS:
        return bl_field_number(field, &out->clock_ns) < 0 ? bl_fail(err, BL_CONFIG, 0, "the clock is no number") : 0;
    case BL_CONFIG_DISK_BYTES:
        return bl_field_number(field, &out->disk_bytes) < 0 ? bl_fail(err, BL_CONFIG, 0, "the size of the disk is no number") : 0;
    case BL_CONFIG_PIDS_MAX:
        return bl_field_number(field, &out->pids_max) < 0 || out->pids_max > UINT32_MAX
                   ? bl_fail(err, BL_CONFIG, 0, "the limit of processes is no number")
                   : 0;
    case BL_CONFIG_ENTROPY:
        if (field->length < ENTROPY_MIN || field->length > ENTROPY_MAX)
            return bl_fail(err, BL_CONFIG, 0, "%u bytes of entropy, not %d to %d", field->length, ENTROPY_MIN, ENTROPY_MAX);
        out->entropy = field->bytes;
        out->entropy_bytes = field->length;
        return 0;
    case BL_CONFIG_ROOT_TAG:
        return bl_fail(err, BL_UNSUPPORTED, 0, "this agent has no shared directories as root");
    default:
        return 0;
    }
}

static void set_clock(uint64_t ns)
{
    struct timespec now = {.tv_sec = (time_t)(ns / 1000000000), .tv_nsec = (long)(ns % 1000000000)};

    if (ns && clock_settime(CLOCK_REALTIME, &now) < 0)
        bl_say("the clock can't be set: %s", strerror(errno));
}

/* add_entropy() - Credit bytes of the host's generator to ours, and use them at once. */
static void add_entropy(const uint8_t *bytes, uint32_t length)
{
    uint32_t pool[(sizeof(struct rand_pool_info) + ENTROPY_MAX) / sizeof(uint32_t)];
    struct rand_pool_info *info = (struct rand_pool_info *)pool;
    cleanup_close int fd = length ? open("/dev/urandom", O_RDWR | O_CLOEXEC) : -1;

    if (!length)
        return;
    *info = (struct rand_pool_info){.entropy_count = (int)length * 8, .buf_size = (int)length};
    memcpy(info->buf, bytes, length);
    if (fd < 0 || ioctl(fd, RNDADDENTROPY, info) < 0 || ioctl(fd, RESEED_RANDOM) < 0)
        bl_say("entropy can't be added: %s", strerror(errno));
}

/* grow() - Make the mounted file system as large as it shall be, if it is smaller; it never shrinks. */
static int grow(const uint8_t *super, uint64_t wanted_bytes, uint64_t device_bytes, struct bl_error *err)
{
    uint32_t log = bl_get_le32(super + SUPER_LOG_BLOCK_SIZE);
    uint64_t blocks = bl_get_le32(super + SUPER_BLOCKS_LOW) | (uint64_t)bl_get_le32(super + SUPER_BLOCKS_HIGH) << 32;

    if (log > SUPER_LOG_BLOCK_MAX)
        return bl_fail(err, BL_STORAGE, 0, "the disk's file system is damaged (block size)");
    if (wanted_bytes > device_bytes)
        wanted_bytes = device_bytes;

    uint64_t wanted = wanted_bytes >> (10 + log);

    if (wanted <= blocks)
        return 0;

    cleanup_close int fd = open(BL_BOX_ROOT, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0 || ioctl(fd, EXT4_RESIZE_FS, &wanted) < 0)
        return bl_fail(err, BL_STORAGE, errno, "grow the disk's file system to %llu bytes", (unsigned long long)wanted_bytes);
    return 0;
}

/* open_disk() - Wait for the disk and look at its size. Return: descriptor; -1 */
static int open_disk(uint64_t *bytes, struct bl_error *err)
{
    if (bl_system_wait_for_disk(bl_deadline_in(DISK_WAIT_MS), err) < 0)
        return -1;

    cleanup_close int fd = open(BL_DISK_DEVICE, O_RDONLY | O_CLOEXEC);

    if (fd >= 0 && ioctl(fd, BLKGETSIZE64, bytes) == 0)
        return bl_steal_fd(&fd);
    return bl_fail(err, BL_STORAGE, errno, "open the disk");
}

/*
 * open_own_disk() - Open the disk, which has to be as large as CONFIG says
 *
 * The kernel looked at its size when the machine booted. If it went on from a saved state as another box, with a disk of another
 * size, the driver is let go of the device and looks again.
 *
 * Return: descriptor; -1
 */
static int open_own_disk(uint64_t wanted_bytes, uint64_t *bytes, struct bl_error *err)
{
    int fd = open_disk(bytes, err);

    if (fd < 0 || !wanted_bytes || *bytes == wanted_bytes)
        return fd;
    close(fd);
    bl_system_renew_disk();
    return open_disk(bytes, err);
}

/* read_super() - The superblock; that of a mounted file system is in memory already. Return: 0; -1 */
static int read_super(int disk, uint8_t *super, struct bl_error *err)
{
    if (pread(disk, super, SUPER_BYTES, SUPER_OFFSET) != SUPER_BYTES)
        return bl_fail(err, BL_STORAGE, errno, "read the disk");
    return bl_get_le16(super + SUPER_MAGIC) == SUPER_MAGIC_VALUE
               ? 0
               : bl_fail(err, BL_STORAGE, 0, "the disk holds no ext4 file system");
}

static int mount_disk(uint64_t wanted_bytes, struct bl_error *err)
{
    uint8_t super[SUPER_BYTES];
    uint64_t device_bytes = 0;
    cleanup_close int disk = open_own_disk(wanted_bytes, &device_bytes, err);

    if (disk < 0)
        return -1;
    mkdir(BL_BOX_ROOT, 0755);
    if (mount(BL_DISK_DEVICE, BL_BOX_ROOT, "ext4", MS_NODEV | MS_NOATIME, MOUNT_OPTIONS) < 0) {
        int failed = errno;

        return read_super(disk, super, err) < 0 ? -1 : bl_fail(err, BL_STORAGE, failed, "mount the disk");
    }
    if (!wanted_bytes)
        return 0;
    return read_super(disk, super, err) < 0 ? -1 : grow(super, wanted_bytes, device_bytes, err);
}

int bl_settings_apply(struct bl_agent *agent, const struct bl_frame *config, struct bl_error *err)
{
    struct bl_field_reader reader = BL_FIELD_READER(config->payload, config->length);
    struct settings settings = {0};
    struct bl_field field;
    int more, failed = 0;

    while (!failed && (more = bl_field_next(&reader, &field)) != 0)
        failed = more < 0 ? bl_fail(err, BL_CONFIG, 0, "the configuration is cut short") : take_field(&field, &settings, err);
    if (!failed) {
        snprintf(agent->hostname, sizeof agent->hostname, "%s", settings.hostname ? settings.hostname : "boxlite");
        set_clock(settings.clock_ns);
        add_entropy(settings.entropy, settings.entropy_bytes);
        if (sethostname(agent->hostname, strlen(agent->hostname)) < 0)
            failed = bl_fail(err, BL_CONFIG, errno, "set the host name %s", agent->hostname);
    }
    free(settings.hostname);
    if (failed || agent->configured)
        return failed;
    if (mount_disk(settings.disk_bytes, err) < 0)
        return -1;
    agent->mounted_us = bl_now_us();
    bl_cgroups_limit(&agent->cgroups, (uint32_t)settings.pids_max);
    agent->configured = true;
    return 0;
}
