/* SPDX-License-Identifier: Apache-2.0 */
/* test_core_policy.c - boxes that died and come back by their policy, and boxes that go by themselves; the shim is a stand-in */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "core/change.h"
#include "core/policy.h"
#include "core_fixture.h"
#include "proto/launch.h"

static void make(const char *mode, const char *policy, int64_t auto_delete_ms, char *id)
{
    const char *command[] = {mode, NULL}, *entrypoint[] = {NULL};
    struct bl_box_options options = {.image = "busybox",
                                     .entrypoint = entrypoint,
                                     .command = mode ? command : NULL,
                                     .detach = true,
                                     .auto_delete_ms = auto_delete_ms};

    assert_int_equal(bl_restart_parse(policy, &options.restart), 0);
    assert_int_equal(bl_box_create(fixture_runtime, &options, -1, id, NULL), 0);
}

/* change() - Alter what is recorded of a box, as time or another program would. */
static void change(const char *id, void (*alter)(struct bl_state *))
{
    struct bl_record record = {0};

    assert_int_equal(bl_store_get(fixture_runtime->store, id, &record, NULL), 0);
    alter(&record.state);
    assert_int_equal(bl_store_update(fixture_runtime->store, id, &record.state, NULL), 1);
    bl_record_free(&record);
}

static void reboot(struct bl_state *state)
{
    snprintf(state->shim.boot_id, sizeof state->shim.boot_id, "00000000-0000-0000-0000-00000000boot");
}

static void an_hour_ago(struct bl_state *state)
{
    state->started_at_ms -= 3600000;
    state->ended_at_ms -= 3600000;
}

struct told {
    int runs, failures;
    char message[BL_ERROR_MESSAGE_MAX];
};

static void tell(const char *id, const char *name, const struct bl_error *err, void *data)
{
    struct told *told = data;

    (void)id;
    (void)name;
    told->runs += !err;
    told->failures += err != NULL;
    if (err)
        snprintf(told->message, sizeof told->message, "%s", err->message);
}

static struct told revive(bool after_boot)
{
    const struct bl_start_options options = {.detach = true, .cancel_fd = -1};
    struct told told = {0};

    assert_int_equal(bl_runtime_start_by_policy(fixture_runtime, &options, after_boot, tell, &told, NULL), 0);
    return told;
}

static void is(const char *id, enum bl_box_status status, uint32_t restarts)
{
    struct bl_box_info info = fixture_inspect(fixture_runtime, id);

    assert_int_equal(info.status, status);
    assert_int_equal(info.restarts, restarts);
    bl_box_info_free(&info);
}

static void remove_box(const char *id)
{
    assert_int_equal(bl_box_remove(fixture_runtime, id, true, NULL), 0);
}

/* A box whose shim was killed: who comes next starts it, unless its policy is `no`. */
static void what_died_comes_back(void **state)
{
    static const char *const policies[] = {"no", "on-failure", "always", "unless-stopped"};
    char id[BL_BOX_ID_LENGTH + 1];

    (void)state;
    for (size_t i = 0; i < sizeof policies / sizeof *policies; i++) {
        make(NULL, policies[i], 0, id);
        assert_int_equal(revive(false).runs, 0); /* it was never started */
        assert_int_equal(revive(true).runs, 0);
        fixture_kill(fixture_start(fixture_runtime, id));
        assert_int_equal(revive(false).runs, i > 0);
        is(id, i ? BL_BOX_RUNNING : BL_BOX_STOPPED, i > 0);
        assert_int_equal(revive(false).runs, 0);
        remove_box(id);
    }
}

/* A stop ends it for good; only `always` comes back, and only after the machine was started anew. */
static void a_stop_ends_it(void **state)
{
    static const char *const policies[] = {"on-failure", "always", "unless-stopped"};
    char id[BL_BOX_ID_LENGTH + 1];

    (void)state;
    for (size_t i = 0; i < sizeof policies / sizeof *policies; i++) {
        make(NULL, policies[i], 0, id);
        fixture_start(fixture_runtime, id);
        assert_int_equal(bl_box_stop(fixture_runtime, id, -1, -1, NULL), 0);
        assert_int_equal(revive(false).runs, 0);
        assert_int_equal(revive(true).runs, 0);
        change(id, reboot);
        assert_int_equal(revive(false).runs, 0);
        assert_int_equal(revive(true).runs, i == 1);
        is(id, i == 1 ? BL_BOX_RUNNING : BL_BOX_STOPPED, i == 1);
        remove_box(id);
    }
}

