/* SPDX-License-Identifier: Apache-2.0 */
/* launch.c - the shim's configuration as bytes; see launch.h */
#include "proto/launch.h"

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"

#define LAUNCH_MAGIC   "BLLAUNCH"
#define LAUNCH_VERSION 1

/* Tags of the document. Library and shim come from one build, but a running shim outlives an upgrade: tags never change meaning. */
enum launch_tag {
    LAUNCH_BOX_ID = 1,
    LAUNCH_BOX_DIR,
    LAUNCH_ENGINE,
    LAUNCH_KERNEL,
    LAUNCH_INITRAMFS,
    LAUNCH_KERNEL_ARGS,
    LAUNCH_HOSTNAME,
    LAUNCH_MEMORY,
    LAUNCH_DISK,
    LAUNCH_CPUS,
    LAUNCH_START_TIMEOUT,
    LAUNCH_STOP_GRACE,
    LAUNCH_READY_FD,
    LAUNCH_LIFECYCLE_FD,
    LAUNCH_CREATOR_FD,
    LAUNCH_FLAGS,
    LAUNCH_WORKLOAD,
    LAUNCH_RESTART_KIND,
    LAUNCH_RESTART_MOST,
    LAUNCH_RESTARTS,
    LAUNCH_AUTO_STOP,
    LAUNCH_TEMPLATES,
    LAUNCH_KVM_REFUSED,
    LAUNCH_TAG_END
};

#define FLAG_START_ON_ATTACH 1u
#define FLAG_DISCARD         2u
#define FLAG_DEBUG           4u
#define FLAG_UNCONFINED      8u
#define FLAG_KVM_USABLE      16u

static int put_numbers(struct bl_buffer *out, const struct bl_launch *launch)
{
    uint32_t flags = (launch->start_on_attach ? FLAG_START_ON_ATTACH : 0) | (launch->discard ? FLAG_DISCARD : 0) |
                     (launch->debug ? FLAG_DEBUG : 0) | (launch->unconfined ? FLAG_UNCONFINED : 0) |
                     (launch->kvm_usable ? FLAG_KVM_USABLE : 0);
    int failed = bl_field_put_u64(out, LAUNCH_MEMORY, launch->memory_bytes);

    failed |= bl_field_put_u64(out, LAUNCH_DISK, launch->disk_bytes);
    failed |= bl_field_put_u32(out, LAUNCH_CPUS, launch->cpus);
    failed |= bl_field_put_u32(out, LAUNCH_START_TIMEOUT, launch->start_timeout_ms);
    failed |= bl_field_put_u32(out, LAUNCH_STOP_GRACE, launch->stop_grace_ms);
    failed |= bl_field_put_u32(out, LAUNCH_FLAGS, flags);
    if (launch->restart.kind) {
        failed |= bl_field_put_u32(out, LAUNCH_RESTART_KIND, launch->restart.kind);
        failed |= bl_field_put_u32(out, LAUNCH_RESTART_MOST, launch->restart.most);
        failed |= bl_field_put_u32(out, LAUNCH_RESTARTS, launch->restarts);
    }
    if (launch->auto_stop_ms)
        failed |= bl_field_put_u64(out, LAUNCH_AUTO_STOP, launch->auto_stop_ms);
    if (launch->ready_fd >= 0)
        failed |= bl_field_put_u32(out, LAUNCH_READY_FD, (uint32_t)launch->ready_fd);
    if (launch->lifecycle_fd >= 0)
        failed |= bl_field_put_u32(out, LAUNCH_LIFECYCLE_FD, (uint32_t)launch->lifecycle_fd);
    if (launch->creator_fd >= 0)
        failed |= bl_field_put_u32(out, LAUNCH_CREATOR_FD, (uint32_t)launch->creator_fd);
    return failed ? -1 : 0;
}

