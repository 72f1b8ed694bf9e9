/* SPDX-License-Identifier: Apache-2.0 */
/* test_base.c - the ground that every part stands on: errors, buffers, strings, files, sockets, the event loop */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/io.h"
#include "base/loop.h"
#include "base/strings.h"

static void error_says_reason(void **state)
{
    (void)state;
    struct bl_error err = BL_ERROR_INIT;

    assert_int_equal(bl_fail(&err, BL_STORAGE, ENOSPC, "write %s", "disk"), -1);
    assert_int_equal(err.code, BL_STORAGE);
    assert_int_equal(err.sys_errno, ENOSPC);
    assert_string_equal(err.message, "write disk: No space left on device");
    bl_fail_context(&err, "create box %s", "web");
    assert_string_equal(err.message, "create box web: write disk: No space left on device");
}

static void error_is_one_printable_line(void **state)
{
    (void)state;
    struct bl_error err = BL_ERROR_INIT;

    bl_fail(&err, BL_IMAGE, 0, "bad name %s", "a\nb\033[31m");
    assert_string_equal(err.message, "bad name a?b?[31m");
}

static void long_error_keeps_reason(void **state)
{
    (void)state;
    struct bl_error err = BL_ERROR_INIT;
    char name[4096];

    memset(name, 'x', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    bl_fail(&err, BL_STORAGE, EIO, "read %s", name);
    assert_non_null(strstr(err.message, strerror(EIO)));
}

static void buffer_is_a_queue_with_a_maximum(void **state)
{
    (void)state;
    cleanup_buffer struct bl_buffer buffer = BL_BUFFER_INIT(1000);
    uint8_t next_in = 0, next_out = 0;

    for (int round = 0; round < 500; round++) {
        size_t put = (size_t)(round * 37 % 300), take;

        if (put > bl_buffer_room(&buffer)) {
            assert_int_equal(bl_buffer_append(&buffer, "", bl_buffer_room(&buffer) + 1), -1);
            put = bl_buffer_room(&buffer);
        }

        uint8_t *at = bl_buffer_reserve(&buffer, put);

        for (size_t i = 0; i < put; i++)
            at[i] = next_in++;
        bl_buffer_commit(&buffer, put);
        take = buffer.length * 2 / 3;
        for (size_t i = 0; i < take; i++)
            assert_int_equal(bl_buffer_data(&buffer)[i], next_out++);
        bl_buffer_consume(&buffer, take);
    }
}

static void strings_set_and_get(void **state)
{
    (void)state;
    cleanup_strings char **list = NULL;

    assert_int_equal(bl_strings_set_env(&list, "A=1"), 0);
    assert_int_equal(bl_strings_set_env(&list, "AB=2"), 0);
    assert_int_equal(bl_strings_set_env(&list, "A=3=4"), 0);
    assert_int_equal(bl_strings_count((const char *const *)list), 2);
    assert_string_equal(bl_strings_get_env((const char *const *)list, "A"), "3=4");
    assert_string_equal(bl_strings_get_env((const char *const *)list, "AB"), "2");
    assert_null(bl_strings_get_env((const char *const *)list, "B"));
}

static void numbers_are_whole_and_bounded(void **state)
{
    (void)state;
    long long value = 0;
    const char *const bad[] = {"", " 1", "1 ", "0x10", "1.5", "+1", "99999999999999999999", "abc", "-"};

    assert_int_equal(bl_parse_number("42", 0, 100, &value), 0);
    assert_int_equal(value, 42);
    assert_int_equal(bl_parse_number("-5", -10, 100, &value), 0);
    assert_int_equal(bl_parse_number("101", 0, 100, &value), -1);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(bl_parse_number(bad[i], 0, INT64_MAX, &value), -1);
}

/* A directory of the test's own, gone afterwards. */
struct place {
    char path[64];
    int fd;
};

static struct place make_place(void)
{
    struct place place = {.path = "/tmp/bl-base-XXXXXX"};

    assert_non_null(mkdtemp(place.path));
    place.fd = open(place.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(place.fd >= 0);
    return place;
}

static void leave_place(struct place *place)
{
    close(place->fd);
    assert_int_equal(bl_remove_tree(AT_FDCWD, place->path), 0);
    assert_int_equal(access(place->path, F_OK), -1);
}

static void files_are_replaced_whole(void **state)
{
    (void)state;
    struct place place = make_place();
    cleanup_buffer struct bl_buffer got = BL_BUFFER_INIT(6), small = BL_BUFFER_INIT(5);
    struct stat made;

    assert_int_equal(bl_write_file(place.fd, "f", "old", 3, 0600), 0);
    assert_int_equal(bl_write_file(place.fd, "f", "newest", 6, 0600), 0);
    assert_int_equal(bl_read_file(place.fd, "f", &got), 0);
    assert_int_equal(got.length, 6);
    assert_memory_equal(bl_buffer_data(&got), "newest", 6);
    assert_int_equal(bl_read_file(place.fd, "f", &small), -1);
    assert_int_equal(errno, EFBIG);
    assert_int_equal(fstatat(place.fd, "f", &made, 0), 0);
    assert_int_equal(made.st_mode & 0777, 0600);
    /* A failed write leaves the old file and no temporary. */
    assert_int_equal(mkdirat(place.fd, "d", 0700), 0);
    assert_int_equal(bl_write_file(place.fd, "d", "x", 1, 0600), -1);
    assert_int_equal(unlinkat(place.fd, "d", AT_REMOVEDIR), 0);
    assert_int_equal(unlinkat(place.fd, "f", 0), 0);
    assert_int_equal(rmdir(place.path), 0); /* empty: nothing else was left */
    assert_int_equal(mkdir(place.path, 0700), 0);
    leave_place(&place);
}

static void remove_tree_follows_no_link(void **state)
{
    (void)state;
    struct place place = make_place(), other = make_place();

    assert_int_equal(bl_write_file(other.fd, "keep", "x", 1, 0600), 0);
    assert_int_equal(mkdirat(place.fd, "tree", 0700), 0);
    assert_int_equal(mkdirat(place.fd, "tree/deep", 0700), 0);
    assert_int_equal(symlinkat(other.path, place.fd, "tree/deep/link"), 0);
    assert_int_equal(bl_remove_tree(place.fd, "tree"), 0);
    assert_int_equal(bl_remove_tree(place.fd, "tree"), 0); /* gone already */
    assert_int_equal(faccessat(other.fd, "keep", F_OK, 0), 0);
    leave_place(&place);
    leave_place(&other);
}

static void socket_in_a_long_directory(void **state)
{
    (void)state;
    struct place place = make_place();
    char name[200];

    memset(name, 'd', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    assert_int_equal(mkdirat(place.fd, name, 0700), 0);

    int dir = openat(place.fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct stat made;

    assert_int_equal(bl_unix_connect(dir, "s"), -1);
    assert_int_equal(errno, ENOENT);

    int listener = bl_unix_listen(dir, "s");

    assert_true(listener >= 0);
    assert_int_equal(fstatat(dir, "s", &made, 0), 0);
    assert_int_equal(made.st_mode & 0777, 0600);

    int client = bl_unix_connect(dir, "s");
    int server = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

    assert_true(client >= 0 && server >= 0);
    assert_int_equal(bl_write_all(client, "hi", 2), 0);
    close(client);

    char got[3] = "";

    assert_int_equal(bl_read_all(server, got, sizeof got), 2);
    assert_string_equal(got, "hi");
    /* Nobody reads any more: an error, not SIGPIPE. */
    assert_int_equal(bl_write_all(server, "x", 1), -1);
    assert_int_equal(errno, EPIPE);
    close(server);
    close(listener);
    close(dir);
    leave_place(&place);
}

struct round {
    struct bl_loop loop;
    struct bl_source first, second;
    struct bl_timer early, late;
    int calls;
    char order[8];
};

static void remove_other(struct bl_source *source, uint32_t events)
{
    struct round *round = source->data;

    (void)events;
    round->calls++;
    bl_source_remove(source == &round->first ? &round->second : &round->first);
}

static void removed_source_is_not_called(void **state)
{
    (void)state;
    struct round round = {0};
    int a[2], b[2];

    assert_int_equal(pipe2(a, O_CLOEXEC), 0);
    assert_int_equal(pipe2(b, O_CLOEXEC), 0);
    assert_int_equal(bl_loop_init(&round.loop), 0);
    round.first = (struct bl_source){.fd = a[0], .events = EPOLLIN, .ready = remove_other, .data = &round};
    round.second = (struct bl_source){.fd = b[0], .events = EPOLLIN, .ready = remove_other, .data = &round};
    assert_int_equal(bl_source_add(&round.loop, &round.first), 0);
    assert_int_equal(bl_source_add(&round.loop, &round.second), 0);
    /* Both are ready in one round; whichever comes first removes the other. */
    assert_int_equal(write(a[1], "x", 1), 1);
    assert_int_equal(write(b[1], "x", 1), 1);
    assert_int_equal(bl_loop_step(&round.loop, -1), 0);
    assert_int_equal(round.calls, 1);
    bl_source_remove(&round.first);
    bl_source_remove(&round.second);
    bl_loop_finish(&round.loop);
    for (int i = 0; i < 2; i++) {
        close(a[i]);
        close(b[i]);
    }
}

static void note_timer(struct bl_timer *timer)
{
    struct round *round = timer->data;

    round->order[round->calls++] = timer == &round->early ? 'e' : 'l';
    if (round->calls == 2)
        bl_loop_stop(&round->loop);
}

static void timers_come_in_order(void **state)
{
    (void)state;
    struct round round = {0};
    int64_t now = bl_now_ms();

    assert_int_equal(bl_loop_init(&round.loop), 0);
    round.early = (struct bl_timer){.expired = note_timer, .data = &round};
    round.late = (struct bl_timer){.expired = note_timer, .data = &round};
    bl_timer_set(&round.loop, &round.late, now + 1);
    bl_timer_set(&round.loop, &round.early, now + 10);
    bl_timer_set(&round.loop, &round.early, now); /* moved to the front */
    assert_int_equal(bl_loop_run(&round.loop), 0);
    assert_string_equal(round.order, "el");
    bl_loop_finish(&round.loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(error_says_reason),          cmocka_unit_test(error_is_one_printable_line),
        cmocka_unit_test(long_error_keeps_reason),    cmocka_unit_test(buffer_is_a_queue_with_a_maximum),
        cmocka_unit_test(strings_set_and_get),        cmocka_unit_test(numbers_are_whole_and_bounded),
        cmocka_unit_test(files_are_replaced_whole),   cmocka_unit_test(remove_tree_follows_no_link),
        cmocka_unit_test(socket_in_a_long_directory), cmocka_unit_test(removed_source_is_not_called),
        cmocka_unit_test(timers_come_in_order),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
