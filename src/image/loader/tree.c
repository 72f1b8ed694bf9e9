/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tree.c - names, and how they are found
 *
 * All names stand in one hash table, keyed by parent and text, so that a directory of a hundred thousand names costs no more
 * than many small ones. The order in which names are written to the disk is the order in which they came, not the table's.
 */
#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "image/limit.h"
#include "image/loader/tree_private.h"

#define BUCKETS_AT_FIRST 4096

/* mix() - Fold a product of 128 bits: every bit of the result depends on every bit of both. */
static uint64_t mix(uint64_t a, uint64_t b)
{
    unsigned __int128 product = (unsigned __int128)a * b;

    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static uint64_t hash_name(const struct bl_tree *tree, const struct bl_name *parent, const char *text, size_t length)
{
    uint64_t hash = mix((uint64_t)(uintptr_t)parent ^ tree->secret[0], tree->secret[1] ^ length);

    while (length) {
        uint64_t word = 0;
        size_t part = length < 8 ? length : 8;

        memcpy(&word, text, part);
        hash = mix(hash ^ word, tree->secret[1]);
        text += part;
        length -= part;
    }
    return mix(hash, tree->secret[0]);
}

struct bl_inode *bl_inode_new(uint16_t mode, struct bl_error *err)
{
    struct bl_inode *inode = calloc(1, sizeof *inode);

    if (inode)
        inode->mode = mode;
    else
        bl_fail_memory(err);
    return inode;
}

void bl_inode_free(struct bl_inode *inode)
{
    if (!inode)
        return;
    for (size_t i = 0; i < inode->attribute_count; i++) {
        free((void *)(uintptr_t)inode->attributes[i].name);
        free((void *)(uintptr_t)inode->attributes[i].value);
    }
    free(inode->attributes);
    free(inode->target);
    bl_extents_free(&inode->extents);
    free(inode);
}

struct bl_name *bl_tree_lookup(const struct bl_tree *tree, const struct bl_name *parent, const char *text, size_t length)
{
    uint64_t hash = hash_name(tree, parent, text, length);
    struct bl_name *name = tree->buckets[hash & (tree->bucket_count - 1)];

    while (name && (name->hash != hash || name->parent != parent || strncmp(name->text, text, length) != 0 || name->text[length]))
        name = name->next_in_bucket;
    return name;
}

/* grow() - Twice the buckets; when memory is short the table stays as it is, only slower. */
static void grow(struct bl_tree *tree)
{
    size_t count = tree->bucket_count * 2;
    struct bl_name **buckets = calloc(count, sizeof(struct bl_name *));

    if (!buckets)
        return;
    for (size_t i = 0; i < tree->bucket_count; i++) {
        struct bl_name *next;

        for (struct bl_name *name = tree->buckets[i]; name; name = next) {
            next = name->next_in_bucket;
            name->next_in_bucket = buckets[name->hash & (count - 1)];
            buckets[name->hash & (count - 1)] = name;
        }
    }
    free(tree->buckets);
    tree->buckets = buckets;
    tree->bucket_count = count;
}

static struct bl_name *new_name(const char *text, size_t length, struct bl_inode *inode, struct bl_error *err)
{
    struct bl_name *name = calloc(1, sizeof *name + length + 1);

    if (!name) {
        bl_fail_memory(err);
        return NULL;
    }
    memcpy(name->text, text, length);
    name->inode = inode;
    inode->names++;
    return name;
}

struct bl_name *bl_tree_insert(struct bl_tree *tree, struct bl_name *parent, const char *text, size_t length,
                               struct bl_inode *inode, struct bl_error *err)
{
    if (parent->depth >= tree->depth_max) {
        bl_fail_limit(err, "path_depth", "the image has a path of more than %u components", tree->depth_max);
        return NULL;
    }

    struct bl_name *name = new_name(text, length, inode, err);

    if (!name)
        return NULL;
    if (tree->name_count >= tree->bucket_count)
        grow(tree);
    name->parent = parent;
    name->depth = parent->depth + 1;
    name->layer = tree->layer;
    name->hash = hash_name(tree, parent, text, length);
    name->next_in_bucket = tree->buckets[name->hash & (tree->bucket_count - 1)];
    tree->buckets[name->hash & (tree->bucket_count - 1)] = name;
    name->previous = parent->last_child;
    if (parent->last_child)
        parent->last_child->next = name;
    else
        parent->first_child = name;
    parent->last_child = name;
    tree->name_count++;
    return name;
}

static void unlink_from_table(struct bl_tree *tree, const struct bl_name *name)
{
    struct bl_name **at = &tree->buckets[name->hash & (tree->bucket_count - 1)];

    while (*at != name)
        at = &(*at)->next_in_bucket;
    *at = name->next_in_bucket;
    tree->name_count--;
}

static void unlink_from_parent(struct bl_name *name)
{
    struct bl_name *parent = name->parent;

    if (name->previous)
        name->previous->next = name->next;
    else
        parent->first_child = name->next;
    if (name->next)
        name->next->previous = name->previous;
    else
        parent->last_child = name->previous;
}

void bl_tree_remove(struct bl_tree *tree, struct bl_name *name)
{
    while (name->first_child)
        bl_tree_remove(tree, name->first_child);
    unlink_from_table(tree, name);
    unlink_from_parent(name);
    if (!--name->inode->names) {
        bl_ext4_release(tree->ext4, &name->inode->extents);
        bl_inode_free(name->inode);
    }
    free(name);
}

/* free_names() - Free memory only: the disk is thrown away or complete. */
static void free_names(struct bl_name *name)
{
    struct bl_name *next;

    for (struct bl_name *child = name->first_child; child; child = next) {
        next = child->next;
        free_names(child);
    }
    if (!--name->inode->names)
        bl_inode_free(name->inode);
    free(name);
}

int bl_tree_create(struct bl_ext4 *ext4, unsigned int depth_max, struct bl_tree **out, struct bl_error *err)
{
    struct bl_tree *tree = calloc(1, sizeof *tree);
    struct bl_inode *inode = bl_inode_new(S_IFDIR | 0755, err);

    if (tree) {
        tree->ext4 = ext4;
        tree->depth_max = depth_max;
        tree->bucket_count = BUCKETS_AT_FIRST;
        tree->buckets = calloc(tree->bucket_count, sizeof(struct bl_name *));
    }
    if (!tree || !inode || !tree->buckets)
        bl_fail_memory(err);
    else if (bl_random_bytes(tree->secret, sizeof tree->secret))
        bl_fail(err, BL_INTERNAL, errno, "get random bytes");
    else
        tree->root = new_name("", 0, inode, err);
    if (!tree || !tree->root) {
        bl_inode_free(inode);
        bl_tree_free(tree);
        return -1;
    }
    tree->root->parent = tree->root;
    *out = tree;
    return 0;
}

void bl_tree_free(struct bl_tree *tree)
{
    if (!tree)
        return;
    if (tree->root)
        free_names(tree->root);
    for (size_t i = 0; i < tree->link_count; i++) {
        free(tree->links[i].path);
        free(tree->links[i].hard_link);
    }
    free(tree->links);
    free(tree->buckets);
    free(tree);
}
