/* SPDX-License-Identifier: Apache-2.0 */
/* The members of the state store: every control looks at the list now and then, so that its boot
 * record names those that are; one of them, the first by name that is heard, takes the steps
 * (domain/members) towards what the declaration says. Two that both believe to be the first do no
 * harm: etcd takes one change at a time and refuses what would cost the quorum. */
#include "role/control/priv.h"

#include "base/log/log.h"
#include "base/str/str.h"
#include "domain/members/members.h"
#include "service/enrol/records.h"

#define LOOK_MS 5000u
#define AGAIN_MS 1000u /* after a step, and while one is waited for */
#define CALL_MS 15000u

struct control_members {
    struct control *c;
    uv_timer_t timer;
    json_t *list; /* [{"id": hex, "peer_url", "started", "learner", "host"}] */
    char said[160];
    bool busy, closing;
    unsigned refs;
};

static void unref(struct control_members *m)
{
    if (--m->refs)
        return;
    json_decref(m->list);
    free(m);
}

static void hex(uint64_t id, char out[20])
{
    snprintf(out, 20, "%llx", (unsigned long long)id);
}

static uint64_t id_of(const json_t *row)
{
    return strtoull(json_opt_str(row, "id", "0"), NULL, 16);
}

/* ---- where the state store is */

static const char *host_of_url(const struct control *c, const char *peer_url)
{
    for (size_t i = 0; c->model && i < c->model->n_hosts; i++) {
        _cleanup_free_ char *url = enrol_peer_url(&c->model->hosts[i]);
        if (!strcmp(url, peer_url))
            return c->model->hosts[i].name;
    }
    return NULL;
}

/* "https://10.20.0.11:2379" of those that vote, as the boot record has it. */
static json_t *endpoints_of(const struct control_members *m)
{
    json_t *list = json_array();
    size_t i;
    json_t *row;
    json_array_foreach (m->list, i, row) {
        const char *url = json_opt_str(row, "peer_url", "");
        const char *colon = strrchr(url, ':');
        if (!json_opt_bool(row, "learner", false) && colon)
            json_array_append_new(list, json_sprintf("%.*s:2379", (int)(colon - url), url));
    }
    return list;
}

static bool has_all(const json_t *list, const json_t *of)
{
    size_t i, k;
    json_t *a, *b;
    json_array_foreach (of, i, a) {
        bool found = false;
        json_array_foreach (list, k, b)
            found |= json_equal(a, b);
        if (!found)
            return false;
    }
    return true;
}

/* The own one first: the nearest, and the one that lives as long as this host. */
static void use_endpoints(struct control *c, const json_t *list)
{
    const char *v[MEMBERS_HOSTS_MAX];
    char own[IP_TEXT_SIZE + 4];
    size_t n = 0, i;
    json_t *row;
    ip_format(&c->own_address, own);
    str_copy(own + strlen(own), 2, ":");
    for (int pass = 0; pass < 2; pass++)
        json_array_foreach (list, i, row)
            if (n < MEMBERS_HOSTS_MAX && (strstr(json_string_value(row), own) != NULL) == !pass)
                v[n++] = json_string_value(row);
    kv_etcd_set_endpoints(c->kv, v, n);
}

/* Members that come or go change it on every host. */
static void sync_endpoints(struct control_members *m)
{
    struct control *c = m->c;
    _cleanup_json_ json_t *wanted = endpoints_of(m);
    json_t *state = json_object_get(c->role->boot, "state");
    const json_t *have = json_object_get(state, "endpoints");
    if (!json_array_size(wanted) || !control_link(c, "agent") || (has_all(have, wanted) && has_all(wanted, have)))
        return;
    log_info("members", "the state store is elsewhere now", "members=%zu", json_array_size(wanted));
    json_object_set(state, "endpoints", wanted);
    use_endpoints(c, wanted);
    control_records_write(c, json_deep_copy(c->role->boot), NULL, NULL, NULL);
}

/* ---- the picture */

static const json_t *unit_of(const json_t *status, const char *host)
{
    size_t i;
    json_t *u;
    json_array_foreach (json_object_get(status, "units"), i, u)
        if (str_eq(json_opt_str(u, "host", NULL), host)
            && str_eq(json_opt_str(u, "module", NULL), "etcd"))
            return u;
    return NULL;
}

static bool is_up(const json_t *status, const char *host)
{
    size_t i;
    json_t *row;
    json_array_foreach (json_object_get(status, "hosts"), i, row)
        if (str_eq(json_opt_str(row, "name", NULL), host))
            return str_eq(json_opt_str(row, "state", NULL), "up");
    return false;
}

