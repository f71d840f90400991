/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cli/cmd.h"

#include "base/rpc/rpc.h"
#include "base/str/str.h"
#include "domain/audit/audit.h"

#define TIMEOUT_MS 30000
#define LINES_DEFAULT 50

/* What this program computes itself, from all that is kept: control is not taken at its word. */
static int verify(const json_t *log, struct err *e)
{
    char last[DIGEST_SIZE];
    const json_t *head = json_object_get(log, "head"), *entries = json_object_get(log, "entries");
    int r = audit_verify(entries, json_opt_int(head, "first_seq", 1),
        json_opt_str(head, "first_previous", AUDIT_START), last, e);
    if (r >= 0 && !str_eq(last, json_opt_str(head, "hash", AUDIT_START)))
        r = err_set(e, ERR_INVALID, "the last entry is not the one that the chain ends with");
    if (r < 0) {
        err_wrap(e, "the audit log was tampered with");
        err_fix(e, "compare with a backup of the state store: `mcp state backup`");
    }
    return r;
}

static void print(const json_t *log, size_t lines)
{
    _cleanup_str_ struct str out = STR_INIT;
    const json_t *entries = json_object_get(log, "entries");
    size_t n = json_array_size(entries);
    for (size_t i = lines && n > lines ? n - lines : 0; i < n; i++) {
        const json_t *x = json_array_get(entries, i);
        const char *reason = json_opt_str(x, "reason", ""), *from = json_opt_str(x, "from", "");
        str_addf(&out, "%lld %s %s from %s at %s: %s %s %s%s%s\n",
            (long long)json_opt_int(x, "seq", 0), json_opt_str(x, "time", "?"),
            json_opt_str(x, "who", "?"), from, json_opt_str(x, "host", "?"),
            json_opt_str(x, "action", "?"), json_opt_str(x, "subject", ""),
            json_opt_str(x, "outcome", "?"), *reason ? ": " : "", reason);
    }
    fputs(str_cstr(&out), stdout);
}

static int run(struct cmd_ctx *ctx, struct err *e)
{
    struct rpc_client *c;
    _cleanup_json_ json_t *log = NULL;
    bool check = cmd_flag(ctx, "verify");
    int64_t lines = LINES_DEFAULT;
    int r = cmd_opt_number(ctx, "lines", &lines, e);
    if (r >= 0 && lines < 0)
        r = err_set(e, ERR_USAGE, "--lines is a number from 0 (all) on");
    if (r >= 0)
        r = cmd_connect(ctx, NULL, &c, e);
    if (r < 0)
        return r;
    r = rpc_client_call(c, "audit", json_pack("{s:I}", "lines", (json_int_t)(check ? 0 : lines)),
        TIMEOUT_MS, NULL, NULL, &log, e);
    rpc_client_free(c);
    if (r >= 0 && check)
        r = verify(log, e);
    if (r < 0)
        return r;
    if (check)
        json_object_set_new(log, "verified", json_true());
    if (ctx->json)
        cmd_print_json(log);
    else
        print(log, (size_t)lines);
    int64_t pending = json_opt_int(log, "pending", 0);
    if (!ctx->json && check)
        printf(
            "verified: %zu entries, unbroken\n", json_array_size(json_object_get(log, "entries")));
    if (!ctx->json && pending)
        printf("%lld more wait for the state store\n", (long long)pending);
    return 0;
}

const struct cmd cmd_audit = {
    .name = "audit",
    .operands = "",
    .summary = "Show who changed what",
    .text = "Every command that changes something is an entry before it happens: who, from where, "
            "which action, on what; a refused or failed one says so. The entries are a chain: each "
            "carries the hash of the one before, so that none can be changed, taken out or put in "
            "between unseen. The newest 4,000 are kept in the state store.\n\n"
            "--verify reads all of them and computes the chain again.\n\n"
            "JSON: {head: {seq, hash, first_seq, first_previous}, entries: [{seq, id, time, who, "
            "from, host, action, subject, outcome, reason, of, previous, hash}], pending}.",
    .opts = (const struct cmd_opt[]){{"lines", 'n', "N", "the newest N (default 50; 0: all)"},
        {"verify", 0, NULL, "check the whole chain"}, CMD_OPT_FILE, CMD_OPT_PLATFORM, CMD_OPT_JSON,
        {0}},
    .run = run,
};
