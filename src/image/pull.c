/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pull.c - from a reference to an image of the store
 *
 * Manifest (through indexes, for this platform), configuration, then the way of every load: take the lock of the disk's key,
 * make the disk unless it is there, write the record. So two pulls of one image share one download, the second waits for the lock;
 * an image whose disk is there downloads no layer.
 *
 * What was asked for by digest is compared with it; what a tag leads to is trusted as the registry's word, and everything below it
 * is compared with the digests that it names.
 */
#include "image/pull.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/os.h"
#include "base/strings.h"
#include "image/limit.h"

/* A registry as a source of documents and layers. */
struct remote {
    struct bl_remote remote; /* first */
    struct bl_pull *pull;
    const struct bl_buffer *root; /* what the reference led to */
    char root_digest[BL_DIGEST_MAX];
    const struct bl_manifest *manifest; /* NULL while it is looked for: documents are manifests */
    struct bl_buffer manifest_bytes;    /* the last manifest that was read */
    struct bl_buffer config_bytes;
};

/* read_document() - A manifest or index while they are followed, then the configuration. Return: 0; -1 with @err */
static int read_document(struct bl_remote *base, const char *digest, struct bl_buffer *out, struct bl_error *err)
{
    struct remote *remote = (struct remote *)base;
    struct bl_registry *registry = remote->pull->registry;
    struct bl_buffer *copy = remote->manifest ? &remote->config_bytes : &remote->manifest_bytes;
    int result;

    if (remote->manifest)
        result = bl_registry_document(registry, digest, remote->manifest->config.size_bytes, out, err);
    else if (!strcmp(digest, remote->root_digest))
        result = bl_buffer_append(out, bl_buffer_data(remote->root), remote->root->length) ? bl_fail_memory(err) : 0;
    else
        result = bl_registry_manifest(registry, digest, out, err);
    if (result)
        return -1;
    bl_buffer_clear(copy);
    return bl_buffer_append(copy, bl_buffer_data(out), out->length) ? bl_fail_memory(err) : 0;
}

static struct bl_stream *open_layer(struct bl_remote *base, const char *digest, uint64_t *size_bytes, struct bl_error *err)
{
    struct remote *remote = (struct remote *)base;

    return bl_pull_layer_stream(remote->pull, digest, size_bytes, err);
}

/* check_layers() - Refuse what no registry of ours may fetch. Return: 0; -1 with @err */
static int check_layers(const struct bl_manifest *manifest, const struct bl_load_limits *limits, struct bl_error *err)
{
    uint64_t left = limits->total_bytes;

    if (manifest->layer_count > limits->layers)
        return bl_fail_limit(err, "layers", "the image has %zu layers, more than %u", manifest->layer_count, limits->layers);
    for (size_t i = 0; i < manifest->layer_count; i++) {
        const struct bl_descriptor *layer = &manifest->layers[i];

        if (strstr(layer->media_type, ".foreign.") || strstr(layer->media_type, "nondistributable"))
            return bl_fail(err, BL_IMAGE, 0, "layer %zu (%.19s) is a foreign one, which its registry does not hand out", i + 1,
                           layer->digest);
        if (layer->size_bytes > left)
            return bl_fail_limit(err, "unpacked_mib", "layer %zu (%.19s) brings the image over the %llu bytes that it may have",
                                 i + 1, layer->digest, (unsigned long long)limits->total_bytes);
        if (layer->size_bytes > limits->layer_bytes)
            return bl_fail_limit(err, "layer_mib", "layer %zu (%.19s) has more than the %llu bytes that it may have", i + 1,
                                 layer->digest, (unsigned long long)limits->layer_bytes);
        left -= layer->size_bytes;
    }
    return 0;
}

/* describe_root() - The descriptor of what the reference led to. Return: 0; -1 with @err */
static int describe_root(struct remote *remote, const struct bl_reference *reference, struct bl_descriptor *root,
                         struct bl_error *err)
{
    char hex[65];

    *root = (struct bl_descriptor){.size_bytes = remote->root->length};
    if (reference->digest) {
        if (bl_verify_bytes(bl_buffer_data(remote->root), remote->root->length, reference->digest, "the manifest", err))
            return -1;
        snprintf(root->digest, sizeof root->digest, "%s", reference->digest);
    } else {
        if (bl_sha256_hex(bl_buffer_data(remote->root), remote->root->length, hex, err))
            return -1;
        snprintf(root->digest, sizeof root->digest, "sha256:%s", hex);
    }
    snprintf(remote->root_digest, sizeof remote->root_digest, "%s", root->digest);
    return 0;
}

/* keep_documents() - What `save` needs beside the layers; without it the image is as good. */
static void keep_documents(struct bl_pull *pull, const struct remote *remote, const struct bl_candidate *candidate)
{
    struct bl_error failure = BL_ERROR_INIT;

    /* The manifest first: it tells a sweep what is in use. */
    if (bl_blob_write(pull->images_fd, candidate->manifest_digest, bl_buffer_data(&remote->manifest_bytes),
                      remote->manifest_bytes.length, &failure) ||
        bl_blob_write(pull->images_fd, candidate->config_digest, bl_buffer_data(&remote->config_bytes), remote->config_bytes.length,
                      &failure))
        bl_log(BL_LOG_WARN, "keep what was pulled: %s", failure.message);
}

