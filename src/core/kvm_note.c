/* SPDX-License-Identifier: Apache-2.0 */
/* kvm_note.c - see kvm_note.h */
#include "core/kvm_note.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/os.h"
#include "core/identity.h"

#define NOTE_FILE "kvm"
#define NOTE_MAX  256

/* say() - What the note would say now. Return: 0; -1: nothing can be known without a look */
static int say(char out[NOTE_MAX])
{
    const char *forced = getenv("BOXLITE_QEMU_ACCEL");
    struct stat device;

    if ((forced && *forced) || !*bl_boot_id() || bl_os.access("/dev/kvm", R_OK | W_OK) < 0 || bl_os.stat("/dev/kvm", &device) < 0)
        return -1;
    snprintf(out, NOTE_MAX, "%s %llx %llx %llx %lld.%09ld user %u\n", bl_boot_id(), (unsigned long long)device.st_dev,
             (unsigned long long)device.st_ino, (unsigned long long)device.st_rdev, (long long)device.st_ctim.tv_sec,
             device.st_ctim.tv_nsec, (unsigned int)geteuid());
    return 0;
}

static bool is_noted(const struct bl_runtime *runtime, const char *now)
{
    cleanup_buffer struct bl_buffer text = BL_BUFFER_INIT(NOTE_MAX);

    return bl_read_file(runtime->home_fd, NOTE_FILE, &text) == 0 && text.length == strlen(now) &&
           memcmp(bl_buffer_data(&text), now, text.length) == 0;
}

/* note() - Without it the next start looks, too, so what goes wrong here does not matter. */
static void note(const struct bl_runtime *runtime, const char *now)
{
    cleanup_close int fd = bl_os.openat(runtime->home_fd, NOTE_FILE, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);

    if (fd >= 0)
        (void)bl_write_all(fd, now, strlen(now));
}

void bl_kvm_note_look(const struct bl_runtime *runtime, struct bl_kvm_known *out)
{
    char now[NOTE_MAX];
    bool may_know = say(now) == 0;

    if (may_know && is_noted(runtime, now)) {
        *out = (struct bl_kvm_known){.verdict = BL_KVM_USABLE};
        return;
    }
    bl_kvm_look(out);
    if (may_know && out->verdict == BL_KVM_USABLE)
        note(runtime, now);
}

void bl_kvm_note_drop(const struct bl_runtime *runtime)
{
    bl_os.unlinkat(runtime->home_fd, NOTE_FILE, 0);
}
