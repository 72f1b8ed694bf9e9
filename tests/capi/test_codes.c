/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_codes.c - every code of the public enum, forced through the public API
 *
 * The table has one row a code; a code without a row, or a row whose code does not come back, fails. The stand-in shim takes the
 * place of machines, and misbehaves where the code is about that.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include "../unit/core_fixture.h"
#include "base/io.h"
#include "boxlite.h"

static CBoxliteRuntime *runtime;
static CBoxliteError error;

/* What an event said. */
struct outcome {
    int done;
    enum BoxliteErrorCode code;
    CBoxHandle *box;
};

static void on_done(CBoxliteError *failure, void *data)
{
    struct outcome *outcome = data;

    outcome->code = failure ? failure->code : BOXLITE_OK;
    if (failure)
        print_message("  %d: %s\n", (int)failure->code, failure->message);
    outcome->done++;
}

static void on_box(CBoxHandle *box, CBoxliteError *failure, void *data)
{
    ((struct outcome *)data)->box = box;
    on_done(failure, data);
}

static void on_wait(int code, CBoxliteError *failure, void *data)
{
    (void)code;
    on_done(failure, data);
}

static void on_metrics(CBoxMetrics *metrics, CBoxliteError *failure, void *data)
{
    (void)metrics;
    on_done(failure, data);
}

static void on_pulled(CImagePullResult *result, CBoxliteError *failure, void *data)
{
    boxlite_free_image_pull_result(result);
    on_done(failure, data);
}

/* code_of() - The code of a refused call. */
static enum BoxliteErrorCode code_of(enum BoxliteErrorCode code)
{
    boxlite_error_free(&error);
    return code;
}

static enum BoxliteErrorCode drained(struct outcome *outcome)
{
    while (!outcome->done)
        assert_true(boxlite_runtime_drain(runtime, -1, &error) >= 0);
    outcome->done = 0;
    return outcome->code;
}

static CBoxliteOptions *options_for(const char *name, const char *mode)
{
    CBoxliteOptions *options = NULL;

    assert_int_equal(boxlite_options_new("busybox", &options, &error), BOXLITE_OK);
    boxlite_options_set_auto_remove(options, 0);
    boxlite_options_set_name(options, name);
    if (mode)
        boxlite_options_set_cmd(options, &mode, 1);
    return options;
}

static CBoxHandle *make_box(const char *name, const char *mode)
{
    struct outcome outcome = {0};

    assert_int_equal(boxlite_create_box(runtime, options_for(name, mode), on_box, &outcome, &error), BOXLITE_OK);
    assert_int_equal(drained(&outcome), BOXLITE_OK);
    return outcome.box;
}

static enum BoxliteErrorCode start(CBoxHandle *box)
{
    struct outcome outcome = {0};

    assert_int_equal(boxlite_start_box(box, on_done, &outcome, &error), BOXLITE_OK);
    return drained(&outcome);
}

static enum BoxliteErrorCode measure(CBoxHandle *box)
{
    struct outcome outcome = {0};

    assert_int_equal(boxlite_box_metrics(box, on_metrics, &outcome, &error), BOXLITE_OK);
    return drained(&outcome);
}

static void remove_box(CBoxHandle *box)
{
    struct outcome outcome = {0};
    char *id = boxlite_box_id(box);

    assert_int_equal(boxlite_remove(runtime, id, 1, on_done, &outcome, &error), BOXLITE_OK);
    assert_int_equal(drained(&outcome), BOXLITE_OK);
    boxlite_free_string(id);
    boxlite_box_free(box);
}

/* ---- One function a code ---- */

static enum BoxliteErrorCode force_ok(void)
{
    CBoxHandle *box = make_box("fine", NULL);
    enum BoxliteErrorCode code = start(box);

    remove_box(box);
    return code;
}

static enum BoxliteErrorCode started_as(const char *mode)
{
    CBoxHandle *box = make_box(mode, mode);
    enum BoxliteErrorCode code = start(box);

    remove_box(box);
    return code;
}

static enum BoxliteErrorCode force_internal(void)
{
    return started_as("internal");
}

static enum BoxliteErrorCode force_execution(void)
{
    return started_as("fail");
}

static enum BoxliteErrorCode force_engine(void)
{
    return started_as("early");
}

