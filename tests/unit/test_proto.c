/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_proto.c - frames, fields, messages, entries of copies and the shim's configuration
 *
 * Each decoder is given what its encoder made, in one piece and in every possible cut, and what breaks each of its rules.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "base/strings.h"
#include "proto/entry.h"
#include "proto/launch.h"
#include "proto/messages.h"
#include "proto/moments.h"

static void frames_survive_any_cut(void **state)
{
    (void)state;
    cleanup_buffer struct bl_buffer all = BL_BUFFER_INIT(1 << 20);
    const struct {
        enum bl_frame_type type;
        uint16_t channel;
        uint32_t stream;
        const char *payload;
    } sent[] = {
        {BL_FRAME_PING, 0, 0, "12345678"},
        {BL_FRAME_DATA, BL_CHANNEL_STDERR, 7, "some bytes"},
        {BL_FRAME_EOF, BL_CHANNEL_STDIN, 7, ""},
        {BL_FRAME_STATUS, 0, 0xffffffff, ""},
    };

    for (size_t i = 0; i < sizeof sent / sizeof *sent; i++)
        assert_int_equal(
            bl_frame_append(&all, sent[i].type, sent[i].channel, sent[i].stream, sent[i].payload, strlen(sent[i].payload)), 0);
    for (size_t step = 1; step <= all.length; step++) {
        cleanup_buffer struct bl_buffer in = BL_BUFFER_INIT(1 << 20);
        size_t fed = 0, got = 0;

        while (fed < all.length) {
            size_t now = all.length - fed < step ? all.length - fed : step;
            struct bl_frame frame;
            size_t used = 0;

            bl_buffer_append(&in, bl_buffer_data(&all) + fed, now);
            fed += now;
            while (bl_frame_next(&in, &frame, &used) == 1) {
                assert_int_equal(frame.type, sent[got].type);
                assert_int_equal(frame.channel, sent[got].channel);
                assert_int_equal(frame.stream, sent[got].stream);
                assert_int_equal(frame.length, strlen(sent[got].payload));
                assert_memory_equal(frame.payload, sent[got].payload, frame.length);
                bl_buffer_consume(&in, used);
                got++;
            }
        }
        assert_int_equal(got, sizeof sent / sizeof *sent);
        assert_int_equal(in.length, 0);
    }
}

/* next_of() - What the decoder says of a bare header. */
static int next_of(uint32_t length, uint16_t type, uint16_t channel)
{
    cleanup_buffer struct bl_buffer in = BL_BUFFER_INIT(1 << 20);
    uint8_t header[BL_FRAME_HEADER_BYTES] = {0};
    struct bl_frame frame;
    size_t used;

    bl_put_le32(header, length);
    bl_put_le16(header + 4, type);
    bl_put_le16(header + 6, channel);
    bl_buffer_append(&in, header, sizeof header);
    return bl_frame_next(&in, &frame, &used);
}

static void bad_frames_are_refused_at_once(void **state)
{
    (void)state;
    assert_int_equal(next_of(0, BL_FRAME_PING, 0), 1);
    assert_int_equal(next_of(BL_FRAME_PAYLOAD_MAX, BL_FRAME_DATA, 0), 0); /* control: more bytes are to come */
    assert_int_equal(next_of(BL_FRAME_PAYLOAD_MAX + 1, BL_FRAME_DATA, 0), -1);
    assert_int_equal(next_of(UINT32_MAX, BL_FRAME_DATA, 0), -1);
    assert_int_equal(next_of(0, 0, 0), -1);
    assert_int_equal(next_of(0, BL_FRAME_DOWN + 1, 0), -1);
    assert_int_equal(next_of(0, BL_FRAME_CLOSE + 1, 0), -1);
    assert_int_equal(next_of(0, BL_FRAME_TYPE_END, 0), -1);
    assert_int_equal(next_of(0, BL_FRAME_DATA, BL_CHANNEL_COUNT), -1);

    cleanup_buffer struct bl_buffer out = BL_BUFFER_INIT(1 << 20);
    uint8_t *large = calloc(1, BL_FRAME_PAYLOAD_MAX + 1);

    assert_int_equal(bl_frame_append(&out, BL_FRAME_DATA, 0, 1, large, BL_FRAME_PAYLOAD_MAX + 1), -1);
    assert_int_equal(out.length, 0);
    free(large);
}

