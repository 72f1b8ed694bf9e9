/* SPDX-License-Identifier: Apache-2.0 */
/*
 * boxlite.h - run untrusted code in virtual machines of its own, from your program
 *
 * A runtime is your view of a home (a directory). A box is one micro-VM that boots one image and keeps its disk over stop and
 * start. An execution is a command in a box. There is no daemon: each running box is one host process, found through the home,
 * so any number of programs may use one home at the same time.
 *
 * Post and drain. Functions that take a callback only queue an operation: BOXLITE_OK means "queued", and the outcome comes as
 * exactly one call of that callback, on the thread that calls boxlite_runtime_drain(). No other thread ever runs user code, and
 * no lock is held while it runs, so a callback may call any function here. boxlite_runtime_fd() is readable while drain() has
 * something to deliver, so an event loop of your own needs no thread for it.
 *
 * Errors. Functions return a code and fill @out_error, which may be NULL, with the code and one line of text; it reports only
 * what fails before an operation is queued. Give it back with boxlite_error_free(). An error that a callback receives is borrowed
 * for the call; NULL means success.
 *
 * Ownership. A result that a callback receives belongs to it, and is given back with the free function named for its type.
 * Strings and arrays passed in need to live only for the call. Every free function accepts NULL.
 *
 * Threads. A runtime may be shared by threads. Box, execution, option, copy and simple handles may be moved between threads, but
 * used by one at a time. After fork() a child must not use what its parent opened: calls answer BOXLITE_INVALID_STATE.
 *
 * The library never prints, exits, installs signal handlers, changes directory or environment, or reaps children it did not
 * start.
 *
 * Names. The enumerators with a BOXLITE_ prefix are the documented ones; the bare ones (Ok, NotFound, ...) exist for older
 * programs unless BOXLITE_NO_LEGACY_NAMES is defined. Structs here never grow: new data gets functions of its own.
 */
#ifndef BOXLITE_H
#define BOXLITE_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define BOXLITE_API __attribute__((visibility("default")))
#else
#define BOXLITE_API
#endif

/* Events that a runtime keeps for drain(); when it is full, output waits in the guest. */
#define BOXLITE_QUEUE_CAPACITY 4096
#ifndef BOXLITE_NO_LEGACY_NAMES
#define QUEUE_CAPACITY BOXLITE_QUEUE_CAPACITY
#endif

enum BoxliteErrorCode {
    BOXLITE_OK = 0,
    BOXLITE_INTERNAL = 1,         /* a bug of ours */
    BOXLITE_NOT_FOUND = 2,        /* no such box, image, file */
    BOXLITE_ALREADY_EXISTS = 3,   /* the name is taken */
    BOXLITE_INVALID_STATE = 4,    /* not now: the box runs, has ended, the runtime is shut down */
    BOXLITE_INVALID_ARGUMENT = 5, /* the call itself is wrong */
    BOXLITE_CONFIG = 6,           /* home or configuration */
    BOXLITE_STORAGE = 7,          /* files and disks of the host */
    BOXLITE_IMAGE = 8,            /* not an image, broken, hostile */
    BOXLITE_NETWORK = 9,
    BOXLITE_EXECUTION = 10,          /* the command could not be run */
    BOXLITE_STOPPED = 11,            /* given up: cancelled, or the box ended under way */
    BOXLITE_ENGINE = 12,             /* the virtual machine did not start, or died */
    BOXLITE_UNSUPPORTED = 13,        /* not built; the message names what is missing */
    BOXLITE_DATABASE = 14,           /* the home's records */
    BOXLITE_PORTAL = 15,             /* the box's control socket */
    BOXLITE_RPC = 16,                /* the conversation with a box broke its rules */
    BOXLITE_RPC_TRANSPORT = 17,      /* the conversation with a box was cut */
    BOXLITE_METADATA = 18,           /* what a file or record says of itself is wrong */
    BOXLITE_UNSUPPORTED_ENGINE = 19, /* the engine asked for is not there */
    BOXLITE_RESOURCE_EXHAUSTED = 20, /* memory, disk, descriptors, a limit */
    BOXLITE_SESSION_REAPED = 21      /* the execution's outcome is gone */
#ifndef BOXLITE_NO_LEGACY_NAMES
    ,
    Ok = 0,
    Internal = 1,
    NotFound = 2,
    AlreadyExists = 3,
    InvalidState = 4,
    InvalidArgument = 5,
    Config = 6,
    Storage = 7,
    Image = 8,
    Network = 9,
    Execution = 10,
    Stopped = 11,
    Engine = 12,
    Unsupported = 13,
    Database = 14,
    Portal = 15,
    Rpc = 16,
    RpcTransport = 17,
    Metadata = 18,
    UnsupportedEngine = 19,
    ResourceExhausted = 20,
    SessionReaped = 21
#endif
};

enum BoxliteNetworkMode { BoxliteNetworkModeEnabled = 0, BoxliteNetworkModeDisabled = 1 };
enum BoxlitePortProtocol { BoxlitePortProtocolTcp = 0, BoxlitePortProtocolUdp = 1 };
enum BoxliteRegistryTransport { BoxliteRegistryTransportHttps = 0, BoxliteRegistryTransportHttp = 1 };
enum BoxliteCopySourceKind { BoxliteCopySourceKindUnknown = 0, BoxliteCopySourceKindFile = 1, BoxliteCopySourceKindDir = 2 };
typedef uint32_t BoxliteSocketAddressKind;
#define BoxliteSocketTcp  0
#define BoxliteSocketUnix 1

