/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_core_judge.c - the table of core/judge.h, one test a row, with a control beside each denial
 *
 * What a lock says is made by processes that hold it: a stand-in for the shim where its looks matter, else a child of this program.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "core/change.h"
#include "core/judge.h"
#include "core/lock.h"
#include "core_fixture.h"
#include "proto/launch.h"

static struct bl_runtime *runtime;
static char id[BL_BOX_ID_LENGTH + 1];

static int setup(void **state)
{
    (void)state;
    runtime = fixture_open();
    fixture_box(runtime, NULL, true, id);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    int failed = bl_box_remove(runtime, id, true, NULL);

    bl_runtime_close(runtime);
    return failed;
}

/* expect_listed() - A list finds the same, though it looks less closely. */
static void expect_listed(enum bl_box_status status, pid_t pid)
{
    struct bl_box_info *list;
    size_t count, at = 0;

    assert_int_equal(bl_box_list(runtime, &list, &count, NULL), 0);
    while (at < count && strcmp(list[at].id, id) != 0)
        at++;
    assert_true(at < count);
    assert_int_equal(list[at].status, status);
    assert_int_equal(list[at].pid, pid);
    bl_box_list_free(list, count);
}

/* expect() - What a look at the box must find. */
static struct bl_box_info expect(enum bl_box_status status, pid_t pid)
{
    expect_listed(status, pid); /* first, so that nobody has healed the record before it */

    struct bl_box_info info = fixture_inspect(runtime, id);

    if (info.status != status || info.pid != pid)
        fail_msg("%s with pid %d, but %s with pid %d was expected", bl_box_status_name(info.status), (int)info.pid,
                 bl_box_status_name(status), (int)pid);
    return info;
}

static void expect_plain(enum bl_box_status status, pid_t pid)
{
    struct bl_box_info info = expect(status, pid);

    assert_null(info.trouble);
    bl_box_info_free(&info);
}

/* no_process() - A pid that nobody has: a child's, reaped. */
static struct bl_process no_process(void)
{
    pid_t pid = fork();

    if (pid == 0)
        _exit(0);

    struct bl_process process = fixture_process(pid);

    assert_int_equal(waitpid(pid, NULL, 0), pid);
    return process;
}

static void another_holds_the_lifecycle_lock(void **state)
{
    struct bl_process dead = no_process();
    struct bl_record before = {0}, after = {0};
    struct holder holder = hold_ofd(id, BL_FILE_LIFECYCLE_LOCK, F_WRLCK, 0, 0);

    (void)state;
    /* Nothing is changed, though no process of the box is there. */
    fixture_state(runtime, id, BL_BOX_STARTING, &dead);
    assert_int_equal(bl_store_get(runtime->store, id, &before, NULL), 0);
    expect_plain(BL_BOX_STARTING, 0);
    fixture_state(runtime, id, BL_BOX_STOPPING, &dead);
    expect_plain(BL_BOX_STOPPING, 0);
    assert_int_equal(bl_runtime_sweep(runtime, NULL), 0);
    assert_int_equal(bl_store_get(runtime->store, id, &after, NULL), 0);
    assert_int_equal(after.state.generation, before.state.generation + 1); /* ours, and no other */
    assert_int_equal(after.state.shim.pid, dead.pid);
    bl_record_free(&before);
    bl_record_free(&after);
    let_go(&holder);

    /* The control: once the lock is free, it is what it is. */
    expect_plain(BL_BOX_STOPPED, 0);
}

static void running_and_held(void **state)
{
    char good[256];
    pid_t pid = fixture_start(runtime, id);
    struct bl_process shim = fixture_process(pid), wrong = shim;

    (void)state;
    expect_plain(BL_BOX_RUNNING, pid);
    snprintf(good, sizeof good, "%s", fixture_read(id, BL_FILE_SHIM_PID));

    /* A wrong record and a damaged or missing shim.pid are repaired from the lock. */
    wrong.pid = getpid();
    fixture_state(runtime, id, BL_BOX_RUNNING, &wrong);
    fixture_write(id, BL_FILE_SHIM_PID, "1\nnonsense");
    expect_plain(BL_BOX_RUNNING, pid);
    assert_string_equal(fixture_read(id, BL_FILE_SHIM_PID), good);
    assert_int_equal(unlink(fixture_path(id, BL_FILE_SHIM_PID)), 0);
    expect_plain(BL_BOX_RUNNING, pid);
    assert_string_equal(fixture_read(id, BL_FILE_SHIM_PID), good);
    assert_int_equal(fixture_shims(id), 1);
}

