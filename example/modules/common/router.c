/* SPDX-License-Identifier: Apache-2.0 */
#include "json.h"
#include "priv.h"

#include <string.h>
#include <unistd.h>

static void answer_health(const struct http_request *request, struct reply *reply)
{
    (void)request;
    reply->type = "text/plain";
    buf_add(&reply->body, SPAN("ok\n"));
}

static void add_member(struct buf *b, const char *key, const char *value)
{
    buf_printf(b, "\"%s\":", key);
    json_add(b, value);
    buf_add(b, SPAN(","));
}

static void answer_whoami(const struct http_request *request, struct reply *reply)
{
    (void)request;
    const struct identity *me = module_identity();
    struct buf *b = &reply->body;
    buf_add(b, SPAN("{"));
    add_member(b, "module", me->module);
    add_member(b, "region", me->region);
    add_member(b, "instance", me->instance);
    add_member(b, "host", me->host);
    buf_printf(b, "\"pid\":%ld,\"uptime_s\":%llu}\n", (long)getpid(),
        (unsigned long long)((now_ms() - me->started_ms) / 1000));
}

static const struct route common_routes[] = {
    {"GET", "/healthz", answer_health},
    {"GET", "/whoami", answer_whoami},
    {"GET", "/v1/whoami", answer_whoami},
};

static bool path_matches(struct span path, const char *pattern)
{
    size_t n = strlen(pattern);
    if (pattern[n - 1] == '*')
        return span_starts(path, (struct span){pattern, n - 1});
    return span_equal(path, pattern);
}

/* The route that answered, or NULL; *path_known tells 405 from 404. */
static const struct route *try_routes(const struct route *routes, size_t count,
    const struct http_request *request, struct reply *reply, bool *path_known)
{
    bool head = span_equal(request->method, "HEAD");
    for (size_t i = 0; i < count; i++) {
        if (!path_matches(request->path, routes[i].path))
            continue;
        *path_known = true;
        if (!span_equal(head ? SPAN("GET") : request->method, routes[i].method))
            continue;
        routes[i].answer(request, reply);
        return &routes[i];
    }
    return NULL;
}

bool router_answer(
    const struct module *module, const struct http_request *request, struct reply *reply)
{
    bool known = false;
    const struct route *faults;
    size_t fault_count = fault_routes(&faults);
    size_t common_count = sizeof(common_routes) / sizeof(common_routes[0]);
    const struct route *taken = try_routes(common_routes, common_count, request, reply, &known);
    if (!taken)
        taken = try_routes(module->routes, module->route_count, request, reply, &known);
    if (!taken)
        taken = try_routes(faults, fault_count, request, reply, &known);
    if (!taken)
        reply_error(reply, known ? 405 : 404, known ? "method not allowed" : "no such path");
    return taken && taken->quiet;
}

void reply_error(struct reply *reply, int status, const char *text)
{
    reply->status = status;
    reply->type = "application/json";
    reply->body.n = 0;
    reply->body.full = false;
    buf_add(&reply->body, SPAN("{\"error\":"));
    json_add(&reply->body, text);
    buf_add(&reply->body, SPAN("}\n"));
}
