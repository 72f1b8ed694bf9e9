/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bzimage.c - getting the ELF kernel out of a bzImage
 *
 * The setup header (Documentation/arch/x86/boot.rst) says where in the file the packed kernel lies, so nothing is searched for. Its
 * first bytes tell how it is packed; its last four are its unpacked size. What comes out goes to a memfd.
 *
 * The file may be the user's own, and is as hostile as a guest: what the header says is checked against the file, not more is
 * unpacked than the size that was told, that has a limit, and a file that changes meanwhile is no more than a damaged one, as it is
 * read and not mapped.
 *
 * Unpacking is libarchive's. The library is opened when the first such kernel comes, and never by a box whose kernel is unpacked
 * already: it and what it needs would cost each start milliseconds. Of its formats only the one that was recognised is switched on,
 * and none that would run a program.
 */
#include "vmm/bzimage.h"

#include <archive.h>
#include <dlfcn.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/io.h"

#define LIBRARY "libarchive.so.13"

/* The setup header. */
#define HEADER_BYTES     0x250
#define SETUP_SECTORS    0x1f1 /* u8 */
#define BOOT_FLAG        0x1fe /* u16 */
#define BOOT_FLAG_VALUE  0xaa55
#define MAGIC            0x202  /* "HdrS" */
#define VERSION          0x206  /* u16 */
#define VERSION_PAYLOAD  0x0208 /* the first with the next two */
#define PAYLOAD_OFFSET   0x248  /* u32, from the end of the setup sectors */
#define PAYLOAD_BYTES    0x24c  /* u32 */
#define SECTOR_BYTES     512
#define SECTORS_DEFAULT  4 /* what 0 means */
#define SIZE_BYTES       4 /* at the payload's end */
#define FILE_BYTES_MAX   (1ull << 30)
#define KERNEL_BYTES_MAX (256u << 20)
#define READ_BYTES       65536

/* What is used of libarchive, by the names that it has there. */
struct library {
    void *handle;
    struct archive *(*archive_read_new)(void);
    int (*archive_read_support_format_raw)(struct archive *);
    int (*archive_read_open)(struct archive *, void *, archive_open_callback *, archive_read_callback *, archive_close_callback *);
    int (*archive_read_next_header)(struct archive *, struct archive_entry **);
    ssize_t (*archive_read_data)(struct archive *, void *, size_t);
    const char *(*archive_error_string)(struct archive *);
    int (*archive_read_free)(struct archive *);
};

struct packing {
    const char *name;
    const char *filter; /* libarchive's function for it; NULL: it can't be unpacked here */
    uint8_t magic[6];
    uint8_t magic_bytes;
    bool size_inside; /* its last four bytes are the unpacked size anyway; else that was added by the kernel's build */
};

static const struct packing packings[] = {
    {"gzip", "archive_read_support_filter_gzip", {0x1f, 0x8b}, 2, true},
    {"xz", "archive_read_support_filter_xz", {0xfd, '7', 'z', 'X', 'Z', 0}, 6, false},
    {"zstd", "archive_read_support_filter_zstd", {0x28, 0xb5, 0x2f, 0xfd}, 4, false},
    {"lz4", "archive_read_support_filter_lz4", {0x02, 0x21, 0x4c, 0x18}, 4, false},
    {"bzip2", "archive_read_support_filter_bzip2", {'B', 'Z', 'h'}, 3, false},
    {"lzma", "archive_read_support_filter_lzma", {0x5d, 0, 0}, 3, false},
    {"lzo", NULL, {0x89, 'L', 'Z', 'O'}, 4, false},
};

/* A packed kernel within its file, and how far it was read. */
struct payload {
    int fd;
    uint64_t at, left;
    uint32_t size; /* unpacked */
    uint8_t bytes[READ_BYTES];
};

