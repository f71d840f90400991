/* SPDX-License-Identifier: Apache-2.0 */
/* The pieces of the command line that have a test of their own. */
#pragma once

#include "cmd/cli/cmd.h"

#include <sys/types.h>

#define CMD_OPTS_MAX 32
#define CMD_WORDS_MAX 3 /* "lab kill" has two words; room for one more */

/* The entry whose name is the longest run of leading words; *ret_words is how many. NULL: none. */
const struct cmd *cmd_find(const struct cmd *const *table, int argc, char **argv, int *ret_words);
/* Is `word` the first word of several ("lab")? */
bool cmd_is_group(const struct cmd *const *table, const char *word);
/* No command begins like this: says so, with the nearest one. Returns ERR_USAGE. */
int cmd_unknown(const struct cmd *const *table, int argc, char **argv, struct err *e);
/* Options and operands into ctx, whose `values` and `operands` have room for them all. */
MUST_CHECK int cmd_parse(struct cmd_ctx *ctx, int argc, char **argv, bool *ret_help, struct err *e);
/* Before parsing succeeds: does a word in front of "--" ask for JSON? */
bool cmd_wants_json(int argc, char **argv);

void cmd_usage(const struct cmd *cmd, struct str *out);
/* All commands, or those of one group. */
void cmd_overview(const struct cmd *const *table, const char *group, struct str *out);
/* {"error": {...}}, with "details" when there are any (borrowed). */
json_t *cmd_error_json(const struct err *e, json_t *details);

/* SIGTERM and SIGINT come to this descriptor from now on: called before threads are made. `flags`: 0, SFD_NONBLOCK. */
MUST_CHECK int cmd_stop_open(int flags, struct err *e);

/* "ann@laptop": for the timeline and for who looks at revisions. */
char *cmd_who(void);

/* For commands with --watch and --json: what is asked, and its form for people. Asked anew each
 * second, over a connection of its own, so that another host is asked when that one dies. */
typedef int (*cmd_ask_fn)(const struct cmd_ctx *ctx, json_t **ret, struct err *e);
typedef void (*cmd_show_fn)(const struct cmd_ctx *ctx, const json_t *answer, struct str *out);
MUST_CHECK int cmd_look(
    const struct cmd_ctx *ctx, cmd_ask_fn ask, cmd_show_fn show, struct err *e);

extern const char cmd_init_template[]; /* what `mcp init` writes */
/* The words typed after `mcp`, the last one unfinished, to candidates: one a line, "word" or
 * "word\ttext"; ":files" asks the shell for paths. */
void cmd_complete(const struct cmd *const *table, int argc, char **argv, struct str *out);

/* A `status` answer as text. What a control of another version leaves out is shown as "-". */
void cmd_status_format(
    const json_t *status, int64_t now_wall_ms, const struct table_style *style, struct str *out);
/* "12s", "5m", "30h", "9d": what an operator compares at a glance. "-" when it is not known (0) or
 * ahead of us. */
#define CMD_AGE_SIZE 24
const char *cmd_age(int64_t since_wall_ms, int64_t now_wall_ms, char out[CMD_AGE_SIZE]);

/* What the lab keeps in its lab.json about a host. */
struct cmd_lab_host {
    char name[64];
    pid_t pid;           /* of its first process, as this machine counts; 0: none */
    uint64_t start_time; /* field 22 of /proc/PID/stat: a pid is used again, a pair is not */
};

/* Names the platform of a declaration without parsing the rest of it: this runs before every
 * command. "" when it has none. ERR_NOT_FOUND: no such file. */
void cmd_scan_text(const char *text, size_t len, char *ret, size_t size); /* NUL-terminated */
MUST_CHECK int cmd_scan_platform(const char *path, char *ret, size_t size, struct err *e);
/* The folder that pins a living process: its path stays the process's own even if the pid is used
 * again. */
MUST_CHECK int cmd_open_process(const struct cmd_lab_host *h, int *ret_fd, struct err *e);
