/* SPDX-License-Identifier: Apache-2.0 */
/*
 * copy.c - copies between host and box: whole trees, and tar streams that the program reads or writes itself
 *
 * A stream has a thread of its own, which moves bytes between a socket pair and the box; the program's calls read and write
 * the other end and so wait for the box, as the header says.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "capi/capi.h"

struct copy_op {
    struct bl_capi_op op;
    char id[BL_BOX_ID_LENGTH + 1];
    char *from, *to;
    bool into;
    CBoxCopyCb cb;
};

static void dispose(struct bl_capi_op *base)
{
    struct copy_op *op = (struct copy_op *)base;

    free(op->from);
    free(op->to);
    free(op);
}

static int work(struct bl_capi_op *base, struct bl_error *err)
{
    struct copy_op *op = (struct copy_op *)base;
    struct bl_copy_options options = {.cancel_fd = base->runtime->cancel_fd};
    struct bl_runtime *core = bl_capi_enter(base->runtime, err);

    if (!core)
        return -1;

    int failed = op->into ? bl_copy_into(core, op->id, op->from, op->to, &options, err)
                          : bl_copy_out(core, op->id, op->from, op->to, &options, err);

    bl_capi_leave(base->runtime);
    return failed;
}

static void complete(struct bl_capi_op *base, CBoxliteError *error)
{
    ((struct copy_op *)base)->cb(error, base->user_data);
}

static enum BoxliteErrorCode post_copy(CBoxHandle *handle, const char *from, const char *to, bool into, CBoxCopyCb cb,
                                       void *user_data, CBoxliteError *out_error)
{
    if (!handle || !from || !to || !cb)
        return bl_capi_reject(out_error, BL_INVALID_ARGUMENT, "%s is NULL", !handle ? "handle" : !cb ? "cb" : "a path");

    enum BoxliteErrorCode code = bl_capi_check_runtime(handle->runtime, out_error);

    if (code != BOXLITE_OK)
        return code;

    struct copy_op *op = bl_capi_new_op(sizeof *op, handle->runtime, user_data, work, complete, dispose);

    if (!op)
        return bl_capi_no_memory(out_error);
    memcpy(op->id, handle->id, sizeof op->id);
    op->from = strdup(from);
    op->to = strdup(to);
    op->into = into;
    op->cb = cb;
    if (!op->from || !op->to) {
        dispose(&op->op);
        bl_capi_runtime_release(handle->runtime);
        return bl_capi_no_memory(out_error);
    }
    return bl_capi_post(handle->runtime, CAPI_LANE_BULK, &op->op, out_error);
}

enum BoxliteErrorCode boxlite_copy_into(CBoxHandle *handle, const char *host_src, const char *guest_dst, CBoxCopyCb cb,
                                        void *user_data, CBoxliteError *out_error)
{
    return post_copy(handle, host_src, guest_dst, true, cb, user_data, out_error);
}

enum BoxliteErrorCode boxlite_copy_out(CBoxHandle *handle, const char *guest_src, const char *host_dst, CBoxCopyCb cb,
                                       void *user_data, CBoxliteError *out_error)
{
    return post_copy(handle, guest_src, host_dst, false, cb, user_data, out_error);
}

/* ---- Streams ---- */

/* What both directions share. The thread owns far_fd and the outcome until it was joined. */
struct stream {
    CBoxliteRuntime *runtime; /* a reference */
    char id[BL_BOX_ID_LENGTH + 1];
    char *path;
    int near_fd, far_fd;
    struct bl_capi_cancel cancel; /* abort, free, and the runtime's end */
    pthread_t thread;
    bool joined;
    bool failed;
    struct bl_error error;
};

static void stream_dispose(struct stream *stream)
{
    bl_close_fd(&stream->near_fd);
    bl_close_fd(&stream->far_fd);
    free(stream->path);
    bl_capi_remove_stream(stream->runtime, &stream->cancel);
    bl_close_fd(&stream->cancel.fd);
    bl_capi_runtime_release(stream->runtime);
}

static int stream_init(struct stream *stream, CBoxHandle *handle, const char *path, struct bl_error *err)
{
    int pair[2];

    *stream = (struct stream){.near_fd = -1, .far_fd = -1, .cancel = {.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)}};
    memcpy(stream->id, handle->id, sizeof stream->id);
    stream->runtime = handle->runtime;
    bl_capi_runtime_hold(handle->runtime);
    bl_capi_add_stream(handle->runtime, &stream->cancel);
    stream->path = strdup(path);
    if (!stream->path)
        return bl_fail_memory(err);
    if (stream->cancel.fd < 0 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return bl_fail(err, BL_RESOURCE_EXHAUSTED, errno, "open a stream");
    stream->near_fd = pair[0];
    stream->far_fd = pair[1];
    return 0;
}

