/* SPDX-License-Identifier: Apache-2.0 */
/*
 * record.h - what is kept of a box in the home's database
 *
 * A record has two halves. What the box shall be is written once, when it is created. Its state changes with its life; each
 * change counts the generation up and is made only if nobody else changed it meanwhile, so that a program that judged an older
 * state never overwrites the news of a newer one.
 */
#ifndef BL_CORE_RECORD_H
#define BL_CORE_RECORD_H

#include <stdbool.h>
#include <stdint.h>

#include "core/core.h"
#include "core/identity.h"
#include "proto/restart.h"

/* What changes. Owned strings. */
struct bl_state {
    int64_t generation;
    enum bl_box_status status;
    struct bl_process shim;             /* who runs it; pid 0: nobody, or not known; the boot id stays, of its last run */
    int64_t started_at_ms, ended_at_ms; /* since the epoch; 0: never */
    bool has_exit_code;
    int exit_code;
    bool out_of_memory;
    bool wanted;   /* somebody started it, and nothing has ended it since that was meant to: a restart policy may start it again */
    char *reason;  /* why it ended as it did; NULL: as expected */
    char *console; /* the console's last lines after a crash; NULL: none */
};

/* One box. Owned strings and lists; lists are never NULL. */
struct bl_record {
    char id[BL_BOX_ID_LENGTH + 1];
    char *name; /* NULL: none */
    int64_t created_at_ms;
    int64_t create_ms; /* what that took */

    char *image; /* as people write it; the path of a rootfs */
    char *image_digest;
    char *engine;
    char *kernel;   /* the user's own; NULL: the product's */
    char **command; /* entrypoint and command; empty: it idles */
    char **env;
    char *workdir, *user; /* NULL: the guest's defaults, "/" and root */
    unsigned int stop_signal;
    unsigned int cpus, memory_mib;
    uint64_t disk_bytes;
    bool tty, open_stdin, detach, auto_remove;
    char **cap_add, **cap_drop; /* normalized (core/capabilities.h) */
    bool unconfined;            /* its emulator runs without the sandbox around it */
    bool no_auto_resume;        /* no exec and no copy starts it once it has stopped */
    struct bl_restart restart;
    int64_t auto_stop_ms;   /* end it when no client used it for so long; 0: never */
    int64_t auto_delete_ms; /* remove it so long after its end; 0: never */

    struct bl_state state;
};

void bl_state_free(struct bl_state *state);
/* bl_state_no_shim() - Nobody runs the box any more; in which boot of the machine it ran stays known. */
void bl_state_no_shim(struct bl_state *state);
void bl_record_free(struct bl_record *record);
#define cleanup_record __attribute__((cleanup(bl_record_free)))

/* bl_record_is_job() - Whether the box has a command of its own, so that nothing but a start may run it. */
static inline bool bl_record_is_job(const struct bl_record *record)
{
    return record->command && record->command[0];
}

/* bl_record_encode() - The unchanging half as JSON. Return: allocated; NULL when memory ran out */
char *bl_record_encode(const struct bl_record *record);
/* bl_record_decode() - Fill in the unchanging half. Return: 0; -1 with BL_METADATA (free the record all the same) */
int bl_record_decode(const char *json, struct bl_record *record, struct bl_error *err);

#endif
