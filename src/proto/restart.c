/* SPDX-License-Identifier: Apache-2.0 */
/* restart.c - see restart.h */
#include "proto/restart.h"

#include <stdio.h>
#include <string.h>

#include "base/strings.h"

#define ON_FAILURE_PREFIX "on-failure:"

static const char *const names[] = {
    [BL_RESTART_NO] = "no",
    [BL_RESTART_ON_FAILURE] = "on-failure",
    [BL_RESTART_ALWAYS] = "always",
    [BL_RESTART_UNLESS_STOPPED] = "unless-stopped",
};

int bl_restart_parse(const char *text, struct bl_restart *out)
{
    long long most = 0;

    *out = (struct bl_restart){0};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(text, names[i]) == 0) {
            out->kind = (enum bl_restart_kind)i;
            return 0;
        }
    }
    if (!bl_starts_with(text, ON_FAILURE_PREFIX) ||
        bl_parse_number(text + strlen(ON_FAILURE_PREFIX), 1, BL_RESTART_MOST, &most) < 0)
        return -1;
    *out = (struct bl_restart){.kind = BL_RESTART_ON_FAILURE, .most = (uint32_t)most};
    return 0;
}

const char *bl_restart_format(const struct bl_restart *restart, char *out)
{
    if (restart->most)
        snprintf(out, BL_RESTART_TEXT_MAX, ON_FAILURE_PREFIX "%u", restart->most);
    else
        snprintf(out, BL_RESTART_TEXT_MAX, "%s", names[restart->kind]);
    return out;
}

bool bl_restart_wanted(const struct bl_restart *restart, bool failed, uint32_t count)
{
    switch (restart->kind) {
    case BL_RESTART_ON_FAILURE:
        return failed && (!restart->most || count < restart->most);
    case BL_RESTART_ALWAYS:
    case BL_RESTART_UNLESS_STOPPED:
        return true;
    case BL_RESTART_NO:
        break;
    }
    return false;
}

uint32_t bl_restart_delay(uint32_t before_ms, int64_t life_ms)
{
    if (!before_ms || life_ms >= BL_RESTART_LONG_LIFE_MS)
        return BL_RESTART_DELAY_MS;
    return before_ms < BL_RESTART_DELAY_MOST_MS / 2 ? 2 * before_ms : BL_RESTART_DELAY_MOST_MS;
}
