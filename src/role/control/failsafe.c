/* SPDX-License-Identifier: Apache-2.0 */
/* While the state store does not answer, a source goes on if every other control promises, on its
 * disk, to promote nobody above its epoch for a lease and a margin. Any control may come to lead, so
 * that each is asked; one that cannot be asked, or has begun a failover, is a refusal. */
#include "role/control/databases.h"
#include "role/control/lease_priv.h"

#include "base/clock/clock.h"
#include "base/file/file.h"
#include "base/log/log.h"
#include "base/str/str.h"
#include "domain/replication/doc.h"

#define FILE_MAX (1024u * 1024)
#define BOOT_ID_PATH "/proc/sys/kernel/random/boot_id"
#define PATIENCE_PARTS 4 /* of the lease */

/* ---- asking */

struct round { /* answered when the last host has */
    struct control *c;
    struct lease_of *o;
    uint64_t id;
    unsigned waits;
    bool refused;
};

static void look_at_round(struct round *r)
{
    if (r->waits)
        return;
    if (r->c->lease)
        lease_step(r->o,
            &(struct lease_event){.kind = LEASE_EV_PROMISED, .id = r->id, .ok = !r->refused});
    free(r);
}

static void on_promise(void *ctx, json_t *result, bool more, const struct err *error)
{
    struct round *r = ctx;
    if (more)
        return;
    if (error)
        log_info("lease", "a promise is refused", "why=\"%s\"", error->message);
    r->refused |= error != NULL;
    r->waits--;
    look_at_round(r);
}

static int promise(struct control *c, const char *host, const json_t *params, struct err *e);

static json_t *question(const struct lease_of *o)
{
    return json_pack("{s:s,s:I,s:I}", "database", o->database, "epoch", (json_int_t)o->h.epoch,
        "for_ms", (json_int_t)o->h.lease_ms);
}

/* This one may lead, too, or be followed by one on this host that does. */
static bool promise_oneself(struct lease_of *o)
{
    struct err e;
    _cleanup_json_ json_t *params = question(o);
    bool given = promise(o->c, o->c->host, params, &e) >= 0;
    if (!given)
        log_info("lease", "a promise is refused", "host=%s why=\"%s\"", o->c->host, e.message);
    return given;
}

void lease_ask_promises(struct lease_of *o, uint64_t id)
{
    struct control *c = o->c;
    struct round *r = xcalloc(1, sizeof *r);
    *r = (struct round){.c = c, .o = o, .id = id, .waits = 1,
        .refused = !c->model || !promise_oneself(o)};
    for (size_t i = 0; c->model && i < c->model->n_hosts; i++) {
        const char *host = c->model->hosts[i].name;
        struct rpc_conn *conn = str_eq(host, c->host) ? NULL : peers_conn(c->peers, host);
        if (str_eq(host, c->host))
            continue;
        r->refused |= !conn;
        if (!conn)
            continue;
        r->waits++;
        rpc_call(conn, "failsafe", question(o), o->h.lease_ms / PATIENCE_PARTS, on_promise, r);
    }
    r->waits--;
    look_at_round(r);
}

/* ---- promising */

static char *path_of(const struct control *c)
{
    return xasprintf("%s/promises.json", c->role->state_dir);
}

static void read_boot_id(struct str *out)
{
    struct err ignored;
    if (file_read(BOOT_ID_PATH, 64, out, &ignored) < 0)
        str_clear(out); /* then none is of this boot */
}

static int store(struct control *c, struct err *e)
{
    _cleanup_str_ struct str boot = STR_INIT;
    _cleanup_json_ json_t *all = json_object();
    uint64_t now = clock_boot_ms();
    for (const struct lease_of *o = c->lease->holders; o; o = o->next)
        if (o->promise.until_ms > now)
            json_object_set_new(all, o->database,
                json_pack("{s:I,s:I,s:I}", "epoch", (json_int_t)o->promise.epoch, "until_ms",
                    (json_int_t)o->promise.until_ms, "for_ms",
                    (json_int_t)(o->promise.until_ms - now)));
    read_boot_id(&boot);
    _cleanup_json_ json_t *j =
        json_pack("{s:i,s:s,s:O}", "format", 1, "boot", str_cstr(&boot), "promises", all);
    _cleanup_free_ char *path = path_of(c), *text = json_text(j);
    return file_write_durable(path, text, strlen(text), 0600, e);
}

/* Of another boot only the length is of use: all of it, from now on. */
void lease_load_promises(struct control *c)
{
    struct err ignored;
    _cleanup_json_ json_t *j = NULL;
    _cleanup_free_ char *path = path_of(c);
    _cleanup_str_ struct str boot = STR_INIT;
    const char *database;
    json_t *p;
    if (json_read_file(path, FILE_MAX, &j, &ignored) < 0)
        return; /* none was given */
    read_boot_id(&boot);
    bool same = str_eq(json_opt_str(j, "boot", ""), str_cstr(&boot));
    json_object_foreach (json_object_get(j, "promises"), database, p) {
        uint64_t until = (uint64_t)MAX(json_opt_int(p, "until_ms", 0), 0),
                 for_ms = (uint64_t)MAX(json_opt_int(p, "for_ms", 0), 0);
        lease_get(c, database)->promise = (struct lease_promise){
            json_opt_int(p, "epoch", 0), same && boot.len ? until : clock_boot_ms() + for_ms};
    }
}

static int promise(struct control *c, const char *host, const json_t *params, struct err *e)
{
    const char *database = json_opt_str(params, "database", "");
    const json_t *doc = control_data_doc(c, database);
    struct replication_doc d;
    if (!c->lease || !doc)
        return err_set(e, ERR_UNAVAILABLE, "no such database is known here");
    if (replication_doc_parse(doc, &d, e) < 0)
        return e->code;
    if (!str_eq(d.source->host, host))
        return err_set(e, ERR_REFUSED, "%s is not the source of %s", host, database);
    struct lease_of *o = lease_get(c, database);
    int64_t for_ms = json_opt_int(params, "for_ms", 0);
    bool changes = json_is_object(d.change);
    int r = lease_promise_give(&o->promise, json_opt_int(params, "epoch", 0),
        (uint64_t)MAX(for_ms, 0), d.epoch, o->begun || changes, clock_boot_ms(), e);
    return r < 0 ? r : store(c, e);
}

void control_failsafe(
    struct control *c, const char *host, struct rpc_req *req, json_t *params)
{
    struct err e;
    if (promise(c, host, params, &e) < 0)
        rpc_reply_error(req, &e);
    else
        rpc_reply(req, json_object());
}

void control_lease_challenge(struct control *c, const char *database, bool begun)
{
    struct lease_of *o = c->lease ? lease_find(c, database) : NULL;
    if (o)
        o->begun = begun;
}
