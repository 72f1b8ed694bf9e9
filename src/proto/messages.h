/* SPDX-License-Identifier: Apache-2.0 */
/*
 * messages.h - what the fields of each frame mean
 *
 * Tags are part of the protocol: they are never reused and never change their meaning. "list" means that the tag repeats.
 */
#ifndef BL_PROTO_MESSAGES_H
#define BL_PROTO_MESSAGES_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"
#include "proto/fields.h"
#include "proto/frame.h"

/* Limits on every field; both sides refuse what passes them. */
#define BL_ARG_BYTES_MAX     49152 /* one argument or environment entry; a whole OPEN must fit a frame anyway */
#define BL_ARGS_MAX          4096
#define BL_PATH_BYTES_MAX    4095
#define BL_NAME_BYTES_MAX    255
#define BL_MESSAGE_BYTES_MAX 1023
#define BL_STREAMS_MAX       1024 /* open at once in one guest */

/* CONFIG: what makes this VM this box. Until it comes the guest has touched nothing that belongs to one box. */
enum bl_config_tag {
    BL_CONFIG_HOSTNAME = 1,   /* string */
    BL_CONFIG_CLOCK_NS = 2,   /* u64: CLOCK_REALTIME now */
    BL_CONFIG_ENTROPY = 3,    /* bytes, 32..256: credited to the guest's generator */
    BL_CONFIG_DISK_BYTES = 4, /* u64: size the root file system shall have; the disk is at least that large */
    BL_CONFIG_PIDS_MAX = 5,   /* u32: processes of the workload and of each exec; 0: a default from the memory */
    BL_CONFIG_ROOT_TAG = 6,   /* string: a shared directory's tag instead of the disk (reserved) */
};

/* READY: microseconds of the guest's own monotonic clock. */
enum bl_ready_tag {
    BL_READY_INIT_US = 1,       /* u64: the agent's first instruction */
    BL_READY_CONFIGURED_US = 2, /* u64: CONFIG was there */
    BL_READY_MOUNTED_US = 3,    /* u64: the disk was mounted */
    BL_READY_AGENT = 4,         /* string: the agent's version */
    BL_READY_SENT_US = 5,       /* u64: READY is sent */
};

/* FAULT: the guest can't do what CONFIG asked for. */
enum bl_fault_tag {
    BL_FAULT_MESSAGE = 1, /* string: one line */
};

enum bl_open_kind {
    BL_OPEN_WORKLOAD = 1, /* the box's own command: PID 1 of its namespaces; one a boot */
    BL_OPEN_EXEC = 2,     /* a command beside it */
    BL_OPEN_COPY_IN = 3,  /* entries (proto/entry.h) come on STDIN and become files */
    BL_OPEN_COPY_OUT = 4, /* files become entries on STDOUT */
};

/* OPEN. WORKLOAD and EXEC use ARG..TIMEOUT; the COPY kinds PATH, COPY_FLAGS and USER. */
enum bl_open_tag {
    BL_OPEN_KIND = 1, /* u32: enum bl_open_kind */
    BL_OPEN_ARG = 2,  /* list: the command; empty for a WORKLOAD: an idle one, that only keeps the namespaces */
    BL_OPEN_ENV = 3,  /* list: KEY=value; an EXEC gets the workload's environment, overridden by these */
    BL_OPEN_CWD = 4,  /* string; none: the workload's, for an EXEC */
    BL_OPEN_USER = 5, /* string: name|uid[:group|gid]; none: the workload's, for an EXEC; a COPY_IN's entries keep their owners */
    BL_OPEN_TTY = 6,  /* u32: 1: a terminal; its bytes come on STDOUT */
    BL_OPEN_ROWS = 7, /* u32 */
    BL_OPEN_COLUMNS = 8,      /* u32 */
    BL_OPEN_STDIN = 9,        /* u32: 1: STDIN will be used; else the command reads /dev/null */
    BL_OPEN_TIMEOUT_MS = 10,  /* u64: kill everything of it after that long; 0: no limit */
    BL_OPEN_STOP_SIGNAL = 11, /* u32: what SHUTDOWN sends to the workload first; default SIGTERM */
    BL_OPEN_PATH = 12,        /* string: absolute path in the box */
    BL_OPEN_COPY_FLAGS = 13,  /* u32: BL_COPY_... */
    BL_OPEN_DETACH = 14,      /* u32: 1: runs on when its stream is closed; output is thrown away */
    /* u64: a bit for each capability (linux/capability.h) that it and its programs can have; none: BL_CAPABILITIES_DEFAULT, for an
     * EXEC the workload's. Understood from version 2 of the protocol on; an older agent must not be asked. */
    BL_OPEN_CAPABILITIES = 15,
};

