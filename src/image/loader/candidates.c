/* SPDX-License-Identifier: Apache-2.0 */
/*
 * candidates.c - which images a source holds
 *
 * The kind is told by content: "index.json" with "oci-layout" or blobs is an OCI layout (also when Docker's own list stands
 * beside it, as since its version 25), "manifest.json" alone is `docker save`.
 *
 * An index may name several images (each is loaded) and several platforms of one (ours is picked; what BuildKit adds as
 * "unknown" holds no files). Names: what the archive says in full; else a tag in it goes with the file's own name.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/strings.h"
#include "image/limit.h"
#include "image/loader/load.h"

#define INDEX_DEPTH_MAX 4

static void free_candidate(struct bl_candidate *candidate)
{
    free(candidate->reference);
    bl_manifest_free(&candidate->manifest);
    free(candidate->config_name);
    bl_strings_free(candidate->layer_names);
}

void bl_candidates_free(struct bl_candidates *candidates)
{
    for (size_t i = 0; i < candidates->count; i++)
        free_candidate(&candidates->list[i]);
    free(candidates->list);
    *candidates = (struct bl_candidates){0};
}

static struct bl_candidate *append(struct bl_candidates *candidates, struct bl_error *err)
{
    struct bl_candidate *grown = reallocarray(candidates->list, candidates->count + 1, sizeof *grown);

    if (!grown) {
        bl_fail_memory(err);
        return NULL;
    }
    candidates->list = grown;
    grown[candidates->count] = (struct bl_candidate){0};
    return &grown[candidates->count++];
}

/* name_from_path() - A repository from a file's name: "/x/My-Image.oci.tar.gz" gives "my-image". Return: allocated, NULL */
static char *name_from_path(const char *path)
{
    static const char *const endings[] = {".gz", ".tgz", ".zst", ".tar", ".oci", ".docker"};
    cleanup_free char *copy = path ? strdup(path) : NULL;
    size_t length = copy ? strlen(copy) : 0, out = 0;

    while (length && copy[length - 1] == '/')
        copy[--length] = '\0';
    if (!length)
        return NULL;

    char *base = strrchr(copy, '/') ? strrchr(copy, '/') + 1 : copy;

    for (size_t i = 0, tries = 0; tries < 4; i = (i + 1) % (sizeof endings / sizeof *endings), tries += i == 0) {
        size_t ending = strlen(endings[i]), all = strlen(base);

        if (all > ending && !strcmp(base + all - ending, endings[i]))
            base[all - ending] = '\0';
    }

    char *name = calloc(1, strlen(base) + 1);

    for (const char *c = base; name && *c; c++) {
        char lower = *c >= 'A' && *c <= 'Z' ? (char)(*c - 'A' + 'a') : *c;
        bool plain = (lower >= 'a' && lower <= 'z') || (lower >= '0' && lower <= '9');

        if (plain || (out && name[out - 1] != '-'))
            name[out++] = plain ? lower : '-';
    }
    while (out && name[out - 1] == '-')
        name[--out] = '\0';
    if (name && !out) {
        free(name);
        return NULL;
    }
    return name;
}

/* full_form() - Return: allocated; NULL when it is no reference */
static char *full_form(const char *text)
{
    struct bl_reference reference;

    if (bl_reference_parse(text, &reference, NULL))
        return NULL;

    char *full = bl_reference_format(&reference);

    bl_reference_free(&reference);
    return full;
}

/* reference_from() - The name of an image from what the archive says (may be NULL), or from the file. Return: allocated, or NULL */
static char *reference_from(const struct bl_load *load, const char *said)
{
    if (said && strpbrk(said, "/:@"))
        return full_form(said);

    cleanup_free char *file = name_from_path(load->request->path);
    cleanup_free char *text = file ? bl_format("%s%s%s", file, said ? ":" : "", said ? said : "") : NULL;

    return text ? full_form(text) : NULL;
}

/* name_candidate() - It may have no name: then the caller gives it one. Return: 0; -1 when memory ran out */
static int name_candidate(const struct bl_load *load, const char *said, struct bl_candidate *candidate, struct bl_error *err)
{
    errno = 0;
    candidate->reference = reference_from(load, said);
    return !candidate->reference && errno == ENOMEM ? bl_fail_memory(err) : 0;
}

static void blob_name(const char *digest, char name[BL_DIGEST_MAX + 16])
{
    snprintf(name, BL_DIGEST_MAX + 16, "blobs/%.6s/%s", digest, digest + 7);
}

