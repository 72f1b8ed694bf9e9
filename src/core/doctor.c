/* SPDX-License-Identifier: Apache-2.0 */
/*
 * doctor.c - whether boxes can run here, and what waits for somebody to put it right
 *
 * One finding after another, from the machine to the home to its boxes. What fails on the way is a finding itself, and what needs
 * it is left out. A finding says what is, the hint what to do; neither guesses.
 */
#include "core/doctor.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/os.h"
#include "base/strings.h"
#include "core/change.h"
#include "core/home.h"
#include "core/identity.h"
#include "core/lock.h"
#include "image/plugin.h"
#include "vmm/probe.h"

#define TEXT_MAX         1024
#define LEAST_FREE_BYTES (1ull << 30)
#define LEAST_FREE_FILES 1000

struct doctor {
    void (*found)(const struct bl_finding *finding, void *data);
    void *data;
    struct bl_runtime *runtime;
};

__attribute__((format(printf, 5, 6))) static void tell(struct doctor *doctor, enum bl_level level, const char *check,
                                                       const char *hint, const char *fmt, ...)
{
    char text[TEXT_MAX];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    doctor->found(&(struct bl_finding){.level = level, .check = check, .text = text, .hint = hint}, doctor->data);
}

static void look_at_kernel(struct doctor *doctor)
{
    const char *missing = bl_kernel_lacks();
    struct utsname host;

    if (uname(&host) < 0)
        memset(&host, 0, sizeof host);
    if (missing)
        tell(doctor, BL_LEVEL_ATTENTION, "kernel", "use Linux 5.10 or newer; in a container, a seccomp profile that allows it",
             "%s %s has no %s", host.sysname, host.release, missing);
    else
        tell(doctor, BL_LEVEL_OK, "kernel", NULL, "%s %s", host.sysname, host.release);
}

/* look_at_engine() - What runs the boxes, and KVM. */
static void look_at_engine(struct doctor *doctor)
{
    struct bl_engine_choice engine;

    bl_engine_probe(&engine);
    if (*engine.name)
        tell(doctor, BL_LEVEL_OK, "engine", NULL, "%s, %s", engine.name, engine.own ? "our own monitor" : engine.program);
    else
        tell(doctor, BL_LEVEL_ATTENTION, "engine", "no box can start before that is put right", "%s", engine.reason);
    if (engine.kvm)
        tell(doctor, BL_LEVEL_OK, "kvm", NULL, "/dev/kvm runs guests");
    else
        tell(doctor, BL_LEVEL_NOTE, "kvm", "until then boxes run on software emulation, several times slower", "%s",
             engine.virtualization);
}

/* look_at_installation() - The programs and files that a start needs. */
static void look_at_installation(struct doctor *doctor)
{
    static const char *const programs[] = {BL_SHIM_NAME, BL_IMAGE_PLUGIN_FILE};
    struct bl_error err = BL_ERROR_INIT;
    cleanup_free char *dir = bl_runtime_dir_find(&err);
    struct bl_guest_files guest;
    bool whole = dir != NULL;

    if (!dir)
        tell(doctor, BL_LEVEL_ATTENTION, "install", NULL, "%s", err.message);
    for (size_t i = 0; dir && i < sizeof programs / sizeof *programs; i++) {
        cleanup_free char *path = bl_format("%s/%s", dir, programs[i]);

        if (path && bl_os.faccessat(AT_FDCWD, path, i ? R_OK : X_OK, 0) == 0)
            continue;
        whole = false;
        tell(doctor, BL_LEVEL_ATTENTION, "install", "install boxlite again, or set BOXLITE_RUNTIME_DIR", "%s/%s can't be used: %s",
             dir, programs[i], strerror(errno));
    }
    if (whole)
        tell(doctor, BL_LEVEL_OK, "install", NULL, "%s", dir);
    if (dir && bl_guest_files_find(dir, &guest, &err) == 0) {
        bool tuned = strcmp(guest.kind, "tuned") == 0;

        tell(doctor, tuned ? BL_LEVEL_OK : BL_LEVEL_NOTE, "guest",
             tuned ? NULL : "`make kernel` builds one that boots in half the time", "the %s guest kernel, %s", guest.kind,
             guest.kernel);
        bl_guest_files_free(&guest);
    } else if (dir) {
        tell(doctor, BL_LEVEL_ATTENTION, "guest", NULL, "%s", err.message);
    }
}

