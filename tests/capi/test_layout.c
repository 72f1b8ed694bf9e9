/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_layout.c - the public structs, field by field, as programs were compiled against them (x86-64 System V ABI)
 *
 * The numbers come from the documented order and types of the fields, not from the header: a field that moves, grows or is added
 * breaks programs that exist.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "boxlite.h"

#define AT(type, field, offset) assert_int_equal(offsetof(type, field), offset)

static void layout_of_CBoxliteError(void **state)
{
    (void)state;
    assert_int_equal(sizeof(CBoxliteError), 16);
    AT(CBoxliteError, code, 0);
    AT(CBoxliteError, message, 8);
}

static void layout_of_BoxliteCommand(void **state)
{
    (void)state;
    assert_int_equal(sizeof(BoxliteCommand), 72);
    AT(BoxliteCommand, command, 0);
    AT(BoxliteCommand, args, 8);
    AT(BoxliteCommand, argc, 16);
    AT(BoxliteCommand, env_pairs, 24);
    AT(BoxliteCommand, env_count, 32);
    AT(BoxliteCommand, workdir, 40);
    AT(BoxliteCommand, user, 48);
    AT(BoxliteCommand, timeout_secs, 56);
    AT(BoxliteCommand, tty, 64);
}

static void layout_of_CBoxliteExecResult(void **state)
{
    (void)state;
    assert_int_equal(sizeof(CBoxliteExecResult), 24);
    AT(CBoxliteExecResult, exit_code, 0);
    AT(CBoxliteExecResult, stdout_text, 8);
    AT(CBoxliteExecResult, stderr_text, 16);
}

static void layout_of_CImagePullResult(void **state)
{
    (void)state;
    assert_int_equal(sizeof(CImagePullResult), 24);
    AT(CImagePullResult, reference, 0);
    AT(CImagePullResult, config_digest, 8);
    AT(CImagePullResult, layer_count, 16);
}

static void layout_of_CImageInfo(void **state)
{
    (void)state;
    assert_int_equal(sizeof(CImageInfo), 56);
    AT(CImageInfo, reference, 0);
    AT(CImageInfo, repository, 8);
    AT(CImageInfo, tag, 16);
    AT(CImageInfo, id, 24);
    AT(CImageInfo, cached_at, 32);
    AT(CImageInfo, size, 40);
    AT(CImageInfo, has_size, 48);
}

static void layout_of_CImageInfoList(void **state)
{
    (void)state;
    assert_int_equal(sizeof(CImageInfoList), 16);
    AT(CImageInfoList, items, 0);
    AT(CImageInfoList, count, 8);
}

static void layout_of_CImageVersion(void **state)
{
    (void)state;
    assert_int_equal(sizeof(CImageVersion), 40);
    AT(CImageVersion, digest, 0);
    AT(CImageVersion, size_bytes, 8);
    AT(CImageVersion, has_size, 16);
    AT(CImageVersion, source_ref, 24);
    AT(CImageVersion, recorded_at, 32);
}

static void layout_of_CImageDetail(void **state)
{
    (void)state;
    assert_int_equal(sizeof(CImageDetail), 40);
    AT(CImageDetail, name, 0);
    AT(CImageDetail, tags, 8);
    AT(CImageDetail, tags_count, 16);
    AT(CImageDetail, curated, 20);
    AT(CImageDetail, versions, 24);
    AT(CImageDetail, versions_count, 32);
}

static void layout_of_CImageUsage(void **state)
{
    (void)state;
    assert_int_equal(sizeof(CImageUsage), 24);
    AT(CImageUsage, count, 0);
    AT(CImageUsage, limit, 8);
    AT(CImageUsage, known_bytes, 16);
}

static void layout_of_CPublishedPort(void **state)
{
    (void)state;
    assert_int_equal(sizeof(CPublishedPort), 24);
    AT(CPublishedPort, guest_port, 0);
    AT(CPublishedPort, host_ip, 8);
    AT(CPublishedPort, host_port, 16);
    AT(CPublishedPort, protocol, 20);
}

