/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/gtid/priv.h"

/* MariaDB's sets are walked domain by domain: the next entry at or behind *i that is the last of
 * its domain, NULL at the end. */
static const struct gtid *next_last(const struct gtid_set *s, size_t *i)
{
    while (*i < s->n) {
        const struct gtid *g = &s->at[(*i)++];
        if (*i == s->n || s->at[*i].domain != g->domain)
            return g;
    }
    return NULL;
}

/* The entry of that very server, when a set in the form of gtid_binlog_state knows it. */
static bool knows(const struct gtid_set *s, const struct gtid *g)
{
    for (size_t i = 0; i < s->n; i++)
        if (s->at[i].domain == g->domain && s->at[i].server == g->server && s->at[i].seq == g->seq)
            return true;
    return false;
}

static bool covers(const struct gtid_set *s, const struct gtid *g)
{
    struct gtid last;
    if (!gtid_set_domain(s, g->domain, &last) || last.seq < g->seq)
        return g->seq == 0; /* 0: nothing was ever written there */
    return last.seq > g->seq || last.server == g->server || knows(s, g);
}

static void mariadb_minus(
    const struct gtid_set *a, const struct gtid_set *b, struct gtid_ranges *ret)
{
    size_t cap = 0, i = 0;
    for (const struct gtid *g = next_last(a, &i); g; g = next_last(a, &i)) {
        struct gtid last = {0};
        if (covers(b, g))
            continue;
        bool any = gtid_set_domain(b, g->domain, &last);
        struct gtid_range *slot = GROW(ret->v, ret->n, cap);
        slot->domain = g->domain;
        slot->from = any && last.seq < g->seq ? last.seq + 1 : any ? g->seq : 1;
        slot->to = g->seq;
    }
}

void gtid_set_subtract(const struct gtid_set *a, const struct gtid_set *b, struct gtid_ranges *ret)
{
    ASSERT(a->flavour == b->flavour);
    *ret = (struct gtid_ranges){.flavour = a->flavour};
    if (a->flavour == GTID_MARIADB)
        mariadb_minus(a, b, ret);
    else
        gtid_ranges_minus(a->ranges, a->n, b->ranges, b->n, ret);
}

bool gtid_set_contains(const struct gtid_set *a, const struct gtid_set *b)
{
    ASSERT(a->flavour == b->flavour);
    if (a->flavour == GTID_MARIADB) {
        size_t i = 0;
        for (const struct gtid *g = next_last(b, &i); g; g = next_last(b, &i))
            if (!covers(a, g))
                return false;
        return true;
    }
    _cleanup_gtid_ranges_ struct gtid_ranges missing = {0};
    gtid_set_subtract(b, a, &missing);
    return missing.n == 0;
}

bool gtid_set_equal(const struct gtid_set *a, const struct gtid_set *b)
{
    return gtid_set_contains(a, b) && gtid_set_contains(b, a);
}

enum gtid_order gtid_set_compare(const struct gtid_set *a, const struct gtid_set *b)
{
    bool has = gtid_set_contains(a, b), is_in = gtid_set_contains(b, a);
    return has ? (is_in ? GTID_SAME : GTID_AHEAD) : is_in ? GTID_BEHIND : GTID_DIVERGED;
}

static void add_further(const struct gtid_set *a, const struct gtid_set *b, struct gtid_build *out)
{
    size_t i = 0;
    for (const struct gtid *g = next_last(a, &i); g; g = next_last(a, &i)) {
        struct gtid other;
        if (!gtid_set_domain(b, g->domain, &other) || other.seq < g->seq)
            gtid_build_at(out, g);
    }
    i = 0;
    for (const struct gtid *g = next_last(b, &i); g; g = next_last(b, &i)) {
        struct gtid other;
        if (!gtid_set_domain(a, g->domain, &other) || other.seq <= g->seq)
            gtid_build_at(out, g);
    }
}

int gtid_set_union(
    const struct gtid_set *a, const struct gtid_set *b, struct gtid_set *ret, struct err *e)
{
    ASSERT(a->flavour == b->flavour);
    struct gtid_build out = {.set.flavour = a->flavour};
    if (a->flavour == GTID_MARIADB) {
        add_further(a, b, &out);
    } else {
        for (size_t i = 0; i < a->n; i++)
            gtid_build_range(&out, &a->ranges[i]);
        for (size_t i = 0; i < b->n; i++)
            gtid_build_range(&out, &b->ranges[i]);
    }
    return gtid_build_end(&out, ret, e);
}
