/* SPDX-License-Identifier: Apache-2.0 */
/* test_image_loader.c - images become the disks that they should; each disk passes e2fsck and is read back */
#include <fcntl.h>
#include <locale.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/strings.h"
#include "image/loader/disk.h"
#include "image/loader/load.h"
#include "image_fixture.h"

static struct home home;

static int set_up(void **state)
{
    (void)state;
    home_make(&home);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    home_remove(&home);
    return 0;
}

/* Every kind of source and packing gives the same disk. */
static void reads_every_kind_of_source(void **state)
{
    struct bl_buffer layer = small_layer();
    char key[65] = "";

    (void)state;
    for (int kind = 0; kind < 4; kind++) {
        for (enum packing layers = PLAIN; layers <= ZSTD; layers++) {
            for (enum packing outer = PLAIN; outer <= (kind ? ZSTD : PLAIN); outer++) {
                struct recipe recipe = {.layers = &layer,
                                        .layer_count = 1,
                                        .packing = layers,
                                        .docker_media = layers == GZIP,
                                        .platforms = kind == 2 ? "linux/arm64,linux/amd64,unknown/unknown" : NULL};
                struct layout layout = kind == 3 ? docker_layout(&recipe) : oci_layout(&recipe);
                cleanup_free char *path = bl_format("%s/source", home.path);
                struct bl_image *image;

                if (kind == 0) {
                    layout_write(&layout, path);
                } else {
                    cleanup_buffer struct bl_buffer tar = layout_tar(&layout);
                    cleanup_buffer struct bl_buffer packed = pack(&tar, outer);

                    write_file(path, &packed);
                }
                must(load(&home, path, "x/y:z", &image, err));
                assert_string_equal(image->reference, "docker.io/x/y:z");
                assert_string_equal(image->repository, "x/y");
                assert_string_equal(image->tag, "z");
                assert_int_equal(image->layer_count, 1);
                if (!*key) {
                    struct disk disk = disk_open(image);

                    strcpy(key, image->disk_key);
                    assert_true(disk_is(&disk, "/bin/tool", "#!/bin/sh\n", 10));
                    disk_close(&disk);
                }
                assert_string_equal(key, image->disk_key);
                home_is_clean(&home, 1, 1);
                assert_int_equal(unlink(image->disk_path), 0);
                bl_image_free(image);
                assert_int_equal(bl_remove_tree(AT_FDCWD, path), 0);
                layout_free(&layout);
            }
        }
    }
    bl_buffer_free(&layer);
}

static void reads_a_pipe(void **state)
{
    struct bl_buffer layer = small_layer();
    struct layout layout = oci_layout(&(struct recipe){.layers = &layer, .layer_count = 1, .packing = GZIP});
    cleanup_buffer struct bl_buffer tar = layout_tar(&layout);
    struct bl_load_request request = {.reference = "piped", .cancel_fd = -1};
    struct bl_image **images;
    size_t count;
    int ends[2];

    (void)state;
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    fcntl(ends[1], F_SETPIPE_SZ, (int)tar.length);
    assert_int_equal(bl_write_all(ends[1], bl_buffer_data(&tar), tar.length), 0);
    close(ends[1]);
    request.fd = ends[0];
    must(bl_loader_load(home.images, &request, &images, &count, err));
    close(ends[0]);
    assert_int_equal(count, 1);
    home_is_clean(&home, 1, 1);
    bl_image_free_list(images, count);
    layout_free(&layout);
    bl_buffer_free(&layer);
}

