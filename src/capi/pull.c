/* SPDX-License-Identifier: Apache-2.0 */
/* pull.c - images from registries, with those that a program gave to its runtime */
#include <stdlib.h>
#include <string.h>

#include "capi/capi.h"

/* take() - Copy a text that may be NULL. Return: 0; -1 when memory ran out */
static int take(const char *from, char **to)
{
    *to = from ? strdup(from) : NULL;
    return from && !*to ? -1 : 0;
}

/* take_registry() - One of the program's. Return: 0; -1 with *@err */
static int take_registry(const BoxliteImageRegistry *from, struct bl_registry_setting *to, struct bl_error *err)
{
    *to = (struct bl_registry_setting){
        .transport_set = true,
        .plain_http = from->transport == BoxliteRegistryTransportHttp,
        .skip_verify = from->skip_verify != 0,
        .search = from->search != 0,
    };
    if (!from->host || !bl_is_registry_host(from->host))
        return bl_fail(err, BL_INVALID_ARGUMENT, 0, "registry '%s': a host or host:port is needed",
                       from->host ? from->host : "(NULL)");
    if (from->transport != BoxliteRegistryTransportHttps && from->transport != BoxliteRegistryTransportHttp)
        return bl_fail(err, BL_INVALID_ARGUMENT, 0, "registry %s: transport %d is neither https nor http", from->host,
                       (int)from->transport);
    if (from->username && !from->password)
        return bl_fail(err, BL_INVALID_ARGUMENT, 0, "registry %s: a user name without a password", from->host);
    if (from->bearer_token)
        to->auth = BL_REGISTRY_AUTH_BEARER;
    else if (from->username)
        to->auth = BL_REGISTRY_AUTH_BASIC;
    if (take(from->host, &to->host) < 0 || take(from->username, &to->username) < 0 || take(from->password, &to->password) < 0 ||
        take(from->bearer_token, &to->token) < 0)
        return bl_fail_memory(err);
    return 0;
}

void bl_capi_free_registries(struct bl_user_config *config)
{
    if (!config)
        return;
    bl_user_config_free(config);
    free(config);
}

struct bl_user_config *bl_capi_take_registries(const BoxliteImageRegistry *registries, int count, struct bl_error *err)
{
    struct bl_user_config *config = calloc(1, sizeof *config);
    struct bl_user_config usual = BL_USER_CONFIG_INIT;

    if (!config || !(config->registries = calloc((size_t)count, sizeof *config->registries))) {
        free(config);
        bl_fail_memory(err);
        return NULL;
    }
    for (int i = 0; i < count; i++) {
        config->registry_count++;
        if (take_registry(&registries[i], &config->registries[i], err) < 0) {
            bl_capi_free_registries(config);
            return NULL;
        }
    }
    /* What is settled for all commands of the user stays true: certificates and patience. */
    if (bl_user_config_load(NULL, &usual, err) < 0) {
        bl_capi_free_registries(config);
        return NULL;
    }
    config->ca_file = usual.ca_file;
    usual.ca_file = NULL;
    config->network_timeout_s = usual.network_timeout_s;
    bl_user_config_free(&usual);
    return config;
}

int bl_capi_pull(CBoxliteRuntime *runtime, struct bl_runtime *core, const char *reference, enum bl_pull_policy policy,
                 struct bl_image **out, struct bl_error *err)
{
    struct bl_pull_request request = {
        .reference = reference, .policy = policy, .config = runtime->config, .cancel_fd = runtime->cancel_fd};
    struct bl_image *image = NULL;

    if (bl_images_pull(bl_runtime_images(core), &request, &image, err) < 0)
        return -1;
    if (out)
        *out = image;
    else
        bl_image_free(image);
    return 0;
}
