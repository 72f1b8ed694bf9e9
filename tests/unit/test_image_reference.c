/* SPDX-License-Identifier: Apache-2.0 */
/* test_image_reference.c - what names of images mean, and which are none */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "image/image.h"

#define HEX64  "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define DIGEST "busybox@sha256:" HEX64

static void fills_in_what_people_leave_out(void **state)
{
    static const struct {
        const char *typed, *full;
    } cases[] = {
        {"busybox", "docker.io/library/busybox:latest"},
        {"busybox:1.36", "docker.io/library/busybox:1.36"},
        {"user/tool", "docker.io/user/tool:latest"},
        {"docker.io/busybox", "docker.io/library/busybox:latest"},
        {"index.docker.io/busybox", "docker.io/library/busybox:latest"},
        {"Registry.Example/a/b:V1.2_x", "registry.example/a/b:V1.2_x"},
        {"localhost/x", "localhost/x:latest"},
        {"localhost:5000/x/y__z", "localhost:5000/x/y__z:latest"},
        {"[::1]:5000/x", "[::1]:5000/x:latest"},
        {"e/a---b.c_d", "docker.io/e/a---b.c_d:latest"},
        {"busybox@sha256:" HEX64, "docker.io/library/busybox@sha256:" HEX64},
        {"busybox:1@sha256:" HEX64, "docker.io/library/busybox:1@sha256:" HEX64},
        {"deadbeef", "docker.io/library/deadbeef:latest"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct bl_error err = BL_ERROR_INIT;
        struct bl_reference reference;

        if (bl_reference_parse(cases[i].typed, &reference, &err))
            fail_msg("%s", err.message);

        cleanup_free char *full = bl_reference_format(&reference);

        assert_string_equal(full, cases[i].full);
        bl_reference_free(&reference);

        /* The full form means itself. */
        assert_int_equal(bl_reference_parse(full, &reference, &err), 0);
        cleanup_free char *again = bl_reference_format(&reference);
        assert_string_equal(again, full);
        bl_reference_free(&reference);
    }
}

static void takes_the_parts_apart(void **state)
{
    struct bl_reference reference;

    (void)state;
    assert_int_equal(bl_reference_parse("example.com:80/a/b:t@sha256:" HEX64, &reference, NULL), 0);
    assert_string_equal(reference.registry, "example.com:80");
    assert_string_equal(reference.repository, "a/b");
    assert_string_equal(reference.tag, "t");
    assert_string_equal(reference.digest, "sha256:" HEX64);
    bl_reference_free(&reference);
    assert_int_equal(bl_reference_parse("x@sha256:" HEX64, &reference, NULL), 0);
    assert_null(reference.tag);
    bl_reference_free(&reference);
}

static void refuses_what_breaks_a_rule(void **state)
{
    static const char *const cases[] = {
        "",
        "/",
        "a/",
        "/a",
        "a//b",
        "Busybox",
        "busybox:",
        "busybox:.x",
        "busybox:-x",
        "busybox:a b",
        "busy box",
        "-a",
        "a-",
        ".a",
        "a.",
        "a..b",
        "a._b",
        "a___b",
        "../x",
        "a/../b",
        "busybox@",
        "busybox@sha256:123",
        DIGEST "0",
        "busybox@md5:0123456789abcdef0123456789abcdef",
        "busybox@sha256:ABCDEF6789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
        "ex ample.com/x",
        "a..com/x",
        "host.:80/x",
        "localhost:/x",
        "localhost:123456/x",
        "localhost:8o/x",
        "[::1/x",
        "[]:1/x",
        "x\n",
        "x\x1b[31m",
        "a%b",
        "a+b",
        "docker.io/",
        "-x.com/a",
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct bl_error err = BL_ERROR_INIT;
        struct bl_reference reference;

        assert_int_equal(bl_reference_parse(cases[i], &reference, &err), -1);
        assert_int_equal(err.code, BL_INVALID_ARGUMENT);
        assert_true(err.message[0] && !strpbrk(err.message, "\n\x1b"));
        assert_null(reference.repository);
    }
}

static void bounds_the_length(void **state)
{
    struct bl_error err = BL_ERROR_INIT;
    struct bl_reference reference;
    char text[700];

    (void)state;
    memset(text, 'a', sizeof text);
    text[513] = '\0';
    assert_int_equal(bl_reference_parse(text, &reference, &err), -1);
    assert_int_equal(err.code, BL_INVALID_ARGUMENT);
    text[300] = '\0'; /* a file name could not hold it */
    assert_int_equal(bl_reference_parse(text, &reference, &err), -1);
    text[240 - strlen("docker.io/library/:latest")] = '\0';
    assert_int_equal(bl_reference_parse(text, &reference, &err), 0);
    bl_reference_free(&reference);
    assert_int_equal(bl_reference_parse(NULL, &reference, &err), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fills_in_what_people_leave_out),
        cmocka_unit_test(takes_the_parts_apart),
        cmocka_unit_test(refuses_what_breaks_a_rule),
        cmocka_unit_test(bounds_the_length),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
