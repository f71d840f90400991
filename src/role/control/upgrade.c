/* SPDX-License-Identifier: Apache-2.0 */
/* `mcp upgrade`: the document upgrade/current, stepped by whoever leads (domain/upgrade), and what
 * a host's control does when its turn comes: fetch the binary by digest, hand it to `mcp host`.
 * Which protocol version the platform acts at is told here, too. */
#include "role/control/drill.h"
#include "role/control/priv.h"

#include "base/clock/clock.h"
#include "base/digest/digest.h"
#include "base/log/log.h"
#include "base/str/str.h"
#include "domain/upgrade/upgrade.h"

#define LOOK_MS 500u
#define CURRENT "current"
#define FETCH_MS 120000u /* the binary, from another host */
#define CALL_MS 150000u

struct control_upgrade {
    struct control *c;
    struct documents *docs;
    uv_timer_t timer;
    bool editing;
    struct upgrade_action action; /* of the step that is being written */
    char asking[64];              /* the host whose switch is on its way; "" */
    char noted[64][80];           /* host and state that the timeline has */
    size_t n_noted;
};

static void fail(struct rpc_req *req, int code, const char *message, const char *fix)
{
    struct err e;
    err_set(&e, code, "%s", message);
    err_fix(&e, "%s", fix);
    rpc_reply_error(req, &e);
}

static const json_t *current(const struct control *c)
{
    return c->upgrade ? documents_get(c->upgrade->docs, CURRENT) : NULL;
}

/* ---- what is known of the hosts ---- */

static size_t see(struct control *c, json_t *own, struct upgrade_host *v)
{
    size_t n = 0;
    for (size_t i = 0; c->model && i < c->model->n_hosts; i++) {
        const char *name = c->model->hosts[i].name;
        bool is_own = !strcmp(name, c->host);
        const struct host_report *r = is_own ? NULL : control_find_report(c, name);
        v[n++] = (struct upgrade_host){
            name, is_own || control_hears(c, name), is_own ? own : r ? r->report : NULL};
    }
    return n;
}

int control_protocol(struct control *c)
{
    int lowest = RPC_PROTOCOL_MAX;
    for (size_t i = 0; i < c->n_reports; i++) {
        const json_t *binary = json_object_get(c->reports[i].report, "binary");
        const json_t *max = json_array_get(json_object_get(binary, "protocol"), 1);
        if (c->reports[i].report && control_hears(c, c->reports[i].host))
            lowest = MIN(lowest, max ? (int)json_integer_value(max) : 1);
    }
    return lowest;
}

void control_upgrade_report(struct control *c, json_t *report)
{
    json_t *binary = c->binary ? json_deep_copy(c->binary)
                               : json_pack("{s:s,s:[i,i]}", "version", MCP_VERSION, "protocol",
                                     RPC_PROTOCOL_MIN, RPC_PROTOCOL_MAX);
    json_object_set_new(report, "binary", binary);
    int acts_at = control_protocol(c);
    if (acts_at >= 2) /* a member of protocol 2: older hosts are not told what they cannot know */
        json_object_set_new(report, "acts_at", json_integer(acts_at));
    const json_t *doc = current(c);
    if (str_eq(json_opt_str(doc, "state", ""), "failed") && scheduler_leads(c->scheduler))
        json_array_append_new(json_object_get(report, "alarms"),
            json_pack("{s:o}", "text",
                json_sprintf("the upgrade to %s stopped: %s", json_opt_str(doc, "version", "?"),
                    json_opt_str(doc, "reason", ""))));
}

bool control_upgrades(const struct control *c, const char *host)
{
    return upgrade_has_turn(current(c), host);
}

const char *control_upgrade_file(const struct control *c)
{
    const char *to = json_opt_str(current(c), "to", "");
    return upgrade_running(current(c)) && digest_valid(to) ? to : NULL;
}

/* ---- a host's turn, at that host ---- */

