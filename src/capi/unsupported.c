/* SPDX-License-Identifier: Apache-2.0 */
/*
 * unsupported.c - functions of the public header whose part is not built
 *
 * Each refuses a NULL where the header asks for a value, and otherwise answers BOXLITE_UNSUPPORTED with what is missing. The
 * table in docs/library.md lists them; a test holds it against this file. The list can only shrink.
 */
#include <stdlib.h>
#include <string.h>

#include "capi/capi.h"

static const char needs_network[] = "tunnels: a box has no network in this build";
static const char needs_server[] = "a server's matter, and this runtime is local";
static const char needs_remote[] = "remote runtimes: this build has no REST client";
static const char needs_archives[] = "export and import of boxes: not in this build";
static const char needs_volumes[] = "named volumes are not supported yet";

/* missing() - Return: BOXLITE_INVALID_ARGUMENT when something needed is NULL, else BOXLITE_UNSUPPORTED */
static enum BoxliteErrorCode missing(const void *first, const void *second, const char *what, CBoxliteError *out_error)
{
    if (!first || !second)
        return bl_capi_reject(out_error, BL_INVALID_ARGUMENT, "an argument is NULL");
    return bl_capi_reject(out_error, BL_UNSUPPORTED, "%s", what);
}

/* present() - A function pointer as a condition for missing(). */
#define present(cb) ((cb) ? "" : NULL)

enum BoxliteErrorCode boxlite_runtime_import(CBoxliteRuntime *runtime, const char *archive_path, const char *name_or_null,
                                             CRuntimeImportCb cb, void *user_data, CBoxliteError *out_error)
{
    (void)name_or_null;
    (void)user_data;
    return missing(runtime && archive_path ? "" : NULL, present(cb), needs_archives, out_error);
}

enum BoxliteErrorCode boxlite_box_export(CBoxHandle *handle, const char *dest, CBoxExportCb cb, void *user_data,
                                         CBoxliteError *out_error)
{
    (void)user_data;
    return missing(handle && dest ? "" : NULL, present(cb), needs_archives, out_error);
}

enum BoxliteErrorCode boxlite_box_network(CBoxHandle *handle, CBoxNetworkHandle **out_network, CBoxliteError *out_error)
{
    return missing(handle, out_network, needs_network, out_error);
}

enum BoxliteErrorCode boxlite_network_tunnel(CBoxNetworkHandle *network, uint16_t port, CBoxTunnelHandle **out_tunnel,
                                             CBoxliteError *out_error)
{
    return missing(network, port ? out_tunnel : NULL, needs_network, out_error);
}

enum BoxliteErrorCode boxlite_tunnel_uri(CBoxTunnelHandle *tunnel, char **out_uri, CBoxliteError *out_error)
{
    return missing(tunnel, out_uri, needs_network, out_error);
}

enum BoxliteErrorCode boxlite_tunnel_connect(CBoxTunnelHandle *tunnel, int32_t *out_fd, CBoxliteError *out_error)
{
    return missing(tunnel, out_fd, needs_network, out_error);
}

enum BoxliteErrorCode boxlite_tunnel_forward(CBoxTunnelHandle *tunnel, const BoxliteSocketAddress *listen,
                                             CTunnelForwarderHandle **out_forwarder, CBoxliteError *out_error)
{
    return missing(tunnel && listen ? "" : NULL, out_forwarder, needs_network, out_error);
}

enum BoxliteErrorCode boxlite_tunnel_forwarder_address(CTunnelForwarderHandle *forwarder, char **out_address,
                                                       CBoxliteError *out_error)
{
    return missing(forwarder, out_address, needs_network, out_error);
}

enum BoxliteErrorCode boxlite_tunnel_forwarder_wait(CTunnelForwarderHandle *forwarder, CTunnelForwarderWaitCb cb, void *user_data,
                                                    CBoxliteError *out_error)
{
    (void)user_data;
    return missing(forwarder, present(cb), needs_network, out_error);
}

enum BoxliteErrorCode boxlite_tunnel_forwarder_close(CTunnelForwarderHandle *forwarder, CTunnelForwarderCloseCb cb, void *user_data,
                                                     CBoxliteError *out_error)
{
    (void)user_data;
    return missing(forwarder, present(cb), needs_network, out_error);
}

enum BoxliteErrorCode boxlite_runtime_volumes(CBoxliteRuntime *runtime, CBoxliteVolumeHandle **out_handle, CBoxliteError *out_error)
{
    return missing(runtime, out_handle, needs_volumes, out_error);
}

enum BoxliteErrorCode boxlite_volume_create(CBoxliteVolumeHandle *handle, const char *name, CBoxVolumeCreateCb cb, void *user_data,
                                            CBoxliteError *out_error)
{
    (void)name;
    (void)user_data;
    return missing(handle, present(cb), needs_volumes, out_error);
}

