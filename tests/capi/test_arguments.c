/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_arguments.c - what the public header promises about arguments, without a virtual machine
 *
 * NULL callbacks and NULL or senseless arguments of every function are refused at once, with a code, a message and nothing
 * queued; every free takes NULL; error objects can be used again; what is not built says so.
 */
#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/io.h"
#include "boxlite.h"

static CBoxliteRuntime *runtime;
static CBoxliteError error;
static char home[64] = "/tmp/bl-capi-XXXXXX";

/* refused() - A call said no, with this code and a message; the error is clean again afterwards. */
static void refused(enum BoxliteErrorCode code, enum BoxliteErrorCode expected, const char *words)
{
    assert_int_equal(code, expected);
    assert_int_equal(error.code, expected);
    assert_non_null(error.message);
    if (words && !strstr(error.message, words))
        fail_msg("'%s' does not say '%s'", error.message, words);
    boxlite_error_free(&error);
    assert_int_equal(error.code, BOXLITE_OK);
    assert_null(error.message);
}

#define INVALID(call)     refused(call, BOXLITE_INVALID_ARGUMENT, NULL)
#define UNSUPPORTED(call) refused(call, BOXLITE_UNSUPPORTED, NULL)

static int open_runtime(void **state)
{
    (void)state;
    return !mkdtemp(home) || boxlite_runtime_new(home, NULL, 0, &runtime, &error) != BOXLITE_OK;
}

static int close_runtime(void **state)
{
    (void)state;
    boxlite_runtime_free(runtime);
    return bl_remove_tree(AT_FDCWD, home);
}

/* nothing_queued() - No event is there, and the descriptor says so too. */
static void nothing_queued(void)
{
    struct pollfd watch = {.fd = boxlite_runtime_fd(runtime), .events = POLLIN};

    assert_int_equal(poll(&watch, 1, 0), 0);
    assert_int_equal(boxlite_runtime_drain(runtime, 0, &error), 0);
}

static void on_box(CBoxHandle *box, CBoxliteError *err, void *data)
{
    *(enum BoxliteErrorCode *)data = err ? err->code : BOXLITE_OK;
    boxlite_box_free(box);
}

static void on_made(CBoxHandle *box, bool created, CBoxliteError *err, void *data)
{
    (void)created;
    on_box(box, err, data);
}

static void on_done(CBoxliteError *err, void *data)
{
    *(enum BoxliteErrorCode *)data = err ? err->code : BOXLITE_OK;
}

static void on_info(CBoxInfo *info, CBoxliteError *err, void *data)
{
    on_done(err, data);
    boxlite_free_box_info(info);
}

static void on_list(CBoxInfoList *list, CBoxliteError *err, void *data)
{
    on_done(err, data);
    assert_int_equal(list ? list->count : -1, 0);
    boxlite_free_box_info_list(list);
}

static void on_metrics(CRuntimeMetrics *metrics, CBoxliteError *err, void *data)
{
    on_done(err, data);
    assert_int_equal(metrics->num_running_boxes, 0);
}

static void runtime_arguments(void **state)
{
    (void)state;
    CBoxliteRuntime *other = NULL;

    assert_non_null(strchr(boxlite_version(), '.'));
    INVALID(boxlite_runtime_new(home, NULL, 0, NULL, &error));
    INVALID(boxlite_runtime_new(home, NULL, -1, &other, &error));
    INVALID(boxlite_runtime_new(home, NULL, 2, &other, &error));
    refused(boxlite_runtime_new("not/absolute", NULL, 0, &other, &error), BOXLITE_CONFIG, "absolute");
    for (size_t i = 0; i < 4; i++) {
        const BoxliteImageRegistry bad[] = {{.host = NULL},
                                            {.host = "https://registry.example"},
                                            {.host = "registry.example", .username = "me"},
                                            {.host = "registry.example", .transport = (enum BoxliteRegistryTransport)7}};

        INVALID(boxlite_runtime_new(home, &bad[i], 1, &other, &error));
    }
    assert_null(other);
    assert_int_equal(boxlite_runtime_fd(NULL), -1);
    assert_int_equal(boxlite_runtime_drain(NULL, 0, &error), -1);
    boxlite_error_free(&error);
    INVALID(boxlite_runtime_metrics(runtime, NULL, NULL, &error));
    INVALID(boxlite_runtime_metrics(NULL, on_metrics, NULL, &error));
    INVALID(boxlite_runtime_shutdown(runtime, 0, NULL, NULL, &error));
    INVALID(boxlite_runtime_shutdown(NULL, 0, on_done, NULL, &error));
    INVALID(boxlite_runtime_images(runtime, NULL, &error));
    /* out_error may be NULL everywhere. */
    assert_int_equal(boxlite_runtime_metrics(runtime, NULL, NULL, NULL), BOXLITE_INVALID_ARGUMENT);
    nothing_queued();
}

