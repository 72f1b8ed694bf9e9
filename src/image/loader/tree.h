/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tree.h - the files of an image while its layers are merged
 *
 * Names and inodes live in memory; contents are on the disk already (ext4.h). Layers are applied lowest first. Every name
 * remembers which layer made it, so that whiteouts and opaque markers reach older layers only, wherever in their layer they
 * stand (OCI image specification 1.1, "Layer": Whiteouts).
 *
 * A path of a layer is resolved here, never on the host: a symbolic link on the way to a file is followed within the tree,
 * ".." at its root stays there, and a layer's own ".." is refused.
 *
 * Names are bytes. One thread uses a tree.
 */
#ifndef BL_IMAGE_LOADER_TREE_H
#define BL_IMAGE_LOADER_TREE_H

#include "image/image.h"
#include "image/loader/ext4.h"

struct bl_tree;

/* A file, of any kind. Owned by the names that point to it. */
struct bl_inode {
    uint16_t mode; /* with the type */
    uint32_t uid, gid;
    uint32_t major, minor;
    uint32_t names;  /* how many point to it */
    uint32_t number; /* 0 until the tree is written */
    uint32_t mtime_ns;
    int64_t mtime;
    uint64_t size_bytes;
    struct bl_extents extents;
    char *target;                         /* symbolic links */
    struct bl_ext4_attribute *attributes; /* names and values are allocated */
    size_t attribute_count;
    uint32_t flags; /* for its inode on the disk */
};

/* What a layer says of one path. */
struct bl_tree_entry {
    const char *path;
    const char *hard_link; /* path of the file that this is another name of, or NULL */
    const char *target;    /* symbolic links */
    uint16_t mode;
    uint32_t uid, gid, major, minor;
    int64_t mtime;
    uint32_t mtime_ns;
};

/* bl_tree_create() - An empty tree on a disk, which stays the caller's. @depth_max: components of a path */
int bl_tree_create(struct bl_ext4 *ext4, unsigned int depth_max, struct bl_tree **out, struct bl_error *err);
void bl_tree_free(struct bl_tree *tree);

/* bl_tree_begin_layer() - What follows is of the next layer. */
void bl_tree_begin_layer(struct bl_tree *tree);
/* bl_tree_end_layer() - Make the hard links whose files came after them. Return: 0; -1 with BL_IMAGE when one never came */
int bl_tree_end_layer(struct bl_tree *tree, struct bl_error *err);

/*
 * bl_tree_add() - Apply one entry of the current layer: a file, or a whiteout
 * @inode: the file, whose content and attributes can be added; NULL when there is none to fill (whiteouts, hard links)
 *
 * Return: 0; -1: BL_IMAGE (a path or link that is not allowed), BL_RESOURCE_EXHAUSTED
 */
int bl_tree_add(struct bl_tree *tree, const struct bl_tree_entry *entry, struct bl_inode **inode, struct bl_error *err);

/* bl_inode_add_attribute() - Give it an extended attribute; one of a kind that ext4 does not keep is passed over. Return: 0; -1 */
int bl_inode_add_attribute(struct bl_inode *inode, const char *name, const void *value, size_t length, struct bl_error *err);

/* bl_tree_write() - Write directories, inodes and attributes; the last step before bl_ext4_finish(). */
int bl_tree_write(struct bl_tree *tree, struct bl_error *err);

#endif
