/* SPDX-License-Identifier: Apache-2.0 */
/*
 * launch.h - what the library tells a boxlite-shim on its standard input
 *
 * The document is a preamble of 16 bytes (8 bytes magic, u32 version, u32 length of what follows, little-endian) and tagged
 * fields (proto/fields.h). It can hold secrets (environment values), so it travels on standard input and nowhere else: never in
 * argv, an environment, a file or a log. A shim refuses a document that is cut short, and one whose box id is not its argument.
 *
 * Answer on ready_fd, one line, then the descriptor is closed:
 *     "ready <moments>\n"                        the guest answers; with start_on_attach the workload waits for its ATTACH, else it
 *                                                runs. How the time passed: proto/moments.h
 *     "failed <enum bl_code> <exit code> <message>\n"   it will not be; the shim ends. Exit code: what the command should exit
 *                                                with: 125, or 126/127 when the workload could not be executed
 *     "again template <name>\n"                  no machine goes on from it, and this process can't boot one: the shim ends; to
 *                                                be started without templates. If that works, this one is of no use to anybody;
 *                                                no name: that is not said of any
 *     "again engine <message>\n"                 KVM fails, and emulation will do: to be started with kvm_refused
 *
 * Without a line before the end of the pipe the shim died; its log (boxes/<id>/logs/shim.log) says more.
 *
 * Files in the box's directory that are the shim's:
 *     shim.lock, shim.pid, control.sock          see the design
 *     lifecycle.lock                             handed over locked as lifecycle_fd; unlocked by the shim once it is ready
 *     exit.json                                  the exit report, written when it ends by itself (enum and keys: shim/report.h);
 *                                                removed at start
 *     logs/shim.log, logs/console.log            its own log; the guest's console, begun anew at each start
 *     logs/output.log                            the workload's output, in the format of the Kubernetes CRI
 *                                                ("<RFC 3339 time> stdout|stderr F|P <line>"), bounded, output.log.1 before it
 */
#ifndef BL_PROTO_LAUNCH_H
#define BL_PROTO_LAUNCH_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/error.h"
#include "proto/messages.h"
#include "proto/restart.h"

#define BL_LAUNCH_MAX      (8u << 20) /* bytes of a whole document */
#define BL_LAUNCH_PREAMBLE 16

/* Names of files in boxes/<id>, which library and shim share. */
#define BL_FILE_SHIM_LOCK      "shim.lock"
#define BL_FILE_SHIM_PID       "shim.pid"
#define BL_FILE_LIFECYCLE_LOCK "lifecycle.lock"
#define BL_FILE_CONTROL_SOCKET "control.sock"
#define BL_FILE_EXIT_REPORT    "exit.json"
#define BL_FILE_RESTARTS       "restarts" /* how often the box was started again: a number and a newline; missing: 0 */
#define BL_FILE_OVERLAY        "disks/disk.qcow2"
#define BL_FILE_BASE           "disks/base.ext4"
#define BL_FILE_SHIM_LOG       "logs/shim.log"
#define BL_FILE_CONSOLE_LOG    "logs/console.log"
#define BL_FILE_OUTPUT_LOG     "logs/output.log"

/* Saved machines, in the home: <home>/templates/<name>.template (docs/templates.md). The shim's; the library counts them. */
#define BL_DIR_TEMPLATES            "templates"
#define BL_TEMPLATE_SUFFIX          ".template"
#define BL_LAUNCH_TEMPLATE_NAME_MAX 80 /* bytes of a name, its zero included */

#define BL_AGAIN_TEMPLATE "again template "
#define BL_AGAIN_ENGINE   "again engine "

struct bl_launch {
    char *box_id;
    char *box_dir;     /* absolute */
    char *engine;      /* "auto", "kvm", "qemu" */
    char *kernel;      /* absolute path of an ELF kernel with a PVH note, or of a bzImage */
    char *initramfs;   /* absolute path */
    char *kernel_args; /* appended to the command line; NULL: nothing */
    char *hostname;    /* NULL: "boxlite" */
    char *templates;   /* absolute path of the directory of saved machines, which need not exist; NULL: none are used or made */
    char *kvm_refused; /* why /dev/kvm can't be used, as a trial showed; NULL: nothing is known against it */
    uint64_t memory_bytes;
    uint64_t disk_bytes; /* virtual size of the overlay */
    uint32_t cpus;
    uint32_t start_timeout_ms; /* until READY; 0: no limit */
    uint32_t stop_grace_ms;    /* when no STOP names one */
    struct bl_restart restart; /* what becomes of a workload that ends by itself */
    uint32_t restarts;         /* how often the box was started again already */
    uint64_t auto_stop_ms;     /* end the box when no client used it for so long; 0: never */
    int ready_fd;              /* the descriptors' numbers in the shim */
    int lifecycle_fd;
    int creator_fd;          /* a pidfd of the creator, whose death means a graceful stop; -1: detached */
    bool start_on_attach;    /* the workload starts when its ATTACH comes */
    bool discard;            /* nothing on the disk is needed afterwards (--rm): end without a sync */
    bool unconfined;         /* no sandbox around the engine */
    bool kvm_usable;         /* a trial of /dev/kvm succeeded; with neither this nor kvm_refused the shim makes one */
    bool debug;              /* a talkative shim.log */
    struct bl_open workload; /* kind WORKLOAD; no args: an idle one */
};

/* bl_launch_encode() - The whole document. Return: 0; -1 when the buffer can't take it */
int bl_launch_encode(struct bl_buffer *out, const struct bl_launch *launch);
/* bl_launch_decode() - Return: 0 and *@out (bl_launch_free()); -1 with BL_CONFIG and what is wrong with the document */
int bl_launch_decode(const void *bytes, size_t length, struct bl_launch *out, struct bl_error *err);
void bl_launch_free(struct bl_launch *launch);

#endif
