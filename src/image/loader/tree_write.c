/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tree_write.c - the finished tree onto the disk
 *
 * Files get their numbers in the order of a walk, directories before what is in them, and are written in that order.
 */
#include <string.h>

#include "base/cleanup.h"
#include "image/loader/tree_private.h"

/* Files in the order of their numbers; the root, which has a number of its own, comes first. */
struct order {
    struct bl_inode **inodes;
    size_t count, capacity;
    uint32_t next;
};

static int number_inode(struct order *order, struct bl_inode *inode, uint32_t number, struct bl_error *err)
{
    if (order->count == order->capacity) {
        size_t capacity = order->capacity ? order->capacity * 2 : 1024;
        struct bl_inode **grown = reallocarray(order->inodes, capacity, sizeof(struct bl_inode *));

        if (!grown)
            return bl_fail_memory(err);
        order->inodes = grown;
        order->capacity = capacity;
    }
    inode->number = number;
    order->inodes[order->count++] = inode;
    return 0;
}

static int number_children(struct order *order, const struct bl_name *directory, struct bl_error *err)
{
    for (struct bl_name *name = directory->first_child; name; name = name->next)
        if (!name->inode->number && number_inode(order, name->inode, order->next++, err))
            return -1;
    for (struct bl_name *name = directory->first_child; name; name = name->next)
        if (name->first_child && number_children(order, name, err))
            return -1;
    return 0;
}

static int write_directory(struct bl_tree *tree, struct bl_name *directory, struct bl_error *err)
{
    struct bl_inode *inode = directory->inode;
    size_t count = 0, i = 0;

    for (const struct bl_name *name = directory->first_child; name; name = name->next)
        count++;

    cleanup_free struct bl_ext4_entry *entries = calloc(count ? count : 1, sizeof *entries);

    if (!entries)
        return bl_fail_memory(err);
    for (const struct bl_name *name = directory->first_child; name; name = name->next)
        entries[i++] = (struct bl_ext4_entry){name->text, name->inode->number, name->inode->mode};
    return bl_ext4_write_directory(tree->ext4, inode->number, directory->parent->inode->number, entries, count, &inode->extents,
                                   &inode->size_bytes, &inode->flags, err);
}

/* write_directories() - A directory and all below it, and their counts of links. */
static int write_directories(struct bl_tree *tree, struct bl_name *directory, struct bl_error *err)
{
    uint32_t subdirectories = 0;

    if (write_directory(tree, directory, err))
        return -1;
    for (struct bl_name *name = directory->first_child; name; name = name->next) {
        if (!bl_name_is_directory(name))
            continue;
        subdirectories++;
        if (write_directories(tree, name, err))
            return -1;
    }
    directory->inode->names = 2 + subdirectories;
    return 0;
}

static int write_inode(struct bl_tree *tree, const struct bl_inode *inode, struct bl_error *err)
{
    struct bl_ext4_inode out = {
        .mode = inode->mode,
        .uid = inode->uid,
        .gid = inode->gid,
        .links = inode->names,
        .major = inode->major,
        .minor = inode->minor,
        .size_bytes = inode->size_bytes,
        .mtime = inode->mtime,
        .mtime_ns = inode->mtime_ns,
        .extents = &inode->extents,
        .target = inode->target,
        .flags = inode->flags,
    };

    return bl_ext4_write_inode(tree->ext4, inode->number, &out, err);
}

/* restore_names() - A directory has one name; while it was written the field held its count of links. */
static void restore_names(const struct order *order)
{
    for (size_t i = 0; i < order->count; i++)
        if (S_ISDIR(order->inodes[i]->mode))
            order->inodes[i]->names = 1;
}

static int write_tree(struct bl_tree *tree, struct order *order, struct bl_error *err)
{
    if (number_inode(order, tree->root->inode, BL_EXT4_ROOT, err) || number_children(order, tree->root, err) ||
        write_directories(tree, tree->root, err))
        return -1;
    for (size_t i = 0; i < order->count; i++)
        if (write_inode(tree, order->inodes[i], err))
            return -1;
    for (size_t i = 0; i < order->count; i++)
        if (order->inodes[i]->attribute_count &&
            bl_ext4_write_attributes(tree->ext4, order->inodes[i]->number, order->inodes[i]->attributes,
                                     order->inodes[i]->attribute_count, err))
            return -1;
    return 0;
}

int bl_tree_write(struct bl_tree *tree, struct bl_error *err)
{
    struct order order = {.next = BL_EXT4_FIRST};
    int result = write_tree(tree, &order, err);

    restore_names(&order);
    free(order.inodes);
    return result;
}
