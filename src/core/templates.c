/* SPDX-License-Identifier: Apache-2.0 */
/* templates.c - whether boxes start from saved machines, and what those take; the shim uses, makes and sweeps them */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/os.h"
#include "base/strings.h"
#include "core/home.h"
#include "proto/launch.h"

int bl_templates_wanted(bool *out, struct bl_error *err)
{
    const char *text = getenv("BOXLITE_TEMPLATES");

    *out = !text || !*text || strcmp(text, "on") == 0;
    if (*out || strcmp(text, "off") == 0)
        return 0;
    return bl_fail(err, BL_CONFIG, 0, "BOXLITE_TEMPLATES is '%s': 'on' and 'off' are known", text);
}

void bl_templates_usage(int home_fd, unsigned int *count, uint64_t *bytes)
{
    cleanup_close int fd = bl_os.openat(home_fd, BL_DIR_TEMPLATES, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    cleanup_dir DIR *dir = fd < 0 ? NULL : bl_os.fdopendir(fd);

    *count = 0;
    *bytes = 0;
    if (dir)
        bl_steal_fd(&fd);
    for (struct dirent *entry; dir && (entry = bl_os.readdir(dir));) {
        size_t length = strlen(entry->d_name), suffix = strlen(BL_TEMPLATE_SUFFIX);
        struct stat file;

        if (length <= suffix || strcmp(entry->d_name + length - suffix, BL_TEMPLATE_SUFFIX) != 0 ||
            bl_os.fstatat(dirfd(dir), entry->d_name, &file, AT_SYMLINK_NOFOLLOW) < 0 || !file.st_size)
            continue;
        *count += 1;
        *bytes += (uint64_t)file.st_blocks * 512;
    }
}
