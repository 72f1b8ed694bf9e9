/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernel.c - getting a kernel's ELF file into guest memory
 *
 * The kernel is an uncompressed ELF file whose loadable segments go to their physical addresses. Where it is entered is told by a
 * note (Xen's XEN_ELFNOTE_PHYS32_ENTRY: "PVH"): 32-bit protected mode without paging, with EBX pointing to the start information.
 * That skips the boot loader's protocol, firmware, and the kernel's own decompression.
 *
 * The file may be the user's own (--kernel), so it is as hostile as a guest: each offset and length is checked against the file and
 * against memory before it is used, numbers of entries are bounded, and notes are walked with the room left in hand. Segments go
 * straight into guest memory, without a copy in between.
 */
#include "vmm/kvm/x86_64/kernel.h"

#include <elf.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "vmm/kvm/x86_64/layout.h"

#define SEGMENTS_MAX   64
#define NOTES_MAX      4096 /* bytes of notes that are looked at; kernels have some hundred */
#define PHYS32_ENTRY   18   /* Xen's public/elfnote.h */
#define FILE_BYTES_MAX (1ull << 30)
#define IMAGE_SPAN_MAX (64ull << 20) /* a kernel with more between its ends has gaps, which need no memory */

/* A file that is being loaded. */
struct source {
    int fd;
    uint64_t bytes;
    const char *name;
};

static int read_at(const struct source *source, uint64_t offset, void *to, size_t length, struct bl_error *err)
{
    uint8_t *at = to;

    if (offset > source->bytes || length > source->bytes - offset)
        return bl_fail(err, BL_ENGINE, 0, "the kernel %s is cut short", source->name);
    while (length) {
        ssize_t n = pread(source->fd, at, length, (off_t)offset);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return bl_fail(err, BL_ENGINE, n < 0 ? errno : 0, "read the kernel %s", source->name);
        at += n;
        offset += (uint64_t)n;
        length -= (size_t)n;
    }
    return 0;
}

int bl_file_load(struct bl_memory *memory, uint64_t address, int fd, uint64_t offset, uint64_t length, bool there, const char *name,
                 struct bl_error *err)
{
    while (length) {
        ssize_t n = bl_memory_fill(memory, address, fd, offset, length, there);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EFAULT)
            return bl_fail(err, BL_ENGINE, 0, "%s does not fit into the guest's memory", name);
        if (n <= 0)
            return bl_fail(err, BL_ENGINE, n < 0 ? errno : 0, "read %s: it ends early", name);
        address += (uint64_t)n;
        offset += (uint64_t)n;
        length -= (uint64_t)n;
    }
    return 0;
}

/* find_entry() - Walk the notes of one segment. Return: whether the entry is among them */
static bool find_entry(const uint8_t *notes, size_t left, uint64_t *entry)
{
    while (left >= sizeof(Elf64_Nhdr)) {
        Elf64_Nhdr note;
        uint64_t name, value, whole;

        memcpy(&note, notes, sizeof note);
        name = ((uint64_t)note.n_namesz + 3) & ~3ull;
        value = ((uint64_t)note.n_descsz + 3) & ~3ull;
        whole = sizeof note + name + value;
        /* The last note may lack its padding. */
        if (sizeof note + name + note.n_descsz > left)
            return false;
        if (note.n_type == PHYS32_ENTRY && note.n_namesz == sizeof "Xen" && memcmp(notes + sizeof note, "Xen", sizeof "Xen") == 0 &&
            (note.n_descsz == 4 || note.n_descsz == 8)) {
            *entry = 0;
            memcpy(entry, notes + sizeof note + name, note.n_descsz); /* little-endian, as all of x86 */
            return true;
        }
        if (whole >= left)
            return false;
        notes += whole;
        left -= whole;
    }
    return false;
}

/* read_notes() - Look for the entry in a segment of notes. Return: 1: found; 0: not here; -1 */
static int read_notes(const struct source *source, const Elf64_Phdr *segment, uint64_t *entry, struct bl_error *err)
{
    uint8_t notes[NOTES_MAX];
    size_t length = segment->p_filesz < sizeof notes ? segment->p_filesz : sizeof notes;

    if (read_at(source, segment->p_offset, notes, length, err) < 0)
        return -1;
    return find_entry(notes, length, entry);
}

/* gather() - Large pages for the kernel's own, all of which is filled now. Return: whether they are there */
static bool gather(struct bl_memory *memory, const Elf64_Phdr *segments, size_t count)
{
    uint64_t start = UINT64_MAX, end = 0;

    for (size_t i = 0; i < count; i++) {
        const Elf64_Phdr *segment = &segments[i];
        uint64_t over;

        if (segment->p_type != PT_LOAD || !segment->p_filesz)
            continue;
        if (segment->p_filesz > FILE_BYTES_MAX || __builtin_add_overflow(segment->p_paddr, segment->p_filesz, &over))
            return false; /* loading it says why */
        start = segment->p_paddr < start ? segment->p_paddr : start;
        end = over > end ? over : end;
    }
    return end > start && end - start <= IMAGE_SPAN_MAX && bl_memory_gather(memory, start, end);
}

