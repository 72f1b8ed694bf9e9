/* SPDX-License-Identifier: Apache-2.0 */
/*
 * image_fixture.h - images made by hand, good and hostile, and a look at the disks that come of them
 *
 * Tar archives are written here byte by byte, since no tool makes the broken ones. Disks are read with libext2fs and checked
 * with e2fsck. Anything that goes wrong in here fails the test.
 */
#ifndef BL_TESTS_IMAGE_FIXTURE_H
#define BL_TESTS_IMAGE_FIXTURE_H

#include <ext2fs/ext2fs.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "image/image.h"

/* must() - Success, or the message. */
#define must(call)                                                                                                                 \
    do {                                                                                                                           \
        struct bl_error err_ = BL_ERROR_INIT, *err = &err_;                                                                        \
        if (call)                                                                                                                  \
            fail_msg("%s", err_.message);                                                                                          \
    } while (0)

/* A home in a directory of its own. */
struct home {
    char path[64];
    char images[80];
};
void home_make(struct home *home);
void home_remove(struct home *home);
/* home_is_clean() - Fail unless partial/ is empty and there are as many records and disks as said. */
void home_is_clean(const struct home *home, size_t records, size_t disks);

#define TAR_INIT BL_BUFFER_INIT(SIZE_MAX / 2)

/* One entry; zero fields take defaults (mode 0644 or 0755, time 1000000000). */
struct entry {
    const char *path;
    char type;        /* '0' file, '1' hard link, '2' symbolic link, '3' '4' devices, '5' directory, '6' fifo */
    const char *link; /* target */
    const char *data;
    size_t length; /* of data; 0: its string length */
    unsigned int mode, uid, gid, major, minor;
    long long mtime;
    long long size;  /* said in the header; 0: length */
    const char *pax; /* "key=value\n..." before it, values without newlines */
};
void tar_add(struct bl_buffer *tar, const struct entry *entry);
/* tar_pax() - A pax header of one record, whose value may hold any bytes. */
void tar_pax(struct bl_buffer *tar, const char *key, const void *value, size_t length);
void tar_end(struct bl_buffer *tar);
/* tar_of() - A whole archive of entries, up to one without a path. */
struct bl_buffer tar_of(const struct entry *entries);
/* small_layer() - A root directory with one program in it. */
struct bl_buffer small_layer(void);

enum packing { PLAIN, GZIP, ZSTD };
struct bl_buffer pack(const struct bl_buffer *bytes, enum packing packing);

/* How an image is written. */
struct recipe {
    const struct bl_buffer *layers;
    size_t layer_count;
    enum packing packing;     /* of the layers */
    bool docker_media;        /* Docker's media types */
    const char *config;       /* members of "config", or NULL */
    const char *architecture; /* NULL: amd64 */
    const char *name;         /* annotation in index.json, or tag in manifest.json; may be NULL */
    const char *platforms;    /* NULL: index.json names the manifest; else an index below it of these, "linux/arm64,linux/amd64" */
    /* What to break: */
    bool bad_diff_id, bad_layer_digest, bad_layer_size, bad_config_digest, bad_manifest_digest;
    const char *layer_media; /* media type of the layers */
    bool drop_layer;         /* leave the last layer's blob out */
};

/* A layout as named files, before it becomes a directory or an archive. */
struct file {
    char *name;
    struct bl_buffer bytes;
};
struct layout {
    struct file *files;
    size_t count;
};
void layout_add(struct layout *layout, const char *name, const void *bytes, size_t length);
struct layout oci_layout(const struct recipe *recipe);
struct layout docker_layout(const struct recipe *recipe);
void layout_write(const struct layout *layout, const char *directory);
struct bl_buffer layout_tar(const struct layout *layout);
void layout_free(struct layout *layout);

void write_file(const char *path, const struct bl_buffer *bytes);
void sha256_hex(const void *bytes, size_t length, char hex[65]);

/* load() - Load a file or directory into a home, in this process. Return: as bl_images_load() */
int load(const struct home *home, const char *path, const char *reference, struct bl_image **out, struct bl_error *err);
/* load_layers() - An image of plain layers as an OCI layout, loaded as "test". The layers are freed. */
int load_layers(const struct home *home, struct bl_buffer *layers, size_t count, struct bl_image **out, struct bl_error *err);

/* A disk, open for looking. */
struct disk {
    ext2_filsys fs;
};
/* disk_open() - Check it with e2fsck -fn, and open it. */
struct disk disk_open(const struct bl_image *image);
void disk_close(struct disk *disk);
/* disk_find() - Inode number of a path, not following a link at its end; 0 when there is none. */
uint32_t disk_find(const struct disk *disk, const char *path);
struct ext2_inode_large disk_stat(const struct disk *disk, const char *path);
/* disk_is() - Whether a file's content is these bytes. */
bool disk_is(const struct disk *disk, const char *path, const void *bytes, size_t length);
/* disk_attribute() - Length of an attribute's value, copied to @value; -1: none */
long disk_attribute(const struct disk *disk, const char *path, const char *name, void *value, size_t size);

#endif
