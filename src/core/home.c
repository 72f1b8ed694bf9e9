/* SPDX-License-Identifier: Apache-2.0 */
/*
 * home.c - finding and checking the home and the runtime directory; see home.h
 *
 * A home must lie where the kernel itself keeps locks: the whole supervision rests on them. Network file systems are told by
 * their magic number, at each use, since a home can be moved; whether locks really work is tried out when a home is made.
 */
#include "core/home.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/crash.h"
#include "base/io.h"
#include "base/os.h"
#include "base/strings.h"
#include "core/core.h"
#include "core/identity.h"

#define PROBE_FILE ".lock-probe"

char *bl_runtime_default_home(struct bl_error *err)
{
    const char *home = getenv("BOXLITE_HOME");
    char *path = NULL;

    if (home && *home) {
        path = strdup(home);
    } else {
        struct passwd entry, *found = NULL;
        char text[4096];

        home = getenv("HOME");
        if ((!home || !*home) && getpwuid_r(geteuid(), &entry, text, sizeof text, &found) == 0 && found)
            home = found->pw_dir;
        if (!home || *home != '/') {
            bl_fail(err, BL_CONFIG, 0, "find a home directory: HOME is not set; set BOXLITE_HOME to an absolute path");
            return NULL;
        }
        path = bl_format("%s/.boxlite", home);
    }
    if (!path)
        bl_fail_memory(err);
    return path;
}

/* network_name() - What kind of network file system a directory lies on; NULL: none that we know of. */
static const char *network_name(int fd)
{
    static const struct {
        unsigned long magic;
        const char *name;
    } known[] = {
        {NFS_SUPER_MAGIC, "NFS"}, {SMB_SUPER_MAGIC, "SMB"}, {0xff534d42, "CIFS"},       {0xfe534d42, "SMB2"},
        {AFS_SUPER_MAGIC, "AFS"}, {0x5346414f, "AFS"},      {CODA_SUPER_MAGIC, "Coda"}, {0x00c36400, "Ceph"},
        {0x0bd00bd0, "Lustre"},   {0x01161970, "GFS2"},     {0x7461636f, "OCFS2"},      {V9FS_MAGIC, "9p"},
        {0x47504653, "GPFS"},     {0xaad7aaea, "PanFS"},
    };
    struct statfs where;

    if (bl_os.fstatfs(fd, &where) < 0)
        return NULL;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if ((unsigned long)where.f_type == known[i].magic)
            return known[i].name;
    return NULL;
}

/*
 * Several programs may probe at once, and each removes the file when it is done. So the second open goes through the first one's
 * descriptor: by then another may stand at the name, or none.
 */
int bl_home_probe_locks(int home_fd)
{
    char again[32];
    cleanup_close int one = bl_os.openat(home_fd, PROBE_FILE, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

    snprintf(again, sizeof again, "/proc/self/fd/%d", one);

    cleanup_close int two = one < 0 ? -1 : bl_os.open(again, O_RDWR | O_CLOEXEC);
    struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET}, seen = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    int failed = one < 0 || two < 0 || bl_os.fcntl(one, F_OFD_SETLK, &lock) < 0 || bl_os.fcntl(two, F_OFD_GETLK, &seen) < 0;
    int saved = failed ? errno : seen.l_type == F_UNLCK ? ENOLCK : 0;

    BL_CRASH_POINT("open:locks-probed");
    /* Read locks do not hinder each other, and whoever comes late removes nothing. */
    bl_os.unlinkat(home_fd, PROBE_FILE, 0);
    errno = saved;
    return saved ? -1 : 0;
}

