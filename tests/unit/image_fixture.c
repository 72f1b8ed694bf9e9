/* SPDX-License-Identifier: Apache-2.0 */
/* image_fixture.c - see image_fixture.h */
#include "image_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/strings.h"
#include "image/loader/load.h"

void home_make(struct home *home)
{
    static const char *const rooms[] = {"index", "disks", "partial", "locks"};
    char path[128];

    strcpy(home->path, "/tmp/bl-image-XXXXXX");
    assert_non_null(mkdtemp(home->path));
    snprintf(home->images, sizeof home->images, "%s/images", home->path);
    for (size_t i = 0; i < 4; i++) {
        snprintf(path, sizeof path, "%s/%s", home->images, rooms[i]);
        assert_int_equal(bl_make_dirs(path), 0);
    }
}

void home_remove(struct home *home)
{
    assert_int_equal(bl_remove_tree(AT_FDCWD, home->path), 0);
}

static size_t count_files(const char *path)
{
    cleanup_dir DIR *directory = opendir(path);
    const struct dirent *entry;
    size_t count = 0;

    assert_non_null(directory);
    while ((entry = readdir(directory)))
        count += entry->d_name[0] != '.';
    return count;
}

void home_is_clean(const struct home *home, size_t records, size_t disks)
{
    char path[128];

    snprintf(path, sizeof path, "%s/partial", home->images);
    assert_int_equal(count_files(path), 0);
    snprintf(path, sizeof path, "%s/index", home->images);
    assert_int_equal(count_files(path), records);
    snprintf(path, sizeof path, "%s/disks", home->images);
    assert_int_equal(count_files(path), disks);
    snprintf(path, sizeof path, "%s/locks", home->images);
    assert_true(count_files(path) <= disks);
}

static void add_bytes(struct bl_buffer *buffer, const void *bytes, size_t length)
{
    assert_int_equal(bl_buffer_append(buffer, bytes, length), 0);
}

static void add_padding(struct bl_buffer *tar, size_t length)
{
    static const char zeros[512];

    if (length % 512)
        add_bytes(tar, zeros, 512 - length % 512);
}

/* A ustar header (POSIX.1-1988, ustar). */
struct header {
    char name[100], mode[8], uid[8], gid[8], size[12], mtime[12], checksum[8], type, link[100], magic[8], user[32], group[32],
        major[8], minor[8], prefix[155], rest[12];
};
_Static_assert(sizeof(struct header) == 512, "a tar block");

static void put_number(char *field, size_t size, long long number)
{
    if (number < 0 || number >> (3 * (size - 1))) { /* base 256, as GNU tar writes what is too large or negative */
        for (size_t i = size; i--; number >>= 8)
            field[i] = (char)(number & 0xff);
        field[0] = (char)(field[0] | 0x80);
    } else {
        char text[32];

        snprintf(text, sizeof text, "%0*llo", (int)size - 1, (unsigned long long)number);
        memcpy(field, text, size);
    }
}

static void add_header(struct bl_buffer *tar, const char *name, char type, long long size, const struct entry *entry)
{
    struct header header = {.type = type, .magic = "ustar  "};
    unsigned int sum = 0;
    size_t length = strlen(name);

    memcpy(header.name, name, length < 100 ? length : 100);
    put_number(header.mode, 8, entry->mode ? entry->mode : type == '5' ? 0755 : 0644);
    put_number(header.uid, 8, entry->uid);
    put_number(header.gid, 8, entry->gid);
    put_number(header.size, 12, size);
    put_number(header.mtime, 12, entry->mtime ? entry->mtime : 1000000000);
    put_number(header.major, 8, entry->major);
    put_number(header.minor, 8, entry->minor);
    if (entry->link)
        memcpy(header.link, entry->link, strlen(entry->link) < 100 ? strlen(entry->link) : 100);
    memset(header.checksum, ' ', 8);
    for (size_t i = 0; i < 512; i++)
        sum += ((const uint8_t *)&header)[i];
    snprintf(header.checksum, 7, "%06o", sum);
    add_bytes(tar, &header, sizeof header);
}

/* add_long() - A GNU record for a name or link of more than 100 bytes. */
static void add_long(struct bl_buffer *tar, char type, const char *text)
{
    static const struct entry none = {0};

    add_header(tar, "././@LongLink", type, (long long)strlen(text) + 1, &none);
    add_bytes(tar, text, strlen(text) + 1);
    add_padding(tar, strlen(text) + 1);
}

