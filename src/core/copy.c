/* SPDX-License-Identifier: Apache-2.0 */
/*
 * copy.c - copies into and out of a box
 *
 * A copy is a session whose stream carries entries. Between the stream and the host's files stands a source or a sink (copy.h);
 * this file moves the bytes, heeds the cancellation, and sees to it that a box that was started for a copy is stopped again.
 *
 * Whose the files are: what is copied into a box belongs to the user that exec would use there, which the box looks up; what is
 * copied out belongs to whoever copies.
 */
#include "core/copy.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/os.h"
#include "base/strings.h"
#include "core/change.h"
#include "proto/messages.h"

#define SEND_BUFFER (1u << 19) /* bytes made ready ahead of the box */

void bl_entry_reader_init(struct bl_entry_reader *reader, const struct bl_copy_sink *sink)
{
    *reader = (struct bl_entry_reader){.sink = *sink, .in = BL_BUFFER_INIT(BL_ENTRY_HEADER_MAX + 2 * BL_FRAME_PAYLOAD_MAX)};
}

void bl_entry_reader_finish(struct bl_entry_reader *reader)
{
    bl_buffer_free(&reader->in);
}

/* take_entry() - The next header. Return: 1; 0: more bytes are needed; -1 with *@err */
static int take_entry(struct bl_entry_reader *reader, struct bl_error *err)
{
    struct bl_entry entry;
    size_t used = 0;

    errno = 0;

    int found = bl_entry_decode(bl_buffer_data(&reader->in), reader->in.length, &entry, &used);

    if (found < 0)
        return errno == ENOMEM ? bl_fail_memory(err) : bl_fail(err, BL_RPC, 0, "the box sent what is no entry of a copy");
    if (!found)
        return 0;
    bl_buffer_consume(&reader->in, used);
    reader->in_content = entry.type == BL_ENTRY_FILE;
    reader->content_left = entry.size;
    reader->ended = entry.type == BL_ENTRY_END;

    int failed = reader->ended ? reader->sink.end(reader->sink.data, err) : reader->sink.entry(reader->sink.data, &entry, err);

    bl_entry_free(&entry);
    return failed ? -1 : 1;
}

/* take_content() - Bytes of the file under way. Return: as take_entry() */
static int take_content(struct bl_entry_reader *reader, struct bl_error *err)
{
    size_t piece = reader->in.length < reader->content_left ? reader->in.length : (size_t)reader->content_left;

    if (piece && reader->sink.content(reader->sink.data, bl_buffer_data(&reader->in), piece, err) < 0)
        return -1;
    bl_buffer_consume(&reader->in, piece);
    reader->content_left -= piece;
    if (reader->content_left)
        return 0;
    reader->in_content = false;
    return reader->sink.content_end(reader->sink.data, err) < 0 ? -1 : 1;
}

/* take_piece() - Bytes that surely find room. Return: 0; -1 with *@err */
static int take_piece(struct bl_entry_reader *reader, const void *bytes, size_t length, struct bl_error *err)
{
    int went_on = 1;

    if (bl_buffer_room(&reader->in) < length)
        return bl_fail(err, BL_RPC, 0, "the box sent an entry that is too long");
    if (bl_buffer_append(&reader->in, bytes, length) < 0)
        return bl_fail_memory(err);
    while (went_on > 0 && (reader->in.length || (reader->in_content && !reader->content_left))) {
        if (reader->ended)
            return bl_fail(err, BL_RPC, 0, "the box sent more after the end of a copy");
        went_on = reader->in_content ? take_content(reader, err) : take_entry(reader, err);
    }
    return went_on < 0 ? -1 : 0;
}

int bl_entry_reader_feed(struct bl_entry_reader *reader, const void *bytes, size_t length, struct bl_error *err)
{
    const uint8_t *at = bytes;

    while (length) {
        size_t piece = length < BL_FRAME_PAYLOAD_MAX ? length : BL_FRAME_PAYLOAD_MAX;

        if (take_piece(reader, at, piece, err) < 0)
            return -1;
        at += piece;
        length -= piece;
    }
    return 0;
}

/* One copy under way. */
struct copy {
    const struct bl_copy_source *source; /* NULL: out of the box */
    bool source_done;
    struct bl_buffer out; /* made by the source, not taken by the session yet */
    struct bl_entry_reader reader;
    bool failed; /* here on the host; err says why */
    struct bl_error *err;
    bool exited;
    struct bl_exit exit;
};

