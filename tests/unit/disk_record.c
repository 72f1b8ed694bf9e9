/* SPDX-License-Identifier: Apache-2.0 */
/* disk_record.c - a record of what reaches a file, and a second opinion on qcow2; see disk_record.h */
#include "disk_record.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/cleanup.h"

#define SECTOR 512u

struct event *record;
size_t record_length;
static size_t record_room;
/* What was done first is noted first. */
static pthread_mutex_t record_lock = PTHREAD_MUTEX_INITIALIZER;

static struct event *note(enum event_kind kind, uint64_t offset, uint64_t length)
{
    if (record_length == record_room) {
        record_room = record_room ? record_room * 2 : 256;
        record = realloc(record, record_room * sizeof *record);
        assert_non_null(record);
    }
    record[record_length] = (struct event){kind, offset, length, NULL};
    return &record[record_length++];
}

static ssize_t noted_pwritev(int fd, const struct iovec *iov, int count, off_t offset)
{
    struct event *event;
    size_t at = 0;
    ssize_t n;

    pthread_mutex_lock(&record_lock);
    n = pwritev(fd, iov, count, offset);
    assert_true(n > 0);
    event = note(EVENT_WRITE, (uint64_t)offset, (uint64_t)n);
    event->bytes = malloc((size_t)n);
    assert_non_null(event->bytes);
    for (int i = 0; i < count && at < (size_t)n; i++) {
        size_t here = iov[i].iov_len < (size_t)n - at ? iov[i].iov_len : (size_t)n - at;

        if (here)
            memcpy(event->bytes + at, iov[i].iov_base, here);
        at += here;
    }
    pthread_mutex_unlock(&record_lock);
    return n;
}

static int noted_ftruncate(int fd, off_t length)
{
    int result;

    pthread_mutex_lock(&record_lock);
    note(EVENT_TRUNCATE, 0, (uint64_t)length);
    result = ftruncate(fd, length);
    pthread_mutex_unlock(&record_lock);
    return result;
}

static int noted_punch(int fd, off_t offset, off_t length)
{
    int result;

    pthread_mutex_lock(&record_lock);
    note(EVENT_PUNCH, (uint64_t)offset, (uint64_t)length);
    result = bl_disk_system_calls.punch(fd, offset, length);
    pthread_mutex_unlock(&record_lock);
    return result;
}

static int noted_fdatasync(int fd)
{
    (void)fd;
    pthread_mutex_lock(&record_lock);
    note(EVENT_FLUSH, 0, 0);
    pthread_mutex_unlock(&record_lock);
    sched_yield(); /* a flush takes long: others go on meanwhile */
    return 0;
}

size_t record_now(void)
{
    size_t length;

    pthread_mutex_lock(&record_lock);
    length = record_length;
    pthread_mutex_unlock(&record_lock);
    return length;
}

const struct bl_disk_calls *record_calls(void)
{
    static struct bl_disk_calls calls;

    calls = bl_disk_system_calls;
    calls.pwritev = noted_pwritev;
    calls.ftruncate = noted_ftruncate;
    calls.punch = noted_punch;
    calls.fdatasync = noted_fdatasync;
    return &calls;
}

void record_clear(void)
{
    for (size_t i = 0; i < record_length; i++)
        free(record[i].bytes);
    free(record);
    record = NULL;
    record_length = record_room = 0;
}

static void set_length(struct content *content, uint64_t length)
{
    if (length > content->room) {
        content->bytes = realloc(content->bytes, length);
        assert_non_null(content->bytes);
        content->room = length;
    }
    if (length > content->length)
        memset(content->bytes + content->length, 0, length - content->length);
    content->length = length;
}

void content_load(struct content *content, const char *name)
{
    cleanup_close int fd = open_file(name, O_RDONLY);
    struct stat status;

    assert_int_equal(fstat(fd, &status), 0);
    set_length(content, (uint64_t)status.st_size);
    assert_int_equal(pread(fd, content->bytes, content->length, 0), content->length);
}

void content_save(const struct content *content, const char *name)
{
    cleanup_close int fd = open_file(name, O_RDWR | O_CREAT | O_TRUNC);

    assert_int_equal(pwrite(fd, content->bytes, content->length, 0), content->length);
}

void content_copy(struct content *to, const struct content *from)
{
    set_length(to, from->length);
    memcpy(to->bytes, from->bytes, from->length);
}

void content_free(struct content *content)
{
    free(content->bytes);
    *content = (struct content){0};
}

void content_apply(struct content *content, const struct event *event, struct random *random)
{
    uint64_t end = event->offset + event->length;

    switch (event->kind) {
    case EVENT_TRUNCATE:
        set_length(content, event->length);
        break;
    case EVENT_PUNCH:
        if (event->offset < content->length)
            memset(content->bytes + event->offset, 0, (end < content->length ? end : content->length) - event->offset);
        break;
    case EVENT_WRITE:
        if (end > content->length)
            set_length(content, end);
        for (uint64_t at = event->offset; at < end;) {
            uint64_t next = (at / SECTOR + 1) * SECTOR;

            if (next > end)
                next = end;
            if (!random || random_below(random, 4))
                memcpy(content->bytes + at, event->bytes + (at - event->offset), next - at);
            at = next;
        }
        break;
    case EVENT_FLUSH:
        break;
    }
}

