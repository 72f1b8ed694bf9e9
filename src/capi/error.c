/* SPDX-License-Identifier: Apache-2.0 */
/* error.c - errors as users of the public header see them */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "capi/capi.h"

enum BoxliteErrorCode bl_capi_report(CBoxliteError *out_error, const struct bl_error *err)
{
    enum bl_code code = err->code == BL_OK ? BL_INTERNAL : err->code;

    if (out_error) {
        out_error->code = (enum BoxliteErrorCode)code;
        /* Without memory for the text the code still says it; NULL is allowed there. */
        out_error->message = strdup(err->message);
    }
    return (enum BoxliteErrorCode)code;
}

enum BoxliteErrorCode bl_capi_reject(CBoxliteError *out_error, enum bl_code code, const char *fmt, ...)
{
    struct bl_error err = BL_ERROR_INIT;
    va_list args;

    va_start(args, fmt);
    bl_fail_v(&err, code, 0, fmt, args);
    va_end(args);
    return bl_capi_report(out_error, &err);
}

enum BoxliteErrorCode bl_capi_no_memory(CBoxliteError *out_error)
{
    struct bl_error err = BL_ERROR_INIT;

    bl_fail_memory(&err);
    return bl_capi_report(out_error, &err);
}

CBoxliteError bl_capi_memory_error(void)
{
    CBoxliteError error = {BOXLITE_OK, NULL};

    bl_capi_no_memory(&error);
    return error;
}

char *bl_capi_text(const char *text)
{
    return strdup(text ? text : "");
}

enum BoxliteErrorCode bl_capi_ok(CBoxliteError *out_error)
{
    if (out_error)
        *out_error = (CBoxliteError){BOXLITE_OK, NULL};
    return BOXLITE_OK;
}

void boxlite_error_free(CBoxliteError *error)
{
    if (!error)
        return;
    free(error->message);
    *error = (CBoxliteError){BOXLITE_OK, NULL};
}

void boxlite_free_string(char *s)
{
    free(s);
}

const char *boxlite_version(void)
{
    return BL_VERSION;
}
