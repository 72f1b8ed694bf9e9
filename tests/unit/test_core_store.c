/* SPDX-License-Identifier: Apache-2.0 */
/* test_core_store.c - records in the database, from one and many processes; the home they lie in */
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
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/strings.h"
#include "core/home.h"
#include "core/store.h"

static char home[64];
static int home_fd = -1, boxes_fd = -1;

static int setup(void **state)
{
    (void)state;
    strcpy(home, "/tmp/bl-store-XXXXXX");
    return mkdtemp(home) && bl_home_open(home, &home_fd, &boxes_fd, NULL) == 0 ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    bl_close_fd(&home_fd);
    bl_close_fd(&boxes_fd);
    return bl_remove_tree(AT_FDCWD, home);
}

static struct bl_store *open_store(void)
{
    struct bl_store *store = NULL;
    struct bl_error err = BL_ERROR_INIT;

    if (bl_store_open(home_fd, home, &store, &err) < 0)
        fail_msg("%s", err.message);
    return store;
}

static struct bl_record make_record(const char *id, const char *name)
{
    static int64_t age;
    struct bl_record record = {.cpus = 2, .memory_mib = 512, .disk_bytes = 10ull << 30, .created_at_ms = 1000 + ++age};

    snprintf(record.id, sizeof record.id, "%s", id);
    record.name = name ? strdup(name) : NULL;
    record.image = strdup("busybox:latest");
    record.engine = strdup("auto");
    record.command = bl_strings_copy(NULL);
    record.env = bl_strings_copy(NULL);
    record.state.status = BL_BOX_CONFIGURED;
    return record;
}

static void insert(struct bl_store *store, const char *id, const char *name)
{
    struct bl_record record = make_record(id, name);

    assert_int_equal(bl_store_insert(store, &record, NULL), 0);
    bl_record_free(&record);
}

static void a_record_comes_back_as_it_was(void **state)
{
    struct bl_store *store = open_store();
    struct bl_record record = make_record("abcdefghijkl", "web"), found = {0};
    struct stat file;
    char path[128];

    (void)state;
    /* Every byte but NUL may stand in an argument; a value may hold anything too. */
    char bytes[256];

    for (int i = 1; i < 256; i++)
        bytes[i - 1] = (char)i;
    bytes[255] = '\0';
    assert_int_equal(bl_strings_append(&record.command, "sh"), 0);
    assert_int_equal(bl_strings_append(&record.command, bytes), 0);
    assert_int_equal(bl_strings_append(&record.env, "A=\"b\" \303\266 \\"), 0);
    record.workdir = strdup("/srv/\377");
    record.user = strdup("nobody:users");
    record.kernel = strdup("/boot/vmlinux");
    record.image_digest = strdup("sha256:00");
    record.stop_signal = 3;
    record.tty = record.auto_remove = record.unconfined = record.no_auto_resume = true;
    assert_int_equal(bl_strings_append(&record.cap_add, "CAP_SYS_TIME"), 0);
    assert_int_equal(bl_strings_append(&record.cap_drop, "ALL"), 0);
    record.restart = (struct bl_restart){.kind = BL_RESTART_ON_FAILURE, .most = 7};
    record.auto_stop_ms = 1500;
    record.auto_delete_ms = 1ll << 35;
    record.state.wanted = true;
    record.state.reason = strdup("because");
    record.state.has_exit_code = true;
    record.state.exit_code = 7;
    record.state.shim =
        (struct bl_process){.pid = 4, .start_ticks = UINT64_MAX / 2, .boot_id = "01234567-89ab-cdef-0123-456789abcdef"};
    assert_int_equal(bl_store_insert(store, &record, NULL), 0);
    assert_int_equal(bl_store_get(store, "abcdefghijkl", &found, NULL), 0);
    assert_string_equal(found.name, "web");
    assert_string_equal(found.command[0], "sh");
    assert_string_equal(found.command[1], bytes);
    assert_null(found.command[2]);
    assert_string_equal(found.env[0], record.env[0]);
    assert_string_equal(found.workdir, record.workdir);
    assert_int_equal(found.restart.kind, BL_RESTART_ON_FAILURE);
    assert_int_equal(found.restart.most, 7);
    assert_int_equal(found.auto_stop_ms, 1500);
    assert_int_equal(found.auto_delete_ms, 1ll << 35);
    assert_true(found.state.wanted);
    assert_string_equal(found.user, record.user);
    assert_string_equal(found.kernel, record.kernel);
    assert_string_equal(found.image_digest, record.image_digest);
    assert_int_equal(found.stop_signal, 3);
    assert_string_equal(found.cap_add[0], "CAP_SYS_TIME");
    assert_string_equal(found.cap_drop[0], "ALL");
    assert_null(found.cap_drop[1]);
    assert_true(found.tty && found.auto_remove && found.unconfined && found.no_auto_resume && !found.detach && !found.open_stdin);
    assert_int_equal(found.disk_bytes, record.disk_bytes);
    assert_int_equal(found.created_at_ms, record.created_at_ms);
    assert_int_equal(found.state.status, BL_BOX_CONFIGURED);
    assert_int_equal(found.state.generation, 1);
    assert_true(found.state.has_exit_code && found.state.exit_code == 7);
    assert_string_equal(found.state.reason, "because");
    assert_int_equal(found.state.shim.start_ticks, record.state.shim.start_ticks);
    assert_string_equal(found.state.shim.boot_id, record.state.shim.boot_id);
    bl_record_free(&record);
    bl_record_free(&found);

    /* What can hold secrets is for its owner only. */
    snprintf(path, sizeof path, "%s/db/boxlite.db", home);
    assert_int_equal(stat(path, &file), 0);
    assert_int_equal(file.st_mode & 07777, 0600);
    snprintf(path, sizeof path, "%s/db", home);
    assert_int_equal(stat(path, &file), 0);
    assert_int_equal(file.st_mode & 07777, 0700);
    bl_store_close(store);
}

