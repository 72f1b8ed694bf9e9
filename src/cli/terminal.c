/* SPDX-License-Identifier: Apache-2.0 */
/* terminal.c - see terminal.h */
#include "cli/terminal.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <termios.h>
#include <unistd.h>

static struct termios saved;
static volatile sig_atomic_t is_raw;

static void add_cancelling(sigset_t *set)
{
    sigaddset(set, SIGINT);
    sigaddset(set, SIGTERM);
    sigaddset(set, SIGHUP);
    sigaddset(set, SIGQUIT);
}

int bl_signals_catch(void)
{
    sigset_t set;

    sigemptyset(&set);
    add_cancelling(&set);

    int fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);

    if (fd >= 0)
        sigprocmask(SIG_BLOCK, &set, NULL);
    return fd;
}

void bl_signals_catch_all(int signal_fd, bool all)
{
    static const int more[] = {SIGWINCH, SIGTSTP, SIGCONT, SIGUSR1, SIGUSR2};
    sigset_t set;

    if (signal_fd < 0)
        return;
    sigemptyset(&set);
    add_cancelling(&set);
    for (unsigned int i = 0; all && i < sizeof more / sizeof *more; i++)
        sigaddset(&set, more[i]);
    if (signalfd(signal_fd, &set, SFD_CLOEXEC | SFD_NONBLOCK) >= 0)
        sigprocmask(SIG_BLOCK, &set, NULL);
}

int bl_signals_take(int signal_fd)
{
    struct signalfd_siginfo info;

    if (signal_fd < 0 || read(signal_fd, &info, sizeof info) != (ssize_t)sizeof info)
        return 0;
    return (int)info.ssi_signo;
}

/* crashed() - Give the terminal back, then die as if nobody had caught it */
static void crashed(int signal_number)
{
    bl_terminal_restore();
    signal(signal_number, SIG_DFL);
    raise(signal_number);
}

int bl_terminal_raw(void)
{
    static const int crashes[] = {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL};
    static bool prepared;
    struct termios raw;

    if (is_raw)
        return 0;
    if (tcgetattr(STDIN_FILENO, &saved) < 0)
        return -1;
    if (!prepared) {
        struct sigaction action = {.sa_handler = crashed};

        for (unsigned int i = 0; i < sizeof crashes / sizeof *crashes; i++)
            sigaction(crashes[i], &action, NULL);
        atexit(bl_terminal_restore);
        prepared = true;
    }
    raw = saved;
    cfmakeraw(&raw);
    /* Set before the switch: a signal between the two would leave the terminal raw. */
    is_raw = 1;
    if (tcsetattr(STDIN_FILENO, TCSANOW, &raw) < 0) {
        is_raw = 0;
        return -1;
    }
    return 0;
}

void bl_terminal_restore(void)
{
    int kept = errno;

    if (is_raw) {
        is_raw = 0;
        tcsetattr(STDIN_FILENO, TCSANOW, &saved);
    }
    errno = kept;
}

bool bl_terminal_size(int fd, uint16_t *rows, uint16_t *columns)
{
    struct winsize size;

    if (ioctl(fd, TIOCGWINSZ, &size) < 0)
        return false;
    *rows = size.ws_row;
    *columns = size.ws_col;
    return true;
}