static void box_arguments(void **state)
{
    (void)state;
    CBoxliteOptions *options = NULL;

    INVALID(boxlite_options_new(NULL, &options, &error));
    INVALID(boxlite_options_new("busybox", NULL, &error));
    assert_int_equal(boxlite_options_new("busybox", &options, &error), BOXLITE_OK);
    refused(boxlite_create_box(runtime, options, NULL, NULL, &error), BOXLITE_INVALID_ARGUMENT, "cb");
    INVALID(boxlite_create_box(NULL, options, on_box, NULL, &error));
    INVALID(boxlite_create_box(runtime, NULL, on_box, NULL, &error));
    INVALID(boxlite_get_or_create_box(runtime, options, NULL, NULL, &error));
    INVALID(boxlite_get_or_create_box(NULL, options, on_made, NULL, &error));
    INVALID(boxlite_get(runtime, NULL, on_box, NULL, &error));
    INVALID(boxlite_get(runtime, "x", NULL, NULL, &error));
    INVALID(boxlite_get(NULL, "x", on_box, NULL, &error));
    INVALID(boxlite_start_box(NULL, on_done, NULL, &error));
    INVALID(boxlite_stop_box(NULL, on_done, NULL, &error));
    INVALID(boxlite_remove(runtime, NULL, 0, on_done, NULL, &error));
    INVALID(boxlite_remove(runtime, "x", 0, NULL, NULL, &error));
    INVALID(boxlite_box_info(NULL, on_info, NULL, &error));
    INVALID(boxlite_get_info(runtime, "x", NULL, NULL, &error));
    INVALID(boxlite_get_info(runtime, NULL, on_info, NULL, &error));
    refused(boxlite_list_info(runtime, NULL, NULL, &error), BOXLITE_INVALID_ARGUMENT, "cb");
    INVALID(boxlite_box_metrics(NULL, NULL, NULL, &error));
    assert_null(boxlite_box_id(NULL));
    boxlite_options_free(options); /* every refused call left it to us */
    nothing_queued();
}

static void execution_arguments(void **state)
{
    (void)state;
    CExecutionHandle *execution = NULL;
    BoxliteCommand command = {.command = "true"};

    INVALID(boxlite_box_exec(NULL, &command, &execution, &error));
    INVALID(boxlite_execution_on_stdout(NULL, NULL, NULL, &error));
    INVALID(boxlite_execution_on_stderr(NULL, NULL, NULL, &error));
    INVALID(boxlite_execution_on_exit(NULL, NULL, NULL, &error));
    INVALID(boxlite_execution_stdin_write(NULL, NULL, 0, &error));
    INVALID(boxlite_execution_stdin_close(NULL, &error));
    INVALID(boxlite_execution_wait(NULL, NULL, NULL, &error));
    INVALID(boxlite_execution_kill(NULL, NULL, NULL, &error));
    INVALID(boxlite_execution_signal(NULL, 15, NULL, NULL, &error));
    INVALID(boxlite_execution_tty_resize(NULL, 1, 1, NULL, NULL, &error));
    assert_int_equal(boxlite_execution_stdin_pending(NULL), 0);
    assert_int_equal(boxlite_execution_duration_us(NULL), 0);
    nothing_queued();
}

