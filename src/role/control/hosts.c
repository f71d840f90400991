/* SPDX-License-Identifier: Apache-2.0 */
/* The hosts of the platform as operators see them: declared, joined, heard. A host that was removed
 * is in `denied/<name>` of the state store until a machine of that name joins again. */
#include "role/control/priv.h"

#include "base/clock/clock.h"
#include "base/log/log.h"
#include "base/str/str.h"

void control_hosts_start(struct control *c)
{
    _cleanup_free_ char *prefix = xasprintf("/mcp/%s/denied/", c->platform);
    c->denied = documents_new(&c->role->loop, c->kv, prefix, NULL, c);
}

void control_hosts_stop(struct control *c)
{
    documents_free(c->denied);
}

bool control_host_denied(const struct control *c, const char *host)
{
    return c->denied && documents_get(c->denied, host) != NULL;
}

static int drop(void *ctx, json_t *old, json_t **ret, struct err *e)
{
    *ret = NULL;
    return 0;
}

static void on_admitted(void *ctx, const json_t *doc, const struct err *e)
{
    if (e)
        log_warn("hosts", "a host that joined is still denied", "error=%s", e->message);
}

void control_admit(struct control *c, const char *host)
{
    if (control_host_denied(c, host))
        documents_edit(c->denied, host, drop, on_admitted, c);
}

/* "" of a host that neither is nor shall be one. */
static const char *member_state(const struct control *c, const struct model_host *h)
{
    bool declared = false;
    size_t i;
    json_t *row;
    for (i = 0; model_has_etcd(c->model) && i < c->model->n_members; i++)
        declared |= c->model->members[i] == h;
    json_array_foreach (control_members_list(c), i, row)
        if (str_eq(json_opt_str(row, "host", NULL), h->name))
            return json_opt_bool(row, "learner", false)    ? "learner"
                   : control_member_lost(c, h->name, row) ? "lost"
                   : declared                             ? "member"
                                                          : "leaving";
    return declared ? "missing" : "";
}

/* One line of `mcp host list`. */
static json_t *row_of(struct control *c, const struct model_host *h, const json_t *seen)
{
    const json_t *doc = control_registry_host(c, h->name);
    char address[IP_TEXT_SIZE];
    ip_format(&h->addresses.v[0], address);
    return json_pack("{s:s,s:s,s:s,s:b,s:b,s:b,s:I,s:s,s:s,s:b,s:b}", "host", h->name, "region",
        h->region->name, "address", address, "declared", 1, "joined", doc != NULL, "heard",
        !strcmp(json_opt_str(seen, "state", ""), "up"), "joined_ms",
        (json_int_t)json_opt_int(doc, "joined_ms", 0), "member", member_state(c, h), "version",
        json_opt_str(doc, "version", ""), "drained", json_opt_bool(doc, "drained", false), "denied",
        control_host_denied(c, h->name));
}

static const json_t *host_row(const json_t *status, const char *name)
{
    size_t i;
    json_t *row;
    json_array_foreach (json_object_get(status, "hosts"), i, row)
        if (!strcmp(json_opt_str(row, "name", ""), name))
            return row;
    return NULL;
}

void control_host_list(struct control *c, struct rpc_req *req, json_t *params)
{
    _cleanup_json_ json_t *status = control_status(c);
    json_t *rows = json_array(), *doc;
    const char *name;
    for (size_t i = 0; c->model && i < c->model->n_hosts; i++) {
        const struct model_host *h = &c->model->hosts[i];
        json_array_append_new(rows, row_of(c, h, host_row(status, h->name)));
    }
    json_object_foreach (documents_all(c->hosts), name, doc)
        if (!c->model || !model_find_host(c->model, name)) /* joined once, not declared any more */
            json_array_append_new(
                rows, json_pack("{s:s,s:b,s:b,s:b,s:I,s:s}", "host", name, "declared", 0, "joined",
                          1, "heard", 0, "joined_ms",
                          (json_int_t)json_opt_int(doc, "joined_ms", 0), "version",
                          json_opt_str(doc, "version", "")));
    rpc_reply(req, json_pack("{s:s,s:o}", "platform", c->platform, "hosts", rows));
}
