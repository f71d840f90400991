/* SPDX-License-Identifier: Apache-2.0 */
/* Images and files by digest, as control sees them: it opens this host's blobs for others, finds who
 * has what the agent misses, takes uploads, and lets no revision be written whose blobs are not on
 * this host and on one more. The bytes go over service/bulk, the store is the agent's. */
#include "role/control/priv.h"

#include "base/log/log.h"
#include "base/str/str.h"
#include "domain/spec/boot.h"
#include "service/relay/relay.h"

#define HAS_TIMEOUT_MS 10000u /* a busy host is slow, and has it all the same */
#define GATHER_MS 150u        /* after the first host that has it: time for others as near */
#define OPEN_TIMEOUT_MS 10000u

static void fail(struct rpc_req *req, int code, const char *message, const char *fix)
{
    struct err e;
    err_set(&e, code, "%s", message);
    err_fix(&e, "%s", fix);
    rpc_reply_error(req, &e);
}

/* ---- this host's blobs for others */

struct ticket {
    struct control *c;
    uint64_t id;
};

static void on_agent_opened(void *ctx, json_t *result, bool more, const struct err *error)
{
    struct ticket *t = ctx;
    struct control *c = t->c;
    struct rpc_conn *agent = control_link(c, "agent");
    struct err e;
    if (more)
        return;
    int fd = agent && !error ? rpc_answer_take_fd(agent) : -1;
    err_set(&e, ERR_UNAVAILABLE, "the agent gave no file");
    if (c->bulk)
        bulk_opened(c->bulk, t->id, fd, error ? error : &e);
    else if (fd >= 0)
        close(fd);
    free(t);
}

static void on_open(
    void *ctx, uint64_t ticket, const char *host, enum bulk_kind kind, const char *digest)
{
    struct control *c = ctx;
    struct rpc_conn *agent = control_link(c, "agent");
    struct err e;
    if (kind == BULK_SEED) {
        control_seed_open(c, ticket, digest);
        return;
    }
    if (!agent) {
        err_set(&e, ERR_UNAVAILABLE, "the agent of this host is restarting");
        bulk_opened(c->bulk, ticket, -1, &e);
        return;
    }
    struct ticket *t = xcalloc(1, sizeof *t);
    *t = (struct ticket){c, ticket};
    rpc_call(agent, "blob.open",
        json_pack("{s:s,s:s}", "kind", bulk_kind_name(kind), "digest", digest), OPEN_TIMEOUT_MS,
        on_agent_opened, t);
}

/* ---- what this host's agent misses */

struct search {
    struct control *c;
    struct rpc_req *req; /* NULL: answered */
    struct bulk_request request;
    int fd;
    size_t open;                           /* hosts that have not answered */
    struct bulk_target targets[PEERS_MAX]; /* in order of their answers: the nearest first */
    size_t n_targets, n_asked;
    struct bulk_pull *pull;
    uv_timer_t timer;
    bool closing;
};

struct search_leg {
    struct search *s;
    char host[64];
};

static void on_search_closed(uv_handle_t *h)
{
    free(CONTAINER_OF(h, struct search, timer));
}

/* Its memory stays until the last host has answered. */
static void end_search(struct search *s)
{
    if (s->fd >= 0)
        close(util_steal_fd(&s->fd));
    uv_timer_stop(&s->timer);
    s->req = NULL;
    if (!s->open && !s->closing) {
        s->closing = true;
        uv_close((uv_handle_t *)&s->timer, on_search_closed);
    }
}

static void on_pull_progress(void *ctx, int64_t have, int64_t size, const char *from)
{
    struct search *s = ctx;
    rpc_reply_more(s->req, json_pack("{s:I,s:I,s:s}", "have", (json_int_t)have, "size",
                               (json_int_t)size, "from", from));
}

static void on_pull_done(void *ctx, const char *from, const struct err *e)
{
    struct search *s = ctx;
    s->pull = NULL;
    if (e)
        rpc_reply_error(s->req, e);
    else
        rpc_reply(s->req, json_pack("{s:s}", "from", from));
    end_search(s);
}

static void start_pull(struct search *s)
{
    struct bulk_request_events ev = {on_pull_progress, on_pull_done, s};
    if (!s->req || s->pull)
        return;
    uv_timer_stop(&s->timer);
    if (!s->n_targets) {
        struct err e;
        err_set(&e, ERR_NOT_FOUND,
            s->n_asked ? "none of the %zu hosts that answer has it"
                       : "no other host can be reached (%zu are linked)",
            s->n_asked);
        err_fix(&e, "`mcp apply` from where the images are brings it");
        rpc_reply_error(s->req, &e);
        end_search(s);
        return;
    }
    for (size_t i = 0; i < s->n_targets; i++) {
        struct bulk_target *t = &s->targets[i];
        t->addresses = peers_addresses(s->c->peers, t->host, &t->n_addresses);
    }
    s->pull =
        bulk_pull(s->c->bulk, &s->request, util_steal_fd(&s->fd), s->targets, s->n_targets, &ev);
}

