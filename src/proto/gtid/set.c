/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/gtid/priv.h"

void gtid_set_init(struct gtid_set *s, enum gtid_flavour flavour)
{
    *s = (struct gtid_set){.flavour = flavour};
}

void gtid_set_done(struct gtid_set *s)
{
    free(s->at);
    free(s->ranges);
    gtid_set_init(s, s->flavour);
}

void gtid_ranges_done(struct gtid_ranges *r)
{
    free(r->v);
    *r = (struct gtid_ranges){.flavour = r->flavour};
}

static void *copy(const void *p, size_t bytes)
{
    return bytes ? memcpy(xmalloc(bytes), p, bytes) : NULL;
}

void gtid_set_copy(const struct gtid_set *s, struct gtid_set *ret)
{
    struct gtid_set fresh = {.flavour = s->flavour, .n = s->n};
    if (s->flavour == GTID_MARIADB)
        fresh.at = copy(s->at, s->n * sizeof *s->at);
    else
        fresh.ranges = copy(s->ranges, s->n * sizeof *s->ranges);
    *ret = fresh;
}

void gtid_build_at(struct gtid_build *b, const struct gtid *g)
{
    struct gtid *slot = GROW(b->set.at, b->set.n, b->cap);
    *slot = *g;
}

void gtid_build_range(struct gtid_build *b, const struct gtid_range *r)
{
    struct gtid_range *slot = GROW(b->set.ranges, b->set.n, b->cap);
    *slot = *r;
}

static int cmp_u64(uint64_t a, uint64_t b)
{
    return a < b ? -1 : a > b;
}

static int by_domain(const void *pa, const void *pb)
{
    const struct gtid *a = pa, *b = pb;
    if (a->domain != b->domain)
        return cmp_u64(a->domain, b->domain);
    return a->seq != b->seq ? cmp_u64(a->seq, b->seq) : cmp_u64(a->server, b->server);
}

int gtid_range_owner_cmp(const struct gtid_range *a, const struct gtid_range *b)
{
    if (a->domain != b->domain)
        return cmp_u64(a->domain, b->domain);
    int r = memcmp(a->uuid, b->uuid, sizeof a->uuid);
    return r ? r : strcmp(a->tag, b->tag);
}

static int by_owner(const void *pa, const void *pb)
{
    const struct gtid_range *a = pa, *b = pb;
    int r = gtid_range_owner_cmp(a, b);
    return r ? r : cmp_u64(a->from, b->from);
}

/* Adjacent and overlapping intervals of one owner become one. */
static void merge(struct gtid_set *s)
{
    size_t n = 0;
    for (size_t i = 0; i < s->n; i++) {
        struct gtid_range *last = n ? &s->ranges[n - 1] : NULL, *r = &s->ranges[i];
        /* to + 1 does not wrap: numbers end at INT64_MAX */
        if (last && gtid_range_owner_cmp(last, r) == 0 && r->from <= last->to + 1)
            last->to = MAX(last->to, r->to);
        else
            s->ranges[n++] = *r;
    }
    s->n = n;
}

/* The same id twice is said once. */
static void drop_repeats(struct gtid_set *s)
{
    size_t n = 0;
    for (size_t i = 0; i < s->n; i++)
        if (!n || by_domain(&s->at[n - 1], &s->at[i]) != 0)
            s->at[n++] = s->at[i];
    s->n = n;
}

int gtid_build_end(struct gtid_build *b, struct gtid_set *ret, struct err *e)
{
    struct gtid_set *s = &b->set;
    if (s->n && s->flavour == GTID_MARIADB) {
        qsort(s->at, s->n, sizeof *s->at, by_domain);
        drop_repeats(s);
    } else if (s->n) {
        qsort(s->ranges, s->n, sizeof *s->ranges, by_owner);
        merge(s);
    }
    if (s->n > GTID_MAX) {
        gtid_set_done(s);
        return err_set(e, ERR_LIMIT, "over %d %s in one GTID set", GTID_MAX,
            s->flavour == GTID_MARIADB ? "entries" : "intervals");
    }
    *ret = *s;
    *s = (struct gtid_set){.flavour = ret->flavour};
    return 0;
}

bool gtid_set_empty(const struct gtid_set *s)
{
    return s->n == 0;
}

bool gtid_set_is_position(const struct gtid_set *s)
{
    for (size_t i = 1; s->flavour == GTID_MARIADB && i < s->n; i++)
        if (s->at[i - 1].domain == s->at[i].domain)
            return false;
    return true;
}

void gtid_set_to_position(const struct gtid_set *s, struct gtid_set *ret)
{
    struct gtid_set fresh;
    gtid_set_copy(s, &fresh);
    if (s->flavour == GTID_MARIADB) {
        fresh.n = 0;
        for (size_t i = 0; i < s->n; i++)
            if (i + 1 == s->n || s->at[i + 1].domain != s->at[i].domain)
                fresh.at[fresh.n++] = s->at[i];
    }
    *ret = fresh;
}

bool gtid_set_domain(const struct gtid_set *s, uint32_t domain, struct gtid *ret)
{
    ASSERT(s->flavour == GTID_MARIADB);
    for (size_t i = s->n; i-- > 0;) /* from behind: the highest of a domain is its last */
        if (s->at[i].domain == domain) {
            *ret = s->at[i];
            return true;
        }
    return false;
}

struct gtid gtid_set_next(const struct gtid_set *s, uint32_t domain, uint32_t server)
{
    struct gtid last = {0};
    bool any = gtid_set_domain(s, domain, &last);
    return (struct gtid){domain, server, any ? last.seq + 1 : 1};
}

uint64_t gtid_set_next_of(const struct gtid_set *s, const uint8_t uuid[16], const char *tag)
{
    ASSERT(s->flavour == GTID_MYSQL);
    uint64_t last = 0;
    for (size_t i = 0; i < s->n; i++)
        if (!memcmp(s->ranges[i].uuid, uuid, 16) && !strcmp(s->ranges[i].tag, tag))
            last = MAX(last, s->ranges[i].to);
    return last + 1;
}

void gtid_set_of_server(const struct gtid_set *s, const uint8_t uuid[16], struct gtid_set *ret)
{
    ASSERT(s->flavour == GTID_MYSQL);
    struct gtid_set fresh;
    gtid_set_copy(s, &fresh);
    fresh.n = 0;
    for (size_t i = 0; i < s->n; i++)
        if (!memcmp(s->ranges[i].uuid, uuid, 16))
            fresh.ranges[fresh.n++] = s->ranges[i];
    *ret = fresh;
}
