/* SPDX-License-Identifier: Apache-2.0 */
/*
 * core.h - the runtime: boxes, their lifecycle, and conversations with what runs in them
 *
 * A runtime is one program's view of a home. Any number of runtimes, in one process or many, may use one home at the same time;
 * there is no lock on the home. All functions may be called from many threads at once unless they say otherwise. None of them
 * prints, exits, changes the process's signal handlers, directory or environment, or reaps a process it did not start. After
 * fork(), a child must not call them (BL_INVALID_STATE).
 *
 * Waiting functions take a @cancel_fd: when it becomes readable they give up with BL_STOPPED and leave nothing behind; -1: none.
 *
 * Names: wherever a box is named, an exact id, an exact name or a unique prefix of an id will do, in this order. Nothing found:
 * BL_NOT_FOUND, "No such box: <name>".
 */
#ifndef BL_CORE_CORE_H
#define BL_CORE_CORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "image/image.h"
#include "proto/messages.h"
#include "proto/moments.h"
#include "proto/restart.h"

#define BL_BOX_ID_LENGTH 12 /* random base62 */

#define BL_DEFAULT_CPUS             1
#define BL_DEFAULT_MEMORY_MIB       512
#define BL_LEAST_MEMORY_MIB         128
#define BL_MOST_MEMORY_MIB          65536
#define BL_MOST_CPUS                32
#define BL_DEFAULT_DISK_GB          10
#define BL_MOST_DISK_GB             1024
#define BL_DEFAULT_START_TIMEOUT_MS 60000 /* BOXLITE_START_TIMEOUT (seconds) changes it */
#define BL_DEFAULT_STOP_GRACE_MS    10000

struct bl_runtime;

/* bl_runtime_default_home() - BOXLITE_HOME, else ~/.boxlite. Return: allocated absolute path; NULL with *@err */
char *bl_runtime_default_home(struct bl_error *err);
/*
 * bl_runtime_open() - Use a home, making it when it is missing
 * @home: absolute path; NULL: bl_runtime_default_home()
 *
 * Judges the boxes that claim to run and heals their records, but removes nothing; waits for no lock.
 *
 * Return: 0 and *@out; -1: BL_STORAGE (not writable, not local, locks don't work), BL_DATABASE, BL_CONFIG (not absolute)
 */
int bl_runtime_open(const char *home, struct bl_runtime **out, struct bl_error *err);
/*
 * bl_runtime_begin() - As bl_runtime_open(), but only the home is opened; the first operation that needs its database opens the
 * rest
 *
 * For one command in a box that answers (bl_session_exec_at_once()), which needs nothing else.
 */
int bl_runtime_begin(const char *home, struct bl_runtime **out, struct bl_error *err);
/*
 * bl_runtime_close() - Stop using a home: attached boxes that this runtime started are stopped, detached ones run on
 *
 * Waits for the stops, at most the grace period. Not to be called while another thread uses the runtime.
 */
void bl_runtime_close(struct bl_runtime *runtime);
/*
 * bl_runtime_stop_attached() - Stop the attached boxes that this runtime started; it stays open
 * @grace_ms: until they are killed; negative: no limit
 * Return: 0; -1 with the first failure, after all were tried
 */
int bl_runtime_stop_attached(struct bl_runtime *runtime, int64_t grace_ms, struct bl_error *err);
const char *bl_runtime_home(const struct bl_runtime *runtime);
/* bl_runtime_images() - The home's images; lives as long as the runtime. */
struct bl_images *bl_runtime_images(struct bl_runtime *runtime);

/* What the runtime would use, for `info`; owned strings. */
struct bl_runtime_info {
    char *engine;         /* "kvm", "qemu (kvm)", "qemu (emulation)"; NULL: none can run */
    char *engine_reason;  /* why this one, or why none */
    char *virtualization; /* "available" or "unavailable: <why and what to do>" */
    char *kernel;         /* path; NULL: none found */
    char *kernel_kind;    /* "tuned", "stock" */
    char *runtime_dir;
    unsigned int boxes, running, stopped, configured; /* stopped counts failed ones too: the three sum to boxes */
    unsigned int images;
    bool templates_wanted;  /* BOXLITE_TEMPLATES */
    unsigned int templates; /* saved machines that starts go on from */
    uint64_t templates_bytes;
};
int bl_runtime_describe(struct bl_runtime *runtime, struct bl_runtime_info *out, struct bl_error *err);
void bl_runtime_info_free(struct bl_runtime_info *info);

