/* SPDX-License-Identifier: Apache-2.0 */
#include "role/control/drill.h"
#include "role/control/priv.h"

#include "role/control/admit.h"
#include "role/control/alarms.h"
#include "role/control/control.h"
#include "role/control/databases.h"
#include "role/control/lease.h"

#include "base/clock/clock.h"
#include "base/file/file.h"
#include "base/log/log.h"
#include "base/str/str.h"
#include "domain/spec/boot.h"
#include "driver/kv/kv.h"

#define REFUSED_NOTE_MS 10000u
#define STOP_TURN_MS 10u
#define STOP_TURNS 200u /* 2 s, and host waits 10 s */
#define STATE_SQLITE "/var/lib/mcp/control/state.sqlite"

static struct control *self(struct role *r)
{
    return r->ctx;
}

struct rpc_conn *control_link(struct control *c, const char *role)
{
    for (size_t i = 0; i < c->n_links; i++)
        if (!strcmp(c->links[i].name, role))
            return c->links[i].conn;
    return NULL;
}

/* ---- the state store */

static int open_etcd(struct control *c, const struct boot *boot, struct err *e)
{
    /* The own member first: the nearest, and the one that lives as long as this host. */
    const char *endpoints[BOOT_ENDPOINTS_MAX];
    size_t n = 0;
    char own[IP_TEXT_SIZE + 4];
    ip_format(&boot->addresses.v[0], own);
    str_copy(own + strlen(own), 2, ":");
    for (int pass = 0; pass < 2; pass++)
        for (size_t i = 0; i < boot->n_endpoints && n < BOOT_ENDPOINTS_MAX; i++)
            if ((strstr(boot->endpoints[i], own) != NULL) == (pass == 0))
                endpoints[n++] = boot->endpoints[i];
    struct kv_etcd_config config = {.endpoints = endpoints,
        .n_endpoints = n,
        .ca = CONTROL_PKI "state-ca.pem",
        .cert = CONTROL_PKI "state.pem",
        .key = CONTROL_PKI "state.key"};
    if (!file_exists(config.cert)) { /* a state store from before it had an authority of its own */
        config.ca = CONTROL_PKI "ca.pem";
        config.cert = CONTROL_PKI "host.pem";
        config.key = CONTROL_PKI "host.key";
    }
    c->kv_kind = "etcd";
    return kv_etcd_open(&c->role->loop, &config, &c->kv, e);
}

static int open_store(struct control *c, const struct boot *boot, struct err *e)
{
    int r;
    if (boot->state == BOOT_ETCD) {
        r = open_etcd(c, boot, e);
    } else {
        c->kv_kind = "sqlite";
        r = kv_sqlite_open(&c->role->loop, STATE_SQLITE, &c->kv, e);
    }
    return r < 0 ? err_wrap(e, "state store") : 0;
}

static void on_revision(void *ctx, const json_t *revision)
{
    control_activate(ctx, revision);
}

static void on_store(void *ctx, bool connected, const struct err *e)
{
    struct control *c = ctx;
    c->kv_connected = connected;
    str_copy(c->kv_reason, sizeof c->kv_reason, e ? e->message : "");
    if (connected)
        log_info("state", "the state store answers", "%s", "");
    else
        log_warn("state", "the state store does not answer", "error=%s", c->kv_reason);
    control_note(c, "state", c->host,
        connected ? "the state store answers" : "the state store does not answer", c->kv_reason);
    if (connected)
        audit_kick(c->audit);
    if (connected)
        control_first(c);
    control_report_soon(c);
}

/* ---- the mesh */

static void on_peer_up(void *ctx, const char *host)
{
    struct control *c = ctx;
    log_info("mesh", "peer is linked", "host=%s", host);
    peers_send(c->peers, host, "report", control_own_report(c));
    control_pki_peer_up(c);
}

static void on_peer_down(void *ctx, const char *host, const struct err *e)
{
    struct control *c = ctx;
    log_warn("mesh", "peer is gone", "host=%s error=%s", host, e->message);
    control_mesh_tell(c);
    control_waiters_check(c);
}

