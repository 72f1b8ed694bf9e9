/* SPDX-License-Identifier: Apache-2.0 */
/*
 * create.c - making a box
 *
 * The order is what keeps a crash from leaving anything: the box's directory is made and locked, its disk is put into it, and the
 * record is inserted last. A directory without a record and without a live lock is an abandoned creation, and swept.
 *
 * What the workload will be (command, environment, working directory, user) is settled here, from the image's configuration and
 * the options, so that a later change of the image changes nothing about the box.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/crash.h"
#include "base/io.h"
#include "base/log.h"
#include "base/os.h"
#include "base/strings.h"
#include "core/capabilities.h"
#include "core/change.h"
#include "core/kvm_note.h"
#include "core/links.h"
#include "core/lock.h"
#include "core/names.h"
#include "disk/qcow2.h"
#include "proto/launch.h"
#include "vmm/probe.h"

#define ID_ATTEMPTS 8
#define DISK_UNIT   512ull

/* engine_of() - The engine that is asked for: by the options, by the environment, or none in particular. */
static const char *engine_of(const struct bl_box_options *options)
{
    const char *engine = options->engine ? options->engine : getenv("BOXLITE_ENGINE");

    return engine && *engine ? engine : "auto";
}

/* check_options() - What can be refused before anything is touched. */
static int check_options(const struct bl_runtime *runtime, const struct bl_box_options *options, struct bl_error *err)
{
    struct bl_kvm_known kvm = {.verdict = BL_KVM_UNKNOWN};

    if (!options->image == !options->rootfs)
        return bl_fail(err, BL_INVALID_ARGUMENT, 0, "a box needs an image or a rootfs, and not both");
    if (options->name && bl_box_name_check(options->name, err) < 0)
        return -1;
    if (strcmp(engine_of(options), "kvm") == 0)
        bl_kvm_note_look(runtime, &kvm);
    if (bl_engine_check(engine_of(options), &kvm, err) < 0)
        return -1;
    if (options->cpus > BL_MOST_CPUS)
        return bl_fail(err, BL_INVALID_ARGUMENT, 0, "%u CPUs are too many: at most %d are possible", options->cpus, BL_MOST_CPUS);
    if (options->memory_mib && (options->memory_mib < BL_LEAST_MEMORY_MIB || options->memory_mib > BL_MOST_MEMORY_MIB))
        return bl_fail(err, BL_INVALID_ARGUMENT, 0, "%u MiB of memory are not possible: %d to %d are", options->memory_mib,
                       BL_LEAST_MEMORY_MIB, BL_MOST_MEMORY_MIB);
    if (options->disk_gb > BL_MOST_DISK_GB)
        return bl_fail(err, BL_INVALID_ARGUMENT, 0, "a disk of %u GB is too large: at most %d are possible", options->disk_gb,
                       BL_MOST_DISK_GB);
    if (options->restart.kind && (!options->detach || options->auto_remove))
        return bl_fail(err, BL_INVALID_ARGUMENT, 0, "a restart policy is for boxes that %s",
                       options->detach ? "stay after their end" : "outlive who creates them");
    if (options->auto_delete_ms && options->auto_remove)
        return bl_fail(err, BL_INVALID_ARGUMENT, 0, "a box that is removed at its end can't also be removed later");
    if (options->auto_stop_ms < 0 || options->auto_stop_ms > (int64_t)BL_AUTO_MOST_MS || options->auto_delete_ms < 0 ||
        options->auto_delete_ms > (int64_t)BL_AUTO_MOST_MS)
        return bl_fail(err, BL_INVALID_ARGUMENT, 0, "a box stops and goes by itself within ten years, or never");
    for (const char *const *entry = options->env; entry && *entry; entry++)
        if (**entry == '=' || !strchr(*entry, '='))
            return bl_fail(err, BL_INVALID_ARGUMENT, 0, "invalid environment variable '%s': KEY=VALUE is expected", *entry);
    if (options->workdir && *options->workdir != '/')
        return bl_fail(err, BL_INVALID_ARGUMENT, 0, "the working directory must be an absolute path, got: %s", options->workdir);
    if (options->kernel && *options->kernel != '/')
        return bl_fail(err, BL_INVALID_ARGUMENT, 0, "the kernel must be an absolute path, got: %s", options->kernel);
    return bl_capabilities_check(options->cap_add, err) < 0 || bl_capabilities_check(options->cap_drop, err) < 0 ? -1 : 0;
}