static void on_gathered(uv_timer_t *t)
{
    start_pull(CONTAINER_OF(t, struct search, timer));
}

static void on_has(void *ctx, json_t *result, bool more, const struct err *error)
{
    struct search_leg *leg = ctx;
    struct search *s = leg->s;
    if (more)
        return;
    s->open--;
    bool has = !error && json_is_true(json_array_get(json_object_get(result, "has"), 0));
    if (has && s->req && !s->pull) {
        str_copy(s->targets[s->n_targets++].host, BULK_HOST_SIZE, leg->host);
        if (s->n_targets == 1)
            uv_timer_start(&s->timer, on_gathered, GATHER_MS, 0);
    }
    free(leg);
    if (!s->req)
        end_search(s);
    else if (!s->open)
        start_pull(s);
}

static void on_search_cancelled(void *ctx)
{
    struct search *s = ctx;
    struct rpc_req *req = s->req;
    if (s->pull)
        bulk_pull_cancel(util_steal_ptr(&s->pull));
    end_search(s);
    fail(req, ERR_CANCELED, "no longer asked for", "");
}

static bool listed(const json_t *list, const char *host)
{
    size_t i;
    json_t *one;
    json_array_foreach ((json_t *)list, i, one)
        if (str_eq(json_string_value(one), host))
            return true;
    return false;
}

struct asking {
    struct search *s;
    const json_t *without;
};

static void ask_host(void *ctx, const char *host, struct rpc_conn *conn)
{
    struct asking *a = ctx;
    struct search *s = a->s;
    if (listed(a->without, host) || s->n_asked >= PEERS_MAX)
        return;
    struct search_leg *leg = xcalloc(1, sizeof *leg);
    leg->s = s;
    str_copy(leg->host, sizeof leg->host, host);
    s->open++;
    s->n_asked++;
    rpc_call(conn, "blob.has",
        json_pack("{s:[{s:s,s:s}]}", "blobs", "kind", bulk_kind_name(s->request.kind), "digest",
            s->request.digest),
        HAS_TIMEOUT_MS, on_has, leg);
}

/* Behind a host that had the rest of the same image: nobody is asked beforehand. */
static void add_host(void *ctx, const char *host, struct rpc_conn *conn)
{
    struct asking *a = ctx;
    struct search *s = a->s;
    if (listed(a->without, host) || s->n_targets >= PEERS_MAX || !strcmp(host, s->targets[0].host))
        return;
    str_copy(s->targets[s->n_targets++].host, BULK_HOST_SIZE, host);
}

void control_blobs_pull(struct control *c, struct rpc_req *req, json_t *params, int fd)
{
    struct bulk_request r = {.offset = json_opt_int(params, "offset", 0)};
    const char *digest = json_opt_str(params, "digest", "");
    if (fd < 0 || r.offset < 0 || !digest_valid(digest)
        || !bulk_kind_parse(json_opt_str(params, "kind", NULL), &r.kind)) {
        if (fd >= 0)
            close(fd);
        fail(req, ERR_INVALID, "not a blob.pull", "");
        return;
    }
    str_copy(r.digest, sizeof r.digest, digest);
    struct search *s = xcalloc(1, sizeof *s);
    s->c = c;
    s->req = req;
    s->request = r;
    s->fd = fd;
    uv_timer_init(&c->role->loop, &s->timer);
    rpc_req_watch(req, NULL, on_search_cancelled, s);
    struct asking a = {s, json_object_get(params, "without")};
    const char *hint = json_opt_str(params, "hint", "");
    if (peers_is_up(c->peers, hint) && !listed(a.without, hint)) {
        str_copy(s->targets[s->n_targets++].host, BULK_HOST_SIZE, hint);
        peers_each(c->peers, add_host, &a);
    } else {
        peers_each(c->peers, ask_host, &a);
    }
    if (!s->open)
        start_pull(s);
}

/* ---- calls of commands and of other hosts */

static void to_agent(
    struct control *c, struct rpc_req *req, const char *method, json_t *params, int fd)
{
    struct rpc_conn *agent = control_link(c, "agent");
    if (agent) {
        relay_call_fd(req, agent, method, json_incref(params), fd);
        return;
    }
    if (fd >= 0)
        close(fd);
    fail(req, ERR_UNAVAILABLE, "the agent of this host is restarting", "try again");
}

