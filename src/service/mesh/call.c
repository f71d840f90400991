/* SPDX-License-Identifier: Apache-2.0 */
/* HOT PATH. Calls of units of this host, and connections of its edge to instances elsewhere: who
 * calls is told by the address it comes from, what is wanted by the one it goes to. */
#include "service/mesh/priv.h"

#include "base/clock/clock.h"
#include "base/str/str.h"

/* A dead instance refuses at once; one whose queue is full gets the kernel's second and third try,
 * after 1 and 3 s. */
#define LOCAL_MS 3500u
#define REMOTE_MS 5000u /* connection, handshake, the other side's LOCAL_MS and its answer */
#define BAD_FIRST_MS 1000u
#define BAD_MAX_MS 30000u

/* -- load of one caller ------------------------------------------------------------------------ */

bool load_take(struct worker *w, struct flow *flow, uint32_t key)
{
    uint32_t at = (key * UINT32_C(2654435761)) >> 20;
    for (unsigned i = 0; i < 16; i++) {
        struct load *l = &w->load[(at + i) % LOAD_SLOTS];
        if (l->flows && l->key != key)
            continue;
        if (l->flows && l->flows >= FLOWS_PER_CALLER)
            return false;
        l->key = key;
        l->flows++;
        flow->load_key = (at + i) % LOAD_SLOTS + 1;
        return true;
    }
    return true; /* more callers than a bridge holds: not counted */
}

void load_give(struct worker *w, struct flow *flow)
{
    if (flow->load_key)
        w->load[flow->load_key - 1].flows--;
    flow->load_key = 0;
}

/* -- targets that refused lately --------------------------------------------------------------- */

static uint64_t target_key(const struct mesh_target *t)
{
    return hash_text(hash_text(t->local, t->host), t->local ? t->unit : "") | 1;
}

bool bad_is(const struct worker *w, uint64_t key)
{
    const struct bad *b = &w->bad[key % BAD_SLOTS];
    return b->key == key && b->until_ms > w->now_ms;
}

static bool is_bad(void *ctx, const struct mesh_target *t)
{
    return bad_is(ctx, target_key(t));
}

void bad_note(struct worker *w, uint64_t key)
{
    struct bad *b = &w->bad[key % BAD_SLOTS];
    if (b->key != key)
        *b = (struct bad){.key = key};
    b->until_ms = w->now_ms + MIN(BAD_MAX_MS, BAD_FIRST_MS << MIN(b->failures, 10u));
    b->failures++;
}

void bad_clear(struct worker *w, uint64_t key)
{
    struct bad *b = &w->bad[key % BAD_SLOTS];
    if (b->key == key)
        *b = (struct bad){0};
}

/* -- a call comes ------------------------------------------------------------------------------ */

enum splice_verdict call_refuse(struct worker *w, enum mesh_metric why)
{
    metric_add(w->metrics, why, 1);
    return SPLICE_REFUSE;
}

static enum splice_verdict refuse_stranger(
    struct worker *w, const char *wanted, const struct ip_addr *from)
{
    char text[IP_TEXT_SIZE];
    ip_format(from, text);
    refused_tell(w->m, w->now_ms, text, "%s tried to call %s: no unit of this host", text, wanted);
    return call_refuse(w, M_REFUSED_STRANGER);
}

/* The unit at that address, which may hold one connection more; NULL: told and counted. One that waits is
 * counted, and the caller's to refuse in the words of its protocol. */
const struct mesh_caller *call_caller(
    struct worker *w, struct flow *flow, const struct ip_addr *from, const char *wanted)
{
    const struct mesh_caller *c = mesh_view_caller(flow->view->v, from);
    uint32_t key;
    if (!c) {
        refuse_stranger(w, wanted, from);
        return NULL;
    }
    memcpy(&key, from->bytes, sizeof key);
    flow->from = *from;
    if (c->waits) /* told by `mcp status`: a standby that tries on and on fills no timeline */
        metric_add(w->metrics, M_REFUSED_STANDBY, 1);
    if (c->waits || load_take(w, flow, key))
        return c;
    refused_tell(w->m, w->now_ms, c->unit, "%s holds more than %u connections at once", c->unit,
        FLOWS_PER_CALLER);
    metric_add(w->metrics, M_REFUSED_LOAD, 1);
    return NULL;
}

bool call_waits(const struct worker *w, const struct flow *flow)
{
    const struct mesh_caller *c =
        flow->from.family ? mesh_view_caller(w->view->v, &flow->from) : NULL;
    return c && c->waits;
}

void call_name(struct flow *flow, const char *kind, const char *name)
{
    snprintf(flow->caller, sizeof flow->caller, "%s/%s", kind, name);
    flow->identity = keys_find(flow->view->keys, flow->caller);
}

static enum splice_verdict host_connects(
    struct worker *w, struct flow *flow, const struct mesh_listen *l, const struct ip_addr *from)
{
    const struct mesh_view *v = flow->view->v;
    if (!ip_eq(from, &v->gateway) && !ip_eq(from, &l->address))
        return refuse_stranger(w, l->module->name, from);
    call_name(flow, "edge", v->host);
    flow->order[0] = l->target;
    flow->n_order = 1;
    return SPLICE_DIAL;
}

