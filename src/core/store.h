/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store.h - the home's database: <home>/db/boxlite.db, SQLite in WAL mode
 *
 * Any number of programs use it at once; each statement waits for another's commit for a while (BL_STORE_BUSY_MS). A connection has
 * one mutex around each operation, so threads may share it. It must not be used after fork() (the runtime sees to that).
 *
 * The schema's version is SQLite's user_version. A database of a newer one is refused, one of an older one upgraded.
 */
#ifndef BL_CORE_STORE_H
#define BL_CORE_STORE_H

#include <stddef.h>

#include "core/record.h"

#define BL_STORE_VERSION 3
#define BL_STORE_BUSY_MS 30000

struct bl_store;

/*
 * bl_store_open() - Open the database, making it when it is missing
 * @home_fd: the home's directory, which stays open as long as the store; db/ exists in it
 * @home: its path, for messages
 */
int bl_store_open(int home_fd, const char *home, struct bl_store **out, struct bl_error *err);
void bl_store_close(struct bl_store *store);

/* bl_store_insert() - A new box; its state's generation becomes 1. Return: 0; -1: BL_ALREADY_EXISTS (the name is taken) ... */
int bl_store_insert(struct bl_store *store, struct bl_record *record, struct bl_error *err);
/* bl_store_name_taken() - Whether a name is in use. Return: 1, 0; -1 */
int bl_store_name_taken(struct bl_store *store, const char *name, struct bl_error *err);
/*
 * bl_store_find() - By exact id, exact name or unique prefix of an id, in this order
 * Return: 0 and *@out (bl_record_free()); -1: BL_NOT_FOUND, BL_DATABASE
 */
int bl_store_find(struct bl_store *store, const char *name, struct bl_record *out, struct bl_error *err);
/* bl_store_get() - By exact id. Return: as bl_store_find() */
int bl_store_get(struct bl_store *store, const char *id, struct bl_record *out, struct bl_error *err);
/*
 * GO_BY_THEMSELVES: that auto_remove or auto_delete ends; HAVE_A_POLICY: that a restart policy starts again
 */
enum bl_store_filter { BL_STORE_ALL, BL_STORE_CLAIM_TO_RUN, BL_STORE_GO_BY_THEMSELVES, BL_STORE_HAVE_A_POLICY };
/* bl_store_list() - Newest first. Return: 0 and *@out, *@count (bl_store_list_free()); -1 */
int bl_store_list(struct bl_store *store, enum bl_store_filter filter, struct bl_record **out, size_t *count, struct bl_error *err);
void bl_store_list_free(struct bl_record *list, size_t count);
/*
 * bl_store_update() - Change a box's state, if nobody did since it was read
 * @state: the new state; its generation is the one that was read, and counts up on success
 * Return: 1 changed; 0: somebody else was faster, or the box is gone (nothing changed); -1
 */
int bl_store_update(struct bl_store *store, const char *id, struct bl_state *state, struct bl_error *err);
/* bl_store_delete() - Forget a box. Return: 0 (also when it is gone); -1 */
int bl_store_delete(struct bl_store *store, const char *id, struct bl_error *err);

#ifdef BL_CRASH_POINTS
/* bl_store_take_faults() - Have the calls of SQLite fail where a test says; before SQLite's first use, once. */
void bl_store_take_faults(void);
#endif

#endif
