/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store.c - boxes in SQLite; see store.h
 *
 * Setting the database up (its mode, its tables) is done by one process at a time, under a lock file of its own, since SQLite does
 * not wait for others while it changes the journal's mode. Afterwards nothing ever takes that lock again.
 *
 * The database file is made by mknod(), not open(): closing a descriptor of it would drop the locks of another connection in
 * this process.
 *
 * SQLite takes no path above 512 bytes, and a home's may have 4000. So it gets the path by way of the home's descriptor, and a VFS
 * that differs from the default one only in leaving that path as it is.
 */
#include "core/store.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/crash.h"
#include "base/os.h"
#include "base/strings.h"

#define DATABASE_FILE "db/boxlite.db"
#define SETUP_LOCK    "db/setup.lock"

#define STATEMENTS_MAX 16 /* different ones that prepare() is called for */

/* text of the columns that a struct bl_state fills, in the order of bind_state() */
#define STATE_COLUMNS                                                                                                              \
    "status, pid, start_ticks, boot_id, started_at_ms, ended_at_ms, exit_code, out_of_memory, reason, console, wanted"
#define RECORD_COLUMNS "id, name, created_at_ms, config, generation, " STATE_COLUMNS

/*
 * What brings a database from each version to the next.
 *  1: the tables.
 *  2: a record can say cap_add, cap_drop and security. A boxlite that knew only 1 would start such a box with what it was denied.
 *  3: restart policies, and boxes that go by themselves; in columns, since each change of a home looks for them.
 */
static const char *const steps[] = {"CREATE TABLE boxes("
                                    " id TEXT PRIMARY KEY NOT NULL,"
                                    " name TEXT UNIQUE,"
                                    " created_at_ms INTEGER NOT NULL,"
                                    " auto_remove INTEGER NOT NULL,"
                                    " config TEXT NOT NULL,"
                                    " generation INTEGER NOT NULL,"
                                    " status TEXT NOT NULL,"
                                    " pid INTEGER NOT NULL,"
                                    " start_ticks INTEGER NOT NULL,"
                                    " boot_id TEXT NOT NULL,"
                                    " started_at_ms INTEGER NOT NULL,"
                                    " ended_at_ms INTEGER NOT NULL,"
                                    " exit_code INTEGER,"
                                    " out_of_memory INTEGER NOT NULL,"
                                    " reason TEXT,"
                                    " console TEXT);"
                                    "CREATE INDEX boxes_by_age ON boxes(created_at_ms);"
                                    "CREATE INDEX boxes_by_status ON boxes(status);"
                                    "PRAGMA user_version = 1;",
                                    "PRAGMA user_version = 2;",
                                    "ALTER TABLE boxes ADD COLUMN restarts INTEGER NOT NULL DEFAULT 0;"
                                    "ALTER TABLE boxes ADD COLUMN auto_delete INTEGER NOT NULL DEFAULT 0;"
                                    "ALTER TABLE boxes ADD COLUMN wanted INTEGER NOT NULL DEFAULT 0;"
                                    "PRAGMA user_version = 3;"};

static_assert(sizeof steps / sizeof *steps == BL_STORE_VERSION, "a step for each version");

/* A statement that was compiled, which takes longer than to carry it out. */
struct kept_statement {
    const char *sql;
    sqlite3_stmt *statement;
};

struct bl_store {
    sqlite3 *db;
    char *path;
    pthread_mutex_t lock; /* around every use of db, so that sqlite3_changes() and errors are those of the caller's statement */
    struct kept_statement kept[STATEMENTS_MAX]; /* from the first on; guarded by the lock */
};

static void finalize_p(sqlite3_stmt **statement)
{
    sqlite3_finalize(*statement);
}
#define cleanup_statement __attribute__((cleanup(finalize_p)))