/* Opaque handles. */
typedef struct AdvancedBoxOptionsHandle CAdvancedBoxOptions;
typedef struct BoxHandle CBoxHandle;
typedef struct BoxNetworkHandle CBoxNetworkHandle;
typedef struct BoxRunner CBoxliteSimple;
typedef struct BoxTunnelHandle CBoxTunnelHandle;
typedef struct CredentialHandle CBoxliteCredential;
typedef struct ExecutionHandle CExecutionHandle;
typedef struct ImageHandle CBoxliteImageHandle;
typedef struct OptionsHandle CBoxliteOptions;
typedef struct RegistryHandle CBoxliteRegistryHandle;
typedef struct RestOptionsHandle CBoxliteRestOptions;
typedef struct RuntimeHandle CBoxliteRuntime;
typedef struct TunnelForwarderHandle CTunnelForwarderHandle;
typedef struct VolumeHandle CBoxliteVolumeHandle;
typedef struct CBoxCopyInStream CBoxCopyInStream;
typedef struct CBoxCopyOutStream CBoxCopyOutStream;

/* One failure. boxlite_error_free() gives the message back and leaves a struct that can be used again. */
typedef struct FFIError {
    enum BoxliteErrorCode code;
    char *message;
} FFIError;
typedef FFIError CBoxliteError;

/* A command to run in a box. */
typedef struct BoxliteCommand {
    const char *command;
    const char *const *args; /* without the command itself */
    int argc;
    const char *const *env_pairs; /* key, value, key, value, ... */
    int env_count;                /* number of strings in env_pairs; an odd last one is ignored */
    const char *workdir;          /* NULL: the box's */
    const char *user;             /* "name|uid[:group|gid]"; NULL: the box's */
    double timeout_secs;          /* everything of it is killed after that long; 0: no limit */
    int tty;                      /* not 0: a terminal; all output comes as stdout */
} BoxliteCommand;

typedef struct ExecResult {
    int exit_code;
    char *stdout_text;
    char *stderr_text;
} ExecResult;
typedef ExecResult CBoxliteExecResult;

typedef struct CImagePullResult {
    char *reference;
    char *config_digest;
    int layer_count;
} CImagePullResult;

typedef struct CImageInfo {
    char *reference;
    char *repository;
    char *tag;
    char *id;
    int64_t cached_at; /* seconds since the epoch */
    uint64_t size;     /* bytes */
    int has_size;
} CImageInfo;

typedef struct CImageInfoList {
    CImageInfo *items;
    int count;
} CImageInfoList;

typedef struct CImageVersion {
    char *digest;
    uint64_t size_bytes;
    int has_size;
    char *source_ref;
    int64_t recorded_at;
} CImageVersion;

typedef struct CImageDetail {
    char *name;
    char **tags;
    int tags_count;
    int curated;
    CImageVersion *versions;
    int versions_count;
} CImageDetail;

typedef struct CImageUsage {
    uint64_t count;
    uint64_t limit;
    uint64_t known_bytes;
} CImageUsage;

typedef struct CPublishedPort {
    uint16_t guest_port;
    char *host_ip;
    uint16_t host_port;
    enum BoxlitePortProtocol protocol;
} CPublishedPort;

typedef struct CPublishedPortList {
    CPublishedPort *items;
    int count;
} CPublishedPortList;

typedef struct COutboundNetworkInfo {
    enum BoxliteNetworkMode mode;
    char **allow_net;
    int allow_net_count;
} COutboundNetworkInfo;

typedef struct CInboundNetworkInfo {
    enum BoxliteNetworkMode mode;
    char **allow_net;
    int allow_net_count;
} CInboundNetworkInfo;

typedef struct CNetworkInfo {
    enum BoxliteNetworkMode mode; /* these three repeat outbound, for older programs */
    char **allow_net;
    int allow_net_count;
    CPublishedPortList *published_ports;
    COutboundNetworkInfo outbound;
    CInboundNetworkInfo inbound;
} CNetworkInfo;

typedef struct CBoxInfo {
    char *id;
    char *name;
    char *image;
    char *status; /* "configured", "running", "stopping", "stopped", "paused", "failed", "unknown" */
    int running;
    int pid; /* of the host process; 0: none, or not visible */
    int cpus;
    int memory_mib;
    uint32_t auto_stop;   /* seconds */
    uint32_t auto_delete; /* seconds */
    int auto_resume;
    int64_t created_at; /* seconds since the epoch */
    CNetworkInfo *network;
    int64_t started_at;       /* milliseconds since the epoch; 0: never */
    int64_t last_activity_at; /* milliseconds since the epoch; 0: never */
    int *exit_code;           /* NULL: none */
    char *resolved_image_digest;
    int64_t resolved_image_size; /* bytes */
} CBoxInfo;

typedef struct CBoxInfoList {
    CBoxInfo *items;
    int count;
} CBoxInfoList;