static void hello_tells_versions_apart(void **state)
{
    (void)state;
    const struct {
        uint32_t version, oldest;
        int result;
    } rows[] = {
        {BL_PROTO_VERSION, BL_PROTO_OLDEST_VERSION, 0},
        {BL_PROTO_VERSION + 5, BL_PROTO_VERSION, 0}, /* a newer peer that still speaks ours */
        {BL_PROTO_VERSION + 5, BL_PROTO_VERSION + 1, -1},
        {BL_PROTO_OLDEST_VERSION - 1, BL_PROTO_OLDEST_VERSION - 1, -1},
    };

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        cleanup_buffer struct bl_buffer out = BL_BUFFER_INIT(1024);
        struct bl_hello hello = {.version = rows[i].version, .oldest = rows[i].oldest, .epoch = {1, 2, 3}}, got;
        struct bl_frame frame;
        size_t used;

        assert_int_equal(bl_hello_append(&out, &hello), 0);
        assert_int_equal(bl_frame_next(&out, &frame, &used), 1);
        assert_int_equal(bl_hello_parse(&frame, &got), rows[i].result);
        if (rows[i].result == 0)
            assert_memory_equal(got.epoch, hello.epoch, BL_EPOCH_BYTES);
        bl_buffer_data(&out)[BL_FRAME_HEADER_BYTES] ^= 1; /* the magic */
        assert_int_equal(bl_hello_parse(&frame, &got), -1);
    }
}

/* The structs own their strings, so they want writable ones; a literal is not. */
#define TEXT(literal) ((char[]){literal})

static char *words[] = {TEXT("sh"), TEXT("-c"), TEXT("exit 3"), NULL};
static char *variables[] = {TEXT("A=1"), TEXT("EMPTY="), NULL};

static const struct bl_open sample_open = {.kind = BL_OPEN_EXEC,
                                           .args = words,
                                           .env = variables,
                                           .cwd = TEXT("/tmp"),
                                           .user = TEXT("nobody"),
                                           .timeout_ms = 5000000000ull,
                                           .stop_signal = 2,
                                           .rows = 24,
                                           .columns = 65535,
                                           .tty = true,
                                           .use_stdin = true,
                                           .detach = true,
                                           .has_capabilities = true,
                                           .capabilities = 1ull << 40 | 1};

static void open_comes_back_whole(void **state)
{
    (void)state;
    cleanup_buffer struct bl_buffer out = BL_BUFFER_INIT(65536);
    struct bl_open sent = sample_open, got;

    assert_int_equal(bl_open_encode(&out, &sent), 0);
    assert_int_equal(bl_open_decode(bl_buffer_data(&out), out.length, &got), 0);
    assert_int_equal(got.kind, sent.kind);
    assert_int_equal(bl_strings_count((const char *const *)got.args), 3);
    assert_string_equal(got.args[2], "exit 3");
    assert_string_equal(got.env[1], "EMPTY=");
    assert_string_equal(got.cwd, "/tmp");
    assert_string_equal(got.user, "nobody");
    assert_null(got.path);
    assert_true(got.timeout_ms == sent.timeout_ms);
    assert_int_equal(got.stop_signal, 2);
    assert_int_equal(got.rows, 24);
    assert_int_equal(got.columns, 65535);
    assert_true(got.tty && got.use_stdin && got.detach);
    assert_true(got.has_capabilities && got.capabilities == sent.capabilities);
    bl_open_free(&got);

    /* No capabilities at all are another word than none about them. */
    for (int has = 0; has < 2; has++) {
        sent.has_capabilities = has;
        sent.capabilities = 0;
        out.length = 0;
        assert_int_equal(bl_open_encode(&out, &sent), 0);
        assert_int_equal(bl_open_decode(bl_buffer_data(&out), out.length, &got), 0);
        assert_int_equal(got.has_capabilities, has);
        bl_open_free(&got);
    }
}

