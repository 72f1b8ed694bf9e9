/* SPDX-License-Identifier: Apache-2.0 */
/* disk_fixture.c - disks for tests; see disk_fixture.h */
#include "disk_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"

#define FILES_MAX   64
#define VECTOR_MOST 5

static char directory[] = "/tmp/bl-disk-XXXXXX";
static struct {
    struct bl_disk *disk;
    int fds[BL_DISK_LAYERS_MAX];
    size_t count;
} opened[FILES_MAX];

int disk_enter(void **state)
{
    (void)state;
    return mkdtemp(directory) && chdir(directory) == 0 ? 0 : -1;
}

int disk_leave(void **state)
{
    char command[64];

    (void)state;
    snprintf(command, sizeof command, "rm -rf %s", directory);
    return chdir("/") == 0 && system(command) == 0 ? 0 : -1;
}

static int no_flush(int fd)
{
    (void)fd;
    return 0;
}

const struct bl_disk_calls *quick_calls(void)
{
    static struct bl_disk_calls calls;

    calls = bl_disk_system_calls;
    calls.fdatasync = no_flush;
    return &calls;
}

__attribute__((format(printf, 1, 0))) static int run(const char *command, va_list args)
{
    char *line = NULL;
    int status;

    assert_true(vasprintf(&line, command, args) >= 0);
    status = system(line);
    free(line);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

int shell_status(const char *command, ...)
{
    va_list args;
    int status;

    va_start(args, command);
    status = run(command, args);
    va_end(args);
    return status;
}

void shell(const char *command, ...)
{
    va_list args;
    int status;

    va_start(args, command);
    status = run(command, args);
    va_end(args);
    if (status)
        fail_msg("%s: exit status %d", command, status);
}

/* splitmix64 */
uint64_t random_next(struct random *random)
{
    uint64_t x = random->state += 0x9e3779b97f4a7c15ull;

    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ x >> 27) * 0x94d049bb133111ebull;
    return x ^ x >> 31;
}

uint64_t random_below(struct random *random, uint64_t bound)
{
    return random_next(random) % bound;
}

int open_file(const char *name, int flags)
{
    int fd = open(name, flags | O_CLOEXEC, 0600);

    if (fd < 0)
        fail_msg("open %s: %s", name, strerror(errno));
    return fd;
}

static void fill(uint8_t *bytes, size_t length, struct random *random)
{
    uint64_t tag = random_next(random) | 1;

    for (size_t i = 0; i < length; i++)
        bytes[i] = (uint8_t)(tag >> i % 8 * 8) ^ (uint8_t)(i >> 9);
}

void make_raw(const char *name, uint64_t bytes, uint64_t seed)
{
    struct random random = {seed};
    cleanup_close int fd = open_file(name, O_RDWR | O_CREAT | O_TRUNC);
    uint8_t piece[8192];

    assert_int_equal(ftruncate(fd, (off_t)bytes), 0);
    for (uint64_t at = 0; at + sizeof piece <= bytes; at += sizeof piece) {
        if (random_below(&random, 2))
            continue;
        fill(piece, sizeof piece, &random);
        assert_int_equal(pwrite(fd, piece, sizeof piece, (off_t)at), sizeof piece);
    }
}

void model_load(struct model *model, const char *format, const char *name)
{
    struct stat status;

    shell("qemu-img convert -t unsafe -f %s -O raw %s model.raw", format, name);

    cleanup_close int fd = open_file("model.raw", O_RDONLY);

    assert_int_equal(fstat(fd, &status), 0);
    free(model->content);
    model->bytes = (uint64_t)status.st_size;
    model->content = malloc(model->bytes + 1);
    assert_non_null(model->content);
    for (uint64_t at = 0; at < model->bytes;) {
        ssize_t n = pread(fd, model->content + at, model->bytes - at, (off_t)at);

        assert_true(n > 0);
        at += (uint64_t)n;
    }
}

void model_free(struct model *model)
{
    free(model->content);
    *model = (struct model){0};
}

struct bl_disk *disk_open(unsigned int flags, const struct bl_disk_calls *calls, const char *layer, ...)
{
    struct bl_disk_layer layers[BL_DISK_LAYERS_MAX];
    struct bl_error err = BL_ERROR_INIT;
    struct bl_disk *disk = NULL;
    const char *next;
    size_t count = 0;
    size_t slot = 0;
    va_list args;