static void copy_and_image_arguments(void **state)
{
    (void)state;
    CBoxliteImageHandle *images = NULL;
    CBoxliteSimple *simple = NULL;
    size_t got = 0;
    uint8_t byte = 0;
    int32_t kind = 0;

    INVALID(boxlite_copy_into(NULL, "a", "b", on_done, NULL, &error));
    INVALID(boxlite_copy_out(NULL, "a", "b", on_done, NULL, &error));
    assert_null(boxlite_copy_out_start(NULL, "/a", &kind, &error));
    refused(error.code, BOXLITE_INVALID_ARGUMENT, "handle");
    assert_null(boxlite_copy_in_start(NULL, "/a", 0, on_done, NULL, &error));
    refused(error.code, BOXLITE_INVALID_ARGUMENT, "handle");
    INVALID(boxlite_copy_out_read(NULL, &byte, 1, &got, &error));
    INVALID(boxlite_copy_in_write(NULL, &byte, 1, &error));
    INVALID(boxlite_copy_in_close(NULL, &error));
    INVALID(boxlite_copy_in_abort(NULL, &error));
    assert_int_equal(boxlite_runtime_images(runtime, &images, &error), BOXLITE_OK);
    INVALID(boxlite_image_list(images, NULL, NULL, &error));
    INVALID(boxlite_image_list(NULL, NULL, NULL, &error));
    INVALID(boxlite_image_get(images, NULL, NULL, NULL, &error));
    INVALID(boxlite_image_pull(images, "busybox", NULL, NULL, &error));
    refused(boxlite_image_remove(images, "registry.example/acme/app:1", on_done, NULL, &error), BOXLITE_INVALID_ARGUMENT,
            "such as 'registry.example/acme/app'");
    boxlite_image_free(images);
    INVALID(boxlite_simple_new(NULL, 0, 0, &simple, &error));
    INVALID(boxlite_simple_new("busybox", 0, 0, NULL, &error));
    INVALID(boxlite_simple_new("busybox", -1, 0, &simple, &error));
    INVALID(boxlite_simple_new("busybox", 0, 1, &simple, &error));
    INVALID(boxlite_simple_run(NULL, "true", NULL, 0, NULL, &error));
    nothing_queued();
}

static void port_arguments(void **state)
{
    (void)state;
    CBoxliteOptions *options = NULL;

    assert_int_equal(boxlite_options_new("busybox", &options, &error), BOXLITE_OK);
    assert_int_equal(boxlite_options_add_port(options, 0, 80, BoxlitePortProtocolTcp, NULL), BOXLITE_OK);
    assert_int_equal(boxlite_options_add_port(options, 8080, 80, BoxlitePortProtocolTcp, ""), BOXLITE_OK);
    assert_int_equal(boxlite_options_add_port(options, 0, 0, BoxlitePortProtocolTcp, NULL), BOXLITE_INVALID_ARGUMENT);
    assert_int_equal(boxlite_options_add_port(NULL, 0, 80, BoxlitePortProtocolTcp, NULL), BOXLITE_INVALID_ARGUMENT);
    assert_int_equal(boxlite_options_add_port(options, 0, 80, BoxlitePortProtocolTcp, "\xff\xfe"), BOXLITE_INVALID_ARGUMENT);
    boxlite_options_free(options);
}

