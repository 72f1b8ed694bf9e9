/* SPDX-License-Identifier: Apache-2.0 */
/* test_guest_users.c - users and groups by files that an image may have filled with anything */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "guest/users.h"

struct box {
    char path[64];
    int root_fd;
};

static void write_text(const struct box *box, const char *name, const char *text)
{
    int fd = openat(box->root_fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

    assert_true(fd >= 0);
    assert_int_equal(bl_write_all(fd, text, strlen(text)), 0);
    close(fd);
}

static int make_box(void **state)
{
    struct box *box = calloc(1, sizeof *box);

    strcpy(box->path, "/tmp/test-guest-users-XXXXXX");
    assert_non_null(mkdtemp(box->path));
    box->root_fd = open(box->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(mkdirat(box->root_fd, "etc", 0755), 0);
    *state = box;
    return 0;
}

static int remove_box(void **state)
{
    struct box *box = *state;

    close(box->root_fd);
    assert_int_equal(bl_remove_tree(AT_FDCWD, box->path), 0);
    free(box);
    return 0;
}

#define PASSWD "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1001:A B:/home/user:/bin/sh\n\n#x\n7:x:70:71::/seven:\nshort:x:5:6\n"
#define GROUP  "root:x:0:\nteam:x:2000:other,user\ncrew:x:2001:user\nnear:x:2002:users,xuser\n"

static struct bl_user find(const struct box *box, const char *spec)
{
    struct bl_error err = BL_ERROR_INIT;
    struct bl_user user;

    if (bl_user_find(box->root_fd, spec, &user, &err) < 0)
        fail_msg("%s: %s", spec, err.message);
    return user;
}

static void assert_user(const struct box *box, const char *spec, uid_t uid, gid_t gid, size_t groups, const char *home)
{
    struct bl_user user = find(box, spec);

    assert_int_equal(user.uid, uid);
    assert_int_equal(user.gid, gid);
    assert_int_equal(user.group_count, groups);
    assert_string_equal(user.home, home);
}

static void test_finds(void **state)
{
    struct box *box = *state;

    write_text(box, "etc/passwd", PASSWD);
    write_text(box, "etc/group", GROUP);
    assert_user(box, NULL, 0, 0, 0, "/root");
    assert_user(box, "", 0, 0, 0, "/root");
    assert_user(box, "user", 1000, 1001, 2, "/home/user");
    assert_user(box, "1000", 1000, 1001, 2, "/home/user");
    assert_user(box, "user:", 1000, 1001, 2, "/home/user");
    assert_user(box, "user:crew", 1000, 2001, 0, "/home/user");
    assert_user(box, "user:2002", 1000, 2002, 0, "/home/user");
    assert_user(box, "user:4000", 1000, 4000, 0, "/home/user");
    assert_user(box, ":crew", 0, 2001, 0, "/root");
    assert_user(box, "4000", 4000, 0, 0, "/");
    assert_user(box, "2147483647:2147483647", 2147483647, 2147483647, 0, "/");
    /* A name of digits is a name first. */
    assert_user(box, "7", 70, 71, 0, "/seven");
    /* A line without a home. */
    assert_user(box, "short", 5, 6, 0, "/");
    assert_int_equal(find(box, "user").groups[0], 2000);
    assert_int_equal(find(box, "user").groups[1], 2001);
}

static void test_refuses(void **state)
{
    static const char *const specs[] = {"nobody",  "use",   "user:none", "-1", "2147483648", "99999999999999999999",
                                        "1000:-1", "us\ner"};
    char long_name[400];
    struct box *box = *state;

    write_text(box, "etc/passwd", PASSWD);
    write_text(box, "etc/group", GROUP);
    memset(long_name, 'x', sizeof long_name - 1);
    long_name[sizeof long_name - 1] = '\0';
    for (size_t i = 0; i <= sizeof specs / sizeof *specs; i++) {
        struct bl_error err = BL_ERROR_INIT;
        struct bl_user user;

        assert_int_equal(bl_user_find(box->root_fd, i < sizeof specs / sizeof *specs ? specs[i] : long_name, &user, &err), -1);
        assert_int_equal(err.code, BL_EXECUTION);
        assert_null(strchr(err.message, '\n'));
    }
}

static void test_without_files(void **state)
{
    struct box *box = *state;
    struct bl_user user;

    assert_user(box, NULL, 0, 0, 0, "/");
    assert_user(box, "12:13", 12, 13, 0, "/");
    assert_int_equal(bl_user_find(box->root_fd, "root", &user, NULL), -1);
    /* A FIFO in their place does not stop us, nor does a directory. */
    assert_int_equal(mkfifoat(box->root_fd, "etc/passwd", 0644), 0);
    assert_int_equal(mkdirat(box->root_fd, "etc/group", 0755), 0);
    assert_user(box, "12", 12, 0, 0, "/");
}

static void test_links_stay_inside(void **state)
{
    struct box *box = *state;
    struct bl_user user;

    /* The host's own passwd has a root; the box's has none. */
    assert_int_equal(symlinkat("/etc/../../../../../etc/passwd.real", box->root_fd, "etc/passwd"), 0);
    write_text(box, "etc/passwd.real", "inside:x:1:2::/in:\n");
    assert_user(box, "inside", 1, 2, 0, "/in");
    assert_int_equal(bl_user_find(box->root_fd, "root", &user, NULL), -1);
}

static void test_garbage(void **state)
{
    struct box *box = *state;
    char *big = malloc(6u << 20);
    struct bl_user user;

    /* Longer than what is read, without a newline; then binary. */
    memset(big, 'a', (6u << 20) - 1);
    big[(6u << 20) - 1] = '\0';
    write_text(box, "etc/passwd", big);
    write_text(box, "etc/group", big);
    assert_user(box, "5", 5, 0, 0, "/");
    free(big);
    write_text(box, "etc/passwd",
               ":::::::\n:x:0:0\nx\nuser:x:99999999999999999999:1:::\nuser:x:-1:1:::\nuser:x: 1:1:::\n\xff\xfe:\x01");
    assert_int_equal(bl_user_find(box->root_fd, "user", &user, NULL), -1);
    /* A home that is no absolute path is none. */
    write_text(box, "etc/passwd", "user:x:1:1::relative:\n");
    assert_user(box, "user", 1, 1, 0, "/");
}

static void test_many_groups(void **state)
{
    struct box *box = *state;
    char text[8192] = "";

    for (int i = 0; i < 200; i++)
        snprintf(text + strlen(text), sizeof text - strlen(text), "g%d:x:%d:user\n", i, 3000 + i);
    write_text(box, "etc/passwd", PASSWD);
    write_text(box, "etc/group", text);
    assert_int_equal(find(box, "user").group_count, BL_GROUPS_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_finds, make_box, remove_box),
        cmocka_unit_test_setup_teardown(test_refuses, make_box, remove_box),
        cmocka_unit_test_setup_teardown(test_without_files, make_box, remove_box),
        cmocka_unit_test_setup_teardown(test_links_stay_inside, make_box, remove_box),
        cmocka_unit_test_setup_teardown(test_garbage, make_box, remove_box),
        cmocka_unit_test_setup_teardown(test_many_groups, make_box, remove_box),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
