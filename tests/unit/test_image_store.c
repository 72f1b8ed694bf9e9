/* SPDX-License-Identifier: Apache-2.0 */
/* test_image_store.c - finding, listing, removing and sweeping, through the loader that libboxlite opens */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/strings.h"
#include "image/lock.h"
#include "image/record.h"
#include "image/store.h"
#include "image_fixture.h"

static struct home home;
static struct bl_images *images;

static int set_up(void **state)
{
    (void)state;
    home_make(&home);
    assert_int_equal(bl_remove_tree(AT_FDCWD, home.images), 0);
    assert_int_equal(bl_images_open(home.path, BUILD_DIR, &images, NULL), 0);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    bl_images_close(images);
    home_remove(&home);
    return 0;
}

/* put() - Load an image of one file with this content under a name. */
static struct bl_image *put(const char *name, const char *content)
{
    struct bl_buffer layer = tar_of((struct entry[]){{.path = "x", .data = content}, {0}});
    struct layout layout = oci_layout(&(struct recipe){.layers = &layer, .layer_count = 1, .config = "\"Cmd\":[\"/x\"]"});
    cleanup_free char *path = bl_format("%s/source", home.path);
    struct bl_load_request request = {.path = path, .fd = -1, .reference = name, .anonymous = !name, .cancel_fd = -1};
    struct bl_error err = BL_ERROR_INIT;
    struct bl_image **loaded, *image;
    size_t count;

    layout_write(&layout, path);
    if (bl_images_load(images, &request, &loaded, &count, &err))
        fail_msg("%s", err.message);
    assert_int_equal(count, 1);
    image = loaded[0];
    free(loaded);
    layout_free(&layout);
    bl_buffer_free(&layer);
    assert_int_equal(bl_remove_tree(AT_FDCWD, path), 0);
    return image;
}

/* found() - The reference that a name finds, or NULL when it finds nothing. */
static const char *found(const char *name, enum bl_code code)
{
    static char reference[512];
    struct bl_error err = BL_ERROR_INIT;
    struct bl_image *image;

    if (bl_images_find(images, name, &image, &err)) {
        assert_int_equal(err.code, code);
        return NULL;
    }
    assert_string_equal(image->config.cmd[0], "/x");
    assert_int_equal(access(image->disk_path, R_OK), 0);
    snprintf(reference, sizeof reference, "%s", image->reference);
    bl_image_free(image);
    return reference;
}

static void makes_nothing_before_a_load(void **state)
{
    struct bl_image **list;
    struct bl_error err = BL_ERROR_INIT;
    struct bl_load_request request = {.path = "/nonexistent/file", .fd = -1, .cancel_fd = -1};
    size_t count = 9;

    (void)state;
    assert_int_equal(bl_images_list(images, &list, &count, &err), 0);
    assert_int_equal(count, 0);
    free(list);
    assert_null(found("busybox", BL_NOT_FOUND));
    assert_int_equal(bl_images_remove(images, "busybox", NULL, NULL, &err), -1);
    assert_int_equal(err.code, BL_NOT_FOUND);
    assert_int_equal(bl_images_load(images, &request, &list, &count, &err), -1);
    assert_int_equal(err.code, BL_NOT_FOUND);
    assert_int_equal(access(home.images, F_OK), -1);
}

static void finds_by_name_digest_and_id(void **state)
{
    struct bl_image *image = put("user/one:1", "one"), *other = put("two", "two");
    cleanup_free char *pinned = bl_format("user/one@%s", image->manifest_digest);
    cleanup_free char *wrong = bl_format("user/two@%s", image->manifest_digest);
    char id[72];

    (void)state;
    assert_string_equal(found("user/one:1", BL_OK), "docker.io/user/one:1");
    assert_string_equal(found("docker.io/user/one:1", BL_OK), "docker.io/user/one:1");
    assert_null(found("user/one", BL_NOT_FOUND));
    assert_string_equal(found("two", BL_OK), "docker.io/library/two:latest");
    assert_string_equal(found(pinned, BL_OK), "docker.io/user/one:1");
    assert_null(found(wrong, BL_NOT_FOUND));
    assert_string_equal(found(image->config_digest, BL_OK), "docker.io/user/one:1");
    snprintf(id, sizeof id, "%.12s", other->config_digest + 7);
    assert_string_equal(found(id, BL_OK), "docker.io/library/two:latest");
    id[6] = '\0';
    assert_string_equal(found(id, BL_OK), "docker.io/library/two:latest");
    id[5] = '\0';
    assert_null(found(id, BL_NOT_FOUND));
    assert_null(found("../../etc/passwd", BL_INVALID_ARGUMENT));
    assert_null(found("sha256:0000000", BL_NOT_FOUND));
    bl_image_free(image);
    bl_image_free(other);
}

