/* SPDX-License-Identifier: Apache-2.0 */
/*
 * registry.c - requests to a registry, and who we are to it; see registry.h
 *
 * Nothing is shown to a registry before it asks: the first request goes without a login, its 401 says what kind is wanted,
 * and what was found then goes with all later requests. A token that expires during a long pull is asked for again, in the same
 * way.
 *
 * Tokens are fetched through a second http of its own, since they are wanted in the middle of the first one's work.
 */
#include "image/registry.h"

#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/strings.h"

#define HUB     "docker.io"
#define HUB_API "registry-1.docker.io"

static const char *const manifest_headers[] = {
    "Accept: application/vnd.oci.image.index.v1+json",
    "Accept: application/vnd.docker.distribution.manifest.list.v2+json",
    "Accept: application/vnd.oci.image.manifest.v1+json",
    "Accept: application/vnd.docker.distribution.manifest.v2+json",
    NULL,
};

struct bl_registry {
    struct bl_registry_options options;
    struct bl_http *http;       /* documents and blobs */
    struct bl_http *token_http; /* tokens */
    char *host;
    char *repository; /* NULL: none */
    char *scope;      /* of the repository, for a token */
    bool plain_http;
    bool transport_known;  /* else loopback, to be asked */
    bool credential_known; /* looked for, found or not */
    struct bl_credential credential;
    char *authorization; /* value of the header; NULL: nothing was asked for yet */
};

int bl_registry_open(const struct bl_registry_options *options, const char *host, const char *repository, struct bl_registry **out,
                     struct bl_error *err)
{
    const struct bl_registry_setting *setting = bl_user_config_registry(options->config, host);
    struct bl_http_settings http = {.ca_file = options->config ? options->config->ca_file : NULL,
                                    .skip_verify = setting && setting->skip_verify,
                                    .cancel_fd = options->cancel_fd,
                                    .deadline_ms = options->deadline_ms,
                                    .stall_s = options->config ? options->config->network_timeout_s : 0};
    struct bl_registry *registry = calloc(1, sizeof *registry);

    if (!registry)
        return bl_fail_memory(err);
    registry->options = *options;
    registry->host = strdup(host);
    registry->repository = repository ? strdup(repository) : NULL;
    registry->scope = repository ? bl_format("repository:%s:pull", repository) : NULL;
    registry->plain_http = setting && setting->plain_http;
    registry->transport_known = (setting && setting->transport_set) || !bl_is_loopback(host);
    if (!registry->host || (repository && (!registry->repository || !registry->scope)))
        bl_fail_memory(err);
    else if (!bl_http_create(&http, &registry->http, err) && !bl_http_create(&http, &registry->token_http, err)) {
        *out = registry;
        return 0;
    }
    bl_registry_close(registry);
    return -1;
}

void bl_registry_close(struct bl_registry *registry)
{
    if (!registry)
        return;
    bl_http_free(registry->http);
    bl_http_free(registry->token_http);
    bl_credential_free(&registry->credential);
    bl_wipe_free(registry->authorization);
    free(registry->host);
    free(registry->repository);
    free(registry->scope);
    free(registry);
}

struct bl_http *bl_registry_http(struct bl_registry *registry)
{
    return registry->http;
}

int bl_registry_use_login(struct bl_registry *registry, const char *user, const char *secret, struct bl_error *err)
{
    bl_credential_free(&registry->credential);
    registry->credential = (struct bl_credential){BL_CREDENTIAL_PASSWORD, strdup(user), strdup(secret)};
    registry->credential_known = true;
    return registry->credential.user && registry->credential.secret ? 0 : bl_fail_memory(err);
}

/* set_authorization() - Keep what is to be shown from now on. @value: taken over, NULL without memory. Return: 0; -1 */
static int set_authorization(struct bl_registry *registry, char *value, struct bl_error *err)
{
    bl_wipe_free(registry->authorization);
    registry->authorization = value;
    return value ? 0 : bl_fail_memory(err);
}

static int authorize_basic(struct bl_registry *registry, struct bl_error *err)
{
    const struct bl_credential *credential = &registry->credential;

    if (credential->kind != BL_CREDENTIAL_PASSWORD)
        return bl_fail(err, BL_NETWORK, 0, "unauthorized: %s wants a login: boxlite login %s", registry->host, registry->host);

    cleanup_secret char *basic = bl_credential_basic(credential->user, credential->secret);

    return set_authorization(registry, basic ? bl_format("Basic %s", basic) : NULL, err);
}

static int authorize_bearer(struct bl_registry *registry, const struct bl_auth_challenge *challenge, struct bl_error *err)
{
    const struct bl_token_request request = {registry->token_http, challenge,      &registry->credential,
                                             registry->scope,      registry->host, registry->plain_http};

    if (registry->credential.kind == BL_CREDENTIAL_TOKEN)
        return set_authorization(registry, bl_format("Bearer %s", registry->credential.secret), err);

    cleanup_secret char *token = bl_token_fetch(&request, err);

    return token ? set_authorization(registry, bl_format("Bearer %s", token), err) : -1;
}

int bl_registry_authorize(struct bl_registry *registry, const struct bl_auth_challenge *challenge, struct bl_error *err)
{
    if (!registry->credential_known &&
        bl_credential_find(registry->options.config, registry->host, registry->options.cancel_fd, &registry->credential, err))
        return bl_fail_context(err, "find a login for %s", registry->host);
    registry->credential_known = true;
    return challenge->scheme == BL_AUTH_BEARER ? authorize_bearer(registry, challenge, err) : authorize_basic(registry, err);
}

