/* SPDX-License-Identifier: Apache-2.0 */
/* HOT PATH. Databases: units of this host on their way to one, and other hosts' meshes on their way
 * to the member here. Who writes goes to the source, who reads to the nearest replica that may be
 * read from. While the source moves, who wants to write waits; what was connected to the old one is
 * ended. Clients speak MySQL's protocol and the server speaks first: whoever is refused is told why. */
#include "service/mesh/priv.h"

#include "base/clock/clock.h"
#include "base/str/str.h"

#include <errno.h>

#define HERE_MS 4000u      /* for the engine to take a connection and to greet: it does within ms */
#define THERE_MS 7000u     /* connection, handshake, the other side's HERE_MS and its answer */
#define AGAIN_MS 200u      /* between two tries while the views of two hosts differ */
#define PATIENCE_MS 5000u  /* until they must agree */
#define HOLD_MAX_MS 60000u /* whatever a view says */

/* MySQL's numbers and states, as clients know them (proto/mysql). */
#define CODE_DENIED 1045u
#define CODE_GONE 1053u
#define STATE_DENIED "28000"
#define STATE_GONE "08S01"
#define WORDS_MAX 256

/* ---- words */

/* An error in place of the greeting. */
static void say(struct splice_flow *f, unsigned code, const char *state, const char *fmt, ...)
    PRINTF_LIKE(4, 5);

static void say(struct splice_flow *f, unsigned code, const char *state, const char *fmt, ...)
{
    uint8_t packet[MYSQL_ERR_MAX];
    char text[WORDS_MAX];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    size_t n = mysql_err_format(0, (uint16_t)code, state, text, packet);
    splice_reply(f, (const char *)packet, n);
}

/* ---- where to */

struct asking {
    struct worker *w;
    const struct mesh_database *db;
};

static uint64_t place_key(const struct mesh_database *db, const struct mesh_place *p)
{
    return hash_text(hash_text(3, db->name), p->host) | 1;
}

static bool place_is_bad(void *ctx, const struct mesh_place *p)
{
    const struct asking *a = ctx;
    return bad_is(a->w, place_key(a->db, p));
}

static void choose(struct worker *w, struct flow *flow)
{
    struct way_in *way = &flow->data;
    struct asking a = {w, way->database};
    way->n_places =
        mesh_database_order(way->database, way->write, place_is_bad, &a, way->places);
    way->at = 0;
    way->said = MESH_OK;
}


/* ---- a unit connects */

static enum splice_verdict refuse_needs(struct worker *w, struct splice_flow *f,
    const char *module, const struct mesh_database *db, const struct mesh_reader *r)
{
    const char *why = r ? "its needs say read" : "not in its needs",
               *what = r ? "write to" : "reach";
    refused_tell(w->m, w->now_ms, module, "%s tried to %s database %s: %s", module, what, db->name, why);
    metric_add(w->metrics, M_REFUSED_NEEDS, 1);
    say(f, CODE_DENIED, STATE_DENIED, "module %s may not %s database %s: %s", module, what, db->name, why);
    return SPLICE_REPLY;
}

enum splice_verdict ends_accepted(struct worker *w, struct splice_flow *f,
    const struct mesh_listen *l, const struct ip_addr *from)
{
    struct flow *flow = splice_app_of(f);
    const struct mesh_database *db = l->database;
    const struct mesh_caller *c = call_caller(w, flow, from, db->name);
    if (!c)
        return SPLICE_REFUSE;
    if (c->waits) {
        say(f, CODE_GONE, STATE_GONE, "database %s: %s is %s", db->name, c->unit, c->waits);
        return SPLICE_REPLY;
    }
    const struct mesh_reader *r = mesh_reader_of(db, c->module->name);
    if (!r || (l->write && !r->write))
        return refuse_needs(w, f, c->module->name, db, r);
    call_name(flow, "module", c->module->name);
    flow->data = (struct way_in){.database = db, .write = l->write};
    choose(w, flow);
    metric_add(w->metrics, M_DATA_CALLS, 1);
    return SPLICE_DIAL;
}

static const char *module_of(const struct flow *flow)
{
    return flow->caller + strlen("module/");
}

