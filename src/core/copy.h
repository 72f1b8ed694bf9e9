/* SPDX-License-Identifier: Apache-2.0 */
/*
 * copy.h - where the entries of a copy come from and go to, on the host
 *
 * A source makes entries (proto/entry.h) for a box to receive; a sink takes those that a box sends. There is one of each for a tree
 * of files and one for a tar stream. A box is hostile: a sink takes nothing for granted but that paths obey the rules of entry.h.
 */
#ifndef BL_CORE_COPY_H
#define BL_CORE_COPY_H

#include <stdbool.h>

#include "base/buffer.h"
#include "base/error.h"
#include "image/image.h"
#include "proto/entry.h"

struct bl_copy_source {
    /* Append entries and their bytes as far as there is room. Return: 1: more will come; 0: END was appended; -1 with *@err */
    int (*fill)(void *data, struct bl_buffer *out, struct bl_error *err);
    void *data;
};

struct bl_copy_sink {
    int (*entry)(void *data, const struct bl_entry *entry, struct bl_error *err);
    int (*content)(void *data, const void *bytes, size_t length, struct bl_error *err); /* of the last entry, a file */
    int (*content_end)(void *data, struct bl_error *err);                               /* all of it came */
    int (*end)(void *data, struct bl_error *err);                                       /* END came */
    void *data;
};

/*
 * bl_tree_source_open() - Entries of a file or directory with all below it
 * @path: on the host
 * @follow_links: what a symlink points to, instead of the link
 */
struct bl_tree_source;
int bl_tree_source_open(const char *path, bool follow_links, struct bl_tree_source **out, struct bl_error *err);
int bl_tree_source_fill(void *source, struct bl_buffer *out, struct bl_error *err);
void bl_tree_source_close(struct bl_tree_source *source);

/*
 * bl_tree_sink_open() - Make files of entries
 * @path: where to: an existing directory takes the copy under @name, unless @content_only; else the copy gets that name
 * @name: base name of what is copied; NULL or unusable: the one that the first entry carries
 */
struct bl_tree_sink;
int bl_tree_sink_open(const char *path, const char *name, bool content_only, bool no_overwrite, struct bl_tree_sink **out,
                      struct bl_error *err);
int bl_tree_sink_entry(void *sink, const struct bl_entry *entry, struct bl_error *err);
int bl_tree_sink_content(void *sink, const void *bytes, size_t length, struct bl_error *err);
int bl_tree_sink_content_end(void *sink, struct bl_error *err);
int bl_tree_sink_end(void *sink, struct bl_error *err);
/* bl_tree_sink_close() - Forget it; a file that is not complete is removed. */
void bl_tree_sink_close(struct bl_tree_sink *sink);

/* bl_tar_source_open() - Entries of an archive, which land below a directory. @fd stays the caller's. */
struct bl_tar_source;
int bl_tar_source_open(struct bl_images *images, int fd, int cancel_fd, struct bl_tar_source **out, struct bl_error *err);
int bl_tar_source_fill(void *source, struct bl_buffer *out, struct bl_error *err);
void bl_tar_source_close(struct bl_tar_source *source);

/* bl_tar_sink_open() - An archive of entries. @top: name before every path; NULL: what is in a directory, without the directory */
struct bl_tar_sink;
int bl_tar_sink_open(struct bl_images *images, int fd, int cancel_fd, const char *top, struct bl_tar_sink **out,
                     struct bl_error *err);
int bl_tar_sink_entry(void *sink, const struct bl_entry *entry, struct bl_error *err);
int bl_tar_sink_content(void *sink, const void *bytes, size_t length, struct bl_error *err);
int bl_tar_sink_content_end(void *sink, struct bl_error *err);
int bl_tar_sink_end(void *sink, struct bl_error *err);
void bl_tar_sink_close(struct bl_tar_sink *sink);

/* Takes the bytes of a copy apart and hands them to a sink. */
struct bl_entry_reader {
    struct bl_copy_sink sink;
    struct bl_buffer in;
    uint64_t content_left;
    bool in_content, ended;
};
void bl_entry_reader_init(struct bl_entry_reader *reader, const struct bl_copy_sink *sink);
/* bl_entry_reader_feed() - Return: 0; -1 with *@err: what the sink says, or what is no entry */
int bl_entry_reader_feed(struct bl_entry_reader *reader, const void *bytes, size_t length, struct bl_error *err);
void bl_entry_reader_finish(struct bl_entry_reader *reader);

#endif
