/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tree_apply.c - what one entry of a layer does to the tree
 *
 * The rules, where tar archives leave room: a later entry replaces an earlier one; a directory over a directory only changes
 * its attributes; parents that a layer does not mention are made, 0755 and root's; a parent that is a file of an older layer
 * gives way, of the same layer is an error. A hard link may stand before its file, and is then made at the layer's end.
 */
#include <string.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "image/loader/tree_private.h"

#define LINKS_FOLLOWED_MAX 40
#define TARGET_MAX         4095
#define ATTRIBUTES_MAX     (16u << 10) /* bytes of one file; ext4 takes about 4 KiB, this bounds memory */
#define WHITEOUT           ".wh."
#define WHITEOUT_META      ".wh..wh."
#define OPAQUE             ".wh..wh..opq"
#define SHOWN(path)        (int)strnlen(path, 200), path /* for "%.*s": names in messages stay short */
#define DEFERRED_LINKS_MAX 100000

/* A walk through the tree. */
struct walk {
    struct bl_tree *tree;
    const char *path;   /* for messages */
    bool make;          /* make what is missing */
    unsigned int links; /* symbolic links followed so far */
};

static struct bl_name *walk_target(struct walk *walk, struct bl_name *link, struct bl_error *err);

/* make_directory() - A directory that no entry spoke of. Return: NULL with @err */
static struct bl_name *make_directory(struct walk *walk, struct bl_name *parent, const char *text, size_t length,
                                      struct bl_error *err)
{
    struct bl_inode *inode = bl_inode_new(S_IFDIR | 0755, err);
    struct bl_name *name = inode ? bl_tree_insert(walk->tree, parent, text, length, inode, err) : NULL;

    if (!name)
        bl_inode_free(inode);
    return name;
}

/* enter() - From a directory to the one that a component names, following links. Return: NULL with @err, or not found (BL_OK) */
static struct bl_name *enter(struct walk *walk, struct bl_name *directory, const char *text, size_t length, struct bl_error *err)
{
    if (length == 1 && text[0] == '.')
        return directory;
    if (length == 2 && text[0] == '.' && text[1] == '.')
        return directory->parent;

    struct bl_name *name = length <= BL_EXT4_NAME_MAX ? bl_tree_lookup(walk->tree, directory, text, length) : NULL;

    if (name && S_ISLNK(name->inode->mode))
        return walk_target(walk, name, err);
    if (name && bl_name_is_directory(name))
        return name;
    if (!walk->make)
        return NULL;
    if (length > BL_EXT4_NAME_MAX) {
        bl_fail(err, BL_IMAGE, 0, "the path '%.*s' has a name longer than %u bytes", SHOWN(walk->path), BL_EXT4_NAME_MAX);
        return NULL;
    }
    if (name && name->layer == walk->tree->layer) {
        bl_fail(err, BL_IMAGE, 0, "the path '%.*s' goes through a file that is no directory", SHOWN(walk->path));
        return NULL;
    }
    if (name)
        bl_tree_remove(walk->tree, name);
    return make_directory(walk, directory, text, length, err);
}

/* walk_directories() - Follow all components of a path of @length bytes. Return: as enter() */
static struct bl_name *walk_directories(struct walk *walk, struct bl_name *from, const char *path, size_t length,
                                        struct bl_error *err)
{
    const char *end = path + length;

    while (from && path < end) {
        const char *slash = memchr(path, '/', (size_t)(end - path));
        size_t part = (size_t)((slash ? slash : end) - path);

        if (part)
            from = enter(walk, from, path, part, err);
        path += part + (slash != NULL);
    }
    return from;
}

static struct bl_name *walk_target(struct walk *walk, struct bl_name *link, struct bl_error *err)
{
    const char *target = link->inode->target;

    if (++walk->links > LINKS_FOLLOWED_MAX) {
        bl_fail(err, BL_IMAGE, 0, "the path '%.*s' goes through too many symbolic links", SHOWN(walk->path));
        return NULL;
    }
    return walk_directories(walk, *target == '/' ? walk->tree->root : link->parent, target, strlen(target), err);
}

/* A layer's path, parted. */
struct place {
    struct bl_name *directory; /* NULL: it does not exist */
    const char *base;          /* last component, not terminated */
    size_t length;             /* 0: the path is the root */
};

/* has_dots() - Whether a component is "..": no layer needs one, and no reader agrees with another on what it means. */
static bool has_dots(const char *path)
{
    for (const char *at = path; (at = strstr(at, "..")); at += 2)
        if ((at == path || at[-1] == '/') && (!at[2] || at[2] == '/'))
            return true;
    return false;
}

