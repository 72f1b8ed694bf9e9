/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_hub.c - the hub between a hostile guest and hostile clients
 *
 * The input is a play: records of six bytes (who, what, channel, stream, u16 length), each with its payload. Frames are well formed
 * but for their content, so that the play gets past the decoder, which has a fuzzer of its own, into what the hub makes of them.
 * After each record the books must balance: no window exceeded, nothing credited twice, nothing kept past its bound.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/io.h"
#include "base/strings.h"
#include "fuzz.h"
#include "shim/hub_parts.h"

#define CLIENTS 2
#define ROUNDS  3 /* of the loop after each record */

enum { SAYS_GUEST, SAYS_CLIENT, SAYS_OTHER_CLIENT, ACTS, WHO };
enum { ACT_READ_ALL, ACT_LEAVE, ACT_SHUT_DOWN, ACT_GUEST_GONE, ACT_RUN, ACT_OPEN_AGAIN, ACTIONS };

struct play {
    struct bl_loop loop;
    struct bl_hub *hub;
    struct bl_open workload;
    int guest, clients[CLIENTS];
    int dir_fd;
    bool busy;
};

static char directory[] = "/tmp/boxlite-fuzz-hub-XXXXXX";

static void on_event(void *data)
{
    (void)data;
}

static void on_exited(const struct bl_exit *exit, void *data)
{
    (void)data;
    must(exit->code >= 0 && exit->code <= 255);
}

static void on_broken(const char *why, void *data)
{
    (void)data;
    must(*why);
}

static void on_stop(int64_t grace_ms, void *data)
{
    (void)data;
    must(grace_ms >= -1 && grace_ms <= UINT32_MAX);
}

static void on_busy(bool busy, void *data)
{
    struct play *play = data;

    must(busy != play->busy);
    play->busy = busy;
}

static const struct bl_hub_events events = {
    .ready = on_event,
    .workload_opened = on_event,
    .workload_exited = on_exited,
    .down = on_event,
    .broken = on_broken,
    .stop = on_stop,
    .settled = on_event,
    .busy = on_busy,
};

static void run(struct play *play)
{
    for (int i = 0; i < ROUNDS; i++)
        bl_loop_step(&play->loop, 0);
}

static void read_all(int fd)
{
    static uint8_t bytes[1u << 18];

    while (fd >= 0 && recv(fd, bytes, sizeof bytes, MSG_DONTWAIT) > 0)
        ;
}

static void say(int fd, enum bl_frame_type type, uint16_t channel, uint32_t stream, const void *payload, size_t length)
{
    struct bl_buffer out = BL_BUFFER_INIT(BL_FRAME_HEADER_BYTES + BL_FRAME_PAYLOAD_MAX);

    must(bl_frame_append(&out, type, channel, stream, payload, length) == 0);
    if (fd >= 0)
        (void)!send(fd, bl_buffer_data(&out), out.length, MSG_DONTWAIT | MSG_NOSIGNAL);
    bl_buffer_free(&out);
}

static void greet(int fd, const uint8_t *epoch)
{
    struct bl_hello hello = {.version = BL_PROTO_VERSION, .oldest = BL_PROTO_OLDEST_VERSION};
    struct bl_buffer out = BL_BUFFER_INIT(256);

    memcpy(hello.epoch, epoch, sizeof hello.epoch);
    must(bl_hello_append(&out, &hello) == 0);
    (void)!send(fd, bl_buffer_data(&out), out.length, MSG_DONTWAIT | MSG_NOSIGNAL);
    bl_buffer_free(&out);
}

