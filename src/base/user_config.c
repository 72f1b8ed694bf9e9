/* SPDX-License-Identifier: Apache-2.0 */
/*
 * user_config.c - reading the user's configuration; see user_config.h
 *
 * An object is read by a table of its members: each names the kind of the value and where it goes. Messages never show a
 * value, since it can be a secret.
 */
#include "base/user_config.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdint.h>
#include <string.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/strings.h"

#define CONFIG_MAX_BYTES (1u << 20)
#define REGISTRIES_MAX   64

static void decref_p(json_t **json)
{
    json_decref(*json);
}
#define cleanup_json __attribute__((cleanup(decref_p)))

enum kind { TEXT, FLAG, COUNT, OBJECT, LIST };

/* A member that an object may have, and where its value goes. */
struct member {
    const char *name;
    enum kind kind;
    void *place;
    long long most; /* COUNT: from 1 to this */
};

static const char *const kind_names[] = {"a string", "true or false", "a whole number", "an object", "a list"};

/* take() - Put one value in its place. Return: 0; 1: it is of another kind; -1 without memory */
static int take(const struct member *member, json_t *value)
{
    switch (member->kind) {
    case TEXT:
        if (!json_is_string(value) || !*json_string_value(value) || strlen(json_string_value(value)) != json_string_length(value))
            return 1;
        free(*(char **)member->place);
        *(char **)member->place = strdup(json_string_value(value));
        return *(char **)member->place ? 0 : -1;
    case FLAG:
        if (!json_is_boolean(value))
            return 1;
        *(bool *)member->place = json_is_true(value);
        return 0;
    case COUNT:
        if (!json_is_integer(value) || json_integer_value(value) < 1 || json_integer_value(value) > member->most)
            return 1;
        *(unsigned int *)member->place = (unsigned int)json_integer_value(value);
        return 0;
    case OBJECT:
    case LIST:
        if (member->kind == OBJECT ? !json_is_object(value) : !json_is_array(value))
            return 1;
        *(json_t **)member->place = value;
        return 0;
    }
    return 1;
}

static int fail_kind(const struct member *member, const char *what, const char *where, struct bl_error *err)
{
    if (member->kind == COUNT)
        return bl_fail(err, BL_CONFIG, 0, "%s: '%s%s' must be a whole number from 1 to %lld", what, where, member->name,
                       member->most);
    return bl_fail(err, BL_CONFIG, 0, "%s: '%s%s' must be %s%s", what, where, member->name, kind_names[member->kind],
                   member->kind == TEXT ? " that is not empty" : "");
}

/* read_object() - All members of an object by a table that ends without a name. @where: "image_registries[0]." Return: 0; -1 */
static int read_object(json_t *object, const struct member *table, const char *what, const char *where, struct bl_error *err)
{
    const char *key;
    json_t *value;

    json_object_foreach(object, key, value)
    {
        const struct member *member = table;

        while (member->name && strcmp(member->name, key) != 0)
            member++;
        if (!member->name)
            return bl_fail(err, BL_CONFIG, 0, "%s: '%s%.64s' is no setting; there is a mistype, or this boxlite is too old for it",
                           what, where, key);

        int result = take(member, value);

        if (result < 0)
            return bl_fail_memory(err);
        if (result)
            return fail_kind(member, what, where, err);
    }
    return 0;
}

