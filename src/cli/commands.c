/* SPDX-License-Identifier: Apache-2.0 */
/* commands.c - the list of commands, and what all of them understand */
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/strings.h"
#include "cli/cli.h"

const struct bl_option bl_cli_globals[] = {
    {"home", 0, BL_OPTION_TEXT, "PATH", "Where boxes and images are kept (BOXLITE_HOME; default ~/.boxlite)",
     offsetof(struct bl_globals, home)},
    {"config", 0, BL_OPTION_TEXT, "FILE", "Configuration to use (default ~/.config/boxlite/config.json)",
     offsetof(struct bl_globals, config)},
    {"debug", 0, BL_OPTION_FLAG, NULL, "Say what happens, on standard error", offsetof(struct bl_globals, debug)},
    {NULL},
};

const struct bl_command *const bl_commands[] = {
    &bl_command_run,
    &bl_command_create,
    &bl_command_exec,
    &bl_command_list,
    &bl_command_start,
    &bl_command_stop,
    &bl_command_restart,
    &bl_command_rm,
    &bl_command_wait,
    &bl_command_inspect,
    &bl_command_logs,
    &bl_command_cp,
    &bl_command_pull,
    &bl_command_load,
    &bl_command_images,
    &bl_command_rmi,
    &bl_command_tag,
    &bl_command_save,
    &bl_command_image_inspect,
    &bl_command_image_history,
    &bl_command_image_prune,
    &bl_command_login,
    &bl_command_logout,
    &bl_command_gc,
    &bl_command_doctor,
    &bl_command_info,
    &bl_command_version,
    &bl_command_completion,
    NULL,
};

const struct bl_command *bl_command_find(char **argv, int *words)
{
    cleanup_free char *two = argv[1] ? bl_format("%s %s", argv[0], argv[1]) : NULL;

    for (int count = two ? 2 : 1; count > 0; count--) {
        const char *wanted = count == 2 ? two : argv[0];

        *words = count;
        for (const struct bl_command *const *at = bl_commands; *at; at++) {
            if (!strcmp((*at)->name, wanted))
                return *at;
            for (size_t i = 0; i < sizeof(*at)->aliases / sizeof *(*at)->aliases && (*at)->aliases[i]; i++)
                if (!strcmp((*at)->aliases[i], wanted))
                    return *at;
        }
    }
    return NULL;
}

void bl_commands_help(FILE *out)
{
    fputs("Run commands and images in virtual machines of their own\n\n"
          "Usage: boxlite [--home PATH] [--debug] COMMAND [ARGUMENTS]\n\n"
          "Commands:\n",
          out);
    for (const struct bl_command *const *at = bl_commands; *at; at++)
        if (!(*at)->hidden)
            fprintf(out, "  %-13s %s\n", (*at)->name, (*at)->summary);
    fputs("  help          Print help, of a command when one is named\n\nOptions:\n"
          "      --home PATH    Where boxes and images are kept (BOXLITE_HOME; default ~/.boxlite)\n"
          "      --config FILE  Configuration to use (default ~/.config/boxlite/config.json)\n"
          "      --debug        Say what happens, on standard error\n"
          "  -V, --version      Print the version\n"
          "  -h, --help         Print this help; behind a command: the help of that command\n\n"
          "Start here:\n"
          "  boxlite run busybox echo hello\n"
          "  boxlite run -it --rm busybox sh\n",
          out);
}
