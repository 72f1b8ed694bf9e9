/* SPDX-License-Identifier: Apache-2.0 */
/* kvm-boot KERNEL INITRAMFS [CPUS MIB COMMAND-LINE] - boots a kernel on our own monitor and prints its console */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "vmm/engine.h"
#include "vmm/kvm/kvm.h"

#define DEADLINE_MS 240000 /* far more than a boot takes, on a busy machine too */

static int code = 1;

static void on_log(enum bl_log_level level, const char *line, void *data)
{
    (void)level;
    (void)data;
    fprintf(stderr, "%s\n", line);
}

static void on_console(struct bl_source *source, uint32_t events)
{
    char bytes[4096];
    ssize_t n = recv(source->fd, bytes, sizeof bytes, MSG_DONTWAIT);

    (void)events;
    if (n > 0)
        fwrite(bytes, 1, (size_t)n, stdout);
    else if (n == 0)
        bl_source_remove(source);
    fflush(stdout);
}

static void on_ended(enum bl_engine_end how, const char *message, void *data)
{
    fprintf(stderr, "ended (%d): %s\n", how, message);
    code = how == BL_ENGINE_END_GUEST ? 0 : 1;
    bl_loop_stop(data);
}

static void on_deadline(struct bl_timer *timer)
{
    fprintf(stderr, "still running: stopped\n");
    bl_engine_stop(timer->data, BL_ENGINE_KILL);
}

int main(int argc, char **argv)
{
    static const struct bl_engine_events events = {.ended = on_ended};
    struct bl_loop loop;
    struct bl_error err = BL_ERROR_INIT;
    struct bl_engine *engine = NULL;
    int console[2];
    int64_t begun = bl_now_us();

    if (argc < 3 || bl_loop_init(&loop) < 0 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, console) < 0)
        return 2;
    bl_log_set(on_log, NULL, BL_LOG_DEBUG);

    struct bl_engine_config config = {
        .name = "kvm-boot",
        .cpus = argc > 3 ? (unsigned int)atoi(argv[3]) : 1,
        .memory_bytes = (uint64_t)(argc > 4 ? atoi(argv[4]) : 256) << 20,
        .kernel = argv[1],
        .initramfs = argv[2],
        .command_line = argc > 5 ? argv[5] : "quiet",
        .directory_fd = -1,
        .agent_fd = -1,
        .console_fd = console[1],
        .memory_fd = -1,
        .saved_fd = -1,
    };
    struct bl_source source = {.fd = console[0], .events = EPOLLIN, .ready = on_console};

    bl_source_add(&loop, &source);
    if (bl_kvm_start(&loop, &config, &events, &loop, &engine, &err) < 0) {
        fprintf(stderr, "%s\n", err.message);
        return 1;
    }

    struct timespec used;

    /* Processor time tells what a start costs on a busy machine, too; the guest's own, of its first moments, is in it. */
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    fprintf(stderr, "started after %lld us, %lld us of a processor\n", (long long)(bl_now_us() - begun),
            (long long)used.tv_sec * 1000000 + used.tv_nsec / 1000);

    struct bl_timer deadline = {.expired = on_deadline, .data = engine};

    bl_timer_set(&loop, &deadline, bl_deadline_in(DEADLINE_MS));
    bl_loop_run(&loop);
    on_console(&source, 0);
    bl_engine_free(engine);
    bl_engine_close_config(&config);
    fprintf(stderr, "all after %lld us\n", (long long)(bl_now_us() - begun));
    return code;
}
