/* SPDX-License-Identifier: Apache-2.0 */
/* tar.c - the door to the loader's tar streams; see tar.h */
#include "image/tar.h"

#include <stdlib.h>

#include "image/plugin.h"
#include "image/store.h"

struct bl_tar_reader {
    const struct bl_image_plugin *plugin;
    struct bl_tar_input *input;
};

struct bl_tar_writer {
    const struct bl_image_plugin *plugin;
    struct bl_tar_output *output;
};

int bl_tar_reader_open(struct bl_images *images, int fd, int cancel_fd, struct bl_tar_reader **out, struct bl_error *err)
{
    const struct bl_image_plugin *plugin = bl_images_plugin(images, err);
    struct bl_tar_reader *reader = plugin ? calloc(1, sizeof *reader) : NULL;

    if (!reader)
        return plugin ? bl_fail_memory(err) : -1;
    reader->plugin = plugin;
    if (plugin->tar_input_open(fd, cancel_fd, &reader->input, err)) {
        free(reader);
        return -1;
    }
    *out = reader;
    return 0;
}

int bl_tar_reader_next(struct bl_tar_reader *reader, struct bl_tar_entry *entry, struct bl_error *err)
{
    return reader->plugin->tar_input_next(reader->input, entry, err);
}

ssize_t bl_tar_reader_data(struct bl_tar_reader *reader, const void **bytes, struct bl_error *err)
{
    return reader->plugin->tar_input_data(reader->input, bytes, err);
}

void bl_tar_reader_close(struct bl_tar_reader *reader)
{
    if (!reader)
        return;
    reader->plugin->tar_input_close(reader->input);
    free(reader);
}

int bl_tar_writer_open(struct bl_images *images, int fd, int cancel_fd, struct bl_tar_writer **out, struct bl_error *err)
{
    const struct bl_image_plugin *plugin = bl_images_plugin(images, err);
    struct bl_tar_writer *writer = plugin ? calloc(1, sizeof *writer) : NULL;

    if (!writer)
        return plugin ? bl_fail_memory(err) : -1;
    writer->plugin = plugin;
    if (plugin->tar_output_open(fd, cancel_fd, &writer->output, err)) {
        free(writer);
        return -1;
    }
    *out = writer;
    return 0;
}

int bl_tar_writer_entry(struct bl_tar_writer *writer, const struct bl_tar_entry *entry, struct bl_error *err)
{
    return writer->plugin->tar_output_entry(writer->output, entry, err);
}

int bl_tar_writer_data(struct bl_tar_writer *writer, const void *bytes, size_t length, struct bl_error *err)
{
    return writer->plugin->tar_output_data(writer->output, bytes, length, err);
}

int bl_tar_writer_finish(struct bl_tar_writer *writer, struct bl_error *err)
{
    return writer->plugin->tar_output_finish(writer->output, err);
}

void bl_tar_writer_close(struct bl_tar_writer *writer)
{
    if (!writer)
        return;
    writer->plugin->tar_output_close(writer->output);
    free(writer);
}
