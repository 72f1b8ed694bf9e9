/* SPDX-License-Identifier: Apache-2.0 */
/* test_core_copy.c - trees as entries and back, what a hostile box may send, and exit reports */
#include <errno.h>
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

#include "base/cleanup.h"
#include "base/io.h"
#include "core/copy.h"
#include "core/report.h"

#define BUFFER (1u << 19)

static char directory[64];

static void run(const char *command)
{
    int status = system(command);

    if (status != 0)
        fail_msg("%s: status %d", command, status);
}

static int setup(void **state)
{
    (void)state;
    strcpy(directory, "/tmp/bl-copy-XXXXXX");
    return mkdtemp(directory) && chdir(directory) == 0 ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    run("chmod -R u+rwx .");
    return chdir("/") == 0 ? bl_remove_tree(AT_FDCWD, directory) : -1;
}

static struct bl_copy_sink sink_of(struct bl_tree_sink *tree)
{
    return (struct bl_copy_sink){.entry = bl_tree_sink_entry,
                                 .content = bl_tree_sink_content,
                                 .content_end = bl_tree_sink_content_end,
                                 .end = bl_tree_sink_end,
                                 .data = tree};
}

/* copy() - A whole copy on this host, the stream cut into pieces. Return: 0; -1 with *@err */
static int copy(const char *from, const char *to, bool follow, bool no_overwrite, size_t cut, struct bl_error *err)
{
    size_t length = strlen(from);
    bool content = length >= 2 && strcmp(from + length - 2, "/.") == 0;
    struct bl_tree_source *source;
    struct bl_tree_sink *tree;
    struct bl_entry_reader reader;
    struct bl_buffer out = BL_BUFFER_INIT(BUFFER);
    int more = 1, failed = 0;

    if (bl_tree_source_open(from, follow, &source, err) < 0)
        return -1;
    if (bl_tree_sink_open(to, NULL, content, no_overwrite, &tree, err) < 0) {
        bl_tree_source_close(source);
        return -1;
    }

    const struct bl_copy_sink sink = sink_of(tree);

    bl_entry_reader_init(&reader, &sink);
    while (!failed && more > 0) {
        more = bl_tree_source_fill(source, &out, err);
        failed = more < 0;
        while (!failed && out.length) {
            size_t piece = out.length < cut ? out.length : cut;

            failed = bl_entry_reader_feed(&reader, bl_buffer_data(&out), piece, err) < 0;
            bl_buffer_consume(&out, piece);
        }
    }
    assert_true(failed || reader.ended);
    bl_entry_reader_finish(&reader);
    bl_tree_sink_close(tree);
    bl_tree_source_close(source);
    bl_buffer_free(&out);
    return failed ? -1 : 0;
}

static void make_tree(void)
{
    run("mkdir -p tree/sub/deep tree/empty && printf hello >tree/a && : >tree/nothing && ln -s a tree/link && ln -s /etc tree/away "
        "&&"
        " ln tree/a tree/sub/hard && mkfifo tree/fifo && head -c 3000000 /dev/urandom >tree/sub/deep/big && chmod 640 tree/a &&"
        " printf x >'tree/ odd\tname' && touch -d '2001-02-03 04:05:06.789' tree/a tree/sub tree && chmod 500 tree/empty && chmod "
        "555 tree/sub/deep");
}

static void same(const char *one, const char *two)
{
    char command[512];

    snprintf(command, sizeof command,
             "for d in %s %s; do (cd $d && find . -printf '%%p %%y %%m %%s %%l %%T@ %%n\\n' | sed 's/ d \\([0-7]*\\) [0-9]*/ d "
             "\\1/' | sort); done"
             " | sort | uniq -c | awk '$1 != 2' | grep . && exit 1; cmp %s/sub/deep/big %s/sub/deep/big",
             one, two, one, two);
    run(command);
}

