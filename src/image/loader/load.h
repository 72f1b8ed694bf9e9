/* SPDX-License-Identifier: Apache-2.0 */
/* load.h - the loader's way from what it is given to images of the store */
#ifndef BL_IMAGE_LOADER_LOAD_H
#define BL_IMAGE_LOADER_LOAD_H

#include "image/document.h"
#include "image/loader/source.h"

/* bl_loader_load() - bl_images_load() of image.h, for the store at @images_path */
int bl_loader_load(const char *images_path, const struct bl_load_request *request, struct bl_image ***out, size_t *count,
                   struct bl_error *err);

/* An image of a source that is to be loaded: what it is called, and its documents. */
struct bl_candidate {
    char *reference;             /* full form; NULL: it has no name */
    struct bl_manifest manifest; /* OCI; its layer count is 0 for `docker save` */
    char *config_name;           /* in the source */
    char manifest_digest[BL_DIGEST_MAX];
    char config_digest[BL_DIGEST_MAX]; /* "": to be computed */
    char **layer_names;
};

struct bl_candidates {
    struct bl_candidate *list;
    size_t count;
};

/* bl_candidates_find() - Learn which images a source holds, for this platform. Return: 0; -1 with @err */
int bl_candidates_find(struct bl_load *load, struct bl_source *source, struct bl_candidates *out, struct bl_error *err);
void bl_candidates_free(struct bl_candidates *candidates);

/*
 * bl_candidates_follow() - Learn which image a descriptor leads to, through indexes, for this platform
 * @out: gets one candidate, without a name
 */
int bl_candidates_follow(struct bl_load *load, struct bl_source *source, const struct bl_descriptor *descriptor,
                         struct bl_candidates *out, struct bl_error *err);

/* bl_load_candidate() - Bring one image in: its disk, and its record when it has a name. Return: NULL with @err */
struct bl_image *bl_load_candidate(struct bl_load *load, struct bl_source *source, struct bl_candidate *candidate,
                                   struct bl_error *err);

/* bl_load_begin() - Settle limits, deadline and platform of a load whose other fields are filled in. Return: 0; -1 with @err */
int bl_load_begin(struct bl_load *load, const struct bl_load_limits *limits, const char *platform, struct bl_error *err);

#endif
