/* SPDX-License-Identifier: Apache-2.0 */
/*
 * login.c - boxlite login and logout
 *
 * The password comes from standard input: typed without an echo at a terminal, or all of a pipe. There is no option for it,
 * since what stands in a command line is seen by everybody on the machine.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/strings.h"
#include "cli/cli.h"
#include "image/image.h"

#define REGISTRY     "docker.io"
#define SECRET_MAX   4096
#define PROMPT_USER  "Username: "
#define PROMPT_TOKEN "Password: "

struct login_values {
    const char *user;
    bool password_stdin;
};

/* read_line() - One line of standard input, byte by byte, since what follows is another's. Return: 0; -1 with errno */
static int read_line(char *line, size_t size)
{
    size_t length = 0;

    for (;;) {
        char c;
        ssize_t got = read(STDIN_FILENO, &c, 1);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -1;
        if (!got || c == '\n')
            break;
        if (length + 1 == size || !c) {
            errno = EINVAL;
            return -1;
        }
        line[length++] = c;
    }
    if (length && line[length - 1] == '\r')
        length--;
    line[length] = '\0';
    return 0;
}

/* ask() - Ask a person. @secret: without an echo. Return: 0; -1 with errno */
static int ask(const char *prompt, bool secret, char *line, size_t size)
{
    struct termios before, silent;
    bool terminal = secret && tcgetattr(STDIN_FILENO, &before) == 0;
    int result, saved;

    fputs(prompt, stderr);
    fflush(stderr);
    if (terminal) {
        silent = before;
        silent.c_lflag &= ~(tcflag_t)ECHO;
        tcsetattr(STDIN_FILENO, TCSAFLUSH, &silent);
    }
    result = read_line(line, size);
    saved = errno;
    if (terminal) {
        tcsetattr(STDIN_FILENO, TCSAFLUSH, &before);
        fputc('\n', stderr);
    }
    errno = saved;
    return result;
}

/* read_piped() - All of standard input, without a newline at its end. Return: 0; -1 with errno */
static int read_piped(char *secret, size_t size)
{
    ssize_t got = bl_read_all(STDIN_FILENO, secret, size);

    if (got < 0)
        return -1;
    if ((size_t)got == size || memchr(secret, '\0', (size_t)got)) {
        errno = EINVAL;
        return -1;
    }
    while (got && (secret[got - 1] == '\n' || secret[got - 1] == '\r'))
        got--;
    secret[got] = '\0';
    return 0;
}

static int log_in(struct bl_cli *cli, const char *host, const char *user, const char *secret)
{
    struct bl_error err = BL_ERROR_INIT;

    if (bl_images_login(bl_runtime_images(cli->runtime), &cli->config, host, user, secret, cli->signal_fd, &err))
        return bl_cli_fail(cli, &err);
    puts("Login Succeeded");
    return 0;
}

static int run_login(struct bl_cli *cli, void *data)
{
    const struct login_values *values = data;
    const char *host = cli->operands.count ? cli->operands.list[0] : REGISTRY;
    char typed[SECRET_MAX], secret[SECRET_MAX];
    const char *user = values->user;
    int code;

    if (!bl_is_registry_host(host))
        return bl_cli_usage(cli, "'%s' is no registry: give a host or host:port", host);
    if (!isatty(STDIN_FILENO) && !values->password_stdin)
        return bl_cli_usage(cli, "standard input is no terminal: use --password-stdin");
    if (!user && values->password_stdin)
        return bl_cli_usage(cli, "--password-stdin needs --username");
    if (!bl_cli_open(cli))
        return BL_EXIT_FAILURE;
    if (!user) {
        if (ask(PROMPT_USER, false, typed, sizeof typed)) {
            bl_cli_complain("read the user name: %s", strerror(errno));
            return BL_EXIT_FAILURE;
        }
        user = typed;
    }
    if (values->password_stdin ? read_piped(secret, sizeof secret) : ask(PROMPT_TOKEN, true, secret, sizeof secret)) {
        bl_cli_complain("read the password: %s", strerror(errno));
        return BL_EXIT_FAILURE;
    }
    code = log_in(cli, host, user, secret);
    explicit_bzero(secret, sizeof secret);
    return code;
}

static int run_logout(struct bl_cli *cli, void *data)
{
    const char *host = cli->operands.count ? cli->operands.list[0] : REGISTRY;
    struct bl_error err = BL_ERROR_INIT;
    int result;

    (void)data;
    if (!bl_is_registry_host(host))
        return bl_cli_usage(cli, "'%s' is no registry: give a host or host:port", host);
    if (!bl_cli_open(cli))
        return BL_EXIT_FAILURE;
    result = bl_images_logout(bl_runtime_images(cli->runtime), host, &err);
    if (result < 0)
        return bl_cli_fail(cli, &err);
    printf(result ? "Removed the login for %s\n" : "There is no login for %s\n", host);
    return 0;
}

static const struct bl_option options[] = {
    {"username", 'u', BL_OPTION_TEXT, "USER", "Who logs in; asked for when missing", offsetof(struct login_values, user)},
    {"password-stdin", 0, BL_OPTION_FLAG, NULL, "Take all of standard input as the password",
     offsetof(struct login_values, password_stdin)},
    {NULL},
};

const struct bl_command bl_command_login = {
    .name = "login",
    .summary = "Log in to a registry",
    .usage = "[OPTIONS] [REGISTRY]",
    .about = "Without REGISTRY: docker.io. The login is tried, and kept in\n"
             "~/.config/boxlite/auth.json, which only you can read.",
    .example = "boxlite login -u me\n"
               "boxlite login -u ci --password-stdin localhost:5000 <token-file",
    .options = options,
    .values_bytes = sizeof(struct login_values),
    .most_operands = 1,
    .run = run_login,
};

const struct bl_command bl_command_logout = {
    .name = "logout",
    .summary = "Forget the login to a registry",
    .usage = "[REGISTRY]",
    .example = "boxlite logout localhost:5000",
    .most_operands = 1,
    .run = run_logout,
};
