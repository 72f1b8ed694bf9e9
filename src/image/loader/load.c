/* SPDX-License-Identifier: Apache-2.0 */
/*
 * load.c - from a source to records of the store; see load.h
 *
 * For each image: read its configuration, take the lock of its disk's key, make the disk unless it is there, write the
 * record, let go. Nothing is visible before the last step.
 */
#include "image/loader/load.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/crash.h"
#include "base/os.h"
#include "base/strings.h"
#include "image/limit.h"
#include "image/loader/disk.h"
#include "image/lock.h"
#include "image/record.h"

int bl_load_begin(struct bl_load *load, const struct bl_load_limits *limits, const char *platform, struct bl_error *err)
{
    load->limits = *limits;
    bl_limits_fill(&load->limits, NULL);
    load->deadline_ms = bl_deadline_in((int64_t)load->limits.time_s * 1000);
    return bl_platform_parse(platform, &load->platform, err);
}

/* A candidate with its configuration read. */
struct described {
    struct bl_buffer bytes; /* the configuration as it came */
    struct bl_config_document document;
    struct bl_layer_source *layers;
    size_t layer_count;
    char key[BL_DISK_KEY_LENGTH + 1];
};

static void free_described(struct described *described)
{
    bl_buffer_free(&described->bytes);
    bl_config_document_free(&described->document);
    free(described->layers);
}
#define cleanup_described __attribute__((cleanup(free_described)))

/* digest_of_name() - `docker save` names a configuration by its digest: "<hex>.json" or "blobs/sha256/<hex>". */
static bool digest_of_name(const char *name, char digest[BL_DIGEST_MAX])
{
    const char *base = strrchr(name, '/') ? strrchr(name, '/') + 1 : name;

    if (strspn(base, "0123456789abcdef") != 64 || (base[64] && strcmp(base + 64, ".json") != 0))
        return false;
    snprintf(digest, BL_DIGEST_MAX, "sha256:%.64s", base);
    return true;
}

static int read_config(struct bl_source *source, struct bl_candidate *candidate, struct described *described, struct bl_error *err)
{
    char wanted[BL_DIGEST_MAX] = "", hex[65];

    if (candidate->config_digest[0])
        snprintf(wanted, sizeof wanted, "%s", candidate->config_digest);
    else
        digest_of_name(candidate->config_name, wanted);
    if (bl_source_read(source, candidate->config_name, wanted[0] ? wanted : NULL, &described->bytes, err)) {
        if (err && err->code == BL_NOT_FOUND)
            err->code = BL_IMAGE;
        bl_limit_hint(err, "config_kib");
        return bl_fail_context(err, "read the image's configuration");
    }
    if (candidate->config_digest[0] && described->bytes.length != candidate->manifest.config.size_bytes)
        return bl_fail(err, BL_IMAGE, 0, "the image's configuration has %zu bytes, and should have %" PRIu64,
                       described->bytes.length, candidate->manifest.config.size_bytes);
    if (!candidate->config_digest[0]) {
        /* `docker save` has no manifest: the configuration stands for both. */
        if (bl_sha256_hex(bl_buffer_data(&described->bytes), described->bytes.length, hex, err))
            return -1;
        snprintf(candidate->config_digest, sizeof candidate->config_digest, "sha256:%s", hex);
        snprintf(candidate->manifest_digest, sizeof candidate->manifest_digest, "%s", candidate->config_digest);
    }
    return bl_config_parse(bl_buffer_data(&described->bytes), described->bytes.length, "the image's configuration",
                           &described->document, err);
}

/* check_media_type() - A layer must be a tar archive; how it is compressed is told by its content. */
static int check_media_type(const struct bl_descriptor *layer, struct bl_error *err)
{
    const char *type = layer->media_type;

    if (!*type ||
        (bl_starts_with(type, "application/vnd.oci.image.layer.") && strstr(type, ".tar") && !strstr(type, "encrypted")) ||
        (bl_starts_with(type, "application/vnd.docker.image.rootfs.") && strstr(type, ".tar")))
        return 0;
    return bl_fail(err, BL_IMAGE, 0, "the image has a layer of kind '%s', which is no file system", type);
}

static int collect_layers(struct bl_load *load, struct bl_candidate *candidate, struct described *described, struct bl_error *err)
{
    size_t count = bl_strings_count((const char *const *)candidate->layer_names);
    char **diff_ids = described->document.diff_ids;

    if (count != bl_strings_count((const char *const *)diff_ids))
        return bl_fail(err, BL_IMAGE, 0, "the image has %zu layers, but its configuration says %zu", count,
                       bl_strings_count((const char *const *)diff_ids));
    if (count > load->limits.layers)
        return bl_fail_limit(err, "layers", "the image has %zu layers, more than %u", count, load->limits.layers);
    described->layers = calloc(count ? count : 1, sizeof *described->layers);
    if (!described->layers)
        return bl_fail_memory(err);
    described->layer_count = count;
    for (size_t i = 0; i < count; i++) {
        const struct bl_descriptor *stored = i < candidate->manifest.layer_count ? &candidate->manifest.layers[i] : NULL;

        if (stored && check_media_type(stored, err))
            return -1;
        described->layers[i] = (struct bl_layer_source){
            .name = candidate->layer_names[i],
            .digest = stored ? stored->digest : NULL,
            .size_bytes = stored ? stored->size_bytes : UINT64_MAX,
            .diff_id = diff_ids[i],
        };
    }
    return bl_disk_key(described->layers, count, described->key, err);
}

/* make_image() - The result of a load, which takes the configuration over. Return: NULL with @err */
static struct bl_image *make_image(struct bl_load *load, const struct bl_candidate *candidate, struct described *described,
                                   struct bl_error *err)
{
    struct bl_image *image = calloc(1, sizeof *image);

