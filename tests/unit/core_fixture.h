/* SPDX-License-Identifier: Apache-2.0 */
/*
 * core_fixture.h - a home and a runtime directory with the stand-in shim, for tests of the runtime
 *
 * One home serves all tests of a program; each test makes boxes of its own. The teardown fails the program when a process of the
 * stand-in, or a zombie, is left.
 */
#ifndef BL_TESTS_CORE_FIXTURE_H
#define BL_TESTS_CORE_FIXTURE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "core/runtime.h"

#define WAIT_MS 120000 /* deadline of everything that a test waits for: generous, for loaded machines */

extern char fixture_home[64];
extern char fixture_runtime_dir[64];

int fixture_setup(void **state);
int fixture_teardown(void **state);
/* fixture_open() - One more runtime on the home. */
struct bl_runtime *fixture_open(void);
/* fixture_runtime - The one of a test that is set up by fixture_open_runtime() and torn down by fixture_close_runtime(). */
extern struct bl_runtime *fixture_runtime;
int fixture_open_runtime(void **state);
int fixture_close_runtime(void **state);
#define WITH_A_RUNTIME(name) cmocka_unit_test_setup_teardown(name, fixture_open_runtime, fixture_close_runtime)
/* fixture_box() - A box whose shim behaves as @mode says (tests/tools/stand-in-shim.c); NULL: an idle one, that just runs. */
void fixture_box(struct bl_runtime *runtime, const char *mode, bool detach, char *id);
/* fixture_start() - Start it, which must succeed. Return: pid of its shim */
pid_t fixture_start(struct bl_runtime *runtime, const char *id);
/* fixture_inspect() - Its record, judged. Free with bl_box_info_free(). */
struct bl_box_info fixture_inspect(struct bl_runtime *runtime, const char *id);
/* fixture_state() - Overwrite what is recorded of it, as an older program could have left it. */
void fixture_state(struct bl_runtime *runtime, const char *id, enum bl_box_status status, const struct bl_process *shim);
/* fixture_process() - A process as it would be recorded. */
struct bl_process fixture_process(pid_t pid);
/* fixture_kill() - SIGKILL, and wait until the process has ended (not until it is reaped). */
void fixture_kill(pid_t pid);
/* fixture_wait_gone() - Wait until a process has ended. */
void fixture_wait_gone(pid_t pid);
/* fixture_path() - Path of a file of a box. Static storage. */
const char *fixture_path(const char *id, const char *name);
/* fixture_write() / fixture_read() - A file of a box. fixture_read(): static storage, empty when it is missing. */
void fixture_write(const char *id, const char *name, const char *text);
const char *fixture_read(const char *id, const char *name);
/* fixture_shims() - Number of live processes whose command line is that of a shim of @id (NULL: of any) below our runtime
 * directory. */
int fixture_shims(const char *id);

/* A process of ours that holds a lock until its descriptor is closed. */
struct holder {
    pid_t pid;
    int release_fd;
};
/* hold_posix() - A child process that holds shim.lock; with @look its command line is that of the box's shim. */
struct holder hold_posix(const char *id);
/* hold_ofd() - A child process that holds an open-file-description lock on a range of a file of the box. */
struct holder hold_ofd(const char *id, const char *name, short type, off_t start, off_t length);
/* let_go() - End it and reap it. */
void let_go(struct holder *holder);

#endif
