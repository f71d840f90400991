/* SPDX-License-Identifier: Apache-2.0 */
/* The command line: one const `struct cmd` a file, listed in table.c; the table gives parsing,
 * usage, completion and the man page. A command parses, calls, prints. Exit status: 0 done, 1
 * failed, 2 usage, 3 refused by a rule. An error goes to standard error, one a line, or with --json
 * as {"error": {...}} to standard output. */
#pragma once

#include "base/err/err.h"
#include "base/json/json.h"
#include "base/table/table.h"

struct cmd_ctx;
struct model;
struct rpc_client;

struct cmd_opt {
    const char *name; /* long name without dashes */
    char letter;      /* short form or 0 */
    const char *arg;  /* placeholder of its value ("FILE"), NULL for a switch */
    const char *help;
};

/* What several commands have must look the same in all of them. */
#define CMD_OPT_JSON                                                                               \
    {                                                                                              \
        "json", 0, NULL, "print JSON"                                                              \
    }
#define CMD_OPT_FILE                                                                               \
    {                                                                                              \
        "file", 'f', "FILE", "the declaration (default: $MCP_FILE, else ./platform.yaml)"          \
    }
#define CMD_OPT_PLATFORM                                                                           \
    {                                                                                              \
        "platform", 0, "NAME", "the lab of this name, whatever file lies here"                     \
    }

struct cmd {
    const char *name;               /* "status", "lab kill": words separated by one blank */
    const char *operands;           /* "REGION|HOST", "[MODULE] -- CMD...", "" */
    const char *summary;            /* one line, imperative, no full stop */
    const char *text;               /* man page prose, paragraphs separated by blank lines */
    const struct cmd_opt *opts;     /* ends with a NULL name; -h/--help is everybody's */
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
    bool json;       /* --json was given */
    bool terminal;   /* standard output is one */
    json_t *details; /* of an error that is a list: [{where, message, fix}], set before it */
};

extern const struct cmd *const cmd_table[]; /* ends with NULL */

int cmd_main(int argc, char **argv);

/* Options. The parsers leave *ret alone when the option is absent; a value that is none is
 * ERR_USAGE. */
const char *cmd_opt(const struct cmd_ctx *ctx, const char *name); /* NULL when absent */
bool cmd_flag(const struct cmd_ctx *ctx, const char *name);
MUST_CHECK int cmd_opt_duration(
    const struct cmd_ctx *ctx, const char *name, uint64_t *ret_ms, struct err *e);
MUST_CHECK int cmd_opt_number(
    const struct cmd_ctx *ctx, const char *name, int64_t *ret, struct err *e);
/* An operand that is a number; `what` names it in the error. */
MUST_CHECK int cmd_number(const char *word, const char *what, int64_t *ret, struct err *e);

/* The declaration that this command is about: -f FILE, else $MCP_FILE, else ./platform.yaml. */
const char *cmd_platform_file(const struct cmd_ctx *ctx);
char *cmd_platform_dir(const struct cmd_ctx *ctx); /* its folder; the caller's */
/* Reads and parses it. When it is wrong, every error of it goes to ctx->details. */
MUST_CHECK int cmd_load_model(struct cmd_ctx *ctx, struct model **ret, struct err *e);
/* The same, and every file that it names as a digest (service/files); a missing one is an error of
 * the declaration. */
MUST_CHECK int cmd_load_resolved(
    struct cmd_ctx *ctx, struct model **ret, json_t **ret_files, struct err *e);
/* Connects to control: $MCP_SOCKET; else the lab on this machine that --platform or the declaration
 * names, through any host of it that lives (only `host` if not NULL); else this host's own
 * /run/mcp/mcp.sock, whose control reaches the other hosts itself; else the platform that `mcp
 * login` left a login for; else, if nothing was named, the only lab that runs here. $MCP_REMOTE
 * names a login before all of these but the socket. A named lab that does not run, with no socket
 * here either, is an error, never another platform. */
MUST_CHECK int cmd_connect(
    const struct cmd_ctx *ctx, const char *host, struct rpc_client **ret, struct err *e);

/* One question: connects as cmd_connect() does, takes `params` (may be NULL) in any case. */
MUST_CHECK int cmd_call(const struct cmd_ctx *ctx, const char *method, json_t *params,
    uint64_t timeout_ms, json_t **ret, struct err *e);

void cmd_print_json(const json_t *j);
/* For standard output: colours only on a terminal (never with $NO_COLOR or TERM=dumb), lines cut
 * only there. */
struct table_style cmd_style(const struct cmd_ctx *ctx);