/* How a new box shall be. Nothing is owned: strings and lists are the caller's, and copied. */
struct bl_box_options {
    const char *image;             /* a reference that is in the store, or the embedded "busybox" */
    const char *rootfs;            /* an OCI layout directory instead of an image */
    const char *name;              /* NULL: none */
    const char *const *entrypoint; /* NULL: the image's; an empty list: none */
    const char *const *command;    /* NULL: none was given */
    bool use_image_command; /* without a command, run the image's Entrypoint and Cmd (`run`); else the box idles (`create`) */
    const char *const *env; /* KEY=value, over the image's */
    const char *workdir;
    const char *user;
    const char *engine;      /* NULL: BOXLITE_ENGINE, else "auto" */
    const char *kernel;      /* a kernel of the user's own; NULL: the product's */
    unsigned int cpus;       /* 0: the default */
    unsigned int memory_mib; /* 0: the default */
    unsigned int disk_gb;    /* 0: the default; never below the image */
    bool tty;
    bool open_stdin;
    bool detach;      /* outlives its creator */
    bool auto_remove; /* is removed once its workload has ended */
    const char *const
        *cap_add; /* Linux capabilities over Docker's default ones, and some of those less: see core/capabilities.h; */
    const char *const *cap_drop; /* NULL: none */
    bool unconfined;             /* leave out the sandbox around the emulator ("security off") */
    bool no_auto_resume;         /* once it has stopped only a start runs it again: no exec and no copy does */
    /* Of boxes that outlive their creator; not together with auto_remove. */
    struct bl_restart restart;
    int64_t auto_stop_ms;   /* is stopped when no client used it for so long; 0: never */
    int64_t auto_delete_ms; /* is removed so long after its end; 0: never. Not together with auto_remove */
};

/*
 * bl_box_create() - Record a box and make its disk; no VM starts
 * @id: BL_BOX_ID_LENGTH + 1 bytes
 * Return: 0; -1: BL_ALREADY_EXISTS (name), BL_NOT_FOUND (image), BL_INVALID_ARGUMENT, BL_IMAGE, BL_STORAGE, BL_STOPPED
 */
int bl_box_create(struct bl_runtime *runtime, const struct bl_box_options *options, int cancel_fd, char *id, struct bl_error *err);

enum bl_box_status {
    BL_BOX_UNKNOWN,
    BL_BOX_CONFIGURED,
    BL_BOX_STARTING,
    BL_BOX_RUNNING,
    BL_BOX_STOPPING,
    BL_BOX_STOPPED,
    BL_BOX_PAUSED,
    BL_BOX_FAILED
};
/* bl_box_status_name() - "configured", "running", ... */
const char *bl_box_status_name(enum bl_box_status status);

