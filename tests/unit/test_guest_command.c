/* SPDX-License-Identifier: Apache-2.0 */
/* test_guest_command.c - which program a command is, and why it is none */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/io.h"
#include "base/strings.h"
#include "guest/command.h"

static char directory[64];

static void make_file(const char *name, const char *text, mode_t mode)
{
    char path[128];

    snprintf(path, sizeof path, "%s/%s", directory, name);

    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

    assert_int_equal(bl_write_all(fd, text, strlen(text)), 0);
    assert_int_equal(fchmod(fd, mode), 0);
    close(fd);
}

static int make_directory(void **state)
{
    char path[128];

    (void)state;
    strcpy(directory, "/tmp/test-guest-command-XXXXXX");
    assert_non_null(mkdtemp(directory));
    snprintf(path, sizeof path, "%s/a", directory);
    assert_int_equal(mkdir(path, 0755), 0);
    snprintf(path, sizeof path, "%s/b", directory);
    assert_int_equal(mkdir(path, 0755), 0);
    snprintf(path, sizeof path, "%s/a/folder", directory);
    assert_int_equal(mkdir(path, 0755), 0);
    make_file("a/plain", "text", 0644);
    make_file("b/plain", "#!/bin/sh\nexit 42\n", 0755);
    make_file("b/folder", "#!/bin/sh\nexit 43\n", 0755);
    make_file("a/lost", "#!/no/such/interpreter\n", 0755);
    make_file("a/refused", "text", 0644);
    make_file("a/shapeless", "text", 0755);
    return 0;
}

static int remove_directory(void **state)
{
    (void)state;
    return bl_remove_tree(AT_FDCWD, directory);
}

/* run() - Execute in a child. @message: shared memory for why not. Return: exit code of the command, or why it is none */
static int run(const char *name, const char *path, char *message)
{
    pid_t child = fork();

    if (child == 0) {
        struct bl_error err = BL_ERROR_INIT;
        char *args[] = {strdup(name), NULL};
        char *env[] = {path ? bl_format("PATH=%s", path) : NULL, NULL};
        int code = bl_command_exec(args, env, &err);

        snprintf(message, sizeof err.message, "%s", err.message);
        _exit(code);
    }

    int status = 0;

    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void test_commands(void **state)
{
    char both[200], only_a[128], absolute[128];
    char *message = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    (void)state;
    snprintf(both, sizeof both, "/nowhere:%s/a:%s/b", directory, directory);
    snprintf(only_a, sizeof only_a, "%s/a", directory);
    snprintf(absolute, sizeof absolute, "%s/a/refused", directory);

    const struct {
        const char *name, *path, *words;
        int code;
    } cases[] = {
        {"plain", both, "", 42},  /* one that can't be executed comes before it */
        {"folder", both, "", 43}, /* and here a directory */
        {"plain", only_a, "permission denied", BL_EXIT_NOT_EXECUTABLE},
        {"folder", only_a, "not found in $PATH", BL_EXIT_NOT_FOUND},
        {"lost", both, "interpreter", BL_EXIT_NOT_FOUND},
        {"shapeless", both, "exec format error", BL_EXIT_NOT_EXECUTABLE},
        {absolute, both, "permission denied", BL_EXIT_NOT_EXECUTABLE},
        {directory, both, "is a directory", BL_EXIT_NOT_EXECUTABLE},
        {"/no/such", both, "not found", BL_EXIT_NOT_FOUND},
        {"none", both, "\"none\": executable file not found in $PATH", BL_EXIT_NOT_FOUND},
        {"none", "", "not found", BL_EXIT_NOT_FOUND},
        {"", both, "not found", BL_EXIT_NOT_FOUND},
        {"true", NULL, "", 0}, /* the default PATH */
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        message[0] = '\0';
        assert_int_equal(run(cases[i].name, cases[i].path, message), cases[i].code);
        if (!strstr(message, cases[i].words))
            fail_msg("%s: %s", cases[i].name, message);
    }
    munmap(message, 4096);
}

static void test_long_path(void **state)
{
    char *message = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    char path[20000], name[6000];

    (void)state;
    memset(path, 'p', sizeof path - 1);
    path[sizeof path - 1] = '\0';
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    assert_int_equal(run("x", path, message), BL_EXIT_NOT_FOUND);
    assert_int_equal(run(name, path, message), BL_EXIT_NOT_FOUND);
    munmap(message, 4096);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_commands),
        cmocka_unit_test(test_long_path),
    };

    return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
