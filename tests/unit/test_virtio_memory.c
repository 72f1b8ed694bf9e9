/* SPDX-License-Identifier: Apache-2.0 */
/* test_virtio_memory.c - guest memory: ranges that are checked, pages that are marked, pages that go back */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "virtio_driver.h"

#define PAGE 4096ull

static void ranges_stay_in_regions(void **state)
{
    static const struct {
        uint64_t address, length;
        int pieces; /* -1: refused */
    } cases[] = {
        {0, 1, 1},
        {0, RAM_LOW, 2},
        {RAM_SEAM - 1, 2, 2},
        {RAM_SEAM, 1, 1},
        {RAM_LOW - 1, 1, 1},
        {RAM_LOW - 1, 2, -1},
        {RAM_LOW, 1, -1},
        {RAM_GAP, 1, -1},
        {0, RAM_LOW + 1, -1},
        {RAM_HIGH - 1, 2, -1},
        {RAM_HIGH, RAM_HIGH_BYTES, 1},
        {RAM_HIGH + RAM_HIGH_BYTES - 1, 2, -1},
        {RAM_HIGH, UINT64_MAX, -1},
        {UINT64_MAX, 1, -1},
        {UINT64_MAX, UINT64_MAX, -1},
        {RAM_GAP, 0, 0},
    };
    struct machine machine;
    struct iovec pieces[4];
    uint8_t byte = 0;

    (void)state;
    machine_init(&machine, BL_MEMORY_SHARED);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_int_equal(bl_memory_iovec(&machine.memory, cases[i].address, cases[i].length, pieces, 4), cases[i].pieces);
    assert_int_equal(bl_memory_iovec(&machine.memory, RAM_SEAM - 1, 2, pieces, 1), -1);
    assert_int_equal(bl_memory_read(&machine.memory, RAM_LOW, &byte, 1), -1);
    assert_int_equal(bl_memory_write(&machine.memory, RAM_LOW, &byte, 1), -1);
    assert_int_equal(bl_memory_bytes(&machine.memory), RAM_LOW + RAM_HIGH_BYTES);
    machine_finish(&machine);
}

static void a_range_goes_across_a_seam(void **state)
{
    const uint8_t wrote[] = {1, 2, 3, 4, 5, 6, 7, 8};
    struct machine machine;
    uint8_t got[8], file[8];

    (void)state;
    machine_init(&machine, BL_MEMORY_SHARED);
    machine_put(&machine, RAM_SEAM - 3, wrote, sizeof wrote);
    machine_get(&machine, RAM_SEAM - 3, got, sizeof got);
    assert_memory_equal(wrote, got, sizeof got);
    assert_int_equal(pread(machine.fd, file, sizeof file, (off_t)RAM_SEAM - 3), sizeof file);
    assert_memory_equal(wrote, file, sizeof file);
    machine_finish(&machine);
}

static void shared_structures_are_whole_and_aligned(void **state)
{
    struct machine machine;

    (void)state;
    machine_init(&machine, BL_MEMORY_SHARED);
    assert_non_null(bl_memory_at(&machine.memory, 0x1000, 64, 16));
    assert_null(bl_memory_at(&machine.memory, 0x1008, 64, 16));
    assert_null(bl_memory_at(&machine.memory, RAM_SEAM - 16, 64, 16));
    assert_null(bl_memory_at(&machine.memory, RAM_LOW - 16, 64, 16));
    assert_null(bl_memory_at(&machine.memory, RAM_GAP, 16, 16));
    assert_null(bl_memory_at(&machine.memory, 0x1000, UINT64_MAX, 16));
    machine_finish(&machine);
}