/* load_segment() - Put one segment to its place. @there: as of bl_memory_fill(). Return: 0; -1 */
static int load_segment(struct bl_memory *memory, const struct source *source, const Elf64_Phdr *segment, bool there,
                        struct bl_kernel *out, struct bl_error *err)
{
    uint64_t end;
    struct iovec iov[BL_MEMORY_REGIONS_MAX];

    if (segment->p_filesz > segment->p_memsz || segment->p_offset > source->bytes ||
        segment->p_filesz > source->bytes - segment->p_offset)
        return bl_fail(err, BL_ENGINE, 0, "the kernel %s is cut short", source->name);
    if (!segment->p_memsz)
        return 0;
    if (segment->p_paddr < X86_HIGH || __builtin_add_overflow(segment->p_paddr, segment->p_memsz, &end) ||
        bl_memory_iovec(memory, segment->p_paddr, segment->p_memsz, iov, BL_MEMORY_REGIONS_MAX) < 0)
        return bl_fail(err, BL_ENGINE, 0, "the kernel %s does not fit: it wants %llu KiB of memory at %#llx", source->name,
                       (unsigned long long)(segment->p_memsz / 1024), (unsigned long long)segment->p_paddr);
    if (segment->p_paddr < out->start)
        out->start = segment->p_paddr;
    if (end > out->end)
        out->end = end;
    return bl_file_load(memory, segment->p_paddr, source->fd, segment->p_offset, segment->p_filesz, there, source->name, err);
}

/* check_header() - Whether it is a kernel at all. Return: 0; -1 */
static int check_header(const Elf64_Ehdr *header, const struct source *source, struct bl_error *err)
{
    if (memcmp(header->e_ident, ELFMAG, SELFMAG) != 0)
        return bl_fail(err, BL_ENGINE, 0, "the kernel %s is neither an ELF file (vmlinux) nor a bzImage (vmlinuz)", source->name);
    if (header->e_ident[EI_CLASS] != ELFCLASS64 || header->e_ident[EI_DATA] != ELFDATA2LSB || header->e_machine != EM_X86_64)
        return bl_fail(err, BL_ENGINE, 0, "the kernel %s is not for this processor (x86-64)", source->name);
    if (header->e_phentsize != sizeof(Elf64_Phdr) || !header->e_phnum || header->e_phnum > SEGMENTS_MAX)
        return bl_fail(err, BL_ENGINE, 0, "the kernel %s has a program header that makes no sense", source->name);
    return 0;
}

int bl_kernel_load(struct bl_memory *memory, int fd, const char *name, struct bl_kernel *out, struct bl_error *err)
{
    struct source source = {.fd = fd, .name = name};
    struct stat status;
    Elf64_Ehdr header;
    Elf64_Phdr segments[SEGMENTS_MAX] = {0};
    bool found = false, there;

    *out = (struct bl_kernel){.start = UINT64_MAX};
    if (fstat(fd, &status) < 0)
        return bl_fail(err, BL_ENGINE, errno, "read the kernel %s", name);
    if (!S_ISREG(status.st_mode) || status.st_size <= 0 || (uint64_t)status.st_size > FILE_BYTES_MAX)
        return bl_fail(err, BL_ENGINE, 0, "the kernel %s is no regular file of at most %llu MiB", name, FILE_BYTES_MAX >> 20);
    source.bytes = (uint64_t)status.st_size;
    if (read_at(&source, 0, &header, sizeof header, err) < 0 || check_header(&header, &source, err) < 0 ||
        read_at(&source, header.e_phoff, segments, header.e_phnum * sizeof *segments, err) < 0)
        return -1;
    there = gather(memory, segments, header.e_phnum);
    for (unsigned int i = 0; i < header.e_phnum; i++) {
        int here = 0;

        if (segments[i].p_type == PT_LOAD && load_segment(memory, &source, &segments[i], there, out, err) < 0)
            return -1;
        if (segments[i].p_type == PT_NOTE && !found)
            here = read_notes(&source, &segments[i], &out->entry, err);
        if (here < 0)
            return -1;
        found |= here > 0;
    }
    if (!found)
        return bl_fail(err, BL_ENGINE, 0, "the kernel %s has no PVH entry (build it with CONFIG_PVH=y)", name);
    if (out->entry < out->start || out->entry >= out->end || out->entry > UINT32_MAX)
        return bl_fail(err, BL_ENGINE, 0, "the kernel %s has its PVH entry outside of itself", name);
    return 0;
}