struct fetch {
    struct control *c;
    struct rpc_req *req;
    char digest[DIGEST_SIZE];
};

static void switch_now(struct control *c, struct rpc_req *req, const char *digest)
{
    struct err e;
    if (role_tell_host(c->role, "upgrade", json_pack("{s:s}", "digest", digest), &e) < 0)
        rpc_reply_error(req, &e);
    else
        rpc_reply(req, NULL);
}

static void on_fetched(void *ctx, json_t *result, bool more, const struct err *error)
{
    struct fetch *f = ctx;
    if (more)
        return;
    if (error)
        rpc_reply_error(f->req, error);
    else
        switch_now(f->c, f->req, f->digest);
    free(f);
}

/* Only what the state store says, and only while it says so. */
static bool is_wanted(const struct control *c, const char *digest)
{
    size_t i;
    json_t *entry;
    json_array_foreach (json_object_get(current(c), "hosts"), i, entry)
        if (str_eq(json_opt_str(entry, "name", ""), c->host)
            && str_eq(json_opt_str(entry, "to", ""), digest))
            return upgrade_running(current(c));
    return false;
}

static void do_switch(struct control *c, struct rpc_req *req, json_t *params)
{
    const char *digest = json_opt_str(params, "digest", "");
    struct rpc_conn *agent = control_link(c, "agent");
    if (!is_wanted(c, digest))
        fail(req, ERR_UNAVAILABLE, "the state store has no such upgrade for this host (yet)", "");
    else if (json_opt_bool(params, "kept", false)
             || str_eq(json_opt_str(c->binary, "digest", ""), digest))
        switch_now(c, req, digest);
    else if (!agent)
        fail(req, ERR_UNAVAILABLE, "the agent of that host is restarting", "");
    else {
        struct fetch *f = xcalloc(1, sizeof *f);
        *f = (struct fetch){.c = c, .req = req};
        str_copy(f->digest, sizeof f->digest, digest);
        rpc_call(agent, "blob.ensure", json_pack("{s:[],s:[s]}", "images", "files", digest),
            FETCH_MS, on_fetched, f);
    }
}

static void do_told(struct control *c, struct rpc_req *req, json_t *params)
{
    const char *what = json_opt_str(params, "what", "");
    struct err e;
    int r = str_eq(what, "confirm")
                ? role_tell_host(c->role, "upgrade.confirm",
                      json_pack("{s:s}", "digest", json_opt_str(params, "digest", "")), &e)
            : str_eq(what, "back")
                ? role_tell_host(c->role, "upgrade.back",
                      json_pack("{s:s}", "reason", json_opt_str(params, "reason", "")), &e)
                : err_set(&e, ERR_INVALID, "no such word");
    if (r < 0)
        rpc_reply_error(req, &e);
    else
        rpc_reply(req, NULL);
}

void control_upgrade_peer(
    struct control *c, const char *host, struct rpc_req *req, json_t *params)
{
    if (str_eq(json_opt_str(params, "what", ""), "switch"))
        do_switch(c, req, params);
    else
        do_told(c, req, params);
}

/* ---- the leader's acts ---- */

struct asked {
    struct control *c;
    struct upgrade_action action;
    bool is_own; /* only the binary was asked for */
};

static struct asked *asked_new(struct control *c, const struct upgrade_action *a)
{
    struct asked *asked = xcalloc(1, sizeof *asked);
    *asked = (struct asked){.c = c, .action = *a};
    if (a->act == UPGRADE_SWITCH)
        str_copy(c->upgrade->asking, sizeof c->upgrade->asking, a->host);
    return asked;
}

static void tell_own_host(struct control *c, const struct upgrade_action *a);

struct refusal {
    char host[64], reason[256];
};

static int edit_refused(void *ctx, json_t *old, json_t **ret, struct err *e)
{
    struct refusal *f = ctx;
    *ret = old ? upgrade_refused(old, f->host, f->reason, clock_wall_ms()) : NULL;
    return 0;
}