static void expect_found(struct bl_store *store, const char *name, const char *id)
{
    struct bl_record found = {0};
    struct bl_error err = BL_ERROR_INIT;
    int result = bl_store_find(store, name, &found, &err);

    if (id) {
        assert_int_equal(result, 0);
        assert_string_equal(found.id, id);
    } else {
        assert_int_equal(result, -1);
        assert_int_equal(err.code, BL_NOT_FOUND);
        assert_non_null(strstr(err.message, "No such box: "));
    }
    bl_record_free(&found);
}

static void boxes_are_found_by_id_name_and_prefix(void **state)
{
    struct bl_store *store = open_store();
    struct bl_record twin = make_record("zzzzzzzzzzzz", "web");
    struct bl_error err = BL_ERROR_INIT;

    (void)state;
    insert(store, "abcdefghijkl", "web");
    insert(store, "abcdefZZZZZZ", "abcdefghijkl"); /* a name that is another's id: the id comes first */
    insert(store, "xyzxyzxyzxyz", "abc");          /* a name that is the start of others' ids: the name comes first */
    expect_found(store, "abcdefghijkl", "abcdefghijkl");
    expect_found(store, "web", "abcdefghijkl");
    expect_found(store, "abc", "xyzxyzxyzxyz");
    expect_found(store, "abcdefg", "abcdefghijkl");
    expect_found(store, "x", "xyzxyzxyzxyz");
    expect_found(store, "abcdef", NULL); /* of two */
    expect_found(store, "bcdef", NULL);
    expect_found(store, "ABCDEFG", NULL);
    expect_found(store, "%", NULL);
    expect_found(store, "a*", NULL);
    expect_found(store, "", NULL);
    assert_int_equal(bl_store_name_taken(store, "web", NULL), 1);
    assert_int_equal(bl_store_name_taken(store, "we", NULL), 0);
    assert_int_equal(bl_store_insert(store, &twin, &err), -1);
    assert_int_equal(err.code, BL_ALREADY_EXISTS);
    bl_record_free(&twin);
    assert_int_equal(bl_store_delete(store, "abcdefghijkl", NULL), 0);
    assert_int_equal(bl_store_delete(store, "abcdefghijkl", NULL), 0);
    expect_found(store, "web", NULL);
    bl_store_close(store);
}

static void an_older_view_never_overwrites_a_newer_state(void **state)
{
    struct bl_store *store = open_store();
    struct bl_record one = {0}, two = {0};

    (void)state;
    insert(store, "abcdefghijkl", NULL);
    assert_int_equal(bl_store_get(store, "abcdefghijkl", &one, NULL), 0);
    assert_int_equal(bl_store_get(store, "abcdefghijkl", &two, NULL), 0);
    one.state.status = BL_BOX_RUNNING;
    assert_int_equal(bl_store_update(store, one.id, &one.state, NULL), 1);
    two.state.status = BL_BOX_FAILED;
    assert_int_equal(bl_store_update(store, two.id, &two.state, NULL), 0);
    one.state.status = BL_BOX_STOPPED;
    assert_int_equal(bl_store_update(store, one.id, &one.state, NULL), 1); /* the generation went along */
    bl_record_free(&two);
    assert_int_equal(bl_store_get(store, "abcdefghijkl", &two, NULL), 0);
    assert_int_equal(two.state.status, BL_BOX_STOPPED);
    assert_int_equal(two.state.generation, 3);
    assert_int_equal(bl_store_delete(store, two.id, NULL), 0);
    assert_int_equal(bl_store_update(store, two.id, &two.state, NULL), 0);
    bl_record_free(&one);
    bl_record_free(&two);
    bl_store_close(store);
}

