/* SPDX-License-Identifier: Apache-2.0 */
#include "domain/replication/roll.h"

#include "base/str/str.h"

static const struct roll_member *find(const struct roll_member *v, size_t n, const char *host)
{
    for (size_t i = 0; i < n; i++)
        if (str_eq(v[i].host, host))
            return &v[i];
    return NULL;
}

static bool is_over(const struct roll_member *m, const char *wanted)
{
    return m && m->well && str_eq(m->generation, wanted);
}

bool roll_may(const struct replication_doc *d, const char *host, const char *wanted,
    const struct roll_member *heard, size_t n, const char **ret_waits_for)
{
    const struct replication_member *self = replication_doc_find(d, host);
    const struct roll_member *own = find(heard, n, host);
    const char *ignored, **waits_for = ret_waits_for ? ret_waits_for : &ignored;
    *waits_for = NULL;
    if (!self || !own || !own->well)
        return true;
    if (d->change)
        return false;
    for (size_t i = 0; i < d->n_members; i++) {
        const struct replication_member *m = &d->members[i];
        if (m == self && self != d->source)
            return true;
        if (m == d->source || m == self || is_over(find(heard, n, m->host), wanted))
            continue;
        *waits_for = m->host;
        return false;
    }
    return true;
}
