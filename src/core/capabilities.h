/* SPDX-License-Identifier: Apache-2.0 */
/*
 * capabilities.h - which Linux capabilities the commands of a box can have
 *
 * Without a word they get Docker's default set (BL_CAPABILITIES_DEFAULT). What is dropped is taken from it, then what is added
 * comes to it, so a name in both lists is added. "ALL" among the added ones begins with every capability there is, and then what is
 * dropped wins; "ALL" among the dropped ones begins with none. Names are those of capabilities(7), in any case, with or without
 * "CAP_".
 *
 * A name that is not known is refused when the box is made: a drop that is not understood must not turn out to be none.
 */
#ifndef BL_CORE_CAPABILITIES_H
#define BL_CORE_CAPABILITIES_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

/* A list as a record keeps it: "ALL", or "CAP_..." in capitals, each once. Return: 0 and *@out (bl_strings_free()); -1 */
int bl_capabilities_normalize(const char *const *names, char ***out, struct bl_error *err);
/* bl_capabilities_check() - That each name is one. Return: 0; -1 with BL_INVALID_ARGUMENT and the first that is none */
int bl_capabilities_check(const char *const *names, struct bl_error *err);
/*
 * bl_capabilities_resolve() - The set that two normalized lists make
 * @add, @drop: NULL: empty
 * Return: true and *@out, one bit for each; false: nothing was asked for, and *@out is the default set
 */
bool bl_capabilities_resolve(char *const *add, char *const *drop, uint64_t *out);
/* bl_capabilities_list() - The names in a set. Return: allocated list (bl_strings_free()); NULL when memory ran out */
char **bl_capabilities_list(uint64_t set);

#endif