typedef struct CBoxMetrics {
    double cpu_percent;
    int64_t memory_bytes;
    int commands_executed;
    int exec_errors;
    int64_t bytes_sent;
    int64_t bytes_received;
    int64_t create_duration_ms;
    int64_t boot_duration_ms;
    int64_t network_bytes_sent;
    int64_t network_bytes_received;
    int network_tcp_connections;
    int network_tcp_errors;
} CBoxMetrics;

typedef struct CRuntimeMetrics {
    int boxes_created_total;
    int boxes_failed_total;
    int num_running_boxes;
    int total_commands_executed;
    int total_exec_errors;
} CRuntimeMetrics;

typedef struct BoxliteSocketAddress {
    BoxliteSocketAddressKind kind;
    const char *host;
    uint16_t port;
    const char *path;
} BoxliteSocketAddress;

typedef struct CRegistryCredential {
    char *id;
    char *registry_host;
    char *repository_prefix;
    char *username;
    char *created_by; /* may be NULL */
    int64_t created_at;
} CRegistryCredential;

typedef struct CRegistryCredentialList {
    CRegistryCredential *items;
    int count;
} CRegistryCredentialList;

typedef struct BoxliteImageRegistry {
    const char *host;
    enum BoxliteRegistryTransport transport;
    int skip_verify;
    int search;
    const char *username;
    const char *password;
    const char *bearer_token;
} BoxliteImageRegistry;

typedef struct CVolumeInfo {
    char *id;
    char *name;
    char *created_at;
    uint64_t size_bytes;
    int has_size;
} CVolumeInfo;

typedef struct CVolumeInfoList {
    CVolumeInfo *items;
    int count;
} CVolumeInfoList;

typedef void (*CBoxCreateBoxCb)(CBoxHandle *box, CBoxliteError *error, void *user_data);
typedef void (*CBoxGetBoxCb)(CBoxHandle *box, CBoxliteError *error, void *user_data);
typedef void (*CRuntimeImportCb)(CBoxHandle *box, CBoxliteError *error, void *user_data);
typedef void (*CBoxGetOrCreateBoxCb)(CBoxHandle *box, bool created, CBoxliteError *error, void *user_data);
typedef void (*CBoxExportCb)(char *path, CBoxliteError *error, void *user_data);
typedef void (*CBoxStdoutCb)(const uint8_t *data, size_t len, void *user_data);
typedef void (*CBoxStderrCb)(const uint8_t *data, size_t len, void *user_data);
typedef void (*CBoxExitCb)(int exit_code, void *user_data);
typedef void (*CExecutionWaitCb)(int exit_code, CBoxliteError *error, void *user_data);
typedef void (*CBoxInfoCb)(CBoxInfo *info, CBoxliteError *error, void *user_data);
typedef void (*CBoxInfoListCb)(CBoxInfoList *list, CBoxliteError *error, void *user_data);
typedef void (*CBoxMetricsCb)(CBoxMetrics *metrics, CBoxliteError *error, void *user_data);
typedef void (*CRuntimeMetricsCb)(CRuntimeMetrics *metrics, CBoxliteError *error, void *user_data);
typedef void (*CBoxImagePullCb)(CImagePullResult *result, CBoxliteError *error, void *user_data);
typedef void (*CBoxImageListCb)(CImageInfoList *list, CBoxliteError *error, void *user_data);
typedef void (*CBoxImageGetCb)(CImageDetail *detail, CBoxliteError *error, void *user_data);
typedef void (*CBoxImageUsageCb)(CImageUsage *usage, CBoxliteError *error, void *user_data); /* usage is borrowed */
typedef void (*CBoxRegistryListCb)(CRegistryCredentialList *list, CBoxliteError *error, void *user_data);
typedef void (*CBoxRegistryCreateCb)(CRegistryCredential *credential, CBoxliteError *error, void *user_data);
typedef void (*CBoxVolumeCreateCb)(CVolumeInfo *volume, CBoxliteError *error, void *user_data);
typedef void (*CBoxVolumeGetCb)(CVolumeInfo *volume, CBoxliteError *error, void *user_data);
typedef void (*CBoxVolumeListCb)(CVolumeInfoList *list, CBoxliteError *error, void *user_data);
typedef void (*CBoxStartBoxCb)(CBoxliteError *error, void *user_data);
typedef void (*CBoxStopBoxCb)(CBoxliteError *error, void *user_data);
typedef void (*CBoxRemoveBoxCb)(CBoxliteError *error, void *user_data);
typedef void (*CBoxCopyCb)(CBoxliteError *error, void *user_data);
typedef void (*CExecutionKillCb)(CBoxliteError *error, void *user_data);
typedef void (*CExecutionSignalCb)(CBoxliteError *error, void *user_data);
typedef void (*CExecutionResizeCb)(CBoxliteError *error, void *user_data);
typedef void (*CRuntimeShutdownCb)(CBoxliteError *error, void *user_data);
typedef void (*CTunnelForwarderWaitCb)(CBoxliteError *error, void *user_data);
typedef void (*CTunnelForwarderCloseCb)(CBoxliteError *error, void *user_data);
typedef void (*CBoxImageRemoveCb)(CBoxliteError *error, void *user_data);
typedef void (*CBoxRegistryRemoveCb)(CBoxliteError *error, void *user_data);
typedef void (*CBoxVolumeRemoveCb)(CBoxliteError *error, void *user_data);

/* ---- Library, errors, runtime ---- */