static void capability_arguments(void **state)
{
    (void)state;
    CAdvancedBoxOptions *advanced = NULL;
    const char *const good[] = {"NET_ADMIN", "CAP_SYS_ADMIN"};
    const char *const hole[] = {"NET_ADMIN", NULL};
    const char *const bytes[] = {"\xc0\x80"};

    INVALID(boxlite_advanced_options_new(NULL, &error));
    assert_int_equal(boxlite_advanced_options_new(&advanced, &error), BOXLITE_OK);
    assert_int_equal(boxlite_advanced_options_set_capabilities_add(advanced, good, 2), BOXLITE_OK);
    assert_int_equal(boxlite_advanced_options_set_capabilities_add(advanced, NULL, 0), BOXLITE_OK);
    assert_int_equal(boxlite_advanced_options_set_capabilities_add(advanced, hole, 2), BOXLITE_INVALID_ARGUMENT);
    assert_int_equal(boxlite_advanced_options_set_capabilities_add(advanced, NULL, 1), BOXLITE_INVALID_ARGUMENT);
    assert_int_equal(boxlite_advanced_options_set_capabilities_drop(advanced, good, -1), BOXLITE_INVALID_ARGUMENT);
    assert_int_equal(boxlite_advanced_options_set_capabilities_drop(advanced, bytes, 1), BOXLITE_INVALID_ARGUMENT);
    assert_int_equal(boxlite_advanced_options_set_capabilities_drop(NULL, good, 1), BOXLITE_INVALID_ARGUMENT);
    boxlite_advanced_options_free(advanced);
}

/* set_capability() - Add or drop one. */
static void set_capability(CBoxliteOptions *options, bool add, const char *name)
{
    CAdvancedBoxOptions *advanced = NULL;

    assert_int_equal(boxlite_advanced_options_new(&advanced, &error), BOXLITE_OK);
    assert_int_equal((add ? boxlite_advanced_options_set_capabilities_add
                          : boxlite_advanced_options_set_capabilities_drop)(advanced, (const char *const[]){"KILL", name}, 2),
                     BOXLITE_OK);
    boxlite_options_set_advanced(options, advanced);
    boxlite_advanced_options_free(advanced);
}

/* Setters that can't answer: what makes no sense or is not built is told when a box is made of it. */
static void options_are_never_ignored(void **state)
{
    (void)state;
    const char *const word[] = {"x"};

    for (int which = 0; which < 11; which++) {
        CBoxliteOptions *options = NULL;
        enum BoxliteErrorCode expected = which < 4 || which > 8 ? BOXLITE_INVALID_ARGUMENT : BOXLITE_UNSUPPORTED;

        assert_int_equal(boxlite_options_new("busybox", &options, &error), BOXLITE_OK);
        switch (which) {
        case 0:
            boxlite_options_set_cpus(options, 1000);
            break;
        case 1:
            boxlite_options_set_memory(options, -5);
            break;
        case 2:
            boxlite_options_set_disk_size_gb(options, 1 << 20);
            break;
        case 3:
            boxlite_options_set_auto_stop_interval(options, UINT32_MAX);
            break;
        case 6:
            boxlite_options_add_volume(options, "/tmp", "/x", 0);
            break;
        case 4:
            boxlite_options_add_network_allow(options, "example.com");
            break;
        case 5:
            boxlite_options_add_secret(options, "n", "v", "p", word, 1);
            break;
        case 7:
            boxlite_options_add_port(options, 0, 80, BoxlitePortProtocolTcp, NULL);
            break;
        case 8:
            boxlite_options_set_network_inbound_enabled(options);
            break;
        default:
            set_capability(options, which == 9, "NET_ADMINS");
            break;
        }
        refused(boxlite_create_box(runtime, options, on_box, NULL, &error), expected, NULL);
        boxlite_options_free(options);
    }
    nothing_queued();
}

/* Handles that nothing can make in this build; whoever comes with one all the same is told what is missing. */
static char nothing[8];
#define HANDLE(type) ((type *)(void *)nothing)

static void on_forwarder(CBoxliteError *err, void *data)
{
    (void)err;
    (void)data;
}

static void on_volume(CVolumeInfo *volume, CBoxliteError *err, void *data)
{
    (void)volume;
    on_forwarder(err, data);
}

static void on_volumes(CVolumeInfoList *volumes, CBoxliteError *err, void *data)
{
    (void)volumes;
    on_forwarder(err, data);
}

static void on_credential(CRegistryCredential *credential, CBoxliteError *err, void *data)
{
    (void)credential;
    on_forwarder(err, data);
}

static void on_credentials(CRegistryCredentialList *credentials, CBoxliteError *err, void *data)
{
    (void)credentials;
    on_forwarder(err, data);
}

