/* SPDX-License-Identifier: Apache-2.0 */
/* test_image_auth.c - what registries ask for in WWW-Authenticate */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "image/auth_challenge.h"

static struct bl_auth_challenge parse(const char *value)
{
    struct bl_auth_challenge challenge = {0};

    assert_int_equal(bl_auth_challenge_parse(value, &challenge), 0);
    return challenge;
}

static void bearer_with_all_it_needs(void **state)
{
    (void)state;
    struct bl_auth_challenge got = parse("Bearer realm=\"https://auth.docker.io/token\",service=\"registry.docker.io\","
                                         "scope=\"repository:library/alpine:pull,push\"");

    assert_int_equal(got.scheme, BL_AUTH_BEARER);
    assert_string_equal(got.realm, "https://auth.docker.io/token");
    assert_string_equal(got.service, "registry.docker.io");
    assert_string_equal(got.scope, "repository:library/alpine:pull,push");
    bl_auth_challenge_free(&got);
}

static void spaces_case_tokens_and_escapes(void **state)
{
    (void)state;
    struct bl_auth_challenge got = parse("  bEaReR  REALM = \"a\\\"b\" ,, service=plain\t, unknown=\"x\"  ");

    assert_int_equal(got.scheme, BL_AUTH_BEARER);
    assert_string_equal(got.realm, "a\"b");
    assert_string_equal(got.service, "plain");
    assert_null(got.scope);
    bl_auth_challenge_free(&got);
}

static void bearer_wins_in_any_order(void **state)
{
    (void)state;
    static const char *const values[] = {"Basic realm=\"r\", Bearer realm=\"t\"", "Bearer realm=\"t\", Basic realm=\"r\"",
                                         "Negotiate, Bearer realm=\"t\"", "Negotiate YII/abc==, Bearer realm=\"t\", Digest a=b"};

    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        struct bl_auth_challenge got = parse(values[i]);

        assert_int_equal(got.scheme, BL_AUTH_BEARER);
        assert_string_equal(got.realm, "t");
        bl_auth_challenge_free(&got);
    }
}

static void several_headers_add_up(void **state)
{
    (void)state;
    struct bl_auth_challenge got = parse("Basic realm=\"one\"");

    assert_int_equal(got.scheme, BL_AUTH_BASIC);
    assert_int_equal(bl_auth_challenge_parse("Bearer realm=\"two\"", &got), 0);
    assert_int_equal(bl_auth_challenge_parse("Basic realm=\"three\"", &got), 0);
    assert_int_equal(got.scheme, BL_AUTH_BEARER);
    assert_string_equal(got.realm, "two");
    bl_auth_challenge_free(&got);
}

static void unknown_schemes_are_no_challenge(void **state)
{
    (void)state;
    static const char *const values[] = {"", "   ", ",,", "Negotiate", "Digest realm=\"x\"", "Bearers realm=\"x\""};

    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        struct bl_auth_challenge got = parse(values[i]);

        assert_int_equal(got.scheme, BL_AUTH_NONE);
        bl_auth_challenge_free(&got);
    }
}

static void broken_values_are_refused(void **state)
{
    (void)state;
    static const char *const values[] = {"Bearer realm=\"x", "Bearer a=b, realm=",    "realm=\"x\"", "Bearer realm=\"x\"y",
                                         "=\"x\"",           "Bearer realm=\"a\nb\"", "\"Bearer\"",  "Bearer realm=\"x\\"};
    struct bl_auth_challenge kept = parse("Basic realm=\"kept\"");

    for (size_t i = 0; i < sizeof values / sizeof *values; i++)
        if (!bl_auth_challenge_parse(values[i], &kept))
            fail_msg("accepted: %s", values[i]);

    char *huge = malloc(BL_CHALLENGE_MAX + 64);

    memset(huge, ' ', BL_CHALLENGE_MAX + 63);
    huge[BL_CHALLENGE_MAX + 63] = '\0';
    assert_int_equal(bl_auth_challenge_parse(huge, &kept), -1);
    free(huge);
    assert_string_equal(kept.realm, "kept");
    bl_auth_challenge_free(&kept);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bearer_with_all_it_needs),         cmocka_unit_test(spaces_case_tokens_and_escapes),
        cmocka_unit_test(bearer_wins_in_any_order),         cmocka_unit_test(several_headers_add_up),
        cmocka_unit_test(unknown_schemes_are_no_challenge), cmocka_unit_test(broken_values_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