/* let_go_p() - A kept statement holds no lock, and nothing of its caller's, between its uses. */
static void let_go_p(sqlite3_stmt **statement)
{
    if (!*statement)
        return;
    sqlite3_reset(*statement);
    sqlite3_clear_bindings(*statement);
}
#define cleanup_kept __attribute__((cleanup(let_go_p)))

static void unlock_p(pthread_mutex_t **mutex)
{
    pthread_mutex_unlock(*mutex);
}
/* Hold the store's mutex until the end of the scope. */
#define HOLD(store)                                                                                                                \
    __attribute__((cleanup(unlock_p), unused)) pthread_mutex_t *held_ = (pthread_mutex_lock(&(store)->lock), &(store)->lock)

#define VFS_NAME "boxlite-as-is"

static sqlite3_vfs as_is;
static pthread_once_t as_is_once = PTHREAD_ONCE_INIT;

/* keep_path() - xFullPathname: resolving /proc/self/fd would bring the long path back. */
static int keep_path(sqlite3_vfs *vfs, const char *path, int size, char *out)
{
    (void)vfs;
    return snprintf(out, (size_t)size, "%s", path) < size ? SQLITE_OK : SQLITE_CANTOPEN;
}

static void register_vfs(void)
{
#ifdef BL_CRASH_POINTS
    bl_store_take_faults();
#endif

    const sqlite3_vfs *standard = sqlite3_initialize() == SQLITE_OK ? sqlite3_vfs_find(NULL) : NULL;

    if (!standard)
        return;
    as_is = *standard;
    as_is.pNext = NULL;
    as_is.zName = VFS_NAME;
    as_is.xFullPathname = keep_path;
    sqlite3_vfs_register(&as_is, 0);
}

/* database_error() - What SQLite says. */
static int database_error(struct bl_store *store, const char *what, struct bl_error *err)
{
    int code = sqlite3_extended_errcode(store->db);
    enum bl_code kind = (code & 0xff) == SQLITE_FULL ? BL_RESOURCE_EXHAUSTED : BL_DATABASE;
    const char *advice = (code & 0xff) == SQLITE_BUSY      ? " (another program keeps it locked)"
                         : (code & 0xff) == SQLITE_CORRUPT ? " (restore it from a backup, or remove the home)"
                                                           : "";

    return bl_fail(err, kind, sqlite3_system_errno(store->db), "%s in database %s: %s%s", what, store->path,
                   sqlite3_errmsg(store->db), advice);
}

/* prepare() - A statement, compiled once for each store. Under the lock. @sql: a literal; @out: the store's, cleanup_kept */
static int prepare(struct bl_store *store, const char *sql, sqlite3_stmt **out, struct bl_error *err)
{
    struct kept_statement *kept = store->kept;

    while (kept->sql && strcmp(kept->sql, sql) != 0)
        kept++;
    if (!kept->sql) {
        assert(kept < store->kept + STATEMENTS_MAX - 1);
        if (sqlite3_prepare_v3(store->db, sql, -1, SQLITE_PREPARE_PERSISTENT, &kept->statement, NULL) != SQLITE_OK)
            return database_error(store, "prepare a statement", err);
        kept->sql = sql;
    }
    *out = kept->statement;
    return 0;
}

/* read_number() - The one number that a statement yields. Return: 0; -1 */
static int read_number(struct bl_store *store, const char *sql, int *out, struct bl_error *err)
{
    cleanup_statement sqlite3_stmt *statement = NULL;

    if (sqlite3_prepare_v2(store->db, sql, -1, &statement, NULL) != SQLITE_OK || sqlite3_step(statement) != SQLITE_ROW)
        return database_error(store, "read", err);
    *out = sqlite3_column_int(statement, 0);
    return 0;
}

static int check_version(struct bl_store *store, int version, struct bl_error *err)
{
    if (version > BL_STORE_VERSION)
        return bl_fail(err, BL_DATABASE, 0,
                       "the database %s was made by a newer boxlite (its schema is %d, this one knows %d): use that version, or "
                       "another home",
                       store->path, version, BL_STORE_VERSION);
    return 0;
}