void tar_pax(struct bl_buffer *tar, const char *key, const void *value, size_t length)
{
    static const struct entry none = {0};
    cleanup_buffer struct bl_buffer record = BL_BUFFER_INIT(1 << 20);
    size_t bare = strlen(key) + length + 3, total = bare + 1;
    char number[32];

    while (bare + (size_t)snprintf(number, sizeof number, "%zu", total) != total)
        total = bare + strlen(number);
    add_bytes(&record, number, strlen(number));
    add_bytes(&record, " ", 1);
    add_bytes(&record, key, strlen(key));
    add_bytes(&record, "=", 1);
    add_bytes(&record, value, length);
    add_bytes(&record, "\n", 1);
    add_header(tar, "PaxHeader/x", 'x', (long long)record.length, &none);
    add_bytes(tar, bl_buffer_data(&record), record.length);
    add_padding(tar, record.length);
}

/* add_pax_records() - All "key=value\n" of a text in one header. */
static void add_pax_records(struct bl_buffer *tar, const char *text)
{
    static const struct entry none = {0};
    cleanup_buffer struct bl_buffer records = BL_BUFFER_INIT(1 << 20);

    while (*text) {
        size_t length = strcspn(text, "\n") + 1, total = length + 2;
        char number[32];

        while (length + 1 + (size_t)snprintf(number, sizeof number, "%zu", total) != total)
            total = length + 1 + strlen(number);
        add_bytes(&records, number, strlen(number));
        add_bytes(&records, " ", 1);
        add_bytes(&records, text, length);
        text += length;
    }
    add_header(tar, "PaxHeader/x", 'x', (long long)records.length, &none);
    add_bytes(tar, bl_buffer_data(&records), records.length);
    add_padding(tar, records.length);
}

void tar_add(struct bl_buffer *tar, const struct entry *entry)
{
    size_t length = entry->length ? entry->length : entry->data ? strlen(entry->data) : 0;

    if (entry->pax)
        add_pax_records(tar, entry->pax);
    if (strlen(entry->path) > 100)
        add_long(tar, 'L', entry->path);
    if (entry->link && strlen(entry->link) > 100)
        add_long(tar, 'K', entry->link);
    add_header(tar, entry->path, entry->type ? entry->type : '0', entry->size ? entry->size : (long long)length, entry);
    if (length) {
        add_bytes(tar, entry->data, length);
        add_padding(tar, length);
    }
}

void tar_end(struct bl_buffer *tar)
{
    static const char zeros[1024];

    add_bytes(tar, zeros, sizeof zeros);
}

struct bl_buffer tar_of(const struct entry *entries)
{
    struct bl_buffer tar = TAR_INIT;

    for (; entries->path; entries++)
        tar_add(&tar, entries);
    tar_end(&tar);
    return tar;
}

struct bl_buffer small_layer(void)
{
    return tar_of((struct entry[]){
        {.path = "./", .type = '5', .mode = 0755},
        {.path = "./bin/", .type = '5'},
        {.path = "./bin/tool", .data = "#!/bin/sh\n", .mode = 04755, .uid = 10, .gid = 20},
        {0},
    });
}

static struct bl_buffer gzip(const struct bl_buffer *bytes)
{
    struct bl_buffer out = TAR_INIT;
    z_stream z = {.next_in = bl_buffer_data(bytes), .avail_in = (uInt)bytes->length};

    assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY), Z_OK);
    z.avail_out = (uInt)deflateBound(&z, z.avail_in);
    z.next_out = bl_buffer_reserve(&out, z.avail_out);
    assert_non_null(z.next_out);
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    bl_buffer_commit(&out, z.total_out);
    deflateEnd(&z);
    return out;
}

struct bl_buffer pack(const struct bl_buffer *bytes, enum packing packing)
{
    struct bl_buffer out = TAR_INIT;

    switch (packing) {
    case PLAIN:
        add_bytes(&out, bl_buffer_data(bytes), bytes->length);
        break;
    case GZIP:
        return gzip(bytes);
    case ZSTD: {
        size_t bound = ZSTD_compressBound(bytes->length);
        uint8_t *room = bl_buffer_reserve(&out, bound);

        assert_non_null(room);
        bl_buffer_commit(&out, ZSTD_compress(room, bound, bl_buffer_data(bytes), bytes->length, 3));
        break;
    }
    }
    return out;
}