static void keeps_what_files_are(void **state)
{
    struct bl_buffer layer = tar_of((struct entry[]){
        {.path = ".", .type = '5', .mode = 0711, .uid = 5, .gid = 6, .mtime = 77},
        {.path = "/abs/./x", .data = "absolute", .mode = 06644, .uid = 1, .gid = 2, .pax = "mtime=1234567890.987654321\n"},
        {.path = "big", .data = "b", .uid = 4000000000u, .gid = 3000000000u},
        {.path = "link", .type = '2', .link = "abs/x", .mode = 0777},
        {.path = "longlink",
         .type = '2',
         .link = "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345"},
        {.path = "null", .type = '3', .major = 1, .minor = 3, .mode = 0666},
        {.path = "disk", .type = '4', .major = 259, .minor = 70000, .mode = 0660, .gid = 6},
        {.path = "fifo", .type = '6', .mode = 0600},
        {.path = "hard", .type = '1', .link = "./abs/x"},
        {.path = "before", .type = '1', .link = "later"}, /* a hard link that stands before its file */
        {.path = "later", .data = "late"},
        {.path = "sticky/", .type = '5', .mode = 01777, .mtime = -5},
        {.path = "future", .data = "f", .pax = "mtime=4294967297\n"},
        {.path = "empty"},
        {0},
    });
    struct bl_image *image;

    (void)state;
    must(load_layers(&home, &layer, 1, &image, err));

    struct disk disk = disk_open(image);
    struct ext2_inode_large inode = disk_stat(&disk, "/");

    assert_int_equal(inode.i_mode, S_IFDIR | 0711);
    assert_int_equal(inode.i_uid, 5);
    assert_int_equal(inode.i_mtime, 77);
    assert_int_equal(inode.i_links_count, 4);
    inode = disk_stat(&disk, "/abs/x");
    assert_int_equal(inode.i_mode, S_IFREG | 06644);
    assert_int_equal(inode.i_mtime, 1234567890);
    assert_int_equal(inode.i_mtime_extra >> 2, 987654321);
    assert_int_equal(inode.i_links_count, 2);
    assert_int_equal(disk_find(&disk, "/hard"), disk_find(&disk, "/abs/x"));
    assert_int_equal(disk_find(&disk, "/before"), disk_find(&disk, "/later"));
    assert_true(disk_is(&disk, "/before", "late", 4));
    inode = disk_stat(&disk, "/abs"); /* nobody spoke of it */
    assert_int_equal(inode.i_mode, S_IFDIR | 0755);
    inode = disk_stat(&disk, "/big");
    assert_int_equal(inode.i_uid | (unsigned int)inode.osd2.linux2.l_i_uid_high << 16, 4000000000u);
    assert_int_equal(inode.i_gid | (unsigned int)inode.osd2.linux2.l_i_gid_high << 16, 3000000000u);
    inode = disk_stat(&disk, "/link");
    assert_int_equal(inode.i_mode, S_IFLNK | 0777);
    assert_memory_equal(inode.i_block, "abs/x", 6);
    inode = disk_stat(&disk, "/longlink");
    assert_int_equal(inode.i_size, 106);
    inode = disk_stat(&disk, "/null");
    assert_int_equal(inode.i_mode, S_IFCHR | 0666);
    assert_int_equal(inode.i_block[0], 1 << 8 | 3);
    inode = disk_stat(&disk, "/disk");
    assert_int_equal(inode.i_mode, S_IFBLK | 0660);
    assert_int_equal(inode.i_block[0], 0);
    assert_int_equal(inode.i_block[1], (70000 & 0xff) | 259 << 8 | (70000 & ~0xff) << 12);
    inode = disk_stat(&disk, "/fifo");
    assert_int_equal(inode.i_mode, S_IFIFO | 0600);
    inode = disk_stat(&disk, "/sticky");
    assert_int_equal(inode.i_mode, S_IFDIR | 01777);
    assert_int_equal((int32_t)inode.i_mtime, -5);
    inode = disk_stat(&disk, "/future");
    assert_int_equal(inode.i_mtime, 1);
    assert_int_equal(inode.i_mtime_extra & 3, 1);
    assert_true(disk_is(&disk, "/empty", "", 0));
    disk_close(&disk);
    bl_image_free(image);
}

