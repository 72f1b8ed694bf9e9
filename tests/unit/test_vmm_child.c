/* SPDX-License-Identifier: Apache-2.0 */
/* test_vmm_child.c - the emulator's process: it does not outlive who started it, and gets the descriptors that it needs */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "vmm/qemu/qemu.h"

/* Stands for QEMU: it says "up" as the agent would, and "late" if it lives when it is told something on the console. */
static const char stub[] = "#!/bin/sh\necho up >&4\nread line <&5\necho late >&4\n";

static char program[] = "/tmp/boxlite-emulator-XXXXXX";

static void ended(enum bl_engine_end how, const char *message, void *data)
{
    (void)how;
    (void)message;
    (void)data;
}

/* start_and_wait() - A process that starts the stub, and then does nothing until it is killed. */
__attribute__((noreturn)) static void start_and_wait(int agent_fd, int console_fd)
{
    static const struct bl_engine_events events = {.ended = ended};
    struct bl_engine_config config = {.name = "stub",
                                      .cpus = 1,
                                      .memory_bytes = 64u << 20,
                                      .kernel = "/nonexistent",
                                      .initramfs = "/nonexistent",
                                      .command_line = "",
                                      .agent_fd = agent_fd,
                                      .console_fd = console_fd,
                                      .memory_fd = -1,
                                      .saved_fd = -1};
    struct bl_engine_choice choice = {0};
    struct bl_engine *engine = NULL;
    struct bl_loop loop;

    snprintf(choice.program, sizeof choice.program, "%s", program);
    if (bl_loop_init(&loop) < 0 || bl_qemu_start(&loop, &choice, &config, &events, NULL, &engine, NULL) < 0)
        _exit(1);
    close(agent_fd);
    close(console_fd);
    for (;;)
        pause();
}

static void test_it_dies_with_who_started_it(void **state)
{
    char said[16] = "";
    int agent[2], console[2], status;

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, agent), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, console), 0);

    pid_t starter = fork();

    if (starter == 0)
        start_and_wait(agent[1], console[1]);
    assert_true(starter > 0);
    close(agent[1]);
    close(console[1]);
    assert_int_equal(bl_read_all(agent[0], said, 3), 3);
    assert_string_equal(said, "up\n");

    /* Its death signal was sent before its parent could be reaped: from here on it does nothing more, whatever it is told. */
    assert_int_equal(kill(starter, SIGKILL), 0);
    assert_int_equal(waitpid(starter, &status, 0), starter);
    assert_true(WIFSIGNALED(status));
    (void)send(console[0], "go\n", 3, MSG_NOSIGNAL);
    assert_int_equal(bl_read_all(agent[0], said, sizeof said), 0);
    close(agent[0]);
    close(console[0]);
}

static int write_stub(void **state)
{
    int fd = mkstemp(program);

    (void)state;
    return fd < 0 || bl_write_all(fd, stub, strlen(stub)) < 0 || fchmod(fd, 0700) < 0 || close(fd) < 0 ? -1 : 0;
}

static int remove_stub(void **state)
{
    (void)state;
    return unlink(program);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_it_dies_with_who_started_it),
    };

    return cmocka_run_group_tests(tests, write_stub, remove_stub);
}
