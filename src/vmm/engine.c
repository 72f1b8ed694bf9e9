/* SPDX-License-Identifier: Apache-2.0 */
/* engine.c - passing calls on to the engine that was chosen; see engine.h */
#include "vmm/engine.h"

#include "base/cleanup.h"
#include "vmm/kvm/kvm.h"
#include "vmm/qemu/qemu.h"

#ifndef __x86_64__

int bl_kvm_start(struct bl_loop *loop, struct bl_engine_config *config, const struct bl_engine_events *events, void *data,
                 struct bl_engine **out, struct bl_error *err)
{
    (void)loop, (void)config, (void)events, (void)data, (void)out;
    return bl_fail(err, BL_UNSUPPORTED_ENGINE, 0, "engine kvm is not there for this processor yet");
}

int bl_kvm_identity(const struct bl_engine_config *config, struct bl_buffer *out)
{
    (void)config, (void)out;
    return -1;
}

#endif

int bl_engine_start(struct bl_loop *loop, const struct bl_engine_choice *choice, struct bl_engine_config *config,
                    const struct bl_engine_events *events, void *data, struct bl_engine **out, struct bl_error *err)
{
    int failed = choice->own ? bl_kvm_start(loop, config, events, data, out, err)
                             : bl_qemu_start(loop, choice, config, events, data, out, err);

    bl_engine_close_config(config);
    return failed;
}

bool bl_engine_maps_memory(const struct bl_engine_choice *choice)
{
    return choice->own;
}

int bl_engine_identity(const struct bl_engine_choice *choice, const struct bl_engine_config *config, struct bl_buffer *out)
{
    return choice->own ? bl_kvm_identity(config, out) : bl_qemu_identity(choice, config, out);
}

void bl_engine_close_config(struct bl_engine_config *config)
{
    for (size_t i = 0; i < config->disk_count; i++)
        bl_close_fd(&config->disks[i].fd);
    bl_close_fd(&config->agent_fd);
    bl_close_fd(&config->console_fd);
    bl_close_fd(&config->memory_fd);
    bl_close_fd(&config->saved_fd);
}

static int unsupported(const struct bl_engine *engine, const char *what, struct bl_error *err)
{
    return bl_fail(err, BL_UNSUPPORTED, 0, "engine %s can't %s a VM yet", engine->ops->name, what);
}

int bl_engine_quiesce(struct bl_engine *engine, struct bl_error *err)
{
    return engine->ops->quiesce ? engine->ops->quiesce(engine, err) : unsupported(engine, "quiesce", err);
}

int bl_engine_pause(struct bl_engine *engine, struct bl_error *err)
{
    return engine->ops->pause ? engine->ops->pause(engine, err) : unsupported(engine, "pause", err);
}

int bl_engine_resume(struct bl_engine *engine, struct bl_error *err)
{
    return engine->ops->resume ? engine->ops->resume(engine, err) : unsupported(engine, "resume", err);
}

int bl_engine_save(struct bl_engine *engine, int fd, struct bl_error *err)
{
    return engine->ops->save ? engine->ops->save(engine, fd, err) : unsupported(engine, "save", err);
}

int bl_engine_load(struct bl_engine *engine, int fd, struct bl_error *err)
{
    return engine->ops->load ? engine->ops->load(engine, fd, err) : unsupported(engine, "load", err);
}

void bl_engine_stop(struct bl_engine *engine, enum bl_engine_stop how)
{
    engine->ops->stop(engine, how);
}

void bl_engine_free(struct bl_engine *engine)
{
    if (engine)
        engine->ops->free(engine);
}
