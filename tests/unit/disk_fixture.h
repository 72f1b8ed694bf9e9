/* SPDX-License-Identifier: Apache-2.0 */
/*
 * disk_fixture.h - disks for tests: a directory, a model of what a disk holds, operations at random, a record of what reaches a
 * file
 *
 * QEMU's own tools are the judge: qemu-img check says whether an image is whole, qemu-io and qemu-img compare what it holds.
 */
#ifndef BL_TESTS_DISK_FIXTURE_H
#define BL_TESTS_DISK_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "disk/layer.h"

/* disk_enter() / disk_leave() - A directory of the test's own, as group fixtures of cmocka; the files in it go with it. */
int disk_enter(void **state);
int disk_leave(void **state);

/* shell() - Run a command of the shell, whose success is asserted; @command is a format. */
void shell(const char *command, ...) __attribute__((format(printf, 1, 2)));
/* shell_status() - The same; returns its exit status. */
int shell_status(const char *command, ...) __attribute__((format(printf, 1, 2)));

/* A generator of numbers that gives the same ones for a seed, everywhere. */
struct random {
    uint64_t state;
};
uint64_t random_next(struct random *random);
uint64_t random_below(struct random *random, uint64_t bound);

/* open_file() - Return: a descriptor, which is asserted. */
int open_file(const char *name, int flags);
/* make_raw() - Make a raw file: data with holes in it. */
void make_raw(const char *name, uint64_t bytes, uint64_t seed);

/* What a disk should hold. */
struct model {
    uint8_t *content;
    uint64_t bytes;
    uint64_t granularity; /* of discards */
};
void model_load(struct model *model, const char *format, const char *name); /* from an image, by qemu-img convert */
void model_free(struct model *model);

/* quick_calls() - Flushes do nothing: for tests that are not about them. */
const struct bl_disk_calls *quick_calls(void);
/* disk_open() - A chain of files, base first: "raw:base.raw", "qcow2:disk.qcow2"; NULL ends the list */
struct bl_disk *disk_open(unsigned int flags, const struct bl_disk_calls *calls, const char *layer, ...) __attribute__((sentinel));
/* disk_close() - Close the disk and the files that disk_open() opened for it. */
void disk_close(struct bl_disk *disk);
/* disk_abandon() - The same of a disk that failed, so that closing it fails too. */
void disk_abandon(struct bl_disk *disk);

/* random_operation() - One read, write, discard, zeroes or flush, done to the disk and the model */
void random_operation(struct bl_disk *disk, struct model *model, struct random *random);
/* compare_with_model() - Read all of a disk. */
void compare_with_model(struct bl_disk *disk, const struct model *model);

#endif