static void open_cut_anywhere_is_refused(void **state)
{
    (void)state;
    cleanup_buffer struct bl_buffer out = BL_BUFFER_INIT(65536);
    struct bl_open sent = sample_open, got;
    size_t whole = 0;

    assert_int_equal(bl_open_encode(&out, &sent), 0);
    for (size_t length = 0; length < out.length; length++) {
        /* A cut between two fields can leave a shorter message that is right in itself; what must never come back is more. */
        if (bl_open_decode(bl_buffer_data(&out), length, &got) == 0) {
            whole++;
            bl_open_free(&got);
        }
    }
    assert_in_range(whole, 0, 12);
}

static void open_keeps_its_rules(void **state)
{
    (void)state;
    const struct {
        uint16_t tag;
        uint32_t value;
    } bad_numbers[] = {{BL_OPEN_KIND, 0},     {BL_OPEN_KIND, 5},         {BL_OPEN_TTY, 2},        {BL_OPEN_STDIN, 7},
                       {BL_OPEN_ROWS, 65536}, {BL_OPEN_STOP_SIGNAL, 65}, {BL_OPEN_COPY_FLAGS, 4}, {BL_OPEN_DETACH, 2}};
    struct bl_open got;

    for (size_t i = 0; i < sizeof bad_numbers / sizeof *bad_numbers; i++) {
        cleanup_buffer struct bl_buffer out = BL_BUFFER_INIT(65536);

        bl_field_put_u32(&out, BL_OPEN_KIND, BL_OPEN_EXEC);
        bl_field_put_string(&out, BL_OPEN_ARG, "true");
        assert_int_equal(bl_open_decode(bl_buffer_data(&out), out.length, &got), 0); /* control */
        bl_open_free(&got);
        bl_field_put_u32(&out, bad_numbers[i].tag, bad_numbers[i].value);
        assert_int_equal(bl_open_decode(bl_buffer_data(&out), out.length, &got), -1);
    }

    /* A command is needed for an EXEC, an absolute path for a copy, and no string may hide a NUL. */
    cleanup_buffer struct bl_buffer exec = BL_BUFFER_INIT(65536), copy = BL_BUFFER_INIT(65536), nul = BL_BUFFER_INIT(65536);

    bl_field_put_u32(&exec, BL_OPEN_KIND, BL_OPEN_EXEC);
    assert_int_equal(bl_open_decode(bl_buffer_data(&exec), exec.length, &got), -1);
    bl_field_put_u32(&copy, BL_OPEN_KIND, BL_OPEN_COPY_IN);
    bl_field_put_string(&copy, BL_OPEN_PATH, "tmp");
    assert_int_equal(bl_open_decode(bl_buffer_data(&copy), copy.length, &got), -1);
    bl_field_put_u32(&nul, BL_OPEN_KIND, BL_OPEN_EXEC);
    bl_field_put_bytes(&nul, BL_OPEN_ARG, "a\0b", 3);
    assert_int_equal(bl_open_decode(bl_buffer_data(&nul), nul.length, &got), -1);
}

static void exit_says_code_or_signal(void **state)
{
    (void)state;
    const struct bl_exit sent[] = {
        {.code = 0},
        {.code = 255, .duration_us = 12345678901ull},
        {.code = 137, .signal = 9, .timed_out = true, .oom = true},
        {.code = 127, .error_number = 2, .error = "Execution error: nope"},
    };

    for (size_t i = 0; i < sizeof sent / sizeof *sent; i++) {
        cleanup_buffer struct bl_buffer out = BL_BUFFER_INIT(65536);
        struct bl_exit got;

        assert_int_equal(bl_exit_encode(&out, &sent[i]), 0);
        assert_int_equal(bl_exit_decode(bl_buffer_data(&out), out.length, &got), 0);
        assert_int_equal(got.code, sent[i].code);
        assert_int_equal(got.signal, sent[i].signal);
        assert_int_equal(got.timed_out, sent[i].timed_out);
        assert_int_equal(got.oom, sent[i].oom);
        assert_int_equal(got.error_number, sent[i].error_number);
        assert_true(got.duration_us == sent[i].duration_us);
        assert_string_equal(got.error, sent[i].error);
        /* Both at once, or none, is no exit. */
        bl_field_put_u32(&out, sent[i].signal ? BL_EXIT_CODE : BL_EXIT_SIGNAL, 1);
        assert_int_equal(bl_exit_decode(bl_buffer_data(&out), out.length, &got), -1);
        assert_int_equal(bl_exit_decode(NULL, 0, &got), -1);
    }
}