/* read_piece() - Read all of a piece of the file. Return: 0; -1, errno is 0 when the file ends */
static int read_piece(int fd, uint64_t offset, void *to, size_t length)
{
    uint8_t *at = to;

    while (length) {
        ssize_t n = pread(fd, at, length, (off_t)offset);

        if (n < 0 && errno == EINTR)
            continue;
        if (n == 0)
            errno = 0;
        if (n <= 0)
            return -1;
        at += n;
        offset += (uint64_t)n;
        length -= (size_t)n;
    }
    return 0;
}

/* find_payload() - Where the header says that the packed kernel is. Return: 1; 0: it is no bzImage; -1 */
static int find_payload(int fd, const char *name, struct payload *out, struct bl_error *err)
{
    uint8_t header[HEADER_BYTES], size[SIZE_BYTES];
    struct stat status;
    uint64_t sectors;

    if (fstat(fd, &status) < 0 || !S_ISREG(status.st_mode) || status.st_size < HEADER_BYTES ||
        (uint64_t)status.st_size > FILE_BYTES_MAX || read_piece(fd, 0, header, sizeof header) < 0 ||
        bl_get_le16(header + BOOT_FLAG) != BOOT_FLAG_VALUE || memcmp(header + MAGIC, "HdrS", 4) != 0)
        return 0; /* whoever loads it says what is wrong */
    if (bl_get_le16(header + VERSION) < VERSION_PAYLOAD)
        return bl_fail(err, BL_ENGINE, 0,
                       "the kernel %s is a bzImage that does not tell where its kernel is (boot protocol before 2.08)", name);
    sectors = header[SETUP_SECTORS] ? header[SETUP_SECTORS] : SECTORS_DEFAULT;
    *out = (struct payload){.fd = fd,
                            .at = (sectors + 1) * SECTOR_BYTES + bl_get_le32(header + PAYLOAD_OFFSET),
                            .left = bl_get_le32(header + PAYLOAD_BYTES)};
    if (out->left <= SIZE_BYTES || out->at + out->left > (uint64_t)status.st_size)
        return bl_fail(err, BL_ENGINE, 0, "the kernel %s is a bzImage that is cut short", name);
    if (read_piece(fd, out->at + out->left - SIZE_BYTES, size, sizeof size) < 0)
        return bl_fail(err, BL_ENGINE, errno, "read the kernel %s", name);
    out->size = bl_get_le32(size);
    if (!out->size || out->size > KERNEL_BYTES_MAX)
        return bl_fail(err, BL_ENGINE, 0, "the kernel %s is a bzImage that says it has %u bytes inside; %u is the most", name,
                       out->size, KERNEL_BYTES_MAX);
    return 1;
}

/* find_packing() - How it is packed. Return: NULL with *@err */
static const struct packing *find_packing(const struct payload *payload, const char *name, struct bl_error *err)
{
    uint8_t start[sizeof packings->magic] = {0};
    size_t length = payload->left < sizeof start ? payload->left : sizeof start;

    if (read_piece(payload->fd, payload->at, start, length) < 0) {
        bl_fail(err, BL_ENGINE, errno, "read the kernel %s", name);
        return NULL;
    }
    for (size_t i = 0; i < sizeof packings / sizeof *packings; i++) {
        const struct packing *packing = &packings[i];

        if (memcmp(start, packing->magic, packing->magic_bytes) != 0)
            continue;
        if (packing->filter)
            return packing;
        bl_fail(err, BL_ENGINE, 0,
                "the kernel %s is a bzImage packed with %s, which can't be unpacked here; name the vmlinux itself", name,
                packing->name);
        return NULL;
    }
    bl_fail(err, BL_ENGINE, 0, "the kernel %s is a bzImage packed in a way that is not known (it begins with %02x %02x %02x %02x)",
            name, start[0], start[1], start[2], start[3]);
    return NULL;
}

static void close_library(struct library *library)
{
    if (library->handle)
        dlclose(library->handle);
}

/* find() - A function of the library, into a pointer to one. Return: whether it is there */
static bool find(const struct library *library, const char *name, void *pointer)
{
    void *function = dlsym(library->handle, name);

    memcpy(pointer, &function, sizeof function);
    return function;
}

