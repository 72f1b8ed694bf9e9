/* SPDX-License-Identifier: Apache-2.0 */
/*
 * credentials.c - the files in which logins are; see credentials.h
 *
 * auth.json is changed under a lock of its own (auth.json.lock) and replaced as a whole, so two logins at once both stay.
 * A member that is not understood is kept: other programs use files of this form too.
 */
#include "image/credentials.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/os.h"
#include "base/strings.h"
#include "image/document.h"

#define AUTH_FILE      "auth.json"
#define AUTH_LOCK      "auth.json.lock"
#define FILE_MAX_BYTES (4u << 20)
#define AUTH_MAX       65536 /* characters of one base64 text */

void bl_wipe_free(char *secret)
{
    if (secret)
        explicit_bzero(secret, strlen(secret));
    free(secret);
}

void bl_credential_free(struct bl_credential *credential)
{
    free(credential->user);
    bl_wipe_free(credential->secret);
    *credential = (struct bl_credential){0};
}

/* set() - Fill in a credential. Return: 0; -1 without memory */
static int set(struct bl_credential *out, enum bl_credential_kind kind, const char *user, const char *secret, struct bl_error *err)
{
    bl_credential_free(out);
    out->user = strdup(user);
    out->secret = strdup(secret);
    if (!out->user || !out->secret) {
        bl_credential_free(out);
        return bl_fail_memory(err);
    }
    out->kind = kind;
    return 0;
}

char *bl_credential_basic(const char *user, const char *secret)
{
    cleanup_secret char *plain = bl_format("%s:%s", user, secret);
    size_t length = plain ? strlen(plain) : 0;
    char *text = plain && length <= AUTH_MAX ? calloc(1, 4 * ((length + 2) / 3) + 1) : NULL;

    if (text)
        EVP_EncodeBlock((unsigned char *)text, (const unsigned char *)plain, (int)length);
    return text;
}

/* decode_basic() - "user:secret" out of base64. Return: 0; 1: it is none; -1 without memory */
static int decode_basic(const char *text, struct bl_credential *out, struct bl_error *err)
{
    size_t length = strlen(text), padding = 0;
    cleanup_secret char *plain = length && length % 4 == 0 && length <= AUTH_MAX ? calloc(1, length) : NULL;

    /* EVP_DecodeBlock() keeps what the padding stands for as zeros. */
    if (!plain || EVP_DecodeBlock((unsigned char *)plain, (const unsigned char *)text, (int)length) < 0)
        return 1;
    while (padding < 2 && text[length - 1 - padding] == '=')
        padding++;
    if (strlen(plain) != length / 4 * 3 - padding)
        return 1;

    char *colon = strchr(plain, ':');

    if (!colon)
        return 1;
    *colon = '\0';
    return set(out, BL_CREDENTIAL_PASSWORD, plain, colon + 1, err);
}

/* server_names() - Under which names a registry can stand in a file; the Docker Hub has several. Ends with NULL. */
static void server_names(const char *host, const char *names[6], char url[300])
{
    size_t count = 0;

    if (!strcmp(host, "docker.io")) {
        names[count++] = "https://index.docker.io/v1/";
        names[count++] = "index.docker.io";
        names[count++] = "registry-1.docker.io";
    } else {
        snprintf(url, 300, "https://%s", host);
        names[count++] = url;
    }
    names[count++] = host;
    names[count] = NULL;
}