static void on_refused(void *ctx, const json_t *doc, const struct err *e)
{
    free(ctx);
}

static void on_asked(void *ctx, json_t *result, bool more, const struct err *error)
{
    struct asked *a = ctx;
    if (more)
        return;
    struct control_upgrade *u = a->c->upgrade;
    bool is_switch = a->action.act == UPGRADE_SWITCH;
    if (u && is_switch)
        *u->asking = '\0';
    if (error)
        log_info("upgrade", "host did not do it", "host=%s why=\"%s\"", a->action.host,
            error->message);
    else if (u && a->is_own)
        tell_own_host(a->c, &a->action);
    /* The connection of a host that is being replaced breaks: that says nothing. */
    if (error && u && is_switch && error->code != ERR_UNAVAILABLE && error->code != ERR_CANCELED
        && error->code != ERR_TIMEOUT) {
        struct refusal *f = xcalloc(1, sizeof *f);
        str_copy(f->host, sizeof f->host, a->action.host);
        str_copy(f->reason, sizeof f->reason, error->message);
        documents_edit(u->docs, CURRENT, edit_refused, on_refused, f);
    }
    free(a);
}

static json_t *words_of(const struct upgrade_action *a)
{
    static const char *const names[] = {
        [UPGRADE_SWITCH] = "switch", [UPGRADE_CONFIRM] = "confirm", [UPGRADE_BACK] = "back"};
    return json_pack("{s:s,s:s,s:s,s:b}", "what", names[a->act], "digest", a->digest, "reason",
        a->reason, "kept", (int)a->kept);
}

static void tell_own_host(struct control *c, const struct upgrade_action *a)
{
    struct err e = {0};
    int r = a->act == UPGRADE_BACK
                ? role_tell_host(
                      c->role, "upgrade.back", json_pack("{s:s}", "reason", a->reason), &e)
                : role_tell_host(c->role, a->act == UPGRADE_SWITCH ? "upgrade" : "upgrade.confirm",
                      json_pack("{s:s}", "digest", a->digest), &e);
    if (r < 0)
        log_info("upgrade", "host does not listen", "why=\"%s\"", e.message);
}

/* Our own turn: the same, without a connection. */
static void act_here(struct control *c, const struct upgrade_action *a)
{
    struct rpc_conn *agent = control_link(c, "agent");
    if (a->act != UPGRADE_SWITCH || a->kept) {
        tell_own_host(c, a);
        return;
    }
    if (!agent)
        return;
    struct asked *asked = asked_new(c, a);
    asked->is_own = true;
    rpc_call(agent, "blob.ensure", json_pack("{s:[],s:[s]}", "images", "files", a->digest),
        FETCH_MS, on_asked, asked);
}

static void carry_out(struct control *c, const struct upgrade_action *a)
{
    struct control_upgrade *u = c->upgrade;
    if (a->act == UPGRADE_NOTHING || (a->act == UPGRADE_SWITCH && str_eq(u->asking, a->host)))
        return;
    struct rpc_conn *conn = peers_conn(c->peers, a->host);
    if (!strcmp(a->host, c->host))
        act_here(c, a);
    else if (conn)
        rpc_call(conn, "upgrade.host", words_of(a), CALL_MS, on_asked, asked_new(c, a));
}

static int edit_step(void *ctx, json_t *old, json_t **ret, struct err *e)
{
    struct control *c = ctx;
    struct upgrade_host hosts[PEERS_MAX + 1];
    _cleanup_json_ json_t *own = control_own_report(c);
    if (!old) {
        *ret = NULL;
        return 0;
    }
    *ret = upgrade_step(old, hosts, see(c, own, hosts), clock_wall_ms(), &c->upgrade->action);
    return 0;
}