/* boxlite_version() - The library's version, "major.minor.patch". Static storage. */
BOXLITE_API const char *boxlite_version(void);
/* boxlite_free_string() - Give a string back that a function here returned. */
BOXLITE_API void boxlite_free_string(char *s);
/* boxlite_error_free() - Give an error's message back; code becomes BOXLITE_OK, message NULL. */
BOXLITE_API void boxlite_error_free(CBoxliteError *error);
/*
 * boxlite_runtime_new() - Use a home
 * @home_dir: absolute path, made when missing; NULL: $BOXLITE_HOME, else ~/.boxlite
 * @image_registries, @image_registries_count: where short image names are looked for; NULL, 0: the default
 *
 * Never waits for another program that uses the home.
 *
 * Return: BOXLITE_OK; BOXLITE_CONFIG, BOXLITE_STORAGE, BOXLITE_DATABASE, BOXLITE_INVALID_ARGUMENT, BOXLITE_INVALID_STATE in a child
 * that was forked while its parent had a runtime
 */
BOXLITE_API enum BoxliteErrorCode boxlite_runtime_new(const char *home_dir, const BoxliteImageRegistry *image_registries,
                                                      int image_registries_count, CBoxliteRuntime **out_runtime,
                                                      CBoxliteError *out_error);
BOXLITE_API enum BoxliteErrorCode boxlite_runtime_images(CBoxliteRuntime *runtime, CBoxliteImageHandle **out_handle,
                                                         CBoxliteError *out_error);
BOXLITE_API enum BoxliteErrorCode boxlite_runtime_volumes(CBoxliteRuntime *runtime, CBoxliteVolumeHandle **out_handle,
                                                          CBoxliteError *out_error);
BOXLITE_API enum BoxliteErrorCode boxlite_runtime_registries(CBoxliteRuntime *runtime, CBoxliteRegistryHandle **out_handle,
                                                             CBoxliteError *out_error);
BOXLITE_API enum BoxliteErrorCode boxlite_runtime_metrics(CBoxliteRuntime *runtime, CRuntimeMetricsCb cb, void *user_data,
                                                          CBoxliteError *out_error);
/*
 * boxlite_runtime_shutdown() - Stop the boxes that this runtime started and that are not detached
 * @timeout_secs: until they are killed; 0: 10 s; -1: no limit
 *
 * From the moment of the call creating and starting fail with BOXLITE_STOPPED ("shut down"); reading still works. Idempotent, and
 * safe from several threads at once.
 */
BOXLITE_API enum BoxliteErrorCode boxlite_runtime_shutdown(CBoxliteRuntime *runtime, int timeout_secs, CRuntimeShutdownCb cb,
                                                           void *user_data, CBoxliteError *out_error);
/*
 * boxlite_runtime_drain() - Deliver events: run callbacks on this thread
 * @timeout_ms: 0: only what is there; negative: wait for at least one; positive: wait at most that long for one
 *
 * Return: number of events delivered; -1 on an error (also when the runtime is freed while it waits)
 */
BOXLITE_API int boxlite_runtime_drain(CBoxliteRuntime *runtime, int timeout_ms, CBoxliteError *out_error);
/*
 * boxlite_runtime_fd() - A descriptor that is readable while boxlite_runtime_drain() has events to deliver
 *
 * For poll, epoll and event loops over them; only watch it, never read, write or close it. It lives as long as the runtime.
 *
 * Return: the descriptor; -1 for NULL
 */
BOXLITE_API int boxlite_runtime_fd(CBoxliteRuntime *runtime);
/*
 * boxlite_runtime_free() - Stop using a home
 *
 * Stops attached boxes that this runtime started, wakes threads that wait in drain(), and drops undelivered events with what
 * they own. Handles that came from it may still be freed, and answer BOXLITE_INVALID_STATE otherwise.
 */
BOXLITE_API void boxlite_runtime_free(CBoxliteRuntime *runtime);
BOXLITE_API enum BoxliteErrorCode boxlite_runtime_import(CBoxliteRuntime *runtime, const char *archive_path,
                                                         const char *name_or_null, CRuntimeImportCb cb, void *user_data,
                                                         CBoxliteError *out_error);

/* ---- Boxes ---- */

/* boxlite_create_box() - Make a box; no VM starts. Consumes @opts when it returns BOXLITE_OK, and only then. */
BOXLITE_API enum BoxliteErrorCode boxlite_create_box(CBoxliteRuntime *runtime, CBoxliteOptions *opts, CBoxCreateBoxCb cb,
                                                     void *user_data, CBoxliteError *out_error);
/* boxlite_get_or_create_box() - The box of that name, made if there is none; @created tells. Consumes @opts as create does. */
BOXLITE_API enum BoxliteErrorCode boxlite_get_or_create_box(CBoxliteRuntime *runtime, CBoxliteOptions *opts,
                                                            CBoxGetOrCreateBoxCb cb, void *user_data, CBoxliteError *out_error);
/* boxlite_get() - Find a box by id, name or unique prefix of an id. */
BOXLITE_API enum BoxliteErrorCode boxlite_get(CBoxliteRuntime *runtime, const char *id_or_name, CBoxGetBoxCb cb, void *user_data,
                                              CBoxliteError *out_error);
BOXLITE_API enum BoxliteErrorCode boxlite_start_box(CBoxHandle *handle, CBoxStartBoxCb cb, void *user_data,
                                                    CBoxliteError *out_error);
