/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz_reference.c - any text is a reference that names itself again, or is refused with a reason */
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "image/image.h"
#include "image/record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = strndup((const char *)data, size);
    struct bl_error err = BL_ERROR_INIT;
    struct bl_reference first, second;

    if (bl_reference_parse(text, &first, &err)) {
        must(err.code == BL_INVALID_ARGUMENT && err.message[0]);
    } else {
        char *full = bl_reference_format(&first);

        must(full && strlen(full) <= 240);
        must(bl_reference_parse(full, &second, &err) == 0);

        char *again = bl_reference_format(&second), *file = bl_record_file(full);

        must(!strcmp(full, again));
        /* It is the name of a file, and of no other place. */
        must(!strchr(file, '/') && file[0] != '.' && strlen(file) <= 255);
        bl_reference_free(&second);
        bl_reference_free(&first);
        free(again);
        free(file);
        free(full);
    }
    free(text);
    return 0;
}
