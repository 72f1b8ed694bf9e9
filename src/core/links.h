/* SPDX-License-Identifier: Apache-2.0 */
/*
 * links.h - names of boxes as links, so that who talks to a box that runs needs no database
 *
 * <home>/names/<name> is a symbolic link to ../boxes/<id>. A box's start makes it and its removal takes it away, both under the
 * box's lifecycle lock, and the removal before it gives up the record: until then nobody else can have the name, and no box ever
 * changes its own. Who makes a box removes what its name led to before. So a link to a box that runs tells the truth. The record is
 * what decides everything else: a box without a link is found in the database, and only later.
 *
 * On a file system that does not tell capitals from small letters one link may have two names; there none is kept.
 */
#ifndef BL_CORE_LINKS_H
#define BL_CORE_LINKS_H

#include <stdbool.h>

#include "core/core.h"

#define BL_DIR_NAMES "names"

/* bl_link_make() - @name now leads to the box @id. Return: 0; -1 with errno: it leads nowhere, or where it did */
int bl_link_make(int home_fd, const char *name, const char *id);
/*
 * bl_link_remove() - @name leads nowhere any more
 * @id: only if it leads to this box, or is no link to one; NULL: wherever it leads
 * Return: 0 (also when there is none); -1 with errno
 */
int bl_link_remove(int home_fd, const char *name, const char *id);
/*
 * bl_link_find() - The box that a whole id or a name means
 * @id: BL_BOX_ID_LENGTH + 1 bytes
 * Return: whether it can be told without the database; the box may be gone all the same
 */
bool bl_link_find(const struct bl_runtime *runtime, const char *text, char *id);
/*
 * bl_links_leftovers() - Find, or remove, the links to boxes that have no record: what a removal could not take away, or a lost
 * database had
 * @found: called for each, with its name; may be NULL
 */
void bl_links_leftovers(struct bl_runtime *runtime, bool remove, void (*found)(const char *name, void *data), void *data);

#endif
