/* SPDX-License-Identifier: Apache-2.0 */
/* template_file.c - reading and writing a saved machine; see template_file.h */
#include "shim/template_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/crash.h"

#define MAGIC       "BLTEMPL\x01"
#define IDENTITY_AT 256
#define PAGE        4096u
#define CHUNK       262144u    /* copied at once: small enough for the processor's caches */
#define PIECE       (4u << 20) /* copied between two looks at the loop */
#define RUN_BYTES   16
#define RUNS_MAX    (1u << 18) /* bytes of the table: 16,384 runs, each of them up to two mappings of the 65,530 of a process */
#define GAP         16384u     /* zeros between two runs that are written as a part of one: it may have to be mapped as a whole */
#define WRITABLE    0600       /* modes of a file */
#define COMPLETE    0400

/* Numbers of the header, from its byte 8 on. */
enum { MEMORY_BYTES, IDENTITY_BYTES, CONSOLE_BYTES, STATE_BYTES, DATA_BYTES, RUN_COUNT, CHECKSUM, NUMBERS };

#define HEADER_BYTES (8 + 8 * NUMBERS)

/* sum() - FNV-1a, 64 bits: against accidents, not against who may write the file anyway. */
static uint64_t sum(uint64_t so_far, const void *bytes, size_t length)
{
    const uint8_t *at = bytes;

    while (length--)
        so_far = (so_far ^ *at++) * UINT64_C(0x100000001b3);
    return so_far;
}

static int broken(void)
{
    errno = EILSEQ;
    return -1;
}

static int read_at(int fd, void *bytes, size_t length, uint64_t offset)
{
    for (size_t done = 0; done < length;) {
        ssize_t n = pread(fd, (uint8_t *)bytes + done, length - done, (off_t)(offset + done));

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -1 : broken();
        done += (size_t)n;
    }
    return 0;
}

static int write_at(int fd, const void *bytes, size_t length, uint64_t offset)
{
    for (size_t done = 0; done < length;) {
        ssize_t n = pwrite(fd, (const uint8_t *)bytes + done, length - done, (off_t)(offset + done));

        if (n < 0 && errno != EINTR)
            return -1;
        done += n < 0 ? 0 : (size_t)n;
    }
    return 0;
}

static uint64_t page_up(uint64_t bytes)
{
    return (bytes + PAGE - 1) / PAGE * PAGE;
}

/* read_part() - Append a part of the file to a buffer. Return: 0; -1 with errno */
static int read_part(int fd, struct bl_buffer *out, uint64_t length, uint64_t offset)
{
    uint8_t *at;

    if (length > bl_buffer_room(out))
        return broken();
    at = bl_buffer_reserve(out, (size_t)length);
    if (!at && length) {
        errno = ENOMEM;
        return -1;
    }
    if (length && read_at(fd, at, (size_t)length, offset) < 0)
        return -1;
    bl_buffer_commit(out, (size_t)length);
    return 0;
}

/* check_runs() - Whether the table fits the machine and the file. */
static bool check_runs(const struct bl_template_file *file)
{
    uint64_t total = 0;

    for (size_t at = 0; at < file->runs.length; at += RUN_BYTES) {
        uint64_t offset = bl_get_le64(bl_buffer_data(&file->runs) + at), length = bl_get_le64(bl_buffer_data(&file->runs) + at + 8);

        if (offset % PAGE || length % PAGE || !length || offset > file->memory_bytes || length > file->memory_bytes - offset)
            return false;
        total += length;
    }
    return total == file->data_end - file->data_at;
}

/* read_head() - Header and all that the checksum covers. Return: 0; -1 with errno */
static int read_head(struct bl_template_file *file, uint64_t size, const struct bl_buffer *identity)
{
    cleanup_buffer struct bl_buffer covered = BL_BUFFER_INIT(BL_TEMPLATE_STATE_AT + BL_TEMPLATE_STATE_MAX);
    uint8_t header[HEADER_BYTES];
    uint64_t number[NUMBERS], at = IDENTITY_AT;

    if (read_at(file->fd, header, sizeof header, 0) < 0)
        return -1;
    for (size_t i = 0; i < NUMBERS; i++)
        number[i] = bl_get_le64(header + 8 + 8 * i);
    if (memcmp(header, MAGIC, 8) != 0 || number[MEMORY_BYTES] != file->memory_bytes || number[IDENTITY_BYTES] != identity->length ||
        number[CONSOLE_BYTES] > BL_TEMPLATE_CONSOLE_MAX || number[STATE_BYTES] > BL_TEMPLATE_STATE_MAX || !number[STATE_BYTES] ||
        number[DATA_BYTES] > BL_TEMPLATE_FILE_MAX || number[RUN_COUNT] > RUNS_MAX / RUN_BYTES)
        return broken();
    file->data_at = BL_TEMPLATE_STATE_AT + page_up(number[STATE_BYTES]);
    file->data_end = file->data_at + number[DATA_BYTES];
    if (file->data_end + number[RUN_COUNT] * RUN_BYTES != size)
        return broken();
    if (read_part(file->fd, &covered, identity->length, at) < 0)
        return -1;
    if (identity->length && memcmp(bl_buffer_data(&covered), bl_buffer_data(identity), identity->length) != 0)
        return broken();
    at += identity->length;
    if (read_part(file->fd, &file->console, number[CONSOLE_BYTES], at) < 0 ||
        read_part(file->fd, &covered, number[CONSOLE_BYTES], at) < 0 ||
        read_part(file->fd, &covered, number[STATE_BYTES], BL_TEMPLATE_STATE_AT) < 0 ||
        read_part(file->fd, &file->runs, number[RUN_COUNT] * RUN_BYTES, file->data_end) < 0)
        return -1;

    uint64_t found = sum(0, header, HEADER_BYTES - 8);

    found = sum(found, bl_buffer_data(&covered), covered.length);
    found = sum(found, bl_buffer_data(&file->runs), file->runs.length);
    return found == number[CHECKSUM] && check_runs(file) ? 0 : broken();
}