BOXLITE_API enum BoxliteErrorCode boxlite_stop_box(CBoxHandle *handle, CBoxStopBoxCb cb, void *user_data, CBoxliteError *out_error);
/* boxlite_remove() - Remove a box; a running one only with @force (else BOXLITE_INVALID_STATE). */
BOXLITE_API enum BoxliteErrorCode boxlite_remove(CBoxliteRuntime *runtime, const char *id_or_name, int force, CBoxRemoveBoxCb cb,
                                                 void *user_data, CBoxliteError *out_error);
/* boxlite_box_id() - The box's id; give it back with boxlite_free_string(). */
BOXLITE_API char *boxlite_box_id(CBoxHandle *handle);
/* boxlite_box_free() - Let go of a handle; the box itself is not touched. */
BOXLITE_API void boxlite_box_free(CBoxHandle *handle);
BOXLITE_API enum BoxliteErrorCode boxlite_box_info(CBoxHandle *handle, CBoxInfoCb cb, void *user_data, CBoxliteError *out_error);
BOXLITE_API enum BoxliteErrorCode boxlite_get_info(CBoxliteRuntime *runtime, const char *id_or_name, CBoxInfoCb cb, void *user_data,
                                                   CBoxliteError *out_error);
BOXLITE_API enum BoxliteErrorCode boxlite_list_info(CBoxliteRuntime *runtime, CBoxInfoListCb cb, void *user_data,
                                                    CBoxliteError *out_error);
BOXLITE_API void boxlite_free_box_info(CBoxInfo *info);
BOXLITE_API void boxlite_free_box_info_list(CBoxInfoList *list);
BOXLITE_API enum BoxliteErrorCode boxlite_box_metrics(CBoxHandle *handle, CBoxMetricsCb cb, void *user_data,
                                                      CBoxliteError *out_error);
BOXLITE_API enum BoxliteErrorCode boxlite_box_export(CBoxHandle *handle, const char *dest, CBoxExportCb cb, void *user_data,
                                                     CBoxliteError *out_error);

/* ---- Options of a new box. Setters that return nothing ignore NULL. ---- */

/* boxlite_options_new() - @image: a reference ("busybox", "python:3.12-slim"); not NULL */
BOXLITE_API enum BoxliteErrorCode boxlite_options_new(const char *image, CBoxliteOptions **out_opts, CBoxliteError *out_error);
BOXLITE_API void boxlite_options_free(CBoxliteOptions *opts);
/* boxlite_options_set_rootfs_path() - An OCI layout directory instead of the image. */
BOXLITE_API void boxlite_options_set_rootfs_path(CBoxliteOptions *opts, const char *path);
BOXLITE_API void boxlite_options_set_name(CBoxliteOptions *opts, const char *name);
BOXLITE_API void boxlite_options_set_cpus(CBoxliteOptions *opts, int cpus);                 /* 0: the default */
BOXLITE_API void boxlite_options_set_memory(CBoxliteOptions *opts, int memory_mib);         /* 0: the default */
BOXLITE_API void boxlite_options_set_disk_size_gb(CBoxliteOptions *opts, int disk_size_gb); /* 0: the default */
BOXLITE_API void boxlite_options_set_workdir(CBoxliteOptions *opts, const char *workdir);
BOXLITE_API void boxlite_options_set_user(CBoxliteOptions *opts, const char *user);
BOXLITE_API void boxlite_options_set_entrypoint(CBoxliteOptions *opts, const char *const *args, int argc);
/* boxlite_options_set_cmd() - The box's own command: it is a job then, which start runs. Without one a box idles. */
BOXLITE_API void boxlite_options_set_cmd(CBoxliteOptions *opts, const char *const *args, int argc);
BOXLITE_API void boxlite_options_add_env(CBoxliteOptions *opts, const char *key, const char *val);
BOXLITE_API void boxlite_options_add_bind_mount(CBoxliteOptions *opts, const char *host_path, const char *guest_path,
                                                int read_only);
/* boxlite_options_add_volume() - Older name of boxlite_options_add_bind_mount(). */
BOXLITE_API void boxlite_options_add_volume(CBoxliteOptions *opts, const char *host_path, const char *guest_path, int read_only);
BOXLITE_API void boxlite_options_add_managed_volume(CBoxliteOptions *opts, const char *managed_volume, const char *guest_path,
                                                    int read_only);
/* boxlite_options_add_port() - @host_port 0: the system picks; @host_ip NULL or "": all interfaces. */
BOXLITE_API enum BoxliteErrorCode boxlite_options_add_port(CBoxliteOptions *opts, uint16_t host_port, uint16_t guest_port,
                                                           enum BoxlitePortProtocol protocol, const char *host_ip);
BOXLITE_API void boxlite_options_set_network_enabled(CBoxliteOptions *opts);
BOXLITE_API void boxlite_options_set_network_disabled(CBoxliteOptions *opts);
BOXLITE_API void boxlite_options_add_network_allow(CBoxliteOptions *opts, const char *host);
BOXLITE_API void boxlite_options_set_network_inbound_enabled(CBoxliteOptions *opts);
BOXLITE_API void boxlite_options_set_network_inbound_disabled(CBoxliteOptions *opts);
BOXLITE_API void boxlite_options_add_secret(CBoxliteOptions *opts, const char *name, const char *value, const char *placeholder,
                                            const char *const *hosts, int hosts_count);