static void stream_join(struct stream *stream)
{
    if (!stream->joined)
        pthread_join(stream->thread, NULL);
    stream->joined = true;
}

/* refuse_child() - The socket and the thread are those of the process that opened it. Return: BOXLITE_OK; BOXLITE_INVALID_STATE */
static enum BoxliteErrorCode refuse_child(const struct stream *stream, CBoxliteError *out_error)
{
    if (stream->runtime->owner == getpid())
        return BOXLITE_OK;
    return bl_capi_reject(out_error, BL_INVALID_STATE, "the copy belongs to process %d", (int)stream->runtime->owner);
}

struct CBoxCopyOutStream {
    struct stream stream;
    struct bl_buffer ahead; /* read ahead to know what the source is, and not given to the caller yet */
    bool at_end, broken;
};

/* POSIX.1-2017, pax: a header is a block; its size field is 12 octal digits from byte 124, its type flag byte 156. */
#define TAR_BLOCK     512
#define TAR_SIZE      124
#define TAR_SIZE_LAST 11
#define TAR_TYPE      156
#define AHEAD_MAX     (1u << 20) /* extended headers before the first entry */

/* tar_size() - The size in a header, in bytes, rounded up to blocks; -1: none that makes sense here */
static ssize_t tar_size(const uint8_t *header)
{
    char digits[TAR_SIZE_LAST + 1] = "";

    memcpy(digits, header + TAR_SIZE, TAR_SIZE_LAST);

    unsigned long size = strtoul(digits, NULL, 8);

    return size > AHEAD_MAX ? -1 : (ssize_t)((size + TAR_BLOCK - 1) / TAR_BLOCK * TAR_BLOCK);
}

/* read_ahead() - Up to the header of the first entry itself. Return: its type flag; -1: no archive came */
static int read_ahead(struct CBoxCopyOutStream *copy)
{
    for (;;) {
        uint8_t *header = bl_buffer_reserve(&copy->ahead, TAR_BLOCK);

        if (!header || bl_read_all(copy->stream.near_fd, header, TAR_BLOCK) != TAR_BLOCK)
            return -1;

        int type = header[TAR_TYPE];
        ssize_t more = tar_size(header);

        bl_buffer_commit(&copy->ahead, TAR_BLOCK);
        if (!type || !strchr("xgLK", type))
            return type;

        uint8_t *data = more < 0 ? NULL : bl_buffer_reserve(&copy->ahead, (size_t)more);

        if (!data || bl_read_all(copy->stream.near_fd, data, (size_t)more) != more)
            return -1;
        bl_buffer_commit(&copy->ahead, (size_t)more);
    }
}

static void *copy_out_thread(void *data)
{
    struct stream *stream = data;
    struct bl_copy_options options = {.cancel_fd = stream->cancel.fd};
    struct bl_runtime *core = bl_capi_enter(stream->runtime, &stream->error);

    stream->failed = !core || bl_copy_tar_out(core, stream->id, stream->path, stream->far_fd, &options, &stream->error) < 0;
    if (core)
        bl_capi_leave(stream->runtime);
    shutdown(stream->far_fd, SHUT_WR);
    return NULL;
}

struct CBoxCopyOutStream *boxlite_copy_out_start(CBoxHandle *handle, const char *guest_src, int32_t *out_source_kind,
                                                 CBoxliteError *out_error)
{
    if (!handle || !guest_src) {
        bl_capi_reject(out_error, BL_INVALID_ARGUMENT, "%s is NULL", handle ? "guest_src" : "handle");
        return NULL;
    }
    if (bl_capi_check_runtime(handle->runtime, out_error) != BOXLITE_OK)
        return NULL;

    struct CBoxCopyOutStream *copy = calloc(1, sizeof *copy);
    struct bl_error err = BL_ERROR_INIT;

    if (!copy) {
        bl_capi_no_memory(out_error);
        return NULL;
    }
    copy->ahead = (struct bl_buffer)BL_BUFFER_INIT(AHEAD_MAX);
    if (stream_init(&copy->stream, handle, guest_src, &err) < 0 ||
        (bl_capi_start_thread(&copy->stream.thread, copy_out_thread, &copy->stream) < 0 &&
         bl_fail(&err, BL_RESOURCE_EXHAUSTED, errno, "start a copy") < 0)) {
        stream_dispose(&copy->stream);
        free(copy);
        bl_capi_report(out_error, &err);
        return NULL;
    }

    int type = read_ahead(copy);

    if (type < 0) {
        shutdown(copy->stream.near_fd, SHUT_RDWR);
        stream_join(&copy->stream);
        err = copy->stream.error;
        if (!copy->stream.failed)
            bl_fail(&err, BL_PORTAL, 0, "copy %s: the box sent no archive", guest_src);
        stream_dispose(&copy->stream);
        bl_buffer_free(&copy->ahead);
        free(copy);
        bl_capi_report(out_error, &err);
        return NULL;
    }
    if (out_source_kind)
        *out_source_kind = type == '5' ? BoxliteCopySourceKindDir : BoxliteCopySourceKindFile;
    bl_capi_ok(out_error);
    return copy;
}