static void regions_are_refused(void **state)
{
    struct machine machine;
    struct bl_error err = BL_ERROR_INIT;
    struct bl_memory *memory = &machine.memory;

    (void)state;
    machine_init(&machine, BL_MEMORY_SHARED);
    assert_int_equal(bl_memory_add(memory, RAM_HIGH, PAGE, machine.fd, 0, BL_MEMORY_SHARED, &err), -1);
    assert_int_equal(err.code, BL_INVALID_ARGUMENT);
    assert_int_equal(bl_memory_add(memory, RAM_HIGH * 2, 0, machine.fd, 0, BL_MEMORY_SHARED, &err), -1);
    assert_int_equal(bl_memory_add(memory, RAM_HIGH * 2 + 1, PAGE, machine.fd, 0, BL_MEMORY_SHARED, &err), -1);
    assert_int_equal(bl_memory_add(memory, RAM_HIGH * 2, PAGE + 1, machine.fd, 0, BL_MEMORY_SHARED, &err), -1);
    assert_int_equal(bl_memory_add(memory, RAM_HIGH * 2, PAGE, machine.fd, 1, BL_MEMORY_SHARED, &err), -1);
    assert_int_equal(bl_memory_add(memory, RAM_HIGH * 2, RAM_LOW * 2, machine.fd, 0, BL_MEMORY_SHARED, &err), -1);
    assert_non_null(strstr(err.message, "the file of guest memory ends at"));
    assert_int_equal(bl_memory_add(memory, UINT64_MAX & ~(PAGE - 1), PAGE, machine.fd, 0, BL_MEMORY_SHARED, &err), -1);
    assert_int_equal(memory->count, 3);
    assert_int_equal(bl_memory_add(memory, RAM_HIGH * 2, PAGE, machine.fd, 0, BL_MEMORY_SHARED, &err), 0);
    machine_finish(&machine);
}

/* dirty_pages() - How many pages of a region are marked; they are clean then. */
static unsigned int dirty_pages(struct machine *machine, size_t region)
{
    uint64_t words = machine->memory.regions[region].bytes / PAGE / 64;
    unsigned int count = 0;

    for (uint64_t i = 0; i < words; i++)
        count += (unsigned int)__builtin_popcountll(bl_memory_take_dirty(&machine->memory, region, i));
    return count;
}

static void what_is_written_is_marked(void **state)
{
    struct machine machine;
    struct bl_error err = BL_ERROR_INIT;
    uint8_t bytes[3 * PAGE] = {0};
    struct iovec pieces[2];

    (void)state;
    machine_init(&machine, BL_MEMORY_SHARED);
    machine_put(&machine, 0, bytes, sizeof bytes);
    assert_int_equal(bl_memory_track(&machine.memory, &err), 0);
    assert_int_equal(dirty_pages(&machine, 0), 0);
    machine_put(&machine, PAGE - 1, bytes, 2);
    assert_int_equal(bl_memory_take_dirty(&machine.memory, 0, 0), 3);
    assert_int_equal(bl_memory_take_dirty(&machine.memory, 0, 0), 0);
    machine_get(&machine, 0, bytes, sizeof bytes);
    assert_int_equal(dirty_pages(&machine, 0), 0);
    machine_put(&machine, RAM_SEAM - 1, bytes, 2);
    assert_int_equal(dirty_pages(&machine, 0), 1);
    assert_int_equal(dirty_pages(&machine, 1), 1);
    /* Of an iovec only what was written. */
    assert_int_equal(bl_memory_iovec(&machine.memory, RAM_SEAM - 2 * PAGE, 4 * PAGE, pieces, 2), 2);
    bl_memory_mark_iovec(&machine.memory, pieces, 2, 2 * PAGE + 1);
    assert_int_equal(dirty_pages(&machine, 0), 2);
    assert_int_equal(dirty_pages(&machine, 1), 1);
    bl_memory_mark(&machine.memory, RAM_HIGH, PAGE + 1);
    assert_int_equal(bl_memory_take_dirty(&machine.memory, 2, 0), 3);
    assert_int_equal(bl_memory_take_dirty(&machine.memory, 2, UINT64_MAX), 0);
    bl_memory_untrack(&machine.memory);
    machine_put(&machine, 0, bytes, 1);
    assert_int_equal(bl_memory_take_dirty(&machine.memory, 0, 0), 0);
    machine_finish(&machine);
}

/* file_bytes() - What the memory's file takes of the host. */
static uint64_t file_bytes(struct machine *machine)
{
    struct stat status;

    assert_int_equal(fstat(machine->fd, &status), 0);
    return (uint64_t)status.st_blocks * 512;
}