/* Goes on by the newest view. False: it does not let it in any more. */
static bool renew(struct worker *w, struct flow *flow)
{
    struct way_in *way = &flow->data;
    if (w->view != flow->view) {
        const struct mesh_database *db = mesh_view_database(w->view->v, way->database->name);
        const struct mesh_reader *r = db ? mesh_reader_of(db, module_of(flow)) : NULL;
        if (!r || (way->write && !r->write))
            return false;
        struct view *old = flow->view;
        flow->view = view_ref(w->view);
        way->database = db;
        flow->identity = keys_find(flow->view->keys, flow->caller);
        view_unref(old);
    }
    choose(w, flow);
    return true;
}

/* ---- waiting for the source */

static uint64_t hold_ms(const struct mesh_database *db)
{
    int64_t left = db->hold_until_ms ? db->hold_until_ms - clock_wall_ms() : 0;
    return left <= 0 ? 0 : MIN((uint64_t)left, (uint64_t)HOLD_MAX_MS);
}

/* SPLICE_DIAL: it need not. SPLICE_REFUSE: it has waited for long enough. */
static enum splice_verdict wait_for_source(struct worker *w, struct splice_flow *f)
{
    struct flow *flow = splice_app_of(f);
    struct way_in *way = &flow->data;
    uint64_t held_ms = way->write ? hold_ms(way->database) : 0;
    if (!held_ms && !(way->write && (way->said == MESH_MOVED || !way->n_places)))
        return SPLICE_DIAL;
    if (!way->give_up_ms) {
        way->give_up_ms = w->now_ms + held_ms + PATIENCE_MS;
        metric_add(w->metrics, M_DATA_HELD, 1);
    }
    if (w->now_ms >= way->give_up_ms)
        return SPLICE_REFUSE;
    uint64_t ms = held_ms ? held_ms : AGAIN_MS;
    splice_wait_for(f, (unsigned)MIN(ms, way->give_up_ms - w->now_ms));
    return SPLICE_WAIT;
}

enum splice_verdict ends_waited(struct worker *w, struct splice_flow *f)
{
    struct flow *flow = splice_app_of(f);
    if (flow->data.gate.gate)
        return gate_waited(&flow->data.gate);
    if (renew(w, flow))
        return SPLICE_DIAL;
    const struct mesh_database *db = flow->data.database;
    return refuse_needs(w, f, module_of(flow), db, NULL);
}

/* ---- attempts */

static void dial_here(const struct flow *flow, struct splice_dial *d)
{
    const struct mesh_database *db = flow->data.database;
    if (*db->socket) {
        d->path = db->socket;
    } else {
        d->address = db->address;
        d->port = db->address_port;
    }
    d->wait_first = true;
    d->timeout_ms = HERE_MS;
}

static enum splice_verdict enter(struct worker *w, struct splice_flow *f, const char *module)
{
    struct way_in *way = &((struct flow *)splice_app_of(f))->data;
    struct gate *g = gates_find(w->m, way->database->name, way->write);
    return g ? gate_enter(g, &way->gate, f, module) : SPLICE_REFUSE;
}

static bool dial_there(
    struct worker *w, struct flow *flow, const struct mesh_place *p, struct splice_dial *d)
{
    const struct way_in *way = &flow->data;
    struct mesh_hello hello = {
        .kind = MESH_TO_DATABASE, .write = way->write, .epoch = way->database->epoch};
    char name[2 * MESH_NAME_MAX];
    if (!str_copy(hello.name, sizeof hello.name, way->database->name) || !mesh_is_name(hello.name))
        return false;
    snprintf(name, sizeof name, "%s.mesh.mcp.internal", p->host);
    if (!call_link(w, flow, &(struct call_to){p->host, &p->addresses[0], name}, &hello, d))
        return false;
    d->timeout_ms = THERE_MS;
    return true;
}

enum cause { DOWN, SLOW, UNREACHABLE, MOVED };

static enum cause cause_of(const struct flow *flow, const struct splice_failure *why, bool here)
{
    static const enum cause of_status[MESH_STATUSES] = {[MESH_DENIED] = UNREACHABLE,
        [MESH_UNKNOWN] = MOVED,
        [MESH_UNAVAILABLE] = UNREACHABLE,
        [MESH_MOVED] = MOVED,
        [MESH_DOWN] = DOWN,
        [MESH_SLOW] = SLOW};
    if (here) /* a full queue of connections: it has not taken any for long */
        return why->timed_out || why->error == EAGAIN ? SLOW : DOWN;
    return flow->data.said == MESH_OK ? UNREACHABLE : of_status[flow->data.said];
}

