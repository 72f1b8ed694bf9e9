/* SPDX-License-Identifier: Apache-2.0 */
/* error.c - filling in errors; see error.h for the contract */
#include "base/error.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* Longest part of a message that strerror() may add. */
#define REASON_MAX 128

/* make_printable() - Keep a message on one line and free of terminal sequences; bytes >= 0x80 are left, they may be UTF-8. */
static void make_printable(char *message)
{
    for (unsigned char *p = (unsigned char *)message; *p; p++)
        if (*p < 0x20 || *p == 0x7f)
            *p = '?';
}

int bl_fail_v(struct bl_error *err, enum bl_code code, int sys_errno, const char *fmt, va_list args)
{
    if (!err)
        return -1;

    char text[BL_ERROR_MESSAGE_MAX];
    int n = vsnprintf(text, sizeof text, fmt, args);

    if (n < 0)
        text[0] = '\0';
    err->code = code;
    err->sys_errno = sys_errno;
    if (sys_errno) {
        /* strerror() of glibc and musl needs no lock for known numbers; the reason must survive a long text. */
        snprintf(err->message, sizeof err->message, "%.*s: %.*s", BL_ERROR_MESSAGE_MAX - REASON_MAX - 3, text, REASON_MAX,
                 strerror(sys_errno));
    } else {
        snprintf(err->message, sizeof err->message, "%s", text);
    }
    make_printable(err->message);
    return -1;
}

int(bl_fail)(struct bl_error *err, enum bl_code code, int sys_errno, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    bl_fail_v(err, code, sys_errno, fmt, args);
    va_end(args);
    return -1;
}

int(bl_fail_context)(struct bl_error *err, const char *fmt, ...)
{
    if (!err)
        return -1;

    char context[BL_ERROR_MESSAGE_MAX / 2];
    char old[BL_ERROR_MESSAGE_MAX];
    va_list args;

    va_start(args, fmt);
    if (vsnprintf(context, sizeof context, fmt, args) < 0)
        context[0] = '\0';
    va_end(args);
    memcpy(old, err->message, sizeof old);
    snprintf(err->message, sizeof err->message, "%s: %.*s", context, (int)(sizeof err->message - strlen(context) - 3), old);
    make_printable(err->message);
    return -1;
}

int(bl_fail_memory)(struct bl_error *err)
{
    return bl_fail(err, BL_RESOURCE_EXHAUSTED, ENOMEM, "allocate memory");
}

const char *bl_code_name(enum bl_code code)
{
    static const char *const names[] = {
        [BL_OK] = "Ok",
        [BL_INTERNAL] = "Internal",
        [BL_NOT_FOUND] = "NotFound",
        [BL_ALREADY_EXISTS] = "AlreadyExists",
        [BL_INVALID_STATE] = "InvalidState",
        [BL_INVALID_ARGUMENT] = "InvalidArgument",
        [BL_CONFIG] = "Config",
        [BL_STORAGE] = "Storage",
        [BL_IMAGE] = "Image",
        [BL_NETWORK] = "Network",
        [BL_EXECUTION] = "Execution",
        [BL_STOPPED] = "Stopped",
        [BL_ENGINE] = "Engine",
        [BL_UNSUPPORTED] = "Unsupported",
        [BL_DATABASE] = "Database",
        [BL_PORTAL] = "Portal",
        [BL_RPC] = "Rpc",
        [BL_RPC_TRANSPORT] = "RpcTransport",
        [BL_METADATA] = "Metadata",
        [BL_UNSUPPORTED_ENGINE] = "UnsupportedEngine",
        [BL_RESOURCE_EXHAUSTED] = "ResourceExhausted",
        [BL_SESSION_REAPED] = "SessionReaped",
    };
    unsigned int index = (unsigned int)code;

    return index < sizeof names / sizeof *names ? names[index] : "Internal";
}

void bl_error_clear(struct bl_error *err)
{
    if (err)
        *err = (struct bl_error)BL_ERROR_INIT;
}
