/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cli/cmd.h"

#include "base/rpc/rpc.h"
#include "base/str/str.h"
#include "cmd/cli/priv.h"

#define CALL_MS 120000u

/* What came, host by host. */
struct gathered {
    json_t *names; /* {"current": {key: digest}, "previous": {...}} */
    json_t *hosts; /* [{"host", ...}] */
};

static int on_part(void *ctx, json_t *part)
{
    struct gathered *g = ctx;
    if (json_object_get(part, "host"))
        json_array_append(g->hosts, part);
    else
        json_object_update(g->names, part);
    return 0;
}

static int ask(struct cmd_ctx *ctx, const char *method, json_t *params, struct gathered *g,
    struct err *e)
{
    struct rpc_client *c = NULL;
    _cleanup_json_ json_t *owned = params, *answer = NULL;
    *g = (struct gathered){json_object(), json_array()};
    int r = cmd_connect(ctx, NULL, &c, e);
    if (r >= 0)
        r = rpc_client_call(c, method, json_incref(params), CALL_MS, on_part, g, &answer, e);
    rpc_client_free(c);
    return r;
}

static void forget(struct gathered *g)
{
    json_decref(g->names);
    json_decref(g->hosts);
}

static void size_text(char out[32], int64_t bytes)
{
    if (bytes < 10 << 20)
        snprintf(out, 32, "%.1f MiB", (double)bytes / (1 << 20));
    else
        snprintf(out, 32, "%lld MiB", (long long)(bytes >> 20));
}

/* ---- list */

static const json_t *image_of(const json_t *host, const char *digest)
{
    size_t i;
    json_t *one;
    json_array_foreach (json_object_get(host, "images"), i, one)
        if (!strcmp(json_opt_str(one, "digest", ""), digest))
            return one;
    return NULL;
}

/* Rows of one revision's files: {"name", "digest", "of", "bytes", "hosts": [], "partly": []}. */
static void add_rows(json_t *rows, const struct gathered *g, const char *of)
{
    const char *name;
    json_t *digest, *host, *known = json_object_get(g->names, "current");
    json_object_foreach (json_object_get(g->names, of), name, digest) {
        const char *text = json_string_value(digest);
        if (strcmp(of, "current") != 0 && json_equal(json_object_get(known, name), digest))
            continue;
        size_t i;
        int64_t bytes = 0;
        json_t *whole = json_array(), *partly = json_array();
        json_array_foreach (g->hosts, i, host) {
            const json_t *one = image_of(host, text);
            bytes = MAX(bytes, json_opt_int(one, "bytes", 0));
            json_t *list = json_opt_bool(one, "whole", false)   ? whole
                           : json_opt_int(one, "have", 0) > 0 ? partly
                                                                : NULL;
            if (list)
                json_array_append(list, json_object_get(host, "host"));
        }
        json_array_append_new(rows,
            json_pack("{s:s,s:s,s:s,s:I,s:o,s:o}", "name", name, "digest", text, "revision", of,
                "bytes", (json_int_t)bytes, "hosts", whole, "partly", partly));
    }
}

static void join(struct str *out, const json_t *list, const char *suffix)
{
    size_t i;
    json_t *one;
    json_array_foreach ((json_t *)list, i, one)
        str_addf(out, "%s%s%s", out->len ? " " : "", json_string_value(one), suffix);
}

static void print_images(const struct cmd_ctx *ctx, const json_t *rows)
{
    static const char *const heads[] = {"IMAGE OR FILE", "DIGEST", "REVISION", "SIZE", "ON", NULL};
    struct table t;
    struct table_style style = cmd_style(ctx);
    _cleanup_str_ struct str out = STR_INIT;
    size_t i;
    json_t *row;
    table_init(&t, heads);
    json_array_foreach ((json_t *)rows, i, row) {
        char size[32];
        _cleanup_str_ struct str on = STR_INIT;
        size_text(size, json_opt_int(row, "bytes", 0));
        join(&on, json_object_get(row, "hosts"), "");
        join(&on, json_object_get(row, "partly"), " (partly)");
        table_cell(&t, TABLE_PLAIN, "%s", json_opt_str(row, "name", ""));
        table_cell(&t, TABLE_DIM, "%.19s", json_opt_str(row, "digest", ""));
        table_cell(&t, TABLE_PLAIN, "%s", json_opt_str(row, "revision", ""));
        table_cell(&t, TABLE_PLAIN, "%s", size);
        table_cell(&t, on.len ? TABLE_PLAIN : TABLE_BAD, "%s", on.len ? on.buf : "no host");
    }
    table_format(&t, &style, &out);
    table_done(&t);
    fputs(str_cstr(&out), stdout);
}