static void on_usage(CImageUsage *usage, CBoxliteError *err, void *data)
{
    (void)usage;
    on_forwarder(err, data);
}

static void tunnels_say_what_is_missing(void **state)
{
    (void)state;
    const BoxliteSocketAddress listen = {.kind = BoxliteSocketTcp, .host = "127.0.0.1"};
    CBoxTunnelHandle *tunnel = NULL;
    CTunnelForwarderHandle *forwarder = NULL;
    char *text = NULL;
    int32_t fd = -1;

    UNSUPPORTED(boxlite_network_tunnel(HANDLE(CBoxNetworkHandle), 80, &tunnel, &error));
    INVALID(boxlite_network_tunnel(HANDLE(CBoxNetworkHandle), 0, &tunnel, &error));
    INVALID(boxlite_network_tunnel(NULL, 80, &tunnel, &error));
    UNSUPPORTED(boxlite_tunnel_uri(HANDLE(CBoxTunnelHandle), &text, &error));
    INVALID(boxlite_tunnel_uri(NULL, &text, &error));
    UNSUPPORTED(boxlite_tunnel_connect(HANDLE(CBoxTunnelHandle), &fd, &error));
    INVALID(boxlite_tunnel_connect(HANDLE(CBoxTunnelHandle), NULL, &error));
    UNSUPPORTED(boxlite_tunnel_forward(HANDLE(CBoxTunnelHandle), &listen, &forwarder, &error));
    INVALID(boxlite_tunnel_forward(HANDLE(CBoxTunnelHandle), NULL, &forwarder, &error));
    UNSUPPORTED(boxlite_tunnel_forwarder_address(HANDLE(CTunnelForwarderHandle), &text, &error));
    INVALID(boxlite_tunnel_forwarder_address(NULL, &text, &error));
    UNSUPPORTED(boxlite_tunnel_forwarder_wait(HANDLE(CTunnelForwarderHandle), on_forwarder, NULL, &error));
    INVALID(boxlite_tunnel_forwarder_wait(HANDLE(CTunnelForwarderHandle), NULL, NULL, &error));
    UNSUPPORTED(boxlite_tunnel_forwarder_close(HANDLE(CTunnelForwarderHandle), on_forwarder, NULL, &error));
    INVALID(boxlite_tunnel_forwarder_close(HANDLE(CTunnelForwarderHandle), NULL, NULL, &error));
    assert_true(!tunnel && !forwarder && !text && fd == -1);
    nothing_queued();
}

static void volumes_and_registries_say_what_is_missing(void **state)
{
    (void)state;
    CBoxliteVolumeHandle *volumes = HANDLE(CBoxliteVolumeHandle);
    CBoxliteRegistryHandle *registries = HANDLE(CBoxliteRegistryHandle);
    CBoxliteImageHandle *images = NULL;

    UNSUPPORTED(boxlite_volume_create(volumes, NULL, on_volume, NULL, &error));
    INVALID(boxlite_volume_create(volumes, "v", NULL, NULL, &error));
    UNSUPPORTED(boxlite_volume_list(volumes, on_volumes, NULL, &error));
    INVALID(boxlite_volume_list(NULL, on_volumes, NULL, &error));
    UNSUPPORTED(boxlite_volume_get(volumes, "v", on_volume, NULL, &error));
    INVALID(boxlite_volume_get(volumes, NULL, on_volume, NULL, &error));
    UNSUPPORTED(boxlite_volume_remove(volumes, "v", 1, on_forwarder, NULL, &error));
    INVALID(boxlite_volume_remove(volumes, NULL, 1, on_forwarder, NULL, &error));
    UNSUPPORTED(boxlite_registry_list(registries, on_credentials, NULL, &error));
    INVALID(boxlite_registry_list(NULL, on_credentials, NULL, &error));
    UNSUPPORTED(boxlite_registry_create(registries, "h", NULL, "me", "secret", on_credential, NULL, &error));
    INVALID(boxlite_registry_create(registries, NULL, NULL, NULL, NULL, on_credential, NULL, &error));
    UNSUPPORTED(boxlite_registry_remove(registries, "no UUID", on_forwarder, NULL, &error));
    INVALID(boxlite_registry_remove(registries, NULL, on_forwarder, NULL, &error));
    assert_int_equal(boxlite_runtime_images(runtime, &images, &error), BOXLITE_OK);
    UNSUPPORTED(boxlite_image_usage(images, on_usage, NULL, &error));
    INVALID(boxlite_image_usage(images, NULL, NULL, &error));
    INVALID(boxlite_image_usage(NULL, on_usage, NULL, &error));
    boxlite_image_free(images);
    nothing_queued();
}