/* What is known of a box right now; owned (bl_box_info_free()). */
struct bl_box_info {
    char id[BL_BOX_ID_LENGTH + 1];
    char *name;  /* NULL: none */
    char *image; /* as people write it, "busybox:latest"; for a rootfs its path */
    char *image_digest;
    enum bl_box_status status;
    pid_t pid; /* of the shim; 0: none, or not visible from here */
    bool has_exit_code;
    int exit_code;
    bool out_of_memory;
    char *reason;  /* why it stopped or failed, one line; NULL: as expected */
    char *console; /* the console's last lines after a crash or failed start; NULL: none */
    char *trouble; /* what kept its state from being told (EACCES ...), or "lock lost"; NULL: nothing */
    int64_t created_at_ms, started_at_ms, ended_at_ms; /* since the epoch; 0: never */
    int64_t create_ms;                                 /* what its creation took */
    unsigned int cpus, memory_mib;
    uint64_t disk_bytes;
    char *engine; /* as asked for */
    bool job;     /* has a command of its own: exec, cp and attach never start it implicitly */
    bool detached, auto_remove, tty;
    struct bl_restart restart;
    bool wanted;       /* it was started, and nothing has ended it since that was meant to */
    uint32_t restarts; /* how often its policy has started it again since it was started by hand; told by bl_box_inspect() only */
    int64_t auto_stop_ms, auto_delete_ms; /* 0: never */
    char **command;                       /* what the workload runs: entrypoint and command; empty: it idles */
    char **env;
    char *workdir, *user;
    char **cap_add, **cap_drop; /* as asked for, in their long form */
    char **capabilities;        /* what comes of it */
    bool unconfined, no_auto_resume;
};
void bl_box_info_free(struct bl_box_info *info);
int bl_box_inspect(struct bl_runtime *runtime, const char *name, struct bl_box_info *out, struct bl_error *err);
/*
 * bl_box_confinement() - What confines the processes of a running box, by the kernel's own books
 * @out: "no-new-privileges", "seccomp", "landlock", as far as they are active; empty: nothing, or the box does not run, or its
 * process is not to be seen from here; the caller's (bl_strings_free())
 *
 * Return: 0; -1: out of memory
 */
int bl_box_confinement(const struct bl_box_info *info, char ***out, struct bl_error *err);
/* bl_box_list() - All boxes, newest first, judged. Those that auto_remove or auto_delete has doomed are left out. */
int bl_box_list(struct bl_runtime *runtime, struct bl_box_info **out, size_t *count, struct bl_error *err);
void bl_box_list_free(struct bl_box_info *list, size_t count);

/* What a box uses and has done; measured now. All 0 but create_ms when it does not run. */
struct bl_box_usage {
    double cpu_percent;    /* of one processor, of the host's time, since its start */
    uint64_t memory_bytes; /* resident on the host: shim and engine */
    uint64_t execs, exec_errors;
    uint64_t bytes_in, bytes_out; /* of all streams, as the shim counted them */
    int64_t boot_ms;              /* from the shim's start to the guest's answer */
    int64_t create_ms;            /* what its creation took */
};
/* bl_box_measure() - Return: 0; -1: BL_NOT_FOUND, BL_PORTAL (its shim does not answer) */
int bl_box_measure(struct bl_runtime *runtime, const char *name, struct bl_box_usage *out, struct bl_error *err);

struct bl_start_options {
    bool attach;            /* the workload waits for bl_session_attach(), so that no output is missed */
    bool detach;            /* outlives its starter, even when it was created without detach (`boxlite start` of such a box) */
    uint16_t rows, columns; /* first size of the terminal, for a box with tty; 0: unknown */
    bool by_policy;         /* only if its restart policy still wants that; counts as a restart */
    bool after_boot;        /* with by_policy: see bl_runtime_start_by_policy() */
    int cancel_fd;          /* -1: none */
    int64_t timeout_ms;     /* 0: the default; -1: no limit */
    /* What it said about the engine, one line, when the software emulation was taken; may be NULL. */
    void (*notice)(const char *line, void *data);
    void *notice_data;
    int *exit_code;             /* set to 126 or 127 when the workload could not be executed, else 125, on failure; may be NULL */
    struct bl_moments *moments; /* set to how the time of the start passed, if the box was started; may be NULL */
};
/*
 * bl_box_start() - Boot a box and, unless attach is set, start its workload. Starting a running box is a success.
 *
 * Return: 0 once it runs; -1: BL_ENGINE (with the cause and the end of the shim's log), BL_EXECUTION (the workload can't be
 * executed), BL_STOPPED (cancelled), BL_INVALID_STATE, ...; a start that failed has killed and reaped its shim.
 */
int bl_box_start(struct bl_runtime *runtime, const char *name, const struct bl_start_options *options, struct bl_error *err);
/*
 * bl_runtime_start_as() - How boxes are started that start by themselves, as one without a command does for an exec
 * @options: copied, without attach and exit_code; to be set before other threads use the runtime. Default: all zero, no cancel_fd
 */
void bl_runtime_start_as(struct bl_runtime *runtime, const struct bl_start_options *options);
/*
 * bl_box_stop() - Stop a box: ask the guest, then kill; returns as soon as it is gone. Stopping a stopped box is a success.
 * @grace_ms: until it is killed; -1: the default
 */