static void held_by_who_cannot_be_seen(void **state)
{
    (void)state;
    /* An open-file-description lock has no pid to name, like one that is held in another pid namespace. */
    struct holder holder = hold_ofd(id, BL_FILE_SHIM_LOCK, F_WRLCK, 0, 0);
    struct bl_error err = BL_ERROR_INIT;

    expect_plain(BL_BOX_RUNNING, 0);
    assert_int_equal(bl_box_remove(runtime, id, false, &err), -1);
    assert_int_equal(err.code, BL_INVALID_STATE);
    assert_int_equal(bl_box_stop(runtime, id, 1, -1, &err), -1); /* no control socket: it can't be stopped from here */
    assert_int_equal(err.code, BL_INVALID_STATE);
    expect_plain(BL_BOX_RUNNING, 0);
    let_go(&holder);
    expect_plain(BL_BOX_STOPPED, 0);
}

/* start_lockless() - A box whose shim lives without its lock. */
static pid_t start_lockless(void)
{
    char lockless[BL_BOX_ID_LENGTH + 1];

    assert_int_equal(bl_box_remove(runtime, id, true, NULL), 0);
    fixture_box(runtime, "lockless", true, lockless);
    memcpy(id, lockless, sizeof id);
    assert_int_equal(bl_box_start(runtime, id, NULL, NULL), 0);

    struct bl_box_info info = fixture_inspect(runtime, id);
    pid_t pid = info.pid;

    bl_box_info_free(&info);
    return pid;
}

static void lock_lost_but_alive(void **state)
{
    pid_t pid = start_lockless();
    struct bl_box_info info = expect(BL_BOX_RUNNING, pid);
    struct bl_error err = BL_ERROR_INIT;

    (void)state;
    assert_true(pid > 0);
    assert_non_null(info.trouble);
    assert_non_null(strstr(info.trouble, "lock lost"));
    bl_box_info_free(&info);

    /* Never swept, never started again, not removed without force. */
    assert_int_equal(bl_runtime_sweep(runtime, NULL), 0);
    assert_int_equal(access(fixture_path(id, BL_FILE_CONTROL_SOCKET), F_OK), 0);
    assert_int_equal(bl_box_start(runtime, id, NULL, NULL), 0);
    assert_int_equal(fixture_shims(id), 1);
    assert_int_equal(bl_box_remove(runtime, id, false, &err), -1);
    assert_int_equal(err.code, BL_INVALID_STATE);

    /* Stopped through its verified process. */
    assert_int_equal(bl_box_stop(runtime, id, 60000, -1, NULL), 0);
    assert_int_equal(fixture_shims(id), 0);
    expect_plain(BL_BOX_STOPPED, 0);
}

static void lock_lost_and_the_record_knows_no_pid(void **state)
{
    pid_t pid = start_lockless();

    (void)state;
    /* shim.pid is the hint for this case. */
    fixture_state(runtime, id, BL_BOX_RUNNING, NULL);

    struct bl_box_info info = expect(BL_BOX_RUNNING, pid);

    bl_box_info_free(&info);
    fixture_kill(pid);
    expect_plain(BL_BOX_STOPPED, 0);
}

static void a_reused_pid_is_another_process(void **state)
{
    /* This very process bears the recorded pid; then one that looks like a shim, of another box or started at another time. */
    struct bl_process reused = fixture_process(getpid());

    (void)state;
    fixture_state(runtime, id, BL_BOX_RUNNING, &reused);
    expect_plain(BL_BOX_STOPPED, 0);
    fixture_state(runtime, id, BL_BOX_CONFIGURED, NULL);

    pid_t pid = start_lockless();
    struct bl_process shim = fixture_process(pid), other = shim;

    other.start_ticks++;
    fixture_state(runtime, id, BL_BOX_RUNNING, &other);
    expect_plain(BL_BOX_STOPPED, 0);
    other = shim;
    other.boot_id[0] = other.boot_id[0] == '0' ? '1' : '0';
    fixture_state(runtime, id, BL_BOX_RUNNING, &other);
    expect_plain(BL_BOX_STOPPED, 0);
    assert_int_equal(fixture_shims(id), 1); /* it was never signalled */

    /* The control: with what was really recorded it is known. */
    fixture_state(runtime, id, BL_BOX_RUNNING, &shim);

    struct bl_box_info info = expect(BL_BOX_RUNNING, pid);

    bl_box_info_free(&info);
}

