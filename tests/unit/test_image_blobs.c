/* SPDX-License-Identifier: Apache-2.0 */
/* test_image_blobs.c - pulled content on the disk: who may have it, what is swept; and how a layer's line looks */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/io.h"
#include "image/blobs.h"
#include "image/registry_http.h"

#define DIGEST "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define FILE_  "blobs/sha256-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

static char place[] = "/tmp/bl-blobs-XXXXXX";
static int images_fd;

static int set_up(void **state)
{
    (void)state;
    strcpy(place + strlen(place) - 6, "XXXXXX");
    if (!mkdtemp(place))
        return -1;
    images_fd = open(place, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return mkdirat(images_fd, "blobs", 0700) || mkdirat(images_fd, "partial", 0700) || mkdirat(images_fd, "index", 0700);
}

static int tear_down(void **state)
{
    (void)state;
    close(images_fd);
    return bl_remove_tree(AT_FDCWD, place);
}

static bool exists(const char *file)
{
    return faccessat(images_fd, file, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static struct bl_blob_file open_blob(uint64_t size)
{
    struct bl_blob_file blob;
    struct bl_error err = BL_ERROR_INIT;

    if (bl_blob_open(images_fd, DIGEST, size, &blob, &err))
        fail_msg("%s", err.message);
    return blob;
}

static void part_is_continued_and_kept(void **state)
{
    (void)state;
    struct bl_blob_file blob = open_blob(10);

    assert_int_equal(blob.have_bytes, 0);
    assert_int_equal(pwrite(blob.fd, "hello", 5, 0), 5);
    bl_blob_finish(&blob);
    assert_true(exists(FILE_ ".part"));
    blob = open_blob(10);
    assert_int_equal(blob.have_bytes, 5);
    assert_false(blob.whole);
    assert_int_equal(pwrite(blob.fd, "world", 5, 5), 5);
    bl_blob_keep(images_fd, DIGEST, &blob);
    bl_blob_finish(&blob);
    assert_true(exists(FILE_) && !exists(FILE_ ".part"));
    blob = open_blob(10);
    assert_true(blob.whole);
    assert_int_equal(blob.have_bytes, 10);
    bl_blob_discard(images_fd, DIGEST, &blob);
    assert_false(exists(FILE_));
}

static void second_downloader_has_a_file_of_its_own(void **state)
{
    (void)state;
    struct bl_blob_file first = open_blob(10), second = open_blob(10);

    assert_false(first.anonymous);
    assert_true(second.anonymous);
    assert_int_equal(pwrite(second.fd, "0123456789", 10, 0), 10);
    bl_blob_keep(images_fd, DIGEST, &second);
    assert_false(exists(FILE_));
    bl_blob_finish(&second);
    assert_true(exists(FILE_ ".part"));
    bl_blob_finish(&first);
}

static void wrong_sizes_begin_anew(void **state)
{
    (void)state;
    struct bl_blob_file blob = open_blob(10);

    assert_int_equal(pwrite(blob.fd, "0123456789", 10, 0), 10);
    bl_blob_finish(&blob);
    blob = open_blob(4);
    assert_int_equal(blob.have_bytes, 0);
    assert_int_equal(pwrite(blob.fd, "0123", 4, 0), 4);
    bl_blob_keep(images_fd, DIGEST, &blob);
    bl_blob_finish(&blob);
    blob = open_blob(5);
    assert_false(blob.whole);
    bl_blob_finish(&blob);
    assert_false(exists(FILE_));
}

static void links_are_not_followed(void **state)
{
    (void)state;
    struct bl_blob_file blob;

    assert_int_equal(symlinkat("/etc/passwd", images_fd, FILE_ ".part"), 0);
    assert_int_equal(bl_blob_open(images_fd, DIGEST, 10, &blob, NULL), -1);
}

static void sweeps_spare_what_is_young_or_in_use(void **state)
{
    (void)state;
    struct bl_blob_file downloading = open_blob(10);
    static const char whole[] = "blobs/sha256-bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";
    static const char left[] = "blobs/sha256-cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc.part";
    const struct timespec old[2] = {{1000, 0}, {1000, 0}};

    close(openat(images_fd, whole, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    close(openat(images_fd, left, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    bl_blobs_sweep(images_fd, 0);
    assert_true(exists(whole) && exists(left) && exists(FILE_ ".part"));
    assert_int_equal(utimensat(images_fd, left, old, 0), 0);
    assert_int_equal(utimensat(images_fd, FILE_ ".part", old, 0), 0);
    bl_blobs_sweep(images_fd, 0);
    assert_true(exists(whole) && !exists(left) && exists(FILE_ ".part"));
    bl_blobs_sweep(images_fd, BL_BLOBS_NOW | BL_BLOBS_PARTS | BL_BLOBS_USED);
    assert_true(!exists(whole) && exists(FILE_ ".part"));
    bl_blob_finish(&downloading);
    bl_blobs_sweep(images_fd, BL_BLOBS_PARTS);
    assert_false(exists(FILE_ ".part"));
}

static void unreadable_record_stops_a_sweep(void **state)
{
    (void)state;
    static const char whole[] = "blobs/sha256-bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

    close(openat(images_fd, whole, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    close(openat(images_fd, "index/damaged.json", O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    bl_blobs_sweep(images_fd, BL_BLOBS_NOW);
    assert_true(exists(whole));
}

static void origins_and_loopback(void **state)
{
    (void)state;
    static const char *const same[][2] = {
        {"https://a/x", "https://a/y"}, {"https://A:443/x", "https://a/"}, {"http://a:80", "http://a/"}};
    static const char *const other[][2] = {{"https://a/", "http://a/"},    {"https://a/", "https://a:444/"},
                                           {"https://a/", "https://b/"},   {"https://a/", "https://a.b/"},
                                           {"https://a@b/", "https://a/"}, {"https://a/", "nonsense:"}};
    static const char *const loopback[] = {"localhost", "localhost:5000", "127.0.0.1", "127.9.9.9:1", "[::1]:5000", "LOCALHOST"};
    static const char *const far[] = {"docker.io", "128.0.0.1", "localhost.example", "[::2]:1", "127.0.0.1.example", ""};

    for (size_t i = 0; i < sizeof same / sizeof *same; i++)
        assert_true(bl_same_origin(same[i][0], same[i][1]));
    for (size_t i = 0; i < sizeof other / sizeof *other; i++)
        assert_false(bl_same_origin(other[i][0], other[i][1]));
    for (size_t i = 0; i < sizeof loopback / sizeof *loopback; i++)
        if (!bl_is_loopback(loopback[i]))
            fail_msg("%s", loopback[i]);
    for (size_t i = 0; i < sizeof far / sizeof *far; i++)
        if (bl_is_loopback(far[i]))
            fail_msg("%s", far[i]);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(part_is_continued_and_kept), TEST(second_downloader_has_a_file_of_its_own), TEST(wrong_sizes_begin_anew),
        TEST(links_are_not_followed),     TEST(sweeps_spare_what_is_young_or_in_use),    TEST(unreadable_record_stops_a_sweep),
        TEST(origins_and_loopback),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
