/* SPDX-License-Identifier: Apache-2.0 */
/* platform.c - reading and comparing platforms; see platform.h */
#include "image/platform.h"

#include <string.h>

#include "base/strings.h"

/* take_word() - One word up to a '/' or the end. @at: moved behind it. Return: whether it is one */
static bool take_word(const char **at, char *word, size_t size)
{
    size_t length = strspn(*at, "abcdefghijklmnopqrstuvwxyz0123456789._-");

    if (!length || length >= size || ((*at)[length] && (*at)[length] != '/'))
        return false;
    memcpy(word, *at, length);
    word[length] = '\0';
    *at += length + ((*at)[length] == '/');
    return true;
}

int bl_platform_parse(const char *text, struct bl_platform *out, struct bl_error *err)
{
    const char *at = text;

    *out = (struct bl_platform){BL_BOX_OS, BL_BOX_ARCHITECTURE, ""};
    if (!text)
        return 0;

    size_t length = strlen(text);

    if (length && text[length - 1] != '/' && take_word(&at, out->os, sizeof out->os) && *at &&
        take_word(&at, out->architecture, sizeof out->architecture) &&
        (!*at || (take_word(&at, out->variant, sizeof out->variant) && !*at)))
        return 0;
    return bl_fail(err, BL_INVALID_ARGUMENT, 0, "'%.64s' is no platform: it is written as in linux/amd64 or linux/arm/v7", text);
}

/* usual_variant() - What an architecture means when no variant is said. */
static const char *usual_variant(const char *architecture)
{
    static const char *const usual[][2] = {{"amd64", "v1"}, {"arm64", "v8"}, {"arm", "v7"}};

    for (size_t i = 0; i < sizeof usual / sizeof *usual; i++)
        if (!strcmp(architecture, usual[i][0]))
            return usual[i][1];
    return "";
}

int bl_platform_rank(const struct bl_platform *wanted, const struct bl_descriptor *descriptor)
{
    const char *usual = usual_variant(wanted->architecture);
    const char *mine = wanted->variant[0] ? wanted->variant : usual;
    const char *its = descriptor->variant[0] ? descriptor->variant : usual;

    if (!descriptor->os[0] && !descriptor->architecture[0])
        return 1; /* not said: its configuration will say */
    if (strcmp(descriptor->os, wanted->os) != 0 || strcmp(descriptor->architecture, wanted->architecture) != 0)
        return 0;
    if (!strcmp(mine, its))
        return 3;
    return wanted->variant[0] ? 0 : 2;
}

int bl_platform_check(const struct bl_platform *wanted, const struct bl_image_config *config, struct bl_error *err)
{
    if ((config->os && strcmp(config->os, wanted->os) != 0) ||
        (config->architecture && strcmp(config->architecture, wanted->architecture) != 0))
        return bl_fail(err, BL_IMAGE, 0, "the image is not made for %s/%s; it has %s/%s", wanted->os, wanted->architecture,
                       config->os ? config->os : "?", config->architecture ? config->architecture : "?");
    return 0;
}
