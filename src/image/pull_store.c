/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pull_store.c - the store's half of pulling: under which names an image is looked for, and whether a registry is asked
 *
 * "alpine" is alpine on each registry of the search order; "host/alpine" is only what it says. What is here under one of the names
 * is found without opening the loader, let alone the network.
 */
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/strings.h"
#include "base/user_config.h"
#include "image/blobs.h"
#include "image/limit.h"
#include "image/plugin.h"
#include "image/store.h"

#define HUB                "docker.io"
#define EMBEDDED_REFERENCE "docker.io/library/busybox:latest"
#define EMBEDDED_FILE      "images/busybox.tar"

/* load_embedded() - Bring in the image that is part of the installation. Return: as bl_images_load() */
static int load_embedded(struct bl_images *images, const struct bl_user_config *config, int cancel_fd, struct bl_image **out,
                         struct bl_error *err)
{
    cleanup_free char *path = bl_format("%s/%s", images->runtime_dir, EMBEDDED_FILE);
    struct bl_load_request request = {
        .path = path, .fd = -1, .reference = EMBEDDED_REFERENCE, .cancel_fd = cancel_fd, .config = config};
    struct bl_image **loaded;
    size_t count;

    if (!path)
        return bl_fail_memory(err);
    if (bl_images_load(images, &request, &loaded, &count, err))
        return bl_fail_context(err, "load the embedded image busybox");
    *out = loaded[0];
    loaded[0] = NULL;
    bl_image_free_list(loaded, count);
    return 0;
}

/* add_name() - The full form of a name. Return: 0; -1 with @err */
static int add_name(char ***names, const char *text, struct bl_error *err)
{
    struct bl_reference reference;

    if (!text)
        return bl_fail_memory(err);
    if (bl_reference_parse(text, &reference, err))
        return -1;

    cleanup_free char *full = bl_reference_format(&reference);

    bl_reference_free(&reference);
    return !full || bl_strings_append(names, full) ? bl_fail_memory(err) : 0;
}

/*
 * list_names() - The full names that are meant, in the order in which they are tried
 *
 * --registry goes in front; then the configuration's search order, and without one the Docker Hub.
 *
 * Return: 0; -1 with @err
 */
static int list_names(const char *text, const struct bl_user_config *config, char ***names, struct bl_error *err)
{
    struct bl_reference reference;
    bool ordered = false, said;

    if (bl_reference_parse(text, &reference, err))
        return -1;
    said = reference.said_registry;
    bl_reference_free(&reference);
    for (size_t i = 0; !said && i < config->registry_count; i++) {
        const struct bl_registry_setting *registry = &config->registries[i];

        if (!registry->search)
            continue;
        ordered |= !registry->preferred;

        cleanup_free char *name = bl_format("%s/%s", registry->host, text);

        if (add_name(names, name, err))
            return -1;
    }
    return ordered ? 0 : add_name(names, text, err);
}

/* find_here() - One of the names in the store. Return: 0; -1: BL_NOT_FOUND, BL_STORAGE */
static int find_here(struct bl_images *images, char *const *names, struct bl_image **out, struct bl_error *err)
{
    for (char *const *name = names; *name; name++) {
        bl_error_clear(err);
        if (!bl_images_find(images, *name, out, err))
            return 0;
        if (err->code != BL_NOT_FOUND)
            return -1;
    }
    return -1;
}

/* pull_names() - Ask the registries, one after another. Return: 0; -1 with @err, of the first that failed */
static int pull_names(struct bl_images *images, const struct bl_pull_request *request, char *const *names, struct bl_image **out,
                      struct bl_error *err)
{
    const struct bl_image_plugin *loader = bl_images_plugin(images, err);
    struct bl_error first = BL_ERROR_INIT;