/* What its shim had to decide is decided; a signal to the shim, as at the end of the machine, is no decision. */
static void reports_say_who_meant_it(void **state)
{
    static const struct {
        const char *report;
        bool wanted;
    } rows[] = {
        {"{\"version\":1,\"type\":\"workload\",\"exit_code\":0}", false},
        {"{\"version\":1,\"type\":\"signal\",\"exit_code\":137,\"signal\":9}", false},
        {"{\"version\":1,\"type\":\"stopped\",\"asked\":true,\"exit_code\":137}", false},
        {"{\"version\":1,\"type\":\"stopped\",\"asked\":false,\"exit_code\":137}", true},
        {"{\"version\":1,\"type\":\"error\",\"exit_code\":137}", true},
        {"{\"version\":1,\"type\":\"panic\",\"exit_code\":137}", true},
    };
    char id[BL_BOX_ID_LENGTH + 1];

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        make(NULL, "always", 0, id);
        fixture_kill(fixture_start(fixture_runtime, id));
        fixture_write(id, "exit.json", rows[i].report);
        assert_int_equal(revive(false).runs, rows[i].wanted);
        remove_box(id);
    }
}

static void restarts_are_counted_and_bounded(void **state)
{
    char id[BL_BOX_ID_LENGTH + 1];
    struct bl_box_info info;

    (void)state;
    make(NULL, "on-failure:2", 0, id);
    fixture_kill(fixture_start(fixture_runtime, id));
    for (uint32_t i = 1; i <= 2; i++) {
        assert_int_equal(revive(true).runs, 1);
        is(id, BL_BOX_RUNNING, i);
        info = fixture_inspect(fixture_runtime, id);
        fixture_kill(info.pid);
        bl_box_info_free(&info);
    }
    assert_int_equal(revive(true).runs, 0);
    is(id, BL_BOX_STOPPED, 2);
    /* By hand the count begins anew. */
    fixture_kill(fixture_start(fixture_runtime, id));
    is(id, BL_BOX_STOPPED, 0);
    assert_int_equal(revive(true).runs, 1);
    /* Nonsense in the file is no number. */
    fixture_write(id, BL_FILE_RESTARTS, "-5\n");
    is(id, BL_BOX_RUNNING, 0);
    remove_box(id);
}

/* What dies at once, again and again, does not cost every command a boot; after a boot of the machine nobody waits. */
static void the_delay_grows(void **state)
{
    char id[BL_BOX_ID_LENGTH + 1];
    struct bl_box_info info;

    (void)state;
    make(NULL, "always", 0, id);
    fixture_kill(fixture_start(fixture_runtime, id));
    assert_int_equal(revive(false).runs, 1); /* the first time there is nothing to wait for */
    fixture_write(id, BL_FILE_RESTARTS, "30\n");
    info = fixture_inspect(fixture_runtime, id);
    fixture_kill(info.pid);
    bl_box_info_free(&info);
    assert_int_equal(revive(false).runs, 0); /* a minute has not passed */
    is(id, BL_BOX_STOPPED, 30);
    change(id, an_hour_ago);
    assert_int_equal(revive(false).runs, 1);
    info = fixture_inspect(fixture_runtime, id);
    fixture_kill(info.pid);
    bl_box_info_free(&info);
    assert_int_equal(revive(true).runs, 1);
    is(id, BL_BOX_RUNNING, 32);
    remove_box(id);
}

/* A start by policy that fails is told, counts, and is tried again; one by hand that fails is the user's matter. */
static void a_start_that_fails(void **state)
{
    char id[BL_BOX_ID_LENGTH + 1];
    struct told told;

    (void)state;
    make("fail", "always", 0, id);
    assert_int_equal(bl_box_start(fixture_runtime, id, NULL, NULL), -1);
    assert_int_equal(revive(false).failures, 0);
    change(id, reboot);
    told = revive(true);
    assert_int_equal(told.failures, 1);
    assert_non_null(strstr(told.message, "no such command"));
    is(id, BL_BOX_FAILED, 1);
    remove_box(id);
}

