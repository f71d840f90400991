/* SPDX-License-Identifier: Apache-2.0 */
/* Between service/steer and who it talks to: views to and from other controls, decisions to the dns
 * role, reports to the timeline, countries from the database. */
#include "role/control/priv.h"

#include "base/log/log.h"
#include "driver/mmdb/mmdb.h"

static void on_view(void *ctx, json_t *view)
{
    struct control *c = ctx;
    peers_broadcast(c->peers, "view", view);
}

static void on_health(void *ctx, json_t *health)
{
    struct control *c = ctx;
    struct rpc_conn *dns = control_link(c, "dns");
    if (dns)
        rpc_notify(dns, "health", json_incref(health));
    control_report_soon(c);
}

static void on_entry(void *ctx, const struct timeline_draft *d)
{
    struct control *c = ctx;
    log_info("steer", d->message, "subject=%s cause=\"%s\"", d->subject, d->cause);
    control_note_draft(c, d);
}

static bool on_country(void *ctx, const struct ip_addr *a, char ret[3])
{
    struct control *c = ctx;
    struct err e;
    struct mmdb *db;
    struct ip_prefix network;
    if (!c->model || mmdb_open(control_geo_path(c), &db, &e) < 0)
        return false;
    bool found = mmdb_country(db, a, ret, &network);
    mmdb_close(db);
    return found;
}

static const struct steer_service_handler handler = {
    .view = on_view, .health = on_health, .entry = on_entry, .country = on_country};

int control_steer_open(struct control *c, const char *region, struct err *e)
{
    _cleanup_free_ char *journal = xasprintf("%s/steer.json", c->role->state_dir);
    struct steer_service_options o = {.loop = &c->role->loop,
        .host = c->host,
        .region = region,
        .journal = journal,
        .ca_file = CONTROL_PKI "ca.pem",
        .lab = json_opt_bool(c->role->boot, "lab", false),
        .handler = &handler,
        .ctx = c};
    return steer_service_new(&o, &c->steer, e);
}

void control_hear_view(struct control *c, const char *host, const json_t *view)
{
    struct err e;
    if (c->model && steer_service_view(c->steer, host, view, &e) < 0)
        log_warn("steer", "view refused", "host=%s error=%s", host, e.message);
}

void control_tell_health(struct control *c, struct rpc_conn *dns)
{
    json_t *health = steer_service_health(c->steer);
    if (health)
        rpc_notify(dns, "health", health);
}