    va_start(args, layer);
    for (; layer; layer = next) {
        bool last = !(next = va_arg(args, const char *));

        layers[count].qcow2 = !strncmp(layer, "qcow2:", 6);
        layers[count].fd = open_file(strchr(layer, ':') + 1, last && !(flags & BL_DISK_READ_ONLY) ? O_RDWR : O_RDONLY);
        count++;
    }
    va_end(args);
    if (bl_disk_open_with(&disk, layers, count, flags, calls ? calls : &bl_disk_system_calls, &err) < 0)
        fail_msg("%s", err.message);
    while (opened[slot].disk)
        assert_true(++slot < FILES_MAX);
    opened[slot].disk = disk;
    opened[slot].count = count;
    for (size_t i = 0; i < count; i++)
        opened[slot].fds[i] = layers[i].fd;
    return disk;
}

static void close_files(struct bl_disk *disk)
{
    size_t slot = 0;

    while (opened[slot].disk != disk)
        assert_true(++slot < FILES_MAX);
    for (size_t i = 0; i < opened[slot].count; i++)
        close(opened[slot].fds[i]);
    opened[slot].disk = NULL;
}

void disk_close(struct bl_disk *disk)
{
    assert_int_equal(bl_disk_close(disk), 0);
    close_files(disk);
}

void disk_abandon(struct bl_disk *disk)
{
    assert_int_equal(bl_disk_close(disk), -1);
    close_files(disk);
}

/* split() - A buffer as a vector of uneven elements, some of them empty. Return: how many */
static size_t split(uint8_t *bytes, size_t length, struct random *random, struct iovec *iov)
{
    size_t count = 1 + random_below(random, VECTOR_MOST);
    size_t at = 0;

    for (size_t i = 0; i < count; i++) {
        size_t here = i + 1 == count ? length - at : random_below(random, length - at + 1);

        iov[i] = (struct iovec){bytes + at, here};
        at += here;
    }
    return count;
}

/* pick() - A range: now by bytes, now by sectors, pages or clusters; most are small */
static void pick(const struct model *model, struct random *random, uint64_t *offset, uint64_t *length)
{
    static const uint64_t units[] = {1, 512, 4096, 0};
    uint64_t unit = units[random_below(random, 4)];
    uint64_t most = random_below(random, 8) ? 4 * model->granularity : 40 * model->granularity;

    if (!unit)
        unit = model->granularity;
    *offset = random_below(random, model->bytes) / unit * unit;
    *length = (1 + random_below(random, most)) / unit * unit;
    if (!*length)
        *length = unit;
    if (*length > model->bytes - *offset)
        *length = model->bytes - *offset;
}

static void discard_model(struct model *model, uint64_t offset, uint64_t length)
{
    uint64_t unit = model->granularity;
    uint64_t first = (offset + unit - 1) / unit * unit;
    uint64_t end = offset + length == model->bytes ? model->bytes : (offset + length) / unit * unit;

    if (first < end)
        memset(model->content + first, 0, end - first);
}

void random_operation(struct bl_disk *disk, struct model *model, struct random *random)
{
    struct iovec iov[VECTOR_MOST];
    uint64_t kind = random_below(random, 100);
    uint64_t offset, length;
    size_t count;

    pick(model, random, &offset, &length);

    cleanup_free uint8_t *bytes = malloc(length + 1);

    assert_non_null(bytes);
    count = split(bytes, length, random, iov);
    if (kind < 50) {
        fill(bytes, length, random);
        assert_int_equal(bl_disk_write(disk, iov, count, offset), 0);
        memcpy(model->content + offset, bytes, length);
    } else if (kind < 75) {
        if (random_below(random, 2) || bl_disk_try_read(disk, iov, count, offset) < 0)
            assert_int_equal(bl_disk_read(disk, iov, count, offset), 0);
        assert_memory_equal(bytes, model->content + offset, length);
    } else if (kind < 84) {
        assert_int_equal(bl_disk_discard(disk, offset, length), 0);
        discard_model(model, offset, length);
    } else if (kind < 95) {
        assert_int_equal(bl_disk_write_zeroes(disk, offset, length, random_below(random, 2)), 0);
        memset(model->content + offset, 0, length);
    } else {
        assert_int_equal(bl_disk_flush(disk), 0);
    }
}

void compare_with_model(struct bl_disk *disk, const struct model *model)
{
    cleanup_free uint8_t *bytes = malloc(model->bytes + 1);
    struct iovec all = {bytes, model->bytes};

    assert_non_null(bytes);
    assert_int_equal(bl_disk_bytes(disk), model->bytes);
    assert_int_equal(bl_disk_read(disk, &all, 1, 0), 0);
    assert_memory_equal(bytes, model->content, model->bytes);
}
