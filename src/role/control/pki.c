/* SPDX-License-Identifier: Apache-2.0 */
/* This host's certificates, and others' when it holds the issuing keys. What a host may get is
 * decided by domain/capolicy on the model of the current revision; who holds no keys asks one of the
 * state store's members for each of its leaves. A holder renews its own before it dials anybody, so
 * that a platform that was off for longer than its leaves live comes back by itself. */
#include "role/control/pki.h"

#include "base/arena/arena.h"
#include "base/clock/clock.h"
#include "base/file/file.h"
#include "base/log/log.h"
#include "base/str/str.h"
#include "domain/spec/boot.h"
#include "role/control/ca.h"
#include "role/control/databases.h"
#include "role/control/renew.h"

#define ISSUE_TIMEOUT_MS 10000u
#define MODULE_PREFIX "module-" /* of the names of modules' leaves */

/* ---- who may get what */

/* The boot record as a host of a model. */
static void remember_self(struct control_pki *p, const struct boot *boot)
{
    p->arena = arena_new(0);
    struct ip_addr *own = arena_alloc(p->arena, (boot->addresses.n + 1) * sizeof *own);
    struct ip_addr *public = arena_alloc(p->arena, (boot->public.n + 1) * sizeof *public);
    memcpy(own, boot->addresses.v, boot->addresses.n * sizeof *own);
    if (boot->public.n)
        memcpy(public, boot->public.v, boot->public.n * sizeof *public);
    p->self_region = (struct model_region){
        .name = arena_strdup(p->arena, boot->region), .addresses = {public, boot->public.n}};
    p->self = (struct model_host){.name = arena_strdup(p->arena, boot->host),
        .region = &p->self_region,
        .addresses = {own, boot->addresses.n},
        .is_public = boot->public.n > 0};
    p->is_member = boot->member != NULL;
    p->has_etcd = boot->state == BOOT_ETCD;
}

static struct capolicy_facts facts_of(const struct control *c)
{
    return (struct capolicy_facts){.platform = c->platform,
        .model = c->model,
        .placements = c->placements,
        .self = &c->pki->self,
        .self_is_member = c->pki->is_member,
        .members = control_members_list(c)};
}

int64_t control_leaf_life(const struct control *c)
{
    int64_t s = json_opt_int(c->role->boot, "leaf_s", PKI_LEAF_S);
    return s > 0 ? s : PKI_LEAF_S;
}

const struct pki_authority *control_authority(const struct control *c)
{
    return c->pki->authority;
}

void control_want_leaf(struct control *c, const char *name, enum leaf_kind kind, const char *module)
{
    struct err e;
    _cleanup_arena_ struct arena *a = arena_new(0);
    struct capolicy_leaf leaf;
    struct capolicy_facts facts = facts_of(c);
    /* What we may not have is asked for all the same when others may know more than we do. */
    bool known = capolicy_leaf(&facts, c->host, kind, module, a, &leaf, &e) >= 0;
    struct leaf_request req = {.kind = kind, .module = module, .expect = known ? &leaf : NULL};
    if (certs_want(c->pki->certs, name, &req, &e) < 0)
        log_error("pki", "certificate not wanted", "name=%s error=%s", name, e.message);
}

void control_unwant_leaf(struct control *c, const char *name)
{
    certs_unwant(c->pki->certs, name);
}

/* ---- issuing */

int control_issue_leaf(
    struct control *c, const char *host, const json_t *request, json_t **ret, struct err *e)
{
    struct capolicy_facts facts = facts_of(c);
    struct certs_issuer issuer = {
        .authority = c->pki->authority, .facts = &facts, .life_s = control_leaf_life(c)};
    if (!control_ca_may_issue(c))
        return err_set(
            e, ERR_UNAVAILABLE, "host %s does not hold the intermediate in force", c->host);
    return certs_issue(&issuer, host, request, clock_wall_ms(), ret, e);
}