int bl_launch_encode(struct bl_buffer *out, const struct bl_launch *launch)
{
    cleanup_buffer struct bl_buffer fields = BL_BUFFER_INIT(BL_LAUNCH_MAX - BL_LAUNCH_PREAMBLE);
    cleanup_buffer struct bl_buffer workload = BL_BUFFER_INIT(BL_LAUNCH_MAX);
    uint8_t preamble[BL_LAUNCH_PREAMBLE];
    int failed = bl_field_put_string(&fields, LAUNCH_BOX_ID, launch->box_id);

    failed |= bl_field_put_string(&fields, LAUNCH_BOX_DIR, launch->box_dir);
    failed |= bl_field_put_string(&fields, LAUNCH_ENGINE, launch->engine);
    failed |= bl_field_put_string(&fields, LAUNCH_KERNEL, launch->kernel);
    failed |= bl_field_put_string(&fields, LAUNCH_INITRAMFS, launch->initramfs);
    failed |= bl_field_put_string(&fields, LAUNCH_KERNEL_ARGS, launch->kernel_args);
    failed |= bl_field_put_string(&fields, LAUNCH_HOSTNAME, launch->hostname);
    failed |= bl_field_put_string(&fields, LAUNCH_TEMPLATES, launch->templates);
    failed |= bl_field_put_string(&fields, LAUNCH_KVM_REFUSED, launch->kvm_refused);
    failed |= put_numbers(&fields, launch);
    failed |= bl_open_encode(&workload, &launch->workload);
    failed |= bl_field_put_bytes(&fields, LAUNCH_WORKLOAD, bl_buffer_data(&workload), workload.length);
    if (failed)
        return -1;
    memcpy(preamble, LAUNCH_MAGIC, 8);
    bl_put_le32(preamble + 8, LAUNCH_VERSION);
    bl_put_le32(preamble + 12, (uint32_t)fields.length);
    return bl_buffer_append(out, preamble, sizeof preamble) < 0 || bl_buffer_append(out, bl_buffer_data(&fields), fields.length) < 0
               ? -1
               : 0;
}

static int take_number(const struct bl_field *field, struct bl_launch *launch)
{
    uint64_t number = 0;

    if (bl_field_number(field, &number) < 0)
        return -1;
    if (field->tag != LAUNCH_MEMORY && field->tag != LAUNCH_DISK && field->tag != LAUNCH_AUTO_STOP && number > UINT32_MAX)
        return -1;
    switch (field->tag) {
    case LAUNCH_MEMORY:
        launch->memory_bytes = number;
        return 0;
    case LAUNCH_DISK:
        launch->disk_bytes = number;
        return 0;
    case LAUNCH_CPUS:
        launch->cpus = (uint32_t)number;
        return 0;
    case LAUNCH_START_TIMEOUT:
        launch->start_timeout_ms = (uint32_t)number;
        return 0;
    case LAUNCH_STOP_GRACE:
        launch->stop_grace_ms = (uint32_t)number;
        return 0;
    case LAUNCH_RESTART_KIND:
        if (number > BL_RESTART_UNLESS_STOPPED)
            return -1;
        launch->restart.kind = (enum bl_restart_kind)number;
        return 0;
    case LAUNCH_RESTART_MOST:
        launch->restart.most = (uint32_t)number;
        return 0;
    case LAUNCH_RESTARTS:
        launch->restarts = (uint32_t)number;
        return 0;
    case LAUNCH_AUTO_STOP:
        launch->auto_stop_ms = number <= BL_AUTO_MOST_MS ? number : BL_AUTO_MOST_MS;
        return 0;
    case LAUNCH_FLAGS:
        launch->start_on_attach = number & FLAG_START_ON_ATTACH;
        launch->discard = number & FLAG_DISCARD;
        launch->debug = number & FLAG_DEBUG;
        launch->unconfined = number & FLAG_UNCONFINED;
        launch->kvm_usable = number & FLAG_KVM_USABLE;
        return 0;
    default:
        if (number > INT32_MAX)
            return -1;
        *(field->tag == LAUNCH_READY_FD       ? &launch->ready_fd
          : field->tag == LAUNCH_LIFECYCLE_FD ? &launch->lifecycle_fd
                                              : &launch->creator_fd) = (int)number;
        return 0;
    }
}

