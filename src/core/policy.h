/* SPDX-License-Identifier: Apache-2.0 */
/* policy.h - restart policies, as far as who comes next carries them out; docs/restart.md has the whole table */
#ifndef BL_CORE_POLICY_H
#define BL_CORE_POLICY_H

#include "core/judge.h"

/* bl_restarts_read() - How often a box was started again since it was started by hand; 0 when that is not known. */
uint32_t bl_restarts_read(struct bl_runtime *runtime, const struct bl_record *record);
/* bl_restarts_write() - Write that down. Return: 0; -1 with errno */
int bl_restarts_write(struct bl_runtime *runtime, const struct bl_record *record, uint32_t count);
/*
 * bl_policy_wants() - Whether a box that does not run shall be started now
 * @after_boot: as in bl_runtime_start_by_policy()
 */
bool bl_policy_wants(struct bl_runtime *runtime, const struct bl_record *record, const struct bl_verdict *verdict, bool after_boot);

#endif
