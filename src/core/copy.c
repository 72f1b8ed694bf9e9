/* SPDX-License-Identifier: Apache-2.0 */
#include "core/core.h"
int bl_copy_into(struct bl_runtime *runtime, const char *name, const char *host_path, const char *box_path,
                 const struct bl_copy_options *options, struct bl_error *err)
{
    (void)runtime, (void)name, (void)host_path, (void)box_path, (void)options;
    return bl_fail(err, BL_UNSUPPORTED, 0, "copies are not built yet");
}
int bl_copy_out(struct bl_runtime *runtime, const char *name, const char *box_path, const char *host_path,
                const struct bl_copy_options *options, struct bl_error *err)
{
    (void)runtime, (void)name, (void)host_path, (void)box_path, (void)options;
    return bl_fail(err, BL_UNSUPPORTED, 0, "copies are not built yet");
}
int bl_copy_tar_into(struct bl_runtime *runtime, const char *name, int tar_fd, const char *box_path,
                     const struct bl_copy_options *options, struct bl_error *err)
{
    (void)runtime, (void)name, (void)tar_fd, (void)box_path, (void)options;
    return bl_fail(err, BL_UNSUPPORTED, 0, "copies are not built yet");
}
int bl_copy_tar_out(struct bl_runtime *runtime, const char *name, const char *box_path, int tar_fd,
                    const struct bl_copy_options *options, struct bl_error *err)
{
    (void)runtime, (void)name, (void)tar_fd, (void)box_path, (void)options;
    return bl_fail(err, BL_UNSUPPORTED, 0, "copies are not built yet");
}
