/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz_image_documents.c - the JSON of images: the first byte chooses the parser; what comes out holds what is promised */
#include "fuzz.h"

#include <string.h>

#include "image/document.h"

static void check_descriptor(const struct bl_descriptor *descriptor)
{
    must(bl_is_digest(descriptor->digest));
    must(memchr(descriptor->media_type, 0, sizeof descriptor->media_type) && memchr(descriptor->os, 0, sizeof descriptor->os));
    must(!descriptor->name || descriptor->name[0]);
}

static void fuzz_config(const uint8_t *data, size_t size)
{
    struct bl_config_document document;
    struct bl_error err = BL_ERROR_INIT;

    if (bl_config_parse(data, size, "it", &document, &err)) {
        must(err.code == BL_IMAGE && !strchr(err.message, '\n'));
        return;
    }
    for (char **id = document.diff_ids; id && *id; id++)
        must(bl_is_digest(*id));
    bl_config_document_free(&document);
}

static void fuzz_manifest(const uint8_t *data, size_t size)
{
    struct bl_manifest manifest;
    struct bl_index index;
    struct bl_error err = BL_ERROR_INIT;
    int kind = bl_manifest_parse(data, size, "it", &manifest, &index, &err);

    if (kind < 0) {
        must(err.code == BL_IMAGE);
    } else if (kind == BL_DOCUMENT_INDEX) {
        for (size_t i = 0; i < index.count; i++)
            check_descriptor(&index.manifests[i]);
        bl_index_free(&index);
    } else {
        check_descriptor(&manifest.config);
        for (size_t i = 0; i < manifest.layer_count; i++)
            check_descriptor(&manifest.layers[i]);
        bl_manifest_free(&manifest);
    }
}

static void fuzz_docker(const uint8_t *data, size_t size)
{
    struct bl_docker_image *images;
    struct bl_error err = BL_ERROR_INIT;
    size_t count;

    if (bl_docker_manifest_parse(data, size, &images, &count, &err)) {
        must(err.code == BL_IMAGE);
        return;
    }
    for (size_t i = 0; i < count; i++)
        must(images[i].config && images[i].config[0]);
    bl_docker_images_free(images, count);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const parsers[])(const uint8_t *data, size_t size) = {fuzz_config, fuzz_manifest, fuzz_docker};

    if (size)
        parsers[data[0] % 3](data + 1, size - 1);
    return 0;
}
