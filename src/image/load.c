/* SPDX-License-Identifier: Apache-2.0 */
/*
 * load.c - the store's door to the loader
 *
 * The first load opens libboxlite-image.so by its absolute path in the runtime directory and keeps it for the life of the
 * process: libraries below it (libcrypto) register handlers that must not be unmapped. RTLD_LOCAL keeps its symbols from the
 * host program's.
 */
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/crash.h"
#include "base/io.h"
#include "base/os.h"
#include "base/strings.h"
#include "base/user_config.h"
#include "image/limit.h"
#include "image/plugin.h"
#include "image/store.h"

static pthread_mutex_t plugin_mutex = PTHREAD_MUTEX_INITIALIZER;
static const struct bl_image_plugin *plugin; /* guarded by plugin_mutex; set once */

static const struct bl_image_plugin *open_plugin(const char *runtime_dir, struct bl_error *err)
{
    cleanup_free char *path = bl_format("%s/%s", runtime_dir, BL_IMAGE_PLUGIN_FILE);
    void *handle = path ? bl_os.dlopen(path, RTLD_NOW | RTLD_LOCAL) : NULL;
    const struct bl_image_plugin *found = handle ? dlsym(handle, BL_IMAGE_PLUGIN_SYMBOL) : NULL;

    if (!path) {
        bl_fail_memory(err);
    } else if (!found) {
        bl_fail(err, BL_CONFIG, 0, "open the image loader: %s; is the installation complete?", dlerror());
    } else if (found->version != BL_IMAGE_PLUGIN_VERSION) {
        bl_fail(err, BL_CONFIG, 0, "the image loader %s is of another version (%u, not %d): install boxlite again", path,
                found->version, BL_IMAGE_PLUGIN_VERSION);
        found = NULL;
    }
    return found;
}

const struct bl_image_plugin *bl_images_plugin(const struct bl_images *images, struct bl_error *err)
{
    pthread_mutex_lock(&plugin_mutex);
    if (!plugin)
        plugin = open_plugin(images->runtime_dir, err);

    const struct bl_image_plugin *got = plugin;

    pthread_mutex_unlock(&plugin_mutex);
    return got;
}

int bl_images_make_store(const struct bl_images *images, struct bl_error *err)
{
    static const char *const rooms[] = {"index", "disks", "partial", "locks", "blobs"};

    for (size_t i = 0; i < sizeof rooms / sizeof *rooms; i++) {
        cleanup_free char *path = bl_format("%s/%s", images->path, rooms[i]);

        if (!path)
            return bl_fail_memory(err);
        if (bl_make_dirs(path))
            return bl_fail(err, BL_STORAGE, errno, "make %s", path);
    }
    BL_CRASH_POINT("load:store-made");
    return 0;
}

static int load(struct bl_images *images, const struct bl_load_request *request, struct bl_image ***out, size_t *count,
                struct bl_error *err)
{
    struct stat status;

    /* Looked at first, so that a mistyped name makes nothing. */
    if (request->path && bl_os.stat(request->path, &status))
        return bl_fail(err, errno == ENOENT || errno == ENOTDIR ? BL_NOT_FOUND : BL_STORAGE, errno, "open the image %s",
                       request->path);

    const struct bl_image_plugin *loader = bl_images_plugin(images, err);

    if (!loader || bl_images_make_store(images, err))
        return -1;
    bl_images_sweep(images);
    BL_CRASH_POINT("load:swept");
    if (loader->load(images->path, request, out, count, err))
        return -1;
    for (size_t i = 0; i < *count; i++)
        bl_image_pin((*out)[i]);
    return 0;
}

int bl_images_load(struct bl_images *images, const struct bl_load_request *request, struct bl_image ***out, size_t *count,
                   struct bl_error *err)
{
    struct bl_user_config usual = BL_USER_CONFIG_INIT;
    struct bl_load_request filled = *request;
    int result = request->config ? 0 : bl_user_config_load(NULL, &usual, err);

    *out = NULL;
    *count = 0;
    if (!request->config)
        filled.config = &usual;
    bl_limits_fill(&filled.limits, filled.config);
    if (!result)
        result = load(images, &filled, out, count, err);
    if (!result)
        bl_images_evict(images, filled.config);
    bl_user_config_free(&usual);
    return result;
}
