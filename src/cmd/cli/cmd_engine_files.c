/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cli/cmd.h"

#include "base/str/str.h"
#include "driver/mariadb/mariadb.h"

#include <sys/stat.h>
#include <unistd.h>

#define INPUT_MAX (1u << 20)

static int read_input(json_t **ret, struct err *e)
{
    _cleanup_str_ struct str text = STR_INIT;
    char buf[8192];
    for (ssize_t n; (n = read(STDIN_FILENO, buf, sizeof buf)) > 0 && text.len < INPUT_MAX;)
        str_add_mem(&text, buf, (size_t)n);
    return json_parse(str_cstr(&text), text.len, ret, e);
}

/* Failing is an answer like another: the agent that asks wants its code and fix, not our words. */
static int run(struct cmd_ctx *ctx, struct err *e)
{
    _cleanup_json_ json_t *in = NULL;
    struct err why = {0};
    int r = read_input(&in, e);
    if (r < 0)
        return r;
    umask(077);
    struct mariadb_files f = {.dir = json_opt_str(in, "dir", NULL),
        .templates = json_opt_str(in, "templates", NULL),
        .config = json_opt_str(in, "config", NULL),
        .ca = json_opt_str(in, "ca", NULL),
        .cert = json_opt_str(in, "cert", NULL),
        .key = json_opt_str(in, "key", NULL)};
    if (!f.dir || !f.templates || !f.config)
        return err_set(e, ERR_USAGE, "for the agent, which says what is to be done");
    r = mariadb_prepare(&f, &why);
    json_t *error = r < 0 ? json_from_err(&why) : json_null();
    _cleanup_json_ json_t *out = json_pack("{s:o}", "error", error);
    cmd_print_json(out);
    return 0;
}

const struct cmd cmd_engine_files = {
    .name = "engine-files",
    .operands = "",
    .summary = "Make the files of a database's server ready (started by the agent)",
    .hidden = true,
    .raw = true,
    .run = run,
};