/* boxlite_options_set_auto_remove() - Not 0 (the default): the box is removed once it has stopped. */
BOXLITE_API void boxlite_options_set_auto_remove(CBoxliteOptions *opts, int val);
/* boxlite_options_set_auto_stop_interval() - Stop the box when no command or copy has used it for so long; 0: never. */
BOXLITE_API void boxlite_options_set_auto_stop_interval(CBoxliteOptions *opts, uint32_t seconds);
/*
 * boxlite_options_set_auto_delete_interval() - Remove the box so long after it stopped, instead of at once; 0: never
 *
 * From then on listings leave it out, and whoever changes a box of the home next removes it.
 */
BOXLITE_API void boxlite_options_set_auto_delete_interval(CBoxliteOptions *opts, uint32_t seconds);
/* boxlite_options_set_auto_resume_enabled() - 0: once the box has stopped, only boxlite_start_box() runs it again; no exec, no
 * copy. */
BOXLITE_API void boxlite_options_set_auto_resume_enabled(CBoxliteOptions *opts, int val);
/* boxlite_options_set_detach() - Not 0: the box outlives this program. The default: it ends with it. */
BOXLITE_API void boxlite_options_set_detach(CBoxliteOptions *opts, int val);
/* boxlite_options_set_advanced() - Copies @advanced, which stays the caller's. */
BOXLITE_API void boxlite_options_set_advanced(CBoxliteOptions *opts, const CAdvancedBoxOptions *advanced);
BOXLITE_API enum BoxliteErrorCode boxlite_advanced_options_new(CAdvancedBoxOptions **out_opts, CBoxliteError *out_error);
BOXLITE_API void boxlite_advanced_options_free(CAdvancedBoxOptions *opts);
BOXLITE_API void boxlite_advanced_options_set_security_enabled(CAdvancedBoxOptions *opts, int enabled);
/*
 * Linux capabilities that commands of the box can have, by their names in capabilities(7), with or without "CAP_", or "ALL". What
 * is dropped is taken from Docker's default set, then what is added comes to it; with "ALL" added, what is dropped wins. These
 * replace the list; a count of 0 clears it. A name that is none is told by the call that makes a box.
 */
BOXLITE_API enum BoxliteErrorCode boxlite_advanced_options_set_capabilities_add(CAdvancedBoxOptions *opts,
                                                                                const char *const *capabilities, int count);
BOXLITE_API enum BoxliteErrorCode boxlite_advanced_options_set_capabilities_drop(CAdvancedBoxOptions *opts,
                                                                                 const char *const *capabilities, int count);

/* ---- Executions ---- */

/*
 * boxlite_box_exec() - Run a command in a box, starting the box when it has no command of its own and does not run
 *
 * Register callbacks before the next drain(): output that came before them is kept. Return: BOXLITE_OK and *@out_execution at
 * once; failures to run come with the exit event (126, 127) and boxlite_execution_wait().
 */
BOXLITE_API enum BoxliteErrorCode boxlite_box_exec(CBoxHandle *handle, const BoxliteCommand *cmd, CExecutionHandle **out_execution,
                                                   CBoxliteError *out_error);
BOXLITE_API enum BoxliteErrorCode boxlite_execution_on_stdout(CExecutionHandle *execution, CBoxStdoutCb cb, void *user_data,
                                                              CBoxliteError *out_error);
BOXLITE_API enum BoxliteErrorCode boxlite_execution_on_stderr(CExecutionHandle *execution, CBoxStderrCb cb, void *user_data,
                                                              CBoxliteError *out_error);
BOXLITE_API enum BoxliteErrorCode boxlite_execution_on_exit(CExecutionHandle *execution, CBoxExitCb cb, void *user_data,
                                                            CBoxliteError *out_error);
/* boxlite_execution_stdin_write() - Queue input; never waits for the box. See boxlite_execution_stdin_pending(). */
BOXLITE_API enum BoxliteErrorCode boxlite_execution_stdin_write(CExecutionHandle *execution, const uint8_t *data, size_t len,
                                                                CBoxliteError *out_error);
/* boxlite_execution_stdin_pending() - Bytes of queued input that the box has not taken yet. */
BOXLITE_API size_t boxlite_execution_stdin_pending(CExecutionHandle *execution);
/* boxlite_execution_stdin_close() - End of input, after what is queued. Idempotent; writes fail afterwards. */
BOXLITE_API enum BoxliteErrorCode boxlite_execution_stdin_close(CExecutionHandle *execution, CBoxliteError *out_error);
BOXLITE_API enum BoxliteErrorCode boxlite_execution_wait(CExecutionHandle *execution, CExecutionWaitCb cb, void *user_data,
                                                         CBoxliteError *out_error);
BOXLITE_API enum BoxliteErrorCode boxlite_execution_kill(CExecutionHandle *execution, CExecutionKillCb cb, void *user_data,
                                                         CBoxliteError *out_error);
BOXLITE_API enum BoxliteErrorCode boxlite_execution_signal(CExecutionHandle *execution, int sig, CExecutionSignalCb cb,
                                                           void *user_data, CBoxliteError *out_error);
