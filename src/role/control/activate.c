/* SPDX-License-Identifier: Apache-2.0 */
/* From the current revision to what this host's roles do. A revision that this version cannot read
 * leaves what runs untouched and raises an alarm. */
#include "role/control/databases.h"
#include "role/control/priv.h"

#include "base/file/file.h"
#include "base/log/log.h"
#include "base/str/str.h"
#include "domain/compile/compile.h"
#include "domain/route/route.h"
#include "domain/zone/zone.h"

#include <errno.h>
#include <fcntl.h>

#define RESOLV_CONF_MAX (64u * 1024)

static const struct model_host *own_host(const struct control *c)
{
    return c->model ? model_find_host(c->model, c->host) : NULL;
}

static void tell_agent(struct control *c, struct rpc_conn *to)
{
    struct err e;
    json_t *snapshot;
    const struct model_host *host = own_host(c);
    if (!host) { /* not in the declaration (any more): nothing runs here */
        rpc_notify(
            to, "units", json_pack("{s:I,s:[]}", "revision", (json_int_t)c->number, "units"));
        return;
    }
    /* Not decided, or not known, yet: what runs goes on. */
    bool known = !c->model->n_databases || control_databases_known(c);
    if (!control_placement(c) || !known)
        return;
    if (schedule_units(control_placement(c), c->host, &snapshot, &e) < 0) {
        str_copy(c->placement_alarm, sizeof c->placement_alarm, e.message);
        log_error("placement", "not usable", "error=%s", e.message);
        return;
    }
    control_databases_units(c, json_object_get(snapshot, "units"));
    rpc_notify(to, "units", snapshot);
    control_blobs_tell(c, to);
}

const char *control_geo_path(const struct control *c)
{
    const char *declared = c->model->routing.geo_database;
    return declared ? declared : json_opt_str(c->role->boot, "geo", "/usr/share/mcp/country.mmdb");
}

static void tell_dns(struct control *c, struct rpc_conn *to)
{
    int fd = open(control_geo_path(c), O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        snprintf(c->alarm, sizeof c->alarm,
            "no country database at %s (%s): every buyer gets the default regions; `make setup` fetches one, "
            "routing.geo.database names another",
            control_geo_path(c), strerror(errno));
        log_error(
            "dns", "no country database", "path=%s error=%s", control_geo_path(c), strerror(errno));
    }
    json_t *zone = zone_snapshot_from_model(
        c->model, (uint64_t)c->number, json_opt_bool(c->role->boot, "lab", false));
    if (fd >= 0)
        rpc_notify_fd(to, "zone", zone, fd);
    else
        rpc_notify(to, "zone", zone);
    control_tell_health(c, to);
}

/* Where names that are not ours are asked: as the boot record says, else as the host itself does,
 * but for the resolver's own address, which would be a circle. */
static json_t *upstreams(const struct control *c)
{
    json_t *declared = json_object_get(c->role->boot, "forward");
    if (json_is_array(declared))
        return json_incref(declared);
    const struct model_host *host = own_host(c);
    json_t *list = json_array();
    _cleanup_str_ struct str text = STR_INIT;
    if (!host || file_read("/etc/resolv.conf", RESOLV_CONF_MAX, &text, NULL) < 0)
        return list;
    char *rest = text.buf;
    for (char *line; (line = strsep(&rest, "\n"));) {
        char address[IP_TEXT_SIZE];
        struct ip_addr a;
        if (sscanf(line, "nameserver %63s", address) == 1 && ip_parse(address, &a)
            && !ip_prefix_contains(&host->bridge, &a))
            json_array_append_new(list, json_string(address));
    }
    return list;
}

static void tell_resolver(struct control *c, struct rpc_conn *to)
{
    _cleanup_json_ json_t *units = control_units_serving(c);
    json_t *names =
        control_mesh_is_here(c) ? control_mesh_names(c) : compile_names(c->model, units);
    json_object_set_new(names, "forward", upstreams(c));
    rpc_notify(to, "names", names);
}

static void tell_edge(struct control *c, struct rpc_conn *to)
{
    struct err e;
    const struct model_host *host = own_host(c);
    json_t *routes;
    if (!host || !file_exists(CONTROL_PKI "edge.pem")) /* told again when there is one */
        return;
    if (control_edge_routes(c, host, &routes, &e) < 0) {
        str_copy(c->alarm, sizeof c->alarm, e.message);
        log_error("edge", "no routes", "error=%s", e.message);
        return;
    }
    rpc_notify(to, "routes", routes);
    control_edge_tell(c);
}

void control_tell_role(struct control *c, const char *role)
{
    struct rpc_conn *to = control_link(c, role);
    if (!to || !c->model)
        return;
    if (!strcmp(role, "agent"))
        tell_agent(c, to);
    else if (!strcmp(role, "dns"))
        tell_dns(c, to);
    else if (!strcmp(role, "resolver"))
        tell_resolver(c, to);
    else if (!strcmp(role, "edge"))
        tell_edge(c, to);
    else if (!strcmp(role, "mesh"))
        control_mesh_tell(c);
    else if (!strcmp(role, "data"))
        control_databases_linked(c);
}

void control_tell_units(struct control *c)
{
    if (!c->model)
        return;
    control_tell_role(c, "resolver");
    control_mesh_tell(c);
    control_edge_tell(c);
}

void control_set_peers(struct control *c)
{
    if (!c->model)
        return;
    struct peers_target *targets = xcalloc(c->model->n_hosts, sizeof *targets);
    size_t n = 0;
    bool out = control_host_denied(c, c->host); /* then nobody answers us */
    for (size_t i = 0; i < c->model->n_hosts && !out; i++) {
        const struct model_host *h = &c->model->hosts[i];
        if (!control_host_denied(c, h->name))
            targets[n++] = (struct peers_target){h->name, h->addresses.v, h->addresses.n};
    }
    peers_set(c->peers, targets, n);
    free(targets);
}

void control_activate(struct control *c, const json_t *json)
{
    struct err e;
    struct revision *revision, *old = c->revision;
    int64_t number = json_opt_int(json, "revision", 0);
    if (revision_parse(json, &revision, &e) < 0) {
        snprintf(c->alarm, sizeof c->alarm, "revision %lld cannot be used by this version: %s",
            (long long)number, e.message);
        log_error("revision", "not usable", "revision=%lld error=%s", (long long)number, e.message);
        control_report_soon(c);
        return;
    }
    c->alarm[0] = '\0';
    c->revision = revision;
    c->model = revision->model;
    c->number = number;
    control_set_peers(c);
    control_records_sync(c);
    control_pki_model(c);
    control_secrets_model(c);
    if (steer_service_set_model(c->steer, c->model, revision->number, &e) < 0)
        str_copy(c->alarm, sizeof c->alarm, e.message);
    for (size_t i = 0; i < c->n_links; i++)
        control_tell_role(c, c->links[i].name);
    scheduler_poke(c->scheduler);
    control_databases_look(c);
    revision_free(old);
    control_keep_soon(c);
    log_info("revision", "active", "revision=%lld", (long long)number);
    char message[64];
    snprintf(message, sizeof message, "revision %lld is active", (long long)number);
    control_note(c, "revision", c->host, message, revision->by);
    control_report_soon(c);
}
