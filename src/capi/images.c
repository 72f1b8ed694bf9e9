/* SPDX-License-Identifier: Apache-2.0 */
/* images.c - images of a home, as the public structs */
#include <stdlib.h>
#include <string.h>

#include "capi/capi.h"

struct ImageHandle {
    CBoxliteRuntime *runtime; /* a reference */
};

struct image_op {
    struct bl_capi_op op;
    char *name;
    struct bl_image **images;
    size_t count;
    CBoxImageListCb on_list;
    CBoxImageGetCb on_detail;
    CBoxImageRemoveCb on_done;
    CBoxImagePullCb on_pulled;
};

enum BoxliteErrorCode boxlite_runtime_images(CBoxliteRuntime *runtime, CBoxliteImageHandle **out_handle, CBoxliteError *out_error)
{
    enum BoxliteErrorCode code = bl_capi_check_runtime(runtime, out_error);

    if (code != BOXLITE_OK)
        return code;
    if (!out_handle)
        return bl_capi_reject(out_error, BL_INVALID_ARGUMENT, "out_handle is NULL");
    *out_handle = calloc(1, sizeof **out_handle);
    if (!*out_handle)
        return bl_capi_no_memory(out_error);
    (*out_handle)->runtime = runtime;
    bl_capi_runtime_hold(runtime);
    return bl_capi_ok(out_error);
}

void boxlite_image_free(CBoxliteImageHandle *handle)
{
    if (!handle)
        return;
    bl_capi_runtime_release(handle->runtime);
    free(handle);
}

static void clear_image_info(CImageInfo *info)
{
    free(info->reference);
    free(info->repository);
    free(info->tag);
    free(info->id);
}

void boxlite_free_image_info_list(CImageInfoList *list)
{
    if (!list)
        return;
    for (int i = 0; i < list->count; i++)
        clear_image_info(&list->items[i]);
    free(list->items);
    free(list);
}

void boxlite_free_image_pull_result(CImagePullResult *result)
{
    if (!result)
        return;
    free(result->reference);
    free(result->config_digest);
    free(result);
}

void boxlite_free_image_detail(CImageDetail *detail)
{
    if (!detail)
        return;
    free(detail->name);
    for (int i = 0; i < detail->tags_count; i++)
        free(detail->tags[i]);
    free(detail->tags);
    for (int i = 0; i < detail->versions_count; i++) {
        free(detail->versions[i].digest);
        free(detail->versions[i].source_ref);
    }
    free(detail->versions);
    free(detail);
}

static void dispose(struct bl_capi_op *base)
{
    struct image_op *op = (struct image_op *)base;

    free(op->name);
    bl_image_free_list(op->images, op->count);
    free(op);
}

static int list_work(struct bl_capi_op *base, struct bl_error *err)
{
    struct image_op *op = (struct image_op *)base;
    struct bl_runtime *core = bl_capi_enter(base->runtime, err);

    if (!core)
        return -1;

    int failed = bl_images_list(bl_runtime_images(core), &op->images, &op->count, err);

    bl_capi_leave(base->runtime);
    return failed;
}

/* make_list() - Return: NULL when memory ran out */
static CImageInfoList *make_list(const struct image_op *op)
{
    CImageInfoList *list = calloc(1, sizeof *list);
    bool failed = !list;

    if (list)
        list->items = calloc(op->count ? op->count : 1, sizeof *list->items);
    failed = failed || !list->items;
    for (size_t i = 0; !failed && i < op->count; i++) {
        const struct bl_image *image = op->images[i];
        CImageInfo *info = &list->items[list->count++];

        *info = (CImageInfo){
            .reference = bl_capi_text(image->reference),
            .repository = bl_capi_text(image->repository),
            .tag = bl_capi_text(image->tag),
            .id = bl_capi_text(image->config_digest),
            .cached_at = image->loaded_at,
            .size = image->content_bytes,
            .has_size = 1,
        };
        failed = !info->reference || !info->repository || !info->tag || !info->id;
    }
    if (!failed)
        return list;
    if (list && !list->items)
        list->count = 0;
    boxlite_free_image_info_list(list);
    return NULL;
}

static void list_complete(struct bl_capi_op *base, CBoxliteError *error)
{
    struct image_op *op = (struct image_op *)base;
    CImageInfoList *list = error ? NULL : make_list(op);

    if (!error && !list) {
        CBoxliteError own = bl_capi_memory_error();

        op->on_list(NULL, &own, base->user_data);
        boxlite_error_free(&own);
        return;
    }
    op->on_list(list, error, base->user_data);
}

/* same_name() - Whether an image is of a repository, given in short or in full. */
static bool same_name(const struct bl_image *image, const char *name)
{
    if (image->repository && strcmp(image->repository, name) == 0)
        return true;

    struct bl_reference wanted = {0}, own = {0};
    bool same = image->reference && bl_reference_parse(name, &wanted, NULL) == 0 &&
                bl_reference_parse(image->reference, &own, NULL) == 0 && strcmp(wanted.registry, own.registry) == 0 &&
                strcmp(wanted.repository, own.repository) == 0;

    bl_reference_free(&wanted);
    bl_reference_free(&own);
    return same;
}

