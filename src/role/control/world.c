/* SPDX-License-Identifier: Apache-2.0 */
/* What this host's data role is told of the others, while it has databases: how far their clocks
 * are off, by which it knows how far a replica is behind, and how far each member of a database is,
 * so that nothing is thrown away that one of them still needs. */
#include "role/control/databases.h"
#include "role/control/priv.h"

#include "base/clock/clock.h"
#include "base/str/str.h"
#include "domain/replication/doc.h"

#define WORLD_MS 2000u

struct control_world {
    struct control *c;
    uv_timer_t timer;
};

static void add_clock(const struct control *c, const char *host, json_t *hosts)
{
    struct offset_sample s;
    if (strcmp(host, c->host) == 0 || !peers_clock(c->peers, host, &s))
        return;
    json_object_set_new(hosts, host,
        json_pack("{s:I,s:I,s:I}", "offset_us", (json_int_t)s.offset_us, "error_us",
            (json_int_t)s.error_us, "boot_ms", (json_int_t)s.boot_ms));
}

static json_t *position_json(const char *gtid, const json_t *report)
{
    int64_t backup_ms = json_opt_int(json_object_get(report, "backup"), "newest_ms", 0);
    return json_pack("{s:s,s:s,s:I,s:I}", "gtid", gtid, "vault_gtid",
        json_opt_str(json_object_get(report, "vault"), "gtid", ""), "max_connections",
        (json_int_t)json_opt_int(report, "max_connections", 0), "backup_ms", (json_int_t)backup_ms);
}

/* False: this host holds no copy. */
static bool add_database(
    const struct control *c, const char *name, json_t *hosts, json_t *positions)
{
    struct replication_doc d;
    struct err ignored;
    const json_t *doc = control_data_doc(c, name);
    if (!doc || replication_doc_parse(doc, &d, &ignored) < 0 || !replication_doc_find(&d, c->host))
        return false;
    json_t *of = json_object();
    for (size_t i = 0; i < d.n_members; i++) {
        const json_t *report = control_data_report(c, d.members[i].host, name);
        const char *gtid = json_opt_str(report, "gtid", NULL);
        add_clock(c, d.members[i].host, hosts);
        if (gtid && strcmp(d.members[i].host, c->host) != 0)
            json_object_set_new(of, d.members[i].host, position_json(gtid, report));
    }
    json_object_set_new(positions, name, of);
    return true;
}

static void on_timer(uv_timer_t *t)
{
    struct control *c = ((struct control_world *)t->data)->c;
    struct rpc_conn *to = control_link(c, "data");
    bool any = false;
    if (!to || !c->model || !c->peers || !control_databases_known(c))
        return;
    json_t *hosts = json_object(), *positions = json_object();
    for (size_t i = 0; i < c->model->n_databases; i++)
        any |= add_database(c, c->model->databases[i].name, hosts, positions);
    json_t *world = json_pack("{s:o,s:o}", "hosts", hosts, "positions", positions);
    if (any)
        rpc_notify(to, "world", world);
    else
        json_decref(world);
}

void control_world_start(struct control *c)
{
    struct control_world *w = c->world = xcalloc(1, sizeof *w);
    w->c = c;
    uv_timer_init(&c->role->loop, &w->timer);
    w->timer.data = w;
    uv_timer_start(&w->timer, on_timer, WORLD_MS, WORLD_MS);
}

static void on_closed(uv_handle_t *h)
{
    free(h->data);
}

void control_world_stop(struct control *c)
{
    if (!c->world)
        return;
    uv_close((uv_handle_t *)&c->world->timer, on_closed);
    c->world = NULL;
}
