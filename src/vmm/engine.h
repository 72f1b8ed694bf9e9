/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine.h - a virtual machine, whoever runs it
 *
 * An engine runs one VM: processors, memory, a kernel with an initramfs and a command line, one disk, the agent's port and a
 * console. The set of devices is a constant of the product: block, serial (agent port and console), random numbers, balloon; a
 * device without a use is present and empty. Nothing here names a processor architecture.
 *
 * All of it runs on the owner's event loop, on one thread; nothing blocks but start(), for as long as a fork takes. Every
 * struct bl_engine lives from start() to free(). What an engine can't do yet fails with BL_UNSUPPORTED.
 *
 * A VM can be saved and go on elsewhere, several times over. Its memory is a descriptor that the owner made (memory_fd) and copies;
 * the rest of its state, a few ten KiB, is what save() writes and load() reads. The two belong together, and to what identity()
 * says: another program, processor count, memory size or device set can't take them over. The disk is no part of a state: a guest
 * that has not touched its disk yet may be given another one. Where the memory of a saved VM stands in a file, an engine that
 * bl_engine_maps_memory() takes it from there, page by page as the guest touches it, instead of a copy that the owner made.
 */
#ifndef BL_VMM_ENGINE_H
#define BL_VMM_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/buffer.h"
#include "base/error.h"
#include "base/loop.h"
#include "vmm/probe.h"

#define BL_ENGINE_DISKS_MAX    16
#define BL_ENGINE_MESSAGE_MAX  512
#define BL_ENGINE_DISK_SERIAL  "boxlite-root" /* at most 20 bytes; the same for every box, as a saved machine can become any */
#define BL_ENGINE_IDENTITY_MAX 32768

enum bl_disk_format { BL_DISK_RAW, BL_DISK_QCOW2 };

/* A part of a saved VM's memory that is not zero, and where a file has it; bytes, multiples of the page size. */
struct bl_engine_extent {
    uint64_t memory, file, bytes;
};

/* One file of the disk's chain. */
struct bl_engine_disk {
    int fd;
    enum bl_disk_format format;
};

struct bl_engine_config {
    const char *name; /* of the VM, for people who look at processes */
    unsigned int cpus;
    uint64_t memory_bytes;
    const char *kernel;       /* path of an ELF kernel with a PVH note, or of a bzImage */
    const char *initramfs;    /* path */
    const char *command_line; /* what the product and the user want; the engine puts its own words before it; may be empty */
    /* The disk: the first file is the base; the last is the one that is written. Backing names in headers are not followed. */
    struct bl_engine_disk disks[BL_ENGINE_DISKS_MAX];
    size_t disk_count;
    bool unconfined;    /* its process runs without a sandbox around it */
    int directory_fd;   /* what this process still opens by path lies below; stays the caller's; -1: nothing */
    bool volatile_disk; /* nothing of the disk is needed after the VM: no flush reaches the host's disk */
    int agent_fd;       /* stream socket that becomes the guest's port boxlite.agent */
    int console_fd;     /* stream socket that the guest's console writes to */
    int memory_fd;      /* the guest's memory, a memfd of memory_bytes that others may write before load(); -1: the engine's own */
    bool loads;         /* nothing is booted: the VM waits for load() */
    /* With loads, for an engine that maps memory: what is not zero of it, in a file that nobody changes any more. The extents stay
     * the caller's, and are looked at until start() returns */
    int saved_fd; /* -1: the memory is in memory_fd */
    const struct bl_engine_extent *extents;
    size_t extent_count;
};

/* How a VM ended. */
enum bl_engine_end {
    BL_ENGINE_END_GUEST,  /* the guest powered off or reset */
    BL_ENGINE_END_KILLED, /* stop() with BL_ENGINE_KILL or BL_ENGINE_QUIT */
    BL_ENGINE_END_FAILED, /* the engine died by itself or from outside */
};

struct bl_engine;

struct bl_engine_events {
    /* The VM is no more and its process, if it had one, is reaped. @message: what happened, one line, for END_FAILED */
    void (*ended)(enum bl_engine_end how, const char *message, void *data);
    /* save() is done, and the VM stands still until resume(). @error: NULL: all is written; else why it is not */
    void (*saved)(const char *error, void *data);
};