bool bl_is_registry_host(const char *host)
{
    size_t length = strlen(host);

    return length && length <= 255 && host[0] != '-' && host[0] != '.' &&
           strspn(host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_:[]") == length;
}

static int read_auth(json_t *object, struct bl_registry_setting *registry, const char *what, const char *where,
                     struct bl_error *err)
{
    cleanup_free char *type = NULL;
    cleanup_free char *below = bl_format("%sauth.", where);
    const struct member table[] = {{"type", TEXT, &type, 0},
                                   {"username", TEXT, &registry->username, 0},
                                   {"password", TEXT, &registry->password, 0},
                                   {"token", TEXT, &registry->token, 0},
                                   {NULL, TEXT, NULL, 0}};

    if (!below)
        return bl_fail_memory(err);
    if (read_object(object, table, what, below, err))
        return -1;

    bool user = registry->username && registry->password, half = !registry->username != !registry->password;

    if (type && !strcmp(type, "basic") && user && !registry->token)
        registry->auth = BL_REGISTRY_AUTH_BASIC;
    else if (type && !strcmp(type, "bearer") && registry->token && !user && !half)
        registry->auth = BL_REGISTRY_AUTH_BEARER;
    else if (type && !strcmp(type, "anonymous") && !user && !half && !registry->token)
        registry->auth = BL_REGISTRY_AUTH_ANONYMOUS;
    else
        return bl_fail(err, BL_CONFIG, 0,
                       "%s: '%sauth' must have the type anonymous, basic (with username and password) or bearer (with token)", what,
                       where);
    return 0;
}

static void free_registry(struct bl_registry_setting *registry)
{
    char *secrets[] = {registry->password, registry->token};

    for (size_t i = 0; i < 2; i++) {
        if (secrets[i])
            explicit_bzero(secrets[i], strlen(secrets[i]));
        free(secrets[i]);
    }
    free(registry->host);
    free(registry->username);
    *registry = (struct bl_registry_setting){0};
}

/* read_registry() - One of image_registries into @registry, which is freed by the caller whatever happens. Return: 0; -1 */
static int read_registry(json_t *object, struct bl_registry_setting *registry, const char *what, const char *where,
                         struct bl_error *err)
{
    cleanup_free char *transport = NULL;
    json_t *auth = NULL;
    const struct member table[] = {{"host", TEXT, &registry->host, 0},
                                   {"transport", TEXT, &transport, 0},
                                   {"protocol", TEXT, &transport, 0},
                                   {"skip_verify", FLAG, &registry->skip_verify, 0},
                                   {"search", FLAG, &registry->search, 0},
                                   {"auth", OBJECT, &auth, 0},
                                   {NULL, TEXT, NULL, 0}};

    if (!json_is_object(object))
        return bl_fail(err, BL_CONFIG, 0, "%s: '%.*s' must be an object with a host, such as {\"host\": \"docker.io\"}", what,
                       (int)strlen(where) - 1, where);
    if (read_object(object, table, what, where, err))
        return -1;
    if (!registry->host || !bl_is_registry_host(registry->host))
        return bl_fail(err, BL_CONFIG, 0, "%s: '%shost' must be a host or host:port, without a scheme or path", what, where);
    if (transport && strcmp(transport, "http") != 0 && strcmp(transport, "https") != 0)
        return bl_fail(err, BL_CONFIG, 0, "%s: '%stransport' must be http or https", what, where);
    registry->transport_set = transport != NULL;
    registry->plain_http = transport && !strcmp(transport, "http");
    return auth ? read_auth(auth, registry, what, where, err) : 0;
}

/* insert() - Take a registry into the list. @at: its place. Return: 0; -1 without memory (@registry stays the caller's) */
static int insert(struct bl_user_config *config, size_t at, const struct bl_registry_setting *registry)
{
    struct bl_registry_setting *grown = reallocarray(config->registries, config->registry_count + 1, sizeof *grown);

    if (!grown)
        return -1;
    config->registries = grown;
    memmove(grown + at + 1, grown + at, (config->registry_count - at) * sizeof *grown);
    grown[at] = *registry;
    config->registry_count++;
    return 0;
}

static int read_registries(json_t *list, struct bl_user_config *config, const char *what, struct bl_error *err)
{
    size_t i;
    json_t *item;

    if (json_array_size(list) > REGISTRIES_MAX)
        return bl_fail(err, BL_CONFIG, 0, "%s: 'image_registries' may have %d entries", what, REGISTRIES_MAX);
    json_array_foreach(list, i, item)
    {
        struct bl_registry_setting registry = {0};
        char where[64];

        snprintf(where, sizeof where, "image_registries[%zu].", i);

        int result = read_registry(item, &registry, what, where, err);

        if (!result && bl_user_config_registry(config, registry.host))
            result = bl_fail(err, BL_CONFIG, 0, "%s: the registry %s stands twice in 'image_registries'", what, registry.host);
        if (!result && insert(config, config->registry_count, &registry))
            result = bl_fail_memory(err);
        if (result) {
            free_registry(&registry);
            return -1;
        }
    }
    return 0;
}

static int read_limits(json_t *object, struct bl_image_limit_settings *limits, const char *what, struct bl_error *err)
{
    /* Documents are bounded by what the store can hold of them, and paths by what Linux takes. */
    const struct member table[] = {{"unpacked_mib", COUNT, &limits->unpacked_mib, 16 << 20},
                                   {"layer_mib", COUNT, &limits->layer_mib, 16 << 20},
                                   {"files", COUNT, &limits->files, 1000000000},
                                   {"path_depth", COUNT, &limits->path_depth, 2048},
                                   {"layers", COUNT, &limits->layers, 4096},
                                   {"manifest_kib", COUNT, &limits->manifest_kib, 16384},
                                   {"config_kib", COUNT, &limits->config_kib, 16384},
                                   {"zstd_window_mib", COUNT, &limits->zstd_window_mib, 2048},
                                   {"time_s", COUNT, &limits->time_s, 30 * 86400},
                                   {NULL, TEXT, NULL, 0}};

    return read_object(object, table, what, "image_limits.", err);
}

/* read_environment() - What variables say. Return: 0; -1 with @err */
static int read_environment(struct bl_user_config *config, struct bl_error *err)
{
    const char *text = getenv("BOXLITE_MAX_LAYER_DECOMPRESSED_SIZE");
    long long bytes;

    if (!text || !*text)
        return 0;
    if (bl_parse_number(text, 1, (long long)1 << 44, &bytes))
        return bl_fail(err, BL_CONFIG, 0, "BOXLITE_MAX_LAYER_DECOMPRESSED_SIZE must be a number of bytes, from 1 to %lld",
                       (long long)1 << 44);
    config->image_limits.layer_bytes = (uint64_t)bytes;
    return 0;
}

int bl_user_config_parse(const void *bytes, size_t length, const char *what, struct bl_user_config *out, struct bl_error *err)
{
    json_error_t error;
    cleanup_json json_t *root = json_loadb(bytes, length, JSON_REJECT_DUPLICATES, &error);
    json_t *registries = NULL, *limits = NULL;
    const struct member table[] = {{"home_dir", TEXT, &out->home_dir, 0},
                                   {"ca_file", TEXT, &out->ca_file, 0},
                                   {"cpus", COUNT, &out->cpus, 1024},
                                   {"memory_mib", COUNT, &out->memory_mib, 16 << 20},
                                   {"network_timeout_s", COUNT, &out->network_timeout_s, 86400},
                                   {"image_store_mib", COUNT, &out->image_store_mib, 1 << 30},
                                   {"image_limits", OBJECT, &limits, 0},
                                   {"image_registries", LIST, &registries, 0},
                                   {NULL, TEXT, NULL, 0}};

    /* The parser's text would quote what it stumbled over, which can be a part of a password. */
    if (!root)
        return bl_fail(err, BL_CONFIG, 0, "%s is no valid JSON: line %d, column %d", what, error.line, error.column);
    if (!json_is_object(root))
        return bl_fail(err, BL_CONFIG, 0, "%s must hold a JSON object", what);
    if (read_object(root, table, what, "", err))
        return -1;
    if (out->home_dir && out->home_dir[0] != '/')
        return bl_fail(err, BL_CONFIG, 0, "%s: 'home_dir' must be an absolute path, got: %s", what, out->home_dir);
    if (out->ca_file && out->ca_file[0] != '/')
        return bl_fail(err, BL_CONFIG, 0, "%s: 'ca_file' must be an absolute path, got: %s", what, out->ca_file);
    if (limits && read_limits(limits, &out->image_limits, what, err))
        return -1;
    return registries ? read_registries(registries, out, what, err) : 0;
}

char *bl_user_config_dir(void)
{
    const char *base = getenv("XDG_CONFIG_HOME");
    const char *home = getenv("HOME");

    if (base && base[0] == '/')
        return bl_format("%s/boxlite", base);
    if (home && home[0] == '/')
        return bl_format("%s/.config/boxlite", home);
    errno = ENOENT;
    return NULL;
}

int bl_user_config_load(const char *path, struct bl_user_config *out, struct bl_error *err)
{
    cleanup_free char *directory = path ? NULL : bl_user_config_dir();
    cleanup_free char *usual = directory ? bl_format("%s/config.json", directory) : NULL;
    cleanup_buffer struct bl_buffer bytes = BL_BUFFER_INIT(CONFIG_MAX_BYTES);
    const char *from = path ? path : usual;

    if (read_environment(out, err))
        return -1;
    if (!from)
        return 0;
    if (bl_read_file(AT_FDCWD, from, &bytes))
        return !path && (errno == ENOENT || errno == ENOTDIR) ? 0
                                                              : bl_fail(err, BL_CONFIG, errno, "read the configuration %s", from);

    int result = bl_user_config_parse(bl_buffer_data(&bytes), bytes.length, from, out, err);

    if (bytes.length)
        explicit_bzero(bl_buffer_data(&bytes), bytes.length);
    return result;
}

int bl_user_config_prefer(struct bl_user_config *config, const char *host, struct bl_error *err)
{
    struct bl_registry_setting registry = {0};

    if (!bl_is_registry_host(host))
        return bl_fail(err, BL_INVALID_ARGUMENT, 0, "'%s' is no registry: give a host or host:port, without a scheme or path",
                       host);
    for (size_t i = 0; i < config->registry_count; i++) {
        if (strcmp(config->registries[i].host, host) == 0) {
            registry = config->registries[i];
            config->registry_count--;
            memmove(config->registries + i, config->registries + i + 1, (config->registry_count - i) * sizeof registry);
            break;
        }
    }
    if (!registry.host)
        registry.host = strdup(host);
    registry.search = registry.preferred = true;
    if (registry.host && !insert(config, 0, &registry))
        return 0;
    free_registry(&registry);
    return bl_fail_memory(err);
}

const struct bl_registry_setting *bl_user_config_registry(const struct bl_user_config *config, const char *host)
{
    for (size_t i = 0; config && i < config->registry_count; i++)
        if (strcmp(config->registries[i].host, host) == 0)
            return &config->registries[i];
    return NULL;
}

void bl_user_config_free(struct bl_user_config *config)
{
    for (size_t i = 0; i < config->registry_count; i++)
        free_registry(&config->registries[i]);
    free(config->registries);
    free(config->home_dir);
    free(config->ca_file);
    *config = (struct bl_user_config)BL_USER_CONFIG_INIT;
}