static void a_tree_comes_out_as_it_went_in(void **state)
{
    static const size_t cuts[] = {1021, 65536, 1000000};

    (void)state;
    make_tree();
    for (size_t i = 0; i < sizeof cuts / sizeof *cuts; i++) {
        assert_int_equal(copy("tree", "out", false, false, cuts[i], NULL), 0);
        same("tree", "out");
        run("chmod -R u+w out && rm -r out");
    }
}

static void it_lands_where_cp_would_put_it(void **state)
{
    struct bl_error err = BL_ERROR_INIT;

    (void)state;
    run("mkdir -p d/s dst full/s && printf 1 >d/f && printf 2 >d/s/g && printf old >full/f");
    assert_int_equal(copy("d/f", "new", false, false, BUFFER, NULL), 0); /* a missing name becomes the copy's */
    run("test \"$(cat new)\" = 1");
    assert_int_equal(copy("d/f", "dst", false, false, BUFFER, NULL), 0); /* a directory takes it in */
    run("test -f dst/f");
    assert_int_equal(copy("d", "dst", false, false, BUFFER, NULL), 0);
    run("test -f dst/d/s/g");
    assert_int_equal(copy("d/.", "full", false, false, BUFFER, NULL), 0); /* the content only; what exists is replaced */
    run("test \"$(cat full/f)\" = 1 && test -f full/s/g && test ! -e full/d");
    assert_int_equal(copy("d/.", "made", false, false, BUFFER, NULL), 0);
    run("test -f made/s/g");
    assert_int_equal(copy("d", "no/such/place", false, false, BUFFER, &err), -1);
    assert_int_equal(err.code, BL_NOT_FOUND);
    assert_int_equal(copy("missing", "x", false, false, BUFFER, &err), -1);
    assert_int_equal(err.code, BL_NOT_FOUND);
    assert_non_null(strstr(err.message, "does not exist"));
    run("test ! -e x");
    assert_int_equal(copy("d", "new", false, false, BUFFER, &err), -1); /* a directory in place of a file */
    assert_int_equal(copy("d", "new/", false, false, BUFFER, &err), -1);
    run("test \"$(cat new)\" = 1");
}

static void nothing_is_overwritten_unasked(void **state)
{
    struct bl_error err = BL_ERROR_INIT;

    (void)state;
    run("mkdir d && printf new >d/f && mkdir -p dst/d && printf old >dst/d/f");
    assert_int_equal(copy("d", "dst", false, true, BUFFER, &err), -1);
    assert_int_equal(err.sys_errno, EEXIST);
    run("test \"$(cat dst/d/f)\" = old");
    assert_int_equal(copy("d", "dst", false, false, BUFFER, &err), 0);
    run("test \"$(cat dst/d/f)\" = new");
}

static void links_are_followed_when_asked(void **state)
{
    struct bl_error err = BL_ERROR_INIT;

    (void)state;
    run("mkdir d && printf 1 >d/f && ln -s f d/l && ln -s d top");
    assert_int_equal(copy("d", "kept", false, false, BUFFER, NULL), 0);
    run("test -L kept/l");
    assert_int_equal(copy("d", "followed", true, false, BUFFER, NULL), 0);
    run("test ! -L followed/l && test \"$(cat followed/l)\" = 1");
    assert_int_equal(copy("top", "link", false, false, BUFFER, NULL), 0);
    run("test -L link");
    /* Links that lead in a circle end. */
    run("ln -s . d/circle");
    assert_int_equal(copy("d", "circle", true, false, BUFFER, &err), -1);
}

/* send() - Entries of a hostile box, and the end of it. Return: as the reader */
static int send_entries(const char *to, const struct bl_entry *entries, size_t count, const char *content, struct bl_error *err)
{
    struct bl_buffer out = BL_BUFFER_INIT(BUFFER);
    struct bl_tree_sink *tree;
    struct bl_entry_reader reader;

    assert_int_equal(bl_tree_sink_open(to, NULL, false, false, &tree, err), 0);

    const struct bl_copy_sink sink = sink_of(tree);
    int failed = 0;

    bl_entry_reader_init(&reader, &sink);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(bl_entry_encode(&out, &entries[i]), 0);
        if (entries[i].type == BL_ENTRY_FILE)
            assert_int_equal(bl_buffer_append(&out, content, entries[i].size), 0);
    }
    failed = bl_entry_reader_feed(&reader, bl_buffer_data(&out), out.length, err);
    bl_entry_reader_finish(&reader);
    bl_tree_sink_close(tree);
    bl_buffer_free(&out);
    return failed;
}

