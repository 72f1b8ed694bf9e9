/* SPDX-License-Identifier: Apache-2.0 */
/*
 * error.h - how every function here fails
 *
 * A function that can fail returns 0 (or something useful >= 0) on success and a negative number on failure, and fills the
 * struct bl_error it was given last. The message is one line: what was attempted, on what, why it failed and, where the
 * user can do something about it, what. Nothing in the library prints.
 *
 * The codes have the values of the public enum BoxliteErrorCode.
 */
#ifndef BL_BASE_ERROR_H
#define BL_BASE_ERROR_H

#include <stdarg.h>

enum bl_code {
    BL_OK = 0,
    BL_INTERNAL = 1,
    BL_NOT_FOUND = 2,
    BL_ALREADY_EXISTS = 3,
    BL_INVALID_STATE = 4,
    BL_INVALID_ARGUMENT = 5,
    BL_CONFIG = 6,
    BL_STORAGE = 7,
    BL_IMAGE = 8,
    BL_NETWORK = 9,
    BL_EXECUTION = 10,
    BL_STOPPED = 11,
    BL_ENGINE = 12,
    BL_UNSUPPORTED = 13,
    BL_DATABASE = 14,
    BL_PORTAL = 15,
    BL_RPC = 16,
    BL_RPC_TRANSPORT = 17,
    BL_METADATA = 18,
    BL_UNSUPPORTED_ENGINE = 19,
    BL_RESOURCE_EXHAUSTED = 20,
    BL_SESSION_REAPED = 21,
};

#define BL_ERROR_MESSAGE_MAX 1024

/* One failure. Plain data, owned by whoever declared it; no part of it is allocated, so that even a lack of memory can be told. */
struct bl_error {
    enum bl_code code;
    int sys_errno; /* errno of the failing call, 0 when there was none */
    char message[BL_ERROR_MESSAGE_MAX];
};

#define BL_ERROR_INIT                                                                                                              \
    {                                                                                                                              \
        BL_OK, 0, ""                                                                                                               \
    }

/*
 * bl_fail() - Fill in an error
 * @err:  where to; may be NULL (the caller does not care why)
 * @code: kind of failure
 * @sys_errno: errno of the failing call, or 0; when it is not 0, ": <strerror>" is appended to the message
 * @fmt:  printf format of the message, without a trailing period or newline
 *
 * Control characters in the finished message become '?', so that a hostile name can't write to a terminal.
 *
 * Return: always -1, so that callers can write `return bl_fail(...)`
 */
int bl_fail(struct bl_error *err, enum bl_code code, int sys_errno, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
int bl_fail_v(struct bl_error *err, enum bl_code code, int sys_errno, const char *fmt, va_list args)
    __attribute__((format(printf, 4, 0)));

/* bl_fail_context() - Put "<text>: " in front of the message of an error that is set already. Return: always -1 */
int bl_fail_context(struct bl_error *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* bl_fail_memory() - The one way to say that memory ran out. Return: always -1 */
int bl_fail_memory(struct bl_error *err);

/* bl_code_name() - The code's name as users of the C API know it ("NotFound"). Static storage. */
const char *bl_code_name(enum bl_code code);

/* bl_error_clear() - Forget a failure that was handled. */
void bl_error_clear(struct bl_error *err);

#ifdef __clang_analyzer__
/* The analyser sees one file at a time: it must know that the path goes on as a failure, or it warns of what can't be. */
#define bl_fail(...)         (bl_fail(__VA_ARGS__), -1)
#define bl_fail_context(...) (bl_fail_context(__VA_ARGS__), -1)
#define bl_fail_memory(err)  (bl_fail_memory(err), -1)
#endif

#endif
