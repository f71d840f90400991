/* SPDX-License-Identifier: Apache-2.0 */
#include "net/probe/probe.h"

#include "net/probe/priv.h"

#include "base/curl/curl.h"
#include "base/file/file.h"
#include "base/json/json.h"

#include <errno.h>
#include <inttypes.h>

#define CONNECTIONS_MAX 1024L /* idle ones kept, over all regions and names */
#define CA_CACHE_SECONDS 60L  /* a rotated bundle counts after this */

/* One address of a probe. */
struct shot {
    struct group *group;
    struct curl_request *request;
    CURL *easy;
    struct curl_slist *to; /* libcurl reads it while the request runs */
    char address[IP_TEXT_SIZE];
    bool no_route; /* from here: says nothing about there */
    struct probe_result result;
};

/* One probe: all addresses of a region for one name. */
struct group {
    struct prober *owner;
    struct group *next;
    char *region;
    uint64_t started_ns;
    probe_done_fn done;
    void *ctx;
    size_t n, left;
    struct shot shots[PROBE_ADDRESSES_MAX];
};

static const char *const class_names[] = {
    "timeout", "refused", "unreachable", "tls", "protocol", "app", "degraded", "ok"};

const char *probe_class_name(enum probe_class c)
{
    return class_names[c];
}

int prober_new(uv_loop_t *loop, const char *ca_file, struct prober **ret, struct err *e)
{
    if (!file_exists(ca_file)) {
        err_set(e, ERR_NOT_FOUND, "the CA bundle %s does not exist", ca_file);
        err_fix(e, "join the platform again, or restore the file");
        return ERR_NOT_FOUND;
    }
    struct prober *p = xcalloc(1, sizeof *p);
    p->loop = loop;
    p->ca_file = xstrdup(ca_file);
    int r = curl_loop_new(loop, &p->curl, e);
    if (r < 0) {
        free(p->ca_file);
        free(p);
        return r;
    }
    curl_loop_set_connections(p->curl, CONNECTIONS_MAX);
    *ret = p;
    return 0;
}

static void free_group(struct group *g)
{
    for (struct group **at = &g->owner->groups; *at; at = &(*at)->next)
        if (*at == g) {
            *at = g->next;
            break;
        }
    for (size_t i = 0; i < g->n; i++)
        curl_slist_free_all(g->shots[i].to);
    free(g->region);
    free(g);
}

void prober_free(struct prober *p)
{
    if (!p)
        return;
    while (p->groups) {
        for (size_t i = 0; i < p->groups->n; i++)
            if (p->groups->shots[i].request)
                curl_cancel(p->groups->shots[i].request);
        free_group(p->groups);
    }
    probe_reach_cancel_all(p);
    curl_loop_free(p->curl);
    free(p->ca_file);
    free(p);
}

static bool works(const struct shot *s)
{
    return s->result.class >= PROBE_DEGRADED;
}

/* Half of the addresses is enough: clients try the next one, and one bad address must not move a
 * country. */
static void finish(struct group *g)
{
    size_t tried = 0, good = 0;
    const struct shot *best_bad = NULL, *worst_good = NULL;
    for (size_t i = 0; i < g->n; i++) {
        const struct shot *s = &g->shots[i];
        tried += !s->no_route;
        good += works(s);
        if (works(s) && (!worst_good || s->result.class < worst_good->result.class))
            worst_good = s;
        if (!works(s)
            && (!best_bad || s->result.class > best_bad->result.class || best_bad->no_route))
            best_bad = s;
    }
    struct probe_result r = good && 2 * good >= tried ? worst_good->result : best_bad->result;
    r.ms = (unsigned)((uv_hrtime() - g->started_ns) / 1000000);
    probe_done_fn done = g->done;
    void *ctx = g->ctx;
    free_group(g);
    done(ctx, &r);
}

static enum probe_class class_of_errno(long err, bool *ret_no_route)
{
    *ret_no_route = err == ENETUNREACH || err == EADDRNOTAVAIL || err == EAFNOSUPPORT;
    return err == ECONNREFUSED ? PROBE_REFUSED
           : err == ETIMEDOUT  ? PROBE_TIMEOUT
                               : PROBE_UNREACHABLE;
}

