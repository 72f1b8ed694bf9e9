/* SPDX-License-Identifier: Apache-2.0 */
/* test_image_tar.c - tar streams for copies: there and back, and what is refused on the way */
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "image/tar.h"
#include "image_fixture.h"

static struct home home;
static struct bl_images *images;

static int set_up(void **state)
{
    (void)state;
    home_make(&home);
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

/* file_of() - A nameless file of some bytes. */
static int file_of(const struct bl_buffer *bytes)
{
    int fd = memfd_create("archive", MFD_CLOEXEC);

    assert_true(fd >= 0);
    assert_int_equal(bl_write_all(fd, bl_buffer_data(bytes), bytes->length), 0);
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    return fd;
}

/* read_data() - All of the current file. */
static struct bl_buffer read_data(struct bl_tar_reader *reader)
{
    struct bl_buffer bytes = BL_BUFFER_INIT(64 << 20);
    const void *data;
    ssize_t got;

    while ((got = bl_tar_reader_data(reader, &data, NULL)) > 0)
        assert_int_equal(bl_buffer_append(&bytes, data, (size_t)got), 0);
    assert_int_equal(got, 0);
    return bytes;
}

static char long_name[400];

static const struct bl_tar_entry entries[] = {
    {.type = BL_TAR_DIRECTORY, .path = "", .mode = 0711, .uid = 1, .gid = 2, .mtime_ns = 5000000000},
    {.type = BL_TAR_DIRECTORY, .path = "d", .mode = 01777, .mtime_ns = UINT64_C(1700000000123456789)},
    {.type = BL_TAR_FILE,
     .path = "d/file",
     .mode = 06755,
     .uid = 4000000000u,
     .gid = 3000000000u,
     .size = 3,
     .mtime_ns = UINT64_C(9000000000000000001)},
    {.type = BL_TAR_FILE, .path = "latin-\xe9\xff", .mode = 0600, .size = 0},
    {.type = BL_TAR_FILE, .path = "utf8-\xc3\xa9 new\nline", .mode = 0600, .size = 3},
    {.type = BL_TAR_SYMLINK, .path = "s", .link = "../..//outside/\xff", .mode = 0777},
    {.type = BL_TAR_HARDLINK, .path = "h", .link = "d/file", .mode = 06755},
    {.type = BL_TAR_FIFO, .path = "p", .mode = 0640},
    {.type = BL_TAR_FILE, .path = long_name, .mode = 0644, .size = 3},
};

static void what_is_written_is_read(void **state)
{
    int fd = memfd_create("archive", MFD_CLOEXEC);
    struct bl_tar_writer *writer;
    struct bl_tar_reader *reader;
    struct bl_tar_entry entry;
    struct bl_error err = BL_ERROR_INIT;

    (void)state;
    memset(long_name, 'n', sizeof long_name - 1);
    long_name[200] = '/';
    assert_int_equal(bl_tar_writer_open(images, fd, -1, &writer, &err), 0);
    for (size_t i = 0; i < sizeof entries / sizeof *entries; i++) {
        if (bl_tar_writer_entry(writer, &entries[i], &err) || (entries[i].size && bl_tar_writer_data(writer, "abc", 3, &err)))
            fail_msg("%s", err.message);
    }
    assert_int_equal(bl_tar_writer_finish(writer, &err), 0);
    bl_tar_writer_close(writer);
    lseek(fd, 0, SEEK_SET);
    assert_int_equal(bl_tar_reader_open(images, fd, -1, &reader, &err), 0);
    for (size_t i = 0; i < sizeof entries / sizeof *entries; i++) {
        if (bl_tar_reader_next(reader, &entry, &err) != 1)
            fail_msg("%zu: %s", i, err.message);
        assert_int_equal(entry.type, entries[i].type);
        assert_string_equal(entry.path, entries[i].path);
        if (entries[i].link)
            assert_string_equal(entry.link, entries[i].link);
        else
            assert_null(entry.link);
        assert_int_equal(entry.mode, entries[i].mode);
        assert_int_equal(entry.uid, entries[i].uid);
        assert_int_equal(entry.gid, entries[i].gid);
        assert_int_equal(entry.size, entries[i].size);
        assert_int_equal(entry.mtime_ns, entries[i].mtime_ns);
        if (i % 2 && entry.size) { /* the others' data is passed over */
            cleanup_buffer struct bl_buffer data = read_data(reader);

            assert_int_equal(data.length, 3);
            assert_memory_equal(bl_buffer_data(&data), "abc", 3);
        }
    }
    assert_int_equal(bl_tar_reader_next(reader, &entry, &err), 0);
    bl_tar_reader_close(reader);
    close(fd);
}

static void reads_what_others_write(void **state)
{
    cleanup_free char *content = calloc(1, 100000);
    struct bl_error err = BL_ERROR_INIT;

    (void)state;
    memcpy(content + 60000, "middle", 6);
    for (enum packing packing = PLAIN; packing <= ZSTD; packing++) {
        cleanup_buffer struct bl_buffer tar = TAR_INIT;
        char stored[512 + 512] = "1\n60000\n6\n";
        struct bl_tar_entry entry;
        struct bl_tar_reader *reader;

        memcpy(stored + 512, "middle", 6);
        tar_add(&tar, &(struct entry){.path = "./", .type = '5'});
        tar_add(&tar, &(struct entry){.path = "/abs//./x/", .type = '5'});
        tar_add(&tar, &(struct entry){.path = "dev", .type = '3', .major = 1, .minor = 3});
        tar_add(&tar,
                &(struct entry){.path = "GNUSparseFile.1/s",
                                .data = stored,
                                .length = 512 + 6,
                                .pax = "GNU.sparse.major=1\nGNU.sparse.minor=0\nGNU.sparse.name=s\nGNU.sparse.realsize=100000\n"});
        tar_add(&tar, &(struct entry){.path = "h", .type = '1', .link = "./s"});
        tar_end(&tar);

        cleanup_buffer struct bl_buffer packed = pack(&tar, packing);
        cleanup_close int fd = file_of(&packed);

        assert_int_equal(bl_tar_reader_open(images, fd, -1, &reader, &err), 0);
        assert_int_equal(bl_tar_reader_next(reader, &entry, &err), 1);
        assert_string_equal(entry.path, "");
        assert_int_equal(bl_tar_reader_next(reader, &entry, &err), 1);
        assert_string_equal(entry.path, "abs/x");
        assert_int_equal(bl_tar_reader_next(reader, &entry, &err), 1);
        assert_string_equal(entry.path, "s");
        assert_int_equal(entry.size, 100000);

        cleanup_buffer struct bl_buffer data = read_data(reader);

        assert_int_equal(data.length, 100000);
        assert_memory_equal(bl_buffer_data(&data), content, 100000);
        assert_int_equal(bl_tar_reader_next(reader, &entry, &err), 1);
        assert_string_equal(entry.link, "s");
        assert_int_equal(bl_tar_reader_next(reader, &entry, &err), 0);
        bl_tar_reader_close(reader);
    }
}

/* expect() - An archive that fails with a word, at any of its entries. */
static void expect(const struct bl_buffer *bytes, const char *word)
{
    cleanup_close int fd = file_of(bytes);
    struct bl_error err = BL_ERROR_INIT;
    struct bl_tar_reader *reader;
    struct bl_tar_entry entry;
    const void *data;
    int result = bl_tar_reader_open(images, fd, -1, &reader, &err);
    bool opened = !result;

    for (result = opened ? 1 : -1; result == 1;) {
        ssize_t got = 0;

        result = bl_tar_reader_next(reader, &entry, &err);
        while (result == 1 && (got = bl_tar_reader_data(reader, &data, &err)) > 0)
            ;
        result = got < 0 ? -1 : result;
    }
    if (result != -1 || err.code != BL_IMAGE || !strstr(err.message, word))
        fail_msg("'%s'; expected '%s'", err.message, word);
    if (opened)
        bl_tar_reader_close(reader);
}

static void refuses_hostile_archives(void **state)
{
    static const struct entry hostile[] = {
        {.path = "../x", .data = "x"}, {.path = "a/../../x", .data = "x"}, {.path = "h", .type = '1', .link = "a/../b"}, {0}};

    (void)state;
    for (const struct entry *entry = hostile; entry->path; entry++) {
        cleanup_buffer struct bl_buffer tar = TAR_INIT;

        tar_add(&tar, entry);
        tar_end(&tar);
        expect(&tar, "'..'");
    }

    cleanup_buffer struct bl_buffer cut = TAR_INIT;

    tar_add(&cut, &(struct entry){.path = "x", .data = "short", .size = 100000});
    expect(&cut, "no valid tar archive");
    bl_buffer_clear(&cut);
    bl_buffer_append(&cut, "just text that is no archive, whatever one makes of it, but for its end that comes soon", 80);
    expect(&cut, "no valid tar archive");
}

static void says_when_it_can_not_write(void **state)
{
    int ends[2], full = open("/dev/full", O_WRONLY | O_CLOEXEC);
    struct bl_error err = BL_ERROR_INIT;
    struct bl_tar_writer *writer;
    cleanup_free char *data = calloc(1, 1 << 20);
    struct bl_tar_entry big = {.type = BL_TAR_FILE, .path = "big", .size = 1 << 20};
    eventfd_t value = 1;

    (void)state;
    assert_int_equal(bl_tar_writer_open(images, full, -1, &writer, &err), 0);
    assert_int_equal(bl_tar_writer_entry(writer, &big, &err), 0);
    assert_int_equal(bl_tar_writer_data(writer, data, 1 << 20, &err), -1);
    assert_int_equal(err.code, BL_STORAGE);
    assert_non_null(strstr(err.message, "No space left"));
    bl_tar_writer_close(writer);
    close(full);

    /* Nobody reads, and the caller gives up. */
    int cancel = eventfd((unsigned int)value, EFD_CLOEXEC);

    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    assert_int_equal(bl_tar_writer_open(images, ends[1], cancel, &writer, &err), 0);
    assert_int_equal(bl_tar_writer_entry(writer, &big, &err), 0);
    assert_int_equal(bl_tar_writer_data(writer, data, 1 << 20, &err), -1);
    assert_int_equal(err.code, BL_STOPPED);
    bl_tar_writer_close(writer);

    /* A file of another length than it says. */
    big.size = 2;
    assert_int_equal(bl_tar_writer_open(images, ends[1], -1, &writer, &err), 0);
    assert_int_equal(bl_tar_writer_entry(writer, &big, &err), 0);
    assert_int_equal(bl_tar_writer_data(writer, data, 3, &err), -1);
    assert_int_equal(bl_tar_writer_data(writer, data, 1, &err), 0);
    assert_int_equal(bl_tar_writer_entry(writer, &big, &err), -1);
    assert_int_equal(bl_tar_writer_finish(writer, &err), -1);
    assert_int_equal(err.code, BL_INVALID_ARGUMENT);
    bl_tar_writer_close(writer);
    close(ends[0]);
    close(ends[1]);
    close(cancel);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {T(what_is_written_is_read), T(reads_what_others_write), T(refuses_hostile_archives),
                                       T(says_when_it_can_not_write)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