static void a_name_moves_to_the_newer_image(void **state)
{
    struct bl_image *first = put("app", "one"), *second = put("app", "two"), *now;

    (void)state;
    assert_int_equal(bl_images_find(images, "app", &now, NULL), 0);
    assert_string_equal(now->config_digest, second->config_digest);
    assert_string_not_equal(now->config_digest, first->config_digest);
    home_is_clean(&home, 1, 2); /* a box may be on its way to the first: it goes later */
    bl_image_free(first);
    bl_image_free(second);
    bl_image_free(now);
}

struct lines {
    char text[1024];
};

static void note(const char *line, void *data)
{
    struct lines *lines = data;

    strcat(strcat(lines->text, line), "\n");
}

static void removes_with_the_last_reference(void **state)
{
    struct bl_image *one = put("one:1", "same"), *two = put("two:2", "same");
    struct lines lines = {""};
    char expected[256];
    struct bl_error err = BL_ERROR_INIT;

    (void)state;
    assert_string_equal(one->disk_path, two->disk_path);
    home_is_clean(&home, 2, 1);
    assert_int_equal(bl_images_remove(images, "one:1", note, &lines, &err), 0);
    assert_string_equal(lines.text, "Untagged: one:1\n");
    home_is_clean(&home, 1, 1);
    assert_null(found("one:1", BL_NOT_FOUND));
    assert_non_null(found("two:2", BL_OK));
    lines.text[0] = '\0';
    assert_int_equal(bl_images_remove(images, "two:2", note, &lines, &err), 0);
    snprintf(expected, sizeof expected, "Untagged: two:2\nDeleted: %s\n", two->config_digest);
    assert_string_equal(lines.text, expected);
    home_is_clean(&home, 0, 0);
    bl_image_free(one);
    bl_image_free(two);

    /* By id, all names at once; a box that linked the disk keeps it. */
    cleanup_free char *kept = bl_format("%s/box.ext4", home.path);

    one = put("one:1", "same");
    two = put("two:2", "same");
    assert_int_equal(link(one->disk_path, kept), 0);
    assert_int_equal(bl_images_remove(images, one->config_digest, NULL, NULL, &err), 0);
    home_is_clean(&home, 0, 0);
    assert_int_equal(access(kept, R_OK), 0);
    bl_image_free(one);
    bl_image_free(two);
}

static void lists_newest_first(void **state)
{
    struct bl_image *a = put("a", "one"), *b = put("b", "two"), **list;
    int images_fd = open(home.images, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    size_t count;

    (void)state;
    /* Written again with times that a test can tell apart. */
    a->loaded_at = 2000;
    b->loaded_at = 1000;
    assert_int_equal(bl_record_write(images_fd, a, "{\"rootfs\":{}}", 13, NULL), 0);
    assert_int_equal(bl_record_write(images_fd, b, "{\"rootfs\":{}}", 13, NULL), 0);
    close(images_fd);
    assert_int_equal(bl_images_list(images, &list, &count, NULL), 0);
    assert_int_equal(count, 2);
    assert_string_equal(list[0]->repository, "a");
    assert_int_equal(list[0]->loaded_at, 2000);
    assert_string_equal(list[1]->reference, "docker.io/library/b:latest");
    assert_string_equal(list[1]->manifest_digest, b->manifest_digest);
    assert_int_equal(list[1]->disk_bytes, UINT64_C(10) << 30);
    bl_image_free_list(list, count);
    bl_image_free(a);
    bl_image_free(b);
}

static void survives_damaged_records(void **state)
{
    static const char no_key[] = "{\"version\":1,\"reference\":\"docker.io/library/x:latest\",\"manifest_digest\":\"m\","
                                 "\"config_digest\":\"c\",\"disk_key\":\"../../../x\",\"config\":\"{}\"}";
    static const char *const texts[] = {"", "{", "[]", "{\"version\":99}", "{\"version\":1}", no_key};
    struct bl_image *image = put("good", "x"), **list;
    struct bl_error err = BL_ERROR_INIT;
    size_t count;

    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        cleanup_free char *path = bl_format("%s/index/docker.io+library+bad:latest.json", home.images);
        struct bl_buffer bytes = BL_BUFFER_INIT(4096);

        bl_buffer_append(&bytes, texts[i], strlen(texts[i]));
        write_file(path, &bytes);
        bl_buffer_free(&bytes);
        assert_int_equal(bl_images_list(images, &list, &count, &err), 0);
        assert_int_equal(count, 1);
        bl_image_free_list(list, count);
        assert_non_null(found("good", BL_OK));
        assert_null(found("bad", BL_NOT_FOUND));
    }
    /* But a disk is not removed while a record can't be read: it could be its. */
    assert_int_equal(bl_images_remove(images, "good", NULL, NULL, &err), 0);
    assert_null(found("good", BL_NOT_FOUND));
    assert_int_equal(access(image->disk_path, F_OK), 0);
    bl_image_free(image);
}

