/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_guest_copy.c - the agent's copies, run on the host below a directory of their own
 *
 * What real file systems and owners make of them is tested in a machine (tests/guest/test_copy.py); here it is about hostile
 * entries under the sanitizers, and that what goes in comes out.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "guest/copy.h"
#include "proto/entry.h"

#define BYTES_MAX (4u << 20)

struct box {
    char path[64];
    int root_fd;
};

static int make_box(void **state)
{
    struct box *box = calloc(1, sizeof *box);

    strcpy(box->path, "/tmp/test-guest-copy-XXXXXX");
    assert_non_null(mkdtemp(box->path));
    box->root_fd = open(box->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(mkdirat(box->root_fd, "in", 0755), 0);
    assert_int_equal(mkdirat(box->root_fd, "victim", 0755), 0);
    *state = box;
    return 0;
}

/* Copies without /proc/self/fd give each file its name at once, as those to file systems without nameless files do. */
static bool all_have_names;

static int make_old_box(void **state)
{
    all_have_names = true;
    return make_box(state);
}

static int remove_box(void **state)
{
    struct box *box = *state;

    all_have_names = false;
    char open_all[128];

    close(box->root_fd);
    /* Directories that nobody may look into are in the way of everybody but root. */
    snprintf(open_all, sizeof open_all, "chmod -R u+rwX %s", box->path);
    assert_int_equal(system(open_all), 0);
    assert_int_equal(bl_remove_tree(AT_FDCWD, box->path), 0);
    free(box);
    return 0;
}

/* add() - One entry, owned by whoever runs the test. */
static void add(struct bl_buffer *out, enum bl_entry_type type, const char *path, const char *text, const char *name)
{
    char link[256], source[256], names[256];
    struct bl_entry entry = {.type = type,
                             .path = source,
                             .mode = type == BL_ENTRY_DIRECTORY ? 0755 : 0644,
                             .uid = geteuid(),
                             .gid = getegid(),
                             .mtime_ns = UINT64_C(1234567890000000001)};

    snprintf(source, sizeof source, "%s", path);
    snprintf(link, sizeof link, "%s", text ? text : "");
    snprintf(names, sizeof names, "%s", name ? name : "");
    if (type == BL_ENTRY_SYMLINK || type == BL_ENTRY_HARDLINK)
        entry.link = link;
    if (name)
        entry.name = names;
    if (type == BL_ENTRY_FILE)
        entry.size = text ? strlen(text) : 0;
    assert_int_equal(bl_entry_encode(out, &entry), 0);
    if (type == BL_ENTRY_FILE && text)
        assert_int_equal(bl_buffer_append(out, text, strlen(text)), 0);
}

static void add_end(struct bl_buffer *out)
{
    struct bl_entry end = {.type = BL_ENTRY_END};

    assert_int_equal(bl_entry_encode(out, &end), 0);
}

/* copy_in() - Feed bytes to a copy. Return: as it does */
static int copy_in(const struct box *box, const char *path, uint32_t flags, const struct bl_buffer *bytes, struct bl_error *err)
{
    int fd = memfd_create("entries", MFD_CLOEXEC);

    assert_int_equal(bl_write_all(fd, bl_buffer_data(bytes), bytes->length), 0);
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);

    int fds = all_have_names ? -1 : open("/proc/self/fd", O_PATH | O_DIRECTORY | O_CLOEXEC);
    int result = bl_copy_in(box->root_fd, fds, path, flags, NULL, fd, err);

    bl_close_fd(&fds);
    close(fd);
    return result;
}

/* copy_out() - What a copy sends. Return: as it does */
static int copy_out(const struct box *box, const char *path, uint32_t flags, struct bl_buffer *bytes, struct bl_error *err)
{
    char name[64];
    int fd = memfd_create("entries", MFD_CLOEXEC);
    int result = bl_copy_out(box->root_fd, path, flags, fd, err);

    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    assert_int_equal(bl_read_file(AT_FDCWD, name, bytes), 0);
    close(fd);
    return result;
}

static void assert_content(const struct box *box, const char *path, const char *text)
{
    cleanup_buffer struct bl_buffer content = BL_BUFFER_INIT(BYTES_MAX);

    assert_int_equal(bl_read_file(box->root_fd, path, &content), 0);
    assert_int_equal(content.length, strlen(text));
    assert_memory_equal(bl_buffer_data(&content), text, content.length);
}