/* Once there is a register, who is not in it was removed. */
static int check_registered(const struct control *c, const char *host, struct err *e)
{
    bool removed = documents_synced(c->hosts) && json_object_size(documents_all(c->hosts))
                   && !control_registry_host(c, host);
    if (!removed && !control_host_denied(c, host))
        return 0;
    return err_set(e, ERR_DENIED, "host %s was removed from the platform", host);
}

void control_issue(struct control *c, const char *host, struct rpc_req *req, json_t *params)
{
    struct err e;
    json_t *answer = NULL;
    int r = check_registered(c, host, &e);
    if (r < 0 || control_issue_leaf(c, host, params, &answer, &e) < 0) {
        log_warn("pki", "certificate not issued", "host=%s kind=%s error=%s", host,
            json_opt_str(params, "kind", "?"), e.message);
        rpc_reply_error(req, &e);
        return;
    }
    rpc_reply(req, answer);
}

/* A host that has just joined trusts nothing of that kind yet: the peer that issues has proven
 * itself by its own certificate. */
static void first_bundle(const char *name, const json_t *answer)
{
    const char *path = !strcmp(name, "state") ? CONTROL_PKI "state-ca.pem" : CONTROL_PKI "ca.pem";
    const char *root = json_opt_str(answer, "root", NULL);
    struct err e;
    if (root && !file_exists(path) && file_write_durable(path, root, strlen(root), 0644, &e) < 0)
        log_error("pki", "bundle not written", "path=%s error=%s", path, e.message);
}

void control_pki_take_answer(
    struct control *c, const char *name, const json_t *answer, const struct err *error)
{
    struct err e;
    const char *chain = NULL;
    if (!error && json_get_str(answer, "chain", &chain, &e) < 0)
        error = &e;
    if (!error)
        first_bundle(name, answer);
    if (c->pki->certs)
        certs_answer(c->pki->certs, name, chain, error);
}

struct asked {
    struct control *c;
    char name[CERTS_NAME_MAX];
};

static void on_issued(void *ctx, json_t *result, bool more, const struct err *error)
{
    struct asked *a = ctx;
    if (more)
        return;
    control_pki_take_answer(a->c, a->name, result, error);
    free(a);
}

/* The next of the hosts that hold the keys and can be reached; before the first revision anybody
 * may. */
static struct rpc_conn *next_issuer(struct control *c)
{
    const struct model *m = c->model;
    size_t n = m ? m->n_hosts : c->pki->n_peers;
    for (size_t i = 0; i < n; i++) {
        size_t at = (c->pki->turn + i) % n;
        const char *host = m ? m->hosts[at].name : c->pki->peers[at];
        struct rpc_conn *conn = !m || capolicy_holds(m, host) ? peers_conn(c->peers, host) : NULL;
        if (!conn)
            continue;
        c->pki->turn = at + 1;
        return conn;
    }
    return NULL;
}

static void on_ask(void *ctx, const char *name, const json_t *request)
{
    struct control *c = ctx;
    struct err e;
    if (control_ca_may_issue(c)) {
        _cleanup_json_ json_t *answer = NULL;
        int r = control_issue_leaf(c, c->host, request, &answer, &e);
        control_pki_take_answer(c, name, answer, r < 0 ? &e : NULL);
        return;
    }
    struct rpc_conn *conn = c->peers ? next_issuer(c) : NULL;
    if (!conn && !certs_usable(c->pki->certs, "host") && control_renew_knock(c, name, request))
        return;
    if (!conn) {
        err_set(&e, ERR_UNAVAILABLE, "no host that issues certificates can be reached");
        certs_answer(c->pki->certs, name, NULL, &e);
        return;
    }
    struct asked *a = xcalloc(1, sizeof *a);
    a->c = c;
    str_copy(a->name, sizeof a->name, name);
    rpc_call(conn, "pki.issue", json_incref((json_t *)request), ISSUE_TIMEOUT_MS, on_issued, a);
}