static void whole_pages_go_back(void **state)
{
    struct machine machine;
    struct iovec piece;
    uint8_t ones[16 * PAGE], got[16 * PAGE];

    (void)state;
    machine_init(&machine, BL_MEMORY_SHARED);
    memset(ones, 1, sizeof ones);
    machine_put(&machine, RAM_HIGH, ones, sizeof ones);
    assert_int_equal(file_bytes(&machine), 16 * PAGE);
    /* A byte into the first page and a byte short of the last: 14 whole pages are inside. */
    assert_int_equal(bl_memory_iovec(&machine.memory, RAM_HIGH + 1, 16 * PAGE - 2, &piece, 1), 1);
    assert_int_equal(bl_memory_discard_iovec(&machine.memory, &piece, 1), 14 * PAGE);
    assert_int_equal(file_bytes(&machine), 2 * PAGE);
    machine_get(&machine, RAM_HIGH, got, sizeof got);
    assert_memory_equal(got, ones, PAGE);
    assert_memory_equal(got + 15 * PAGE, ones, PAGE);
    for (size_t i = PAGE; i < 15 * PAGE; i++)
        assert_int_equal(got[i], 0);
    /* Less than a page is nothing. */
    assert_int_equal(bl_memory_iovec(&machine.memory, RAM_HIGH + 1, 2 * PAGE - 2, &piece, 1), 1);
    assert_int_equal(bl_memory_discard_iovec(&machine.memory, &piece, 1), 0);
    machine_finish(&machine);
}

static void a_private_page_becomes_the_files_again(void **state)
{
    struct machine machine;
    struct iovec piece;
    uint8_t ones[PAGE], twos[PAGE], got[PAGE];

    (void)state;
    machine_init(&machine, BL_MEMORY_PRIVATE);
    memset(ones, 1, sizeof ones);
    memset(twos, 2, sizeof twos);
    assert_int_equal(pwrite(machine.fd, ones, sizeof ones, 0), sizeof ones);
    machine_put(&machine, 0, twos, sizeof twos);
    machine_get(&machine, 0, got, sizeof got);
    assert_memory_equal(got, twos, sizeof got);
    assert_int_equal(pread(machine.fd, got, sizeof got, 0), sizeof got);
    assert_memory_equal(got, ones, sizeof got);
    assert_int_equal(bl_memory_iovec(&machine.memory, 0, PAGE, &piece, 1), 1);
    assert_int_equal(bl_memory_discard_iovec(&machine.memory, &piece, 1), PAGE);
    machine_get(&machine, 0, got, sizeof got);
    assert_memory_equal(got, ones, sizeof got);
    machine_finish(&machine);
}

/* saved_pages() - A file of @count pages, each full of its number and 1. */
static int saved_pages(int count)
{
    int fd = memfd_create("saved", MFD_CLOEXEC);
    uint8_t page[PAGE];

    for (int i = 0; i < count; i++) {
        memset(page, i + 1, sizeof page);
        assert_int_equal(write(fd, page, sizeof page), sizeof page);
    }
    return fd;
}

/* is_full_of() - Whether all of a guest's page is one byte. */
static bool is_full_of(struct machine *machine, uint64_t address, uint8_t byte)
{
    uint8_t got[PAGE], wanted[PAGE];

    memset(wanted, byte, sizeof wanted);
    machine_get(machine, address, got, sizeof got);
    return memcmp(got, wanted, sizeof got) == 0;
}