/* keep_named() - List all, then drop those of another name. Return: 0; -1 with *@err */
static int keep_named(struct image_op *op, struct bl_runtime *core, struct bl_error *err)
{
    size_t kept = 0;

    if (bl_images_list(bl_runtime_images(core), &op->images, &op->count, err) < 0)
        return -1;
    for (size_t i = 0; i < op->count; i++) {
        if (same_name(op->images[i], op->name))
            op->images[kept++] = op->images[i];
        else
            bl_image_free(op->images[i]);
    }
    op->count = kept;
    return kept ? 0 : bl_fail(err, BL_NOT_FOUND, 0, "no image %s here: load it first", op->name);
}

static int detail_work(struct bl_capi_op *base, struct bl_error *err)
{
    struct bl_runtime *core = bl_capi_enter(base->runtime, err);

    if (!core)
        return -1;

    int failed = keep_named((struct image_op *)base, core, err);

    bl_capi_leave(base->runtime);
    return failed;
}

/* make_detail() - Return: NULL when memory ran out */
static CImageDetail *make_detail(const struct image_op *op)
{
    CImageDetail *detail = calloc(1, sizeof *detail);

    if (!detail)
        return NULL;
    detail->name = bl_capi_text(op->name);
    detail->tags = calloc(op->count, sizeof *detail->tags);
    detail->versions = calloc(op->count, sizeof *detail->versions);

    bool failed = !detail->name || !detail->tags || !detail->versions;

    for (size_t i = 0; !failed && i < op->count; i++) {
        const struct bl_image *image = op->images[i];
        CImageVersion *version = &detail->versions[i];

        detail->tags[detail->tags_count++] = bl_capi_text(image->tag);
        *version = (CImageVersion){
            .digest = bl_capi_text(image->manifest_digest),
            .size_bytes = image->content_bytes,
            .has_size = 1,
            .source_ref = bl_capi_text(image->reference),
            .recorded_at = image->loaded_at,
        };
        detail->versions_count++;
        failed = !detail->tags[i] || !version->digest || !version->source_ref;
    }
    if (!failed)
        return detail;
    boxlite_free_image_detail(detail);
    return NULL;
}

static void detail_complete(struct bl_capi_op *base, CBoxliteError *error)
{
    struct image_op *op = (struct image_op *)base;
    CImageDetail *detail = error ? NULL : make_detail(op);

    if (!error && !detail) {
        CBoxliteError own = bl_capi_memory_error();

        op->on_detail(NULL, &own, base->user_data);
        boxlite_error_free(&own);
        return;
    }
    op->on_detail(detail, error, base->user_data);
}

static int remove_work(struct bl_capi_op *base, struct bl_error *err)
{
    struct image_op *op = (struct image_op *)base;
    struct bl_runtime *core = bl_capi_enter(base->runtime, err);

    if (!core)
        return -1;

    int failed = keep_named(op, core, err);

    for (size_t i = 0; !failed && i < op->count; i++) {
        failed = bl_images_remove(bl_runtime_images(core), op->images[i]->reference, NULL, NULL, err);
        if (failed && err->code == BL_NOT_FOUND) { /* another program was faster: it is gone, as was asked */
            bl_error_clear(err);
            failed = 0;
        }
    }
    bl_capi_leave(base->runtime);
    return failed;
}

static void remove_complete(struct bl_capi_op *base, CBoxliteError *error)
{
    ((struct image_op *)base)->on_done(error, base->user_data);
}

/* check_name() - Get and remove take a repository. Return: BOXLITE_OK; else the code with *@out_error */
static enum BoxliteErrorCode check_name(CBoxliteImageHandle *handle, const char *name, bool has_cb, CBoxliteError *out_error)
{
    if (!handle || !name || !has_cb)
        return bl_capi_reject(out_error, BL_INVALID_ARGUMENT, "%s is NULL", !handle ? "handle" : !name ? "name" : "cb");

    const char *last = strrchr(name, '/');

    if (!*name || strchr(name, '@') || strchr(last ? last : name, ':'))
        return bl_capi_reject(out_error, BL_INVALID_ARGUMENT,
                              "image name '%s': give it without tag or digest, such as 'registry.example/acme/app'", name);
    return bl_capi_check_runtime(handle->runtime, out_error);
}

/* post() - Queue an image operation. */
static enum BoxliteErrorCode post(CBoxliteImageHandle *handle, const char *name, void *user_data, const struct image_op *callbacks,
                                  enum bl_capi_lane lane, int (*work)(struct bl_capi_op *, struct bl_error *),
                                  void (*complete)(struct bl_capi_op *, CBoxliteError *), CBoxliteError *out_error)
{
    struct image_op *op = bl_capi_new_op(sizeof *op, handle->runtime, user_data, work, complete, dispose);

    if (!op)
        return bl_capi_no_memory(out_error);
    op->on_list = callbacks->on_list;
    op->on_detail = callbacks->on_detail;
    op->on_done = callbacks->on_done;
    op->on_pulled = callbacks->on_pulled;
    if (name && !(op->name = strdup(name))) {
        dispose(&op->op);
        bl_capi_runtime_release(handle->runtime);
        return bl_capi_no_memory(out_error);
    }
    return bl_capi_post(handle->runtime, lane, &op->op, out_error);
}

