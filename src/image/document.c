/* SPDX-License-Identifier: Apache-2.0 */
/* document.c - reading the JSON documents of images; see document.h */
#include "image/document.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/strings.h"

/* Bounds on lists: far beyond any real image, small enough that nothing here can be made to hurt. */
#define LIST_MAX      4096
#define MANIFESTS_MAX 4096

bool bl_is_digest(const char *text)
{
    size_t digits = bl_starts_with(text, "sha256:") ? 64 : bl_starts_with(text, "sha512:") ? 128 : 0;

    return digits && strlen(text) == 7 + digits && strspn(text + 7, "0123456789abcdef") == digits;
}

json_t *bl_json_load(const void *bytes, size_t length, const char *what, struct bl_error *err)
{
    json_error_t error;
    json_t *json = json_loadb(bytes, length, JSON_REJECT_DUPLICATES, &error);

    if (!json)
        bl_fail(err, BL_IMAGE, 0, "%s is no valid JSON (line %d: %s)", what, error.line, error.text);
    return json;
}

/* get_string() - Copy an optional string member; null and "" give NULL. Return: 0; -1 with @err */
static int get_string(const json_t *object, const char *key, const char *what, char **out, struct bl_error *err)
{
    const json_t *value = json_object_get(object, key);

    *out = NULL;
    if (!value || json_is_null(value))
        return 0;
    if (!json_is_string(value))
        return bl_fail(err, BL_IMAGE, 0, "%s: %s is no string", what, key);
    if (!*json_string_value(value))
        return 0;
    *out = strdup(json_string_value(value));
    return *out ? 0 : bl_fail_memory(err);
}

/* get_strings() - Copy an optional list of strings. Return: 0; -1 with @err */
static int get_strings(const json_t *object, const char *key, const char *what, char ***out, struct bl_error *err)
{
    const json_t *list = json_object_get(object, key), *item;
    size_t i;

    *out = NULL;
    if (!list || json_is_null(list))
        return 0;
    if (!json_is_array(list) || json_array_size(list) > LIST_MAX)
        return bl_fail(err, BL_IMAGE, 0, "%s: %s is no list of at most %d strings", what, key, LIST_MAX);
    json_array_foreach(list, i, item)
    {
        if (!json_is_string(item))
            return bl_fail(err, BL_IMAGE, 0, "%s: %s holds something that is no string", what, key);
        if (bl_strings_append(out, json_string_value(item)))
            return bl_fail_memory(err);
    }
    return 0;
}

/* get_keys() - Copy the keys of an optional object: how Docker writes sets. Return: 0; -1 with @err */
static int get_keys(json_t *object, const char *key, const char *what, char ***out, struct bl_error *err)
{
    json_t *set = json_object_get(object, key), *value;
    const char *name;

    *out = NULL;
    if (!set || json_is_null(set))
        return 0;
    if (!json_is_object(set) || json_object_size(set) > LIST_MAX)
        return bl_fail(err, BL_IMAGE, 0, "%s: %s is no set of at most %d names", what, key, LIST_MAX);
    json_object_foreach(set, name, value)
    {
        if (bl_strings_append(out, name))
            return bl_fail_memory(err);
    }
    return 0;
}

/* parse_time() - RFC 3339 to seconds since the epoch; 0 for what is none, since a date never decides anything. */
static int64_t parse_time(const char *text)
{
    struct tm tm = {0};
    int hours = 0, minutes = 0;
    char sign = 0;
    const char *rest = text ? strptime(text, "%Y-%m-%dT%H:%M:%S", &tm) : NULL;

    if (!rest)
        return 0;
    if (*rest == '.')
        rest += 1 + strspn(rest + 1, "0123456789");
    if (sscanf(rest, "%c%2d:%2d", &sign, &hours, &minutes) == 3 && (sign == '+' || sign == '-')) {
        int64_t offset = (hours * 60 + minutes) * 60;

        return timegm(&tm) + (sign == '-' ? offset : -offset);
    }
    return timegm(&tm);
}

static int parse_run_config(json_t *run, const char *what, struct bl_image_config *config, struct bl_error *err)
{
    if (!run || json_is_null(run))
        return 0;
    if (!json_is_object(run))
        return bl_fail(err, BL_IMAGE, 0, "%s: config is no object", what);
    if (get_strings(run, "Env", what, &config->env, err) || get_strings(run, "Entrypoint", what, &config->entrypoint, err) ||
        get_strings(run, "Cmd", what, &config->cmd, err) || get_string(run, "WorkingDir", what, &config->working_dir, err) ||
        get_string(run, "User", what, &config->user, err) || get_string(run, "StopSignal", what, &config->stop_signal, err) ||
        get_keys(run, "ExposedPorts", what, &config->exposed_ports, err) || get_keys(run, "Volumes", what, &config->volumes, err))
        return -1;
    return 0;
}