static int open_library(struct library *out, const struct packing *packing, int (**filter)(struct archive *), struct bl_error *err)
{
    out->handle = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
    if (out->handle && find(out, "archive_read_new", &out->archive_read_new) &&
        find(out, "archive_read_support_format_raw", &out->archive_read_support_format_raw) &&
        find(out, "archive_read_open", &out->archive_read_open) &&
        find(out, "archive_read_next_header", &out->archive_read_next_header) &&
        find(out, "archive_read_data", &out->archive_read_data) && find(out, "archive_error_string", &out->archive_error_string) &&
        find(out, "archive_read_free", &out->archive_read_free) && find(out, packing->filter, filter))
        return 0;
    return bl_fail(err, BL_ENGINE, 0,
                   "a bzImage packed with %s can't be unpacked without %s; install it, or name the vmlinux itself", packing->name,
                   LIBRARY);
}

/* on_read() - libarchive wants more of the payload. Return: bytes; 0: there are no more; -1 */
static la_ssize_t on_read(struct archive *archive, void *data, const void **out)
{
    struct payload *payload = data;
    size_t length = payload->left < sizeof payload->bytes ? (size_t)payload->left : sizeof payload->bytes;

    (void)archive;
    if (read_piece(payload->fd, payload->at, payload->bytes, length) < 0)
        return -1;
    payload->at += length;
    payload->left -= length;
    *out = payload->bytes;
    return (la_ssize_t)length;
}

/* unpack() - All of it, to @out. Return: 0; -1: errno, or 0 when the archive says why */
static int unpack(const struct library *library, struct archive *archive, uint32_t size, int out)
{
    struct archive_entry *entry;
    uint8_t bytes[READ_BYTES];
    uint64_t sum = 0;
    ssize_t n;

    errno = 0;
    if (library->archive_read_next_header(archive, &entry) != ARCHIVE_OK)
        return -1;
    while ((n = library->archive_read_data(archive, bytes, sizeof bytes)) > 0) {
        sum += (uint64_t)n;
        if (sum > size)
            break;
        if (bl_write_all(out, bytes, (size_t)n) < 0)
            return -1;
        errno = 0;
    }
    return n == 0 && sum == size ? 0 : -1;
}

int bl_bzimage_unpack(int fd, const char *name, int *out, struct bl_error *err)
{
    __attribute__((cleanup(close_library))) struct library library = {0};
    cleanup_close int memory = -1;
    struct payload payload;
    const struct packing *packing;
    int (*filter)(struct archive *) = NULL;
    int found = find_payload(fd, name, &payload, err);

    if (found <= 0)
        return found;
    packing = find_packing(&payload, name, err);
    if (!packing || open_library(&library, packing, &filter, err) < 0)
        return -1;
    memory = memfd_create("boxlite-kernel", MFD_CLOEXEC);
    if (memory < 0)
        return bl_fail(err, BL_ENGINE, errno, "make room for the kernel %s", name);
    if (!packing->size_inside)
        payload.left -= SIZE_BYTES;

    struct archive *archive = library.archive_read_new();
    int failed = -1;

    if (!archive)
        return bl_fail_memory(err);
    /* A filter that is not built in would run a program, and says so with a warning. */
    if (filter(archive) == ARCHIVE_OK && library.archive_read_support_format_raw(archive) == ARCHIVE_OK &&
        library.archive_read_open(archive, &payload, NULL, on_read, NULL) == ARCHIVE_OK)
        failed = unpack(&library, archive, payload.size, memory);
    if (failed) {
        const char *why = library.archive_error_string(archive);

        bl_fail(err, BL_ENGINE, 0, "unpack the bzImage %s (%s, to %u bytes): %s", name, packing->name, payload.size,
                errno == EFBIG || errno == ENOSPC || errno == ENOMEM ? strerror(errno)
                : why                                                ? why
                                                                     : "it is damaged");
    }
    library.archive_read_free(archive);
    if (failed)
        return -1;
    *out = bl_steal_fd(&memory);
    return 1;
}
