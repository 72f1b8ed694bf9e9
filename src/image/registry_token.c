/* SPDX-License-Identifier: Apache-2.0 */
/*
 * registry_token.c - tokens, as registries hand them out ("Token Authentication Specification" of the distribution project)
 *
 * A challenge names a token service (realm). It is asked with the user's name and password, or without any for public images:
 * GET <realm>?service=...&scope=...; a login that is an identity token is posted instead (OAuth 2.0, grant refresh_token).
 */
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/strings.h"
#include "image/registry.h"

#define ANSWER_MAX_BYTES (1u << 20)
#define TOKEN_MAX        65536

static int append_answer(struct bl_transfer *transfer, const void *bytes, size_t length, struct bl_error *err)
{
    return bl_buffer_append(transfer->data, bytes, length) ? bl_fail_memory(err) : 0;
}

/* add_parameter() - Append "name=value" to a query or form, the value escaped. Return: 0; -1 without memory */
static int add_parameter(char **text, const char *separator, const char *name, const char *value)
{
    char *escaped = curl_easy_escape(NULL, value, 0);
    char *grown = escaped ? bl_format("%s%s%s=%s", *text, separator, name, escaped) : NULL;

    curl_free(escaped);
    if (!grown)
        return -1;
    bl_wipe_free(*text);
    *text = grown;
    return 0;
}

/* make_query() - What the service is asked; for an identity token as a form. Return: allocated; NULL without memory */
static char *make_query(const struct bl_token_request *request, bool as_form)
{
    const struct bl_auth_challenge *challenge = request->challenge;
    const char *scope = challenge->scope ? challenge->scope : request->scope;
    cleanup_secret char *text = strdup(as_form ? "grant_type=refresh_token" : challenge->realm);
    const char *first = as_form || strchr(challenge->realm, '?') ? "&" : "?";

    if (!text)
        return NULL;
    if (challenge->service) {
        if (add_parameter(&text, first, "service", challenge->service))
            return NULL;
        first = "&";
    }
    if (add_parameter(&text, first, "client_id", "boxlite") || (scope && add_parameter(&text, "&", "scope", scope)))
        return NULL;
    if (as_form && add_parameter(&text, "&", "refresh_token", request->credential->secret))
        return NULL;
    if (!as_form && request->credential->kind == BL_CREDENTIAL_PASSWORD &&
        add_parameter(&text, "&", "account", request->credential->user))
        return NULL;
    return bl_steal_ptr(&text);
}

char *bl_token_parse(const void *bytes, size_t length, const char *host, struct bl_error *err)
{
    json_t *root = json_loadb(bytes, length, 0, NULL);
    const char *token = json_string_value(json_object_get(root, "token"));
    char *copy = NULL;

    if (!token || !*token)
        token = json_string_value(json_object_get(root, "access_token"));

    size_t size = token ? strlen(token) : 0;
    bool plain = size && size <= TOKEN_MAX;

    /* It goes into a header line. */
    for (size_t i = 0; plain && i < size; i++)
        plain = token[i] > ' ' && token[i] < 0x7f;
    if (!plain)
        bl_fail(err, BL_NETWORK, 0, "the token service of %s gave no token", host);
    else if (!(copy = strdup(token)))
        bl_fail_memory(err);
    json_decref(root);
    return copy;
}

static int check_realm(const struct bl_token_request *request, struct bl_error *err)
{
    const char *realm = request->challenge->realm;

    if (!realm || (!bl_starts_with(realm, "https://") && !bl_starts_with(realm, "http://")))
        return bl_fail(err, BL_NETWORK, 0, "%s wants a token, but does not say where it is to be had", request->host);
    if (bl_starts_with(realm, "http://") && !request->plain_http)
        return bl_fail(err, BL_NETWORK, 0, "%s has its token service on plain http, where a login is not safe", request->host);
    return 0;
}

char *bl_token_fetch(const struct bl_token_request *request, struct bl_error *err)
{
    const struct bl_credential *credential = request->credential;
    bool as_form = credential->kind == BL_CREDENTIAL_IDENTITY;
    cleanup_buffer struct bl_buffer answer = BL_BUFFER_INIT(ANSWER_MAX_BYTES);
    cleanup_free char *what = bl_format("get a token for %s", request->host);
    cleanup_secret char *authorization = NULL;
    char *token = NULL;

    if (check_realm(request, err))
        return NULL;

    cleanup_secret char *query = make_query(request, as_form);
    struct bl_transfer transfer = {
        .url = query ? strdup(as_form ? request->challenge->realm : query) : NULL,
        .what = what,
        .form = as_form ? query : NULL,
        .authorization = &authorization,
        .size_bytes = BL_HTTP_SIZE_UNKNOWN,
        .limit_bytes = ANSWER_MAX_BYTES,
        .sink = append_answer,
        .data = &answer,
    };

    if (credential->kind == BL_CREDENTIAL_PASSWORD) {
        cleanup_secret char *basic = bl_credential_basic(credential->user, credential->secret);

        authorization = basic ? bl_format("Basic %s", basic) : NULL;
    }
    if (!what || !transfer.url || (credential->kind == BL_CREDENTIAL_PASSWORD && !authorization))
        bl_fail_memory(err);
    else if (!bl_http_get(request->http, &transfer, err))
        token = bl_token_parse(bl_buffer_data(&answer), answer.length, request->host, err);
    bl_transfer_finish(&transfer);
    if (answer.length)
        explicit_bzero(bl_buffer_data(&answer), answer.length);
    return token;
}