static enum probe_class class_of_code(CURLcode code, long err, bool *ret_no_route)
{
    switch (code) {
    case CURLE_OPERATION_TIMEDOUT:
        return PROBE_TIMEOUT;
    case CURLE_COULDNT_CONNECT:
        return class_of_errno(err, ret_no_route);
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CIPHER:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
        return PROBE_TLS;
    case CURLE_GOT_NOTHING:
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
        return PROBE_UNREACHABLE;
    default:
        return PROBE_PROTOCOL;
    }
}

/* 200 and 503 are the edge's two words; a body that names another region comes from somewhere else.
 */
static enum probe_class class_of_answer(
    const struct shot *s, long status, const struct str *body, char *detail, size_t size)
{
    _cleanup_json_ json_t *j = NULL;
    if (body->len && json_parse(body->buf, body->len, &j, NULL) < 0)
        j = NULL;
    const char *region = json_opt_str(j, "region", "");
    if (s->group->region && *region && strcmp(region, s->group->region) != 0) {
        snprintf(detail, size, "%s answers for region %.60s", s->address, region);
        return PROBE_PROTOCOL;
    }
    if (status == 200)
        return json_opt_bool(j, "degraded", false) ? PROBE_DEGRADED : PROBE_OK;
    snprintf(detail, size, "%s says HTTP %ld", s->address, status);
    return status == 503 ? PROBE_APP : PROBE_PROTOCOL;
}

static void on_done(void *ctx, const struct curl_done *d)
{
    struct shot *s = ctx;
    struct probe_result *r = &s->result;
    s->request = NULL;
    if (d->code == CURLE_OK) {
        r->status = d->status;
        r->class = class_of_answer(s, d->status, d->body, r->detail, sizeof r->detail);
    } else {
        long os_error = 0;
        curl_easy_getinfo(s->easy, CURLINFO_OS_ERRNO, &os_error);
        r->class = class_of_code(d->code, os_error, &s->no_route);
        snprintf(r->detail, sizeof r->detail, "%s: %s", s->address, d->error);
    }
    if (--s->group->left == 0)
        finish(s->group);
}

static void start_shot(
    struct shot *s, const struct probe_request *req, const struct ip_addr *to, bool fresh)
{
    const struct prober *p = s->group->owner;
    ip_format(to, s->address);
    _cleanup_free_ char *url = xasprintf("https://%s:%u/healthz", req->name, req->port);
    _cleanup_free_ char *connect_to =
        xasprintf(to->family == 6 ? "::[%s]:%u" : "::%s:%u", s->address, req->port);
    s->to = curl_slist_append(NULL, connect_to);
    ASSERT(s->to);
    CURL *easy = s->easy = curl_easy_prepared(url, (long)req->timeout_ms);
    curl_easy_setopt(easy, CURLOPT_CONNECT_TO, s->to);
    curl_easy_setopt(easy, CURLOPT_CAINFO, p->ca_file);
    curl_easy_setopt(easy, CURLOPT_CAPATH, NULL); /* Debian's default: nobody else's word counts */
    curl_easy_setopt(easy, CURLOPT_CA_CACHE_TIMEOUT, CA_CACHE_SECONDS);
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(easy, CURLOPT_USERAGENT, "mcp-probe");
    curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, (long)fresh);
    curl_easy_setopt(easy, CURLOPT_FORBID_REUSE, (long)fresh);
    s->request = curl_start(p->curl, easy, NULL, PROBE_BODY_MAX, NULL, on_done, s);
}

void prober_start(struct prober *p, const struct probe_request *req, probe_done_fn done, void *ctx)
{
    size_t n = MIN(req->n_addresses, (size_t)PROBE_ADDRESSES_MAX);
    ASSERT(n > 0);
    bool fresh = req->fresh || ++p->count % PROBE_FRESH_EVERY == 0;
    struct group *g = xcalloc(1, sizeof *g);
    *g = (struct group){.owner = p,
        .next = p->groups,
        .region = req->region ? xstrdup(req->region) : NULL,
        .started_ns = uv_hrtime(),
        .done = done,
        .ctx = ctx,
        .n = n,
        .left = n};
    p->groups = g;
    for (size_t i = 0; i < n; i++) {
        g->shots[i].group = g;
        start_shot(&g->shots[i], req, &req->addresses[i], fresh);
    }
}
