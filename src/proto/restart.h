/* SPDX-License-Identifier: Apache-2.0 */
/*
 * restart.h - what becomes of a box whose workload has ended, or that died: the policies of --restart
 *
 * Nobody watches over boxes but their own shims, so two carry a policy out (docs/restart.md). The shim starts a workload that ended
 * again, in the same VM. When shim or VM died, the next command that changes something starts the box again. Both decide by the
 * functions here, and count in one number, which a start by hand sets back to 0.
 */
#ifndef BL_PROTO_RESTART_H
#define BL_PROTO_RESTART_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BL_RESTART_TEXT_MAX      32      /* bytes of a policy as text, with its NUL */
#define BL_RESTART_MOST          1000000 /* of on-failure:N */
#define BL_RESTART_DELAY_MS      100     /* before the first restart; doubled for each that follows */
#define BL_RESTART_DELAY_MOST_MS 60000
#define BL_RESTART_LONG_LIFE_MS  10000 /* a workload that lived that long begins with the first delay again */

#define BL_AUTO_MOST_MS (10ull * 366 * 86400 * 1000) /* the longest --auto-stop and --auto-delete: ten years */

enum bl_restart_kind { BL_RESTART_NO, BL_RESTART_ON_FAILURE, BL_RESTART_ALWAYS, BL_RESTART_UNLESS_STOPPED };

struct bl_restart {
    enum bl_restart_kind kind;
    uint32_t most; /* on-failure: how many restarts; 0: any number */
};

/* bl_restart_parse() - "no", "on-failure", "on-failure:N", "always", "unless-stopped". Return: 0; -1 */
int bl_restart_parse(const char *text, struct bl_restart *out);
/* bl_restart_format() - The way back. Return: @out, which has BL_RESTART_TEXT_MAX bytes */
const char *bl_restart_format(const struct bl_restart *restart, char *out);
/*
 * bl_restart_wanted() - Whether what has ended by itself is started again
 * @failed: it ended with another code than 0, was killed, or died with its VM
 * @count: how often it was started again already
 */
bool bl_restart_wanted(const struct bl_restart *restart, bool failed, uint32_t count);
/*
 * bl_restart_delay() - How long to wait before the next restart
 * @before_ms: the delay before the last one; 0: there was none
 * @life_ms: how long it lived since
 */
uint32_t bl_restart_delay(uint32_t before_ms, int64_t life_ms);

#endif
