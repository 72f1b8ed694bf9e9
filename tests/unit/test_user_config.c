/* SPDX-License-Identifier: Apache-2.0 */
/* test_user_config.c - the user's configuration file, right and wrong */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/io.h"
#include "base/user_config.h"

static int parse(const char *text, struct bl_user_config *config, struct bl_error *err)
{
    *config = (struct bl_user_config)BL_USER_CONFIG_INIT;
    return bl_user_config_parse(text, strlen(text), "config.json", config, err);
}

static void everything_is_read(void **state)
{
    (void)state;
    struct bl_user_config config;
    struct bl_error err = BL_ERROR_INIT;
    const char *text =
        "{\"image_store_mib\": 7, \"image_limits\": {\"unpacked_mib\": 1, \"layer_mib\": 2, \"files\": 3, \"path_depth\": 4, "
        "\"layers\": 5,"
        "\"manifest_kib\": 6, \"config_kib\": 7, \"zstd_window_mib\": 8, \"time_s\": 9},"
        "\"home_dir\": \"/data\", \"cpus\": 2, \"memory_mib\": 1024, \"ca_file\": \"/ca.pem\", \"image_registries\": ["
        "{\"host\": \"a:5000\", \"transport\": \"http\", \"skip_verify\": true, \"search\": true},"
        "{\"host\": \"b\", \"protocol\": \"https\", \"auth\": {\"type\": \"basic\", \"username\": \"u\", \"password\": \"p\"}},"
        "{\"host\": \"c\", \"auth\": {\"type\": \"bearer\", \"token\": \"t\"}},"
        "{\"host\": \"d\", \"auth\": {\"type\": \"anonymous\"}}]}";

    assert_int_equal(parse(text, &config, &err), 0);
    assert_string_equal(config.home_dir, "/data");
    assert_string_equal(config.ca_file, "/ca.pem");
    assert_int_equal(config.image_store_mib, 7);
    assert_int_equal(config.image_limits.unpacked_mib, 1);
    assert_int_equal(config.image_limits.layer_mib, 2);
    assert_int_equal(config.image_limits.files, 3);
    assert_int_equal(config.image_limits.path_depth, 4);
    assert_int_equal(config.image_limits.layers, 5);
    assert_int_equal(config.image_limits.manifest_kib, 6);
    assert_int_equal(config.image_limits.config_kib, 7);
    assert_int_equal(config.image_limits.zstd_window_mib, 8);
    assert_int_equal(config.image_limits.time_s, 9);
    assert_int_equal(config.cpus, 2);
    assert_int_equal(config.memory_mib, 1024);
    assert_int_equal(config.registry_count, 4);

    const struct bl_registry_setting *a = bl_user_config_registry(&config, "a:5000");
    const struct bl_registry_setting *b = bl_user_config_registry(&config, "b");

    assert_true(a->plain_http && a->skip_verify && a->search && a->transport_set && a->auth == BL_REGISTRY_AUTH_UNSET);
    assert_true(!b->plain_http && !b->skip_verify && !b->search && b->auth == BL_REGISTRY_AUTH_BASIC);
    assert_string_equal(b->username, "u");
    assert_string_equal(b->password, "p");
    assert_string_equal(bl_user_config_registry(&config, "c")->token, "t");
    assert_int_equal(bl_user_config_registry(&config, "d")->auth, BL_REGISTRY_AUTH_ANONYMOUS);
    assert_null(bl_user_config_registry(&config, "a"));
    bl_user_config_free(&config);
}

/* What is wrong, and what the message must say of it. */
static const struct {
    const char *text, *says;
} wrong[] = {
    {"", "no valid JSON"},
    {"[]", "must hold a JSON object"},
    {"{\"cpu\": 1}", "'cpu' is no setting"},
    {"{\"cpus\": 0}", "'cpus' must be a whole number"},
    {"{\"cpus\": \"1\"}", "'cpus' must be a whole number"},
    {"{\"image_store_mib\": 0}", "'image_store_mib' must be a whole number from 1"},
    {"{\"image_limits\": 5}", "'image_limits' must be an object"},
    {"{\"image_limits\": {\"file\": 5}}", "'image_limits.file' is no setting"},
    {"{\"image_limits\": {\"path_depth\": 2049}}", "'image_limits.path_depth' must be a whole number from 1 to 2048"},
    {"{\"home_dir\": \"x\"}", "absolute path"},
    {"{\"home_dir\": \"\"}", "not empty"},
    {"{\"cpus\": 1, \"cpus\": 2}", "no valid JSON"},
    {"{\"image_registries\": [\"docker.io\"]}", "'image_registries[0]' must be an object"},
    {"{\"image_registries\": [{}]}", "'image_registries[0].host'"},
    {"{\"image_registries\": [{\"host\": \"https://a\"}]}", "'image_registries[0].host'"},
    {"{\"image_registries\": [{\"host\": \"a/b\"}]}", "'image_registries[0].host'"},
    {"{\"image_registries\": [{\"host\": \"u:p@a\"}]}", "'image_registries[0].host'"},
    {"{\"image_registries\": [{\"host\": \"a\"}, {\"host\": \"a\"}]}", "stands twice"},
    {"{\"image_registries\": [{\"host\": \"a\", \"transport\": \"ftp\"}]}", "http or https"},
    {"{\"image_registries\": [{\"host\": \"a\", \"serach\": true}]}", "'image_registries[0].serach' is no setting"},
    {"{\"image_registries\": [{\"host\": \"a\", \"auth\": {\"type\": \"basic\", \"username\": \"u\"}}]}", "must have the type"},
    {"{\"image_registries\": [{\"host\": \"a\", \"auth\": {\"type\": \"magic\"}}]}", "must have the type"},
    {"{\"image_registries\": [{\"host\": \"a\", \"auth\": {\"type\": \"bearer\", \"token\": 5}}]}", "auth.token' must be a string"},
};