static void look_at_namespaces(struct doctor *doctor)
{
    int error = 0;
    enum bl_userns_step step = bl_userns_try(&error);

    if (step == BL_USERNS_OK)
        tell(doctor, BL_LEVEL_OK, "namespaces", NULL, "unprivileged user namespaces work");
    else
        tell(doctor, BL_LEVEL_NOTE, "namespaces", bl_userns_hint(step, error),
             "unprivileged user namespaces can't be %s: %s (boxes "
             "run without them)",
             step == BL_USERNS_USE    ? "used"
             : step == BL_USERNS_MAKE ? "made"
                                      : "tried",
             strerror(error));
}

/* look_at_confinement() - What a box's processes can be bound by, on top of what needs nothing of the kernel. */
static void look_at_confinement(struct doctor *doctor)
{
    long landlock = bl_landlock_version();

    if (!bl_seccomp_works())
        tell(doctor, BL_LEVEL_ATTENTION, "confinement",
             "boxes start with --security disable only; use a kernel with CONFIG_SECCOMP_FILTER",
             "this kernel can't filter system calls (seccomp)");
    else if (landlock)
        tell(doctor, BL_LEVEL_OK, "confinement", NULL, "seccomp; Landlock, version %ld", landlock);
    else
        tell(doctor, BL_LEVEL_NOTE, "confinement",
             "Linux 5.13 or newer with Landlock among its security modules (lsm=landlock,...)",
             "seccomp; no Landlock, which would keep the process of a box on engine kvm to its own directory");
}

static void look_at_home(struct doctor *doctor, const char *home)
{
    struct bl_error err = BL_ERROR_INIT;

    if (bl_runtime_open(home, &doctor->runtime, &err) < 0) {
        tell(doctor, BL_LEVEL_ATTENTION, "home", NULL, "%s", err.message);
        return;
    }
    if (bl_home_probe_locks(doctor->runtime->home_fd) < 0)
        tell(doctor, BL_LEVEL_ATTENTION, "home", "choose one on a local disk with --home or BOXLITE_HOME",
             "locks do not work in %s: %s", doctor->runtime->home, strerror(errno));
    else
        tell(doctor, BL_LEVEL_OK, "home", NULL, "%s; its locks work", doctor->runtime->home);
}

static void look_at_space(struct doctor *doctor)
{
    struct statvfs room;

    if (bl_os.fstatvfs(doctor->runtime->home_fd, &room) < 0) {
        tell(doctor, BL_LEVEL_NOTE, "space", NULL, "the room in %s can't be told: %s", doctor->runtime->home, strerror(errno));
        return;
    }

    uint64_t bytes = (uint64_t)room.f_bavail * room.f_frsize;
    /* Some file systems do not count files. */
    bool few_files = room.f_files && room.f_favail < LEAST_FREE_FILES;

    if (bytes < LEAST_FREE_BYTES || few_files)
        tell(doctor, BL_LEVEL_ATTENTION, "space",
             "`boxlite image prune -a`, `boxlite gc`, `boxlite rm` make room; or --home on another disk",
             "%" PRIu64 " MiB are free in the home%s", bytes >> 20, few_files ? ", and hardly any file can be made" : "");
    else
        tell(doctor, BL_LEVEL_OK, "space", NULL, "%" PRIu64 " GiB are free in the home", bytes >> 30);
}

