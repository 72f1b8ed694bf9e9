/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz_tar.c - tar streams of `cp -`: what a reader gives keeps its promises, and goes through a writer again */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/io.h"
#include "fuzz.h"
#include "image/loader/tar.h"

#define INPUT_MAX (64u << 10)
#define DATA_MAX  (1u << 20) /* a sparse file may claim any size: so much of it is looked at */

static void mend_checksums(uint8_t *tar, size_t size)
{
    for (size_t at = 0; at + 512 <= size; at += 512) {
        unsigned int sum = 0;

        if (memcmp(tar + at + 257, "ustar", 5) != 0)
            continue;
        memset(tar + at + 148, ' ', 8);
        for (size_t i = 0; i < 512; i++)
            sum += tar[at + i];
        snprintf((char *)tar + at + 148, 7, "%06o", sum);
    }
}

static void check_path(const char *path)
{
    must(path[0] != '/' && !strstr(path, "//") && strcmp(path, "..") != 0 && strncmp(path, "../", 3) != 0);
    must(!strstr(path, "/../") && (strlen(path) < 3 || strcmp(path + strlen(path) - 3, "/..") != 0));
}

/* pass_on() - One entry from reader to writer. Return: 0; -1 when the archive is broken */
static int pass_on(struct bl_tar_input *input, struct bl_tar_output *output, struct bl_tar_entry *entry, struct bl_error *err)
{
    uint64_t all = 0;
    const void *data;
    ssize_t got = 0;
    bool small = entry->type != BL_TAR_FILE || entry->size <= DATA_MAX;

    check_path(entry->path);
    if (entry->type == BL_TAR_HARDLINK)
        check_path(entry->link);
    must((entry->type == BL_TAR_SYMLINK || entry->type == BL_TAR_HARDLINK) == (entry->link != NULL));
    if (small)
        must(!bl_tar_output_entry(output, entry, err));
    while (all < DATA_MAX && entry->type == BL_TAR_FILE && (got = bl_tar_input_data(input, &data, err)) > 0) {
        all += (uint64_t)got;
        must(all <= entry->size);
        if (small)
            must(!bl_tar_output_data(output, data, (size_t)got, err));
    }
    must(got || !small || all == entry->size);
    return got < 0 ? -1 : 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bl_error err = BL_ERROR_INIT;
    struct bl_tar_input *input;
    struct bl_tar_output *output;
    struct bl_tar_entry entry;
    int result;

    if (size > INPUT_MAX)
        return 0;

    uint8_t *tar = malloc(size + 1);
    int from = memfd_create("from", MFD_CLOEXEC), to = memfd_create("to", MFD_CLOEXEC);

    must(tar && from >= 0 && to >= 0);
    memcpy(tar, data, size);
    mend_checksums(tar, size);
    must(!bl_write_all(from, tar, size) && lseek(from, 0, SEEK_SET) == 0);
    must(!bl_tar_output_open(to, -1, &output, &err));
    if (!bl_tar_input_open(from, -1, &input, &err)) {
        while ((result = bl_tar_input_next(input, &entry, &err)) == 1 && !pass_on(input, output, &entry, &err))
            ;
        if (!result)
            must(!bl_tar_output_finish(output, &err));
        bl_tar_input_close(input);
    }
    bl_tar_output_close(output);
    close(from);
    close(to);
    free(tar);
    return 0;
}