/* load_rootfs() - The image that an OCI layout directory holds, without naming it in the store. */
static int load_rootfs(struct bl_runtime *runtime, const char *rootfs, int cancel_fd, struct bl_image **out, struct bl_error *err)
{
    const struct bl_load_request request = {.path = rootfs, .anonymous = true, .cancel_fd = cancel_fd};
    struct bl_image **images = NULL;
    size_t count = 0;
    struct stat there;

    if (bl_os.stat(rootfs, &there) < 0)
        return errno == ENOENT ? bl_fail(err, BL_NOT_FOUND, 0, "the rootfs %s does not exist", rootfs)
                               : bl_fail(err, BL_STORAGE, errno, "look at the rootfs %s", rootfs);
    if (!S_ISDIR(there.st_mode))
        return bl_fail(err, BL_INVALID_ARGUMENT, 0, "the rootfs %s is not a directory", rootfs);

    cleanup_free char *marker = bl_format("%s/oci-layout", rootfs);

    if (!marker)
        return bl_fail_memory(err);
    if (bl_os.access(marker, R_OK) < 0)
        return bl_fail(err, BL_IMAGE, 0, "the rootfs %s is no OCI layout: it has no file oci-layout", rootfs);
    if (bl_images_load(runtime->images, &request, &images, &count, err) < 0)
        return -1;
    if (count) {
        *out = images[0];
        images[0] = images[count - 1];
        bl_image_free_list(images, count - 1);
        return 0;
    }
    bl_image_free_list(images, count);
    return bl_fail(err, BL_IMAGE, 0, "the rootfs %s holds no image", rootfs);
}

/* check_platform() - An image of another platform can be kept here, and not run. Return: 0; -1 with BL_UNSUPPORTED */
static int check_platform(const struct bl_image *image, struct bl_error *err)
{
    const char *os = image->config.os ? image->config.os : BL_BOX_OS;
    const char *architecture = image->config.architecture ? image->config.architecture : BL_BOX_ARCHITECTURE;

    if (!strcmp(os, BL_BOX_OS) && !strcmp(architecture, BL_BOX_ARCHITECTURE))
        return 0;
    return bl_fail(err, BL_UNSUPPORTED, 0,
                   "the image %s:%s here is of %s/%s, and boxes are " BL_BOX_OS "/" BL_BOX_ARCHITECTURE
                   ": `boxlite pull` without --platform gets the one for boxes",
                   image->repository, image->tag, os, architecture);
}

static int find_image(struct bl_runtime *runtime, const struct bl_box_options *options, int cancel_fd, struct bl_image **out,
                      struct bl_error *err)
{
    if (options->rootfs)
        return load_rootfs(runtime, options->rootfs, cancel_fd, out, err);
    if (bl_images_ensure(runtime->images, options->image, cancel_fd, out, err) < 0)
        return -1;
    if (!check_platform(*out, err))
        return 0;
    bl_image_free(*out);
    *out = NULL;
    return -1;
}

static int append_list(char ***to, const char *const *from)
{
    for (; from && *from; from++)
        if (bl_strings_append(to, *from) < 0)
            return -1;
    return 0;
}

/*
 * resolve_command() - Entrypoint and command, combined as Docker does it
 *
 * An entrypoint of the user's own drops the image's command, which was meant for the image's entrypoint.
 */