/* bring_in() - The image that was found. Return: NULL with @err */
static struct bl_image *bring_in(struct bl_pull *pull, struct bl_load *load, struct bl_source *source, struct remote *remote,
                                 struct bl_candidate *candidate, struct bl_error *err)
{
    struct bl_image *image = NULL;
    bool again = false;

    remote->manifest = &candidate->manifest;
    if (check_layers(&candidate->manifest, &load->limits, err))
        return NULL;
    for (int attempt = 0; attempt < 2 && !image; attempt++) {
        struct bl_error failure = BL_ERROR_INIT;

        if (bl_pull_layers_init(pull, candidate->manifest.layers, candidate->manifest.layer_count, err)) {
            bl_pull_layers_free(pull);
            return NULL;
        }
        image = bl_load_candidate(load, source, candidate, &failure);
        if (image) {
            keep_documents(pull, remote, candidate);
            bl_pull_layers_keep(pull);
        } else {
            again = failure.code == BL_IMAGE && bl_pull_layers_examine(pull, &failure);
            if (err)
                *err = failure;
        }
        bl_pull_layers_free(pull);
        if (!again)
            break;
        bl_log(BL_LOG_WARN, "%s; it was continued from an earlier pull, and is fetched anew", failure.message);
    }
    return image;
}

/* follow() - From the reference's document to an image. Return: NULL with @err */
static struct bl_image *follow(struct bl_pull *pull, struct bl_load *load, struct remote *remote,
                               const struct bl_reference *reference, struct bl_error *err)
{
    struct bl_candidates candidates = {0};
    struct bl_descriptor root;
    struct bl_source *source = NULL;
    struct bl_image *image = NULL;

    if (describe_root(remote, reference, &root, err) || bl_source_remote(load, &remote->remote, &source, err))
        return NULL;
    if (!bl_candidates_follow(load, source, &root, &candidates, err)) {
        free(candidates.list[0].reference);
        candidates.list[0].reference = strdup(pull->reference);
        if (candidates.list[0].reference)
            image = bring_in(pull, load, source, remote, &candidates.list[0], err);
        else
            bl_fail_memory(err);
    }
    bl_candidates_free(&candidates);
    bl_source_close(source);
    return image;
}

static int pull_reference(struct bl_pull *pull, struct bl_load *load, const struct bl_reference *reference, bool more,
                          struct bl_image **out, struct bl_error *err)
{
    cleanup_buffer struct bl_buffer root = BL_BUFFER_INIT(load->limits.manifest_bytes);
    struct remote remote = {.remote = {pull->reference, read_document, open_layer},
                            .pull = pull,
                            .root = &root,
                            .manifest_bytes = BL_BUFFER_INIT(load->limits.manifest_bytes),
                            .config_bytes = BL_BUFFER_INIT(load->limits.config_bytes)};
    const struct bl_registry_options options = {.config = pull->request->config,
                                                .cancel_fd = pull->request->cancel_fd,
                                                .document_bytes = load->limits.manifest_bytes,
                                                .deadline_ms = load->deadline_ms,
                                                .hasty = more};

    if (bl_registry_open(&options, reference->registry, reference->repository, &pull->registry, err))
        return -1;
    bl_pull_report(pull, true);
    if (!bl_registry_manifest(pull->registry, reference->digest ? reference->digest : reference->tag, &root, err))
        *out = follow(pull, load, &remote, reference, err);
    else
        bl_limit_hint(err, "manifest_kib");
    bl_registry_close(pull->registry);
    bl_buffer_free(&remote.manifest_bytes);
    bl_buffer_free(&remote.config_bytes);
    return *out ? 0 : -1;
}

int bl_loader_pull(const char *images_path, const struct bl_pull_request *request, const char *text, bool more,
                   struct bl_image **out, struct bl_error *err)
{
    cleanup_close int images_fd = bl_os.open(images_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    const struct bl_load_request load_request = {.fd = -1, .reference = text, .cancel_fd = request->cancel_fd};
    struct bl_load load = {.images_fd = images_fd, .images_path = images_path, .request = &load_request};
    struct bl_pull pull = {.images_fd = images_fd, .request = request, .reference = text};
    struct bl_reference reference;
    int result;

    *out = NULL;
    if (images_fd < 0)
        return bl_fail(err, BL_STORAGE, errno, "open %s", images_path);
    if (bl_load_begin(&load, &request->limits, request->platform, err) || bl_reference_parse(text, &reference, err))
        return -1;
    result = pull_reference(&pull, &load, &reference, more, out, err);
    bl_reference_free(&reference);
    return result ? bl_fail_context(err, "failed to pull %s", text) : 0;
}

int bl_loader_login(const struct bl_user_config *config, const char *host, const char *user, const char *secret, int cancel_fd,
                    struct bl_error *err)
{
    const struct bl_registry_options options = {.config = config, .cancel_fd = cancel_fd, .document_bytes = 1u << 20};
    struct bl_registry *registry;
    int result;

    if (bl_registry_open(&options, host, NULL, &registry, err))
        return -1;
    result = bl_registry_use_login(registry, user, secret, err) || bl_registry_check(registry, err);
    bl_registry_close(registry);
    return result ? -1 : bl_credential_store(host, user, secret, err);
}