static enum BoxliteErrorCode force_not_found(void)
{
    struct outcome outcome = {0};

    assert_int_equal(boxlite_get(runtime, "nobody", on_box, &outcome, &error), BOXLITE_OK);
    return drained(&outcome);
}

static enum BoxliteErrorCode force_already_exists(void)
{
    CBoxHandle *box = make_box("taken", NULL);
    struct outcome outcome = {0};

    assert_int_equal(boxlite_create_box(runtime, options_for("taken", NULL), on_box, &outcome, &error), BOXLITE_OK);
    drained(&outcome);
    remove_box(box);
    return outcome.code;
}

static enum BoxliteErrorCode force_invalid_state(void)
{
    CBoxHandle *box = make_box("running", NULL);
    struct outcome outcome = {0};

    assert_int_equal(start(box), BOXLITE_OK);
    assert_int_equal(boxlite_remove(runtime, "running", 0, on_done, &outcome, &error), BOXLITE_OK);
    drained(&outcome);
    remove_box(box);
    return outcome.code;
}

static enum BoxliteErrorCode force_invalid_argument(void)
{
    return code_of(boxlite_list_info(runtime, NULL, NULL, &error));
}

static enum BoxliteErrorCode open_home(const char *home)
{
    CBoxliteRuntime *other = NULL;
    enum BoxliteErrorCode code = code_of(boxlite_runtime_new(home, NULL, 0, &other, &error));

    boxlite_runtime_free(other);
    return code;
}

static enum BoxliteErrorCode force_config(void)
{
    return open_home("not/absolute");
}

static enum BoxliteErrorCode force_storage(void)
{
    return open_home("/dev/null");
}

static enum BoxliteErrorCode force_image(void)
{
    char place[] = "/tmp/bl-codes-XXXXXX";
    CBoxliteOptions *options = options_for("broken", NULL);
    struct outcome outcome = {0};
    char path[64];
    FILE *file;

    assert_non_null(mkdtemp(place));
    snprintf(path, sizeof path, "%s/oci-layout", place);
    file = fopen(path, "w");
    assert_non_null(file);
    fputs("{\"imageLayoutVersion\":\"1.0.0\"}", file);
    fclose(file);
    snprintf(path, sizeof path, "%s/index.json", place);
    file = fopen(path, "w");
    assert_non_null(file);
    fputs("{\"manifests\": 7}", file);
    fclose(file);
    boxlite_options_set_rootfs_path(options, place);
    assert_int_equal(boxlite_create_box(runtime, options, on_box, &outcome, &error), BOXLITE_OK);
    drained(&outcome);
    assert_int_equal(bl_remove_tree(AT_FDCWD, place), 0);
    return outcome.code;
}

static enum BoxliteErrorCode force_network(void)
{
    CBoxliteImageHandle *images = NULL;
    struct outcome outcome = {0};

    assert_int_equal(boxlite_runtime_images(runtime, &images, &error), BOXLITE_OK);
    assert_int_equal(boxlite_image_pull(images, "127.0.0.1:1/nobody/listens:here", on_pulled, &outcome, &error), BOXLITE_OK);
    drained(&outcome);
    boxlite_image_free(images);
    return outcome.code;
}

static enum BoxliteErrorCode force_stopped(void)
{
    char home[] = "/tmp/bl-codes-XXXXXX";
    CBoxliteRuntime *other = NULL;
    CBoxliteOptions *options = options_for("late", NULL);
    struct outcome outcome = {0};

    assert_non_null(mkdtemp(home));
    assert_int_equal(boxlite_runtime_new(home, NULL, 0, &other, &error), BOXLITE_OK);
    assert_int_equal(boxlite_runtime_shutdown(other, 0, on_done, &outcome, &error), BOXLITE_OK);

    enum BoxliteErrorCode code = code_of(boxlite_create_box(other, options, on_box, &outcome, &error));

    boxlite_options_free(options);
    boxlite_runtime_free(other);
    assert_int_equal(bl_remove_tree(AT_FDCWD, home), 0);
    return code;
}

static enum BoxliteErrorCode force_unsupported(void)
{
    CBoxliteVolumeHandle *volumes = NULL;

    return code_of(boxlite_runtime_volumes(runtime, &volumes, &error));
}

