/* SPDX-License-Identifier: Apache-2.0 */
/* test_shim_template.c - the file of a template: what is written comes back, and what is damaged is not used */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "shim/template_file.h"

#define MEMORY_BYTES (64u << 20)
#define PAGE         4096u
#define NAME         "kind.template"

static const char identity_text[] = "this machine and no other\n";
static const char state_text[] = "what the engine wrote";

struct fixture {
    char dir[32];
    int dir_fd;
    int memory_fd;
    struct bl_buffer identity;
};

static void put_page(int fd, uint64_t offset, char filling)
{
    char page[PAGE];

    memset(page, filling, sizeof page);
    assert_int_equal(pwrite(fd, page, sizeof page, (off_t)offset), sizeof page);
}

static int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);

    snprintf(fixture->dir, sizeof fixture->dir, "/tmp/boxlite-template-XXXXXX");
    assert_non_null(mkdtemp(fixture->dir));
    fixture->dir_fd = open(fixture->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    fixture->memory_fd = memfd_create("memory", MFD_CLOEXEC);
    fixture->identity = (struct bl_buffer)BL_BUFFER_INIT(1024);
    assert_int_equal(ftruncate(fixture->memory_fd, MEMORY_BYTES), 0);
    assert_int_equal(bl_buffer_append(&fixture->identity, identity_text, sizeof identity_text), 0);
    /* Pages that hold something, one that was written and is empty, far ones, the last one, and more than a piece at once. */
    put_page(fixture->memory_fd, 0, 'a');
    put_page(fixture->memory_fd, PAGE, 0);
    put_page(fixture->memory_fd, 2 * PAGE, 'b');
    for (uint64_t offset = 16u << 20; offset < 25u << 20; offset += PAGE)
        put_page(fixture->memory_fd, offset, 'c');
    put_page(fixture->memory_fd, MEMORY_BYTES - PAGE, 'd');
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;

    unlinkat(fixture->dir_fd, NAME, 0);
    close(fixture->dir_fd);
    close(fixture->memory_fd);
    rmdir(fixture->dir);
    bl_buffer_free(&fixture->identity);
    free(fixture);
    return 0;
}

static void write_template(struct fixture *fixture)
{
    struct bl_template_file file;
    int more;

    struct stat status;

    assert_int_equal(bl_template_file_make(&file, fixture->dir_fd, NAME, MEMORY_BYTES), 0);
    assert_int_equal(bl_write_all(file.fd, state_text, sizeof state_text), 0);
    do
        more = bl_template_file_write(&file, fixture->memory_fd);
    while (more > 0);
    assert_int_equal(more, 0);
    assert_int_equal(fstatat(fixture->dir_fd, NAME, &status, 0), 0);
    assert_false(bl_template_file_is_complete(&status));
    assert_int_equal(bl_template_file_complete(&file, &fixture->identity, "last words\n"), 0);
    assert_int_equal(fstatat(fixture->dir_fd, NAME, &status, 0), 0);
    assert_true(bl_template_file_is_complete(&status));
    bl_template_file_close(&file);
}

static int open_template(struct fixture *fixture, struct bl_template_file *file)
{
    int fd = openat(fixture->dir_fd, NAME, O_RDONLY | O_CLOEXEC);

    assert_true(fd >= 0);
    return bl_template_file_open(file, fd, &fixture->identity, MEMORY_BYTES);
}

static void test_what_is_written_comes_back(void **state)
{
    struct fixture *fixture = *state;
    struct bl_template_file file;
    char read_state[sizeof state_text];
    int pieces = 0, more;
    struct stat status;

    write_template(fixture);
    assert_int_equal(open_template(fixture, &file), 0);
    assert_int_equal(file.console.length, strlen("last words\n"));
    assert_memory_equal(bl_buffer_data(&file.console), "last words\n", file.console.length);
    /* As the engine will find it: from where the file stands. */
    assert_int_equal(bl_read_all(file.fd, read_state, sizeof read_state), sizeof read_state);
    assert_string_equal(read_state, state_text);

    cleanup_close int copy = memfd_create("copy", MFD_CLOEXEC);

    assert_int_equal(ftruncate(copy, MEMORY_BYTES), 0);
    while ((more = bl_template_file_read(&file, copy)) > 0)
        pieces++;
    assert_int_equal(more, 0);
    assert_in_range(pieces, 2, 8);
    bl_template_file_close(&file);

    char *before = mmap(NULL, MEMORY_BYTES, PROT_READ, MAP_SHARED, fixture->memory_fd, 0);
    char *after = mmap(NULL, MEMORY_BYTES, PROT_READ, MAP_SHARED, copy, 0);

    assert_int_equal(memcmp(before, after, MEMORY_BYTES), 0);
    munmap(before, MEMORY_BYTES);
    munmap(after, MEMORY_BYTES);
    /* Of the empty pages only one that lies between two others is in the file. */
    assert_int_equal(fstatat(fixture->dir_fd, NAME, &status, 0), 0);
    assert_in_range(status.st_size, (9u << 20) + 4 * PAGE + BL_TEMPLATE_STATE_AT, (9u << 20) + 6 * PAGE + BL_TEMPLATE_STATE_AT);
}