static int take_text(const struct bl_field *field, char **out)
{
    if (*out)
        return -1;
    *out = bl_field_string(field, BL_ARG_BYTES_MAX);
    return *out ? 0 : -1;
}

static int take_field(const struct bl_field *field, struct bl_launch *launch)
{
    char **const texts[] = {
        [LAUNCH_BOX_ID] = &launch->box_id,     [LAUNCH_BOX_DIR] = &launch->box_dir,     [LAUNCH_ENGINE] = &launch->engine,
        [LAUNCH_KERNEL] = &launch->kernel,     [LAUNCH_INITRAMFS] = &launch->initramfs, [LAUNCH_KERNEL_ARGS] = &launch->kernel_args,
        [LAUNCH_HOSTNAME] = &launch->hostname,
    };

    if (field->tag < LAUNCH_BOX_ID || field->tag >= LAUNCH_TAG_END)
        return 0;
    if (field->tag <= LAUNCH_HOSTNAME)
        return take_text(field, texts[field->tag]);
    if (field->tag == LAUNCH_TEMPLATES)
        return take_text(field, &launch->templates);
    if (field->tag == LAUNCH_KVM_REFUSED)
        return take_text(field, &launch->kvm_refused);
    if (field->tag == LAUNCH_WORKLOAD)
        return launch->workload.kind ? -1 : bl_open_decode(field->bytes, field->length, &launch->workload);
    return take_number(field, launch);
}

int bl_launch_decode(const void *bytes, size_t length, struct bl_launch *out, struct bl_error *err)
{
    const uint8_t *at = bytes;
    struct bl_field field;
    int more;

    *out = (struct bl_launch){.ready_fd = -1, .lifecycle_fd = -1, .creator_fd = -1};
    if (length < BL_LAUNCH_PREAMBLE || memcmp(at, LAUNCH_MAGIC, 8) != 0)
        return bl_fail(err, BL_CONFIG, 0,
                       "no configuration on standard input: boxlite-shim is started by the library, not by hand");
    if (bl_get_le32(at + 8) != LAUNCH_VERSION)
        return bl_fail(
            err, BL_CONFIG, 0,
            "configuration of version %u, this is a boxlite-shim for version %d: library and shim must be of one installation",
            bl_get_le32(at + 8), LAUNCH_VERSION);
    if (bl_get_le32(at + 12) != length - BL_LAUNCH_PREAMBLE)
        return bl_fail(err, BL_CONFIG, 0, "configuration cut short: %zu of %u bytes came", length - BL_LAUNCH_PREAMBLE,
                       bl_get_le32(at + 12));

    struct bl_field_reader reader = BL_FIELD_READER(at + BL_LAUNCH_PREAMBLE, length - BL_LAUNCH_PREAMBLE);

    while ((more = bl_field_next(&reader, &field)) > 0)
        if (take_field(&field, out) < 0)
            break;
    if (more == 0 && out->box_id && out->box_dir && out->engine && out->kernel && out->initramfs && out->cpus &&
        out->memory_bytes && out->disk_bytes && out->workload.kind == BL_OPEN_WORKLOAD)
        return 0;
    bl_launch_free(out);
    return bl_fail(err, BL_CONFIG, 0, "configuration broken: %s", more ? "a field can't be understood" : "a field is missing");
}

void bl_launch_free(struct bl_launch *launch)
{
    free(launch->box_id);
    free(launch->box_dir);
    free(launch->engine);
    free(launch->kernel);
    free(launch->initramfs);
    free(launch->kernel_args);
    free(launch->hostname);
    free(launch->templates);
    free(launch->kvm_refused);
    bl_open_free(&launch->workload);
    *launch = (struct bl_launch){.ready_fd = -1, .lifecycle_fd = -1, .creator_fd = -1};
}
