/* SPDX-License-Identifier: Apache-2.0 */
/* strings.h - lists of strings that end with NULL, as argv and environ do */
#ifndef BL_BASE_STRINGS_H
#define BL_BASE_STRINGS_H

#include <stdbool.h>
#include <stddef.h>

/* bl_strings_count() - Number of strings; 0 for NULL. */
size_t bl_strings_count(const char *const *list);
/* bl_strings_append() - Copy @text to the end of an allocated list. Return: 0; -1 when memory ran out (list unchanged) */
int bl_strings_append(char ***list, const char *text);
/* bl_strings_copy() - Copy a list. Return: allocated (also for an empty or NULL one), NULL when memory ran out */
char **bl_strings_copy(const char *const *list);
/* bl_strings_set_env() - Set KEY=value in a list of KEY=value; an entry of that key is replaced. Return: as append */
int bl_strings_set_env(char ***list, const char *key_and_value);
/* bl_strings_get_env() - Value of a key in a list of KEY=value, or NULL. */
const char *bl_strings_get_env(const char *const *list, const char *key);
void bl_strings_free(char **list);
static inline void bl_strings_free_p(char ***list)
{
    bl_strings_free(*list);
}
#define cleanup_strings __attribute__((cleanup(bl_strings_free_p)))

/* bl_format() - printf into new memory. Return: allocated, NULL when memory ran out */
char *bl_format(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* bl_starts_with() - Whether @text begins with @prefix. */
bool bl_starts_with(const char *text, const char *prefix);
/*
 * bl_parse_number() - A whole decimal number, nothing before or after it
 * Return: 0 and *@out; -1 when it is no number or not within @least..@most
 */
int bl_parse_number(const char *text, long long least, long long most, long long *out);

#endif