/* find_place() - Part a path into its directory, found or made, and its last component. Return: 0; -1 with @err */
static int find_place(struct bl_tree *tree, const char *path, bool make, struct place *place, struct bl_error *err)
{
    struct walk walk = {.tree = tree, .path = path, .make = make};
    struct bl_error failure = BL_ERROR_INIT;
    size_t length = strlen(path);

    if (has_dots(path))
        return bl_fail(err, BL_IMAGE, 0, "the path '%.*s' holds '..', which a layer may not", SHOWN(path));
    for (;;) {
        while (length && path[length - 1] == '/')
            length--;
        if (length && path[length - 1] == '.' && (length == 1 || path[length - 2] == '/'))
            length--;
        else
            break;
    }

    size_t start = length;

    while (start && path[start - 1] != '/')
        start--;
    place->base = path + start;
    place->length = length - start;
    if (place->length > BL_EXT4_NAME_MAX)
        return bl_fail(err, BL_IMAGE, 0, "the path '%.*s' has a name longer than %u bytes", SHOWN(path), BL_EXT4_NAME_MAX);
    place->directory = walk_directories(&walk, tree->root, path, start, &failure);
    if (failure.code == BL_OK)
        return 0;
    if (err)
        *err = failure;
    return -1;
}

/*
 * prune() - Remove what older layers put below a directory
 *
 * What the current layer made stays, and so do the directories that lead to it. Once a layer is enough, however often it says
 * so: a million markers in a directory of a million files would take for ever.
 */
static void prune(struct bl_tree *tree, struct bl_name *directory)
{
    struct bl_name *next;

    if (directory->pruned == tree->layer)
        return;
    directory->pruned = tree->layer;
    for (struct bl_name *name = directory->first_child; name; name = next) {
        next = name->next;
        prune(tree, name);
        if (name->layer < tree->layer && !name->first_child)
            bl_tree_remove(tree, name);
    }
}

/* apply_whiteout() - A marker: ".wh.NAME" hides NAME, ".wh..wh..opq" all in its directory. Return: 0; -1 with @err */
static int apply_whiteout(struct bl_tree *tree, const char *path, const struct place *place, struct bl_error *err)
{
    const char *hidden = place->base + strlen(WHITEOUT);
    size_t length = place->length - strlen(WHITEOUT);
    struct bl_name *name;

    if (place->length == strlen(OPAQUE) && !memcmp(place->base, OPAQUE, place->length)) {
        if (place->directory)
            prune(tree, place->directory);
        return 0;
    }
    if (place->length >= strlen(WHITEOUT_META) && !memcmp(place->base, WHITEOUT_META, strlen(WHITEOUT_META)))
        return 0; /* other marks of aufs, from old images; they hide nothing */
    if (!length || (hidden[0] == '.' && (length == 1 || (length == 2 && hidden[1] == '.'))))
        return bl_fail(err, BL_IMAGE, 0, "the layer holds '%.*s', which is no valid whiteout", SHOWN(path));
    name = place->directory ? bl_tree_lookup(tree, place->directory, hidden, length) : NULL;
    if (!name)
        return 0;
    prune(tree, name);
    if (name->layer < tree->layer && !name->first_child)
        bl_tree_remove(tree, name);
    return 0;
}

static bool is_whiteout(const char *text, size_t length)
{
    return length >= strlen(WHITEOUT) && !memcmp(text, WHITEOUT, strlen(WHITEOUT));
}

/* is_below_whiteout() - Whether a directory of the path is named like a whiteout. @meta: like an aufs mark, whose content is
 * nothing */
static bool is_below_whiteout(const char *path, const char *base, bool *meta)
{
    for (const char *at = path; at < base; at++) {
        if ((at != path && at[-1] != '/') || strncmp(at, WHITEOUT, strlen(WHITEOUT)) != 0)
            continue;
        *meta = strncmp(at, WHITEOUT_META, strlen(WHITEOUT_META)) == 0;
        return true;
    }
    return false;
}

/* find_file() - A file by its path, not following a link at its end. Return: 0, NULL when there is none; -1 with @err */
static int find_file(struct bl_tree *tree, const char *path, struct bl_name **out, struct bl_error *err)
{
    struct place place;

    *out = NULL;
    if (find_place(tree, path, false, &place, err))
        return -1;
    if (place.directory)
        *out = place.length ? bl_tree_lookup(tree, place.directory, place.base, place.length) : tree->root;
    return 0;
}