/* read_document() - A manifest or an index by descriptor. Return: its kind; -1 with @err */
static int read_document(struct bl_load *load, struct bl_source *source, const struct bl_descriptor *descriptor,
                         struct bl_manifest *manifest, struct bl_index *index, struct bl_error *err)
{
    cleanup_buffer struct bl_buffer bytes = BL_BUFFER_INIT(load->limits.manifest_bytes);
    char name[BL_DIGEST_MAX + 16], what[64];

    blob_name(descriptor->digest, name);
    snprintf(what, sizeof what, "the document %.19s", descriptor->digest);
    if (bl_source_read(source, name, descriptor->digest, &bytes, err)) {
        if (err && err->code == BL_NOT_FOUND)
            err->code = BL_IMAGE;
        bl_limit_hint(err, "manifest_kib");
        return -1;
    }
    if (bytes.length != descriptor->size_bytes)
        return bl_fail(err, BL_IMAGE, 0, "%s has %zu bytes, and should have %llu", what, bytes.length,
                       (unsigned long long)descriptor->size_bytes);
    return bl_manifest_parse(bl_buffer_data(&bytes), bytes.length, what, manifest, index, err);
}

static int no_platform(const struct bl_load *load, const struct bl_index *index, struct bl_error *err)
{
    const struct bl_platform *wanted = &load->platform;
    char there[256] = "";

    for (size_t i = 0; i < index->count; i++) {
        const struct bl_descriptor *d = &index->manifests[i];
        size_t used = strlen(there);

        if (strcmp(d->os, "unknown") != 0 && used < sizeof there - 100)
            snprintf(there + used, sizeof there - used, "%s%s/%s%s%s", used ? ", " : "", d->os, d->architecture,
                     d->variant[0] ? "/" : "", d->variant);
    }
    return bl_fail(err, BL_IMAGE, 0, "the image is not made for %s/%s%s%s; it has %s", wanted->os, wanted->architecture,
                   wanted->variant[0] ? "/" : "", wanted->variant, there[0] ? there : "nothing");
}

static int add_described(struct bl_load *load, struct bl_source *source, const struct bl_descriptor *descriptor, const char *said,
                         unsigned int depth, struct bl_candidates *out, struct bl_error *err);

static int rank_of(const struct bl_load *load, const struct bl_descriptor *descriptor)
{
    return bl_platform_rank(&load->platform, descriptor);
}

/* add_best() - The manifest of an index that suits this platform. */
static int add_best(struct bl_load *load, struct bl_source *source, const struct bl_index *index, const char *said,
                    unsigned int depth, struct bl_candidates *out, struct bl_error *err)
{
    size_t best = 0;
    int best_rank = 0;

    for (size_t i = 0; i < index->count; i++) {
        int rank = rank_of(load, &index->manifests[i]);

        if (rank > best_rank) {
            best = i;
            best_rank = rank;
        }
    }
    return best_rank ? add_described(load, source, &index->manifests[best], said, depth, out, err) : no_platform(load, index, err);
}

static int add_manifest(struct bl_load *load, const struct bl_descriptor *descriptor, const char *said,
                        struct bl_manifest *manifest, struct bl_candidates *out, struct bl_error *err)
{
    struct bl_candidate *candidate = append(out, err);
    char name[BL_DIGEST_MAX + 16];

    if (!candidate) {
        bl_manifest_free(manifest);
        return -1;
    }
    candidate->manifest = *manifest;
    if (name_candidate(load, said, candidate, err))
        return -1;
    snprintf(candidate->manifest_digest, sizeof candidate->manifest_digest, "%s", descriptor->digest);
    snprintf(candidate->config_digest, sizeof candidate->config_digest, "%s", candidate->manifest.config.digest);
    blob_name(candidate->config_digest, name);
    candidate->config_name = strdup(name);
    for (size_t i = 0; i < candidate->manifest.layer_count; i++) {
        blob_name(candidate->manifest.layers[i].digest, name);
        if (bl_strings_append(&candidate->layer_names, name))
            return bl_fail_memory(err);
    }
    return candidate->config_name ? 0 : bl_fail_memory(err);
}

static int add_described(struct bl_load *load, struct bl_source *source, const struct bl_descriptor *descriptor, const char *said,
                         unsigned int depth, struct bl_candidates *out, struct bl_error *err)
{
    struct bl_manifest manifest;
    struct bl_index index;
    int kind, result;

    if (depth > INDEX_DEPTH_MAX)
        return bl_fail(err, BL_IMAGE, 0, "the image's indexes are nested too deep");
    kind = read_document(load, source, descriptor, &manifest, &index, err);
    if (kind < 0)
        return -1;
    if (kind == BL_DOCUMENT_MANIFEST)
        return add_manifest(load, descriptor, said, &manifest, out, err);
    result = add_best(load, source, &index, said, depth + 1, out, err);
    bl_index_free(&index);
    return result;
}

