/* SPDX-License-Identifier: Apache-2.0 */
/*
 * policy.c - starting boxes again that died with their shim, their VM or the machine
 *
 * Their shims start workloads again that ended (shim/box.c). What is left is for whoever comes next: a command that changes
 * something, once it is done with its own work, or `boxlite start --by-policy` after the machine was started. A box is wanted from
 * its start until something ends it that was meant to: a stop, or the end of its workload that the policy takes for final. So a box
 * that does not run and still is wanted has died.
 *
 * What dies again and again must not cost every command a boot: like the shim's, the delay grows with the number of restarts. It is
 * counted from the last start, and nobody waits for it.
 */
#include "core/policy.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "base/os.h"
#include "base/strings.h"
#include "core/change.h"
#include "proto/launch.h"

#define NUMBER_MAX 16 /* bytes of a count */

uint32_t bl_restarts_read(struct bl_runtime *runtime, const struct bl_record *record)
{
    cleanup_buffer struct bl_buffer text = BL_BUFFER_INIT(NUMBER_MAX);
    char path[BL_BOX_ID_LENGTH + 64];
    long long count = 0;

    if (!record->restart.kind)
        return 0;
    snprintf(path, sizeof path, "%s/%s", record->id, BL_FILE_RESTARTS);
    if (bl_read_file(runtime->boxes_fd, path, &text) < 0 || !text.length || bl_buffer_append(&text, "", 1) < 0)
        return 0;

    char *number = (char *)bl_buffer_data(&text);

    number[strcspn(number, "\n")] = '\0';
    return bl_parse_number(number, 0, UINT32_MAX - 1, &count) < 0 ? 0 : (uint32_t)count;
}

int bl_restarts_write(struct bl_runtime *runtime, const struct bl_record *record, uint32_t count)
{
    cleanup_close int box_fd =
        record->restart.kind ? bl_os.openat(runtime->boxes_fd, record->id, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW) : -1;
    char text[NUMBER_MAX];

    if (!record->restart.kind)
        return 0;
    if (box_fd < 0)
        return -1;
    if (!count)
        return bl_os.unlinkat(box_fd, BL_FILE_RESTARTS, 0) < 0 && errno != ENOENT ? -1 : 0;
    return bl_write_file(box_fd, BL_FILE_RESTARTS, text, (size_t)snprintf(text, sizeof text, "%u\n", count), 0600);
}

bool bl_policy_wants(struct bl_runtime *runtime, const struct bl_record *record, const struct bl_verdict *verdict, bool after_boot)
{
    const struct bl_state *state = &record->state;

    if (!record->restart.kind || !bl_has_ended(record, verdict))
        return false;
    /* Stopped by hand, and not in this life of the machine. */
    if (!state->wanted)
        return after_boot && record->restart.kind == BL_RESTART_ALWAYS && *state->shim.boot_id && *bl_boot_id() &&
               strcmp(state->shim.boot_id, bl_boot_id()) != 0;

    uint32_t count = bl_restarts_read(runtime, record), delay = 0;

    if (!bl_restart_wanted(&record->restart, true, count))
        return false;
    if (after_boot || !count)
        return true;
    for (uint32_t i = 0; i < count && delay < BL_RESTART_DELAY_MOST_MS; i++)
        delay = bl_restart_delay(delay, 0);

    /* A start that failed has no beginning. A clock that was set back delays nothing. */
    int64_t passed = bl_epoch_ms() - (state->started_at_ms ? state->started_at_ms : state->ended_at_ms);

    return passed >= delay || passed < 0;
}

int bl_runtime_start_by_policy(struct bl_runtime *runtime, const struct bl_start_options *options, bool after_boot,
                               void (*told)(const char *id, const char *name, const struct bl_error *err, void *data), void *data,
                               struct bl_error *err)
{
    struct bl_start_options start = *options;
    struct bl_record *list;
    size_t count;
    int failed = 0;

    start.by_policy = true;
    start.after_boot = after_boot;
    if (bl_runtime_check(runtime, err) < 0 || bl_store_list(runtime->store, BL_STORE_HAVE_A_POLICY, &list, &count, err) < 0)
        return -1;
    for (size_t i = 0; i < count && !failed; i++) {
        struct bl_error why = BL_ERROR_INIT;
        struct bl_verdict verdict;

        /* One that can't be judged does not keep the others from being started. */
        if (bl_judge(runtime, &list[i], BL_JUDGE_LOOK, &verdict, NULL) < 0 ||
            !bl_policy_wants(runtime, &list[i], &verdict, after_boot))
            continue;
        bl_log(BL_LOG_INFO, "box %s: it died, and its restart policy wants it to run", list[i].id);

        int started = bl_box_start(runtime, list[i].id, &start, &why);

        if (started < 0 && why.code == BL_STOPPED)
            failed = bl_fail(err, BL_STOPPED, 0, "%s", why.message);
        else if (told && why.code != BL_NOT_FOUND)
            told(list[i].id, list[i].name, started < 0 ? &why : NULL, data);
    }
    bl_store_list_free(list, count);
    return failed;
}
