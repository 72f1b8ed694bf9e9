/* SPDX-License-Identifier: Apache-2.0 */
/*
 * log.h - what happens, for people who look into it
 *
 * The library prints nothing: lines go to a handler that the program sets, and nowhere when there is none. Programs of ours
 * (shim, command) set one. Values that can be secret (environment, configuration) are never logged.
 */
#ifndef BL_BASE_LOG_H
#define BL_BASE_LOG_H

enum bl_log_level { BL_LOG_ERROR, BL_LOG_WARN, BL_LOG_INFO, BL_LOG_DEBUG };

typedef void (*bl_log_handler)(enum bl_log_level level, const char *line, void *data);

/* bl_log_set() - Set the handler of this process and the most talkative level that reaches it. Set before threads start. */
void bl_log_set(bl_log_handler handler, void *data, enum bl_log_level most);
/* bl_log() - One line, without a newline. */
void bl_log(enum bl_log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
const char *bl_log_level_name(enum bl_log_level level);

#endif