    if (!image) {
        bl_fail_memory(err);
        return NULL;
    }
    image->pin_fd = -1;
    image->reference = candidate->reference ? strdup(candidate->reference) : NULL;
    image->manifest_digest = strdup(candidate->manifest_digest);
    image->config_digest = strdup(candidate->config_digest);
    image->disk_key = strdup(described->key);
    image->disk_path = bl_format("%s/disks/%s.ext4", load->images_path, described->key);
    image->layer_count = (unsigned int)described->layer_count;
    image->created_at = described->document.created_at;
    image->loaded_at = time(NULL);
    image->config = described->document.config;
    described->document.config = (struct bl_image_config){0};
    if ((candidate->reference && !image->reference) || !image->manifest_digest || !image->config_digest || !image->disk_key ||
        !image->disk_path) {
        bl_image_free(image);
        bl_fail_memory(err);
        return NULL;
    }
    if (image->reference && bl_record_names(image, err)) {
        bl_image_free(image);
        return NULL;
    }
    return image;
}

/* make_disk_and_record() - The two steps under the disk's lock. Return: 0; -1 with @err */
static int make_disk_and_record(struct bl_load *load, struct bl_source *source, const struct described *described,
                                struct bl_image *image, struct bl_error *err)
{
    if (bl_disk_ensure(load, source, described->layers, described->layer_count, described->key, &image->disk_bytes,
                       &image->content_bytes, err))
        return -1;
    return image->reference
               ? bl_record_write(load->images_fd, image, bl_buffer_data(&described->bytes), described->bytes.length, err)
               : 0;
}

struct bl_image *bl_load_candidate(struct bl_load *load, struct bl_source *source, struct bl_candidate *candidate,
                                   struct bl_error *err)
{
    cleanup_described struct described described = {.bytes = BL_BUFFER_INIT(load->limits.config_bytes)};

    if (read_config(source, candidate, &described, err) || bl_platform_check(&load->platform, &described.document.config, err) ||
        collect_layers(load, candidate, &described, err))
        return NULL;

    struct bl_image *image = make_image(load, candidate, &described, err);
    cleanup_close int lock = image ? bl_image_lock(load->images_fd, described.key, load->request->cancel_fd, err) : -1;

    BL_CRASH_POINT("load:locked");
    if (lock >= 0 && !make_disk_and_record(load, source, &described, image, err))
        return image;
    if (lock >= 0)
        bl_disk_forget(load, described.key);
    bl_image_free(image);
    return NULL;
}

/* name_candidates() - Give the images the names that they get. Return: 0; -1 with @err */
static int name_candidates(struct bl_load *load, const struct bl_source *source, struct bl_candidates *candidates,
                           struct bl_error *err)
{
    struct bl_reference reference;

    if (load->request->anonymous || load->request->reference) {
        for (size_t i = 1; i < candidates->count; i++) {
            const struct bl_candidate *first = &candidates->list[0], *other = &candidates->list[i];

            if (strcmp(first->config_name, other->config_name) != 0)
                return bl_fail(err, BL_INVALID_ARGUMENT, 0, "%s holds several images, which can't all have one name",
                               bl_source_describe(source));
        }
        /* One image under several names: once is enough. */
        while (candidates->count > 1) {
            struct bl_candidates last = {&candidates->list[--candidates->count], 1};

            free(last.list->reference);
            bl_manifest_free(&last.list->manifest);
            free(last.list->config_name);
            bl_strings_free(last.list->layer_names);
        }
        free(candidates->list[0].reference);
        candidates->list[0].reference = NULL;
    }
    if (load->request->reference && !load->request->anonymous) {
        if (bl_reference_parse(load->request->reference, &reference, err))
            return -1;
        candidates->list[0].reference = bl_reference_format(&reference);
        bl_reference_free(&reference);
        if (!candidates->list[0].reference)
            return bl_fail_memory(err);
    }
    for (size_t i = 0; i < candidates->count; i++)
        if (!load->request->anonymous && !candidates->list[i].reference)
            return bl_fail(err, BL_INVALID_ARGUMENT, 0, "%s does not say what its image is called: give it a name",
                           bl_source_describe(source));
    return 0;
}

static int load_all(struct bl_load *load, struct bl_source *source, struct bl_candidates *candidates, struct bl_image ***out,
                    size_t *count, struct bl_error *err)
{
    struct bl_image **images = NULL;

    if (bl_candidates_find(load, source, candidates, err) || name_candidates(load, source, candidates, err))
        return -1;
    images = calloc(candidates->count, sizeof(struct bl_image *));
    if (!images)
        return bl_fail_memory(err);
    for (size_t i = 0; i < candidates->count; i++) {
        images[i] = bl_load_candidate(load, source, &candidates->list[i], err);
        if (!images[i]) {
            bl_image_free_list(images, i);
            return -1;
        }
    }
    BL_CRASH_POINT("load:unlocked");
    *out = images;
    *count = candidates->count;
    return 0;
}

int bl_loader_load(const char *images_path, const struct bl_load_request *request, struct bl_image ***out, size_t *count,
                   struct bl_error *err)
{
    cleanup_close int images_fd = bl_os.open(images_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct bl_load load = {.images_fd = images_fd, .images_path = images_path, .request = request, .progress.what = "reading"};
    struct bl_candidates candidates = {0};
    struct bl_source *source;
    int result;

    if (images_fd < 0)
        return bl_fail(err, BL_STORAGE, errno, "open %s", images_path);
    if (bl_load_begin(&load, &request->limits, request->platform, err) || bl_source_open(&load, &source, err))
        return -1;
    result = load_all(&load, source, &candidates, out, count, err);
    bl_candidates_free(&candidates);
    bl_source_close(source);
    return result;
}