static void exit_message_is_one_printable_line(void **state)
{
    (void)state;
    cleanup_buffer struct bl_buffer out = BL_BUFFER_INIT(65536);
    struct bl_exit got;
    char text[BL_MESSAGE_BYTES_MAX + 100];

    memset(text, '\n', sizeof text);
    text[0] = '\033';
    bl_field_put_u32(&out, BL_EXIT_CODE, 1);
    bl_field_put_bytes(&out, BL_EXIT_ERROR, text, sizeof text);
    assert_int_equal(bl_exit_decode(bl_buffer_data(&out), out.length, &got), 0);
    assert_int_equal(strlen(got.error), BL_MESSAGE_BYTES_MAX);
    assert_int_equal(strspn(got.error, "?"), BL_MESSAGE_BYTES_MAX);
}

static void entries_come_back_whole(void **state)
{
    (void)state;
    const struct bl_entry sent[] = {
        {.type = BL_ENTRY_DIRECTORY, .path = TEXT(""), .name = TEXT("src"), .mode = 0755, .uid = 1000, .gid = 100},
        {.type = BL_ENTRY_FILE, .path = TEXT("a/b"), .mode = 04755, .size = 1ull << 40, .mtime_ns = 1700000000123456789ull},
        {.type = BL_ENTRY_SYMLINK, .path = TEXT("l"), .link = TEXT("../../etc/passwd"), .mode = 0777},
        {.type = BL_ENTRY_HARDLINK, .path = TEXT("h"), .link = TEXT("a/b")},
        {.type = BL_ENTRY_END},
    };

    for (size_t i = 0; i < sizeof sent / sizeof *sent; i++) {
        cleanup_buffer struct bl_buffer out = BL_BUFFER_INIT(65536);
        struct bl_entry got;
        size_t used = 0;

        assert_int_equal(bl_entry_encode(&out, &sent[i]), 0);
        for (size_t length = 0; length < out.length; length++)
            assert_int_equal(bl_entry_decode(bl_buffer_data(&out), length, &got, &used), 0);
        assert_int_equal(bl_entry_decode(bl_buffer_data(&out), out.length, &got, &used), 1);
        assert_int_equal(used, out.length);
        assert_int_equal(got.type, sent[i].type);
        assert_string_equal(got.path, sent[i].path ? sent[i].path : "");
        assert_true(got.size == sent[i].size && got.mtime_ns == sent[i].mtime_ns);
        assert_true(got.mode == sent[i].mode && got.uid == sent[i].uid && got.gid == sent[i].gid);
        if (sent[i].link)
            assert_string_equal(got.link, sent[i].link);
        if (sent[i].name)
            assert_string_equal(got.name, sent[i].name);
        bl_entry_free(&got);
    }
}

static void entries_stay_inside(void **state)
{
    (void)state;
    const char *const bad[] = {"/etc/passwd", "..", "../x", "a/../b", "a/..", ".", "a/./b", "a//b", "a/"};
    struct bl_entry got;
    size_t used;

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        cleanup_buffer struct bl_buffer path = BL_BUFFER_INIT(65536), link = BL_BUFFER_INIT(65536), name = BL_BUFFER_INIT(65536);
        char *text = strdup(bad[i]);

        bl_entry_encode(&path, &(struct bl_entry){.type = BL_ENTRY_FILE, .path = text});
        assert_int_equal(bl_entry_decode(bl_buffer_data(&path), path.length, &got, &used), -1);
        bl_entry_encode(&link, &(struct bl_entry){.type = BL_ENTRY_HARDLINK, .path = TEXT("x"), .link = text});
        assert_int_equal(bl_entry_decode(bl_buffer_data(&link), link.length, &got, &used), -1);
        bl_entry_encode(&name, &(struct bl_entry){.type = BL_ENTRY_FILE, .path = TEXT(""), .name = text});
        assert_int_equal(bl_entry_decode(bl_buffer_data(&name), name.length, &got, &used), -1);
        free(text);
    }
}