/* make_url() - https://host/v2/<rest>. Return: allocated, NULL without memory */
static char *make_url(const struct bl_registry *registry, const char *rest)
{
    const char *host = strcmp(registry->host, HUB) == 0 ? HUB_API : registry->host;

    return bl_format("%s://%s/v2/%s", registry->plain_http ? "http" : "https", host, rest);
}

/* A small thing to get, into a buffer. */
struct document {
    struct bl_registry *registry;
    struct bl_transfer transfer;
    struct bl_buffer *out;
};

static int authorize_document(struct bl_transfer *transfer, const struct bl_auth_challenge *challenge, struct bl_error *err)
{
    const struct document *document = transfer->data;

    return bl_registry_authorize(document->registry, challenge, err);
}

static int append_bytes(struct bl_transfer *transfer, const void *bytes, size_t length, struct bl_error *err)
{
    const struct document *document = transfer->data;

    return bl_buffer_append(document->out, bytes, length) ? bl_fail_memory(err) : 0;
}

/* get() - Get something small. @rest: of the URL. @headers: may be NULL. Return: 0; -1 with @err */
static int get(struct bl_registry *registry, const char *rest, const char *what, const char *const *headers, uint64_t size,
               struct bl_buffer *out, struct bl_error *err)
{
    struct document document = {.registry = registry, .out = out};
    int result;

    bl_buffer_clear(out);
    document.transfer = (struct bl_transfer){
        .url = make_url(registry, rest),
        .what = what,
        .headers = headers,
        .authorization = &registry->authorization,
        .size_bytes = size,
        .limit_bytes = bl_buffer_room(out),
        .attempts_most = registry->options.hasty ? 1 : 0,
        .sink = append_bytes,
        .unauthorized = authorize_document,
        .data = &document,
    };
    result = document.transfer.url ? bl_http_get(registry->http, &document.transfer, err) : bl_fail_memory(err);
    bl_transfer_finish(&document.transfer);
    return result;
}

static int ignore_bytes(struct bl_transfer *transfer, const void *bytes, size_t length, struct bl_error *err)
{
    (void)transfer;
    (void)bytes;
    (void)length;
    (void)err;
    return 0;
}

/* choose_transport() - On loopback: TLS if the server speaks it. What else is wrong, the next request will tell. */
static int choose_transport(struct bl_registry *registry, struct bl_error *err)
{
    if (registry->transport_known)
        return 0;

    struct bl_error ignored = BL_ERROR_INIT;
    struct bl_transfer transfer = {.url = make_url(registry, ""),
                                   .what = "ask for TLS",
                                   .size_bytes = BL_HTTP_SIZE_UNKNOWN,
                                   .limit_bytes = registry->options.document_bytes,
                                   .attempts_most = 1,
                                   .sink = ignore_bytes};
    int result;

    if (!transfer.url)
        return bl_fail_memory(err);
    result = bl_http_get(registry->http, &transfer, &ignored);
    registry->transport_known = true;
    registry->plain_http = result && transfer.result == CURLE_SSL_CONNECT_ERROR;
    bl_transfer_finish(&transfer);
    if (result && (ignored.code == BL_STOPPED || ignored.code == BL_RESOURCE_EXHAUSTED)) {
        if (err)
            *err = ignored;
        return -1;
    }
    bl_log(BL_LOG_DEBUG, "registry %s is spoken to over %s", registry->host, registry->plain_http ? "http" : "https");
    return 0;
}

int bl_registry_check(struct bl_registry *registry, struct bl_error *err)
{
    cleanup_buffer struct bl_buffer answer = BL_BUFFER_INIT(registry->options.document_bytes);
    cleanup_free char *what = bl_format("log in to %s", registry->host);

    if (!what)
        return bl_fail_memory(err);
    return choose_transport(registry, err) ? -1 : get(registry, "", what, NULL, BL_HTTP_SIZE_UNKNOWN, &answer, err);
}

int bl_registry_manifest(struct bl_registry *registry, const char *reference, struct bl_buffer *out, struct bl_error *err)
{
    cleanup_free char *rest = bl_format("%s/manifests/%s", registry->repository, reference);
    cleanup_free char *what = bl_format("get the manifest of %s/%s%s%s", registry->host, registry->repository,
                                        strchr(reference, ':') ? "@" : ":", reference);

    if (!rest || !what)
        return bl_fail_memory(err);
    if (choose_transport(registry, err))
        return -1;
    return get(registry, rest, what, manifest_headers, BL_HTTP_SIZE_UNKNOWN, out, err);
}

int bl_registry_document(struct bl_registry *registry, const char *digest, uint64_t size_bytes, struct bl_buffer *out,
                         struct bl_error *err)
{
    cleanup_free char *rest = bl_format("%s/blobs/%s", registry->repository, digest);
    cleanup_free char *what = bl_format("get the document %.19s of %s/%s", digest, registry->host, registry->repository);

    return rest && what ? get(registry, rest, what, NULL, size_bytes, out, err) : bl_fail_memory(err);
}

int bl_registry_prepare_blob(struct bl_registry *registry, const char *digest, struct bl_transfer *transfer, struct bl_error *err)
{
    cleanup_free char *rest = bl_format("%s/blobs/%s", registry->repository, digest);

    transfer->url = rest ? make_url(registry, rest) : NULL;
    transfer->authorization = &registry->authorization;
    return transfer->url ? 0 : bl_fail_memory(err);
}
