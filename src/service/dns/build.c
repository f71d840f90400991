/* SPDX-License-Identifier: Apache-2.0 */
#include "service/dns/priv.h"

#include "driver/mmdb/mmdb.h"

#include <errno.h>
#include <fcntl.h>

static void origin_done(struct geo_origin *o)
{
    free(o->overrides);
    *o = (struct geo_origin){0};
}

static void origin_of(const struct zone *z, int geo_fd, struct geo_origin *ret)
{
    struct stat st;
    size_t n;
    const struct zone_override *overrides = zone_overrides(z, &n);
    *ret = (struct geo_origin){.countries = *zone_countries(z), .n_overrides = n};
    ret->overrides = xcalloc(n + 1, sizeof *overrides);
    memcpy(ret->overrides, overrides, n * sizeof *overrides);
    if (geo_fd >= 0 && fstat(geo_fd, &st) == 0) {
        ret->dev = st.st_dev;
        ret->ino = st.st_ino;
        ret->size = st.st_size;
        ret->changed = st.st_mtim;
    }
}

static bool same_origin(const struct geo_origin *a, const struct geo_origin *b)
{
    return !memcmp(&a->countries, &b->countries, sizeof a->countries)
           && a->n_overrides == b->n_overrides
           && !memcmp(a->overrides, b->overrides, a->n_overrides * sizeof *a->overrides)
           && a->dev == b->dev && a->ino == b->ino && a->size == b->size
           && a->changed.tv_sec == b->changed.tv_sec && a->changed.tv_nsec == b->changed.tv_nsec;
}

static int add_network(
    void *ctx, const struct ip_prefix *prefix, const char *country, struct err *e)
{
    return geo_builder_add(ctx, GEO_DATABASE, prefix, country, e);
}

static int add_database(struct geo_builder *b, int fd, struct err *e)
{
    struct mmdb *m;
    int r = mmdb_open_fd(fd, &m, e);
    if (r < 0)
        return r;
    r = mmdb_each(m, add_network, b, e);
    mmdb_close(m);
    return r;
}

static int build_geo(const struct zone *z, int geo_fd, struct geo **ret, struct err *e)
{
    struct geo_builder *b = geo_builder_new(zone_countries(z));
    size_t n;
    const struct zone_override *o = zone_overrides(z, &n);
    int r = geo_fd >= 0 ? add_database(b, geo_fd, e) : 0;
    for (size_t i = 0; i < n && r >= 0; i++)
        r = geo_builder_add(b, GEO_OVERRIDE, &o[i].prefix, o[i].country, e);
    if (r >= 0)
        r = geo_builder_finish(b, ret, e);
    geo_builder_free(b);
    return r;
}

/* With the database or, when that fails, without it: everybody but the overrides then gets the
 * default list. */
static int build_geo_or_less(struct built *b, int geo_fd, struct err *ret_warning, struct err *e)
{
    struct dns_state *s = b->state;
    if (geo_fd >= 0 && build_geo(s->zone, geo_fd, &s->geo, ret_warning) >= 0)
        return 0;
    origin_done(&b->origin);
    origin_of(s->zone, -1, &b->origin);
    if (geo_fd >= 0)
        err_wrap(ret_warning, "every country gets the default list");
    return build_geo(s->zone, -1, &s->geo, e);
}

int dns_build(struct dns_service *s, const json_t *snapshot, int geo_fd, struct built *ret,
    struct err *ret_warning, struct err *e)
{
    *ret = (struct built){.state = xcalloc(1, sizeof *ret->state)};
    str_copy(ret->state->nsid, sizeof ret->state->nsid, s->nsid);
    int r = zone_new(snapshot, &ret->state->zone, e);
    if (r >= 0) {
        origin_of(ret->state->zone, geo_fd, &ret->origin);
        ret->same_geo = s->state->geo && same_origin(&ret->origin, &s->origin);
        if (ret->same_geo)
            ret->state->geo = s->state->geo;
        else
            r = build_geo_or_less(ret, geo_fd, ret_warning, e);
    }
    if (r >= 0)
        r = dns_selftest(ret->state, s->state, e);
    if (r < 0)
        dns_built_free(ret);
    return r;
}

void dns_built_free(struct built *b)
{
    if (!b->state)
        return;
    if (!b->same_geo)
        geo_free(b->state->geo);
    zone_free(b->state->zone);
    free(b->state);
    origin_done(&b->origin);
    b->state = NULL;
}