static const struct bl_launch sample_launch = {.box_id = TEXT("AbC123xyz789"),
                                               .box_dir = TEXT("/home/u/.boxlite/boxes/AbC123xyz789"),
                                               .engine = TEXT("auto"),
                                               .kernel = TEXT("/k"),
                                               .initramfs = TEXT("/i"),
                                               .memory_bytes = 512ull << 20,
                                               .disk_bytes = 10ull << 30,
                                               .cpus = 2,
                                               .start_timeout_ms = 60000,
                                               .stop_grace_ms = 10000,
                                               .restart = {.kind = BL_RESTART_ON_FAILURE, .most = 5},
                                               .restarts = 2,
                                               .auto_stop_ms = 1ull << 33,
                                               .ready_fd = 3,
                                               .lifecycle_fd = 0,
                                               .creator_fd = -1,
                                               .start_on_attach = true,
                                               .debug = true,
                                               .kvm_usable = true,
                                               .kvm_refused = TEXT("why"),
                                               .workload = {.kind = BL_OPEN_WORKLOAD, .args = words, .env = variables}};

static void launch_comes_back_whole(void **state)
{
    (void)state;
    cleanup_buffer struct bl_buffer out = BL_BUFFER_INIT(BL_LAUNCH_MAX);
    struct bl_launch sent = sample_launch, got;
    struct bl_error err = BL_ERROR_INIT;

    assert_int_equal(bl_launch_encode(&out, &sent), 0);
    assert_int_equal(bl_launch_decode(bl_buffer_data(&out), out.length, &got, &err), 0);
    assert_string_equal(got.box_id, sent.box_id);
    assert_string_equal(got.kernel, "/k");
    assert_null(got.kernel_args);
    assert_int_equal(got.ready_fd, 3);
    assert_int_equal(got.lifecycle_fd, 0);
    assert_int_equal(got.creator_fd, -1);
    assert_true(got.start_on_attach && got.debug && !got.discard);
    assert_string_equal(got.workload.args[1], "-c");
    assert_int_equal(got.restart.kind, BL_RESTART_ON_FAILURE);
    assert_int_equal(got.restart.most, 5);
    assert_int_equal(got.restarts, 2);
    assert_int_equal(got.auto_stop_ms, 1ull << 33);
    assert_true(got.kvm_usable);
    assert_string_equal(got.kvm_refused, "why");
    bl_launch_free(&got);
}

static void restart_policies_are_read_and_written(void **state)
{
    static const char *const good[] = {"no", "on-failure", "on-failure:1", "on-failure:1000000", "always", "unless-stopped"};
    static const char *const bad[] = {"",         "yes", "on-failure:", "on-failure:0", "on-failure:-1", "on-failure:1000001",
                                      "always:3", "No"};
    struct bl_restart restart;
    char text[BL_RESTART_TEXT_MAX];

    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert_int_equal(bl_restart_parse(good[i], &restart), 0);
        assert_string_equal(bl_restart_format(&restart, text), good[i]);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(bl_restart_parse(bad[i], &restart), -1);
        assert_int_equal(restart.kind, BL_RESTART_NO);
    }
}

