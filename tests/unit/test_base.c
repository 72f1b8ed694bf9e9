/* SPDX-License-Identifier: Apache-2.0 */
/* test_base.c - the ground that every part stands on */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"

static void error_says_reason(void **state)
{
    (void)state;
    struct bl_error err = BL_ERROR_INIT;

    assert_int_equal(bl_fail(&err, BL_STORAGE, ENOSPC, "write %s", "disk"), -1);
    assert_int_equal(err.code, BL_STORAGE);
    assert_int_equal(err.sys_errno, ENOSPC);
    assert_string_equal(err.message, "write disk: No space left on device");
    bl_fail_context(&err, "create box %s", "web");
    assert_string_equal(err.message, "create box web: write disk: No space left on device");
}

static void error_is_one_printable_line(void **state)
{
    (void)state;
    struct bl_error err = BL_ERROR_INIT;

    bl_fail(&err, BL_IMAGE, 0, "bad name %s", "a\nb\033[31m");
    assert_string_equal(err.message, "bad name a?b?[31m");
}

static void long_error_keeps_reason(void **state)
{
    (void)state;
    struct bl_error err = BL_ERROR_INIT;
    char name[4096];

    memset(name, 'x', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    bl_fail(&err, BL_STORAGE, EIO, "read %s", name);
    assert_non_null(strstr(err.message, strerror(EIO)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(error_says_reason),
        cmocka_unit_test(error_is_one_printable_line),
        cmocka_unit_test(long_error_keeps_reason),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