static void mistakes_are_named(void **state)
{
    (void)state;

    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct bl_user_config config;
        struct bl_error err = BL_ERROR_INIT;

        if (!parse(wrong[i].text, &config, &err))
            fail_msg("accepted: %s", wrong[i].text);
        assert_int_equal(err.code, BL_CONFIG);
        if (!strstr(err.message, wrong[i].says))
            fail_msg("%s: says '%s'", wrong[i].text, err.message);
        bl_user_config_free(&config);
    }
}

static void secrets_stay_out_of_messages(void **state)
{
    (void)state;
    struct bl_user_config config;
    struct bl_error err = BL_ERROR_INIT;

    assert_int_equal(
        parse("{\"image_registries\": [{\"host\": \"a\", \"auth\": {\"password\": \"hunter2\" oops}}]}", &config, &err), -1);
    assert_null(strstr(err.message, "hunter2"));
    bl_user_config_free(&config);
    assert_int_equal(
        parse("{\"image_registries\": [{\"host\": \"a\", \"auth\": {\"type\": \"basic\", \"password\": \"hunter2\"}}]}", &config,
              &err),
        -1);
    assert_null(strstr(err.message, "hunter2"));
    bl_user_config_free(&config);
}

static void preferred_registries_go_first(void **state)
{
    (void)state;
    struct bl_user_config config;
    struct bl_error err = BL_ERROR_INIT;

    assert_int_equal(
        parse("{\"image_registries\": [{\"host\": \"a\", \"search\": true}, {\"host\": \"b\", \"transport\": \"http\"}]}", &config,
              &err),
        0);
    assert_int_equal(bl_user_config_prefer(&config, "new:1", &err), 0);
    assert_int_equal(bl_user_config_prefer(&config, "b", &err), 0);
    assert_int_equal(config.registry_count, 3);
    assert_string_equal(config.registries[0].host, "b");
    assert_true(config.registries[0].plain_http && config.registries[0].search);
    assert_string_equal(config.registries[1].host, "new:1");
    assert_true(!config.registries[1].plain_http && config.registries[1].search);
    assert_string_equal(config.registries[2].host, "a");
    assert_int_equal(bl_user_config_prefer(&config, "https://x", &err), -1);
    assert_int_equal(err.code, BL_INVALID_ARGUMENT);
    bl_user_config_free(&config);
}

static void usual_file_may_be_missing_a_named_one_not(void **state)
{
    (void)state;
    struct bl_user_config config = BL_USER_CONFIG_INIT;
    struct bl_error err = BL_ERROR_INIT;
    char directory[] = "/tmp/bl-user-config-XXXXXX";
    char path[128];

    assert_non_null(mkdtemp(directory));
    setenv("XDG_CONFIG_HOME", directory, 1);
    assert_int_equal(bl_user_config_load(NULL, &config, &err), 0);
    assert_int_equal(config.registry_count, 0);
    snprintf(path, sizeof path, "%s/other.json", directory);
    assert_int_equal(bl_user_config_load(path, &config, &err), -1);
    assert_non_null(strstr(err.message, path));

    snprintf(path, sizeof path, "%s/boxlite", directory);
    assert_int_equal(mkdir(path, 0700), 0);
    snprintf(path, sizeof path, "%s/boxlite/config.json", directory);

    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(bl_write_all(fd, "{\"cpus\": 3}", 11), 0);
    close(fd);
    assert_int_equal(bl_user_config_load(NULL, &config, &err), 0);
    assert_int_equal(config.cpus, 3);
    bl_user_config_free(&config);
    unlink(path);
    snprintf(path, sizeof path, "%s/boxlite", directory);
    rmdir(path);
    rmdir(directory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everything_is_read),
        cmocka_unit_test(mistakes_are_named),
        cmocka_unit_test(secrets_stay_out_of_messages),
        cmocka_unit_test(preferred_registries_go_first),
        cmocka_unit_test(usual_file_may_be_missing_a_named_one_not),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