static void init(struct bl_template_file *file, int fd, uint64_t memory_bytes)
{
    *file = (struct bl_template_file){
        .fd = fd,
        .memory_bytes = memory_bytes,
        .console = BL_BUFFER_INIT(BL_TEMPLATE_CONSOLE_MAX),
        .runs = BL_BUFFER_INIT(RUNS_MAX),
    };
}

int bl_template_file_open(struct bl_template_file *file, int fd, const struct bl_buffer *identity, uint64_t memory_bytes)
{
    struct stat status;

    init(file, fd, memory_bytes);
    if (fstat(fd, &status) == 0 && read_head(file, (uint64_t)status.st_size, identity) == 0 &&
        lseek(fd, BL_TEMPLATE_STATE_AT, SEEK_SET) >= 0)
        return 0;

    int saved = errno;

    bl_template_file_close(file);
    errno = saved;
    return -1;
}

struct bl_engine_extent *bl_template_file_extents(const struct bl_template_file *file, size_t *count)
{
    const uint8_t *run = bl_buffer_data(&file->runs);
    struct bl_engine_extent *extents;
    uint64_t at = file->data_at;

    *count = file->runs.length / RUN_BYTES;
    extents = calloc(*count ? *count : 1, sizeof *extents);
    for (size_t i = 0; extents && i < *count; i++, run += RUN_BYTES) {
        extents[i] = (struct bl_engine_extent){.memory = bl_get_le64(run), .file = at, .bytes = bl_get_le64(run + 8)};
        at += extents[i].bytes;
    }
    return extents;
}

int bl_template_file_read(struct bl_template_file *file, int memory_fd)
{
    cleanup_free uint8_t *bytes = malloc(CHUNK);

    for (uint64_t copied = 0; bytes && file->runs.length && copied < PIECE;) {
        uint64_t offset = bl_get_le64(bl_buffer_data(&file->runs)), length = bl_get_le64(bl_buffer_data(&file->runs) + 8);
        uint64_t left = length - file->memory_at;
        size_t now = left < CHUNK ? (size_t)left : CHUNK;

        if (read_at(file->fd, bytes, now, file->data_at) < 0 || write_at(memory_fd, bytes, now, offset + file->memory_at) < 0)
            return -1;
        file->data_at += now;
        file->memory_at += now;
        copied += now;
        if (file->memory_at == length) {
            bl_buffer_consume(&file->runs, RUN_BYTES);
            file->memory_at = 0;
        }
    }
    return !bytes ? -1 : file->runs.length != 0;
}

int bl_template_file_make(struct bl_template_file *file, int dir_fd, const char *name, uint64_t memory_bytes)
{
    init(file, openat(dir_fd, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, WRITABLE), memory_bytes);
    return file->fd < 0 || lseek(file->fd, BL_TEMPLATE_STATE_AT, SEEK_SET) < 0 ? -1 : 0;
}

/* note_run() - The next bytes of the file are this part of memory. Return: 0; -1 with errno */
static int note_run(struct bl_template_file *file, uint64_t offset, uint64_t length)
{
    uint8_t run[RUN_BYTES];
    uint8_t *last = file->runs.length ? bl_buffer_data(&file->runs) + file->runs.length - RUN_BYTES : NULL;

    if (last && bl_get_le64(last) + bl_get_le64(last + 8) == offset) {
        bl_put_le64(last + 8, bl_get_le64(last + 8) + length);
        return 0;
    }
    bl_put_le64(run, offset);
    bl_put_le64(run + 8, length);
    if (bl_buffer_append(&file->runs, run, sizeof run) == 0)
        return 0;
    errno = EFBIG;
    return -1;
}

static bool is_zero(const uint8_t *page)
{
    return page[0] == 0 && memcmp(page, page + 1, PAGE - 1) == 0;
}

