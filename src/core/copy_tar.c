/* SPDX-License-Identifier: Apache-2.0 */
/*
 * copy_tar.c - tar streams as the source and the sink of copies
 *
 * An archive's entries land below a directory in the box, so the copy begins with an entry for that directory. An archive may leave
 * out the directories that its files are in; a copy may not, so they are made up, once each. Owners are those of the archive.
 *
 * The other way round the archive gets what a `tar c` of the same file or directory would hold: its name, and what is below it.
 */
#include <errno.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/strings.h"
#include "core/copy.h"
#include "image/tar.h"
#include "proto/messages.h"

#define MADE_UP_MODE 0755

static const enum bl_entry_type entry_types[] = {
    [BL_TAR_FILE] = BL_ENTRY_FILE,         [BL_TAR_DIRECTORY] = BL_ENTRY_DIRECTORY, [BL_TAR_SYMLINK] = BL_ENTRY_SYMLINK,
    [BL_TAR_HARDLINK] = BL_ENTRY_HARDLINK, [BL_TAR_FIFO] = BL_ENTRY_FIFO,
};

struct bl_tar_source {
    struct bl_tar_reader *reader;
    bool started, finished;
    bool in_content;
    const uint8_t *content; /* of the reader, not appended yet */
    size_t content_length;
    uint64_t content_left; /* that the entry promised */
    void *directories;     /* paths that were sent (tsearch) */
};

static int compare_paths(const void *a, const void *b)
{
    return strcmp(a, b);
}

int bl_tar_source_open(struct bl_images *images, int fd, int cancel_fd, struct bl_tar_source **out, struct bl_error *err)
{
    struct bl_tar_source *source = calloc(1, sizeof *source);

    *out = NULL;
    if (!source)
        return bl_fail_memory(err);
    if (bl_tar_reader_open(images, fd, cancel_fd, &source->reader, err) < 0) {
        free(source);
        return -1;
    }
    *out = source;
    return 0;
}

void bl_tar_source_close(struct bl_tar_source *source)
{
    if (!source)
        return;
    bl_tar_reader_close(source->reader);
    tdestroy(source->directories, free);
    free(source);
}

/* remember() - That a directory was sent. Return: 1: it was before; 0: now; -1: no memory */
static int remember(struct bl_tar_source *source, const char *path)
{
    char *copy = strdup(path);

    if (!copy)
        return -1;

    char **found = tsearch(copy, &source->directories, compare_paths);
    int known = found && *found != copy;

    if (!found || known)
        free(copy);
    return found ? known : -1;
}

static int append(struct bl_buffer *out, const struct bl_entry *entry, struct bl_error *err)
{
    errno = 0;
    if (bl_entry_encode(out, entry) < 0)
        return errno == ENOMEM
                   ? bl_fail_memory(err)
                   : bl_fail(err, BL_UNSUPPORTED, 0, "the archive's entry %s can't be copied: its path is too long", entry->path);
    return 0;
}

/* append_parents() - The directories above a path that were not sent yet. */
static int append_parents(struct bl_tar_source *source, const char *path, uint64_t mtime_ns, struct bl_buffer *out,
                          struct bl_error *err)
{
    cleanup_free char *parent = strdup(path);

    if (!parent)
        return bl_fail_memory(err);
    for (char *slash = strchr(parent, '/'); slash; slash = strchr(slash + 1, '/')) {
        const struct bl_entry made_up = {.type = BL_ENTRY_DIRECTORY, .path = parent, .mode = MADE_UP_MODE, .mtime_ns = mtime_ns};

        *slash = '\0';

        int known = remember(source, parent);

        if (known < 0)
            return bl_fail_memory(err);
        if (!known && append(out, &made_up, err) < 0)
            return -1;
        *slash = '/';
    }
    return 0;
}

/* append_root() - The directory below which all lands. It exists, so what is said of it here changes nothing. */
static int append_root(struct bl_buffer *out, struct bl_error *err)
{
    char nothing[] = "";
    const struct bl_entry root = {
        .type = BL_ENTRY_DIRECTORY, .path = nothing, .mode = MADE_UP_MODE, .mtime_ns = (uint64_t)time(NULL) * 1000000000u};

    return append(out, &root, err);
}

/* append_next() - The archive's next entry. Return: 1; 0 at its end; -1 with *@err */
static int append_next(struct bl_tar_source *source, struct bl_buffer *out, struct bl_error *err)
{
    struct bl_tar_entry found;
    int more = bl_tar_reader_next(source->reader, &found, err);

    if (more <= 0)
        return more;
    if (!*found.path)
        return 1;

    cleanup_free char *path = strdup(found.path);
    cleanup_free char *link = found.link ? strdup(found.link) : NULL;

    if (!path || (found.link && !link))
        return bl_fail_memory(err);

    const struct bl_entry entry = {.type = entry_types[found.type],
                                   .path = path,
                                   .link = link,
                                   .mode = found.mode,
                                   .uid = found.uid,
                                   .gid = found.gid,
                                   .mtime_ns = found.mtime_ns,
                                   .size = found.size};

    if (append_parents(source, path, found.mtime_ns, out, err) < 0 || append(out, &entry, err) < 0)
        return -1;
    if (entry.type == BL_ENTRY_DIRECTORY && remember(source, path) < 0)
        return bl_fail_memory(err);
    source->in_content = entry.type == BL_ENTRY_FILE && entry.size;
    source->content_left = entry.size;
    return 1;
}

