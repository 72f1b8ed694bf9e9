/* SPDX-License-Identifier: Apache-2.0 */
/*
 * registry.h - a registry, as the OCI distribution protocol has it
 *
 * One struct bl_registry is one repository of one registry, and who we are to it. It is used by one thread.
 *
 * The scheme: https; http where the configuration says so. A registry on loopback about which nothing is configured is asked
 * whether it speaks TLS, and spoken to in plain http when not.
 */
#ifndef BL_IMAGE_REGISTRY_H
#define BL_IMAGE_REGISTRY_H

#include "base/user_config.h"
#include "image/credentials.h"
#include "image/registry_http.h"

struct bl_registry_options {
    const struct bl_user_config *config; /* may be NULL; outlives the registry */
    int cancel_fd;                       /* -1: none */
    uint64_t document_bytes;             /* most that a manifest may have */
    int64_t deadline_ms;                 /* for all requests; 0: none */
    bool hasty;                          /* there is another to ask: a manifest is tried for once */
};

struct bl_registry;

/*
 * bl_registry_open() - Get ready; says nothing to the registry yet
 * @host: "docker.io", "localhost:5000"
 * @repository: "library/alpine"; NULL: only to log in
 */
int bl_registry_open(const struct bl_registry_options *options, const char *host, const char *repository, struct bl_registry **out,
                     struct bl_error *err);
void bl_registry_close(struct bl_registry *registry);

/* bl_registry_http() - Where transfers of this registry run. */
struct bl_http *bl_registry_http(struct bl_registry *registry);

/* bl_registry_use_login() - Use this login instead of what is known. Return: 0; -1 */
int bl_registry_use_login(struct bl_registry *registry, const char *user, const char *secret, struct bl_error *err);

/* bl_registry_check() - Say hello: is it a registry, and does it take our login? Return: 0; -1: BL_NETWORK, ... */
int bl_registry_check(struct bl_registry *registry, struct bl_error *err);

/*
 * bl_registry_manifest() - Get a manifest or an index
 * @reference: a tag or a digest; what comes is not compared with a digest here
 * @out: its bytes
 *
 * Return: 0; -1: BL_NOT_FOUND, BL_NETWORK, BL_RESOURCE_EXHAUSTED, BL_STOPPED
 */
int bl_registry_manifest(struct bl_registry *registry, const char *reference, struct bl_buffer *out, struct bl_error *err);

/* bl_registry_document() - Get a small blob whole. @size_bytes: what it must have. Return: as above */
int bl_registry_document(struct bl_registry *registry, const char *digest, uint64_t size_bytes, struct bl_buffer *out,
                         struct bl_error *err);

/* bl_registry_authorize() - Find out who we are, as a 401 asks, and show it from now on. Return: 0; -1 with @err */
int bl_registry_authorize(struct bl_registry *registry, const struct bl_auth_challenge *challenge, struct bl_error *err);

/*
 * bl_registry_prepare_blob() - Fill in a transfer of a blob: URL and login; its unauthorized() is to call bl_registry_authorize()
 *
 * Return: 0; -1 without memory
 */
int bl_registry_prepare_blob(struct bl_registry *registry, const char *digest, struct bl_transfer *transfer, struct bl_error *err);

/* bl_token_parse() - The token out of a token service's answer. Return: allocated; NULL with @err (BL_NETWORK) */
char *bl_token_parse(const void *bytes, size_t length, const char *host, struct bl_error *err);

/* Who is asked for a token (registry_token.c). */
struct bl_token_request {
    struct bl_http *http;
    const struct bl_auth_challenge *challenge;
    const struct bl_credential *credential;
    const char *scope; /* used when the challenge names none; NULL: none */
    const char *host;  /* of the registry, for messages */
    bool plain_http;   /* the registry is spoken to without TLS, so its token service may be */
};

/* bl_token_fetch() - Get a token. Return: allocated; NULL with @err */
char *bl_token_fetch(const struct bl_token_request *request, struct bl_error *err);

#endif
