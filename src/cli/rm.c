/* SPDX-License-Identifier: Apache-2.0 */
/* rm.c - boxlite rm */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"

struct rm_values {
    bool force, all;
};

static int remove_one(struct bl_cli *cli, const char *name, void *data, struct bl_error *err)
{
    const struct rm_values *values = data;

    return bl_box_remove(cli->runtime, name, values->force, err);
}

/* agrees() - Ask on the terminal, or read the answer that a script pipes in. Return: 1, 0; -1: there was no answer */
static int agrees(size_t count)
{
    char answer[16];

    fprintf(stderr, "This removes all %zu box%s and their files. Go on? [y/N] ", count, count == 1 ? "" : "es");
    if (!fgets(answer, sizeof answer, stdin)) {
        fputc('\n', stderr);
        return -1;
    }
    answer[strcspn(answer, "\n")] = '\0';
    return !strcasecmp(answer, "y") || !strcasecmp(answer, "yes");
}

static int remove_all(struct bl_cli *cli, struct rm_values *values)
{
    struct bl_error err = BL_ERROR_INIT;
    struct bl_box_info *list = NULL;
    size_t count = 0;
    int code = 0;

    if (!bl_cli_open(cli))
        return BL_EXIT_FAILURE;
    if (bl_box_list(cli->runtime, &list, &count, &err) < 0)
        return bl_cli_fail(cli, &err);
    if (count > 0 && !values->force) {
        int answer = agrees(count);

        if (answer < 0)
            bl_cli_complain("nobody answered; without a question: boxlite rm -a -f");
        if (answer <= 0) {
            bl_box_list_free(list, count);
            return answer < 0 ? BL_EXIT_FAILURE : 0;
        }
    }
    for (size_t i = 0; i < count; i++) {
        /* Somebody else may have removed it meanwhile, which is what was wanted. */
        if (bl_box_remove(cli->runtime, list[i].id, values->force, &err) == 0)
            puts(list[i].id);
        else if (err.code != BL_NOT_FOUND)
            code = bl_cli_fail(cli, &err);
    }
    bl_box_list_free(list, count);
    return code;
}

static int run_rm(struct bl_cli *cli, void *data)
{
    struct rm_values *values = data;

    if (values->all && cli->operands.count)
        return bl_cli_usage(cli, "--all cannot be used with the name of a box");
    if (!values->all && !cli->operands.count)
        return bl_cli_usage(cli, "required: BOX, or --all");
    return values->all ? remove_all(cli, values) : bl_cli_for_each(cli, remove_one, values);
}

static const struct bl_option options[] = {
    {"force", 'f', BL_OPTION_FLAG, NULL, "Also a running one, which is killed; with -a: ask nothing",
     offsetof(struct rm_values, force)},
    {"all", 'a', BL_OPTION_FLAG, NULL, "All boxes", offsetof(struct rm_values, all)},
    {NULL},
};

const struct bl_command bl_command_rm = {
    .name = "rm",
    .aliases = {"remove"},
    .summary = "Remove boxes and their files",
    .usage = "[OPTIONS] BOX...\n[OPTIONS] --all",
    .about = "A running box is removed only with --force. Prints what was removed.",
    .example = "boxlite rm work\nboxlite rm -a -f",
    .options = options,
    .values_bytes = sizeof(struct rm_values),
    .most_operands = -1,
    .changes = true,
    .run = run_rm,
};