static void on_stepped(void *ctx, const json_t *doc, const struct err *e)
{
    struct control *c = ctx;
    struct control_upgrade *u = c->upgrade;
    if (!u)
        return;
    u->editing = false;
    if (!e)
        carry_out(c, &u->action);
}

static void look(struct control *c)
{
    struct control_upgrade *u = c->upgrade;
    if (!u || u->editing || !scheduler_leads(c->scheduler) || !upgrade_running(current(c)))
        return;
    u->editing = true;
    u->action = (struct upgrade_action){0};
    documents_edit(u->docs, CURRENT, edit_step, on_stepped, c);
}

static void on_timer(uv_timer_t *t)
{
    look(CONTAINER_OF(t, struct control_upgrade, timer)->c);
}

static bool note_once(struct control_upgrade *u, const char *text)
{
    for (size_t i = 0; i < u->n_noted; i++)
        if (str_eq(u->noted[i], text))
            return false;
    if (u->n_noted == ARRAY_SIZE(u->noted))
        u->n_noted = 0;
    str_copy(u->noted[u->n_noted++], sizeof u->noted[0], text);
    return true;
}

/* The leader tells the story. */
static void on_changed(void *ctx, const char *name, const json_t *doc)
{
    struct control *c = ctx;
    size_t i;
    json_t *entry;
    struct rpc_conn *agent = control_link(c, "agent");
    if (agent && c->upgrade && c->started)
        control_blobs_tell(c, agent);
    if (!c->upgrade || !c->started || !scheduler_leads(c->scheduler))
        return;
    json_array_foreach (json_object_get(doc, "hosts"), i, entry) {
        const char *state = json_opt_str(entry, "state", "");
        char text[80], message[160];
        snprintf(text, sizeof text, "%s %s %lld", json_opt_str(entry, "name", "?"), state,
            (long long)json_opt_int(doc, "started_ms", 0) % 100000000);
        bool told = str_eq(state, "switching") || str_eq(state, "done") || str_eq(state, "failed");
        if (!told || !note_once(c->upgrade, text))
            continue;
        snprintf(message, sizeof message, "upgrade to %s (%.19s): %s",
            json_opt_str(doc, "version", "?"), json_opt_str(entry, "to", ""),
            str_eq(state, "switching") ? "begins"
            : str_eq(state, "done")    ? "done"
                                       : "failed, it runs the one before");
        control_note(c, "upgrade", json_opt_str(entry, "name", "?"), message,
            json_opt_str(entry, "reason", ""));
    }
    control_report_soon(c);
}

/* ---- what commands ask ---- */

static int duty_rank(const struct model_host *h)
{
    return h->region->duty == REGION_DR ? 0 : h->region->duty == REGION_MAIN ? 2 : 1;
}

/* DR first, main last; only `host` if it is given. */
static size_t in_order(struct control *c, const char *host, const struct model_host **v)
{
    size_t n = 0;
    for (int rank = 0; rank < 3; rank++)
        for (size_t i = 0; c->model && i < c->model->n_hosts; i++) {
            const struct model_host *h = &c->model->hosts[i];
            if (duty_rank(h) == rank && (!host || !strcmp(host, h->name)))
                v[n++] = h;
        }
    return n;
}

static const json_t *binary_of(struct control *c, const char *host)
{
    const struct host_report *r = control_find_report(c, host);
    return !strcmp(host, c->host) ? c->binary
           : r                    ? json_object_get(r->report, "binary")
                                  : NULL;
}

void control_upgrade_status(struct control *c, struct rpc_req *req, json_t *params)
{
    const struct model_host *hosts[PEERS_MAX + 1];
    size_t n = in_order(c, NULL, hosts);
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++) {
        const json_t *binary = binary_of(c, hosts[i]->name);
        json_array_append_new(list,
            json_pack("{s:s,s:s,s:b,s:O?}", "host", hosts[i]->name, "region",
                hosts[i]->region->name, "heard", (int)control_hears(c, hosts[i]->name), "binary",
                binary));
    }
    rpc_reply(req, json_pack("{s:s,s:i,s:o,s:O?}", "platform", c->platform, "protocol",
                       control_protocol(c), "hosts", list, "upgrade", current(c)));
}

