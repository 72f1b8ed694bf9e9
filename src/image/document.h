/* SPDX-License-Identifier: Apache-2.0 */
/*
 * document.h - the JSON documents of images: configuration, manifest, index
 *
 * All of them come from outside. A parser takes bytes, checks every type, length and character, and gives a struct that owns
 * its strings; unknown members are ignored. Both families of media types are understood: OCI's and Docker's.
 */
#ifndef BL_IMAGE_DOCUMENT_H
#define BL_IMAGE_DOCUMENT_H

#include <jansson.h>

#include "image/image.h"

#define BL_DIGEST_MAX 136 /* "sha512:" and 128 digits, and the end */

/* What the loader needs of a configuration beyond what a box needs. */
struct bl_config_document {
    struct bl_image_config config;
    char **diff_ids; /* digests of the decompressed layers, lowest first */
    int64_t created_at;
};

/*
 * bl_config_parse() - Read an image configuration
 * @what: how messages call it
 *
 * Return: 0, free with bl_config_document_free(); -1 with BL_IMAGE
 */
int bl_config_parse(const void *bytes, size_t length, const char *what, struct bl_config_document *out, struct bl_error *err);
void bl_config_document_free(struct bl_config_document *document);
void bl_image_config_free(struct bl_image_config *config);

/* A pointer to content: "application/vnd.oci.descriptor.v1+json". */
struct bl_descriptor {
    char digest[BL_DIGEST_MAX];
    uint64_t size_bytes;
    char media_type[128];
    char *name; /* annotation io.containerd.image.name or org.opencontainers.image.ref.name, or NULL */
    char os[32];
    char architecture[32];
    char variant[32]; /* all three "" when not said */
};

struct bl_manifest {
    struct bl_descriptor config;
    struct bl_descriptor *layers; /* lowest first */
    size_t layer_count;
};

struct bl_index {
    struct bl_descriptor *manifests;
    size_t count;
};

enum bl_document_kind { BL_DOCUMENT_INDEX, BL_DOCUMENT_MANIFEST };

/* bl_manifest_parse() - Read a manifest or an index, told apart by content. Return: its kind; -1 with BL_IMAGE */
int bl_manifest_parse(const void *bytes, size_t length, const char *what, struct bl_manifest *manifest, struct bl_index *index,
                      struct bl_error *err);
void bl_manifest_free(struct bl_manifest *manifest);
void bl_index_free(struct bl_index *index);

/* One image of a `docker save` archive: manifest.json is a list of these. */
struct bl_docker_image {
    char *config;
    char **layers; /* names in the archive, lowest first */
    char **tags;   /* may be NULL */
};

/* bl_docker_manifest_parse() - Read the manifest.json of `docker save`. Return: 0; -1 with BL_IMAGE */
int bl_docker_manifest_parse(const void *bytes, size_t length, struct bl_docker_image **out, size_t *count, struct bl_error *err);
void bl_docker_images_free(struct bl_docker_image *images, size_t count);

/* bl_is_digest() - Whether @text is "sha256:" and 64, or "sha512:" and 128 lower-case hex digits. */
bool bl_is_digest(const char *text);

/* bl_json_load() - Parse one whole JSON text; duplicate keys and depth beyond jansson's bound are refused. Return: NULL with @err
 */
json_t *bl_json_load(const void *bytes, size_t length, const char *what, struct bl_error *err);
static inline void bl_json_decref_p(json_t **json)
{
    json_decref(*json);
}
#define cleanup_json __attribute__((cleanup(bl_json_decref_p)))

#endif
