/* SPDX-License-Identifier: Apache-2.0 */
/* The register of hosts, `host/<name>` in the state store: {"format": 1, "seal_public": base64,
 * "version", "protocol": [min, max], "joined_ms", "drained": bool, ...}. Every control follows all of
 * it and keeps its own host's members true; members that it does not know are others' and stay. */
#include "role/control/priv.h"

#include "base/log/log.h"
#include "base/seal/seal.h"

#define FORMAT 1

const json_t *control_registry_host(const struct control *c, const char *host)
{
    return documents_get(c->hosts, host);
}

static json_t *own_members(const struct control *c)
{
    char public_half[SEAL_PUBLIC_TEXT_SIZE];
    seal_public_format(seal_public(c->seal_key), public_half);
    return json_pack("{s:i,s:s,s:s,s:[i,i]}", "format", FORMAT, "seal_public", public_half,
        "version", MCP_VERSION, "protocol", RPC_PROTOCOL_MIN, RPC_PROTOCOL_MAX);
}

static void on_merged(void *ctx, const json_t *doc, const struct err *e)
{
    if (e) /* the next listing tries again */
        log_warn("state", "this host could not be registered", "error=%s", e->message);
}

static bool holds(const json_t *doc, const json_t *members)
{
    const char *key;
    json_t *value;
    json_object_foreach ((json_t *)members, key, value)
        if (!json_equal(json_object_get(doc, key), value))
            return false;
    return true;
}

/* One that was removed does not put itself back; asked is the store, for a watch may be late. */
static void on_denied_read(
    void *ctx, const struct kv_pair *pairs, size_t n, int64_t revision, const struct err *e)
{
    struct control *c = ctx;
    if (!e && !n && c->hosts)
        documents_merge(c->hosts, c->host, own_members(c), on_merged, c);
}

/* After every listing: also when somebody has put an old state back. */
static void on_synced(void *ctx)
{
    struct control *c = ctx;
    _cleanup_json_ json_t *members = own_members(c);
    if (holds(control_registry_host(c, c->host), members))
        return;
    _cleanup_free_ char *denied = xasprintf("/mcp/%s/denied/%s", c->platform, c->host);
    kv_get(c->kv, denied, on_denied_read, c);
}

static void on_changed(void *ctx, const char *name, const json_t *doc)
{
    control_fleet_host_changed(ctx);
    control_secrets_look(ctx);
}

int control_registry_start(struct control *c, struct err *e)
{
    struct documents_handler h = {.changed = on_changed, .synced = on_synced};
    int r = seal_key_load(CONTROL_PKI "seal.key", &c->seal_key, e);
    if (r < 0)
        return err_wrap(e, "this host's sealing key");
    _cleanup_free_ char *prefix = xasprintf("/mcp/%s/host/", c->platform);
    c->hosts = documents_new(&c->role->loop, c->kv, prefix, &h, c);
    return 0;
}

void control_registry_stop(struct control *c)
{
    documents_free(c->hosts);
    c->hosts = NULL; /* what the store still owes finds nothing */
    seal_key_free(c->seal_key);
}