static int resolve_command(const struct bl_box_options *options, const struct bl_image_config *config, char ***out,
                           struct bl_error *err)
{
    const char *const *image_entrypoint = (const char *const *)config->entrypoint;
    const char *const *entrypoint = options->entrypoint ? options->entrypoint : image_entrypoint;
    bool own_command = options->command && options->command[0];
    bool own_entrypoint = options->entrypoint && options->entrypoint[0];

    *out = bl_strings_copy(NULL);
    if (!*out)
        return bl_fail_memory(err);
    if (!own_command && !own_entrypoint && !options->use_image_command)
        return 0;
    if (append_list(out, entrypoint) < 0)
        return bl_fail_memory(err);
    if (append_list(out, own_command ? options->command : options->entrypoint ? NULL : (const char *const *)config->cmd) < 0)
        return bl_fail_memory(err);
    if (!**out)
        return bl_fail(err, BL_INVALID_ARGUMENT, 0, "no command: the image has none of its own, give one after the image's name");
    return 0;
}

/* resolve_env() - The image's variables, overridden by the user's. */
static int resolve_env(const struct bl_box_options *options, const struct bl_image_config *config, char ***out)
{
    *out = bl_strings_copy((const char *const *)config->env);
    for (const char *const *entry = options->env; *out && entry && *entry; entry++)
        if (bl_strings_set_env(out, *entry) < 0)
            return -1;
    return *out ? 0 : -1;
}

/* parse_signal() - "SIGTERM", "TERM" or "15". Return: its number; 0: the default */
static unsigned int parse_signal(const char *text)
{
    long long number = 0;

    if (!text || !*text)
        return 0;
    if (bl_parse_number(text, 1, SIGRTMAX, &number) == 0)
        return (unsigned int)number;
    if (strncasecmp(text, "SIG", 3) == 0)
        text += 3;
    for (int i = 1; i < SIGRTMIN; i++) {
        const char *name = sigabbrev_np(i);

        if (name && strcasecmp(name, text) == 0)
            return (unsigned int)i;
    }
    if (strncasecmp(text, "RTMIN+", 6) == 0 && bl_parse_number(text + 6, 0, SIGRTMAX - SIGRTMIN, &number) == 0)
        return (unsigned int)(SIGRTMIN + number);
    return 0;
}

static int copy_text(const char *text, char **out)
{
    *out = text && *text ? strdup(text) : NULL;
    return text && *text && !*out ? -1 : 0;
}

/* image_name() - What people call the image. Return: allocated; NULL when memory ran out */
static char *image_name(const struct bl_box_options *options, const struct bl_image *image)
{
    if (options->rootfs || !image->repository)
        return strdup(options->rootfs ? options->rootfs : options->image);
    if (!image->tag)
        return strdup(image->repository);
    return bl_format("%s:%s", image->repository, image->tag);
}

/* fill_record() - Settle everything about the new box. */
static int fill_record(const struct bl_box_options *options, const struct bl_image *image, struct bl_record *record,
                       struct bl_error *err)
{
    uint64_t disk_bytes = (uint64_t)(options->disk_gb ? options->disk_gb : BL_DEFAULT_DISK_GB) << 30;

