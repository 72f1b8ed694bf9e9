/* SPDX-License-Identifier: Apache-2.0 */
/* names.c - ids and names; see names.h. Letters are those of ASCII, whatever the locale of the host program says. */
#include "core/names.h"

#include <string.h>

#include "base/io.h"

static const char base62[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

int bl_box_id_make(char *id)
{
    int made = 0;

    while (made < BL_BOX_ID_LENGTH) {
        unsigned char bytes[2 * BL_BOX_ID_LENGTH];

        if (bl_random_bytes(bytes, sizeof bytes) < 0)
            return -1;
        /* 248 is the greatest multiple of 62 in a byte: taking the rest would make some letters likelier. */
        for (size_t i = 0; i < sizeof bytes && made < BL_BOX_ID_LENGTH; i++)
            if (bytes[i] < 248)
                id[made++] = base62[bytes[i] % 62];
    }
    id[made] = '\0';
    return 0;
}

bool bl_box_id_valid(const char *text)
{
    return strlen(text) == BL_BOX_ID_LENGTH && strspn(text, base62) == BL_BOX_ID_LENGTH;
}

int bl_box_name_check(const char *name, struct bl_error *err)
{
    size_t length = strlen(name);

    if (!length)
        return bl_fail(err, BL_INVALID_ARGUMENT, 0, "invalid box name: it is empty");
    if (length > BL_BOX_NAME_MAX)
        return bl_fail(err, BL_INVALID_ARGUMENT, 0, "invalid box name: it has %zu characters, at most %d are allowed", length,
                       BL_BOX_NAME_MAX);
    for (size_t i = 0; i < length; i++) {
        bool letter = strchr(base62, name[i]) != NULL;

        if (!letter && (i == 0 || !strchr("._-", name[i])))
            return bl_fail(
                err, BL_INVALID_ARGUMENT, 0,
                "invalid box name '%s': letters, digits, '.', '_' and '-' are allowed, and the first is a letter or digit", name);
    }
    return 0;
}
