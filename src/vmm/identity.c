/* SPDX-License-Identifier: Apache-2.0 */
/* identity.c - naming the files that a saved VM depends on; see identity.h */
#include "vmm/identity.h"

#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>

int bl_identity_put_file(struct bl_buffer *out, const char *what, const char *path)
{
    char line[PATH_MAX + 160];
    struct stat file;

    if (stat(path, &file) < 0)
        return -1;

    int length = snprintf(line, sizeof line, "%s %s: %llu:%llu %lld bytes, changed %lld.%09ld\n", what, path,
                          (unsigned long long)file.st_dev, (unsigned long long)file.st_ino, (long long)file.st_size,
                          (long long)file.st_ctim.tv_sec, file.st_ctim.tv_nsec);

    return length < (int)sizeof line ? bl_buffer_append(out, line, (size_t)length) : -1;
}
