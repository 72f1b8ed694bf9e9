/* SPDX-License-Identifier: Apache-2.0 */
/* notice.h - the line that says a box runs on software emulation */
#ifndef BL_CLI_NOTICE_H
#define BL_CLI_NOTICE_H

#include "cli/cli.h"

/*
 * bl_notice_ask() - Let a start print its notice, if now is the time for it
 *
 * That is when standard error is a terminal, at most once a day for one home: scripts and pipes stay quiet, and a person is
 * told without being nagged. When it was told last is the time of <home>/.engine-notice.
 */
void bl_notice_ask(struct bl_cli *cli, struct bl_start_options *start);

#endif
