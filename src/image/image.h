/* SPDX-License-Identifier: Apache-2.0 */
/*
 * image.h - images: references, the store, and turning layers into disks
 *
 * The part has two halves, so that commands which only look something up load no archive library:
 *
 * - the store (linked into libboxlite; jansson only): which references are known, what their configuration is, where their
 *   disk is. bl_images_open(), _find(), _list(), _remove().
 * - the loader (libboxlite-image.so, opened by the first bl_images_load(); libarchive, libext2fs, libcrypto): reads an OCI
 *   layout directory, an oci-archive or a `docker save` archive and writes an ext4 disk. No file of an image is ever made on
 *   the host.
 *
 * Files below <home>/images:
 *   index/<reference, + for />.json        one known reference, with the image's configuration as it came; written to a
 *                                          temporary and renamed, so complete or absent
 *   disks/<key>.ext4                       read-only base disk, 10 GB virtual, sparse; <key> is 64 hex digits made from the
 *                                          diff ids of the layers, so images of equal content share one
 *   blobs/<algorithm>-<digits>             what was pulled from a registry, as it came: manifests, configurations, layers
 *                                          (blobs.h); kept for images that share layers and for `save`
 *   partial/                               what is being written; a file there is locked (flock) by its writer while it
 *                                          lives, and swept by the next load when it is not
 *   locks/<key>.lock                       one builder a disk
 *
 * A box keeps its base disk by a hard link of its own, so removing an image never breaks a box.
 *
 * Threads: a struct bl_images may be used by many threads at once; many processes may share one home.
 */
#ifndef BL_IMAGE_IMAGE_H
#define BL_IMAGE_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* The platform of boxes. */
#define BL_BOX_OS           "linux"
#define BL_BOX_ARCHITECTURE "amd64"

struct bl_images; /* a handle on one home's image store */

/* A reference, taken apart and made whole: "busybox" is docker.io/library/busybox:latest. Owned strings. */
struct bl_reference {
    char *registry;     /* "docker.io" */
    char *repository;   /* "library/busybox" */
    char *tag;          /* "latest"; NULL when there is a digest and no tag */
    char *digest;       /* "sha256:..." or NULL */
    bool said_registry; /* the registry stood there; else it was filled in */
};

/*
 * bl_reference_parse() - Take a reference apart, filling in what people leave out
 * @text: as typed; at most 512 bytes
 *
 * Return: 0; -1 with BL_INVALID_ARGUMENT and a message that names the rule that was broken
 */
int bl_reference_parse(const char *text, struct bl_reference *out, struct bl_error *err);
/* bl_reference_format() - The full form, "docker.io/library/busybox:latest". Return: allocated, NULL when memory ran out */
char *bl_reference_format(const struct bl_reference *reference);
void bl_reference_free(struct bl_reference *reference);

/* What an image says about how it wants to run. Lists end with NULL and may be NULL when empty. All owned by the image. */
struct bl_image_config {
    char **env; /* KEY=value */
    char **entrypoint;
    char **cmd;
    char *working_dir; /* NULL: "/" */
    char *user;        /* NULL: root */
    char *stop_signal; /* NULL: SIGTERM */
    char **exposed_ports;
    char **volumes;
    char *architecture;
    char *os;
};

struct bl_image {
    char *reference;  /* full form; NULL for an anonymous one (--rootfs) */
    char *repository; /* as people write it: "busybox", not "docker.io/library/busybox" */
    char *tag;
    char *manifest_digest; /* "sha256:..." */
    char *config_digest;   /* "sha256:..."; the image's id */
    char *disk_key;
    char *disk_path;        /* absolute path of the base disk */
    uint64_t disk_bytes;    /* virtual size of the base disk */
    uint64_t content_bytes; /* what the files take on it */
    int64_t created_at;     /* seconds since the epoch: made by its author */
    int64_t loaded_at;      /* seconds since the epoch: came into this store */
    unsigned int layer_count;
    int pin_fd; /* the disk, locked against eviction (store.h); -1: it is not */
    struct bl_image_config config;
};

void bl_image_free(struct bl_image *image);
void bl_image_free_list(struct bl_image **images, size_t count);

/*
 * bl_images_open() - Get a handle on the images of a home; makes nothing until something is loaded
 * @home: absolute path of the home, which exists
 * @runtime_dir: where libboxlite-image.so and images/busybox.tar (the embedded image) are
 */
int bl_images_open(const char *home, const char *runtime_dir, struct bl_images **out, struct bl_error *err);
void bl_images_close(struct bl_images *images);

/*
 * bl_images_find() - Look an image up by reference, or by the start (at least 6 digits) of its id
 *
 * Opens no layer and no archive. An index entry whose disk is gone counts as unknown.
 *
 * Return: 0 and *@out (free with bl_image_free()); -1: BL_NOT_FOUND, BL_INVALID_ARGUMENT (bad reference), BL_STORAGE
 */
int bl_images_find(struct bl_images *images, const char *name, struct bl_image **out, struct bl_error *err);