/* Names are bytes: of 255 of them, in no encoding, through GNU and pax records. */
static void keeps_names_as_bytes(void **state)
{
    struct bl_buffer layer = TAR_INIT;
    char longest[256], deep[700] = "", path[800];
    struct bl_image *image;

    (void)state;
    memset(longest, 'n', 255);
    longest[255] = '\0';
    for (int i = 0; i < 60; i++)
        strcat(deep, "directory/");
    strcat(deep, "file");
    tar_add(&layer, &(struct entry){.path = "latin-\xe9\xff", .data = "gnu"});
    tar_pax(&layer, "path", "pax-\xe9\xfe", 6);
    tar_add(&layer, &(struct entry){.path = "replaced", .data = "pax"});
    tar_add(&layer, &(struct entry){.path = "utf8-\xc3\xa9\xe2\x82\xac", .data = "utf8"});
    tar_pax(&layer, "path", "surrogates-\xed\xa0\x81\xed\xb0\x80", 17); /* UTF-8 would have this as four bytes */
    tar_add(&layer, &(struct entry){.path = "replaced", .data = "surrogates"});
    tar_pax(&layer, "path", "pax8-\xc3\xa9", 7);
    tar_pax(&layer, "linkpath", "\xff\xfe", 2);
    tar_add(&layer, &(struct entry){.path = longest, .data = "long"});
    tar_add(&layer, &(struct entry){.path = deep, .data = "deep"});
    tar_pax(&layer, "linkpath", "\xff\xc3(\xa0", 4);
    tar_add(&layer, &(struct entry){.path = "raw-link", .type = '2', .link = "x"});
    tar_add(&layer, &(struct entry){.path = "new\nline\x01", .data = "control"});
    tar_end(&layer);
    must(load_layers(&home, &layer, 1, &image, err));

    struct disk disk = disk_open(image);

    assert_true(disk_is(&disk, "/latin-\xe9\xff", "gnu", 3));
    assert_true(disk_is(&disk, "/pax-\xe9\xfe", "pax", 3));
    assert_true(disk_is(&disk, "/utf8-\xc3\xa9\xe2\x82\xac", "utf8", 4));
    assert_true(disk_is(&disk, "/surrogates-\xed\xa0\x81\xed\xb0\x80", "surrogates", 10));
    assert_int_equal(disk_find(&disk, "/replaced"), 0);
    assert_true(disk_is(&disk, "/new\nline\x01", "control", 7));
    snprintf(path, sizeof path, "/%s", longest);
    assert_true(disk_is(&disk, path, "long", 4));
    snprintf(path, sizeof path, "/%s", deep);
    assert_true(disk_is(&disk, path, "deep", 4));

    struct ext2_inode_large inode = disk_stat(&disk, "/raw-link");

    assert_memory_equal(inode.i_block, "\xff\xc3(\xa0", 4);
    disk_close(&disk);
    bl_image_free(image);
}