/* of_a_box_as() - What the metrics of a box say whose shim misbehaves; an idle box has no mode, so its job is never run twice. */
static enum BoxliteErrorCode of_a_box_as(const char *mode)
{
    CBoxHandle *box = make_box(mode, mode);

    assert_int_equal(start(box), BOXLITE_OK);

    enum BoxliteErrorCode code = measure(box);

    remove_box(box);
    return code;
}

static enum BoxliteErrorCode force_portal(void)
{
    CBoxHandle *box = make_box("unreachable", NULL);
    char *id = boxlite_box_id(box), socket[128], aside[128];

    assert_int_equal(start(box), BOXLITE_OK);
    snprintf(socket, sizeof socket, "%s", fixture_path(id, "control.sock"));
    snprintf(aside, sizeof aside, "%s", fixture_path(id, "aside.sock"));
    assert_int_equal(rename(socket, aside), 0);

    enum BoxliteErrorCode code = measure(box);

    assert_int_equal(rename(aside, socket), 0);
    boxlite_free_string(id);
    remove_box(box);
    return code;
}

static enum BoxliteErrorCode force_rpc(void)
{
    return of_a_box_as("babble");
}

static enum BoxliteErrorCode force_rpc_transport(void)
{
    return of_a_box_as("hangup");
}

