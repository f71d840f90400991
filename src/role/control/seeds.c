/* SPDX-License-Identifier: Apache-2.0 */
/* Copies of databases on their way from a source to a replica: the data role of the replica asks
 * that of the source through here, and the bytes go over service/bulk, from the file that the one
 * opened to the file that the other opened. */
#include "role/control/databases.h"
#include "role/control/priv.h"

#include "base/str/str.h"
#include "domain/replication/doc.h"

#define OPEN_TIMEOUT_MS 10000u
#define CALL_MS 15000u

static void fail(struct rpc_req *req, int code, const char *message, const char *fix)
{
    struct err e;
    err_set(&e, code, "%s", message);
    err_fix(&e, "%s", fix);
    rpc_reply_error(req, &e);
}

/* The document of a database that this host and the other one hold. */
static bool of_both(struct control *c, const json_t *params, const char **ret_host)
{
    struct replication_doc d;
    struct err ignored;
    const json_t *doc = control_data_doc(c, json_opt_str(params, "database", ""));
    const char *host = json_opt_str(params, "host", "");
    if (!doc || replication_doc_parse(doc, &d, &ignored) < 0 || str_eq(host, c->host)
        || !replication_doc_find(&d, c->host))
        return false;
    const struct replication_member *m = replication_doc_find(&d, host);
    *ret_host = host;
    return m != NULL;
}

/* {"database", "host", "method", "params"} of this host's data role */
void control_seed_source(struct control *c, struct rpc_req *req, json_t *params)
{
    const char *method = json_opt_str(params, "method", ""), *host;
    if (!str_eq(method, "data.seed.make") && !str_eq(method, "data.seed.drop")
        && !str_eq(method, "data.position"))
        fail(req, ERR_DENIED, "that is not asked of a source", "");
    else if (!of_both(c, params, &host))
        fail(req, ERR_REFUSED, "no member of that database is there", "");
    else
        control_relay_role(c, req, host, "data", method, json_object_get(params, "params"));
}

/* ---- a fetch of ours */

struct fetching {
    struct rpc_req *req;
    struct bulk_pull *pull;
};

static void on_progress(void *ctx, int64_t have, int64_t size, const char *from)
{
    struct fetching *f = ctx;
    rpc_reply_more(
        f->req, json_pack("{s:I,s:I}", "have", (json_int_t)have, "size", (json_int_t)size));
}

static void on_done(void *ctx, const char *from, const struct err *e)
{
    struct fetching *f = ctx;
    if (e)
        rpc_reply_error(f->req, e);
    else
        rpc_reply(f->req, NULL);
    free(f);
}

static void on_cancelled(void *ctx)
{
    struct fetching *f = ctx;
    bulk_pull_cancel(f->pull);
    fail(f->req, ERR_CANCELED, "no longer asked for", "");
    free(f);
}

/* {"database", "host", "digest", "offset"} and the open file */
void control_seed_fetch(struct control *c, struct rpc_req *req, json_t *params, int fd)
{
    struct bulk_request r = {.kind = BULK_SEED, .offset = json_opt_int(params, "offset", 0)};
    const char *digest = json_opt_str(params, "digest", ""), *host;
    struct bulk_target t = {0};
    if (fd < 0 || r.offset < 0 || !digest_valid(digest) || !of_both(c, params, &host)) {
        if (fd >= 0)
            close(fd);
        fail(req, ERR_REFUSED, "no such copy can be fetched", "");
        return;
    }
    str_copy(r.digest, sizeof r.digest, digest);
    str_copy(t.host, sizeof t.host, host);
    t.addresses = peers_addresses(c->peers, host, &t.n_addresses);
    struct fetching *f = xcalloc(1, sizeof *f);
    struct bulk_request_events ev = {on_progress, on_done, f};
    f->req = req;
    rpc_req_watch(req, NULL, on_cancelled, f);
    f->pull = bulk_pull(c->bulk, &r, fd, &t, 1, &ev);
}

/* ---- one of ours for another host */

struct opening {
    struct control *c;
    uint64_t ticket;
};

static void on_opened(void *ctx, json_t *result, bool more, const struct err *error)
{
    struct opening *o = ctx;
    struct rpc_conn *data = control_link(o->c, "data");
    struct err e;
    if (more)
        return;
    int fd = data && !error ? rpc_answer_take_fd(data) : -1;
    err_set(&e, ERR_UNAVAILABLE, "the data role gave no file");
    if (o->c->bulk)
        bulk_opened(o->c->bulk, o->ticket, fd, error ? error : &e);
    else if (fd >= 0)
        close(fd);
    free(o);
}

void control_seed_open(struct control *c, uint64_t ticket, const char *digest)
{
    struct rpc_conn *data = control_link(c, "data");
    struct err e;
    if (!data) {
        err_set(&e, ERR_UNAVAILABLE, "the data role of this host is restarting");
        bulk_opened(c->bulk, ticket, -1, &e);
        return;
    }
    struct opening *o = xcalloc(1, sizeof *o);
    *o = (struct opening){c, ticket};
    rpc_call(data, "data.seed.open", json_pack("{s:s}", "digest", digest), OPEN_TIMEOUT_MS,
        on_opened, o);
}

/* ---- by hand: {"database", "host"} */

/* To a member that is a replica, while nothing is being moved. */
static void to_replica(struct control *c, struct rpc_req *req, const json_t *params, const char *method)
{
    struct replication_doc d;
    struct err e;
    const char *database = json_opt_str(params, "database", ""),
               *host = json_opt_str(params, "host", "");
    const json_t *doc = control_data_doc(c, database);
    if (!doc || replication_doc_parse(doc, &d, &e) < 0) {
        fail(req, ERR_NOT_FOUND, "there is no such database", "`mcp data status` lists them");
        return;
    }
    const struct replication_member *m = replication_doc_find(&d, host);
    if (!m)
        fail(req, ERR_NOT_FOUND, "that host holds no copy of the database",
            "`mcp data status` shows who does");
    else if (m == d.source)
        fail(req, ERR_REFUSED, "that host is the source: everybody else has its data from there",
            "`mcp data switchover` makes another member the source first");
    else if (json_is_object(d.change))
        fail(req, ERR_REFUSED, "the source is being moved", "try again when that is over");
    else {
        _cleanup_json_ json_t *inner =
            json_pack("{s:s,s:I}", "database", database, "epoch", (json_int_t)d.epoch);
        control_relay_role(c, req, host, "data", method, inner);
    }
}

void control_seed_take(struct control *c, struct rpc_req *req, json_t *params)
{
    to_replica(c, req, params, "data.seed.take");
}

void control_data_resume(struct control *c, struct rpc_req *req, json_t *params)
{
    to_replica(c, req, params, "data.follow");
}