/* Each reason once a while: who is refused tries again at once. */
static void on_peer_refused(void *ctx, const char *who, const struct err *e)
{
    struct control *c = ctx;
    uint64_t now = clock_boot_ms();
    if (now < c->refused_ms + REFUSED_NOTE_MS && !strcmp(e->message, c->refused))
        return;
    c->refused_ms = now;
    str_copy(c->refused, sizeof c->refused, e->message);
    log_warn("mesh", "link refused", "with=%s error=\"%s\"", who, e->message);
    char message[128];
    snprintf(message, sizeof message, "a link with %s was refused", who);
    control_note(c, "certificate", c->host, message, e->message);
}

static bool on_peer_knocks(void *ctx, const char *host)
{
    return !control_host_denied(ctx, host);
}

static void on_peer_notify(void *ctx, const char *host, const char *method, json_t *params)
{
    if (!strcmp(method, "report"))
        control_hear_report(ctx, host, params);
    else if (!strcmp(method, "view"))
        control_hear_view(ctx, host, params);
    else if (!strcmp(method, "beat"))
        control_hear_beat(ctx, host, params);
    else if (!strcmp(method, "data"))
        control_data_peer(ctx, host, params);
}

static void on_peer_call(
    void *ctx, const char *host, struct rpc_req *req, const char *method, json_t *params)
{
    control_answer_peer(ctx, host, req, method, params);
}

static size_t listens(const struct role *r, const char *name, int fds[ROLE_LISTEN_MAX])
{
    size_t n = 0;
    for (int fd; n < ROLE_LISTEN_MAX && (fd = role_listen_fd(r, name, n)) >= 0;)
        fds[n++] = fd;
    return n;
}

static int open_mesh(struct control *c, const struct boot *boot, struct err *e)
{
    int fds[ROLE_LISTEN_MAX];
    struct peers_config config = {.platform = boot->platform,
        .host = c->host,
        .source = boot->addresses.v[0],
        .tls = {CONTROL_PKI "ca.pem", CONTROL_PKI "host.pem", CONTROL_PKI "host.key"},
        .listen_fds = fds,
        .n_listen = listens(c->role, "peer", fds)};
    struct peers_handler handler = {.up = on_peer_up,
        .down = on_peer_down,
        .refused = on_peer_refused,
        .notify = on_peer_notify,
        .call = on_peer_call,
        .admits = on_peer_knocks};
    return peers_new(&c->role->loop, &config, &handler, c, &c->peers, e);
}

/* Links to the hosts that the boot record names, until a revision says more. */
static void set_boot_peers(struct control *c, const struct boot *boot)
{
    struct peers_target *targets = xcalloc(boot->n_peers, sizeof *targets);
    for (size_t i = 0; i < boot->n_peers; i++)
        targets[i] = (struct peers_target){
            boot->peers[i].host, boot->peers[i].addresses.v, boot->peers[i].addresses.n};
    peers_set(c->peers, targets, boot->n_peers);
    free(targets);
}

/* ---- this host's roles */

static void role_of_peer(struct rpc_conn *peer, char out[32])
{
    str_copy(out, 32, rpc_conn_peer_name(peer));
    out[strcspn(out, "@")] = '\0';
}

static void on_role_linked(struct role *r, struct rpc_conn *peer)
{
    struct control *c = self(r);
    if (c->n_links == ROLES_MAX)
        return;
    struct role_link *l = &c->links[c->n_links++];
    role_of_peer(peer, l->name);
    l->conn = peer;
    if (str_eq(l->name, "edge"))
        control_requests_linked(c);
    if (str_eq(l->name, "mesh"))
        control_mesh_linked(c);
    else
        control_tell_role(c, l->name);
    control_lease_linked(c, l->name);
    control_records_sync(c);
    control_recover_calm(c);
    control_report_soon(c);
}

static void on_role_unlinked(struct role *r, struct rpc_conn *peer)
{
    struct control *c = self(r);
    for (size_t i = 0; i < c->n_links; i++)
        if (c->links[i].conn == peer) {
            c->links[i] = c->links[--c->n_links];
            break;
        }
    control_report_soon(c);
}

