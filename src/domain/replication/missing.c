/* SPDX-License-Identifier: Apache-2.0 */
#include "domain/replication/missing.h"

#include "base/str/str.h"

static uint64_t last_of(const struct gtid_set *state, uint32_t domain, uint32_t server)
{
    uint64_t last = 0;
    for (size_t i = 0; i < state->n; i++)
        if (state->at[i].domain == domain && state->at[i].server == server)
            last = MAX(last, state->at[i].seq);
    return last;
}

void missing_find(const struct gtid_set *here_state, const struct gtid_set *there,
    const struct gtid_set *there_state, struct missing *ret)
{
    ret->n = 0;
    for (size_t i = 0; i < here_state->n && ret->n < MISSING_MAX; i++) {
        const struct gtid *g = &here_state->at[i];
        struct gtid position;
        uint64_t over = last_of(there_state, g->domain, g->server);
        if (gtid_set_domain(there, g->domain, &position)
            && (position.server == g->server || g->domain == g->server))
            over = MAX(over, position.seq);
        if (g->seq > over)
            ret->v[ret->n++] = (struct missing_range){g->domain, g->server, over, g->seq};
    }
}

bool missing_has(const struct missing *m, const struct gtid *g)
{
    for (size_t i = 0; i < m->n; i++)
        if (m->v[i].domain == g->domain && m->v[i].server == g->server && g->seq > m->v[i].over)
            return true;
    return false;
}

bool missing_begins_after(const struct missing *m, const struct gtid_set *start)
{
    struct gtid g;
    for (size_t i = 0; i < m->n; i++)
        if (gtid_set_domain(start, m->v[i].domain, &g) && g.seq > m->v[i].over)
            return false;
    return true;
}

uint64_t missing_count(const struct missing *m)
{
    uint64_t n = 0;
    for (size_t i = 0; i < m->n; i++)
        n += m->v[i].to - m->v[i].over;
    return n;
}

void missing_format(const struct missing *m, struct str *out)
{
    for (size_t i = 0; i < m->n; i++) {
        const struct missing_range *p = &m->v[i];
        str_addf(out, "%s%u-%u-%llu", i ? ", " : "", p->domain, p->server,
            (unsigned long long)p->to);
        if (p->to > p->over + 1)
            str_addf(out, " (of what is over %llu)", (unsigned long long)p->over);
    }
}

void missing_forget(const struct missing *m, const struct gtid_set *all, struct gtid_set *ret)
{
    size_t n = 0;
    gtid_set_to_position(all, ret);
    for (size_t i = 0; i < ret->n; i++) {
        struct gtid g = ret->at[i];
        for (size_t k = 0; k < m->n; k++)
            if (m->v[k].domain == g.domain && g.seq > m->v[k].over)
                g.seq = m->v[k].over;
        if (g.seq)
            ret->at[n++] = g;
    }
    ret->n = n;
}

json_t *missing_json(const struct missing *m)
{
    json_t *list = json_array();
    for (size_t i = 0; i < m->n; i++)
        json_array_append_new(
            list, json_pack("{s:I,s:I,s:I,s:I}", "domain", (json_int_t)m->v[i].domain, "server",
                      (json_int_t)m->v[i].server, "over", (json_int_t)m->v[i].over, "to",
                      (json_int_t)m->v[i].to));
    return list;
}