static void output_came(struct bl_session *session, enum bl_channel channel, const void *bytes, size_t length, void *data)
{
    struct copy *copy = data;

    if (!copy->failed && !copy->source && channel == BL_CHANNEL_STDOUT &&
        bl_entry_reader_feed(&copy->reader, bytes, length, copy->err) < 0)
        copy->failed = true;
    bl_session_consumed(session, channel, length);
}

static void copy_exited(struct bl_session *session, const struct bl_exit *exit, void *data)
{
    struct copy *copy = data;

    (void)session;
    copy->exited = true;
    copy->exit = *exit;
}

/* send_more() - Give the session what it takes. Return: 0; -1: the source failed */
static int send_more(struct copy *copy, struct bl_session *session, struct bl_error *err)
{
    while (copy->source && !copy->exited) {
        if (!copy->out.length && !copy->source_done) {
            int more = copy->source->fill(copy->source->data, &copy->out, err);

            if (more < 0)
                return -1;
            copy->source_done = !more;
        }
        if (!copy->out.length) {
            bl_session_close_input(session);
            return 0;
        }

        ssize_t taken = bl_session_write(session, bl_buffer_data(&copy->out), copy->out.length);

        if (taken <= 0)
            return 0;
        bl_buffer_consume(&copy->out, (size_t)taken);
    }
    return 0;
}

/* outcome() - What a copy's end means. */
static int outcome(const struct copy *copy, struct bl_error *err)
{
    if (copy->failed)
        return -1;
    if (*copy->exit.error)
        return bl_fail(err,
                       copy->exit.error_number == ENOENT   ? BL_NOT_FOUND
                       : copy->exit.error_number == ENOSPC ? BL_RESOURCE_EXHAUSTED
                                                           : BL_EXECUTION,
                       0, "%s", copy->exit.error);
    if (copy->exit.code)
        return bl_fail(err, BL_EXECUTION, 0, "the copy in the box ended with code %d", copy->exit.code);
    if (!copy->source && !copy->reader.ended)
        return bl_fail(err, BL_RPC, 0, "the copy was cut short");
    return 0;
}

/* move_bytes() - Until the copy has ended. */
static int move_bytes(struct copy *copy, struct bl_session *session, int cancel_fd, struct bl_error *err)
{
    for (;;) {
        struct pollfd polled[] = {{.fd = bl_session_fd(session), .events = bl_session_poll_events(session)},
                                  {.fd = cancel_fd, .events = POLLIN}};

        if (send_more(copy, session, err) < 0)
            return -1;
        polled[0].events = bl_session_poll_events(session);
        if (bl_os.poll(polled, 2, -1) < 0 && errno != EINTR)
            return bl_fail(err, BL_INTERNAL, errno, "wait for the copy");
        if (polled[1].revents)
            return bl_fail(err, BL_STOPPED, 0, "the copy was cancelled");

        int went_on = bl_session_step(session, err);

        if (copy->failed || went_on < 0)
            return -1;
        if (!went_on)
            return outcome(copy, err);
    }
}

/* transfer() - One copy over a session of its own. Exactly one of @source and @sink is given. */
static int transfer(struct bl_runtime *runtime, const char *name, const struct bl_open *open, const struct bl_copy_source *source,
                    const struct bl_copy_sink *sink, int cancel_fd, struct bl_error *err)
{
    static const struct bl_session_events events = {.output = output_came, .exited = copy_exited};
    struct copy copy = {.source = source, .out = BL_BUFFER_INIT(SEND_BUFFER), .err = err};
    struct bl_session *session;

    if (bl_session_exec(runtime, name, open, &events, &copy, &session, err) < 0)
        return -1;
    if (sink)
        bl_entry_reader_init(&copy.reader, sink);

    int failed = move_bytes(&copy, session, cancel_fd, err);

    bl_session_free(session);
    bl_buffer_free(&copy.out);
    bl_entry_reader_finish(&copy.reader);
    return failed;
}

/* check_box_path() - Refuse what no copy can mean. */
static int check_box_path(const char *path, struct bl_error *err)
{
    if (*path != '/')
        return bl_fail(err, BL_INVALID_ARGUMENT, 0, "the path in the box must be absolute, got: %s", path);
    if (strlen(path) > BL_PATH_BYTES_MAX - 2)
        return bl_fail(err, BL_INVALID_ARGUMENT, 0, "the path in the box is too long: at most %d bytes are possible",
                       BL_PATH_BYTES_MAX - 2);
    for (const char *at = path; *at; at += strspn(at, "/")) {
        size_t length = strcspn(at, "/");

        if (length == 2 && at[0] == '.' && at[1] == '.')
            return bl_fail(err, BL_INVALID_ARGUMENT, 0, "the path in the box must not contain '..': %s", path);
        at += length;
    }
    return 0;
}

