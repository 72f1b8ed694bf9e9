/* SPDX-License-Identifier: Apache-2.0 */
/* test_core_create.c - making and removing boxes: what is settled at creation, what is refused, and that nothing is left */
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
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
#include "base/clock.h"
#include "base/io.h"
#include "base/strings.h"
#include "core/lock.h"
#include "core_fixture.h"
#include "proto/launch.h"

static const char *const none[] = {NULL};

/* count_directories() - Below boxes/. */
static int count_directories(void)
{
    char path[128];
    int count = 0;

    snprintf(path, sizeof path, "%s/boxes", fixture_home);

    cleanup_dir DIR *dir = opendir(path);

    for (struct dirent *entry; (entry = readdir(dir));)
        count += entry->d_name[0] != '.';
    return count;
}

static void a_new_box_has_what_it_needs(void **state)
{
    const char *env[] = {"A=1", "PATH=/mine", "A=2", NULL};
    const struct bl_box_options options = {.image = "busybox", .name = "web", .env = env, .workdir = "/srv", .user = "1:2"};
    struct bl_runtime *runtime = fixture_open();
    struct bl_box_info info;
    struct stat file;
    char id[BL_BOX_ID_LENGTH + 1], command[256];

    (void)state;
    assert_int_equal(bl_box_create(runtime, &options, -1, id, NULL), 0);
    info = fixture_inspect(runtime, "web");
    assert_string_equal(info.id, id);
    assert_string_equal(info.image, "busybox:latest");
    assert_int_equal(strncmp(info.image_digest, "sha256:", 7), 0);
    assert_int_equal(info.status, BL_BOX_CONFIGURED);
    assert_int_equal(info.cpus, 1);
    assert_int_equal(info.memory_mib, 512);
    assert_int_equal(info.disk_bytes, 10ull << 30);
    assert_string_equal(info.engine, "auto");
    assert_string_equal(info.workdir, "/srv");
    assert_string_equal(info.user, "1:2");
    assert_string_equal(bl_strings_get_env((const char *const *)info.env, "A"), "2");
    assert_string_equal(bl_strings_get_env((const char *const *)info.env, "PATH"), "/mine");
    assert_false(info.job);
    assert_null(info.command[0]);
    assert_true(info.created_at_ms > 0 && info.started_at_ms == 0);
    bl_box_info_free(&info);

    assert_int_equal(stat(fixture_path(id, ""), &file), 0);
    assert_int_equal(file.st_mode & 07777, 0700);
    assert_int_equal(stat(fixture_path(id, BL_FILE_BASE), &file), 0);
    assert_true(file.st_nlink >= 2); /* the image's own disk, and no copy of it */
    assert_int_equal(stat(fixture_path(id, BL_FILE_OVERLAY), &file), 0);
    assert_int_equal(file.st_mode & 07777, 0600);
    snprintf(command, sizeof command, "qemu-img check -q %s", fixture_path(id, BL_FILE_OVERLAY));
    assert_int_equal(system(command), 0);
    assert_int_equal(bl_box_remove(runtime, "web", false, NULL), 0);
    assert_int_equal(count_directories(), 0);
    bl_runtime_close(runtime);
}

/* runs() - What a box of the embedded image (no entrypoint, command "sh") runs with these options. */
static void runs(const char *const *entrypoint, const char *const *command, bool use_image_command, const char *expected)
{
    const struct bl_box_options options = {
        .image = "busybox", .entrypoint = entrypoint, .command = command, .use_image_command = use_image_command};
    struct bl_runtime *runtime = fixture_open();
    struct bl_error err = BL_ERROR_INIT;
    char id[BL_BOX_ID_LENGTH + 1], line[256] = "";

    if (bl_box_create(runtime, &options, -1, id, &err) < 0) {
        assert_null(expected);
        assert_int_equal(err.code, BL_INVALID_ARGUMENT);
    } else {
        struct bl_box_info info = fixture_inspect(runtime, id);

        for (char **word = info.command; *word; word++)
            snprintf(line + strlen(line), sizeof line - strlen(line), "%s ", *word);
        assert_non_null(expected);
        assert_string_equal(line, expected);
        assert_int_equal(info.job, *expected != '\0');
        bl_box_info_free(&info);
        assert_int_equal(bl_box_remove(runtime, id, false, NULL), 0);
    }
    bl_runtime_close(runtime);
}

