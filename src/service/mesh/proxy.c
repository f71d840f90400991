/* SPDX-License-Identifier: Apache-2.0 */
/* The way out. A unit says where it wants to go by CONNECT or in an absolute http target; names that
 * its module's egress: holds are resolved here, never by the unit, and the connection goes to what
 * the resolver said and to nothing that is the platform's or the machine's own. Plain requests are
 * written anew and are the last of their connection, so that each is looked at. */
#include "service/mesh/priv.h"

#include "base/str/str.h"
#include "proto/http/http.h"

#define OUT_MS 5000u /* of one attempt: the outside is far */

enum splice_verdict proxy_accepted(
    struct worker *w, struct splice_flow *f, const struct ip_addr *from)
{
    struct flow *flow = splice_app_of(f);
    const struct mesh_caller *c = call_caller(w, flow, from, "the outside");
    if (!c)
        return SPLICE_REFUSE;
    flow->out.caller = c->module;
    return SPLICE_HEAD;
}

/* -- answers of our own ------------------------------------------------------------------------ */

static enum splice_verdict answer(struct splice_flow *f, unsigned status, const char *reason)
{
    char text[512];
    int n = snprintf(text, sizeof text,
        "HTTP/1.1 %u %s\r\nContent-Type: text/plain\r\nContent-Length: %zu\r\n"
        "Connection: close\r\n\r\n%s\n",
        status, http_status_reason(status), strlen(reason) + 1, reason);
    splice_reply(f, text, MIN((size_t)MAX(n, 0), sizeof text - 1));
    return SPLICE_REPLY;
}

static enum splice_verdict refuse(
    struct worker *w, struct splice_flow *f, enum mesh_metric m, const char *why)
{
    struct flow *flow = splice_app_of(f);
    const struct outside *out = &flow->out;
    char reason[320];
    snprintf(reason, sizeof reason, "%s:%u: %s", out->name, out->port, why);
    metric_add(w->metrics, m, 1);
    refused_tell(w->m, w->now_ms, out->caller->name, "%s tried to reach %s:%u: %s",
        out->caller->name, out->name, out->port, why);
    return answer(f, 403, reason);
}

/* -- the request ------------------------------------------------------------------------------- */

/* As it is declared: lower case, no closing dot. */
static bool take_name(struct outside *out, struct http_text host, uint16_t port)
{
    size_t n = host.len && host.p[host.len - 1] == '.' ? host.len - 1 : host.len;
    if (!n || n >= sizeof out->name)
        return false;
    for (size_t i = 0; i < n; i++) {
        char c = host.p[i];
        out->name[i] = c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
    }
    out->name[n] = '\0';
    out->port = port;
    return true;
}

static enum splice_verdict decide(struct worker *w, struct splice_flow *f)
{
    struct flow *flow = splice_app_of(f);
    const struct mesh_caller *c = mesh_view_caller(flow->view->v, &flow->from);
    if (c && c->waits)
        return answer(f, 403, c->waits);
    if (!mesh_may_leave(flow->out.caller, flow->out.name, flow->out.port))
        return refuse(w, f, M_REFUSED_EGRESS, "not in its egress");
    metric_add(w->metrics, M_OUT, 1);
    resolve_ask(w, f); /* or again, after a moment */
    return SPLICE_WAIT;
}

/* What follows a plain head is its content, as it was framed; fields of this connection stay here. */
static bool forward_plain(struct splice_flow *f, const struct http_request *r)
{
    static const struct http_text slash = {"/", 1};
    char head[SPLICE_HEAD_MAX + 256];
    struct http_out o = {.p = head, .cap = sizeof head};
    http_out_text(&o, r->method);
    http_out_str(&o, " ");
    http_out_text(&o, r->path.len ? r->path : slash);
    if (r->has_query) {
        http_out_str(&o, "?");
        http_out_text(&o, r->query);
    }
    http_out_str(&o, " HTTP/1.1\r\nHost: ");
    http_out_text(&o, r->authority);
    http_out_str(&o, "\r\nConnection: close\r\n");
    for (size_t i = 0; i < r->fields.n; i++) {
        const struct http_field *x = &r->fields.v[i];
        if (x->id == HTTP_FIELD_HOST || x->id == HTTP_FIELD_PROXY_AUTHORIZATION
            || (x->hop && x->id != HTTP_FIELD_TRANSFER_ENCODING))
            continue;
        http_out_text(&o, x->name);
        http_out_str(&o, ": ");
        http_out_text(&o, x->value);
        http_out_str(&o, "\r\n");
    }
    http_out_str(&o, "\r\n");
    return !o.full && splice_forward(f, head, o.len);
}

