/* SPDX-License-Identifier: Apache-2.0 */
/* What this host keeps for its next start follows the declaration: the peers in its boot record,
 * the roles that this version has for it, and where the state store is. Root's files: the agent
 * writes them, `mcp host` reads them again and restarts control if the kind of the state store has
 * changed. */
#include "role/control/priv.h"

#include "base/log/log.h"
#include "service/enrol/records.h"

#define WRITE_MS 10000u

struct writing {
    struct control *c;
    control_records_fn fn;
    void *ctx;
};

static void on_written(void *ctx, json_t *result, bool more, const struct err *e)
{
    struct writing *w = ctx;
    if (more)
        return;
    if (e)
        log_warn("records", "this host's records could not be written", "error=%s", e->message);
    if (w->fn)
        w->fn(w->ctx, e);
    free(w);
}

void control_records_write(
    struct control *c, json_t *boot, json_t *units, control_records_fn fn, void *ctx)
{
    struct rpc_conn *agent = control_link(c, "agent");
    json_t *params = json_object();
    if (boot)
        json_object_set_new(params, "boot", boot);
    if (units)
        json_object_set_new(params, "units", units);
    struct writing *w = xcalloc(1, sizeof *w);
    *w = (struct writing){c, fn, ctx};
    if (agent) {
        rpc_call(agent, "records", params, WRITE_MS, on_written, w);
        return;
    }
    struct err e;
    json_decref(params);
    err_set(&e, ERR_UNAVAILABLE, "the agent of this host is restarting");
    on_written(w, NULL, false, &e);
}

/* true: the record's KEY was another one. */
static bool follow(json_t *boot, const json_t *wanted, const char *key)
{
    json_t *now = json_object_get(wanted, key);
    bool same = json_equal(now, json_object_get(boot, key));
    if (!same)
        json_object_set(boot, key, now);
    return !same;
}

/* The peers of the declaration and the roles of this version (a host that joined under an older
 * one may lack some) over those of the record; the rest stays as it is. */
void control_records_sync(struct control *c)
{
    const struct model_host *h = c->model ? model_find_host(c->model, c->host) : NULL;
    /* Without agent: again when it is linked. Not declared (any more): the record stays until
     * somebody wipes the machine. */
    if (!h || !control_link(c, "agent"))
        return;
    _cleanup_json_ json_t *wanted = enrol_boot(c->model, h, NULL, false);
    json_t *boot = c->role->boot;
    bool peers = follow(boot, wanted, "peers"), roles = follow(boot, wanted, "roles");
    if (peers || roles)
        control_records_write(c, json_deep_copy(boot), NULL, NULL, NULL);
}
