/* SPDX-License-Identifier: Apache-2.0 */
/* tree_private.h - shared by tree.c (names), tree_apply.c (layers) and tree_write.c (the way to the disk) */
#ifndef BL_IMAGE_LOADER_TREE_PRIVATE_H
#define BL_IMAGE_LOADER_TREE_PRIVATE_H

#include <stdbool.h>
#include <sys/stat.h>

#include "image/loader/tree.h"

/* A name in a directory. Owned by its parent's list of children and found through the tree's table. */
struct bl_name {
    struct bl_name *parent; /* the root is its own */
    struct bl_name *first_child, *last_child;
    struct bl_name *next, *previous; /* among siblings, in the order they came */
    struct bl_name *next_in_bucket;
    struct bl_inode *inode;
    uint64_t hash;
    uint32_t layer;  /* which made it, or said its attributes last */
    uint32_t depth;  /* 0: the root */
    uint32_t pruned; /* the last layer that hid what was below; nothing older can come back */
    char text[];
};

/* A hard link that stood before its file. */
struct deferred_link {
    char *path, *hard_link;
};

struct bl_tree {
    struct bl_ext4 *ext4;
    struct bl_name *root;
    struct bl_name **buckets; /* a power of two of them */
    size_t bucket_count, name_count;
    uint64_t secret[2]; /* hostile names can't be made to fall into one bucket */
    uint32_t layer;
    unsigned int depth_max;
    struct deferred_link *links; /* of the current layer */
    size_t link_count;
};

static inline bool bl_name_is_directory(const struct bl_name *name)
{
    return S_ISDIR(name->inode->mode);
}

/* bl_tree_lookup() - A child by name. Return: NULL when there is none */
struct bl_name *bl_tree_lookup(const struct bl_tree *tree, const struct bl_name *parent, const char *text, size_t length);
/* bl_tree_insert() - A new name of the current layer for an inode, which gets one name more. Return: NULL with @err */
struct bl_name *bl_tree_insert(struct bl_tree *tree, struct bl_name *parent, const char *text, size_t length,
                               struct bl_inode *inode, struct bl_error *err);
/* bl_tree_remove() - Remove a name with all below it; files go with their last name. */
void bl_tree_remove(struct bl_tree *tree, struct bl_name *name);
/* bl_inode_new() - Return: NULL with @err */
struct bl_inode *bl_inode_new(uint16_t mode, struct bl_error *err);
/* bl_inode_free() - Free the memory; blocks on the disk stay. */
void bl_inode_free(struct bl_inode *inode);

#endif