/* open_part() - A directory of the home, made when missing. Return: descriptor; -1 with errno */
static int open_part(int home_fd, const char *name)
{
    int fd = bl_os.openat(home_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);

    if (fd < 0 && errno == ENOENT && (bl_os.mkdirat(home_fd, name, 0700) == 0 || errno == EEXIST))
        fd = bl_os.openat(home_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    return fd;
}

int bl_home_open(const char *home, int *home_fd, int *boxes_fd, struct bl_error *err)
{
    if (*home != '/')
        return bl_fail(err, BL_CONFIG, 0, "BoxLite home must be an absolute path, got: %s", home);
    if (strlen(home) > BL_HOME_PATH_MAX)
        return bl_fail(err, BL_CONFIG, 0, "the path of the BoxLite home has %zu bytes: at most %d are possible", strlen(home),
                       BL_HOME_PATH_MAX);

    cleanup_close int fd = bl_os.open(home, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0 && errno == ENOENT) {
        if (bl_make_dirs(home) < 0)
            return bl_fail(err, BL_STORAGE, errno, "make the BoxLite home %s (choose another with --home or BOXLITE_HOME)", home);
        fd = bl_os.open(home, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    }
    if (fd < 0)
        return bl_fail(err, BL_STORAGE, errno, "open the BoxLite home %s (choose another with --home or BOXLITE_HOME)", home);

    const char *network = network_name(fd);

    if (network)
        return bl_fail(
            err, BL_STORAGE, 0,
            "the BoxLite home %s lies on a network file system (%s), where locks can't be trusted: choose one on a local "
            "disk with --home or BOXLITE_HOME",
            home, network);
    if (bl_os.faccessat(fd, ".", W_OK | X_OK, AT_EACCESS) < 0)
        return bl_fail(err, BL_STORAGE, errno, "write to the BoxLite home %s (choose another with --home or BOXLITE_HOME)", home);

    cleanup_close int boxes = bl_os.openat(fd, "boxes", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);

    if (boxes < 0) {
        if (bl_home_probe_locks(fd) < 0)
            return bl_fail(err, BL_STORAGE, errno,
                           "locks do not work in the BoxLite home %s: choose one on a local disk with --home or BOXLITE_HOME",
                           home);
        boxes = open_part(fd, "boxes");
        if (boxes < 0)
            return bl_fail(err, BL_STORAGE, errno, "make %s/boxes", home);
        BL_CRASH_POINT("open:boxes-made");
    }

    cleanup_close int database = open_part(fd, "db");

    if (database < 0)
        return bl_fail(err, BL_STORAGE, errno, "make %s/db", home);
    *home_fd = bl_steal_fd(&fd);
    *boxes_fd = bl_steal_fd(&boxes);
    return 0;
}

/* directory_of_code() - Where the library, or the program that holds it, was loaded from. Return: allocated; NULL */
static char *directory_of_code(void)
{
    static const char here = 0;
    Dl_info info;
    cleanup_free char *program = bl_os.realpath("/proc/self/exe", NULL);
    cleanup_free char *object = NULL;

    /* For code that is part of the program itself the loader knows only argv[0]. */
    if (dladdr(&here, &info) && info.dli_fname && *info.dli_fname == '/')
        object = bl_os.realpath(info.dli_fname, NULL);

    char *path = object ? bl_steal_ptr(&object) : bl_steal_ptr(&program);
    char *slash = path ? strrchr(path, '/') : NULL;

    if (slash)
        slash[slash == path] = '\0';
    return path;
}

char *bl_runtime_dir_find(struct bl_error *err)
{
    const char *given = getenv("BOXLITE_RUNTIME_DIR");

    if (given && *given) {
        if (*given != '/') {
            bl_fail(err, BL_CONFIG, 0, "BOXLITE_RUNTIME_DIR must be an absolute path, got: %s", given);
            return NULL;
        }

        char *copy = strdup(given);

        if (!copy)
            bl_fail_memory(err);
        return copy;
    }

    cleanup_free char *code = directory_of_code();
    /* Beside bin/ or lib/, beside lib/<architecture>/, and the build tree. */
    static const char *const places[] = {"/../libexec/boxlite", "/../../libexec/boxlite", ""};
    char *first = NULL;

    for (size_t i = 0; code && i < sizeof places / sizeof *places; i++) {
        char place[BL_HOME_PATH_MAX + 64], shim[BL_HOME_PATH_MAX + 128];

        if (snprintf(place, sizeof place, "%s%s", code, places[i]) >= (int)sizeof place)
            continue;
        snprintf(shim, sizeof shim, "%s/%s", place, BL_SHIM_NAME);
        if (bl_os.access(shim, X_OK) == 0) {
            free(first);
            first = bl_os.realpath(place, NULL);
            break;
        }
        if (!first)
            first = strdup(place);
    }
    if (!first)
        bl_fail(err, BL_CONFIG, 0, "find the runtime directory: set BOXLITE_RUNTIME_DIR to where boxlite-shim is");
    return first;
}

int bl_guest_files_find(const char *runtime_dir, struct bl_guest_files *out, struct bl_error *err)
{
    static const char *const kinds[] = {"tuned", "stock"};
    const char *wanted = getenv("BOXLITE_KERNEL_KIND");

    *out = (struct bl_guest_files){0};
    if (wanted && *wanted && strcmp(wanted, "tuned") != 0 && strcmp(wanted, "stock") != 0)
        return bl_fail(err, BL_CONFIG, 0, "BOXLITE_KERNEL_KIND is '%s': 'tuned' and 'stock' are known", wanted);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        struct bl_guest_files files = {.kind = kinds[i]};

        if (wanted && *wanted && strcmp(wanted, kinds[i]) != 0)
            continue;
        files.kernel = bl_format("%s/guest/%s/vmlinux", runtime_dir, kinds[i]);
        files.initramfs = bl_format("%s/guest/%s/initramfs", runtime_dir, kinds[i]);
        if (!files.kernel || !files.initramfs) {
            bl_guest_files_free(&files);
            return bl_fail_memory(err);
        }
        if (bl_os.access(files.kernel, R_OK) == 0 && bl_os.access(files.initramfs, R_OK) == 0) {
            *out = files;
            return 0;
        }
        bl_guest_files_free(&files);
    }
    return bl_fail(
        err, BL_ENGINE, 0,
        "no guest kernel in %s/guest%s%s: build one with `make kernel`, or set BOXLITE_RUNTIME_DIR to a complete installation",
        runtime_dir, wanted && *wanted ? "/" : "", wanted && *wanted ? wanted : "");
}

void bl_guest_files_free(struct bl_guest_files *files)
{
    free(files->kernel);
    free(files->initramfs);
    *files = (struct bl_guest_files){0};
}