/* take_steps() - From @version to ours, within a transaction. Return: 0; -1 */
static int take_steps(struct bl_store *store, int version, struct bl_error *err)
{
    for (; version < BL_STORE_VERSION; version++)
        if (sqlite3_exec(store->db, steps[version], NULL, NULL, NULL) != SQLITE_OK)
            return database_error(store, version ? "bring the tables up to date" : "make the tables", err);
    return sqlite3_exec(store->db, "COMMIT", NULL, NULL, NULL) == SQLITE_OK ? 0 : database_error(store, "make the tables", err);
}

/* set_up() - Make the tables or bring older ones up to date, alone. */
static int set_up(struct bl_store *store, int home_fd, struct bl_error *err)
{
    cleanup_close int fd = bl_os.openat(home_fd, SETUP_LOCK, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    int version = 0, failed;

    if (fd < 0)
        return bl_fail(err, BL_STORAGE, errno, "open %s", SETUP_LOCK);
    do
        failed = bl_os.fcntl(fd, F_OFD_SETLKW, &lock);
    while (failed && errno == EINTR);
    if (failed)
        return bl_fail(err, BL_STORAGE, errno, "lock %s", SETUP_LOCK);
    if (read_number(store, "PRAGMA user_version", &version, err) < 0 || check_version(store, version, err) < 0)
        return -1;
    if (version == BL_STORE_VERSION)
        return 0;
    if (sqlite3_exec(store->db, "PRAGMA journal_mode = WAL", NULL, NULL, NULL) != SQLITE_OK ||
        sqlite3_exec(store->db, "BEGIN IMMEDIATE", NULL, NULL, NULL) != SQLITE_OK)
        return database_error(store, "begin", err);
    BL_CRASH_POINT("open:tables-begun");
    if (take_steps(store, version, err) < 0) {
        sqlite3_exec(store->db, "ROLLBACK", NULL, NULL, NULL);
        return -1;
    }
    BL_CRASH_POINT("open:tables-made");
    return 0;
}

int bl_store_open(int home_fd, const char *home, struct bl_store **out, struct bl_error *err)
{
    struct bl_store *store = calloc(1, sizeof *store);
    char by_descriptor[64];
    int version = 0;

    *out = NULL;
    if (!store || !(store->path = bl_format("%s/%s", home, DATABASE_FILE))) {
        free(store);
        return bl_fail_memory(err);
    }
    pthread_mutex_init(&store->lock, NULL);
    if (bl_os.mknodat(home_fd, DATABASE_FILE, S_IFREG | 0600, 0) < 0 && errno != EEXIST) {
        bl_fail(err, BL_STORAGE, errno, "make database %s", store->path);
        bl_store_close(store);
        return -1;
    }
    BL_CRASH_POINT("open:database-made");
    pthread_once(&as_is_once, register_vfs);
    snprintf(by_descriptor, sizeof by_descriptor, "/proc/self/fd/%d/%s", home_fd, DATABASE_FILE);
    if (sqlite3_open_v2(by_descriptor, &store->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_FULLMUTEX, VFS_NAME) != SQLITE_OK ||
        sqlite3_extended_result_codes(store->db, 1) != SQLITE_OK ||
        sqlite3_busy_timeout(store->db, BL_STORE_BUSY_MS) != SQLITE_OK) {
        database_error(store, "open", err);
        bl_store_close(store);
        return -1;
    }
    /* A commit survives any death of a process. After a crash of the machine the last ones may be missing: sweeping sees to the
     * rest. */
    sqlite3_exec(store->db, "PRAGMA synchronous = NORMAL", NULL, NULL, NULL);
    if (read_number(store, "PRAGMA user_version", &version, err) < 0 || check_version(store, version, err) < 0 ||
        (version < BL_STORE_VERSION && set_up(store, home_fd, err) < 0)) {
        bl_store_close(store);
        return -1;
    }
    *out = store;
    return 0;
}

void bl_store_close(struct bl_store *store)
{
    if (!store)
        return;
    for (struct kept_statement *kept = store->kept; kept->sql; kept++)
        sqlite3_finalize(kept->statement);
    sqlite3_close(store->db);
    pthread_mutex_destroy(&store->lock);
    free(store->path);
    free(store);
}

static void bind_text(sqlite3_stmt *statement, int at, const char *text)
{
    if (text)
        sqlite3_bind_text(statement, at, text, -1, SQLITE_STATIC);
    else
        sqlite3_bind_null(statement, at);
}

/* bind_state() - The values of STATE_COLUMNS, from parameter @at. Return: the next parameter */
static int bind_state(sqlite3_stmt *statement, int at, const struct bl_state *state)
{
    bind_text(statement, at++, bl_box_status_name(state->status));
    sqlite3_bind_int64(statement, at++, state->shim.pid);
    sqlite3_bind_int64(statement, at++, (sqlite3_int64)state->shim.start_ticks);
    bind_text(statement, at++, state->shim.boot_id);
    sqlite3_bind_int64(statement, at++, state->started_at_ms);
    sqlite3_bind_int64(statement, at++, state->ended_at_ms);
    if (state->has_exit_code)
        sqlite3_bind_int(statement, at++, state->exit_code);
    else
        sqlite3_bind_null(statement, at++);
    sqlite3_bind_int(statement, at++, state->out_of_memory);
    bind_text(statement, at++, state->reason);
    bind_text(statement, at++, state->console);
    sqlite3_bind_int(statement, at++, state->wanted);
    return at;
}

int bl_store_insert(struct bl_store *store, struct bl_record *record, struct bl_error *err)
{
    cleanup_free char *config = bl_record_encode(record);
    HOLD(store); /* until after the statement is finished */
    cleanup_kept sqlite3_stmt *statement = NULL;

    if (!config)
        return bl_fail_memory(err);
    if (prepare(store,
                "INSERT INTO boxes(id, name, created_at_ms, auto_remove, config, restarts, auto_delete, generation, " STATE_COLUMNS
                ")"
                " VALUES(?, ?, ?, ?, ?, ?, ?, 1, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                &statement, err) < 0)
        return -1;
    bind_text(statement, 1, record->id);
    bind_text(statement, 2, record->name);
    sqlite3_bind_int64(statement, 3, record->created_at_ms);
    sqlite3_bind_int(statement, 4, record->auto_remove);
    bind_text(statement, 5, config);
    sqlite3_bind_int(statement, 6, record->restart.kind != BL_RESTART_NO);
    sqlite3_bind_int(statement, 7, record->auto_delete_ms > 0);
    bind_state(statement, 8, &record->state);
    if (sqlite3_step(statement) == SQLITE_DONE) {
        record->state.generation = 1;
        return 0;
    }
    if (sqlite3_extended_errcode(store->db) == SQLITE_CONSTRAINT_UNIQUE)
        return bl_fail(err, BL_ALREADY_EXISTS, 0, "a box named '%s' already exists: remove it, or choose another name",
                       record->name);
    return database_error(store, "insert a box", err);
}

int bl_store_name_taken(struct bl_store *store, const char *name, struct bl_error *err)
{
    HOLD(store); /* until after the statement is finished */
    cleanup_kept sqlite3_stmt *statement = NULL;

    if (prepare(store, "SELECT 1 FROM boxes WHERE name = ?", &statement, err) < 0)
        return -1;
    bind_text(statement, 1, name);
    switch (sqlite3_step(statement)) {
    case SQLITE_ROW:
        return 1;
    case SQLITE_DONE:
        return 0;
    default:
        return database_error(store, "look a name up", err);
    }
}

static enum bl_box_status status_of(const char *name)
{
    for (int status = BL_BOX_UNKNOWN; status <= BL_BOX_FAILED; status++)
        if (name && strcmp(name, bl_box_status_name((enum bl_box_status)status)) == 0)
            return (enum bl_box_status)status;
    return BL_BOX_UNKNOWN;
}

static const char *column_text(sqlite3_stmt *statement, int at)
{
    return (const char *)sqlite3_column_text(statement, at);
}

static char *column_copy(sqlite3_stmt *statement, int at)
{
    const char *text = column_text(statement, at);

    return text ? strdup(text) : NULL;
}

/* read_row() - RECORD_COLUMNS into a record. Return: 0; -1 with BL_DATABASE, nothing to free */
static int read_row(sqlite3_stmt *statement, struct bl_record *record, struct bl_error *err)
{
    const char *id = column_text(statement, 0), *boot_id = column_text(statement, 8), *config = column_text(statement, 3);
    struct bl_state *state = &record->state;

    *record = (struct bl_record){0};
    if (!id || strlen(id) != BL_BOX_ID_LENGTH || !config || !boot_id || strlen(boot_id) > BL_BOOT_ID_LENGTH)
        return bl_fail(err, BL_METADATA, 0, "the record of a box is damaged");
    snprintf(record->id, sizeof record->id, "%s", id);
    record->name = column_copy(statement, 1);
    record->created_at_ms = sqlite3_column_int64(statement, 2);
    state->generation = sqlite3_column_int64(statement, 4);
    state->status = status_of(column_text(statement, 5));
    state->shim.pid = (pid_t)sqlite3_column_int64(statement, 6);
    state->shim.start_ticks = (uint64_t)sqlite3_column_int64(statement, 7);
    snprintf(state->shim.boot_id, sizeof state->shim.boot_id, "%s", boot_id);
    state->started_at_ms = sqlite3_column_int64(statement, 9);
    state->ended_at_ms = sqlite3_column_int64(statement, 10);
    state->has_exit_code = sqlite3_column_type(statement, 11) != SQLITE_NULL;
    state->exit_code = sqlite3_column_int(statement, 11);
    state->out_of_memory = sqlite3_column_int(statement, 12);
    state->reason = column_copy(statement, 13);
    state->console = column_copy(statement, 14);
    state->wanted = sqlite3_column_int(statement, 15);
    if (bl_record_decode(config, record, err) < 0) {
        bl_record_free(record);
        return -1;
    }
    return 0;
}

/* select_one() - The one box that a statement with one text parameter yields. Return: 1 found; 0 none, or several; -1 */
static int select_one(struct bl_store *store, const char *sql, const char *text, struct bl_record *out, struct bl_error *err)
{
    cleanup_kept sqlite3_stmt *statement = NULL;

    if (prepare(store, sql, &statement, err) < 0)
        return -1;
    bind_text(statement, 1, text);

    int step = sqlite3_step(statement);

    if (step == SQLITE_DONE)
        return 0;
    if (step != SQLITE_ROW)
        return database_error(store, "look a box up", err);
    if (read_row(statement, out, err) < 0)
        return -1;
    step = sqlite3_step(statement);
    if (step == SQLITE_DONE)
        return 1;
    bl_record_free(out);
    return step == SQLITE_ROW ? 0 : database_error(store, "look a box up", err);
}

int bl_store_find(struct bl_store *store, const char *name, struct bl_record *out, struct bl_error *err)
{
    static const char *const ways[] = {
        "SELECT " RECORD_COLUMNS " FROM boxes WHERE id = ?1",
        "SELECT " RECORD_COLUMNS " FROM boxes WHERE name = ?1",
        "SELECT " RECORD_COLUMNS " FROM boxes WHERE id >= ?1 AND substr(id, 1, length(?1)) = ?1 AND length(?1) > 0 LIMIT 2",
    };

    HOLD(store);
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        int found = select_one(store, ways[i], name, out, err);

        if (found)
            return found < 0 ? -1 : 0;
    }
    return bl_fail(err, BL_NOT_FOUND, 0, "No such box: %s", name);
}

int bl_store_get(struct bl_store *store, const char *id, struct bl_record *out, struct bl_error *err)
{
    HOLD(store);

    int found = select_one(store, "SELECT " RECORD_COLUMNS " FROM boxes WHERE id = ?1", id, out, err);

    return found > 0 ? 0 : found < 0 ? -1 : bl_fail(err, BL_NOT_FOUND, 0, "No such box: %s", id);
}

int bl_store_list(struct bl_store *store, enum bl_store_filter filter, struct bl_record **out, size_t *count, struct bl_error *err)
{
    static const char *const statements[] = {
        [BL_STORE_ALL] = "SELECT " RECORD_COLUMNS " FROM boxes ORDER BY created_at_ms DESC, rowid DESC",
        [BL_STORE_CLAIM_TO_RUN] =
            "SELECT " RECORD_COLUMNS " FROM boxes WHERE status IN ('starting', 'running', 'stopping', 'paused')",
        [BL_STORE_GO_BY_THEMSELVES] = "SELECT " RECORD_COLUMNS " FROM boxes WHERE auto_remove = 1 OR auto_delete = 1",
        [BL_STORE_HAVE_A_POLICY] = "SELECT " RECORD_COLUMNS " FROM boxes WHERE restarts = 1",
    };
    HOLD(store); /* until after the statement is finished */
    cleanup_kept sqlite3_stmt *statement = NULL;
    struct bl_record *list = NULL;
    size_t length = 0, room = 0;
    int step;

    *out = NULL;
    *count = 0;
    if (prepare(store, statements[filter], &statement, err) < 0)
        return -1;
    while ((step = sqlite3_step(statement)) == SQLITE_ROW) {
        if (length == room) {
            room = room ? 2 * room : 16;

            struct bl_record *grown = realloc(list, room * sizeof *list);

            if (!grown) {
                bl_store_list_free(list, length);
                return bl_fail_memory(err);
            }
            list = grown;
        }
        if (read_row(statement, &list[length], err) < 0) {
            bl_store_list_free(list, length);
            return -1;
        }
        length++;
    }
    if (step != SQLITE_DONE) {
        bl_store_list_free(list, length);
        return database_error(store, "list boxes", err);
    }
    *out = list;
    *count = length;
    return 0;
}

void bl_store_list_free(struct bl_record *list, size_t count)
{
    for (size_t i = 0; i < count; i++)
        bl_record_free(&list[i]);
    free(list);
}

int bl_store_update(struct bl_store *store, const char *id, struct bl_state *state, struct bl_error *err)
{
    HOLD(store); /* until after the statement is finished */
    cleanup_kept sqlite3_stmt *statement = NULL;

    if (prepare(store,
                "UPDATE boxes SET generation = generation + 1, (" STATE_COLUMNS ") = (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
                " WHERE id = ? AND generation = ?",
                &statement, err) < 0)
        return -1;

    int at = bind_state(statement, 1, state);

    bind_text(statement, at, id);
    sqlite3_bind_int64(statement, at + 1, state->generation);
    if (sqlite3_step(statement) != SQLITE_DONE)
        return database_error(store, "change a box", err);
    if (!sqlite3_changes(store->db))
        return 0;
    state->generation++;
    return 1;
}

int bl_store_delete(struct bl_store *store, const char *id, struct bl_error *err)
{
    HOLD(store); /* until after the statement is finished */
    cleanup_kept sqlite3_stmt *statement = NULL;

    if (prepare(store, "DELETE FROM boxes WHERE id = ?", &statement, err) < 0)
        return -1;
    bind_text(statement, 1, id);
    return sqlite3_step(statement) == SQLITE_DONE ? 0 : database_error(store, "delete a box", err);
}
