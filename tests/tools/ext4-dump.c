/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ext4-dump.c - all that an ext4 image says of its files, for comparing: ext4-dump IMAGE
 *
 * One line a path, fields parted by a tab: path, inode, mode, uid, gid, links, size, mtime in ns, device, target, SHA-256 of the
 * content, attributes (name=value, parted by commas, in the order of their names). Bytes are in hex.
 */
#include <ext2fs/ext2fs.h>
#include <inttypes.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static ext2_filsys fs;

static void must(errcode_t code, const char *what)
{
    if (!code)
        return;
    fprintf(stderr, "ext4-dump: %s: %s\n", what, error_message(code));
    exit(1);
}

static void put_hex(const void *bytes, size_t length)
{
    for (size_t i = 0; i < length; i++)
        printf("%02x", ((const uint8_t *)bytes)[i]);
}

static uint64_t size_of(const struct ext2_inode_large *inode)
{
    return inode->i_size | (uint64_t)inode->i_size_high << 32;
}

static void put_target(ext2_ino_t number, const struct ext2_inode_large *inode)
{
    char *target = calloc(1, (size_t)size_of(inode) + 1);
    ext2_file_t file;
    unsigned int got;

    if (inode->i_blocks == 0) {
        put_hex(inode->i_block, (size_t)size_of(inode));
    } else {
        must(ext2fs_file_open(fs, number, 0, &file), "open a link");
        must(ext2fs_file_read(file, target, (unsigned int)size_of(inode), &got), "read a link");
        put_hex(target, got);
        ext2fs_file_close(file);
    }
    free(target);
}

static void put_digest(ext2_ino_t number)
{
    static uint8_t block[1 << 20];
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    uint8_t digest[EVP_MAX_MD_SIZE];
    unsigned int got, length;
    ext2_file_t file;

    EVP_DigestInit_ex(context, EVP_sha256(), NULL);
    must(ext2fs_file_open(fs, number, 0, &file), "open a file");
    do {
        must(ext2fs_file_read(file, block, sizeof block, &got), "read a file");
        EVP_DigestUpdate(context, block, got);
    } while (got);
    ext2fs_file_close(file);
    EVP_DigestFinal_ex(context, digest, &length);
    EVP_MD_CTX_free(context);
    put_hex(digest, length);
}

struct attribute {
    char name[300];
    uint8_t *value;
    size_t length;
};

/* A file's attributes, while libext2fs tells them one by one. */
struct attributes {
    struct attribute list[64];
    size_t count;
};

static int collect(char *name, char *value, size_t length, void *data)
{
    struct attributes *attributes = data;
    struct attribute *attribute = &attributes->list[attributes->count];

    if (attributes->count == 64)
        return XATTR_ABORT;
    snprintf(attribute->name, sizeof attribute->name, "%s", name);
    attribute->value = malloc(length + 1);
    memcpy(attribute->value, value, length);
    attribute->length = length;
    attributes->count++;
    return 0;
}

static int by_name(const void *left, const void *right)
{
    return strcmp(((const struct attribute *)left)->name, ((const struct attribute *)right)->name);
}

static void put_attributes(ext2_ino_t number)
{
    struct attributes attributes = {.count = 0};
    struct ext2_xattr_handle *handle;

    must(ext2fs_xattrs_open(fs, number, &handle), "open attributes");
    must(ext2fs_xattrs_read(handle), "read attributes");
    must(ext2fs_xattrs_iterate(handle, collect, &attributes), "list attributes");
    ext2fs_xattrs_close(&handle);
    qsort(attributes.list, attributes.count, sizeof *attributes.list, by_name);
    for (size_t i = 0; i < attributes.count; i++) {
        printf("%s%s=", i ? "," : "", attributes.list[i].name);
        put_hex(attributes.list[i].value, attributes.list[i].length);
        free(attributes.list[i].value);
    }
}

static void put_device(const struct ext2_inode_large *inode)
{
    uint32_t old = inode->i_block[0], new = inode->i_block[1];

    if (old)
        printf("%u:%u", old >> 8 & 0xff, old & 0xff);
    else
        printf("%u:%u", new >> 8 & 0xfff, (new & 0xff) | (new >> 12 & 0xfff00));
}

static int64_t mtime_of(const struct ext2_inode_large *inode)
{
    int64_t seconds = (int32_t)inode->i_mtime + ((int64_t)(inode->i_mtime_extra & 3) << 32);

    return seconds * 1000000000 + (inode->i_mtime_extra >> 2);
}

static void dump(ext2_ino_t number, const char *path)
{
    struct ext2_inode_large inode;

    must(ext2fs_read_inode_full(fs, number, (struct ext2_inode *)&inode, sizeof inode), "read an inode");
    put_hex(path, strlen(path));
    printf("\t%u\t%o\t%u\t%u\t%u\t%" PRIu64 "\t%" PRId64 "\t", number, inode.i_mode, inode_uid(inode), inode_gid(inode),
           inode.i_links_count, size_of(&inode), mtime_of(&inode));
    if (S_ISCHR(inode.i_mode) || S_ISBLK(inode.i_mode))
        put_device(&inode);
    putchar('\t');
    if (S_ISLNK(inode.i_mode))
        put_target(number, &inode);
    putchar('\t');
    if (S_ISREG(inode.i_mode))
        put_digest(number);
    putchar('\t');
    put_attributes(number);
    putchar('\n');
}

static void walk(ext2_ino_t directory, const char *path);

static int visit(ext2_ino_t directory, int kind, struct ext2_dir_entry *entry, int offset, int block_size, char *buffer, void *data)
{
    const char *path = data;
    int length = ext2fs_dirent_name_len(entry);
    char *below = NULL;

    (void)directory, (void)offset, (void)block_size, (void)buffer;
    if (kind != DIRENT_OTHER_FILE || asprintf(&below, "%s/%.*s", path, length, entry->name) < 0)
        return 0;
    dump(entry->inode, below);
    if (ext2fs_dirent_file_type(entry) == EXT2_FT_DIR)
        walk(entry->inode, below);
    free(below);
    return 0;
}

static void walk(ext2_ino_t directory, const char *path)
{
    must(ext2fs_dir_iterate2(fs, directory, 0, NULL, visit, (void *)(uintptr_t)path), "read a directory");
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: ext4-dump IMAGE\n");
        return 2;
    }
    initialize_ext2_error_table();
    must(ext2fs_open(argv[1], EXT2_FLAG_64BITS, 0, 0, unix_io_manager, &fs), argv[1]);
    dump(EXT2_ROOT_INO, "");
    walk(EXT2_ROOT_INO, "");
    ext2fs_close_free(&fs);
    return 0;
}
