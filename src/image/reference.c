/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reference.c - the names of images
 *
 *   [registry "/"] component *("/" component) [":" tag] ["@" digest]
 *
 * The rules are those of the OCI distribution specification (1.1, "Pulling manifests"), with what people may leave out filled
 * in as docker does: the registry is docker.io, a single component there stands below "library/", and the tag is "latest"
 * when there is no digest. The first component is a registry only when it looks like a host: it has a dot or a port, or is
 * "localhost".
 *
 * The full form also names a file of the store (record.c), which is why it is bounded by what a file name holds.
 */
#include "image/image.h"

#include <ctype.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/strings.h"

#define TYPED_MAX 512
/* Longest full form: a file name holds 255 bytes, and ".json" and an escape for each slash must fit as well. */
#define FULL_MAX 240
#define TAG_MAX  128

static bool is_lower_alnum(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static bool is_alnum(char c)
{
    return is_lower_alnum(c) || (c >= 'A' && c <= 'Z');
}

/* looks_like_host() - Whether a first component is a registry and not the start of a repository. */
static bool looks_like_host(const char *text, size_t length)
{
    return memchr(text, '.', length) || memchr(text, ':', length) || (length == 9 && memcmp(text, "localhost", 9) == 0);
}

/* is_registry() - host[:port]; the host is letters, digits, dots and dashes, or an IPv6 address in brackets. */
static bool is_registry(const char *text, size_t length)
{
    size_t i = 0;

    if (length && text[0] == '[') {
        for (i = 1; i < length && (isxdigit((unsigned char)text[i]) || text[i] == ':' || text[i] == '.'); i++)
            ;
        if (i == length || text[i] != ']' || i < 3)
            return false;
        i++;
    } else {
        if (!length || !is_alnum(text[0]))
            return false;
        for (; i < length && (is_alnum(text[i]) || text[i] == '.' || text[i] == '-'); i++)
            if (text[i] == '.' && text[i - 1] == '.')
                return false;
        if (text[i - 1] == '.' || text[i - 1] == '-')
            return false;
    }
    if (i == length)
        return true;
    if (text[i] != ':' || length - i < 2 || length - i > 6)
        return false;
    for (i++; i < length; i++)
        if (text[i] < '0' || text[i] > '9')
            return false;
    return true;
}

/* is_component() - Lower-case letters and digits, parted by one ".", one or two "_", or any number of "-". */
static bool is_component(const char *text, size_t length)
{
    if (!length || !is_lower_alnum(text[0]) || !is_lower_alnum(text[length - 1]))
        return false;
    for (size_t i = 1; i < length; i++) {
        if (is_lower_alnum(text[i]) || text[i] == '-')
            continue;
        if (text[i] != '.' && text[i] != '_')
            return false;
        bool after_separator = !is_lower_alnum(text[i - 1]);
        bool double_underscore = text[i] == '_' && text[i - 1] == '_' && is_lower_alnum(text[i - 2]);

        if (after_separator && !double_underscore)
            return false;
    }
    return true;
}

static bool is_tag(const char *text)
{
    size_t length = strlen(text);

    if (!length || length > TAG_MAX || !(is_alnum(text[0]) || text[0] == '_'))
        return false;
    for (size_t i = 1; i < length; i++)
        if (!is_alnum(text[i]) && text[i] != '_' && text[i] != '.' && text[i] != '-')
            return false;
    return true;
}

static bool is_digest(const char *text)
{
    size_t digits = bl_starts_with(text, "sha256:") ? 64 : bl_starts_with(text, "sha512:") ? 128 : 0;

    return digits && strlen(text) == 7 + digits && strspn(text + 7, "0123456789abcdef") == digits;
}

/* check_repository() - Every component keeps the rule. Return: 0; -1 with @err */
static int check_repository(const char *repository, const char *text, struct bl_error *err)
{
    for (const char *at = repository;;) {
        size_t length = strcspn(at, "/");

        if (!is_component(at, length))
            return bl_fail(err, BL_INVALID_ARGUMENT, 0,
                           "image name '%s': '%.*s' must be lower-case letters and digits, parted by '.', '_', '__' or '-'", text,
                           (int)length, at);
        if (!at[length])
            return 0;
        at += length + 1;
    }
}

/* split() - Cut @copy into its parts, in place. Return: 0; -1 with @err */
static int split(char *copy, const char *text, struct bl_reference *out, struct bl_error *err)
{
    char *digest = strchr(copy, '@');

    if (digest) {
        *digest++ = '\0';
        if (!is_digest(digest))
            return bl_fail(err, BL_INVALID_ARGUMENT, 0,
                           "image name '%s': after '@' there must be sha256: and 64 lower-case hex digits", text);
    }

    char *registry = NULL, *repository = copy, *slash = strchr(copy, '/');

    if (slash && looks_like_host(copy, (size_t)(slash - copy))) {
        *slash = '\0';
        registry = copy;
        repository = slash + 1;
        if (!is_registry(registry, strlen(registry)))
            return bl_fail(err, BL_INVALID_ARGUMENT, 0, "image name '%s': '%s' is no host name", text, registry);
        for (char *c = registry; *c; c++)
            *c = (char)tolower((unsigned char)*c);
        if (strcmp(registry, "index.docker.io") == 0 || strcmp(registry, "registry-1.docker.io") == 0)
            registry = NULL;
        out->said_registry = true;
    }

    char *last = strrchr(repository, '/');
    char *tag = strchr(last ? last : repository, ':');

    if (tag) {
        *tag++ = '\0';
        if (!is_tag(tag))
            return bl_fail(
                err, BL_INVALID_ARGUMENT, 0,
                "image name '%s': a tag is at most 128 letters, digits, '_', '.' and '-', and starts with none of the latter two",
                text);
    }
    if (check_repository(repository, text, err))
        return -1;

    bool docker = !registry || strcmp(registry, "docker.io") == 0;

    out->registry = strdup(docker ? "docker.io" : registry);
    out->repository = bl_format("%s%s", docker && !strchr(repository, '/') ? "library/" : "", repository);
    out->tag = tag ? strdup(tag) : digest ? NULL : strdup("latest");
    out->digest = digest ? strdup(digest) : NULL;
    if (!out->registry || !out->repository || (!out->tag && !digest) || (tag && !out->tag) || (digest && !out->digest))
        return bl_fail_memory(err);
    return 0;
}

int bl_reference_parse(const char *text, struct bl_reference *out, struct bl_error *err)
{
    *out = (struct bl_reference){0};
    if (!text || !*text)
        return bl_fail(err, BL_INVALID_ARGUMENT, 0, "an image name is empty");
    if (strlen(text) > TYPED_MAX)
        return bl_fail(err, BL_INVALID_ARGUMENT, 0, "image name '%.40s...' is longer than %d bytes", text, TYPED_MAX);

    cleanup_free char *copy = strdup(text);

    if (!copy)
        return bl_fail_memory(err);
    if (split(copy, text, out, err)) {
        bl_reference_free(out);
        return -1;
    }

    cleanup_free char *full = bl_reference_format(out);
    size_t length = full ? strlen(full) : 0;

    if (full && length <= FULL_MAX)
        return 0;
    bl_reference_free(out);
    if (!full)
        return bl_fail_memory(err);
    return bl_fail(err, BL_INVALID_ARGUMENT, 0, "image name '%.40s...' is longer than %d bytes in its full form", text, FULL_MAX);
}

char *bl_reference_format(const struct bl_reference *reference)
{
    return bl_format("%s/%s%s%s%s%s", reference->registry, reference->repository, reference->tag ? ":" : "",
                     reference->tag ? reference->tag : "", reference->digest ? "@" : "",
                     reference->digest ? reference->digest : "");
}

void bl_reference_free(struct bl_reference *reference)
{
    free(reference->registry);
    free(reference->repository);
    free(reference->tag);
    free(reference->digest);
    *reference = (struct bl_reference){0};
}