static void test_its_extents_are_the_memory(void **state)
{
    struct fixture *fixture = *state;
    struct bl_template_file file;
    size_t count, runs;
    uint64_t sum = 0;

    write_template(fixture);
    assert_int_equal(open_template(fixture, &file), 0);
    runs = file.runs.length;

    cleanup_free struct bl_engine_extent *extents = bl_template_file_extents(&file, &count);

    assert_non_null(extents);
    assert_int_equal(count, 3);
    assert_int_equal(extents[0].bytes, 3 * PAGE); /* two pages and the gap between them */
    assert_int_equal(extents[1].memory, 16u << 20);
    assert_int_equal(extents[2].memory, MEMORY_BYTES - PAGE);
    for (size_t i = 0; i < count; i++) {
        char in_memory[PAGE], in_file[PAGE];

        assert_int_equal(extents[i].file % PAGE, 0);
        sum += extents[i].bytes;
        for (uint64_t at = 0; at < extents[i].bytes; at += PAGE) {
            assert_int_equal(pread(fixture->memory_fd, in_memory, PAGE, (off_t)(extents[i].memory + at)), PAGE);
            assert_int_equal(pread(file.fd, in_file, PAGE, (off_t)(extents[i].file + at)), PAGE);
            assert_memory_equal(in_memory, in_file, PAGE);
        }
    }
    assert_int_equal(sum, (9u << 20) + 4 * PAGE);
    assert_int_equal(file.runs.length, runs); /* asking took nothing out */
    bl_template_file_close(&file);
}

static void test_who_comes_second_changes_nothing(void **state)
{
    struct fixture *fixture = *state;
    struct bl_template_file file;

    write_template(fixture);
    assert_int_equal(bl_template_file_make(&file, fixture->dir_fd, NAME, MEMORY_BYTES), -1);
    assert_int_equal(errno, EEXIST);
    bl_template_file_close(&file);
    assert_int_equal(open_template(fixture, &file), 0);
    assert_int_equal(file.console.length, strlen("last words\n"));
    bl_template_file_close(&file);
}

static void assert_refused(struct fixture *fixture)
{
    struct bl_template_file file;

    errno = 0;
    assert_int_equal(open_template(fixture, &file), -1);
    assert_int_equal(errno, EILSEQ);
    assert_int_equal(file.fd, -1);
}

static void test_another_machine_is_refused(void **state)
{
    struct fixture *fixture = *state;

    write_template(fixture);
    bl_buffer_data(&fixture->identity)[3] ^= 1;
    assert_refused(fixture);
    bl_buffer_data(&fixture->identity)[3] ^= 1;
    assert_int_equal(bl_buffer_append(&fixture->identity, "x", 1), 0);
    assert_refused(fixture);
}

/* flip() - Change one bit of the file, look, and change it back. */
static void flip(struct fixture *fixture, int fd, off_t offset)
{
    uint8_t byte;

    assert_int_equal(pread(fd, &byte, 1, offset), 1);
    byte ^= 4;
    assert_int_equal(pwrite(fd, &byte, 1, offset), 1);
    assert_refused(fixture);
    byte ^= 4;
    assert_int_equal(pwrite(fd, &byte, 1, offset), 1);
}

static void test_damage_is_found(void **state)
{
    struct fixture *fixture = *state;
    struct bl_template_file file;
    struct stat status;

    write_template(fixture);

    assert_int_equal(fchmodat(fixture->dir_fd, NAME, 0600, 0), 0);

    cleanup_close int fd = openat(fixture->dir_fd, NAME, O_RDWR | O_CLOEXEC);

    assert_int_equal(fstat(fd, &status), 0);
    for (off_t at = 0; at < 64; at++)
        flip(fixture, fd, at);
    for (size_t at = 0; at < sizeof identity_text + strlen("last words\n"); at++)
        flip(fixture, fd, 256 + (off_t)at);
    for (size_t at = 0; at < sizeof state_text; at++)
        flip(fixture, fd, BL_TEMPLATE_STATE_AT + (off_t)at);
    for (off_t at = status.st_size - 3 * 16; at < status.st_size; at++)
        flip(fixture, fd, at);
    assert_int_equal(open_template(fixture, &file), 0);
    bl_template_file_close(&file);

    /* Too long, and cut short anywhere, up to nothing. */
    assert_int_equal(ftruncate(fd, status.st_size + 1), 0);
    assert_refused(fixture);
    for (off_t size = status.st_size - 1; size > 0; size -= 1 + size / 3) {
        assert_int_equal(ftruncate(fd, size), 0);
        assert_refused(fixture);
    }
    assert_int_equal(ftruncate(fd, 0), 0);
    assert_refused(fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_what_is_written_comes_back, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_its_extents_are_the_memory, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_who_comes_second_changes_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_another_machine_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_damage_is_found, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