/* ---- what is done with them */

static const struct tls_files host_files = {
    CONTROL_PKI "ca.pem", CONTROL_PKI "host.pem", CONTROL_PKI "host.key"};

void control_pki_reload(struct control *c)
{
    struct err e;
    if (c->peers && peers_set_tls(c->peers, &host_files, &e) < 0)
        log_error("pki", "the control mesh keeps its old certificate", "error=%s", e.message);
}

static void on_changed(void *ctx, const char *name)
{
    struct control *c = ctx;
    log_info("pki", "certificate renewed", "name=%s", name);
    if (!strcmp(name, "host"))
        control_pki_reload(c);
    else if (!strcmp(name, "edge"))
        control_tell_role(c, "edge");
    else if (!strcmp(name, "data"))
        control_databases_identity(c);
    else if (strcmp(name, "state") != 0) /* the state store's files are read when they are used */
        control_tell_role(c, "mesh");
    if (c->started)
        control_report_soon(c);
}

static bool runs_here(const struct control *c, const char *module)
{
    size_t i;
    json_t *u;
    json_array_foreach (c->units, i, u)
        if (str_eq(json_opt_str(u, "module", NULL), module))
            return true;
    return false;
}

static void on_failed(void *ctx, const char *name, bool first, const struct err *e)
{
    struct control *c = ctx;
    if (e->code == ERR_REFUSED && str_starts(name, MODULE_PREFIX)
        && !runs_here(c, name + strlen(MODULE_PREFIX))) {
        certs_unwant(c->pki->certs, name); /* its instances have moved to other hosts */
        return;
    }
    log_warn("pki", "certificate not renewed", "name=%s error=\"%s\"", name, e->message);
    if (!first || !c->started)
        return;
    char message[CERTS_NAME_MAX + 64];
    snprintf(message, sizeof message, "the certificate %s is not renewed yet", name);
    control_note(c, "certificate", c->host, message, e->message);
    control_report_soon(c);
}

/* ---- life */

static void load_authority(struct control *c)
{
    _cleanup_json_ json_t *doc = NULL;
    struct err e;
    if (!file_exists(CONTROL_PKI PKI_AUTHORITY_FILE))
        return;
    if (json_read_file(CONTROL_PKI PKI_AUTHORITY_FILE, PKI_AUTHORITY_BYTES_MAX, &doc, &e) < 0
        || pki_authority_unseal(doc, c->platform, c->host, c->pki->key, &c->pki->authority, &e) < 0)
        log_error("pki", "the issuing keys cannot be opened", "error=%s", e.message);
}

static void remember_peers(struct control_pki *p, const struct boot *boot)
{
    size_t n = 0;
    for (size_t i = 0; i < boot->n_peers; i++)
        n += boot->peers[i].addresses.n;
    struct ip_addr *all = arena_alloc(p->arena, (n + 1) * sizeof *all);
    for (size_t i = 0; i < boot->n_peers; i++)
        for (size_t k = 0; k < boot->peers[i].addresses.n; k++)
            all[p->n_peer_addresses++] = boot->peers[i].addresses.v[k];
    p->peer_addresses = all;
    p->peers = arena_alloc(p->arena, (boot->n_peers + 1) * sizeof *p->peers);
    for (size_t i = 0; i < boot->n_peers; i++)
        p->peers[p->n_peers++] = arena_strdup(p->arena, boot->peers[i].host);
}

static void want_own(struct control *c)
{
    bool is_public = c->model ? model_find_host(c->model, c->host)
                                    && model_find_host(c->model, c->host)->is_public
                              : false;
    control_want_leaf(c, "host", LEAF_HOST, NULL);
    if (c->pki->has_etcd)
        control_want_leaf(c, "state", LEAF_STATE, NULL);
    if (is_public) {
        control_want_leaf(c, "edge", LEAF_EDGE, NULL);
        control_want_leaf(c, "gateway", LEAF_GATEWAY, NULL);
    }
    if (c->model && capolicy_has_data(c->model, c->host))
        control_want_leaf(c, "data", LEAF_DATA, NULL);
    else if (!control_databases_here(c))
        control_unwant_leaf(c, "data");
}