/* bl_images_list() - All known references, newest first. Return: 0; free with bl_image_free_list() */
int bl_images_list(struct bl_images *images, struct bl_image ***out, size_t *count, struct bl_error *err);

/*
 * bl_images_remove() - Forget a reference (or all references of an id) and, with the last one, the disk
 * @removed: called with one line of what went ("Untagged: ...", "Deleted: sha256:..."); may be NULL
 *
 * Return: 0; -1: BL_NOT_FOUND, BL_INVALID_ARGUMENT (an ambiguous id), BL_STORAGE
 */
int bl_images_remove(struct bl_images *images, const char *name, void (*removed)(const char *line, void *data), void *data,
                     struct bl_error *err);

/* How far a load is. Called from the loading thread, at most some ten times a second, and once at the end of each layer. */
struct bl_load_progress {
    const char *what;     /* "reading", "writing", "finishing" */
    unsigned int layer;   /* 1 for the first */
    unsigned int layers;  /* 0: not known yet */
    uint64_t done_bytes;  /* compressed bytes of this layer that were read */
    uint64_t total_bytes; /* 0: not known */
};

struct bl_user_config;

/* Bounds on what a hostile image may cost; 0 in a field means the configuration's, else the default. */
struct bl_load_limits {
    uint64_t total_bytes;       /* of all decompressed layers; default 20 GiB, and never more than the disk holds */
    uint64_t layer_bytes;       /* of one decompressed layer; default 20 GiB */
    uint64_t entries;           /* files, directories, links; default 2,000,000 */
    unsigned int path_depth;    /* default 512 components */
    uint64_t manifest_bytes;    /* a manifest or index; default 4 MiB */
    uint64_t config_bytes;      /* a configuration; default 4 MiB */
    uint64_t zstd_window_bytes; /* default 128 MiB */
    unsigned int layers;        /* default 256 */
    unsigned int time_s;        /* for all of it; default 6 hours */
};

struct bl_load_request {
    const char *path;      /* a layout directory or an archive; NULL: read @fd */
    int fd;                /* an archive as a stream (a pipe is fine); used when @path is NULL; not closed */
    const char *reference; /* name to give it; NULL: the names that the archive itself carries */
    bool anonymous;        /* record no reference: --rootfs */
    int cancel_fd;         /* readable: give up, with BL_STOPPED, leaving nothing; -1: none */
    void (*progress)(const struct bl_load_progress *progress, void *data);
    void *progress_data;
    struct bl_load_limits limits;
    const struct bl_user_config *config; /* limits; NULL: the user's usual file is read */
    const char *platform;                /* as in struct bl_pull_request */
};

/*
 * bl_images_load() - Bring images into the store, each as a bootable disk
 * @out, @count: what was loaded, in the archive's order (usually one); free with bl_image_free_list()
 *
 * Opens the loader at its first use. Digests are verified while streaming; after a failure or a kill nothing of it is visible.
 * An image whose disk is there already writes no disk. When the configuration limits the store ("image_store_mib"), unused images
 * are removed afterwards, those first that nobody used for longest; no image that a caller holds (until bl_image_free()) is.
 *
 * Return: 0; -1: BL_NOT_FOUND (no such file), BL_IMAGE (not an image, broken, hostile: the message says where and how),
 *         BL_RESOURCE_EXHAUSTED (a limit, which the message names, or a full disk), BL_STOPPED, BL_STORAGE
 */
int bl_images_load(struct bl_images *images, const struct bl_load_request *request, struct bl_image ***out, size_t *count,
                   struct bl_error *err);

/* bl_images_tag() - Give an image another name. Return: 0; -1: BL_NOT_FOUND, BL_INVALID_ARGUMENT, BL_STORAGE */
int bl_images_tag(struct bl_images *images, const char *name, const char *reference, struct bl_error *err);

/* An image with its documents as they came. Owned strings. */
struct bl_image_documents {
    struct bl_image *image;
    char *config;
    char *manifest; /* NULL: not kept, since the image came out of an archive */
};

/* bl_images_documents() - As bl_images_find(). Free with bl_image_documents_free() */
int bl_images_documents(struct bl_images *images, const char *name, struct bl_image_documents *out, struct bl_error *err);
void bl_image_documents_free(struct bl_image_documents *documents);

/* bl_images_usage() - What the store takes of the host's disk: base disks and what was pulled. Return: bytes */
uint64_t bl_images_usage(struct bl_images *images);

/*
 * bl_images_leftovers() - What bl_images_sweep() would remove now of disks: half-made ones, and those without a name
 * @found: gets each path below images/ and what it takes
 */
void bl_images_leftovers(struct bl_images *images, void (*found)(const char *path, uint64_t bytes, void *data), void *data);
/*
 * bl_images_sweep() - Remove what dead loaders left, and disks that no reference and no box has any more; each load does that
 *
 * A disk is nobody's when no record names it, its file has one link, and nothing happened to it for 300 s. Failures leave
 * things for the next sweep.
 */