static const json_t *row_of(const struct control_members *m, const char *peer_url)
{
    size_t i;
    json_t *row;
    json_array_foreach (m->list, i, row)
        if (!strcmp(json_opt_str(row, "peer_url", ""), peer_url))
            return row;
    return NULL;
}

/* The register says which member the host runs, "none" since it joined with an empty disk; one of
 * the first hour says nothing. */
bool control_member_lost(const struct control *c, const char *host, const json_t *row)
{
    const char *told = json_opt_str(control_registry_host(c, host), "member", NULL);
    return row && told && strcmp(told, json_opt_str(row, "id", "")) != 0;
}

static bool is_declared(const struct model *m, const struct model_host *h)
{
    for (size_t i = 0; model_has_etcd(m) && i < m->n_members; i++)
        if (m->members[i] == h)
            return true;
    return false;
}

/* peer_url is heap: free_picture(). */
static size_t picture(struct control_members *m, struct members_host *v)
{
    struct control *c = m->c;
    _cleanup_json_ json_t *status = control_status(c);
    size_t n = 0;
    for (size_t i = 0; i < c->model->n_hosts && n < MEMBERS_HOSTS_MAX; i++) {
        const struct model_host *h = &c->model->hosts[i];
        char *url = enrol_peer_url(h);
        const json_t *row = row_of(m, url), *unit = unit_of(status, h->name);
        if (!row && !unit && !is_declared(c->model, h)) {
            free(url);
            continue;
        }
        v[n++] = (struct members_host){.name = h->name,
            .peer_url = url,
            .declared = is_declared(c->model, h),
            .joined = control_registry_host(c, h->name) != NULL,
            .heard = is_up(status, h->name),
            .fresh = control_member_lost(c, h->name, row),
            .running = str_eq(json_opt_str(unit, "state", NULL), "ready"),
            .has_unit = unit != NULL};
    }
    return n;
}

static void free_picture(struct members_host *v, size_t n)
{
    for (size_t i = 0; i < n; i++)
        free((char *)v[i].peer_url);
}

/* ---- the steps */

static void look_again(struct control_members *m, uint64_t after_ms);

static void note(struct control_members *m, const struct members_step *s, const char *act)
{
    char message[160];
    const char *who = s->host ? s->host->name : "a host that is not declared";
    snprintf(message, sizeof message, "%s: the state store's member %s", who, act);
    log_info("members", message, "why=\"%s\"", s->why);
    control_note(m->c, "state", who, message, s->why);
}

static void on_changed(
    void *ctx, const struct kv_member *members, size_t n, const struct err *e)
{
    struct control_members *m = ctx;
    m->busy = false;
    if (e && e->code != ERR_REFUSED && !m->closing) { /* refused: it has not caught up yet */
        log_warn("members", "a change of members failed", "error=%s", e->message);
        /* One that is about to go may no longer reach the leader: the own member is asked again. */
        use_endpoints(
            m->c, json_object_get(json_object_get(m->c->role->boot, "state"), "endpoints"));
    }
    if (!m->closing)
        look_again(m, AGAIN_MS);
    unref(m);
}

static void change(struct control_members *m, enum kv_member_change kind,
    const struct members_step *s)
{
    struct kv_member_op op = {
        .change = kind, .id = s->id, .peer_url = s->host ? s->host->peer_url : NULL};
    m->refs++;
    m->busy = true;
    kv_members(m->c->kv, &op, on_changed, m);
}

/* "hk1=https://…:2380,…" of all that are members now. */
static char *cluster_text(const struct control_members *m)
{
    struct str s = STR_INIT;
    size_t i;
    json_t *row;
    json_array_foreach (m->list, i, row)
        str_addf(&s, "%s%s=%s", i ? "," : "", json_opt_str(row, "host", json_opt_str(row, "id", "?")),
            json_opt_str(row, "peer_url", ""));
    return str_steal(&s);
}

static void on_told(void *ctx, json_t *result, bool more, const struct err *e)
{
    struct control_members *m = ctx;
    if (more)
        return;
    m->busy = false;
    if (e && !m->closing)
        log_warn("members", "a host did not start its member", "error=%s", e->message);
    if (!m->closing)
        look_again(m, AGAIN_MS);
    unref(m);
}

/* The host's control writes its boot units, its agent runs them. */
static void tell(struct control_members *m, const struct members_step *s, bool start)
{
    struct rpc_conn *to = peers_conn(m->c->peers, s->host->name);
    char id[20];
    hex(s->id, id);
    _cleanup_free_ char *cluster = cluster_text(m);
    if (!to)
        return;
    m->refs++;
    m->busy = true;
    rpc_call(to, "state.member",
        start ? json_pack("{s:s,s:s}", "cluster", cluster, "id", id) : json_object(), CALL_MS,
        on_told, m);
}