int bl_candidates_follow(struct bl_load *load, struct bl_source *source, const struct bl_descriptor *descriptor,
                         struct bl_candidates *out, struct bl_error *err)
{
    return add_described(load, source, descriptor, NULL, 0, out, err);
}

/* names_images() - Whether an index lists images by name, or the platforms of one. */
static bool names_images(const struct bl_index *index)
{
    for (size_t i = 0; i < index->count; i++)
        if (index->manifests[i].name)
            return true;
    return false;
}

/* suits() - Whether a named descriptor is to be loaded: another of that name may suit this platform better. */
static bool suits(const struct bl_load *load, const struct bl_index *index, size_t at)
{
    const struct bl_descriptor *mine = &index->manifests[at];

    if (!mine->name || !rank_of(load, mine))
        return false;
    for (size_t i = 0; i < index->count; i++) {
        const struct bl_descriptor *other = &index->manifests[i];
        int difference = rank_of(load, other) - rank_of(load, mine);

        if (i != at && other->name && !strcmp(other->name, mine->name) && (difference > 0 || (!difference && i > at)))
            return false;
    }
    return true;
}

static int find_oci(struct bl_load *load, struct bl_source *source, const struct bl_buffer *bytes, struct bl_candidates *out,
                    struct bl_error *err)
{
    struct bl_manifest manifest;
    struct bl_index index;
    int kind = bl_manifest_parse(bl_buffer_data(bytes), bytes->length, "index.json", &manifest, &index, err), result = 0;

    if (kind < 0)
        return -1;
    if (kind == BL_DOCUMENT_MANIFEST) {
        bl_manifest_free(&manifest);
        return bl_fail(err, BL_IMAGE, 0, "index.json is no index");
    }
    if (!index.count) {
        result = bl_fail(err, BL_IMAGE, 0, "%s holds no image", bl_source_describe(source));
    } else if (names_images(&index)) {
        for (size_t i = 0; !result && i < index.count; i++)
            if (suits(load, &index, i))
                result = add_described(load, source, &index.manifests[i], index.manifests[i].name, 0, out, err);
        if (!result && !out->count)
            result = no_platform(load, &index, err);
    } else {
        result = add_best(load, source, &index, NULL, 0, out, err);
    }
    bl_index_free(&index);
    return result;
}

static int add_docker(struct bl_load *load, const struct bl_docker_image *image, const char *tag, struct bl_candidates *out,
                      struct bl_error *err)
{
    struct bl_candidate *candidate = append(out, err);

    if (!candidate)
        return -1;
    if (name_candidate(load, tag, candidate, err))
        return -1;
    candidate->config_name = strdup(image->config);
    candidate->layer_names = bl_strings_copy((const char *const *)image->layers);
    return candidate->config_name && candidate->layer_names ? 0 : bl_fail_memory(err);
}

static int find_docker(struct bl_load *load, const struct bl_buffer *bytes, struct bl_candidates *out, struct bl_error *err)
{
    struct bl_docker_image *images;
    size_t count;
    int result = 0;

    if (bl_docker_manifest_parse(bl_buffer_data(bytes), bytes->length, &images, &count, err))
        return -1;
    for (size_t i = 0; !result && i < count; i++) {
        if (!images[i].tags || !images[i].tags[0])
            result = add_docker(load, &images[i], NULL, out, err);
        for (char **tag = images[i].tags; !result && tag && *tag; tag++)
            result = add_docker(load, &images[i], *tag, out, err);
    }
    bl_docker_images_free(images, count);
    return result;
}

int bl_candidates_find(struct bl_load *load, struct bl_source *source, struct bl_candidates *out, struct bl_error *err)
{
    cleanup_buffer struct bl_buffer bytes = BL_BUFFER_INIT(load->limits.manifest_bytes);
    struct bl_error failure = BL_ERROR_INIT;

    if (!bl_source_read(source, "index.json", NULL, &bytes, &failure))
        return find_oci(load, source, &bytes, out, err);
    if (failure.code == BL_NOT_FOUND) {
        bl_buffer_clear(&bytes);
        bl_error_clear(&failure);
        if (!bl_source_read(source, "manifest.json", NULL, &bytes, &failure))
            return find_docker(load, &bytes, out, err);
    }
    if (failure.code == BL_NOT_FOUND)
        return bl_fail(err, BL_IMAGE, 0, "%s is no image: it holds neither index.json (OCI) nor manifest.json (`docker save`)",
                       bl_source_describe(source));
    if (err)
        *err = failure;
    bl_limit_hint(err, "manifest_kib");
    return -1;
}