static void test_round_trip(void **state)
{
    struct box *box = *state;
    struct bl_error err = BL_ERROR_INIT;
    cleanup_buffer struct bl_buffer in = BL_BUFFER_INIT(BYTES_MAX), out = BL_BUFFER_INIT(BYTES_MAX),
                                    again = BL_BUFFER_INIT(BYTES_MAX);
    struct stat info;

    add(&in, BL_ENTRY_DIRECTORY, "", NULL, "tree");
    add(&in, BL_ENTRY_DIRECTORY, "d", NULL, NULL);
    add(&in, BL_ENTRY_FILE, "d/f", "content", NULL);
    add(&in, BL_ENTRY_HARDLINK, "h", "d/f", NULL);
    add(&in, BL_ENTRY_SYMLINK, "l", "/anywhere", NULL);
    add(&in, BL_ENTRY_FIFO, "p", NULL, NULL);
    add(&in, BL_ENTRY_FILE, "empty", "", NULL);
    add_end(&in);
    if (copy_in(box, "/in", 0, &in, &err) < 0)
        fail_msg("%s", err.message);
    assert_content(box, "in/tree/d/f", "content");
    assert_int_equal(fstatat(box->root_fd, "in/tree/h", &info, 0), 0);
    assert_int_equal(info.st_nlink, 2);
    assert_int_equal(info.st_mtim.tv_nsec, 1);
    assert_int_equal(fstatat(box->root_fd, "in/tree", &info, 0), 0);
    assert_int_equal(info.st_mtim.tv_sec, 1234567890);
    assert_int_equal(copy_out(box, "/in/tree", 0, &out, &err), 0);
    /* What came out goes in elsewhere and comes out the same. */
    assert_int_equal(copy_in(box, "/in/other", 0, &out, &err), 0);
    assert_int_equal(copy_out(box, "/in/other/.", 0, &again, &err), 0);
    assert_content(box, "in/other/h", "content");
    assert_in_range(again.length, out.length, out.length + 1); /* "tree" became "other" */
}

static void test_hostile(void **state)
{
    static const struct {
        enum bl_entry_type type;
        const char *path, *text;
    } cases[] = {
        {BL_ENTRY_FILE, "out/f", "x"},          {BL_ENTRY_DIRECTORY, "out/d", NULL},
        {BL_ENTRY_SYMLINK, "out/l", "x"},       {BL_ENTRY_HARDLINK, "out/h", "own"},
        {BL_ENTRY_HARDLINK, "h", "out/secret"}, {BL_ENTRY_FIFO, "out/p", NULL},
        {BL_ENTRY_FILE, "own/f", "x"},          {BL_ENTRY_FILE, "", "x"},
        {BL_ENTRY_DIRECTORY, "out", NULL},      {BL_ENTRY_HARDLINK, "h", "not-there"},
        {BL_ENTRY_FILE, "no/parent", "x"},      {BL_ENTRY_FILE, "own/../f", "x"},
    };
    struct box *box = *state;

    assert_int_equal(symlinkat("../victim", box->root_fd, "in/out"), 0);
    assert_int_equal(close(openat(box->root_fd, "victim/secret", O_CREAT | O_WRONLY | O_CLOEXEC, 0600)), 0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cleanup_buffer struct bl_buffer in = BL_BUFFER_INIT(BYTES_MAX);
        struct bl_error err = BL_ERROR_INIT;
        struct stat info;

        add(&in, BL_ENTRY_DIRECTORY, "", NULL, "x");
        add(&in, BL_ENTRY_FILE, "own", "x", NULL);
        add(&in, cases[i].type, cases[i].path, cases[i].text, NULL);
        add_end(&in);
        assert_int_equal(copy_in(box, "/in/.", 0, &in, &err), -1);
        assert_true(err.message[0] != '\0');
        assert_int_equal(fstatat(box->root_fd, "victim/secret", &info, 0), 0);
        assert_int_equal(info.st_nlink, 1);
        /* Nothing but the secret is in there. */
        assert_int_equal(fstatat(box->root_fd, "victim", &info, 0), 0);
        assert_int_equal(info.st_nlink, 2);
        assert_int_equal(faccessat(box->root_fd, "victim/f", F_OK, 0), -1);
    }
}

static void test_every_cut_is_noticed(void **state)
{
    struct box *box = *state;
    cleanup_buffer struct bl_buffer in = BL_BUFFER_INIT(BYTES_MAX);

    add(&in, BL_ENTRY_DIRECTORY, "", NULL, "tree");
    add(&in, BL_ENTRY_FILE, "f", "content", NULL);
    add_end(&in);
    for (size_t length = 0; length < in.length; length++) {
        cleanup_buffer struct bl_buffer part = BL_BUFFER_INIT(BYTES_MAX);
        struct bl_error err = BL_ERROR_INIT;

        assert_int_equal(bl_buffer_append(&part, bl_buffer_data(&in), length), 0);
        assert_int_equal(copy_in(box, "/in", 0, &part, &err), -1);
    }
    assert_int_equal(copy_in(box, "/in", 0, &in, NULL), 0);
}

