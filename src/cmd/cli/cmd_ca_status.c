/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cli/cmd.h"

#include "base/rpc/rpc.h"
#include "base/str/str.h"

#define TIMEOUT_MS 10000

/* "11h", "29d": what is left of a life. */
static void left_text(int64_t not_after_ms, int64_t now_ms, char out[32])
{
    long long s = (long long)((not_after_ms - now_ms) / 1000);
    if (!not_after_ms)
        str_copy(out, 32, "");
    else if (s <= 0)
        str_copy(out, 32, "ended");
    else if (s < 120)
        snprintf(out, 32, "%llds", s);
    else if (s < 7200)
        snprintf(out, 32, "%lldm", s / 60);
    else if (s < 3 * 86400)
        snprintf(out, 32, "%lldh", s / 3600);
    else
        snprintf(out, 32, "%lldd", s / 86400);
}

static enum table_mark mark_of(const char *state)
{
    if (!strcmp(state, "expired") || !strcmp(state, "none"))
        return TABLE_BAD;
    return !strcmp(state, "late") || !strcmp(state, "early") ? TABLE_WARN : TABLE_GOOD;
}

static void show(const struct cmd_ctx *ctx, struct table *t)
{
    _cleanup_str_ struct str out = STR_INIT;
    struct table_style style = cmd_style(ctx);
    table_format(t, &style, &out);
    printf("%s\n", str_cstr(&out));
    table_done(t);
}

static void add_authorities(struct table *t, const json_t *list, const char *what, int64_t now_ms)
{
    size_t i;
    json_t *a;
    json_array_foreach (list, i, a) {
        char left[32];
        int64_t end = json_opt_int(a, "not_after_ms", 0);
        left_text(end, now_ms, left);
        table_cell(t, TABLE_PLAIN, "%s", what);
        table_cell(t, TABLE_PLAIN, "%s", json_opt_str(a, "of", ""));
        table_cell(t, TABLE_PLAIN, "%s", json_opt_str(a, "subject", ""));
        table_cell(t, end - now_ms < 14 * 86400000ll ? TABLE_BAD : TABLE_GOOD, "%s", left);
        table_cell(t, TABLE_DIM, "%.12s", json_opt_str(a, "id", ""));
    }
}

static void add_host(struct table *t, const json_t *h, int64_t now_ms)
{
    size_t i;
    json_t *l;
    bool holds = json_is_object(json_object_get(h, "holds"));
    if (!json_opt_bool(h, "heard", false)) {
        table_cell(t, TABLE_PLAIN, "%s", json_opt_str(h, "host", ""));
        table_cell(t, TABLE_BAD, "not heard");
        for (int k = 0; k < 4; k++)
            table_cell(t, TABLE_PLAIN, "%s", "");
    }
    json_array_foreach (json_object_get(h, "leaves"), i, l) {
        char left[32];
        const char *state = json_opt_str(l, "state", "");
        left_text(json_opt_int(l, "not_after_ms", 0), now_ms, left);
        table_cell(t, TABLE_PLAIN, "%s", json_opt_str(h, "host", ""));
        table_cell(t, TABLE_PLAIN, "%s", json_opt_str(l, "name", ""));
        table_cell(t, mark_of(state), "%s", state);
        table_cell(t, TABLE_PLAIN, "%s", left);
        table_cell(t, TABLE_PLAIN, "%s", holds ? "issues" : "");
        table_cell(t, TABLE_WARN, "%s", json_opt_str(l, "error", ""));
    }
}

static void print(const struct cmd_ctx *ctx, const json_t *status)
{
    static const char *const tops[] = {"AUTHORITY", "OF", "NAME", "LEFT", "ID", NULL};
    static const char *const heads[] = {
        "HOST", "CERTIFICATE", "STATE", "LEFT", "KEYS", "REASON", NULL};
    int64_t now_ms = json_opt_int(status, "now_ms", 0);
    const json_t *rotation = json_object_get(status, "rotation"),
                 *gate = json_object_get(status, "gate");
    struct table t;
    size_t i;
    json_t *h;
    table_init(&t, tops);
    add_authorities(&t, json_object_get(status, "roots"), "root", now_ms);
    add_authorities(&t, json_object_get(status, "intermediates"), "intermediate", now_ms);
    show(ctx, &t);
    table_init(&t, heads);
    json_array_foreach (json_object_get(status, "hosts"), i, h)
        add_host(&t, h, now_ms);
    show(ctx, &t);
    if (json_is_object(rotation))
        printf("rotation of %s, phase %s: %s\n", json_opt_str(rotation, "kind", "?"),
            json_opt_str(rotation, "phase", "?"), json_opt_str(rotation, "waiting", ""));
    if (json_is_object(gate))
        printf("changes are refused: %s\n  fix: %s\n", json_opt_str(gate, "message", ""),
            json_opt_str(gate, "fix", ""));
}

static int run(struct cmd_ctx *ctx, struct err *e)
{
    _cleanup_json_ json_t *status = NULL;
    int r = cmd_call(ctx, "ca.status", NULL, TIMEOUT_MS, &status, e);
    if (r < 0)
        return r;
    if (ctx->json)
        cmd_print_json(status);
    else
        print(ctx, status);
    return 0;
}

const struct cmd cmd_ca_status = {
    .name = "ca status",
    .operands = "",
    .summary = "Show roots, intermediates and every host's certificates",
    .text = "Hosts prove to each other who they are with certificates that live for hours and are "
            "renewed by themselves around the middle of their life. They are issued by an "
            "intermediate, whose key only the state store's members hold, sealed to each; the "
            "root's key is needed for nothing but new intermediates and lies offline. The state "
            "store has a root and an intermediate of its own.\n\n"
            "A certificate that is late has less than a quarter of its life left, because renewing "
            "it has failed; the reason stands beside it.\n\n"
            "JSON: {platform, known (false: the host that answers has just begun and has not heard "
            "the state store), now_ms, roots: [{of, id, subject, not_after_ms}], intermediates, "
            "hosts: [{host, heard, holder, holds, leaves: [{name, kind, state, issued_ms, "
            "not_after_ms, renewed_ms, issuer, error}]}], rotation, last, gate}.",
    .opts = (const struct cmd_opt[]){CMD_OPT_FILE, CMD_OPT_PLATFORM, CMD_OPT_JSON, {0}},
    .run = run,
};
