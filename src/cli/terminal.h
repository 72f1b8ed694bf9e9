/* SPDX-License-Identifier: Apache-2.0 */
/*
 * terminal.h - the terminal's raw mode and the signals of an interactive command
 *
 * Raw mode is left on every way out: bl_terminal_restore() is called when the session ends, at exit, before the process stops
 * (SIGTSTP), and by handlers of the signals that mean a crash. Only SIGKILL can leave a terminal raw.
 */
#ifndef BL_CLI_TERMINAL_H
#define BL_CLI_TERMINAL_H

#include <stdbool.h>
#include <stdint.h>

/*
 * bl_signals_catch() - Block the signals that a person or a supervisor sends, and read them from a descriptor instead
 *
 * INT, TERM, HUP, QUIT end what waits (the descriptor is a cancel_fd of the library). Call before any thread starts.
 *
 * Return: signalfd; -1 when the kernel has none left (the signals then do what they always do)
 */
int bl_signals_catch(void);
/*
 * bl_signals_catch_all() - Add those that only a running command wants: WINCH, TSTP, CONT, USR1, USR2
 * @all: false: take them out again, so that the descriptor may cancel something
 */
void bl_signals_catch_all(int signal_fd, bool all);
/* bl_signals_take() - The next signal that came. Return: its number; 0: none waits */
int bl_signals_take(int signal_fd);

/* bl_terminal_raw() - Switch standard input to raw mode. Return: 0; -1 with errno */
int bl_terminal_raw(void);
/* bl_terminal_restore() - Back to what it was; does nothing when it is not raw. Async-signal-safe. */
void bl_terminal_restore(void);
/* bl_terminal_size() - Rows and columns of the terminal at @fd. Return: whether there is one */
bool bl_terminal_size(int fd, uint16_t *rows, uint16_t *columns);

#endif