/* What became of the attempt before. */
static void note_attempt(struct worker *w, struct splice_flow *f)
{
    static const enum mesh_metric metrics[] = {[DOWN] = M_DATA_DOWN,
        [SLOW] = M_DATA_SLOW,
        [UNREACHABLE] = M_DATA_UNREACHABLE,
        [MOVED] = M_DATA_MOVED};
    struct flow *flow = splice_app_of(f);
    const struct mesh_place *p = flow->data.places[flow->data.at - 1];
    enum cause c = cause_of(flow, splice_failure_of(f), p->local);
    metric_add(w->metrics, metrics[c], 1);
    bad_note(w, place_key(flow->data.database, p));
    gate_failed(&flow->data.gate);
}

/* Another host's: it has entered. */
static enum splice_verdict dial_member(struct flow *flow, struct splice_dial *d)
{
    if (flow->data.at++) {
        gate_failed(&flow->data.gate);
        return SPLICE_REFUSE;
    }
    dial_here(flow, d);
    return SPLICE_DIAL;
}

/* The member of this host, for a unit of it. What the gate says is said already. */
static enum splice_verdict dial_own(
    struct worker *w, struct splice_flow *f, struct splice_dial *d)
{
    struct flow *flow = splice_app_of(f);
    struct way_in *way = &flow->data;
    enum splice_verdict v = way->gate.gate ? SPLICE_DIAL : enter(w, f, module_of(flow));
    if (v == SPLICE_REPLY)
        way->answered = true;
    if (v == SPLICE_WAIT)
        way->at--; /* it comes here again */
    if (v == SPLICE_DIAL) {
        dial_here(flow, d);
        way->dialled = true;
    }
    return v == SPLICE_REPLY ? SPLICE_REFUSE : v;
}

enum splice_verdict ends_dial(struct worker *w, struct splice_flow *f, struct splice_dial *d)
{
    struct flow *flow = splice_app_of(f);
    struct way_in *way = &flow->data;
    if (flow->kind == TAG_LINK)
        return dial_member(flow, d);
    if (way->dialled)
        note_attempt(w, f);
    way->dialled = false;
    enum splice_verdict v = way->gate.gate ? SPLICE_DIAL : wait_for_source(w, f);
    if (v != SPLICE_DIAL)
        return v;
    while (way->at < way->n_places) {
        const struct mesh_place *p = way->places[way->at++];
        way->said = MESH_OK;
        if (p->local && way->database->socket)
            return dial_own(w, f, d);
        way->dialled = !p->local && dial_there(w, flow, p, d);
        if (way->dialled)
            return SPLICE_DIAL;
        SSL_free(d->ssl);
        *d = (struct splice_dial){0};
    }
    return SPLICE_REFUSE;
}

bool ends_answered(struct flow *flow, enum mesh_status s)
{
    flow->data.said = s;
    return s == MESH_OK;
}

/* ---- how it ended */

void ends_joined(struct worker *w, struct splice_flow *f)
{
    struct flow *flow = splice_app_of(f);
    struct way_in *way = &flow->data;
    way->joined = true;
    if (way->gate.gate)
        gate_joined(&way->gate);
    if (flow->kind == TAG_LINK && !way->answered)
        link_answer(f, MESH_OK);
    if (flow->kind == TAG_CALL)
        bad_clear(w, place_key(way->database, way->places[way->at - 1]));
}

static void tell_cause(struct splice_flow *f, const struct mesh_database *db, const char *host, enum cause c)
{
    static const char *const words[] = {
        [DOWN] = "is down: it takes no connection",
        [SLOW] = "is slow or frozen: it does not greet who connects",
        [UNREACHABLE] = "cannot be reached: its host does not answer",
        [MOVED] = "is moving to another host",
    };
    bool source = db->source && !strcmp(db->source->host, host);
    say(f, CODE_GONE, STATE_GONE, "database %s: its %s on %s %s; nothing was done, connect again",
        db->name, source ? "source" : "replica", host, words[c]);
}

static void tell_link(struct splice_flow *f)
{
    const struct flow *flow = splice_app_of(f);
    enum cause c = cause_of(flow, splice_failure_of(f), true);
    if (flow->data.answered)
        tell_cause(f, flow->data.database, flow->view->v->host, c);
    else
        link_answer(f, c == SLOW ? MESH_SLOW : MESH_DOWN);
}