static enum splice_verdict plain_head(
    struct worker *w, struct splice_flow *f, const char *p, size_t len, size_t *used)
{
    struct flow *flow = splice_app_of(f);
    struct http_request r;
    struct http_text host;
    uint16_t port;
    size_t scanned = 0;
    int n = http_request_parse(p, len, &scanned, &r);
    if (n == 0)
        return SPLICE_HEAD;
    if (n < 0)
        return answer(f, 400, http_reject_text((enum http_reject)-n));
    if (!http_text_is_nocase(r.scheme, "http")
        || !http_authority_split(r.authority, 80, &host, &port)
        || !take_name(&flow->out, host, port))
        return answer(f, 400, "this proxy takes CONNECT, and absolute http targets with a name");
    *used = (size_t)n;
    enum splice_verdict v = decide(w, f);
    return v != SPLICE_WAIT || forward_plain(f, &r) ? v : answer(f, 400, "the head is too long");
}

enum splice_verdict proxy_head(
    struct worker *w, struct splice_flow *f, const char *p, size_t len, size_t *used)
{
    struct flow *flow = splice_app_of(f);
    struct http_text host;
    uint16_t port;
    int n = http_connect_parse(p, len, &host, &port);
    if (n == 0)
        return SPLICE_HEAD;
    if (n == -HTTP_REJECT_METHOD)
        return plain_head(w, f, p, len, used);
    if (n < 0)
        return answer(f, 400, http_reject_text((enum http_reject)-n));
    if (!take_name(&flow->out, host, port))
        return answer(f, 400, "no name to connect to");
    flow->out.connect = true;
    *used = (size_t)n;
    return decide(w, f);
}

/* -- where it goes ----------------------------------------------------------------------------- */

enum splice_verdict proxy_waited(struct worker *w, struct splice_flow *f)
{
    struct flow *flow = splice_app_of(f);
    if (++flow->out.tries < ASK_TRIES) {
        resolve_ask(w, f);
        return SPLICE_WAIT;
    }
    metric_add(w->metrics, M_NOT_RESOLVED, 1);
    return answer(f, 504, "the resolver does not answer");
}

enum splice_verdict proxy_resolved(struct worker *w, struct splice_flow *f)
{
    struct flow *flow = splice_app_of(f);
    if (flow->out.n_addresses)
        return SPLICE_DIAL;
    if (flow->out.inside)
        return refuse(w, f, M_REFUSED_INSIDE, "its addresses are not outside");
    metric_add(w->metrics, M_NOT_RESOLVED, 1);
    return answer(f, 502, "the name has no address");
}

bool proxy_dial(struct worker *w, struct splice_flow *f, struct splice_dial *d)
{
    struct flow *flow = splice_app_of(f);
    if (flow->at == flow->out.n_addresses)
        return false;
    d->address = flow->out.addresses[flow->at++];
    d->port = flow->out.port;
    d->timeout_ms = OUT_MS;
    return true;
}

void proxy_joined(struct splice_flow *f)
{
    static const char established[] = "HTTP/1.1 200 Connection established\r\n\r\n";
    const struct flow *flow = splice_app_of(f);
    if (flow->out.connect)
        splice_reply(f, established, sizeof established - 1);
}

void proxy_failed(struct splice_flow *f)
{
    answer(f, 502, "nobody answers there");
}
