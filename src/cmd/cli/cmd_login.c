/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cli/cmd.h"

#include "base/rpc/rpc.h"
#include "base/str/str.h"
#include "cmd/cli/profile.h"
#include "service/enrol/prove.h"

#include <openssl/crypto.h>
#include <termios.h>
#include <unistd.h>

#define TOKEN_LINE_MAX 256

/* ---- the token: never an argument, for those can be seen by everybody ---- */

static bool silence(struct termios *old)
{
    if (!isatty(STDIN_FILENO) || tcgetattr(STDIN_FILENO, old) < 0)
        return false;
    struct termios quiet = *old;
    quiet.c_lflag &= ~(tcflag_t)ECHO;
    fputs("token: ", stderr);
    return tcsetattr(STDIN_FILENO, TCSAFLUSH, &quiet) == 0;
}

static int read_token(char out[TOKEN_LINE_MAX], struct err *e)
{
    struct termios old;
    bool silent = silence(&old);
    char *line = fgets(out, TOKEN_LINE_MAX, stdin);
    if (silent) {
        tcsetattr(STDIN_FILENO, TCSAFLUSH, &old);
        fputc('\n', stderr);
    }
    if (!line) {
        err_set(e, ERR_USAGE, "no token on standard input");
        err_fix(e, "an admin prints one: `mcp operator add NAME`; then `mcp login ADDRESS < file`");
        return ERR_USAGE;
    }
    out[strcspn(out, " \t\r\n")] = '\0';
    return 0;
}

/* ---- `mcp login` ---- */

static int log_in(
    const struct enrol_prover *at, const char *token, json_t **ret_answer, struct err *e)
{
    struct enrol_proven proven = {0};
    struct rpc_client *c = NULL;
    int r = enrol_prove(at, &proven, e);
    if (r < 0)
        return r;
    struct remote_peer peer = {.address = at->address,
        .platform = proven.platform,
        .root_pem = proven.root_pem,
        .token = token};
    r = remote_connect(&peer, &c, ret_answer, e);
    rpc_client_free(c);
    if (r >= 0)
        r = profile_save(&peer, json_opt_str(*ret_answer, "operator", "?"), e);
    enrol_proven_done(&proven);
    return r;
}

static int run_login(struct cmd_ctx *ctx, struct err *e)
{
    char token[TOKEN_LINE_MAX];
    _cleanup_json_ json_t *answer = NULL;
    struct enrol_prover at = {0};
    int r = 0;
    if (!ip_parse(ctx->operands[0], &at.address)) {
        err_set(e, ERR_USAGE, "'%s' is no address", ctx->operands[0]);
        err_fix(e, "the private address of a host of the platform");
        return ERR_USAGE;
    }
    if (r >= 0)
        r = read_token(token, e);
    if (r >= 0)
        r = token_parse(token, &at.token, e);
    if (r >= 0)
        r = log_in(&at, token, &answer, e);
    OPENSSL_cleanse(token, sizeof token);
    OPENSSL_cleanse(&at.token, sizeof at.token);
    if (r < 0)
        return r;
    if (ctx->json)
        cmd_print_json(answer);
    else
        printf("logged in to %s as %s, %s\n", json_opt_str(answer, "platform", "?"),
            json_opt_str(answer, "operator", "?"), json_opt_str(answer, "role", "?"));
    return 0;
}

const struct cmd cmd_login = {
    .name = "login",
    .operands = "ADDRESS",
    .summary = "Work on a platform from this machine",
    .text = "Reads the token that `mcp operator add` printed from standard input. The platform "
            "must show the root certificate that the token names before it hears the token. The "
            "login is kept in ~/.config/mcp (or $XDG_CONFIG_HOME/mcp), one file a platform, "
            "readable by you alone.\n\n"
            "Afterwards every command works from here that asks control: with -f FILE or "
            "--platform NAME, with neither if there is one login only, or with $MCP_REMOTE naming "
            "the platform.\n\n"
            "JSON: {operator, role, platform, host}.",
    .opts = (const struct cmd_opt[]){CMD_OPT_JSON, {0}},
    .min_operands = 1,
    .max_operands = 1,
    .run = run_login,
};

/* ---- `mcp logout` ---- */

static int run_logout(struct cmd_ctx *ctx, struct err *e)
{
    char only[64];
    const char *platform = ctx->n_operands ? ctx->operands[0] : NULL;
    if (!platform && !profile_only(only, sizeof only)) {
        err_set(e, ERR_USAGE, "there is no login here, or more than one");
        err_fix(e, "say which: mcp logout PLATFORM");
        return ERR_USAGE;
    }
    return profile_remove(platform ? platform : only, e);
}

const struct cmd cmd_logout = {
    .name = "logout",
    .operands = "[PLATFORM]",
    .summary = "Forget a login on this machine",
    .text = "The token itself stays good: `mcp operator rm` takes the right away everywhere.",
    .opts = (const struct cmd_opt[]){{0}},
    .max_operands = 1,
    .run = run_logout,
};