static void layout_of_CPublishedPortList(void **state)
{
    (void)state;
    assert_int_equal(sizeof(CPublishedPortList), 16);
    AT(CPublishedPortList, items, 0);
    AT(CPublishedPortList, count, 8);
}

static void layout_of_COutboundNetworkInfo(void **state)
{
    (void)state;
    assert_int_equal(sizeof(COutboundNetworkInfo), 24);
    AT(COutboundNetworkInfo, mode, 0);
    AT(COutboundNetworkInfo, allow_net, 8);
    AT(COutboundNetworkInfo, allow_net_count, 16);
}

static void layout_of_CInboundNetworkInfo(void **state)
{
    (void)state;
    assert_int_equal(sizeof(CInboundNetworkInfo), 24);
    AT(CInboundNetworkInfo, mode, 0);
    AT(CInboundNetworkInfo, allow_net, 8);
    AT(CInboundNetworkInfo, allow_net_count, 16);
}

static void layout_of_CNetworkInfo(void **state)
{
    (void)state;
    assert_int_equal(sizeof(CNetworkInfo), 80);
    AT(CNetworkInfo, mode, 0);
    AT(CNetworkInfo, allow_net, 8);
    AT(CNetworkInfo, allow_net_count, 16);
    AT(CNetworkInfo, published_ports, 24);
    AT(CNetworkInfo, outbound, 32);
    AT(CNetworkInfo, inbound, 56);
}

static void layout_of_CBoxInfo(void **state)
{
    (void)state;
    assert_int_equal(sizeof(CBoxInfo), 120);
    AT(CBoxInfo, id, 0);
    AT(CBoxInfo, name, 8);
    AT(CBoxInfo, image, 16);
    AT(CBoxInfo, status, 24);
    AT(CBoxInfo, running, 32);
    AT(CBoxInfo, pid, 36);
    AT(CBoxInfo, cpus, 40);
    AT(CBoxInfo, memory_mib, 44);
    AT(CBoxInfo, auto_stop, 48);
    AT(CBoxInfo, auto_delete, 52);
    AT(CBoxInfo, auto_resume, 56);
    AT(CBoxInfo, created_at, 64);
    AT(CBoxInfo, network, 72);
    AT(CBoxInfo, started_at, 80);
    AT(CBoxInfo, last_activity_at, 88);
    AT(CBoxInfo, exit_code, 96);
    AT(CBoxInfo, resolved_image_digest, 104);
    AT(CBoxInfo, resolved_image_size, 112);
}

static void layout_of_CBoxInfoList(void **state)
{
    (void)state;
    assert_int_equal(sizeof(CBoxInfoList), 16);
    AT(CBoxInfoList, items, 0);
    AT(CBoxInfoList, count, 8);
}

static void layout_of_CBoxMetrics(void **state)
{
    (void)state;
    assert_int_equal(sizeof(CBoxMetrics), 80);
    AT(CBoxMetrics, cpu_percent, 0);
    AT(CBoxMetrics, memory_bytes, 8);
    AT(CBoxMetrics, commands_executed, 16);
    AT(CBoxMetrics, exec_errors, 20);
    AT(CBoxMetrics, bytes_sent, 24);
    AT(CBoxMetrics, bytes_received, 32);
    AT(CBoxMetrics, create_duration_ms, 40);
    AT(CBoxMetrics, boot_duration_ms, 48);
    AT(CBoxMetrics, network_bytes_sent, 56);
    AT(CBoxMetrics, network_bytes_received, 64);
    AT(CBoxMetrics, network_tcp_connections, 72);
    AT(CBoxMetrics, network_tcp_errors, 76);
}