static void deadlines_doom(void **state)
{
    char id[BL_BOX_ID_LENGTH + 1], kept[BL_BOX_ID_LENGTH + 1];
    struct bl_box_info *list;
    struct bl_error err = BL_ERROR_INIT;
    size_t count;

    (void)state;
    make(NULL, "no", 3599000, id);
    make(NULL, "always", 1, kept);
    fixture_start(fixture_runtime, id);
    fixture_kill(fixture_start(fixture_runtime, kept));
    assert_int_equal(bl_box_stop(fixture_runtime, id, -1, -1, NULL), 0);
    bl_sweep_doomed(fixture_runtime);
    is(id, BL_BOX_STOPPED, 0); /* its time has not come */
    change(id, an_hour_ago);
    assert_int_equal(bl_box_list(fixture_runtime, &list, &count, NULL), 0);
    assert_int_equal(count, 1); /* the other has died and will be back: it has not come to its end */
    assert_string_equal(list[0].id, kept);
    bl_box_list_free(list, count);
    assert_int_equal(access(fixture_path(id, "shim.lock"), F_OK), 0); /* who looks removes nothing */
    bl_sweep_doomed(fixture_runtime);
    assert_int_equal(bl_box_inspect(fixture_runtime, id, &(struct bl_box_info){0}, &err), -1);
    assert_int_equal(err.code, BL_NOT_FOUND);
    assert_int_equal(access(fixture_path(id, ""), F_OK), -1);
    remove_box(kept);
}

static void what_makes_no_sense_is_refused(void **state)
{
    const struct bl_box_options rows[] = {
        {.image = "busybox", .restart = {.kind = BL_RESTART_ALWAYS}},
        {.image = "busybox", .restart = {.kind = BL_RESTART_ALWAYS}, .detach = true, .auto_remove = true},
        {.image = "busybox", .detach = true, .auto_remove = true, .auto_delete_ms = 1},
        {.image = "busybox", .auto_stop_ms = -1},
        {.image = "busybox", .auto_delete_ms = INT64_MAX},
    };
    char id[BL_BOX_ID_LENGTH + 1];

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct bl_error err = BL_ERROR_INIT;

        assert_int_equal(bl_box_create(fixture_runtime, &rows[i], -1, id, &err), -1);
        assert_int_equal(err.code, BL_INVALID_ARGUMENT);
    }
}

/* A box with auto_remove that has ended is about to go: its name is free for the next, and nobody starts it any more. */
static void what_is_doomed_does_not_come_back(void **state)
{
    const char *command[] = {"done", NULL}, *entrypoint[] = {NULL};
    const struct bl_box_options options = {
        .image = "busybox", .name = "brief", .entrypoint = entrypoint, .command = command, .detach = true, .auto_remove = true};
    char id[BL_BOX_ID_LENGTH + 1], next[BL_BOX_ID_LENGTH + 1];
    struct bl_error err = BL_ERROR_INIT;
    struct bl_box_info info;

    (void)state;
    assert_int_equal(bl_box_create(fixture_runtime, &options, -1, id, NULL), 0);
    assert_int_equal(bl_box_start(fixture_runtime, id, NULL, NULL), 0);
    assert_int_equal(bl_box_wait(fixture_runtime, id, -1, &info, NULL), 0);
    bl_box_info_free(&info);
    assert_int_equal(bl_box_start(fixture_runtime, id, NULL, &err), -1);
    assert_int_equal(err.code, BL_INVALID_STATE);
    assert_int_equal(bl_box_create(fixture_runtime, &options, -1, next, NULL), 0);
    assert_int_equal(bl_box_inspect(fixture_runtime, id, &info, &err), -1);
    remove_box(next);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_A_RUNTIME(what_died_comes_back),
        WITH_A_RUNTIME(a_stop_ends_it),
        WITH_A_RUNTIME(reports_say_who_meant_it),
        WITH_A_RUNTIME(restarts_are_counted_and_bounded),
        WITH_A_RUNTIME(the_delay_grows),
        WITH_A_RUNTIME(a_start_that_fails),
        WITH_A_RUNTIME(deadlines_doom),
        WITH_A_RUNTIME(what_makes_no_sense_is_refused),
        WITH_A_RUNTIME(what_is_doomed_does_not_come_back),
    };

    return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