static void unsupported_says_so(void **state)
{
    (void)state;
    CBoxliteVolumeHandle *volumes = NULL;
    CBoxliteRegistryHandle *registries = NULL;
    CBoxliteRestOptions *rest = NULL;
    CBoxliteRuntime *remote = NULL;
    CBoxliteCredential *credential = NULL;

    UNSUPPORTED(boxlite_runtime_volumes(runtime, &volumes, &error));
    INVALID(boxlite_runtime_volumes(runtime, NULL, &error));
    UNSUPPORTED(boxlite_runtime_registries(runtime, &registries, &error));
    INVALID(boxlite_runtime_import(runtime, "/x", NULL, NULL, NULL, &error));
    UNSUPPORTED(boxlite_runtime_import(runtime, "/x", NULL, (CRuntimeImportCb)on_box, NULL, &error));
    UNSUPPORTED(boxlite_api_key_credential_new("k", &credential, &error));
    INVALID(boxlite_rest_options_new(NULL, &rest, &error));
    INVALID(boxlite_rest_options_new("http://127.0.0.1:1", NULL, &error));
    assert_int_equal(boxlite_rest_options_new("http://127.0.0.1:1", &rest, &error), BOXLITE_OK);
    boxlite_rest_options_set_path_prefix(rest, "x");
    UNSUPPORTED(boxlite_rest_runtime_new_with_options(rest, &remote, &error));
    boxlite_rest_options_free(rest);
    INVALID(boxlite_box_network(NULL, NULL, &error));
    INVALID(boxlite_box_export(NULL, "/x", NULL, NULL, &error));
    nothing_queued();
}

static void frees_take_null(void **state)
{
    (void)state;
    for (int i = 0; i < 100; i++) {
        boxlite_free_string(NULL);
        boxlite_error_free(NULL);
        boxlite_runtime_free(NULL);
        boxlite_box_free(NULL);
        boxlite_free_box_info(NULL);
        boxlite_free_box_info_list(NULL);
        boxlite_options_free(NULL);
        boxlite_advanced_options_free(NULL);
        boxlite_execution_free(NULL);
        boxlite_simple_free(NULL);
        boxlite_result_free(NULL);
        boxlite_copy_out_free(NULL);
        boxlite_copy_in_free(NULL);
        boxlite_network_free(NULL);
        boxlite_tunnel_free(NULL);
        boxlite_tunnel_forwarder_free(NULL);
        boxlite_image_free(NULL);
        boxlite_free_image_info_list(NULL);
        boxlite_free_image_pull_result(NULL);
        boxlite_free_image_detail(NULL);
        boxlite_registry_free(NULL);
        boxlite_free_registry_credential(NULL);
        boxlite_free_registry_credential_list(NULL);
        boxlite_volume_free(NULL);
        boxlite_free_volume_info(NULL);
        boxlite_free_volume_info_list(NULL);
        boxlite_credential_free(NULL);
        boxlite_rest_options_free(NULL);
    }
    /* Setters that return nothing ignore NULL. */
    boxlite_options_set_name(NULL, "x");
    boxlite_options_set_cpus(NULL, 1);
    boxlite_options_add_env(NULL, "a", "b");
    boxlite_options_set_cmd(NULL, NULL, 0);
    boxlite_options_set_rootfs_path(NULL, "/x");
    boxlite_options_set_memory(NULL, 1);
    boxlite_options_set_disk_size_gb(NULL, 1);
    boxlite_options_set_workdir(NULL, "/");
    boxlite_options_set_user(NULL, "0");
    boxlite_options_set_entrypoint(NULL, NULL, 0);
    boxlite_options_add_bind_mount(NULL, "/a", "/b", 0);
    boxlite_options_add_managed_volume(NULL, "v", "/b", 0);
    boxlite_options_add_volume(NULL, "/a", "/b", 0);
    boxlite_options_set_network_enabled(NULL);
    boxlite_options_set_network_disabled(NULL);
    boxlite_options_add_network_allow(NULL, "example.com");
    boxlite_options_set_network_inbound_enabled(NULL);
    boxlite_options_set_network_inbound_disabled(NULL);
    boxlite_options_add_secret(NULL, "n", "v", NULL, NULL, 0);
    boxlite_options_set_auto_remove(NULL, 1);
    boxlite_options_set_auto_stop_interval(NULL, 1);
    boxlite_options_set_auto_delete_interval(NULL, 1);
    boxlite_options_set_auto_resume_enabled(NULL, 0);
    boxlite_options_set_detach(NULL, 1);
    boxlite_rest_options_set_credential(NULL, NULL);
    boxlite_rest_options_set_path_prefix(NULL, "x");
    boxlite_options_set_advanced(NULL, NULL);
    boxlite_advanced_options_set_security_enabled(NULL, 1);
}