static void say_waiting(struct control_members *m, const struct members_step *s)
{
    if (!strcmp(m->said, s->why))
        return;
    str_copy(m->said, sizeof m->said, s->why);
    if (*s->why)
        control_note(m->c, "state", s->host ? s->host->name : m->c->host, s->why, "");
}

static void take_step(struct control_members *m, const struct members_step *s)
{
    switch (s->kind) {
    case MEMBERS_NOTHING:
        say_waiting(m, s);
        break;
    case MEMBERS_ADD:
        note(m, s, "is added, as a learner at first");
        change(m, KV_MEMBER_ADD, s);
        break;
    case MEMBERS_START:
        tell(m, s, true);
        break;
    case MEMBERS_PROMOTE:
        change(m, KV_MEMBER_PROMOTE, s);
        break;
    case MEMBERS_REMOVE:
        note(m, s, "is removed");
        change(m, KV_MEMBER_REMOVE, s);
        break;
    case MEMBERS_STOP:
        note(m, s, "is stopped");
        tell(m, s, false);
        break;
    }
}

/* The first that votes and is heard; hosts are sorted by name. */
static bool leads(const struct control_members *m, const struct members_host *v, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const json_t *row = row_of(m, v[i].peer_url);
        if (row && !json_opt_bool(row, "learner", false) && v[i].heard)
            return !strcmp(v[i].name, m->c->host);
    }
    return false;
}

static void step(struct control_members *m)
{
    struct members_host v[MEMBERS_HOSTS_MAX];
    struct members_actual actual[MEMBERS_HOSTS_MAX];
    struct members_step s;
    size_t n = picture(m, v), n_actual = 0, i;
    json_t *row;
    json_array_foreach (m->list, i, row)
        if (n_actual < MEMBERS_HOSTS_MAX)
            actual[n_actual++] = (struct members_actual){.id = id_of(row),
                .peer_url = json_opt_str(row, "peer_url", ""),
                .started = json_opt_bool(row, "started", false),
                .learner = json_opt_bool(row, "learner", false)};
    if (leads(m, v, n)) {
        members_next(&(struct members_input){v, n, actual, n_actual}, &s);
        take_step(m, &s);
    }
    free_picture(v, n);
}

static json_t *list_of(
    const struct control *c, const struct kv_member *members, size_t n)
{
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++) {
        char id[20];
        hex(members[i].id, id);
        json_array_append_new(list,
            json_pack("{s:s,s:s,s:b,s:b,s:s?}", "id", id, "peer_url", members[i].peer_url,
                "started", *members[i].name != '\0', "learner", members[i].learner, "host",
                host_of_url(c, members[i].peer_url)));
    }
    return list;
}

static void on_listed(
    void *ctx, const struct kv_member *members, size_t n, const struct err *e)
{
    struct control_members *m = ctx;
    m->busy = false;
    if (!m->closing && !e && n && m->c->model) {
        json_t *list = list_of(m->c, members, n);
        bool same = json_equal(list, m->list);
        json_decref(m->list);
        m->list = list;
        if (!same)
            control_pki_model(m->c); /* who may have what follows who is a member */
        if (!m->c->recovering) { /* its own pace, and no restart of control in between */
            sync_endpoints(m);
            step(m);
        }
    }
    if (!m->closing && !m->busy)
        look_again(m, json_array_size(m->list) ? LOOK_MS : AGAIN_MS);
    unref(m);
}

static void on_timer(uv_timer_t *t)
{
    struct control_members *m = CONTAINER_OF(t, struct control_members, timer);
    static const struct kv_member_op list = {.change = KV_MEMBER_LIST};
    if (m->busy)
        return;
    m->busy = true;
    m->refs++;
    kv_members(m->c->kv, &list, on_listed, m);
}

static void look_again(struct control_members *m, uint64_t after_ms)
{
    uv_timer_start(&m->timer, on_timer, after_ms, 0);
}

void control_members_start(struct control *c)
{
    struct control_members *m = xcalloc(1, sizeof *m);
    *m = (struct control_members){.c = c, .refs = 2, .list = json_array()};
    c->members = m;
    uv_timer_init(&c->role->loop, &m->timer);
    if (kv_has_members(c->kv))
        look_again(m, AGAIN_MS);
}

static void on_timer_closed(uv_handle_t *h)
{
    unref(CONTAINER_OF(h, struct control_members, timer));
}

void control_members_stop(struct control *c)
{
    struct control_members *m = c->members;
    if (!m)
        return;
    m->closing = true;
    uv_close((uv_handle_t *)&m->timer, on_timer_closed);
    unref(m);
}