/*
 * Docker's default set (moby, oci/caps/defaults.go): CHOWN, DAC_OVERRIDE, FOWNER, FSETID, KILL, SETGID, SETUID, SETPCAP,
 * NET_BIND_SERVICE, NET_RAW, SYS_CHROOT, MKNOD, AUDIT_WRITE, SETFCAP
 */
#define BL_CAPABILITIES_DEFAULT UINT64_C(0xa80425fb)

#define BL_COPY_FOLLOW_LINKS 1u /* COPY_OUT: what a symlink points to, instead of the link */
#define BL_COPY_NO_OVERWRITE 2u /* COPY_IN: refuse when a file would be replaced */

enum bl_opened_tag {
    BL_OPENED_PID = 1, /* u32: pid inside the VM */
};

/* EXIT. Exactly one of CODE and SIGNAL is present; with ERROR the command never ran (CODE then is 126 or 127, or 125). */
enum bl_exit_tag {
    BL_EXIT_CODE = 1,        /* u32: 0..255 */
    BL_EXIT_SIGNAL = 2,      /* u32 */
    BL_EXIT_TIMED_OUT = 3,   /* u32: 1: killed by its timeout */
    BL_EXIT_OOM = 4,         /* u32: 1: memory ran out in its cgroup */
    BL_EXIT_ERROR = 5,       /* string: why it never ran, or why a copy failed; one line */
    BL_EXIT_DURATION_US = 6, /* u64: from OPEN's arrival to the end, by the guest's clock */
    BL_EXIT_ERRNO = 7,       /* u32: errno behind ERROR, when there is one */
};

enum bl_status_tag {
    BL_STATUS_STATE = 1,       /* string: "starting", "running", "stopping" */
    BL_STATUS_STREAMS = 2,     /* u32: open streams, the workload included */
    BL_STATUS_EXECS = 3,       /* u64: execs since the start */
    BL_STATUS_ENGINE = 4,      /* string: "qemu (kvm)", "qemu (emulation)" */
    BL_STATUS_BOOT_US = 5,     /* u64: from the shim's start to the guest's READY */
    BL_STATUS_KERNEL = 6,      /* string: path */
    BL_STATUS_EXEC_ERRORS = 7, /* u64: execs that could not be started */
    BL_STATUS_BYTES_IN = 8,    /* u64: DATA towards the guest, of all streams */
    BL_STATUS_BYTES_OUT = 9,   /* u64: DATA from the guest, of all streams */
};

enum bl_stop_tag {
    BL_STOP_GRACE_MS = 1, /* u32: how long the guest may take to end the workload and sync before it is killed */
};

/* Everything an OPEN can say; owned strings. */
struct bl_open {
    enum bl_open_kind kind;
    char **args;
    char **env;
    char *cwd;
    char *user;
    char *path;
    uint64_t timeout_ms;
    uint32_t copy_flags;
    uint32_t stop_signal;
    uint16_t rows, columns;
    bool tty;
    bool use_stdin;
    bool detach;
    bool has_capabilities; /* else the default, or the workload's */
    uint64_t capabilities;
};

/* bl_open_encode() - Append the fields (no frame header). Return: 0; -1 when the buffer can't take them */
int bl_open_encode(struct bl_buffer *out, const struct bl_open *open);
/* bl_open_decode() - Return: 0 and *@out (bl_open_free()); -1 when something breaks a rule, nothing to free */
int bl_open_decode(const void *payload, size_t length, struct bl_open *out);
void bl_open_free(struct bl_open *open);

/* How something ended. */
struct bl_exit {
    int code;   /* 0..255; 128 + signal when a signal ended it */
    int signal; /* 0: none */
    bool timed_out;
    bool oom;
    int error_number; /* errno behind the error; 0: none */
    uint64_t duration_us;
    char error[BL_MESSAGE_BYTES_MAX + 1]; /* empty: it ran */
};

int bl_exit_encode(struct bl_buffer *out, const struct bl_exit *exit);
/* bl_exit_decode() - Checks ranges and makes the message one printable line. Return: 0; -1 */
int bl_exit_decode(const void *payload, size_t length, struct bl_exit *out);

#endif