    record->created_at_ms = bl_epoch_ms();
    record->cpus = options->cpus ? options->cpus : BL_DEFAULT_CPUS;
    record->memory_mib = options->memory_mib ? options->memory_mib : BL_DEFAULT_MEMORY_MIB;
    record->disk_bytes = disk_bytes > image->disk_bytes ? disk_bytes : (image->disk_bytes + DISK_UNIT - 1) & ~(DISK_UNIT - 1);
    record->tty = options->tty;
    record->open_stdin = options->open_stdin;
    record->detach = options->detach;
    record->auto_remove = options->auto_remove;
    record->unconfined = options->unconfined;
    record->no_auto_resume = options->no_auto_resume;
    record->restart = options->restart;
    record->auto_stop_ms = options->auto_stop_ms;
    record->auto_delete_ms = options->auto_delete_ms;
    record->stop_signal = parse_signal(image->config.stop_signal);
    record->state.status = BL_BOX_CONFIGURED;
    record->image = image_name(options, image);
    record->engine = strdup(engine_of(options));
    if (resolve_command(options, &image->config, &record->command, err) < 0 ||
        bl_capabilities_normalize(options->cap_add, &record->cap_add, err) < 0 ||
        bl_capabilities_normalize(options->cap_drop, &record->cap_drop, err) < 0)
        return -1;
    if (!record->image || !record->engine || resolve_env(options, &image->config, &record->env) < 0 ||
        copy_text(options->name, &record->name) < 0 || copy_text(image->manifest_digest, &record->image_digest) < 0 ||
        copy_text(options->kernel, &record->kernel) < 0 ||
        copy_text(options->workdir ? options->workdir : image->config.working_dir, &record->workdir) < 0 ||
        copy_text(options->user ? options->user : image->config.user, &record->user) < 0)
        return bl_fail_memory(err);
    return 0;
}

/* check_workload() - Refuse now what the protocol can't carry at the start. */
static int check_workload(const struct bl_record *record, struct bl_error *err)
{
    const struct bl_open workload = {
        .kind = BL_OPEN_WORKLOAD, .args = record->command, .env = record->env, .cwd = record->workdir, .user = record->user};
    cleanup_buffer struct bl_buffer fields = BL_BUFFER_INIT(BL_FRAME_PAYLOAD_MAX);
    struct bl_open decoded;

    errno = 0;
    if (bl_open_encode(&fields, &workload) < 0 || bl_open_decode(bl_buffer_data(&fields), fields.length, &decoded) < 0)
        return errno == ENOMEM
                   ? bl_fail_memory(err)
                   : bl_fail(
                         err, BL_INVALID_ARGUMENT, 0,
                         "command, environment, working directory and user together are too long: at most %d bytes are possible",
                         BL_FRAME_PAYLOAD_MAX);
    bl_open_free(&decoded);
    return 0;
}

/* make_directory() - A new id and its directory, locked. Return: the lock; -1 */
static int make_directory(struct bl_runtime *runtime, char *id, struct bl_error *err)
{
    for (int attempt = 0; attempt < ID_ATTEMPTS; attempt++) {
        if (bl_box_id_make(id) < 0)
            return bl_fail(err, BL_INTERNAL, errno, "make a random id");

        int lock = bl_lifecycle_create(runtime->boxes_fd, id);

        if (lock >= 0)
            return lock;
        if (errno != EEXIST)
            return bl_fail(err, errno == ENOSPC || errno == EDQUOT ? BL_RESOURCE_EXHAUSTED : BL_STORAGE, errno,
                           "make a box's directory in %s/boxes", runtime->home);
    }
    return bl_fail(err, BL_STORAGE, EEXIST, "make a box's directory in %s/boxes", runtime->home);
}

