/* SPDX-License-Identifier: Apache-2.0 */
/*
 * completion.c - boxlite completion bash: a script that completes commands, options and names of boxes
 *
 * It is made from the tables, so that it can't fall behind them.
 */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"

static void print_options(const struct bl_option *options)
{
    for (const struct bl_option *option = options; option && option->name; option++)
        if (option->help)
            printf(" --%s", option->name);
}

static int run(struct bl_cli *cli, void *data)
{
    (void)data;
    if (strcmp(cli->operands.list[0], "bash"))
        return bl_cli_usage(cli, "only bash is known, not '%s'", cli->operands.list[0]);
    puts("# boxlite completion for bash; use: source <(boxlite completion bash)\n"
         "_boxlite()\n{\n"
         "    local word=${COMP_WORDS[COMP_CWORD]} command= i options=\n"
         "    for ((i = 1; i < COMP_CWORD; i++)); do\n"
         "        case ${COMP_WORDS[i]} in\n"
         "        --home|--config) ((i++)) ;;\n"
         "        -*) ;;\n"
         "        *) command=${COMP_WORDS[i]}; break ;;\n"
         "        esac\n"
         "    done\n"
         "    case $command in");
    fputs("    '') options='help", stdout);
    for (const struct bl_command *const *at = bl_commands; *at; at++)
        if (!(*at)->hidden && !strchr((*at)->name, ' '))
            printf(" %s", (*at)->name);
    puts("' ;;");
    for (const struct bl_command *const *at = bl_commands; *at; at++) {
        if (strchr((*at)->name, ' '))
            continue;
        printf("    %s", (*at)->name);
        for (size_t i = 0; i < sizeof(*at)->aliases / sizeof *(*at)->aliases && (*at)->aliases[i]; i++)
            if (!strchr((*at)->aliases[i], ' '))
                printf("|%s", (*at)->aliases[i]);
        fputs(") options='--help", stdout);
        print_options((*at)->options);
        print_options(bl_cli_globals);
        puts("' ;;");
    }
    puts("    esac\n"
         "    COMPREPLY=($(compgen -W \"$options\" -- \"$word\"))\n"
         "    case $command in\n"
         "    exec|start|stop|restart|rm|wait|inspect|logs|cp)\n"
         "        [[ $word == -* ]] || COMPREPLY=($(compgen -W \"$(boxlite ls -a --format json 2>/dev/null |\n"
         "            sed -n 's/.*\"\\(ID\\|Names\\)\": \"\\([^\"]*\\)\".*/\\2/p')\" -- \"$word\"))\n"
         "        ;;\n"
         "    esac\n"
         "}\n"
         "complete -o default -F _boxlite boxlite");
    return 0;
}

const struct bl_command bl_command_completion = {
    .name = "completion",
    .summary = "Print a completion script for a shell",
    .usage = "bash",
    .example = "source <(boxlite completion bash)",
    .least_operands = 1,
    .most_operands = 1,
    .operands = "bash",
    .hidden = true,
    .run = run,
};
