/* SPDX-License-Identifier: Apache-2.0 */
/* test_core_capabilities.c - which set two lists of names make, and which names there are */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <linux/capability.h>

#include "base/strings.h"
#include "core/capabilities.h"
#include "proto/messages.h"

#define BIT(capability) (UINT64_C(1) << (capability))
#define EVERY_ONE       ((UINT64_C(1) << (CAP_LAST_CAP + 1)) - 1)
#define LIST(...)       ((const char *const[]){__VA_ARGS__ __VA_OPT__(, ) NULL})

/* resolved() - What two lists, as people write them, come to. */
static uint64_t resolved(const char *const *add, const char *const *drop)
{
    cleanup_strings char **adds = NULL, **drops = NULL;
    uint64_t set = 0;

    assert_int_equal(bl_capabilities_normalize(add, &adds, NULL), 0);
    assert_int_equal(bl_capabilities_normalize(drop, &drops, NULL), 0);
    assert_int_equal(bl_capabilities_resolve(adds, drops, &set), add[0] || drop[0]);
    return set;
}

static void the_set_of_two_lists(void **state)
{
    (void)state;
    const uint64_t usual = BL_CAPABILITIES_DEFAULT;
    const struct {
        const char *const *add, *const *drop;
        uint64_t set;
    } rows[] = {
        {LIST(), LIST(), usual},
        {LIST("SYS_TIME"), LIST(), usual | BIT(CAP_SYS_TIME)},
        {LIST("CHOWN"), LIST(), usual},
        {LIST(), LIST("CHOWN"), usual & ~BIT(CAP_CHOWN)},
        {LIST(), LIST("SYS_TIME"), usual},
        {LIST(), LIST("ALL"), 0},
        {LIST("CHOWN"), LIST("ALL"), BIT(CAP_CHOWN)},
        {LIST("CHOWN"), LIST("CHOWN", "KILL"), usual & ~BIT(CAP_KILL)},
        {LIST("ALL"), LIST(), EVERY_ONE},
        {LIST("ALL"), LIST("SYS_MODULE", "CHOWN"), EVERY_ONE & ~BIT(CAP_SYS_MODULE) & ~BIT(CAP_CHOWN)},
        {LIST("ALL", "CHOWN"), LIST("CHOWN"), EVERY_ONE & ~BIT(CAP_CHOWN)},
        {LIST("ALL"), LIST("ALL"), 0},
        {LIST("checkpoint_restore", "Cap_Bpf"), LIST("cap_kill", "all"), BIT(CAP_CHECKPOINT_RESTORE) | BIT(CAP_BPF)},
    };

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_int_equal(resolved(rows[i].add, rows[i].drop), rows[i].set);

    uint64_t set;

    assert_false(bl_capabilities_resolve(NULL, NULL, &set));
    assert_int_equal(set, usual);
}

/* The table follows the kernel's numbers: each name makes its own bit, and each bit its name. */
static void names_and_numbers(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        int number;
    } some[] = {{"CHOWN", CAP_CHOWN},           {"NET_ADMIN", CAP_NET_ADMIN},
                {"SYS_ADMIN", CAP_SYS_ADMIN},   {"SYS_PTRACE", CAP_SYS_PTRACE},
                {"SYS_TIME", CAP_SYS_TIME},     {"SETFCAP", CAP_SETFCAP},
                {"SYSLOG", CAP_SYSLOG},         {"MKNOD", CAP_MKNOD},
                {"AUDIT_READ", CAP_AUDIT_READ}, {"BPF", CAP_BPF},
                {"PERFMON", CAP_PERFMON},       {"IPC_LOCK", CAP_IPC_LOCK}};
    cleanup_strings char **every_one = bl_capabilities_list(EVERY_ONE);

    for (size_t i = 0; i < sizeof some / sizeof *some; i++)
        assert_int_equal(resolved(LIST(some[i].name), LIST("ALL")), BIT(some[i].number));
    assert_int_equal(bl_strings_count((const char *const *)every_one), CAP_LAST_CAP + 1);
    for (int i = 0; i <= CAP_LAST_CAP; i++)
        assert_int_equal(resolved(LIST(every_one[i]), LIST("ALL")), BIT(i));
}

static void lists_are_normalized(void **state)
{
    (void)state;
    cleanup_strings char **list = NULL;

    assert_int_equal(bl_capabilities_normalize(LIST("net_admin", "CAP_NET_ADMIN", "all", "ALL", "cap_kill"), &list, NULL), 0);
    assert_int_equal(bl_strings_count((const char *const *)list), 3);
    assert_string_equal(list[0], "CAP_NET_ADMIN");
    assert_string_equal(list[1], "ALL");
    assert_string_equal(list[2], "CAP_KILL");
}

static void other_names_are_refused(void **state)
{
    (void)state;
    static const char *const wrong[] = {"", "CAP_", "NET", "NET_ADMINS", "CAP_CAP_KILL", "CAP_ALL", "KILL ", "none", "41", "\xff"};

    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct bl_error err = BL_ERROR_INIT;
        char **list = NULL;

        assert_int_equal(bl_capabilities_normalize(LIST("KILL", wrong[i]), &list, &err), -1);
        assert_int_equal(err.code, BL_INVALID_ARGUMENT);
        assert_non_null(strstr(err.message, "is no capability"));
        assert_null(list);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_set_of_two_lists),
        cmocka_unit_test(names_and_numbers),
        cmocka_unit_test(lists_are_normalized),
        cmocka_unit_test(other_names_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