/* append_content() - More of the file under way. */
static int append_content(struct bl_tar_source *source, struct bl_buffer *out, struct bl_error *err)
{
    if (!source->content_length) {
        const void *bytes = NULL;
        ssize_t n = bl_tar_reader_data(source->reader, &bytes, err);

        if (n < 0)
            return -1;
        if (n == 0 || (uint64_t)n > source->content_left)
            return bl_fail(err, BL_IMAGE, 0, "the archive's content is not as long as it says");
        source->content = bytes;
        source->content_length = (size_t)n;
    }

    size_t piece = source->content_length < bl_buffer_room(out) ? source->content_length : bl_buffer_room(out);

    if (bl_buffer_append(out, source->content, piece) < 0)
        return bl_fail_memory(err);
    source->content += piece;
    source->content_length -= piece;
    source->content_left -= piece;
    source->in_content = source->content_left > 0;
    return 0;
}

int bl_tar_source_fill(void *data, struct bl_buffer *out, struct bl_error *err)
{
    struct bl_tar_source *source = data;
    const struct bl_entry end = {.type = BL_ENTRY_END};

    /* One entry may bring all the directories above it along; the last half of the buffer is theirs. */
    while (!source->finished && bl_buffer_room(out) > out->maximum / 2) {
        int more = 1;

        if (!source->started)
            more = append_root(out, err) < 0 ? -1 : 1;
        else if (source->in_content)
            more = append_content(source, out, err) < 0 ? -1 : 1;
        else
            more = append_next(source, out, err);
        source->started = true;
        if (more < 0)
            return -1;
        if (!more) {
            if (bl_entry_encode(out, &end) < 0)
                return bl_fail_memory(err);
            source->finished = true;
        }
    }
    return !source->finished;
}

struct bl_tar_sink {
    struct bl_tar_writer *writer;
    char *top; /* before every path; NULL: what is in the directory, without it */
};

int bl_tar_sink_open(struct bl_images *images, int fd, int cancel_fd, const char *top, struct bl_tar_sink **out,
                     struct bl_error *err)
{
    struct bl_tar_sink *sink = calloc(1, sizeof *sink);

    *out = NULL;
    if (!sink || (top && !(sink->top = strdup(top)))) {
        free(sink);
        return bl_fail_memory(err);
    }
    if (bl_tar_writer_open(images, fd, cancel_fd, &sink->writer, err) < 0) {
        free(sink->top);
        free(sink);
        return -1;
    }
    *out = sink;
    return 0;
}

void bl_tar_sink_close(struct bl_tar_sink *sink)
{
    if (!sink)
        return;
    bl_tar_writer_close(sink->writer);
    free(sink->top);
    free(sink);
}

/* place_of() - An entry's path in the archive. Return: allocated; NULL when memory ran out */
static char *place_of(const struct bl_tar_sink *sink, const char *path)
{
    if (!sink->top)
        return strdup(path);
    return *path ? bl_format("%s/%s", sink->top, path) : strdup(sink->top);
}

int bl_tar_sink_entry(void *data, const struct bl_entry *entry, struct bl_error *err)
{
    struct bl_tar_sink *sink = data;
    static const enum bl_tar_type tar_types[] = {
        [BL_ENTRY_FILE] = BL_TAR_FILE,         [BL_ENTRY_DIRECTORY] = BL_TAR_DIRECTORY, [BL_ENTRY_SYMLINK] = BL_TAR_SYMLINK,
        [BL_ENTRY_HARDLINK] = BL_TAR_HARDLINK, [BL_ENTRY_FIFO] = BL_TAR_FIFO,           [BL_ENTRY_END] = BL_TAR_FILE,
    };
    bool linked = entry->type == BL_ENTRY_HARDLINK;
    cleanup_free char *path = place_of(sink, entry->path);
    cleanup_free char *target = linked ? place_of(sink, entry->link) : NULL;

    if (!path || (linked && !target))
        return bl_fail_memory(err);
    if (!*path && entry->type == BL_ENTRY_DIRECTORY)
        return 0;
    if (!*path)
        return bl_fail(err, BL_INVALID_ARGUMENT, 0, "what is copied is not a directory, so '/.' means nothing");

    const struct bl_tar_entry made = {.type = tar_types[entry->type],
                                      .path = path,
                                      .link = linked ? target : entry->link,
                                      .mode = entry->mode,
                                      .uid = entry->uid,
                                      .gid = entry->gid,
                                      .mtime_ns = entry->mtime_ns,
                                      .size = entry->type == BL_ENTRY_FILE ? entry->size : 0};

    return bl_tar_writer_entry(sink->writer, &made, err);
}

int bl_tar_sink_content(void *data, const void *bytes, size_t length, struct bl_error *err)
{
    return bl_tar_writer_data(((struct bl_tar_sink *)data)->writer, bytes, length, err);
}

int bl_tar_sink_content_end(void *data, struct bl_error *err)
{
    (void)data;
    (void)err;
    return 0;
}

int bl_tar_sink_end(void *data, struct bl_error *err)
{
    return bl_tar_writer_finish(((struct bl_tar_sink *)data)->writer, err);
}