/* defer() - Keep a hard link for the layer's end. */
static int defer(struct bl_tree *tree, const struct bl_tree_entry *entry, struct bl_error *err)
{
    struct deferred_link *grown =
        tree->link_count < DEFERRED_LINKS_MAX ? reallocarray(tree->links, tree->link_count + 1, sizeof *grown) : NULL;

    if (!grown)
        return bl_fail_memory(err);
    tree->links = grown;
    grown[tree->link_count] = (struct deferred_link){strdup(entry->path), strdup(entry->hard_link)};
    tree->link_count++;
    return grown[tree->link_count - 1].path && grown[tree->link_count - 1].hard_link ? 0 : bl_fail_memory(err);
}

/* let_go() - End a hold on a file, whose names may all be gone by now. */
static void let_go(struct bl_tree *tree, struct bl_inode *inode)
{
    if (--inode->names)
        return;
    bl_ext4_release(tree->ext4, &inode->extents);
    bl_inode_free(inode);
}

/* make_link() - Give a file another name. Return: 0; 1 when there is no such file (yet); -1 with @err */
static int make_link(struct bl_tree *tree, const char *path, const char *hard_link, struct bl_error *err)
{
    struct bl_name *file, *old;
    struct place place;

    if (find_file(tree, hard_link, &file, err))
        return -1;
    if (!file)
        return 1;
    if (bl_name_is_directory(file))
        return bl_fail(err, BL_IMAGE, 0, "'%.*s' is a hard link to a directory", SHOWN(path));
    if (file->inode->names >= BL_EXT4_LINKS_MAX)
        return bl_fail(err, BL_IMAGE, 0, "'%.*s' is one hard link too many: ext4 allows %u to a file", SHOWN(path),
                       BL_EXT4_LINKS_MAX);

    struct bl_inode *inode = file->inode;

    inode->names++; /* held, for the case that making room for the new name removes the old ones */
    if (find_place(tree, path, true, &place, err) ||
        (!place.length && bl_fail(err, BL_IMAGE, 0, "the layer replaces its root by a file"))) {
        let_go(tree, inode);
        return -1;
    }
    old = bl_tree_lookup(tree, place.directory, place.base, place.length);
    if (old && old->inode == inode) {
        old->layer = tree->layer;
        let_go(tree, inode);
        return 0;
    }
    if (old)
        bl_tree_remove(tree, old);

    struct bl_name *made = bl_tree_insert(tree, place.directory, place.base, place.length, inode, err);

    let_go(tree, inode);
    return made ? 0 : -1;
}

static int add_link(struct bl_tree *tree, const struct bl_tree_entry *entry, struct bl_error *err)
{
    int result = make_link(tree, entry->path, entry->hard_link, err);

    return result > 0 ? defer(tree, entry, err) : result;
}

static int fill(struct bl_inode *inode, const struct bl_tree_entry *entry, struct bl_error *err)
{
    inode->mode = entry->mode;
    inode->uid = entry->uid;
    inode->gid = entry->gid;
    inode->mtime = entry->mtime;
    inode->mtime_ns = entry->mtime_ns;
    inode->major = entry->major;
    inode->minor = entry->minor;
    if (!S_ISLNK(entry->mode))
        return 0;

    size_t length = entry->target ? strlen(entry->target) : 0;

    if (!length || length > TARGET_MAX)
        return bl_fail(err, BL_IMAGE, 0, "the symbolic link '%.*s' has a target of %zu bytes; 1 to %d are allowed",
                       SHOWN(entry->path), length, TARGET_MAX);
    inode->target = strdup(entry->target);
    inode->size_bytes = length;
    return inode->target ? 0 : bl_fail_memory(err);
}

/* drop_attributes() - A directory that is told of again has the attributes that are told now. */
static void drop_attributes(struct bl_inode *inode)
{
    for (size_t i = 0; i < inode->attribute_count; i++) {
        free((void *)(uintptr_t)inode->attributes[i].name);
        free((void *)(uintptr_t)inode->attributes[i].value);
    }
    inode->attribute_count = 0;
}

static int add_file(struct bl_tree *tree, const struct bl_tree_entry *entry, const struct place *place, struct bl_inode **out,
                    struct bl_error *err)
{
    struct bl_name *old = place->length ? bl_tree_lookup(tree, place->directory, place->base, place->length) : tree->root;