static void restart_policies_decide(void **state)
{
    static const struct {
        const char *policy;
        bool failed;
        uint32_t count;
        bool wanted;
    } rows[] = {
        {"no", false, 0, false},
        {"no", true, 0, false},
        {"on-failure", false, 0, false},
        {"on-failure", true, 0, true},
        {"on-failure", true, UINT32_MAX, true},
        {"on-failure:2", true, 1, true},
        {"on-failure:2", true, 2, false},
        {"on-failure:2", false, 0, false},
        {"always", false, 9, true},
        {"always", true, 9, true},
        {"unless-stopped", false, 9, true},
        {"unless-stopped", true, 9, true},
    };
    static const uint32_t delays[] = {100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 51200, 60000, 60000};
    struct bl_restart restart;
    uint32_t delay = 0;

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_int_equal(bl_restart_parse(rows[i].policy, &restart), 0);
        assert_int_equal(bl_restart_wanted(&restart, rows[i].failed, rows[i].count), rows[i].wanted);
    }
    for (size_t i = 0; i < sizeof delays / sizeof *delays; i++) {
        delay = bl_restart_delay(delay, 9999);
        assert_int_equal(delay, delays[i]);
    }
    assert_int_equal(bl_restart_delay(delay, 10000), 100);
}

static void launch_cut_anywhere_is_refused(void **state)
{
    (void)state;
    cleanup_buffer struct bl_buffer out = BL_BUFFER_INIT(BL_LAUNCH_MAX);
    struct bl_launch sent = sample_launch, got;

    assert_int_equal(bl_launch_encode(&out, &sent), 0);
    for (size_t length = 0; length < out.length; length++) {
        struct bl_error err = BL_ERROR_INIT;

        assert_int_equal(bl_launch_decode(bl_buffer_data(&out), length, &got, &err), -1);
        assert_int_equal(err.code, BL_CONFIG);
    }
}

static void moments_come_back(void **state)
{
    struct bl_moments sent = {.origin = BL_ORIGIN_BOOT_KEPT}, got;
    char text[BL_MOMENTS_TEXT_MAX];

    (void)state;
    for (int i = 0; i < BL_MOMENT_COUNT; i++)
        sent.at_us[i] = INT64_MAX - BL_MOMENT_COUNT + i; /* as long as they get */
    bl_moments_print(&sent, text);
    bl_moments_parse(text, &got);
    assert_memory_equal(&got, &sent, sizeof got);

    /* Nothing, less and more than is known, nonsense, and what goes back in time. */
    bl_moments_parse("", &got);
    assert_int_equal(got.at_us[BL_MOMENT_SHIM], 0);
    bl_moments_parse(" 1 5 6 0 0 7", &got);
    assert_int_equal(got.origin, BL_ORIGIN_TEMPLATE);
    assert_int_equal(got.at_us[BL_MOMENT_ENGINE], 6);
    assert_int_equal(got.at_us[BL_MOMENT_MADE], 0);
    assert_int_equal(got.at_us[BL_MOMENT_RUNNING], 7);
    assert_int_equal(got.at_us[BL_MOMENT_KERNEL], 0);
    bl_moments_parse(" 9 5 4 -6 99999999999999999999 x 1 2 3 4 5 6 7 8 9 10 11 12 13", &got);
    assert_int_equal(got.origin, BL_ORIGIN_BOOT);
    assert_int_equal(got.at_us[BL_MOMENT_SHIM], 5);
    for (int i = BL_MOMENT_ENGINE; i < BL_MOMENT_COUNT; i++)
        assert_int_equal(got.at_us[i], 0);
}

/* take_ready() - Give READY's numbers, in the order of their tags, to a start whose host's part is known. */
static struct bl_moments take_ready(enum bl_origin origin, uint64_t init, uint64_t configured, uint64_t mounted, uint64_t sent)
{
    struct bl_moments moments = {.origin = origin,
                                 .at_us = {[BL_MOMENT_RUNNING] = 1000, [BL_MOMENT_GREETED] = 3000, [BL_MOMENT_CONFIGURED] = 3000}};
    cleanup_buffer struct bl_buffer fields = BL_BUFFER_INIT(1024);
    struct bl_frame frame;

    if (origin == BL_ORIGIN_BOOT_KEPT)
        moments.at_us[BL_MOMENT_CONFIGURED] = 3500;
    assert_int_equal(bl_field_put_u64(&fields, BL_READY_INIT_US, init), 0);
    assert_int_equal(bl_field_put_u64(&fields, BL_READY_CONFIGURED_US, configured), 0);
    assert_int_equal(bl_field_put_u64(&fields, BL_READY_MOUNTED_US, mounted), 0);
    if (sent)
        assert_int_equal(bl_field_put_u64(&fields, BL_READY_SENT_US, sent), 0);
    frame = (struct bl_frame){.type = BL_FRAME_READY, .payload = bl_buffer_data(&fields), .length = (uint32_t)fields.length};
    bl_moments_ready(&moments, &frame, 4000);
    return moments;
}