void control_blobs_missing(struct control *c, struct rpc_req *req, json_t *params)
{
    to_agent(c, req, "blob.check", params, -1);
}

void control_blobs_put(struct control *c, struct rpc_req *req, json_t *params)
{
    to_agent(c, req, "blob.put", params, rpc_req_take_fd(req));
}

void control_blobs_has(struct control *c, const char *host, struct rpc_req *req, json_t *params)
{
    to_agent(c, req, "blob.has", params, -1);
}

void control_blobs_ensure(struct control *c, const char *host, struct rpc_req *req, json_t *params)
{
    to_agent(c, req, "blob.ensure", params, -1);
}

void control_blobs_list_here(
    struct control *c, const char *host, struct rpc_req *req, json_t *params)
{
    to_agent(c, req, "blob.list", params, -1);
}

/* ---- what this host keeps whether it runs it or not */

bool control_is_member(const struct model *m, const char *host)
{
    for (size_t i = 0; i < m->n_members; i++)
        if (!strcmp(m->members[i]->name, host))
            return true;
    return m->n_members == 0;
}

static void add_digest(json_t *list, const char *digest)
{
    if (digest && !listed(list, digest))
        json_array_append_new(list, json_string(digest));
}

static bool runs_in(const struct model_module *module, const struct model_region *region)
{
    for (size_t i = 0; i < module->n_instances; i++)
        if (module->instances[i].region == region
            && module->instances[i].active + module->instances[i].standby > 0)
            return true;
    return false;
}

static void add_schemas(
    const struct model *m, const json_t *files, const struct model_host *h, bool all, json_t *list)
{
    for (size_t i = 0; i < m->n_databases; i++) {
        const struct model_database *db = &m->databases[i];
        for (size_t k = 0; k < db->n_schema && (all || model_database_member(db, h->name)); k++)
            add_digest(list, revision_file(files, db->schema[k]));
    }
}

/* Any host may have to run one. */
static void add_functions(const struct model *m, const json_t *files, json_t *images)
{
    for (size_t i = 0; i < m->n_functions; i++) {
        const char *key = revision_image_key(m->functions[i].as.image);
        if (key)
            add_digest(images, revision_file(files, key));
    }
}

/* What a host needs of a revision: members of the state store keep all of it. */
json_t *control_blobs_of(
    const struct model *m, const json_t *files, const struct model_host *h, bool all)
{
    json_t *images = json_array(), *others = json_array();
    for (size_t i = 0; i < m->n_modules; i++) {
        const char *key = revision_image_key(m->modules[i].image);
        if (key && (all || runs_in(&m->modules[i], h->region)))
            add_digest(images, revision_file(files, key));
    }
    add_functions(m, files, images);
    if (m->routing.geo_database)
        add_digest(others, revision_file(files, m->routing.geo_database));
    add_schemas(m, files, h, all, others);
    return json_pack("{s:o,s:o}", "images", images, "files", others);
}

void control_blobs_tell(struct control *c, struct rpc_conn *agent)
{
    const struct model_host *own = c->model ? model_find_host(c->model, c->host) : NULL;
    if (!own)
        return;
    if (!control_is_member(c->model, c->host)) { /* what its databases are made by */
        json_t *schemas = json_array(), *images = json_array();
        add_functions(c->model, c->revision->files, images);
        add_schemas(c->model, c->revision->files, own, false, schemas);
        rpc_notify(agent, "wanted", json_pack("{s:o,s:o}", "images", images, "files", schemas));
        return;
    }
    json_t *wanted = control_blobs_of(c->model, c->revision->files, own, true);
    add_digest(json_object_get(wanted, "files"), control_upgrade_file(c));
    rpc_notify(agent, "wanted", wanted);
}

/* ---- life */

int control_blobs_start(struct control *c, const struct boot *boot, struct err *e)
{
    int fds[ROLE_LISTEN_MAX];
    size_t n = 0;
    for (int fd; n < ROLE_LISTEN_MAX && (fd = role_listen_fd(c->role, "bulk", n)) >= 0;)
        fds[n++] = fd;
    struct bulk_config config = {.platform = boot->platform,
        .host = c->host,
        .source = boot->addresses.v[0],
        .tls = {CONTROL_PKI "ca.pem", CONTROL_PKI "host.pem", CONTROL_PKI "host.key"},
        .listen_fds = fds,
        .n_listen = n};
    struct bulk_handler handler = {.open = on_open};
    return bulk_new(&c->role->loop, &config, &handler, c, &c->bulk, e);
}

void control_blobs_stop(struct control *c)
{
    bulk_free(c->bulk);
    c->bulk = NULL;
}