    if (!place->length && !S_ISDIR(entry->mode))
        return bl_fail(err, BL_IMAGE, 0, "the layer replaces its root by a file");
    if (old && bl_name_is_directory(old) && S_ISDIR(entry->mode)) {
        drop_attributes(old->inode);
        old->layer = tree->layer;
        *out = old->inode;
        return fill(old->inode, entry, err);
    }

    struct bl_inode *inode = bl_inode_new(entry->mode, err);

    if (!inode)
        return -1;
    if (old)
        bl_tree_remove(tree, old);
    if (fill(inode, entry, err) || !bl_tree_insert(tree, place->directory, place->base, place->length, inode, err)) {
        if (!inode->names)
            bl_inode_free(inode);
        return -1;
    }
    *out = inode;
    return 0;
}

int bl_tree_add(struct bl_tree *tree, const struct bl_tree_entry *entry, struct bl_inode **inode, struct bl_error *err)
{
    struct place place;
    bool meta;

    *inode = NULL;
    if (find_place(tree, entry->path, false, &place, err))
        return -1;
    if (is_below_whiteout(entry->path, place.base, &meta))
        return meta ? 0 : bl_fail(err, BL_IMAGE, 0, "the layer holds '%.*s': a whiteout can hold no files", SHOWN(entry->path));
    if (is_whiteout(place.base, place.length))
        return apply_whiteout(tree, entry->path, &place, err);
    if (entry->hard_link)
        return add_link(tree, entry, err);
    if (!place.directory && find_place(tree, entry->path, true, &place, err))
        return -1;
    return add_file(tree, entry, &place, inode, err);
}

void bl_tree_begin_layer(struct bl_tree *tree)
{
    tree->layer++;
}

int bl_tree_end_layer(struct bl_tree *tree, struct bl_error *err)
{
    int result = 0;

    for (size_t i = 0; !result && i < tree->link_count; i++) {
        result = make_link(tree, tree->links[i].path, tree->links[i].hard_link, err);
        if (result > 0)
            result = bl_fail(err, BL_IMAGE, 0, "'%.*s' is a hard link to '%.*s', which is not in the image",
                             SHOWN(tree->links[i].path), SHOWN(tree->links[i].hard_link));
    }
    for (size_t i = 0; i < tree->link_count; i++) {
        free(tree->links[i].path);
        free(tree->links[i].hard_link);
    }
    tree->link_count = 0;
    return result;
}

/* is_acl() - Whether an ACL is one: version 2 and entries of 8 bytes with known tags (linux/posix_acl_xattr.h). */
static bool is_acl(const uint8_t *value, size_t length)
{
    static const uint16_t tags[] = {0x01, 0x02, 0x04, 0x08, 0x10, 0x20};

    if (length < 4 || (length - 4) % 8 || bl_get_le32(value) != 2)
        return false;
    for (size_t at = 4; at < length; at += 8) {
        bool known = false;

        for (size_t i = 0; i < sizeof tags / sizeof *tags; i++)
            known |= bl_get_le16(value + at) == tags[i];
        if (!known)
            return false;
    }
    return true;
}

int bl_inode_add_attribute(struct bl_inode *inode, const char *name, const void *value, size_t length, struct bl_error *err)
{
    static const char *const kinds[] = {"user.", "trusted.", "security."};
    bool acl = !strcmp(name, "system.posix_acl_access") || !strcmp(name, "system.posix_acl_default");
    bool known = acl;
    size_t total = length + strlen(name);

    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        known |= !strncmp(name, kinds[i], strlen(kinds[i])) && name[strlen(kinds[i])];
    if (!known)
        return 0;
    if (acl && !is_acl(value, length))
        return bl_fail(err, BL_IMAGE, 0, "an access control list (%s) is malformed", name);
    for (size_t i = 0; i < inode->attribute_count; i++)
        total += inode->attributes[i].length + strlen(inode->attributes[i].name);
    if (strlen(name) > 255 || total > ATTRIBUTES_MAX)
        return bl_fail(err, BL_IMAGE, 0, "a file's extended attributes take more than the %u bytes that ext4 has for them",
                       BL_EXT4_BLOCK);

    struct bl_ext4_attribute *grown = reallocarray(inode->attributes, inode->attribute_count + 1, sizeof *grown);
    char *name_copy = strdup(name);
    void *value_copy = malloc(length ? length : 1);

    if (grown)
        inode->attributes = grown;
    if (!grown || !name_copy || !value_copy) {
        free(name_copy);
        free(value_copy);
        return bl_fail_memory(err);
    }
    memcpy(value_copy, value, length);
    grown[inode->attribute_count++] = (struct bl_ext4_attribute){name_copy, value_copy, length};
    return 0;
}
