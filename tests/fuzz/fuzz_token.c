/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz_token.c - a token service's answer, which goes into a header line */
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "image/registry.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bl_error err = BL_ERROR_INIT;
    char *token = bl_token_parse(data, size, "host", &err);

    must(token || (err.code != BL_OK && err.message[0]));
    for (const char *c = token; c && *c; c++)
        must(*c > ' ' && *c < 0x7f);
    free(token);
    return 0;
}