    if (!loader || bl_images_make_store(images, err))
        return -1;
    bl_images_sweep(images);
    for (char *const *name = names; *name; name++) {
        struct bl_error failure = BL_ERROR_INIT;

        if (!loader->pull(images->path, request, *name, name[1] != NULL, out, &failure))
            return 0;
        if (first.code == BL_OK)
            first = failure;
        /* Another registry helps against what is missing or unreachable there, and not against a full disk here. */
        if (failure.code != BL_NOT_FOUND && failure.code != BL_NETWORK) {
            first = failure;
            break;
        }
        if (name[1])
            bl_log(BL_LOG_INFO, "%s; trying the next registry", failure.message);
    }
    if (err)
        *err = first;
    return -1;
}

static int pull_with(struct bl_images *images, const struct bl_pull_request *request, struct bl_image **out, struct bl_error *err)
{
    cleanup_strings char **names = NULL;
    struct bl_error failure = BL_ERROR_INIT;
    bool look = request->policy != BL_PULL_ALWAYS;

    if (list_names(request->reference, request->config, &names, &failure)) {
        /* "sha256:..." is an id, and no reference. */
        if (look && !bl_images_find(images, request->reference, out, NULL))
            return 0;
        if (err)
            *err = failure;
        return -1;
    }
    if (look && (!find_here(images, names, out, &failure) ||
                 (failure.code == BL_NOT_FOUND && !bl_images_find(images, request->reference, out, &failure))))
        return 0;
    if (look && failure.code != BL_NOT_FOUND) {
        if (err)
            *err = failure;
        return -1;
    }
    for (char **name = names; look && *name; name++)
        if (!strcmp(*name, EMBEDDED_REFERENCE))
            return load_embedded(images, request->config, request->cancel_fd, out, err);
    if (request->policy == BL_PULL_NEVER)
        return bl_fail(err, BL_NOT_FOUND, 0,
                       "no image '%s' here, and it is not to be pulled: `boxlite pull` gets it, or `boxlite load FILE`",
                       request->reference);

    int result = pull_names(images, request, names, out, err);

    if (!result)
        bl_image_pin(*out);
    bl_images_evict(images, request->config);
    return result;
}

int bl_images_pull(struct bl_images *images, const struct bl_pull_request *request, struct bl_image **out, struct bl_error *err)
{
    struct bl_user_config usual = BL_USER_CONFIG_INIT;
    struct bl_pull_request filled = *request;
    int result;

    *out = NULL;
    if (!request->config && bl_user_config_load(NULL, &usual, err)) {
        bl_user_config_free(&usual);
        return -1;
    }
    if (!request->config)
        filled.config = &usual;
    bl_limits_fill(&filled.limits, filled.config);
    result = pull_with(images, &filled, out, err);
    if (!result)
        bl_image_pin(*out);
    bl_user_config_free(&usual);
    return result;
}

int bl_images_ensure(struct bl_images *images, const char *name, int cancel_fd, struct bl_image **out, struct bl_error *err)
{
    const struct bl_pull_request request = {.reference = name, .policy = BL_PULL_MISSING, .cancel_fd = cancel_fd};

    return bl_images_pull(images, &request, out, err);
}

int bl_images_login(struct bl_images *images, const struct bl_user_config *config, const char *host, const char *user,
                    const char *secret, int cancel_fd, struct bl_error *err)
{
    const struct bl_image_plugin *loader = bl_images_plugin(images, err);
    struct bl_user_config usual = BL_USER_CONFIG_INIT;
    int result = loader ? 0 : -1;

    if (!result && !config)
        result = bl_user_config_load(NULL, &usual, err);
    if (!result)
        result = loader->login(config ? config : &usual, host, user, secret, cancel_fd, err);
    bl_user_config_free(&usual);
    return result;
}

int bl_images_logout(struct bl_images *images, const char *host, struct bl_error *err)
{
    const struct bl_image_plugin *loader = bl_images_plugin(images, err);

    return loader ? loader->logout(host, err) : -1;
}
