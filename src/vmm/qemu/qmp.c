/* SPDX-License-Identifier: Apache-2.0 */
/*
 * qmp.c - listening to QEMU, and telling it
 *
 * QEMU greets, and after "qmp_capabilities" sends events, one JSON object a line. It need not be waited for: commands may be in the
 * socket before it has begun, and are carried out in their order. Answers without an error say nothing new; what is waited for
 * comes as an event. What QEMU says is bounded but not trusted: a guest may have taken it over. A line that is too long or no JSON
 * ends the listening, not the VM.
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
    if (strcmp(event, "MIGRATION") == 0 && qmp->migrated) {
        const char *status = json_string_value(json_object_get(data, "status"));
        bool completed = status && strcmp(status, "completed") == 0;

        if (completed || (status && strcmp(status, "failed") == 0))
            qmp->migrated(completed, qmp->data);
    }
}

static void take_error(struct bl_qmp *qmp, const json_t *error)
{
    const char *reason = json_string_value(json_object_get(error, "desc"));

    bl_log(BL_LOG_WARN, "qemu refused a command: %s", reason ? reason : "unknown");
    if (qmp->refused)
        qmp->refused(reason ? reason : "unknown", qmp->data);
}

static void take_line(struct bl_qmp *qmp, const char *line, size_t length)
{
    json_t *message = json_loadb(line, length, 0, NULL);
    const char *event = json_string_value(json_object_get(message, "event"));
    const json_t *error = json_object_get(message, "error");

    if (event)
        take_event(qmp, event, json_object_get(message, "data"));
    if (error)
        take_error(qmp, error);
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
    if (bl_set_nonblocking(fd) == 0 && bl_source_add(loop, &qmp->source) == 0 &&
        bl_qmp_send(qmp, "{\"execute\":\"qmp_capabilities\"}\n", -1) == 0)
        return 0;

    int saved = errno;

    bl_qmp_finish(qmp);
    errno = saved;
    return -1;
}

int bl_qmp_send(struct bl_qmp *qmp, const char *commands, int fd)
{
    struct iovec part = {.iov_base = (char *)(uintptr_t)commands, .iov_len = strlen(commands)};
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};

    if (fd >= 0) {
        message.msg_control = control.space;
        message.msg_controllen = sizeof control.space;

        struct cmsghdr *header = CMSG_FIRSTHDR(&message);

        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof fd);
        memcpy(CMSG_DATA(header), &fd, sizeof fd);
    }

    /* A few hundred bytes, into a socket that is empty: they fit, or QEMU does not read at all. */
    ssize_t n = sendmsg(qmp->source.fd, &message, MSG_NOSIGNAL);

    if (n >= 0 && (size_t)n < part.iov_len)
        errno = EAGAIN;
    return n == (ssize_t)part.iov_len ? 0 : -1;
}

void bl_qmp_finish(struct bl_qmp *qmp)
{
    bl_source_remove(&qmp->source);
    bl_close_fd(&qmp->source.fd);
    bl_buffer_free(&qmp->in);
}