BOXLITE_API enum BoxliteErrorCode boxlite_execution_tty_resize(CExecutionHandle *execution, int rows, int cols,
                                                               CExecutionResizeCb cb, void *user_data, CBoxliteError *out_error);
/* boxlite_execution_duration_us() - Microseconds from when the box heard of the command until that had ended, by the clock inside
 * the box; 0 until its end is known. */
BOXLITE_API uint64_t boxlite_execution_duration_us(CExecutionHandle *execution);
/* boxlite_execution_free() - Let go; what still runs is killed, and no event of it comes any more. */
BOXLITE_API void boxlite_execution_free(CExecutionHandle *execution);

/* ---- Simple, synchronous use: a box of your own, one command after the other ---- */

/* boxlite_simple_new() - @cpus, @memory_mib: 0: 2 processors, 512 MiB */
BOXLITE_API enum BoxliteErrorCode boxlite_simple_new(const char *image, int cpus, int memory_mib, CBoxliteSimple **out_box,
                                                     CBoxliteError *out_error);
BOXLITE_API enum BoxliteErrorCode boxlite_simple_run(CBoxliteSimple *box_runner, const char *command, const char *const *args,
                                                     int argc, CBoxliteExecResult **out_result, CBoxliteError *out_error);
/* boxlite_simple_free() - Stops and removes the box. */
BOXLITE_API void boxlite_simple_free(CBoxliteSimple *box_runner);
BOXLITE_API void boxlite_result_free(CBoxliteExecResult *result);

/* ---- Copies; paths in the box are absolute ---- */

BOXLITE_API enum BoxliteErrorCode boxlite_copy_into(CBoxHandle *handle, const char *host_src, const char *guest_dst, CBoxCopyCb cb,
                                                    void *user_data, CBoxliteError *out_error);
BOXLITE_API enum BoxliteErrorCode boxlite_copy_out(CBoxHandle *handle, const char *guest_src, const char *host_dst, CBoxCopyCb cb,
                                                   void *user_data, CBoxliteError *out_error);
/* boxlite_copy_out_start() - A tar stream of @guest_src; waits for the box. Return: NULL on failure */
BOXLITE_API struct CBoxCopyOutStream *boxlite_copy_out_start(CBoxHandle *handle, const char *guest_src, int32_t *out_source_kind,
                                                             CBoxliteError *out_error);
/* boxlite_copy_out_read() - Waits for bytes; *@out_read 0: the end, and again after it. */
BOXLITE_API enum BoxliteErrorCode boxlite_copy_out_read(struct CBoxCopyOutStream *stream, uint8_t *buffer, size_t capacity,
                                                        size_t *out_read, CBoxliteError *out_error);
BOXLITE_API void boxlite_copy_out_free(struct CBoxCopyOutStream *stream);
/* boxlite_copy_in_start() - A tar stream towards @guest_dst; @copy_cb tells the outcome once it was closed or aborted. */
BOXLITE_API struct CBoxCopyInStream *boxlite_copy_in_start(CBoxHandle *handle, const char *guest_dst, int32_t source_kind,
                                                           CBoxCopyCb copy_cb, void *user_data, CBoxliteError *out_error);
BOXLITE_API enum BoxliteErrorCode boxlite_copy_in_write(struct CBoxCopyInStream *stream, const uint8_t *data, size_t len,
                                                        CBoxliteError *out_error);
BOXLITE_API enum BoxliteErrorCode boxlite_copy_in_close(struct CBoxCopyInStream *stream, CBoxliteError *out_error);
BOXLITE_API enum BoxliteErrorCode boxlite_copy_in_abort(struct CBoxCopyInStream *stream, CBoxliteError *out_error);
BOXLITE_API void boxlite_copy_in_free(struct CBoxCopyInStream *stream);

/* ---- Tunnels ---- */

BOXLITE_API enum BoxliteErrorCode boxlite_box_network(CBoxHandle *handle, CBoxNetworkHandle **out_network,
                                                      CBoxliteError *out_error);
BOXLITE_API void boxlite_network_free(CBoxNetworkHandle *network);
BOXLITE_API enum BoxliteErrorCode boxlite_network_tunnel(CBoxNetworkHandle *network, uint16_t port, CBoxTunnelHandle **out_tunnel,
                                                         CBoxliteError *out_error);
BOXLITE_API void boxlite_tunnel_free(CBoxTunnelHandle *tunnel);
BOXLITE_API enum BoxliteErrorCode boxlite_tunnel_uri(CBoxTunnelHandle *tunnel, char **out_uri, CBoxliteError *out_error);
BOXLITE_API enum BoxliteErrorCode boxlite_tunnel_connect(CBoxTunnelHandle *tunnel, int32_t *out_fd, CBoxliteError *out_error);
BOXLITE_API enum BoxliteErrorCode boxlite_tunnel_forward(CBoxTunnelHandle *tunnel, const BoxliteSocketAddress *listen,
                                                         CTunnelForwarderHandle **out_forwarder, CBoxliteError *out_error);
BOXLITE_API enum BoxliteErrorCode boxlite_tunnel_forwarder_address(CTunnelForwarderHandle *forwarder, char **out_address,
                                                                   CBoxliteError *out_error);
BOXLITE_API enum BoxliteErrorCode boxlite_tunnel_forwarder_wait(CTunnelForwarderHandle *forwarder, CTunnelForwarderWaitCb cb,
                                                                void *user_data, CBoxliteError *out_error);