static void merges_layers(void **state)
{
    struct bl_buffer layers[] = {
        tar_of((struct entry[]){
            {.path = "kept/", .type = '5', .mode = 0700, .uid = 9},
            {.path = "kept/a", .data = "a1"},
            {.path = "kept/b", .data = "b1"},
            {.path = "gone/", .type = '5'},
            {.path = "gone/deep/file", .data = "x"},
            {.path = "opaque/", .type = '5'},
            {.path = "opaque/old", .data = "old"},
            {.path = "opaque/dir/old", .data = "old"},
            {.path = "late-opaque/old", .data = "old"},
            {.path = "late-white/", .type = '5'},
            {.path = "late-white/old", .data = "old"},
            {.path = "file-to-dir", .data = "was a file"},
            {.path = "dir-to-file/", .type = '5'},
            {.path = "dir-to-file/x", .data = "x"},
            {.path = "dir-to-link/x", .data = "x"},
            {.path = "shared", .data = "shared content"},
            {.path = "shared2", .type = '1', .link = "shared"},
            {.path = "lib", .type = '2', .link = "usr/lib"},
            {.path = "usr/lib/", .type = '5'},
            {.path = "up", .type = '2', .link = "../../../usr"},
            {.path = "back", .data = "first"},
            {.path = "parent-file", .data = "in the way"},
            {0},
        }),
        tar_of((struct entry[]){
            {.path = "kept/", .type = '5', .mode = 0755, .uid = 8},
            {.path = "kept/a", .data = "a2, longer than before"},
            {.path = ".wh.gone"},
            {.path = "opaque/.wh..wh..opq"},
            {.path = "opaque/new", .data = "new"},
            /* What a layer adds stays, wherever its own markers stand. */
            {.path = "late-opaque/new", .data = "new"},
            {.path = "late-opaque/.wh..wh..opq"},
            {.path = "late-opaque/newer", .data = "newer"},
            {.path = "late-opaque/.wh..wh..opq"},
            {.path = "late-white/", .type = '5', .mode = 0711},
            {.path = "late-white/new", .data = "new"},
            {.path = ".wh.late-white"},
            {.path = "file-to-dir/", .type = '5'},
            {.path = "file-to-dir/inside", .data = "inside"},
            {.path = "dir-to-file", .data = "now a file"},
            {.path = "dir-to-link", .type = '2', .link = "kept"},
            {.path = ".wh.shared"},
            /* Through links of the older layer, within the image. */
            {.path = "lib/libx", .data = "libx"},
            {.path = "up/escaped", .data = "not outside"},
            {.path = ".wh.back"},
            {.path = ".wh.never-was"},
            {.path = "no/such/dir/.wh.x"},
            {.path = "parent-file/below", .data = "below"},
            {.path = ".wh..wh.plnk/1.2", .data = "aufs"},
            {.path = ".wh..wh.aufs", .data = "aufs"},
            {.path = "twice", .data = "first of two"},
            {.path = "twice", .data = "second"},
            {0},
        }),
        tar_of((struct entry[]){
            {.path = "back", .data = "again"},
            {.path = "file-to-dir", .data = "a file again"},
            {.path = "dir-to-file/", .type = '5'},
            {0},
        }),
    };
    struct bl_image *image;

    (void)state;
    must(load_layers(&home, layers, 3, &image, err));

    struct disk disk = disk_open(image);
    static const char *const missing[] = {
        "/gone", "/opaque/old",   "/opaque/dir",   "/late-opaque/old", "/late-white/old",      "/shared", "/.wh.gone",
        "/no",   "/.wh..wh.plnk", "/.wh..wh.aufs", "/dir-to-file/x",   "/opaque/.wh..wh..opq", "/escaped"};

    for (size_t i = 0; i < sizeof missing / sizeof *missing; i++)
        if (disk_find(&disk, missing[i]))
            fail_msg("%s is there", missing[i]);
    assert_true(disk_is(&disk, "/kept/a", "a2, longer than before", 22));
    assert_true(disk_is(&disk, "/kept/b", "b1", 2));
    assert_int_equal(disk_stat(&disk, "/kept").i_mode, S_IFDIR | 0755);
    assert_int_equal(disk_stat(&disk, "/kept").i_uid, 8);
    assert_true(disk_is(&disk, "/opaque/new", "new", 3));
    assert_true(disk_is(&disk, "/late-opaque/new", "new", 3));
    assert_true(disk_is(&disk, "/late-opaque/newer", "newer", 5));
    assert_true(disk_is(&disk, "/late-white/new", "new", 3));
    assert_int_equal(disk_stat(&disk, "/late-white").i_mode, S_IFDIR | 0711);
    assert_true(disk_is(&disk, "/file-to-dir", "a file again", 12));
    assert_int_equal(disk_stat(&disk, "/dir-to-file").i_mode, S_IFDIR | 0755);
    assert_int_equal(disk_stat(&disk, "/dir-to-link").i_mode & S_IFMT, S_IFLNK);
    assert_true(disk_is(&disk, "/shared2", "shared content", 14));
    assert_int_equal(disk_stat(&disk, "/shared2").i_links_count, 1);
    assert_int_equal(disk_stat(&disk, "/lib").i_mode & S_IFMT, S_IFLNK);
    assert_true(disk_is(&disk, "/usr/lib/libx", "libx", 4));
    assert_true(disk_is(&disk, "/usr/escaped", "not outside", 11));
    assert_true(disk_is(&disk, "/back", "again", 5));
    assert_true(disk_is(&disk, "/parent-file/below", "below", 5));
    assert_true(disk_is(&disk, "/twice", "second", 6));
    disk_close(&disk);
    bl_image_free(image);
}