void ends_failed(struct worker *w, struct splice_flow *f)
{
    struct flow *flow = splice_app_of(f);
    const struct way_in *way = &flow->data;
    if (flow->kind == TAG_LINK)
        tell_link(f);
    else if (way->answered)
        return; /* by the gate */
    else if (!way->n_places)
        say(f, CODE_GONE, STATE_GONE, "database %s has no %s now; nothing was done, connect again",
            way->database->name, way->write ? "source" : "member to read from");
    else if (!way->at)
        say(f, CODE_GONE, STATE_GONE,
            "database %s is moving to another host; nothing was done, connect again",
            way->database->name);
    else
        tell_cause(f, way->database, way->places[way->at - 1]->host,
            cause_of(flow, splice_failure_of(f), way->places[way->at - 1]->local));
}

/* ---- another host's mesh connects */

static enum mesh_status refuse_link(struct worker *w, const struct flow *flow,
    const struct mesh_database *db, const struct mesh_reader *r)
{
    metric_add(w->metrics, M_REFUSED_NEEDS, 1);
    refused_tell(w->m, w->now_ms, flow->target_id, "%s tried to %s database %s: %s",
        flow->target_id, r ? "write to" : "reach", db->name,
        r ? "its needs say read" : "not in its needs");
    return MESH_DENIED;
}

static enum mesh_status may_enter(struct worker *w, struct flow *flow,
    const struct mesh_hello *hello, const char **ret_module)
{
    const struct mesh_view *v = flow->view->v;
    const struct mesh_database *db = mesh_view_database(v, hello->name);
    const char *module = mesh_module_in_id(v, flow->target_id);
    char name[2 * MESH_NAME_MAX];
    snprintf(name, sizeof name, "%s.mesh", v->host);
    if (!db || !db->socket || !link_is_secured_as(flow, name))
        return MESH_UNKNOWN;
    const struct mesh_reader *r = module ? mesh_reader_of(db, module) : NULL;
    if (!r || (hello->write && !r->write))
        return refuse_link(w, flow, db, r);
    if (hello->write && (!mesh_is_source_here(db) || hello->epoch != db->epoch))
        return MESH_MOVED;
    flow->data = (struct way_in){.database = db, .write = hello->write};
    *ret_module = module;
    return MESH_OK;
}

/* Who has to wait at the gate, or is refused by its words, has been let in as far as the mesh goes. */
enum splice_verdict ends_linked(
    struct worker *w, struct splice_flow *f, const struct mesh_hello *hello)
{
    struct flow *flow = splice_app_of(f);
    const char *module = NULL;
    enum mesh_status s = may_enter(w, flow, hello, &module);
    if (s != MESH_OK) {
        link_answer(f, s);
        return SPLICE_REPLY;
    }
    metric_add(w->metrics, M_DATA_LINKS, 1);
    link_answer(f, MESH_OK);
    enum splice_verdict v = enter(w, f, module);
    flow->data.answered = v != SPLICE_DIAL;
    if (v == SPLICE_DIAL)
        splice_take_back(f); /* it is said when the engine has greeted */
    return v;
}

void ends_left(struct flow *flow)
{
    if (flow->data.database)
        gate_leave(&flow->data.gate);
}

/* ---- the source has moved */

/* Goes to a source that is none any more. (The gate of a member here ends its sessions itself.) */
static bool is_old(const struct worker *w, const struct way_in *way)
{
    const struct mesh_database *db = mesh_view_database(w->view->v, way->database->name);
    return !db || (way->write && db->epoch > way->database->epoch);
}

static void look_at(void *ctx, struct splice_flow *f)
{
    struct worker *w = ctx;
    struct flow *flow = splice_app_of(f);
    w->now_ms = splice_now_ms(f);
    if (call_waits(w, flow)) {
        splice_end(f);
        return;
    }
    if (flow->early.until_ms && splice_is_waiting(f)) {
        splice_resume(f, link_waited(w, f));
        return;
    }
    if (!flow->data.database || flow->data.gate.gate)
        return;
    if (splice_is_waiting(f)) {
        splice_resume(f, ends_waited(w, f));
    } else if (flow->data.joined && is_old(w, &flow->data)) {
        metric_add(w->metrics, M_DATA_CLOSED, 1);
        splice_end(f);
    }
}

void ends_view_changed(struct worker *w)
{
    unsigned thread = (unsigned)(w - w->m->workers);
    if (w->view && w->m->splice)
        splice_each(w->m->splice, thread, look_at, w);
}