static void free_with_a_report(void **state)
{
    struct bl_process dead = no_process();
    struct bl_box_info info;

    (void)state;
    fixture_state(runtime, id, BL_BOX_RUNNING, &dead);
    fixture_write(id, BL_FILE_EXIT_REPORT, "{\"version\":1,\"type\":\"workload\",\"exit_code\":42,\"ended_at_ms\":1234}");
    info = expect(BL_BOX_STOPPED, 0);
    assert_true(info.has_exit_code);
    assert_int_equal(info.exit_code, 42);
    assert_int_equal(info.ended_at_ms, 1234);
    assert_null(info.reason);
    bl_box_info_free(&info);

    fixture_state(runtime, id, BL_BOX_RUNNING, &dead);
    fixture_write(id, BL_FILE_EXIT_REPORT,
                  "{\"version\":1,\"type\":\"error\",\"exit_code\":137,\"message\":\"the emulator died\"}");
    info = expect(BL_BOX_FAILED, 0);
    assert_string_equal(info.reason, "the emulator died");
    assert_int_equal(info.exit_code, 137);
    bl_box_info_free(&info);
}

static void free_without_a_report(void **state)
{
    struct bl_process dead = no_process();
    struct bl_box_info info;

    (void)state;
    fixture_state(runtime, id, BL_BOX_RUNNING, &dead);
    info = expect(BL_BOX_STOPPED, 0);
    assert_true(info.has_exit_code);
    assert_int_equal(info.exit_code, 137);
    assert_string_equal(info.reason, BL_REASON_KILLED);
    bl_box_info_free(&info);

    /* The machine went down in between. */
    dead.boot_id[0] = dead.boot_id[0] == '0' ? '1' : '0';
    fixture_state(runtime, id, BL_BOX_RUNNING, &dead);
    info = expect(BL_BOX_STOPPED, 0);
    assert_string_equal(info.reason, BL_REASON_REBOOT);
    bl_box_info_free(&info);

    /* A start that was interrupted never ran. */
    fixture_state(runtime, id, BL_BOX_STARTING, NULL);
    info = expect(BL_BOX_FAILED, 0);
    assert_false(info.has_exit_code);
    assert_string_equal(info.reason, BL_REASON_INTERRUPTED);
    bl_box_info_free(&info);
}

static void a_killed_shim_is_told_and_swept(void **state)
{
    pid_t pid = fixture_start(runtime, id);
    struct bl_box_info info;

    (void)state;
    fixture_kill(pid);
    info = expect(BL_BOX_STOPPED, 0);
    assert_int_equal(info.exit_code, 137);
    bl_box_info_free(&info);
    /* To look removes nothing; to sweep does. */
    assert_int_equal(access(fixture_path(id, BL_FILE_CONTROL_SOCKET), F_OK), 0);
    assert_int_equal(bl_runtime_sweep(runtime, NULL), 0);
    assert_int_not_equal(access(fixture_path(id, BL_FILE_CONTROL_SOCKET), F_OK), 0);
    assert_int_not_equal(access(fixture_path(id, BL_FILE_SHIM_PID), F_OK), 0);
    assert_true(fixture_start(runtime, id) > 0);
}

static void stale_records_never_start_a_second_machine(void **state)
{
    static const enum bl_box_status stale[] = {BL_BOX_STOPPED, BL_BOX_CONFIGURED, BL_BOX_FAILED};
    pid_t pid = fixture_start(runtime, id);

    (void)state;
    for (size_t i = 0; i < sizeof stale / sizeof *stale; i++) {
        fixture_state(runtime, id, stale[i], NULL);
        assert_int_equal(bl_box_start(runtime, id, NULL, NULL), 0);
        assert_int_equal(fixture_shims(id), 1);
        fixture_state(runtime, id, stale[i], NULL);
        assert_int_equal(bl_runtime_sweep(runtime, NULL), 0);
        expect_plain(BL_BOX_RUNNING, pid);
    }
}