static void begin(struct play *play, bool start_on_attach)
{
    int fds[2];

    *play = (struct play){.workload = {.kind = BL_OPEN_WORKLOAD}, .dir_fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
    must(play->dir_fd >= 0 && bl_loop_init(&play->loop) == 0);
    must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
    play->guest = fds[0];

    struct bl_hub_config config = {
        .guest_fd = fds[1],
        .listen_fd = bl_unix_listen(play->dir_fd, "control.sock"),
        .hostname = "boxlite",
        .workload = &play->workload,
        .start_on_attach = start_on_attach,
        .engine = "none",
        .kernel = "none",
    };

    must(bl_hub_new(&play->loop, &config, &events, play, &play->hub, NULL) == 0);
    greet(play->guest, play->hub->epoch);
    run(play);
    say(play->guest, BL_FRAME_READY, 0, 0, NULL, 0);
    for (int i = 0; i < CLIENTS; i++) {
        play->clients[i] = bl_unix_connect(play->dir_fd, "control.sock");
        must(play->clients[i] >= 0);
        greet(play->clients[i], play->hub->epoch);
        run(play);
    }
}

static void end(struct play *play)
{
    close(play->guest);
    for (int i = 0; i < CLIENTS; i++)
        if (play->clients[i] >= 0)
            close(play->clients[i]);
    run(play);
    bl_hub_free(play->hub);
    bl_loop_finish(&play->loop);
    close(play->dir_fd);
}

/* check_books() - What must hold whatever was said. */
static void check_books(const struct bl_hub *hub)
{
    unsigned int open = 0;

    for (unsigned int i = 0; i < hub->streams_made; i++) {
        const struct hub_stream *stream = hub->streams[i];

        if (!stream->id)
            continue;
        open += !(stream->workload && stream->exited);
        must(stream->input_in_flight <= BL_WINDOW_BYTES && stream->input_foreign <= stream->input_in_flight);
        for (int channel = BL_CHANNEL_STDOUT; channel < BL_CHANNEL_COUNT; channel++) {
            const struct hub_output *output = &stream->output[channel];

            must(output->unacked <= BL_WINDOW_BYTES && output->in_flight <= BL_WINDOW_BYTES);
            must(output->owed <= output->unacked && output->replayed <= output->in_flight);
            must(output->held.length <= BL_WINDOW_BYTES);
            must(stream->client || (output->in_flight == 0 && output->held.length == 0));
        }
    }
    must(open == hub->stream_count);
    must(bl_hub_busy(hub) == hub->was_busy);
    must(hub->kept.bytes <= BL_KEPT_MAX && hub->client_count <= BL_CLIENTS_MAX);
}

static void act(struct play *play, int action, unsigned int which)
{
    int *client = &play->clients[which % CLIENTS];

    switch (action) {
    case ACT_READ_ALL:
        read_all(play->guest);
        for (int i = 0; i < CLIENTS; i++)
            read_all(play->clients[i]);
        break;
    case ACT_LEAVE:
        if (*client >= 0)
            close(*client);
        *client = bl_unix_connect(play->dir_fd, "control.sock");
        if (*client >= 0)
            greet(*client, play->hub->epoch);
        break;
    case ACT_SHUT_DOWN:
        bl_hub_shutdown(play->hub, which);
        break;
    case ACT_GUEST_GONE:
        bl_hub_drain(play->hub);
        bl_hub_guest_gone(play->hub);
        break;
    case ACT_OPEN_AGAIN:
        /* As its owner does: not while the box is ending. */
        if (play->hub->phase == HUB_RUNNING && play->hub->workload && play->hub->workload->exited)
            bl_hub_open_again(play->hub);
        break;
    default:
        break;
    }
}

/* well_formed() - Unless the record says otherwise, an OPEN or EXIT that can be understood. Return: its bytes in @out */
static size_t well_formed(enum bl_frame_type type, const uint8_t *record, uint8_t *out)
{
    struct bl_buffer payload = BL_BUFFER_INIT(BL_FRAME_PAYLOAD_MAX);
    char *args[] = {(char *)(uintptr_t) "true", NULL};
    struct bl_open open = {.kind = BL_OPEN_EXEC, .args = args, .detach = record[2] & 8};
    struct bl_exit exit = {.code = record[4]};

    must((type == BL_FRAME_OPEN ? bl_open_encode(&payload, &open) : bl_exit_encode(&payload, &exit)) == 0);

    size_t length = payload.length;

    memcpy(out, bl_buffer_data(&payload), length);
    bl_buffer_free(&payload);
    return length;
}

/* speak() - A frame from the guest (on the hub's numbers of streams) or from a client (on its own). */
static void speak(struct play *play, const uint8_t *record, const uint8_t *payload, size_t length)
{
    static const enum bl_frame_type types[] = {
        BL_FRAME_OPENED, BL_FRAME_DATA,   BL_FRAME_EOF,   BL_FRAME_CREDIT, BL_FRAME_EXIT,   BL_FRAME_OPEN,
        BL_FRAME_SIGNAL, BL_FRAME_RESIZE, BL_FRAME_CLOSE, BL_FRAME_ATTACH, BL_FRAME_STATUS, BL_FRAME_STOP,
        BL_FRAME_PING,   BL_FRAME_DOWN,   BL_FRAME_FAULT, BL_FRAME_READY,  BL_FRAME_PONG,   BL_FRAME_HELLO,
    };
    static uint8_t content[BL_FRAME_PAYLOAD_MAX];
    bool guest = record[0] % WHO == SAYS_GUEST;
    enum bl_frame_type type = types[record[1] % (sizeof types / sizeof *types)];
    /* The first generation of each slot of the hub; what a client calls it is up to it. */
    uint32_t stream = guest ? (uint32_t)(1 + record[3] / 8 % 2) << 10 | record[3] % 8 : record[3] % 8;
    size_t wanted = bl_get_le16(record + 4);
    int fd = guest ? play->guest : play->clients[record[0] % WHO - SAYS_CLIENT];

    if (guest && type >= BL_FRAME_STATUS)
        return;
    memset(content, 0, wanted < sizeof content ? wanted : sizeof content);
    if (length)
        memcpy(content, payload, length);
    if (type == BL_FRAME_CREDIT) {
        bl_put_le32(content, (uint32_t)wanted * (record[2] & 4 ? 4 : 1));
        wanted = 4;
    } else if ((type == BL_FRAME_OPEN || type == BL_FRAME_EXIT) && !(record[2] & 16)) {
        wanted = well_formed(type, record, content);
    } else if (type != BL_FRAME_DATA) {
        wanted = length;
    }
    if (type < BL_FRAME_OPEN || type == BL_FRAME_STATUS || type == BL_FRAME_STOP)
        stream = 0;
    say(fd, type, record[2] % BL_CHANNEL_COUNT, stream, content, wanted);
}

int LLVMFuzzerInitialize(int *argc, char ***argv);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct play play;

    if (!size)
        return 0;
    begin(&play, data[0] & 1);
    data++, size--;
    while (size >= 6) {
        const uint8_t *record = data;
        size_t length = bl_get_le16(record + 4);

        data += 6, size -= 6;
        if (record[0] % WHO == ACTS) {
            act(&play, record[1] % ACTIONS, record[2]);
            length = 0;
        } else {
            /* Long payloads are zeros, so that a few bytes of input can fill a window. */
            length = length > 256 ? 0 : length < size ? length : size;
            speak(&play, record, data, length);
        }
        data += length, size -= length;
        run(&play);
        check_books(play.hub);
    }
    end(&play);
    return 0;
}

static void remove_directory(void)
{
    bl_remove_tree(AT_FDCWD, directory);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    must(mkdtemp(directory) != NULL);
    return atexit(remove_directory);
}
