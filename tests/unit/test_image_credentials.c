/* SPDX-License-Identifier: Apache-2.0 */
/* test_image_credentials.c - logins: our file, Docker's file, helpers that are programs */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/io.h"
#include "image/credentials.h"

static char place[] = "/tmp/bl-credentials-XXXXXX";

static void write_text(const char *name, const char *text, mode_t mode)
{
    char path[256];

    snprintf(path, sizeof path, "%s/%s", place, name);

    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);

    assert_true(fd >= 0);
    assert_int_equal(bl_write_all(fd, text, strlen(text)), 0);
    close(fd);
}

/* Each test has a home of its own, with nothing in it. */
static int set_up(void **state)
{
    char path[256];

    (void)state;
    strcpy(place + strlen(place) - 6, "XXXXXX");
    if (!mkdtemp(place))
        return -1;
    setenv("HOME", place, 1);
    unsetenv("XDG_CONFIG_HOME");
    snprintf(path, sizeof path, "%s/docker", place);
    mkdir(path, 0700);
    setenv("DOCKER_CONFIG", path, 1);
    snprintf(path, sizeof path, "%s:/usr/bin:/bin", place);
    setenv("PATH", path, 1);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    return bl_remove_tree(AT_FDCWD, place);
}

static struct bl_credential find(const char *host)
{
    struct bl_credential credential;
    struct bl_error err = BL_ERROR_INIT;

    if (bl_credential_find(NULL, host, -1, &credential, &err))
        fail_msg("%s", err.message);
    return credential;
}

static void expect(const char *host, enum bl_credential_kind kind, const char *user, const char *secret)
{
    struct bl_credential credential = find(host);

    assert_int_equal(credential.kind, kind);
    if (kind != BL_CREDENTIAL_NONE) {
        assert_string_equal(credential.user, user);
        assert_string_equal(credential.secret, secret);
    }
    bl_credential_free(&credential);
}

static void nothing_is_known_at_first(void **state)
{
    (void)state;
    expect("docker.io", BL_CREDENTIAL_NONE, NULL, NULL);
}

static void login_is_kept_private_and_logout_forgets(void **state)
{
    (void)state;
    struct bl_error err = BL_ERROR_INIT;
    struct stat status;
    char path[256];

    assert_int_equal(bl_credential_store("localhost:5000", "me", "s:e:c", &err), 0);
    assert_int_equal(bl_credential_store("docker.io", "hub", "", &err), 0);
    expect("localhost:5000", BL_CREDENTIAL_PASSWORD, "me", "s:e:c");
    expect("docker.io", BL_CREDENTIAL_PASSWORD, "hub", "");
    expect("localhost", BL_CREDENTIAL_NONE, NULL, NULL);
    snprintf(path, sizeof path, "%s/.config/boxlite/auth.json", place);
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0600);
    assert_int_equal(bl_credential_erase("localhost:5000", &err), 1);
    assert_int_equal(bl_credential_erase("localhost:5000", &err), 0);
    expect("localhost:5000", BL_CREDENTIAL_NONE, NULL, NULL);
    expect("docker.io", BL_CREDENTIAL_PASSWORD, "hub", "");
    assert_int_equal(bl_credential_store("x", "a:b", "s", &err), -1);
    assert_int_equal(err.code, BL_INVALID_ARGUMENT);
}

static void logins_at_once_all_stay(void **state)
{
    (void)state;
    pid_t children[8];

    for (int i = 0; i < 8; i++) {
        children[i] = fork();
        assert_true(children[i] >= 0);
        if (!children[i]) {
            char host[32];

            snprintf(host, sizeof host, "host%d", i);
            _exit(bl_credential_store(host, "u", host, NULL) ? 1 : 0);
        }
    }
    for (int i = 0; i < 8; i++) {
        char host[32];
        int status;

        assert_int_equal(waitpid(children[i], &status, 0), children[i]);
        assert_int_equal(status, 0);
        snprintf(host, sizeof host, "host%d", i);
        expect(host, BL_CREDENTIAL_PASSWORD, "u", host);
    }
}

static void dockers_file_is_understood(void **state)
{
    (void)state;
    struct bl_error err = BL_ERROR_INIT;
    struct bl_credential credential;

    /* aHVi is "hub", so "aHViOnB3" is hub:pw and "aTpzZWNyZXQ=" i:secret. */
    write_text("docker/config.json",
               "{\"auths\": {\"https://index.docker.io/v1/\": {\"auth\": \"aHViOnB3\"}, \"i\": {\"auth\": \"aTpzZWNyZXQ=\"},"
               "\"https://url\": {\"username\": \"u\", \"password\": \"p\"}, \"id\": {\"identitytoken\": \"refresh\"},"
               "\"bad\": {\"auth\": \"%%%%\"}, \"nocolon\": {\"auth\": \"aHVi\"}, \"empty\": {}}}",
               0600);
    expect("docker.io", BL_CREDENTIAL_PASSWORD, "hub", "pw");
    expect("i", BL_CREDENTIAL_PASSWORD, "i", "secret");
    expect("url", BL_CREDENTIAL_PASSWORD, "u", "p");
    expect("id", BL_CREDENTIAL_IDENTITY, "", "refresh");
    expect("empty", BL_CREDENTIAL_NONE, NULL, NULL);
    assert_int_equal(bl_credential_find(NULL, "bad", -1, &credential, &err), -1);
    assert_int_equal(err.code, BL_CONFIG);
    assert_int_equal(bl_credential_find(NULL, "nocolon", -1, &credential, &err), -1);
    write_text("docker/config.json", "{\"auths\": {\"i\": {\"auth\": \"aTpzZWNyZXQ=\"", 0600);
    assert_int_equal(bl_credential_find(NULL, "i", -1, &credential, &err), -1);
    assert_null(strstr(err.message, "aTpz"));
    /* Our own login goes first, and then Docker's file is not even read. */
    assert_int_equal(bl_credential_store("i", "mine", "own", &err), 0);
    expect("i", BL_CREDENTIAL_PASSWORD, "mine", "own");
}

