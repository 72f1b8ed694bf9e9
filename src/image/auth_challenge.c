/* SPDX-License-Identifier: Apache-2.0 */
/*
 * auth_challenge.c - the grammar of WWW-Authenticate
 *
 * A header is a list of challenges that are themselves lists, both parted by commas:
 *
 *     Bearer realm="https://auth.example/token",service="example",scope="repository:a:pull", Basic realm="example"
 *
 * Whether a word after a comma is a scheme or a parameter shows only by the "=" behind it. The other form of a challenge, a
 * scheme and one blob (token68, as Negotiate has it), is passed over.
 */
#include "image/auth_challenge.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Characters of a token (RFC 9110, 5.6.2). */
static bool is_token_char(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c && strchr("!#$%&'*+-.^_`|~", c));
}

static const char *skip_space(const char *at)
{
    return at + strspn(at, " \t");
}

static size_t token_length(const char *at)
{
    size_t length = 0;

    while (is_token_char(at[length]))
        length++;
    return length;
}

/* read_quoted() - A quoted string, without its quotes and escapes. @at: the opening quote; moved behind. Return: NULL if broken */
static char *read_quoted(const char **at)
{
    const char *from = *at + 1;
    char *text = malloc(strlen(from) + 1);
    size_t length = 0;

    for (; text && *from && *from != '"'; from++) {
        if (*from == '\\' && from[1])
            from++;
        if ((unsigned char)*from < 0x20 && *from != '\t')
            break;
        text[length++] = *from;
    }
    if (!text || *from != '"') {
        free(text);
        return NULL;
    }
    text[length] = '\0';
    *at = from + 1;
    return text;
}

static char *read_value(const char **at)
{
    if (**at == '"')
        return read_quoted(at);

    size_t length = token_length(*at);
    char *text = length ? strndup(*at, length) : NULL;

    *at += length;
    return text;
}

/* skip_token68() - Behind the blob of a challenge, if there is one. */
static const char *skip_token68(const char *at)
{
    size_t length = strspn(at, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/");
    const char *end = at + length + strspn(at + length, "=");
    const char *next = skip_space(end);

    return length && (*next == ',' || !*next) ? next : at;
}

static enum bl_auth_scheme scheme_of(const char *name, size_t length)
{
    if (length == 6 && !strncasecmp(name, "Bearer", 6))
        return BL_AUTH_BEARER;
    return length == 5 && !strncasecmp(name, "Basic", 5) ? BL_AUTH_BASIC : BL_AUTH_NONE;
}

/* set_parameter() - Keep a parameter that matters; its first value counts. @value: taken over */
static void set_parameter(struct bl_auth_challenge *challenge, const char *name, size_t length, char *value)
{
    struct {
        const char *name;
        char **place;
    } known[] = {{"realm", &challenge->realm}, {"service", &challenge->service}, {"scope", &challenge->scope}};

    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (length == strlen(known[i].name) && !strncasecmp(name, known[i].name, length) && !*known[i].place) {
            *known[i].place = value;
            return;
        }
    }
    free(value);
}

/* settle() - Keep the better of two challenges in @best; @next is empty afterwards. */
static void settle(struct bl_auth_challenge *best, struct bl_auth_challenge *next)
{
    if (next->scheme > best->scheme) {
        bl_auth_challenge_free(best);
        *best = *next;
        *next = (struct bl_auth_challenge){0};
    } else {
        bl_auth_challenge_free(next);
    }
}

/* read_list() - All challenges; @next is the one being read, @best what was complete. Return: 0; -1 if broken */
static int read_list(const char *at, struct bl_auth_challenge *best, struct bl_auth_challenge *next)
{
    bool inside = false;

    for (;;) {
        at += strspn(at, " \t,");
        if (!*at)
            return 0;

        const char *word = at;
        size_t length = token_length(at);
        const char *after = skip_space(at + length);

        if (!length)
            return -1;
        if (*after == '=') {
            at = skip_space(after + 1);

            char *value = inside ? read_value(&at) : NULL;

            if (!value)
                return -1;
            set_parameter(next, word, length, value);
            at = skip_space(at);
            if (*at && *at != ',')
                return -1;
        } else {
            settle(best, next);
            next->scheme = scheme_of(word, length);
            inside = true;
            at = skip_token68(after);
        }
    }
}

int bl_auth_challenge_parse(const char *value, struct bl_auth_challenge *best)
{
    struct bl_auth_challenge found = {0}, next = {0};

    if (strnlen(value, BL_CHALLENGE_MAX + 1) > BL_CHALLENGE_MAX || read_list(value, &found, &next)) {
        bl_auth_challenge_free(&found);
        bl_auth_challenge_free(&next);
        return -1;
    }
    settle(&found, &next);
    settle(best, &found);
    return 0;
}

void bl_auth_challenge_free(struct bl_auth_challenge *challenge)
{
    free(challenge->realm);
    free(challenge->service);
    free(challenge->scope);
    *challenge = (struct bl_auth_challenge){0};
}
