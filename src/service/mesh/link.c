/* SPDX-License-Identifier: Apache-2.0 */
/* HOT PATH. Connections of other hosts' meshes: proven by certificate, checked against who may call
 * the module that they name, joined with an instance of this host. */
#include "service/mesh/priv.h"

#include "base/clock/clock.h"
#include "base/str/str.h"

#define LOCAL_MS 3500u /* as in call.c */
#define EARLY_MS 1000u /* views of two hosts differ by no more, and who called has patience for it */

enum splice_verdict link_accepted(struct worker *w, struct splice_flow *f, SSL **ssl)
{
    struct flow *flow = splice_app_of(f);
    if (!flow->view->keys)
        return SPLICE_REFUSE;
    *ssl = SSL_new(flow->view->keys->server);
    if (!*ssl)
        return SPLICE_REFUSE;
    SSL_set_accept_state(*ssl);
    return SPLICE_HEAD;
}

enum splice_verdict link_secured(struct worker *w, struct splice_flow *f, SSL *ssl)
{
    struct flow *flow = splice_app_of(f);
    struct err e;
    if (tls_peer_check(ssl, clock_wall_ms(), flow->target_id, &e) < 0) {
        metric_add(w->metrics, M_REFUSED_PROOF, 1);
        refused_tell(w->m, w->now_ms, "mesh", "a connection of another host: %s", e.message);
        return SPLICE_REFUSE;
    }
    const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
    str_copy(flow->caller, sizeof flow->caller, name ? name : "");
    return SPLICE_HEAD;
}

/* What was asked for in the handshake, by whose certificate it was answered. */
bool link_is_secured_as(const struct flow *flow, const char *module)
{
    size_t n = strlen(module);
    return !strncmp(flow->caller, module, n) && !strcmp(flow->caller + n, ".mcp.internal");
}

static enum mesh_status find_target(
    struct worker *w, struct flow *flow, const struct mesh_hello *hello)
{
    const struct mesh_view *v = flow->view->v;
    flow->module = mesh_view_module(v, hello->name);
    if (!flow->module || !link_is_secured_as(flow, hello->name))
        return MESH_UNKNOWN;
    if (!mesh_may_link(v, flow->target_id, flow->module)) {
        metric_add(w->metrics, M_REFUSED_NEEDS, 1);
        refused_tell(w->m, w->now_ms, flow->target_id, "%s tried to call %s: not in its needs",
            flow->target_id, flow->module->name);
        return MESH_DENIED;
    }
    flow->order[0] = mesh_local_target(flow->module, hello->unit, w->next++);
    if (!flow->order[0])
        return MESH_UNKNOWN;
    flow->n_order = 1;
    return MESH_OK;
}

void link_answer(struct splice_flow *f, enum mesh_status s)
{
    uint8_t answer[MESH_ANSWER_SIZE];
    mesh_answer_format(s, answer);
    splice_reply(f, (const char *)answer, sizeof answer);
}

enum splice_verdict link_again(struct worker *w, struct splice_flow *f, SSL *ssl)
{
    struct flow *flow = splice_app_of(f);
    ends_left(flow);
    struct flow next = {.view = flow->view, .kind = TAG_LINK, .again = true, .ssl = ssl};
    str_copy(next.caller, sizeof next.caller, flow->caller);
    *flow = next;
    return SPLICE_HEAD;
}

/* Each call is judged by the present view, on a connection whose certificate is still valid, and
 * not over a change of certificates: who calls then begins with a new connection. */
static bool is_fresh(struct worker *w, struct flow *flow)
{
    struct err e;
    if (!flow->again)
        return true;
    if (!w->view || w->view->keys != flow->view->keys
        || tls_peer_check(flow->ssl, clock_wall_ms(), flow->target_id, &e) < 0)
        return false;
    struct view *old = flow->view;
    flow->view = view_ref(w->view);
    view_unref(old);
    return true;
}

/* The caller's host heard of an instance before this one was told: it may be here in a moment. */
static enum splice_verdict go_on(
    struct worker *w, struct splice_flow *f, const struct mesh_hello *hello)
{
    struct flow *flow = splice_app_of(f);
    enum mesh_status s = find_target(w, flow, hello);
    if (s == MESH_OK) {
        metric_add(w->metrics, M_LINKS, 1);
        return SPLICE_DIAL;
    }
    if (!flow->early.until_ms) {
        flow->early.until_ms = w->now_ms + EARLY_MS;
        str_copy(flow->early.name, sizeof flow->early.name, hello->name);
        str_copy(flow->early.unit, sizeof flow->early.unit, hello->unit);
    }
    bool patient = *hello->unit && link_is_secured_as(flow, hello->name);
    if (s == MESH_UNKNOWN && patient && w->now_ms < flow->early.until_ms) {
        splice_wait_for(f, (unsigned)(flow->early.until_ms - w->now_ms));
        return SPLICE_WAIT;
    }
    link_answer(f, s);
    return SPLICE_REPLY;
}

/* There is a newer view, or the time is over. */
enum splice_verdict link_waited(struct worker *w, struct splice_flow *f)
{
    struct flow *flow = splice_app_of(f);
    struct mesh_hello hello = {.kind = MESH_TO_MODULE};
    if (w->view->keys != flow->view->keys) /* as in is_fresh() */
        return SPLICE_REFUSE;
    struct view *old = flow->view;
    flow->view = view_ref(w->view);
    view_unref(old);
    str_copy(hello.name, sizeof hello.name, flow->early.name);
    str_copy(hello.unit, sizeof hello.unit, flow->early.unit);
    return go_on(w, f, &hello);
}

enum splice_verdict link_head(
    struct worker *w, struct splice_flow *f, const char *p, size_t len, size_t *used)
{
    struct mesh_hello hello;
    int n = mesh_hello_parse((const uint8_t *)p, len, &hello);
    if (n == 0)
        return SPLICE_HEAD;
    if (n < 0 || !is_fresh(w, splice_app_of(f)))
        return SPLICE_REFUSE;
    *used = (size_t)n;
    if (hello.kind == MESH_TO_DATABASE)
        return ends_linked(w, f, &hello);
    return go_on(w, f, &hello);
}

bool link_dial(struct worker *w, struct splice_flow *f, struct splice_dial *d)
{
    struct flow *flow = splice_app_of(f);
    if (flow->at == flow->n_order)
        return false;
    d->address = flow->order[flow->at++]->addresses[0];
    d->port = flow->module->port;
    d->timeout_ms = LOCAL_MS;
    return true;
}