BOXLITE_API enum BoxliteErrorCode boxlite_tunnel_forwarder_close(CTunnelForwarderHandle *forwarder, CTunnelForwarderCloseCb cb,
                                                                 void *user_data, CBoxliteError *out_error);
BOXLITE_API void boxlite_tunnel_forwarder_free(CTunnelForwarderHandle *forwarder);

/* ---- Images, registries, volumes, remote runtimes ---- */

BOXLITE_API enum BoxliteErrorCode boxlite_image_pull(CBoxliteImageHandle *handle, const char *image_ref, CBoxImagePullCb cb,
                                                     void *user_data, CBoxliteError *out_error);
BOXLITE_API enum BoxliteErrorCode boxlite_image_list(CBoxliteImageHandle *handle, CBoxImageListCb cb, void *user_data,
                                                     CBoxliteError *out_error);
/* boxlite_image_get(), _remove() - @name: without tag or digest; remove drops every tag. */
BOXLITE_API enum BoxliteErrorCode boxlite_image_get(CBoxliteImageHandle *handle, const char *name, CBoxImageGetCb cb,
                                                    void *user_data, CBoxliteError *out_error);
BOXLITE_API enum BoxliteErrorCode boxlite_image_remove(CBoxliteImageHandle *handle, const char *name, CBoxImageRemoveCb cb,
                                                       void *user_data, CBoxliteError *out_error);
BOXLITE_API enum BoxliteErrorCode boxlite_image_usage(CBoxliteImageHandle *handle, CBoxImageUsageCb cb, void *user_data,
                                                      CBoxliteError *out_error);
BOXLITE_API void boxlite_image_free(CBoxliteImageHandle *handle);
BOXLITE_API void boxlite_free_image_info_list(CImageInfoList *list);
BOXLITE_API void boxlite_free_image_pull_result(CImagePullResult *result);
BOXLITE_API void boxlite_free_image_detail(CImageDetail *detail);
BOXLITE_API enum BoxliteErrorCode boxlite_registry_list(CBoxliteRegistryHandle *handle, CBoxRegistryListCb cb, void *user_data,
                                                        CBoxliteError *out_error);
BOXLITE_API enum BoxliteErrorCode boxlite_registry_create(CBoxliteRegistryHandle *handle, const char *registry_host,
                                                          const char *repository_prefix, const char *username, const char *password,
                                                          CBoxRegistryCreateCb cb, void *user_data, CBoxliteError *out_error);
BOXLITE_API enum BoxliteErrorCode boxlite_registry_remove(CBoxliteRegistryHandle *handle, const char *id, CBoxRegistryRemoveCb cb,
                                                          void *user_data, CBoxliteError *out_error);
BOXLITE_API void boxlite_registry_free(CBoxliteRegistryHandle *handle);
BOXLITE_API void boxlite_free_registry_credential(CRegistryCredential *credential);
BOXLITE_API void boxlite_free_registry_credential_list(CRegistryCredentialList *list);
BOXLITE_API enum BoxliteErrorCode boxlite_volume_create(CBoxliteVolumeHandle *handle, const char *name, CBoxVolumeCreateCb cb,
                                                        void *user_data, CBoxliteError *out_error);
BOXLITE_API enum BoxliteErrorCode boxlite_volume_list(CBoxliteVolumeHandle *handle, CBoxVolumeListCb cb, void *user_data,
                                                      CBoxliteError *out_error);
BOXLITE_API enum BoxliteErrorCode boxlite_volume_get(CBoxliteVolumeHandle *handle, const char *id, CBoxVolumeGetCb cb,
                                                     void *user_data, CBoxliteError *out_error);
BOXLITE_API enum BoxliteErrorCode boxlite_volume_remove(CBoxliteVolumeHandle *handle, const char *id, int force,
                                                        CBoxVolumeRemoveCb cb, void *user_data, CBoxliteError *out_error);
BOXLITE_API void boxlite_volume_free(CBoxliteVolumeHandle *handle);
BOXLITE_API void boxlite_free_volume_info(CVolumeInfo *info);
BOXLITE_API void boxlite_free_volume_info_list(CVolumeInfoList *list);
BOXLITE_API enum BoxliteErrorCode boxlite_api_key_credential_new(const char *key, CBoxliteCredential **out_credential,
                                                                 CBoxliteError *out_error);
BOXLITE_API void boxlite_credential_free(CBoxliteCredential *credential);
BOXLITE_API enum BoxliteErrorCode boxlite_rest_options_new(const char *url, CBoxliteRestOptions **out_options,
                                                           CBoxliteError *out_error);
BOXLITE_API void boxlite_rest_options_set_credential(CBoxliteRestOptions *options, const CBoxliteCredential *credential);
BOXLITE_API void boxlite_rest_options_set_path_prefix(CBoxliteRestOptions *options, const char *path_prefix);
BOXLITE_API void boxlite_rest_options_free(CBoxliteRestOptions *options);
BOXLITE_API enum BoxliteErrorCode boxlite_rest_runtime_new_with_options(const CBoxliteRestOptions *options,
                                                                        CBoxliteRuntime **out_runtime, CBoxliteError *out_error);

#ifdef __cplusplus
}
#endif

#endif