static void test_half_a_file_is_none(void **state)
{
    struct box *box = *state;
    cleanup_buffer struct bl_buffer in = BL_BUFFER_INIT(BYTES_MAX), part = BL_BUFFER_INIT(BYTES_MAX);

    add(&in, BL_ENTRY_FILE, "", "content", "f");
    assert_int_equal(bl_buffer_append(&part, bl_buffer_data(&in), in.length - 1), 0);
    assert_int_equal(copy_in(box, "/in", 0, &part, NULL), -1);
    assert_int_equal(faccessat(box->root_fd, "in/f", F_OK, 0), -1);
    add_end(&in);
    assert_int_equal(copy_in(box, "/in", 0, &in, NULL), 0);
    assert_content(box, "in/f", "content");
}

static void test_random_bytes(void **state)
{
    struct box *box = *state;
    uint32_t seed = 12345;

    for (int round = 0; round < 3000; round++) {
        cleanup_buffer struct bl_buffer in = BL_BUFFER_INIT(BYTES_MAX);

        add(&in, BL_ENTRY_DIRECTORY, "", NULL, "tree");
        add(&in, BL_ENTRY_FILE, "f", "content", NULL);
        add_end(&in);
        for (int i = 0; i < 3; i++) {
            seed = seed * 1664525 + 1013904223;
            bl_buffer_data(&in)[seed / 7 % in.length] = (uint8_t)(seed >> 24);
        }

        struct bl_error err = BL_ERROR_INIT;

        /* Whatever comes of it: no crash, and it stays where it belongs. */
        (void)copy_in(box, "/in", 0, &in, &err);
    }
    assert_int_equal(faccessat(box->root_fd, "f", F_OK, 0), -1);
}

static void test_sources(void **state)
{
    struct box *box = *state;
    struct bl_error err = BL_ERROR_INIT;
    cleanup_buffer struct bl_buffer out = BL_BUFFER_INIT(BYTES_MAX);
    struct bl_entry entry;
    size_t used;

    assert_int_equal(copy_out(box, "/none", 0, &out, &err), -1);
    assert_int_equal(err.code, BL_NOT_FOUND);
    assert_int_equal(out.length, 0);
    /* Paths that climb end at the root of the box. */
    assert_int_equal(copy_out(box, "/../../etc/passwd", 0, &out, &err), -1);
    assert_int_equal(symlinkat("/etc/passwd", box->root_fd, "in/passwd"), 0);
    assert_int_equal(copy_out(box, "/in/passwd", BL_COPY_FOLLOW_LINKS, &out, &err), -1);
    assert_int_equal(copy_out(box, "/", 0, &out, &err), 0);
    assert_int_equal(bl_entry_decode(bl_buffer_data(&out), out.length, &entry, &used), 1);
    assert_int_equal(entry.type, BL_ENTRY_DIRECTORY);
    assert_null(entry.name);
    bl_entry_free(&entry);
}

static void test_deep_tree(void **state)
{
    struct box *box = *state;
    struct bl_error err = BL_ERROR_INIT;
    cleanup_buffer struct bl_buffer out = BL_BUFFER_INIT(64u << 20);
    int at = openat(box->root_fd, "in", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    /* Deeper than a path can say: refused, not overrun. */
    for (int i = 0; i < 900; i++) {
        assert_int_equal(mkdirat(at, "name5", 0755), 0);

        int next = openat(at, "name5", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        close(at);
        at = next;
    }
    close(at);
    assert_int_equal(copy_out(box, "/in", 0, &out, &err), -1);
    assert_int_equal(err.sys_errno, ENAMETOOLONG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_round_trip, make_box, remove_box),
        cmocka_unit_test_setup_teardown(test_hostile, make_box, remove_box),
        cmocka_unit_test_setup_teardown(test_every_cut_is_noticed, make_box, remove_box),
        cmocka_unit_test_setup_teardown(test_half_a_file_is_none, make_box, remove_box),
        {"test_half_a_file_is_none_where_all_have_names", test_half_a_file_is_none, make_old_box, remove_box, NULL},
        {"test_round_trip_where_all_have_names", test_round_trip, make_old_box, remove_box, NULL},
        cmocka_unit_test_setup_teardown(test_random_bytes, make_box, remove_box),
        cmocka_unit_test_setup_teardown(test_sources, make_box, remove_box),
        cmocka_unit_test_setup_teardown(test_deep_tree, make_box, remove_box),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