/* read_entry() - One of "auths". Return: 0 (kind NONE: it says nothing); -1 with @err */
static int read_entry(const json_t *entry, const char *file, const char *host, struct bl_credential *out, struct bl_error *err)
{
    const char *auth = json_string_value(json_object_get(entry, "auth"));
    const char *identity = json_string_value(json_object_get(entry, "identitytoken"));
    const char *token = json_string_value(json_object_get(entry, "registrytoken"));
    const char *user = json_string_value(json_object_get(entry, "username"));
    const char *password = json_string_value(json_object_get(entry, "password"));

    if (token && *token)
        return set(out, BL_CREDENTIAL_TOKEN, "", token, err);
    if (identity && *identity)
        return set(out, BL_CREDENTIAL_IDENTITY, "", identity, err);
    if (auth && *auth) {
        int result = decode_basic(auth, out, err);

        return result > 0 ? bl_fail(err, BL_CONFIG, 0, "%s: the login for %s is damaged; log in again", file, host) : result;
    }
    return user && *user && password ? set(out, BL_CREDENTIAL_PASSWORD, user, password, err) : 0;
}

static int find_in_auths(const json_t *root, const char *file, const char *host, struct bl_credential *out, struct bl_error *err)
{
    const json_t *auths = json_object_get(root, "auths");
    const char *names[6];
    char url[300];

    server_names(host, names, url);
    for (size_t i = 0; names[i] && out->kind == BL_CREDENTIAL_NONE; i++) {
        const json_t *entry = json_object_get(auths, names[i]);

        if (entry && read_entry(entry, file, host, out, err))
            return -1;
    }
    return 0;
}

/* helper_for() - Name of the helper that a Docker configuration has for a host, and how the helper calls it. NULL: none */
static const char *helper_for(const json_t *root, const char *host, const char **server)
{
    const json_t *helpers = json_object_get(root, "credHelpers");
    const char *names[6], *all = json_string_value(json_object_get(root, "credsStore"));
    static const char hub[] = "https://index.docker.io/v1/";
    char url[300];

    server_names(host, names, url);
    *server = strcmp(host, "docker.io") == 0 ? hub : host;
    for (size_t i = 0; names[i]; i++) {
        const char *name = json_string_value(json_object_get(helpers, names[i]));

        if (name)
            return name;
    }
    return all && *all ? all : NULL;
}

/* read_json() - A file that may be missing. @root: NULL then. Return: 0; -1 with BL_CONFIG */
static int read_json(int dir_fd, const char *path, const char *shown, json_t **root, struct bl_error *err)
{
    cleanup_buffer struct bl_buffer bytes = BL_BUFFER_INIT(FILE_MAX_BYTES);
    json_error_t error;

    *root = NULL;
    if (bl_read_file(dir_fd, path, &bytes))
        return errno == ENOENT || errno == ENOTDIR ? 0 : bl_fail(err, BL_CONFIG, errno, "read %s", shown);
    *root = json_loadb((const char *)bl_buffer_data(&bytes), bytes.length, 0, &error);
    if (bytes.length)
        explicit_bzero(bl_buffer_data(&bytes), bytes.length);
    if (json_is_object(*root))
        return 0;
    json_decref(*root);
    *root = NULL;
    return bl_fail(err, BL_CONFIG, 0, "%s is no JSON object: line %d, column %d", shown, error.line, error.column);
}

static int find_ours(const char *host, struct bl_credential *out, struct bl_error *err)
{
    cleanup_free char *directory = bl_user_config_dir();
    cleanup_free char *path = directory ? bl_format("%s/" AUTH_FILE, directory) : NULL;
    cleanup_json json_t *root = NULL;

    if (!path)
        return 0;
    if (read_json(AT_FDCWD, path, path, &root, err))
        return -1;
    return find_in_auths(root, path, host, out, err);
}

static int find_dockers(const char *host, int cancel_fd, struct bl_credential *out, struct bl_error *err)
{
    const char *directory = getenv("DOCKER_CONFIG"), *home = getenv("HOME"), *server;
    cleanup_free char *path = directory && *directory ? bl_format("%s/config.json", directory)
                              : home && *home         ? bl_format("%s/.docker/config.json", home)
                                                      : NULL;
    cleanup_json json_t *root = NULL;

    if (!path)
        return 0;
    if (read_json(AT_FDCWD, path, path, &root, err))
        return -1;

    const char *helper = helper_for(root, host, &server);

    if (helper && bl_credential_ask_helper(helper, server, cancel_fd, out, err))
        return bl_fail_context(err, "%s", path);
    return out->kind == BL_CREDENTIAL_NONE ? find_in_auths(root, path, host, out, err) : 0;
}

