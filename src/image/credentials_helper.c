/* SPDX-License-Identifier: Apache-2.0 */
/*
 * credentials_helper.c - Docker's credential helpers
 *
 * A helper is a program docker-credential-<name> that gets the server's name on standard input and answers with JSON on
 * standard output. It is run without a shell, its name can't be a path, and it has a deadline. The question goes through a
 * memory file, so a helper that does not read it can't raise SIGPIPE in the program that uses this library; the child is waited
 * for by its own id only.
 */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/io.h"
#include "base/os.h"
#include "base/strings.h"
#include "image/credentials.h"

#define ANSWER_MAX_BYTES 65536
#define DEADLINE_MS      60000

/* is_helper_name() - A program's name, which can't lead anywhere but PATH. */
static bool is_helper_name(const char *name)
{
    size_t length = strlen(name);

    return length && length <= 64 && name[0] != '.' &&
           strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") == length;
}

/* make_question() - A file that holds the server's name, read from its start. Return: descriptor; -1 with errno */
static int make_question(const char *server)
{
    cleanup_close int fd = bl_os.memfd_create("credential-question", MFD_CLOEXEC);

    if (fd < 0 || bl_write_all(fd, server, strlen(server)) || bl_os.lseek(fd, 0, SEEK_SET) < 0)
        return -1;
    return bl_steal_fd(&fd);
}

/* spawn() - Start the helper. Return: 0; else an errno */
static int spawn(const char *program, int question, int answer, pid_t *pid)
{
    char get[] = "get";
    char *name = strdup(program);
    char *argv[] = {name, get, NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none, all;
    int result;

    if (!name)
        return ENOMEM;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    posix_spawn_file_actions_adddup2(&actions, question, 0);
    posix_spawn_file_actions_adddup2(&actions, answer, 1);
    posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_addclosefrom_np(&actions, 3);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &all);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    result = posix_spawnp(pid, program, &actions, &attributes, argv, environ);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    free(name);
    return result;
}

/* read_answer() - All that the helper says, until it closes. Return: 0; -1 with @err */
static int read_answer(int fd, const char *program, int cancel_fd, struct bl_buffer *out, struct bl_error *err)
{
    int64_t deadline = bl_deadline_in(DEADLINE_MS);
    struct pollfd polled[] = {{.fd = fd, .events = POLLIN}, {.fd = cancel_fd, .events = POLLIN}};

    for (;;) {
        int ready = bl_os.poll(polled, 2, bl_deadline_left(deadline));

        if (ready < 0 && errno != EINTR)
            return bl_fail(err, BL_INTERNAL, errno, "wait for %s", program);
        if (!ready)
            return bl_fail(err, BL_CONFIG, 0, "%s did not answer within %d s", program, DEADLINE_MS / 1000);
        if (ready > 0 && polled[1].revents)
            return bl_fail(err, BL_STOPPED, 0, "cancelled");
        if (ready < 0 || !polled[0].revents)
            continue;

        size_t room = bl_buffer_room(out);
        uint8_t *at = bl_buffer_reserve(out, room < 4096 ? room : 4096);
        ssize_t got = room && at ? bl_os.read(fd, at, room < 4096 ? room : 4096) : -1;

        if (!room || !at)
            return bl_fail(err, BL_CONFIG, 0, "the answer of %s is too long", program);
        if (!got)
            return 0;
        if (got < 0 && errno != EINTR)
            return bl_fail(err, BL_INTERNAL, errno, "read from %s", program);
        if (got > 0)
            bl_buffer_commit(out, (size_t)got);
    }
}

/*
 * reap() - Wait for the helper, which has said all it will; it is killed when it was given up or does not end
 *
 * Return: status of waitpid(); -1 when the program that uses this library reaped it
 */
static int reap(pid_t pid, bool patient)
{
    cleanup_close int process = bl_os.pidfd_open(pid, 0);
    struct pollfd polled = {.fd = process, .events = POLLIN};
    int status = -1, result;

    if (process >= 0 && bl_os.poll(&polled, 1, patient ? DEADLINE_MS : 0) < 1)
        bl_os.pidfd_send_signal(process, SIGKILL, NULL, 0);
    do
        result = bl_os.waitpid(pid, &status, 0);
    while (result < 0 && errno == EINTR);
    return result < 0 ? -1 : status;
}

/* understand() - The answer as a credential. @status: of waitpid(), or -1. Return: 0; -1 with @err */
static int understand(const char *program, int status, const struct bl_buffer *answer, struct bl_credential *out,
                      struct bl_error *err)
{
    const char *text = (const char *)bl_buffer_data(answer);
    static const char none[] = "credentials not found";
    json_t *root = answer->length ? json_loadb(text, answer->length, 0, NULL) : NULL;
    const char *user = json_string_value(json_object_get(root, "Username"));
    const char *secret = json_string_value(json_object_get(root, "Secret"));
    int result = 0;

    /* A program that reaps all children, this helper too, leaves no status: the answer counts. */
    if (status > 0 || !user || !secret) {
        bool unknown = answer->length && memmem(text, answer->length, none, sizeof none - 1);

        if (!unknown)
            result = bl_fail(err, BL_CONFIG, 0, "%s failed; try: echo SERVER | %s get", program, program);
    } else {
        bool identity = strcmp(user, "<token>") == 0;

        out->user = strdup(identity ? "" : user);
        out->secret = strdup(secret);
        out->kind = identity ? BL_CREDENTIAL_IDENTITY : BL_CREDENTIAL_PASSWORD;
        if (!out->user || !out->secret) {
            bl_credential_free(out);
            result = bl_fail_memory(err);
        }
    }
    json_decref(root);
    return result;
}

int bl_credential_ask_helper(const char *name, const char *server, int cancel_fd, struct bl_credential *out, struct bl_error *err)
{
    cleanup_free char *program = bl_format("docker-credential-%s", name);
    cleanup_buffer struct bl_buffer answer = BL_BUFFER_INIT(ANSWER_MAX_BYTES);
    cleanup_close int question = make_question(server);
    int pipe_fds[2], status;
    pid_t pid;

    if (!program)
        return bl_fail_memory(err);
    if (!is_helper_name(name))
        return bl_fail(err, BL_CONFIG, 0, "'%.64s' can't be the name of a credential helper", name);
    if (question < 0 || bl_os.pipe2(pipe_fds, O_CLOEXEC))
        return bl_fail(err, BL_INTERNAL, errno, "make pipes to %s", program);

    cleanup_close int reading = pipe_fds[0];
    int failure = spawn(program, question, pipe_fds[1], &pid);

    close(pipe_fds[1]);
    if (failure)
        return bl_fail(err, BL_CONFIG, failure, "run the credential helper %s", program);

    int result = read_answer(reading, program, cancel_fd, &answer, err);

    status = reap(pid, result == 0);
    if (!result)
        result = understand(program, status, &answer, out, err);
    if (answer.length)
        explicit_bzero(bl_buffer_data(&answer), answer.length);
    return result;
}
