/* SPDX-License-Identifier: Apache-2.0 */
/*
 * disk_record.h - what reaches a disk's file, in order, and what is left of it after a crash
 *
 * The recorder stands between a disk and the system calls. A crash is modelled as a cut of the record: everything before the last
 * flush before the cut is on the disk; of the rest any part may be, down to single sectors of a write, since a host writes back as
 * it likes and a disk has a cache. What was written to one place stays in order.
 */
#ifndef BL_TESTS_DISK_RECORD_H
#define BL_TESTS_DISK_RECORD_H

#include "disk_fixture.h"

enum event_kind { EVENT_WRITE, EVENT_TRUNCATE, EVENT_PUNCH, EVENT_FLUSH };

struct event {
    enum event_kind kind;
    uint64_t offset;
    uint64_t length;
    uint8_t *bytes; /* of a write */
};

/* The record, of one disk at a time. */
extern struct event *record;
extern size_t record_length;

/* record_calls() - System calls that are recorded; fdatasync() does nothing else. */
const struct bl_disk_calls *record_calls(void);
void record_clear(void);
/* record_now() - Its length, while threads may add to it. */
size_t record_now(void);

/* A file's content in memory. */
struct content {
    uint8_t *bytes;
    uint64_t length;
    uint64_t room;
};
void content_load(struct content *content, const char *name);
void content_save(const struct content *content, const char *name);
void content_copy(struct content *to, const struct content *from);
void content_free(struct content *content);
/* content_apply() - One event; of a write only the sectors that @random lets through (NULL: all) */
void content_apply(struct content *content, const struct event *event, struct random *random);

/*
 * image_wrong() - Look whether a qcow2 image is whole: each cluster named at most once, counted, within the file
 * Return: NULL; what is wrong
 */
const char *image_wrong(const struct content *image);
uint64_t image_bytes(const struct content *image);
/* image_sector() - The first number of a sector of the disk; UINT64_MAX: the layer below has it. @torn: the sector is not uniform
 */
uint64_t image_sector(const struct content *image, uint64_t sector, bool *torn);

#endif
