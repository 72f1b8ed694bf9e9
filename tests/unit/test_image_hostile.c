/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_image_hostile.c - broken and hostile images: refused with the right code and a word of why, and nothing stays
 *
 * Beside each stands what nearly the same image does when it is good, so that no test passes because of something else.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/strings.h"
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

/* expect() - A failure with this code and a message with this word, and a home as empty as before. */
static void expect(int result, const struct bl_error *err, enum bl_code code, const char *word)
{
    if (!result)
        fail_msg("loaded; expected '%s'", word);
    if (err->code != code || !strstr(err->message, word))
        fail_msg("%s: '%s'; expected %s: '%s'", bl_code_name(err->code), err->message, bl_code_name(code), word);
    assert_null(strchr(err->message, '\n'));
    home_is_clean(&home, 0, 0);
}

static void expect_layer(struct bl_buffer layer, enum bl_code code, const char *word)
{
    struct bl_error err = BL_ERROR_INIT;

    expect(load_layers(&home, &layer, 1, NULL, &err), &err, code, word);
}

static void expect_entries(const struct entry *entries, const char *word)
{
    expect_layer(tar_of(entries), BL_IMAGE, word);
}

static void refuses_paths_and_links(void **state)
{
    static const struct {
        const char *word;
        struct entry entries[4];
    } cases[] = {
        {"'..'", {{.path = "../x", .data = "x"}}},
        {"'..'", {{.path = "/a/../../x", .data = "x"}}},
        {"'..'", {{.path = "a/..", .type = '5'}}},
        {"'..'", {{.path = "h", .type = '1', .link = "../../etc/passwd"}}},
        {"not in the image", {{.path = "h", .type = '1', .link = "/etc/passwd"}}},
        {"not in the image", {{.path = "h", .type = '1', .link = "h"}}},
        {"hard link to a directory", {{.path = "d/", .type = '5'}, {.path = "h", .type = '1', .link = "d"}}},
        {"hard link to a directory", {{.path = "h", .type = '1', .link = "."}}},
        {"no directory", {{.path = "f", .data = "x"}, {.path = "f/below", .data = "x"}}},
        {"symbolic links",
         {{.path = "a", .type = '2', .link = "b"}, {.path = "b", .type = '2', .link = "a"}, {.path = "a/x", .data = "x"}}},
        {"target of 0 bytes", {{.path = "s", .type = '2', .link = ""}}},
        {"root by a file", {{.path = ".", .data = "x"}}},
        {"no valid whiteout", {{.path = ".wh."}}},
        {"no valid whiteout", {{.path = "d/.wh.."}}},
        {"no valid whiteout", {{.path = ".wh..."}}},
        {"a whiteout can hold no files", {{.path = ".wh.x/y", .data = "x"}}},
        {"out of range", {{.path = "x", .type = '3', .major = 5000, .minor = 1}}},
        {"out of range", {{.path = "x", .pax = "uid=4294967296\n"}}},
        {"out of range", {{.path = "x", .pax = "gid=4294967296\n"}}},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        expect_entries(cases[i].entries, cases[i].word);

    /* Controls: names with dots, links that lead out of the image (within it they are nothing special), whiteouts of dots. */
    struct bl_buffer good = tar_of((struct entry[]){
        {.path = "..x", .data = "x"},
        {.path = "x..", .data = "x"},
        {.path = "...", .data = "x"},
        {.path = ".wh.....", .data = ""},
        {.path = "s", .type = '2', .link = "../../../etc/passwd"},
        {.path = "a", .type = '2', .link = "/d"},
        {.path = "a/x", .data = "x"},
        {0},
    });
    struct bl_error err = BL_ERROR_INIT;
    struct bl_image *image;

    if (load_layers(&home, &good, 1, &image, &err))
        fail_msg("%s", err.message);

    struct disk disk = disk_open(image);

    assert_true(disk_is(&disk, "/d/x", "x", 1));
    disk_close(&disk);
    bl_image_free(image);
}

static void bounds_names_and_depth(void **state)
{
    char *text = malloc(30001);
    struct bl_buffer layer = TAR_INIT;

    (void)state;
    memset(text, 'n', 256);
    text[256] = '\0';
    expect_entries((struct entry[]){{.path = text, .data = "x"}, {0}}, "longer than 255 bytes");
    strcpy(text + 256, "/x");
    expect_entries((struct entry[]){{.path = text, .data = "x"}, {0}}, "longer than 255 bytes");
    memset(text, 't', 5000);
    text[5000] = '\0';
    expect_entries((struct entry[]){{.path = "s", .type = '2', .link = text}, {0}}, "target of 5000 bytes");
    for (int i = 0; i < 10000; i++)
        memcpy(text + 2 * i, "d/", 3);
    expect_layer(tar_of((struct entry[]){{.path = text, .data = "x"}, {0}}), BL_RESOURCE_EXHAUSTED, "more than 512 components");

    /* Also when each entry alone is short: through links to what is deep already. */
    text[2 * 300] = '\0';
    text[2 * 300 - 1] = '\0';
    tar_add(&layer, &(struct entry){.path = text, .type = '5'});
    tar_add(&layer, &(struct entry){.path = "l", .type = '2', .link = text});
    text[1] = '/';
    memcpy(text, "l/", 2);
    tar_add(&layer, &(struct entry){.path = text, .type = '5'});
    tar_end(&layer);
    expect_layer(layer, BL_RESOURCE_EXHAUSTED, "more than 512 components");
    free(text);
}

static void refuses_attributes_that_do_not_fit(void **state)
{
    struct bl_buffer layer = TAR_INIT;
    char *value = malloc(70000);

    (void)state;
    memset(value, 'v', 70000);
    tar_pax(&layer, "SCHILY.xattr.user.big", value, 5000);
    tar_add(&layer, &(struct entry){.path = "x"});
    tar_end(&layer);
    expect_layer(layer, BL_IMAGE, "extended attributes");
    layer = (struct bl_buffer)TAR_INIT;
    tar_pax(&layer, "SCHILY.xattr.user.huge", value, 70000);
    tar_add(&layer, &(struct entry){.path = "x"});
    tar_end(&layer);
    expect_layer(layer, BL_IMAGE, "extended attributes");
    for (size_t length = 3; length < 13; length += 9) {
        layer = (struct bl_buffer)TAR_INIT;
        tar_pax(&layer, "SCHILY.xattr.system.posix_acl_access", "\x02\0\0\0\x03\0\x07\0\0\0\0\0", length);
        tar_add(&layer, &(struct entry){.path = "x"});
        tar_end(&layer);
        expect_layer(layer, BL_IMAGE, "malformed");
    }
    free(value);
}

static void refuses_damaged_archives(void **state)
{
    struct bl_buffer layer = TAR_INIT;
    char map[513] = "1\n1152921504606846000\n1\n";

    (void)state;
    /* A file that says it is longer than the archive. */
    tar_add(&layer, &(struct entry){.path = "x", .data = "short", .size = 1 << 20});
    expect_layer(layer, BL_IMAGE, "layer 1");
    layer = (struct bl_buffer)TAR_INIT;
    tar_add(&layer, &(struct entry){.path = "x", .data = "short", .size = INT64_C(1) << 60});
    expect_layer(layer, BL_IMAGE, "layer 1");
    layer = (struct bl_buffer)TAR_INIT;
    bl_buffer_append(&layer, "this is no archive at all, whatever its digest says; it is only text that goes on for a while", 90);
    expect_layer(layer, BL_IMAGE, "no valid tar archive");
    /* A sparse file whose real size no disk holds. */
    layer = (struct bl_buffer)TAR_INIT;
    tar_add(&layer, &(struct entry){.path = "x",
                                    .data = map,
                                    .length = sizeof map,
                                    .pax = "GNU.sparse.major=1\nGNU.sparse.minor=0\nGNU.sparse.name=x\n"
                                           "GNU.sparse.realsize=1152921504606846001\n"});
    tar_end(&layer);
    expect_layer(layer, BL_IMAGE, "size that no disk holds");
}

/* try_recipe() - Load a broken recipe as a layout and as an archive. */
static void try_recipe(struct recipe recipe, enum bl_code code, const char *word)
{
    struct layout layout = oci_layout(&recipe);
    cleanup_free char *path = bl_format("%s/layout", home.path);
    cleanup_buffer struct bl_buffer tar = layout_tar(&layout);
    struct bl_error err = BL_ERROR_INIT;

    layout_write(&layout, path);
    expect(load(&home, path, "x", NULL, &err), &err, code, word);
    assert_int_equal(bl_remove_tree(AT_FDCWD, path), 0);
    write_file(path, &tar);
    expect(load(&home, path, "x", NULL, &err), &err, code, word);
    unlink(path);
    layout_free(&layout);
}

static void verifies_every_digest_and_size(void **state)
{
    struct bl_buffer layer = tar_of((struct entry[]){{.path = "x", .data = "x"}, {0}});
    struct recipe good = {.layers = &layer, .layer_count = 1, .packing = GZIP}, bad = good;

    (void)state;
    bad.bad_diff_id = true;
    try_recipe(bad, BL_IMAGE, "decompressed: layer 1");
    bad = good;
    bad.bad_layer_digest = true;
    try_recipe(bad, BL_IMAGE, "damaged or forged");
    bad = good;
    bad.bad_layer_size = true;
    try_recipe(bad, BL_IMAGE, "bytes, and should have");
    bad = good;
    bad.bad_config_digest = true;
    try_recipe(bad, BL_IMAGE, "damaged or forged");
    bad = good;
    bad.bad_manifest_digest = true;
    try_recipe(bad, BL_IMAGE, "damaged or forged");
    bad = good;
    bad.drop_layer = true;
    try_recipe(bad, BL_IMAGE, "is missing");
    bad = good;
    bad.architecture = "arm64";
    try_recipe(bad, BL_IMAGE, "linux/arm64");
    bad = good;
    bad.platforms = "linux/arm64,linux/s390x,unknown/unknown";
    try_recipe(bad, BL_IMAGE, "it has linux/arm64, linux/s390x");
    bad = good;
    bad.layer_media = "application/vnd.oci.image.layer.v1.tar+gzip+encrypted";
    try_recipe(bad, BL_IMAGE, "no file system");
    bl_buffer_free(&layer);
}

/* load_bytes() - Load an archive of a few files. */
static int load_files(const struct layout *layout, struct bl_error *err)
{
    cleanup_free char *path = bl_format("%s/archive", home.path);
    cleanup_buffer struct bl_buffer tar = layout_tar(layout);

    write_file(path, &tar);
    return load(&home, path, "x", NULL, err);
}

static void refuses_documents(void **state)
{
#define HEX64 "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
    static const struct {
        const char *file, *text, *word;
    } cases[] = {
        {"readme", "x", "neither index.json"},
        {"index.json", "", "JSON"},
        {"index.json", "{", "JSON"},
        {"index.json", "[]", "neither an image manifest nor an index"},
        {"index.json", "{\"manifests\":[]}", "holds no image"},
        {"index.json", "{\"manifests\":[1]}", "no object"},
        {"index.json", "{\"manifests\":[{\"digest\":\"sha256:" HEX64 "\"}]}", "has no size"},
        {"index.json", "{\"manifests\":[{\"digest\":\"sha256:" HEX64 "\",\"size\":-1}]}", "has no size"},
        {"index.json", "{\"manifests\":[{\"digest\":\"sha256:../../../etc/passwd\",\"size\":1}]}", "is no digest"},
        {"index.json", "{\"manifests\":[{\"digest\":\"sha256:" HEX64 "\",\"size\":1}]}", "blobs/sha256/0123"},
        {"index.json", "{\"manifests\":[],\"layers\":[]}", "both an index and a manifest"},
        {"index.json", "{\"manifests\":[],\"manifests\":[]}", "JSON"},
        {"manifest.json", "[]", "no list of 1"},
        {"manifest.json", "[{}]", "no Config"},
        {"manifest.json", "[{\"Config\":\"../../etc/passwd\"}]", "holds no '../../etc/passwd'"},
        {"manifest.json", "[{\"Config\":\"manifest.json\",\"Layers\":3}]", "no list"},
        {"manifest.json", "[{\"Config\":\"manifest.json\"}]", "no JSON object"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct layout layout = {0};
        struct bl_error err = BL_ERROR_INIT;

        layout_add(&layout, cases[i].file, cases[i].text, strlen(cases[i].text));
        expect(load_files(&layout, &err), &err, BL_IMAGE, cases[i].word);
        layout_free(&layout);
    }
}

static void refuses_what_is_no_image(void **state)
{
    cleanup_free char *path = bl_format("%s/x", home.path);
    cleanup_buffer struct bl_buffer text = BL_BUFFER_INIT(1 << 20);
    struct bl_error err = BL_ERROR_INIT;

    (void)state;
    expect(load(&home, path, "x", NULL, &err), &err, BL_NOT_FOUND, path);
    write_file(path, &text); /* an empty file */
    expect(load(&home, path, "x", NULL, &err), &err, BL_IMAGE, "neither index.json");
    bl_buffer_append(&text, "Just a text file, long enough for libarchive to look at it.", 59);
    write_file(path, &text);
    expect(load(&home, path, "x", NULL, &err), &err, BL_IMAGE, "no valid tar archive");
    expect(load(&home, "/dev/null", "x", NULL, &err), &err, BL_IMAGE, "neither a directory nor an archive");
    expect(load(&home, home.path, "x", NULL, &err), &err, BL_IMAGE, "neither index.json");
    expect(load(&home, path, "Bad Name", NULL, &err), &err, BL_IMAGE, "no valid tar archive");
    for (size_t i = 0; i < 3; i++) {
        static const char *const magics[] = {"BZh91AY&SY", "\3757zXZ", "\x1f\x8b garbage that is no gzip"};

        bl_buffer_clear(&text);
        bl_buffer_append(&text, magics[i], strlen(magics[i]));
        bl_buffer_append(&text, "                    ", 20);
        write_file(path, &text);
        expect(load(&home, path, "x", NULL, &err), &err, BL_IMAGE, i == 2 ? "damaged" : "gzip, zstd and none are supported");
    }
}

/* Every cut of a good archive is refused, and so is every kind of damage to its compressed form. */
static void refuses_cut_archives(void **state)
{
    struct bl_buffer layer = tar_of((struct entry[]){{.path = "x", .data = "content of x"}, {0}});

    (void)state;
    for (enum packing packing = PLAIN; packing <= ZSTD; packing++) {
        struct layout layout = oci_layout(&(struct recipe){.layers = &layer, .layer_count = 1, .packing = GZIP});
        cleanup_buffer struct bl_buffer tar = layout_tar(&layout);
        cleanup_buffer struct bl_buffer packed = pack(&tar, packing);
        cleanup_free char *path = bl_format("%s/archive", home.path);
        size_t whole = packing == PLAIN ? packed.length - 1024 : packed.length, step = whole / 37;

        for (size_t cut = step; cut < whole; cut += step) {
            struct bl_buffer part = packed;
            struct bl_error err = BL_ERROR_INIT;

            part.length = cut;
            write_file(path, &part);
            expect(load(&home, path, "x", NULL, &err), &err, BL_IMAGE, "");
        }
        layout_free(&layout);
    }
    bl_buffer_free(&layer);
}

static int load_limited(const char *path, struct bl_load_limits limits, struct bl_error *err)
{
    struct bl_load_request request = {.path = path, .fd = -1, .reference = "x", .cancel_fd = -1, .limits = limits};
    struct bl_image **images;
    size_t count;
    int result = bl_loader_load(home.images, &request, &images, &count, err);

    if (!result)
        bl_image_free_list(images, count);
    return result;
}

static void stops_at_every_limit(void **state)
{
    size_t length = 64 << 20;
    cleanup_free char *zeros = calloc(1, length);
    struct bl_buffer layers[] = {tar_of((struct entry[]){{.path = "bomb", .data = zeros, .length = length}, {0}}),
                                 tar_of((struct entry[]){{.path = "a/b/c", .data = "x"}, {.path = "a/b/d", .data = "x"}, {0}})};
    struct layout layout = oci_layout(&(struct recipe){.layers = layers, .layer_count = 2, .packing = GZIP});
    cleanup_free char *path = bl_format("%s/layout", home.path);
    struct bl_error err = BL_ERROR_INIT;

    (void)state;
    layout_write(&layout, path);
    expect(load_limited(path, (struct bl_load_limits){.total_bytes = length / 2}, &err), &err, BL_RESOURCE_EXHAUSTED,
           "unpacks to more");
    expect(load_limited(path, (struct bl_load_limits){.entries = 2}, &err), &err, BL_RESOURCE_EXHAUSTED, "more than 2 files");
    expect(load_limited(path, (struct bl_load_limits){.path_depth = 2}, &err), &err, BL_RESOURCE_EXHAUSTED,
           "more than 2 components");
    expect(load_limited(path, (struct bl_load_limits){.layers = 1}, &err), &err, BL_RESOURCE_EXHAUSTED, "2 layers, more than 1");
    expect(load_limited(path, (struct bl_load_limits){.manifest_bytes = 100}, &err), &err, BL_RESOURCE_EXHAUSTED, "manifest_kib");
    expect(load_limited(path, (struct bl_load_limits){.config_bytes = 100}, &err), &err, BL_RESOURCE_EXHAUSTED, "config_kib");
    expect(load_limited(path, (struct bl_load_limits){.layer_bytes = 100}, &err), &err, BL_RESOURCE_EXHAUSTED, "layer_mib");
    if (load_limited(path, (struct bl_load_limits){.total_bytes = 2 * length, .entries = 3, .path_depth = 3, .layers = 2}, &err))
        fail_msg("%s", err.message);
    layout_free(&layout);
    bl_buffer_free(&layers[0]);
    bl_buffer_free(&layers[1]);
}

/* A zstd frame asks for memory by its window: only so much. */
static void bounds_the_zstd_window(void **state)
{
    size_t length = 24 << 20;
    cleanup_free char *content = malloc(length), *packed = malloc(length);
    struct layout layout = {0};
    struct bl_error err = BL_ERROR_INIT;
    cleanup_free char *path = bl_format("%s/archive", home.path);
    ZSTD_CCtx *zstd = ZSTD_createCCtx();

    (void)state;
    memset(content, 'x', length);
    layout_add(&layout, "index.json", "{\"manifests\":[]}", 16);
    layout_add(&layout, "filler", content, length);

    cleanup_buffer struct bl_buffer tar = layout_tar(&layout);
    cleanup_buffer struct bl_buffer out = TAR_INIT;

    ZSTD_CCtx_setParameter(zstd, ZSTD_c_windowLog, 24);
    ZSTD_CCtx_setParameter(zstd, ZSTD_c_contentSizeFlag, 0);

    size_t size = ZSTD_compress2(zstd, packed, length, bl_buffer_data(&tar), tar.length);

    assert_false(ZSTD_isError(size));
    bl_buffer_append(&out, packed, size);
    write_file(path, &out);
    expect(load_limited(path, (struct bl_load_limits){.zstd_window_bytes = 8 << 20}, &err), &err, BL_RESOURCE_EXHAUSTED,
           "zstd_window_mib");
    expect(load_limited(path, (struct bl_load_limits){.zstd_window_bytes = 16 << 20}, &err), &err, BL_IMAGE, "holds no image");
    ZSTD_freeCCtx(zstd);
    layout_free(&layout);
}

/* What lies in a layout directory may point outside; the loader does not go there. */
static void stays_in_the_layout(void **state)
{
    struct bl_buffer layer = tar_of((struct entry[]){{.path = "x", .data = "x"}, {0}});
    struct layout layout = oci_layout(&(struct recipe){.layers = &layer, .layer_count = 1});
    cleanup_free char *path = bl_format("%s/layout", home.path);
    cleanup_free char *index = bl_format("%s/index.json", path), *outside = bl_format("%s/outside.json", home.path);
    cleanup_free char *blobs = bl_format("%s/inside", path);
    struct bl_error err = BL_ERROR_INIT;

    (void)state;
    layout_write(&layout, path);
    assert_int_equal(rename(index, outside), 0);
    assert_int_equal(symlink("../outside.json", index), 0);
    expect(load(&home, path, "x", NULL, &err), &err, BL_STORAGE, "index.json");
    unlink(index);
    assert_int_equal(symlink(outside, index), 0);
    expect(load(&home, path, "x", NULL, &err), &err, BL_STORAGE, "index.json");
    unlink(index);
    assert_int_equal(mkfifo(index, 0600), 0);
    expect(load(&home, path, "x", NULL, &err), &err, BL_IMAGE, "no regular file");
    unlink(index);
    /* Control: links within are fine. */
    assert_int_equal(rename(outside, blobs), 0);
    assert_int_equal(symlink("inside", index), 0);
    if (load(&home, path, "x", NULL, &err))
        fail_msg("%s", err.message);
    layout_free(&layout);
    bl_buffer_free(&layer);
}

static void bad_names_leave_nothing(void **state)
{
    struct bl_buffer layer = tar_of((struct entry[]){{.path = "x", .data = "x"}, {0}});
    struct layout layout = oci_layout(&(struct recipe){.layers = &layer, .layer_count = 1});
    cleanup_free char *path = bl_format("%s/layout", home.path);
    struct bl_error err = BL_ERROR_INIT;

    (void)state;
    layout_write(&layout, path);
    expect(load(&home, path, "../../x", NULL, &err), &err, BL_INVALID_ARGUMENT, "../../x");
    layout_free(&layout);

    /* Two images can't have one name. */
    struct layout two = docker_layout(&(struct recipe){.layers = &layer, .layer_count = 1});
    char other[] = "[{\"Config\":\"a.json\",\"RepoTags\":[\"a:1\"]},{\"Config\":\"b.json\",\"RepoTags\":[\"b:1\"]}]";

    layout_add(&two, "manifest.json", other, strlen(other));
    expect(load_files(&two, &err), &err, BL_INVALID_ARGUMENT, "several images");
    layout_free(&two);
    bl_buffer_free(&layer);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(refuses_paths_and_links),
        T(bounds_names_and_depth),
        T(refuses_attributes_that_do_not_fit),
        T(refuses_damaged_archives),
        T(verifies_every_digest_and_size),
        T(refuses_documents),
        T(refuses_what_is_no_image),
        T(refuses_cut_archives),
        T(stops_at_every_limit),
        T(bounds_the_zstd_window),
        T(stays_in_the_layout),
        T(bad_names_leave_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
