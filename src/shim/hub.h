/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hub.h - between one guest and many clients
 *
 * The hub holds the one conversation with the guest's agent and any number of conversations with programs that connect to
 * control.sock. It opens streams for clients under numbers of its own, checks all that passes in both directions, keeps the
 * workload's stream while nobody is attached to it, and tells its owner what becomes of the box. It knows descriptors only, no
 * VM: the owner starts and ends that.
 *
 * One loop, one thread. The owner may call the functions below from within the events.
 */
#ifndef BL_SHIM_HUB_H
#define BL_SHIM_HUB_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/loop.h"
#include "proto/messages.h"
#include "proto/moments.h"
#include "shim/output_log.h"

#define BL_CLIENTS_MAX 256

struct bl_hub;

struct bl_hub_config {
    int guest_fd;  /* the agent's port, a stream socket; taken */
    int listen_fd; /* control.sock; taken; -1: none */
    const char *hostname;
    uint64_t disk_bytes;
    const struct bl_open *workload;
    bool start_on_attach;
    struct bl_output_log *log;  /* may be NULL */
    const char *engine;         /* for STATUS */
    const char *kernel;         /* for STATUS */
    int64_t started_us;         /* when the shim began, on the monotonic clock */
    struct bl_moments *moments; /* filled in: GREETED, CONFIGURED, and what the guest tells; may be NULL */
};

struct bl_hub_events {
    /* The agent answered, and waits for bl_hub_configure(). NULL: it is configured at once. */
    void (*greeted)(void *data);
    /* The guest mounted its disk and takes streams; the workload was opened, unless it waits for an ATTACH. */
    void (*ready)(void *data);
    void (*workload_opened)(void *data);
    /* Once. If opened() was not called before, it never ran: exit->error says why. */
    void (*workload_exited)(const struct bl_exit *exit, void *data);
    /* The guest's disk is synced; it is about to power off. */
    void (*down)(void *data);
    /* The guest can't go on, or broke the rules; it is not listened to any more. Once. */
    void (*broken)(const char *why, void *data);
    /* A client wants the box to end. @grace_ms: -1: the default */
    void (*stop)(int64_t grace_ms, void *data);
    /* bl_hub_settled() may have become true. */
    void (*settled)(void *data);
    /* The first client came to use the box (a command, a copy, the workload's streams), or the last is done; may be NULL. */
    void (*busy)(bool busy, void *data);
};

/* bl_hub_new() - Return: 0 and *@out; -1, the descriptors are closed. Strings and the workload must outlive the hub. */
int bl_hub_new(struct bl_loop *loop, const struct bl_hub_config *config, const struct bl_hub_events *events, void *data,
               struct bl_hub **out, struct bl_error *err);
void bl_hub_free(struct bl_hub *hub);
/* bl_hub_greeted() - Whether the guest's agent has answered. */
bool bl_hub_greeted(const struct bl_hub *hub);
/* bl_hub_configure() - Make the greeted machine this box. */
void bl_hub_configure(struct bl_hub *hub);
/* bl_hub_shutdown() - Ask the guest to end the workload within @grace_ms, to sync and to power off; no stream opens any more. */
void bl_hub_shutdown(struct bl_hub *hub, uint32_t grace_ms);
/*
 * bl_hub_open_again() - Start the workload again, once it has exited
 *
 * What is kept of its output stays, and who still reads the former life's end gets all of it.
 *
 * Return: 0; -1: too many streams are open
 */
int bl_hub_open_again(struct bl_hub *hub);
/* bl_hub_busy() - Whether a client uses the box now. A command that was left running uses it until it ends. */
bool bl_hub_busy(const struct bl_hub *hub);
/* bl_hub_drain() - Take what the guest sent before its VM ended. */
void bl_hub_drain(struct bl_hub *hub);
/*
 * bl_hub_guest_gone() - The VM is no more
 *
 * Connections are closed, without EXIT frames: their programs read the exit report, which must have been written. Only a client
 * that has been told of the workload's EXIT, or waits for it behind output, stays until it has read that.
 */
void bl_hub_guest_gone(struct bl_hub *hub);
/* bl_hub_settled() - Whether all that clients still had to get is with them. */
bool bl_hub_settled(const struct bl_hub *hub);

#endif
