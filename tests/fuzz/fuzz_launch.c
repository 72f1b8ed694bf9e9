/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz_launch.c - the shim's configuration; what was understood must survive being written and read again */
#include <string.h>

#include "fuzz.h"
#include "proto/launch.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    cleanup_buffer struct bl_buffer once = BL_BUFFER_INIT(BL_LAUNCH_MAX);
    cleanup_buffer struct bl_buffer twice = BL_BUFFER_INIT(BL_LAUNCH_MAX);
    struct bl_error err = BL_ERROR_INIT;
    struct bl_launch launch;
    struct bl_launch again;

    if (bl_launch_decode(data, size, &launch, &err) < 0) {
        must(err.message[0] && err.code == BL_CONFIG);
        return 0;
    }
    must(bl_launch_encode(&once, &launch) == 0);
    must(bl_launch_decode(bl_buffer_data(&once), once.length, &again, &err) == 0);
    must(bl_launch_encode(&twice, &again) == 0);
    must(once.length == twice.length && memcmp(bl_buffer_data(&once), bl_buffer_data(&twice), once.length) == 0);
    bl_launch_free(&launch);
    bl_launch_free(&again);
    return 0;
}