static void lists_are_newest_first_and_filtered(void **state)
{
    struct bl_store *store = open_store();
    struct bl_record running = make_record("cccccccccccc", NULL), *list;
    size_t count;

    (void)state;
    insert(store, "aaaaaaaaaaaa", NULL);

    struct bl_record keeper = make_record("bbbbbbbbbbbb", NULL);

    keeper.restart.kind = BL_RESTART_ALWAYS;
    keeper.auto_delete_ms = 1;
    assert_int_equal(bl_store_insert(store, &keeper, NULL), 0);
    bl_record_free(&keeper);
    running.state.status = BL_BOX_RUNNING;
    running.auto_remove = true;
    running.created_at_ms += 1000;
    assert_int_equal(bl_store_insert(store, &running, NULL), 0);
    bl_record_free(&running);
    assert_int_equal(bl_store_list(store, BL_STORE_ALL, &list, &count, NULL), 0);
    assert_int_equal(count, 3);
    assert_string_equal(list[0].id, "cccccccccccc");
    assert_string_equal(list[1].id, "bbbbbbbbbbbb");
    assert_string_equal(list[2].id, "aaaaaaaaaaaa");
    bl_store_list_free(list, count);
    assert_int_equal(bl_store_list(store, BL_STORE_CLAIM_TO_RUN, &list, &count, NULL), 0);
    assert_int_equal(count, 1);
    bl_store_list_free(list, count);
    assert_int_equal(bl_store_list(store, BL_STORE_GO_BY_THEMSELVES, &list, &count, NULL), 0);
    assert_int_equal(count, 2);
    bl_store_list_free(list, count);
    assert_int_equal(bl_store_list(store, BL_STORE_HAVE_A_POLICY, &list, &count, NULL), 0);
    assert_int_equal(count, 1);
    assert_string_equal(list[0].id, "bbbbbbbbbbbb");
    bl_store_list_free(list, count);
    bl_store_close(store);
}

#define PROCESSES 4
#define EACH      25

/* work() - One process: makes the database with the others, inserts, fights for one name and one state, deletes half of its own. */
static int work(int number)
{
    struct bl_store *store = NULL;
    int names = 0;

    if (bl_store_open(home_fd, home, &store, NULL) < 0)
        return 100;
    for (int i = 0; i < EACH; i++) {
        char id[64], name[64];
        struct bl_error err = BL_ERROR_INIT;

        snprintf(id, sizeof id, "p%dbox%07d", number, i);
        snprintf(name, sizeof name, "contested-%d", i);

        struct bl_record record = make_record(id, name);

        if (bl_store_insert(store, &record, &err) == 0) {
            names++;
        } else {
            free(bl_steal_ptr(&record.name));
            if (err.code != BL_ALREADY_EXISTS || bl_store_insert(store, &record, NULL) < 0)
                return 101;
        }
        record.state.status = BL_BOX_RUNNING;
        if (bl_store_update(store, id, &record.state, NULL) != 1 || (i % 2 && bl_store_delete(store, id, NULL) < 0))
            return 102;
        if (i % 2)
            names -= record.name != NULL;
        bl_record_free(&record);
    }
    bl_store_close(store);
    return names;
}

static void four_processes_share_a_fresh_database(void **state)
{
    pid_t pids[PROCESSES];
    int names = 0;
    struct bl_record *list;
    size_t count, named = 0;

    (void)state;
    for (int i = 0; i < PROCESSES; i++) {
        pids[i] = fork();
        if (pids[i] == 0)
            _exit(work(i));
    }
    for (int i = 0; i < PROCESSES; i++) {
        int status;

        assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) <= EACH);
        names += WEXITSTATUS(status);
    }

    struct bl_store *store = open_store();

    assert_int_equal(bl_store_list(store, BL_STORE_ALL, &list, &count, NULL), 0);
    assert_int_equal(count, PROCESSES * ((EACH + 1) / 2));
    for (size_t i = 0; i < count; i++)
        named += list[i].name != NULL;
    assert_int_equal(named, names);
    bl_store_list_free(list, count);
    bl_store_close(store);
}