int bl_credential_find(const struct bl_user_config *config, const char *host, int cancel_fd, struct bl_credential *out,
                       struct bl_error *err)
{
    const struct bl_registry_setting *setting = bl_user_config_registry(config, host);

    *out = (struct bl_credential){0};
    if (setting && setting->auth == BL_REGISTRY_AUTH_ANONYMOUS)
        return 0;
    if (setting && setting->auth == BL_REGISTRY_AUTH_BASIC)
        return set(out, BL_CREDENTIAL_PASSWORD, setting->username, setting->password, err);
    if (setting && setting->auth == BL_REGISTRY_AUTH_BEARER)
        return set(out, BL_CREDENTIAL_TOKEN, "", setting->token, err);
    if (find_ours(host, out, err))
        return -1;
    return out->kind == BL_CREDENTIAL_NONE ? find_dockers(host, cancel_fd, out, err) : 0;
}

/* lock_directory() - Our configuration directory, locked for a change of auth.json. @lock: holds the lock. Return: it; -1 */
static int lock_directory(int *lock, struct bl_error *err)
{
    cleanup_free char *path = bl_user_config_dir();

    if (!path)
        return bl_fail(err, BL_CONFIG, 0, "there is no place for logins: set HOME or XDG_CONFIG_HOME");
    if (bl_make_dirs(path))
        return bl_fail(err, BL_STORAGE, errno, "make %s", path);

    cleanup_close int directory = bl_os.open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    *lock = directory < 0 ? -1 : bl_os.openat(directory, AUTH_LOCK, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (*lock < 0 || bl_flock(*lock, LOCK_EX))
        return bl_fail(err, BL_STORAGE, errno, "lock %s/" AUTH_LOCK, path);
    return bl_steal_fd(&directory);
}

static int write_auths(int directory, const json_t *root, struct bl_error *err)
{
    cleanup_secret char *text = json_dumps(root, JSON_INDENT(2));

    if (!text)
        return bl_fail_memory(err);
    if (bl_write_file(directory, AUTH_FILE, text, strlen(text), 0600))
        return bl_fail(err, BL_STORAGE, errno, "write " AUTH_FILE);
    return 0;
}

int bl_credential_store(const char *host, const char *user, const char *secret, struct bl_error *err)
{
    if (!*user || strchr(user, ':'))
        return bl_fail(err, BL_INVALID_ARGUMENT, 0, "a user name must not be empty or contain ':'");

    cleanup_close int lock = -1;
    cleanup_close int directory = lock_directory(&lock, err);
    cleanup_secret char *basic = bl_credential_basic(user, secret);
    cleanup_json json_t *root = NULL;

    if (directory < 0)
        return -1;
    if (!basic)
        return bl_fail_memory(err);
    if (read_json(directory, AUTH_FILE, AUTH_FILE, &root, err))
        return -1;
    if (!root)
        root = json_object();
    if (!json_is_object(json_object_get(root, "auths")))
        json_object_set_new(root, "auths", json_object());
    if (json_object_set_new(json_object_get(root, "auths"), host, json_pack("{s:s}", "auth", basic)))
        return bl_fail_memory(err);
    return write_auths(directory, root, err);
}

int bl_credential_erase(const char *host, struct bl_error *err)
{
    cleanup_close int lock = -1;
    cleanup_close int directory = lock_directory(&lock, err);
    cleanup_json json_t *root = NULL;

    if (directory < 0 || read_json(directory, AUTH_FILE, AUTH_FILE, &root, err))
        return -1;
    if (json_object_del(json_object_get(root, "auths"), host))
        return 0;
    return write_auths(directory, root, err) ? -1 : 1;
}