/* deliver() - Drain until the one event that is awaited has come. */
static void deliver(enum BoxliteErrorCode *outcome)
{
    *outcome = (enum BoxliteErrorCode) - 1;
    assert_int_equal(boxlite_runtime_drain(runtime, -1, &error), 1);
    assert_int_not_equal(*outcome, -1);
}

static void one_event_an_operation(void **state)
{
    (void)state;
    enum BoxliteErrorCode outcome;
    struct pollfd watch = {.fd = boxlite_runtime_fd(runtime), .events = POLLIN};

    assert_int_equal(boxlite_get(runtime, "nobody", on_box, &outcome, &error), BOXLITE_OK);
    assert_int_equal(poll(&watch, 1, 60000), 1); /* the descriptor becomes readable by itself */
    deliver(&outcome);
    assert_int_equal(outcome, BOXLITE_NOT_FOUND);
    assert_int_equal(boxlite_get_info(runtime, "nobody", on_info, &outcome, &error), BOXLITE_OK);
    deliver(&outcome);
    assert_int_equal(outcome, BOXLITE_NOT_FOUND);
    assert_int_equal(boxlite_list_info(runtime, on_list, &outcome, &error), BOXLITE_OK);
    deliver(&outcome);
    assert_int_equal(outcome, BOXLITE_OK);
    assert_int_equal(boxlite_remove(runtime, "nobody", 1, on_done, &outcome, &error), BOXLITE_OK);
    deliver(&outcome);
    assert_int_equal(outcome, BOXLITE_NOT_FOUND);
    assert_int_equal(boxlite_runtime_metrics(runtime, on_metrics, &outcome, &error), BOXLITE_OK);
    deliver(&outcome);
    assert_int_equal(outcome, BOXLITE_OK);
    nothing_queued();
    assert_int_equal(boxlite_runtime_drain(runtime, 1, &error), 0); /* a positive time passes without an event */
}

static void on_pulled(CImagePullResult *result, CBoxliteError *err, void *data)
{
    on_done(err, data);
    assert_null(result);
}

static void pull_tells_why_not(void **state)
{
    (void)state;
    const BoxliteImageRegistry registry = {.host = "127.0.0.1:1", .transport = BoxliteRegistryTransportHttp, .search = 1};
    CBoxliteRuntime *own = NULL;
    CBoxliteImageHandle *images = NULL;
    enum BoxliteErrorCode outcome = BOXLITE_OK;

    assert_int_equal(boxlite_runtime_new(home, &registry, 1, &own, &error), BOXLITE_OK);
    assert_int_equal(boxlite_runtime_images(own, &images, &error), BOXLITE_OK);
    assert_int_equal(boxlite_image_pull(images, "no?good", on_pulled, &outcome, &error), BOXLITE_OK);
    assert_int_equal(boxlite_runtime_drain(own, -1, &error), 1);
    assert_int_equal(outcome, BOXLITE_INVALID_ARGUMENT);
    boxlite_image_free(images);
    boxlite_runtime_free(own);
}