static void print_stores(const struct cmd_ctx *ctx, const json_t *hosts)
{
    static const char *const heads[] = {
        "HOST", "BLOBS", "SIZE", "LAYERS", "FILES", "UNFINISHED", "FREE", NULL};
    struct table t;
    struct table_style style = cmd_style(ctx);
    _cleanup_str_ struct str out = STR_INIT;
    size_t i;
    json_t *h;
    table_init(&t, heads);
    json_array_foreach ((json_t *)hosts, i, h) {
        char size[32], left[32];
        size_text(size, json_opt_int(json_object_get(h, "blobs"), "bytes", 0));
        size_text(left, json_opt_int(h, "free_bytes", 0));
        table_cell(&t, TABLE_PLAIN, "%s", json_opt_str(h, "host", ""));
        static const char *const counts[] = {"blobs", "layers", "files", "partials"};
        for (size_t k = 0; k < ARRAY_SIZE(counts); k++) {
            table_cell(&t, TABLE_PLAIN, "%lld",
                (long long)json_opt_int(json_object_get(h, counts[k]), "count", 0));
            if (k == 0)
                table_cell(&t, TABLE_PLAIN, "%s", size);
        }
        table_cell(&t, TABLE_PLAIN, "%s", left);
    }
    table_format(&t, &style, &out);
    table_done(&t);
    fputs(str_cstr(&out), stdout);
}

static json_t *host_params(struct cmd_ctx *ctx)
{
    const char *host = cmd_opt(ctx, "host");
    return host ? json_pack("{s:s}", "host", host) : json_object();
}

static int run_list(struct cmd_ctx *ctx, struct err *e)
{
    struct gathered g;
    int r = ask(ctx, "image.list", host_params(ctx), &g, e);
    if (r >= 0) {
        _cleanup_json_ json_t *rows = json_array();
        add_rows(rows, &g, "current");
        add_rows(rows, &g, "previous");
        if (ctx->json) {
            _cleanup_json_ json_t *j = json_pack("{s:O,s:O,s:I}", "images", rows, "hosts", g.hosts,
                "revision", (json_int_t)json_opt_int(g.names, "revision", 0));
            cmd_print_json(j);
        } else {
            print_images(ctx, rows);
            fputs("\n", stdout);
            print_stores(ctx, g.hosts);
        }
    }
    forget(&g);
    return r < 0 ? r : 0;
}

const struct cmd cmd_image_list = {
    .name = "image list",
    .operands = "",
    .summary = "Show the images and files of the platform, and which hosts have them",
    .text = "Those of the revision in force and of the one before, by digest, and the store of each "
            "host that answers. Members of the state store keep all of them, other hosts what they "
            "run. JSON: revision, images[] {name, digest, revision (current or previous), bytes, "
            "hosts[], partly[]}, hosts[] {host, images[], blobs, files, partials, layers {count, "
            "bytes}, free_bytes}.",
    .opts = (const struct cmd_opt[]){CMD_OPT_FILE, CMD_OPT_PLATFORM,
        {"host", 0, "HOST", "only what this one has"}, CMD_OPT_JSON, {0}},
    .run = run_list,
};

/* ---- gc */

static void print_removed(const json_t *hosts)
{
    size_t i;
    json_t *h;
    json_array_foreach ((json_t *)hosts, i, h) {
        char size[32];
        size_text(size, json_opt_int(h, "bytes", 0));
        printf("%s: %s%lld blobs, %lld layers, %lld files, %s\n", json_opt_str(h, "host", ""),
            json_opt_bool(h, "dry_run", false) ? "would remove " : "removed ",
            (long long)json_opt_int(h, "blobs", 0), (long long)json_opt_int(h, "layers", 0),
            (long long)(json_opt_int(h, "files", 0) + json_opt_int(h, "partials", 0)), size);
    }
}

static int run_gc(struct cmd_ctx *ctx, struct err *e)
{
    struct gathered g;
    uint64_t grace_ms = UINT64_MAX;
    int r = cmd_opt_duration(ctx, "grace", &grace_ms, e);
    if (r < 0)
        return r;
    json_t *params = host_params(ctx);
    json_object_set_new(params, "dry_run", json_boolean(cmd_flag(ctx, "dry-run")));
    if (grace_ms != UINT64_MAX)
        json_object_set_new(params, "grace_ms", json_integer((json_int_t)grace_ms));
    r = ask(ctx, "image.gc", params, &g, e);
    if (r >= 0 && ctx->json) {
        _cleanup_json_ json_t *j = json_pack("{s:O}", "hosts", g.hosts);
        cmd_print_json(j);
    } else if (r >= 0) {
        print_removed(g.hosts);
    }
    forget(&g);
    return r < 0 ? r : 0;
}

const struct cmd cmd_image_gc = {
    .name = "image gc",
    .operands = "",
    .summary = "Remove images and files that nothing needs",
    .text = "Kept are the images and files of the revision in force and of the one before, of "
            "every placement, of whatever runs or is on its way, and what came within the grace "
            "(15m unless --grace says otherwise). Hosts do it by themselves after each apply and "
            "daily; this does it now. JSON: hosts[] {host, blobs, layers, files, partials, bytes, "
            "dry_run}.",
    .opts = (const struct cmd_opt[]){CMD_OPT_FILE, CMD_OPT_PLATFORM,
        {"host", 0, "HOST", "only there"},
        {"grace", 0, "D", "keep what came since (default 15m; 0s: nothing for that)"},
        {"dry-run", 0, NULL, "show what would be removed, remove nothing"}, CMD_OPT_JSON, {0}},
    .run = run_gc,
};
