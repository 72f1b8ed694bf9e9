/* SPDX-License-Identifier: Apache-2.0 */
/*
 * home.h - the two places that a runtime works with: the home, where its boxes are, and the runtime directory, where its programs
 * are
 *
 * A home:
 *     db/          the database (core/store.h)
 *     boxes/<id>/  one box: its locks, sockets, disks and logs (proto/launch.h names the files)
 *     images/      the image part's (image/image.h)
 *     templates/   saved machines, the shim's (shim/template.h)
 */
#ifndef BL_CORE_HOME_H
#define BL_CORE_HOME_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

#define BL_HOME_PATH_MAX 4000 /* bytes; a box's files lie below it, and PATH_MAX is 4096 */

/*
 * bl_home_open() - Make a home where it is missing, and check that it can serve as one
 * @home_fd, @boxes_fd: the directories, for the caller to close
 *
 * Return: 0; -1: BL_CONFIG (not absolute, too long), BL_STORAGE (not writable, on a network file system, locks don't work)
 */
int bl_home_open(const char *home, int *home_fd, int *boxes_fd, struct bl_error *err);

/* bl_home_probe_locks() - Whether a lock taken through one open file is seen through another. Return: 0; -1 with errno */
int bl_home_probe_locks(int home_fd);

/* bl_runtime_dir_find() - Where shim, kernels and image part are (see the design, 9). Return: allocated; NULL with *@err */
char *bl_runtime_dir_find(struct bl_error *err);

/* A guest kernel that goes with an initramfs. Owned paths. */
struct bl_guest_files {
    const char *kind; /* "tuned", "stock" */
    char *kernel;
    char *initramfs;
};
/*
 * bl_guest_files_find() - The tuned kernel when there is one, else the distribution's
 *
 * BOXLITE_KERNEL_KIND=tuned|stock insists on one.
 *
 * Return: 0; -1: BL_ENGINE (none, with what to do), BL_CONFIG
 */
int bl_guest_files_find(const char *runtime_dir, struct bl_guest_files *out, struct bl_error *err);
void bl_guest_files_free(struct bl_guest_files *files);

/* bl_templates_wanted() - What BOXLITE_TEMPLATES says; on by default. Return: 0; -1: BL_CONFIG */
int bl_templates_wanted(bool *out, struct bl_error *err);
/* bl_template_give_up() - Put an empty file in a template's place: no machine goes on from it, and nobody shall try again. Not a
 * template's name: nothing happens */
void bl_template_give_up(int home_fd, const char *name);
/*
 * bl_templates_leftovers() - Those that were never completed, and are not being written
 * @remove: remove them
 * @found: told of each; NULL: nobody
 */
void bl_templates_leftovers(int home_fd, bool remove, void (*found)(const char *name, uint64_t bytes, void *data), void *data);
/* bl_templates_usage() - How many saved machines there are, and what they take on the disk. */
void bl_templates_usage(int home_fd, unsigned int *count, uint64_t *bytes);

#endif