/* keep() - Write the pages of a chunk that hold anything, and those between two of them that are close. Return: 0; -1 with errno */
static int keep(struct bl_template_file *file, const uint8_t *bytes, size_t length, uint64_t offset)
{
    for (size_t at = 0, end; at < length; at = end) {
        bool zero = is_zero(bytes + at);

        for (end = at + PAGE; end < length && is_zero(bytes + end) == zero;)
            end += PAGE;
        if (zero && (at == 0 || end == length || end - at > GAP))
            continue;
        if (file->data_end + (end - at) > BL_TEMPLATE_FILE_MAX) {
            errno = EFBIG;
            return -1;
        }
        if (write_at(file->fd, bytes + at, end - at, file->data_end) < 0 || note_run(file, offset + at, end - at) < 0)
            return -1;
        file->data_end += end - at;
    }
    return 0;
}

/* begin_memory() - The state ends where the file stands; memory follows it. Return: 0; -1 with errno */
static int begin_memory(struct bl_template_file *file)
{
    off_t end = lseek(file->fd, 0, SEEK_CUR);

    if (end < 0)
        return -1;
    if (end <= BL_TEMPLATE_STATE_AT || end > BL_TEMPLATE_STATE_AT + (off_t)BL_TEMPLATE_STATE_MAX)
        return broken();
    file->data_at = file->data_end = page_up((uint64_t)end);
    return 0;
}

int bl_template_file_write(struct bl_template_file *file, int memory_fd)
{
    if (!file->data_at && begin_memory(file) < 0)
        return -1;

    cleanup_free uint8_t *bytes = malloc(CHUNK);

    if (!bytes)
        return -1;
    for (uint64_t copied = 0; copied < PIECE;) {
        off_t data = lseek(memory_fd, (off_t)file->memory_at, SEEK_DATA);
        off_t hole = data < 0 ? -1 : lseek(memory_fd, data, SEEK_HOLE);

        if (data < 0 && errno == ENXIO)
            return 0;
        if (hole < 0)
            return -1;

        size_t now = hole - data < (off_t)CHUNK ? (size_t)(hole - data) : CHUNK;

        if (now % PAGE || read_at(memory_fd, bytes, now, (uint64_t)data) < 0)
            return now % PAGE ? broken() : -1;
        if (keep(file, bytes, now, (uint64_t)data) < 0)
            return -1;
        file->memory_at = (uint64_t)data + now;
        copied += now;
    }
    return 1;
}

/* write_head() - Everything but state and memory. Return: 0; -1 with errno */
static int write_head(const struct bl_template_file *file, const struct bl_buffer *identity, const char *console)
{
    cleanup_buffer struct bl_buffer state = BL_BUFFER_INIT(BL_TEMPLATE_STATE_MAX);
    uint8_t header[HEADER_BYTES] = MAGIC;
    off_t state_end = lseek(file->fd, 0, SEEK_CUR);
    size_t console_bytes = strnlen(console, BL_TEMPLATE_CONSOLE_MAX);

    if (state_end < 0 || IDENTITY_AT + identity->length + console_bytes > BL_TEMPLATE_STATE_AT)
        return broken();

    const uint64_t number[NUMBERS] = {
        [MEMORY_BYTES] = file->memory_bytes,
        [IDENTITY_BYTES] = identity->length,
        [CONSOLE_BYTES] = console_bytes,
        [STATE_BYTES] = (uint64_t)state_end - BL_TEMPLATE_STATE_AT,
        [DATA_BYTES] = file->data_end - file->data_at,
        [RUN_COUNT] = file->runs.length / RUN_BYTES,
    };

    for (size_t i = 0; i < CHECKSUM; i++)
        bl_put_le64(header + 8 + 8 * i, number[i]);
    if (read_part(file->fd, &state, number[STATE_BYTES], BL_TEMPLATE_STATE_AT) < 0)
        return -1;

    uint64_t found = sum(0, header, HEADER_BYTES - 8);

    found = sum(found, bl_buffer_data(identity), identity->length);
    found = sum(found, console, console_bytes);
    found = sum(found, bl_buffer_data(&state), state.length);
    bl_put_le64(header + 8 + 8 * CHECKSUM, sum(found, bl_buffer_data(&file->runs), file->runs.length));
    if (write_at(file->fd, bl_buffer_data(&file->runs), file->runs.length, file->data_end) < 0 ||
        write_at(file->fd, bl_buffer_data(identity), identity->length, IDENTITY_AT) < 0 ||
        write_at(file->fd, console, console_bytes, IDENTITY_AT + identity->length) < 0)
        return -1;
    return write_at(file->fd, header, sizeof header, 0);
}

int bl_template_file_complete(struct bl_template_file *file, const struct bl_buffer *identity, const char *console)
{
    if (write_head(file, identity, console) < 0)
        return -1;
    BL_CRASH_POINT("shim:template-written");
    return fchmod(file->fd, COMPLETE);
}

bool bl_template_file_is_complete(const struct stat *status)
{
    return !(status->st_mode & S_IWUSR);
}

void bl_template_file_close(struct bl_template_file *file)
{
    bl_close_fd(&file->fd);
    bl_buffer_free(&file->console);
    bl_buffer_free(&file->runs);
}