static void what_cannot_be_told_is_left_alone(void **state)
{
    struct bl_process dead = no_process();
    struct bl_error err = BL_ERROR_INIT;

    (void)state;
    /* A lock file that is a directory can't be opened for writing, whoever we are. */
    assert_int_equal(unlink(fixture_path(id, BL_FILE_SHIM_LOCK)), 0);
    assert_int_equal(mkdir(fixture_path(id, BL_FILE_SHIM_LOCK), 0700), 0);
    fixture_state(runtime, id, BL_BOX_RUNNING, &dead);

    struct bl_box_info info = expect(BL_BOX_RUNNING, 0);

    assert_non_null(info.trouble);
    bl_box_info_free(&info);
    assert_int_equal(bl_box_start(runtime, id, NULL, &err), -1);
    assert_int_equal(err.code, BL_INVALID_STATE);
    assert_int_equal(bl_box_remove(runtime, id, true, &err), -1);
    assert_int_equal(bl_runtime_sweep(runtime, NULL), 0);
    assert_int_equal(fixture_shims(id), 0);

    /* The control. */
    assert_int_equal(rmdir(fixture_path(id, BL_FILE_SHIM_LOCK)), 0);
    expect_plain(BL_BOX_STOPPED, 0);
}

static void a_directory_without_a_record(void **state)
{
    static const char stranger[] = "0123456789ab";
    struct holder holder;

    (void)state;
    /* One that is being created is locked; one whose disk or shim lives is not touched; else it is swept. */
    int lock = bl_lifecycle_create(runtime->boxes_fd, stranger);

    assert_true(lock >= 0);
    assert_int_equal(mkdir(fixture_path(stranger, "disks"), 0700), 0);
    fixture_write(stranger, BL_FILE_OVERLAY, "disk");
    assert_int_equal(bl_runtime_sweep(runtime, NULL), 0);
    assert_int_equal(access(fixture_path(stranger, BL_FILE_OVERLAY), F_OK), 0);
    bl_lifecycle_unlock(lock);

    holder = hold_posix(stranger);
    assert_int_equal(bl_runtime_sweep(runtime, NULL), 0);
    assert_int_equal(access(fixture_path(stranger, BL_FILE_OVERLAY), F_OK), 0);
    let_go(&holder);
    holder = hold_ofd(stranger, BL_FILE_OVERLAY, F_RDLCK, 201, 1);
    assert_int_equal(bl_runtime_sweep(runtime, NULL), 0);
    assert_int_equal(access(fixture_path(stranger, BL_FILE_OVERLAY), F_OK), 0);
    let_go(&holder);

    assert_int_equal(bl_runtime_sweep(runtime, NULL), 0);
    assert_int_not_equal(access(fixture_path(stranger, ""), F_OK), 0);

    /* A creation that died before its lock file. */
    assert_int_equal(mkdir(fixture_path(stranger, ""), 0700), 0);
    assert_int_equal(bl_runtime_sweep(runtime, NULL), 0);
    assert_int_not_equal(access(fixture_path(stranger, ""), F_OK), 0);

    /* A removal that died after the lock file, but not before somebody put something there. */
    assert_int_equal(mkdir(fixture_path(stranger, ""), 0700), 0);
    fixture_write(stranger, BL_FILE_SHIM_PID, "1\n");
    assert_int_equal(bl_runtime_sweep(runtime, NULL), 0);
    assert_int_not_equal(access(fixture_path(stranger, ""), F_OK), 0);

    /* What is no box is none of our business. */
    assert_int_equal(mkdir(fixture_path("lost+found", ""), 0700), 0);
    assert_int_equal(bl_runtime_sweep(runtime, NULL), 0);
    assert_int_equal(rmdir(fixture_path("lost+found", "")), 0);
    expect_plain(BL_BOX_CONFIGURED, 0);
}

