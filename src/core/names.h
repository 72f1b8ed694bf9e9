/* SPDX-License-Identifier: Apache-2.0 */
/* names.h - what boxes are called: random ids, and names that people choose */
#ifndef BL_CORE_NAMES_H
#define BL_CORE_NAMES_H

#include <stdbool.h>

#include "core/core.h"

#define BL_BOX_NAME_MAX 128 /* bytes */

/* bl_box_id_make() - A new random id. @id: BL_BOX_ID_LENGTH + 1 bytes. Return: 0; -1 with errno */
int bl_box_id_make(char *id);
/* bl_box_id_valid() - Whether a text has the form of an id, so that it may be a directory's name below boxes/. */
bool bl_box_id_valid(const char *text);
/* bl_box_name_check() - Return: 0; -1 with BL_INVALID_ARGUMENT and the rule that a name breaks */
int bl_box_name_check(const char *name, struct bl_error *err);

#endif
