/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loop.h - an event loop: descriptors and timers, one thread
 *
 * Sources and timers are embedded in the structs of their users, so nothing is allocated and nothing can fail but the
 * registration itself. A callback may add, change and remove any source or timer, itself included. Removing a source that
 * waits in the current round is safe: it will not be called.
 */
#ifndef BL_BASE_LOOP_H
#define BL_BASE_LOOP_H

#include <stdbool.h>
#include <stdint.h>

struct bl_loop;

/* A descriptor that is watched. The descriptor stays its owner's. */
struct bl_source {
    int fd;
    uint32_t events; /* EPOLLIN, EPOLLOUT; EPOLLHUP and EPOLLERR come always */
    void (*ready)(struct bl_source *source, uint32_t events);
    void *data;
    struct bl_loop *loop; /* NULL while it is not registered */
};

/* A moment at which something is called, once. */
struct bl_timer {
    int64_t due_ms; /* on the monotonic clock */
    void (*expired)(struct bl_timer *timer);
    void *data;
    struct bl_loop *loop; /* NULL while it is not set */
    struct bl_timer *next;
};

#define BL_LOOP_EVENTS 64

struct bl_loop {
    int epoll_fd;
    bool stopped;
    struct bl_timer *timers; /* by due time, the nearest first */
    /* The round that is being carried out; removed sources are struck out here. */
    struct bl_source *round[BL_LOOP_EVENTS];
    int round_length;
};

/* bl_loop_init() - Return: 0; -1 with errno */
int bl_loop_init(struct bl_loop *loop);
void bl_loop_finish(struct bl_loop *loop);

/* bl_source_add() - Watch source->fd for source->events. Return: 0; -1 with errno */
int bl_source_add(struct bl_loop *loop, struct bl_source *source);
/* bl_source_watch() - Change what is watched for; does nothing when it is that already. */
void bl_source_watch(struct bl_source *source, uint32_t events);
/* bl_source_remove() - Stop watching; harmless when it is not registered. Call before the descriptor is closed. */
void bl_source_remove(struct bl_source *source);

/* bl_timer_set() - Call timer->expired at @due_ms; a timer that is set already is moved. */
void bl_timer_set(struct bl_loop *loop, struct bl_timer *timer, int64_t due_ms);
void bl_timer_cancel(struct bl_timer *timer);

/* bl_loop_step() - Wait for events, at most @timeout_ms (-1: no limit), and carry them out. Return: 0; -1 with errno */
int bl_loop_step(struct bl_loop *loop, int timeout_ms);
/* bl_loop_run() - Steps until bl_loop_stop(). Return: 0; -1 with errno */
int bl_loop_run(struct bl_loop *loop);
void bl_loop_stop(struct bl_loop *loop);

#endif