static void on_units(struct control *c, json_t *params)
{
    json_t *units = json_object_get(params, "units");
    c->units_seq = json_opt_int(params, "seq", 0);
    if (!json_is_array(units) || json_equal(units, c->units)) {
        control_report_soon(c);
        return;
    }
    json_decref(c->units);
    c->units = json_incref(units);
    control_move_tidy(c);
    control_tell_units(c);
    control_report_soon(c);
    scheduler_poke(c->scheduler);
}

static void on_role_notify(
    struct role *r, struct rpc_conn *from, const char *method, json_t *params, int fd)
{
    struct control *c = self(r);
    char role[32];
    role_of_peer(from, role);
    if (fd >= 0)
        close(fd);
    if (!strcmp(method, "status") && !strcmp(role, "agent"))
        on_units(c, params);
    else if (!strcmp(method, "secrets.want") && !strcmp(role, "agent"))
        control_secrets_wanted(c, params);
    else if (!strcmp(method, "secrets.have") && !strcmp(role, "agent"))
        control_secrets_have(c, params);
    else if (!strcmp(method, "data") && !strcmp(role, "data"))
        control_data_heard(c, params);
    else if (!strcmp(method, "lease.dead") && !strcmp(role, "data"))
        control_lease_dead(c, params);
    else if (!strcmp(method, "requests") && !strcmp(role, "edge"))
        control_requests_heard(c, params);
    else if (!strcmp(method, "timeline"))
        control_note_json(c, role, params);
}

static void on_role_call(
    struct role *r, struct rpc_req *req, const char *method, json_t *params, int fd)
{
    struct err e;
    char role[32];
    struct rpc_conn *from = rpc_req_conn(req);
    if (from)
        role_of_peer(from, role);
    if (from && !strcmp(role, "agent") && !strcmp(method, "blob.pull")) {
        control_blobs_pull(self(r), req, params, fd);
        return;
    }
    if (from && !strcmp(role, "data") && !strcmp(method, "data.seed.fetch")) {
        control_seed_fetch(self(r), req, params, fd);
        return;
    }
    if (fd >= 0)
        close(fd);
    if (from && !strcmp(role, "agent") && !strcmp(method, "function.ask")) {
        control_function_ask(self(r), req, params);
        return;
    }
    if (from && !strcmp(role, "data") && !strcmp(method, "data.file")) {
        control_data_file(self(r), req, params);
        return;
    }
    if (from && !strcmp(role, "data") && !strcmp(method, "gate.shut")) {
        control_lease_shut(self(r), req, params);
        return;
    }
    if (from && !strcmp(role, "data") && !strcmp(method, "data.seed.source")) {
        control_seed_source(self(r), req, params);
        return;
    }
    err_set(&e, ERR_NOT_FOUND, "control answers no %s to roles", method);
    rpc_reply_error(req, &e);
}

/* The host process tells which roles run. */
static void on_host_message(struct role *r, const char *method, json_t *params)
{
    struct control *c = self(r);
    if (strcmp(method, "roles") != 0)
        return;
    control_note_roles(c, json_object_get(params, "roles"));
    json_decref(c->roles);
    c->roles = json_incref(json_object_get(params, "roles"));
    json_decref(c->binary);
    c->binary = json_incref(json_object_get(params, "binary"));
    control_report_soon(c);
}

/* ---- life */