static void a_page_of_a_saved_machine_is_ours_once_written(void **state)
{
    struct bl_error err = BL_ERROR_INIT;
    uint8_t ones[PAGE], got[PAGE];
    struct machine machine;
    struct iovec pieces[2];
    int saved = saved_pages(4);

    (void)state;
    machine_init(&machine, BL_MEMORY_SHARED);
    memset(ones, 0xee, sizeof ones);
    /* Across two regions that touch, and from the end of one to the beginning of one far above it: the file goes on. */
    assert_int_equal(bl_memory_overlay(&machine.memory, RAM_SEAM - PAGE, 2 * PAGE, saved, 0, &err), 0);
    assert_int_equal(bl_memory_overlay(&machine.memory, RAM_LOW - PAGE, 2 * PAGE, saved, 2 * PAGE, &err), 0);
    assert_true(is_full_of(&machine, RAM_SEAM - 2 * PAGE, 0));
    assert_true(is_full_of(&machine, RAM_SEAM - PAGE, 1));
    assert_true(is_full_of(&machine, RAM_SEAM, 2));
    assert_true(is_full_of(&machine, RAM_LOW - PAGE, 3));
    assert_true(is_full_of(&machine, RAM_HIGH, 4));
    /* What is written is neither in that file nor in the memory's own. */
    machine_put(&machine, RAM_SEAM - PAGE, ones, sizeof ones);
    machine_put(&machine, RAM_SEAM - 2 * PAGE, ones, sizeof ones);
    assert_int_equal(pread(saved, got, PAGE, 0), PAGE);
    assert_int_equal(got[7], 1);
    assert_int_equal(file_bytes(&machine), PAGE);
    /* Given back together, one is the saved page again, the other is empty. */
    assert_int_equal(bl_memory_iovec(&machine.memory, RAM_SEAM - 2 * PAGE, 2 * PAGE, pieces, 2), 1);
    assert_int_equal(bl_memory_discard_iovec(&machine.memory, pieces, 1), 2 * PAGE);
    assert_int_equal(file_bytes(&machine), 0);
    assert_true(is_full_of(&machine, RAM_SEAM - PAGE, 1));
    assert_true(is_full_of(&machine, RAM_SEAM - 2 * PAGE, 0));
    /* Nothing is moved into the file behind an overlay, and nothing gathered under it. */
    assert_int_equal(bl_memory_fill(&machine.memory, RAM_SEAM, saved, 0, PAGE, false), PAGE);
    assert_true(is_full_of(&machine, RAM_SEAM, 1));
    assert_false(bl_memory_gather(&machine.memory, 0, 2 << 20));

    assert_int_equal(bl_memory_overlay(&machine.memory, 1, PAGE, saved, 0, &err), -1);
    assert_int_equal(bl_memory_overlay(&machine.memory, 0, PAGE + 1, saved, 0, &err), -1);
    assert_int_equal(bl_memory_overlay(&machine.memory, 0, PAGE, saved, 1, &err), -1);
    assert_int_equal(bl_memory_overlay(&machine.memory, UINT64_MAX & ~(PAGE - 1), 2 * PAGE, saved, 0, &err), -1);
    assert_int_equal(bl_memory_overlay(&machine.memory, RAM_LOW + RAM_HIGH_BYTES - PAGE, 2 * PAGE, saved, 0, &err), -1);
    assert_int_equal(err.code, BL_INVALID_ARGUMENT);
    machine_finish(&machine);
    close(saved);
}

static void memory_need_be_in_no_file(void **state)
{
    struct bl_error err = BL_ERROR_INIT;
    struct bl_memory memory;
    struct iovec piece;
    uint32_t word = 0x12345678, got = 0;

    (void)state;
    bl_memory_init(&memory, PAGE);
    assert_int_equal(bl_memory_add(&memory, 0, 4 * PAGE, -1, 0, BL_MEMORY_SHARED, &err), -1);
    assert_int_equal(err.code, BL_INVALID_ARGUMENT);
    assert_int_equal(bl_memory_add(&memory, 0, 4 * PAGE, -1, 0, BL_MEMORY_PRIVATE, &err), 0);
    assert_int_equal(bl_memory_write(&memory, PAGE, &word, sizeof word), 0);
    assert_int_equal(bl_memory_read(&memory, PAGE, &got, sizeof got), 0);
    assert_int_equal(got, word);
    assert_int_equal(bl_memory_iovec(&memory, PAGE, PAGE, &piece, 1), 1);
    assert_int_equal(bl_memory_discard_iovec(&memory, &piece, 1), PAGE);
    assert_int_equal(bl_memory_read(&memory, PAGE, &got, sizeof got), 0);
    assert_int_equal(got, 0);
    bl_memory_free(&memory);
}

/* fill() - All of a range. Return: 0; what bl_memory_fill() said last, when it stopped early */
static ssize_t fill(struct machine *machine, uint64_t address, int fd, uint64_t offset, uint64_t length, bool there)
{
    while (length) {
        ssize_t n = bl_memory_fill(&machine->memory, address, fd, offset, length, there);

        if (n <= 0)
            return n < 0 ? n : 1;
        address += (uint64_t)n;
        offset += (uint64_t)n;
        length -= (uint64_t)n;
    }
    return 0;
}

