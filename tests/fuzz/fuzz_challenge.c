/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz_challenge.c - WWW-Authenticate as a hostile registry would send it; each line is a header */
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "image/auth_challenge.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bl_auth_challenge best = {0};
    char *text = malloc(size + 1);
    char *rest = text;
    char *line;

    if (!text)
        return 0;
    memcpy(text, data, size);
    text[size] = '\0';
    while ((line = strsep(&rest, "\n"))) {
        enum bl_auth_scheme before = best.scheme;
        int result = bl_auth_challenge_parse(line, &best);

        must(result == 0 || best.scheme == before);
        must(best.scheme >= before);
        must(best.scheme != BL_AUTH_NONE || !best.realm);
    }
    bl_auth_challenge_free(&best);
    free(text);
    return 0;
}