static enum splice_verdict unit_calls(
    struct worker *w, struct flow *flow, const struct mesh_listen *l, const struct ip_addr *from)
{
    const struct mesh_caller *c = call_caller(w, flow, from, l->module->name);
    if (!c || c->waits)
        return SPLICE_REFUSE;
    if (!mesh_may_call(c->module->name, l->module)) {
        refused_tell(w->m, w->now_ms, c->module->name, "%s tried to call %s: not in its needs",
            c->module->name, l->module->name);
        return call_refuse(w, M_REFUSED_NEEDS);
    }
    call_name(flow, "module", c->module->name);
    flow->n_order = mesh_order(l->module, w->next++, is_bad, w, flow->order);
    metric_add(w->metrics, M_CALLS, 1);
    return SPLICE_DIAL;
}

enum splice_verdict call_accepted(
    struct worker *w, struct splice_flow *f, uint32_t key, const struct ip_addr *from)
{
    struct flow *flow = splice_app_of(f);
    struct ip_addr address = {.family = 4};
    memcpy(address.bytes, &key, sizeof key);
    const struct mesh_listen *l = mesh_view_listen(flow->view->v, &address);
    if (!l)
        return SPLICE_REFUSE; /* of an older view */
    if (l->database)
        return ends_accepted(w, f, l, from);
    flow->module = l->module;
    return l->target ? host_connects(w, flow, l, from) : unit_calls(w, flow, l, from);
}

/* -- where it goes ----------------------------------------------------------------------------- */

static void dial_local(const struct flow *flow, const struct mesh_target *t, struct splice_dial *d)
{
    d->address = t->addresses[0];
    d->port = flow->module->port;
    d->timeout_ms = LOCAL_MS;
}

bool call_link(struct worker *w, struct flow *flow, const struct call_to *to,
    const struct mesh_hello *hello, struct splice_dial *d)
{
    if (!flow->identity) {
        metric_add(w->metrics, M_NO_IDENTITY, 1);
        return false;
    }
    d->ssl = SSL_new(flow->identity->client);
    if (!d->ssl || SSL_set_tlsext_host_name(d->ssl, to->server_name) != 1)
        return false; /* whoever owns d frees it */
    uint64_t key = hash_text(hash_text(hash_text(7, flow->caller), to->host), to->server_name);
    keys_resume(w, flow->view->keys, key, d->ssl);
    /* Certificates or the CA have changed: nobody goes on with what they proved. */
    d->reuse = hash_text(key ^ flow->view->keys->number, "reuse") | 1;
    d->address = *to->address;
    d->port = MESH_PORT;
    d->timeout_ms = REMOTE_MS;
    d->n_hello = mesh_hello_format(hello, d->hello);
    d->n_answer = MESH_ANSWER_SIZE;
    return true;
}

static bool dial_remote(
    struct worker *w, struct flow *flow, const struct mesh_target *t, struct splice_dial *d)
{
    struct mesh_hello hello = {.kind = MESH_TO_MODULE};
    char name[MESH_NAME_MAX + 32];
    if (!str_copy(hello.name, sizeof hello.name, flow->module->name)
        || !str_copy(hello.unit, sizeof hello.unit, t->unit) || !mesh_is_name(hello.name)
        || !mesh_is_name(hello.unit))
        return false;
    snprintf(name, sizeof name, "%s.mcp.internal", flow->module->name);
    return call_link(w, flow, &(struct call_to){t->host, &t->addresses[0], name}, &hello, d);
}

bool call_dial(struct worker *w, struct splice_flow *f, struct splice_dial *d)
{
    struct flow *flow = splice_app_of(f);
    if (flow->at) /* asked again: the one before failed */
        bad_note(w, target_key(flow->order[flow->at - 1]));
    while (flow->at < flow->n_order) {
        const struct mesh_target *t = flow->order[flow->at++];
        if (t->local) {
            dial_local(flow, t, d);
            return true;
        }
        if (dial_remote(w, flow, t, d))
            return true;
        SSL_free(d->ssl);
        *d = (struct splice_dial){0};
    }
    return false;
}

/* As whom the other end must be known: who runs an instance has its module's certificate, for a
 * database a host stands with its own. Returns that host. */
static const char *expected_of(const struct flow *flow, const char **ret_kind, const char **ret_name)
{
    if (flow->data.database) {
        const struct mesh_place *p = flow->data.places[flow->data.at - 1];
        *ret_kind = "mesh";
        *ret_name = p->host;
        return p->host;
    }
    *ret_kind = "module";
    *ret_name = flow->module->name;
    return flow->order[flow->at - 1]->host;
}

bool call_proven(struct worker *w, struct splice_flow *f, SSL *ssl)
{
    struct flow *flow = splice_app_of(f);
    char id[TLS_ID_MAX + 1], expected[TLS_ID_MAX + 1];
    const char *kind, *name, *host = expected_of(flow, &kind, &name);
    struct err e;
    snprintf(expected, sizeof expected, "spiffe://%s/%s/%s", flow->view->v->platform, kind, name);
    int r = tls_peer_check(ssl, clock_wall_ms(), id, &e);
    if (r >= 0 && !strcmp(id, expected))
        return true;
    metric_add(w->metrics, M_REFUSED_PROOF, 1);
    refused_tell(w->m, w->now_ms, name, "the mesh of %s did not prove to be %s %s: %s", host, kind,
        name, r < 0 ? e.message : id);
    return false;
}

bool call_answered(struct splice_flow *f, const uint8_t *p, size_t len)
{
    struct flow *flow = splice_app_of(f);
    enum mesh_status s;
    if (!mesh_answer_parse(p, len, &s))
        return false;
    return flow->data.database ? ends_answered(flow, s) : s == MESH_OK;
}

void call_joined(struct worker *w, struct splice_flow *f)
{
    struct flow *flow = splice_app_of(f);
    bad_clear(w, target_key(flow->order[flow->at - 1]));
}