static void keeps_attributes(void **state)
{
    static const uint8_t capability[] = {1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
    /*
     * user::rw-, user:1000:r--, group::r--, mask::r--, other::--- (linux/posix_acl_xattr.h). The disk keeps an id only where
     * one has a meaning, and libext2fs gives 0 for the others.
     */
    static const uint8_t acl[] = {2, 0, 0, 0, 1, 0, 6,  0, 0, 0, 0, 0, 2, 0, 4,  0, 0xe8, 3, 0, 0, 4, 0,
                                  4, 0, 0, 0, 0, 0, 16, 0, 4, 0, 0, 0, 0, 0, 32, 0, 0,    0, 0, 0, 0, 0};
    struct bl_buffer layer = TAR_INIT;
    char large[3000], value[4096];
    struct bl_image *image;

    (void)state;
    memset(large, 'v', sizeof large);
    tar_pax(&layer, "SCHILY.xattr.security.capability", capability, sizeof capability);
    tar_add(&layer, &(struct entry){.path = "ping", .data = "elf", .mode = 0755});
    tar_pax(&layer, "SCHILY.xattr.user.large", large, sizeof large);
    tar_add(&layer, &(struct entry){.path = "large", .data = "l"});
    tar_pax(&layer, "SCHILY.xattr.system.posix_acl_access", acl, sizeof acl);
    tar_add(&layer, &(struct entry){.path = "acl", .data = "a", .mode = 0640});
    tar_pax(&layer, "SCHILY.xattr.trusted.t", "1", 1);
    tar_add(&layer, &(struct entry){.path = "dir/", .type = '5'});
    tar_pax(&layer, "SCHILY.xattr.strange.kind", "1", 1);
    tar_add(&layer, &(struct entry){.path = "strange", .data = "s"});
    tar_end(&layer);
    must(load_layers(&home, &layer, 1, &image, err));

    struct disk disk = disk_open(image);

    assert_int_equal(disk_attribute(&disk, "/ping", "security.capability", value, sizeof value), sizeof capability);
    assert_memory_equal(value, capability, sizeof capability);
    assert_int_equal(disk_attribute(&disk, "/large", "user.large", value, sizeof value), sizeof large);
    assert_memory_equal(value, large, sizeof large);
    assert_int_equal(disk_attribute(&disk, "/acl", "system.posix_acl_access", value, sizeof value), sizeof acl);
    assert_memory_equal(value, acl, sizeof acl);
    assert_int_equal(disk_attribute(&disk, "/dir", "trusted.t", value, sizeof value), 1);
    assert_int_equal(disk_attribute(&disk, "/strange", "strange.kind", value, sizeof value), -1);
    assert_true(disk_is(&disk, "/ping", "elf", 3));
    disk_close(&disk);
    bl_image_free(image);
}

static void reads_the_configuration(void **state)
{
    struct bl_buffer layer = small_layer();
    struct layout layout = oci_layout(&(struct recipe){
        .layers = &layer,
        .layer_count = 1,
        .config =
            "\"Env\":[\"PATH=/bin\",\"A=b=c\"],\"Entrypoint\":[\"/e\"],\"Cmd\":[\"c\",\"\"],\"WorkingDir\":\"/w\",\"User\":\"u:g\","
            "\"StopSignal\":\"SIGINT\",\"ExposedPorts\":{\"80/tcp\":{},\"53/udp\":{}},\"Volumes\":{\"/v\":{}},\"Labels\":null"});
    cleanup_free char *path = bl_format("%s/layout", home.path);
    struct bl_image *image;

    (void)state;
    layout_write(&layout, path);
    must(load(&home, path, "c", &image, err));
    assert_string_equal(image->config.env[1], "A=b=c");
    assert_null(image->config.env[2]);
    assert_string_equal(image->config.entrypoint[0], "/e");
    assert_string_equal(image->config.cmd[1], "");
    assert_string_equal(image->config.working_dir, "/w");
    assert_string_equal(image->config.user, "u:g");
    assert_string_equal(image->config.stop_signal, "SIGINT");
    assert_int_equal(bl_strings_count((const char *const *)image->config.exposed_ports), 2);
    assert_string_equal(image->config.volumes[0], "/v");
    assert_string_equal(image->config.architecture, "amd64");
    assert_int_equal(image->created_at, 1577934245);
    bl_image_free(image);
    layout_free(&layout);
    bl_buffer_free(&layer);
}

/* Where the name comes from when none is given. */
static void names_images(void **state)
{
    static const struct {
        const char *file, *said, *reference;
    } cases[] = {
        {"My_Image.oci.tar", NULL, "docker.io/library/my-image:latest"}, {"app.tar.gz", "1.2", "docker.io/library/app:1.2"},
        {"x.tar", "registry.example/a/b:c", "registry.example/a/b:c"},   {"layout", "stable", "docker.io/library/layout:stable"},
        {"x.tar", "not A/valid:name", "docker.io/library/x:latest"},     {"---.tar", "1", NULL},
    };
    struct bl_buffer layer = small_layer();

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct layout layout = oci_layout(&(struct recipe){.layers = &layer, .layer_count = 1, .name = cases[i].said});
        cleanup_buffer struct bl_buffer tar = layout_tar(&layout);
        cleanup_free char *path = bl_format("%s/%s", home.path, cases[i].file);
        struct bl_error err = BL_ERROR_INIT;
        struct bl_image *image;

        write_file(path, &tar);

        int result = load(&home, path, NULL, &image, &err);

        if (cases[i].reference && !strstr(cases[i].said ? cases[i].said : "", "valid")) {
            assert_int_equal(result, 0);
            assert_string_equal(image->reference, cases[i].reference);
            bl_image_free(image);
        } else {
            assert_int_equal(result, -1);
            assert_int_equal(err.code, BL_INVALID_ARGUMENT);
        }
        layout_free(&layout);
    }
    bl_buffer_free(&layer);
}