/* change_database() - Do to a home's database what only a damaged disk or a stranger would. */
static void change_database(const char *home, const char *statement)
{
    char path[96];
    sqlite3 *database = NULL;

    snprintf(path, sizeof path, "%s/db/boxlite.db", home);
    assert_int_equal(sqlite3_open(path, &database), SQLITE_OK);
    assert_int_equal(sqlite3_busy_timeout(database, 60000), SQLITE_OK);
    assert_int_equal(sqlite3_exec(database, statement, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(database);
}

static enum BoxliteErrorCode force_database(void)
{
    char home[] = "/tmp/bl-codes-XXXXXX";

    assert_non_null(mkdtemp(home));
    assert_int_equal(open_home(home), BOXLITE_OK);
    change_database(home, "PRAGMA user_version = 1000");

    enum BoxliteErrorCode code = open_home(home);

    assert_int_equal(bl_remove_tree(AT_FDCWD, home), 0);
    return code;
}

static enum BoxliteErrorCode force_metadata(void)
{
    CBoxHandle *box = make_box("damaged", NULL);

    change_database(fixture_home, "CREATE TABLE kept AS SELECT id, config FROM boxes WHERE name = 'damaged'");
    change_database(fixture_home, "UPDATE boxes SET config = '{\"image\":' WHERE name = 'damaged'");

    enum BoxliteErrorCode code = measure(box);

    change_database(fixture_home, "UPDATE boxes SET config = (SELECT config FROM kept) WHERE name = 'damaged'");
    change_database(fixture_home, "DROP TABLE kept");
    remove_box(box);
    return code;
}

static enum BoxliteErrorCode force_unsupported_engine(void)
{
    struct outcome outcome = {0};

    setenv("BOXLITE_ENGINE", "kvm", 1);
    setenv("BOXLITE_QEMU_ACCEL", "tcg", 1); /* whatever this machine has */
    assert_int_equal(boxlite_create_box(runtime, options_for("engineless", NULL), on_box, &outcome, &error), BOXLITE_OK);
    drained(&outcome);
    unsetenv("BOXLITE_ENGINE");
    unsetenv("BOXLITE_QEMU_ACCEL");
    return outcome.code;
}

static enum BoxliteErrorCode force_resource_exhausted(void)
{
    CBoxHandle *box = make_box("eats", NULL);
    CExecutionHandle *execution = NULL;
    uint8_t *bytes = calloc(1, 33u << 20);
    enum BoxliteErrorCode code = BOXLITE_OK;

    assert_int_equal(boxlite_box_exec(box, &(BoxliteCommand){.command = "cat"}, &execution, &error), BOXLITE_OK);
    for (int i = 0; i < 3 && code == BOXLITE_OK; i++)
        code = code_of(boxlite_execution_stdin_write(execution, bytes, 33u << 20, &error));
    free(bytes);
    boxlite_execution_free(execution);
    remove_box(box);
    return code;
}

static enum BoxliteErrorCode force_session_reaped(void)
{
    CBoxHandle *box = make_box("taken-away", NULL);
    CExecutionHandle *execution = NULL;
    struct outcome outcome = {0};
    char *id = boxlite_box_id(box);

    assert_int_equal(start(box), BOXLITE_OK);
    assert_int_equal(boxlite_box_exec(box, &(BoxliteCommand){.command = "cat"}, &execution, &error), BOXLITE_OK);
    assert_int_equal(boxlite_execution_wait(execution, on_wait, &outcome, &error), BOXLITE_OK);
    /* Input that was taken shows that the session is open. The stand-in never answers it. */
    assert_int_equal(boxlite_execution_stdin_write(execution, (const uint8_t *)"x", 1, &error), BOXLITE_OK);
    while (boxlite_execution_stdin_pending(execution))
        assert_true(boxlite_runtime_drain(runtime, 5, &error) >= 0);
    /* The record goes first, as when another program removes the box, and the process after it. */
    change_database(fixture_home, "DELETE FROM boxes WHERE name = 'taken-away'");
    fixture_kill((pid_t)atoi(fixture_read(id, "shim.pid")));
    drained(&outcome);
    boxlite_execution_free(execution);
    boxlite_free_string(id);
    boxlite_box_free(box);
    return outcome.code;
}

static const struct {
    enum BoxliteErrorCode code;
    enum BoxliteErrorCode (*force)(void);
    bool new_calls; /* launches the stand-in (pidfd_open), or opens beneath a directory (openat2) */
} rows[] = {
    {BOXLITE_OK, force_ok, true},
    {BOXLITE_INTERNAL, force_internal, true},
    {BOXLITE_NOT_FOUND, force_not_found, false},
    {BOXLITE_ALREADY_EXISTS, force_already_exists, false},
    {BOXLITE_INVALID_STATE, force_invalid_state, true},
    {BOXLITE_INVALID_ARGUMENT, force_invalid_argument, false},
    {BOXLITE_CONFIG, force_config, false},
    {BOXLITE_STORAGE, force_storage, false},
    {BOXLITE_IMAGE, force_image, true},
    {BOXLITE_NETWORK, force_network, false},
    {BOXLITE_EXECUTION, force_execution, true},
    {BOXLITE_STOPPED, force_stopped, false},
    {BOXLITE_ENGINE, force_engine, true},
    {BOXLITE_UNSUPPORTED, force_unsupported, false},
    {BOXLITE_DATABASE, force_database, false},
    {BOXLITE_PORTAL, force_portal, true},
    {BOXLITE_RPC, force_rpc, true},
    {BOXLITE_RPC_TRANSPORT, force_rpc_transport, true},
    {BOXLITE_METADATA, force_metadata, false},
    {BOXLITE_UNSUPPORTED_ENGINE, force_unsupported_engine, false},
    {BOXLITE_RESOURCE_EXHAUSTED, force_resource_exhausted, true},
    {BOXLITE_SESSION_REAPED, force_session_reaped, true},
};

static void every_code_is_reached(void **state)
{
    (void)state;
    /* Valgrind may not know the newer calls of the kernel; under it the codes are reached that need none of them. */
    int self = (int)syscall(SYS_pidfd_open, getpid(), 0);
    bool has_new_calls = self >= 0 || errno != ENOSYS;

    if (self >= 0)
        close(self);
    else
        print_message("no pidfd_open() here: codes that need it, or openat2(), are left out\n");
    assert_int_equal(sizeof rows / sizeof *rows, BOXLITE_SESSION_REAPED + 1);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_int_equal(rows[i].code, i);
        if (rows[i].new_calls && !has_new_calls)
            continue;

        enum BoxliteErrorCode code = rows[i].force();

        if (code != rows[i].code)
            print_error("row %zu gave code %d\n", i, (int)code);
        assert_int_equal(code, rows[i].code);
    }
}

static int set_up(void **state)
{
    return fixture_setup(state) || boxlite_runtime_new(fixture_home, NULL, 0, &runtime, &error) != BOXLITE_OK;
}

static int tear_down(void **state)
{
    boxlite_runtime_free(runtime);
    return fixture_teardown(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_code_is_reached)};

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