static void files_fill_memory(void **state)
{
    enum { BYTES = 3 * PAGE + 11, SKIPPED = 5 };
    uint8_t bytes[BYTES], got[BYTES];
    struct bl_error err = BL_ERROR_INIT;
    int file = memfd_create("file", MFD_CLOEXEC);

    (void)state;
    for (size_t i = 0; i < BYTES; i++)
        bytes[i] = (uint8_t)(i * 7 + 1);
    assert_true(file >= 0);
    assert_int_equal(write(file, bytes, BYTES), BYTES);
    for (int way = 0; way < 4; way++) {
        enum bl_memory_sharing sharing = way & 1 ? BL_MEMORY_PRIVATE : BL_MEMORY_SHARED;
        bool there = way & 2;
        const uint64_t to = RAM_SEAM - PAGE - 3; /* across two regions, and aligned to nothing */
        struct machine machine;

        machine_init(&machine, sharing);
        assert_int_equal(bl_memory_track(&machine.memory, &err), 0);
        assert_int_equal(fill(&machine, to, file, SKIPPED, BYTES - SKIPPED, there), 0);
        machine_get(&machine, to, got, BYTES - SKIPPED);
        assert_memory_equal(got, bytes + SKIPPED, BYTES - SKIPPED);
        /* The file of a private region is nobody's to write to; that of a shared one is the memory. */
        assert_int_equal(pread(machine.fd, got, 1, (off_t)(RAM_SEAM - 1)), 1);
        assert_int_equal(got[0], sharing == BL_MEMORY_SHARED ? bytes[SKIPPED + PAGE + 2] : 0);
        /* Pages 2 before the seam to the one before it in the first region; three from it on in the second. */
        assert_int_equal(bl_memory_take_dirty(&machine.memory, 0, (RAM_SEAM / PAGE - 1) / 64) >> (RAM_SEAM / PAGE - 2) % 64, 3);
        assert_int_equal(bl_memory_take_dirty(&machine.memory, 1, 0), 7);

        /* A region that does not lie in the file where it lies in memory. */
        assert_int_equal(fill(&machine, RAM_HIGH + 1, file, 0, BYTES, there), 0);
        machine_get(&machine, RAM_HIGH + 1, got, BYTES);
        assert_memory_equal(got, bytes, BYTES);
        assert_int_equal(fill(&machine, 0, file, BYTES - 1, 2, there), 1); /* the file ends */
        assert_int_equal(fill(&machine, RAM_LOW - 1, file, 0, 2, there), -1);
        assert_int_equal(errno, EFAULT);
        assert_int_equal(bl_memory_fill(&machine.memory, RAM_GAP, file, 0, 0, there), -1);
        machine_finish(&machine);
    }
    close(file);
}

/* gathered() - How many bytes of this process are mapped by large pages of files. */
static uint64_t gathered(void)
{
    FILE *maps = fopen("/proc/self/smaps", "re");
    char line[512];
    unsigned long long kib, sum = 0;

    assert_non_null(maps);
    while (fgets(line, sizeof line, maps))
        if (sscanf(line, "ShmemPmdMapped: %llu kB", &kib) == 1)
            sum += kib << 10;
    fclose(maps);
    return sum;
}

static void large_pages_are_gathered(void **state)
{
    const uint64_t large = 2 << 20;
    uint8_t byte = 7, got = 0;
    struct machine machine;

    (void)state;
    machine_init(&machine, BL_MEMORY_SHARED);
    machine_put(&machine, 5, &byte, 1);
    /* Where the host can't, nothing is different but the time it takes. */
    if (bl_memory_gather(&machine.memory, 3, large + 3))
        assert_true(gathered() >= large);
    machine_get(&machine, 5, &got, 1);
    assert_int_equal(got, byte);
    machine_get(&machine, 6, &got, 1);
    assert_int_equal(got, 0);
    /* Less than half of one is none. What lies outside of a region, or in two, is refused. */
    assert_true(bl_memory_gather(&machine.memory, 3 * large - 9, 3 * large + 9));
    assert_false(bl_memory_gather(&machine.memory, RAM_SEAM - large, RAM_SEAM + large));
    assert_false(bl_memory_gather(&machine.memory, RAM_GAP, RAM_GAP + large));
    assert_false(bl_memory_gather(&machine.memory, large, 0));
    assert_false(bl_memory_gather(&machine.memory, large, UINT64_MAX));
    machine_finish(&machine);
    machine_init(&machine, BL_MEMORY_PRIVATE);
    assert_false(bl_memory_gather(&machine.memory, 0, large));
    machine_finish(&machine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranges_stay_in_regions),
        cmocka_unit_test(a_range_goes_across_a_seam),
        cmocka_unit_test(shared_structures_are_whole_and_aligned),
        cmocka_unit_test(regions_are_refused),
        cmocka_unit_test(what_is_written_is_marked),
        cmocka_unit_test(whole_pages_go_back),
        cmocka_unit_test(a_private_page_becomes_the_files_again),
        cmocka_unit_test(a_page_of_a_saved_machine_is_ours_once_written),
        cmocka_unit_test(memory_need_be_in_no_file),
        cmocka_unit_test(files_fill_memory),
        cmocka_unit_test(large_pages_are_gathered),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