static int start(struct control *c, const struct boot *boot, struct err *e)
{
    int fds[ROLE_LISTEN_MAX];
    control_mesh_open(c, boot);
    int r = control_pki_open(c, boot, e);
    if (r >= 0)
        r = open_store(c, boot, e);
    if (r >= 0)
        r = control_registry_start(c, e);
    if (r >= 0)
        control_pki_follow(c);
    if (r >= 0)
        r = control_timeline_open(c, boot->region, e);
    if (r >= 0)
        r = control_access_start(c, e);
    if (r >= 0)
        r = control_remote_start(c, e);
    if (r >= 0)
        r = open_mesh(c, boot, e);
    if (r >= 0)
        r = control_blobs_start(c, boot, e);
    if (r >= 0)
        r = control_steer_open(c, boot->region, e);
    if (r >= 0)
        r = scrape_new(&c->role->loop, fds, listens(c->role, "metrics", fds), &boot->bridge, control_scrape, c,
            &c->scrape, e);
    if (r >= 0)
        r = control_enrol_start(c, fds, listens(c->role, "enrol", fds), e);
    if (r >= 0 && role_listen_fd(c->role, "cli", 0) >= 0)
        r = control_cli_start(c, role_listen_fd(c->role, "cli", 0), e);
    if (r < 0)
        return r;
    set_boot_peers(c, boot);
    control_hosts_start(c);
    control_away_start(c);
    control_functions_start(c);
    control_members_start(c);
    control_upgrade_open(c);
    control_switchover_open(c);
    control_sync_open(c);
    control_admit_open(c);
    control_lease_open(c);
    control_alarms_start(c);
    control_drill_open(c);
    control_after_start(c);
    control_failover_open(c);
    control_report_start(c);
    control_credentials_start(c);
    control_secrets_start(c);
    control_databases_start(c);
    control_world_start(c);
    c->started = true;
    control_maintain_start(c);
    control_keep_start(c);
    _cleanup_free_ char *cache = xasprintf("%s/revision.json", c->role->state_dir);
    struct revisions_config config = {.kv = c->kv, .platform = c->platform, .cache_path = cache};
    struct revisions_handler handler = {.changed = on_revision, .connected = on_store};
    r = control_fleet_start(c, e);
    return r < 0 ? r : revisions_new(&c->role->loop, &config, &handler, c, &c->revisions, e);
}

static int control_init(struct role *r, struct err *e)
{
    struct boot *boot;
    struct control *c = xcalloc(1, sizeof *c);
    c->role = r;
    c->host = r->host;
    r->ctx = c;
    uv_timer_init(&r->loop, &c->stop_timer);
    int code = boot_parse(r->boot, &boot, e);
    if (code < 0)
        return err_wrap(e, "boot record");
    str_copy(c->platform, sizeof c->platform, boot->platform);
    c->own_address = boot->addresses.v[0];
    code = start(c, boot, e);
    boot_free(boot);
    return code;
}

/* What makes host stop us is often our own doing, and the answer to it is on its way. */
static void on_stop_timer(uv_timer_t *t)
{
    struct control *c = CONTAINER_OF(t, struct control, stop_timer);
    if (!c->recovering || --c->stop_turns == 0)
        role_stopped(c->role);
}

static void control_stop(struct role *r)
{
    struct control *c = self(r);
    c->stop_turns = STOP_TURNS;
    uv_timer_start(&c->stop_timer, on_stop_timer, STOP_TURN_MS, STOP_TURN_MS);
}

static void control_done(struct role *r)
{
    struct control *c = self(r);
    if (!c)
        return;
    c->done = true;
    uv_close((uv_handle_t *)&c->stop_timer, NULL);
    control_report_stop(c);
    control_maintain_stop(c);
    control_keep_stop(c);
    control_cli_stop(c);
    control_fleet_stop(c);
    scrape_free(c->scrape);
    control_enrol_stop(c);
    json_decref(c->first);
    control_members_stop(c);
    control_hosts_stop(c);
    control_away_stop(c);
    control_alarms_stop(c);
    control_after_stop(c);
    control_failover_close(c);
    control_drill_close(c);
    control_functions_stop(c);
    control_switchover_close(c);
    control_sync_close(c);
    control_admit_close(c);
    control_lease_close(c);
    control_upgrade_close(c);
    control_secrets_stop(c);
    control_credentials_stop(c);
    control_world_stop(c);
    control_databases_stop(c);
    control_registry_stop(c);
    control_pki_close(c);
    control_mesh_close(c);
    revisions_free(c->revisions);
    control_remote_stop(c);
    control_access_stop(c);
    steer_service_free(c->steer);
    control_blobs_stop(c);
    peers_free(c->peers);
    kv_close(c->kv);
    timeline_close(c->timeline);
}

const struct role_def role_control = {
    .name = "control",
    .profile = SANDBOX_CONTROL,
    .init = control_init,
    .peer_linked = on_role_linked,
    .peer_unlinked = on_role_unlinked,
    .notify = on_role_notify,
    .call = on_role_call,
    .on_host_message = on_host_message,
    .stop = control_stop,
    .done = control_done,
};
