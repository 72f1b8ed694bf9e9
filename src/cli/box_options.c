/* SPDX-License-Identifier: Apache-2.0 */
/* box_options.c - from options to a box; and the environment that -e and --env-file describe */
#include "cli/box_options.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/strings.h"

#define CPUS_CAP           255 /* more is no mistake of a script's, but no machine has a use for it */
#define ENV_FILE_BYTES_MAX (1u << 20)

/* add_pair() - One KEY=VALUE, or KEY to be copied from here */
static int add_pair(char ***env, const char *pair, struct bl_error *err)
{
    if (*pair == '=' || !*pair)
        return bl_fail(err, BL_INVALID_ARGUMENT, 0, "'%s' is no environment variable: expected KEY=VALUE or KEY", pair);
    if (strchr(pair, '='))
        return bl_strings_set_env(env, pair) < 0 ? bl_fail_memory(err) : 0;

    const char *value = getenv(pair);

    if (!value) {
        bl_cli_warn("Environment variable '%s' not found on host, skipping", pair);
        return 0;
    }
    cleanup_free char *whole = bl_format("%s=%s", pair, value);

    return !whole || bl_strings_set_env(env, whole) < 0 ? bl_fail_memory(err) : 0;
}

/* add_file() - Lines of KEY=VALUE or KEY; empty ones and those that begin with # are skipped */
static int add_file(char ***env, const char *path, struct bl_error *err)
{
    cleanup_buffer struct bl_buffer text = BL_BUFFER_INIT(ENV_FILE_BYTES_MAX);
    char *rest = NULL;

    if (bl_read_file(AT_FDCWD, path, &text) < 0)
        return bl_fail(err, BL_INVALID_ARGUMENT, errno, "read the environment file %s", path);
    if (memchr(bl_buffer_data(&text), '\0', text.length) || bl_buffer_append(&text, "", 1) < 0)
        return bl_fail(err, BL_INVALID_ARGUMENT, 0, "the environment file %s holds a zero byte or is too long", path);
    for (char *line = strtok_r((char *)bl_buffer_data(&text), "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        line[strcspn(line, "\r")] = '\0';
        line += strspn(line, " \t");
        if (*line && *line != '#' && add_pair(env, line, err) < 0)
            return bl_fail_context(err, "in %s", path);
    }
    return 0;
}

int bl_cli_environment(char *const *pairs, char *const *files, char ***out, struct bl_error *err)
{
    cleanup_strings char **env = bl_strings_copy(NULL);

    if (!env)
        return bl_fail_memory(err);
    /* Files first: what stands on the command line is meant to win. */
    for (; files && *files; files++)
        if (add_file(&env, *files, err) < 0)
            return -1;
    for (; pairs && *pairs; pairs++)
        if (add_pair(&env, *pairs, err) < 0)
            return -1;
    *out = bl_steal_ptr(&env);
    return 0;
}

/* check_rootfs() - Tell the plain mistakes apart before anything is made */
static int check_rootfs(const char *path, struct bl_error *err)
{
    struct stat status;

    if (stat(path, &status) < 0)
        return errno == ENOENT ? bl_fail(err, BL_INVALID_ARGUMENT, 0, "rootfs directory does not exist: %s", path)
                               : bl_fail(err, BL_INVALID_ARGUMENT, errno, "open the rootfs directory %s", path);
    if (!S_ISDIR(status.st_mode))
        return bl_fail(err, BL_INVALID_ARGUMENT, 0, "rootfs is not a directory: %s (an archive is brought in by 'boxlite load')",
                       path);

    cleanup_free char *marker = bl_format("%s/oci-layout", path);

    if (!marker)
        return bl_fail_memory(err);
    if (access(marker, F_OK) < 0)
        return bl_fail(err, BL_INVALID_ARGUMENT, 0,
                       "%s is no OCI layout: it has no file oci-layout (such a directory is made by 'skopeo copy ... oci:DIR')",
                       path);
    return 0;
}

/* read_security() - The option, else the environment. Return: 0 and *@off; -1 */
static int read_security(const char *option, bool *off, struct bl_error *err)
{
    static const char *const offs[] = {"disable", "disabled", "off"}, *const ons[] = {"enable", "enabled", "on"};
    const char *word = option ? option : getenv("BOXLITE_SECURITY");

    *off = false;
    if (!word || !*word)
        return 0;
    for (size_t i = 0; i < sizeof ons / sizeof *ons; i++) {
        *off = strcmp(word, offs[i]) == 0;
        if (*off || strcmp(word, ons[i]) == 0)
            return 0;
    }
    return bl_fail(err, BL_INVALID_ARGUMENT, 0, "BOXLITE_SECURITY is '%s': enable or disable is expected", word);
}

int bl_box_request_make(struct bl_cli *cli, const struct box_values *values, bool image_means_image, struct box_request *out)
{
    struct bl_error err = BL_ERROR_INIT;
    char **operands = cli->operands.list;
    struct bl_box_options *options = &out->options;

    *out = (struct box_request){0};
    if (bl_cli_configure(cli))
        return cli->command->failure ? cli->command->failure : BL_EXIT_FAILURE;
    if (!values->rootfs) {
        if (cli->operands.count == 0)
            return bl_cli_usage(cli, "required: IMAGE, or --rootfs DIR");
        options->image = *operands++;
    } else if (image_means_image && cli->operands.before_dashes != 0 && cli->operands.count > 0) {
        return bl_cli_usage(cli,
                            "IMAGE cannot be used with --rootfs; a command goes behind '--': boxlite %s --rootfs DIR -- COMMAND",
                            cli->command->name);
    }
    if (*operands)
        options->command = (const char *const *)operands;
    if (bl_cli_environment(values->env, values->env_files, &out->env, &err) < 0)
        return bl_cli_fail(cli, &err);
    options->env = (const char *const *)out->env;
    if (values->rootfs && check_rootfs(values->rootfs, &err) < 0)
        return bl_cli_fail(cli, &err);
    options->rootfs = values->rootfs;
    options->name = values->name;
    if (values->entrypoint) {
        out->entrypoint[0] = *values->entrypoint ? values->entrypoint : NULL;
        options->entrypoint = out->entrypoint;
    }
    options->workdir = values->workdir;
    options->user = values->user;
    options->engine = values->engine;
    options->no_auto_resume = values->no_auto_resume;
    options->cap_add = (const char *const *)values->cap_add;
    options->cap_drop = (const char *const *)values->cap_drop;
    if (read_security(values->security, &options->unconfined, &err) < 0)
        return bl_cli_fail(cli, &err);
    options->kernel = values->kernel;
    options->cpus = values->cpus ? (unsigned int)values->cpus : cli->config.cpus;
    if (values->cpus > CPUS_CAP) {
        bl_cli_warn("%lld cpus were asked for, %d is the most", values->cpus, CPUS_CAP);
        options->cpus = CPUS_CAP;
    }
    options->memory_mib = values->memory_mib ? (unsigned int)values->memory_mib : cli->config.memory_mib;
    options->disk_gb = (unsigned int)values->disk_gb;
    if (values->restart && bl_restart_parse(values->restart, &options->restart) < 0)
        return bl_cli_usage(cli,
                            "invalid value '%s' for '--restart': expected no, on-failure, on-failure:N, always or unless-stopped",
                            values->restart);
    options->auto_stop_ms = values->auto_stop_ms;
    options->auto_delete_ms = values->auto_delete_ms;
    return 0;
}

int bl_box_request_bring(struct bl_cli *cli, const struct box_values *values, struct box_request *request)
{
    enum bl_pull_policy policy = BL_PULL_MISSING;
    int code;

    if (request->options.rootfs)
        return 0;
    if (values->pull && !strcmp(values->pull, "always"))
        policy = BL_PULL_ALWAYS;
    if (values->pull && !strcmp(values->pull, "never"))
        policy = BL_PULL_NEVER;
    code = bl_cli_bring_image(cli, request->options.image, policy, &values->registry, false, &request->image);
    /* The search order may have found it under another registry's name. */
    if (!code && request->image->reference)
        request->options.image = request->image->reference;
    return code;
}

void bl_box_request_free(struct box_request *request)
{
    bl_image_free(request->image);
    request->image = NULL;
    bl_strings_free(request->env);
    request->env = NULL;
}