static void forked_child_is_refused(void **state)
{
    (void)state;
    pid_t child = fork();

    if (child == 0) {
        enum BoxliteErrorCode code = boxlite_list_info(runtime, on_list, NULL, &error);

        boxlite_runtime_free(runtime); /* harmless: it is the parent's */
        _exit(code == BOXLITE_INVALID_STATE && error.message ? 0 : 1);
    }

    int status = 0;

    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void freed_with_operations_under_way(void **state)
{
    (void)state;
    enum BoxliteErrorCode outcome;

    for (int round = 0; round < 10; round++) {
        char place[] = "/tmp/bl-capi-free-XXXXXX";
        CBoxliteRuntime *own = NULL;

        assert_non_null(mkdtemp(place));
        assert_int_equal(boxlite_runtime_new(place, NULL, 0, &own, &error), BOXLITE_OK);
        for (int i = 0; i < 50; i++)
            assert_int_equal(boxlite_get(own, "nobody", on_box, &outcome, &error), BOXLITE_OK);
        boxlite_runtime_free(own);
        assert_int_equal(bl_remove_tree(AT_FDCWD, place), 0);
    }
}

static void shut_down_refuses_new_work(void **state)
{
    (void)state;
    char place[] = "/tmp/bl-capi-down-XXXXXX";
    CBoxliteRuntime *own = NULL;
    CBoxliteOptions *options = NULL;
    enum BoxliteErrorCode outcome = (enum BoxliteErrorCode) - 1;

    assert_non_null(mkdtemp(place));
    assert_int_equal(boxlite_runtime_new(place, NULL, 0, &own, &error), BOXLITE_OK);
    for (int i = 0; i < 2; i++) { /* idempotent */
        assert_int_equal(boxlite_runtime_shutdown(own, 0, on_done, &outcome, &error), BOXLITE_OK);
        assert_int_equal(boxlite_runtime_drain(own, -1, &error), 1);
        assert_int_equal(outcome, BOXLITE_OK);
    }
    assert_int_equal(boxlite_options_new("busybox", &options, &error), BOXLITE_OK);
    refused(boxlite_create_box(own, options, on_box, &outcome, &error), BOXLITE_STOPPED, "shut down");
    boxlite_options_free(options);
    assert_int_equal(boxlite_list_info(own, on_list, &outcome, &error), BOXLITE_OK); /* reading still works */
    assert_int_equal(boxlite_runtime_drain(own, -1, &error), 1);
    assert_int_equal(outcome, BOXLITE_OK);
    boxlite_runtime_free(own);
    assert_int_equal(bl_remove_tree(AT_FDCWD, place), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(runtime_arguments),
        cmocka_unit_test(box_arguments),
        cmocka_unit_test(execution_arguments),
        cmocka_unit_test(copy_and_image_arguments),
        cmocka_unit_test(port_arguments),
        cmocka_unit_test(capability_arguments),
        cmocka_unit_test(options_are_never_ignored),
        cmocka_unit_test(tunnels_say_what_is_missing),
        cmocka_unit_test(volumes_and_registries_say_what_is_missing),
        cmocka_unit_test(unsupported_says_so),
        cmocka_unit_test(frees_take_null),
        cmocka_unit_test(one_event_an_operation),
        cmocka_unit_test(pull_tells_why_not),
        cmocka_unit_test(forked_child_is_refused),
        cmocka_unit_test(freed_with_operations_under_way),
        cmocka_unit_test(shut_down_refuses_new_work),
    };

    return cmocka_run_group_tests(tests, open_runtime, close_runtime);
}