enum BoxliteErrorCode boxlite_image_list(CBoxliteImageHandle *handle, CBoxImageListCb cb, void *user_data, CBoxliteError *out_error)
{
    if (!handle || !cb)
        return bl_capi_reject(out_error, BL_INVALID_ARGUMENT, "%s is NULL", handle ? "cb" : "handle");

    enum BoxliteErrorCode code = bl_capi_check_runtime(handle->runtime, out_error);

    if (code != BOXLITE_OK)
        return code;
    return post(handle, NULL, user_data, &(struct image_op){.on_list = cb}, CAPI_LANE_QUICK, list_work, list_complete, out_error);
}

enum BoxliteErrorCode boxlite_image_get(CBoxliteImageHandle *handle, const char *name, CBoxImageGetCb cb, void *user_data,
                                        CBoxliteError *out_error)
{
    enum BoxliteErrorCode code = check_name(handle, name, cb != NULL, out_error);

    if (code != BOXLITE_OK)
        return code;
    return post(handle, name, user_data, &(struct image_op){.on_detail = cb}, CAPI_LANE_QUICK, detail_work, detail_complete,
                out_error);
}

enum BoxliteErrorCode boxlite_image_remove(CBoxliteImageHandle *handle, const char *name, CBoxImageRemoveCb cb, void *user_data,
                                           CBoxliteError *out_error)
{
    enum BoxliteErrorCode code = check_name(handle, name, cb != NULL, out_error);

    if (code != BOXLITE_OK)
        return code;
    return post(handle, name, user_data, &(struct image_op){.on_done = cb}, CAPI_LANE_QUICK, remove_work, remove_complete,
                out_error);
}

static int pull_work(struct bl_capi_op *base, struct bl_error *err)
{
    struct image_op *op = (struct image_op *)base;
    struct bl_runtime *core = bl_capi_enter(base->runtime, err);

    if (!core)
        return -1;
    op->images = calloc(1, sizeof(struct bl_image *));

    int failed =
        op->images ? bl_capi_pull(base->runtime, core, op->name, BL_PULL_ALWAYS, &op->images[0], err) : bl_fail_memory(err);

    op->count = failed ? 0 : 1;
    bl_capi_leave(base->runtime);
    return failed;
}

/* make_pull_result() - Return: NULL when memory ran out */
static CImagePullResult *make_pull_result(const struct bl_image *image)
{
    CImagePullResult *result = calloc(1, sizeof *result);

    if (!result)
        return NULL;
    *result = (CImagePullResult){
        .reference = bl_capi_text(image->reference),
        .config_digest = bl_capi_text(image->config_digest),
        .layer_count = (int)image->layer_count,
    };
    if (result->reference && result->config_digest)
        return result;
    boxlite_free_image_pull_result(result);
    return NULL;
}

static void pull_complete(struct bl_capi_op *base, CBoxliteError *error)
{
    struct image_op *op = (struct image_op *)base;
    CImagePullResult *result = error ? NULL : make_pull_result(op->images[0]);

    if (!error && !result) {
        CBoxliteError own = bl_capi_memory_error();

        op->on_pulled(NULL, &own, base->user_data);
        boxlite_error_free(&own);
        return;
    }
    op->on_pulled(result, error, base->user_data);
}

enum BoxliteErrorCode boxlite_image_pull(CBoxliteImageHandle *handle, const char *image_ref, CBoxImagePullCb cb, void *user_data,
                                         CBoxliteError *out_error)
{
    if (!handle || !image_ref || !cb)
        return bl_capi_reject(out_error, BL_INVALID_ARGUMENT, "%s is NULL", !handle ? "handle" : !image_ref ? "image_ref" : "cb");

    enum BoxliteErrorCode code = bl_capi_check_runtime(handle->runtime, out_error);

    if (code != BOXLITE_OK)
        return code;
    return post(handle, image_ref, user_data, &(struct image_op){.on_pulled = cb}, CAPI_LANE_BULK, pull_work, pull_complete,
                out_error);
}

enum BoxliteErrorCode boxlite_image_usage(CBoxliteImageHandle *handle, CBoxImageUsageCb cb, void *user_data,
                                          CBoxliteError *out_error)
{
    (void)user_data;
    if (!handle || !cb)
        return bl_capi_reject(out_error, BL_INVALID_ARGUMENT, "%s is NULL", handle ? "cb" : "handle");
    return bl_capi_reject(out_error, BL_UNSUPPORTED, "image usage: a quota of a server, and this runtime is local");
}