/* Refusals name the first host that stands in the way. */
static int check_host(struct control *c, const char *host, const json_t *params, struct err *e)
{
    const json_t *binary = binary_of(c, host), *has = json_object_get(binary, "protocol"),
                 *new = json_object_get(params, "protocol");
    if (!control_hears(c, host) || !binary) {
        err_set(e, ERR_REFUSED, "%s is not heard", host);
        err_fix(e, "bring it back first, or upgrade the others one by one with --host");
        return ERR_REFUSED;
    }
    if (new && (json_integer_value(json_array_get(new, 0)) > json_integer_value(json_array_get(has, 1))
                || json_integer_value(json_array_get(new, 1)) < json_integer_value(json_array_get(has, 0)))) {
        err_set(e, ERR_REFUSED,
            "the new binary speaks protocol %lld to %lld, %s %lld to %lld: they have none in common",
            (long long)json_integer_value(json_array_get(new, 0)),
            (long long)json_integer_value(json_array_get(new, 1)), host,
            (long long)json_integer_value(json_array_get(has, 0)),
            (long long)json_integer_value(json_array_get(has, 1)));
        err_fix(e, "upgrade to a release between the two first");
        return ERR_REFUSED;
    }
    return 0;
}

struct begin {
    struct rpc_req *req;
    json_t *doc;
};

/* Somebody whose answer was lost asks again. */
static bool is_same(const json_t *doc, const json_t *asked)
{
    const char *id = json_opt_str(asked, "id", "");
    return *id && str_eq(json_opt_str(doc, "id", ""), id);
}

static int edit_begin(void *ctx, json_t *old, json_t **ret, struct err *e)
{
    struct begin *b = ctx;
    if (is_same(old, b->doc)) {
        *ret = json_incref(old);
        return 0;
    }
    if (upgrade_running(old)) {
        err_set(e, ERR_REFUSED, "an upgrade runs already");
        err_fix(e, "`mcp upgrade` shows how far it is");
        return ERR_REFUSED;
    }
    *ret = json_incref(b->doc);
    return 0;
}

static void on_begun(void *ctx, const json_t *doc, const struct err *e)
{
    struct begin *b = ctx;
    if (e)
        rpc_reply_error(b->req, e);
    else
        rpc_reply(b->req, json_deep_copy(doc));
    json_decref(b->doc);
    free(b);
}

static void begin_upgrade(struct control *c, struct rpc_req *req, json_t *params,
    const struct upgrade_target *targets, size_t n)
{
    _cleanup_json_ json_t *base = json_pack("{s:s,s:s,s:s,s:s}", "id", json_opt_str(params, "id", ""),
        "to", json_opt_str(params, "digest", ""), "version", json_opt_str(params, "version", ""),
        "by", json_opt_str(params, "by", ""));
    struct begin *b = xcalloc(1, sizeof *b);
    *b = (struct begin){req, upgrade_new(base, targets, n, clock_wall_ms())};
    documents_edit(c->upgrade->docs, CURRENT, edit_begin, on_begun, b);
}

/* Those that are to be upgraded; 0 and *e: not now. */
static size_t targets_of(struct control *c, const json_t *params, const struct model_host **hosts,
    struct upgrade_target *targets, struct err *e)
{
    const char *digest = json_opt_str(params, "digest", "");
    size_t n = in_order(c, json_opt_str(params, "host", NULL), hosts);
    if (!digest_valid(digest) || n == 0) {
        err_set(e, ERR_INVALID, n ? "no digest of a binary" : "no such host");
        err_fix(e, "`mcp host list`");
        return 0;
    }
    for (size_t i = 0; i < n; i++) {
        if (check_host(c, hosts[i]->name, params, e) < 0)
            return 0;
        targets[i] = (struct upgrade_target){hosts[i]->name, digest, false};
    }
    return n;
}