enum BoxliteErrorCode boxlite_copy_out_read(struct CBoxCopyOutStream *stream, uint8_t *buffer, size_t capacity, size_t *out_read,
                                            CBoxliteError *out_error)
{
    if (out_read)
        *out_read = 0;
    if (!stream || !buffer || !capacity || !out_read)
        return bl_capi_reject(out_error, BL_INVALID_ARGUMENT, "stream, buffer or out_read is NULL, or capacity 0");
    if (refuse_child(&stream->stream, out_error) != BOXLITE_OK)
        return BOXLITE_INVALID_STATE;
    if (stream->broken)
        return bl_capi_reject(out_error, BL_INVALID_STATE, "read a copy: it failed before");
    if (stream->at_end)
        return bl_capi_ok(out_error);
    if (stream->ahead.length) {
        *out_read = stream->ahead.length < capacity ? stream->ahead.length : capacity;
        memcpy(buffer, bl_buffer_data(&stream->ahead), *out_read);
        bl_buffer_consume(&stream->ahead, *out_read);
        return bl_capi_ok(out_error);
    }

    ssize_t n;

    while ((n = read(stream->stream.near_fd, buffer, capacity)) < 0 && errno == EINTR)
        ;
    if (n > 0) {
        *out_read = (size_t)n;
        return bl_capi_ok(out_error);
    }
    stream_join(&stream->stream);
    if (n < 0 || stream->stream.failed) {
        stream->broken = true;
        if (!stream->stream.failed)
            bl_fail(&stream->stream.error, BL_PORTAL, errno, "read a copy");
        return bl_capi_report(out_error, &stream->stream.error);
    }
    stream->at_end = true;
    return bl_capi_ok(out_error);
}

void boxlite_copy_out_free(struct CBoxCopyOutStream *stream)
{
    if (!stream || refuse_child(&stream->stream, NULL) != BOXLITE_OK)
        return;
    bl_capi_cancel(stream->stream.cancel.fd);
    /* Whoever writes into the pair sees the end of it. */
    shutdown(stream->stream.near_fd, SHUT_RDWR);
    stream_join(&stream->stream);
    stream_dispose(&stream->stream);
    bl_buffer_free(&stream->ahead);
    free(stream);
}

struct CBoxCopyInStream {
    struct stream stream;
    bool closed, aborted;
    struct bl_capi_op *outcome; /* an event in waiting; posted once the outcome is known */
};

struct outcome_op {
    struct bl_capi_op op;
    CBoxCopyCb cb;
};

static void outcome_complete(struct bl_capi_op *base, CBoxliteError *error)
{
    ((struct outcome_op *)base)->cb(error, base->user_data);
}

static void outcome_dispose(struct bl_capi_op *base)
{
    free(base);
}

static void *copy_in_thread(void *data)
{
    struct CBoxCopyInStream *copy = data;
    struct stream *stream = &copy->stream;
    struct bl_copy_options options = {.cancel_fd = stream->cancel.fd};
    struct bl_runtime *core = bl_capi_enter(stream->runtime, &stream->error);

    stream->failed = !core || bl_copy_tar_into(core, stream->id, stream->far_fd, stream->path, &options, &stream->error) < 0;
    if (core)
        bl_capi_leave(stream->runtime);
    /* A writer that goes on learns at once that nobody takes it any more. */
    shutdown(stream->far_fd, SHUT_RDWR);
    copy->outcome->failed = stream->failed;
    copy->outcome->error = stream->error;
    bl_capi_finish(copy->outcome);
    return NULL;
}