#define TEXT(text) ((char[]){text})
#define DIRECTORY(p)                                                                                                               \
    {                                                                                                                              \
        .type = BL_ENTRY_DIRECTORY, .path = TEXT(p), .name = TEXT("n"), .mode = 0755                                               \
    }
#define FILE_OF(p, bytes)                                                                                                          \
    {                                                                                                                              \
        .type = BL_ENTRY_FILE, .path = TEXT(p), .mode = 06777, .size = (bytes)                                                     \
    }
#define LINK(p, target)                                                                                                            \
    {                                                                                                                              \
        .type = BL_ENTRY_SYMLINK, .path = TEXT(p), .link = TEXT(target)                                                            \
    }

static void a_hostile_box_writes_nowhere_else(void **state)
{
    struct bl_error err = BL_ERROR_INIT;

    (void)state;
    run("mkdir outside && printf safe >outside/f");

    /* Through a link of its own. */
    const struct bl_entry through[] = {DIRECTORY(""), LINK("l", "../outside"), FILE_OF("l/f", 4)};

    assert_int_equal(send_entries("one", through, 3, "evil", &err), -1);

    /* Through a link that was there before. */
    run("mkdir -p two/n && ln -s ../../outside two/n/l");

    const struct bl_entry planted[] = {DIRECTORY(""), FILE_OF("l/f", 4)};

    assert_int_equal(send_entries("two", planted, 2, "evil", &err), -1);

    /* The same, with the link in the middle of the way. */
    run("mkdir outside/sub");

    const struct bl_entry deeper[] = {DIRECTORY(""), FILE_OF("l/sub/f", 4)};

    assert_int_equal(send_entries("two", deeper, 2, "evil", &err), -1);
    run("rmdir outside/sub");

    /* Onto a link: the link is replaced, what it points to is not. */
    run("mkdir -p three/n && ln -s ../../outside/f three/n/f");

    const struct bl_entry onto[] = {DIRECTORY(""), FILE_OF("f", 4)};

    assert_int_equal(send_entries("three", onto, 2, "evil", &err), 0);
    run("test ! -L three/n/f && test \"$(cat three/n/f)\" = evil");

    /* A hard link to what lies outside, by way of a link. */
    run("mkdir -p four/n && ln -s ../../outside four/n/l");

    const struct bl_entry hard[] = {DIRECTORY(""), {.type = BL_ENTRY_HARDLINK, .path = TEXT("h"), .link = TEXT("l/f")}};

    assert_int_equal(send_entries("four", hard, 2, NULL, &err), -1);
    run("test ! -e four/n/h");

    /* What would climb out is no entry at all. */
    const struct bl_entry climbing[] = {DIRECTORY(""), FILE_OF("../f", 4)};

    assert_int_equal(send_entries("five", climbing, 2, "evil", &err), -1);

    /* Nor does it say how it is called where a directory takes it in. */
    run("mkdir six");

    const struct bl_entry named[] = {{.type = BL_ENTRY_FILE, .path = TEXT(""), .name = TEXT("../../outside/f"), .size = 4}};

    assert_int_equal(send_entries("six", named, 1, "evil", &err), -1);
    run("test \"$(cat outside/f)\" = safe && test \"$(ls outside)\" = f && test -z \"$(ls -A six)\"");
}