static int parse_config(json_t *root, const char *what, struct bl_config_document *out, struct bl_error *err)
{
    cleanup_free char *created = NULL;
    json_t *rootfs = json_object_get(root, "rootfs");

    if (!json_is_object(root))
        return bl_fail(err, BL_IMAGE, 0, "%s is no JSON object", what);
    if (get_string(root, "architecture", what, &out->config.architecture, err) ||
        get_string(root, "os", what, &out->config.os, err) || get_string(root, "created", what, &created, err) ||
        parse_run_config(json_object_get(root, "config"), what, &out->config, err))
        return -1;
    out->created_at = parse_time(created);
    if (!json_is_object(rootfs))
        return bl_fail(err, BL_IMAGE, 0, "%s names no layers (rootfs.diff_ids)", what);
    if (get_strings(rootfs, "diff_ids", what, &out->diff_ids, err))
        return -1;
    for (char **id = out->diff_ids; id && *id; id++)
        if (!bl_is_digest(*id))
            return bl_fail(err, BL_IMAGE, 0, "%s: '%.80s' is no digest of a layer", what, *id);
    return 0;
}

int bl_config_parse(const void *bytes, size_t length, const char *what, struct bl_config_document *out, struct bl_error *err)
{
    *out = (struct bl_config_document){0};

    cleanup_json json_t *root = bl_json_load(bytes, length, what, err);

    if (!root)
        return -1;
    if (parse_config(root, what, out, err)) {
        bl_config_document_free(out);
        return -1;
    }
    return 0;
}

void bl_image_config_free(struct bl_image_config *config)
{
    bl_strings_free(config->env);
    bl_strings_free(config->entrypoint);
    bl_strings_free(config->cmd);
    free(config->working_dir);
    free(config->user);
    free(config->stop_signal);
    bl_strings_free(config->exposed_ports);
    bl_strings_free(config->volumes);
    free(config->architecture);
    free(config->os);
    *config = (struct bl_image_config){0};
}

void bl_config_document_free(struct bl_config_document *document)
{
    bl_image_config_free(&document->config);
    bl_strings_free(document->diff_ids);
    *document = (struct bl_config_document){0};
}

/* copy_member() - A short optional string member into a fixed array. Return: 0; -1 with @err */
static int copy_member(const json_t *object, const char *key, const char *what, char *out, size_t size, struct bl_error *err)
{
    const json_t *value = json_object_get(object, key);

    out[0] = '\0';
    if (!value || json_is_null(value))
        return 0;
    if (!json_is_string(value) || strlen(json_string_value(value)) >= size)
        return bl_fail(err, BL_IMAGE, 0, "%s: %s is no string of less than %zu bytes", what, key, size);
    snprintf(out, size, "%s", json_string_value(value));
    return 0;
}

static int parse_annotations(const json_t *annotations, const char *what, struct bl_descriptor *out, struct bl_error *err)
{
    /* containerd's and Docker's archives carry the whole name in the first, and only the tag in the second. */
    if (!json_is_object(annotations))
        return 0;
    if (get_string(annotations, "io.containerd.image.name", what, &out->name, err))
        return -1;
    return out->name ? 0 : get_string(annotations, "org.opencontainers.image.ref.name", what, &out->name, err);
}

static int parse_descriptor(const json_t *json, const char *what, struct bl_descriptor *out, struct bl_error *err)
{
    const json_t *size = json_object_get(json, "size"), *platform = json_object_get(json, "platform");

    *out = (struct bl_descriptor){0};
    if (!json_is_object(json))
        return bl_fail(err, BL_IMAGE, 0, "%s: a descriptor is no object", what);
    if (copy_member(json, "digest", what, out->digest, sizeof out->digest, err) ||
        copy_member(json, "mediaType", what, out->media_type, sizeof out->media_type, err))
        return -1;
    if (!bl_is_digest(out->digest))
        return bl_fail(err, BL_IMAGE, 0, "%s: '%.80s' is no digest (sha256 and sha512 are understood)", what, out->digest);
    if (!json_is_integer(size) || json_integer_value(size) < 0)
        return bl_fail(err, BL_IMAGE, 0, "%s: the descriptor of %s has no size", what, out->digest);
    out->size_bytes = (uint64_t)json_integer_value(size);
    if (json_is_object(platform) &&
        (copy_member(platform, "os", what, out->os, sizeof out->os, err) ||
         copy_member(platform, "architecture", what, out->architecture, sizeof out->architecture, err) ||
         copy_member(platform, "variant", what, out->variant, sizeof out->variant, err)))
        return -1;
    return parse_annotations(json_object_get(json, "annotations"), what, out, err);
}

