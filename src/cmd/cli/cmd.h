/* SPDX-License-Identifier: Apache-2.0 */
/* The command line: one const `struct cmd` a file, listed in table.c; the table gives parsing, usage, completion and
 * the man page. A command parses, calls, prints. Exit status: 0 done, 1 failed, 2 usage, 3 refused by a rule. */
#pragma once

#include "base/err/err.h"
#include "base/json/json.h"

struct rpc_client;
struct cmd_ctx;

struct cmd_opt {
    const char *name; /* long name without dashes */
    char letter;      /* short form or 0 */
    const char *arg;  /* placeholder of its value ("FILE"), NULL for a switch */
    const char *help;
};

struct cmd {
    const char *name;    /* "status", "lab kill": words separated by one blank */
    const char *operands; /* "REGION|HOST", "[MODULE] -- CMD...", "" */
    const char *summary; /* one line, imperative, no full stop */
    const char *text;    /* man page prose, paragraphs separated by blank lines */
    const struct cmd_opt *opts; /* ends with a NULL name; -h/--help is everybody's */
    int min_operands, max_operands; /* max -1: no limit */
    bool hidden;
    bool raw; /* words after the name are passed unparsed (role, shim) */
    int (*run)(struct cmd_ctx *ctx, struct err *e); /* >= 0 is the exit status */
};

struct cmd_ctx {
    const struct cmd *cmd;
    const char **values; /* one per opts row: the value, "" for a given switch, NULL when absent */
    int n_operands;
    char **operands;
    bool json;     /* --json was given */
    bool terminal; /* standard output is one */
};

extern const struct cmd *const cmd_table[]; /* ends with NULL */

const char *cmd_opt(const struct cmd_ctx *ctx, const char *name); /* NULL when absent */
bool cmd_flag(const struct cmd_ctx *ctx, const char *name);
int cmd_main(int argc, char **argv);

/* The declaration that this command is about: -f FILE, else $MCP_FILE, else ./platform.yaml. */
const char *cmd_platform_file(const struct cmd_ctx *ctx);
/* Connects to the platform: the lab of that name if one runs on this machine (through any of its living hosts, or
 * `host` if not NULL), else this host's own /run/mcp/mcp.sock. */
MUST_CHECK int cmd_connect(const struct cmd_ctx *ctx, const char *host, struct rpc_client **ret, struct err *e);
void cmd_print_json(const json_t *j);