static void a_record_without_disk_is_unknown(void **state)
{
    struct bl_image *image = put("x", "x"), **list;
    size_t count;

    (void)state;
    assert_int_equal(unlink(image->disk_path), 0);
    assert_null(found("x", BL_NOT_FOUND));
    assert_int_equal(bl_images_list(images, &list, &count, NULL), 0);
    assert_int_equal(count, 0);
    free(list);
    bl_image_free(image);
    image = put("x", "x"); /* loading again heals it */
    assert_non_null(found("x", BL_OK));
    bl_image_free(image);
}

static void brings_the_embedded_image(void **state)
{
    struct bl_error err = BL_ERROR_INIT;
    struct bl_image *image, *again;

    (void)state;
    if (bl_images_ensure(images, "busybox", -1, &image, &err))
        fail_msg("%s", err.message);
    assert_string_equal(image->reference, "docker.io/library/busybox:latest");

    struct disk disk = disk_open(image);

    assert_int_not_equal(disk_find(&disk, "/bin/busybox"), 0);
    assert_int_not_equal(disk_find(&disk, "/etc/passwd"), 0);
    disk_close(&disk);
    assert_int_equal(bl_images_ensure(images, "docker.io/busybox:latest", -1, &again, &err), 0);
    assert_string_equal(again->config_digest, image->config_digest);
    bl_image_free(again);
    bl_image_free(image);

    const struct bl_pull_request other = {.reference = "busybox:other", .policy = BL_PULL_NEVER, .cancel_fd = -1};

    assert_int_equal(bl_images_pull(images, &other, &image, &err), -1);
    assert_int_equal(err.code, BL_NOT_FOUND);
    assert_non_null(strstr(err.message, "boxlite load"));
    assert_int_equal(bl_images_ensure(images, "No Name", -1, &image, &err), -1);
    assert_int_equal(err.code, BL_INVALID_ARGUMENT);
}

/* touch() - Make a file of partial/. Return: an open descriptor */
static int touch(const char *name)
{
    cleanup_free char *path = bl_format("%s/partial/%s", home.images, name);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    return fd;
}

static void sweeps_what_the_dead_left(void **state)
{
    struct bl_image *image = put("x", "x"), *nameless = put(NULL, "nameless");
    int dead = touch("dead"), alive = touch("alive");
    cleanup_free char *alive_path = bl_format("%s/partial/alive", home.images), *box = bl_format("%s/box", home.path);
    cleanup_free char *dead_path = bl_format("%s/partial/dead", home.images);
    struct timespec old[] = {{.tv_sec = 1000}, {.tv_sec = 1000}};

    (void)state;
    close(dead);
    assert_int_equal(flock(alive, LOCK_EX), 0);
    bl_images_sweep(images);
    assert_int_equal(access(dead_path, F_OK), -1);
    assert_int_equal(access(alive_path, F_OK), 0);
    close(alive);
    bl_images_sweep(images);
    assert_int_equal(access(alive_path, F_OK), -1);

    /* A disk without a record stays for a while, and with a box for ever; its age is when its inode changed, which no call
     * sets: so only youth and the box can be tested here. */
    assert_int_equal(utimensat(AT_FDCWD, nameless->disk_path, old, 0), 0);
    bl_images_sweep(images);
    assert_int_equal(access(nameless->disk_path, F_OK), 0);
    assert_int_equal(link(nameless->disk_path, box), 0);
    home_is_clean(&home, 1, 2);
    bl_image_free(image);
    bl_image_free(nameless);
}

static void says_what_is_missing(void **state)
{
    struct bl_load_request request = {.path = "/etc/passwd", .fd = -1, .cancel_fd = -1};
    struct bl_error err = BL_ERROR_INIT;
    struct bl_image **list;
    size_t count;

    (void)state;
    assert_int_equal(bl_images_load(images, &request, &list, &count, &err), -1);
    assert_int_equal(err.code, BL_IMAGE);
    assert_non_null(strstr(err.message, "/etc/passwd"));

    /* The home is a file: nothing can be made in it. */
    struct bl_images *broken;

    assert_int_equal(bl_images_open("/etc/passwd", BUILD_DIR, &broken, NULL), 0);
    assert_int_equal(bl_images_load(broken, &request, &list, &count, &err), -1);
    assert_int_equal(err.code, BL_STORAGE);
    assert_non_null(strstr(err.message, "/etc/passwd/images"));
    bl_images_close(broken);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(makes_nothing_before_a_load),
        T(finds_by_name_digest_and_id),
        T(a_name_moves_to_the_newer_image),
        T(removes_with_the_last_reference),
        T(lists_newest_first),
        T(survives_damaged_records),
        T(a_record_without_disk_is_unknown),
        T(brings_the_embedded_image),
        T(sweeps_what_the_dead_left),
        T(says_what_is_missing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