static void execute(const char *sql)
{
    char path[128];
    sqlite3 *db;

    snprintf(path, sizeof path, "%s/db/boxlite.db", home);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

/* make_old() - What versions 1 and 2 made (their tables were the same), and a box as each of them wrote it. */
static void make_old(int version)
{
    char sql[2048];

    snprintf(
        sql, sizeof sql,
        "PRAGMA journal_mode = WAL;"
        "CREATE TABLE boxes(id TEXT PRIMARY KEY NOT NULL, name TEXT UNIQUE, created_at_ms INTEGER NOT NULL,"
        " auto_remove INTEGER NOT NULL, config TEXT NOT NULL, generation INTEGER NOT NULL, status TEXT NOT NULL,"
        " pid INTEGER NOT NULL, start_ticks INTEGER NOT NULL, boot_id TEXT NOT NULL, started_at_ms INTEGER NOT NULL,"
        " ended_at_ms INTEGER NOT NULL, exit_code INTEGER, out_of_memory INTEGER NOT NULL, reason TEXT, console TEXT);"
        "CREATE INDEX boxes_by_age ON boxes(created_at_ms);"
        "CREATE INDEX boxes_by_status ON boxes(status);"
        "INSERT INTO boxes VALUES('abcdefghijkl', 'old', 1700000000000, 0, '{\"image\":\"busybox:latest\",\"image_digest\":null,"
        "\"engine\":\"auto\",\"kernel\":null,\"command\":[\"sh\"],\"env\":[],\"workdir\":null,\"user\":null,"
        "\"stop_signal\":0,\"cpus\":1,\"memory_mib\":512,\"disk_bytes\":10737418240,\"tty\":false,\"open_stdin\":false,"
        "\"detach\":true,\"auto_remove\":false,\"create_ms\":3%s}', 4, 'stopped', 0, 0, '', 5, 6, 3, 0, 'why', NULL);"
        "PRAGMA user_version = %d",
        version > 1 ? ",\"cap_add\":[\"CAP_SYS_TIME\"],\"cap_drop\":[],\"security\":false" : "", version);
    execute(sql);
}

static void upgrade(int version)
{
    struct bl_record found = {0}, *list;
    struct bl_store *store;
    size_t count;

    make_old(version);
    store = open_store();
    assert_int_equal(bl_store_get(store, "abcdefghijkl", &found, NULL), 0);
    assert_string_equal(found.name, "old");
    assert_string_equal(found.command[0], "sh");
    assert_string_equal(found.state.reason, "why");
    assert_int_equal(found.state.exit_code, 3);
    assert_int_equal(found.unconfined, version > 1);
    assert_int_equal(found.cap_add[0] != NULL, version > 1);
    assert_null(found.cap_drop[0]);
    assert_int_equal(found.restart.kind, BL_RESTART_NO);
    assert_int_equal(found.auto_stop_ms + found.auto_delete_ms, 0);
    assert_false(found.state.wanted);
    found.state.wanted = true;
    assert_int_equal(bl_store_update(store, found.id, &found.state, NULL), 1);
    bl_record_free(&found);
    bl_store_close(store);

    /* And stays so, with what a new version adds. */
    store = open_store();
    insert(store, "bbbbbbbbbbbb", NULL);
    assert_int_equal(bl_store_list(store, BL_STORE_ALL, &list, &count, NULL), 0);
    assert_int_equal(count, 2);
    assert_true(list[0].state.wanted || list[1].state.wanted);
    bl_store_list_free(list, count);
    bl_store_close(store);
}

static void a_database_of_the_first_version_is_upgraded(void **state)
{
    (void)state;
    upgrade(1);
}

static void a_database_of_the_second_version_is_upgraded(void **state)
{
    (void)state;
    upgrade(2);
}

static void a_newer_schema_is_refused(void **state)
{
    struct bl_store *store = open_store();
    struct bl_error err = BL_ERROR_INIT;
    char back[64];

    (void)state;
    bl_store_close(store);
    execute("PRAGMA user_version = 99");
    assert_int_equal(bl_store_open(home_fd, home, &store, &err), -1);
    assert_int_equal(err.code, BL_DATABASE);
    assert_non_null(strstr(err.message, "newer boxlite"));
    assert_null(store);
    snprintf(back, sizeof back, "PRAGMA user_version = %d", BL_STORE_VERSION);
    execute(back);
    bl_store_close(open_store());
}

static void damage_is_an_error_and_no_crash(void **state)
{
    static const char *const damages[] = {
        "UPDATE boxes SET config = 'no json'",
        "UPDATE boxes SET config = '{}'",
        "UPDATE boxes SET config = replace(config, '[]', '[1]')",
        "UPDATE boxes SET config = replace(config, '\"busybox:latest\"', '{\"hex\":\"4\"}')",
        "UPDATE boxes SET id = 'short'",
        "UPDATE boxes SET boot_id = hex(zeroblob(100))",
    };
    struct bl_store *store = open_store();
    struct bl_error err = BL_ERROR_INIT;
    struct bl_record *list;
    size_t count;

    (void)state;
    for (size_t i = 0; i < sizeof damages / sizeof *damages; i++) {
        execute("DELETE FROM boxes");
        insert(store, "abcdefghijkl", NULL);
        assert_int_equal(bl_store_list(store, BL_STORE_ALL, &list, &count, NULL), 0);
        bl_store_list_free(list, count);
        execute(damages[i]);
        assert_int_equal(bl_store_list(store, BL_STORE_ALL, &list, &count, &err), -1);
        assert_int_equal(err.code, BL_METADATA);
    }
    bl_store_close(store);

    /* Not even a database. */
    char path[128];

    snprintf(path, sizeof path, "%s/db/boxlite.db", home);

    cleanup_close int fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);

    assert_int_equal(bl_write_all(fd, "this is a letter to my aunt, and no database", 44), 0);
    assert_int_equal(bl_store_open(home_fd, home, &store, &err), -1);
    assert_int_equal(err.code, BL_DATABASE);
}

