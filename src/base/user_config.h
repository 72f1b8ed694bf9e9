/* SPDX-License-Identifier: Apache-2.0 */
/*
 * user_config.h - ~/.config/boxlite/config.json: what a user settled once for all commands
 *
 *     {
 *       "home_dir": "/data/boxlite",
 *       "cpus": 1, "memory_mib": 512,
 *       "ca_file": "/etc/ssl/our-ca.pem", "network_timeout_s": 60,
 *       "image_store_mib": 20480,
 *       "image_limits": {"unpacked_mib": 20480, "layer_mib": 20480, "files": 2000000, "path_depth": 512, "layers": 256,
 *                        "manifest_kib": 4096, "config_kib": 4096, "zstd_window_mib": 128, "time_s": 21600},
 *       "image_registries": [
 *         {"host": "registry.example:5000", "transport": "https", "skip_verify": false, "search": true,
 *          "auth": {"type": "basic", "username": "me", "password": "..."}}
 *       ]
 *     }
 *
 * All members are optional; "transport" is also understood as "protocol". "auth" has the types anonymous, basic (username and
 * password) and bearer (token). A member that is not known is an error, since a mistyped one would silently do nothing. A host
 * stands once. The order of the registries is the order in which names without a registry are looked up on those with "search".
 *
 * BOXLITE_MAX_LAYER_DECOMPRESSED_SIZE in the environment, in bytes, goes before "layer_mib".
 */
#ifndef BL_BASE_USER_CONFIG_H
#define BL_BASE_USER_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

enum bl_registry_auth { BL_REGISTRY_AUTH_UNSET, BL_REGISTRY_AUTH_ANONYMOUS, BL_REGISTRY_AUTH_BASIC, BL_REGISTRY_AUTH_BEARER };

/* What is settled about one registry. Owned strings; the secrets are wiped when they are freed. */
struct bl_registry_setting {
    char *host;         /* "registry.example:5000" */
    bool transport_set; /* false: https, and for loopback also http */
    bool plain_http;
    bool skip_verify; /* trust any certificate */
    bool search;      /* names without a registry are looked up here */
    bool preferred;   /* by bl_user_config_prefer() */
    enum bl_registry_auth auth;
    char *username, *password; /* BL_REGISTRY_AUTH_BASIC */
    char *token;               /* BL_REGISTRY_AUTH_BEARER */
};

/* What an image may cost ("image_limits"); 0: the built-in default. */
struct bl_image_limit_settings {
    unsigned int unpacked_mib, layer_mib; /* of all layers, and of one; unpacked */
    unsigned int files, path_depth, layers;
    unsigned int manifest_kib, config_kib;
    unsigned int zstd_window_mib;
    unsigned int time_s;  /* for a whole pull or load */
    uint64_t layer_bytes; /* from the environment: instead of layer_mib */
};

struct bl_user_config {
    char *home_dir;                 /* absolute, or NULL */
    char *ca_file;                  /* certificates to trust instead of the system's, or NULL */
    unsigned int cpus, memory_mib;  /* 0: the built-in default */
    unsigned int network_timeout_s; /* a server that sends nothing for this long is given up; 0: the built-in default */
    unsigned int image_store_mib;   /* unused images are removed until all take no more; 0: no limit */
    struct bl_image_limit_settings image_limits;
    struct bl_registry_setting *registries;
    size_t registry_count;
};

#define BL_USER_CONFIG_INIT                                                                                                        \
    {                                                                                                                              \
        .home_dir = NULL                                                                                                           \
    }

/*
 * bl_user_config_load() - Read a configuration
 * @path: the file, which must exist; NULL: $XDG_CONFIG_HOME/boxlite/config.json, or below ~/.config, if it is there
 * @out: empty (BL_USER_CONFIG_INIT)
 *
 * Return: 0; -1 with BL_CONFIG and a message that names the file (or the variable) and the member
 */
int bl_user_config_load(const char *path, struct bl_user_config *out, struct bl_error *err);

/* bl_user_config_parse() - The same from memory. @what: how messages call it */
int bl_user_config_parse(const void *bytes, size_t length, const char *what, struct bl_user_config *out, struct bl_error *err);

/*
 * bl_user_config_prefer() - Put a registry in front of the search order, as --registry does
 *
 * What the file says about that host otherwise stays true. Return: 0; -1: BL_INVALID_ARGUMENT
 */
int bl_user_config_prefer(struct bl_user_config *config, const char *host, struct bl_error *err);

/* bl_is_registry_host() - Whether a text is host or host:port, and nothing else: no scheme, path or user. */
bool bl_is_registry_host(const char *host);

/* bl_user_config_registry() - What is settled about a host. Return: NULL when nothing is */
const struct bl_registry_setting *bl_user_config_registry(const struct bl_user_config *config, const char *host);

/* bl_user_config_dir() - Where the user's files of boxlite are. Return: allocated; NULL with errno (ENOENT: no home directory) */
char *bl_user_config_dir(void);

void bl_user_config_free(struct bl_user_config *config);

#endif