static void layout_of_CRuntimeMetrics(void **state)
{
    (void)state;
    assert_int_equal(sizeof(CRuntimeMetrics), 20);
    AT(CRuntimeMetrics, boxes_created_total, 0);
    AT(CRuntimeMetrics, boxes_failed_total, 4);
    AT(CRuntimeMetrics, num_running_boxes, 8);
    AT(CRuntimeMetrics, total_commands_executed, 12);
    AT(CRuntimeMetrics, total_exec_errors, 16);
}

static void layout_of_BoxliteSocketAddress(void **state)
{
    (void)state;
    assert_int_equal(sizeof(BoxliteSocketAddress), 32);
    AT(BoxliteSocketAddress, kind, 0);
    AT(BoxliteSocketAddress, host, 8);
    AT(BoxliteSocketAddress, port, 16);
    AT(BoxliteSocketAddress, path, 24);
}

static void layout_of_CRegistryCredential(void **state)
{
    (void)state;
    assert_int_equal(sizeof(CRegistryCredential), 48);
    AT(CRegistryCredential, id, 0);
    AT(CRegistryCredential, registry_host, 8);
    AT(CRegistryCredential, repository_prefix, 16);
    AT(CRegistryCredential, username, 24);
    AT(CRegistryCredential, created_by, 32);
    AT(CRegistryCredential, created_at, 40);
}

static void layout_of_CRegistryCredentialList(void **state)
{
    (void)state;
    assert_int_equal(sizeof(CRegistryCredentialList), 16);
    AT(CRegistryCredentialList, items, 0);
    AT(CRegistryCredentialList, count, 8);
}

static void layout_of_BoxliteImageRegistry(void **state)
{
    (void)state;
    assert_int_equal(sizeof(BoxliteImageRegistry), 48);
    AT(BoxliteImageRegistry, host, 0);
    AT(BoxliteImageRegistry, transport, 8);
    AT(BoxliteImageRegistry, skip_verify, 12);
    AT(BoxliteImageRegistry, search, 16);
    AT(BoxliteImageRegistry, username, 24);
    AT(BoxliteImageRegistry, password, 32);
    AT(BoxliteImageRegistry, bearer_token, 40);
}

static void layout_of_CVolumeInfo(void **state)
{
    (void)state;
    assert_int_equal(sizeof(CVolumeInfo), 40);
    AT(CVolumeInfo, id, 0);
    AT(CVolumeInfo, name, 8);
    AT(CVolumeInfo, created_at, 16);
    AT(CVolumeInfo, size_bytes, 24);
    AT(CVolumeInfo, has_size, 32);
}

static void layout_of_CVolumeInfoList(void **state)
{
    (void)state;
    assert_int_equal(sizeof(CVolumeInfoList), 16);
    AT(CVolumeInfoList, items, 0);
    AT(CVolumeInfoList, count, 8);
}