enum bl_engine_stop {
    BL_ENGINE_QUIT, /* orderly: flush and close the disks; the guest is not asked */
    BL_ENGINE_KILL, /* at once */
};

/* What every engine offers; called through the functions below. */
struct bl_engine_ops {
    const char *name;
    int (*quiesce)(struct bl_engine *engine, struct bl_error *err);
    int (*pause)(struct bl_engine *engine, struct bl_error *err);
    int (*resume)(struct bl_engine *engine, struct bl_error *err);
    int (*save)(struct bl_engine *engine, int fd, struct bl_error *err);
    int (*load)(struct bl_engine *engine, int fd, struct bl_error *err);
    void (*stop)(struct bl_engine *engine, enum bl_engine_stop how);
    void (*free)(struct bl_engine *engine);
};

/* When the parts of a start were over, microseconds of the monotonic clock; 0: not yet, or the engine has no such part. */
struct bl_engine_moments {
    int64_t made_us, loaded_us; /* the VM and its memory are made; kernel, initramfs and tables are in it */
    _Atomic int64_t running_us; /* the first processor is about to run, or the process that will run it was made; any thread */
};

/* First member of every engine's own struct. */
struct bl_engine {
    const struct bl_engine_ops *ops;
    struct bl_engine_moments moments;
};

/*
 * bl_engine_start() - Start a VM
 * @choice: from bl_engine_choose()
 * @config: descriptors are taken in every case: they belong to the VM, or are closed; all else is copied
 *
 * To be called from the process's main thread: the death signal of a child process follows the thread that forked it.
 *
 * Return: 0 and *@out; -1: BL_ENGINE, BL_UNSUPPORTED_ENGINE (KVM refuses: another engine may do)
 */
int bl_engine_start(struct bl_loop *loop, const struct bl_engine_choice *choice, struct bl_engine_config *config,
                    const struct bl_engine_events *events, void *data, struct bl_engine **out, struct bl_error *err);
/* bl_engine_maps_memory() - Whether a saved VM's memory is taken from its file (config: saved_fd), not from a copy in memory_fd. */
bool bl_engine_maps_memory(const struct bl_engine_choice *choice);
/* bl_engine_quiesce() - Let requests under way finish, so that the disk's files are consistent. Return: 0; -1 */
int bl_engine_quiesce(struct bl_engine *engine, struct bl_error *err);
int bl_engine_pause(struct bl_engine *engine, struct bl_error *err);
int bl_engine_resume(struct bl_engine *engine, struct bl_error *err);
/*
 * bl_engine_save() - Stop the VM and write its state, all but the memory, to a descriptor from where that stands
 * @fd: of a file; stays the caller's, whose offset is behind the state when it is done
 * Return: 0: events->saved() follows, unless the VM ends before; -1: the VM runs on
 */
int bl_engine_save(struct bl_engine *engine, int fd, struct bl_error *err);
/*
 * bl_engine_load() - Take over a state that save() wrote, and go on; the memory is in place
 * @fd: of a file that stands where the state begins; stays the caller's, who leaves its offset alone from now on
 * Return: 0: a state that can't be taken over ends the VM; -1
 */
int bl_engine_load(struct bl_engine *engine, int fd, struct bl_error *err);
/*
 * bl_engine_identity() - All that a saved state depends on, as text, to be compared for equality
 *
 * Files are named by what tells one version from the next (device, inode, size, time of change), not by their content. A state is
 * of no use after the host was booted anew: that is for the caller to see to.
 *
 * Return: 0; -1: the engine saves no states, something can't be looked at, or no room in @out
 */
int bl_engine_identity(const struct bl_engine_choice *choice, const struct bl_engine_config *config, struct bl_buffer *out);
/* bl_engine_stop() - End the VM; events->ended() follows. May be called again with more force. */
void bl_engine_stop(struct bl_engine *engine, enum bl_engine_stop how);
/* bl_engine_free() - Give everything back; a VM that still runs is killed and reaped. NULL: nothing happens */
void bl_engine_free(struct bl_engine *engine);

/* bl_engine_close_config() - Close the descriptors of a config; each is -1 afterwards. */
void bl_engine_close_config(struct bl_engine_config *config);

#endif
