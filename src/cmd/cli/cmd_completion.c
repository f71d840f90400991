/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cli/priv.h"

/* ":files" in the answer: the shell's own completion of paths. */
static const char bash[] = "# mcp completion for bash: source <(mcp completion bash)\n"
                           "_mcp() {\n"
                           "    local line words=(\"${COMP_WORDS[@]:1:COMP_CWORD}\")\n"
                           "    COMPREPLY=()\n"
                           "    while IFS= read -r line; do\n"
                           "        if [ \"$line\" = :files ]; then\n"
                           "            compopt -o default\n"
                           "        else\n"
                           "            COMPREPLY+=(\"${line%%$'\\t'*}\")\n"
                           "        fi\n"
                           "    done < <(mcp __complete \"${words[@]}\" 2>/dev/null)\n"
                           "}\n"
                           "complete -F _mcp mcp\n";

static const char zsh[] =
    "#compdef mcp\n"
    "# mcp completion for zsh: mcp completion zsh > \"${fpath[1]}/_mcp\"\n"
    "_mcp() {\n"
    "    local line\n"
    "    local -a found\n"
    "    for line in \"${(@f)$(mcp __complete \"${(@)words[2,CURRENT]}\" 2>/dev/null)}\"; do\n"
    "        if [[ $line == :files ]]; then\n"
    "            _files\n"
    "        elif [[ -n $line ]]; then\n"
    "            found+=(\"${${line//:/\\\\:}/$'\\t'/:}\")\n"
    "        fi\n"
    "    done\n"
    "    (( $#found )) && _describe mcp found\n"
    "}\n"
    "if [[ $funcstack[1] == _mcp ]]; then\n"
    "    _mcp \"$@\"\n"
    "else\n"
    "    compdef _mcp mcp\n"
    "fi\n";

static const char fish[] = "# mcp completion for fish: mcp completion fish | source\n"
                           "function __mcp_complete\n"
                           "    set -l words (commandline -opc) (commandline -ct)\n"
                           "    for line in (mcp __complete $words[2..-1] 2>/dev/null)\n"
                           "        if test \"$line\" = :files\n"
                           "            __fish_complete_path (commandline -ct)\n"
                           "        else\n"
                           "            echo $line\n"
                           "        end\n"
                           "    end\n"
                           "end\n"
                           "complete -c mcp -f -a '(__mcp_complete)'\n";

static int run(struct cmd_ctx *ctx, struct err *e)
{
    const char *shell = ctx->operands[0];
    const char *script = !strcmp(shell, "bash")   ? bash
                         : !strcmp(shell, "zsh")  ? zsh
                         : !strcmp(shell, "fish") ? fish
                                                  : NULL;
    if (!script) {
        err_set(e, ERR_USAGE, "no completion for %s", shell);
        err_fix(e, "there are bash, zsh and fish");
        return ERR_USAGE;
    }
    fputs(script, stdout);
    return 0;
}

const struct cmd cmd_completion = {
    .name = "completion",
    .operands = "bash|zsh|fish",
    .summary = "Print the completion script of a shell",
    .text = "Completes commands and options, and the names of regions, hosts and modules from the "
            "declaration.\n\n"
            "  bash: source <(mcp completion bash)\n"
            "  zsh:  mcp completion zsh > \"${fpath[1]}/_mcp\"\n"
            "  fish: mcp completion fish | source",
    .min_operands = 1,
    .max_operands = 1,
    .run = run,
};

static int run_complete(struct cmd_ctx *ctx, struct err *e)
{
    _cleanup_str_ struct str out = STR_INIT;
    cmd_complete(cmd_table, ctx->n_operands, ctx->operands, &out);
    fputs(str_cstr(&out), stdout);
    return 0;
}

const struct cmd cmd_complete_words = {
    .name = "__complete",
    .operands = "WORD...",
    .summary = "List what may stand next, for completion scripts",
    .max_operands = -1,
    .hidden = true,
    .raw = true,
    .run = run_complete,
};