void bl_images_sweep(struct bl_images *images);

struct bl_prune_request {
    bool all;           /* all images that no box uses */
    bool layers;        /* what was pulled: it is then downloaded again when it is needed again */
    uint64_t max_bytes; /* images that no box uses, longest unused first, until the store takes no more; 0: no limit */
    void (*removed)(const char *line, void *data); /* as in bl_images_remove(); may be NULL */
    void *data;
};

/* bl_images_prune() - Remove what is in nobody's use; without options only leavings. Return: 0; -1 with @err */
int bl_images_prune(struct bl_images *images, const struct bl_prune_request *request, uint64_t *freed_bytes, struct bl_error *err);

/*
 * bl_images_save() - Write images as an oci-archive: byte for byte as they were pulled, else their disk as one layer
 * @names: ends with NULL
 * @fd: gets the archive, as a stream
 *
 * Return: 0; -1: BL_NOT_FOUND (no such image), BL_IMAGE (damaged), BL_RESOURCE_EXHAUSTED (a full disk), BL_STOPPED, BL_STORAGE
 */
int bl_images_save(struct bl_images *images, const char *const *names, int fd, int cancel_fd, struct bl_error *err);

/* Where a layer of a pull is. */
enum bl_pull_state {
    BL_PULL_WAITING,
    BL_PULL_DOWNLOADING,
    BL_PULL_VERIFYING,  /* all came before the layers below it: its digest is computed meanwhile */
    BL_PULL_DOWNLOADED, /* verified, and waits for the layers below it */
    BL_PULL_WRITING,    /* verified, decompressed and written while what is left comes */
    BL_PULL_DONE,
};

struct bl_pull_layer {
    const char *digest;
    enum bl_pull_state state;
    uint64_t done_bytes;    /* downloaded */
    uint64_t written_bytes; /* of them, written to the disk */
    uint64_t total_bytes;
};

/* How far a pull is. Called from the pulling thread, some ten times a second. */
struct bl_pull_progress {
    const char *reference; /* full form */
    const struct bl_pull_layer *layers;
    size_t count; /* 0: not known yet */
};

enum bl_pull_policy {
    BL_PULL_MISSING, /* use what is here, else pull */
    BL_PULL_ALWAYS,  /* ask the registry; layers that are here are not downloaded again */
    BL_PULL_NEVER,
};

struct bl_pull_request {
    const char *reference;
    enum bl_pull_policy policy;
    const struct bl_user_config *config; /* registries, certificates; NULL: the user's usual file is read */
    unsigned int parallel;               /* downloads at once; 0: 3 */
    const char *platform;                /* of several, "linux/arm64", "linux/arm/v7"; NULL: that of boxes */
    int cancel_fd;                       /* as in struct bl_load_request */
    void (*progress)(const struct bl_pull_progress *progress, void *data);
    void *progress_data;
    struct bl_load_limits limits;
};

/*
 * bl_images_pull() - Bring an image in from a registry, as a bootable disk
 *
 * A name without a registry is looked up on each registry of the search order (the configuration's, else docker.io), and what is
 * found is known by its full name there; with BL_PULL_MISSING what is here under one of these names is taken first, and
 * "busybox" is the embedded image.
 *
 * Layers download in parallel while lower ones are written; every digest is verified. What came before a failure or a kill is
 * kept and continued by the next pull, and is not visible. Two pulls of one image at once download it once. What bl_images_load()
 * says of the store's limit goes for pulls, too.
 *
 * Return: 0, free with bl_image_free(); -1: BL_NOT_FOUND, BL_NETWORK (unreachable, unauthorized), BL_IMAGE, BL_RESOURCE_EXHAUSTED,
 *         BL_INVALID_ARGUMENT, BL_CONFIG, BL_STOPPED, BL_STORAGE
 */
int bl_images_pull(struct bl_images *images, const struct bl_pull_request *request, struct bl_image **out, struct bl_error *err);

/*
 * bl_images_login() - Try a login at a registry and remember it (auth.json beside the configuration, mode 0600)
 * @config: as in struct bl_pull_request
 *
 * Return: 0; -1: BL_NETWORK (refused, or the registry can't be reached: nothing is stored), BL_CONFIG, BL_STOPPED, BL_STORAGE
 */
int bl_images_login(struct bl_images *images, const struct bl_user_config *config, const char *host, const char *user,
                    const char *secret, int cancel_fd, struct bl_error *err);
/* bl_images_logout() - Forget it. Return: 1; 0 when there was none; -1 with @err */
int bl_images_logout(struct bl_images *images, const char *host, struct bl_error *err);

/*
 * bl_images_ensure() - Find an image; when it is missing, load the embedded one ("busybox") or pull it
 * @cancel_fd: as in struct bl_load_request
 *
 * Return: as bl_images_pull() with BL_PULL_MISSING and the user's usual configuration
 */
int bl_images_ensure(struct bl_images *images, const char *name, int cancel_fd, struct bl_image **out, struct bl_error *err);

#endif