static void guest_moments_are_put_on_the_host_clock(void **state)
{
    struct bl_moments got = take_ready(BL_ORIGIN_BOOT, 500, 1820, 2500, 2780);

    (void)state;
    /* Its clock began between 1180, by CONFIG, and 1220, by READY. */
    assert_int_equal(got.at_us[BL_MOMENT_KERNEL], 1200);
    assert_int_equal(got.at_us[BL_MOMENT_INIT], 1700);
    assert_int_equal(got.at_us[BL_MOMENT_MOUNTED], 3700);

    /* It stood still for 500 while the machine was kept. */
    got = take_ready(BL_ORIGIN_BOOT_KEPT, 500, 1820, 2100, 2280);
    assert_int_equal(got.at_us[BL_MOMENT_KERNEL], 1200);
    assert_int_equal(got.at_us[BL_MOMENT_INIT], 1700);
    assert_int_equal(got.at_us[BL_MOMENT_MOUNTED], 3800);

    got = take_ready(BL_ORIGIN_TEMPLATE, 500, 91820, 92500, 92780);
    assert_int_equal(got.at_us[BL_MOMENT_KERNEL], 0);
    assert_int_equal(got.at_us[BL_MOMENT_INIT], 0);
    assert_int_equal(got.at_us[BL_MOMENT_MOUNTED], 3700);

    /* An older agent does not say when READY was sent. */
    got = take_ready(BL_ORIGIN_BOOT, 500, 1820, 2500, 0);
    assert_int_equal(got.at_us[BL_MOMENT_INIT], 0);
    assert_int_equal(got.at_us[BL_MOMENT_MOUNTED], 0);
}

static void guest_moments_stay_between_those_of_the_host(void **state)
{
    static const uint64_t lies[] = {1, 3000, UINT64_MAX / 8, INT64_MAX, UINT64_MAX};
    const size_t count = sizeof lies / sizeof *lies;

    (void)state;
    for (size_t i = 0; i < count * count * count * count; i++) {
        struct bl_moments got = take_ready(BL_ORIGIN_BOOT, lies[i % count], lies[i / count % count],
                                           lies[i / count / count % count], lies[i / count / count / count]);
        const int64_t *at = got.at_us;

        if (!at[BL_MOMENT_INIT])
            continue;
        assert_true(at[BL_MOMENT_RUNNING] <= at[BL_MOMENT_KERNEL] && at[BL_MOMENT_KERNEL] <= at[BL_MOMENT_INIT]);
        assert_true(at[BL_MOMENT_INIT] <= at[BL_MOMENT_GREETED]);
        assert_true(at[BL_MOMENT_CONFIGURED] <= at[BL_MOMENT_MOUNTED] && at[BL_MOMENT_MOUNTED] <= 4000);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frames_survive_any_cut),
        cmocka_unit_test(bad_frames_are_refused_at_once),
        cmocka_unit_test(hello_tells_versions_apart),
        cmocka_unit_test(open_comes_back_whole),
        cmocka_unit_test(open_cut_anywhere_is_refused),
        cmocka_unit_test(open_keeps_its_rules),
        cmocka_unit_test(exit_says_code_or_signal),
        cmocka_unit_test(exit_message_is_one_printable_line),
        cmocka_unit_test(entries_come_back_whole),
        cmocka_unit_test(entries_stay_inside),
        cmocka_unit_test(launch_comes_back_whole),
        cmocka_unit_test(launch_cut_anywhere_is_refused),
        cmocka_unit_test(moments_come_back),
        cmocka_unit_test(guest_moments_are_put_on_the_host_clock),
        cmocka_unit_test(guest_moments_stay_between_those_of_the_host),
        cmocka_unit_test(restart_policies_are_read_and_written),
        cmocka_unit_test(restart_policies_decide),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