/* means_content() - Whether a path ends in "/.": not the directory, but what is in it. */
static bool means_content(const char *path)
{
    size_t length = strlen(path);

    return strcmp(path, ".") == 0 || (length >= 2 && strcmp(path + length - 2, "/.") == 0);
}

/*
 * box_path_for() - The path to send: cleaned of what may stand at its end
 * @content: what is copied goes into the directory itself (proto/entry.h)
 *
 * A "/" or "/." that the user wrote says that the path is a directory; it stays as "/" for a copy into the box.
 *
 * Return: allocated; NULL when memory ran out
 */
static char *box_path_for(const char *path, bool into, bool content)
{
    size_t whole = strlen(path), length = whole;

    while (length > 1 && (path[length - 1] == '/' || (path[length - 1] == '.' && path[length - 2] == '/')))
        length--;
    if (length == 1)
        return strdup(content ? "/." : "/");
    return bl_format("%.*s%s", (int)length, path, content ? "/." : into && length < whole ? "/" : "");
}

/* base_of() - The last component; "" for the root. */
static const char *base_of(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

/* A box that is there for a copy. */
struct visit {
    char id[BL_BOX_ID_LENGTH + 1];
    bool started; /* by us: it is stopped again */
    char *user;   /* whose the files become */
};

/* begin_visit() - Have the box running. Return: 0; -1 */
static int begin_visit(struct bl_runtime *runtime, const char *name, int cancel_fd, struct visit *visit, struct bl_error *err)
{
    const struct bl_start_options options = {.cancel_fd = cancel_fd};
    struct bl_box_info info;

    if (bl_box_inspect(runtime, name, &info, err) < 0)
        return -1;
    memcpy(visit->id, info.id, sizeof visit->id);
    visit->user = strdup(info.user && *info.user ? info.user : "0:0");

    bool idle = info.status == BL_BOX_CONFIGURED || info.status == BL_BOX_STOPPED || info.status == BL_BOX_FAILED;
    /* One that is removed once it stops would be gone after its first copy; one that died is wanted back by its policy. */
    bool job = info.job, held = info.no_auto_resume && info.started_at_ms,
         stays = info.auto_remove || (info.restart.kind && info.wanted);

    bl_box_info_free(&info);
    if (!visit->user)
        return bl_fail_memory(err);
    if (!idle)
        return 0;
    if (job)
        return bl_fail(err, BL_INVALID_STATE, 0, "box %s is not running, and a copy must not run its command again: start it first",
                       name);
    if (held)
        return bl_fail(err, BL_INVALID_STATE, 0, "box %s is not running: start it first (it does not resume by itself)", name);
    if (bl_box_start(runtime, visit->id, &options, err) < 0)
        return -1;
    visit->started = !stays;
    return 0;
}

/* end_visit() - Leave the box as it was; the copy's own failure is what counts. Return: 0; -1 */
static int end_visit(struct bl_runtime *runtime, struct visit *visit, int failed, struct bl_error *err)
{
    int stopped = visit->started ? bl_box_stop(runtime, visit->id, -1, -1, failed ? NULL : err) : 0;

    free(visit->user);
    return failed || stopped ? -1 : 0;
}

static int cancel_of(const struct bl_copy_options *options)
{
    return options ? options->cancel_fd : -1;
}

/* copy_in() - From a source into a running box. @user: NULL: entries keep their owners */
static int copy_in(struct bl_runtime *runtime, const char *name, const struct bl_copy_source *source, char *path, char *user,
                   const struct bl_copy_options *options, struct bl_error *err)
{
    const struct bl_open open = {.kind = BL_OPEN_COPY_IN,
                                 .path = path,
                                 .user = user,
                                 .copy_flags = options && options->no_overwrite ? BL_COPY_NO_OVERWRITE : 0};

    return transfer(runtime, name, &open, source, NULL, cancel_of(options), err);
}

static int copy_out(struct bl_runtime *runtime, const char *name, char *path, const struct bl_copy_sink *sink,
                    const struct bl_copy_options *options, struct bl_error *err)
{
    const struct bl_open open = {
        .kind = BL_OPEN_COPY_OUT, .path = path, .copy_flags = options && options->follow_links ? BL_COPY_FOLLOW_LINKS : 0};

    return transfer(runtime, name, &open, NULL, sink, cancel_of(options), err);
}

int bl_copy_into(struct bl_runtime *runtime, const char *name, const char *host_path, const char *box_path,
                 const struct bl_copy_options *options, struct bl_error *err)
{
    cleanup_free char *path = box_path_for(box_path, true, means_content(host_path));
    struct bl_tree_source *tree;
    struct visit visit = {0};

    if (!path)
        return bl_fail_memory(err);
    if (bl_runtime_check(runtime, err) < 0 || check_box_path(box_path, err) < 0 ||
        bl_tree_source_open(host_path, options && options->follow_links, &tree, err) < 0)
        return -1;

    const struct bl_copy_source source = {.fill = bl_tree_source_fill, .data = tree};
    int failed = begin_visit(runtime, name, cancel_of(options), &visit, err) < 0 ||
                 copy_in(runtime, visit.id, &source, path, visit.user, options, err) < 0;

    bl_tree_source_close(tree);
    return end_visit(runtime, &visit, failed, err);
}

int bl_copy_out(struct bl_runtime *runtime, const char *name, const char *box_path, const char *host_path,
                const struct bl_copy_options *options, struct bl_error *err)
{
    cleanup_free char *path = box_path_for(box_path, false, false);
    struct bl_tree_sink *tree;
    struct visit visit = {0};

    if (!path)
        return bl_fail_memory(err);
    if (bl_runtime_check(runtime, err) < 0 || check_box_path(box_path, err) < 0 ||
        bl_tree_sink_open(host_path, base_of(path), means_content(box_path), options && options->no_overwrite, &tree, err) < 0)
        return -1;

    const struct bl_copy_sink sink = {.entry = bl_tree_sink_entry,
                                      .content = bl_tree_sink_content,
                                      .content_end = bl_tree_sink_content_end,
                                      .end = bl_tree_sink_end,
                                      .data = tree};
    int failed = begin_visit(runtime, name, cancel_of(options), &visit, err) < 0 ||
                 copy_out(runtime, visit.id, path, &sink, options, err) < 0;

    bl_tree_sink_close(tree);
    return end_visit(runtime, &visit, failed, err);
}

int bl_copy_tar_into(struct bl_runtime *runtime, const char *name, int tar_fd, const char *box_path,
                     const struct bl_copy_options *options, struct bl_error *err)
{
    cleanup_free char *path = box_path_for(box_path, true, true);
    struct bl_tar_source *tar;
    struct visit visit = {0};

    if (!path)
        return bl_fail_memory(err);
    if (bl_runtime_check(runtime, err) < 0 || check_box_path(box_path, err) < 0 ||
        bl_tar_source_open(runtime->images, tar_fd, cancel_of(options), &tar, err) < 0)
        return -1;

    const struct bl_copy_source source = {.fill = bl_tar_source_fill, .data = tar};
    int failed = begin_visit(runtime, name, cancel_of(options), &visit, err) < 0 ||
                 copy_in(runtime, visit.id, &source, path, NULL, options, err) < 0;

    bl_tar_source_close(tar);
    return end_visit(runtime, &visit, failed, err);
}

int bl_copy_tar_out(struct bl_runtime *runtime, const char *name, const char *box_path, int tar_fd,
                    const struct bl_copy_options *options, struct bl_error *err)
{
    cleanup_free char *path = box_path_for(box_path, false, false);
    struct bl_tar_sink *tar;
    struct visit visit = {0};

    if (!path)
        return bl_fail_memory(err);

    const char *top = base_of(path);

    if (bl_runtime_check(runtime, err) < 0 || check_box_path(box_path, err) < 0 ||
        bl_tar_sink_open(runtime->images, tar_fd, cancel_of(options), means_content(box_path) || !*top ? NULL : top, &tar, err) < 0)
        return -1;

    const struct bl_copy_sink sink = {.entry = bl_tar_sink_entry,
                                      .content = bl_tar_sink_content,
                                      .content_end = bl_tar_sink_content_end,
                                      .end = bl_tar_sink_end,
                                      .data = tar};
    int failed = begin_visit(runtime, name, cancel_of(options), &visit, err) < 0 ||
                 copy_out(runtime, visit.id, path, &sink, options, err) < 0;

    bl_tar_sink_close(tar);
    return end_visit(runtime, &visit, failed, err);
}
