/* SPDX-License-Identifier: Apache-2.0 */
/* kernel_file.c - looking into a kernel's ELF file; see kernel_file.h. The file may be the user's own, so nothing in it is trusted.
 */
#include "vmm/kernel_file.h"

#include <elf.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"

static const char parameter[] = "virtio_mmio.device";

/* within() - Whether a part lies in the file. */
static bool within(uint64_t offset, uint64_t length, uint64_t size)
{
    return offset <= size && length <= size - offset;
}

/* read_only_data() - Find the section .rodata. Return: its header, in the file; NULL: there is none */
static const Elf64_Shdr *read_only_data(const uint8_t *file, uint64_t size)
{
    const Elf64_Ehdr *header = (const Elf64_Ehdr *)(const void *)file;

    if (size < sizeof *header || memcmp(header->e_ident, ELFMAG, SELFMAG) != 0 || header->e_ident[EI_CLASS] != ELFCLASS64 ||
        header->e_shentsize != sizeof(Elf64_Shdr) || header->e_shoff % _Alignof(Elf64_Shdr) != 0 ||
        !within(header->e_shoff, (uint64_t)header->e_shnum * sizeof(Elf64_Shdr), size) || header->e_shstrndx >= header->e_shnum)
        return NULL;

    const Elf64_Shdr *sections = (const Elf64_Shdr *)(const void *)(file + header->e_shoff);
    const Elf64_Shdr *names = &sections[header->e_shstrndx];

    if (!within(names->sh_offset, names->sh_size, size))
        return NULL;
    for (unsigned int i = 0; i < header->e_shnum; i++) {
        const Elf64_Shdr *section = &sections[i];

        if (within(section->sh_name, sizeof ".rodata", names->sh_size) && within(section->sh_offset, section->sh_size, size) &&
            memcmp(file + names->sh_offset + section->sh_name, ".rodata", sizeof ".rodata") == 0)
            return section;
    }
    return NULL;
}

bool bl_kernel_takes_devices(const char *path)
{
    cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);

    return fd >= 0 && bl_kernel_takes_devices_fd(fd);
}

bool bl_kernel_takes_devices_fd(int fd)
{
    struct stat status;

    if (fstat(fd, &status) < 0 || !S_ISREG(status.st_mode) || status.st_size <= 0)
        return false;

    size_t size = (size_t)status.st_size;
    void *file = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);

    if (file == MAP_FAILED)
        return false;

    const Elf64_Shdr *section = read_only_data(file, size);
    bool found = section && section->sh_type != SHT_NOBITS &&
                 memmem((const uint8_t *)file + section->sh_offset, section->sh_size, parameter, sizeof parameter) != NULL;

    munmap(file, size);
    return found;
}