void sha256_hex(const void *bytes, size_t length, char hex[65])
{
    uint8_t digest[32];

    assert_int_equal(EVP_Digest(bytes, length, digest, NULL, EVP_sha256(), NULL), 1);
    for (size_t i = 0; i < 32; i++)
        sprintf(hex + 2 * i, "%02x", digest[i]);
}

void layout_add(struct layout *layout, const char *name, const void *bytes, size_t length)
{
    layout->files = reallocarray(layout->files, layout->count + 1, sizeof *layout->files);
    assert_non_null(layout->files);
    layout->files[layout->count] = (struct file){strdup(name), TAR_INIT};
    add_bytes(&layout->files[layout->count++].bytes, bytes, length);
}

static void layout_add_text(struct layout *layout, const char *name, const char *text)
{
    layout_add(layout, name, text, strlen(text));
}

/* add_blob() - A file named by its digest, which may be made wrong. */
static void add_blob(struct layout *layout, const void *bytes, size_t length, bool wrong, char hex[65])
{
    char name[128];

    sha256_hex(bytes, length, hex);
    if (wrong)
        hex[0] = hex[0] == '0' ? '1' : '0';
    snprintf(name, sizeof name, "blobs/sha256/%s", hex);
    layout_add(layout, name, bytes, length);
}