void control_upgrade_plan(struct control *c, struct rpc_req *req, json_t *params)
{
    const struct model_host *hosts[PEERS_MAX + 1];
    struct upgrade_target targets[PEERS_MAX + 1];
    struct err e;
    size_t n = targets_of(c, params, hosts, targets, &e);
    if (!n) {
        rpc_reply_error(req, &e);
        return;
    }
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(list,
            json_pack("{s:s,s:s,s:s}", "host", hosts[i]->name, "region", hosts[i]->region->name,
                "from", json_opt_str(binary_of(c, hosts[i]->name), "digest", "")));
    rpc_reply(req, json_pack("{s:o}", "hosts", list));
}

/* true: answered, it is the one that runs; or who is asked has only begun itself. */
static bool answer_known(struct control *c, struct rpc_req *req, const json_t *params)
{
    if (!documents_synced(c->upgrade->docs))
        fail(req, ERR_UNAVAILABLE, "this control has just begun", "try again in a second");
    else if (is_same(current(c), params))
        rpc_reply(req, json_deep_copy(current(c)));
    else
        return false;
    return true;
}

void control_upgrade_start(struct control *c, struct rpc_req *req, json_t *params)
{
    const struct model_host *hosts[PEERS_MAX + 1];
    struct upgrade_target targets[PEERS_MAX + 1];
    struct err e;
    if (answer_known(c, req, params))
        return;
    size_t n = control_drill_gate(c, &e) < 0 ? 0 : targets_of(c, params, hosts, targets, &e);
    if (n)
        begin_upgrade(c, req, params, targets, n);
    else
        rpc_reply_error(req, &e);
}

/* Each host to what it ran before; main first this time: the last one upgraded goes back first. */
void control_upgrade_rollback(struct control *c, struct rpc_req *req, json_t *params)
{
    struct upgrade_target targets[PEERS_MAX + 1];
    const json_t *list = json_object_get(current(c), "hosts");
    const char *host = json_opt_str(params, "host", NULL);
    size_t n = 0;
    if (answer_known(c, req, params))
        return;
    for (size_t i = json_array_size(list); i-- > 0 && n <= PEERS_MAX;) {
        const json_t *entry = json_array_get(list, i);
        const char *name = json_opt_str(entry, "name", ""), *from = json_opt_str(entry, "from", "");
        if (str_eq(json_opt_str(entry, "state", ""), "done") && digest_valid(from)
            && (!host || str_eq(host, name)))
            targets[n++] = (struct upgrade_target){name, from, true};
    }
    if (n)
        begin_upgrade(c, req, params, targets, n);
    else
        fail(req, ERR_REFUSED, "no host was upgraded: there is nothing to go back to", "");
}

/* ---- life ---- */

void control_upgrade_open(struct control *c)
{
    static const struct documents_handler h = {.changed = on_changed};
    _cleanup_free_ char *prefix = xasprintf("/mcp/%s/upgrade/", c->platform);
    struct control_upgrade *u = xcalloc(1, sizeof *u);
    u->c = c;
    uv_timer_init(&c->role->loop, &u->timer);
    uv_timer_start(&u->timer, on_timer, LOOK_MS, LOOK_MS);
    u->docs = documents_new(&c->role->loop, c->kv, prefix, &h, c);
    c->upgrade = u;
}

static void on_timer_closed(uv_handle_t *h)
{
    free(CONTAINER_OF(h, struct control_upgrade, timer));
}

void control_upgrade_close(struct control *c)
{
    struct control_upgrade *u = util_steal_ptr(&c->upgrade);
    if (!u)
        return;
    documents_free(u->docs);
    json_decref(c->binary);
    uv_close((uv_handle_t *)&u->timer, on_timer_closed);
}