static void looks_from_many_processes_agree(void **state)
{
    pid_t pid = fixture_start(runtime, id), lookers[4];

    (void)state;
    /* What runs stays the same for all of them, and whatever they write leaves one truth. */
    for (size_t i = 0; i < sizeof lookers / sizeof *lookers; i++) {
        lookers[i] = fork();
        if (lookers[i] == 0) {
            for (int round = 0; round < 20; round++) {
                struct bl_runtime *mine = NULL;
                struct bl_box_info info;

                if (bl_runtime_open(fixture_home, &mine, NULL) < 0 || bl_box_inspect(mine, id, &info, NULL) < 0 ||
                    info.status != BL_BOX_RUNNING || info.pid != pid || bl_box_remove(mine, id, false, NULL) == 0)
                    _exit(1);
                bl_box_info_free(&info);
                bl_runtime_close(mine);
            }
            _exit(0);
        }
    }
    for (size_t i = 0; i < sizeof lookers / sizeof *lookers; i++) {
        int status;

        assert_int_equal(waitpid(lookers[i], &status, 0), lookers[i]);
        assert_int_equal(status, 0);
    }
    assert_int_equal(fixture_shims(id), 1);
    expect_plain(BL_BOX_RUNNING, pid);
}

static unsigned int probes; /* of locks, since it was set to 0 */

/* In the place of libc's: counts looks at locks. */
int fcntl(int fd, int command, ...)
{
    va_list arguments;

    va_start(arguments, command);

    void *argument = va_arg(arguments, void *);

    va_end(arguments);
    probes += command == F_GETLK || command == F_OFD_GETLK;

    long result = syscall(SYS_fcntl, fd, command, argument);

    return (int)result;
}

#define MANY    1000
#define RUNNING 5

static void list_costs(enum bl_box_status status, unsigned int most)
{
    struct bl_box_info *list;
    size_t count, found = 0;

    probes = 0;
    assert_int_equal(bl_box_list(runtime, &list, &count, NULL), 0);
    if (!probes || probes > most)
        fail_msg("%u looks at locks for %zu boxes", probes, count);
    for (size_t i = 0; i < count; i++)
        found += list[i].status == status;
    assert_int_equal(count, MANY + 1);
    assert_int_equal(found, RUNNING);
    bl_box_list_free(list, count);
}

/* A list of a thousand boxes looks at one lock of each that is down or runs, as recorded; and finds those that are not. */
static void a_list_looks_at_one_lock_a_box(void **state)
{
    struct bl_record record = {0};
    struct holder holders[RUNNING];
    char running[RUNNING][BL_BOX_ID_LENGTH + 1];

    (void)state;
    assert_int_equal(bl_store_get(runtime->store, id, &record, NULL), 0);
    for (int i = 0; i < MANY; i++) {
        snprintf(record.id, sizeof record.id, "many%08d", i);
        assert_int_equal(mkdir(fixture_path(record.id, ""), 0700), 0);
        fixture_write(record.id, BL_FILE_SHIM_LOCK, "");
        fixture_write(record.id, BL_FILE_LIFECYCLE_LOCK, "");
        assert_int_equal(bl_store_insert(runtime->store, &record, NULL), 0);
        if (i < RUNNING)
            memcpy(running[i], record.id, sizeof running[i]);
    }
    for (int i = 0; i < RUNNING; i++)
        holders[i] = hold_posix(running[i]);
    list_costs(BL_BOX_RUNNING,
               MANY + 1 + 3 * RUNNING); /* recorded as configured: a closer look at each, and one when it is healed */
    list_costs(BL_BOX_RUNNING, MANY + 1);
    for (int i = RUNNING; i-- > 0;) /* the later ones have the earlier ones' pipes */
        let_go(&holders[i]);
    list_costs(BL_BOX_STOPPED, MANY + 1 + 2 * RUNNING);
    list_costs(BL_BOX_STOPPED, MANY + 1);
    for (int i = 0; i < MANY; i++) {
        snprintf(record.id, sizeof record.id, "many%08d", i);
        assert_int_equal(bl_remove_dead(runtime, &record, NULL), 0);
    }
    snprintf(record.id, sizeof record.id, "%s", id);
    bl_record_free(&record);
}

int main(void)
{
#define ROW(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        ROW(another_holds_the_lifecycle_lock),
        ROW(running_and_held),
        ROW(held_by_who_cannot_be_seen),
        ROW(lock_lost_but_alive),
        ROW(lock_lost_and_the_record_knows_no_pid),
        ROW(a_reused_pid_is_another_process),
        ROW(free_with_a_report),
        ROW(free_without_a_report),
        ROW(a_killed_shim_is_told_and_swept),
        ROW(stale_records_never_start_a_second_machine),
        ROW(what_cannot_be_told_is_left_alone),
        ROW(a_directory_without_a_record),
        ROW(looks_from_many_processes_agree),
        ROW(a_list_looks_at_one_lock_a_box),
    };

    return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
