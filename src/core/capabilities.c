/* SPDX-License-Identifier: Apache-2.0 */
/* capabilities.c - names and sets of capabilities; see capabilities.h */
#include "core/capabilities.h"

#include <string.h>
#include <strings.h>

#include "base/cleanup.h"
#include "base/strings.h"
#include "proto/messages.h"

#define PREFIX        "CAP_"
#define PREFIX_LENGTH 4
#define ALL           "ALL"

/* By number (linux/capability.h). A guest whose kernel knows fewer leaves the rest out. */
static const char *const names[] = {
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
};

#define COUNT     (sizeof names / sizeof *names)
#define EVERY_ONE ((UINT64_C(1) << COUNT) - 1)

/* number_of() - By its name in any case, with or without "CAP_". Return: its number; -1: there is none */
static int number_of(const char *name)
{
    if (strncasecmp(name, PREFIX, PREFIX_LENGTH) == 0)
        name += PREFIX_LENGTH;
    for (size_t i = 0; i < COUNT; i++)
        if (strcasecmp(name, names[i] + PREFIX_LENGTH) == 0)
            return (int)i;
    return -1;
}

static bool holds(char *const *list, const char *name)
{
    for (; list && *list; list++)
        if (strcmp(*list, name) == 0)
            return true;
    return false;
}

int bl_capabilities_normalize(const char *const *asked, char ***out, struct bl_error *err)
{
    cleanup_strings char **list = bl_strings_copy(NULL);

    if (!list)
        return bl_fail_memory(err);
    for (; asked && *asked; asked++) {
        int number = number_of(*asked);
        const char *name = strcasecmp(*asked, ALL) == 0 ? ALL : number >= 0 ? names[number] : NULL;

        if (!name)
            return bl_fail(err, BL_INVALID_ARGUMENT, 0,
                           "'%.64s' is no capability: ALL or a name of capabilities(7) is expected, as NET_ADMIN or CAP_NET_ADMIN",
                           *asked);
        if (!holds(list, name) && bl_strings_append(&list, name) < 0)
            return bl_fail_memory(err);
    }
    *out = bl_steal_ptr(&list);
    return 0;
}

int bl_capabilities_check(const char *const *asked, struct bl_error *err)
{
    cleanup_strings char **list = NULL;

    return bl_capabilities_normalize(asked, &list, err);
}

/* set_of() - The named ones; ALL stands for none here. */
static uint64_t set_of(char *const *list)
{
    uint64_t set = 0;

    for (; list && *list; list++) {
        int number = number_of(*list);

        if (number >= 0)
            set |= UINT64_C(1) << number;
    }
    return set;
}

bool bl_capabilities_resolve(char *const *add, char *const *drop, uint64_t *out)
{
    if (holds(add, ALL))
        *out = holds(drop, ALL) ? 0 : EVERY_ONE & ~set_of(drop);
    else
        *out = (holds(drop, ALL) ? 0 : BL_CAPABILITIES_DEFAULT & ~set_of(drop)) | set_of(add);
    return (add && *add) || (drop && *drop);
}

char **bl_capabilities_list(uint64_t set)
{
    cleanup_strings char **list = bl_strings_copy(NULL);

    for (size_t i = 0; list && i < COUNT; i++)
        if (set >> i & 1 && bl_strings_append(&list, names[i]) < 0)
            return NULL;
    return bl_steal_ptr(&list);
}
