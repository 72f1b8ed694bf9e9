/* SPDX-License-Identifier: Apache-2.0 */
/*
 * qmp.c - listening to QEMU
 *
 * QEMU greets, and after "qmp_capabilities" sends events, one JSON object a line. Only events are looked at. What QEMU says is
 * bounded but not trusted: a guest may have taken it over. A line that is too long or no JSON ends the listening, not the VM.
 */
#include "vmm/qemu/qmp.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"

#define LINE_BYTES_MAX 65536
#define IO_ERRORS_TOLD 10

static void take_event(struct bl_qmp *qmp, const char *event, const json_t *data)
{
    if (strcmp(event, "SHUTDOWN") == 0) {
        const char *reason = json_string_value(json_object_get(data, "reason"));

        snprintf(qmp->shutdown_reason, sizeof qmp->shutdown_reason, "%s", reason ? reason : "unknown");
        bl_log(BL_LOG_DEBUG, "qemu: shutdown, %s", qmp->shutdown_reason);
    }
    if (strcmp(event, "BLOCK_IO_ERROR") == 0 && qmp->io_errors++ < IO_ERRORS_TOLD) {
        const char *reason = json_string_value(json_object_get(data, "reason"));

        bl_log(BL_LOG_ERROR, "the box's disk: input or output failed: %s", reason ? reason : "unknown");
    }
}

static void take_line(struct bl_qmp *qmp, const char *line, size_t length)
{
    json_t *message = json_loadb(line, length, 0, NULL);
    const char *event = json_string_value(json_object_get(message, "event"));
    static const char hello[] = "{\"execute\":\"qmp_capabilities\"}\n";

    if (json_object_get(message, "QMP"))
        (void)!send(qmp->source.fd, hello, sizeof hello - 1, MSG_NOSIGNAL);
    if (event)
        take_event(qmp, event, json_object_get(message, "data"));
    if (json_object_get(message, "error"))
        bl_log(BL_LOG_WARN, "qemu refused qmp_capabilities");
    json_decref(message);
}

/* take_lines() - Carry out whole lines. Return: 0; -1 when a line is too long */
static int take_lines(struct bl_qmp *qmp)
{
    for (;;) {
        const char *at = (const char *)bl_buffer_data(&qmp->in);
        const char *end = qmp->in.length ? memchr(at, '\n', qmp->in.length) : NULL;

        if (!end)
            return bl_buffer_room(&qmp->in) ? 0 : -1;
        take_line(qmp, at, (size_t)(end - at));
        bl_buffer_consume(&qmp->in, (size_t)(end - at) + 1);
    }
}

void bl_qmp_drain(struct bl_qmp *qmp)
{
    while (qmp->source.fd >= 0) {
        size_t room = bl_buffer_room(&qmp->in);
        uint8_t *at = bl_buffer_reserve(&qmp->in, room < 4096 ? room : 4096);
        ssize_t n = at ? read(qmp->source.fd, at, room < 4096 ? room : 4096) : 0;

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return;
        if (n > 0) {
            bl_buffer_commit(&qmp->in, (size_t)n);
            if (take_lines(qmp) == 0)
                continue;
            bl_log(BL_LOG_WARN, "qemu sent a line that is too long: not listening to it any more");
        }
        bl_qmp_finish(qmp);
    }
}

static void on_ready(struct bl_source *source, uint32_t events)
{
    (void)events;
    bl_qmp_drain(source->data);
}

int bl_qmp_init(struct bl_qmp *qmp, struct bl_loop *loop, int fd)
{
    *qmp = (struct bl_qmp){
        .source = {.fd = fd, .events = EPOLLIN, .ready = on_ready, .data = qmp},
        .in = BL_BUFFER_INIT(LINE_BYTES_MAX),
    };
    if (bl_set_nonblocking(fd) == 0 && bl_source_add(loop, &qmp->source) == 0)
        return 0;

    int saved = errno;

    bl_qmp_finish(qmp);
    errno = saved;
    return -1;
}

void bl_qmp_finish(struct bl_qmp *qmp)
{
    bl_source_remove(&qmp->source);
    bl_close_fd(&qmp->source.fd);
    bl_buffer_free(&qmp->in);
}
