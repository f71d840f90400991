/* SPDX-License-Identifier: Apache-2.0 */
/* HOT PATH. What happens to a valid request, filter by filter in the order of the table. A filter
 * answers the request, or leaves it to the next; the last one forwards it. A new concern is a new
 * row. */
#include "service/edge/cached.h"

enum verdict {
    NEXT,
    ANSWERED,
};

#define FILTERS(X)                                                                                 \
    X(find_name) /* whose name is it? unknown names get nothing, not even a redirect */            \
    X(health)    /* /healthz of every name is the edge's own */                                    \
    X(known_name)                                                                                  \
    X(server_options) /* OPTIONS * */                                                              \
    X(use_https)      /* port 80 */                                                                \
    X(find_route)                                                                                  \
    X(authenticate)                                                                                \
    X(cache) /* may answer instead of an instance */                                               \
    X(forward)

static enum verdict find_name(struct http_tx *tx, struct edge_request *r)
{
    if (!r->view)
        return NEXT;
    r->route_name = route_find_name(r->view->s->routes, tx->name.p, tx->name.len);
    if (r->route_name)
        r->name = &r->view->s->names[r->route_name->index];
    return NEXT;
}

static enum verdict health(struct http_tx *tx, struct edge_request *r)
{
    if (!http_text_is(tx->path, "/healthz"))
        return NEXT;
    char unknown[512];
    struct http_reply reply = {
        .type = "application/json", .fields = {"Cache-Control: no-store\r\n", 25}};
    if (r->name) {
        reply.status = r->name->ready ? 200 : 503;
        reply.body = (struct http_text){r->name->health, r->name->health_len};
    } else { /* the name is a host: nothing in it needs escaping */
        const char *why = r->view ? "the name has no route" : "no snapshot of routes";
        reply.status = 503;
        int n = snprintf(unknown, sizeof unknown,
            "{\"missing\":[\"%s\"],\"name\":\"%.*s\",\"ready\":false,\"region\":\"%s\"}\n", why,
            (int)tx->name.len, tx->name.p, r->view ? r->view->s->routes->region : "");
        reply.body = (struct http_text){unknown, MIN((size_t)n, sizeof unknown - 1)};
    }
    r->quiet = reply.status == 200;
    http_tx_reply(tx, &reply);
    return ANSWERED;
}

static enum verdict known_name(struct http_tx *tx, struct edge_request *r)
{
    if (r->name)
        return NEXT;
    if (r->view)
        http_tx_error(tx, 421, "this platform does not serve that name", NULL);
    else
        http_tx_error(tx, 503, "the edge has no routes yet", "Retry-After: 1\r\n");
    return ANSWERED;
}

static enum verdict server_options(struct http_tx *tx, struct edge_request *r)
{
    if (!http_text_is(tx->path, "*"))
        return NEXT;
    http_tx_reply(tx, &(struct http_reply){.status = 204});
    return ANSWERED;
}

static enum verdict use_https(struct http_tx *tx, struct edge_request *r)
{
    if (tx->tls || r->view->s->routes->serve_http)
        return NEXT;
    size_t cap = 32 + tx->name.len + tx->path.len + tx->request->query.len;
    char *line = http_tx_alloc(tx, cap);
    if (!line) {
        http_tx_error(tx, 414, "the request target is too long to redirect", NULL);
        return ANSWERED;
    }
    struct http_out o = {.p = line, .cap = cap};
    http_out_str(&o, "Location: https://");
    http_out_text(&o, tx->name);
    http_out_text(&o, tx->path);
    if (tx->request->has_query) {
        http_out_str(&o, "?");
        http_out_text(&o, tx->request->query);
    }
    http_out_str(&o, "\r\n");
    http_tx_reply(tx, &(struct http_reply){.status = 308, .fields = {line, o.len}});
    return ANSWERED;
}

static enum verdict find_route(struct http_tx *tx, struct edge_request *r)
{
    r->rule = route_find_rule(r->route_name, tx->path.p, tx->path.len);
    if (r->rule)
        return NEXT;
    http_tx_error(tx, 404, "no route of this name has that path", NULL);
    return ANSWERED;
}

/* Fail closed: a route that wants a token is served only if the platform says that nobody can check
 * one, in which case the edge's status and metrics warn of it. */
static enum verdict authenticate(struct http_tx *tx, struct edge_request *r)
{
    if (r->rule->auth == AUTH_NONE || r->view->s->routes->identity_absent)
        return NEXT;
    http_tx_error(tx, 401, "this route needs a token, and this edge cannot check tokens yet",
        "WWW-Authenticate: Bearer\r\n");
    return ANSWERED;
}

static enum verdict cache(struct http_tx *tx, struct edge_request *r)
{
    return edge_cache_request(tx, r) ? ANSWERED : NEXT;
}

static enum verdict forward(struct http_tx *tx, struct edge_request *r)
{
    const struct route_module *m = r->rule->module;
    if (m->n_ready) {
        http_tx_forward(tx, r->view->s->targets[m->index], m->n_ready);
        return ANSWERED;
    }
    if (edge_cache_unreachable(tx, r))
        return ANSWERED;
    tx->end = HTTP_END_NO_INSTANCE;
    http_tx_error(tx, 503, "no instance is ready in this region", "Retry-After: 1\r\n");
    return ANSWERED;
}

static enum verdict (*const filters[])(struct http_tx *, struct edge_request *) = {
#define X(name) name,
    FILTERS(X)
#undef X
};

void edge_filter(struct http_tx *tx, struct edge_request *r)
{
    for (size_t i = 0; i < ARRAY_SIZE(filters); i++)
        if (filters[i](tx, r) == ANSWERED)
            return;
    ASSERT(!"the last filter answers");
}

void edge_filter_forward(struct http_tx *tx, struct edge_request *r)
{
    (void)forward(tx, r);
}

bool edge_filter_again(struct http_tx *tx, struct edge_request *r)
{
    find_name(tx, r);
    if (!r->route_name)
        return false;
    r->rule = route_find_rule(r->route_name, tx->path.p, tx->path.len);
    if (!r->rule || !r->rule->module->n_ready)
        return false;
    http_tx_retarget(tx, r->view->s->targets[r->rule->module->index], r->rule->module->n_ready);
    return true;
}