int bl_box_stop(struct bl_runtime *runtime, const char *name, int64_t grace_ms, int cancel_fd, struct bl_error *err);
/* bl_box_remove() - Remove a box; a running one only with @force (else BL_INVALID_STATE). */
int bl_box_remove(struct bl_runtime *runtime, const char *name, bool force, struct bl_error *err);
/* bl_box_wait() - Wait until a box has ended, and tell how. Return: 0 and *@out as bl_box_inspect(); -1 */
int bl_box_wait(struct bl_runtime *runtime, const char *name, int cancel_fd, struct bl_box_info *out, struct bl_error *err);
/* bl_box_log_path() - Path of a log: "output", "console" or "shim". Return: allocated; NULL with *@err */
char *bl_box_log_path(struct bl_runtime *runtime, const char *name, const char *which, struct bl_error *err);
/*
 * bl_runtime_start_by_policy() - Start the boxes that died and whose restart policy wants them to run (docs/restart.md)
 * @options: how; those of bl_box_start(), without attach and exit_code
 * @after_boot: the machine was just started: also those of the policy `always` that were stopped before it went down, and without
 *              the growing delay between restarts
 * @told: called for each box that was tried; @err: NULL: it runs. May be NULL
 * Return: 0, also when a box could not be started; -1: BL_DATABASE, BL_STOPPED
 */
int bl_runtime_start_by_policy(struct bl_runtime *runtime, const struct bl_start_options *options, bool after_boot,
                               void (*told)(const char *id, const char *name, const struct bl_error *err, void *data), void *data,
                               struct bl_error *err);
/* Something in the home that nothing owns. Plain data, valid during the call. */
struct bl_leftover {
    const char *path; /* below the home */
    const char *why;  /* whose it was, a few words */
    uint64_t bytes;   /* what it takes of the disk */
};
/*
 * bl_runtime_gc() - Find what nothing owns, and remove it
 * @dry_run: only find it
 * @found: called for all that was found, or was removed; may be NULL
 *
 * Directories without a record, what dead shims left in theirs, boxes that are to be removed by now, half-made images, disks of
 * images that are gone. What lives, or can't be told, is never touched.
 *
 * Return: 0; -1: BL_STORAGE, BL_DATABASE
 */
int bl_runtime_gc(struct bl_runtime *runtime, bool dry_run, void (*found)(const struct bl_leftover *leftover, void *data),
                  void *data, struct bl_error *err);

/* How much a finding of bl_doctor() matters. */
enum bl_level {
    BL_LEVEL_OK,
    BL_LEVEL_NOTE,      /* boxes run, but something could be better */
    BL_LEVEL_ATTENTION, /* something does not work, or waits for somebody to put it right */
};
/* One thing that was looked at. Plain data, valid during the call. */
struct bl_finding {
    enum bl_level level;
    const char *check; /* one word: "engine", "home", ... */
    const char *text;  /* what was found, one line */
    const char *hint;  /* what to do about it, one line; NULL: nothing */
};
/*
 * bl_doctor() - Look at all that boxes need on this machine and in this home
 * @home: as for bl_runtime_open(), which it calls itself: a home that can't be opened is a finding, too
 * @found: called for each thing, in order
 *
 * It changes nothing but what opening a home does. It forks a child for a moment, to try out user namespaces.
 */
void bl_doctor(const char *home, void (*found)(const struct bl_finding *finding, void *data), void *data);
/* bl_runtime_sweep() - Remove what nothing owns (dead boxes' leavings, ended auto_remove boxes). Return: 0; -1 */
int bl_runtime_sweep(struct bl_runtime *runtime, struct bl_error *err);

/*
 * A session: one stream to a command in a box (or to the workload), on a connection of its own.
 *
 * It never blocks: watch bl_session_fd() for bl_session_events(), and call bl_session_step() when something is ready. Callbacks
 * run inside bl_session_step(). One thread at a time.
 */
struct bl_session;