/* parse_descriptors() - A list of them; what was read so far is in @out even on failure. Return: 0; -1 with @err */
static int parse_descriptors(const json_t *list, size_t most, const char *what, struct bl_descriptor **out, size_t *count,
                             struct bl_error *err)
{
    size_t i, n = json_array_size(list);
    const json_t *item;

    if (n > most)
        return bl_fail(err, BL_IMAGE, 0, "%s lists %zu descriptors, more than %zu", what, n, most);
    *out = calloc(n ? n : 1, sizeof **out);
    if (!*out)
        return bl_fail_memory(err);
    json_array_foreach(list, i, item)
    {
        *count = i + 1;
        if (parse_descriptor(item, what, *out + i, err))
            return -1;
    }
    return 0;
}

int bl_manifest_parse(const void *bytes, size_t length, const char *what, struct bl_manifest *manifest, struct bl_index *index,
                      struct bl_error *err)
{
    *manifest = (struct bl_manifest){0};
    *index = (struct bl_index){0};

    cleanup_json json_t *root = bl_json_load(bytes, length, what, err);

    if (!root)
        return -1;

    const json_t *manifests = json_object_get(root, "manifests"), *layers = json_object_get(root, "layers");
    const json_t *config = json_object_get(root, "config");

    /* A document that is both is how one digest is made to mean two images (CVE-2021-41190). */
    if (manifests && (layers || config))
        return bl_fail(err, BL_IMAGE, 0, "%s is both an index and a manifest", what);
    if (json_is_array(manifests)) {
        if (!parse_descriptors(manifests, MANIFESTS_MAX, what, &index->manifests, &index->count, err))
            return BL_DOCUMENT_INDEX;
        bl_index_free(index);
        return -1;
    }
    if (!json_is_array(layers) || !json_is_object(config))
        return bl_fail(err, BL_IMAGE, 0, "%s is neither an image manifest nor an index (old Docker schema 1 is not supported)",
                       what);
    if (!parse_descriptor(config, what, &manifest->config, err) &&
        !parse_descriptors(layers, LIST_MAX, what, &manifest->layers, &manifest->layer_count, err))
        return BL_DOCUMENT_MANIFEST;
    bl_manifest_free(manifest);
    return -1;
}

void bl_manifest_free(struct bl_manifest *manifest)
{
    free(manifest->config.name);
    for (size_t i = 0; i < manifest->layer_count; i++)
        free(manifest->layers[i].name);
    free(manifest->layers);
    *manifest = (struct bl_manifest){0};
}

void bl_index_free(struct bl_index *index)
{
    for (size_t i = 0; i < index->count; i++)
        free(index->manifests[i].name);
    free(index->manifests);
    *index = (struct bl_index){0};
}

int bl_docker_manifest_parse(const void *bytes, size_t length, struct bl_docker_image **out, size_t *count, struct bl_error *err)
{
    static const char what[] = "manifest.json";
    cleanup_json json_t *root = bl_json_load(bytes, length, what, err);
    const json_t *item;
    size_t i;

    *out = NULL;
    *count = 0;
    if (!root)
        return -1;
    if (!json_is_array(root) || !json_array_size(root) || json_array_size(root) > MANIFESTS_MAX)
        return bl_fail(err, BL_IMAGE, 0, "%s is no list of 1 to %d images", what, MANIFESTS_MAX);

    struct bl_docker_image *images = calloc(json_array_size(root), sizeof *images);

    if (!images)
        return bl_fail_memory(err);
    json_array_foreach(root, i, item)
    {
        if (get_string(item, "Config", what, &images[i].config, err) || get_strings(item, "Layers", what, &images[i].layers, err) ||
            get_strings(item, "RepoTags", what, &images[i].tags, err) ||
            (!images[i].config && bl_fail(err, BL_IMAGE, 0, "%s: an image has no Config", what))) {
            bl_docker_images_free(images, i + 1);
            return -1;
        }
    }
    *out = images;
    *count = json_array_size(root);
    return 0;
}

void bl_docker_images_free(struct bl_docker_image *images, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        free(images[i].config);
        bl_strings_free(images[i].layers);
        bl_strings_free(images[i].tags);
    }
    free(images);
}