/* look_at_box() - What is wrong with one box. Return: whether something is */
static bool look_at_box(struct doctor *doctor, struct bl_record *record)
{
    struct bl_runtime *runtime = doctor->runtime;
    struct bl_error err = BL_ERROR_INIT;
    const char *name = record->name ? record->name : record->id;
    struct bl_verdict verdict;

    if (bl_os.faccessat(runtime->boxes_fd, record->id, F_OK, AT_SYMLINK_NOFOLLOW) < 0 && errno == ENOENT)
        tell(doctor, BL_LEVEL_ATTENTION, "boxes", "`boxlite rm` forgets it", "box %s has lost its files: %s/boxes/%s is gone", name,
             runtime->home, record->id);
    else if (bl_judge(runtime, record, BL_JUDGE_LOOK, &verdict, &err) < 0)
        tell(doctor, BL_LEVEL_ATTENTION, "boxes", NULL, "box %s: %s", name, err.message);
    else if (verdict.lock_lost)
        tell(doctor, BL_LEVEL_ATTENTION, "boxes", "`boxlite stop` and `boxlite start` give it a new one",
             "box %s has lost its lock: its host process %d lives, but does not hold shim.lock any more", name, (int)verdict.pid);
    else if (*verdict.trouble)
        tell(doctor, BL_LEVEL_ATTENTION, "boxes", "until that is put right nothing is done to it",
             "the state of box %s can't be told: %s", name, verdict.trouble);
    else if (!verdict.runs && !verdict.busy && bl_disk_lock_probe(runtime->boxes_fd, record->id) == BL_LOCK_HELD)
        tell(doctor, BL_LEVEL_ATTENTION, "boxes", "wait a moment; else find who has it open with `lsof` or `fuser`",
             "box %s does not run, but something still writes its disk", name);
    else
        return false;
    return true;
}

static void look_at_boxes(struct doctor *doctor)
{
    struct bl_error err = BL_ERROR_INIT;
    struct bl_record *list;
    size_t count, troubled = 0;

    if (bl_store_list(doctor->runtime->store, BL_STORE_ALL, &list, &count, &err) < 0) {
        tell(doctor, BL_LEVEL_ATTENTION, "boxes", NULL, "%s", err.message);
        return;
    }
    for (size_t i = 0; i < count; i++)
        troubled += look_at_box(doctor, &list[i]);
    bl_store_list_free(list, count);
    if (!troubled)
        tell(doctor, BL_LEVEL_OK, "boxes", NULL, "%zu, and the state of each can be told", count);
}

/* What a look for leftovers found. */
struct leftovers {
    size_t count;
    uint64_t bytes;
    char first[256];
};

static void count_leftover(const struct bl_leftover *leftover, void *data)
{
    struct leftovers *leftovers = data;

    if (!leftovers->count++)
        snprintf(leftovers->first, sizeof leftovers->first, "%s (%s)", leftover->path, leftover->why);
    leftovers->bytes += leftover->bytes;
}

static void look_at_leftovers(struct doctor *doctor)
{
    struct bl_error err = BL_ERROR_INIT;
    struct leftovers leftovers = {0};

    if (bl_runtime_gc(doctor->runtime, true, count_leftover, &leftovers, &err) < 0)
        tell(doctor, BL_LEVEL_ATTENTION, "leftovers", NULL, "%s", err.message);
    else if (leftovers.count)
        tell(doctor, BL_LEVEL_ATTENTION, "leftovers", "`boxlite gc` removes them, `boxlite gc --dry-run` lists them",
             "%zu with %" PRIu64 " KiB, first %s", leftovers.count, leftovers.bytes >> 10, leftovers.first);
    else
        tell(doctor, BL_LEVEL_OK, "leftovers", NULL, "none");
}

void bl_doctor(const char *home, void (*found)(const struct bl_finding *finding, void *data), void *data)
{
    struct doctor doctor = {.found = found, .data = data};

    look_at_kernel(&doctor);
    look_at_engine(&doctor);
    look_at_installation(&doctor);
    look_at_namespaces(&doctor);
    look_at_confinement(&doctor);
    look_at_home(&doctor, home);
    if (!doctor.runtime)
        return;
    look_at_space(&doctor);
    look_at_boxes(&doctor);
    look_at_leftovers(&doctor);
    bl_runtime_close(doctor.runtime);
}
