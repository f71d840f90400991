/* SPDX-License-Identifier: Apache-2.0 */
/* Keys, and what an unsafe request makes invalid (RFC 9111 section 4.4). */
#include "domain/cache/cache.h"

#include "proto/uri/uri.h"

#include <string.h>

bool cache_invalidates(const struct cache_request *q, unsigned status)
{
    return !q->safe && status >= 200 && status < 400;
}

/* No host and no path has a NUL, so no two targets share a key. */
static bool put_key(struct http_text host, struct http_text path, bool has_query,
    struct http_text query, struct http_out *out)
{
    http_out_text(out, host);
    http_out_mem(out, "", 1);
    http_out_text(out, path);
    if (has_query) {
        http_out_str(out, "?");
        http_out_text(out, query);
    }
    return !out->full;
}

bool cache_key_format(const struct cache_target *t, struct http_out *out)
{
    return put_key(t->host, t->path, t->has_query, t->query, out);
}

static bool take_scheme(struct http_text *t, bool *tls)
{
    static const struct http_text schemes[2] = {{"http:", 5}, {"https:", 6}};
    for (int i = 0; i < 2; i++) {
        size_t len = schemes[i].len;
        if (t->len < len || !fields_same_nocase((struct http_text){t->p, len}, schemes[i]))
            continue;
        *tls = i;
        t->p += len;
        t->len -= len;
        return true;
    }
    return false;
}

/* Has the reference a scheme (RFC 3986 section 3.1)? */
static bool has_scheme(struct http_text t)
{
    for (size_t i = 0; i < t.len && !strchr("/?#", t.p[i] ? t.p[i] : '/'); i++)
        if (t.p[i] == ':')
            return true;
    return false;
}

static uint16_t port_or_default(uint16_t port, bool tls)
{
    return port ? port : tls ? 443 : 80;
}

/* Takes "//authority" off; false: of another origin, or not valid. */
static bool take_authority(const struct cache_target *t, struct http_text *rest, bool tls)
{
    struct uri_authority a;
    char host[256];
    size_t end = 2;
    while (end < rest->len && rest->p[end] != '/' && rest->p[end] != '?')
        end++;
    if (!uri_authority_parse(rest->p + 2, end - 2, &a) || a.host_len > sizeof host)
        return false;
    size_t len = uri_host_normalise(&a, host);
    rest->p += end;
    rest->len -= end;
    return tls == t->tls && port_or_default(a.port, tls) == port_or_default(t->port, t->tls)
           && fields_same((struct http_text){host, len}, t->host);
}

static struct http_text cut_at(struct http_text t, char c, struct http_text *behind)
{
    const char *at = t.len ? memchr(t.p, c, t.len) : NULL;
    size_t len = at ? (size_t)(at - t.p) : t.len;
    *behind = at ? (struct http_text){at + 1, t.len - len - 1} : (struct http_text){0};
    return (struct http_text){t.p, len};
}

bool cache_location_key(
    const struct cache_target *t, struct http_text location, struct http_out *out)
{
    char path[HTTP_TARGET_MAX * 2];
    struct http_out full = {.p = path, .cap = sizeof path};
    struct http_text fragment, query, rest = cut_at(fields_trim(location), '#', &fragment);
    bool tls = t->tls;
    bool absolute = take_scheme(&rest, &tls);
    if ((!absolute && has_scheme(rest))
        || (absolute && (rest.len < 2 || memcmp(rest.p, "//", 2) != 0)))
        return false;
    bool authority = rest.len >= 2 && !memcmp(rest.p, "//", 2);
    if (authority && !take_authority(t, &rest, tls))
        return false;
    struct http_text p = cut_at(rest, '?', &query);
    bool has_query = p.len < rest.len;
    if (!p.len
        && !authority) { /* RFC 3986 section 5.2.2: the base's path, and its query without one */
        if (!has_query) {
            query = t->query;
            has_query = t->has_query;
        }
        p = t->path;
    } else if (!p.len) {
        http_out_str(&full, "/");
    } else if (p.p[0] != '/') { /* section 5.2.3: up to the last "/" of the base */
        size_t dir = t->path.len;
        while (dir && t->path.p[dir - 1] != '/')
            dir--;
        http_out_text(&full, (struct http_text){t->path.p, dir});
    }
    http_out_text(&full, p);
    if (full.full)
        return false;
    int n = uri_path_normalise(path, full.len, 0, path);
    return n > 0 && put_key(t->host, (struct http_text){path, (size_t)n}, has_query, query, out);
}