/* A host that comes up with what others refuse says so, and serves what it can. */
static void say_what_ended(const struct control *c)
{
    _cleanup_json_ json_t *leaves = certs_report(c->pki->certs);
    size_t i;
    json_t *l;
    json_array_foreach (leaves, i, l)
        if (str_eq(json_opt_str(l, "state", NULL), "expired"))
            log_error("pki", "a certificate has ended: other hosts refuse it until it is renewed",
                "name=%s", json_opt_str(l, "name", ""));
    control_ca_say(c);
}

int control_pki_open(struct control *c, const struct boot *boot, struct err *e)
{
    static const struct certs_handler handler = {
        .ask = on_ask, .changed = on_changed, .failed = on_failed};
    struct control_pki *p = c->pki = xcalloc(1, sizeof *p);
    remember_self(p, boot);
    remember_peers(p, boot);
    int r = seal_key_load(CONTROL_PKI "seal.key", &p->key, e);
    if (r < 0)
        return err_wrap(e, "this host's sealing key");
    load_authority(c);
    p->certs = certs_new(
        &(struct certs_config){.loop = &c->role->loop, .dir = "/var/lib/mcp/pki"}, &handler, c);
    want_own(c);
    say_what_ended(c);
    return 0;
}

void control_pki_follow(struct control *c)
{
    control_ca_open(c);
}

void control_pki_model(struct control *c)
{
    want_own(c);
    control_ca_look(c);
}

void control_pki_peer_up(struct control *c)
{
    certs_retry(c->pki->certs);
}

void control_pki_close(struct control *c)
{
    struct control_pki *p = c->pki;
    if (!p)
        return;
    control_ca_close(c);
    certs_free(p->certs);
    p->certs = NULL;
    pki_authority_free(p->authority);
    p->authority = NULL;
    seal_key_free(p->key);
    p->key = NULL;
}

void control_pki_report(const struct control *c, json_t *report)
{
    json_t *leaves = certs_report(c->pki->certs), *alarms = json_object_get(report, "alarms"), *l;
    size_t i;
    json_array_foreach (leaves, i, l) {
        const char *state = json_opt_str(l, "state", ""), *error = json_opt_str(l, "error", "");
        if (strcmp(state, "late") != 0 && strcmp(state, "expired") != 0)
            continue;
        json_array_append_new(
            alarms, json_pack("{s:o}", "text",
                        json_sprintf("the certificate %s of %s %s; renewing fails: %s",
                            json_opt_str(l, "name", "?"), c->host,
                            !strcmp(state, "late") ? "ends soon" : "has ended",
                            *error ? error : "not tried yet")));
    }
    json_t *certs = json_pack("{s:o}", "leaves", leaves);
    control_ca_report(c, certs, alarms);
    json_object_set_new(report, "certs", certs);
}

void control_pki_metrics(const struct control *c, struct str *out)
{
    _cleanup_json_ json_t *leaves = certs_report(c->pki->certs);
    int64_t now_ms = clock_wall_ms();
    size_t i;
    json_t *l;
    str_add(out, "# HELP mcp_cert_expiry_seconds How long a certificate of this host is valid.\n"
                 "# TYPE mcp_cert_expiry_seconds gauge\n");
    json_array_foreach (leaves, i, l)
        str_addf(out, "mcp_cert_expiry_seconds{certificate=\"%s\"} %lld\n",
            json_opt_str(l, "name", ""),
            (long long)(json_opt_int(l, "not_after_ms", 0) - now_ms) / 1000);
    control_ca_metrics(c, now_ms, out);
}
