/* SPDX-License-Identifier: Apache-2.0 */
/* Differences of intervals, and how many transactions something holds. */
#include "proto/gtid/priv.h"

struct out {
    struct gtid_ranges *r;
    size_t cap;
};

static void put(struct out *o, const struct gtid_range *owner, uint64_t from, uint64_t to)
{
    struct gtid_range *slot = GROW(o->r->v, o->r->n, o->cap);
    *slot = *owner;
    slot->from = from;
    slot->to = to;
}

/* What of `a` no interval of `b` covers. `b` begins where an owner's intervals may reach a. */
static void cut(const struct gtid_range *a, const struct gtid_range *b, size_t n_b, struct out *o)
{
    uint64_t from = a->from;
    for (size_t i = 0; i < n_b && gtid_range_owner_cmp(&b[i], a) == 0; i++) {
        if (b[i].to < from)
            continue;
        if (b[i].from > a->to)
            break;
        if (b[i].from > from)
            put(o, a, from, b[i].from - 1);
        if (b[i].to >= a->to)
            return;
        from = b[i].to + 1;
    }
    put(o, a, from, a->to);
}

void gtid_ranges_minus(const struct gtid_range *a, size_t n_a, const struct gtid_range *b,
    size_t n_b, struct gtid_ranges *ret)
{
    struct out o = {.r = ret};
    size_t at = 0;
    for (size_t i = 0; i < n_a; i++) {
        while (at < n_b) { /* behind us: another owner's, or this owner's before a begins */
            int order = gtid_range_owner_cmp(&b[at], &a[i]);
            if (order > 0 || (order == 0 && b[at].to >= a[i].from))
                break;
            at++;
        }
        cut(&a[i], b + at, n_b - at, &o);
    }
}

static uint64_t add_saturated(uint64_t a, uint64_t b)
{
    return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

static uint64_t count(const struct gtid_range *v, size_t n)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < n; i++)
        sum = add_saturated(sum, add_saturated(v[i].to - v[i].from, 1));
    return sum;
}

uint64_t gtid_ranges_count(const struct gtid_ranges *r)
{
    return count(r->v, r->n);
}

uint64_t gtid_set_count(const struct gtid_set *s)
{
    if (s->flavour == GTID_MYSQL)
        return count(s->ranges, s->n);
    uint64_t sum = 0;
    for (size_t i = 0; i < s->n; i++) /* of each domain its last, which is the highest */
        if (i + 1 == s->n || s->at[i + 1].domain != s->at[i].domain)
            sum = add_saturated(sum, s->at[i].seq);
    return sum;
}