static void loads_all_images_of_an_archive(void **state)
{
    struct bl_buffer layer = small_layer();
    struct layout layout = docker_layout(&(struct recipe){.layers = &layer, .layer_count = 1, .name = "one:1\",\"two:2"});
    cleanup_free char *path = bl_format("%s/source", home.path);
    struct bl_load_request request = {.path = path, .fd = -1, .cancel_fd = -1};
    struct bl_image **images;
    size_t count;

    (void)state;
    layout_write(&layout, path);
    must(bl_loader_load(home.images, &request, &images, &count, err));
    assert_int_equal(count, 2);
    assert_string_equal(images[0]->reference, "docker.io/library/one:1");
    assert_string_equal(images[1]->reference, "docker.io/library/two:2");
    home_is_clean(&home, 2, 1);
    bl_image_free_list(images, count);

    /* One image of two names can get a third; nameless it leaves no record. */
    request.reference = "three";
    must(bl_loader_load(home.images, &request, &images, &count, err));
    assert_int_equal(count, 1);
    bl_image_free_list(images, count);
    home_is_clean(&home, 3, 1);
    request = (struct bl_load_request){.path = path, .fd = -1, .cancel_fd = -1, .anonymous = true};
    must(bl_loader_load(home.images, &request, &images, &count, err));
    assert_null(images[0]->reference);
    bl_image_free_list(images, count);
    home_is_clean(&home, 3, 1);
    layout_free(&layout);
    bl_buffer_free(&layer);
}

struct seen {
    unsigned int calls, layers_done;
    bool finishing;
};

static void see(const struct bl_load_progress *progress, void *data)
{
    struct seen *seen = data;

    seen->calls++;
    seen->layers_done +=
        !strcmp(progress->what, "writing") && progress->done_bytes == progress->total_bytes && progress->layers == 2;
    seen->finishing |= !strcmp(progress->what, "finishing");
}

static void tells_how_far_it_is(void **state)
{
    struct bl_buffer layers[] = {small_layer(), small_layer()};
    struct layout layout = oci_layout(&(struct recipe){.layers = layers, .layer_count = 2});
    cleanup_free char *path = bl_format("%s/source", home.path);
    struct seen seen = {0};
    struct bl_load_request request = {
        .path = path, .fd = -1, .cancel_fd = -1, .reference = "p", .progress = see, .progress_data = &seen};
    struct bl_image **images;
    size_t count;

    (void)state;
    layout_write(&layout, path);
    must(bl_loader_load(home.images, &request, &images, &count, err));
    assert_true(seen.layers_done >= 2);
    assert_true(seen.finishing);
    bl_image_free_list(images, count);
    layout_free(&layout);
    bl_buffer_free(&layers[0]);
    bl_buffer_free(&layers[1]);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    /* As programs of users do; names must stay bytes. */
    setlocale(LC_ALL, "C.UTF-8");

    const struct CMUnitTest tests[] = {
        T(reads_every_kind_of_source), T(reads_a_pipe),  T(keeps_what_files_are),
        T(keeps_names_as_bytes),       T(merges_layers), T(keeps_attributes),
        T(reads_the_configuration),    T(names_images),  T(loads_all_images_of_an_archive),
        T(tells_how_far_it_is),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
