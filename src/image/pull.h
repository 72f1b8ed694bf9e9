/* SPDX-License-Identifier: Apache-2.0 */
/* pull.h - from a registry into the store; the loader's half of bl_images_pull() */
#ifndef BL_IMAGE_PULL_H
#define BL_IMAGE_PULL_H

#include "image/blobs.h"
#include "image/loader/load.h"
#include "image/registry.h"

int bl_loader_pull(const char *images_path, const struct bl_pull_request *request, const char *reference, bool more,
                   struct bl_image **out, struct bl_error *err);
int bl_loader_login(const struct bl_user_config *config, const char *host, const char *user, const char *secret, int cancel_fd,
                    struct bl_error *err);

/* A layer of a pull. */
struct bl_download {
    const struct bl_descriptor *layer;
    struct bl_pull *pull;
    struct bl_transfer transfer; /* its offset_bytes: how much is in the file */
    struct bl_blob_file blob;
    char *what;
    uint64_t read_bytes;          /* by the stream over it */
    bool continued;               /* some of it was here before */
    bool reading;                 /* a stream is open */
    bool ended;                   /* a stream has read all of it */
    bool checked;                 /* it came early, and was verified while it waits for its turn */
    struct evp_md_ctx_st *digest; /* of the first digested_bytes; NULL: nothing is being verified */
    uint64_t digested_bytes;
};

/* One pull. Owned and used by one thread. */
struct bl_pull {
    int images_fd;
    const struct bl_pull_request *request;
    const char *reference; /* full form */
    struct bl_registry *registry;
    struct bl_download *downloads; /* one for each layer of the manifest, lowest first; of equal ones only the first is used */
    size_t count;
    struct bl_pull_layer *shown; /* as many */
    int64_t shown_at_us;
    struct bl_download *damaged; /* a layer that came early, and was removed since its digest is wrong */
};

/*
 * bl_pull_layers_init() - Get ready to download
 * @layers: stay the caller's
 */
int bl_pull_layers_init(struct bl_pull *pull, const struct bl_descriptor *layers, size_t count, struct bl_error *err);
/* bl_pull_layers_free() - Stop what runs. What came stays for the next pull. */
void bl_pull_layers_free(struct bl_pull *pull);

/*
 * bl_pull_layer_stream() - The bytes of a layer, while they come
 *
 * The first call begins the downloads. Reading advances all of them. Return: NULL with @err
 */
struct bl_stream *bl_pull_layer_stream(struct bl_pull *pull, const char *digest, uint64_t *size_bytes, struct bl_error *err);

/* bl_pull_layers_keep() - All was verified: keep the layers. */
void bl_pull_layers_keep(struct bl_pull *pull);

/*
 * bl_pull_layers_examine() - Something failed while a layer was applied: was the layer itself damaged?
 *
 * Gets the rest of it, compares its digest, and removes it when that is wrong; @err then names the layer instead of what came of
 * the damage. Return: 1 when a part from an earlier pull was to blame, so that trying again helps; else 0
 */
int bl_pull_layers_examine(struct bl_pull *pull, struct bl_error *err);

/* bl_pull_report() - Tell how far it is, at most ten times a second unless @now. */
void bl_pull_report(struct bl_pull *pull, bool now);

#endif