static void special_bits_and_half_files_do_not_stay(void **state)
{
    const struct bl_entry entries[] = {{.type = BL_ENTRY_FILE, .path = TEXT(""), .mode = 06755, .size = 4}};
    struct bl_error err = BL_ERROR_INIT;
    struct bl_tree_sink *tree;

    (void)state;
    assert_int_equal(send_entries("file", entries, 1, "full", &err), 0);
    run("test \"$(stat -c %a file)\" = 755");

    /* A copy that breaks off in a file leaves no part of it. */
    assert_int_equal(bl_tree_sink_open("half", NULL, false, false, &tree, NULL), 0);
    assert_int_equal(bl_tree_sink_entry(tree, &entries[0], NULL), 0);
    assert_int_equal(bl_tree_sink_content(tree, "fu", 2, NULL), 0);
    run("test -e half");
    bl_tree_sink_close(tree);
    run("test ! -e half");

    /* More after the end, or a second source. */
    const struct bl_entry late[] = {{.type = BL_ENTRY_FILE, .path = TEXT(""), .size = 1}, {.type = BL_ENTRY_END}, FILE_OF("x", 1)};

    assert_int_equal(send_entries("late", late, 3, "x", &err), -1);
    assert_int_equal(err.code, BL_RPC);
}

static void reports_are_read_as_a_stranger_s(void **state)
{
    static const char *const bad[] = {
        "",
        "{",
        "[]",
        "{}",
        "{\"version\":1}",
        "{\"type\":\"workload\"}",
        "{\"version\":2,\"type\":\"workload\"}",
        "{\"version\":1,\"type\":\"party\"}",
        "{\"version\":1,\"type\":\"workload\",\"exit_code\":256}",
        "{\"version\":1,\"type\":\"workload\",\"exit_code\":-1}",
        "{\"version\":1,\"type\":\"workload\",\"exit_code\":\"0\"}",
        "{\"version\":1,\"type\":\"workload\",\"signal\":65}",
        "{\"version\":1,\"type\":\"workload\",\"ended_at_ms\":-5}",
        "{\"version\":1,\"type\":\"workload\",\"type\":\"panic\"}",
    };
    struct bl_report report;
    char *large = malloc(400000);

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(bl_report_parse(bad[i], strlen(bad[i]), &report), -1);

    static const char good[] =
        "{\"version\":1,\"type\":\"signal\",\"exit_code\":143,\"signal\":15,\"oom\":true,\"timed_out\":false,"
        "\"message\":\"red \\u001b[31m\\nline\",\"console\":[\"a\\tb\",\"c\\u0007\"],\"later\":[1,2]}";

    assert_int_equal(bl_report_parse(good, strlen(good), &report), 0);
    assert_int_equal(report.type, BL_REPORT_SIGNAL);
    assert_true(report.has_exit_code && report.exit_code == 143 && report.signal == 15 && report.out_of_memory &&
                !report.timed_out);
    assert_string_equal(report.message, "red ?[31m?line");
    assert_string_equal(report.console, "a b\nc?\n");
    bl_report_free(&report);

    /* Of a long console the last lines are kept, as many as there is room for. */
    size_t length = (size_t)sprintf(large, "{\"version\":1,\"type\":\"panic\",\"console\":[");

    for (int i = 0; i < 1000; i++)
        length += (size_t)sprintf(large + length, "%s\"line %04d of a console that talks a lot\"", i ? "," : "", i);
    length += (size_t)sprintf(large + length, "]}");
    assert_int_equal(bl_report_parse(large, length, &report), 0);
    assert_true(strlen(report.console) <= BL_REPORT_CONSOLE_MAX);
    assert_non_null(strstr(report.console, "line 0999 "));
    assert_null(strstr(report.console, "line 0000 "));
    bl_report_free(&report);
    free(large);
}

int main(void)
{
#define IN_A_DIRECTORY(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        IN_A_DIRECTORY(a_tree_comes_out_as_it_went_in),     IN_A_DIRECTORY(it_lands_where_cp_would_put_it),
        IN_A_DIRECTORY(nothing_is_overwritten_unasked),     IN_A_DIRECTORY(links_are_followed_when_asked),
        IN_A_DIRECTORY(a_hostile_box_writes_nowhere_else),  IN_A_DIRECTORY(special_bits_and_half_files_do_not_stay),
        cmocka_unit_test(reports_are_read_as_a_stranger_s),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