/* append_text() - printf to the end of an allocated text. */
static void append_text(char **text, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void append_text(char **text, const char *fmt, ...)
{
    char *added = NULL, *both;
    va_list args;

    va_start(args, fmt);
    assert_true(vasprintf(&added, fmt, args) >= 0);
    va_end(args);
    both = bl_format("%s%s", *text ? *text : "", added);
    free(added);
    free(*text);
    *text = both;
}

static char *config_of(const struct recipe *recipe)
{
    char *text = NULL, hex[65];

    append_text(&text,
                "{\"created\":\"2020-01-02T03:04:05.678Z\",\"architecture\":\"%s\",\"os\":\"linux\",\"config\":{%s},"
                "\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[",
                recipe->architecture ? recipe->architecture : "amd64", recipe->config ? recipe->config : "");
    for (size_t i = 0; i < recipe->layer_count; i++) {
        sha256_hex(bl_buffer_data(&recipe->layers[i]), recipe->layers[i].length, hex);
        if (recipe->bad_diff_id && i + 1 == recipe->layer_count)
            hex[0] = hex[0] == '0' ? '1' : '0';
        append_text(&text, "%s\"sha256:%s\"", i ? "," : "", hex);
    }
    append_text(&text, "]}}");
    return text;
}

static const char *layer_media_of(const struct recipe *recipe)
{
    static const char *const oci[] = {"application/vnd.oci.image.layer.v1.tar", "application/vnd.oci.image.layer.v1.tar+gzip",
                                      "application/vnd.oci.image.layer.v1.tar+zstd"};

    if (recipe->layer_media)
        return recipe->layer_media;
    return recipe->docker_media ? "application/vnd.docker.image.rootfs.diff.tar.gzip" : oci[recipe->packing];
}

static char *manifest_of(const struct recipe *recipe, struct layout *layout, const char *config, const char *config_hex)
{
    char *text = NULL, hex[65];

    append_text(&text, "{\"schemaVersion\":2,\"config\":{\"mediaType\":\"%s\",\"digest\":\"sha256:%s\",\"size\":%zu},\"layers\":[",
                recipe->docker_media ? "application/vnd.docker.container.image.v1+json"
                                     : "application/vnd.oci.image.config.v1+json",
                config_hex, strlen(config));
    for (size_t i = 0; i < recipe->layer_count; i++) {
        bool last = i + 1 == recipe->layer_count;
        cleanup_buffer struct bl_buffer packed = pack(&recipe->layers[i], recipe->packing);

        add_blob(layout, bl_buffer_data(&packed), packed.length, last && recipe->bad_layer_digest, hex);
        if (last && recipe->drop_layer) {
            free(layout->files[layout->count - 1].name);
            bl_buffer_free(&layout->files[--layout->count].bytes);
        }
        append_text(&text, "%s{\"mediaType\":\"%s\",\"digest\":\"sha256:%s\",\"size\":%zu}", i ? "," : "", layer_media_of(recipe),
                    hex, packed.length + (last && recipe->bad_layer_size));
    }
    append_text(&text, "]}");
    return text;
}

/* add_index() - An index of platforms, where all but ours point to nothing. */
static void add_index(struct layout *layout, const char *platforms, const char *manifest, const char *hex, char index_hex[65])
{
    cleanup_free char *text = NULL, *copy = strdup(platforms);
    char *rest = copy, *platform;

    append_text(&text, "{\"schemaVersion\":2,\"manifests\":[");
    for (bool first = true; (platform = strsep(&rest, ",")); first = false) {
        char *architecture = strchr(platform, '/');
        bool ours = !strcmp(platform, "linux/amd64");

        *architecture++ = '\0';
        append_text(&text,
                    "%s{\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\",\"digest\":\"sha256:%s\",\"size\":%zu,"
                    "\"platform\":{\"os\":\"%s\",\"architecture\":\"%s\"}}",
                    first ? "" : ",", ours ? hex : "0000000000000000000000000000000000000000000000000000000000000000",
                    strlen(manifest), platform, architecture);
    }
    append_text(&text, "]}");
    add_blob(layout, text, strlen(text), false, index_hex);
}

struct layout oci_layout(const struct recipe *recipe)
{
    struct layout layout = {0};
    char config_hex[65], hex[65], index_hex[65];
    cleanup_free char *config = config_of(recipe);

    layout_add_text(&layout, "oci-layout", "{\"imageLayoutVersion\":\"1.0.0\"}");
    add_blob(&layout, config, strlen(config), recipe->bad_config_digest, config_hex);

    cleanup_free char *manifest = manifest_of(recipe, &layout, config, config_hex);
    cleanup_free char *index = NULL;
    size_t size = strlen(manifest);

    add_blob(&layout, manifest, size, recipe->bad_manifest_digest, hex);
    if (recipe->platforms) {
        add_index(&layout, recipe->platforms, manifest, hex, index_hex);
        size = layout.files[layout.count - 1].bytes.length;
    }
    append_text(&index, "{\"schemaVersion\":2,\"manifests\":[{\"digest\":\"sha256:%s\",\"size\":%zu",
                recipe->platforms ? index_hex : hex, size);
    if (recipe->name)
        append_text(&index, ",\"annotations\":{\"org.opencontainers.image.ref.name\":\"%s\"}", recipe->name);
    append_text(&index, "}]}");
    layout_add_text(&layout, "index.json", index);
    return layout;
}

struct layout docker_layout(const struct recipe *recipe)
{
    struct layout layout = {0};
    char hex[65], name[128];
    cleanup_free char *config = config_of(recipe);
    cleanup_free char *manifest = NULL;

    sha256_hex(config, strlen(config), hex);
    snprintf(name, sizeof name, "%s.json", hex);
    append_text(&manifest, "[{\"Config\":\"%s\",\"RepoTags\":[\"%s\"],\"Layers\":[", name, recipe->name ? recipe->name : "test:1");
    for (size_t i = 0; i < recipe->layer_count; i++) {
        cleanup_buffer struct bl_buffer packed = pack(&recipe->layers[i], recipe->packing);
        char layer[64];

        snprintf(layer, sizeof layer, "layer%zu/layer.tar", i);
        append_text(&manifest, "%s\"%s\"", i ? "," : "", layer);
        layout_add(&layout, layer, bl_buffer_data(&packed), packed.length);
    }
    append_text(&manifest, "]}]");
    layout_add_text(&layout, name, config);
    layout_add_text(&layout, "manifest.json", manifest);
    return layout;
}

void write_file(const char *path, const struct bl_buffer *bytes)
{
    cleanup_close int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(bl_write_all(fd, bl_buffer_data(bytes), bytes->length), 0);
}

void layout_write(const struct layout *layout, const char *directory)
{
    assert_int_equal(bl_make_dirs(directory), 0);
    for (size_t i = 0; i < layout->count; i++) {
        cleanup_free char *path = bl_format("%s/%s", directory, layout->files[i].name);
        char *slash = strrchr(path, '/');

        *slash = '\0';
        assert_int_equal(bl_make_dirs(path), 0);
        *slash = '/';
        write_file(path, &layout->files[i].bytes);
    }
}

struct bl_buffer layout_tar(const struct layout *layout)
{
    struct bl_buffer tar = TAR_INIT;

    for (size_t i = 0; i < layout->count; i++) {
        const struct bl_buffer *bytes = &layout->files[i].bytes;
        struct entry entry = {.path = layout->files[i].name, .length = bytes->length};

        entry.data = bytes->length ? (const char *)bl_buffer_data(bytes) : NULL;
        tar_add(&tar, &entry);
    }
    tar_end(&tar);
    return tar;
}

void layout_free(struct layout *layout)
{
    for (size_t i = 0; i < layout->count; i++) {
        free(layout->files[i].name);
        bl_buffer_free(&layout->files[i].bytes);
    }
    free(layout->files);
    *layout = (struct layout){0};
}

int load(const struct home *home, const char *path, const char *reference, struct bl_image **out, struct bl_error *err)
{
    struct bl_load_request request = {.path = path, .fd = -1, .reference = reference, .cancel_fd = -1};
    struct bl_image **images;
    size_t count;

    if (bl_loader_load(home->images, &request, &images, &count, err))
        return -1;
    assert_int_equal(count, 1);
    if (out)
        *out = images[0];
    else
        bl_image_free(images[0]);
    free(images);
    return 0;
}

int load_layers(const struct home *home, struct bl_buffer *layers, size_t count, struct bl_image **out, struct bl_error *err)
{
    struct layout layout = oci_layout(&(struct recipe){.layers = layers, .layer_count = count});
    cleanup_free char *path = bl_format("%s/layout", home->path);

    layout_write(&layout, path);

    int result = load(home, path, "test", out, err);

    assert_int_equal(bl_remove_tree(AT_FDCWD, path), 0);
    layout_free(&layout);
    for (size_t i = 0; i < count; i++)
        bl_buffer_free(&layers[i]);
    return result;
}

struct disk disk_open(const struct bl_image *image)
{
    struct disk disk;
    pid_t child = fork();
    int status;

    assert_true(child >= 0);
    if (!child) {
        int null = open("/dev/null", O_RDWR);

        dup2(null, STDOUT_FILENO);
        execlp("e2fsck", "e2fsck", "-fn", image->disk_path, (char *)NULL);
        execl("/sbin/e2fsck", "e2fsck", "-fn", image->disk_path, (char *)NULL);
        _exit(127);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_int_equal(ext2fs_open(image->disk_path, EXT2_FLAG_64BITS, 0, 0, unix_io_manager, &disk.fs), 0);
    return disk;
}

void disk_close(struct disk *disk)
{
    ext2fs_close_free(&disk->fs);
}

uint32_t disk_find(const struct disk *disk, const char *path)
{
    ext2_ino_t inode = 0;

    return ext2fs_namei(disk->fs, EXT2_ROOT_INO, EXT2_ROOT_INO, path, &inode) ? 0 : inode;
}

struct ext2_inode_large disk_stat(const struct disk *disk, const char *path)
{
    struct ext2_inode_large inode;
    uint32_t number = disk_find(disk, path);

    assert_int_not_equal(number, 0);
    assert_int_equal(ext2fs_read_inode_full(disk->fs, number, (struct ext2_inode *)&inode, sizeof inode), 0);
    return inode;
}

bool disk_is(const struct disk *disk, const char *path, const void *bytes, size_t length)
{
    uint32_t number = disk_find(disk, path);
    cleanup_free char *content = malloc(length + 1);
    unsigned int got = 0, all = 0;
    ext2_file_t file;

    assert_int_not_equal(number, 0);
    assert_int_equal(ext2fs_file_open(disk->fs, number, 0, &file), 0);
    do {
        assert_int_equal(ext2fs_file_read(file, content + all, (unsigned int)length + 1 - all, &got), 0);
        all += got;
    } while (got && all <= length);
    ext2fs_file_close(file);
    return all == length && !memcmp(content, bytes, length);
}

long disk_attribute(const struct disk *disk, const char *path, const char *name, void *value, size_t size)
{
    struct ext2_xattr_handle *handle;
    void *found;
    size_t length;
    long result = -1;

    assert_int_equal(ext2fs_xattrs_open(disk->fs, disk_find(disk, path), &handle), 0);
    assert_int_equal(ext2fs_xattrs_read(handle), 0);
    if (!ext2fs_xattr_get(handle, name, &found, &length)) {
        assert_true(length <= size);
        memcpy(value, found, length);
        ext2fs_free_mem(&found);
        result = (long)length;
    }
    ext2fs_xattrs_close(&handle);
    return result;
}