static void helpers_are_asked_without_a_shell(void **state)
{
    (void)state;
    struct bl_error err = BL_ERROR_INIT;
    struct bl_credential credential;

    write_text("docker-credential-good",
               "#!/bin/sh\n[ \"$1\" = get ] || exit 9\nread -r server\n"
               "[ \"$server\" = none ] && { echo 'credentials not found in native keychain'; exit 1; }\n"
               "[ \"$server\" = token ] && server='<token>'\n"
               "printf '{\"ServerURL\":\"x\",\"Username\":\"%s\",\"Secret\":\"pw\"}' \"$server\"\n",
               0700);
    write_text("docker-credential-broken", "#!/bin/sh\necho 'secret words'; exit 1\n", 0700);
    write_text("docker-credential-deaf", "#!/bin/sh\nexec 0<&-\nexit 3\n", 0700);
    write_text("docker/config.json",
               "{\"credHelpers\": {\"a\": \"good\", \"none\": \"good\", \"token\": \"good\", \"b\": \"broken\", \"d\": \"deaf\","
               "\"m\": \"missing\", \"e\": \"../evil\", \"s\": \"a;touch x\"}}",
               0600);
    expect("a", BL_CREDENTIAL_PASSWORD, "a", "pw");
    expect("none", BL_CREDENTIAL_NONE, NULL, NULL);
    expect("token", BL_CREDENTIAL_IDENTITY, "", "pw");
    expect("other", BL_CREDENTIAL_NONE, NULL, NULL);
    for (const char *host = "bdmes"; *host; host++) {
        const char name[] = {*host, '\0'};

        bl_error_clear(&err);
        assert_int_equal(bl_credential_find(NULL, name, -1, &credential, &err), -1);
        assert_int_equal(err.code, BL_CONFIG);
        assert_null(strstr(err.message, "secret words"));
    }
    write_text("docker/config.json", "{\"credsStore\": \"good\"}", 0600);
    expect("docker.io", BL_CREDENTIAL_PASSWORD, "https://index.docker.io/v1/", "pw");
}

static void waiting_for_a_helper_can_be_cancelled(void **state)
{
    (void)state;
    struct bl_error err = BL_ERROR_INIT;
    struct bl_credential credential = {0};
    int cancel[2];

    write_text("docker-credential-slow", "#!/bin/sh\nexec sleep 1000\n", 0700);
    assert_int_equal(pipe(cancel), 0);
    close(cancel[1]);
    assert_int_equal(bl_credential_ask_helper("slow", "x", cancel[0], &credential, &err), -1);
    assert_int_equal(err.code, BL_STOPPED);
    close(cancel[0]);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
}

static void configuration_goes_first(void **state)
{
    (void)state;
    static const char text[] = "{\"image_registries\": [{\"host\": \"b\", \"auth\": {\"type\": \"bearer\", \"token\": \"t\"}},"
                               "{\"host\": \"a\", \"auth\": {\"type\": \"anonymous\"}}]}";
    struct bl_user_config config = BL_USER_CONFIG_INIT;
    struct bl_error err = BL_ERROR_INIT;
    struct bl_credential credential;

    assert_int_equal(bl_credential_store("a", "u", "p", &err), 0);
    assert_int_equal(bl_credential_store("b", "u", "p", &err), 0);
    assert_int_equal(bl_user_config_parse(text, strlen(text), "test", &config, &err), 0);
    assert_int_equal(bl_credential_find(&config, "a", -1, &credential, &err), 0);
    assert_int_equal(credential.kind, BL_CREDENTIAL_NONE);
    assert_int_equal(bl_credential_find(&config, "b", -1, &credential, &err), 0);
    assert_int_equal(credential.kind, BL_CREDENTIAL_TOKEN);
    assert_string_equal(credential.secret, "t");
    bl_credential_free(&credential);
    bl_user_config_free(&config);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(nothing_is_known_at_first),         TEST(login_is_kept_private_and_logout_forgets),
        TEST(logins_at_once_all_stay),           TEST(dockers_file_is_understood),
        TEST(helpers_are_asked_without_a_shell), TEST(waiting_for_a_helper_can_be_cancelled),
        TEST(configuration_goes_first),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