static void commands_are_combined_as_docker_does_it(void **state)
{
    static const char *const entrypoint[] = {"/entry", "-e", NULL}, *const command[] = {"echo", "hi", NULL};

    (void)state;
    runs(NULL, NULL, false, "");
    runs(NULL, NULL, true, "sh ");
    runs(NULL, command, false, "echo hi ");
    runs(NULL, command, true, "echo hi ");
    runs(entrypoint, command, true, "/entry -e echo hi ");
    runs(entrypoint, NULL, false, "/entry -e ");
    runs(entrypoint, NULL, true, "/entry -e "); /* the image's command was meant for the image's entrypoint */
    runs(none, command, true, "echo hi ");
    runs(none, NULL, true, NULL); /* nothing is left to run */
    runs(NULL, none, true, "sh ");
}

/* refused() - Options that make no box, and leave nothing. */
static void refused(struct bl_box_options options, enum bl_code code, const char *says)
{
    struct bl_runtime *runtime = fixture_open();
    struct bl_error err = BL_ERROR_INIT;
    char id[BL_BOX_ID_LENGTH + 1];

    if (!options.image && !options.rootfs)
        options.image = "busybox";
    assert_int_equal(bl_box_create(runtime, &options, -1, id, &err), -1);
    assert_int_equal(err.code, code);
    if (!strstr(err.message, says))
        fail_msg("'%s' does not say '%s'", err.message, says);
    assert_int_equal(count_directories(), 0);
    bl_runtime_close(runtime);
}