/* A second opinion: written from the format's description, and sharing nothing with the driver. */

struct look {
    const struct content *image;
    unsigned int cluster_bits;
    uint64_t clusters;
    uint8_t *named;
};

static uint64_t get(const struct look *look, uint64_t offset)
{
    return offset + 8 <= look->image->length ? bl_get_be64(look->image->bytes + offset) : UINT64_MAX;
}

static unsigned int count_of(const struct look *look, uint64_t cluster)
{
    const uint8_t *header = look->image->bytes;
    uint64_t per_block = 1ull << (look->cluster_bits - 1);
    uint64_t entries = (uint64_t)bl_get_be32(header + 56) << (look->cluster_bits - 3);
    uint64_t block = cluster / per_block < entries ? get(look, bl_get_be64(header + 48) + cluster / per_block * 8) : 0;
    uint64_t at = block + cluster % per_block * 2;

    return block && at + 2 <= look->image->length ? bl_get_be16(look->image->bytes + at) : 0;
}

/* name() - Some clusters are used for something. Return: whether that may be */
static bool name(const struct look *look, uint64_t offset, uint64_t clusters)
{
    uint64_t first = offset >> look->cluster_bits;

    if (offset & ((1u << look->cluster_bits) - 1) || first + clusters > look->clusters)
        return false;
    for (uint64_t i = first; i < first + clusters; i++)
        if (look->named[i]++ || count_of(look, i) != 1)
            return false;
    return true;
}

static const char *look_at_table(const struct look *look, uint64_t entry)
{
    uint64_t table = entry & 0x00fffffffffffe00ull;

    if (!(entry >> 63) || entry & 0x1ff || !name(look, table, 1))
        return "an L2 table";
    for (uint64_t i = 0; i < 1ull << (look->cluster_bits - 3); i++) {
        uint64_t data = get(look, table + i * 8);

        if (data & 0x00fffffffffffe00ull && (!(data >> 63) || !name(look, data & 0x00fffffffffffe00ull, 1)))
            return "an L2 entry";
        if (data & 0x7f000000000001feull)
            return "the bits of an L2 entry";
    }
    return NULL;
}

const char *image_wrong(const struct content *image)
{
    const uint8_t *header = image->bytes;
    struct look look = {image, bl_get_be32(header + 20), 0, NULL};
    uint64_t cluster = 1ull << look.cluster_bits;
    uint64_t l1 = bl_get_be64(header + 40), l1_entries = bl_get_be32(header + 36);
    uint64_t reftable = bl_get_be64(header + 48), reftable_clusters = bl_get_be32(header + 56);

    if (bl_get_be64(header + 72))
        return "it is marked";
    look.clusters = (image->length + cluster - 1) / cluster;

    cleanup_free uint8_t *named = look.named = calloc(1, look.clusters + 1);

    assert_non_null(named);
    if (!name(&look, 0, 1) || !name(&look, l1, (l1_entries * 8 + cluster - 1) / cluster) ||
        !name(&look, reftable, reftable_clusters))
        return "the header, the L1 table or the refcount table";
    for (uint64_t i = 0; i < reftable_clusters * cluster / 8; i++) {
        uint64_t block = get(&look, reftable + i * 8);

        if (block && !name(&look, block, 1))
            return "a refcount block";
    }
    for (uint64_t i = 0; i < l1_entries; i++) {
        uint64_t entry = get(&look, l1 + i * 8);
        const char *wrong = entry ? look_at_table(&look, entry) : NULL;

        if (wrong)
            return wrong;
    }
    return NULL;
}

uint64_t image_bytes(const struct content *image)
{
    return bl_get_be64(image->bytes + 24);
}

uint64_t image_sector(const struct content *image, uint64_t sector, bool *torn)
{
    struct look look = {image, bl_get_be32(image->bytes + 20), 0, NULL};
    uint64_t cluster = sector * SECTOR >> look.cluster_bits;
    uint64_t per_table = 1ull << (look.cluster_bits - 3);
    uint64_t table = get(&look, bl_get_be64(image->bytes + 40) + cluster / per_table * 8) & 0x00fffffffffffe00ull;
    uint64_t entry = table ? get(&look, table + cluster % per_table * 8) : 0;
    uint64_t at = (entry & 0x00fffffffffffe00ull) + (sector * SECTOR & ((1u << look.cluster_bits) - 1));

    *torn = false;
    if (!entry)
        return UINT64_MAX;
    if (entry & 1)
        return 0;
    if (at + SECTOR > image->length)
        return 0;
    *torn = memcmp(image->bytes + at, image->bytes + at + 8, SECTOR - 8) != 0;
    return get(&look, at);
}
