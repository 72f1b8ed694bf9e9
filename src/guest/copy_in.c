/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/copy.h"
int bl_copy_in(int root_fd, const char *path, uint32_t flags, int from_fd, struct bl_error *err)
{
    (void)root_fd;
    (void)path;
    (void)flags;
    (void)from_fd;
    return bl_fail(err, BL_UNSUPPORTED, 0, "copies are not built yet");
}
int bl_copy_out(int root_fd, const char *path, uint32_t flags, int to_fd, struct bl_error *err)
{
    return bl_copy_in(root_fd, path, flags, to_fd, err);
}