static void bad_options_are_refused_and_leave_nothing(void **state)
{
    static const char *const no_value[] = {"A", NULL}, *const no_key[] = {"=1", NULL};
    char rootfs[] = "/tmp/bl-rootfs-XXXXXX", file[64];

    (void)state;
    assert_non_null(mkdtemp(rootfs));
    snprintf(file, sizeof file, "%s/file", rootfs);
    close(open(file, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    refused((struct bl_box_options){.name = "-a"}, BL_INVALID_ARGUMENT, "name");
    refused((struct bl_box_options){.cpus = 33}, BL_INVALID_ARGUMENT, "CPUs");
    refused((struct bl_box_options){.memory_mib = 127}, BL_INVALID_ARGUMENT, "128");
    refused((struct bl_box_options){.memory_mib = 65537}, BL_INVALID_ARGUMENT, "65536");
    refused((struct bl_box_options){.disk_gb = 1025}, BL_INVALID_ARGUMENT, "1024");
    refused((struct bl_box_options){.engine = "steam"}, BL_INVALID_ARGUMENT, "steam");
    refused((struct bl_box_options){.env = no_value}, BL_INVALID_ARGUMENT, "KEY=VALUE");
    refused((struct bl_box_options){.env = no_key}, BL_INVALID_ARGUMENT, "KEY=VALUE");
    refused((struct bl_box_options){.workdir = "srv"}, BL_INVALID_ARGUMENT, "absolute");
    refused((struct bl_box_options){.image = "Bad Name"}, BL_INVALID_ARGUMENT, "");
    refused((struct bl_box_options){.image = "busybox", .rootfs = "/"}, BL_INVALID_ARGUMENT, "not both");
    refused((struct bl_box_options){.rootfs = "/nonexistent"}, BL_NOT_FOUND, "does not exist");
    refused((struct bl_box_options){.rootfs = file}, BL_INVALID_ARGUMENT, "not a directory");
    refused((struct bl_box_options){.rootfs = rootfs}, BL_IMAGE, "oci-layout");
    setenv("BOXLITE_ENGINE", "steam", 1);
    refused((struct bl_box_options){0}, BL_INVALID_ARGUMENT, "steam");
    unsetenv("BOXLITE_ENGINE");
    unlink(file);
    rmdir(rootfs);
}

static void a_name_is_taken_until_its_box_is_gone(void **state)
{
    const struct bl_box_options options = {.image = "busybox", .name = "one"};
    struct bl_runtime *runtime = fixture_open();
    struct bl_error err = BL_ERROR_INIT;
    char id[BL_BOX_ID_LENGTH + 1], second[BL_BOX_ID_LENGTH + 1];

    (void)state;
    assert_int_equal(bl_box_create(runtime, &options, -1, id, &err), 0);
    assert_int_equal(bl_box_create(runtime, &options, -1, second, &err), -1);
    assert_int_equal(err.code, BL_ALREADY_EXISTS);
    assert_non_null(strstr(err.message, "already exists"));
    assert_int_equal(count_directories(), 1);
    assert_int_equal(bl_box_remove(runtime, "one", false, &err), 0);
    assert_int_equal(bl_box_create(runtime, &options, -1, id, &err), 0);
    assert_int_equal(bl_box_remove(runtime, id, false, &err), 0);
    assert_int_equal(bl_box_remove(runtime, id, false, &err), -1);
    assert_int_equal(err.code, BL_NOT_FOUND);
    bl_runtime_close(runtime);
}

static void what_people_delete_by_hand_is_no_dead_end(void **state)
{
    struct bl_runtime *runtime = fixture_open();
    struct bl_error err = BL_ERROR_INIT;
    char id[BL_BOX_ID_LENGTH + 1];

    (void)state;
    /* The lock files: they are made anew. */
    fixture_box(runtime, NULL, true, id);
    assert_int_equal(unlink(fixture_path(id, BL_FILE_LIFECYCLE_LOCK)), 0);
    assert_int_equal(unlink(fixture_path(id, BL_FILE_SHIM_LOCK)), 0);
    assert_true(fixture_start(runtime, id) > 0);
    assert_int_equal(bl_box_remove(runtime, id, true, &err), 0);

    /* The whole directory: the box can still be removed. */
    fixture_box(runtime, NULL, true, id);
    assert_int_equal(bl_remove_tree(runtime->boxes_fd, id), 0);
    assert_int_equal(bl_box_start(runtime, id, NULL, &err), -1);
    assert_int_equal(bl_box_remove(runtime, id, false, &err), 0);
    assert_int_equal(bl_box_remove(runtime, id, false, &err), -1);
    assert_int_equal(err.code, BL_NOT_FOUND);
    assert_int_equal(count_directories(), 0);
    bl_runtime_close(runtime);
}

struct waiter {
    struct bl_runtime *runtime;
    const char *id;
    struct bl_error err;
    int result;
};

static void *remove_it(void *data)
{
    struct waiter *waiter = data;

    waiter->result = bl_box_remove(waiter->runtime, waiter->id, false, &waiter->err);
    return NULL;
}

#define WAITERS 4

static void who_waits_for_a_box_that_goes_away_is_told(void **state)
{
    struct bl_runtime *runtime = fixture_open();
    struct waiter waiters[WAITERS];
    pthread_t threads[WAITERS];
    char id[BL_BOX_ID_LENGTH + 1];
    int removed = 0;

    (void)state;
    fixture_box(runtime, NULL, true, id);

    int lock = bl_lifecycle_lock(runtime->boxes_fd, id, BL_NEVER, -1, NULL);

    for (int i = 0; i < WAITERS; i++) {
        waiters[i] = (struct waiter){.runtime = runtime, .id = id};
        assert_int_equal(pthread_create(&threads[i], NULL, remove_it, &waiters[i]), 0);
    }
    bl_lifecycle_unlock(lock);
    for (int i = 0; i < WAITERS; i++) {
        pthread_join(threads[i], NULL);
        if (waiters[i].result == 0)
            removed++;
        else
            assert_int_equal(waiters[i].err.code, BL_NOT_FOUND);
    }
    assert_true(removed >= 1);
    assert_int_equal(count_directories(), 0);
    bl_runtime_close(runtime);
}

#define PROCESSES 4
#define EACH      8

/* churn() - Create, look, start, sweep and remove, in a process of its own. Return: exit code */
static int churn(void)
{
    const struct bl_box_options options = {.image = "busybox", .detach = true};
    struct bl_runtime *runtime = NULL;

    if (bl_runtime_open(fixture_home, &runtime, NULL) < 0)
        return 1;
    for (int i = 0; i < EACH; i++) {
        char id[BL_BOX_ID_LENGTH + 1];
        struct bl_box_info info, *list;
        size_t count;

        if (bl_box_create(runtime, &options, -1, id, NULL) < 0 || bl_runtime_sweep(runtime, NULL) < 0 ||
            bl_box_start(runtime, id, NULL, NULL) < 0 || bl_runtime_sweep(runtime, NULL) < 0 ||
            bl_box_inspect(runtime, id, &info, NULL) < 0)
            return 2;
        if (info.status != BL_BOX_RUNNING || fixture_shims(id) != 1)
            return 3;
        bl_box_info_free(&info);
        if (bl_box_list(runtime, &list, &count, NULL) < 0)
            return 4;
        bl_box_list_free(list, count);
        if (bl_box_remove(runtime, id, true, NULL) < 0 || fixture_shims(id))
            return 5;
    }
    bl_runtime_close(runtime);
    return 0;
}

static void four_processes_share_a_home(void **state)
{
    pid_t pids[PROCESSES];

    (void)state;
    for (int i = 0; i < PROCESSES; i++) {
        pids[i] = fork();
        if (pids[i] == 0)
            _exit(churn());
    }
    for (int i = 0; i < PROCESSES; i++) {
        int status;

        assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
        assert_int_equal(status, 0);
    }
    assert_int_equal(count_directories(), 0);
}

static void a_runtime_describes_itself(void **state)
{
    struct bl_runtime *runtime = fixture_open();
    struct bl_runtime_info info;
    char one[BL_BOX_ID_LENGTH + 1], two[BL_BOX_ID_LENGTH + 1], three[BL_BOX_ID_LENGTH + 1];
    struct bl_error err = BL_ERROR_INIT;

    (void)state;
    fixture_box(runtime, NULL, true, one);
    fixture_box(runtime, NULL, true, two);
    fixture_box(runtime, "early", true, three);
    fixture_start(runtime, two);
    assert_int_equal(bl_box_start(runtime, three, NULL, &err), -1);
    assert_int_equal(bl_runtime_describe(runtime, &info, &err), 0);
    assert_int_equal(info.boxes, 3);
    assert_int_equal(info.configured, 1);
    assert_int_equal(info.running, 1);
    assert_int_equal(info.stopped, 1);
    assert_int_equal(info.images, 1);
    assert_string_equal(info.kernel_kind, "stock");
    assert_string_equal(info.runtime_dir, fixture_runtime_dir);
    assert_non_null(info.virtualization);
    bl_runtime_info_free(&info);
    setenv("BOXLITE_KERNEL_KIND", "tuned", 1);
    assert_int_equal(bl_runtime_describe(runtime, &info, &err), 0);
    assert_null(info.kernel);
    bl_runtime_info_free(&info);
    unsetenv("BOXLITE_KERNEL_KIND");
    assert_int_equal(bl_box_remove(runtime, one, false, &err), 0);
    assert_int_equal(bl_box_remove(runtime, two, true, &err), 0);
    assert_int_equal(bl_box_remove(runtime, three, false, &err), 0);
    bl_runtime_close(runtime);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_box_has_what_it_needs),
        cmocka_unit_test(commands_are_combined_as_docker_does_it),
        cmocka_unit_test(bad_options_are_refused_and_leave_nothing),
        cmocka_unit_test(a_name_is_taken_until_its_box_is_gone),
        cmocka_unit_test(what_people_delete_by_hand_is_no_dead_end),
        cmocka_unit_test(who_waits_for_a_box_that_goes_away_is_told),
        cmocka_unit_test(four_processes_share_a_home),
        cmocka_unit_test(a_runtime_describes_itself),
    };

    return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