static void homes_that_cannot_serve_are_refused(void **state)
{
    char long_path[BL_HOME_PATH_MAX + 16], path[128];
    int one, two;
    struct bl_error err = BL_ERROR_INIT;

    (void)state;
    assert_int_equal(bl_home_open("relative", &one, &two, &err), -1);
    assert_int_equal(err.code, BL_CONFIG);
    assert_non_null(strstr(err.message, "BoxLite home must be an absolute path, got: relative"));
    memset(long_path, 'x', sizeof long_path);
    long_path[0] = '/';
    long_path[sizeof long_path - 1] = '\0';
    assert_int_equal(bl_home_open(long_path, &one, &two, &err), -1);
    assert_int_equal(err.code, BL_CONFIG);
    assert_int_equal(bl_home_open("/proc/nothing", &one, &two, &err), -1);
    assert_int_equal(err.code, BL_STORAGE);
    snprintf(path, sizeof path, "%s/db/setup.lock", home);
    bl_store_close(open_store());
    assert_int_equal(bl_home_open(path, &one, &two, &err), -1); /* a file */
    assert_int_equal(err.code, BL_STORAGE);
}

static void a_home_may_lie_deep(void **state)
{
    char deep[3900];
    int one, two;
    size_t length = strlen(home);
    struct bl_store *store;

    (void)state;
    /* Longer than any Unix socket's address, as deep as is promised. */
    memcpy(deep, home, length);
    while (length + 101 < sizeof deep) {
        deep[length++] = '/';
        memset(deep + length, 'd', 100);
        length += 100;
    }
    deep[length] = '\0';
    assert_int_equal(bl_home_open(deep, &one, &two, NULL), 0);
    assert_int_equal(bl_store_open(one, deep, &store, NULL), 0);
    insert(store, "abcdefghijkl", NULL);
    bl_store_close(store);
    close(one);
    close(two);
}

int main(void)
{
#define IN_A_HOME(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        IN_A_HOME(a_record_comes_back_as_it_was),
        IN_A_HOME(boxes_are_found_by_id_name_and_prefix),
        IN_A_HOME(an_older_view_never_overwrites_a_newer_state),
        IN_A_HOME(lists_are_newest_first_and_filtered),
        IN_A_HOME(four_processes_share_a_fresh_database),
        IN_A_HOME(a_database_of_the_first_version_is_upgraded),
        IN_A_HOME(a_database_of_the_second_version_is_upgraded),
        IN_A_HOME(a_newer_schema_is_refused),
        IN_A_HOME(damage_is_an_error_and_no_crash),
        IN_A_HOME(homes_that_cannot_serve_are_refused),
        IN_A_HOME(a_home_may_lie_deep),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