static int make_file(int dir_fd, const char *name)
{
    return bl_os.openat(dir_fd, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
}

/* make_disk() - The base by a link of its own, so that removing the image never breaks the box, and the overlay on it. */
static int make_disk(struct bl_runtime *runtime, const struct bl_image *image, const struct bl_record *record, struct bl_error *err)
{
    cleanup_close int box = bl_os.openat(runtime->boxes_fd, record->id, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    const struct {
        const char *name;
        bool directory;
    } made[] = {{"disks", true}, {"logs", true}, {BL_FILE_SHIM_LOCK, false}};

    if (box < 0)
        return bl_fail(err, BL_STORAGE, errno, "open the directory of the new box");
    for (size_t i = 0; i < sizeof made / sizeof *made; i++) {
        cleanup_close int file = made[i].directory ? -1 : make_file(box, made[i].name);

        if (made[i].directory ? bl_os.mkdirat(box, made[i].name, 0700) < 0 : file < 0)
            return bl_fail(err, errno == ENOSPC || errno == EDQUOT ? BL_RESOURCE_EXHAUSTED : BL_STORAGE, errno,
                           "make %s of the new box", made[i].name);
    }
    BL_CRASH_POINT("create:files-made");
    if (bl_os.linkat(AT_FDCWD, image->disk_path, box, BL_FILE_BASE, 0) < 0)
        return bl_fail(err, errno == ENOENT ? BL_NOT_FOUND : BL_STORAGE, errno, "link the disk of image %s into the new box",
                       record->image);
    BL_CRASH_POINT("create:base-linked");

    cleanup_close int overlay = make_file(box, BL_FILE_OVERLAY);

    if (overlay < 0)
        return bl_fail(err, BL_STORAGE, errno, "make the disk of the new box");
    BL_CRASH_POINT("create:overlay-made");
    if (bl_qcow2_create(overlay, record->disk_bytes, image->disk_bytes, "base.ext4", err) < 0)
        return -1;
    BL_CRASH_POINT("create:overlay-written");
    /* A box that lives for one command need not survive a crash of the machine. */
    if (!record->auto_remove && bl_os.fdatasync(overlay) < 0)
        return bl_fail(err, BL_STORAGE, errno, "write the disk of the new box");
    BL_CRASH_POINT("create:overlay-synced");
    return 0;
}

/* make_box() - Directory, disk, record; on failure nothing of it is left. */
static int make_box(struct bl_runtime *runtime, const struct bl_image *image, struct bl_record *record, struct bl_error *err)
{
    cleanup_lifecycle int lock = make_directory(runtime, record->id, err);

    if (lock < 0)
        return -1;
    int failed = make_disk(runtime, image, record, err);

    record->create_ms = bl_epoch_ms() - record->created_at_ms;
    if (failed || bl_store_insert(runtime->store, record, err) < 0) {
        bl_remove_tree(runtime->boxes_fd, record->id);
        return -1;
    }
    /* Who has just got a name is the only one that it may lead to: a link that is there is of a box that the database has lost. */
    if (record->name && bl_link_remove(runtime->home_fd, record->name, NULL) < 0)
        bl_log(BL_LOG_WARN, "box %s: remove a former link of its name: %s", record->id, strerror(errno));
    BL_CRASH_POINT("create:recorded");
    return 0;
}

int bl_box_create(struct bl_runtime *runtime, const struct bl_box_options *options, int cancel_fd, char *id, struct bl_error *err)
{
    struct bl_error local = BL_ERROR_INIT;
    cleanup_record struct bl_record record = {0};
    struct bl_image *image = NULL;

    if (!err)
        err = &local;
    if (bl_runtime_check(runtime, err) < 0 || check_options(runtime, options, err) < 0)
        return -1;
    /* One that is doomed may still have the name. */
    bl_sweep_doomed(runtime);

    /* The name is looked at before an image is loaded, which may take long; the insertion has the last word. */
    int taken = options->name ? bl_store_name_taken(runtime->store, options->name, err) : 0;

    if (taken)
        return taken < 0 ? -1
                         : bl_fail(err, BL_ALREADY_EXISTS, 0, "a box named '%s' already exists: remove it, or choose another name",
                                   options->name);
    for (int attempt = 0;; attempt++) {
        if (find_image(runtime, options, cancel_fd, &image, err) < 0)
            return -1;

        int failed = fill_record(options, image, &record, err) < 0 || check_workload(&record, err) < 0 ||
                     make_box(runtime, image, &record, err) < 0;

        bl_image_free(image);
        if (!failed)
            break;
        /* The image was removed between being found and being linked: look once more. */
        if (attempt || err->code != BL_NOT_FOUND)
            return -1;
        bl_record_free(&record);
    }
    memcpy(id, record.id, sizeof record.id);
    BL_CRASH_POINT("create:unlocked");
    bl_log(BL_LOG_INFO, "box %s: created from %s", record.id, record.image);
    return 0;
}
