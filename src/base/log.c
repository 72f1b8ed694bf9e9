/* SPDX-License-Identifier: Apache-2.0 */
/* log.c - passing lines to the handler; see log.h */
#include "base/log.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#define LINE_MAX_BYTES 2048

static bl_log_handler log_handler;
static void *log_data;
static enum bl_log_level log_most = BL_LOG_WARN;

void bl_log_set(bl_log_handler handler, void *data, enum bl_log_level most)
{
    log_handler = handler;
    log_data = data;
    log_most = most;
}

void bl_log(enum bl_log_level level, const char *fmt, ...)
{
    char line[LINE_MAX_BYTES];
    va_list args;

    if (!log_handler || level > log_most)
        return;
    va_start(args, fmt);
    if (vsnprintf(line, sizeof line, fmt, args) < 0)
        line[0] = '\0';
    va_end(args);
    for (unsigned char *p = (unsigned char *)line; *p; p++)
        if (*p < 0x20 || *p == 0x7f)
            *p = '?';
    log_handler(level, line, log_data);
}

const char *bl_log_level_name(enum bl_log_level level)
{
    static const char *const names[] = {"error", "warning", "info", "debug"};

    return names[level];
}