struct CBoxCopyInStream *boxlite_copy_in_start(CBoxHandle *handle, const char *guest_dst, int32_t source_kind, CBoxCopyCb copy_cb,
                                               void *user_data, CBoxliteError *out_error)
{
    (void)source_kind; /* the archive itself says what is in it */
    if (!handle || !guest_dst || !copy_cb) {
        bl_capi_reject(out_error, BL_INVALID_ARGUMENT, "%s is NULL", !handle ? "handle" : !guest_dst ? "guest_dst" : "copy_cb");
        return NULL;
    }
    if (bl_capi_check_runtime(handle->runtime, out_error) != BOXLITE_OK)
        return NULL;

    struct CBoxCopyInStream *copy = calloc(1, sizeof *copy);
    struct outcome_op *outcome =
        copy ? bl_capi_new_op(sizeof *outcome, handle->runtime, user_data, NULL, outcome_complete, outcome_dispose) : NULL;
    struct bl_error err = BL_ERROR_INIT;

    if (!outcome) {
        free(copy);
        bl_capi_no_memory(out_error);
        return NULL;
    }
    outcome->cb = copy_cb;
    copy->outcome = &outcome->op;
    if (stream_init(&copy->stream, handle, guest_dst, &err) < 0 ||
        (bl_capi_start_thread(&copy->stream.thread, copy_in_thread, copy) < 0 &&
         bl_fail(&err, BL_RESOURCE_EXHAUSTED, errno, "start a copy") < 0)) {
        free(outcome);
        bl_capi_runtime_release(handle->runtime);
        stream_dispose(&copy->stream);
        free(copy);
        bl_capi_report(out_error, &err);
        return NULL;
    }
    bl_capi_ok(out_error);
    return copy;
}

enum BoxliteErrorCode boxlite_copy_in_write(struct CBoxCopyInStream *stream, const uint8_t *data, size_t len,
                                            CBoxliteError *out_error)
{
    if (!stream || (!data && len))
        return bl_capi_reject(out_error, BL_INVALID_ARGUMENT, "%s is NULL", stream ? "data" : "stream");
    if (refuse_child(&stream->stream, out_error) != BOXLITE_OK)
        return BOXLITE_INVALID_STATE;
    if (stream->closed || stream->aborted)
        return bl_capi_reject(out_error, BL_INVALID_STATE, "write a copy: it was %s", stream->aborted ? "aborted" : "closed");
    if (bl_write_all(stream->stream.near_fd, data, len) == 0)
        return bl_capi_ok(out_error);
    if (errno != EPIPE && errno != ECONNRESET)
        return bl_capi_reject(out_error, BL_PORTAL, "write a copy: %s", strerror(errno));
    stream_join(&stream->stream);
    if (stream->stream.failed)
        return bl_capi_report(out_error, &stream->stream.error);
    return bl_capi_reject(out_error, BL_INVALID_STATE, "write a copy: the archive has ended already");
}

enum BoxliteErrorCode boxlite_copy_in_close(struct CBoxCopyInStream *stream, CBoxliteError *out_error)
{
    if (!stream)
        return bl_capi_reject(out_error, BL_INVALID_ARGUMENT, "stream is NULL");
    if (refuse_child(&stream->stream, out_error) != BOXLITE_OK)
        return BOXLITE_INVALID_STATE;
    if (stream->aborted)
        return bl_capi_reject(out_error, BL_INVALID_STATE, "close a copy: it was aborted");
    if (!stream->closed)
        shutdown(stream->stream.near_fd, SHUT_WR);
    stream->closed = true;
    return bl_capi_ok(out_error);
}

enum BoxliteErrorCode boxlite_copy_in_abort(struct CBoxCopyInStream *stream, CBoxliteError *out_error)
{
    if (!stream)
        return bl_capi_reject(out_error, BL_INVALID_ARGUMENT, "stream is NULL");
    if (refuse_child(&stream->stream, out_error) != BOXLITE_OK)
        return BOXLITE_INVALID_STATE;
    if (stream->closed || stream->aborted)
        return bl_capi_reject(out_error, BL_INVALID_STATE, "abort a copy: it was %s", stream->aborted ? "aborted" : "closed");
    stream->aborted = true;
    bl_capi_cancel(stream->stream.cancel.fd);
    return bl_capi_ok(out_error);
}

void boxlite_copy_in_free(struct CBoxCopyInStream *stream)
{
    if (!stream || refuse_child(&stream->stream, NULL) != BOXLITE_OK)
        return;
    if (!stream->aborted)
        boxlite_copy_in_close(stream, NULL);
    stream_join(&stream->stream);
    stream_dispose(&stream->stream);
    free(stream);
}
