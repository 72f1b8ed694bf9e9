/* SPDX-License-Identifier: Apache-2.0 */
/* identity.c - looking at processes through /proc; see identity.h */
#include "core/identity.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/os.h"
#include "base/strings.h"

#define CMDLINE_MAX   65536 /* a shim's has some 100 bytes; another program's longer one is cut, and is not ours anyway */
#define STAT_MAX      4096
#define START_FIELD   22 /* of /proc/<pid>/stat, counted from 1; field 3 is the first after the command's name */
#define BOOT_ID_FILE  "/proc/sys/kernel/random/boot_id"
#define SHIM_PID_LINE 64

/* read_some() - The start of a file of /proc, NUL-terminated. Return: bytes read; -1 with errno */
static ssize_t read_some(const char *path, char *out, size_t size)
{
    cleanup_close int fd = bl_os.open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);

    if (fd < 0)
        return -1;

    ssize_t n = bl_read_all(fd, out, size - 1);

    if (n >= 0)
        out[n] = '\0';
    return n;
}

int bl_process_start_ticks(pid_t pid, uint64_t *ticks, char *state)
{
    char path[64], text[STAT_MAX];

    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    if (read_some(path, text, sizeof text) < 0)
        return -1;

    /* The command's name stands in parentheses and may hold some itself: what counts comes after the last one. */
    char *at = strrchr(text, ')');
    unsigned long long value = 0;

    if (at && at[1] == ' ' && state)
        *state = at[2];
    at = at && at[1] == ' ' ? at + 2 : NULL;
    for (int field = 3; at && field < START_FIELD; field++) {
        at = strchr(at, ' ');
        at = at ? at + 1 : NULL;
    }
    if (!at || sscanf(at, "%llu", &value) != 1) {
        errno = EIO;
        return -1;
    }
    *ticks = value;
    return 0;
}

/* absent() - What a failed look at /proc/<pid> means: nobody there, unless /proc itself can't be read. */
static enum bl_identity absent(int error)
{
    char byte[2];

    if (error != ENOENT && error != ESRCH)
        return BL_IDENTITY_UNKNOWN;
    return read_some("/proc/self/stat", byte, sizeof byte) > 0 ? BL_IDENTITY_OTHER : BL_IDENTITY_UNKNOWN;
}

enum bl_identity bl_is_same_process(pid_t pid, const char *id)
{
    char path[64], state = 0;
    uint64_t ticks = 0;

    if (pid <= 0 || !*id)
        return BL_IDENTITY_OTHER;
    if (bl_process_start_ticks(pid, &ticks, &state) < 0)
        return absent(errno);
    if (state == 'Z' || state == 'X')
        return BL_IDENTITY_OTHER;

    cleanup_free char *cmdline = malloc(CMDLINE_MAX);

    if (!cmdline)
        return BL_IDENTITY_UNKNOWN;
    snprintf(path, sizeof path, "/proc/%d/cmdline", (int)pid);

    ssize_t length = read_some(path, cmdline, CMDLINE_MAX);

    if (length < 0)
        return absent(errno);

    const char *slash = strrchr(cmdline, '/');

    if (strcmp(slash ? slash + 1 : cmdline, BL_SHIM_NAME) != 0)
        return BL_IDENTITY_OTHER;
    /* Equality, never a substring: the id of one box may be the start of another's. */
    for (const char *arg = cmdline + strlen(cmdline) + 1; arg < cmdline + length; arg += strlen(arg) + 1)
        if (strcmp(arg, id) == 0)
            return BL_IDENTITY_SAME;
    return BL_IDENTITY_OTHER;
}

enum bl_identity bl_process_check(const struct bl_process *process, const char *id)
{
    const char *boot_id = bl_boot_id();
    uint64_t ticks = 0;

    if (process->pid <= 0)
        return BL_IDENTITY_OTHER;
    if (*process->boot_id && *boot_id && strcmp(process->boot_id, boot_id) != 0)
        return BL_IDENTITY_OTHER;
    if (process->start_ticks) {
        if (bl_process_start_ticks(process->pid, &ticks, NULL) < 0)
            return absent(errno);
        if (ticks != process->start_ticks)
            return BL_IDENTITY_OTHER;
    }
    return bl_is_same_process(process->pid, id);
}

static char boot_id_text[BL_BOOT_ID_LENGTH + 2];
static pthread_once_t boot_id_once = PTHREAD_ONCE_INIT;

static void read_boot_id(void)
{
    if (read_some(BOOT_ID_FILE, boot_id_text, sizeof boot_id_text) < 0)
        boot_id_text[0] = '\0';
    boot_id_text[strcspn(boot_id_text, "\n")] = '\0';
}

const char *bl_boot_id(void)
{
    pthread_once(&boot_id_once, read_boot_id);
    return boot_id_text;
}

int bl_process_parse(const char *text, struct bl_process *out)
{
    struct bl_process process = {0};
    char line[3][SHIM_PID_LINE];
    long long pid, ticks;

    for (int i = 0; i < 3; i++) {
        size_t length = strcspn(text, "\n");

        if (text[length] != '\n' || length >= SHIM_PID_LINE)
            return -1;
        memcpy(line[i], text, length);
        line[i][length] = '\0';
        text += length + 1;
    }
    if (*text || bl_parse_number(line[0], 1, INT32_MAX, &pid) < 0 || bl_parse_number(line[1], 0, INT64_MAX, &ticks) < 0 ||
        strlen(line[2]) > BL_BOOT_ID_LENGTH)
        return -1;
    process.pid = (pid_t)pid;
    process.start_ticks = (uint64_t)ticks;
    memcpy(process.boot_id, line[2], strlen(line[2]) + 1);
    *out = process;
    return 0;
}
