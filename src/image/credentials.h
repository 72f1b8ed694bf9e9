/* SPDX-License-Identifier: Apache-2.0 */
/*
 * credentials.h - who we are to a registry
 *
 * Looked for in this order: what the user's configuration says of the registry; what `boxlite login` stored, in
 * auth.json beside it (mode 0600); Docker's configuration ($DOCKER_CONFIG or ~/.docker, config.json): credHelpers, credsStore,
 * auths. Both files have the same form, {"auths": {"<host>": {"auth": "<base64 of user:password>"}}}.
 *
 * Secrets stand in memory and pass through pipes only: never in an argument, the environment, a log or a message.
 */
#ifndef BL_IMAGE_CREDENTIALS_H
#define BL_IMAGE_CREDENTIALS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "base/user_config.h"

enum bl_credential_kind {
    BL_CREDENTIAL_NONE,
    BL_CREDENTIAL_PASSWORD, /* user and secret */
    BL_CREDENTIAL_IDENTITY, /* the secret is a refresh token for the registry's token service */
    BL_CREDENTIAL_TOKEN,    /* the secret is a token to show as it is */
};

/* Owned strings, wiped when they are freed. */
struct bl_credential {
    enum bl_credential_kind kind;
    char *user;
    char *secret;
};

/*
 * bl_credential_find() - What is known for a registry
 * @config: may be NULL
 * @host: "docker.io", "localhost:5000"
 * @cancel_fd: readable: stop waiting for a helper; -1: none
 *
 * Return: 0 (kind BL_CREDENTIAL_NONE: nothing is known); -1: BL_CONFIG (a damaged file, a helper that fails), BL_STOPPED
 */
int bl_credential_find(const struct bl_user_config *config, const char *host, int cancel_fd, struct bl_credential *out,
                       struct bl_error *err);
void bl_credential_free(struct bl_credential *credential);

/* bl_credential_store() - Remember a login. Return: 0; -1: BL_INVALID_ARGUMENT (a ':' in the user), BL_CONFIG, BL_STORAGE */
int bl_credential_store(const char *host, const char *user, const char *secret, struct bl_error *err);
/* bl_credential_erase() - Forget it. Return: 1 when there was one, 0 when not; -1: BL_CONFIG, BL_STORAGE */
int bl_credential_erase(const char *host, struct bl_error *err);

/*
 * bl_credential_ask_helper() - Ask docker-credential-<name>, found in PATH and run without a shell
 *
 * Return: as bl_credential_find()
 */
int bl_credential_ask_helper(const char *name, const char *server, int cancel_fd, struct bl_credential *out, struct bl_error *err);

/* bl_credential_basic() - base64 of "user:secret". Return: allocated, NULL without memory */
char *bl_credential_basic(const char *user, const char *secret);

/* bl_wipe_free() - Overwrite a string and free it; NULL is fine. */
void bl_wipe_free(char *secret);
static inline void bl_wipe_free_p(char **secret)
{
    bl_wipe_free(*secret);
}
#define cleanup_secret __attribute__((cleanup(bl_wipe_free_p)))

#endif