enum BoxliteErrorCode boxlite_volume_list(CBoxliteVolumeHandle *handle, CBoxVolumeListCb cb, void *user_data,
                                          CBoxliteError *out_error)
{
    (void)user_data;
    return missing(handle, present(cb), needs_volumes, out_error);
}

enum BoxliteErrorCode boxlite_volume_get(CBoxliteVolumeHandle *handle, const char *id, CBoxVolumeGetCb cb, void *user_data,
                                         CBoxliteError *out_error)
{
    (void)user_data;
    return missing(handle && id ? "" : NULL, present(cb), needs_volumes, out_error);
}

enum BoxliteErrorCode boxlite_volume_remove(CBoxliteVolumeHandle *handle, const char *id, int force, CBoxVolumeRemoveCb cb,
                                            void *user_data, CBoxliteError *out_error)
{
    (void)force;
    (void)user_data;
    return missing(handle && id ? "" : NULL, present(cb), needs_volumes, out_error);
}

enum BoxliteErrorCode boxlite_runtime_registries(CBoxliteRuntime *runtime, CBoxliteRegistryHandle **out_handle,
                                                 CBoxliteError *out_error)
{
    return missing(runtime, out_handle, needs_server, out_error);
}

enum BoxliteErrorCode boxlite_registry_list(CBoxliteRegistryHandle *handle, CBoxRegistryListCb cb, void *user_data,
                                            CBoxliteError *out_error)
{
    (void)user_data;
    return missing(handle, present(cb), needs_server, out_error);
}

enum BoxliteErrorCode boxlite_registry_create(CBoxliteRegistryHandle *handle, const char *registry_host,
                                              const char *repository_prefix, const char *username, const char *password,
                                              CBoxRegistryCreateCb cb, void *user_data, CBoxliteError *out_error)
{
    (void)repository_prefix;
    (void)username;
    (void)password;
    (void)user_data;
    return missing(handle && registry_host ? "" : NULL, present(cb), needs_server, out_error);
}

enum BoxliteErrorCode boxlite_registry_remove(CBoxliteRegistryHandle *handle, const char *id, CBoxRegistryRemoveCb cb,
                                              void *user_data, CBoxliteError *out_error)
{
    (void)user_data;
    return missing(handle && id ? "" : NULL, present(cb), needs_server, out_error);
}

enum BoxliteErrorCode boxlite_rest_runtime_new_with_options(const CBoxliteRestOptions *options, CBoxliteRuntime **out_runtime,
                                                            CBoxliteError *out_error)
{
    return missing(options, out_runtime, needs_remote, out_error);
}

enum BoxliteErrorCode boxlite_api_key_credential_new(const char *key, CBoxliteCredential **out_credential, CBoxliteError *out_error)
{
    return missing(key, out_credential, needs_remote, out_error);
}

/* Options of a remote runtime can be made and freed: the header promises that nothing is tried before one is opened. */
struct RestOptionsHandle {
    char *url;
};

enum BoxliteErrorCode boxlite_rest_options_new(const char *url, CBoxliteRestOptions **out_options, CBoxliteError *out_error)
{
    if (!url || !out_options)
        return bl_capi_reject(out_error, BL_INVALID_ARGUMENT, "%s is NULL", url ? "out_options" : "url");
    *out_options = calloc(1, sizeof **out_options);
    if (*out_options)
        (*out_options)->url = strdup(url);
    if (!*out_options || !(*out_options)->url) {
        free(*out_options);
        *out_options = NULL;
        return bl_capi_no_memory(out_error);
    }
    return bl_capi_ok(out_error);
}

void boxlite_rest_options_set_credential(CBoxliteRestOptions *options, const CBoxliteCredential *credential)
{
    (void)options;
    (void)credential;
}

void boxlite_rest_options_set_path_prefix(CBoxliteRestOptions *options, const char *path_prefix)
{
    (void)options;
    (void)path_prefix;
}

void boxlite_rest_options_free(CBoxliteRestOptions *options)
{
    if (!options)
        return;
    free(options->url);
    free(options);
}

/* No handle of these is ever made, so there is nothing but NULL to free. */
void boxlite_network_free(CBoxNetworkHandle *network)
{
    (void)network;
}

void boxlite_tunnel_free(CBoxTunnelHandle *tunnel)
{
    (void)tunnel;
}

void boxlite_tunnel_forwarder_free(CTunnelForwarderHandle *forwarder)
{
    (void)forwarder;
}

void boxlite_volume_free(CBoxliteVolumeHandle *handle)
{
    (void)handle;
}

void boxlite_free_volume_info(CVolumeInfo *info)
{
    (void)info;
}

void boxlite_free_volume_info_list(CVolumeInfoList *list)
{
    (void)list;
}

void boxlite_registry_free(CBoxliteRegistryHandle *handle)
{
    (void)handle;
}

void boxlite_free_registry_credential(CRegistryCredential *credential)
{
    (void)credential;
}

void boxlite_free_registry_credential_list(CRegistryCredentialList *list)
{
    (void)list;
}

void boxlite_credential_free(CBoxliteCredential *credential)
{
    (void)credential;
}