const json_t *control_members_list(const struct control *c)
{
    return c->members ? c->members->list : NULL;
}

/* ---- told by the one who leads: run that member, or none */

struct taking {
    struct control *c;
    struct rpc_req *req;
    json_t *boot, *units;
};

static void on_taken(void *ctx, const struct err *e)
{
    struct taking *t = ctx;
    if (e) {
        rpc_reply_error(t->req, e);
    } else {
        json_object_set(t->c->role->boot, "state", json_object_get(t->boot, "state"));
        rpc_reply(t->req, NULL);
    }
    json_decref(t->boot);
    free(t);
}

/* Registered first: who leads must never take a member that has started for a lost one. */
static void on_registered(void *ctx, const json_t *doc, const struct err *e)
{
    struct taking *t = ctx;
    if (e) {
        rpc_reply_error(t->req, e);
        json_decref(t->boot);
        json_decref(t->units);
        free(t);
        return;
    }
    control_records_write(t->c, json_deep_copy(t->boot), t->units, on_taken, t);
}

static bool may_tell(const struct control *c, const char *host)
{
    size_t i;
    json_t *row;
    json_array_foreach (c->members->list, i, row)
        if (str_eq(json_opt_str(row, "host", NULL), host))
            return true;
    return false;
}

void control_member_told(
    struct control *c, const char *host, struct rpc_req *req, json_t *params)
{
    struct err e;
    const struct model_host *h = c->model ? model_find_host(c->model, c->host) : NULL;
    const char *cluster = json_opt_str(params, "cluster", NULL), *id = json_opt_str(params, "id", "");
    json_t *state = json_object_get(c->role->boot, "state");
    if (!h || !may_tell(c, host)) {
        err_set(&e, ERR_DENIED, "%s may not say what member runs here", host);
        rpc_reply_error(req, &e);
        return;
    }
    const char *runs = json_opt_str(json_object_get(state, "member"), "id", NULL);
    if (cluster && runs && !strcmp(runs, id)) {
        rpc_reply(req, NULL); /* as told before */
        return;
    }
    struct enrol_cluster cl = {.initial = cluster, .existing = true, .id = id};
    struct taking *t = xcalloc(1, sizeof *t);
    *t = (struct taking){.c = c, .req = req, .boot = json_deep_copy(c->role->boot)};
    t->units = cluster ? enrol_boot_units(c->model, h, &cl)
                       : json_pack("{s:i,s:[]}", "revision", 0, "units");
    json_object_set_new(json_object_get(t->boot, "state"), "member",
        cluster ? json_pack("{s:s,s:s}", "name", c->host, "id", id) : json_null());
    documents_merge(c->hosts, c->host,
        json_pack("{s:s}", "member", cluster ? id : "none"), on_registered, t);
}

/* ---- `mcp state status` */

struct asking {
    struct control *c;
    struct rpc_req *req;
    json_t *members;
};

static void on_store_status(void *ctx, const struct kv_status *s, const struct err *e)
{
    struct asking *a = ctx;
    struct control *c = a->c;
    json_t *j = json_pack("{s:s,s:s,s:b,s:s,s:O,s:I}", "platform", c->platform, "kind", c->kv_kind,
        "connected", !e && c->kv_connected, "reason", e ? e->message : c->kv_reason, "members",
        a->members ? a->members : c->members->list, "revision", (json_int_t)c->number);
    if (!e) {
        json_object_set_new(j, "size_bytes", json_integer(s->size_bytes));
        json_object_set_new(j, "store_revision", json_integer(s->revision));
        json_object_set_new(j, "has_leader", json_boolean(s->has_leader));
        json_object_set_new(j, "leads", json_boolean(s->leads)); /* the member asked: its own first */
        json_object_set_new(j, "full", json_boolean(s->quota_alarm));
    }
    json_object_set_new(j, "waits", json_string(c->members->said));
    rpc_reply(a->req, j);
    json_decref(a->members);
    free(a);
}

static void on_members_now(
    void *ctx, const struct kv_member *members, size_t n, const struct err *e)
{
    struct asking *a = ctx;
    if (!e)
        a->members = list_of(a->c, members, n);
    kv_status(a->c->kv, on_store_status, a); /* without an answer: those known */
}

void control_state_status(struct control *c, struct rpc_req *req, json_t *params)
{
    static const struct kv_member_op list = {.change = KV_MEMBER_LIST};
    struct asking *a = xcalloc(1, sizeof *a);
    *a = (struct asking){.c = c, .req = req};
    if (kv_has_members(c->kv))
        kv_members(c->kv, &list, on_members_now, a);
    else
        kv_status(c->kv, on_store_status, a);
}