struct bl_session_events {
    void (*opened)(struct bl_session *session, void *data);
    /* Bytes came. They are the caller's to get rid of: bl_session_consumed() gives the credit for more. */
    void (*output)(struct bl_session *session, enum bl_channel channel, const void *bytes, size_t length, void *data);
    void (*output_end)(struct bl_session *session, enum bl_channel channel, void *data);
    /* More input is taken now (see bl_session_write()). */
    void (*writable)(struct bl_session *session, void *data);
    /* The last callback: how it ended. */
    void (*exited)(struct bl_session *session, const struct bl_exit *exit, void *data);
    /* Whether output is taken now; NULL: always. Once it was said no to, output waits until bl_session_step() is called again. */
    bool (*room)(struct bl_session *session, void *data);
};

/*
 * bl_session_exec() - Run a command in a box. A box without a command of its own is started when it does not run.
 * @open: EXEC, COPY_IN or COPY_OUT
 * Return: 0 and *@out; -1: BL_NOT_FOUND, BL_INVALID_STATE (a job box that does not run), what bl_box_start() can say
 */
int bl_session_exec(struct bl_runtime *runtime, const char *name, const struct bl_open *open,
                    const struct bl_session_events *events, void *data, struct bl_session **out, struct bl_error *err);
/*
 * bl_session_exec_at_once() - As bl_session_exec(), where nothing has to be found out or waited for; blocks on nobody
 * @name: of the box, or its id, whole; the beginning of an id has to be looked up
 * Return: 0 and *@out, which is NULL when bl_session_exec() has to look closer; -1
 */
int bl_session_exec_at_once(struct bl_runtime *runtime, const char *name, const struct bl_open *open,
                            const struct bl_session_events *events, void *data, struct bl_session **out, struct bl_error *err);
/* bl_session_attach() - Become the reader and writer of the workload's streams, and start it if it waits for that. */
int bl_session_attach(struct bl_runtime *runtime, const char *name, const struct bl_session_events *events, void *data,
                      struct bl_session **out, struct bl_error *err);
int bl_session_fd(const struct bl_session *session);
short bl_session_poll_events(const struct bl_session *session); /* POLLIN, POLLOUT */
/* bl_session_step() - Read and write what is possible. Return: 1: go on; 0: exited() was called; -1: the box died (*@err says how)
 */
int bl_session_step(struct bl_session *session, struct bl_error *err);
/* bl_session_write() - Give input. Return: bytes taken (0: wait for writable()); -1: input was closed */
ssize_t bl_session_write(struct bl_session *session, const void *bytes, size_t length);
void bl_session_close_input(struct bl_session *session);
void bl_session_consumed(struct bl_session *session, enum bl_channel channel, size_t length);
void bl_session_signal(struct bl_session *session, int signal_number);
void bl_session_resize(struct bl_session *session, uint16_t rows, uint16_t columns);
/* bl_session_free() - Hang up; what still runs is killed (unless it was opened with detach). */
void bl_session_free(struct bl_session *session);

/* Copies. Paths in the box are absolute; placement is that of `cp -a` (proto/entry.h). */
struct bl_copy_options {
    bool follow_links;
    bool no_overwrite;
    int cancel_fd;
};
/*
 * A stopped box without a command is started for the copy and stopped again (one with auto_remove runs on, since its stop would
 * remove it); a job box that does not run: BL_INVALID_STATE.
 */
int bl_copy_into(struct bl_runtime *runtime, const char *name, const char *host_path, const char *box_path,
                 const struct bl_copy_options *options, struct bl_error *err);
int bl_copy_out(struct bl_runtime *runtime, const char *name, const char *box_path, const char *host_path,
                const struct bl_copy_options *options, struct bl_error *err);
/* The same with a tar stream on a descriptor: entries land below the directory @box_path; or @box_path becomes a tar. */
int bl_copy_tar_into(struct bl_runtime *runtime, const char *name, int tar_fd, const char *box_path,
                     const struct bl_copy_options *options, struct bl_error *err);
int bl_copy_tar_out(struct bl_runtime *runtime, const char *name, const char *box_path, int tar_fd,
                    const struct bl_copy_options *options, struct bl_error *err);

#endif
