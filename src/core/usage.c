/* SPDX-License-Identifier: Apache-2.0 */
/*
 * usage.c - what a running box uses: asked of its shim, and read from the kernel's accounts of shim and engine
 *
 * The engine's process is the shim's only child. A process that ends while it is read counts as nothing.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/io.h"
#include "base/os.h"
#include "core/control.h"
#include "core/runtime.h"
#include "proto/messages.h"

#define ANSWER_MS     10000
#define ANSWER_MAX    (4 * (BL_FRAME_HEADER_BYTES + BL_FRAME_PAYLOAD_MAX))
#define PROC_FILE_MAX 4096

/* read_proc() - A small file of /proc/<pid>, as text. Return: 0; -1 */
static int read_proc(pid_t pid, const char *file, char *text, size_t size)
{
    char path[96];

    snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, file);
    return bl_read_text(path, text, size);
}

/* add_process() - Add a process's resident bytes and its processor time (proc(5): stat fields 14, 15, statm field 2). */
static void add_process(pid_t pid, uint64_t *memory_bytes, double *cpu_seconds)
{
    char text[PROC_FILE_MAX];
    unsigned long resident = 0, user = 0, system = 0;
    const char *after;

    if (read_proc(pid, "statm", text, sizeof text) == 0 && sscanf(text, "%*u %lu", &resident) == 1)
        *memory_bytes += (uint64_t)resident * (uint64_t)sysconf(_SC_PAGESIZE);
    /* The name in parentheses may hold anything: count from its end. */
    if (read_proc(pid, "stat", text, sizeof text) == 0 && (after = strrchr(text, ')')) &&
        sscanf(after + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system) == 2)
        *cpu_seconds += (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
}

/* add_processes() - The shim and its child. */
static void add_processes(pid_t shim, uint64_t *memory_bytes, double *cpu_seconds)
{
    char text[PROC_FILE_MAX], file[64];
    int child = 0;

    add_process(shim, memory_bytes, cpu_seconds);
    snprintf(file, sizeof file, "task/%d/children", (int)shim);
    if (read_proc(shim, file, text, sizeof text) == 0 && sscanf(text, "%d", &child) == 1 && child > 0)
        add_process(child, memory_bytes, cpu_seconds);
}

static void take_status(const struct bl_frame *frame, struct bl_box_usage *out)
{
    struct bl_field_reader reader = BL_FIELD_READER(frame->payload, frame->length);
    struct bl_field field;

    while (bl_field_next(&reader, &field) > 0) {
        uint64_t number = 0;

        if (bl_field_number(&field, &number) < 0)
            continue;
        if (field.tag == BL_STATUS_EXECS)
            out->execs = number;
        else if (field.tag == BL_STATUS_EXEC_ERRORS)
            out->exec_errors = number;
        else if (field.tag == BL_STATUS_BYTES_IN)
            out->bytes_in = number;
        else if (field.tag == BL_STATUS_BYTES_OUT)
            out->bytes_out = number;
        else if (field.tag == BL_STATUS_BOOT_US)
            out->boot_ms = (int64_t)(number / 1000);
    }
}

/* read_answer() - Wait for STATUS. Return: 0; -1 with *@err */
static int read_answer(int fd, struct bl_box_usage *out, struct bl_error *err)
{
    cleanup_buffer struct bl_buffer in = BL_BUFFER_INIT(ANSWER_MAX);
    int64_t deadline = bl_deadline_in(ANSWER_MS);

    for (;;) {
        struct pollfd wait = {.fd = fd, .events = POLLIN};
        struct bl_frame frame;
        size_t used;
        int got;

        while ((got = bl_frame_next(&in, &frame, &used)) > 0) {
            if (frame.type == BL_FRAME_STATUS) {
                take_status(&frame, out);
                return 0;
            }
            bl_buffer_consume(&in, used);
        }

        uint8_t *room = got < 0 ? NULL : bl_buffer_reserve(&in, BL_FRAME_PAYLOAD_MAX);

        if (!room)
            return bl_fail(err, BL_RPC, 0, "the box's host process answers with what is no frame");

        int ready = bl_os.poll(&wait, 1, bl_deadline_left(deadline));

        if (ready == 0)
            return bl_fail(err, BL_PORTAL, 0, "the box's host process does not answer within %d s", ANSWER_MS / 1000);

        ssize_t n = ready < 0 ? -1 : bl_os.recv(fd, room, BL_FRAME_PAYLOAD_MAX, MSG_DONTWAIT);

        if (n < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (n <= 0)
            return bl_fail(err, BL_RPC_TRANSPORT, n < 0 ? errno : 0, "the box's host process hung up");
        bl_buffer_commit(&in, (size_t)n);
    }
}

/* ask() - STATUS of a running box. Return: 0; -1 with *@err */
static int ask(const struct bl_runtime *runtime, const char *id, struct bl_box_usage *out, struct bl_error *err)
{
    cleanup_buffer struct bl_buffer question = BL_BUFFER_INIT(1024);
    cleanup_close int fd = bl_control_connect(runtime->boxes_fd, id);

    if (fd < 0)
        return bl_fail(err, BL_PORTAL, errno, "connect to box %s", id);
    if (bl_control_hello(&question) < 0 || bl_frame_append(&question, BL_FRAME_STATUS, 0, 0, NULL, 0) < 0)
        return bl_fail_memory(err);
    if (bl_os.send(fd, bl_buffer_data(&question), question.length, MSG_NOSIGNAL) != (ssize_t)question.length)
        return bl_fail(err, BL_RPC_TRANSPORT, errno, "ask box %s", id);
    return read_answer(fd, out, err);
}

int bl_box_measure(struct bl_runtime *runtime, const char *name, struct bl_box_usage *out, struct bl_error *err)
{
    struct bl_box_info info;

    *out = (struct bl_box_usage){0};
    if (bl_box_inspect(runtime, name, &info, err) < 0)
        return -1;
    out->create_ms = info.create_ms;

    int failed = 0;

    if (info.status == BL_BOX_RUNNING) {
        struct timespec now;
        double cpu_seconds = 0;

        failed = ask(runtime, info.id, out, err);
        if (info.pid > 0)
            add_processes(info.pid, &out->memory_bytes, &cpu_seconds);
        clock_gettime(CLOCK_REALTIME, &now);

        double elapsed = (double)now.tv_sec + (double)now.tv_nsec / 1e9 - (double)info.started_at_ms / 1000;

        if (info.started_at_ms && elapsed > 0.001)
            out->cpu_percent = 100 * cpu_seconds / elapsed;
    }
    bl_box_info_free(&info);
    return failed;
}