static void codes_keep_their_numbers(void **state)
{
    (void)state;
    assert_int_equal(Ok, 0);
    assert_int_equal(BOXLITE_OK, 0);
    assert_int_equal(Internal, 1);
    assert_int_equal(BOXLITE_INTERNAL, 1);
    assert_int_equal(NotFound, 2);
    assert_int_equal(BOXLITE_NOT_FOUND, 2);
    assert_int_equal(AlreadyExists, 3);
    assert_int_equal(BOXLITE_ALREADY_EXISTS, 3);
    assert_int_equal(InvalidState, 4);
    assert_int_equal(BOXLITE_INVALID_STATE, 4);
    assert_int_equal(InvalidArgument, 5);
    assert_int_equal(BOXLITE_INVALID_ARGUMENT, 5);
    assert_int_equal(Config, 6);
    assert_int_equal(BOXLITE_CONFIG, 6);
    assert_int_equal(Storage, 7);
    assert_int_equal(BOXLITE_STORAGE, 7);
    assert_int_equal(Image, 8);
    assert_int_equal(BOXLITE_IMAGE, 8);
    assert_int_equal(Network, 9);
    assert_int_equal(BOXLITE_NETWORK, 9);
    assert_int_equal(Execution, 10);
    assert_int_equal(BOXLITE_EXECUTION, 10);
    assert_int_equal(Stopped, 11);
    assert_int_equal(BOXLITE_STOPPED, 11);
    assert_int_equal(Engine, 12);
    assert_int_equal(BOXLITE_ENGINE, 12);
    assert_int_equal(Unsupported, 13);
    assert_int_equal(BOXLITE_UNSUPPORTED, 13);
    assert_int_equal(Database, 14);
    assert_int_equal(BOXLITE_DATABASE, 14);
    assert_int_equal(Portal, 15);
    assert_int_equal(BOXLITE_PORTAL, 15);
    assert_int_equal(Rpc, 16);
    assert_int_equal(BOXLITE_RPC, 16);
    assert_int_equal(RpcTransport, 17);
    assert_int_equal(BOXLITE_RPC_TRANSPORT, 17);
    assert_int_equal(Metadata, 18);
    assert_int_equal(BOXLITE_METADATA, 18);
    assert_int_equal(UnsupportedEngine, 19);
    assert_int_equal(BOXLITE_UNSUPPORTED_ENGINE, 19);
    assert_int_equal(ResourceExhausted, 20);
    assert_int_equal(BOXLITE_RESOURCE_EXHAUSTED, 20);
    assert_int_equal(SessionReaped, 21);
    assert_int_equal(BOXLITE_SESSION_REAPED, 21);
    assert_int_equal(BoxliteNetworkModeEnabled, 0);
    assert_int_equal(BoxliteNetworkModeDisabled, 1);
    assert_int_equal(BoxlitePortProtocolTcp, 0);
    assert_int_equal(BoxlitePortProtocolUdp, 1);
    assert_int_equal(BoxliteRegistryTransportHttps, 0);
    assert_int_equal(BoxliteRegistryTransportHttp, 1);
    assert_int_equal(BoxliteCopySourceKindUnknown, 0);
    assert_int_equal(BoxliteCopySourceKindFile, 1);
    assert_int_equal(BoxliteCopySourceKindDir, 2);
    assert_int_equal(BoxliteSocketTcp, 0);
    assert_int_equal(BoxliteSocketUnix, 1);
    assert_int_equal(QUEUE_CAPACITY, 4096);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(layout_of_CBoxliteError),
        cmocka_unit_test(layout_of_BoxliteCommand),
        cmocka_unit_test(layout_of_CBoxliteExecResult),
        cmocka_unit_test(layout_of_CImagePullResult),
        cmocka_unit_test(layout_of_CImageInfo),
        cmocka_unit_test(layout_of_CImageInfoList),
        cmocka_unit_test(layout_of_CImageVersion),
        cmocka_unit_test(layout_of_CImageDetail),
        cmocka_unit_test(layout_of_CImageUsage),
        cmocka_unit_test(layout_of_CPublishedPort),
        cmocka_unit_test(layout_of_CPublishedPortList),
        cmocka_unit_test(layout_of_COutboundNetworkInfo),
        cmocka_unit_test(layout_of_CInboundNetworkInfo),
        cmocka_unit_test(layout_of_CNetworkInfo),
        cmocka_unit_test(layout_of_CBoxInfo),
        cmocka_unit_test(layout_of_CBoxInfoList),
        cmocka_unit_test(layout_of_CBoxMetrics),
        cmocka_unit_test(layout_of_CRuntimeMetrics),
        cmocka_unit_test(layout_of_BoxliteSocketAddress),
        cmocka_unit_test(layout_of_CRegistryCredential),
        cmocka_unit_test(layout_of_CRegistryCredentialList),
        cmocka_unit_test(layout_of_BoxliteImageRegistry),
        cmocka_unit_test(layout_of_CVolumeInfo),
        cmocka_unit_test(layout_of_CVolumeInfoList),
        cmocka_unit_test(codes_keep_their_numbers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
