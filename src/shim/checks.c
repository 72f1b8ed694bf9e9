/* SPDX-License-Identifier: Apache-2.0 */
/* checks.c - saying early what can't work; see checks.h */
#include "shim/checks.h"

#include <errno.h>
#include <unistd.h>

#include "base/buffer.h"
#include "proto/frame.h"
#include "proto/launch.h"

int bl_check_readable(const char *what, const char *path, struct bl_error *err)
{
    if (access(path, R_OK) == 0)
        return 0;
    return bl_fail(err, BL_ENGINE, errno, "the %s %s can't be read (`make` or `make kernel` builds it)", what, path);
}

int bl_check_workload(const struct bl_open *workload, struct bl_error *err)
{
    cleanup_buffer struct bl_buffer payload = BL_BUFFER_INIT(BL_LAUNCH_MAX);

    if (bl_open_encode(&payload, workload) < 0)
        return bl_fail_memory(err);
    if (payload.length <= BL_FRAME_PAYLOAD_MAX)
        return 0;
    return bl_fail(err, BL_INVALID_ARGUMENT, 0, "the box's command and environment take %zu bytes, %d is the most", payload.length,
                   BL_FRAME_PAYLOAD_MAX);
}
